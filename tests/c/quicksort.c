#include <stdio.h>

static void swap(int *a, int *b) {
    int kept = *a;
    *a = *b;
    *b = kept;
}

static int partition(int v[], int low, int high) {
    int pivot = v[high];
    int i = low - 1;
    for (int j = low; j < high; j++) {
        if (v[j] < pivot) {
            i++;
            swap(&v[i], &v[j]);
        }
    }
    swap(&v[i + 1], &v[high]);
    return i + 1;
}

static void quicksort(int v[], int low, int high) {
    if (low < high) {
        int p = partition(v, low, high);
        quicksort(v, low, p - 1);
        quicksort(v, p + 1, high);
    }
}

int main(void) {
    int m[5] = {4, 1, 5, 2, 3};
    quicksort(m, 0, 4);
    for (int i = 0; i < 5; i++)
        printf("%d ", m[i]);
    printf("\n");
    return 0;
}
