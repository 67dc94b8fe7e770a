"""The tables and pictures of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from einops import rearrange
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.common.figures import COLOURS, panels, spread
from benchmarks.page import Picture, Table
from benchmarks.studies.data_neural_sim import objects, wild
from benchmarks.studies.data_neural_sim.pictures import SCENE, TILE
from benchmarks.studies.data_neural_sim.poses import BINS, UNIFORM
from benchmarks.study import Found

ARMS = ("uniform", "random search", "learned", "oracle", "validation pictures")
SCORES = {"classification": "accuracy", "detection": "mAP"}


def of(found: Found, kind: str, **where: str) -> pd.DataFrame:
    rows = found["loop"]
    chosen = rows.kind == kind
    for column, value in where.items():
        chosen &= rows[column] == value
    return rows[chosen]


def show(found: Found, settings: Any) -> Iterator[Table | Picture]:
    for task, score in SCORES.items():
        arms = of(found, "arm", task=task, wild="wild")
        lines = []
        for arm in (arm for arm in ARMS if arm in set(arms.arm)):
            mine = arms[arms.arm == arm]
            line = {"training pictures": arm, score: mine.score.mean()}
            line |= {"lowest": mine.score.min(), "highest": mine.score.max()}
            lines.append(line | {"distance from the wild's poses": mine.distance.mean()})
        yield Table(f"{task.capitalize()}: {score} in the wild", pd.DataFrame(lines))
    yield Picture("poses", _poses(found), _POSES)
    yield Picture("pictures", _pictures(), _PICTURES)
    yield Picture("loop", _loop(found), _LOOP)
    checked = of(found, "gradient")
    lines = []
    for task in SCORES:
        one = checked[checked.task == task]
        lines.append({"task": task, "lowest cosine": one.cosine.min(),
                      "largest relative error": one.relative.max()})  # fmt: skip
    yield Table("Implicit gradient and finite differences", pd.DataFrame(lines))
    yield Table("NeRF on views it has not seen (decibels)", of(found, "nerf")[["seed", "decibels"]])


def _poses(found: Found) -> Figure:
    figure, axes = panels(len(SCORES), 2)
    for line, task in zip(axes, SCORES, strict=True):
        for axis, place in zip(line, ("wild", "uniform"), strict=True):
            steps = of(found, "step", task=task, wild=place)
            last = steps[steps.step == steps.step.max()]
            shares = np.array(last.shares.tolist())
            if place == "wild":
                arms = of(found, "arm", task=task, wild=place, arm="oracle")
                true = np.array(arms.shares.tolist()) if len(arms) else shares
            else:
                true = np.broadcast_to(UNIFORM, shares.shape)
            turns = [2 - int(np.argmax(one)) for one in true]  # the most likely bin to the third
            turned = [np.roll(*one) for one in zip(shares, turns, strict=True)]
            goal = np.mean([np.roll(*one) for one in zip(true, turns, strict=True)], 0)
            axis.bar(range(BINS), goal, color="0.85", label="the wild's")
            for one in turned:
                axis.plot(range(BINS), one, "o", color=COLOURS[1], alpha=0.6, ms=4)
            axis.plot(range(BINS), np.median(turned, 0), color=COLOURS[1], label="learned")
            axis.set(title=f"{task}, {place} poses", xlabel="bin of azimuth, turned", ylim=(0, 1))
            axis.set_ylabel("probability")
    axes[0, 0].legend(frameon=False)
    return figure


def _loop(found: Found) -> Figure:
    figure, axes = panels(1, len(SCORES))
    for axis, task in zip(axes[0], SCORES, strict=True):
        for place in ("wild", "uniform"):
            steps = of(found, "step", task=task, wild=place).dropna(subset="error")
            table = steps.pivot(index="seed", columns="step", values="error")
            spread(axis, table.columns.to_numpy(), table.to_numpy(), f"{place} poses")
        axis.set(title=task, xlabel="training", ylabel="validation error")
    axes[0, 0].legend(frameon=False)
    return figure


def _pictures() -> Figure:
    """What the NeRF is trained on, and what is in the wild."""
    rng = np.random.default_rng(0)
    views = objects.views(BINS, TILE, 0).rgba[:, :, :3]
    seen = [wild.portraits(24, TILE, UNIFORM, rng), wild.scenes(6, SCENE, UNIFORM, rng)]
    sheets = [rearrange(views, "c v k h w -> (c h) (v w) k").numpy()]
    for one, columns in zip(seen, (6, 3), strict=True):
        sheet = rearrange(one.pictures, "(r q) k h w -> (r h) (q w) k", q=columns)
        sheets.append(sheet)
    figure, axes = panels(1, 3)
    titles = ("views for the NeRF", "wild portraits", "wild scenes")
    for axis, sheet, title in zip(axes[0], sheets, titles, strict=True):
        axis.imshow(sheet, interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(title)
    for n, boxes in enumerate(seen[1].boxes):
        for x, y, right, bottom in boxes:
            corner = (n % 3 * SCENE + x - 0.5, n // 3 * SCENE + y - 0.5)
            axes[0, 2].add_patch(Rectangle(corner, right - x, bottom - y, fill=False, ec="w"))
    return figure


_PICTURES = (
    "Views that the NeRF is trained on, one object a row, and pictures from the wild by the "
    "other renderer, here from all sides; with boxes, those of detection."
)
_POSES = (
    "Distributions of poses: the wild's (bars) and what was learned (line: median over seeds; "
    "dots: each). Bins are turned so that each seed's bars lie together. Right: the control, "
    "where the wild's poses are uniform."
)
_LOOP = (
    "The validation error of the model that each step of the loop trains: median and range of "
    "the seeds. Each step has fresh pictures."
)
