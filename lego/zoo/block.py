"""The block of every model of the zoo: attention, then feed-forward, each added to the stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import einsum, rearrange
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lego.zoo import fast, fast_attention, fast_feed_forward
from lego.zoo.configuration import LegoConfig
from lego.zoo.conv import canon, projection_conv
from lego.zoo.heads import HardHeads
from lego.zoo.positions import Alibi, RelativeBias, rotate


class Sentence(NamedTuple):
    """What all layers know of the tokens, besides the stream; None: nothing to mind.

    mask: what is added to the scores, (1 or batch, 1 or heads, query, key).
    token_mask: (batch, tokens, 1), 0 at padding.
    association: (batch, query, key), the map of hard-coded association heads.
    """

    mask: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    association: torch.Tensor | None = None


# Attention functions that are handed the maps of a layer's hard-coded heads too (``hard``), with
# the values of all heads: those that give out all weights.
SHOWS_HARD_HEADS = {"eager"}


class HardMaps(NamedTuple):
    """The maps of a layer's hard-coded heads, (batch, hard heads, query, key), and which of the
    layer's heads are dense and which are those."""

    dense: list[int]
    hard: list[int]
    maps: torch.Tensor

    def whole(self, weights: torch.Tensor) -> torch.Tensor:
        """(batch, all heads, query, key) from the weights of the dense heads."""
        shape = len(self.maps), len(self.dense) + len(self.hard), *self.maps.shape[2:]
        whole = self.maps.new_empty(shape)
        whole[:, self.hard], whole[:, self.dense] = self.maps, weights
        return whole


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    hard: HardMaps | None = None,
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
    if hard is not None:
        weights = hard.whole(weights)
    return einsum(weights, value, "b h k v, b h v c -> b k h c"), weights


class QueryKeyValue(nn.Linear):
    """The projections in one matrix: queries and keys of the dense heads, values of all heads."""


class IntoStream(nn.Linear):
    """A map whose output is added to the stream of hidden states."""


