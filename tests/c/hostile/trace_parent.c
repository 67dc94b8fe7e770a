#include <sys/ptrace.h>
#include <unistd.h>

int main(void) {
    return (int)ptrace(PTRACE_ATTACH, 1, 0, 0);
}
