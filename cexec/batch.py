"""Many C programs compiled as one file, run, and what each of them wrote.

Each program's text stands in the file as it is, between ``#define main main_7`` and ``#undef main``
(so too for its other names at file scope), after a ``#line`` that makes the compiler's messages
name the program. The file becomes a library, which another process loads and runs once. A program
that crashes, traps or does not end takes nothing with it: the process is forked anew after it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from cexec import batch_child
from cexec.instrument import RUNTIME, Untraceable, instrument
from cexec.native import LIBRARY, LOOSE, OWN, SANITIZE, STRICT, TIMEOUT, Compiler

PROGRAM_SECONDS = 10  # what one program may take; a generated one takes a microsecond
PROGRAM_BYTES = 2**30  # what the programs of one file may print together
ROUNDS = 20  # times that a file is compiled anew without the programs that a compiler refused
ALONE = 50  # programs of a file that are compiled once more, each alone, before they are refused

# At file scope and at the line's begin: a tag, a function, a variable, a typedef's end; a macro.
NAMES = re.compile(
    r"^(?:(?:struct|union|enum) (\w+) \{|[a-z][\w *]*?\b(\w+)(?=\(| = |;|\[)|\} \*?(\w+);)", re.M
)
MACROS = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.M)
HEAD = "#include <stdio.h>\n\nint main(void) {\n"  # of a program that has no other function
DIAGNOSTIC = re.compile(r"^program-(\d+):(\d+):(?:\d+:)? (?:fatal )?(error|warning): (.*)$", re.M)

# Without a prototype in a header under -std=c11; `at` and `ends` are shared with the process that
# forked this one, which goes on after the program `at` when this one has died of it.
HARNESS = """\
#line 1 "harness"
#include <stdio.h>
unsigned alarm(unsigned seconds);
long lseek(int file, long offset, int whence);
typedef int (*cexec_entry)(int, char **);
static const cexec_entry cexec_entries[] = {%s};
void cexec_run(int first, int count, int file, volatile long *at, long *ends) {
    static char name[] = "program", *words[] = {name, 0};
    for (int k = first; k < count; k++) {
        *at = k;
        alarm(%d);
        %s;
        cexec_entries[k](1, words);
        %s;
        ends[k] = lseek(file, 0, 1);
    }
    *at = count;
}
"""
# A program that calls exit ends the process with its last records in the buffer. Not atexit: in
# glibc that is linked statically, by those that link at all.
AT_EXIT = """
int __cxa_atexit(void (*function)(void *), void *argument, void *library);
static void cexec_last(void *argument) { (void)argument, cexec_flush(); }
static int cexec_at_exit(void) { return __cxa_atexit(cexec_last, 0, 0); }
"""


@dataclass(frozen=True)
class Kind:
    """One way to compile and run programs: the compiler's flags, and the file they write to.

    ``runtime`` is C that goes before the programs; ``begin`` and ``flush`` are statements before
    and after each: the latter empties what the program has written into its file, 1 or 3.
    """

    flags: tuple[str, ...]
    file: int = 1
    begin: str = ""
    flush: str = "fflush(stdout)"
    runtime: str = ""

    def text(self, source: str, k: int, alone: bool = False) -> str:
        """The program as number ``k`` of a file, with ``main_k`` in place of ``main``.

        ``alone``: no other name is changed, as none can be another program's too.
        Raises Untraceable where it is to be instrumented and cannot be.
        """
        names, macros = ["main"], []
        if not (source.startswith(HEAD) and source.count("\n}") == source.count("#") == 1):
            names += {name for found in NAMES.findall(source) for name in found if name} - {"main"}
            macros = MACROS.findall(source)
        if self.file == 3:
            source, names = instrument(source, "", f"_{k}"), []
        elif alone:
            names = ["main"]
        defines = "".join([f"#define {name} {name}_{k}\n" for name in names])
        ends = "".join([f"#undef {name}\n" for name in names + macros])
        return f'{defines}#line 1 "program-{k}"\n{source}\n{ends}'


@dataclass
class Ran:
    """What programs wrote, (programs,) large_binary; ``faults`` and ``warnings`` by program.

    A program with a fault (it does not compile, crashes, traps, or does not end) has written what
    it had flushed until then, or nothing.
    """

    written: pa.LargeBinaryArray
    faults: dict[int, str] = field(default_factory=dict)
    warnings: dict[int, str] = field(default_factory=dict)


def unmodified(compiler: Compiler, sanitize: bool = False) -> Kind:
    """Programs as they stand, warnings told, what they print kept."""
    return Kind((*STRICT, *(SANITIZE[compiler.name] if sanitize else ())))


def writing() -> Kind:
    """Instrumented copies, which report every write as a line ``LINE NAME VALUE``."""
    # The mark of a new program would be a record too: the buffer is emptied of it.
    begin = "cexec_mark(k), cexec_held = 0, k == first && cexec_at_exit()"
    return Kind((*LOOSE, "-DCEXEC_BATCH"), 3, begin, "cexec_flush()", RUNTIME + AT_EXIT)


def flags(compiler: Compiler, kind: Kind) -> tuple[str, ...]:
    """All that a compiler is told, but for the names of files."""
    return (*LIBRARY, *OWN.get(compiler.name, ()), *kind.flags)


def run_programs(sources: Sequence[str], compiler: Compiler, kind: Kind) -> Ran:
    """Compile programs as one file and run each once, in order, in one other process."""
    if not sources:
        return Ran(pa.array([], pa.large_binary()))
    refused: dict[int, str] = {}
    warnings: dict[int, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="cexec-") as name:
            folder, left = Path(name), list(range(len(sources)))
            for _ in range(ROUNDS):
                left = [k for k in left if k not in refused]
                if not left:
                    ran = Ran(pa.array([b""] * len(sources), pa.large_binary()))
                    break
                errors = _compile(sources, left, compiler, kind, folder, warnings)
                refused |= errors
                if not errors:
                    try:
                        ran = _run(len(sources), left, kind, folder)
                        break
                    except _NotNamed as error:
                        refused |= _without_symbol(str(error), sources, left)
                        if not set(left) & set(refused):
                            raise
            else:  # tcc names one a time
                raise _NotNamed(f"not compiled, as {len(refused)} with it are refused")
    except _NotNamed as error:
        if len(sources) == 1:
            return Ran(pa.array([b""], pa.large_binary()), {0: str(error)})
        half = len(sources) // 2
        first, second = sources[:half], sources[half:]
        return _joined(*(run_programs(part, compiler, kind) for part in (first, second)))
    ran.faults |= refused
    ran.warnings |= warnings
    return _each_alone(ran, sources, list(refused)[:ALONE], compiler, kind)


class _NotNamed(Exception):
    """A file that fails to compile or load, with a message that names none of its programs."""


def _without_symbol(said: str, sources: Sequence[str], left: Sequence[int]) -> dict[int, str]:
    """The programs that name what a loader does not find, if that is what it says."""
    found = re.search(r"undefined symbol: (\w+?(?:_(\d+))?)$", said)
    if found is None:
        return {}
    if found[2] and int(found[2]) in left:  # a name that was changed
        return {int(found[2]): said}
    word = re.compile(rf"\b{found[1]}\b")
    return {k: said for k in left if word.search(sources[k])}


def _each_alone(
    ran: Ran, sources: Sequence[str], refused: list[int], compiler: Compiler, kind: Kind
) -> Ran:
    """Programs of one file may stand in each other's way: what is refused is tried alone."""
    if len(sources) == 1 or not refused:
        return ran
    written = ran.written.to_pylist()
    for k in refused:
        alone = run_programs([sources[k]], compiler, kind)
        written[k] = alone.written[0].as_py()
        for mine, its in ((ran.faults, alone.faults), (ran.warnings, alone.warnings)):
            mine.pop(k, None)
            mine |= dict.fromkeys([k] * len(its), its.get(0, ""))
    return Ran(pa.array(written, pa.large_binary()), ran.faults, ran.warnings)


