"""Attention and all that is summed up of its weights in one pass on a CPU: a head's weights in one
sentence are there for as long as that takes, and stay in the cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from lego.probes import lanes
from lego.probes.capture import Attended


@dataclass(frozen=True)
class Columns:
    """What weights are multiplied with and summed up: columns (batch, columns, query, key).

    All but the last are sparse: ``bounds`` (batch * sparse columns + 1) int64 says which of the
    entries, ``query`` and ``key`` int32 and ``share`` float32, are each one's. The last is the same
    for all queries but for their part in ``real``: ``alike`` (batch, key) float32.
    """

    bounds: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    share: torch.Tensor
    real: torch.Tensor  # (batch, query) float32
    alike: torch.Tensor

    def dense(self, rows: slice) -> torch.Tensor:
        """(rows, columns, query * key) float32 of some of the sentences."""
        batch, tokens = self.alike.shape
        each = (len(self.bounds) - 1) // batch
        bounds = self.bounds[rows.start * each : rows.stop * each + 1]
        some = slice(int(bounds[0]), int(bounds[-1]))
        column = torch.repeat_interleave(bounds.diff()).to(self.share.device)
        sparse = self.share.new_zeros(len(bounds) - 1, tokens, tokens)
        sparse[column, self.query[some], self.key[some]] = self.share[some]
        alike = einsum(self.real[rows], self.alike[rows], "b q, b k -> b q k")
        whole = rearrange(sparse, "(b m) q k -> b m q k", m=each)
        return rearrange(torch.cat([whole, alike[:, None]], 1), "b m q k -> b m (q k)")


def usable(seen: Attended) -> bool:
    """Whether ``sums`` can take it: elsewhere, the weights have to be looked at."""
    plain = seen.query.device.type == "cpu" and seen.query.dtype == torch.float32
    return plain and seen.untouched and seen.hard is None and not seen.query.requires_grad


def sums(
    seen: Attended,
    columns: Columns,
    smooth: torch.Tensor,
    floor: float,
    reach: int,
) -> tuple[torch.Tensor, ...]:
    """What ``patterns`` keeps of weights w, (batch, heads, query, key), and what the heads give.

    smooth: (batch, query) float32. Returns (batch, heads, columns), sums of w times each column;
    (batch, heads), entropies weighed by ``real``; (batch, heads), sums over all keys of
    (w + floor) log(w + floor) weighed by ``smooth``; (batch, query, heads, channels); and
    (heads, 2 * reach + 1), the weights at each offset.
    """
    batch, heads, tokens, channels = seen.query.shape
    mask = seen.query.new_zeros(1, 1, 1, 1) if seen.mask is None else seen.mask
    # No -inf, which would leave a query that sees nothing without a greatest score.
    mask = mask.clamp(min=-1e30).expand(mask.shape[0], mask.shape[1], tokens, tokens)
    mask = F.pad(mask.mT, (0, -tokens % lanes.LANES))
    found = torch.zeros(batch, heads, (len(columns.bounds) - 1) // batch + 1)
    entropy, floored = torch.zeros(2, batch, heads)
    mixed = torch.zeros(batch, tokens, heads, channels)
    profile = torch.zeros(heads, 2 * reach + 1)
    lanes.sums(
        *(
            rearrange(x, "b h t c -> b t h c").contiguous().numpy()
            for x in (seen.query, seen.key, seen.value)
        ),
        rearrange(mask, "b h k (i l) -> b h k i l", l=lanes.LANES).contiguous().numpy(),
        np.float32(seen.scaling),
        columns.bounds.numpy(),
        columns.query.numpy(),
        columns.key.numpy(),
        columns.share.numpy(),
        columns.real.numpy(),
        columns.alike.numpy(),
        smooth.numpy(),
        np.float32(floor),
        *(x.numpy() for x in (found, entropy, floored, mixed, profile)),
    )
    return found, entropy, floored, mixed, profile
