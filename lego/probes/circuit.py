"""Which heads are enough: an order in which heads can be left out, and how faithful the rest is."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from lego.answers import Asked, asked
from lego.data import Source, tensors
from lego.probes.ablate import HOW, head_counts, instead
from lego.probes.capture import Attended, Streamed, capturing, resumed
from lego.task import choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Head = tuple[int, int]  # layer, head; a tied block is a layer each time it runs
BATCH = 250
METHODS = ("greedy", "attribution")
FAITHFUL = 0.95
STEPS = 8  # of the integral


class Examples:
    """The first rows of a split, read with some heads ablated.

    What ``scores`` keeps takes a float32 a row, layer, token and channel.
    """

    def __init__(
        self, model: PreTrainedModel, source: Source, split: str, rows: int, how: str, seed: int
    ) -> None:
        choose("how", how, HOW)
        require(rows >= 1, "rows", rows, "1 or more")
        self.model, self.source, self.split = model.eval(), source, split
        self.rows, self.how, self.seed = rows, how, seed
        self.counts = head_counts(model, source, split)
        self.heads = [(layer, h) for layer, count in enumerate(self.counts) for h in range(count)]
        self._ablated: Collection[Head] = ()  # when the stream was kept, of each batch and depth
        self._kept: dict[int, list[torch.Tensor]] = {}

    @torch.no_grad()
    def scores(self, ablated: Collection[Head], keep: bool = False) -> tuple[float, float]:
        """The mean probability of the truth, and the accuracy, without some heads.

        With ``keep`` the calls that follow start from the stream of this one, where the first head
        is that is ablated in one of them alone: the numbers are the same.
        """
        gates = torch.zeros(len(self.counts), max(self.counts))
        for layer, head in ablated:
            gates[layer, head] = 1
        apart = {layer for layer, _ in {*ablated} ^ {*self._ablated}}
        depth = min(apart, default=len(self.counts))
        kept: dict[int, list[torch.Tensor]] = {}
        sure = right = total = 0.0
        for start in range(0, self.rows, BATCH):
            stream: list[torch.Tensor] = []
            with ExitStack() as stack:
                if self._kept:
                    stack.enter_context(resumed(self.model, depth, self._kept[start][depth]))
                if keep:

                    def note(seen: Streamed, stream: list[torch.Tensor] = stream) -> None:
                        stream.append(seen.hidden)

                    stack.enter_context(capturing(self.model, streamed=note))
                chance, hit = self.read(start, gates)
            if keep:
                kept[start] = self._kept[start][:depth] + stream[depth:] if self._kept else stream
            sure += float(chance.sum())
            right += float(hit.sum())
            total += len(hit)
        if keep:
            self._ablated, self._kept = tuple(ablated), kept
        return sure / total, right / total

    def read(self, start: int, gates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(answers,) each: the probability of the truth, and whether it is the likeliest.

        gates (layers, heads): how far of the way each head is from what it gathers, 0, to what
        stands in its place, 1.
        """
        batch = self.source.take(self.split, start, min(start + BATCH, self.rows))
        device = next(self.model.parameters()).device
        moved = [bool(layer.any()) for layer in gates]
        gates = gates.to(device)
        wanted: Asked = asked(self.source.task, batch)
        given = tensors(batch, self.source.task)
        del given["labels"]

        def change(seen: Attended) -> None:
            if not moved[seen.layer]:
                return
            # The same for each set of heads, so that they can be compared.
            generator = np.random.default_rng([self.seed, start, seen.layer])
            gate = gates[seen.layer, : seen.value.shape[1], None]  # (heads, 1)
            other = instead(seen.mixed, self.how, generator)  # (batch, query, heads, channels)
            seen.mixed = seen.mixed + gate * (other - seen.mixed)

        with capturing(self.model, change):
            output = self.model(**{name: tensor.to(device) for name, tensor in given.items()})
        logits = wanted.select(output.logits).float()
        label = torch.from_numpy(wanted.label).to(device)
        sure = logits.softmax(-1).gather(1, label[:, None])[:, 0]
        return sure, logits.argmax(-1) == label


