"""What a real compiler makes of a corpus, compared with what the corpus says, and put on record.

Two comparisons: what every program prints when it is compiled as it stands (with the sanitizers'
traps, if asked), and every write that an instrumented copy reports. Both as text, thousands of
programs at once; rows are looked at one by one only where the texts differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cexec import batch
from cexec.native import Compiler, find_compiler
from lego.corpus import digest, shards
from lego.task import Certifier, Check, choose, require

# Programs in one C file: enough for the start of two processes to cost little, few enough for
# the memory of gcc, which takes some 100 KB a program.
BATCH = {"tcc": 10_000}
OTHER_BATCH = 2_000
KINDS = ("stdout", "writes")
COLUMNS = ["source", "trace", "stdout"]
TOLD = 10  # faults that a failed --certify tells of


Faults = list[tuple[int, str]]  # row, what is wrong with it


@dataclass
class Count:
    """What was checked of one split, or of a part of it. ``mismatches`` counts rows."""

    rows: int = 0
    writes: int = 0
    mismatches: int = 0
    warnings: int = 0

    def add(self, other: Count) -> None:
        for name, number in vars(other).items():
            setattr(self, name, getattr(self, name) + number)


@dataclass
class Verdict:
    """What was found of a corpus: by (config, split), and the files that are not the manifest's."""

    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @property
    def total(self) -> Count:
        total = Count()
        for count in self.counts.values():
            total.add(count)
        return total


