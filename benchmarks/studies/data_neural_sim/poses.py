"""The distribution of poses: a categorical over bins of azimuth, relaxed by Gumbel-softmax.

As the paper's released code has it: with logits psi and Gumbel noise g, y =
softmax((log softmax(psi) + g) / temperature), an angle is the mean of the bins' centres, weighted
by y, plus uniform noise as wide as a bin. The mean is of directions here, so that no bin is an end:
weighted degrees would put a picture between 22.5 and 337.5 degrees, both the front, at the back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS = 8
WIDTH = 2 * math.pi / BINS
UNIFORM = np.full(BINS, 1 / BINS)


@dataclass(frozen=True)
class Noise:
    """What is random in poses: ``gumbel`` (..., BINS), and ``within`` (...) a bin, -.5 to .5."""

    gumbel: Tensor
    within: Tensor


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Noise:
    gumbel = torch.tensor(rng.gumbel(size=(*shape, BINS)), dtype=torch.float32)
    return Noise(gumbel, torch.tensor(rng.uniform(-0.5, 0.5, shape), dtype=torch.float32))


def azimuths(logits: Tensor, noise: Noise, temperature: float) -> Tensor:
    """Angles (...), radians, differentiable in logits (BINS,); temperature 0: those of the bins
    themselves, with their probabilities, and no derivative."""
    chosen = logits.log_softmax(-1) + noise.gumbel
    centres = WIDTH * (torch.arange(BINS).to(logits) + 0.5)
    if temperature == 0:
        middle = centres[chosen.argmax(-1)]
    else:
        share = (chosen / temperature).softmax(-1)
        middle = torch.atan2(share @ centres.sin(), share @ centres.cos())
    return middle + WIDTH * noise.within


def wild_poses(rng: np.random.Generator) -> np.ndarray:
    """A distribution (BINS,) that a wild set may have: most at one bin, some at the next."""
    shares = np.full(BINS, 0.02)
    shares[:2] = 0.58, 0.3
    return np.roll(shares, rng.integers(BINS))


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation, 0 to 1."""
    return float(np.abs(np.asarray(p) - np.asarray(q)).sum() / 2)
