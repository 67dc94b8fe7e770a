"""C programs made, published and checked, against what cannot be beaten, and against peers.

Processes that a contestant starts, as compilers are, count with it. All make programs of about the
same size, see ``plain_python``, but for the peers, which have kinds of their own and no traces.

The limit of making is a kernel that draws as many random numbers as the generator does, candidates
that are passed over included, reduces each to a range, writes every byte of new arrays once, and
does nothing else. That of publishing is pyarrow's writer, given the finished columns; that of
instrumenting, the parser alone.
"""

from __future__ import annotations

import dataclasses
import io
import random
import resource
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tree_sitter
import tree_sitter_c
from numba import njit

import lego
from benchmarks.plain_python import Program
from benchmarks.speed import Race, Tables
from cexec import certificate, native, reference
from cexec.expression import DRAWS
from cexec.grammar import ROOM, write_program
from cexec.instrument import instrument
from cexec.sampler import PAIRS
from cexec.source import sources
from lego.corpus import PARQUET, tables, write_shard
from lego.counter import below, stream, word
from lego.task import SettingError

LEVELS = ("loop", "array")
ROUNDS = 5
BATCH = 1_000  # rows of a call: training asks for no more
FAST, SLOW, SLOWEST = 100_000, 2_000, 25  # programs of a round
ROWS = 20_000  # published in a round
CHECKS = 3  # rounds of checking
WHOLE, INSTRUMENTED = {"tcc": 10_000}, {"tcc": 2_000}  # programs of a round, in one C file
OTHERWISE = 500
SHARDS = (1_000, 50_000, 200_000)  # rows whose peak memory is measured
CSMITH = ["--max-funcs", "1", "--max-block-size", "2", "--max-block-depth", "1", "--concise"]
PEAK = """
import sys
from tempfile import TemporaryDirectory
from lego.corpus import write_shard
with TemporaryDirectory() as folder:
    write_shard("cexec", {fields}, 0, "train", 0, {rows}, folder, "all.parquet")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def measure() -> Tables:
    """What lego and cexec do with programs of the levels ``loop`` and ``array``."""
    absent: dict[str, str] = {}
    found: dict[str, str] = {}
    for level in LEVELS:
        made = _race("programs", _making(level, absent))
        found[f"Programs of the level {level}"] = made.table()
    found["`lego make cexec`, all columns"] = _race("rows", _publishing()).table()
    found["Peak memory of `lego make cexec --preset array`"] = _memory(absent)
    checked = _race("programs", _checking("array", absent), CHECKS)
    found["`cexec check`, level array"] = checked.table()
    return Tables(found, absent)


def _race(unit: str, contestants: dict[str, Callable[[], int]], rounds: int = ROUNDS) -> Race:
    """As ``benchmarks.speed.race``, with the time of the processes that a contestant started."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(-1, rounds):
        for name, portion in contestants.items():
            began = spent()
            done = portion()
            if counted >= 0:
                rates[name].append(done / (spent() - began))
    return Race(unit, rates)


