"""Augmentations of a batch of images (sample, channel, canvas, canvas) in [0, 1]; chance is torch's
own generator, which the caller seeds.

``advanced`` is torchvision's RandAugment, RandomErasing and MixUp at their defaults where it can be
imported, else our own batched form of the same: of RandAugment's list the operations that a small
grey image shows, each at the strength of magnitude 9 of 30. Both shift by .136 of the canvas among
other things, beyond what the crop does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from benchmarks.studies.data_translation_shift.images import shifted
from benchmarks.studies.data_translation_shift.vision import CLASSES

Batch = tuple[Tensor, Tensor]  # images, and labels as shares of the classes (sample, class)
OWN, TORCHVISION = "our own batched form", "torchvision's transforms.v2"
ERASED, AREA, ASPECT = 0.5, (0.02, 0.33), (0.3, 3.3)  # RandomErasing's defaults
CHUNK = 16  # images that share a draw of torchvision's RandAugment, which is slow for each alone


def crop(images: Tensor, most: int) -> Tensor:
    """Each image cut out anew, up to ``most`` pixels off in both directions."""
    down, right = torch.randint(-most, most + 1, (2, len(images)))
    return shifted(images, down, right)


def matched_noise(images: Tensor, most: int) -> Tensor:
    """Images moved as far as ``crop`` moves them, as vectors, but in a random direction."""
    far = torch.linalg.vector_norm(crop(images, most) - images, dim=(1, 2, 3), keepdim=True)
    way = torch.randn_like(images)
    return images + far * way / torch.linalg.vector_norm(way, dim=(1, 2, 3), keepdim=True)


def rand_augment(images: Tensor, rounds: int = 2) -> Tensor:
    """RandAugment: for each image, as often as there are rounds, one of nothing, two shears, two
    translations, rotation, brightness, contrast and solarize, in a random sense."""
    count = len(images)
    geometry = torch.eye(3).repeat(count, 1, 1)
    for _ in range(rounds):
        kind = torch.randint(9, (count,))
        sense = 2.0 * torch.randint(2, (count,)) - 1

        def strength(which: int, most: float, kind: Tensor = kind, s: Tensor = sense) -> Tensor:
            return torch.where(kind == which, most * s, 0.0)

        turn = strength(5, math.radians(9))
        one = torch.eye(3).repeat(count, 1, 1)
        one[:, 0, 0] = one[:, 1, 1] = turn.cos()
        one[:, 0, 1] = strength(1, 0.09) - turn.sin()
        one[:, 1, 0] = strength(2, 0.09) + turn.sin()
        one[:, 0, 2] = strength(3, 2 * 0.136)  # in half canvases, as affine_grid has them
        one[:, 1, 2] = strength(4, 2 * 0.136)
        geometry = one @ geometry
        brightness, contrast = (
            rearrange(1 + strength(which, 0.27), "n -> n 1 1 1") for which in (6, 7)
        )
        centre = images.mean((1, 2, 3), keepdim=True)
        images = ((images - centre) * contrast + centre).mul(brightness).clamp(0, 1)
        inverted = rearrange(kind == 8, "n -> n 1 1 1") & (images >= 0.7)
        images = torch.where(inverted, 1 - images, images)
    grid = functional.affine_grid(geometry[:, :2], list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def erase(images: Tensor) -> Tensor:
    """RandomErasing: in half of the images a black rectangle, of random area, aspect and place."""
    count, side = len(images), images.shape[-1]
    area = torch.empty(count).uniform_(*AREA) * side**2
    aspect = torch.empty(count).uniform_(*map(math.log, ASPECT)).exp()
    line = torch.arange(side)

    def inside(length: Tensor) -> Tensor:
        length = length.round().clamp(1, side)
        first = (torch.rand(count) * (side + 1 - length)).floor()
        return (line >= first[:, None]) & (line < (first + length)[:, None])

    high, wide = inside((area * aspect).sqrt()), inside((area / aspect).sqrt())
    chosen = rearrange(torch.rand(count) < ERASED, "n -> n 1 1")
    black = chosen & high[:, :, None] & wide[:, None, :]
    return images.masked_fill(black[:, None], 0.0)


def mix_up(images: Tensor, labels: Tensor) -> Batch:
    """MixUp: each image with its neighbour in the batch, by a share uniform in [0, 1]."""
    share = torch.rand(())
    images, labels = (share * one + (1 - share) * one.roll(1, 0) for one in (images, labels))
    return images, labels


@cache
def mixing() -> tuple[str, Callable[[Tensor, Tensor], Batch]]:
    """Which RandAugment, RandomErasing and MixUp there are, and these three: images and labels
    (sample,) to a batch."""
    try:
        from torchvision.transforms import v2  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        return OWN, lambda images, labels: mix_up(erase(rand_augment(images)), shares(labels))
    each = v2.Compose([v2.RandAugment(), v2.RandomErasing(ERASED)])
    mix = v2.MixUp(num_classes=CLASSES)

    def theirs(images: Tensor, labels: Tensor) -> Batch:
        mixed: Batch = mix(torch.cat([each(chunk) for chunk in images.split(CHUNK)]), labels)
        return mixed

    return TORCHVISION, theirs


def shares(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, CLASSES).float()


def augment(name: str, images: Tensor, labels: Tensor, most: int) -> Batch:
    """A batch for training; the name is of ``AUGMENTATIONS``, ``most`` the crop's pixels."""
    if name == "noise":
        return matched_noise(images, most), shares(labels)
    if name != "none":
        images = crop(images, most)
    return mixing()[1](images, labels) if name == "advanced" else (images, shares(labels))


AUGMENTATIONS = ("none", "crop", "advanced", "noise")
