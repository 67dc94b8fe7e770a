"""Small models whose training can be followed to its limit, and how far their tangent kernel moves.

With the kernel J J^T as it is at the start, training would end at the interpolant of least change
(``lazy``): this is the kernel regime, and the distance from it says how far a model is from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.common.flow import LeastSquares


@dataclass(frozen=True)
class Diagonal(LeastSquares):
    """f(x) = <u^D - v^D, x>: inputs (batch, outputs, columns), depth D (batch, 1); weights: u, v,
    all positive."""

    inputs: np.ndarray
    depth: np.ndarray

    def gradient(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        residual = (self.inputs @ predictor(weights, self.depth)[..., None])[..., 0] - self.labels
        back = (residual[:, None] @ self.inputs)[:, 0]
        slope = self.depth * weights ** (self.depth - 1)
        return residual, slope * np.concatenate([back, -back], 1)

    def jacobian(self, weights: np.ndarray) -> np.ndarray:
        slope = self.depth * weights ** (self.depth - 1)
        return np.concatenate([self.inputs, -self.inputs], 2) * slope[:, None]


def predictor(weights: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """beta (batch, columns) of u and v."""
    u, v = np.split(weights**depth, 2, axis=1)
    return np.asarray(u - v)


@dataclass(frozen=True)
class Factors(LeastSquares):
    """Entries of U V^T: their one-hot rows and columns (batch, outputs, side).

    Weights: U and V, (side, width) each.
    """

    rows: np.ndarray
    columns: np.ndarray

    def factors(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch, _, side = self.rows.shape
        u, v = np.split(weights, 2, axis=1)
        return u.reshape(batch, side, -1), v.reshape(batch, side, -1)

    def gradient(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = self.factors(weights)
        residual = ((self.rows @ u) * (self.columns @ v)).sum(2) - self.labels
        back = self.rows.swapaxes(1, 2) @ (
            residual[..., None] * self.columns
        )  # (batch, side, side)
        flat = [one.reshape(len(u), -1) for one in (back @ v, back.swapaxes(1, 2) @ u)]
        return residual, np.concatenate(flat, 1)

    def jacobian(self, weights: np.ndarray) -> np.ndarray:
        u, v = self.factors(weights)
        left = self.rows[..., None] * (self.columns @ v)[:, :, None]
        right = self.columns[..., None] * (self.rows @ u)[:, :, None]
        return np.concatenate([one.reshape(*left.shape[:2], -1) for one in (left, right)], 2)


@dataclass(frozen=True)
class Relu(LeastSquares):
    """f(x) = sum_j a_j relu(<w_j, x>): inputs (batch, outputs, inputs).

    Weights: (1 + inputs, width), the row of the a_j and then the w_j as columns.
    """

    inputs: np.ndarray

    def layers(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """a (batch, 1, width), and <w_j, x> (batch, outputs, width)."""
        batch, _, inputs = self.inputs.shape
        rows = weights.reshape(batch, 1 + inputs, -1)
        return rows[:, :1], self.inputs @ rows[:, 1:]

    def gradient(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outer, before = self.layers(weights)
        hidden = np.maximum(before, 0)
        residual = (hidden @ outer.swapaxes(1, 2))[..., 0] - self.labels
        inner = self.inputs.swapaxes(1, 2) @ ((before > 0) * residual[..., None]) * outer
        rows = np.concatenate([residual[:, None] @ hidden, inner], 1)
        return residual, rows.reshape(len(rows), -1)

    def jacobian(self, weights: np.ndarray) -> np.ndarray:
        outer, before = self.layers(weights)
        inner = self.inputs[..., None] * ((before > 0) * outer)[:, :, None]
        rows = np.concatenate([np.maximum(before, 0)[:, :, None], inner], 2)
        return rows.reshape(*rows.shape[:2], -1)


def lazy(problems: LeastSquares, everywhere: LeastSquares, start: np.ndarray) -> np.ndarray:
    """What f becomes on all of ``everywhere`` (batch, outputs) if the tangent kernel stays as it is
    at ``start``, where f is 0: the least change of weights that fits, to first order."""
    change = np.linalg.pinv(problems.jacobian(start)) @ problems.labels[..., None]
    return np.asarray((everywhere.jacobian(start) @ change)[..., 0])


def turned(problems: LeastSquares, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """1 - the cosine of the tangent kernels (batch,) at the start and at the end."""
    first, last = (one @ one.swapaxes(1, 2) for one in map(problems.jacobian, (start, end)))
    sizes = np.linalg.norm(first, axis=(1, 2)) * np.linalg.norm(last, axis=(1, 2))
    return np.asarray(1 - (first * last).sum((1, 2)) / sizes)


def apart(found: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances (batch,), of the length of the other."""
    return np.asarray(np.linalg.norm(found - other, axis=1) / np.linalg.norm(other, axis=1))


def mirrored(random: np.random.Generator, first: int, second: int, width: int) -> np.ndarray:
    """Gaussian weights (first + second, width) of two layers, such that f is 0: the second half of
    the width has the first's sign turned in the first layer. Their size makes f of order 1."""
    rows = random.standard_normal((first + second, width // 2)) * width**-0.25
    return np.concatenate([rows, rows * np.repeat([[-1.0], [1.0]], [first, second], 0)], 1)


def trained(
    made: Sequence[tuple[LeastSquares, LeastSquares, np.ndarray]],
    scales: Sequence[float],
    train: Callable[[LeastSquares, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Train each problem from alpha times its start for each scale. Returns what f becomes on the
    whole (problems x scales, outputs) and, a number each: ``turned``, 1 - the cosine between the
    tangent kernels at the start and at the end; ``moved``, the distance of f from the tangent
    kernel's prediction; ``error``, the distance from the truth; ``left``, the largest residual."""
    fitted = batch([one for one, _, _ in made], len(scales))
    whole = batch([one for _, one, _ in made], len(scales))
    start = np.concatenate([np.outer(scales, one[2]) for one in made])
    end = train(fitted, start)
    found = whole.gradient(end)[0] + whole.labels
    return found, {
        "turned": turned(fitted, start, end),
        "moved": apart(found, lazy(fitted, whole, start)),
        "error": apart(found, whole.labels),
        "left": abs(fitted.gradient(end)[0]).max(1) / abs(fitted.labels).max(1),
    }


def batch(problems: Sequence[LeastSquares], copies: int) -> LeastSquares:
    """Problems without the axis of the batch, each so many times, one after the other."""
    names = [one.name for one in fields(problems[0])]
    stacked = {name: np.stack([getattr(one, name) for one in problems]) for name in names}
    return replace(problems[0], **{name: np.repeat(stacked[name], copies, 0) for name in names})