def check_corpus(
    folder: str | Path,
    manifest: dict[str, Any],
    compiler: Compiler,
    tell: Callable[[str], None],
    splits: Sequence[str] | None = None,
    sample: int | None = None,
    sanitize: bool = False,
    workers: int | None = None,
    kinds: Sequence[str] = KINDS,
) -> Verdict:
    """Compare the rows of a corpus with what a compiler makes of them.

    ``splits``: only these; ``sample``: only the first rows of each shard; ``workers``: compilers
    at work at once, one a core by default; ``kinds``: which of the two comparisons. ``tell`` is
    called with a line for every fault.
    Raises SettingError for what a corpus does not have, and for a compiler that does not work.
    """
    known = tuple(dict.fromkeys(split for _, split, _ in shards(manifest)))
    for split in splits or ():
        choose("split", split, known)
    require(sample is None or sample >= 1, "sample", sample, "1 or more")
    require(workers is None or workers >= 1, "workers", workers, "1 or more")
    for kind in kinds:
        choose("only", kind, KINDS)
    able = not sanitize or "stdout" in kinds
    require(able, "only", "writes", "stdout for a sanitized check: the copy has no sanitizers")
    _require_working(compiler, sanitize, kinds)
    verdict, jobs = Verdict(), []
    size = BATCH.get(compiler.name, OTHER_BATCH)
    for label, split, shard in shards(manifest):
        if splits is None or split in splits:
            path = Path(folder, shard["file"])
            require(path.is_file(), "shard", str(path), "a file that is there")
            held = digest(path)
            if held != shard["sha256"]:
                verdict.damaged.append(shard["file"])
                tell(f"{shard['file']}: sha256={held}: allowed {shard['sha256']}")
            for part in _parts(path, size, sample):
                jobs.append(((label, split), shard["file"], path, part))
    rows = sum(stop - start for *_, (_, start, stop) in jobs)
    with (
        tqdm(total=rows, unit="program", desc=f"check {folder}") as bar,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        # Threads do, as nearly all of the time is a compiler's.
        done = pool.map(lambda job: check_part(job[2], job[3], compiler, sanitize, kinds), jobs)
        for (place, file, _, _), (count, faults) in zip(jobs, done, strict=True):
            verdict.counts.setdefault(place, Count()).add(count)
            for row, message in faults:
                tell(f"{file} row {row}: {message}")
            bar.update(count.rows)
    return verdict


def _require_working(compiler: Compiler, sanitize: bool, kinds: Sequence[str]) -> None:
    """Raise SettingError unless a program that does nothing compiles, loads and runs."""
    how = {"stdout": batch.unmodified(compiler, sanitize), "writes": batch.writing()}
    for kind in kinds:
        ran = batch.run_programs([batch.HEAD + "    return 0;\n}\n"], compiler, how[kind])
        allowed = f"one that works; with it, a program that does nothing {ran.faults.get(0)}"
        require(not ran.faults, "compiler", compiler.version, allowed)


Part = tuple[int, int, int]  # a parquet file's row group, and rows start .. stop - 1 of the file


def _parts(path: Path, size: int, sample: int | None) -> Iterator[Part]:
    """A file's rows, or the first of them, in parts that one C file holds."""
    metadata = pq.ParquetFile(path).metadata
    first = 0
    for group in range(metadata.num_row_groups):
        after = first + metadata.row_group(group).num_rows
        stop = after if sample is None else min(after, sample)
        for start in range(first, stop, size):
            yield group, start, min(start + size, stop)
        first = after


def check_part(
    path: Path, part: Part, compiler: Compiler, sanitize: bool, kinds: Sequence[str]
) -> tuple[Count, Faults]:
    """Some rows of a file: their counts, and (row of the file, what differs) in order of rows."""
    group, start, stop = part
    file = pq.ParquetFile(path)
    before = sum(file.metadata.row_group(k).num_rows for k in range(group))
    table = file.read_row_group(group, COLUMNS, use_threads=False)
    table = table.slice(start - before, stop - start).combine_chunks()
    count, faults = check_rows(table, compiler, sanitize, kinds)
    return count, [(start + row, message) for row, message in faults]


def check_rows(
    table: pa.Table, compiler: Compiler, sanitize: bool = False, kinds: Sequence[str] = KINDS
) -> tuple[Count, Faults]:
    """Rows with ``source``, ``trace`` and ``stdout``: their counts, and (row, what differs)."""
    count, faults, warnings = Count(len(table)), Faults(), Faults()
    if "stdout" in kinds:
        faults, warnings = compare_stdout(table, compiler, sanitize)
    if "writes" in kinds:
        # What is wrong with what a program prints, as that it does not compile, is told once.
        bad = {row for row, _ in faults}
        left = [row for row in range(len(table)) if row not in bad]
        rest = table if not bad else table.take(pa.array(left, pa.int64()))
        if left:
            faults += [(left[row], message) for row, message in compare_writes(rest, compiler)]
            count.writes = len(_one(rest["trace"]).flatten())
    count.mismatches, count.warnings = len({row for row, _ in faults}), len(warnings)
    return count, sorted(faults + warnings, key=lambda fault: fault[0])


def compare_stdout(
    table: pa.Table, compiler: Compiler, sanitize: bool = False
) -> tuple[Faults, Faults]:
    """Rows that, as they stand, print something else or come to a bad end; and warnings."""
    kind = batch.unmodified(compiler, sanitize)
    ran = batch.run_programs(pc.fill_null(table["source"], "").to_pylist(), compiler, kind)
    faults = list(ran.faults.items())
    printed = pc.fill_null(_one(table["stdout"]), "").cast(pa.large_binary())
    for row in _differing(printed, ran):
        mine, real = _text(printed[row].as_py()), _text(ran.written[row].as_py())
        faults.append((row, f"stdout={mine!r}, but the compiler has {real!r}"))
    return faults, [(row, f"warning: {message}") for row, message in ran.warnings.items()]


def compare_writes(table: pa.Table, compiler: Compiler) -> Faults:
    """Rows whose instrumented copy reports other writes, or comes to a bad end."""
    trace = _one(table["trace"])
    ran = batch.run_programs(
        pc.fill_null(table["source"], "").to_pylist(), compiler, batch.writing()
    )
    faults = [(row, f"the instrumented copy: {message}") for row, message in ran.faults.items()]
    faults += [(row, "trace: steps are not 0, 1, 2, ...") for row in misnumbered(trace)]
    log = log_text(trace)
    for row in _differing(log, ran):
        mine, real = _text(log[row].as_py()), _text(ran.written[row].as_py())
        faults.append((row, differing_write(mine, real)))
    return faults


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column of a table as one array that begins at its buffers' begin."""
    return pa.concat_arrays([*column.chunks, column.chunk(0).slice(0, 0)])


def _text(written: bytes) -> str:
    return written.decode(errors="backslashreplace")


def _differing(held: pa.LargeBinaryArray, ran: batch.Ran) -> list[int]:
    other = pc.not_equal(held, ran.written)
    rows = np.flatnonzero(other.to_numpy(zero_copy_only=False)).tolist()
    return [row for row in rows if row not in ran.faults]


def log_text(trace: pa.ListArray) -> pa.LargeBinaryArray:
    """A trace column as the instrumented programs write it: a line ``LINE NAME VALUE`` a write."""
    flat = trace.flatten()
    words = [flat.field(name).cast(pa.large_string()) for name in ("line", "name", "value")]
    space, nothing, end = (pa.scalar(text, pa.large_string()) for text in (" ", "", "\n"))
    lines = pc.binary_join_element_wise(*words, space)
    lines = pc.binary_join_element_wise(lines, nothing, end).cast(pa.large_binary())
    _, places, data = lines.buffers()
    ends = np.frombuffer(places, np.int64)[lines.offset :][trace.offsets.to_numpy()]
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ends)), data]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(trace), buffers)


