"""The cells of a grid of training runs: their settings, their names, and a check of them all."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lego.command import assignments
from lego.settings import Settings, dump_settings, read_settings
from lego.task import choose, require
from lego.train import open_model, open_training

Grid = Mapping[str, Sequence[Any]]


def parse_grid(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """``["model=a,b", "fields.n=6,8"]`` as lists of values, each read as YAML.

    A comma inside brackets or quotes is part of its value.
    """
    grid: dict[str, list[Any]] = {}
    for pair in pairs:
        name, sign, values = pair.partition("=")
        require(bool(name and sign), "grid", pair, "field=value,value,...")
        require(name not in grid, "grid", pair, f"{name} once")
        grid |= assignments([f"{name}=[{values}]"])
        require(bool(grid[name]), "grid", pair, "a value or more")
    return grid


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. ``fields``: the grid's own, with their values here."""

    fields: dict[str, Any]
    settings: Settings

    @property
    def folder(self) -> Path:
        return Path(self.settings.run)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all settings but the folder: what a cell is known by."""
        return _sha256(dump_settings(dataclasses.replace(self.settings, run=".")))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cell_name(fields: Mapping[str, Any]) -> str:
    """A folder's name for a cell, whatever the order of the fields.

    A value that is long, or has other than letters, digits, ``.``, ``_``, ``+`` and ``-`` in it,
    is cut short and gets the head of its SHA-256.
    """
    parts = []
    for field, value in sorted(fields.items()):
        text = as_text(value)
        if not re.fullmatch(r"[\w.+-]{1,40}", text, re.ASCII):
            head = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-")
            text = f"{head[:24]}-{_sha256(text)[:8]}"
        parts.append(f"{field}={text}")
    name = ",".join(parts)
    return name if len(name) <= 200 else f"{name[:190]}-{_sha256(name)[:8]}"  # names end at 255


def make_cells(
    config: str | Path, runs: Path, grid: Grid, overrides: Mapping[str, Any]
) -> list[Cell]:
    """All combinations of the grid's values, the last field changing fastest; folders in ``runs``.

    Raises SettingError for an unknown field, a bad value, and a cell that comes twice.
    """
    chosen = {**overrides, **grid}
    require("run" not in chosen, "run", chosen.get("run"), "none here: --out has the runs")
    base = read_settings(config, {**overrides, "run": str(runs)})
    mappings = {k: v for k, v in dataclasses.asdict(base).items() if isinstance(v, dict)}
    for name in grid:
        outer, dot, _ = name.partition(".")
        if dot:
            choose("grid", outer, mappings)
            require(outer not in grid, "grid", name, f"without {outer} beside it")
        require(name not in overrides, name, overrides.get(name), "none: it is in --grid too")
    cells: dict[str, Cell] = {}
    for values in itertools.product(*grid.values()):
        given = {**overrides, "run": str(runs)}
        for name, value in zip(grid, values, strict=True):
            outer, dot, inner = name.partition(".")
            given[outer] = {**given.get(outer, mappings[outer]), inner: value} if dot else value
        settings = read_settings(config, given)
        fields = {name: _value(settings, name) for name in grid}
        name = cell_name(fields)
        require(name not in cells, "grid", name, "each cell once")
        folder = str(runs / name)
        cells[name] = Cell(fields, dataclasses.replace(settings, run=folder))
    return list(cells.values())


def _value(settings: Settings, name: str) -> Any:
    outer, dot, inner = name.partition(".")
    value = getattr(settings, outer)
    return value[inner] if dot else value


def count_parameters(cells: Sequence[Cell]) -> dict[str, int]:
    """The parameters of each cell's model, by the cell's digest: a check of data and models too."""
    known: dict[str, int] = {}
    counts = {}
    for cell in cells:
        settings = cell.settings
        what = (settings.task, settings.preset, settings.fields, settings.corpus)
        key = repr((what, settings.model, settings.model_fields))
        if key not in known:
            known[key] = _parameters(settings)
        counts[cell.digest] = known[key]
    return counts


def _parameters(settings: Settings) -> int:
    return open_model(settings, open_training(settings), initial=False).num_parameters()


def as_text(value: Any) -> str:
    """A value as people write it: JSON, and a string as it is."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
