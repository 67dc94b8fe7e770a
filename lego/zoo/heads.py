"""Hard-coded heads: attention that is given and not learned, so that it has no queries or keys.

The paper finds association heads, which attend to the other occurrences of a token, and local
heads (arXiv 2206.04301); later versions replace heads by such patterns and save their FLOPs. Which
pattern exactly, and that a head with nothing to attend to adds nothing, is our reconstruction. The
local weights 1, 2, 4, 2, 1 are those that the authors' code mimics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from torch import nn

from lego.zoo.conv import convolve

LOCAL = (1.0, 2.0, 4.0, 2.0, 1.0)  # at offsets -2 .. 2


def association_map(ids: torch.Tensor, seen: torch.Tensor | None, causal: bool) -> torch.Tensor:
    """(batch, query, key) float32: equal shares for the other occurrences of the query's token.

    ids (batch, tokens); ``seen`` (batch, tokens) bool, False at padding, which has no part in it.
    The row of a token that occurs once is zero.
    """
    same = rearrange(ids, "b q -> b q 1") == rearrange(ids, "b k -> b 1 k")
    same = same & ~torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    if seen is not None:
        same = same & rearrange(seen, "b k -> b 1 k") & rearrange(seen, "b q -> b q 1")
    if causal:
        same = same.tril()
    shares = same.float()
    return shares / shares.sum(-1, keepdim=True).clamp(min=1)


class HardHeads(nn.Module):
    """The hard-coded heads of a layer: ``kinds``, each "association", "local" or "window".

    A window is a local head whose weights at the offsets -2 .. 2 are learned: the softmax of
    ``window`` (windows, 5), which starts at the logarithms of the local ones. A causal head looks
    to the left only. Weights that would fall outside of the sentence go to the others.
    """

    def __init__(self, kinds: Sequence[str], causal: bool) -> None:
        super().__init__()
        self.kinds, self.causal = tuple(kinds), causal
        self.reach = len(LOCAL) // 2
        self.associative = [i for i, kind in enumerate(kinds) if kind == "association"]
        self.near = [i for i, kind in enumerate(kinds) if kind != "association"]
        windows = self.kinds.count("window")
        if windows:
            self.window = nn.Parameter(torch.empty(windows, len(LOCAL)))

    def initial(self) -> torch.Tensor:
        return torch.tensor(LOCAL).log().expand_as(self.window)

    def taps(self, like: torch.Tensor) -> torch.Tensor:
        """(local and window heads, 5): their weights before the ends of a sentence are minded."""
        local = torch.tensor(LOCAL, device=like.device, dtype=like.dtype)
        seen = torch.ones_like(local)
        if self.causal:
            seen[self.reach + 1 :] = 0
        rows, row = [], 0
        for kind in (self.kinds[i] for i in self.near):
            weights = local
            if kind == "window":
                weights = self.window[row].softmax(-1).to(like.dtype)
                row += 1
            rows.append(weights * seen)
        return torch.stack(rows)

    def forward(
        self,
        value: torch.Tensor,
        association: torch.Tensor | None,
        token_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """value (batch, tokens, heads, channels) to the same: what each head gathers.

        ``association``: the map of these tokens; ``token_mask`` (batch, tokens, 1), 0 at padding.
        """
        mixed: list[torch.Tensor] = list(value.unbind(2))
        if self.associative:
            assert association is not None
            far = rearrange(value[:, :, self.associative], "b t h c -> b t (h c)")
            gathered = association.to(value.dtype) @ far
            gathered = rearrange(gathered, "b t (h c) -> h b t c", h=len(self.associative))
            for place, head in zip(self.associative, gathered, strict=True):
                mixed[place] = head
        if self.near:
            width, taps = value.shape[-1], self.taps(value)
            near = rearrange(value[:, :, self.near], "b t h c -> b t (h c)")
            mask = near.new_ones(1, near.shape[1], 1) if token_mask is None else token_mask
            kernel = repeat(taps, "h k -> (h c) k", c=width)
            total = convolve(mask.expand(-1, -1, len(taps)), taps, self.reach)
            gathered = convolve(near * mask, kernel, self.reach)
            gathered = rearrange(gathered, "b t (h c) -> h b t c", h=len(taps))
            total = rearrange(total.clamp(min=1e-6), "b t h -> h b t 1")
            for place, head in zip(self.near, gathered / total, strict=True):
                mixed[place] = head
        return torch.stack(mixed, dim=2)

    def weights(
        self,
        tokens: int,
        association: torch.Tensor | None,
        token_mask: torch.Tensor | None,
        like: torch.Tensor,
    ) -> torch.Tensor:
        """(batch, heads, query, key): the maps themselves, for those who look at attention."""
        pick = torch.eye(tokens, device=like.device, dtype=like.dtype)
        batch = like.shape[0]
        value = repeat(pick, "k c -> b k h c", b=batch, h=len(self.kinds))
        return rearrange(self(value, association, token_mask), "b q h k -> b h q k")
