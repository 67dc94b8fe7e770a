"""Attention weights, layer by layer, of any transformers model whose attention can be exchanged.

A capturing function stands in transformers' attention registry beside "sdpa" and "eager": training
keeps its fast path, and a probe never holds the weights of more than one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, rearrange, repeat
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "lego_capture"
Sink = Callable[[int, torch.Tensor], None]
_sink: Sink | None = None
_layer = 0


@contextmanager
def capturing(model: PreTrainedModel, sink: Sink) -> Iterator[None]:
    """Within the block, call ``sink(layer, weights)`` for each attention that the model runs.

    ``weights``: (batch, heads, query, key), summing to 1 over keys, free to keep or drop. A tied
    block counts as a layer each time it runs. Layers are counted from 0 in every forward pass; one
    model at a time.
    """
    global _sink
    before, outer = model.config._attn_implementation, _sink
    restart = model.register_forward_pre_hook(_restart)
    model.set_attn_implementation(NAME)
    _sink = sink
    try:
        yield
    finally:
        _sink = outer
        restart.remove()
        model.set_attn_implementation(before)


def _restart(*_: object) -> None:
    global _layer
    _layer = 0


def _capture(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eager attention; query, key, value are (batch, heads, tokens, channels)."""
    global _layer
    groups = query.shape[1] // key.shape[1]  # above 1 for grouped-query attention
    key, value = (repeat(x, "b h t c -> b (h g) t c", g=groups) for x in (key, value))
    scores = einsum(query, key, "b h q c, b h k c -> b h q k")
    scores = scores * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[2]]
    weights = scores.softmax(-1)
    if _sink is not None:
        _sink(_layer, weights)
    _layer += 1
    mixed = einsum(weights, value, "b h q k, b h k c -> b h q c")
    return rearrange(mixed, "b h q c -> b q h c").contiguous(), weights


AttentionInterface.register(NAME, _capture)
AttentionMaskInterface.register(NAME, eager_mask)
