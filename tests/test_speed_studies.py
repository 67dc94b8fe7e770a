"""A batch is raced only against a loop that finds the same rows."""

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.speed.studies import batched, compare, one_by_one, same_rows
from benchmarks.study import Part, Study


@dataclass(frozen=True)
class Settings:
    seeds: int = 3
    widths: tuple[int, ...] = (1, 2)
    depths: tuple[str, ...] = ("a", "b")


def honest(settings, seeds):
    return [
        {"seed": seed, "width": w, "depth": d, "sum": np.array([seed + w / 3, np.nan])}
        for w in settings.widths
        for d in settings.depths
        for seed in seeds
    ]


def leaky(settings, seeds):
    """What it finds for one seed depends on the others."""
    return [{"seed": seed, "mean": float(np.mean(seeds))} for seed in seeds]


def test_the_loop_calls_for_each_seed_and_combination_of_cells():
    calls = []

    def noted(settings, seeds):
        calls.append((settings, list(seeds)))
        return honest(settings, seeds)

    part = Part(noted, batched=True, cells=("widths", "depths"))
    rows = list(one_by_one(part, Settings(), range(4, 7)))
    assert len(calls) == 3 * 2 * 2
    assert calls[1] == (Settings(1, (1,), ("b",)), [4])
    assert len(rows) == 12
    same_rows(honest(Settings(), range(4, 7)), rows)


def test_rows_that_are_not_the_same_are_refused():
    part = Part(leaky, batched=True)
    with pytest.raises(ValueError, match="only in one batch"):
        same_rows(leaky(Settings(), range(3)), one_by_one(part, Settings(), range(3)))
    rows = honest(Settings(), range(3))
    first, *rest = rows
    wide, off = {**first, "width": 9}, {**first, "sum": [0.1, np.nan]}
    for other in (rest, [*rows, first], [wide, *rest], [off, *rest]):
        with pytest.raises(ValueError):
            same_rows(rows, other)
    same_rows(rows, [{**row, "sum": row["sum"] * (1 + 1e-6)} for row in reversed(rows)])


def test_batched_parts_are_raced():
    parts = {"one": Part(honest), "all": Part(honest, True, ("widths", "depths"))}
    study = Study("", "", "", "", "", {"smoke": Settings()}, parts, lambda *_: [], lambda *_: [])
    found = batched(study)
    assert list(found) == ["all"]
    raced = compare(*found["all"], rounds=2)
    assert [len(rates) for rates in raced.rates.values()] == [2, 2]
    assert "one batch" in raced.table()
