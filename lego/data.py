"""Batches for training and evaluation: made on the fly, or read from a corpus folder.

The place in the data is the number of the step, nothing else: a resumed run, or one with more
ranks, sees the same examples at the same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lego.columns import padded
from lego.corpus import corpus_task, digest, read_manifest
from lego.task import IGNORED, Batch, Task, choose, load_task, require

if TYPE_CHECKING:
    import torch


class Source(Protocol):
    """Where batches come from. ``splits``: the splits that it has.

    ``explained``: its batches hold what ``task.answers`` and ``task.shortcuts`` read.
    """

    task: Task
    splits: tuple[str, ...]
    explained: bool

    def take(self, split: str, start: int, stop: int) -> Batch:
        """Places start .. stop-1 in the endless sequence of a split's examples."""
        ...


class Sampled:
    """Examples made on the fly: no two are the same example, however long the run."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.splits = task.splits
        self.explained = True

    def take(self, split: str, start: int, stop: int) -> Batch:
        return self.task.sample(split, start, stop)


class Stored:
    """The rows of a corpus folder: ``train`` in a new order every epoch, other splits as they are.

    ``seed`` decides the orders. Integer columns are held in memory, 0.25 kB a row of z2-n12.
    Raises SettingError for a folder that is no corpus, a config it lacks, or a damaged shard.
    """

    def __init__(self, folder: str | Path, label: str | None = None, seed: int = 0) -> None:
        manifest = read_manifest(folder)
        self.task = corpus_task(manifest, label)
        label = label or next(iter(manifest["configs"]))
        parts = manifest["configs"][label]["splits"]
        self.splits = tuple(parts)
        self._seed = seed
        self._columns = {
            split: self._read([(Path(folder, s["file"]), s["sha256"]) for s in part["shards"]])
            for split, part in parts.items()
        }
        held = self._columns[self.splits[0]].keys()
        self.explained = self.task.sample("train", 0, 1).keys() <= held
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))  # of the last epoch used

    def _read(self, shards: list[tuple[Path, str]]) -> Batch:
        tables = []
        for path, sha256 in shards:
            require(path.is_file(), "shard", str(path), "a file that is there")
            held = digest(path)
            require(held == sha256, f"{path} sha256", held, f"{sha256} ('lego make' mends it)")
            wanted = [field.name for field in pq.read_schema(path) if _is_integers(field.type)]
            tables.append(pq.read_table(path, columns=wanted))
        whole = pa.concat_tables(tables)
        fills = {"input_ids": self.task.pad_token_id, "labels": IGNORED}
        columns = {}
        for name in whole.column_names:
            column = whole[name].combine_chunks()
            if pa.types.is_list(column.type):
                longest = int(column.value_lengths().to_numpy().max())
                columns[name] = padded(column, longest, fills.get(name, -1))
            else:
                columns[name] = column.to_numpy()
        return columns

    def take(self, split: str, start: int, stop: int) -> Batch:
        choose("split", split, self.splits)
        columns = self._columns[split]
        count = len(columns["input_ids"])
        places = np.arange(start, stop)
        rows = places % count
        if split == "train":
            for epoch in np.unique(places // count):
                inside = places // count == epoch
                rows[inside] = self._epoch_order(int(epoch), count)[rows[inside]]
        return {name: column[rows] for name, column in columns.items()}

    def _epoch_order(self, epoch: int, count: int) -> np.ndarray:
        if self._order[0] != epoch:
            # Philox is counter-based: the order of an epoch needs none of those before it.
            generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            self._order = (epoch, generator.permutation(count))
        return self._order[1]


def _is_integers(kind: pa.DataType) -> bool:
    """Whether a column holds integers or lists of them."""
    return pa.types.is_integer(kind.value_type if pa.types.is_list(kind) else kind)


def explained(source: Source) -> Source:
    """The same examples in batches that hold all columns of their task: what a graph, answers and
    shortcuts are read from, and a corpus may not store. Its task makes the same rows."""
    return source if source.explained else Sampled(source.task)


def open_source(name: str, preset: str | None, fields: Mapping[str, Any]) -> Source:
    """A corpus folder where there is one of that name, else a task with some fields of its own."""
    if Path(name).is_dir():
        require(not fields, "fields", dict(fields), "none for a corpus, which has its own")
        return Stored(name, preset)
    return Sampled(load_task(name, preset, **fields))


def tensors(batch: Batch, task: Task) -> dict[str, torch.Tensor]:
    """What a model takes: input_ids, labels (rows, length) int64 and, if padded, attention_mask."""
    import torch

    ids = batch["input_ids"]
    given = {"input_ids": ids, "labels": batch["labels"]}
    seen = ids != task.pad_token_id
    if not seen.all():
        given["attention_mask"] = seen
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in given.items()}
