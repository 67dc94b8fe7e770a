"""Activation patching: what carries the difference between two sentences to the answer.

The two differ by one operator (the split ``test_flipped``): the *clean* one and the *corrupt* one.
While the model reads the corrupt one, a part of what it computed for the clean one is put in its
place; how far the answer goes back is the effect of that part (Vig et al., arXiv 2004.12265;
Meng et al., arXiv 2202.05262).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm import tqdm

from lego.answers import Asked, asked
from lego.data import Source, explained, tensors
from lego.probes.ablate import head_counts
from lego.probes.capture import Attended, capturing, resumed
from lego.probes.edges import PARTS
from lego.task import Batch, Task, choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 250  # rows; half as many pairs
FLIPPED = "test_flipped"


@dataclass(frozen=True)
class Pairs:
    """Sentences that differ by one operator, and what hangs on it. ``n`` variables a row.

    ``clean``, ``corrupt``: token ids, (pairs, length). ``distance``: hops from the variable whose
    operator differs, 0 for itself; -1 for what does not hang on it; (pairs, n). ``parts``: the
    tokens of each variable's clause, (pairs, n), -1 for none. The rest, (answers,), is of the
    answers that differ: ``pair``, ``place``, where the model gives it, ``hops``, the distance of
    its variable, and the two labels.
    """

    clean: dict[str, torch.Tensor]
    corrupt: dict[str, torch.Tensor]
    distance: np.ndarray
    parts: dict[str, np.ndarray]
    pair: torch.Tensor
    place: torch.Tensor
    hops: np.ndarray
    clean_label: torch.Tensor
    corrupt_label: torch.Tensor

    def margins(
        self, logits: torch.Tensor, row: torch.Tensor, answer: torch.Tensor
    ) -> torch.Tensor:
        """By how much the clean answer is ahead, from logits (rows, length, c), of these answers in
        these rows: (many,) each."""
        here = logits[row, self.place[answer]].float()
        label = torch.stack([self.clean_label, self.corrupt_label], dim=1)[answer]  # (many, 2)
        clean, corrupt = here.gather(1, label).unbind(1)
        return clean - corrupt

    def tokens(self, part: str, distance: int) -> torch.Tensor:
        """(pairs, length) bool: that part of the clauses at that distance from the cause."""
        there = (self.distance == distance) & (self.parts[part] >= 0)
        pair, which = np.nonzero(there)
        found = np.zeros(self.clean["input_ids"].shape, bool)
        found[pair, self.parts[part][pair, which]] = True
        return torch.from_numpy(found).to(self.pair.device)


def patch_stream(
    model: PreTrainedModel,
    source: Source,
    rows: int,
    cause: int | None = None,
    progress: bool = False,
) -> xr.DataArray:
    """The effect of the stream at each depth, at one part of the clauses at one distance.

    (depth, part, distance, answer) float64: 0 where the answer stays that of the corrupt sentence,
    1 where it becomes that of the clean one. ``depth``: 0 for the embedding, k after k blocks; a
    tied block counts each time. ``part``: the "definition", "operator" or "argument" of a clause;
    ``distance``, hops from the variable whose operator differs to the clause's; ``answer``, hops
    to the variable that is asked. The effect is the ratio of two means over all answers that
    differ, of the margin won by patching and of that between the two sentences; NaN where no
    answer differs. ``rows`` of ``test_flipped`` are read. ``cause``: only the pairs that differ at
    this depth of the chain. Where a sentence gives several answers, those before an answer are
    read too, and differ as the operator does. An embedding that is added again between two blocks
    stays that of the corrupt sentence.

    Raises SettingError for a task without clauses or without such a split.
    """
    source = explained(source)
    layers = len(head_counts(model, source, FLIPPED))
    n = source.task.layers
    won = np.zeros((layers + 1, len(PARTS), n, n))
    apart = np.zeros(n)
    for pairs in _pairs_of(model, source, rows, cause):
        clean, theirs = _margins(model, pairs, pairs.clean)
        corrupt, own = _margins(model, pairs, pairs.corrupt)
        np.add.at(apart, pairs.hops, clean - corrupt)
        sites = [(part, distance) for part in range(len(PARTS)) for distance in range(n)]
        where = torch.stack([pairs.tokens(PARTS[part], distance) for part, distance in sites])
        # Where a pair has no such site, nothing is patched and nothing won.
        site, pair = where.any(2).nonzero(as_tuple=True)
        starts = range(0, len(site), BATCH)
        for start in tqdm(starts, disable=not progress, desc="patch stream", unit="batch"):
            here, rows_of = site[start : start + BATCH], pair[start : start + BATCH]
            given = {name: tensor[rows_of] for name, tensor in pairs.corrupt.items()}
            row, answer = (rows_of[:, None] == pairs.pair).nonzero(as_tuple=True)
            part, distance = np.array(sites)[here[row].cpu()].reshape(-1, 2).T
            hops = pairs.hops[answer.cpu()]
            patched = where[here, rows_of][..., None]  # (rows, length, 1)
            for depth in range(layers + 1):
                hidden = torch.where(patched, theirs[depth][rows_of], own[depth][rows_of])
                with torch.no_grad(), resumed(model, depth, hidden):
                    margins = pairs.margins(model(**given).logits, row, answer)
                gained = margins.double().cpu().numpy() - corrupt[answer.cpu()]
                np.add.at(won[depth], (part, distance, hops), gained)
    return _effect(won, apart, ("depth", "part", "distance"), {"part": list(PARTS)})


def patch_heads(
    model: PreTrainedModel,
    source: Source,
    rows: int,
    cause: int | None = None,
    progress: bool = False,
) -> xr.DataArray:
    """The effect of what each head gathers, at all tokens: (layer, head, answer) float64.

    As ``patch_stream``. NaN for heads that a layer does not have.
    """
    source = explained(source)
    counts = head_counts(model, source, FLIPPED)
    n = source.task.layers
    won = np.zeros((len(counts), max(counts), n))
    apart = np.zeros(n)
    heads = [(layer, head) for layer, count in enumerate(counts) for head in range(count)]
    for pairs in _pairs_of(model, source, rows, cause):
        kept: list[torch.Tensor] = []  # (pairs, query, heads, channels), in each layer

        def note(seen: Attended, kept: list[torch.Tensor] = kept) -> None:
            kept.append(seen.mixed)

        clean, _ = _margins(model, pairs, pairs.clean, note)
        corrupt, stream = _margins(model, pairs, pairs.corrupt, lambda _: None)
        np.add.at(apart, pairs.hops, clean - corrupt)
        for layer, head in tqdm(heads, disable=not progress, desc="patch heads", unit="head"):

            def change(
                seen: Attended,
                layer: int = layer,
                head: int = head,
                kept: list[torch.Tensor] = kept,
            ) -> None:
                if seen.layer == layer:
                    new = seen.mixed.clone()
                    new[:, :, head] = kept[layer][:, :, head]
                    seen.mixed = new

            with resumed(model, layer, stream[layer]):
                patched, _ = _margins(model, pairs, pairs.corrupt, change)
            np.add.at(won[layer, head], pairs.hops, patched - corrupt)
    for layer, count in enumerate(counts):
        won[layer, count:] = np.nan
    return _effect(won, apart, ("layer", "head"), {})


def path(effect: xr.DataArray, answer: int) -> pd.DataFrame:
    """The way from the cause to an answer so many hops away: where, at each depth, patching the
    stream has the most effect. Columns ``depth``, ``part``, ``distance``, ``effect``; ``effect`` is
    of ``patch_stream``, best with a ``cause``, since each is resolved at a depth of its own."""
    one = effect.sel(answer=answer).stack(site=("part", "distance"))
    best = one.fillna(-np.inf).argmax("site")
    lines = [
        (int(depth), *one.site.values[int(site)], float(one.sel(depth=depth)[int(site)]))
        for depth, site in zip(one.depth.values, best.values, strict=True)
    ]
    return pd.DataFrame(lines, columns=["depth", "part", "distance", "effect"])


def _effect(
    won: np.ndarray, apart: np.ndarray, dims: tuple[str, ...], names: dict[str, list[str]]
) -> xr.DataArray:
    """Sums of margins, over (..., answer) and (answer,), to shares with their names."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(apart != 0, won / apart, np.nan)
    whole = (*dims, "answer")
    coords = {dim: names.get(dim, np.arange(k)) for dim, k in zip(whole, won.shape, strict=True)}
    return xr.DataArray(shares, coords, whole, name="effect")


