"""What is measured of linear convolutional networks: truths, least weights, descent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, product
from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from sklearn.datasets import load_digits

from benchmarks.studies.bias_linear_conv.bilinear import bilinear, minimise
from benchmarks.studies.bias_linear_conv.conv_nets import Descended, descend, linear, relu, windows
from benchmarks.studies.bias_linear_conv.induced_norm import (
    Shape,
    closed_form,
    least,
    least_norm,
    program,
)
from benchmarks.study import Found, Row

PIXELS, EXAMPLES = 16, 60  # of a pooled digit; of a task, drawn from about 360
AGREE, NEAR = 1e-6, 1.05  # the criterion


@dataclass(frozen=True)
class Settings:
    """``levels``: margins of the linear nets at which their cost is noted; the last ends it."""

    seeds: int
    shapes: tuple[Shape, ...]
    starts: int
    levels: tuple[float, ...]
    kernels: tuple[int, ...]
    relu_kernels: tuple[int, ...]
    relu_levels: tuple[float, ...]
    tasks: tuple[tuple[int, int], ...] = ((3, 8), (0, 1))
    channels: tuple[int, ...] = (1, 4)
    relu_channels: tuple[int, ...] = (1, 8)


def predictor(shape: Shape, seed: int) -> np.ndarray:
    """A Gaussian W, float64 (D, R)."""
    return np.random.default_rng([seed, *shape[:2]]).normal(size=(shape.length, shape.inputs))


def truths(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """The program's R_K, and the closed form where there is one."""
    shapes = {Shape(*shape)._replace(channels=0) for shape in settings.shapes}
    for seed, shape in product(seeds, sorted(shapes)):
        w = predictor(shape, seed)
        yield {
            "seed": seed, "R": shape.inputs, "D": shape.length, "K": shape.kernel,
            "sdp": least_norm(shape, w, gap=1e-10), "closed": closed_form(w, shape.kernel),
        }  # fmt: skip


