"""The compiler as an attack surface: called behind walls, within limits, and looked after.

Behind Landlock or bubblewrap it sees the system's headers, itself and the program's folder. Where
the kernel offers neither, two checks stand alone, and they are made in any case: what the compiler
says that it read, and that the text for the assembler (which a section's name or a symbol's can
carry anything into) reads no file.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cexec.native import Compiler
from cexec.sandbox_child import landlock_version
from cexec.sandbox_process import Ended, Limits, Plan, SandboxError, launch
from cexec.sandbox_scan import assembler_reads

MB = 1 << 20
MEMORY = 2048 * MB
COMPILED = 64 * MB  # the largest file that a compiler may write
SAYS = 64 << 10  # bytes of what a compiler says that are listened to
DYNAMIC = "the compiler does not link statically at fixed addresses"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/opt", "/nix/store", "/gnu/store")
LOADER = "/etc/ld.so.cache"
SETTINGS = ("/etc/alternatives", LOADER)


def writes_assembly(compiler: Compiler) -> bool:
    """Whether ``-S`` leaves the assembler's text; the others are called behind walls only."""
    return not is_zig(compiler) and Path(compiler.command[0]).name != "tcc"


def is_zig(compiler: Compiler) -> bool:
    return "ziglang" in compiler.command or Path(compiler.command[0]).name == "zig"


def compile_program(
    private: Path,
    sources: tuple[str, ...],
    compiler: Compiler,
    flags: tuple[str, ...],
    limits: Limits,
    holds: str,
) -> Path:
    """The program made of the sources in ``private``/work. Raises SandboxError."""
    base: tuple[str, ...] = ("-w",)
    if is_zig(compiler):
        base += ("-target", f"{platform.machine()}-linux-musl", "-fno-sanitize=undefined")
    base += flags
    link: tuple[str, ...] = ("-static",) if holds == "seccomp" else ()
    if Path(compiler.command[0]).name != "tcc":  # which knows nothing else
        link += ("-no-pie",)
    inputs = sources
    if writes_assembly(compiler):
        _call(private, compiler, (*base, "-S", "-MD", *sources), limits, sources)
        inputs = tuple(f"{name.removesuffix('.c')}.s" for name in sources)
        _check_read(private / "work", compiler)
        for name in inputs:
            line = assembler_reads((private / "work" / name).read_text(errors="replace"))
            if line:
                raise SandboxError(f"{name.removesuffix('.s')}.c: the assembler is told: {line}")
    _call(private, compiler, (*base, *link, *inputs, "-o", "../program", "-lm"), limits, sources)
    program = private / "program"
    _check_program(program, holds, limits)
    program.chmod(0o500)
    return program


def _call(
    private: Path,
    compiler: Compiler,
    words: tuple[str, ...],
    limits: Limits,
    sources: tuple[str, ...],
) -> None:
    """Call a compiler in ``private``/work, behind what walls there are."""
    ended = _walled(private, compiler, words, limits.compile_seconds)
    if ended.code == 0 and not ended.over:
        return
    if ended.over == "wall" or ended.cpu >= limits.compile_seconds:
        raise SandboxError(
            f"compile_seconds={limits.compile_seconds}: the compiler did not end; allow it more"
        )
    # Its first error in a file of the program; one in another file would show that file.
    for line in ended.said["stderr"].decode(errors="replace").splitlines():
        place = re.match(r"(?:\./)?([\w.+/-]+):\d+:(?:\d+:)? (?:fatal )?error: .*", line)
        ours = place and place[1][0] != "/" and ".." not in place[1].split("/")
        if place and ours and (private / "work" / place[1]).is_file():
            raise SandboxError(line[:300])
        if re.match(r".*undefined (reference to|symbol)", line):
            name = re.search(r"undefined (?:reference to|symbol):? [`']?(\w+)", line)
            raise SandboxError(f"{sources[0]}: nothing defines {name[1] if name else 'a name'}")
    raise SandboxError(
        f"{sources[0]}: {compiler.version} gave up (exit code {ended.code}): allowed programs "
        f"that compile within {MEMORY // MB} MB and {COMPILED // MB} MB a file"
    )


