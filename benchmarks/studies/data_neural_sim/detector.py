"""The target model of scenes: a small single-stage detector.

It is anchor-free: each cell of a grid has a logit for each class, that a box of it is centred there
(Zhou et al. 2019, arXiv 1904.07850), and the distances to the box's four sides (Tian et al. 2019,
arXiv 1904.01355). Its head is linear and all that is trained; its loss, cross-entropy with the
peaks and squared error of the distances, is convex in it. (The paper's authors too differentiate
through the last layers alone.) The head sees the colours around the cell, and features that were
fixed by learning to find objects of no matter which class.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.studies.data_neural_sim.precision import Detections, mean_average_precision
from benchmarks.studies.data_neural_sim.targets import Truth
from benchmarks.studies.data_neural_sim.wild import Labelled

STRIDE = 4
WIDTHS, STEPS = (16, 32, 32, 48), (2, 2, 1, 1)  # of the convolutions
WINDOW = 5  # cells whose mean colours the head sees
SEEN = 3 * WINDOW**2 + WIDTHS[-1]
DAMPING = 0.01  # of whitening: a share of the mean variance
NEAR = 0.75  # width of a peak, in cells
POSITIVE = 0.3  # the height of the peak from which a cell says how far the box's sides are
SIDES = 0.1  # the weight of their error
SHOWN = 12  # detections a picture


class Features(nn.Module):
    """Pictures (n, 3, size, size) -> (n, cell, cell, ``SEEN``): convolutions, and the mean colours
    of the cells around. ``whiten`` makes them of mean 0 and about uncorrelated, so that the head is
    trained fast."""

    def __init__(self) -> None:
        super().__init__()
        shapes = zip((3, *WIDTHS[:-1]), WIDTHS, STEPS, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(m, n, 3, step, 1) for m, n, step in shapes)
        self.centre = nn.Parameter(torch.zeros(SEEN), requires_grad=False)
        self.white = nn.Parameter(torch.eye(SEEN), requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        hidden = 2 * pictures - 1
        for convolution in self.convolutions:
            hidden = F.silu(convolution(hidden))
        coarse = reduce(pictures, "n c (h a) (w b) -> n c h w", "mean", a=STRIDE, b=STRIDE)
        around = F.unfold(coarse - 0.5, WINDOW, padding=WINDOW // 2)
        around = rearrange(around, "n k (h w) -> n k h w", h=coarse.shape[-1])
        seen = rearrange(torch.cat([around, hidden], 1), "n k h w -> n h w k")
        return (seen - self.centre) @ self.white

    @torch.no_grad()
    def whiten(self, pictures: Tensor) -> None:
        seen = rearrange(self(pictures), "n h w k -> (n h w) k")
        values, vectors = torch.linalg.eigh(torch.cov(seen.T))
        scale = (values + DAMPING * values.mean()).rsqrt()
        self.centre.copy_(seen.mean(0))
        self.white.copy_(vectors * scale @ vectors.T)


def peaks(labels: list[np.ndarray], boxes: list[np.ndarray], classes: int, cells: int) -> Truth:
    """What the cells are to say of these boxes."""
    heat = np.zeros((len(labels), classes, cells, cells), np.float32)
    sides = np.zeros((len(labels), 4, cells, cells), np.float32)
    best = np.zeros((len(labels), cells, cells), np.float32)
    y, x = np.mgrid[:cells, :cells] + 0.5
    for n, (those, there) in enumerate(zip(labels, boxes, strict=True)):
        for label, (left, top, right, bottom) in zip(those, there / STRIDE, strict=True):
            column, row = np.minimum([(left + right) // 2, (top + bottom) // 2], cells - 1) + 0.5
            peak = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * NEAR**2))
            far = np.stack([x - left, y - top, right - x, bottom - y])
            sides[n] = np.where(peak > best[n], far, sides[n])
            best[n] = np.maximum(best[n], peak)
            heat[n, label] = np.maximum(heat[n, label], peak)
    near = (best > POSITIVE).astype(np.float32)[:, None]
    return Truth(None, *map(torch.tensor, (heat, sides, near)))


def cell_error(said: Tensor, truth: Truth) -> Tensor:
    """Mean over pictures of what the cells said, (n, cell, cell, class + 4), against the truth."""
    assert truth.heat is not None and truth.sides is not None and truth.near is not None
    said = rearrange(said, "n h w k -> n k h w")
    logits, sides = said[:, :-4], said[:, -4:]
    right = F.binary_cross_entropy_with_logits(logits, truth.heat, reduction="none")
    off = SIDES * truth.near * (sides - truth.sides) ** 2
    return (reduce(right, "n k h w -> n", "sum") + reduce(off, "n k h w -> n", "sum")).mean()


def learn_features(
    pictures: Tensor, boxes: list[np.ndarray], steps: int, batch: int, seed: int
) -> Features:
    """Features for boxes of one class, "object": Adam, on random batches."""
    torch.manual_seed(seed)
    features = Features()
    head = nn.Linear(SEEN, 1 + 4)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-4.0, 2, 2, 2, 2]))  # few cells have an object
    truth = peaks(
        [np.zeros(len(one), int) for one in boxes], boxes, 1, pictures.shape[-1] // STRIDE
    )
    adam = torch.optim.Adam([*features.parameters(), *head.parameters()], 1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    assert truth.heat is not None and truth.sides is not None and truth.near is not None
    for _ in range(steps):
        some = torch.randint(len(pictures), (batch,))
        part = Truth(None, truth.heat[some], truth.sides[some], truth.near[some])
        loss = cell_error(head(features(pictures[some])), part)
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    features.whiten(pictures)
    return features.requires_grad_(False)


class Detector:
    """A linear head on features of pictures of ``size`` pixels a side."""

    scenes = True

    def __init__(self, features: Features, classes: int, size: int, ridge: float) -> None:
        self.features, self.classes, self.cells = features, classes, size // STRIDE
        self.shape = (SEEN + 1, classes + 4)
        self.ridge = ridge

    def inputs(self, pictures: Tensor) -> Tensor:
        """(n, cell, cell, k), the last of k always 1."""
        return F.pad(self.features(pictures), (0, 1), value=1.0)

    def truth(self, labels: list[np.ndarray], boxes: list[np.ndarray]) -> Truth:
        return peaks(labels, boxes, self.classes, self.cells)

    def error(self, theta: Tensor, inputs: Tensor, truth: Truth) -> Tensor:
        return cell_error(inputs @ theta, truth)

    @torch.no_grad()
    def detect(self, theta: Tensor, pictures: Tensor) -> list[Detections]:
        """Of each picture the ``SHOWN`` best cells that are a peak of their class."""
        said = rearrange(self.inputs(pictures) @ theta, "n h w k -> n k h w")
        heat, sides = said[:, :-4].sigmoid(), STRIDE * said[:, -4:]
        tops = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
        scores, places = rearrange(tops, "n k h w -> n (k h w)").topk(SHOWN)
        label, cell = places // self.cells**2, places % self.cells**2
        y, x = (STRIDE * (one + 0.5) for one in (cell // self.cells, cell % self.cells))
        far = rearrange(sides, "n k h w -> n (h w) k")
        left, top, right, bottom = far.take_along_dim(cell.unsqueeze(-1), 1).unbind(-1)
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], -1)
        parts = (one.double().numpy() for one in (boxes, scores))
        return [Detections(*one) for one in zip(*parts, label.numpy(), strict=True)]

    def score(self, theta: Tensor, pictures: Tensor, found: Labelled) -> float:
        """Mean average precision."""
        return mean_average_precision(self.detect(theta, pictures), found.boxes, found.labels)
