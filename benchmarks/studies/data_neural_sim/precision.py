"""Mean average precision at an overlap of 1/2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OVERLAP = 0.5


@dataclass(frozen=True)
class Detections:
    """Of one picture: ``boxes`` (k, 4) x0, y0, x1, y1; ``scores`` (k,); ``labels`` (k,)."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (m, 4) and (n, 4): (m, n)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (one, other)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)


def average_precision(found: list[tuple[np.ndarray, np.ndarray]], there: list[np.ndarray]) -> float:
    """Of one class: ``found`` (boxes, scores) and boxes ``there`` of each picture.

    By falling score, a detection is right if, of the boxes of its picture that none before it has
    taken, the one it overlaps most does so by ``OVERLAP``; that one is then taken. The area under
    precision by recall, precision being the best at that recall or a higher one (as in PASCAL VOC
    from 2010 on, Everingham et al. 2015, and at all recalls).
    """
    total = sum(len(boxes) for boxes in there)
    scores = np.concatenate([score for _, score in found] or [np.zeros(0)])
    pictures = np.repeat(np.arange(len(found)), [len(score) for _, score in found])
    boxes = np.concatenate([box for box, _ in found] or [np.zeros((0, 4))])
    free = [np.ones(len(one), bool) for one in there]
    right = np.zeros(len(scores), bool)
    for item in np.argsort(-scores, kind="stable"):
        picture = pictures[item]
        shared = overlap(boxes[item : item + 1], there[picture])[0] * free[picture]
        if len(shared) and shared.max() >= OVERLAP:
            free[picture][shared.argmax()] = False
            right[item] = True
    right = right[np.argsort(-scores, kind="stable")]
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / total)


def mean_average_precision(
    found: list[Detections], boxes: list[np.ndarray], labels: list[np.ndarray]
) -> float:
    """The mean over the classes that are there, 0 to 1."""
    every = np.unique(np.concatenate(labels))
    each = []
    for label in every:
        those = [(one.boxes[one.labels == label], one.scores[one.labels == label]) for one in found]
        there = [box[one == label] for box, one in zip(boxes, labels, strict=True)]
        each.append(average_precision(those, there))
    return float(np.mean(each))
