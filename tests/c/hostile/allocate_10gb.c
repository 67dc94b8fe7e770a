/* malloc refuses, and says so: the program ends well */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    printf("%d\n", malloc((size_t)10 << 30) == NULL);
    return 0;
}
