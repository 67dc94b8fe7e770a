"""Speed comparisons: two programs that do the same work, in turns, in one process.

A ratio of two rates that were measured side by side means something on a noisy machine; a rate
alone does not. Each module of this package has a function ``measure`` that returns a ``Race``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Race:
    """``rates``: for each contestant, ours first, what it did a CPU second in each round."""

    unit: str
    rates: dict[str, list[float]]

    def ratios(self, other: str) -> list[float]:
        """How many times faster the first contestant was than another, round by round."""
        first = next(iter(self.rates.values()))
        return [a / b for a, b in zip(first, self.rates[other], strict=True)]

    def lines(self) -> list[str]:
        """One line a contestant: the median rate, and how much faster the first one is."""
        ours = next(iter(self.rates))
        shown = []
        for name, rates in self.rates.items():
            line = f"{name}: {statistics.median(rates):,.0f} {self.unit} a CPU second"
            if name != ours:
                each = sorted(self.ratios(name))
                middle = statistics.median(each)
                line += f"; {ours} is {middle:,.2f} times as fast ({each[0]:,.2f}..{each[-1]:,.2f})"
            shown.append(line)
        return shown


def race(unit: str, contestants: dict[str, Callable[[], int]], rounds: int = 5) -> Race:
    """Let the contestants do their portion in turns; each returns how many units it did.

    A round before the first is not counted: it compiles and fills caches.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(-1, rounds):
        for name, portion in contestants.items():
            began = time.process_time()
            done = portion()
            spent = time.process_time() - began
            if counted >= 0:
                rates[name].append(done / spent)
    return Race(unit, rates)
