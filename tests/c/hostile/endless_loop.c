int main(void) {
    volatile int a = 1;
    while (a) {
    }
    return 0;
}
