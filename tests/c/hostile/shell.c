#include <unistd.h>

int main(void) {
    char *words[] = {"/bin/sh", "-c", "echo shell", 0};
    return execve(words[0], words, 0);
}
