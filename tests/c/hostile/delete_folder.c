#include <unistd.h>

int main(void) {
    unlink("program");
    unlink("work/delete_folder.c");
    rmdir("work");
    return 0;
}
