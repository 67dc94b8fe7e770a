"""How all studies draw: panels of one size, and colours that are told apart by anyone."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's, without the yellow, which is faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
WIDTH, HEIGHT = 3.6, 2.8  # inches a panel


def panels(rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, (rows, columns)."""
    figure = Figure(figsize=(columns * WIDTH, rows * HEIGHT), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return figure, axes


def spread(axis: Axes, x: np.ndarray, values: np.ndarray, label: str) -> None:
    """The median of values (seeds, x) as a line, and their range as a band."""
    (line,) = axis.plot(x, np.median(values, axis=0), label=label)
    axis.fill_between(x, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, lw=0)
