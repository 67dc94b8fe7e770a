/* execve passes the filter here, and finds nothing at that address */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char *words[] = {"/bin/sh", "-c", "echo shell", 0};
    printf("%d\n", execve((char *)0x1000000000, words, 0));
    return 0;
}
