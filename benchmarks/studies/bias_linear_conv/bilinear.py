"""The least weights of a two-layer linear convolutional network that make a given predictor:
many such problems in one batch.
"""

from __future__ import annotations

from itertools import product

import torch
from einops import einsum, rearrange
from torch import Tensor


def bilinear(inputs: int, length: int, kernel: int) -> Tensor:
    """Q, float64 (D R, P, P), P = K R + D: W_m = 1/2 sum_c a_c' Q_m a_c, a_c = (U_.c, V_c)."""
    size = inputs * kernel
    q = torch.zeros(length, inputs, size + length, size + length, dtype=torch.float64)
    for r, k, d in product(range(inputs), range(kernel), range(length)):
        u, v = r * kernel + k, size + d
        q[(d + k) % length, r, u, v] = q[(d + k) % length, r, v, u] = 1
    return rearrange(q, "j r p q -> (j r) p q")


def minimise(
    q: Tensor, target: Tensor, start: Tensor, rounds: int = 10, first: int = 60, steps: int = 10
) -> tuple[Tensor, Tensor]:
    """Weights of least norm that make the targets: an augmented Lagrangian, each round minimised
    by damped Newton steps with its exact Hessian.

    ``target`` (batch, D R); ``start`` (batch, C, P), zero where a smaller kernel or fewer channels
    have no weight. Returns the squared norm of the weights and the largest violation, (batch,)
    each.
    """
    batch, channels, size = start.shape
    free = rearrange((start != 0).double(), "b c p -> b (c p)")
    eye = torch.eye(channels * size, dtype=torch.float64)
    a, force, penalty = start, torch.zeros_like(target), 100.0
    damping = torch.ones(batch, dtype=torch.float64)

    def excess(a: Tensor) -> Tensor:
        return einsum(a, q, a, "b c p, m p q, b c q -> b m") / 2 - target

    def value(a: Tensor) -> Tensor:
        r = excess(a)
        return a.square().sum((1, 2)) - (force * r).sum(1) + penalty / 2 * r.square().sum(1)

    for turn in range(rounds):
        now = value(a)
        damping = damping.clamp(max=1)
        for _ in range(steps if turn else first):
            pull = penalty * excess(a) - force  # (batch, D R)
            jacobian = rearrange(einsum(q, a, "m p q, b c q -> b m c p"), "b m c p -> b m (c p)")
            jacobian = jacobian * free[:, None]
            gradient = 2 * a.flatten(1) + einsum(pull, jacobian, "b m, b m x -> b x")
            hessian = penalty * jacobian.mT @ jacobian + 2 * eye
            blocks = hessian.view(batch, channels, size, channels, size)
            blocks.diagonal(dim1=1, dim2=3).add_(einsum(pull, q, "b m, m p q -> b p q")[..., None])
            hessian *= free[:, :, None] * free[:, None]
            hessian += torch.diag_embed(damping[:, None] + 1 - free)
            root, broken = torch.linalg.cholesky_ex(hessian)
            root[broken > 0] = eye  # not positive: refused below, with more damping next
            step = torch.cholesky_solve(gradient[..., None], root).view_as(a)
            then = value(a - step)
            good = (broken == 0) & (then <= now + 1e-13)
            a = torch.where(good[:, None, None], a - step, a)
            now = torch.where(good, then, now)
            damping = torch.where(good, damping / 4, damping * 6).clamp(1e-12, 1e6)
        force = force - penalty * excess(a)
        penalty = min(2 * penalty, 1e4)
    return a.square().sum((1, 2)), excess(a).abs().amax(1)
