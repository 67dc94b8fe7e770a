#include <fcntl.h>

static void first(void) {
    open("/etc/passwd", O_RDONLY);
}

__attribute__((section(".preinit_array"), used)) static void (*run)(void) = first;

int main(void) {
    return 0;
}
