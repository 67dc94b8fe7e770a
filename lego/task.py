"""The task contract: what a task answers, how it is found, and which split owns an example.

A task is a class listed in the entry-point group ``lego.tasks``, in this package or in anyone's.
Its examples are pure functions of (config, seed, split, i). Splits are disjoint as sets because a
hash of an example's token ids alone decides which split may hold it; the seed plays no part in
that, so a test sentence of one seed is never a training sentence of another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numba import njit

from lego.counter import GOLDEN, below, mix64, word

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    from transformers import PreTrainedTokenizerFast

Batch = dict[str, np.ndarray]

# What a judge outside of lego found of a corpus, as it is published: "by", who it was; "settings",
# name -> text; "splits", a list of what was checked: config, split, rows, of (how many rows there
# are), mismatches, date, and the task's own counts.
Check = dict[str, Any]
# (folder, manifest) -> what was found, and a line for each of the first faults.
Certifier = Callable[[Path, dict[str, Any]], tuple[Check, list[str]]]

IGNORED = -100  # the label of a token at which nothing is asked, as in transformers
NO_ANSWER = -(2**15)  # fills up the answers of a row that asks less than others

SPLITS = ("train", "validation", "test")  # what every task has; a task may add evaluation splits
MAX_ATTEMPTS = 2**20  # candidates for an example before its split is said to own none


class SettingError(ValueError):
    """A field that a user set is unknown or impossible; the message is one line for that user."""


class Task(Protocol):
    """What training, corpora and probes ask of a task.

    ``rows`` is a number of examples, ``length`` is ``max_length``, in tokens.
    """

    Config: ClassVar[Any]  # a frozen dataclass; raises SettingError on impossible values
    presets: ClassVar[Mapping[str, Any]]  # name -> Config

    name: str  # the entry point's name
    config: Any
    seed: int  # 0 .. 2**63 - 1
    labels: tuple[str, ...]  # the classes' names; empty for causal-lm
    vocab_size: int
    pad_token_id: int
    max_length: int  # tokens of the longest example
    layers: int  # how many hops the longest dependency takes: a sensible depth of a model

    def __init__(self, config: Any, seed: int) -> None: ...

    @property
    def splits(self) -> tuple[str, ...]: ...

    @property
    def head(self) -> Literal["token-classification", "causal-lm"]:
        """What is put on top of a model: a class for each token, or the next token."""
        ...

    def sample(self, split: str, start: int, stop: int) -> Batch:
        """Examples start .. stop-1 of a split, on one thread.

        Holds at least ``input_ids`` and ``labels``, both (rows, length) int16, padded with
        ``pad_token_id`` and IGNORED to the split's longest example. For causal-lm, labels stand at
        their own token, as transformers has it: the model shifts. Raises SettingError for an
        unknown split, and for a row that the split does not have.
        """
        ...

    def steps(self, batch: Batch) -> np.ndarray:
        """(rows, length) int16: the chain position or trace step that each label answers, or -1.

        ``batch`` may come from ``sample`` or from the columns of a corpus.
        """
        ...

    def graph(self, batch: Batch) -> Batch:
        """The dependencies between token positions: ground truth for probes."""
        ...

    def answers(self, batch: Batch) -> np.ndarray:
        """The true answers, in the shape that ``shortcuts`` has; NO_ANSWER where a row has none."""
        ...

    def shortcuts(self, batch: Batch) -> Batch:
        """The answers that each known shortcut would give, by the shortcut's name."""
        ...

    @property
    def features(self) -> datasets.Features:
        """The schema of the corpus: the same for every split."""
        ...

    def table(self, batch: Batch) -> pa.Table:
        """The published columns of a sampled batch, in the order of ``features``."""
        ...

    def tokenizer(self) -> PreTrainedTokenizerFast: ...

    def check(self, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
        """Re-derive every answer of published rows from their text: yields (row, what is wrong).

        Shares no code with ``sample``.
        """
        ...

    def size(self) -> str:
        """A line for a table of presets: how many examples there are, and how long."""
        ...

    def describe(self) -> str:
        """Markdown for the dataset card: what a row is, how it is made, which shortcuts exist."""
        ...


class Certified(Protocol):
    """What a task adds to the contract if a judge outside of lego can check its corpora."""

    @staticmethod
    def certifier() -> Certifier:
        """What ``lego make --certify`` calls once the shards are there, before the manifest.

        It checks every split but train. Raises SettingError where there is no such judge, before
        anything is made.
        """
        ...


def require(held: bool, field: str, value: object, allowed: str) -> None:
    """Raise SettingError in the one form that all of lego uses, unless the condition held."""
    if not held:
        raise SettingError(f"{field}={value!r}: allowed {allowed}")


def choose(field: str, value: object, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Raise SettingError unless ``value`` is one of the known names; suggests the nearest."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise SettingError(f"{field}={value!r}: allowed {', '.join(known)}{hint}")


def task_class(name: str) -> type[Task]:
    """The task class behind a name in the entry-point group ``lego.tasks``.

    Raises SettingError when the name is unknown, or claimed by two packages.
    """
    found: dict[str, Any] = {}
    for entry in entry_points(group="lego.tasks"):
        other = found.setdefault(entry.name, entry)
        require(other.value == entry.value, "task", entry.name, f"one owner; {other.value} too")
    choose("task", name, found)
    return found[name].load()


def decode(kind: type[Any], fields: Mapping[str, Any], base: Any = None) -> Any:
    """A frozen dataclass from named values, all checked; ``base`` gives the other fields.

    Raises SettingError for an unknown field or a value of another type; ranges are the class's own.
    """
    known = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    decoded = dict(fields)
    for field, value in fields.items():
        choose("field", field, known)
        if known[field].startswith("float") and isinstance(value, str):
            # YAML 1.1, which PyYAML reads, takes 4e-3 for a string: it wants 4.0e-3.
            with contextlib.suppress(ValueError):
                decoded[field] = value = float(value)
        # Such fields are plain, so that the text of an annotation names the types it allows.
        allowed = [part.strip().split("[")[0] for part in known[field].split("|")]
        if "tuple" in allowed and isinstance(value, list):  # neither YAML nor JSON has tuples
            decoded[field] = value = tuple(value)
        held = type(value).__name__ in allowed or (value is None and "None" in allowed)
        held |= "float" in allowed and type(value) is int
        require(held, field, value, f"a value of type {known[field]}")
    return kind(**decoded) if base is None else dataclasses.replace(base, **decoded)


def make_config(kind: type[Task], preset: str | None = None, **fields: Any) -> Any:
    """A task's config: a preset, or the defaults, with some fields replaced."""
    if preset is not None:
        choose("preset", preset, kind.presets)
    return decode(kind.Config, fields, None if preset is None else kind.presets[preset])


def own_fields(kind: type[Task], config: Any) -> dict[str, Any]:
    """The fields of a config that differ from the defaults, as JSON has them."""
    default, own = dataclasses.asdict(kind.Config()), dataclasses.asdict(config)
    return json.loads(json.dumps({k: v for k, v in own.items() if v != default[k]}))


def config_name(kind: type[Task], config: Any) -> str:
    """A config's name in a corpus: its preset's, else the fields that differ from the defaults.

    It names a folder, so that a value with other than letters, digits, ``.``, ``_``, ``+`` and
    ``-`` in it, or a long one, stands there as the head of its SHA-256.
    """
    for name, preset in kind.presets.items():
        if preset == config:
            return name
    parts = []
    for field, value in own_fields(kind, config).items():
        text = value if isinstance(value, str) else json.dumps(value)
        if not re.fullmatch(r"[\w.+-]{1,24}", text, re.ASCII):
            text = hashlib.sha256(text.encode()).hexdigest()[:8]
        parts.append(f"{field}={text}")
    return ",".join(parts) or "default"


def load_task(name: str, preset: str | None = None, seed: int = 0, **fields: Any) -> Task:
    """The task of that name, from a preset or the defaults, with some config fields replaced.

    >>> load_task("chains", preset="z2-n12", seed=0).config.n
    12

    Raises SettingError (a ValueError) naming the field, the value and what is allowed.
    """
    require(type(seed) is int and 0 <= seed < 2**63, "seed", seed, "0 .. 2**63 - 1")
    kind = task_class(name)
    return kind(make_config(kind, preset, **fields), seed)


def split_index(splits: tuple[str, ...], split: str, start: int, stop: int) -> int:
    """The number of a split among those of a task, after a check of what ``sample`` was asked."""
    choose("split", split, splits)
    require(0 <= start <= stop, "start, stop", (start, stop), "0 <= start <= stop")
    return splits.index(split)


# Split membership. The hash is multilinear: one odd random weight a token position, summed modulo
# 2**64 and mixed. It costs one multiplication a token, in any order, and padding (id 0) is neutral.


@njit(cache=True)
def hash_weights(length: int) -> np.ndarray:
    """(length,) uint64: the weight of each token position; a longer one begins with a shorter."""
    weights = np.empty(length, np.uint64)
    for j in range(length):
        weights[j] = word(GOLDEN, j) | np.uint64(1)
    return weights


@njit(inline="always")
def owner(weighted_sum: np.uint64, splits: int) -> Any:
    """The index of the split that owns an example, of a task that has so many splits.

    Train owns 14 sixteenths of all examples and validation one; the last sixteenth is shared
    evenly by test and the evaluation splits after it.
    """
    mixed = mix64(weighted_sum)
    sixteenth: Any = np.int64(mixed >> np.uint64(60))
    if sixteenth < 14:
        return 0
    if sixteenth == 14:
        return 1
    return 2 + np.int64(below(mixed >> np.uint64(28), splits - 2))


def weighted_sums(ids: np.ndarray) -> np.ndarray:
    """(rows,) uint64 from token ids (rows, length): what ``owner`` decides by.

    The sum before the mixing, which is a bijection: equal examples have equal sums, and two
    different ones collide with probability 2**-64.
    """
    return (ids.astype(np.uint64) * hash_weights(ids.shape[1])).sum(axis=1, dtype=np.uint64)


@njit(cache=True)
def owners(sums: np.ndarray, splits: int) -> np.ndarray:
    """(rows,) int64: ``owner`` of every row."""
    found = np.empty(len(sums), np.int64)
    for row in range(len(sums)):
        found[row] = owner(sums[row], splits)
    return found