class Attention(nn.Module):
    # Every restriction on who sees whom is in the mask: transformers' sdpa is to add none.
    is_causal = False

    def __init__(self, config: LegoConfig, kinds: list[str]) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // len(kinds)
        self.dense = [i for i, kind in enumerate(kinds) if kind == "dense"]
        self.hard = [i for i, kind in enumerate(kinds) if kind != "dense"]
        count, size = len(self.dense), self.head_size
        self.widths = [count * size, count * size, config.hidden_size]  # of q, k and v
        self.qkv = QueryKeyValue(config.hidden_size, sum(self.widths))
        heads = {"q": count, "k": count, "v": len(kinds)}
        self.conv = projection_conv(config, heads) if config.conv_kernel else None
        self.relative_bias, self.alibi = None, None
        if self.dense and config.position_bias == "relative":
            self.relative_bias = RelativeBias(config, count)
        if self.dense and config.position_bias == "alibi":
            self.alibi = Alibi(count)
        if self.hard:
            self.hard_heads = HardHeads([kinds[i] for i in self.hard], config.is_causal)
        self.out = IntoStream(config.hidden_size, config.hidden_size)

    def mask(self, tokens: int, allowed: torch.Tensor | None) -> torch.Tensor | None:
        """What is added to the scores, (1 or batch, 1 or heads, query, key), or None if nothing.

        ``allowed`` (1 or batch, 1, query, key) says who may see whom. The forbidden get a finite
        number: a padded query that may see nothing must not become NaN.
        """
        bias = None
        if self.relative_bias is not None:
            bias = self.relative_bias(tokens)
        elif self.alibi is not None:
            bias = self.alibi(tokens, self.out.weight)
        if allowed is None:
            return bias
        if bias is None:
            bias = torch.zeros((), dtype=self.out.weight.dtype, device=allowed.device)
        return torch.where(allowed, bias, torch.finfo(bias.dtype).min)

    def forward(
        self, hidden: torch.Tensor, sentence: Sentence
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, tokens, channels) to the same, and the weights (batch, heads, query, key)."""
        qkv = self._project(hidden, sentence)  # (batch, tokens, q's, k's and v's channels)
        if not self.hard:
            mixed, weights = self._attend(qkv, sentence.mask)
            return self.out(rearrange(mixed, "b t h c -> b t (h c)")), weights
        turned, value = qkv.split([2 * self.widths[0], self.widths[2]], dim=-1)
        value = rearrange(value, "b t (h c) -> b t h c", c=self.head_size)
        if self.config._attn_implementation in SHOWS_HARD_HEADS:
            mixed, weights = self._attend_shown(turned, value, sentence)
            return self.out(rearrange(mixed, "b t h c -> b t (h c)")), weights
        mixed = torch.empty_like(value)
        hard = self.hard_heads(value[:, :, self.hard], sentence.association, sentence.token_mask)
        mixed[:, :, self.hard] = hard
        if self.dense:
            seen = rearrange(value[:, :, self.dense], "b t h c -> b t (h c)")
            dense = torch.cat([turned, seen], dim=-1)
            mixed[:, :, self.dense], _ = self._attend(dense, sentence.mask)
        return self.out(rearrange(mixed, "b t h c -> b t (h c)")), None

    def _project(self, hidden: torch.Tensor, sentence: Sentence) -> torch.Tensor:
        qkv = self.qkv(hidden)
        config, conv = self.config, self.conv
        if conv is not None and not config.conv_after_rotary:
            qkv = conv(qkv, sentence.token_mask)
        if config.rotary and self.dense:
            turned, value = qkv.split([2 * self.widths[0], self.widths[2]], dim=-1)
            turned = rotate(rearrange(turned, "b t (h c) -> b t h c", c=self.head_size))
            qkv = torch.cat([rearrange(turned, "b t h c -> b t (h c)"), value], dim=-1)
        if conv is not None and config.conv_after_rotary:
            qkv = conv(qkv, sentence.token_mask)
        return qkv

    def _attend(
        self, qkv: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, tokens, q's, k's and v's channels) to (batch, tokens, heads, channels)."""
        implementation = self.config._attn_implementation
        if implementation == "sdpa" and fast.usable(qkv):
            return fast_attention.Attention.apply(qkv, mask, self.head_size), None
        qkv = rearrange(qkv, "b t (s h c) -> s b h t c", s=3, c=self.head_size)
        # One copy here spares three in the matrix products, and more in the way back.
        query, key, value = qkv.contiguous()
        return self._attend_by_name(query, key, value, mask)

    def _attend_shown(
        self, turned: torch.Tensor, value: torch.Tensor, sentence: Sentence
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The same for all heads at once, by a function that gives out their weights.

        turned (batch, tokens, q's and k's channels); value (batch, tokens, all heads, channels).
        """
        query, key = rearrange(turned, "b t (s h c) -> s b h t c", s=2, c=self.head_size)
        maps = self.hard_heads.weights(
            value.shape[1], sentence.association, sentence.token_mask, value
        )
        hard = HardMaps(self.dense, self.hard, maps)
        value = rearrange(value, "b t h c -> b h t c")
        return self._attend_by_name(query, key, value, sentence.mask, hard=hard)

    def _attend_by_name(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **more: HardMaps,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        given = {"scaling": self.head_size**-0.5, "dropout": 0.0}
        return attend(self, query, key, value, mask, **given, **more)


class FeedForward(nn.Module):
    def __init__(self, config: LegoConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.conv = canon(config, "d", config.intermediate_size)
        # The same function, which transformers writes out in eight steps.
        same = {"gelu_new": "gelu_pytorch_tanh"}
        self.act_name = config.hidden_act
        self.act = ACT2FN[same.get(config.hidden_act, config.hidden_act)]
        self.down = IntoStream(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor, sentence: Sentence) -> torch.Tensor:
        if fast.usable(hidden) and self._is_plain():
            weights = self.up.weight, self.up.bias, self.down.weight, self.down.bias
            rows = fast_feed_forward.FeedForward.apply(
                hidden.flatten(0, 1), *weights, self.act_name
            )
            return rows.view_as(hidden)
        wide = self.up(hidden)
        if self.conv is not None:
            wide = self.conv(wide, sentence.token_mask)
        return self.down(self.act(wide))

    def _is_plain(self) -> bool:
        """Whether the layer is its own three steps and no more, and no hook looks at them."""
        parts = (self.up, self.act, self.down)
        watched = any(part._forward_hooks or part._forward_pre_hooks for part in parts)
        own = isinstance(self.up, nn.Linear) and isinstance(self.down, nn.Linear)
        known = self.act_name in fast_feed_forward.ACTIVATIONS
        return known and own and not watched and self.conv is None


class Block(nn.Module):
    """Pre-norm: x + f(norm(x)); post-norm: norm(x + f(x)); f the attention, then the feed-forward.

    "both" is the pre-norm block with a norm of the stream at its end. The Canon layers A and C
    come before the attention and the feed-forward layer.
    """

    def __init__(self, config: LegoConfig, kinds: list[str]) -> None:
        super().__init__()
        width = config.hidden_size
        self.post = config.norm_position == "post"
        self.attention_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.attention_conv = canon(config, "a", width)
        self.attention = Attention(config, kinds)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.feed_forward_conv = canon(config, "c", width)
        self.feed_forward = FeedForward(config)
        both = config.norm_position == "both"
        self.end_norm = nn.LayerNorm(width, eps=config.norm_eps) if both else nn.Identity()

    def forward(self, hidden: torch.Tensor, sentence: Sentence) -> torch.Tensor:
        """(batch, tokens, channels) to the same."""
        given = hidden if self.post else self.attention_norm(hidden)
        if self.attention_conv is not None:
            given = self.attention_conv(given, sentence.token_mask)
        hidden = hidden + self.attention(given, sentence)[0]
        if self.post:
            hidden = self.attention_norm(hidden)
        given = hidden if self.post else self.feed_forward_norm(hidden)
        if self.feed_forward_conv is not None:
            given = self.feed_forward_conv(given, sentence.token_mask)
        hidden = hidden + self.feed_forward(given, sentence)
        return self.feed_forward_norm(hidden) if self.post else self.end_norm(hidden)
