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
        """How many times as long as the first another contestant took, round by round."""
        first = next(iter(self.rates.values()))
        return [a / b for a, b in zip(first, self.rates[other], strict=True)]

    def table(self) -> str:
        """A line of markdown a contestant: its rate and ratio, medians, and the ratio's range."""
        first = next(iter(self.rates))
        lines = [
            f"| | {self.unit} a CPU second | time for each, {first} = 1 | in all rounds |",
            "| --- | ---: | ---: | ---: |",
        ]
        for name, rates in self.rates.items():
            ratios = self.ratios(name)
            rate, middle = figure(statistics.median(rates)), figure(statistics.median(ratios))
            extent = "" if name == first else f"{figure(min(ratios))}..{figure(max(ratios))}"
            lines.append(f"| {name} | {rate} | {middle} | {extent} |")
        return "\n".join(lines)


def figure(number: float) -> str:
    """A number to three significant digits: 1,590, or 0.0123."""
    return f"{float(f'{number:.3g}'):,.10g}"


def race(unit: str, contestants: dict[str, Callable[[], int]], rounds: int = 9) -> Race:
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
