/* runs on where SIGXCPU would end it */
#include <signal.h>

int main(void) {
    for (int i = 1; i < 32; i++) {
        signal(i, SIG_IGN);
    }
    for (;;) {
    }
}
