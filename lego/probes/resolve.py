"""In which layer the value of each variable can be read off the stream, by a linear readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from tqdm import tqdm

from lego.answers import asked
from lego.data import Source, explained, tensors
from lego.task import Batch, Task, choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 250
FITTED = 0.75  # the share of the rows that a readout is fitted on; the rest is held out
RESOLVED = 0.9  # of what the control leaves
READOUTS = {
    "ridge": lambda: RidgeClassifier(),
    "logistic": lambda: LogisticRegression(max_iter=1000),
}
ANSWER = "answer"


def resolve(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    method: str = "ridge",
    offsets: Sequence[int] = (0,),
    where: str = ANSWER,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Fit a readout of each variable's value on the stream after each block.

    ``method``: "ridge" or "logistic", scikit-learn's. ``offsets``: where
    a value is looked for, in chain positions from the variable's own; -1 is at the variable before
    it. ``where``: "answer", the token at which the model answers, or an entry of ``task.graph``
    with a token for each of ``batch["values"]``, as "definition", "operator" and "argument" are.

    ``accuracy`` on held-out rows, (layer, offset, position) float64, and ``control``, that of the
    same readout fitted on shuffled values (Hewitt and Liang, arXiv 1909.03368); NaN where there is
    no such place, or one value only. ``resolved`` (position,): the first layer whose accuracy at
    offset 0 reaches ``RESOLVED`` of the way from its control to 1; NaN if none does. Layer 0 is the
    embedding; a tied block is a layer each time it runs; the last layer is normalised if the head
    reads it so. Holds one float32 a row, layer, position and channel.

    Raises SettingError for an unknown method or place, and fewer than 8 rows.
    """
    choose("method", method, tuple(READOUTS))
    require(rows >= 8, "rows", rows, "8 or more")
    read = streams(model, source, split, rows, where, progress)
    stream, values = read.stream.values, read.value.values
    generator = np.random.default_rng(seed)
    layers, _, n, _ = stream.shape
    found = np.full((2, layers, len(offsets), n), np.nan)
    cells = [(k, c) for k, offset in enumerate(offsets) for c in range(n) if 0 <= c + offset < n]
    for k, c in tqdm(cells, disable=not progress, desc=method, unit="place"):
        at = c + offsets[k]
        there = np.flatnonzero((values[:, c] >= 0) & (values[:, at] >= 0))
        known = values[there, c]
        fitted = int(len(there) * FITTED)
        shuffled = generator.permutation(known[:fitted])
        if len(np.unique(known[:fitted])) < 2:
            continue
        for layer in range(layers):
            seen = _scaled(stream[layer, there, at], fitted)  # (rows, channels)
            for kind, labels in enumerate((known[:fitted], shuffled)):
                readout = READOUTS[method]().fit(seen[:fitted], labels)
                found[kind, layer, k, c] = readout.score(seen[fitted:], known[fitted:])
    accuracy, control = found
    dims = ("layer", "offset", "position")
    result = xr.Dataset(
        {"accuracy": (dims, accuracy), "control": (dims, control)},
        {"layer": np.arange(layers), "offset": list(offsets), "position": np.arange(n)},
        {"split": split, "rows": rows, "method": method, "where": where, "seed": seed},
    )
    return result.assign(resolved=first_resolved(result)) if 0 in offsets else result


def _scaled(stream: np.ndarray, fitted: int) -> np.ndarray:
    """Centred, and scaled by one number for all channels: a small channel is to stay small, as it
    is for the model's own head."""
    known = stream[:fitted]
    return (stream - known.mean(axis=0)) / (known.var(axis=0).mean() ** 0.5 or 1.0)


def first_resolved(found: xr.Dataset) -> xr.DataArray:
    """(position,) float64: see ``resolve``."""
    own = found.sel(offset=0, drop=True)
    enough = own.accuracy >= own.control + RESOLVED * (1 - own.control)
    return enough.idxmax("layer").where(enough.any("layer"))


@torch.no_grad()
def streams(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    where: str = ANSWER,
    progress: bool = False,
) -> xr.Dataset:
    """The stream at each variable's token, and its value.

    ``stream`` (layer, row, position, channel) float32, and ``value`` (row, position) int64, -1
    where a row has no such variable or does not ask for it; ``where`` as in ``resolve``.
    """
    model.eval()
    source = explained(source) if where != ANSWER else source
    device = next(model.parameters()).device
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for start in tqdm(range(0, rows, BATCH), disable=not progress, desc="stream", unit="batch"):
        batch = source.take(split, start, min(start + BATCH, rows))
        place, value = _variables(source.task, batch, where)  # (rows, positions)
        given = {n: t.to(device) for n, t in tensors(batch, source.task).items() if n != "labels"}
        states = model(**given, output_hidden_states=True).hidden_states
        row = torch.arange(len(place), device=device)[:, None]
        at = torch.from_numpy(place.clip(min=0)).to(device)
        picked = torch.stack([hidden[row, at] for hidden in states]).float().cpu().numpy()
        parts.append((picked, np.where(place >= 0, value, -1)))
    n = max(value.shape[1] for _, value in parts)
    stream = [np.pad(p, ((0, 0), (0, 0), (0, n - p.shape[2]), (0, 0))) for p, _ in parts]
    values = [np.pad(v, ((0, 0), (0, n - v.shape[1])), constant_values=-1) for _, v in parts]
    dims = ("layer", "row", "position", "channel")
    return xr.Dataset(
        {
            "stream": (dims, np.concatenate(stream, axis=1)),
            "value": (dims[1:3], np.concatenate(values)),
        }
    )


def _variables(task: Task, batch: Batch, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, positions) int64: the token of each variable, -1 for none, and its value."""
    if where == ANSWER:
        wanted = asked(task, batch)
        shape = len(batch["input_ids"]), int(wanted.step.max(initial=-1)) + 1
        place, value = np.full((2, *shape), -1, np.int64)
        known = wanted.step >= 0
        cell = wanted.row[known], wanted.step[known]
        place[cell], value[cell] = wanted.place[known], wanted.label[known]
        return place, value
    values: Any = batch.get("values", np.empty(0))
    tokens = {name: at for name, at in task.graph(batch).items() if at.shape == values.shape}
    tokens.pop("depth", None)
    choose("where", where, (ANSWER, *tokens))
    return tokens[where].astype(np.int64), values.astype(np.int64)
