/* no stream is left to listen to */
#include <unistd.h>

int main(void) {
    for (int i = 0; i < 4; i++) {
        close(i);
    }
    for (;;) {
        sleep(1000);
    }
}
