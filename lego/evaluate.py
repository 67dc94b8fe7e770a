"""How often a model answers right, for each chain position or trace step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from lego.corpus import whole_file
from lego.data import Source, open_source, tensors
from lego.task import IGNORED, Task, choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVAL_BATCH = 250


@dataclass
class Score:
    """Sums over examples, so that scores of parts add up to the score of the whole.

    ``right`` and ``asked``: (steps,) int64, answers by chain position or trace step.
    """

    loss: float  # summed over the labels
    labels: int
    right: np.ndarray
    asked: np.ndarray

    def __add__(self, other: Score) -> Score:
        width = max(len(self.right), len(other.right))
        mine, theirs = (
            np.array([np.pad(part, (0, width - len(part))) for part in (s.right, s.asked)])
            for s in (self, other)
        )
        right, asked = mine + theirs
        return Score(self.loss + other.loss, self.labels + other.labels, right, asked)

    def summary(self) -> dict[str, Any]:
        """``loss`` (nats a label), ``accuracy``, ``accuracy_per_position`` (null: not asked)."""
        each = [
            round(float(r / a), 4) if a else None
            for r, a in zip(self.right, self.asked, strict=True)
        ]
        return {
            "loss": round(self.loss / max(self.labels, 1), 5),
            "accuracy": round(float(self.right.sum() / max(self.asked.sum(), 1)), 4),
            "accuracy_per_position": each,
        }


NOTHING = Score(0.0, 0, np.zeros(0, np.int64), np.zeros(0, np.int64))


def score(task: Task, logits: torch.Tensor, labels: torch.Tensor, steps: np.ndarray) -> Score:
    """Score one batch: logits (rows, length, classes), labels and steps (rows, length)."""
    if task.head == "causal-lm":  # the logits at a token are about the next one
        logits, labels, steps = logits[:, :-1], labels[:, 1:], steps[:, 1:]
    given = labels != IGNORED
    logits, wanted = logits[given].float(), labels[given]  # (labels, classes), (labels,)
    loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    hit = (logits.argmax(-1) == wanted).cpu().numpy()
    step = steps[given.cpu().numpy()]
    counted = step >= 0
    width = int(step.max(initial=-1)) + 1
    asked = np.bincount(step[counted], minlength=width)
    right = np.bincount(step[counted & hit], minlength=width)
    return Score(float(loss), len(wanted), right, asked)


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
    device = next(model.parameters()).device
    total = NOTHING
    for first in tqdm(
        range(start, stop, EVAL_BATCH), disable=not progress, desc=split, unit="batch"
    ):
        batch = source.take(split, first, min(first + EVAL_BATCH, stop))
        given = {name: t.to(device) for name, t in tensors(batch, source.task).items()}
        labels = given.pop("labels")
        total += score(source.task, model(**given).logits, labels, source.task.steps(batch))
    return total


def load_model(folder: str, task: Task) -> PreTrainedModel:
    """A model from a folder (or hub name) with the head that the task asks for.

    Raises SettingError when there is none, or its vocabulary is not the task's.
    """
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    import lego.zoo  # noqa: F401  registers the zoo with the Auto classes

    heads = {
        "token-classification": AutoModelForTokenClassification,
        "causal-lm": AutoModelForCausalLM,
    }
    try:
        model = heads[task.head].from_pretrained(folder)
    except (OSError, ValueError) as error:
        require(
            False, "MODEL", folder, f"a checkpoint for {task.head}; {str(error).splitlines()[0]}"
        )
    size = model.config.vocab_size
    require(
        size == task.vocab_size, f"{folder} vocab_size", size, f"{task.vocab_size} (the task's)"
    )
    return model


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
