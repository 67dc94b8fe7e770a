"""Convolutions along the tokens: on the projected queries, keys and values, and in the stream.

On queries and keys they let a token ask for, or answer to, what its neighbours are: in LEGO, a
clause's first token can ask for the clause's argument, so that a hop along the chain costs one
layer instead of two. The paper (arXiv 2206.04301, v1 abstract) names "convolutional structures in
the key/query/value maps" without details that we could read: this is our reconstruction, which
spans those of Primer (arXiv 2109.08668) and of the Canon layers (Physics of Language Models 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from lego.zoo import fast, fast_conv
from lego.zoo.configuration import LegoConfig


def convolve(
    x: torch.Tensor, kernel: torch.Tensor, reach: int, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """y[t] = sum over taps of kernel[tap] * x[t + tap - reach], zeros beyond the ends.

    x (batch, tokens, channels), kernel (channels, taps), bias (channels,).
    """
    tokens, taps = x.shape[1], kernel.shape[1]
    if taps % 2 == 0 and reach != taps - 1:
        raise ValueError(f"kernel={taps}: allowed odd sizes when centred")
    if fast.usable(x):
        y = fast_conv.Convolution.apply(x.contiguous(), kernel, reach)
        return y if bias is None else y + bias
    # As an image one pixel high, (batch, tokens, channels) memory is what torch calls channels
    # last, for which it has a fast depthwise kernel that needs no copy.
    image = rearrange(x, "b t c -> b c 1 t")
    weight = rearrange(kernel, "c k -> c 1 1 k")
    image = F.conv2d(image, weight, bias, padding=(0, reach), groups=len(kernel))
    return rearrange(image[..., :tokens], "b c 1 t -> b t c")


class TokenConv(nn.Module):
    """A convolution of (batch, tokens, channels), channel by channel, that starts as the identity.

    ``widths``: how many channels each part of the input has. ``kernels``: how many kernels each
    part has, shared by neighbouring channels: 0 leaves the part as it is. ``weight`` (kernels,
    taps) starts at Gaussian noise; the identity is added to it, before it is trained (``residual``
    False) or at each use of it, so that weight decay pulls towards no convolution (True).
    """

    def __init__(
        self,
        taps: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        causal: bool,
        residual: bool = True,
        bias: bool = False,
        fixed: Sequence[float] | None = None,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.taps, self.widths, self.kernels = taps, tuple(widths), tuple(kernels)
        self.reach = taps - 1 if causal else taps // 2  # tokens seen to the left
        self.residual, self.fixed, self.noise = residual, fixed, noise
        if fixed is None:
            self.weight = nn.Parameter(torch.empty(sum(kernels), taps))
        convolved = sum(w for w, k in zip(widths, kernels, strict=True) if k)
        self.bias = nn.Parameter(torch.empty(convolved)) if bias else None

    def initial(self) -> torch.Tensor:
        """(kernels, taps): the noise, and the identity where it is not added at each use."""
        weight = self.noise * torch.randn_like(self.weight)
        if not self.residual:
            weight[:, self.reach] += 1
        return weight

    def forward(self, x: torch.Tensor, token_mask: torch.Tensor | None) -> torch.Tensor:
        """x (batch, tokens, channels) to the same.

        ``token_mask`` (batch, tokens, 1), 0 at padding: beyond a sentence's end there are zeros,
        whether it is padded or not.
        """
        if token_mask is not None:
            x = x * token_mask
        return convolve(x, self._kernel(x), self.reach, self._bias(x))

    def _kernel(self, like: torch.Tensor) -> torch.Tensor:
        """(channels, taps): what each channel is convolved with; the identity where nothing is."""
        identity = torch.zeros(1, self.taps, device=like.device, dtype=like.dtype)
        identity[:, self.reach] = 1
        if self.fixed is None:
            weight = self.weight + identity if self.residual else self.weight
        else:
            taps = torch.tensor(self.fixed, device=like.device, dtype=like.dtype)
            weight = repeat(taps / taps.sum(), "k -> r k", r=sum(self.kernels))
        parts, row = [], 0
        for width, count in zip(self.widths, self.kernels, strict=True):
            rows = weight[row : row + count] if count else identity
            parts.append(repeat(rows, "r k -> (r n) k", n=width // (count or 1)))
            row += count
        return torch.cat(parts)

    def _bias(self, like: torch.Tensor) -> torch.Tensor | None:
        """(channels,): zeros in the parts that are left as they are."""
        if self.bias is None:
            return None
        lengths = [w for w, k in zip(self.widths, self.kernels, strict=True) if k]
        given = iter(self.bias.split(lengths))
        parts = [
            next(given) if count else torch.zeros(width, device=like.device, dtype=like.dtype)
            for width, count in zip(self.widths, self.kernels, strict=True)
        ]
        return torch.cat(parts)


def projection_conv(config: LegoConfig, heads: dict[str, int]) -> TokenConv:
    """The convolution of the projections; ``heads``: how many heads have queries, keys, values."""
    size = config.hidden_size // config.num_attention_heads
    kernels = []
    for name, count in heads.items():
        each = {"channel": count * size, "head": count, "target": min(count, 1)}
        kernels.append(each[config.conv_sharing] if name in config.conv_targets else 0)
    return TokenConv(
        config.conv_kernel,
        [count * size for count in heads.values()],
        kernels,
        config.conv_causal,
        config.conv_residual,
        config.conv_bias,
        config.conv_weights,
        config.conv_noise,
    )


def canon(config: LegoConfig, name: str, width: int) -> TokenConv | None:
    """The Canon layer of that name, "a", "c" or "d", or None where the config has none."""
    if name not in config.canon:
        return None
    size = config.canon_kernel
    return TokenConv(size, [width], [width], config.is_causal or size % 2 == 0)
