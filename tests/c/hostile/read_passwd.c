#include <stdio.h>

int main(void) {
    char line[200];
    FILE *file = fopen("/etc/passwd", "r");
    if (file && fgets(line, sizeof line, file)) {
        puts(line);
    }
    return 0;
}
