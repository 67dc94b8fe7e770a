"""The frame of all studies: what a study states, and how it is run over seeds and taken up again.

A module of ``benchmarks.studies`` has a ``STUDY`` and holds its science alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import lego
from benchmarks.page import Picture, Table, write_page
from benchmarks.verdict import Check, verdict
from lego import engine
from lego.corpus import whole_file
from lego.task import require

Row = dict[str, Any]  # JSON; its "seed" among them
Found = Mapping[str, pd.DataFrame]  # by part, a line a row
LOG = "measured.jsonl"  # what is done, of a study that is not
RESULTS = "results.json"
LIBRARIES = ("numpy", "scipy", "torch", "scikit-learn", "cvxpy")


@dataclass(frozen=True)
class Part:
    """``measure(settings, seeds)`` gives rows with at least their ``seed``.

    It gets one seed at a time; with ``batched`` all of them, to solve in one batch with all
    combinations of the settings that ``cells`` names, tuples each.
    """

    measure: Callable[[Any, Sequence[int]], Iterable[Row]]
    batched: bool = False
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A claim and all that decides it.

    ``claim``; its ``source`` (paper, section); the ``criterion`` fixed in advance; the ``method``;
    what of it is our ``reconstruction``: text for the page. ``scales``: settings for ``smoke``,
    ``cpu`` and ``paper``, frozen dataclasses of one type with a field ``seeds``, how many; a field
    made by ``option`` can be set on the command line. ``judge`` makes of what the ``parts`` found
    the checks of the criterion, ``show`` the tables and pictures of the page, in order.
    """

    claim: str
    source: str
    criterion: str
    method: str
    reconstruction: str
    scales: Mapping[str, Any]
    parts: Mapping[str, Part]
    judge: Callable[[Found, Any], Sequence[Check]]
    show: Callable[[Found, Any], Iterable[Table | Picture]]


def option(default: str | None, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A field of a study's settings that the command line can set."""
    return field(default=default, metadata={"help": help, "choices": choices})


def options(study: Study) -> dict[str, Mapping[str, Any]]:
    """The options of a study by name: ``help`` and ``choices``."""
    fields = dataclasses.fields(next(iter(study.scales.values())))
    return {one.name: one.metadata for one in fields if one.metadata}


def module_name(name: str) -> str:
    return f"benchmarks.studies.{name.replace('-', '_')}"


def load(name: str) -> Study:
    """A study by its name, such as ``bias-separable``: the module of that name has it."""
    study: Study = import_module(module_name(name)).STUDY
    return study


def run(
    name: str,
    scale: str,
    out: Path,
    seeds: Sequence[int] | None = None,
    given: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Run a study, or what of it is not done, and write ``results.json``, figures and the page
    ``README.md`` into the folder ``out``; returns what is in ``results.json``.

    ``seeds``: None for 0, 1, ... as many as the scale has. ``given``: values of its options. Each
    part that is done, of one seed or batched, is on disk before the next is counted as begun: what
    was killed goes on from there. Raises SettingError for a folder with another study's results,
    or of other settings.
    """
    study = load(name)
    settings = dataclasses.replace(study.scales[scale], **(given or {}))
    seeds = range(settings.seeds) if seeds is None else seeds
    settings = dataclasses.replace(settings, seeds=len(seeds))
    about = {"study": name, "scale": scale, "settings": _plain(settings), "lego": lego.__version__}
    out.mkdir(parents=True, exist_ok=True)
    done = _done(out, about)
    jobs = [
        (name, part, settings, those)
        for part, one in study.parts.items()
        for those in ([tuple(seeds)] if one.batched else [(seed,) for seed in seeds])
    ]
    missing = [job for job in jobs if (job[1], job[3]) not in done]
    log = out / LOG
    _write_log(log, about, done.values())
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc=name, disable=not progress)
    with bar, log.open("a") as file:
        for unit in engine.run(_measure, missing, workers):
            print(json.dumps(unit), file=file, flush=True)
            os.fsync(file.fileno())
            done[unit["part"], tuple(unit["seeds"])] = unit
            bar.update()
    units = [done[part, those] for _, part, _, those in jobs]
    found = tables(study, units)
    checks = list(study.judge(found, settings))
    results = about | {
        "claim": study.claim,
        "source": study.source,
        "criterion": study.criterion,
        "method": study.method,
        "reconstruction": study.reconstruction,
        "seeds": list(seeds),
        "given": dict(given or {}),
        "machine": machine(),
        "checks": [_plain(check) | {"outcome": check.outcome} for check in checks],
        "verdict": verdict(checks),
        "measured": units,
    }
    with whole_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    (out / LOG).unlink(missing_ok=True)
    write_page(out, results, list(study.show(found, settings)))
    return results


def tables(study: Study, units: Iterable[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """What the parts found, a table each."""
    rows: dict[str, list[Row]] = {part: [] for part in study.parts}
    for unit in units:
        rows[unit["part"]].extend(unit["rows"])
    return {part: pd.DataFrame(found) for part, found in rows.items()}


def _measure(name: str, part: str, settings: Any, seeds: tuple[int, ...]) -> dict[str, Any]:
    """A unit of work: what a part finds for these seeds, and the CPU seconds it took."""
    began = time.process_time()
    rows = [_plain(row) for row in load(name).parts[part].measure(settings, seeds)]
    seconds = round(time.process_time() - began, 3)
    return {"part": part, "seeds": list(seeds), "seconds": seconds, "rows": rows}


def _plain(value: Any) -> Any:
    """Settings and rows as JSON has them: lists, dicts and Python's own numbers, null for NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


Units = dict[tuple[str, tuple[int, ...]], Mapping[str, Any]]  # by part and seeds


def _done(out: Path, about: Mapping[str, Any]) -> Units:
    """What the folder's results, or the log of a run that was stopped, hold already."""
    units: list[Mapping[str, Any]] = []
    if (out / RESULTS).exists():
        results = json.loads((out / RESULTS).read_text())
        _same(out, results, about)
        units += results["measured"]
    if (out / LOG).exists():
        first, *lines = (out / LOG).read_text().splitlines(keepends=True)
        _same(out, json.loads(first), about)
        units += [json.loads(line) for line in lines if line.endswith("\n")]  # one may be cut off
    return {(unit["part"], tuple(unit["seeds"])): unit for unit in units}


def _same(out: Path, there: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    for key, value in about.items():
        other = there.get(key)
        if isinstance(value, dict) and isinstance(other, dict):  # more seeds are added to those
            value, other = ({**one, "seeds": None} for one in (value, other))
        allowed = f"a folder for {key}={value!r}; this one has {key}={other!r}: name another"
        require(value == other, "out", str(out), allowed)


def _write_log(log: Path, about: Mapping[str, Any], units: Iterable[Mapping[str, Any]]) -> None:
    with whole_file(log) as temporary:
        lines = [json.dumps(about), *map(json.dumps, units)]
        temporary.write_text("".join(f"{line}\n" for line in lines))


def machine() -> dict[str, Any]:
    """What the page says of where it was measured."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    found = {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