def _pairs_of(
    model: PreTrainedModel, source: Source, rows: int, cause: int | None
) -> Iterator[Pairs]:
    """The pairs of the first rows, a batch at a time."""
    choose("split", FLIPPED, source.splits)
    require(rows >= 2 and rows % 2 == 0, "rows", rows, "2, 4, ... (pairs of rows)")
    model.eval()
    device = next(model.parameters()).device
    for start in range(0, rows, BATCH):
        batch = source.take(FLIPPED, start, min(start + BATCH, rows))
        yield pairs_in(source.task, batch, device, cause)


def pairs_in(
    task: Task, batch: Batch, device: torch.device | str = "cpu", cause: int | None = None
) -> Pairs:
    """The pairs of a batch of ``test_flipped``, rows 2k and 2k+1, one after another.

    Raises SettingError for a task whose graph has no clauses.
    """
    graph = task.graph(batch)
    held = {*PARTS, "parent", "depth"} <= graph.keys()
    require(held, "task", task.name, "tasks whose sentences are made of clauses")
    first = slice(0, None, 2)
    differ = batch["input_ids"][0::2] != batch["input_ids"][1::2]  # (pairs, length)
    parts = {name: graph[name][first] for name in PARTS}
    operator, depth = parts["operator"], graph["depth"][first].astype(np.int64)
    changed = np.take_along_axis(differ, np.maximum(operator, 0), 1) & (operator >= 0)
    distance = np.where(changed, 0, -1)  # (pairs, n)
    # In chain order a parent comes before what hangs on it.
    for c in range(distance.shape[1]):
        above = (parts["definition"] == graph["parent"][first][:, [c]]) & (operator >= 0)
        up = np.where(above, distance, -1).max(axis=1)
        inherits = (distance[:, c] < 0) & (up >= 0)
        distance[inherits, c] = up[inherits] + 1
    if cause is not None:
        elsewhere = ~(changed & (depth == cause)).any(axis=1)
        distance[elsewhere] = -1
    wanted, other = (asked(task, {k: v[at::2] for k, v in batch.items()}) for at in (0, 1))
    hops = _of_answers(distance, wanted)
    here = np.flatnonzero((wanted.label != other.label) & (hops >= 0))

    def ids(at: int) -> dict[str, torch.Tensor]:
        given = tensors({k: v[at::2] for k, v in batch.items()}, task)
        return {name: t.to(device) for name, t in given.items() if name != "labels"}

    def chosen(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[here]).to(device)

    return Pairs(
        ids(0), ids(1), distance, parts, chosen(wanted.row), chosen(wanted.place), hops[here],
        chosen(wanted.label), chosen(other.label),
    )  # fmt: skip


def _of_answers(distance: np.ndarray, wanted: Asked) -> np.ndarray:
    """(answers,): the distance of the variable that each is about; -1 for those about none."""
    known = wanted.step >= 0
    return np.where(known, distance[wanted.row, np.where(known, wanted.step, 0)], -1)


@torch.no_grad()
def _margins(
    model: PreTrainedModel,
    pairs: Pairs,
    given: dict[str, torch.Tensor],
    attended: Callable[[Attended], None] | None = None,
) -> tuple[np.ndarray, list[torch.Tensor]]:
    """(answers,) float64: the margins of one pass, and its stream, (pairs, length, channels) at
    each depth."""
    stream: list[torch.Tensor] = []
    with capturing(model, attended, lambda seen: stream.append(seen.hidden)):
        logits = model(**given).logits
    every = torch.arange(len(pairs.pair), device=logits.device)
    return pairs.margins(logits, pairs.pair, every).double().cpu().numpy(), stream
