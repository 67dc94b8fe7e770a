"""The tables and pictures of the page on linear convolutional networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.figures import panels, spread
from benchmarks.page import Picture, Table
from benchmarks.studies.bias_linear_conv.measured import (
    AGREE,
    NEAR,
    PIXELS,
    Settings,
    norms,
    ratios,
)
from benchmarks.study import Found


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
