"""What each head looks at: its attention against the task's graph, and against chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange, repeat
from tqdm import tqdm

from lego.data import Source, explained, tensors
from lego.probes import fused
from lego.probes.capture import Attended, capturing
from lego.probes.edges import edges
from lego.task import require
from lego.zoo.mimic import FLOOR, is_causal, targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 64  # sentences that the model reads at once
CHUNK = 8  # sentences whose weights are there at once: few enough to stay in a cache
REACH = 8  # offsets to either side in the profile of a head
NAMED = 0.5  # a head has a role when it gives it half of what chance leaves
ALPHA = 0.01  # the risk of a wrong role, over all heads and edges together

# Edges that depend on what a sentence says, and those that its tokens' places alone decide.
SHUFFLED = ("association", "chain")
PLACED = ("operator", "argument", "self", "local", "clause", "separator")
# Of these a head has one at most, the one it gives most to: they say where it looks, not for what.
WHERE = ("self", "local", "clause", "separator")


@torch.no_grad()
def head_scores(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Score every head on the first rows of a split, 2 or more: a row for each head of each layer.

    ``layer`` (runs of a tied block count one by one), ``head`` and ``role``. For each edge of
    ``lego.probes.edges`` (``local`` with the token itself) that some query can follow (no
    ``operator`` in a decoder): ``<edge>``, the share of attention that does, 0 to 1, a mean over
    sentences of means over the queries that have such an edge; ``<edge>_even``, that share if each
    query's weights were permuted over the keys that it may see, as that of even attention;
    ``<edge>_chance``; ``<edge>_low`` and ``<edge>_high``, the interval of the excess over chance,
    (share - chance) / (1 - chance).

    Chance is that of permuted keys; but for association and chain it is the share of the same
    weights on the edges of another sentence of the batch, drawn with ``seed``, so that a head has
    to follow what the sentence says and not where such edges mostly are. An interval comes from the
    differences of the sentences, by the normal approximation (take 100 rows or more), and is so
    wide that all intervals of a model hold at once in 99 of 100 samples.

    ``role``: the edges whose interval lies wholly above 1/2, joined by " + "; of those that only
    say where a head looks (self, local, clause, separator), the strongest; or ``none``. So in 100
    models whose heads all have less than 1/2, one or less has a head with a role.

    ``entropy`` (nats, mean over queries) and ``entropy_even``, that of even attention.
    ``local_divergence`` and ``association_divergence``: KL in nats from the patterns that
    ``lego.zoo.mimic`` pulls heads to, as defined there. ``offset_-8`` .. ``offset_8``: the share of
    attention on the token that far to the right, mean over queries.

    Memory depends on neither rows nor layers. Raises SettingError for fewer than 2 rows.
    """
    require(rows >= 2, "rows", rows, "2 or more")
    source = explained(source)
    model.eval()
    sums: dict[int, _Sums] = {}  # by layer
    starts = range(0, rows - 1, BATCH)  # so that no batch has one sentence alone
    for start in tqdm(starts, disable=not progress, desc="heads", unit="batch"):
        stop = rows if start == starts[-1] else start + BATCH
        batch = source.take(split, start, stop)
        generator = np.random.default_rng([seed, start])
        truth = _truth(model, source, batch, generator)

        def add(seen: Attended, truth: _Truth = truth) -> None:
            sums.setdefault(seen.layer, _Sums()).add(seen, truth)

        given = {n: t.to(model.device) for n, t in tensors(batch, source.task).items()}
        del given["labels"]
        with capturing(model, add):
            model.base_model(**given)
    tests = len(truth.names) * sum(len(part.entropy) for part in sums.values())
    width = NormalDist().inv_cdf(1 - ALPHA / 2 / tests)
    tables = [sums[layer].table(layer, truth.names, width) for layer in sorted(sums)]
    return pd.concat(tables, ignore_index=True)


@dataclass
class _Truth:
    """A batch's edges, ready for one product with the weights of a layer.

    ``columns``: the pairs of each of ``names`` but the separators', then those of SHUFFLED in
    another sentence, each divided by the number of queries that have one; then what the logarithms
    of the two mimicking patterns are more on the pattern than off it; the separators last, if at
    all. ``even``: (batch, names and SHUFFLED) float64, the share of even attention, NaN for a
    sentence that has no such edge.
    """

    names: tuple[str, ...]
    columns: fused.Columns
    even: torch.Tensor
    smooth: torch.Tensor  # (batch, query): 1 / queries / (1 + FLOOR * keys seen), 0 at padding
    constants: torch.Tensor  # (batch, 2): what of the divergences does not depend on the weights
    entropy: float  # of even attention, summed over the batch's sentences