def _joined(first: Ran, second: Ran) -> Ran:
    moved = [
        {k + len(first.written): message for k, message in told.items()}
        for told in (second.faults, second.warnings)
    ]
    written = pa.concat_arrays([first.written, second.written])
    return Ran(written, first.faults | moved[0], first.warnings | moved[1])


def _compile(
    sources: Sequence[str],
    left: Sequence[int],
    compiler: Compiler,
    kind: Kind,
    folder: Path,
    warnings: dict[int, str],
) -> dict[int, str]:
    """Make ``programs.so``; returns the programs that are refused, and why; adds to warnings."""
    errors: dict[int, str] = {}
    with (folder / "programs.c").open("w", encoding="utf-8") as out:
        out.write(kind.runtime)
        for k in left:
            try:
                out.write(kind.text(sources[k], k, len(sources) == 1))
            except Untraceable as error:
                errors[k] = f"cannot be traced: {str(error).lstrip(':')}"
        entries = ",".join([f"(cexec_entry)main_{k}" for k in left])
        out.write(HARNESS % (entries, PROGRAM_SECONDS, kind.begin, kind.flush))
    if errors:
        return errors
    environment = dict(os.environ)
    if compiler.name == "zig":
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder / "cache"))
    command = [*compiler.command, *flags(compiler, kind), "programs.c", "-o", "programs.so"]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise _NotNamed(f"the compiler takes more than {TIMEOUT} s") from error
    for program, line, gravity, message in DIAGNOSTIC.findall(run.stderr):
        told = warnings if gravity == "warning" else errors
        own = re.sub(rf"_{program}\b", "", message)  # the names as the program has them
        told.setdefault(int(program), f"line {line}: {own}")
    if not errors and (run.returncode != 0 or not (folder / "programs.so").exists()):
        raise _NotNamed(f"does not compile: {_one_line(run.stderr)}")
    return {k: f"does not compile: {message}" for k, message in errors.items()}


