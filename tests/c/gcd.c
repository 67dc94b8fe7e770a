#include <stdio.h>

static unsigned long gcd(unsigned long a, unsigned long b)
{
    return b ? gcd(b, a % b) : a;
}

int main(void)
{
    unsigned long g;
    printf("%lu\n", g = gcd(18446744073709551615UL, 10));
    return 0;
}
