int main(void) {
    volatile int a = 0;
    return 7 / a;
}