def attribution(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    how: str = "mean",
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """What each head is worth, by gradients: columns ``layer``, ``head``, ``worth``.

    The mean probability of the truth is followed while all heads go from what they gather to what
    stands in its place (``how``, as in ``ablate_heads``) together, in so many steps; ``worth`` is a
    head's part in the fall. It is the integrated gradient (arXiv 1703.01365), so that all together
    are the whole fall, but for the error of the sum.
    """
    require(steps >= 1, "steps", steps, "1 or more")
    examples = Examples(model, source, split, rows, how, seed)
    total, answers = torch.zeros(len(examples.counts), max(examples.counts)), 0
    starts = range(0, rows, BATCH)
    with tqdm(total=len(starts) * steps, disable=not progress, desc="attribution") as bar:
        for start in starts:
            for step in range(steps):
                gates = torch.full_like(total, (step + 0.5) / steps).requires_grad_()
                sure = examples.read(start, gates)[0]
                (slope,) = torch.autograd.grad(sure.sum(), gates)
                total -= slope / steps
                answers += len(sure) if step == 0 else 0
                bar.update()
    worth = [float(total[head]) / answers for head in examples.heads]
    return pd.DataFrame(examples.heads, columns=["layer", "head"]).assign(worth=worth)


def circuit(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    method: str = "greedy",
    how: str = "mean",
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Leave out one head after another, and see what is left of the model.

    One row a circuit, from all heads to none: its ``size`` in heads, the ``layer`` and ``head``
    left out last (-1 in the first row), the mean ``probability`` of the truth, the ``accuracy``,
    and the ``faithfulness``: 1 where the probability is that of the model, 0 where it is that of a
    model without heads. ``method``: "greedy" leaves out the head that costs least, which takes one
    pass for each pair of heads; "attribution" goes by the worth that gradients give, which takes
    one for each head, but sees nothing where the model is saturated. ``how``: what stands in a
    head's place, as in ``ablate_heads``.
    """
    choose("method", method, METHODS)
    examples = Examples(model, source, split, rows, how, seed)
    order: list[Head] = []
    if method == "attribution":
        found = attribution(model, source, split, rows, how, seed=seed, progress=progress)
        ranked = found.sort_values("worth", kind="stable")
        order = [(int(layer), int(head)) for layer, head in ranked[["layer", "head"]].to_numpy()]
    gone: list[Head] = []
    lines = [(len(examples.heads), -1, -1, *examples.scores(gone, keep=True))]
    for place in tqdm(range(len(examples.heads)), disable=not progress, desc=method, unit="head"):
        left = [head for head in examples.heads if head not in gone]
        choice = order[place : place + 1] or left
        alone = len(choice) == 1
        tried = {head: examples.scores([*gone, head], keep=alone) for head in choice}
        out = max(tried, key=lambda head: tried[head][0])
        gone.append(out)
        if not alone:
            examples.scores(gone, keep=True)
        lines.append((len(left) - 1, *out, *tried[out]))
    columns = ["size", "layer", "head", "probability", "accuracy"]
    curve = pd.DataFrame(lines, columns=columns)
    whole, nothing = curve["probability"].iloc[0], curve["probability"].iloc[-1]
    faithfulness = (curve["probability"] - nothing) / (whole - nothing)
    return curve.assign(faithfulness=faithfulness)


def smallest(curve: pd.DataFrame, faithful: float = FAITHFUL) -> list[Head]:
    """The heads, in their order, of the smallest circuit of a curve that is faithful enough."""
    enough = np.flatnonzero(curve["faithfulness"] >= faithful)
    kept = curve.iloc[(enough[-1] if len(enough) else 0) + 1 :]
    return sorted((int(layer), int(head)) for layer, head in kept[["layer", "head"]].to_numpy())
