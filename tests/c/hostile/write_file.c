#include <fcntl.h>
#include <unistd.h>

int main(void) {
    int file = open("/tmp/cexec-was-here", O_CREAT | O_WRONLY, 0600);
    return write(file, "x", 1) == 1;
}
