"""A grid of training runs: ``lego sweep``.

A sweep is a folder: ``sweep.yaml`` says what it is, ``runs/`` has the run folder of each cell, and
``results.jsonl`` gets a line for each cell that has ended. The same command on the same folder runs
what is missing, and cells that were begun go on from their checkpoints.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from tqdm import tqdm

from lego.corpus import whole_file
from lego.engine import ENGINES, start_ray
from lego.grid import Cell, Grid, as_text, cell_name, count_parameters, make_cells
from lego.record import read_metrics
from lego.settings import dump_settings
from lego.task import choose, require
from lego.workers import run_local, run_ray

Record = dict[str, Any]
PLAN, RUNS, RESULTS = "sweep.yaml", "runs", "results.jsonl"
SHOWN = {"test_accuracy": 4, "seconds": 1}  # columns of the table, and their digits


class Sweep:
    """All cells of a grid over a config, and the folder of their results.

    ``overrides`` replace fields of the config in every cell. A field of the grid is one of
    ``lego.settings.Settings``, or one inside a mapping of it, as in ``fields.n``.
    Raises SettingError, with nothing written, when any cell has bad settings, and for a folder
    with anything else in it, such as a sweep of another config or of cells that this one lacks.
    """

    def __init__(
        self, config: str | Path, out: str | Path, grid: Grid, overrides: Mapping[str, Any]
    ) -> None:
        self.folder, self.names = Path(out), list(grid)
        self.cells = make_cells(config, self.folder / RUNS, grid, overrides)
        self._parameters = count_parameters(self.cells)
        shared = dataclasses.asdict(self.cells[0].settings)  # what is the same in all cells
        for name in ("run", *grid):
            outer, dot, inner = name.partition(".")
            if dot:
                del shared[outer][inner]
            else:
                del shared[outer]
        values: dict[str, list[Any]] = {name: [] for name in grid}
        for cell in self.cells:
            for name, value in cell.fields.items():
                if value not in values[name]:
                    values[name].append(value)
        # As YAML gives it back, which knows no tuples.
        plan = {"config": shared, "grid": values}
        self._plan = yaml.safe_load(yaml.safe_dump(plan, sort_keys=False))
        self._refuse_other()

    def _refuse_other(self) -> None:
        folder, file = self.folder, self.folder / PLAN
        if not file.is_file():
            held = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
            require(held, "out", str(folder), "a new or empty folder, or one of this sweep")
            return
        there, where = yaml.safe_load(file.read_text()), f"as in {file} (or take another --out)"
        mine = self._plan["grid"]
        fields = ", ".join(there["grid"])
        require(set(mine) == set(there["grid"]), "grid", ", ".join(mine), f"{fields}, {where}")
        for name, values in there["grid"].items():
            lost = [value for value in values if value not in mine[name]]
            require(not lost, f"grid {name}", mine[name], f"with {lost} besides, {where}")
        for name, value in self._plan["config"].items():
            held = there["config"].get(name)
            require(value == held, name, value, f"{held!r}, {where}")

    def records(self) -> dict[str, Record]:
        """The last line on each cell that has one, by the cell's digest."""
        file = self.folder / RESULTS
        lines = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
        return {record["config"]: record for record in map(json.loads, lines)}

    def missing(self) -> list[Cell]:
        """The cells that have not ended well."""
        known = self.records()
        return [cell for cell in self.cells if "error" in known.get(cell.digest, {"error": ""})]

    def run(self, engine: str = "local", workers: int | None = None) -> bool:
        """Run what is missing; True when every cell has ended well.

        ``workers``: processes on this machine, by default as many as its cores have room for; with
        ``ray``, a cell is a task that asks for as many CPUs as it has threads. A cell that fails
        has an ``error`` in its line, and the next ``run`` tries it again.
        """
        choose("engine", engine, ENGINES)
        require(workers is None or workers >= 1, "workers", workers, "1 or more")
        if engine == "ray":
            start_ray()  # refuses where there is none, before anything is written
        with self._claimed() as results:
            missing = {cell.folder: cell for cell in self.missing()}
            for cell in missing.values():
                # What a run that was killed at once leaves, so that this one goes on from there.
                # Written anew: the sweep may have been moved, or be called by another path.
                with whole_file(cell.folder / "config.yaml") as temporary:
                    temporary.write_text(dump_settings(cell.settings))
            jobs = [(folder, cell.settings.threads) for folder, cell in missing.items()]
            done, total = len(self.cells) - len(missing), len(self.cells)
            with (
                closing(run_ray(jobs) if engine == "ray" else run_local(jobs, workers)) as events,
                tqdm(initial=done, total=total, unit="cell", desc=str(self.folder)) as bar,
            ):
                for event in events:
                    if event is not None:
                        folder, outcome = event
                        self._append(results, missing.pop(folder), outcome)
                        bar.update()
                    standings = ", ".join(filter(None, map(_standing, missing)))
                    if standings != bar.postfix:
                        bar.set_postfix_str(standings)
        return not self.missing()

    @contextmanager
    def _claimed(self) -> Iterator[int]:
        """The results file, open to append to: with no torn line, and no other sweep at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            lock = os.open(self.folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                require(False, "out", str(self.folder), "a folder that no other sweep is at now")
            with whole_file(self.folder / PLAN) as temporary:
                temporary.write_text(yaml.safe_dump(self._plan, sort_keys=False))
            file = self.folder / RESULTS
            results = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            stack.callback(os.close, results)
            os.ftruncate(results, file.read_bytes().rfind(b"\n") + 1)
            yield results

    def _append(self, results: int, cell: Cell, outcome: Record) -> None:
        place = {"run": str(cell.folder.relative_to(self.folder)), "config": cell.digest}
        record = cell.fields | place | {"parameters": self._parameters[cell.digest]} | outcome
        os.write(results, (json.dumps(record) + "\n").encode())
        os.fsync(results)

    def table(self) -> str:
        """A row a cell; below those that differ in ``seed`` alone, ``mean (lowest..highest)``."""
        known = self.records()
        groups: dict[str, list[Cell]] = {}
        for cell in self.cells:
            rest = {name: value for name, value in cell.fields.items() if name != "seed"}
            groups.setdefault(cell_name(rest), []).append(cell)
        rows = [[*self.names, *SHOWN]]
        errors = []
        for cells in groups.values():
            records = [known.get(cell.digest, {}) for cell in cells]
            for cell, record in zip(cells, records, strict=True):
                numbers = [_number(record.get(name), digits) for name, digits in SHOWN.items()]
                rows.append([*map(as_text, cell.fields.values()), *numbers])
                if "error" in record:
                    errors.append(f"{cell.folder}: {record['error']}")
            if "seed" in self.names and len(cells) > 1:
                fields = cells[0].fields | {"seed": "mean"}
                spread = [_spread(records, name, digits) for name, digits in SHOWN.items()]
                rows.append([*map(as_text, fields.values()), *spread])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines + errors)


def _standing(folder: Path) -> str | None:
    """How a run that goes on does on the evaluation split it measured last."""
    for line in reversed(read_metrics(folder)):
        if line["split"] != "train":
            return f"{folder.name} {line['accuracy']:.3f}"
    return None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _spread(records: Sequence[Record], name: str, digits: int) -> str:
    values = [record[name] for record in records if record.get(name) is not None]
    if not values:
        return "-"
    mean, low, high = (_number(v, digits) for v in (fmean(values), min(values), max(values)))
    return f"{mean} ({low}..{high})"
