#include <assert.h>

int main(void) {
    volatile int a = 1;
    assert(a == 2);
    return 0;
}
