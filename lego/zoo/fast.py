"""What torch is slow at on a CPU, with gradients written by hand: attention, and convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from numba import njit


def usable(x: torch.Tensor) -> bool:
    """Whether these functions can take x: elsewhere, torch's own are faster, or the only ones."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


class Attention(torch.autograd.Function):
    """Softmax attention of (batch, tokens, q's, k's and v's channels), with a mask that can learn.

    torch's sdpa has no fast way for a mask that needs a gradient, and copies more.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: torch.Tensor, mask: torch.Tensor | None, channels: int
    ) -> torch.Tensor:
        """qkv as above, the mask as in ``Sentence``; returns (batch, tokens, heads, channels)."""
        packed = rearrange(qkv, "b t (s h c) -> s b h t c", s=3, c=channels)
        query, key, value = packed.clone(memory_format=torch.contiguous_format)
        scores = query.mul_(channels**-0.5) @ key.mT  # (batch, heads, query, key)
        if mask is not None:
            scores += mask
        weights = scores.softmax(-1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.mask_shape = None if mask is None else mask.shape
        return rearrange(weights @ value, "b h t c -> b t h c")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        query, key, value, weights = ctx.saved_tensors
        batch, heads, tokens, channels = query.shape
        mixed = rearrange(mixed, "b t h c -> b h t c").contiguous()
        whole = mixed.new_empty(batch, tokens, 3 * heads * channels)
        to_query, to_key, to_value = rearrange(whole, "b t (s h c) -> s b h t c", s=3, c=channels)
        to_value.copy_(weights.mT @ mixed)
        scores = torch.ops.aten._softmax_backward_data(mixed @ value.mT, weights, -1, weights.dtype)
        torch.mul(scores @ key, channels**-0.5, out=to_query)
        to_key.copy_(scores.mT @ query)
        to_mask = scores.sum_to_size(ctx.mask_shape) if ctx.needs_input_grad[1] else None
        return whole, to_mask, None


class Convolution(torch.autograd.Function):
    """``lego.zoo.conv.convolve`` without its bias; x (batch, tokens, channels) contiguous.

    torch's way back through a depthwise convolution takes seven times as long as this one.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, reach: int) -> torch.Tensor:
        """kernel (channels, taps), contiguous."""
        ctx.save_for_backward(x, kernel)
        ctx.reach = reach
        y = torch.zeros_like(x)
        _forward(x.detach().numpy(), _by_tap(kernel), reach, y.numpy())
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, kernel = ctx.saved_tensors
        to_x = torch.zeros_like(x)
        to_kernel = x.new_zeros(kernel.shape[1], kernel.shape[0])
        given = x.detach().numpy(), _by_tap(kernel), ctx.reach, y.contiguous().numpy()
        _backward(*given, to_x.numpy(), to_kernel.numpy())
        return to_x, to_kernel.T, None


def _by_tap(kernel: torch.Tensor) -> np.ndarray:
    """(channels, taps) to (taps, channels): a tap's channels lie side by side, as a token's do."""
    return kernel.detach().T.contiguous().numpy()


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def _forward(x, kernel, reach, y):
    rows, tokens, channels = x.shape
    for row in range(rows):
        for t in range(tokens):
            for tap in range(max(0, reach - t), min(len(kernel), tokens - t + reach)):
                for c in range(channels):
                    y[row, t, c] += kernel[tap, c] * x[row, t + tap - reach, c]


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def _backward(x, kernel, reach, y, to_x, to_kernel):
    rows, tokens, channels = x.shape
    for row in range(rows):
        for t in range(tokens):
            for tap in range(max(0, reach - t), min(len(kernel), tokens - t + reach)):
                s = t + tap - reach
                for c in range(channels):
                    to_x[row, s, c] += kernel[tap, c] * y[row, t, c]
                for c in range(channels):
                    to_kernel[tap, c] += x[row, s, c] * y[row, t, c]
