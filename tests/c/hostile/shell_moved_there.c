#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
    char *words[] = {"/bin/sh", "-c", "echo shell", 0};
    char *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(at, words[0]);
    at = mremap(at, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x1000000000);
    return execve(at, words, 0);
}
