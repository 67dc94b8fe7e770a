#include <stdio.h>

typedef struct { int x, y; } point;
typedef struct { point from; point to[2]; unsigned char tag; } line;

static void multiply(const int a[2][2], const int b[2][2], int out[2][2]) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            out[i][j] = 0;
            for (int k = 0; k < 2; k++)
                out[i][j] += a[i][k] * b[k][j];
        }
}

int main(void) {
    int a[2][2] = {{1, 2}, {3, 4}}, c[2][2];
    line lines[2] = {{{1, 2}, {{3, 4}, {5, 6}}, 'a'}};
    point *p = &lines[1].to[1];
    multiply((const int (*)[2])a, (const int (*)[2])a, c);
    p->x = c[1][1];
    lines[1].from = lines[0].to[1];
    lines[0].to[a[0][0]].y = 300;
    lines[1].tag = 300;
    printf("%d %d\n", c[0][0], lines[1].tag);
    return 0;
}
