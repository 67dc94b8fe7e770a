"""Gradient flow on squared losses, of many problems at once, to its limit.

The flow of 1/2 |f(w) - y|^2 is w' = -J(w)^T r with the residual r = f(w) - y and the Jacobian J of
f. Near an interpolant the modes of the tangent kernel J J^T decay at rates many orders apart, so
steps are implicit in the part J^T J of the Hessian (the other part, r times the curvature of f,
vanishes at the limit and is never stiff): the linearly implicit Euler step

    w <- w - h (I + h J0^T J0)^-1 J(w)^T r(w),

extrapolated to a high order (Hairer and Wanner, Solving ODEs II, section IV.9: the error of this
step expands in powers of h for any matrix in the place of J0^T J0). By Woodbury's identity only
the kernel, outputs x outputs, is inverted.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np

ORDER = 7
LARGEST_CHANGE, SMALLEST_CHANGE, SAFETY = 5.0, 0.2, 0.9  # of the step's length
TINY = np.finfo(np.float64).tiny
FIRST_STEP = 1e-3  # of the time in which the gradient moves the weights by their own size
STABLE, LONGEST = 0.5, 0.05  # a step of descent: of 1 / curvature, of the length of the weights


@dataclass(frozen=True)
class LeastSquares(ABC):
    """Problems, of which every field holds one a row: arrays (batch, ...)."""

    labels: np.ndarray  # y (batch, outputs)

    @abstractmethod
    def gradient(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals f(w) - y (batch, outputs) and the gradient J^T r (batch, weights)."""

    @abstractmethod
    def jacobian(self, weights: np.ndarray) -> np.ndarray:
        """J (batch, outputs, weights)."""

    def take(self, items: np.ndarray) -> Self:
        """These problems of the batch."""
        fields = {one.name: getattr(self, one.name)[items] for one in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


def flow(
    problems: LeastSquares,
    start: np.ndarray,
    floor: np.ndarray | float = 0.0,
    tolerance: float = 1e-8,
    stop: float = 1e-8,
    steps: int = 5000,
) -> np.ndarray:
    """The limits (batch, weights) of the flows from ``start`` (batch, weights), float64.

    Each has its own step length, such that the estimated error of a step is below
    ``tolerance (|w| + floor)`` in each weight; ``floor`` broadcasts against (batch, weights). One
    ends when its largest residual is below ``stop`` times the one it began with. Raises
    ArithmeticError if one has not ended after ``steps`` steps.
    """
    limits = np.array(start, np.float64)
    least = np.broadcast_to(floor, limits.shape)
    weights, going = limits.copy(), np.arange(len(limits))
    residual, gradient = problems.gradient(weights)
    target = stop * abs(residual).max(1)
    pace = (abs(gradient) / (abs(weights) + least)).max(1)
    length = FIRST_STEP / np.where(pace > 0, pace, 1.0)
    for _ in range(steps):
        ended = abs(residual).max(1) <= target
        if ended.any():
            limits[going[ended]] = weights[ended]
            rest = ~ended
            problems, weights, least = problems.take(rest), weights[rest], least[rest]
            going, target, length = going[rest], target[rest], length[rest]
            residual, gradient = residual[rest], gradient[rest]
        if not len(going):
            return limits
        after, error = _step(problems, weights, residual, gradient, length)
        excess = (error / (tolerance * (abs(weights) + least))).max(1)
        excess = np.where(np.isfinite(excess), excess, np.inf)
        weights = np.where((excess <= 1)[:, None], after, weights)
        with np.errstate(divide="ignore"):
            change = SAFETY * excess ** (-1 / ORDER)
        length = length * np.clip(change, SMALLEST_CHANGE, LARGEST_CHANGE)
        residual, gradient = problems.gradient(weights)
    raise ArithmeticError(f"{len(going)} of {len(limits)} flows have not ended in {steps} steps")


def _step(
    problems: LeastSquares,
    weights: np.ndarray,
    residual: np.ndarray,
    gradient: np.ndarray,
    length: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights after one step of this length each, and their estimated error."""
    jacobian = problems.jacobian(weights)  # (batch, outputs, weights)
    back = jacobian.swapaxes(1, 2)
    rates, modes = np.linalg.eigh(jacobian @ back)  # of the tangent kernel
    row: list[np.ndarray] = []  # of the tableau: orders 1, 2, ... with the finest steps so far
    with np.errstate(over="ignore", invalid="ignore"):  # a step too long, to be refused
        for parts in range(1, ORDER + 1):
            part = (length / parts)[:, None]
            damping = part / (1 + part * np.maximum(rates, 0))
            now, slope = weights, gradient
            for done in range(parts):
                if done:
                    _, slope = problems.gradient(now)
                seen = modes.swapaxes(1, 2) @ (jacobian @ slope[..., None])
                kept = back @ (modes @ (damping[..., None] * seen))
                now = now - part * (slope - kept[..., 0])
            before, row = row, [now]
            for order, coarse in enumerate(before, 1):
                row.append(row[-1] + (row[-1] - coarse) * ((parts - order) / order))
        return row[-1], abs(row[-1] - row[-2])


def descend(
    problems: LeastSquares, start: np.ndarray, stop: float = 1e-3, steps: int = 20_000
) -> np.ndarray:
    """Like ``flow``, by plain gradient descent, where f has kinks, at which no high order is had.

    A step is half of the inverse of the tangent kernel's largest eigenvalue, but moves no weights
    by more than 5 % of their length. What has not ended after ``steps`` steps is left there.
    """
    limits = np.array(start, np.float64)
    weights, going = limits.copy(), np.arange(len(limits))
    target = stop * abs(problems.gradient(weights)[0]).max(1)
    largest = np.zeros(len(limits))
    for done in range(steps):
        residual, gradient = problems.gradient(weights)
        rest = abs(residual).max(1) > target
        if not rest.all():
            limits[going] = weights
            problems, weights, gradient = problems.take(rest), weights[rest], gradient[rest]
            going, target, largest = going[rest], target[rest], largest[rest]
        if not len(going):
            break
        if done % 10 == 0:
            jacobian = problems.jacobian(weights)
            largest = np.linalg.eigvalsh(jacobian @ jacobian.swapaxes(1, 2))[:, -1]
        longest = LONGEST * np.linalg.norm(weights, axis=1)
        size = np.linalg.norm(gradient, axis=1)
        step = 1 / np.maximum(np.maximum(largest / STABLE, size / longest), TINY)
        weights = weights - step[:, None] * gradient
    limits[going] = weights
    return limits
