"""The word of a real compiler: programs compiled, run, and every state compared.

Some thousand programs become one C file: each program's text as it stands, with ``main`` renamed
and a call that reports the variable after each write. The file is compiled to a library once and
run once, in a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lego.task import SettingError, choose

COMPILERS = ("auto", "gcc", "clang", "tcc", "zig")
BATCH = 2_000  # programs in one C file: a few MB of C, some seconds of compiling
TIMEOUT = 600  # seconds for a compiler, or for the programs of one file
# The report is a function that is not inlined: as a macro it costs the compiler three times more.
PRELUDE = """\
#include <stdio.h>
__attribute__((noinline)) static void report(int line, const char *name, int value) {
    printf("%d %s %d\\n", line, name, value);
}
"""
# Loading the library in another Python spares linking against a C library, which zig would build.
RUNNER = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).run_all()"


class NativeError(Exception):
    """Programs that do not compile, or do not return."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command that calls it, and what it says of its version."""

    command: tuple[str, ...]
    version: str


def find_compiler(name: str = "auto") -> Compiler:
    """The compiler of that name; ``auto``: gcc, clang or tcc where there is one, else zig's clang.

    Raises SettingError for an unknown name or a compiler that is not installed.
    """
    choose("compiler", name, COMPILERS)
    for known in COMPILERS[1:-1] if name == "auto" else (name,):
        if known != "zig" and shutil.which(known):
            return Compiler((known,), _version([known, "-v" if known == "tcc" else "--version"]))
    if name in ("auto", "zig") and find_spec("ziglang"):
        command = (sys.executable, "-m", "ziglang")
        return Compiler((*command, "cc"), f"zig cc {_version([*command, 'version'])}")
    raise SettingError(
        f"compiler={name!r}: allowed what is installed; "
        f"pip install 'lego-reasoning[zig]' brings one that needs no root"
    )


def _version(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    return (run.stdout or run.stderr).splitlines()[0]


def instrument(source: str, number: int) -> str:
    """A program as ``static int program_N(void)``, with a report after each write's line."""
    lines = source.split("\n")
    for k, line in enumerate(lines):
        write = re.fullmatch(r"\s+(?:int )?([a-z]\w*) = .+;", line)
        if write:
            lines[k] += f' report({k + 1}, "{write[1]}", {write[1]});'
    return "\n".join(lines).replace("int main(void)", f"static int program_{number}(void)")


def compile_batch(sources: Sequence[str], compiler: Compiler, folder: Path) -> Path:
    """One library with all programs and ``run_all``. Raises NativeError where it won't compile."""
    file, library = folder / "programs.c", folder / "programs.so"
    calls = "".join(f'    program_{k}();\n    puts("end");\n' for k in range(len(sources)))
    with file.open("w") as out:
        out.write(PRELUDE)
        out.writelines(instrument(source, k) for k, source in enumerate(sources))
        out.write(f"int run_all(void) {{\n{calls}    return fflush(stdout);\n}}\n")
    flags = ["-std=c11", "-O0", "-w", "-fPIC", "-shared"]
    environment = dict(os.environ)
    if "ziglang" in compiler.command:
        flags += ["-nostdlib", "-fno-sanitize=undefined"]
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder / "cache"))
    command = [*compiler.command, *flags, str(file), "-o", str(library)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    if run.returncode != 0 or not library.exists():
        said = next(
            (line for line in run.stderr.splitlines() if "error" in line), run.stderr[-200:]
        )
        raise NativeError(f"{compiler.version} does not compile this: {said}")
    return library


def run_batch(sources: Sequence[str], compiler: Compiler) -> list[tuple[list[tuple], str]]:
    """What each program did: its writes, as (line, name, value), and what it printed."""
    with tempfile.TemporaryDirectory(prefix="cexec-") as folder:
        library = compile_batch(sources, compiler, Path(folder))
        run = subprocess.run(
            [sys.executable, "-c", RUNNER, str(library)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    done = run.stdout.split("end\n")
    if run.returncode != 0 or len(done) != len(sources) + 1:
        said = f"exit code {run.returncode} after {len(done) - 1} of {len(sources)} programs"
        raise NativeError(f"not all programs return: {said}")
    return [_parse(printed) for printed in done[:-1]]


def _parse(printed: str) -> tuple[list[tuple], str]:
    writes, rest = [], []
    for line in printed.splitlines(keepends=True):
        words = line.split()
        if len(words) == 3:
            writes.append((int(words[0]), words[1], int(words[2])))
        else:
            rest.append(line)
    return writes, "".join(rest)


def mismatches(rows: Sequence[dict[str, Any]], compiler: Compiler) -> Iterator[tuple[int, str]]:
    """(row, what differs) for rows with ``source``, ``trace`` and ``stdout``, compiled as one file.

    Every write is compared, its place, line, name and value, and what the program prints. Where
    the file does not compile or run as a whole, that is one mismatch of its first row.
    """
    try:
        ran = run_batch([row["source"] for row in rows], compiler)
    except NativeError as error:
        yield 0, f"or one of the {len(rows) - 1} after it: {error}"
        return
    for at, (row, (writes, stdout)) in enumerate(zip(rows, ran, strict=True)):
        held = [(write["line"], write["name"], write["value"]) for write in row["trace"]]
        if [write["step"] for write in row["trace"]] != list(range(len(held))):
            yield at, "trace: steps are not 0, 1, 2, ..."
        for step, (mine, real) in enumerate(zip(held, writes, strict=False)):
            if mine != real:
                yield at, f"step {step}: {_said(mine)}, but the compiler has {_said(real)}"
                break
        else:
            if len(held) != len(writes):
                yield at, f"trace: {len(held)} writes, but the compiler has {len(writes)}"
        if stdout != row["stdout"]:
            yield at, f"stdout={row['stdout']!r}, but the compiler has {stdout!r}"


def _said(write: tuple) -> str:
    line, name, value = write
    return f"line {line}, {name} = {value}"
