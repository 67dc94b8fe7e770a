"""What a model can do without: heads, blocks, taps of convolutions, edges of attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from lego.answers import NOTHING, Score, asked
from lego.data import Source, explained, tensors
from lego.forward import forward
from lego.probes.capture import Attended, Streamed, capturing, resumed
from lego.probes.edges import edges
from lego.task import Batch, Task, choose, require
from lego.zoo.conv import TokenConv, convolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 250
HOW = ("zero", "mean", "resample")
ALL_LAYERS = -1
# What is done to a model while it reads a batch.
Intervention = Callable[["PreTrainedModel", Batch], AbstractContextManager[None]]


class Unit(NamedTuple):
    """Something that a model is to do without."""

    intervene: Intervention
    depth: int = 0  # nothing is changed before so many blocks have run


def ablate_heads(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    how: str = "mean",
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy without each head: columns ``layer``, ``head`` and those of ``without``.

    ``how``: what stands in the place of what a head gathers: "zero"; "mean", at the same place of
    the sentences of its batch; or "resample", that of another sentence of its batch.
    """
    choose("how", how, HOW)
    generator = np.random.default_rng(seed)
    units = {
        (layer, head): Unit(partial(_without_head, layer, head, how, generator), layer)
        for layer, heads in enumerate(head_counts(model, source, split))
        for head in range(heads)
    }
    return without(model, source, split, rows, ("layer", "head"), units, progress)


