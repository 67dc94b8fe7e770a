"""What a study decides by: a number with its interval, on one side of a bound fixed in advance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

HOLDS, FAILS, UNSURE = "holds", "does not hold", "inconclusive"
LEVEL = 0.95  # of the interval of ``mean``


@dataclass(frozen=True)
class Check:
    """``name`` says what is required, in words; it holds when the whole interval is on the right
    side of the bound, and does not hold when the whole interval is on the other.

    ``control``: a case in which the claim must fail. If it does not, the other checks say nothing.
    """

    name: str
    estimate: float
    low: float
    high: float
    bound: float
    above: bool  # the right side; else below
    seeds: int
    interval: str  # of what kind
    control: bool = False

    @property
    def outcome(self) -> str:
        right, wrong = self.low >= self.bound, self.high < self.bound
        if not self.above:
            right, wrong = self.high <= self.bound, self.low > self.bound
        return HOLDS if right else FAILS if wrong else UNSURE


def every(
    name: str,
    values: Iterable[float],
    *,
    below: float | None = None,
    above: float | None = None,
    control: bool = False,
) -> Check:
    """Each seed's value, one a seed, is on the right side: the interval is their range, the
    estimate their median."""
    found = _values(values)
    low, high = (found.min(), found.max()) if len(found) else (np.nan, np.nan)
    middle = np.median(found) if len(found) else np.nan
    bound = _bound(below, above)
    kind = "range of the seeds"
    return _check(name, middle, low, high, *bound, len(found), kind, control)


def mean(
    name: str,
    values: Iterable[float],
    *,
    below: float | None = None,
    above: float | None = None,
    control: bool = False,
) -> Check:
    """The mean over seeds, one value a seed, is on the right side; Student's interval."""
    found = _values(values)
    n, middle = len(found), float(found.mean()) if len(found) else np.nan
    half = np.inf
    if n > 1:
        half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * found.std(ddof=1) / np.sqrt(n))
    bound = _bound(below, above)
    kind = f"{LEVEL:.0%} of the mean"
    return _check(name, middle, middle - half, middle + half, *bound, n, kind, control)


def verdict(checks: Sequence[Check]) -> str:
    """``holds`` if all do, ``does not hold`` if one does not, else ``inconclusive``; also where a
    control did not fail as it must, since then the criterion would accept anything."""
    claimed = [check.outcome for check in checks if not check.control]
    if any(check.outcome != FAILS for check in checks if check.control) or not claimed:
        return UNSURE
    return FAILS if FAILS in claimed else UNSURE if UNSURE in claimed else HOLDS


def _check(
    name: str,
    middle: float,
    low: float,
    high: float,
    bound: float,
    above: bool,
    seeds: int,
    interval: str,
    control: bool,
) -> Check:
    numbers = (float(middle), float(low), float(high), float(bound))
    return Check(name, *numbers, above, seeds, interval, control)


def _values(values: Iterable[float]) -> np.ndarray:
    return np.asarray(list(values), np.float64)


def _bound(below: float | None, above: float | None) -> tuple[float, bool]:
    if (below is None) == (above is None):
        raise ValueError("one of below and above is needed")
    return (below, False) if above is None else (above, True)  # type: ignore[return-value]
