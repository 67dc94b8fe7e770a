"""The tables and pictures of the page on separable data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.common.figures import COLOURS, panels, spread
from benchmarks.page import Picture, Table
from benchmarks.studies.bias_separable.measured import (
    HEAVY_TAUS,
    TAUS,
    Settings,
)
from benchmarks.study import Found


def show(found: Found, settings: Settings) -> Iterator[Table | Picture]:
    losses, networks, last = found["losses"], found["networks"], found["last"]
    classes = found["classes"]
    names = classes.classes.map("cross-entropy, {} classes".format)
    across = np.where(networks.support == settings.dim, "yes", "no")
    yield Table(
        "Distance from w^", slopes(pd.concat([losses, classes.assign(loss=names)]), ["loss"])
    )
    yield Table(
        "Distance from w^ in deep linear networks, by whether the support vectors span the space",
        slopes(networks.assign(spanned=across), ["depth", "spanned"]),
    )
    yield Table(
        "The last layer v alone, over a fixed matrix M: distances at the end",
        last[["seed", "last", "inputs"]].rename(
            columns={"last": "v from w^ of the features", "inputs": "M'v from w^ of the inputs"}
        ),
    )
    yield Table(
        "Fresh points: where the logistic loss is lowest, share wrong there and at the end",
        losses.dropna(subset="ratio")[["seed", "lowest", "wrong_at_lowest", "wrong_last"]].rename(
            columns={"lowest": "log t", "wrong_at_lowest": "there", "wrong_last": "at the end"}
        ),
    )
    apart = found["descent"].groupby("t").apart.agg(["median", "max"]).reset_index()
    yield Table("Plain gradient descent: distance from its flow's direction", apart)
    yield Picture("rates", draw(found, settings), CAPTION)


def slopes(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    names = {"seed": "seeds", "last": "at the end, median", "slope": "slope, median"}
    cells = rows.groupby(by, sort=False)
    table = cells.agg({"seed": "size", "last": "median", "slope": "median"}).rename(columns=names)
    table["slope, range"] = [
        f"{cell.min():.3f} .. {cell.max():.3f}" if cell.notna().any() else ""
        for _, cell in cells.slope
    ]
    return table.reset_index()


CAPTION = (
    "Against log t; grey is what a million steps of plain descent reach. Left: the distance of w "
    "from w^ in direction, by loss, median and range over seeds. Middle: the same in deep linear "
    "networks, a line a seed, dashed where the support vectors do not span the space. Right: the "
    "logistic loss on fresh points over what w^ says of it, a line a seed."
)


def draw(found: Found, settings: Settings) -> Figure:
    figure, axes = panels(1, 3)
    left, middle, right = axes[0]
    for loss, rows in found["losses"].groupby("loss", sort=False):
        taus = HEAVY_TAUS if loss == "polynomial" else TAUS
        spread(left, taus[1:], np.stack(rows.distance)[:, 1:], str(loss))
    for colour, (depth, rows) in zip(COLOURS, found["networks"].groupby("depth"), strict=False):
        middle.plot([], color=colour, label=f"depth {depth}")
        for row in rows.itertuples():
            line = "-" if row.support == settings.dim else "--"
            middle.plot(TAUS[1:], row.distance[1:], line, color=colour, lw=0.8)
    for ratios in found["losses"].ratios.dropna():
        right.plot(TAUS[1:], ratios, color=COLOURS[0], lw=0.8)
    right.axhline(1, color="black", ls=":", lw=0.8)
    titles = ("linear", "deep linear networks", "fresh points")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.axvspan(TAUS[1], np.log(1e6), color="grey", alpha=0.15, lw=0)
        axis.set(xscale="log", yscale="log", xlabel="log t", title=title)
    left.set_ylabel("distance from w^")
    right.set_ylabel("loss over what w^ says")
    for axis in (left, middle):
        axis.legend(frameon=False, fontsize="small")
    return figure
