#include <stdio.h>
#include <stdbool.h>
#define N 12

bool composite[N + 1];

int main(void) {
    int primes = 0;
    for (int i = 2; i <= N; i++) {
        if (composite[i])
            continue;
        primes++;
        for (int j = i * i; j <= N; j += i)
            composite[j] = true;
    }
    printf("%d\n", primes);
    return 0;
}
