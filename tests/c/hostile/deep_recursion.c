static int deep(volatile int *a) {
    volatile int b = *a + 1;
    return deep(&b) + b;
}

int main(void) {
    volatile int a = 0;
    return deep(&a);
}
