"""The tables and pictures of the page on the kernel and rich regimes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchmarks.common.figures import panels, spread
from benchmarks.page import Picture, Table
from benchmarks.studies.bias_kernel_rich.measured import AGREE, Settings, against, reached
from benchmarks.study import Found


def show(found: Found, settings: Settings) -> Iterable[Table | Picture]:
    plane = found["plane"]
    lines = []
    for depth, cells in plane.groupby("depth"):
        alphas = cells.groupby("seed")[["alpha", "l1"]].apply(reached)
        lines.append(
            {
                "D": depth,
                "alpha where the l1 excess is 1 %": alphas.median(),
                "least": alphas.min(),
                "most": alphas.max(),
                "alpha^D there": alphas.median() ** depth,
                "largest l2 excess at alpha >= 1": cells[cells.alpha >= 1].l2.max(),
                "largest error": cells.error.max(),
                "largest error to another depth's": cells.wrong.max(),
            }
        )
    yield Table("Depth (alphas below the smallest measured count as that)", pd.DataFrame(lines))
    figure, axes = panels(1, 3)
    titles = {"error": "distance from argmin Q", "l1": "l1 excess", "l2": "l2 excess"}
    for (name, title), axis in zip(titles.items(), axes[0], strict=True):
        for depth, cells in plane.groupby("depth"):
            values = against(cells, name)
            spread(axis, values.columns, np.maximum(values.to_numpy(), 1e-12), f"D = {depth}")
        axis.set(xscale="log", yscale="log", xlabel="alpha", title=title)
    axes[0, 0].axhline(AGREE, color="black", lw=0.8, ls=":")
    axes[0, 1].legend(frameon=False)
    yield Picture(
        "plane",
        figure,
        "The limit of gradient flow for each depth and alpha, median and range of the seeds: its "
        "distance from argmin Q, relative (dotted: what is allowed); by how much its l1 norm "
        "exceeds the least l1 norm of an interpolant, and its l2 norm the least l2 norm (1e-12 if "
        "less).",
    )
    figure, axes = panels(1, 3)
    titles = {"turned": "1 - cosine of kernels", "moved": "distance from the kernel's prediction"}
    for (name, title), axis in zip(
        (titles | {"error": "distance from the truth"}).items(), axes[0], strict=True
    ):
        for part, label in (("completion", "matrix"), ("relu", "ReLU net")):
            values = against(found[part], name)
            spread(axis, values.columns, np.maximum(values.to_numpy(), 1e-12), label)
        axis.set(xscale="log", xlabel="alpha", title=title)
    for axis in axes[0, :2]:
        axis.set(yscale="log")
    axes[0, 0].legend(frameon=False)
    yield Picture(
        "nets",
        figure,
        "Matrix completion and a ReLU net, median and range of the seeds: how far the tangent "
        "kernel has turned, how far the predictions are from those of the kernel as it was at the "
        "start, and the distance from the truth (all entries; fresh points); all relative.",
    )
    nuclear = against(found["completion"], "nuclear")
    left = {part: against(found[part], "left").max() for part in ("completion", "relu")}
    by_alpha = {
        "alpha": nuclear.columns,
        "nuclear excess, median": nuclear.median(),
        "largest": nuclear.max(),
        "seeds where it is more than at the next alpha": (nuclear.diff(-1, axis=1) > 0).sum(),
        "largest residual of the matrix": left["completion"],
        "of the ReLU net": left["relu"],
    }
    yield Table("Matrix completion, and what training left", pd.DataFrame(by_alpha))
