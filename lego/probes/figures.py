"""Figures of what the probes find: plain functions from their tables and arrays to matplotlib.

Each draws on a figure of its own, or on given axes, and returns the figure that it drew on; pyplot
has no part in it. Roles have the colours of the report (Okabe and Ito's, which the colour-blind can
tell apart) and letters; shades go from white to blue, and below 0 to brown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from lego.probes.attention import in_chain_order
from lego.probes.shortcuts import FOLLOWED, verdict
from lego.task import choose, require

ROLE_COLOURS = {  # of lego/page/heads.js
    "association": "#0072b2",
    "chain": "#009e73",
    "operator": "#d55e00",
    "argument": "#56b4e9",
    "clause": "#cc79a7",
    "local": "#e69f00",
    "self": "#8c6bb1",
    "separator": "#7a7a7a",
}
LETTERS = {role: role[:2] for role in ROLE_COLOURS} | {"self": "sf", "separator": "sp"}
LEANS = 0.2  # of what chance leaves: a head without a role leans to the edge that it gives so much
HEAT, COLD, TINT, SOFT = "#00468b", "#a34300", "#f4f5f7", "#5b6169"
SHADES = LinearSegmentedColormap.from_list("shades", ["white", HEAT])
SIGNED = LinearSegmentedColormap.from_list("signed", [COLD, "white", HEAT])
LINES = (*list(ROLE_COLOURS.values())[:3], "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7a7a7a")
MARKS = "osD^vP*X"
INCHES = 0.42  # of a cell


def heatmap(
    found: xr.DataArray,
    ax: Axes | None = None,
    numbers: bool = True,
    framed: Sequence[tuple[int, int]] = (),
) -> Figure:
    """Any array of two named dimensions, the first downwards, shaded from 0 to 1.

    The axes are named and labelled by the dimensions and coordinates, NaN stays grey. Where there
    are values below 0 the shades have two colours, with white for 0. ``numbers``: two digits in
    each cell. ``framed``: places, row and column from 0, with a border.
    """
    require(found.ndim == 2, "found", found.dims, "an array of two dimensions")
    values = found.values.astype(float)
    rows, columns = values.shape
    ax = ax or _axes(INCHES * columns + 2.0, INCHES * 0.72 * rows + 1.1)
    low = np.nanmin(values, initial=0.0)
    high = max(np.nanmax(values, initial=1.0), -low)
    signed = low < -0.005  # what is printed as less than 0
    ax.set_facecolor("#d9dce0")
    shades, least = (SIGNED, -high) if signed else (SHADES, 0.0)
    image = ax.imshow(values, cmap=shades, vmin=least, vmax=high, aspect="auto")
    _ticks(ax, found)
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                shade = image.cmap(image.norm(value))[:3]
                text = (
                    f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
                )
                ax.text(column, row, text, ha="center", va="center", size=7, color=_on(shade))
    for row, column in framed:
        border = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=2, ec="#d55e00")
        ax.add_patch(border)
    bar = _figure(ax).colorbar(image, ax=ax, pad=0.02)
    bar.set_label(str(found.name or ""))
    bar.outline.set_visible(False)
    return _figure(ax)


def atlas(scores: pd.DataFrame, measure: str = "role", ax: Axes | None = None) -> Figure:
    """Layers by heads of a table of ``head_scores``: coloured by role, or shaded by a column.

    A head of two roles has both colours. A pale one, with its letters in brackets, has no role but
    leans to that edge: an excess over chance of 0.2 or more, the middle of its interval.
    """
    choose("measure", measure, tuple(scores.columns))
    if measure != "role":
        grid = scores.pivot(index="layer", columns="head", values=measure)
        return heatmap(xr.DataArray(grid, name=measure), ax)
    layers, heads = scores["layer"].max() + 1, scores["head"].max() + 1
    ax = ax or _axes(INCHES * 1.4 * heads + 2.3, max(INCHES * 0.72 * layers + 0.9, 2.2))
    seen: dict[str, None] = {}
    for head in scores.to_dict("records"):
        at, roles, lean = (head["head"], head["layer"]), head["role"].split(" + "), _lean(head)
        if lean:
            _cell(ax, at, _pale(ROLE_COLOURS[lean]), f"({LETTERS[lean]})")
        elif roles == ["none"]:
            _cell(ax, at, TINT, "·")
        else:
            first, second = ROLE_COLOURS[roles[0]], ROLE_COLOURS[roles[-1]]
            _cell(ax, at, first, "+".join(LETTERS[role] for role in roles), second)
        seen |= dict.fromkeys([lean] if lean else roles)
    ax.set(xlim=(-0.5, heads - 0.5), ylim=(layers - 0.5, -0.5), xlabel="head", ylabel="layer")
    ax.set(xticks=range(heads), yticks=range(layers))
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    names = [f"{LETTERS[role]}  {role}" if role in LETTERS else f"·  {role}" for role in seen]
    colours = [ROLE_COLOURS.get(role, TINT) for role in seen]
    shown = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours]
    leaning = any(map(_lean, scores.to_dict("records")))
    ax.legend(
        shown, names, title="(leans to)" if leaning else None, frameon=False,
        loc="center left", bbox_to_anchor=(1.01, 0.5),
    )  # fmt: skip
    return _figure(ax)


def attention_map(weights: xr.DataArray, ax: Axes | None = None, chain: bool = True) -> Figure:
    """One head's attention over a sentence: (query, key) of ``lego.probes.attention``.

    ``chain``: with the clauses in the order of the chain, not as they are written, and what is of
    no clause at the end; lines are between the clauses.
    """
    require(weights.dims == ("query", "key"), "weights", weights.dims, "query, key of one head")
    found = in_chain_order(weights) if chain else weights
    length = len(found)
    ax = ax or _axes(0.155 * length + 1.6, 0.155 * length + 1.0)
    image = ax.imshow(found.values, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for axis, dim in ((ax.yaxis, "query"), (ax.xaxis, "key")):
        axis.set_ticks(range(length), found[f"{dim}_token"].values)
        axis.set_tick_params(labelsize=6.5, length=0, pad=1)
        axis.set_label_text(f"{dim} (who looks)" if dim == "query" else f"{dim} (at what)")
        ends = np.flatnonzero(np.diff(found[f"{dim}_clause"].values)) + 0.5
        for end in ends:
            (ax.axhline if dim == "query" else ax.axvline)(end, color="#d9dce0", lw=0.8)
    ax.tick_params(axis="x", rotation=90)
    bar = _figure(ax).colorbar(image, ax=ax, pad=0.02)
    bar.set_label("attention")
    bar.outline.set_visible(False)
    return _figure(ax)


def flow(found: xr.Dataset, ax: Axes | None = None) -> Figure:
    """Where each variable is known: layers by chain positions of ``resolve`` or ``logit_lens``.

    Shaded by the accuracy at the variable's own place; the layer that resolves a variable, if the
    data say that, is framed.
    """
    own = found.sel(offset=0, drop=True) if "offset" in found.dims else found
    framed = []
    if "resolved" in own:
        known = own.resolved.dropna("position")
        layers, places = own.layer.values.tolist(), own.position.values.tolist()
        pairs = zip(known.values, known.position.values, strict=True)
        framed = [(layers.index(layer), places.index(place)) for layer, place in pairs]
    return heatmap(own.accuracy.transpose("layer", "position"), ax, framed=framed)


def answerers(prints: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Whom a model follows: the excess of a table of ``fingerprint``, with its intervals of 95 %.

    The dashed line is what the verdict asks of the interval of the largest; the one that it names
    is blue.
    """
    ax = ax or _axes(5.2, 0.34 * len(prints) + 1.0)
    said = verdict(prints)
    places = np.arange(len(prints))
    ends = prints[["excess_low", "excess_high"]].to_numpy().T
    for place, name, low, high, excess in zip(
        places, prints.index, *ends, prints["excess"], strict=True
    ):
        colour = HEAT if name == said else SOFT
        ax.plot([low, high], [place, place], color=colour, lw=2.5, solid_capstyle="butt")
        ax.plot(excess, place, "o", color=colour, ms=6)
    ax.axvline(FOLLOWED, color="black", ls="--", lw=1)
    ax.axvline(0, color="#d9dce0", lw=1, zorder=0)
    ax.set_yticks(places, prints.index)
    ax.set(ylim=(len(prints) - 0.5, -0.5), xlim=(min(-0.1, ends.min() - 0.05), 1.05))
    ax.set(xlabel="agreement, 0 for shuffled answers, 1 for all", title=f"verdict: {said}")
    _bare(ax)
    return _figure(ax)


