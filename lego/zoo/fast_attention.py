"""Attention on a CPU: one head of one sentence at a time, which stays in the cache.

torch's products of many small matrices reach a third of what the machine can do, and its sdpa has
no fast way for a mask that needs a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange

from lego.zoo.fast import exp, in_threads, kernel


class Attention(torch.autograd.Function):
    """Softmax attention of (batch, tokens, q's, k's and v's channels), with a mask that can learn.

    The way back works the weights out again, from each query's greatest score and its inverse sum.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: torch.Tensor, mask: torch.Tensor | None, channels: int
    ) -> torch.Tensor:
        """qkv as above, the mask as in ``Sentence``; returns (batch, tokens, heads, channels)."""
        split = rearrange(qkv.detach(), "b t (s h c) -> b t s h c", s=3, c=channels).contiguous()
        batch, tokens, _, heads, _ = split.shape
        added = qkv.new_zeros(1, 1, tokens, tokens)  # (1 or batch, 1 or heads, key, query)
        if mask is not None:
            added = mask.detach().expand(-1, -1, tokens, tokens).mT.contiguous()
        mixed = qkv.new_empty(batch, tokens, heads, channels)
        sums = qkv.new_empty(batch, heads, 2, tokens)
        given = [tensor.numpy() for tensor in (split, added, mixed, sums)]
        in_threads(batch, lambda start, stop, part: _forward(start, stop, *given))
        ctx.save_for_backward(split, added, sums)
        ctx.mask_shape = None if mask is None else mask.shape
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        split, added, sums = ctx.saved_tensors
        (batch, tokens, _, heads, _), learns = split.shape, ctx.needs_input_grad[1]
        to_split = torch.empty_like(split)
        # A mask that sentences share gets a gradient from each thread.
        masks = max(len(added), torch.get_num_threads()) if learns else 0
        to_added = added.new_zeros(masks, heads, tokens, tokens)
        tensors = (split, added, sums, mixed.contiguous(), to_split, to_added)
        given = [tensor.numpy() for tensor in tensors]
        in_threads(batch, lambda start, stop, part: _backward(start, stop, part, *given))
        to_mask = to_added.mT.sum_to_size(ctx.mask_shape) if learns else None
        return rearrange(to_split, "b t s h c -> b t (s h c)"), to_mask, None


@kernel
def _scores(row, head, split, added, q, k, v, scores):
    """Copy out a head, its queries scaled, and write its scores, (key, query)."""
    tokens, channels = q.shape
    scale = np.float32(channels**-0.5)
    for t in range(tokens):
        for c in range(channels):
            q[t, c] = split[row, t, 0, head, c] * scale
            k[t, c] = split[row, t, 1, head, c]
            v[t, c] = split[row, t, 2, head, c]
    np.dot(k, q.T, scores)
    mask = added[row % len(added), head % added.shape[1]]
    for s in range(tokens):
        for t in range(tokens):
            scores[s, t] += mask[s, t]


@kernel
def _power(x):
    """e^x of x up to 0, and 0 where a mask forbids."""
    return exp(max(x, np.float32(-87))) if x > np.float32(-87) else np.float32(0)


@kernel
def _forward(start, stop, split, added, mixed, sums):
    _, tokens, _, heads, channels = split.shape
    room = np.empty((4, tokens, channels), np.float32)
    q, k, v, gathered = room[0], room[1], room[2], room[3]
    weights = np.empty((tokens, tokens), np.float32)
    for row in range(start, stop):
        for head in range(heads):
            _scores(row, head, split, added, q, k, v, weights)
            most, share = sums[row, head, 0], sums[row, head, 1]
            most[:] = weights[0]
            for s in range(1, tokens):
                for t in range(tokens):
                    most[t] = max(most[t], weights[s, t])
            share[:] = 0
            for s in range(tokens):
                for t in range(tokens):
                    weights[s, t] = _power(weights[s, t] - most[t])
                    share[t] += weights[s, t]
            np.dot(weights.T, v, gathered)
            for t in range(tokens):
                share[t] = 1 / share[t]
                for c in range(channels):
                    mixed[row, t, head, c] = gathered[t, c] * share[t]


@kernel
def _backward(start, stop, part, split, added, sums, mixed, to_split, to_added):
    _, tokens, _, heads, channels = split.shape
    room = np.empty((7, tokens, channels), np.float32)
    q, k, v, given = room[0], room[1], room[2], room[3]
    to_q, to_k, to_v = room[4], room[5], room[6]
    weights, to_scores = (
        np.empty((tokens, tokens), np.float32),
        np.empty((tokens, tokens), np.float32),
    )
    within = np.empty(tokens, np.float32)
    scale = np.float32(channels**-0.5)
    for row in range(start, stop):
        for head in range(heads):
            _scores(row, head, split, added, q, k, v, weights)
            most, share = sums[row, head, 0], sums[row, head, 1]
            for t in range(tokens):
                for c in range(channels):
                    given[t, c] = mixed[row, t, head, c]
            np.dot(v, given.T, to_scores)
            within[:] = 0
            for s in range(tokens):
                for t in range(tokens):
                    weights[s, t] = _power(weights[s, t] - most[t]) * share[t]
                    within[t] += weights[s, t] * to_scores[s, t]
            for s in range(tokens):
                for t in range(tokens):
                    to_scores[s, t] = weights[s, t] * (to_scores[s, t] - within[t])
            if len(to_added):
                to_added[row if len(added) > 1 else part, head] += to_scores
            np.dot(to_scores.T, k, to_q)
            np.dot(to_scores, q, to_k)
            np.dot(weights, given, to_v)
            for t in range(tokens):
                for c in range(channels):
                    to_split[row, t, 0, head, c] = to_q[t, c] * scale
                    to_split[row, t, 1, head, c] = to_k[t, c]
                    to_split[row, t, 2, head, c] = to_v[t, c]
