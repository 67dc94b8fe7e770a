#include <stdio.h>
#include <string.h>

static void reverse(char *text) {
    char *left = text, *right = text + strlen(text);
    while (left < --right) {
        char kept = *left;
        *left++ = *right;
        *right = kept;
    }
}

int main(void) {
    char word[] = "lego";
    reverse(word);
    puts(word);
    return 0;
}
