"""Speed comparisons: two programs that do the same work, in turns, in one process.

A ratio of two rates that were measured side by side means something on a noisy machine; a rate
alone does not. Each module of this package has a function ``measure`` that returns a ``Race``, or
``Tables`` of several.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Tables:
    """Markdown tables by title, and what could not be measured, with the reason."""

    tables: dict[str, str]
    absent: dict[str, str] = field(default_factory=dict)

    def table(self) -> str:
        parts = [f"{title}:\n\n{table}" for title, table in self.tables.items()]
        if self.absent:
            parts.append("\n".join(f"Absent: {name} ({why})" for name, why in self.absent.items()))
        return "\n\n".join(parts)


def figure(number: float) -> str:
    """A number to three significant digits: 1,590, or 0.0123."""
    return f"{float(f'{number:.3g}'):,.10g}"


def race(
    unit: str,
    contestants: Mapping[str, Callable[[], float]],
    rounds: int = 9,
    warm: bool = False,
) -> Race:
    """Let the contestants do their portion in turns; each returns how many units it did.

    A round before the first is not counted: it compiles and fills caches. ``warm``: that was done
    before, as by a check of what they find.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(0 if warm else -1, rounds):
        for name, portion in contestants.items():
            began = time.process_time()
            done = portion()
            spent = time.process_time() - began
            if counted >= 0:
                rates[name].append(done / spent)
    return Race(unit, rates)
