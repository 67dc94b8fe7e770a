"""How often a model answers right, and how often as a shortcut would, in a split of a source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from lego.answers import NOTHING, Score, asked, fingerprints
from lego.corpus import whole_file
from lego.data import Source, open_source
from lego.forward import forward
from lego.loading import load_model
from lego.task import choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVAL_BATCH = 250


@torch.no_grad()
def measure(
    model: PreTrainedModel,
    source: Source,
    split: str,
    start: int,
    stop: int,
    progress: bool = False,
) -> Score:
    """The score of a model on examples start .. stop-1 of a split. Leaves it in evaluation mode."""
    model.eval()
    total, task = NOTHING, source.task
    for first in tqdm(
        range(start, stop, EVAL_BATCH), disable=not progress, desc=split, unit="batch"
    ):
        batch = source.take(split, first, min(first + EVAL_BATCH, stop))
        found = forward(model, task, batch, asked(task, batch))[1]
        part = found.score()
        if source.explained:
            chosen = found.answers.cpu().numpy()
            part.shortcuts = fingerprints(task, batch, found.asked, chosen)
        total += part
    return total


def evaluate_to_file(
    folder: str,
    source_name: str,
    out: str,
    preset: str | None,
    rows: int,
    split: str,
    fields: Mapping[str, Any],
) -> None:
    """Score a model on a corpus or a task and write JSON: ``lego eval``."""
    require(rows >= 1, "rows", rows, "1 or more")
    source = open_source(source_name, preset, fields)
    choose("split", split, source.splits)
    result = measure(
        load_model(folder, source.task), source, split, 0, rows, progress=True
    ).summary()
    described: dict[str, Any] = {
        "model": folder,
        "source": source_name,
        "preset": preset,
        "split": split,
        "rows": rows,
    }
    described |= {"fields": dict(fields)} if fields else {}
    with whole_file(Path(out)) as temporary:
        temporary.write_text(json.dumps(described | result, indent=1) + "\n")
    print(f"accuracy {result['accuracy']}, by position {result['accuracy_per_position']}")
