/* 4 GB of data in the program's file */
int a[1 << 30] = {1};

int main(void) {
    return a[5];
}