def _run(count: int, left: Sequence[int], kind: Kind, folder: Path) -> Ran:
    """Run ``programs.so``, which holds the programs ``left`` of ``count``."""
    places, output, said = folder / "places", folder / "output", folder / "said"
    places.write_bytes(bytes(8 * (1 + 2 * len(left))))
    output.touch()
    numbers = [str(number) for number in (len(left), kind.file, PROGRAM_BYTES)]
    command = [sys.executable, "-I", "-S", batch_child.__file__, str(folder / "programs.so")]
    with said.open("wb") as errors:
        run = subprocess.run(
            [*command, str(places), str(output), *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    if run.returncode != 0:
        raise _NotNamed(f"does not load: {_one_line(said.read_text(errors='replace'))}")
    ends, signals = np.split(np.frombuffer(places.read_bytes(), np.int64)[1:], 2)
    offsets = np.zeros(count + 1, np.int64)
    offsets[np.asarray(left, np.int64) + 1] = ends
    offsets = np.maximum.accumulate(offsets)  # what did not run has written nothing
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(output.read_bytes())]
    written = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, buffers)
    faults = {left[k]: _death(signals[k]) for k in np.flatnonzero(signals).tolist()}
    return Ran(written, faults)


def _death(number: int) -> str:
    name = signal.Signals(number).name
    return {
        "SIGILL": "undefined behaviour: the sanitizer's trap (SIGILL)",
        "SIGTRAP": "undefined behaviour: the sanitizer's trap (SIGTRAP)",
        "SIGALRM": f"does not end within {PROGRAM_SECONDS} s",
        "SIGXFSZ": f"prints more than {PROGRAM_BYTES} bytes",
    }.get(name, f"ends by {name}")


def _one_line(said: str) -> str:
    """The last line that a tool said, which is where Python and the compilers say why."""
    return (said.strip().splitlines() or ["nothing said"])[-1][-300:]
