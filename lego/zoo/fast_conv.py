"""Convolution along the tokens on a CPU, with a gradient written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lego.zoo.fast import kernel


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


@kernel
def _forward(x, kernel, reach, y):
    rows, tokens, channels = x.shape
    for row in range(rows):
        for t in range(tokens):
            for tap in range(max(0, reach - t), min(len(kernel), tokens - t + reach)):
                for c in range(channels):
                    y[row, t, c] += kernel[tap, c] * x[row, t + tap - reach, c]


@kernel
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