def ablation(table: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Accuracy without each unit, by chain position: a table of ``lego.probes.ablate``.

    A row for each unit, named by its columns; the first row is the intact model.
    """
    units = list(table.columns[: table.columns.get_loc("position")])
    # A column that says the same everywhere, as the layer -1 of knock_out, tells nothing.
    told = [name for name in units if table[name].nunique() > 1] or units
    numbered = [table[name].dtype.kind in "iu" for name in told]
    words = [
        f"{name} " + table[name].astype(str) if number else table[name].astype(str)
        for name, number in zip(told, numbered, strict=True)
    ]
    names = words[0].str.cat(words[1:], sep=" ")
    grid = table.assign(without=names).pivot_table(
        index="without", columns="position", values="accuracy", sort=False
    )
    intact = table.groupby("position")["intact"].first()
    grid = pd.concat([intact.to_frame("intact").T, grid]).rename_axis("without")
    return heatmap(xr.DataArray(grid.rename_axis(columns="position"), name="accuracy"), ax)


def training(accuracy: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Curves of a table of ``accuracy_over_training``, one for each chain position."""
    ax = ax or _axes(5.6, 3.2)
    for place, position in enumerate(accuracy.columns):
        colour, mark = LINES[place % len(LINES)], MARKS[place % len(MARKS)]
        ax.plot(accuracy.index, accuracy[position], color=colour, marker=mark, ms=4, label=position)
    ax.set(xlabel="step", ylabel="accuracy", ylim=(min(0.4, accuracy.min().min()) - 0.02, 1.02))
    title = str(accuracy.columns.name or "position")
    ax.legend(title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _bare(ax)
    return _figure(ax)


def _axes(width: float, height: float) -> Axes:
    """Axes on a figure of their own, in inches."""
    return Figure(figsize=(width, height), layout="constrained", dpi=100).subplots()


def _figure(ax: Axes) -> Figure:
    figure: Any = ax.get_figure(root=True)
    return figure


def _ticks(ax: Axes, found: xr.DataArray) -> None:
    for axis, dim in ((ax.yaxis, found.dims[0]), (ax.xaxis, found.dims[1])):
        axis.set_ticks(range(found.sizes[dim]), [str(value) for value in found[dim].values])
        axis.set_label_text(str(dim))
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _on(shade: Any) -> str:
    """Black or white, which is the easier to read on a colour (WCAG's luminance)."""
    linear = [part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in shade]
    return "black" if np.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.18 else "white"


def _pale(colour: str) -> tuple[float, ...]:
    """A third of a colour on the tint of no role."""
    return tuple(0.3 * a + 0.7 * b for a, b in zip(to_rgb(colour), to_rgb(TINT), strict=True))


def _lean(head: dict[str, Any]) -> str | None:
    """The edge that a head without a role leans to, as the report has it."""
    if head["role"] != "none":
        return None
    excess = {
        role: (head[f"{role}_low"] + head[f"{role}_high"]) / 2
        for role in ROLE_COLOURS
        if f"{role}_low" in head
    }
    best = max(excess, key=excess.__getitem__)
    return best if excess[best] >= LEANS else None


def _cell(ax: Axes, at: tuple[int, int], colour: Any, text: str, second: Any = None) -> None:
    """A head: one colour, or two with a diagonal between them."""
    x, y = at[0] - 0.5, at[1] - 0.5
    ax.add_patch(Rectangle((x, y), 1, 1, fc=colour, ec="white", lw=2))
    if second and second != colour:
        ax.add_patch(Polygon([(x + 1, y), (x + 1, y + 1), (x, y + 1)], fc=second, ec="none"))
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
        ax.text(*at, text, ha="center", va="center", size=8, bbox=box)
    else:
        ax.text(*at, text, ha="center", va="center", size=9, color=_on(to_rgb(colour)))