def ablate_layers(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    how: str = "zero",
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy without what each block changes in the stream: columns ``layer`` and ``without``'s.

    ``how`` as in ``ablate_heads``; "zero" leaves the block out. A tied block is a layer each time
    it runs; an embedding that is added again between two blocks counts to the second.
    """
    choose("how", how, HOW)
    generator = np.random.default_rng(seed)
    units = {
        (layer,): Unit(partial(_without_layer, layer, how, generator), layer)
        for layer in range(len(head_counts(model, source, split)))
    }
    return without(model, source, split, rows, ("layer",), units, progress)


def ablate_taps(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    how: str = "zero",
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy without each tap of each convolution: ``conv``, ``tap`` and ``without``'s columns.

    ``conv``: the module's name; that of a tied block is one, whenever it runs. ``tap``: how many
    tokens to the right it looks, negative for the left; at 0 the token itself goes as well where
    the convolution is residual. ``how`` as in ``ablate_heads``, of what the tap reads. Empty for a
    model without convolutions.
    """
    choose("how", how, HOW)
    generator = np.random.default_rng(seed)
    units = {
        (name, tap - conv.reach): Unit(partial(_without_tap, name, tap, how, generator))
        for name, conv in model.named_modules()
        if isinstance(conv, TokenConv)
        for tap in range(conv.taps)
    }
    return without(model, source, split, rows, ("conv", "tap"), units, progress)


def knock_out(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    by_layer: bool = False,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy when no head may attend along an edge: ``edge``, ``layer``, ``without``'s columns.

    The edges are those of ``lego.probes.edges``. What a token would have given them goes to the
    other tokens in proportion; one that has no other gathers nothing. ``layer`` is -1 for all
    layers together; ``by_layer``: each one alone as well.
    """
    source = explained(source)
    names = edges(source.task, source.take(split, 0, 1))
    layers = [ALL_LAYERS, *(range(len(head_counts(model, source, split))) if by_layer else ())]
    units = {
        (name, layer): Unit(partial(_without_edge, name, layer, source.task), max(layer, 0))
        for name in names
        for layer in layers
    }
    return without(model, source, split, rows, ("edge", "layer"), units, progress)


def without(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    names: tuple[str, ...],
    units: Mapping[tuple[Any, ...], Unit],
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy under each intervention, by chain position: one row a unit and position.

    Columns: the units' ``names``; ``position``, the chain position or trace step; how many answers
    were ``asked`` for; the ``accuracy``, and that of the ``intact`` model.
    """
    require(rows >= 1, "rows", rows, "1 or more")
    model.eval()
    intact, totals = NOTHING, dict.fromkeys(units, NOTHING)
    starts = range(0, rows, BATCH)
    with tqdm(total=len(starts) * len(units), disable=not progress, desc="ablate") as bar:
        for start in starts:
            batch = source.take(split, start, min(start + BATCH, rows))
            stream: list[torch.Tensor] = []

            def note(seen: Streamed, stream: list[torch.Tensor] = stream) -> None:
                stream.append(seen.hidden)

            # The same kernels as under an intervention: sums in another order are other numbers.
            with capturing(model, lambda _: None, note):
                intact += _score(model, source.task, batch)
            for name, (intervene, depth) in units.items():
                with resumed(model, depth, stream[depth]), intervene(model, batch):
                    totals[name] += _score(model, source.task, batch)
                bar.update()
    lines = [
        (*unit, position, int(count), right / count, whole / count)
        for unit, total in totals.items()
        for position, (count, right, whole) in enumerate(
            zip(total.asked, total.right, intact.right, strict=True)
        )
        if count
    ]
    return pd.DataFrame(lines, columns=[*names, "position", "asked", "accuracy", "intact"])


@torch.no_grad()
def _score(model: PreTrainedModel, task: Task, batch: Batch) -> Score:
    return forward(model, task, batch, asked(task, batch))[1].score()


@torch.no_grad()
def head_counts(model: PreTrainedModel, source: Source, split: str) -> list[int]:
    """How many heads each layer has, in the order in which the layers run."""
    counts: list[int] = []
    device = next(model.parameters()).device
    given = tensors(source.take(split, 0, 1), source.task)
    del given["labels"]
    with capturing(model, lambda seen: counts.append(seen.value.shape[1])):
        model(**{name: tensor.to(device) for name, tensor in given.items()})
    return counts


def instead(x: torch.Tensor, how: str, generator: np.random.Generator) -> torch.Tensor:
    """What stands in the place of x, (batch, ...): see ``ablate_heads``."""
    if how == "zero":
        return torch.zeros_like(x)
    if how == "mean":
        return x.mean(0, keepdim=True).expand_as(x)
    return x.roll(int(generator.integers(1, max(len(x), 2))), 0)


def _without_head(
    layer: int,
    head: int,
    how: str,
    generator: np.random.Generator,
    model: PreTrainedModel,
    _: Batch,
) -> AbstractContextManager[None]:
    def change(seen: Attended) -> None:
        if seen.layer == layer:
            mixed = seen.mixed.clone()  # (batch, query, heads, channels)
            mixed[:, :, head] = instead(mixed[:, :, head], how, generator)
            seen.mixed = mixed

    return capturing(model, change)


def _without_layer(
    layer: int, how: str, generator: np.random.Generator, model: PreTrainedModel, _: Batch
) -> AbstractContextManager[None]:
    given: list[torch.Tensor] = []

    def change(seen: Streamed) -> None:
        if seen.depth == layer:
            given[:] = [seen.hidden]
        elif seen.depth == layer + 1:
            seen.hidden = given[0] + instead(seen.hidden - given[0], how, generator)

    return capturing(model, streamed=change)


@contextmanager
def _without_tap(
    name: str, tap: int, how: str, generator: np.random.Generator, model: PreTrainedModel, _: Batch
) -> Iterator[None]:
    def change(conv: TokenConv, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        x, token_mask = args
        if token_mask is not None:
            x = x * token_mask
        kernel = conv._kernel(x)
        parts = zip(conv.widths, conv.kernels, strict=True)
        learns = torch.tensor([count > 0 for width, count in parts for _ in range(width)])
        only = torch.zeros_like(kernel)
        only[:, tap] = kernel[:, tap] * learns.to(kernel.device)
        return output + convolve(instead(x, how, generator) - x, only, conv.reach)

    hook = model.get_submodule(name).register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()


def _without_edge(
    name: str, layer: int, task: Task, model: PreTrainedModel, batch: Batch
) -> AbstractContextManager[None]:
    device = next(model.parameters()).device
    kept = torch.from_numpy(~edges(task, batch)[name])[:, None].to(device)  # one for all heads

    def change(seen: Attended) -> None:
        if layer in (ALL_LAYERS, seen.layer):
            weights = seen.weights * kept  # (batch, heads, query, key)
            seen.weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)

    return capturing(model, change)