def _truth(
    model: PreTrainedModel,
    source: Source,
    batch: dict[str, np.ndarray],
    generator: np.random.Generator,
) -> _Truth:
    ids, device = batch["input_ids"], model.device
    visible = visible_keys(model, ids, source.task.pad_token_id)  # (batch, query, key)
    seen = visible.sum(2)  # (batch, query)
    known = seen > 0
    part = known / known.sum(1, keepdims=True)
    smooth = part / (1 + FLOOR * seen)
    tensor_ids = torch.from_numpy(ids.astype(np.int64))
    shown = None if known.all() else torch.from_numpy(known)
    *patterns, _ = (x.numpy() for x in targets(tensor_ids, shown, is_causal(model)))
    patterns = [np.where(visible, pattern, 0) for pattern in patterns]

    found = edges(source.task, batch)
    found["local"] = found["local"] | found["self"]
    names = tuple(name for name in (*SHUFFLED, *PLACED) if name in found)
    separator = found.pop("separator", np.zeros_like(visible))  # the same keys for every query
    # Each sentence has another one's edges: all are turned by the same number of places.
    turned = np.roll(np.arange(len(ids)), generator.integers(1, len(ids)))
    own = [found[name] for name in names if name in found]
    shuffled = [found[name][turned] for name in SHUFFLED if name in found]
    pairs = np.stack([*own, *shuffled, *(pattern > 0 for pattern in patterns)], 1)
    pairs &= visible[:, None]
    rows, count, tokens, _ = pairs.shape
    # Sorted by column, then query, then key.
    line, key = np.divmod(np.flatnonzero(pairs), tokens)
    column, query = np.divmod(line, tokens)  # of rows * count columns
    row = column // count
    first = np.diff(line, prepend=-1) > 0  # the query's first key
    queries = np.bincount(column[first], minlength=rows * count)
    evenly = np.bincount(column, 1 / seen[row, query], rows * count)
    share = 1 / queries[column]
    rises = np.zeros((rows, 2))
    for place, pattern in enumerate(patterns):
        which = column % count == count - 2 + place
        at = row[which], query[which]
        rise = np.log1p(pattern[*at, key[which]] / FLOOR)
        share[which] = smooth[at] * rise
        rises[:, place] = np.bincount(at[0], share[which], rows)
    apart = separator & visible
    seeing = apart.any(2).sum(1)  # (batch,): queries that see a separator
    alike = np.where(known, separator[:, -1], 0) * (known.sum(1) / np.maximum(seeing, 1))[:, None]

    with np.errstate(invalid="ignore"):  # a sentence without such an edge
        even = (evenly / queries).reshape(rows, count)
        even_apart = (apart.sum(2) / np.maximum(seen, 1)).sum(1) / seeing
    if "separator" in names:
        even = np.insert(even, len(own), even_apart, 1)
    normal = np.log1p(FLOOR * seen) * part + FLOOR * np.log(FLOOR) * smooth * (tokens - seen)
    off = np.stack([(pattern + FLOOR * visible).sum(2) for pattern in patterns], 2)
    off = part[..., None] * (np.log(FLOOR) - np.log(np.maximum(off, FLOOR)))
    # sum p' log(p' / t') for p' = (p + F) / (1 + F n): the parts of it that p is not in.
    constants = -(normal[..., None] + off).sum(1) - FLOOR * rises

    def given(x: np.ndarray, kind: type) -> torch.Tensor:
        return torch.from_numpy(x.astype(kind)).to(device)

    return _Truth(
        names,
        fused.Columns(
            torch.from_numpy(np.searchsorted(column, np.arange(rows * count + 1))),
            given(query, np.int32),
            given(key, np.int32),
            given(share, np.float32),
            given(part, np.float32),
            given(alike, np.float32),
        ),
        torch.from_numpy(even[:, : len(names) + len(shuffled)]),
        given(smooth, np.float32),
        torch.from_numpy(constants),
        float((part * np.log(np.maximum(seen, 1))).sum()),
    )


def _zero() -> torch.Tensor:
    return torch.zeros((), dtype=torch.float64)  # takes on any shape when something is added


