"""The settings of a training run: a YAML file of these fields, and ``field=value`` after it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lego.task import choose, decode, require

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Settings:
    """Every field of a run. Raises SettingError when one is out of its range."""

    run: str = ""  # the folder that the run writes
    # What is learned: a task sampled on the fly, or a corpus folder in its place.
    task: str = "chains"
    preset: str | None = None  # of the task; of a corpus, the config (its only one by default)
    fields: dict[str, Any] = field(default_factory=dict)  # of the task's config, as in {n: 8}
    corpus: str | None = None
    # What learns: a name in lego.zoo, or a folder with a transformers checkpoint.
    model: str = "conv-albert-nano"
    model_fields: dict[str, Any] = field(default_factory=dict)  # of the model's config
    # How. A step is one update on ``batch`` examples, over all processes.
    seed: int = 0  # of the weights and the examples
    steps: int = 1000
    batch: int = 128
    lr: float = 4e-3
    schedule: str = "constant"  # from the end of the warm-up: constant, or to 0 at the last step
    warmup: int = 50  # steps of linear rise
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.01
    clip: float = 1.0  # the largest norm of the gradient
    threads: int | None = None  # of each process on a CPU; one is best for nano models
    # When to look, and when to stop.
    log_every: int = 25  # steps between lines on the training loss
    eval_every: int = 100  # steps between evaluations
    eval_rows: int = 1000  # examples of each split
    eval_splits: tuple[str, ...] | None = None  # None: validation and test, as far as there are
    stop_accuracy: float | None = None  # stop when validation reaches it on each trained position
    checkpoint_every: int = 200
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        require(bool(self.run), "run", self.run, "the name of a folder")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 .. 2**63 - 1")
        choose("schedule", self.schedule, SCHEDULES)
        watched = self.eval_splits is None or "validation" in self.eval_splits
        watched |= self.stop_accuracy is None
        require(watched, "eval_splits", self.eval_splits, "with validation, for stop_accuracy")
        counts = ("steps", "batch", "log_every", "eval_every", "eval_rows", "checkpoint_every")
        for name in (*counts, "keep_checkpoints"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("lr", "clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 <= value < 1")
        require(self.warmup >= 0, "warmup", self.warmup, "0 or more")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        threads = self.threads
        require(threads is None or threads >= 1, "threads", threads, "1 or more, or null")
        stop = self.stop_accuracy
        require(stop is None or 0 < stop <= 1, "stop_accuracy", stop, "0 < value <= 1, or null")


def read_settings(path: str | Path, overrides: dict[str, Any]) -> Settings:
    """The settings of a YAML file, with some fields replaced.

    Raises SettingError for a file that is not there or not a mapping, and for bad fields.
    """
    path = Path(path)
    require(path.is_file(), "CONFIG", str(path), "a YAML file that is there")
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        require(False, "CONFIG", str(path), f"a YAML file; {line}")
    require(isinstance(given, dict), "CONFIG", str(path), "a mapping of fields to values")
    return decode(Settings, given | overrides)


def dump_settings(settings: Settings) -> str:
    """A complete YAML file that ``read_settings`` reads back."""
    return yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)
