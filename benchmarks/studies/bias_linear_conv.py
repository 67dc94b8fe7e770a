"""What linear convolutional networks prefer: the least weight norm that makes a linear predictor.

Two layers, circular convolution, R input channels, kernels of size K, C output channels, inputs
x of shape (D, R):

    f(x) = sum_c sum_d V_c[d] sum_{r,k} U_rc[k] x[d+k, r] = <W, x>,
    W[j, r] = sum_c sum_{d+k=j mod D} V_c[d] U_rc[k]
    R_{K,C}(W) = min |U|^2 + |V|^2 over weights that make W

Jagadeesan, Razenshteyn, Gunasekar, "Inductive Bias of Multi-Channel Linear Convolutional Networks
with Bounded Weight Norm", arXiv 2102.12238. What follows is our derivation.

Truth, a semidefinite program: stack a_c = (U_.c, V_c), of size KR + D. W is linear in the
off-diagonal block of Z = sum_c a_c a_c', and the cost is tr Z. Without the bound C on the rank
of Z >= 0 that is R_K(W) = min tr Z, at most R_{K,C}, and equal to it for C >= KR + D.

R = 1: one channel is enough. By Fejer and Riesz there is one real kernel u of size K with
|u^|^2 = sum_c |U_c^|^2 at all frequencies, so |u|^2 = sum_c |U_c|^2; and v^ = W^ / (sqrt(D) u^)
has |v^|^2 <= sum_c |V_c^|^2 by Cauchy and Schwarz. In the same way R channels are enough for R
input channels, by the matrix version of the theorem: sum_c U_.c^ U_.c^* has a factor of R kernels.

Scaling, with the unitary Fourier transform, under which W^_d = sqrt(D) sum_c V_c^[d] U_.c^[d]:
K = D: frequencies part. At each, sum_c |V_c^|^2 + |U_.c^|^2 >= 2 |W^_d|_2 / sqrt(D), with equality
for one channel: (2/sqrt(D)) sum_d |W^_d|_2. K = 1: W = V U', of rank C at most:
2 |W|_nuclear for C >= min(R, D), and no weights at all for a smaller C.
For R = 1 that is 2 |W|_2: K = 1 prefers what the support vector machine does.

Descent: on separable data its direction tends to a stationary point of "the least weight norm for
a margin" (Lyu, Li, arXiv 1906.05890). Its value would be R* = min R_K(W) over W of margin 1, a
program too; that descent comes near it is not proved, but measured: R_K(W)/R* as the margin grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, product
from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from benchmarks import verdict
from benchmarks.common.bilinear import bilinear, minimise
from benchmarks.common.conv_nets import Descended, descend, linear, relu, windows
from benchmarks.common.figures import panels, spread
from benchmarks.common.induced_norm import Shape, closed_form, least, least_norm, program
from benchmarks.page import Picture, Table
from benchmarks.study import Found, Part, Row, Study
from benchmarks.verdict import Check

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


def judge(found: Found, settings: Settings) -> list[Check]:
    truth, table, nets = found["truths"], norms(found), ratios(found)
    closed = (truth.closed / truth.sdp - 1).abs().groupby(truth.seed).max()
    enough = table[table.enough]
    scarce = table[(table.R > 1) & (table.K == 2) & (table.C == 2)]
    wide = nets[nets.C.eq(max(settings.channels))]
    svm = nets[nets.K == PIXELS].groupby("seed").svm.max()

    def worst(part: pd.DataFrame) -> pd.Series:
        return part.excess.abs().groupby(part.seed).max()

    return [
        verdict.every("closed forms at K = 1 and K = D: off the program by", closed, below=AGREE),
        verdict.every(
            "R = 1, any K and C: least norm over weights off the program by",
            worst(enough[enough.R == 1]), below=AGREE,
        ),
        verdict.every(
            "R = 3, C >= 3 or K = D: least norm over weights off the program by",
            worst(enough[enough.R > 1]), below=AGREE,
        ),
        verdict.every(
            "the same for R = 3, K = 2, C = 2, where C is too small",
            worst(scarce), below=AGREE, control=True,
        ),
        verdict.every(
            "least margin of all that gradient descent reached",
            nets.groupby("seed").margin.min(), above=settings.levels[-1],
        ),
        verdict.every(
            f"R_K(W)/R* of gradient descent, C = {max(settings.channels)}, worst task and K",
            wide.groupby("seed").ratio.max(), below=NEAR,
        ),
        verdict.every(
            "the same of the l2 support vector machine, K = D, worst task",
            svm, below=NEAR, control=True,
        ),
    ]  # fmt: skip


def show(found: Found, settings: Settings) -> Iterable[Table | Picture]:
    table, nets, active = norms(found), ratios(found), found["relu"]
    groups = table.groupby(["R", "D", "K", "C"])
    yield Table(
        "Least norm over weights against the program",
        groups.agg(
            median_norm=("norm", "median"), median_excess=("excess", "median"),
            largest_excess=("excess", "max"), starts_that_found_it=("found", "mean"),
        ).reset_index(),
    )  # fmt: skip
    yield Picture(
        "norms",
        _draw_norms(table),
        "Left: R_K(W)/R_1(W) against K for one input channel, the program's (line and band: median "
        "and range of the seeds) and the least norm over weights (marks: medians). Right: relative "
        "excess of the least norm over the program with three input channels (a mark a seed; "
        "smaller ones than 1e-11 at 1e-11): C matters where it is smaller than R.",
    )
    yield Table(
        f"Gradient descent at a margin of {settings.levels[-1]:g}: R_K(W)/R*",
        nets.groupby(["task", "K", "C"])
        .agg(
            descent_median=("ratio", "median"), descent_largest=("ratio", "max"),
            svm_median=("svm", "median"), svm_least=("svm", "min"), R_star=("least", "median"),
        ).reset_index(),
    )  # fmt: skip
    yield Picture(
        "descent",
        _draw_descent(nets, settings),
        "Left and middle: R_K(W)/R* of gradient descent and of the l2 support vector machine "
        "(medians and ranges of the seeds). Right: weight norm over margin, divided by R*, as the "
        "margin grows (K = D, largest C): an upper bound of R_K(W)/R*.",
    )
    both = pd.concat([found["linear"].assign(net="linear"), active.assign(net="ReLU")])
    both["cost"] = both.costs.str[-1]
    yield Table(
        f"Weight norm for a margin of 1, with a ReLU (seen at {settings.relu_levels[-1]:g}) and "
        f"without (at {settings.levels[-1]:g}); not judged",
        both.groupby(["net", "task", "K", "C"])
        .agg(
            nets=("cost", "size"), separated=("cost", "count"), cost_median=("cost", "median"),
            cost_least=("cost", "min"), cost_largest=("cost", "max"),
            spectrum=("spectrum", "median"),
        ).reset_index(),
    )  # fmt: skip
    yield Table("How often the trend is there (not judged; not separated: infinite)", _trends(both))
    yield Picture(
        "relu",
        _draw_relu(both),
        "Weight norm for a margin of 1 against K (left and middle), and how evenly the mean "
        "gradient by the input spreads over frequencies (right; 1: evenly, 1/sqrt(D): one "
        "frequency): medians and ranges of the seeds, on the right of seeds and tasks. Seeds with "
        "a net that did not separate are left out of its line.",
    )


def _trends(both: pd.DataFrame) -> pd.DataFrame:
    """Of pairs (seed, task): how often a larger K, or a larger C, costs less; what does not
    separate costs infinitely much."""
    lines = []
    for net, part in both.groupby("net"):
        table = part.pivot(index=["seed", "task"], columns=["K", "C"], values=["cost", "spectrum"])
        cost, spectrum = table["cost"].fillna(np.inf), table["spectrum"]
        few, many = part.C.min(), part.C.max()
        found = {}
        for c in (few, many):
            larger = f"K = {PIXELS} than K = 1, C = {c}"
            found[f"a lower norm for {larger}"] = cost[PIXELS, c] < cost[1, c]
            found[f"power on fewer frequencies for {larger}"] = spectrum[PIXELS, c] < spectrum[1, c]
        for k in (1, PIXELS):
            larger = f"a norm lower by 5 % or more for C = {many} than C = {few}, K = {k}"
            found[larger] = cost[k, many] < 0.95 * cost[k, few]
        lines += [(net, trend, passed.mean()) for trend, passed in found.items()]
    return pd.DataFrame(lines, columns=["net", "trend", "share of seeds and tasks"])


def _draw_norms(table: pd.DataFrame) -> Figure:
    figure, ((left, right),) = panels(1, 2)
    one = table[table.R == 1]
    program = one.pivot_table(index="seed", columns="K", values="sdp")
    spread(left, program.columns, program.div(program[1], axis=0).to_numpy(), "program")
    for mark, (c, part) in zip("ox+", one.groupby("C"), strict=False):
        norm = part.pivot_table(index="seed", columns="K", values="norm")
        middle = norm.div(program[1], axis=0).median()
        left.plot(middle.index, middle, mark, label=f"weights, C = {c}", fillstyle="none")
    left.set(xlabel="kernel size K", ylabel="R_K(W) / R_1(W)", title="R = 1, D = 8")
    for c, part in table[table.R > 1].groupby("C"):
        right.plot(part.K + 0.12 * (c - 2), part.excess.abs().clip(1e-11), ".", label=f"C = {c}")
    right.axhline(AGREE, color="black", lw=0.5)
    right.set(xlabel="kernel size K", ylabel="excess", title="R = 3, D = 6", yscale="log")
    for axis in (left, right):
        axis.legend(frameon=False)
    return figure


def _against_kernel(axis: Axes, column: str, parts: Mapping[str, pd.DataFrame], y: str) -> None:
    for label, part in parts.items():
        table = part.pivot_table(index=["seed", "task"], columns="K", values=column).dropna()
        spread(axis, table.columns, table.to_numpy(), label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(table.columns, map(str, table.columns))
    tasks = sorted({task for part in parts.values() for task in part.task})
    axis.set(xlabel="kernel size K", ylabel=y, title="; ".join(tasks))
    axis.legend(frameon=False, fontsize="small")


def _draw_descent(nets: pd.DataFrame, settings: Settings) -> Figure:
    figure, (axes,) = panels(1, 3)
    machine = nets[nets.C.min() == nets.C].assign(ratio=nets.svm)
    both = {"SVM": machine, **{f"descent, C = {c}": part for c, part in nets.groupby("C")}}
    for axis, task in zip(axes, sorted(set(nets.task)), strict=False):
        here = {label: part[part.task == task] for label, part in both.items()}
        _against_kernel(axis, "ratio", here, "R_K(W) / R*")
        axis.axhline(NEAR, color="black", lw=0.5)
    last = nets[(nets.K == PIXELS) & nets.C.eq(nets.C.max())]
    for task, part in last.groupby("task"):
        cost = np.array(part.costs.tolist()) / part.least.to_numpy()[:, None]
        spread(axes[-1], np.array(settings.levels), cost, task)
    axes[-1].set(xlabel="margin", ylabel="|weights|^2 / margin / R*", xscale="log")
    axes[-1].legend(frameon=False)
    return figure


def _draw_relu(both: pd.DataFrame) -> Figure:
    figure, (axes,) = panels(1, 3)
    both = both[both.K.isin(both[both.net == "ReLU"].K)]
    parts = {f"{net}, C = {c}": part for (net, c), part in both.groupby(["net", "C"])}
    for axis, task in zip(axes, sorted(set(both.task)), strict=False):
        here = {label: part[part.task == task] for label, part in parts.items()}
        _against_kernel(axis, "cost", here, "|weights|^2 / margin")
    _against_kernel(axes[-1], "spectrum", parts, "spread over frequencies")
    return figure


SINGLE = tuple(Shape(1, 8, k, c) for k, c in product((1, 2, 3, 4, 6, 8), (1, 2, 4)))
# Fewer channels can make no W, or only some, with these K: as many as are needed, and more.
MULTI = tuple(
    Shape(3, 6, k, c)
    for k, c in ((1, 3), (1, 4), (2, 2), (2, 3), (3, 2), (3, 3), (4, 2), (4, 3), (6, 1), (6, 2))
)
SMALL = tuple(shape for shape in (*SINGLE, *MULTI) if shape.channels < 4)
LEVELS, KERNELS, ENDS = (10.0, 30.0, 100.0, 300.0, 1000.0), (1, 2, 4, 8, PIXELS), (1, 4, PIXELS)

STUDY = Study(
    claim="""
    The least squared weight norm that makes a linear predictor in a two-layer linear convolutional
    network is the value of a semidefinite program. With one input channel it does not depend on
    the number C of output channels; with several it does, until C is large enough. It is twice
    the nuclear norm for kernels of size 1, and a group norm of the Fourier coefficients for
    kernels as long as the input. Gradient descent on real data finds the predictor with the least
    such norm for its margin.
    """,
    source="""
    Jagadeesan, Razenshteyn, Gunasekar, "Inductive Bias of Multi-Channel Linear Convolutional
    Networks with Bounded Weight Norm", arXiv 2102.12238, abstract.
    """,
    criterion=f"""
    On every seed: closed forms, program and direct minimisation over weights agree to {AGREE:g},
    relative, wherever C is large enough; and at a margin of {LEVELS[-1]:g} the norm R_K(W) of what
    gradient descent found, with 4 output channels, is at most {NEAR} times the least norm R* of a
    predictor of that margin, for every task and K. Controls: with 3 input channels, K = 2 and C = 2
    the norm is not the program's; the l2 support vector machine's predictor is not near R* for K =
    D. With one output channel descent is reported, not judged: there it was seen, on seeds 0 to 2,
    to end above that in some cells.
    """,
    method="""
    Gaussian predictors W with R input channels of length D; the program by CLARABEL; the least
    weights by an augmented Lagrangian with Newton steps from several random starts, the best of
    which counts. Cells in which too few channels can make no W are left out. Descent: 60 examples
    of two digits of scikit-learn, pooled to 4x4, centred, as sequences of D = 16; log of the
    exponential loss, steps as large as the curvature allows, until the margin is at its last level;
    one output channel too. The same nets with a ReLU are reported, since the theory says nothing of
    them.
    """,
    reconstruction="""
    We know the claims from the paper's abstract. The derivation of the program, of the scaling of
    the closed forms (the paper may normalise otherwise) and of the sufficiency of one channel is
    ours, at the top of the study's file; so are data, sizes and thresholds, and the ReLU part,
    for which the paper used MNIST and CIFAR-10.
    """,
    scales={
        "smoke": Settings(2, SMALL, 2, (10.0, 300.0), (1, PIXELS), (1, PIXELS), (10.0,)),
        "cpu": Settings(10, (*SINGLE, *MULTI), 6, LEVELS, KERNELS, ENDS, (10.0, 50.0)),
        "paper": Settings(20, (*SINGLE, *MULTI), 12, LEVELS, KERNELS, KERNELS, (10.0, 300.0)),
    },
    parts={
        "truths": Part(truths),
        "margins": Part(margins),
        "weights": Part(weights, batched=True, cells=("shapes",)),
        "linear": Part(linear_nets, batched=True, cells=("tasks", "kernels", "channels")),
        "relu": Part(relu_nets, batched=True, cells=("tasks", "relu_kernels", "relu_channels")),
    },
    judge=judge,
    show=show,
)
