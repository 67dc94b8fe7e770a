static char held[1 << 30];

int main(void) {
    return held[5];
}
