#include <stdio.h>
#include <stdlib.h>

struct node {
    int value;
    struct node *next;
};

static struct node *push(struct node *head, int value) {
    struct node *made = malloc(sizeof *made);
    if (made == NULL)
        exit(1);
    made->value = value;
    made->next = head;
    return made;
}

int main(void) {
    struct node last = {0, NULL}, *list = &last;
    int sum = 0;
    for (int i = 1; i <= 3; i++)
        list = push(list, i * i);
    for (struct node *at = list; at; at = at->next) {
        at->value += 1;
        sum += at->value;
    }
    while (list != &last) {
        struct node *gone = list;
        list = list->next;
        free(gone);
    }
    printf("%d %d\n", sum, last.value);
    return 0;
}
