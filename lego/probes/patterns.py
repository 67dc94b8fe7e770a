"""What each head looks at: its association score and its local score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import einsum, rearrange

from lego.data import Source, tensors
from lego.probes.capture import Attended, capturing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 64
NAMED = 0.5  # a head has a role when it gives it half of what uniform attention leaves


@dataclass(frozen=True)
class HeadScores:
    """Shares of attention, 0..1, means over queries; arrays (layers, heads) float64.

    ``association``: on other occurrences of the query's variable, over queries that have one.
    ``local``: on the tokens at most two away, the query itself among them, over all queries.
    ``uniform``: the same two shares if attention were spread evenly over all tokens it may see.
    """

    association: np.ndarray
    local: np.ndarray
    uniform: dict[str, float]

    def role(self, layer: int, head: int) -> str:
        """``association``, ``local``, both or ``none``: by the excess over uniform attention.

        The excess is 0 for uniform attention and 1 when all attention goes there.
        """
        shares = {"association": self.association, "local": self.local}
        excess = {
            name: (share[layer, head] - self.uniform[name]) / (1 - self.uniform[name])
            for name, share in shares.items()
        }
        return " + ".join(name for name, value in excess.items() if value >= NAMED) or "none"


@torch.no_grad()
def head_scores(model: PreTrainedModel, source: Source, split: str, rows: int) -> HeadScores:
    """Score every head on the first rows of a split; memory does not grow with rows or layers."""
    model.eval()
    device = next(model.parameters()).device
    sums: dict[tuple[str, int], torch.Tensor] = {}  # (kind, layer) -> (heads,)
    uniform, queries = {"association": 0.0, "local": 0.0}, {"association": 0, "local": 0}
    for start in range(0, rows, BATCH):
        batch = source.take(split, start, min(start + BATCH, rows))
        given = {n: t.to(device) for n, t in tensors(batch, source.task).items() if n != "labels"}
        graph = source.task.graph(batch)
        visible = visible_keys(model, batch["input_ids"], source.task.pad_token_id)
        masks = {}
        for kind in uniform:
            mask: np.ndarray = graph[kind] & visible  # (batch, query, key)
            eligible = visible.any(-1) if kind == "local" else mask.any(-1)  # (batch, query)
            share = mask.sum(-1) / np.maximum(visible.sum(-1), 1)
            uniform[kind] += float(share[eligible].sum())
            queries[kind] += int(eligible.sum())
            counted = mask & rearrange(eligible, "b q -> b q 1")
            masks[kind] = torch.from_numpy(counted.astype(np.float32)).to(device)

        def add(seen: Attended, masks: dict[str, torch.Tensor] = masks) -> None:
            for kind, mask in masks.items():
                share = einsum(seen.weights.float(), mask, "b h q k, b q k -> h").double().cpu()
                sums[kind, seen.layer] = sums.get((kind, seen.layer), 0.0) + share

        with capturing(model, add):
            model(**given)
    layers = 1 + max(layer for _, layer in sums)
    scores = {
        kind: np.stack([sums[kind, layer].numpy() / queries[kind] for layer in range(layers)])
        for kind in uniform
    }
    return HeadScores(**scores, uniform={k: uniform[k] / queries[k] for k in uniform})


def visible_keys(model: PreTrainedModel, ids: np.ndarray, pad: int) -> np.ndarray:
    """(batch, query, key) bool: which tokens each token may attend to; padding sees nothing."""
    real = ids != pad
    visible = real[:, :, None] & real[:, None, :]
    return np.tril(visible) if is_causal(model) else visible


def is_causal(model: PreTrainedModel) -> bool:
    """Whether the model is a decoder, whose tokens see only what comes before them."""
    return model.can_generate()


@torch.no_grad()
def attention_maps(model: PreTrainedModel, source: Source, split: str, row: int) -> np.ndarray:
    """The attention of one example: (layers, heads, query, key) float32."""
    model.eval()
    batch = source.take(split, row, row + 1)
    device = next(model.parameters()).device
    maps: list[np.ndarray] = []
    given = {n: t.to(device) for n, t in tensors(batch, source.task).items() if n != "labels"}
    with capturing(model, lambda seen: maps.append(seen.weights[0].float().cpu().numpy())):
        model(**given)
    return np.stack(maps)