def _walled(private: Path, compiler: Compiler, words: tuple[str, ...], seconds: int) -> Ended:
    first = shutil.which(compiler.command[0]) or compiler.command[0]
    command = (first, *compiler.command[1:], *words)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(private),
        "TMPDIR": str(private),
        "LC_ALL": "C",
    }
    write = [str(private), "/dev/null"]
    memory = MEMORY
    if is_zig(compiler):
        # Shared, or zig would build its C library again for each program.
        cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(Path.home() / ".cache" / "zig"))
        os.makedirs(cache, exist_ok=True)
        environment["ZIG_GLOBAL_CACHE_DIR"] = cache
        environment["ZIG_LOCAL_CACHE_DIR"] = str(private / "cache")
        write.append(cache)
        memory *= 8  # it reserves more than it takes
    read = _readable(compiler)
    behind = walls(compiler)
    if behind == "bubblewrap":
        bound = [path for path in write if path != "/dev/null"]  # it has a /dev of its own
        own = ("--proc", "/proc") if is_zig(compiler) else ()  # zig looks for itself there
        command = (*bubblewrap(read, bound), *own, "--chdir", str(private / "work"), *command)
    return launch(
        Plan(
            command=command,
            folder=private / "work",
            environment=environment,
            cpu=seconds,
            wall=seconds,
            keep={"stdout": SAYS, "stderr": SAYS},
            limits={"RLIMIT_FSIZE": COMPILED, "RLIMIT_AS": memory},
            landlock=(read, write) if behind == "landlock" else None,
        )
    )


@functools.cache
def walls(compiler: Compiler) -> str:
    """What keeps a compiler away from other files: landlock, bubblewrap or, if it must, nothing."""
    if landlock_version():
        return "landlock"
    with tempfile.TemporaryDirectory(prefix="cexec-") as made:
        probe = (*bubblewrap(_readable(compiler), [made]), "/usr/bin/env", "true")
        plan = Plan(probe, Path(made), {}, 5, 5, {"stdout": SAYS, "stderr": SAYS})
        works = probe[0] != "bwrap" and launch(plan).code == 0
    return "bubblewrap" if works else ""


def _readable(compiler: Compiler) -> list[str]:
    first = shutil.which(compiler.command[0]) or compiler.command[0]
    where = Path(first).resolve().parent
    read = [*SYSTEM, *SETTINGS, str(where)]
    if where.name == "bin" and where.parent not in (Path("/"), Path.home(), Path.home() / ".local"):
        read.append(str(where.parent))  # an environment's own compiler: its headers are beside it
    if is_zig(compiler):  # Python is in between
        read += [sys.prefix, sys.base_prefix]
    return read


def bubblewrap(read: Sequence[str], write: Sequence[str]) -> tuple[str, ...]:
    words = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
    ]
    for path in read:
        words += ["--ro-bind-try", path, path]
    words += ["--dev", "/dev"]
    for path in write:
        words += ["--bind", path, path]
    return tuple(words)


def _check_read(work: Path, compiler: Compiler) -> None:
    """Raise SandboxError if a compiler says that it read what is neither ours nor the system's."""
    allowed = [Path(path).resolve() for path in _readable(compiler) if path not in SETTINGS]
    for listed in work.glob("*.d"):
        # A list for make: `name: file file \`, with a backslash before a space in a name.
        names = re.findall(r"(?:\\.|[^\s\\])+", listed.read_text(errors="replace"))
        for name in names:
            path = (work / name.replace("\\", "").rstrip(":")).resolve()
            if not any(path.is_relative_to(place) for place in (work, *allowed)):
                raise SandboxError(
                    f"{listed.stem}.c: it includes a file that is neither the system's nor its own"
                )


def _check_program(program: Path, holds: str, limits: Limits) -> None:
    """Raise SandboxError unless a program fits its memory, and its guard.

    The seccomp filter wants what ``sandbox_child`` supposes: no loader, fixed addresses, all
    segments below 4 GiB.
    """
    needs = 0
    for kind, address, size in _segments(program.read_bytes()):
        if holds == "seccomp" and (kind == 3 or address + size > 1 << 32):  # PT_INTERP
            raise SandboxError(DYNAMIC)
        needs += size if kind == 1 else 0  # PT_LOAD
    if needs > limits.memory_mb * MB:
        raise SandboxError(
            f"memory_mb={limits.memory_mb}: its variables take {needs // MB}; allow it more"
        )


def _segments(image: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, address, bytes in memory) of the program headers of a 64-bit ELF file."""
    if image[:6] != b"\x7fELF\x02\x01" or image[16:18] != b"\x02\0":  # ET_EXEC
        raise SandboxError(DYNAMIC)
    (offset,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for at in range(offset, offset + size * count, size):
        yield struct.unpack_from("<I12xQ16xQ", image, at)
