"""What is measured of the kernel and rich regimes: the plane, a factorisation, a ReLU net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cvxpy as cp
import numpy as np
import pandas as pd
from scipy.optimize import linprog

from benchmarks.common.flow import LeastSquares, descend, flow
from benchmarks.studies.bias_kernel_rich.nets import (
    Diagonal,
    Factors,
    Relu,
    apart,
    mirrored,
    predictor,
    trained,
)
from benchmarks.study import Row

AGREE = 1e-6
DIGITS = 5e-7  # of 1 - z, about alpha^(D-2): below, float64 has not the digits that the truth needs
ROUNDING = 1e-20  # the squared Newton decrement, of the sum of beta z, that rounding leaves
REACHED = 0.01  # the l1 excess at which the l1 end counts as reached
TESTED = 200  # fresh points


@dataclass(frozen=True)
class Settings:
    seeds: int
    rows: int  # examples of the diagonal nets
    columns: int
    sparse: int  # entries of the true beta that are not 0
    depths: tuple[int, ...]
    alphas: tuple[float, ...]
    scales: tuple[float, ...]  # alphas of the factorisation and of the ReLU net
    width: int  # of both
    side: int  # of the matrix to complete
    entries: int  # of it that are seen
    points: int  # that the ReLU net fits
    inputs: int


def link(z: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h(z) and h'(z), elementwise; nan where h is not defined. ``depth`` broadcasts against z."""
    with np.errstate(all="ignore"):
        power = depth / (depth - 2.0)
        low, high = np.where(abs(z) < 1, 1 - z, np.nan), 1 + z
        deep = low**-power - high**-power, power * (low ** (-power - 1) + high ** (-power - 1))
        return (
            np.where(depth == 2, 2 * np.sinh(z), deep[0]),
            np.where(depth == 2, 2 * np.cosh(z), deep[1]),
        )


def least_q(
    inputs: np.ndarray, labels: np.ndarray, depth: np.ndarray, scale: np.ndarray, steps: int = 500
) -> np.ndarray:
    """argmin Q (batch, columns) by Newton's method on its dual, min over nu of sum_i H(z_i) - <nu,
    y / scale> with z = X^T nu and H' = h; ``scale`` (batch, 1) is alpha^D."""
    nu = np.zeros(labels.shape)
    goal = labels / scale

    def at(nu: np.ndarray) -> tuple[np.ndarray, ...]:
        z = (nu[:, None] @ inputs)[:, 0]
        value, growth = link(z, depth)
        return z, value, growth, (inputs @ value[..., None])[..., 0] - goal

    for _ in range(steps):
        z, value, growth, gradient = at(nu)
        # X diag(h') X^T = R^T R by QR of its root, the largest rows first: h' spans many orders.
        root = inputs.swapaxes(1, 2) * np.sqrt(growth)[..., None]
        order = np.argsort(-growth, axis=1)[..., None]
        r = np.asarray(np.linalg.qr(np.take_along_axis(root, order, 1), mode="r"))
        newton = np.linalg.solve(r, np.linalg.solve(r.swapaxes(1, 2), -gradient[..., None]))[..., 0]
        fall = abs((gradient * newton).sum(1))
        going = fall > ROUNDING * (value * z).sum(1)
        if not going.any():
            return np.asarray(value * scale)
        length = going.astype(np.float64)
        for _ in range(60):  # halve until no step goes too far: it ends where the slope is less
            with np.errstate(all="ignore"):
                after = (at(nu + length[:, None] * newton)[-1] * newton).sum(1)
                far = ~(abs(after) <= fall)
            length[far] /= 2
            if not far.any():
                break
        nu = nu + length[:, None] * newton
    raise ArithmeticError(f"Newton's method has not ended in {steps} steps")


