"""One foreign C program, compiled and run under guard.

What the compiler may read is decided before it sees the text (``sandbox_scan``), again by what it
says that it read and tells the assembler to read, and by the kernel, where that has Landlock or
bubblewrap works: the file system then holds the system's headers, the compiler and the program's
own folder, and nothing else.

The program is linked statically and runs under a seccomp filter that is there before it is
(``sandbox_child``): it may compute, print, log on file descriptor 3, take memory up to its limit,
ask for the time, and end. A compiler that cannot link statically (tcc with glibc) has its programs
run by bubblewrap, with nothing of the file system but shared libraries. Where neither holds,
nothing is run.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cexec.native import Compiler, find_compiler
from cexec.sandbox_child import ARCHITECTURES, FILTER
from cexec.sandbox_compile import (
    LOADER,
    bubblewrap,
    compile_program,
    is_zig,
    walls,
    writes_assembly,
)
from cexec.sandbox_process import Limits, Plan, SandboxError, launch
from cexec.sandbox_scan import ScanError, includes
from lego.task import require

__all__ = ["Limits", "Outcome", "SandboxError", "guard", "run"]

MB = 1 << 20
STACK = 8 * MB
SOURCES = 16 * MB  # of all files together, headers of the user's folder included
SAYS = 64 << 10  # bytes of standard error that a program may have in any case
WARM_UP = 900  # seconds: zig builds a C library, once on a machine
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
SIGNALS: dict[int, str] = {
    signal.SIGSEGV: "segmentation fault (too deep a recursion, or a bad pointer)",
    signal.SIGBUS: "bus error (a bad pointer)",
    signal.SIGFPE: "an integer was divided by zero, or INT_MIN by -1",
    signal.SIGABRT: "it aborted itself",
    signal.SIGILL: "an illegal instruction: a trap of undefined behaviour, or a bad pointer",
    signal.SIGTRAP: "a trap of undefined behaviour",
    signal.SIGUSR2: "it could not be started",
    signal.SIGKILL: "it was killed, perhaps for want of memory",
}


@dataclass(frozen=True)
class Outcome:
    """What a program did: ``log`` is what it wrote on file descriptor 3."""

    stdout: bytes
    log: bytes
    guard: str  # as from ``guard``
    status: int = 0  # what main returned, or exit was given


def run(
    files: Mapping[str, str],
    main: str,
    compiler: Compiler,
    *,
    flags: Sequence[str] = (),
    limits: Limits | None = None,
    folder: Path | None = None,
) -> Outcome:
    """Compile the .c files of ``files`` (name -> text; ``main`` is one of them), run the program.

    Headers that they include by ``#include "name"`` come from ``files``, or from ``folder`` if they
    lie inside it. ``flags`` go to the compiler as they are: they are the caller's, and are trusted;
    C99 or later is taken. Raises SandboxError for what is refused, does not compile, hits a limit
    or is ended by a signal. No process and no file is left behind.
    """
    limits = limits or Limits()
    require(main in files, "main", main, ", ".join(files))
    holds = guard(compiler)
    with tempfile.TemporaryDirectory(prefix="cexec-") as made:
        private = Path(made).resolve()
        work = private / "work"
        work.mkdir()
        for name, text in _gather(files, folder).items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        order = (main, *(name for name in files if name != main))
        sources = tuple(name for name in order if name.endswith(".c"))
        program = compile_program(private, sources, compiler, tuple(flags), limits, holds)
        return _run(program, holds, limits)


def guard(compiler: Compiler | None = None) -> str:
    """What guards the programs of a compiler (the one found first) here: seccomp or bubblewrap.

    The first call in a process compiles and runs a program to find out. Raises SandboxError where
    nothing holds.
    """
    return _guard(compiler or find_compiler())


@functools.cache
def _guard(compiler: Compiler) -> str:
    said = []
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        raise SandboxError("guard=None: allowed seccomp or bubblewrap, and both are Linux's")
    if not writes_assembly(compiler) and not walls(compiler):
        raise SandboxError(
            f"compiler={compiler.version!r}: allowed gcc and clang where the kernel has no "
            f"Landlock and bubblewrap does not work"
        )
    limits = Limits(compile_seconds=WARM_UP if is_zig(compiler) else 60)
    for holds in ("seccomp", "bubblewrap"):
        try:
            if holds == "seccomp" and platform.machine() not in ARCHITECTURES:
                raise SandboxError(f"no table of system calls for {platform.machine()}")
            if holds == "bubblewrap" and not shutil.which("bwrap"):
                raise SandboxError("bwrap is not installed")
            with tempfile.TemporaryDirectory(prefix="cexec-") as made:
                private = Path(made).resolve()
                (private / "work").mkdir()
                (private / "work" / "probe.c").write_text("int main(void) { return 42; }\n")
                program = compile_program(private, ("probe.c",), compiler, (), limits, holds)
                if _run(program, holds, limits).status == 42:
                    return holds
        except SandboxError as error:
            said.append(f"{holds}: {error}")
    raise SandboxError(f"guard=None: allowed seccomp or bubblewrap; here, {'; '.join(said)}"[:400])


def _gather(files: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """The files and the headers that they include, each read and found harmless."""
    held: dict[str, str] = {}
    waiting = list(files)
    size = 0
    while waiting:
        name = waiting.pop()
        if name in held:
            continue
        plain = re.fullmatch(r"[\w+][\w.+-]*(/[\w+][\w.+-]*)*", name, re.ASCII)
        require(bool(plain), "files", name, "plain names, inside the folder")
        require("/" not in name or not name.endswith(".c"), "files", name, ".c files at the top")
        text = files[name] if name in files else _header(name, folder)
        if text is None:
            continue  # the system's, or the compiler will say that it is missing
        held[name] = text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        size += len(text)
        require(size <= SOURCES, "files", name, f"{SOURCES // MB} MB together")
        try:
            found = includes(text)
        except ScanError as error:
            raise SandboxError(f"{name}: {error}") from None
        for line, included in found:
            where = os.path.normpath(os.path.join(os.path.dirname(name), included))
            # The scan lets no ".." through; a file that is included is text, whatever its name.
            if where.endswith(".c") and where not in files:
                raise SandboxError(f"{name}: line {line}: a .c file is included: {included}")
            waiting.append(where)
    return held


def _header(name: str, folder: Path | None) -> str | None:
    if folder is None:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SandboxError(f"{name}: it leads out of {folder}: allowed headers inside it")
    if not path.is_file():
        return None
    if path.stat().st_size > SOURCES:
        raise SandboxError(f"{name}: allowed {SOURCES // MB} MB")
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _run(program: Path, holds: str, limits: Limits) -> Outcome:
    seccomp = platform.machine() in ARCHITECTURES
    command: tuple[str, ...] = (str(program),)
    bounds = {"RLIMIT_STACK": STACK, "RLIMIT_FSIZE": 0, "RLIMIT_AS": limits.memory_mb * MB}
    if holds == "bubblewrap":
        if not seccomp:
            if os.getuid() == 0:
                raise SandboxError("for root, nothing bounds how many processes it starts")
            bounds["RLIMIT_NPROC"] = 64
        filtered = ("--seccomp", str(FILTER)) if seccomp else ()
        bound = ("--ro-bind", str(program), "/program", "--chdir", "/", *filtered, "/program")
        command = (*bubblewrap((*LIBRARIES, LOADER), ()), *bound)
    else:
        bounds |= {"RLIMIT_NOFILE": 4, "RLIMIT_NPROC": 1}
    kept = limits.output_kb << 10
    ended = launch(
        Plan(
            command=command,
            folder=program.parent,
            environment={},
            cpu=limits.cpu_seconds,
            wall=limits.wall_seconds,
            keep={"stdout": kept, "stderr": max(kept, SAYS), "log": kept},
            limits=bounds,
            seccomp=("static" if holds == "seccomp" else "dynamic") if seccomp else None,
        )
    )
    code = ended.code
    if holds == "bubblewrap" and code - 128 in signal.valid_signals():
        code = 128 - code  # which it says of a program that a signal ended
    if code == 1 and ended.said["stderr"].startswith(b"bwrap: "):
        code = -signal.SIGUSR2  # so much of it that there is no program to speak of
    over = ended.over
    spent = code == -signal.SIGKILL and ended.cpu >= limits.cpu_seconds  # deaf to SIGXCPU
    if not over and (code == -signal.SIGXCPU or spent):
        over = "cpu"
    if over or code < 0:
        raise SandboxError(_ending(over, code, ended.said["stderr"], holds, limits))
    return Outcome(ended.said["stdout"], ended.said["log"], holds, code)


def _ending(over: str, code: int, stderr: bytes, holds: str, limits: Limits) -> str:
    """The line that says how a program was ended."""
    if over == "cpu":
        return f"cpu_seconds={limits.cpu_seconds}: the program did not end; does it loop for ever?"
    if over == "wall":
        return (
            f"wall_seconds={limits.wall_seconds}: the program did not end; it waits for something"
        )
    if over:
        what = {"stdout": "printed", "log": "logged", "stderr": "printed (as errors)"}[over]
        return (
            f"output_kb={limits.output_kb}: the program {what} more; make it shorter or allow more"
        )
    if -code == signal.SIGSYS:
        return (
            f"guard={holds}: the program made a system call that is not allowed; it may compute "
            f"and print, but not use files, sockets, other processes or the time zone"
        )
    why = SIGNALS.get(-code, f"it was ended by signal {-code}")
    last = stderr.decode(errors="replace").strip().splitlines()[-1:]
    return f"program: {why}{': ' + last[0][:200] if last else ''}"
