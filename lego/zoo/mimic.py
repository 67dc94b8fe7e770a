"""Mimicking: heads are pulled to the association and the local pattern before training, unlabelled.

The paper finds that pretraining helps LEGO by heads of these two patterns, and that teaching a
model the patterns alone gives the same help (arXiv 2206.04301). What is pulled where, and how far,
is as in the authors' code; what their code leaves open, decoders and padding, is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from tqdm import tqdm
from transformers import PreTrainedModel

from lego.zoo.configuration import LegoConfig, require
from lego.zoo.heads import LOCAL, association_map
from lego.zoo.positions import distances

FLOOR = 1e-3  # added to every entry of both maps before their rows are normalised


class Mimicked(NamedTuple):
    """How far each block run is from its patterns at the last step: nats, mean over queries."""

    local: list[float]
    association: list[float]


def mimic(
    model: PreTrainedModel,
    batches: Iterable[torch.Tensor],
    steps: int = 200,
    lr: float = 1e-3,
) -> Mimicked:
    """Pull the first dense head of every layer to the local map, the second to the association.

    ``batches`` gives at least ``steps`` tensors of token ids (batch, tokens); rows may be padded
    with the config's ``pad_token_id``. Adam with a cosine schedule to zero on the sum over layers
    of KL(model's map || pattern), each a mean over batch and queries. A tied block is pulled in
    every one of its runs. The paper's code took batches of 200, 1,000 steps (5,000 for ALBERT) and
    a rate of 5e-5, for a width of 768; the defaults are for widths of 32 to 128.

    Raises ValueError for a model with fewer than two dense heads in a layer, for too few batches,
    and for ``steps`` or ``lr`` out of range.
    """
    require(steps >= 1, "steps", steps, "1 or more")
    require(lr > 0, "lr", lr, "above 0")
    config = model.config
    local_head, association_head = zip(*(_two_dense(kinds) for kinds in _kinds(model)), strict=True)
    pad = config.pad_token_id
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    taken = 0
    with eager(model), tqdm(total=steps, desc="mimic", unit="step", leave=False) as bar:
        for ids in islice(batches, steps):
            ids = ids.to(model.device)
            seen = ids != pad if pad is not None and bool((ids == pad).any()) else None
            mask = None if seen is None else seen.long()
            maps = model.base_model(
                input_ids=ids, attention_mask=mask, output_attentions=True
            ).attentions  # one for each block run, (batch, heads, query, key)
            association, local, visible = targets(ids, seen, is_causal(model))
            near, far = (
                torch.stack(
                    [
                        divergence(maps[i][:, head], pattern, visible, seen)
                        for i, head in enumerate(heads)
                    ]
                )
                for heads, pattern in ((local_head, local), (association_head, association))
            )
            loss = near.sum() + far.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            taken += 1
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    require(taken == steps, "batches", taken, f"{steps} of them, one for each step")
    model.zero_grad()
    return Mimicked(near.tolist(), far.tolist())


def is_causal(model: PreTrainedModel) -> bool:
    """Whether no query sees a later key: of the stock models, the decoders are those."""
    config = model.config
    return config.is_causal if isinstance(config, LegoConfig) else model.can_generate()


def targets(
    ids: torch.Tensor, seen: torch.Tensor | None, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The patterns of ids (batch, tokens), not normalised, and who may see whom.

    Returns association (batch, query, key), local (1, query, key) and visible (1 or batch, query,
    key), of zeros and ones.
    """
    association = (association_map(ids, seen, causal) > 0).float()
    far = distances(ids.shape[1], association)  # (query, key)
    reach = len(LOCAL) // 2
    weights = torch.tensor(LOCAL, device=ids.device)
    near = torch.where(far.abs() <= reach, weights[far.clamp(-reach, reach) + reach], 0.0)
    visible = torch.ones_like(near)
    if causal:
        visible = visible.tril()
    visible = rearrange(visible, "q k -> 1 q k")
    if seen is not None:
        visible = visible * rearrange(seen, "b k -> b 1 k")
    return association, rearrange(near, "q k -> 1 q k"), visible


def divergence(
    attention: torch.Tensor,
    pattern: torch.Tensor,
    visible: torch.Tensor,
    seen: torch.Tensor | None,
) -> torch.Tensor:
    """KL(attention || pattern) in nats, both over the visible keys, mean over real queries.

    All but ``seen`` (batch, tokens) broadcast to (batch, query, key).
    """
    attention, pattern = (
        part / part.sum(-1, keepdim=True).clamp(min=FLOOR)
        for part in ((attention + FLOOR) * visible, (pattern + FLOOR) * visible)
    )
    ratio = torch.where(visible > 0, attention, 1) / torch.where(visible > 0, pattern, 1)
    each = reduce(attention * ratio.log(), "b q k -> b q", "sum")
    return each.mean() if seen is None else each[seen].mean()


@contextmanager
def eager(model: PreTrainedModel) -> Iterator[None]:
    """Attention that hands out its weights, for as long as this lasts."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _kinds(model: PreTrainedModel) -> list[list[str]]:
    """What each head of each block run is."""
    config, layers = model.config, model.config.num_hidden_layers
    if isinstance(config, LegoConfig):
        return [config.kinds_of(config.block_of(i, layers)) for i in range(layers)]
    return [["dense"] * config.num_attention_heads] * layers


def _two_dense(kinds: list[str]) -> tuple[int, int]:
    dense = [i for i, kind in enumerate(kinds) if kind == "dense"]
    require(
        len(dense) >= 2, "init", "mimic", f"models with 2 dense heads a layer, not {len(dense)}"
    )
    return dense[0], dense[1]