def _making(level: str, absent: dict[str, str]) -> dict[str, Callable[[], int]]:
    """Ways to make programs, with or without what they do."""
    task: Any = lego.load_task("cexec", preset=level)
    config = task.config

    def everything(start: int) -> tuple[dict[str, np.ndarray], pa.Array, np.ndarray]:
        batch = task.sample("train", start, start + BATCH)
        source = sources(batch["input_ids"], task.vocabulary, config.kind, config.struct)
        return batch, source, task.executed(batch)["log"]

    batch, source, log = everything(0)
    small = sum(array.nbytes for array in batch.values()) // BATCH
    large = small + (source.nbytes + log.nbytes) // BATCH
    drawn = round(_draws(task))

    def bound(size: int) -> Callable[[int], object]:
        return lambda start: _draw_and_write(start, drawn, np.empty((BATCH, size // 2), np.int16))

    texts = source.to_pylist()
    generator = random.Random(0)

    def plain() -> int:
        for _ in range(SLOW):
            program = Program(generator, level == "array")
            program.run()
            program.source()
        return SLOW

    def interpreted() -> int:
        for _ in range(SLOW // 4):
            reference.run(Program(generator, level == "array").source())
        return SLOW // 4

    return {
        "lego: tokens, source and log of writes": _batches(everything),
        f"limit: {drawn} draws, reduced, and {large:,} bytes, once": _batches(bound(large)),
        "lego: token batches alone": _batches(
            lambda start: task.sample("train", start, start + BATCH)
        ),
        f"limit of that: {drawn} draws and {small:,} bytes": _batches(bound(small)),
        "plain Python: source and log, by closures": plain,
        "plain Python: the same sources, cexec.reference": interpreted,
        **_processes(texts, absent),
        **_csmith(absent),
        **_codeio(absent),
    }


def _batches(make: Callable[[int], object]) -> Callable[[], int]:
    """FAST rows, in calls of BATCH that are told where they start."""

    def portion() -> int:
        for start in range(0, FAST, BATCH):
            make(start)
        return FAST

    return portion


def _draws(task: Any) -> float:
    """Random numbers for a program and its names: those of candidates passed over are counted."""
    batch = task.sample("train", 0, BATCH)
    knobs, room = task.config.knobs("train"), np.zeros(ROOM, np.int64)
    total = np.count_nonzero(batch["objects"][:, :, 1])  # each has a name
    code, objects = np.zeros((PAIRS, 2), np.int16), np.zeros_like(batch["objects"][0])
    for row, kept in enumerate(batch["code"]):
        for attempt in range(BATCH):
            key = np.uint64(stream(task.seed, 0, row, attempt))
            pairs, _, _ = write_program(key, knobs, code, objects, room)
            total += room[DRAWS]
            if pairs >= 0 and np.array_equal(code[:pairs], kept[:pairs]):
                break
        else:
            raise AssertionError(f"row {row} is not the generator's: is numba's cache stale?")
    return total / BATCH


@njit(cache=True)
def _draw_and_write(start, draws, rows):  # type: ignore[no-untyped-def]
    """``draws`` words a row, each reduced to a range; then every byte of the row."""
    for row in range(len(rows)):
        key = stream(0, 0, start + row, 0)
        drawn = np.uint64(0)
        for k in range(draws):
            drawn += below(word(key, k), k + 2)
        value = np.int16(drawn)
        for j in range(rows.shape[1]):
            rows[row, j] = value


def _processes(texts: list[str], absent: dict[str, str]) -> dict[str, Callable[[], int]]:
    """A compiler's process a program, and then one of the program; what it prints is kept."""

    def each(command: str) -> Callable[[], int]:
        def portion() -> int:
            with TemporaryDirectory() as folder:
                for text in texts[:SLOWEST]:
                    Path(folder, "program.c").write_text(text)
                    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
                    if "-run" not in command:
                        subprocess.run("./program", cwd=folder, check=True, capture_output=True)
            return SLOWEST

        return portion

    commands = {
        "gcc": "gcc -std=c11 -O0 program.c -o program",
        "tcc": "tcc -run program.c",
    }
    for name in commands:
        if shutil.which(name) is None:
            absent[f"{name}, one process a program"] = f"no {name} on the PATH"
    return {
        f"{name}, one process a program: stdout": each(command)
        for name, command in commands.items()
        if shutil.which(name)
    }


def _csmith(absent: dict[str, str]) -> dict[str, Callable[[], int]]:
    if shutil.which("csmith") is None:
        absent["Csmith"] = "no csmith on the PATH: apt install csmith"
        return {}
    seeds = count(1)

    def portion() -> int:
        with TemporaryDirectory() as folder:  # it leaves a file there
            for seed in islice(seeds, SLOWEST):
                command = ["csmith", "--seed", str(seed), *CSMITH]
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return SLOWEST

    said = subprocess.run(["csmith", "--version"], capture_output=True, text=True, check=True)
    return {f"{said.stdout.splitlines()[0]}, small: source, no trace": portion}


def _codeio(absent: dict[str, str]) -> dict[str, Callable[[], int]]:
    try:
        import reasoning_gym
    except ImportError:
        absent["reasoning-gym"] = "pip install 'lego-reasoning[bench]'"
        return {}
    made = reasoning_gym.create_dataset("codeio", size=10**9, seed=0)
    items = count()

    def portion() -> int:
        # It tells of every fault of its programs.
        with redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            return len([made[i] for i in islice(items, SLOW // 10)])

    name = f"reasoning-gym {version('reasoning-gym')}, codeio: question and answer, no trace"
    return {name: portion}


def _publishing() -> dict[str, Callable[[], int]]:
    """Rows to a parquet file: all of the work, and pyarrow's part of it."""
    contestants: dict[str, Callable[[], int]] = {}
    for level in LEVELS:
        task: Any = lego.load_task("cexec", preset=level)
        fields = dataclasses.asdict(task.config)
        made = list(tables(task, "train", 0, ROWS))

        def publish(fields: dict[str, Any] = fields) -> int:
            with TemporaryDirectory() as folder:
                write_shard("cexec", fields, 0, "train", 0, ROWS, folder, "all.parquet")
            return ROWS

        def write(made: list[pa.Table] = made) -> int:
            with (
                TemporaryDirectory() as folder,
                pq.ParquetWriter(Path(folder, "all.parquet"), made[0].schema, **PARQUET) as writer,
            ):
                for table in made:
                    writer.write_table(table)
            return ROWS

        contestants[f"lego make, {level}"] = publish
        contestants[f"limit: pyarrow's writer alone, {level}"] = write
    return contestants


def _memory(absent: dict[str, str]) -> str:
    """What a process of its own holds at most while it makes one shard."""
    lines = ["| rows of the shard | MB |", "| ---: | ---: |"]
    fields = dataclasses.asdict(lego.load_task("cexec", preset="array").config)
    for rows in SHARDS:
        if not Path("/proc/self/status").exists():
            absent["peak memory"] = "read from /proc, which this system does not have"
            break
        script = PEAK.format(fields=fields, rows=rows)
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        lines.append(f"| {rows:,} | {int(run.stdout) // 1024:,} |")
    return "\n".join(lines)


def _checking(level: str, absent: dict[str, str]) -> dict[str, Callable[[], int]]:
    """Both comparisons of ``cexec check``, each on other programs in every round."""
    task: Any = lego.load_task("cexec", preset=level)
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))
    contestants: dict[str, Callable[[], int]] = {}

    def checking(check: Callable[[pa.Table], object], rows: int) -> Callable[[], int]:
        starts = range(0, (1 + CHECKS) * rows, rows)
        parts = iter([task.table(task.sample("train", k, k + rows)) for k in starts])

        def portion() -> int:
            faults = check(next(parts))
            if faults:
                raise AssertionError(faults)
            return rows

        return portion

    for name in native.COMPILERS[1:]:
        try:
            compiler = native.find_compiler(name)
        except SettingError as error:
            absent[f"cexec check --compiler {name}"] = str(error)
            continue
        whole, reporting = (of.get(name, OTHERWISE) for of in (WHOLE, INSTRUMENTED))

        def stdout(table: pa.Table, compiler: native.Compiler = compiler) -> object:
            return certificate.compare_stdout(table, compiler)[0]

        def writes(table: pa.Table, compiler: native.Compiler = compiler) -> object:
            return certificate.compare_writes(table, compiler)

        def sanitized(table: pa.Table, compiler: native.Compiler = compiler) -> object:
            return certificate.compare_stdout(table, compiler, sanitize=True)[0]

        contestants[f"{name}: as it stands, stdout"] = checking(stdout, whole)
        contestants[f"{name}: instrumented, every write"] = checking(writes, reporting)
        if name in native.SANITIZE:
            contestants[f"{name}: sanitized, stdout"] = checking(sanitized, whole)
    texts = task.table(task.sample("train", 0, SLOW))["source"].to_pylist()

    def instrumented() -> int:
        return len([instrument(text) for text in texts])

    def parsed() -> int:
        return len([parser.parse(text.encode()) for text in texts])

    contestants["instrumenting alone, as `cexec trace` does"] = instrumented
    contestants["limit of that: tree-sitter-c parses, no more"] = parsed
    return contestants
