/* before main, and before what a library would set up */
#include <fcntl.h>

__attribute__((constructor(101))) static void early(void) {
    open("/etc/passwd", O_RDONLY);
}

int main(void) {
    return 0;
}
