"""What is measured of separable data: the flow in log time, against two solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.studies.bias_separable.hard_margin import by_svc, hard_margin
from benchmarks.studies.bias_separable.log_time import cross_entropy, flow, linear, network, product
from benchmarks.study import Row

Array = NDArray[np.float64]
LATE = (1e3, 1e5)  # the log times between which slopes are taken
TAUS = np.r_[0, np.geomspace(0.1, LATE[1], 37)]  # t from 1
HEAVY = 3.0  # k of the polynomial tail
HEAVY_TAUS = np.linspace(0, 60, len(TAUS))  # w is e^15 at its end
# log of -1 / l'(u). exp(-softplus(u)) is the slope of the logistic loss; the others bend like it.
TAILS: dict[str, Callable[[Tensor], Tensor]] = {
    "exponential": lambda u: u,
    "logistic": softplus,
    "nu=1/2": lambda u: softplus(u) ** 0.5,
    "nu=2": lambda u: softplus(u) ** 2,
    "polynomial": lambda u: HEAVY * torch.log1p(softplus(u)),
}
EXPONENTIAL = ("exponential", "logistic")


@dataclass(frozen=True)
class Settings:
    seeds: int
    losses: tuple[str, ...] = tuple(TAILS)
    classes: tuple[int, ...] = (3,)
    depths: tuple[int, ...] = (2, 3)
    points: int = 20
    dim: int = 6
    width: int = 4
    fresh: int = 2000  # points to validate on
    steps: int = 200_000  # of plain gradient descent
    step: float = 0.05
    tolerance: float = 1e-9  # of the flow


def points(seed: int, settings: Settings, classes: int) -> tuple[Array, Array]:
    """The rows z (points, classes - 1, classes * dim), (e_y - e_k) (x) x for all k but y, of normal
    x and labels y by a random linear teacher, and this teacher (classes, dim).

    x is rounded to 1/64, so that SVC's kernel, in single precision, is exact.
    """
    draw = np.random.default_rng(seed)
    teacher = draw.normal(size=(classes, settings.dim))
    x = np.round(draw.normal(size=(settings.points, settings.dim)) * 64) / 64
    each = np.eye(classes)
    labels = (x @ teacher.T).argmax(1)
    apart = np.stack([each[y] - np.delete(each, y, axis=0) for y in labels])
    return np.einsum("nkc,nd->nkcd", apart, x).reshape(*apart.shape[:2], -1), teacher


def binary(seed: int, settings: Settings) -> tuple[Array, Array]:
    """Rows y x of a seed, (points, dim) to train on and (fresh, dim) to validate on."""
    z, teacher = points(seed, settings, classes=2)
    fresh = np.random.default_rng([seed, 1]).normal(size=(settings.fresh, settings.dim))
    sides = np.sign(fresh @ (teacher[1] - teacher[0]))
    return z[:, 0, settings.dim :], fresh * sides[:, None]


def heavy_direction(z: Array, v: Array) -> Array:
    """Where the polynomial tail leads: the minimum of |v|^2 / (2 (k + 1)) + sum (z_n.v)^(1 - k) /
    (k - 1), by Newton's method from a ``v`` with z v > 0."""
    for _ in range(50):
        u = z @ v
        gradient = v / (HEAVY + 1) - u**-HEAVY @ z
        hessian = np.eye(len(v)) / (HEAVY + 1) + (z.T * HEAVY * u ** (-HEAVY - 1)) @ z
        step = np.linalg.solve(hessian, gradient)
        while (z @ (v - step)).min() <= 0:
            step /= 2
        v = v - step
    return v


def unit(w: Array) -> Array:
    found: Array = w / np.linalg.norm(w, axis=-1, keepdims=True)
    return found


def starts(seeds: Sequence[int], size: int, scale: float = 1.0) -> Array:
    return scale * np.stack([np.random.default_rng([seed, 2]).normal(size=size) for seed in seeds])


def slope(values: Array) -> float:
    """Of log values against log tau, between the log times ``LATE``."""
    i, j = (int(np.abs(TAUS - late).argmin()) for late in LATE)
    return float(np.log(values[j] / values[i]) / np.log(TAUS[j] / TAUS[i]))


def approach(w: Array, z: Array, best: Array) -> Row:
    """How w (taus, dim) comes to the direction and to the margin of ``best``."""
    distance = np.linalg.norm(unit(w) - unit(best), axis=1)
    gap = 1 / np.linalg.norm(best) - (unit(w) @ z.T).min(1)
    return {
        "last": distance[-1],
        "slope": slope(distance),
        "gap": slope(gap),
        "distance": [float(f"{one:.4g}") for one in distance],
    }


def support(alpha: Array) -> int:
    return int((alpha > 1e-6 * alpha.max()).sum())


