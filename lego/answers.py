"""What a batch asks, and how a model's answers score: by chain position, and against shortcuts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lego.task import IGNORED, NO_ANSWER, Batch, Task

Fingerprints = dict[str, np.ndarray]  # a shortcut's name -> (3,) int64: asked, chain, shortcut


@dataclass(frozen=True)
class Asked:
    """The labels of a batch, one after another, and where a model answers them.

    All arrays are (labels,) int64. ``row`` and ``place`` locate the logits: for causal-lm, those
    of the token before the label. ``step``: the chain position or trace step, or -1.
    """

    row: np.ndarray
    place: np.ndarray
    label: np.ndarray
    step: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def select(self, values: torch.Tensor) -> torch.Tensor:
        """(labels, channels) from (rows, length, channels)."""
        # Indices that are made on the CPU: a boolean mask would make a GPU wait.
        index = torch.from_numpy(self.row * values.shape[1] + self.place)
        return values.flatten(0, 1)[index.to(values.device)]


def asked(task: Task, batch: Batch) -> Asked:
    """What a batch asks, in the order of the text."""
    labels, ahead = batch["labels"], int(task.head == "causal-lm")
    row, place = np.nonzero(labels[:, ahead:] != IGNORED)
    label, step = (a[row, place + ahead].astype(np.int64) for a in (labels, task.steps(batch)))
    return Asked(row, place, label, step)


@dataclass
class Score:
    """Sums over examples, so that scores of parts add up to the score of the whole.

    ``right`` and ``asked``: (steps,) int64, answers by chain position or trace step.
    """

    loss: float  # summed over the labels
    labels: int
    right: np.ndarray
    asked: np.ndarray
    shortcuts: Fingerprints = field(default_factory=dict)

    def __add__(self, other: Score) -> Score:
        width = max(len(self.right), len(other.right))
        mine, theirs = (
            np.array([np.pad(part, (0, width - len(part))) for part in (s.right, s.asked)])
            for s in (self, other)
        )
        right, asked = mine + theirs
        shortcuts = dict(self.shortcuts)
        for name, counts in other.shortcuts.items():
            shortcuts[name] = shortcuts.get(name, np.zeros_like(counts)) + counts
        return Score(self.loss + other.loss, self.labels + other.labels, right, asked, shortcuts)

    def summary(self) -> dict[str, Any]:
        """``loss`` (nats a label), ``accuracy``, ``accuracy_per_position`` (null: not asked).

        ``shortcuts``, if they were looked at: for each, how many answers were ``asked`` at which
        it differs from the truth, and the shares of them that were answered as the ``chain`` has
        it and as the ``shortcut`` has it (null: none asked).
        """
        each = [_share(r, a) for r, a in zip(self.right, self.asked, strict=True)]
        found = {
            "loss": round(self.loss / max(self.labels, 1), 5),
            "accuracy": _share(self.right.sum(), self.asked.sum()) or 0.0,
            "accuracy_per_position": each,
        }
        prints = {
            name: {"asked": int(k), "chain": _share(chain, k), "shortcut": _share(shortcut, k)}
            for name, (k, chain, shortcut) in self.shortcuts.items()
        }
        return found | ({"shortcuts": prints} if prints else {})


NOTHING = Score(0.0, 0, np.zeros(0, np.int64), np.zeros(0, np.int64))


def _share(part: int, whole: int) -> float | None:
    return round(float(part / whole), 4) if whole else None


def score(asked: Asked, loss: torch.Tensor, answers: torch.Tensor) -> Score:
    """Score answers (labels,), class indices; ``loss`` is their sum, a tensor of no dimension."""
    counted = asked.step >= 0
    hit = answers.cpu().numpy() == asked.label
    width = int(asked.step.max(initial=-1)) + 1
    total = np.bincount(asked.step[counted], minlength=width)
    right = np.bincount(asked.step[counted & hit], minlength=width)
    return Score(float(loss), len(hit), right, total)


def fingerprints(task: Task, batch: Batch, asked: Asked, answers: np.ndarray) -> Fingerprints:
    """Of a sampled batch: who is followed, the chain or a shortcut, where the two differ.

    Arguments as in ``followed``; empty where that finds nobody.
    """
    right, shortcuts = followed(task, batch, asked, answers)
    counted = {
        name: (differs, differs & right, differs & same)
        for name, (differs, same) in shortcuts.items()
    }
    return {
        name: np.array([int(count.sum()) for count in counts]) for name, counts in counted.items()
    }


def followed(
    task: Task, batch: Batch, asked: Asked, answers: np.ndarray
) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Answer by answer: whether the chain has it so, and each shortcut; (questions,) bool.

    ``answers`` (labels,): the classes, or tokens, that the model chose. Of each shortcut: where it
    differs from the chain, and where the model answers as it does. Which class stands for which of
    the task's answers is read off the batch: each label is next to a true answer. No shortcuts for
    a task whose labels do not stand for its answers one to one.
    """
    truth = task.answers(batch)
    if truth.ndim == 1:  # one answer a row, the last that is about a step: an end may follow it
        about = np.flatnonzero(asked.step >= 0)
        row, step = asked.row[about], np.full(len(asked.row), -1)
        step[about[np.append(row[1:] != row[:-1], True)[: len(row)]]] = 0
        truth = truth[:, None]
    else:
        step = np.where(asked.step < truth.shape[1], asked.step, -1)
    here = np.flatnonzero(step >= 0)
    row, step, label, chosen = asked.row[here], step[here], asked.label[here], answers[here]
    true, right = truth[row, step], chosen == label
    values, first, which = np.unique(true, return_index=True, return_inverse=True)
    known = label[first]  # (values,): the label of each answer
    if not len(here) or (known[which] != label).any() or NO_ANSWER in values:
        return right, {}
    found = {}
    for name, guesses in task.shortcuts(batch).items():
        guess = guesses.reshape(truth.shape)[row, step]
        place = np.searchsorted(values, guess).clip(max=len(values) - 1)
        found[name] = guess != true, (known[place] == chosen) & (values[place] == guess)
    return right, found