def sparse(settings: Settings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian inputs, and their labels by a sparse beta of length 1."""
    random = np.random.default_rng([seed, 0])
    inputs = random.standard_normal((settings.rows, settings.columns))
    chosen = random.choice(settings.columns, settings.sparse, replace=False)
    signs = random.choice([-1.0, 1.0], settings.sparse)
    return inputs, inputs[:, chosen] @ signs / np.sqrt(settings.sparse)


def least_l1(inputs: np.ndarray, labels: np.ndarray) -> float:
    """The least l1 norm of a beta that fits, a linear program in its positive and negative part."""
    both = np.concatenate([inputs, -inputs], 1)
    return float(linprog(np.ones(both.shape[1]), A_eq=both, b_eq=labels, method="highs").fun)


def measure_plane(settings: Settings, seeds: Sequence[int]) -> list[Row]:
    made = {seed: sparse(settings, seed) for seed in seeds}
    cells = [
        (seed, depth, alpha)
        for seed, depth, alpha in product(seeds, settings.depths, settings.alphas)
        if alpha ** (depth - 2) >= DIGITS
    ]
    inputs, labels = (np.stack([made[seed][i] for seed, *_ in cells]) for i in (0, 1))
    depth, alpha = (np.array([[cell[i]] for cell in cells], np.float64) for i in (1, 2))
    start = np.repeat(alpha, 2 * settings.columns, axis=1)
    beta = predictor(flow(Diagonal(labels, inputs, depth), start), depth)
    error = apart(beta, least_q(inputs, labels, depth, alpha**depth))
    other = np.where(depth == 2, 3.0, 2.0)  # the wrong potential, at the same scale of beta
    wrong = apart(beta, least_q(inputs, labels, other, alpha**depth))
    l1 = {seed: least_l1(*made[seed]) for seed in seeds}
    l2 = {seed: np.linalg.norm(np.linalg.pinv(made[seed][0]) @ made[seed][1]) for seed in seeds}
    return [
        {
            "seed": seed,
            "depth": depth,
            "alpha": alpha,
            "error": error[i],
            "wrong": wrong[i],
            "l1": abs(beta[i]).sum() / l1[seed] - 1,
            "l2": np.linalg.norm(beta[i]) / l2[seed] - 1,
        }
        for i, (seed, depth, alpha) in enumerate(cells)
    ]


def completion(settings: Settings, seed: int) -> tuple[Factors, Factors, np.ndarray]:
    """The seen entries of a matrix of rank 1, all of them, and the start at alpha = 1."""
    random = np.random.default_rng([seed, 1])
    side = settings.side
    matrix = np.outer(*random.standard_normal((2, side)))
    matrix *= side / np.linalg.norm(matrix)
    rows, columns = np.divmod(np.arange(side**2), side)
    whole = Factors(matrix.ravel(), np.eye(side)[rows], np.eye(side)[columns])
    seen = np.sort(random.choice(side**2, settings.entries, replace=False))
    return whole.take(seen), whole, mirrored(random, side, side, settings.width).ravel()


def teacher(settings: Settings, seed: int) -> tuple[Relu, Relu, np.ndarray]:
    """Points on a sphere labelled by the difference of two neurons, fresh ones, and the start."""
    random = np.random.default_rng([seed, 2])
    inputs = random.standard_normal((settings.points + TESTED, settings.inputs))
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    labels = np.maximum(inputs @ random.standard_normal((settings.inputs, 2)), 0) @ [1.0, -1.0]
    whole = Relu(labels / labels[: settings.points].std(), inputs)
    start = mirrored(random, 1, settings.inputs, settings.width).ravel()
    of = np.arange(len(inputs))
    return whole.take(of < settings.points), whole.take(of >= settings.points), start


def least_nuclear(seen: Factors) -> float:
    """The least nuclear norm of a matrix with these entries, a semidefinite program."""
    side = seen.rows.shape[1]
    matrix = cp.Variable((side, side))
    at = np.argmax(seen.rows, 1), np.argmax(seen.columns, 1)
    program = cp.Problem(cp.Minimize(cp.normNuc(matrix)), [matrix[at] == seen.labels])
    return float(program.solve(solver=cp.CLARABEL))


def measure_completion(settings: Settings, seeds: Sequence[int]) -> list[Row]:
    def train(problems: LeastSquares, start: np.ndarray) -> np.ndarray:
        return flow(problems, start, floor=abs(start).mean(1, keepdims=True))

    made = [completion(settings, seed) for seed in seeds]
    found, measured = trained(made, settings.scales, train)
    matrices = found.reshape(len(found), settings.side, settings.side)
    least = np.repeat([least_nuclear(seen) for seen, *_ in made], len(settings.scales))
    nuclear = np.linalg.norm(matrices, "nuc", axis=(1, 2)) / least - 1
    return labelled(settings, seeds, measured | {"nuclear": nuclear})


def measure_relu(settings: Settings, seeds: Sequence[int]) -> list[Row]:
    _, measured = trained([teacher(settings, seed) for seed in seeds], settings.scales, descend)
    return labelled(settings, seeds, measured)


def labelled(settings: Settings, seeds: Sequence[int], values: dict[str, np.ndarray]) -> list[Row]:
    cells = product(seeds, settings.scales)
    return [
        {"seed": seed, "alpha": alpha} | {name: value[i] for name, value in values.items()}
        for i, (seed, alpha) in enumerate(cells)
    ]


def reached(cell: pd.DataFrame) -> float:
    """The alpha at which the l1 excess of one depth and seed is REACHED, by interpolation."""
    cell = cell.sort_values("alpha")
    logs = np.log(np.maximum(cell.l1, AGREE))
    return float(np.exp(np.interp(np.log(REACHED), logs, np.log(cell.alpha))))


def bend(depth: pd.Series) -> pd.Series:
    """How far q is from a parabola, over the same at D = 2: h^-1(b) = b / 2p (1 - c b^2 + ...) with
    c = (1 + 1/p) (1 + 2/p) / 24, and 1/p = 0 for D = 2."""
    inverse = (depth - 2) / depth
    return (1 + inverse) * (1 + 2 * inverse)


def against(values: pd.DataFrame, name: str) -> pd.DataFrame:
    """One column, by seed down and alpha across, ascending."""
    return values.pivot(index="seed", columns="alpha", values=name)


def largest_rise(values: pd.DataFrame, name: str) -> pd.Series:
    """By seed, by how much a column rises at most from one alpha to the next, at any depth."""
    steps = [against(cell, name).diff(axis=1).max(axis=1) for _, cell in values.groupby("depth")]
    return pd.concat(steps, axis=1).max(axis=1)