@dataclass
class _Sums:
    """What is kept of one layer: sums over sentences, float64, on the CPU."""

    sentences: int = 0
    counts: torch.Tensor = field(
        default_factory=_zero
    )  # (names,): sentences that have such an edge
    moments: torch.Tensor = field(default_factory=_zero)  # (5, heads, names): as stacked in ``add``
    entropy: torch.Tensor = field(default_factory=_zero)  # (heads,)
    even: float = 0.0  # entropy of even attention
    divergence: torch.Tensor = field(default_factory=_zero)  # (heads, 2): association, local
    profile: torch.Tensor = field(default_factory=_zero)  # (heads, offsets)

    def add(self, seen: Attended, truth: _Truth) -> None:
        given = truth.columns, truth.smooth, FLOOR, REACH
        summed = fused.sums if fused.usable(seen) else _sums_in_parts
        found, entropy, smoothed, seen.mixed, profile = summed(seen, *given)
        self.profile = self.profile + profile.double().cpu()
        found, smoothed = found.double().cpu(), smoothed.double().cpu()
        self.entropy = self.entropy + entropy.sum(0).double().cpu()
        names = len(truth.names)
        own = names - ("separator" in truth.names)
        divergence = smoothed[..., None] - found[..., -3:-1] + truth.constants[:, None]
        self.divergence = self.divergence + divergence.sum(0)
        other = [i for i, name in enumerate(truth.names) if name in SHUFFLED]
        share = torch.cat([found[..., :own], found[..., -1:]], 2)[..., :names]
        has = ~truth.even.isnan()
        has, turned = has[:, :names].clone(), has[:, names:]
        has[:, other] &= turned
        even = repeat(truth.even[:, :names], "b m -> b h m", h=share.shape[1])
        chance = even.clone()
        chance[..., other] = found[..., own : own + len(other)]
        excess = share - chance
        moments = torch.stack([share, chance, excess, excess.square(), even])
        moments = torch.where(rearrange(has, "b m -> b 1 m"), moments, 0)
        self.moments = self.moments + moments.sum(1)
        self.counts = self.counts + has.sum(0)
        self.sentences += len(seen.value)
        self.even += truth.entropy

    def table(self, layer: int, names: tuple[str, ...], width: float) -> pd.DataFrame:
        """A row a head. ``width``: of the intervals, in standard errors."""
        share, chance, excess, square, even = self.moments / self.counts
        spread = (square - excess.square()).clamp(min=0) / (self.counts - 1).clamp(min=1)
        half, left = width * spread.sqrt(), 1 - chance
        low, high = (excess - half) / left, (excess + half) / left
        held = (low >= NAMED) & (self.counts > 1)
        roles = [_role(names, *pair) for pair in zip(held.tolist(), low.tolist(), strict=True)]
        table: dict[str, Any] = {"layer": layer, "head": range(len(roles)), "role": roles}
        for i, name in enumerate(names):
            if not self.counts[i]:
                continue
            table |= {name: share[:, i], f"{name}_chance": chance[:, i]}
            table |= {f"{name}_low": low[:, i], f"{name}_high": high[:, i]}
            table |= {f"{name}_even": even[:, i]}
        count = self.sentences
        table |= {"entropy": self.entropy / count, "entropy_even": self.even / count}
        for i, name in enumerate(("association", "local")):
            table[f"{name}_divergence"] = self.divergence[:, i] / count
        for i in range(2 * REACH + 1):
            table[f"offset_{i - REACH}"] = self.profile[:, i] / count
        return pd.DataFrame(table)


def _sums_in_parts(
    seen: Attended,
    columns: fused.Columns,
    smooth: torch.Tensor,
    floor: float,
    reach: int,
) -> tuple[torch.Tensor, ...]:
    """``fused.sums`` by what torch has, for any device and hard-coded heads."""
    parts: list[tuple[torch.Tensor, ...]] = []
    profile = torch.zeros((), device=seen.value.device)
    for start in range(0, len(seen.value), CHUNK):
        rows = slice(start, min(start + CHUNK, len(seen.value)))
        part, real = seen.part(rows), columns.real[rows]
        weights = part.weights.float()
        found = rearrange(weights, "b h q k -> b h (q k)") @ columns.dense(rows).mT
        logs = weights.clamp(min=1e-30).log_().mul_(weights)
        entropy = -einsum(logs, real, "b h q k, b q -> b h")
        floored = torch.add(weights, floor, out=logs)
        kept = einsum(floored.log().mul_(floored), smooth[rows], "b h q k, b q -> b h")
        whole = einsum(weights, real, "b h q k, b q -> h q k")
        near = range(-reach, reach + 1)
        profile = profile + torch.stack([whole.diagonal(at, 1, 2).sum(1) for at in near], 1)
        parts.append((found, entropy, kept, part.mixed))
    return *map(torch.cat, zip(*parts, strict=True)), profile


def _role(names: tuple[str, ...], held: list[bool], low: list[float]) -> str:
    named = {name: low[i] for i, name in enumerate(names) if held[i]}
    where = [name for name in WHERE if name in named]
    for name in sorted(where, key=named.__getitem__)[:-1]:
        del named[name]
    return " + ".join(named) or "none"


def visible_keys(model: PreTrainedModel, ids: np.ndarray, pad: int) -> np.ndarray:
    """(batch, query, key) bool: which tokens each token may attend to; padding sees nothing."""
    real = ids != pad
    visible = real[:, :, None] & real[:, None, :]
    return np.tril(visible) if is_causal(model) else visible


@torch.no_grad()
def attention_maps(model: PreTrainedModel, source: Source, split: str, row: int) -> np.ndarray:
    """The attention of one example: (layers, heads, query, key) float32."""
    model.eval()
    batch = source.take(split, row, row + 1)
    maps: list[np.ndarray] = []
    given = {n: t.to(model.device) for n, t in tensors(batch, source.task).items()}
    del given["labels"]
    with capturing(model, lambda seen: maps.append(seen.weights[0].float().cpu().numpy())):
        model(**given)
    return np.stack(maps)
