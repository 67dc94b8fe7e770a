#include <stdio.h>

int main(void) {
    for (;;) {
        fputs("and on it goes", stderr);
    }
}
