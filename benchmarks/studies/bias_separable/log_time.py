"""Gradient flows of classifiers, which need e^1000 units of time and more, in tau = log t.

d state / d tau = t d state / dt is a sum over margins u of exp(tau - u), with u about tau: written
so, nothing overflows or vanishes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.sparse import csc_array
from torch import Tensor
from torch.func import jacrev, vjp, vmap

Array = NDArray[np.float64]
Velocity = Callable[..., Tensor]


def flow(
    velocity: Velocity,
    start: Array,
    data: Array,
    taus: Array,
    tolerance: float,
) -> Array:
    """Where flows of a batch are at the log times ``taus``, ascending: (taus, batch, dim).

    ``velocity(tau, state, data)``: d state / d tau of a batch, (batch, dim), in torch. ``start``
    (batch, dim): at taus[0]. ``data``: (batch, ...). The method is Radau's of order 5 with steps
    common to all, ``tolerance`` relative and absolute; the Jacobian, by reverse mode, is block
    diagonal and solved as such. Raises RuntimeError where the steps become too small.
    """
    given = torch.from_numpy(data)
    batch, dim = start.shape
    columns = np.arange(0, batch * dim * dim + 1, dim)  # of dim entries each
    rows = np.repeat(np.arange(batch), dim * dim) * dim + np.tile(np.arange(dim), batch * dim)

    def alone(tau: Tensor, state: Tensor, its: Tensor) -> Tensor:
        return velocity(tau, state[None], its[None])[0]

    slope = vmap(jacrev(alone, argnums=1), (None, 0, 0))

    def pair(tau: float, state: Array) -> tuple[Tensor, Tensor]:
        return torch.tensor(tau, dtype=torch.float64), torch.from_numpy(state.reshape(batch, dim))

    def right(tau: float, state: Array) -> Array:
        found: Array = velocity(*pair(tau, state), given).numpy().ravel()
        return found

    def jacobian(tau: float, state: Array) -> csc_array:
        blocks = slope(*pair(tau, state), given)  # (batch, row, column)
        return csc_array((blocks.mT.reshape(-1).numpy(), rows, columns))

    close = {"rtol": tolerance, "atol": tolerance}
    ends = (taus[0], taus[-1])
    found = solve_ivp(right, ends, start.ravel(), "Radau", t_eval=taus, jac=jacobian, **close)
    if not found.success:
        raise RuntimeError(f"flow in log time: {found.message}")
    at: Array = found.y.T.reshape(len(taus), batch, dim)
    return at


def linear(tail: Callable[[Tensor], Tensor]) -> Velocity:
    """Of w (batch, dim) on sum_n l(z_n.w), -l'(u) = exp(-tail(u)); z (batch, points, dim)."""

    def velocity(tau: Tensor, w: Tensor, z: Tensor) -> Tensor:
        return (torch.exp(tau - tail(margins(z, w)))[:, None] @ z)[:, 0]

    return velocity


def cross_entropy(tau: Tensor, w: Tensor, z: Tensor) -> Tensor:
    """Of w (batch, dim) on sum_n log(1 + sum_k exp(-z_nk.w)); z (batch, points, others, dim)."""
    u = margins(z.flatten(1, 2), w).unflatten(1, z.shape[1:3])
    norm = torch.logsumexp(torch.cat([torch.zeros_like(u[..., :1]), -u], dim=2), dim=2)
    return torch.einsum("bnk,bnkd->bd", torch.exp(tau - u - norm[..., None]), z)


def network(depth: int, width: int) -> Velocity:
    """Of the layers (batch, size) of a linear network on sum_n exp(-z_n.b), b their product."""

    def velocity(tau: Tensor, layers: Tensor, z: Tensor) -> Tensor:
        b, pull = vjp(partial(product, depth=depth, width=width), layers)  # type: ignore[misc]
        found: Tensor = pull((torch.exp(tau - margins(z, b))[:, None] @ z)[:, 0])[0]
        return found

    return velocity


def product(layers: Tensor, depth: int, width: int) -> Tensor:
    """W_depth ... W_1 (batch, dim) of ``layers`` (batch, size): W_1 (width, dim), then square ones,
    then W_depth (width,), one after the other."""
    inner = (depth - 2) * width**2
    first, middle, b = layers.split([layers.shape[1] - inner - width, inner, width], dim=1)
    square = middle.unflatten(1, (depth - 2, width, width))
    b = b[:, None]  # (batch, 1, width)
    for i in reversed(range(depth - 2)):
        b = b @ square[:, i]
    return (b @ first.unflatten(1, (width, -1)))[:, 0]


def margins(z: Tensor, w: Tensor) -> Tensor:
    return (z @ w[..., None])[..., 0]