def misnumbered(trace: pa.ListArray) -> list[int]:
    """The rows of a trace column whose steps are not 0, 1, 2, ..."""
    offsets = trace.offsets.to_numpy()
    steps = trace.flatten().field("step").to_numpy()
    expected = np.arange(len(steps)) - np.repeat(offsets[:-1], np.diff(offsets))
    wrong = np.flatnonzero(steps != expected)
    return np.unique(np.searchsorted(offsets, wrong, side="right") - 1).tolist()


def differing_write(held: str, real: str) -> str:
    """The first difference of two logs, in words."""
    mine, its = held.splitlines(), real.splitlines()
    if its and its[-1].startswith("!"):  # the runtime's last word
        return f"the instrumented copy stops at line {its[-1][1:]}"
    for step, (one, other) in enumerate(zip(mine, its, strict=False)):
        if one != other:
            return f"step {step}: {_said(one)}, but the compiler has {_said(other)}"
    return f"trace: {len(mine)} writes, but the compiler has {len(its)}"


def _said(write: str) -> str:
    line, _, rest = write.partition(" ")
    return f"line {line}, {' = '.join(rest.rsplit(' ', 1))}"


def as_check(
    verdict: Verdict,
    manifest: dict[str, Any],
    compiler: Compiler,
    sanitize: bool,
    kinds: Sequence[str] = KINDS,
) -> Check:
    """A verdict as a corpus's certificate and card have it."""
    command = "zig cc" if compiler.name == "zig" else compiler.name
    settings = {"compiler": compiler.name, "sanitized": "yes" if sanitize else "no"}
    for name, title, kind in (
        ("stdout", "as it stands, stdout compared", batch.unmodified(compiler, sanitize)),
        ("writes", "instrumented, every write compared", batch.writing()),
    ):
        if name in kinds:
            settings[title] = f"`{command} {' '.join(batch.flags(compiler, kind))}`"
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    of = {
        (label, split): part["rows"]
        for label, entry in manifest["configs"].items()
        for split, part in entry["splits"].items()
    }
    splits = [
        {"config": place[0], "split": place[1], "rows": count.rows, "of": of[place]}
        | {"writes": count.writes, "mismatches": count.mismatches}
        | {"warnings": count.warnings, "date": date}
        for place, count in verdict.counts.items()
    ]
    return {"by": compiler.version, "settings": settings, "splits": splits}


def certify() -> Certifier:
    """The machine's compiler as the judge for ``lego make --certify``: see lego.task.Certified.

    Raises SettingError where no compiler is installed that has sanitizers.
    """
    compiler = find_compiler(sanitize=True)

    def judge(folder: Path, manifest: dict[str, Any]) -> tuple[Check, list[str]]:
        faults: list[str] = []

        def tell(line: str) -> None:
            if len(faults) < TOLD:
                faults.append(line)

        names = dict.fromkeys(split for _, split, _ in shards(manifest))
        splits = [split for split in names if split != "train"]
        verdict = check_corpus(folder, manifest, compiler, tell, splits, sanitize=True)
        return as_check(verdict, manifest, compiler, sanitize=True), faults

    return judge
