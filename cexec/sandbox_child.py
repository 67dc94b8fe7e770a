"""What a guarded process does to itself before it becomes the foreign one; ``sandbox`` starts it.

Run as a script on the standard library alone: limits, then Landlock (which folders are there at
all), then seccomp (which system calls), then the command. All of it works without root.

The filter is in place before the program is, so that nothing in the program runs earlier: no
constructor, no .preinit_array, no loader. One call of execve must get through it, then no other:
the filter allows execve only for a path that lies at EXEC_PATH, an address which the program
cannot map: the kernel never chooses it (it is far from the stack), the program's own segments lie
below 4 GiB (``sandbox_compile`` reads its ELF header), the filter lets mmap name no address near it
and mremap none at all, and RLIMIT_AS, 16 GiB at most, keeps what grows from reaching it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any

LOG = 3  # the file descriptor of a program's log
FILTER = 9  # and the one on which bubblewrap reads the filter
EXEC_PATH = 0x10_0000_0000  # 64 GiB

# linux/prctl.h, linux/seccomp.h, linux/audit.h
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2
KILL, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
ARCHITECTURES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
EACCES, EMFILE, ENOTTY, ENOSYS = 13, 24, 25, 38
ARCH_SET_FS, F_GETFL = 0x1002, 3
OPENS_FOR_WRITING = 0o3 | 0o100 | 0o1000 | 0o2000  # O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND

# What printing, memory, time and the end of a program take: name -> numbers on x86_64, aarch64.
FREE: dict[str, tuple[int, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "lseek": (8, 62), "fstat": (5, 80), "exit": (60, 93), "exit_group": (231, 94),
    "brk": (12, 214), "munmap": (11, 215), "mprotect": (10, 226), "madvise": (28, 233),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "set_tid_address": (218, 96), "set_robust_list": (273, 99),
    "futex": (202, 98), "getrandom": (318, 278), "getpid": (39, 172), "gettid": (186, 178),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrusage": (98, 165), "sched_yield": (24, 124),
}  # fmt: skip
# What a C library asks at its start and does without: name -> (x86_64, aarch64, errno).
ANSWERED: dict[str, tuple[int, int | None, int]] = {
    "ioctl": (16, 29, ENOTTY), "readlink": (89, None, EACCES), "readlinkat": (267, 78, EACCES),
    "dup": (32, 23, EMFILE), "rseq": (334, 293, ENOSYS), "sched_getaffinity": (204, 123, ENOSYS),
}  # fmt: skip
# What is allowed with some arguments, or where a loader is needed; see seccomp_filter.
CHECKED: dict[str, tuple[int, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "fcntl": (72, 25),
    "prlimit64": (302, 261), "arch_prctl": (158, None), "execve": (59, 221), "mmap": (9, 222),
    "mremap": (25, 216), "newfstatat": (262, 79), "pread64": (17, 67), "wait4": (61, 260),
    "access": (21, None), "faccessat": (269, 48), "openat": (257, 56),
}  # fmt: skip

Rule = tuple[int, int, int, int]
Test = tuple[int, str, int]  # argument, what is tested of it, with what


def _statement(code: int, k: int, jt: int = 0, jf: int = 0) -> Rule:
    return code, jt, jf, k


def _load(offset: int) -> Rule:
    return _statement(0x20, offset)  # BPF_LD | BPF_W | BPF_ABS, in struct seccomp_data


def _return(value: int) -> Rule:
    return _statement(0x06, value)


def _allow_if(number: int, *tests: Test) -> list[Rule]:
    """Allows the call if all tests hold, and kills otherwise.

    ``low=`` and ``high=`` compare half an argument, ``low&`` wants none of these bits set, ``far``
    wants an address that is not within 32 GiB below EXEC_PATH, nor within 4 GiB above.
    """
    body: list[Rule] = []
    left = sum(3 if what == "far" else 2 for _, what, _ in tests)  # how far to the end of all tests
    for argument, what, k in tests:
        body.append(_load(16 + 8 * argument + (0 if what.startswith("low") else 4)))
        left -= 3 if what == "far" else 2
        if what == "far":
            below = EXEC_PATH >> 32
            body.append(_statement(0x14, below - 8))  # BPF_SUB: what is less becomes huge
            body.append(_statement(0x35, 9, jf=left + 1))  # BPF_JGE
        elif what == "low&":
            body.append(_statement(0x45, k, jt=left + 1))  # BPF_JSET
        else:
            body.append(_statement(0x15, k, jf=left + 1))  # BPF_JEQ
    body += [_return(ALLOW), _return(KILL)] if tests else [_return(ALLOW)]
    return [_statement(0x15, number, jf=len(body)), *body]


def seccomp_filter(kind: str, pid: int, machine: str) -> bytes:
    """The BPF program for a ``static`` program, or a ``dynamic`` one, whose loader opens files."""
    audit, column = ARCHITECTURES[machine]
    # A test loads an argument over the call's number, but only where it then returns.
    rules = [_load(4), _statement(0x15, audit, jt=1), _return(KILL), _load(0)]

    def allow(name: str, *tests: Test) -> None:
        number = (FREE.get(name) or CHECKED[name])[column]
        rules.extend(_allow_if(number, *tests) if number is not None else [])

    def answer(number: int | None, error: int) -> None:
        if number is not None:
            rules.extend([_statement(0x15, number, jf=1), _return(ERRNO | error)])

    for name in FREE:
        allow(name)
    for on_x86, on_arm, error in ANSWERED.values():
        answer((on_x86, on_arm)[column], error)
    allow("fcntl", (1, "low=", F_GETFL))  # fdopen asks
    allow("prlimit64", (0, "low=", 0), (2, "low=", 0), (2, "high=", 0))  # to ask, not to set
    allow("arch_prctl", (0, "low=", ARCH_SET_FS))  # thread-local storage
    signals = ("kill", "tkill", "tgkill")  # what abort and raise are made of
    if kind == "static":
        for name in signals:
            allow(name, (0, "low=", pid))
        allow("execve", (0, "low=", EXEC_PATH & 0xFFFF_FFFF), (0, "high=", EXEC_PATH >> 32))
        allow("mmap", (0, "far", 0))
        allow("mremap", (3, "low&", 0xFFFF_FFFE))  # no flag but MREMAP_MAYMOVE
        answer(CHECKED["newfstatat"][column], ENOSYS)
    else:  # in bubblewrap, where there are no other processes or files; wait4 is its own
        for name in (*signals, "execve", "mmap", "mremap", "newfstatat", "pread64", "wait4"):
            allow(name)
        allow("access")
        allow("faccessat")
        allow("openat", (2, "low&", OPENS_FOR_WRITING))
    rules.append(_return(KILL))
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)


libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *values: Any) -> int:
    done: int = getattr(libc, function)(*values)
    if done == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")
    return done


def _prctl(*values: int) -> None:
    _call("prctl", *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0)[:5]))


# linux/landlock.h; the numbers of the calls are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # by version: how many rights on files there are
RIGHTS_NEWEST = 16
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # the rest concerns folders


def landlock_version() -> int:
    """The version of Landlock that the kernel offers; 0 without it."""
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return max(0, int(version))


def landlock(read: list[str], write: list[str]) -> None:
    """From here on nothing is readable but ``read``, and nothing writable but ``write``."""
    version = landlock_version()
    every = (1 << RIGHTS.get(version, RIGHTS_NEWEST)) - 1
    network = 0b11 if version >= 4 else 0  # bind and connect
    ruleset = struct.pack("=QQ", every, network)[: 16 if version >= 4 else 8]
    handle = _call("syscall", CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0)
    for paths, rights in ((read, EXECUTE | READ_FILE | READ_DIR), (write, every)):
        for path in filter(os.path.exists, paths):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            held = rights if os.path.isdir(path) else rights & ON_FILES & every
            _call("syscall", ADD_RULE, handle, 1, struct.pack("=Qi", held, beneath), 0)
            os.close(beneath)
    _call("syscall", RESTRICT_SELF, handle, 0)
    os.close(handle)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def become(plan: dict[str, Any]) -> None:
    """Turn into ``plan["command"]``, or raise OSError."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        os._exit(1)  # the parent went before the kernel could be told
    if plan["log"] is not None:
        os.dup2(plan["log"], LOG)
        if plan["log"] != LOG:
            os.close(plan["log"])
    command = [os.fsencode(word) for word in plan["command"]]
    environment = [os.fsencode(f"{name}={value}") for name, value in plan["environment"].items()]
    argv = (ctypes.c_char_p * (len(command) + 1))(*command, None)
    envp = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
    named = ctypes.create_string_buffer(command[0])
    path = ctypes.c_void_p(ctypes.addressof(named))
    rules = b""
    if plan["seccomp"]:
        rules = seccomp_filter(plan["seccomp"], os.getpid(), platform.machine())
    if plan["seccomp"] == "dynamic":
        end, begin = os.pipe()
        os.write(begin, rules)
        os.close(begin)
        os.dup2(end, FILTER)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if plan["landlock"]:
        landlock(*plan["landlock"])
    held = ctypes.create_string_buffer(rules, len(rules))
    program = ctypes.create_string_buffer(
        struct.pack("=HxxxxxxQ", len(rules) // 8, ctypes.addressof(held))
    )
    if plan["seccomp"] == "static":
        libc.mmap.restype = ctypes.c_void_p
        size = ctypes.c_size_t(mmap.PAGESIZE)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED
        mode = mmap.PROT_READ | mmap.PROT_WRITE
        at = libc.mmap(ctypes.c_void_p(EXEC_PATH), size, mode, flags, -1, ctypes.c_long(0))
        if at != EXEC_PATH:
            raise OSError("no room for the program's path")
        ctypes.memmove(EXEC_PATH, command[0] + b"\0", len(command[0]) + 1)
        path = ctypes.c_void_p(EXEC_PATH)
    # A core file of at most one byte is none, for a core pattern that is a pipe too; 0 is not.
    _limit(resource.RLIMIT_CORE, 1)
    for name, value in plan["limits"].items():
        _limit(getattr(resource, name), value)
    soft, hard = plan["cpu"], plan["cpu"] + 1  # first SIGXCPU, which says why, then SIGKILL
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if most == resource.RLIM_INFINITY or most > hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that is inherited
    if plan["seccomp"] == "static":
        _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
    _call("execve", path, argv, envp)


def main() -> None:
    """The script; what goes wrong is said on standard error, and ends in a signal of its own."""
    try:
        become(json.loads(sys.argv[1]))
    except (OSError, ValueError, MemoryError) as error:
        os.write(2, f"\n{error}\n".encode())
        os.kill(os.getpid(), signal.SIGUSR2)


if __name__ == "__main__":
    main()
