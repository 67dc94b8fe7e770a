"""Small image classifiers of three kinds, each in a classic and in a modern form.

All divide the canvas in 4 x 4 cells: it is the patch of the patch nets, the stride of the
convolutional ones; a shift by a whole cell is the largest that the study of shifts tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional

SIDE = 4  # cells along a side
CLASSES = 10


class Pool(nn.Module):
    """The mean over all positions of a map (batch, channel, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return reduce(x, "b c h w -> b c", "mean")


def conv(canvas: int, channels: int) -> nn.Module:
    """Three 3x3 convolutions with batch normalisation, strides canvas / 16, 2 and 2."""
    widths, strides = (channels, 8, 16, 32), (canvas // 16, 2, 2)
    layers: list[nn.Module] = []
    for old, new, stride in zip(widths, widths[1:], strides, strict=False):
        layers += [nn.Conv2d(old, new, 3, stride, 1, bias=False), nn.BatchNorm2d(new), nn.ReLU()]
    return nn.Sequential(*layers, Pool(), nn.Linear(widths[-1], CLASSES))


class NextBlock(nn.Module):
    """ConvNeXt's: depth-wise convolution, norm, two point-wise layers; residual. The norm is the
    batch's, with which so small a net learns in far fewer steps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.pointwise = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(self.norm(self.spatial(x)))


def convnext(canvas: int, channels: int) -> nn.Module:
    """A patchify stem of stride canvas / 8, blocks, a downsampling of 2, blocks."""
    patch = canvas // 8
    return nn.Sequential(
        nn.Conv2d(channels, 16, patch, patch, bias=False),
        nn.BatchNorm2d(16),
        NextBlock(16),
        nn.Conv2d(16, 32, 2, 2, bias=False),
        nn.BatchNorm2d(32),
        NextBlock(32),
        Pool(),
        nn.Linear(32, CLASSES),
    )


def mlp(canvas: int, channels: int, hidden: int = 80) -> nn.Module:
    """Two hidden layers over all pixels."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * canvas**2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, CLASSES),
    )


class Spectrum(nn.Module):
    """The modulus of the discrete Fourier transform: no circular shift changes it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho").abs()


def spectrum(canvas: int, channels: int) -> nn.Module:
    """The MLP on the spectrum: exactly invariant, whatever it has learned."""
    return nn.Sequential(Spectrum(), mlp(canvas, channels))


class Patches(nn.Module):
    """Tokens (batch, SIDE * SIDE, width), one a cell of the canvas; with ``positions`` a learned
    vector is added to each."""

    def __init__(self, canvas: int, channels: int, width: int, positions: bool) -> None:
        super().__init__()
        self.cell = canvas // SIDE
        self.embed = nn.Linear(channels * self.cell**2, width)
        self.positions = nn.Parameter(0.02 * torch.randn(SIDE**2, width)) if positions else None

    def forward(self, x: Tensor) -> Tensor:
        cells = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=self.cell, q=self.cell)
        tokens: Tensor = self.embed(cells)
        return tokens if self.positions is None else tokens + self.positions


class Mean(nn.Module):
    """Of all tokens (batch, token, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return reduce(x, "b t d -> b d", "mean")


def feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class MixerBlock(nn.Module):
    """MLP-Mixer's: an MLP over tokens, then one over channels; residual."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens, self.channels = feed_forward(tokens), feed_forward(width)

    def forward(self, x: Tensor) -> Tensor:
        across = rearrange(self.norms[0](x), "b t d -> b d t")
        x = x + rearrange(self.tokens(across), "b d t -> b t d")
        return x + self.channels(self.norms[1](x))


def angles(pairs: int) -> Tensor:
    """Rotary angles (cell, pairs) on the grid: by the row for half of the pairs of features, by the
    column for the other half."""
    rates = 1 / 3 ** torch.arange(pairs // 2)
    turns = rearrange(torch.cartesian_prod(*[torch.arange(SIDE)] * 2), "cell way -> cell way 1")
    return rearrange(turns * rates, "cell way pair -> cell (way pair)")


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Queries or keys (batch, head, cell, feature), each pair of features turned by its angle."""
    first, second = rearrange(x, "b h t (two pair) -> two b h t pair", two=2)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class AttentionBlock(nn.Module):
    """Pre-norm self-attention and MLP; with ``rotary`` the positions are relative."""

    angle: Tensor | None

    def __init__(self, width: int, heads: int, rotary: bool) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("angle", angles(width // heads // 2) if rotary else None)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.channels = feed_forward(width)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(self.norms[0](x))
        query, key, value = rearrange(
            projected, "b t (three h d) -> three b h t d", three=3, h=self.heads
        )
        if self.angle is not None:
            query, key = rotated(query, self.angle), rotated(key, self.angle)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(rearrange(mixed, "b h t d -> b t (h d)"))
        return x + self.channels(self.norms[1](x))


def mixer(canvas: int, channels: int, width: int = 32, depth: int = 2) -> nn.Module:
    """MLP-Mixer."""
    blocks = [MixerBlock(SIDE**2, width) for _ in range(depth)]
    return _tokens(Patches(canvas, channels, width, False), blocks, width)


def vit(canvas: int, channels: int, width: int = 32, depth: int = 2) -> nn.Module:
    """Vision transformer with learned absolute positions and mean pooling."""
    blocks = [AttentionBlock(width, 4, False) for _ in range(depth)]
    return _tokens(Patches(canvas, channels, width, True), blocks, width)


def vit_rotary(canvas: int, channels: int, width: int = 32, depth: int = 2) -> nn.Module:
    """The same with rotary positions alone."""
    blocks = [AttentionBlock(width, 4, True) for _ in range(depth)]
    return _tokens(Patches(canvas, channels, width, False), blocks, width)


def _tokens(patches: nn.Module, blocks: Sequence[nn.Module], width: int) -> nn.Module:
    return nn.Sequential(patches, *blocks, Mean(), nn.LayerNorm(width), nn.Linear(width, CLASSES))


NETS = {
    "conv": conv,
    "convnext": convnext,
    "mlp": mlp,
    "mixer": mixer,
    "vit": vit,
    "vit-rotary": vit_rotary,
}
