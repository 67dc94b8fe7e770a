"""The feed-forward layer on a CPU: a few rows at a time, so that what is wide stays in the cache.

torch writes the wide rows to memory four times in a step and more, and reads them as often.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lego.zoo.fast import exp, kernel

ROWS = 512  # taken at a time: fewer cost the matrix products more than the cache gives


class FeedForward(torch.autograd.Function):
    """``down(act(up(x)))`` of rows x (rows, channels), with act a name in ``ACTIVATIONS``.

    Only the rows before the activation are kept for the way back.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        up: torch.Tensor,
        up_bias: torch.Tensor,
        down: torch.Tensor,
        down_bias: torch.Tensor,
        act: str,
    ) -> torch.Tensor:
        """up (wide, channels) and down (channels, wide), as in ``nn.Linear``."""
        y, wide = torch.empty_like(x), []
        value, slope = x.new_empty(2, min(ROWS, len(x)), len(up))
        for given, taken in zip(x.split(ROWS), y.split(ROWS), strict=True):
            wide.append(torch.addmm(up_bias, given, up.T))
            f = value[: len(given)]
            _activate(act, wide[-1], f, slope)
            torch.addmm(down_bias, f, down.T, out=taken)
        ctx.save_for_backward(x, up, down, *wide)
        ctx.act = act
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, up, down, *wide = ctx.saved_tensors
        to_x, to_down = torch.empty_like(x), torch.zeros_like(down)
        to_up = torch.zeros_like(down)  # transposed, which is the faster product
        to_up_bias, ones = up.new_zeros(len(up)), up.new_ones(min(ROWS, len(x)))
        value, slope, to_wide = x.new_empty(3, min(ROWS, len(x)), len(up))
        parts = (x.split(ROWS), y.split(ROWS), to_x.split(ROWS), wide)
        for given, to_taken, to_given, before in zip(*parts, strict=True):
            f, g = value[: len(given)], to_wide[: len(given)]
            _activate(ctx.act, before, f, slope)
            to_down.addmm_(to_taken.T, f)
            torch.mm(to_taken, down, out=g).mul_(slope[: len(given)])
            to_up.addmm_(given.T, g)
            to_up_bias.addmv_(g.T, ones[: len(given)])
            torch.mm(g, up, out=to_given)
        return to_x, to_up.T, to_up_bias, to_down, y.sum(0), None


def _activate(act: str, x: torch.Tensor, value: torch.Tensor, slope: torch.Tensor) -> None:
    """Write the activation of x and its derivative; all are contiguous."""
    ACTIVATIONS[act](x.numpy().ravel(), value.numpy().ravel(), slope.numpy().ravel())


_F = np.float32
_ROOT_HALF, _DENSITY = _F(math.sqrt(0.5)), _F(1 / math.sqrt(2 * math.pi))
_P = _F(0.3275911)
_A1, _A2, _A3 = _F(0.254829592), _F(-0.284496736), _F(1.421413741)
_A4, _A5 = _F(-1.453152027), _F(1.061405429)


@kernel
def _gelu(x, value, slope):
    """x times the normal distribution, by 7.1.26 of Abramowitz and Stegun, right to 1.5e-7."""
    for i in range(len(x)):
        inner = min(max(x[i], _F(-12)), _F(12))  # beyond, nothing changes but x itself
        z = abs(inner) * _ROOT_HALF
        bell = exp(-z * z)
        t = _F(1) / (_F(1) + _P * z)
        tail = _F(0.5) * bell * t * (_A1 + t * (_A2 + t * (_A3 + t * (_A4 + t * _A5))))
        below = tail if inner < 0 else _F(1) - tail
        value[i] = x[i] * below
        slope[i] = below + inner * _DENSITY * bell


_TWICE, _CUBE = _F(2 * math.sqrt(2 / math.pi)), _F(0.044715)


@kernel
def _gelu_tanh(x, value, slope):
    """x / 2 (1 + tanh u), u = sqrt(2 / pi) (x + .044715 x^3): x by the logistic function of 2 u."""
    for i in range(len(x)):
        inner = min(max(x[i], _F(-9)), _F(9))
        square = inner * inner
        odds = exp(-_TWICE * inner * (_F(1) + _CUBE * square))
        below = _F(1) / (_F(1) + odds)
        steep = _TWICE * (_F(1) + _F(3) * _CUBE * square)
        value[i] = x[i] * below
        slope[i] = below + inner * below * (odds * below) * steep


@kernel
def _relu(x, value, slope):
    for i in range(len(x)):
        slope[i] = _F(1) if x[i] > 0 else _F(0)
        value[i] = x[i] * slope[i]


ACTIVATIONS: dict[str, Callable[..., None]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": _relu,
}
