"""The least weight norm R_K of a linear convolutional predictor, as a semidefinite program and, for
K = 1 and K = D, in closed form; the study bias-linear-conv derives both.

It shares no code with ``bilinear``, which finds the weights.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import cvxpy as cp
import numpy as np


class Shape(NamedTuple):
    inputs: int  # R
    length: int  # D
    kernel: int  # K
    channels: int  # C

    @property
    def enough(self) -> bool:
        """Whether C is proved to be large enough for the norm not to depend on it."""
        return self.inputs == 1 or self.kernel == self.length or self.channels >= self.inputs


def program(shape: Shape) -> tuple[cp.Expression, cp.Expression]:
    """tr Z, and W (D, R) as it depends on Z."""
    inputs, length, kernel, _ = shape
    size = kernel * inputs
    z = cp.Variable((size + length, size + length), PSD=True)
    parts = np.zeros((length, inputs, *z.shape))
    for j, r, k in product(range(length), range(inputs), range(kernel)):
        parts[j, r, r * kernel + k, size + (j - k) % length] = 1
    made = parts.reshape(length * inputs, -1) @ cp.vec(z, order="C")
    return cp.trace(z), cp.reshape(made, (length, inputs), order="C")


def least(cost: cp.Expression, constraints: list[cp.Constraint], gap: float = 1e-8) -> float:
    """The value of a convex program, to a gap that is absolute and relative."""
    tight = {"tol_gap_abs": gap, "tol_gap_rel": gap, "tol_feas": gap}
    return float(cp.Problem(cp.Minimize(cost), constraints).solve(solver=cp.CLARABEL, **tight))


def least_norm(shape: Shape, w: np.ndarray, gap: float = 1e-8) -> float:
    """R_K of W (D, R), C being large enough."""
    cost, made = program(shape)
    size = np.linalg.norm(w)
    return float(size) * least(cost, [made == w / size], gap)


def closed_form(w: np.ndarray, kernel: int) -> float:
    """R_K of W (D, R) for K = 1 and K = D; NaN else."""
    length = len(w)
    if kernel == 1:
        return 2 * float(np.linalg.svd(w, compute_uv=False).sum())
    if kernel == length:
        groups = np.linalg.norm(np.fft.fft(w, axis=0, norm="ortho"), axis=1)
        return 2 / length**0.5 * float(groups.sum())
    return float("nan")
