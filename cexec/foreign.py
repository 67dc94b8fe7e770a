"""Users' own C files: traced in the sandbox, one file or a folder of them.

A file that is refused, does not compile, or hits a limit has no trace: one line says why, and
where. There is no input: a program that reads finds its end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cexec import sandbox
from cexec.instrument import RUNTIME, Untraceable, instrument
from cexec.native import SANITIZE, Compiler
from cexec.sandbox_scan import ScanError, includes
from cexec.trace import FORMATS, Write, render
from lego.corpus import PARQUET, whole_file
from lego.task import SettingError, choose, require

SHOWN = (*(name for name in FORMATS if name != "answer"), "json")
LIMITS = sandbox.Limits(output_kb=16 << 10)  # the log of 100,000 writes is some MB
LARGEST = 1 << 20  # bytes of a source file
FLAGS = ("-std=gnu11", "-O0")
_MAIN = "program.c"

FEATURES = pa.schema(
    {
        "source": pa.string(),
        "stdout": pa.string(),
        "trace": pa.list_(
            pa.struct(
                {
                    "step": pa.int32(),
                    "line": pa.int32(),
                    "name": pa.string(),
                    "value": pa.int64(),
                }
            )
        ),
        "file": pa.string(),
        "writes": pa.int32(),
    }
)


@dataclass(frozen=True)
class Traced:
    """One run of a program: its text, what it printed, its log, and the guard that held."""

    source: str
    stdout: str
    writes: list[Write]
    guard: str


def trace_source(
    source: str, file: str, compiler: Compiler, limits: sandbox.Limits = LIMITS
) -> Traced:
    """Run a program and record its writes; ``file`` is how messages call it.

    Undefined behaviour that the compiler can trap ends the run. Raises Untraceable
    (``FILE:LINE: reason``), or SandboxError for what does not compile or hits a limit.
    """
    instrumented = instrument(source, file)
    try:  # by itself: below the runtime its lines have other numbers
        includes(source)
    except ScanError as error:
        raise Untraceable(f"{file}:{error.line}: {error.why}") from None
    text = f"{RUNTIME}#line 1\n{instrumented}"
    flags = (*FLAGS, *SANITIZE.get(compiler.name, ()))
    try:
        outcome = sandbox.run({_MAIN: text}, _MAIN, compiler, flags=flags, limits=limits)
    except sandbox.SandboxError as error:
        said = str(error).removeprefix("program: ")
        said = said.replace(_MAIN, file) if said.startswith(_MAIN) else f"{file}: {said}"
        raise sandbox.SandboxError(said) from None
    writes = _parse(outcome.log.decode(), file)
    stdout = outcome.stdout.decode(errors="replace")
    return Traced(source, stdout, writes, outcome.guard)


def _parse(log: str, file: str) -> list[Write]:
    lines = log.split("\n")
    *records, end = lines[:-1] or [""]
    if end.startswith("!"):
        line, reason = end[1:].split(" ", 1)
        raise Untraceable(f"{file}:{line}: {reason}")
    if end != "." or lines[-1]:
        raise Untraceable(f"{file}:1: the log of its writes is not whole: the program left early")
    writes = []
    for step, record in enumerate(records):
        line, rest = record.split(" ", 1)
        name, value = rest.rsplit(" ", 1)
        writes.append(Write(step, int(line), name, int(value)))
    return writes


def read_source(path: Path) -> str:
    """The text of a C file. Raises SettingError for one that is not there, too large or binary."""
    require(path.is_file(), "FILE", str(path), "a file of C")
    require(path.stat().st_size <= LARGEST, "FILE", str(path), f"at most {LARGEST:,} bytes")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise SettingError(f"{path}: not UTF-8") from None
    require("\0" not in text, "FILE", str(path), "a text")
    return text


def trace_file(
    path: str | Path, format: str, compiler: Compiler, limits: sandbox.Limits = LIMITS
) -> tuple[str, Traced]:
    """A file's trace in a format of ``SHOWN``, and the run that it tells of."""
    choose("format", format, SHOWN)
    traced = trace_source(read_source(Path(path)), str(path), compiler, limits)
    if format == "json":
        rows = [_row(write) for write in traced.writes]
        return json.dumps({"stdout": traced.stdout, "trace": rows}), traced
    return render(format, traced.source.splitlines(), traced.writes, None), traced


def _row(write: Write) -> dict[str, int | str]:
    return {"step": write.step, "line": write.line, "name": write.name, "value": write.value}


def import_folder(
    folder: str | Path, out: str | Path, compiler: Compiler, limits: sandbox.Limits = LIMITS
) -> tuple[int, list[dict[str, str]]]:
    """Every .c file below a folder as a row of a corpus for ``datasets.load_dataset``.

    Returns how many rows were written, and the refused files with their reasons, which also stand
    in OUT/refused.jsonl. Raises SettingError where OUT is not empty, or no file can be traced.
    """
    folder, out = Path(folder), Path(out)
    require(folder.is_dir(), "DIR", str(folder), "a folder")
    require(not out.exists() or out.is_dir(), "OUT", str(out), "a folder")
    taken = out.is_dir() and any(out.iterdir())
    require(not taken, "OUT", str(out), "a new or empty folder")
    paths = sorted(path for path in folder.rglob("*.c") if path.is_file())
    require(bool(paths), "DIR", str(folder), "a folder with .c files")
    rows, refused = [], []
    for path in tqdm(paths, unit="file", desc=f"import {folder}"):
        name = path.relative_to(folder).as_posix()
        try:
            traced = trace_source(read_source(path), name, compiler, limits)
            for write in traced.writes:
                if write.value >= 1 << 63:
                    raise Untraceable(f"{name}:{write.line}: a value of 2**63 or more")
        except SettingError as error:
            refused.append({"file": name, "reason": str(error)})
            continue
        trace = [_row(write) for write in traced.writes]
        rows.append({"source": traced.source, "stdout": traced.stdout, "trace": trace,
                     "file": name, "writes": len(trace)})  # fmt: skip
    if not rows:
        raise SettingError(
            f"DIR={str(folder)!r}: none of {len(paths)} files can be traced; "
            f"the first: {refused[0]['reason']}"
        )
    shard = "programs/train-00000-of-00001.parquet"
    with whole_file(out / shard) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, FEATURES), temporary, **PARQUET)
    with whole_file(out / "refused.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(one) + "\n" for one in refused))
    with whole_file(out / "README.md") as temporary:
        temporary.write_text(_card(len(rows), len(refused), compiler))
    return len(rows), refused


def _card(rows: int, refused: int, compiler: Compiler) -> str:
    return f"""\
---
configs:
- config_name: programs
  default: true
  data_files:
  - split: train
    path: programs/train-*.parquet
tags:
- code
- c
---
# C programs and the trace of every write

{rows:,} programs, traced by `cexec import` with {compiler.version}; {refused:,} files were
refused (`refused.jsonl` says why). `source` is a program's text, `stdout` what it printed, `file`
where it came from, `writes` how many entries `trace` has. An entry is one write of an integer:
`step` from 0, `line` of the source from 1, `name` of the object (`a`, `m[2]`, `s.x`; what has no
name of its own is called as it is written, with its indices evaluated), `value` after conversion to
the object's type.
"""
