#include <stdio.h>

enum parity { EVEN, ODD };
static int steps(long n) {
    static int calls = 0;
    int count = 0;
    calls++;
    while (n != 1) {
        enum parity p;
        if ((p = n & 1) == ODD) n = 3 * n + 1; else n /= 2;
        ++count;
    }
    return count + 100 * calls;
}

int main(void) {
    int k = 3, found[4], at = 0, best = -1;
    while (k--)
        found[at++] = steps(k + 1);
    do
        best = found[--at] > best ? found[at] : best;
    while (at);
    for (int i = 0, *p = found; i < 2; i++, p++)
        *p = i ? best++ : (best -= 1, best);
    switch (best & 1) {
    case 0:
        best = 7;
        /* falls through */
    default:
        best <<= 2;
    }
    printf("%d\n", best);
    return 0;
}
