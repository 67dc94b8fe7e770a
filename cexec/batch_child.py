"""What runs a library of programs, in a process of its own: see ``batch``.

A script on the standard library alone. Loading the library in Python spares linking it against a C
library, which zig would have to build. After a program that dies it goes on with the next one.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys

MEMORY = 2**32  # bytes of addresses


def run_all(library: str, places: str, output: str, count: int, file: int, limit: int) -> None:
    """Run programs 0 .. count-1, with what they write to ``file`` in the file ``output``.

    ``places``: a file of 1 + 2 ``count`` 64-bit integers, at first 0: the program that runs, where
    in ``output`` each ended, and the signal that killed it, or 0. ``limit``: bytes of output.
    """
    with open(places, "r+b") as shared:
        held = (ctypes.c_int64 * (1 + 2 * count)).from_buffer(mmap.mmap(shared.fileno(), 0))
    os.dup2(os.open(output, os.O_WRONLY), file)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    run = ctypes.CDLL(library).cexec_run
    run.argtypes = [ctypes.c_int] * 3 + [ctypes.c_void_p] * 2
    at, place = 0, ctypes.addressof(held)
    while at < count:
        child = os.fork()
        if child == 0:
            run(at, count, file, place, place + 8)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        at = held[0]
        if at < count:
            held[1 + at] = os.lseek(file, 0, os.SEEK_CUR)
            held[1 + count + at] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            at += 1


if __name__ == "__main__":
    files, numbers = sys.argv[1:4], [int(number) for number in sys.argv[4:7]]
    run_all(*files, *numbers)  # type: ignore[arg-type]
