"""What a target model is, and the one of portraits: a linear classifier.

A target's training loss is strictly convex in what is trained, ``theta``, so that the trained model
is a function of its training pictures and the implicit gradient is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from benchmarks.studies.data_neural_sim.wild import Labelled


class Target(Protocol):
    """``scenes``: else portraits; ``shape``: of theta; ``ridge``: the training loss is the error
    + ridge/2 |theta|^2."""

    scenes: bool
    shape: tuple[int, int]
    ridge: float

    def inputs(self, pictures: Tensor) -> Tensor:
        """What theta works on: differentiable in pictures (n, 3, size, size)."""

    def truth(self, labels: list[np.ndarray], boxes: list[np.ndarray]) -> Truth:
        """What ``error`` compares with."""

    def error(self, theta: Tensor, inputs: Tensor, truth: Truth) -> Tensor:
        """Mean loss, a scalar: convex and smooth in theta."""

    def score(self, theta: Tensor, pictures: Tensor, found: Labelled) -> float:
        """Accuracy or mAP, 0 to 1."""


@dataclass(frozen=True)
class Truth:
    """Of portraits ``classes`` (n,). Of scenes, on the grid of cells, ``heat`` (n, class, h, w), a
    peak of 1 at each box's centre; ``sides`` (n, 4, h, w), distances from the cell to the box's
    left, top, right and bottom in strides; and ``near`` (n, 1, h, w), where these count."""

    classes: Tensor | None = None
    heat: Tensor | None = None
    sides: Tensor | None = None
    near: Tensor | None = None

    def to(self, kind: torch.dtype) -> Truth:
        parts = (self.heat, self.sides, self.near)
        return Truth(self.classes, *(None if one is None else one.to(kind) for one in parts))


class Classifier:
    """Softmax of a linear map of the pixels."""

    scenes = False

    def __init__(self, classes: int, size: int, ridge: float) -> None:
        self.shape = (3 * size * size + 1, classes)
        self.ridge = ridge

    def inputs(self, pictures: Tensor) -> Tensor:
        flat = rearrange(pictures, "n c h w -> n (c h w)") - 0.5
        return F.pad(flat, (0, 1), value=1.0)

    def truth(self, labels: list[np.ndarray], boxes: list[np.ndarray]) -> Truth:
        return Truth(classes=torch.tensor(np.concatenate(labels)))

    def error(self, theta: Tensor, inputs: Tensor, truth: Truth) -> Tensor:
        assert truth.classes is not None
        return F.cross_entropy(inputs @ theta, truth.classes)

    @torch.no_grad()
    def score(self, theta: Tensor, pictures: Tensor, found: Labelled) -> float:
        guessed = (self.inputs(pictures) @ theta).argmax(-1).numpy()
        return float((guessed == np.concatenate(found.labels)).mean())
