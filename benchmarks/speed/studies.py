"""Studies that solve all seeds and cells in one batch, against a plain loop over them.

Each batched part of each study, at the scale ``smoke``. That the loop finds the same rows is
checked for all parts before the first is raced.
"""

from __future__ import annotations

import dataclasses
import math
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import studies
from benchmarks.speed import Race, Tables, race
from benchmarks.study import Part, Row, Study, load

SCALE, ROUNDS = "smoke", 2
RTOL, ATOL = 1e-4, 1e-6  # of a number of a row


def measure() -> Tables:
    """One table a part; a study that has none which is batched is absent."""
    torch.set_num_threads(1)
    names = [module.name.replace("_", "-") for module in pkgutil.iter_modules(studies.__path__)]
    found = {name: batched(load(name)) for name in names}
    absent = {name: "it takes a seed at a time" for name, parts in found.items() if not parts}
    parts = {f"{name}, {part}": one for name in names for part, one in found[name].items()}
    for part, settings in tqdm(parts.values(), desc="the same rows"):
        seeds = range(settings.seeds)
        same_rows(part.measure(settings, seeds), one_by_one(part, settings, seeds))
    raced = {title: compare(*one).table() for title, one in tqdm(parts.items(), desc="races")}
    return Tables(raced, absent)


def batched(study: Study) -> dict[str, tuple[Part, Any]]:
    """The batched parts of a study by name, with its settings."""
    settings = study.scales[SCALE]
    return {name: (part, settings) for name, part in study.parts.items() if part.batched}


def compare(part: Part, settings: Any, rounds: int = ROUNDS) -> Race:
    """A race of what ``same_rows`` has seen."""
    seeds = range(settings.seeds)

    def batch() -> int:
        return len(list(part.measure(settings, seeds)))

    def loop() -> int:
        return len(list(one_by_one(part, settings, seeds)))

    contestants = {"one batch": batch, "a loop over seeds and cells": loop}
    return race("rows", contestants, rounds, warm=True)


def one_by_one(part: Part, settings: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """The rows of a part from one call for each seed and each combination of its cells."""
    cells = list(product(*(getattr(settings, name) for name in part.cells)))
    for seed, cell in product(seeds, cells):
        alone = {name: (value,) for name, value in zip(part.cells, cell, strict=True)}
        yield from part.measure(dataclasses.replace(settings, seeds=1, **alone), [seed])


def same_rows(ours: Iterable[Row], others: Iterable[Row]) -> None:
    """Raises ValueError for rows that are not the same in any order: floats to RTOL or ATOL, all
    else exactly."""
    left = [dict(_leaves("", row)) for row in others]
    for row in ours:
        wanted = dict(_leaves("", row))
        match = next((i for i, other in enumerate(left) if _same(wanted, other)), None)
        if match is None:
            raise ValueError(f"only in one batch: {wanted}")
        left.pop(match)
    if left:
        raise ValueError(f"only alone: {left[0]}")


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    if row.keys() != other.keys():
        return False
    return all(_close(value, other[key]) for key, value in row.items())


def _close(a: Any, b: Any) -> bool:
    if not (isinstance(a, float) and isinstance(b, float)):
        return bool(a == b)
    return math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL) or (a != a and b != b)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values of a row that are no lists or dicts, each with the way to it."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(f"{key}.{name}", one)
    elif isinstance(value, list | tuple):
        for i, one in enumerate(value):
            yield from _leaves(f"{key}[{i}]", one)
    else:
        yield key, value
