"""Labelled images on a black canvas with room to shift them, so that no shift loses a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
import torch
from einops import rearrange
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from lego.task import require

CIFAR10 = "uoft-cs/cifar10"


@dataclass(frozen=True)
class Images:
    """Images (sample, channel, canvas, canvas), float32 in [0, 1], and labels (sample,) in [0, 10);
    a margin of ``furthest`` black pixels is on each side."""

    name: str
    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    furthest: int

    @property
    def canvas(self) -> int:
        return self.train.shape[-1]


def digits(seed: int, size: int) -> Images:
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged to ``size``, on a canvas of twice the
    size; a fifth of them, drawn by the seed, are for the test."""
    found = load_digits()
    pixels = torch.tensor(found.images[:, None] / 16, dtype=torch.float32)
    if size != pixels.shape[-1]:
        pixels = functional.interpolate(pixels, size=(size, size), mode="bilinear")
    order = torch.tensor(np.random.default_rng([seed, 0]).permutation(len(pixels)))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    labels, margin = torch.tensor(found.target), size // 2
    pixels = functional.pad(pixels, [margin] * 4)
    return Images(
        f"digits {size}", pixels[train], labels[train], pixels[test], labels[test], margin
    )


def cifar10(path: str = CIFAR10, furthest: int = 8) -> Images:
    """CIFAR-10 from the Hub, its cache or a local folder of that format: splits train and test with
    columns ``img`` and ``label``. Raises SettingError where it cannot be had."""
    try:
        found = datasets.load_dataset(path)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = type(error).__name__
        allowed = f"where {path} can be had, from a network or a cache ({reason} here)"
        require(False, "data", "cifar10", allowed)

    def split(name: str) -> tuple[Tensor, Tensor]:
        rows = found[name].with_format("numpy")
        pixels = torch.tensor(np.asarray(rows["img"][:]), dtype=torch.float32) / 255
        pixels = functional.pad(rearrange(pixels, "n h w c -> n c h w"), [furthest] * 4)
        return pixels, torch.tensor(np.asarray(rows["label"][:]))

    return Images("cifar10", *split("train"), *split("test"), furthest)


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Images (sample, channel, height, width), each moved by its own whole numbers of pixels
    (sample,); what leaves at one side comes back at the other."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height) - down[:, None]) % height
    columns = (torch.arange(width) - right[:, None]) % width
    sample = torch.arange(len(images))
    moved = images[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return rearrange(moved, "n h w c -> n c h w")


def directions(offset: int) -> list[tuple[int, int]]:
    """The eight shifts (down, right) of an offset along rows, columns and both diagonals; for 0
    the one that there is."""
    signs = (-1, 0, 1)
    found = {(offset * down, offset * right) for down in signs for right in signs}
    return sorted(found - {(0, 0)}) or [(0, 0)]
