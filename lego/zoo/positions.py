"""Where a token stands: sinusoidal vectors, rotary turns, and biases on the attention scores."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import nn

from lego.zoo.configuration import LegoConfig

BASE = 10_000.0  # of the wavelengths, as in arXiv 1706.03762 and 2104.09864


def angles(tokens: int, channels: int, like: torch.Tensor) -> torch.Tensor:
    """(tokens, channels / 2, rounded up): position times frequency, on the device of ``like``."""
    place = torch.arange(tokens, device=like.device, dtype=torch.float32)
    pairs = torch.arange(0, channels, 2, device=like.device, dtype=torch.float32)
    return rearrange(place, "t -> t 1") * BASE ** (-pairs / channels)


def sinusoidal(tokens: int, channels: int, like: torch.Tensor) -> torch.Tensor:
    """(tokens, channels): sine and cosine in turn (arXiv 1706.03762, section 3.5)."""
    turn = angles(tokens, channels, like)
    waves = rearrange([turn.sin(), turn.cos()], "two t c -> t (c two)")
    return waves[:, :channels].to(like.dtype)


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turn (batch, tokens, heads, channels) by the tokens' positions (arXiv 2104.09864).

    Channel c is paired with channel c + channels / 2, as in transformers' Llama.
    """
    turn = rearrange(angles(x.shape[1], x.shape[3], x), "t c -> t 1 c")
    sine, cosine = turn.sin().to(x.dtype), turn.cos().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def distances(tokens: int, like: torch.Tensor) -> torch.Tensor:
    """(query, key) int64: how far to the right of the query the key stands."""
    place = torch.arange(tokens, device=like.device)
    return rearrange(place, "k -> 1 k") - rearrange(place, "q -> q 1")


class RelativeBias(nn.Module):
    """A learned number for each head and each signed distance, clipped to +-window.

    The clipped distance is that of Shaw et al. (arXiv 1803.02155), added to the scores as T5
    does (arXiv 1910.10683).
    """

    def __init__(self, config: LegoConfig, heads: int) -> None:
        super().__init__()
        self.window = config.relative_window
        self.weight = nn.Parameter(torch.empty(heads, 2 * self.window + 1))

    def initial(self) -> torch.Tensor:
        """(heads, 2 * window + 1): head 0 is local, the others see all distances alike."""
        weight = torch.zeros_like(self.weight)
        weight[0] = -0.5 * torch.arange(-self.window, self.window + 1).abs()
        return weight

    def forward(self, tokens: int) -> torch.Tensor:
        """(1, heads, query, key), to be added to the scores."""
        clipped = distances(tokens, self.weight).clamp(-self.window, self.window)
        return rearrange(self.weight[:, clipped + self.window], "h q k -> 1 h q k")


class Alibi(nn.Module):
    """-slope * |distance|, slopes 2^(-8 (h + 1) / heads) for head h (arXiv 2108.12409).

    In an encoder the distance counts to both sides.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.slopes = [2.0 ** (-8 * (head + 1) / heads) for head in range(heads)]

    def forward(self, tokens: int, like: torch.Tensor) -> torch.Tensor:
        """(1, heads, query, key), to be added to the scores."""
        far = repeat(distances(tokens, like).abs(), "q k -> 1 h q k", h=len(self.slopes))
        slopes = torch.tensor(self.slopes, device=like.device, dtype=like.dtype)
        return -rearrange(slopes, "h -> 1 h 1 1") * far