def measure_losses(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    z, fresh = (np.stack(made) for made in zip(*(binary(s, settings) for s in seeds), strict=True))
    truths = [hard_margin(one) for one in z]
    for loss in settings.losses:
        taus = HEAVY_TAUS if loss == "polynomial" else TAUS
        w = flow(linear(TAILS[loss]), starts(seeds, settings.dim), z, taus, settings.tolerance)
        for i, seed in enumerate(seeds):
            best, alpha = truths[i]
            row = {"seed": seed, "loss": loss, "support": support(alpha)}
            row |= approach(w[:, i], z[i], best)
            row["solvers"] = np.linalg.norm(best - by_svc(z[i])) / np.linalg.norm(best)
            if loss in EXPONENTIAL:
                scaled = np.exp(taus[-1] - z[i] @ w[-1, i])  # t l and -t l' alike, this late
                row["alpha"] = np.abs(scaled - alpha).max() / alpha.max()
                row["total"] = scaled.sum() / (best @ best)
            if loss == "logistic":
                row |= validation(w[:, i], fresh[i], best)
            if loss == "polynomial":
                row["heavy"] = np.linalg.norm(unit(w[-1, i]) - unit(heavy_direction(z[i], best)))
                row |= {"slope": None, "gap": None}  # of other times
            yield row


def validation(w: Array, fresh: Array, best: Array) -> Row:
    """On fresh points, as w (taus, dim) goes on: the logistic loss over what w^ says, log t times
    the mean of max(0, -z.w^), and the share that is wrong."""
    u = w @ fresh.T
    loss, wrong = np.logaddexp(0, -u).mean(1), (u < 0).mean(1)
    ratio = loss[1:] / (TAUS[1:] * np.maximum(0, -fresh @ best).mean())
    return {
        "ratio": ratio[-1],
        "ratios": [float(f"{one:.4g}") for one in ratio],
        "lowest": TAUS[loss.argmin()],
        "wrong_at_lowest": wrong[loss.argmin()],
        "wrong_last": wrong[-1],
    }


def measure_classes(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    for classes in settings.classes:
        z = np.stack([points(seed, settings, classes)[0] for seed in seeds])
        w = flow(cross_entropy, starts(seeds, z.shape[-1]), z, TAUS, settings.tolerance)
        for i, seed in enumerate(seeds):
            flat = z[i].reshape(-1, z.shape[-1])
            best, alpha = hard_margin(flat)
            scaled = np.exp(TAUS[-1] - flat @ w[-1, i])
            yield {
                "seed": seed,
                "classes": classes,
                **approach(w[:, i], flat, best),
                "solvers": np.linalg.norm(best - by_svc(flat)) / np.linalg.norm(best),
                "alpha": np.abs(scaled - alpha).max() / alpha.max(),
            }


def measure_networks(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    width, dim = settings.width, settings.dim
    for depth in settings.depths:
        size = width * (dim + 1 + (depth - 2) * width)
        layers = flow(network(depth, width), starts(seeds, size, 0.5), z, TAUS, settings.tolerance)
        flat = torch.from_numpy(layers.reshape(-1, size))
        b = product(flat, depth, width).numpy().reshape(*layers.shape[:2], dim)
        for i, seed in enumerate(seeds):
            best, alpha = hard_margin(z[i])
            norm = np.linalg.norm(best)
            loss = np.exp(TAUS[-1] - z[i] @ b[-1, i]).sum()
            claimed = norm**2 / (depth * (norm * TAUS[-1]) ** (2 - 2 / depth))
            row = {"seed": seed, "depth": depth, "support": support(alpha), "total": loss / claimed}
            yield row | approach(b[:, i], z[i], best)


def measure_last(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """Only the last layer trained, over a fixed random M of small whole numbers."""
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    shape = (settings.dim + 2, settings.dim)
    fixed = np.stack([np.random.default_rng([s, 3]).integers(-2, 3, size=shape) for s in seeds])
    features = z @ fixed.transpose(0, 2, 1)
    v = flow(linear(TAILS["logistic"]), starts(seeds, shape[0]), features, TAUS, settings.tolerance)
    for i, seed in enumerate(seeds):
        inputs = approach(v[:, i] @ fixed[i], z[i], hard_margin(z[i])[0])
        own = approach(v[:, i], features[i], hard_margin(features[i])[0])
        yield {"seed": seed, **own, "inputs": inputs["last"]}


def measure_descent(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """Plain gradient descent on the logistic loss beside its flow, which is at t = 1 at step 0."""
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    w = starts(seeds, settings.dim)
    times = [t for t in (10, 100, 1_000, 10_000, 100_000) if t <= settings.steps * settings.step]
    taus = np.log([1, *(1 + t for t in times)])
    flowed = flow(linear(TAILS["logistic"]), w, z, taus, settings.tolerance)
    stops = {round(t / settings.step): i for i, t in enumerate(times, 1)}
    for step in range(1, max(stops) + 1):
        u = z @ w[..., None]
        w = w + settings.step * (z / (1 + np.exp(u))).sum(1)
        if step in stops:
            i = stops[step]
            apart = np.linalg.norm(unit(w) - unit(flowed[i]), axis=1)
            for seed, one in zip(seeds, apart, strict=True):
                yield {"seed": seed, "t": times[i - 1], "apart": one}
