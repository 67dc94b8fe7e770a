"""The pre-norm block that encoder and decoder share: attention, then feed-forward."""

from __future__ import annotations

from typing import Any

import torch
from einops import einsum, rearrange
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lego.zoo.configuration import LegoConfig
from lego.zoo.conv import TokenConv


class RelativeBias(nn.Module):
    """A learned number for each head and each signed distance, clipped to +-window.

    The clipped distance is that of Shaw et al. (arXiv 1803.02155), added to the scores as T5
    does (arXiv 1910.10683).
    """

    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self.window = config.relative_window
        self.weight = nn.Parameter(torch.empty(config.num_attention_heads, 2 * self.window + 1))

    def initial(self) -> torch.Tensor:
        """(heads, 2 * window + 1): head 0 is local, the others see all distances alike."""
        weight = torch.zeros_like(self.weight)
        weight[0] = -0.5 * torch.arange(-self.window, self.window + 1).abs()
        return weight

    def forward(self, tokens: int) -> torch.Tensor:
        """(1, heads, query, key), to be added to the scores."""
        place = torch.arange(tokens, device=self.weight.device)
        distance = rearrange(place, "k -> 1 k") - rearrange(place, "q -> q 1")
        bias = self.weight[:, distance.clamp(-self.window, self.window) + self.window]
        return rearrange(bias, "h q k -> 1 h q k")


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, with its weights: transformers' "eager".

    Takes (batch, heads, tokens, channels) and an additive mask that broadcasts to (batch, heads,
    query, key); returns (batch, tokens, heads, channels) and the weights (batch, heads, query,
    key). Every function in transformers' ``AttentionInterface`` has this form.
    """
    scores = einsum(query * scaling, key, "b h q c, b h k c -> b h q k")
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1)
    return einsum(weights, value, "b h k v, b h v c -> b k h c"), weights


class QueryKeyValue(nn.Linear):
    """The three projections in one matrix: queries, keys, values, each (channels, channels)."""


class IntoStream(nn.Linear):
    """A map whose output is added to the stream of hidden states."""


class Attention(nn.Module):
    # Every restriction on who sees whom is in the mask: transformers' sdpa is to add none.
    is_causal = False

    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.qkv = QueryKeyValue(config.hidden_size, 3 * config.hidden_size)
        self.conv = TokenConv(config) if config.conv_kernel else None
        self.relative_bias = RelativeBias(config) if config.relative_bias else None
        self.out = IntoStream(config.hidden_size, config.hidden_size)

    def mask(self, tokens: int, allowed: torch.Tensor | None) -> torch.Tensor | None:
        """What is added to the scores, (1 or batch, 1 or heads, query, key), or None if nothing.

        ``allowed`` (1 or batch, 1, query, key) says who may see whom. The forbidden get a finite
        number: a padded query that may see nothing must not become NaN.
        """
        bias = self.relative_bias(tokens) if self.relative_bias is not None else None
        if allowed is None:
            return bias
        if bias is None:
            bias = torch.zeros((), dtype=self.out.weight.dtype, device=allowed.device)
        return torch.where(allowed, bias, torch.finfo(bias.dtype).min)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        token_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        qkv = self.qkv(hidden)
        if self.conv is not None:
            qkv = self.conv(qkv, token_mask)
        qkv = rearrange(qkv, "b t (s h c) -> s b h t c", s=3, c=self.head_size)
        # One copy here spares three in the matrix products, and more in the way back.
        query, key, value = qkv.contiguous()
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        mixed, weights = attend(
            self, query, key, value, attention_mask, scaling=self.head_size**-0.5, dropout=0.0
        )
        return self.out(rearrange(mixed, "b t h c -> b t (h c)")), weights


class FeedForward(nn.Module):
    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = ACT2FN[config.hidden_act]
        self.down = IntoStream(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(hidden)))


class Block(nn.Module):
    """hidden + attention(norm(hidden)), then the same with the feed-forward layer."""

    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        token_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """(batch, tokens, channels) to the same; the masks are those of ``Attention``."""
        hidden = hidden + self.attention(self.attention_norm(hidden), attention_mask, token_mask)[0]
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))
