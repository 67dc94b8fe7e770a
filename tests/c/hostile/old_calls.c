/* the 32-bit way into the kernel has other numbers: 5 is open, 11 is execve */
static unsigned char code[] = {0xb8, 11, 0, 0, 0, 0xcd, 0x80, 0xc3};

#include <string.h>
#include <sys/mman.h>

int main(void) {
    void *at = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(at, code, sizeof code);
    ((void (*)(void))at)();
    return 0;
}