def weights(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """The least of all starts, and how many of them found it."""
    shapes = sorted(Shape(*shape) for shape in settings.shapes)
    for (inputs, length), group in groupby(shapes, key=lambda shape: shape[:2]):
        cells = list(product(seeds, group))
        kernel, channels = (max(cell[1][i] for cell in cells) for i in (2, 3))
        size = inputs * kernel + length
        start = torch.zeros(len(cells), settings.starts, channels, size, dtype=torch.float64)
        for cell, (seed, shape) in zip(start, cells, strict=True):
            here = [r * kernel + k for r in range(inputs) for k in range(shape.kernel)]
            here += range(inputs * kernel, size)
            rng = np.random.default_rng([seed, *shape])
            drawn = rng.normal(size=(settings.starts, shape.channels, len(here)))
            drawn /= (shape.channels * len(here)) ** 0.5
            cell[:, : shape.channels, here] = torch.from_numpy(drawn)
        w = np.array([predictor(shape, seed).ravel() for seed, shape in cells])
        scale = np.linalg.norm(w, axis=1)
        target = torch.from_numpy(w / scale[:, None]).repeat_interleave(settings.starts, 0)
        reached, off = minimise(bilinear(inputs, length, kernel), target, start.flatten(0, 1))
        made = reached.where(off < AGREE / 100, torch.inf).view(len(cells), -1)
        for (seed, shape), unit, norm in zip(cells, scale, made.numpy(), strict=True):
            best = norm.min()
            yield {
                "seed": seed, "R": inputs, "D": length, "K": shape.kernel, "C": shape.channels,
                "norm": unit * best, "found": float((norm <= best * (1 + AGREE)).mean()),
            }  # fmt: skip


@cache
def digits(task: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples of two digits pooled to 4x4, their mean taken away and the longest of length 1,
    (EXAMPLES, PIXELS), and labels of -1 and 1, (EXAMPLES,)."""
    images, labels = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(labels, task))
    rows = np.random.default_rng([seed, *task]).choice(rows, EXAMPLES, replace=False)
    x = rearrange(images[rows], "n (h i w j) -> n (h w) (i j)", h=4, w=4, i=2).mean(2)
    x -= x.mean(0)
    return x / np.linalg.norm(x, axis=1).max(), np.where(labels[rows] == task[0], 1.0, -1.0)


class Cell(NamedTuple):
    seed: int
    task: tuple[int, int]
    kernel: int
    channels: int


def train(
    cells: Sequence[Cell], levels: Sequence[float], active: bool
) -> tuple[Descended, np.ndarray]:
    """A net for each cell from small Gaussian weights, with a ReLU or without; and its mean
    gradient by the input, which is W of a linear net, (batch, D)."""
    wide, channels = (max(sizes) for sizes in list(zip(*cells, strict=True))[2:])
    kernel = torch.zeros(len(cells), channels, wide, dtype=torch.float64)
    weight = torch.zeros(len(cells), channels, PIXELS, dtype=torch.float64)
    for u, v, (seed, task, k, c) in zip(kernel, weight, cells, strict=True):
        rng = np.random.default_rng([seed, *task, k, c])
        u[:c, :k] = torch.from_numpy(0.1 * rng.normal(size=(c, k)))
        v[:c] = torch.from_numpy(0.1 * rng.normal(size=(c, PIXELS)))
    data = [digits(cell.task, cell.seed) for cell in cells]
    x, labels = (torch.from_numpy(np.stack(one)) for one in zip(*data, strict=True))
    score, seen = (relu, windows) if active else (linear, torch.clone)
    net = descend(score, seen(x), labels, kernel, weight, levels)
    f = score(seen(x.requires_grad_()), *net[:2])
    return net, torch.autograd.grad(f.sum(), x)[0].mean(1).numpy()


def descended(cells: Sequence[Cell], levels: Sequence[float], active: bool) -> Iterator[Row]:
    """``costs``: |U|^2 + |V|^2 for a margin of 1, at each level. ``spectrum``: how far the mean
    gradient's power is spread over frequencies, |W^|_1 / (sqrt(D) |W^|_2): 1 if evenly."""
    net, predictors = train(cells, levels, active)
    power = np.abs(np.fft.fft(predictors, norm="ortho"))
    spectrum = power.sum(1) / PIXELS**0.5 / np.linalg.norm(power, axis=1)
    for i, cell in enumerate(cells):
        row = {
            "seed": cell.seed, "task": _versus(cell.task), "K": cell.kernel, "C": cell.channels,
            "margin": float(net.margin[i]), "spectrum": round(float(spectrum[i]), 4),
            "costs": net.costs[i].numpy().round(4),
        }  # fmt: skip
        if not active:  # R_K(W / margin)
            w = predictors[i][:, None] / row["margin"]
            row["norm"] = least_norm(Shape(1, PIXELS, cell.kernel, 0), w)
        yield row


def linear_nets(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    cells = product(seeds, settings.tasks, settings.kernels, settings.channels)
    return descended([Cell(*cell) for cell in cells], settings.levels, False)


def relu_nets(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    cells = product(seeds, settings.tasks, settings.relu_kernels, settings.relu_channels)
    return descended([Cell(*cell) for cell in cells], settings.relu_levels, True)


def margins(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """The least R_K of a predictor of margin 1, and R_K of the support vector machine's."""
    for seed, task in product(seeds, settings.tasks):
        x, labels = digits(task, seed)
        signed = x * labels[:, None]
        w = cp.Variable((PIXELS, 1))
        least(cp.norm(w), [signed @ w >= 1])
        for kernel in settings.kernels:
            shape = Shape(1, PIXELS, kernel, 0)
            cost, made = program(shape)
            best, svm = least(cost, [signed @ made >= 1]), least_norm(shape, w.value)
            yield {"seed": seed, "task": _versus(task), "K": kernel, "least": best, "svm": svm}


def _versus(task: tuple[int, int]) -> str:
    return f"{task[0]} or {task[1]}"


# What is made of it.


def norms(found: Found) -> pd.DataFrame:
    """Direct minimisation beside the program; ``excess`` is relative."""
    table = found["weights"].merge(found["truths"], on=["seed", "R", "D", "K"])
    enough = [Shape(*row).enough for row in table[["R", "D", "K", "C"]].itertuples(index=False)]
    return table.assign(excess=table.norm / table.sdp - 1, enough=enough)


def ratios(found: Found) -> pd.DataFrame:
    """R_K over the least R_K of a predictor of the same margin: of descent, and of the SVM."""
    table = found["linear"].merge(found["margins"], on=["seed", "task", "K"])
    return table.assign(ratio=table.norm / table.least, svm=table.svm / table.least)
