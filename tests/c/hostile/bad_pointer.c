int main(void) {
    int *volatile p = (int *)8;
    *p = 3;
    return 0;
}
