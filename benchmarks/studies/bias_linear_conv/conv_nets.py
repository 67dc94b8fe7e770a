"""Two-layer circular convolutional networks, many in one batch, and gradient descent on them.

``kernel`` (batch, C, K) and ``weight`` (batch, C, D), float64; a smaller kernel or fewer channels
than the batch's are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor


def compose(kernel: Tensor, weight: Tensor) -> Tensor:
    """W, (..., D), of kernels (..., C, K) and weights (..., C, D)."""
    length = weight.shape[-1]
    product = torch.fft.rfft(kernel, length) * torch.fft.rfft(weight)
    return torch.fft.irfft(product.sum(-2), length)


def windows(x: Tensor) -> Tensor:
    """x[d + k], (..., D, K = D), of x (..., D)."""
    return torch.cat([x, x[..., :-1]], -1).unfold(-1, x.shape[-1], 1)


def linear(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    """f of x (batch, n, D): (batch, n)."""
    return einsum(x, compose(kernel, weight), "b n d, b d -> b n")


def relu(patches: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    """The same net with a ReLU between its layers, of ``windows`` (batch, n, D, K)."""
    flat = rearrange(patches[..., : kernel.shape[-1]], "b n d k -> b (n d) k")
    hidden = rearrange((flat @ kernel.mT).relu(), "b (n d) c -> b n (d c)", n=patches.shape[1])
    return (hidden @ rearrange(weight, "b c d -> b (d c) 1")).squeeze(-1)


class Descended(NamedTuple):
    kernel: Tensor  # (batch, C, K)
    weight: Tensor  # (batch, C, D)
    margin: Tensor  # (batch,)
    costs: Tensor  # (batch, levels), squared norm of all weights over the margin; NaN: not reached


def descend(
    score: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    kernel: Tensor,
    weight: Tensor,
    levels: Sequence[float],
    rate: float = 20.0,
    most: int = 100_000,
) -> Descended:
    """Gradient descent on log sum_n exp(-y_n f(x_n)) until the least y_n f(x_n), the margin, is at
    the last level, at most ``most`` steps.

    Its step is rate / (1 + |weights|^2): the curvature grows as that, and so a margin grows by
    about the same in each step. Zeros of ``kernel`` stay zero.
    """
    free = kernel != 0
    bounds = torch.tensor(levels, dtype=torch.float64)
    costs = torch.full((len(x), len(levels)), torch.nan, dtype=torch.float64)
    state = Descended(kernel.clone(), weight.clone(), torch.zeros(len(x)).double(), costs)
    left = torch.arange(len(x))
    for done in range(most):
        if done % 200 == 0:  # go on with those alone that are not at their end
            left = left[state.margin[left] < levels[-1]]
            if not len(left):
                break
            inputs, signs, may = x[left], labels[left], free[left]
        u, v = (one[left].requires_grad_() for one in state[:2])
        margins = signs * score(inputs, u, v)
        grad_u, grad_v = torch.autograd.grad(torch.logsumexp(-margins, 1).sum(), (u, v))
        with torch.no_grad():
            margin = margins.amin(1)
            norm = u.square().sum((1, 2)) + v.square().sum((1, 2))
            reached = (margin[:, None] >= bounds) & state.costs[left].isnan()
            state.costs[left] = (norm / margin)[:, None].where(reached, state.costs[left])
            state.margin[left] = margin
            step = (rate / (1 + norm)).where(margin < levels[-1], 0)[:, None, None]
            state.kernel[left] = u - step * grad_u * may
            state.weight[left] = v - step * grad_v
    return state
