"""Sentences to look at: their words, their clauses, and the attention of every head over them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from lego.data import Source, explained
from lego.probes.edges import PARTS
from lego.probes.patterns import attention_maps
from lego.task import Batch, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SENTENCES = 6  # as many are shown, as long as
SHOWN = 2**22  # their maps have no more weights than that, and one in any case


def sentences(model: PreTrainedModel, source: Source, split: str) -> list[dict[str, Any]]:
    """The attention over the first sentences of a split.

    ``tokens``; ``steps``, the chain position or trace step asked at each, or -1; ``clauses``, the
    chain position of the clause that each is in, or -1; ``shape``, (layers, heads, query, key);
    ``attention``, base64 of that many bytes, 255 for 1.
    """
    source = explained(source)
    tokenizer, task = source.task.tokenizer(), source.task
    found: list[dict[str, Any]] = []
    shown = 0
    for row in range(SENTENCES):
        batch = source.take(split, row, row + 1)
        ids = batch["input_ids"][0]
        length = int((ids != task.pad_token_id).sum())
        maps = attention_maps(model, source, split, row)[:, :, :length, :length]
        shown += maps.size
        if row and shown > SHOWN:
            break
        whole = np.rint(maps * 255).astype(np.uint8).tobytes()
        one = {
            "tokens": tokenizer.convert_ids_to_tokens(ids[:length].tolist()),
            "steps": task.steps(batch)[0, :length].tolist(),
            "clauses": clauses(task, batch)[0, :length].tolist(),
            "shape": list(maps.shape),
            "attention": base64.b64encode(whole).decode(),
        }
        found.append(one)
    return found


def clauses(task: Task, batch: Batch) -> np.ndarray:
    """(rows, length) int64: the chain position of the clause that each token is in, with the words
    up to the next clause; -1 before the first, for special tokens, and where the task's graph has
    no clauses."""
    graph, shape = task.graph(batch), batch["input_ids"].shape
    found = np.full(shape, -1)
    if not set(PARTS) <= graph.keys():
        return found
    parts = np.stack([graph[part] for part in PARTS])  # (parts, rows, n)
    first = np.where(parts < 0, shape[1], parts).min(axis=0)
    for row, starts in enumerate(first):
        for chain in np.argsort(starts, kind="stable"):
            found[row, starts[chain] :] = chain
    found[np.isin(batch["input_ids"], task.tokenizer().all_special_ids)] = -1
    return found
