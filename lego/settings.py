"""The settings of a training run: a YAML file of these fields, and ``field=value`` after it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lego.task import choose, decode, require

SCHEDULES = ("constant", "linear", "cosine")
OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COMPILE = ("auto", "on", "off")
SUPERVISION = ("off", "all", "half")
TRACKERS = ("tensorboard", "trackio", "wandb")


@dataclass(frozen=True)
class Mimicking:
    """How far a model is pulled to the patterns before it trains; see ``lego.zoo.mimic``."""

    steps: int = 200
    batch: int = 128
    lr: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            require(getattr(self, name) >= 1, f"mimic {name}", getattr(self, name), "1 or more")
        require(self.lr > 0, "mimic lr", self.lr, "above 0")


@dataclass(frozen=True)
class Settings:
    """Every field of a run. Raises SettingError when one is out of its range."""

    run: str = ""  # the folder that the run writes
    # What is learned: a task sampled on the fly, or a corpus folder in its place.
    task: str = "chains"
    preset: str | None = None  # of the task; of a corpus, the config (its only one by default)
    fields: dict[str, Any] = field(default_factory=dict)  # of the task's config, as in {n: 8}
    corpus: str | None = None
    # Stages that training goes through before or instead of that; see lego.curriculum.
    curriculum: tuple[dict[str, Any], ...] = ()
    # What learns: a name in lego.zoo, or a folder with a transformers checkpoint.
    model: str = "conv-albert-nano"
    model_fields: dict[str, Any] = field(default_factory=dict)  # of the model's config
    # How its weights start, see lego.zoo.initialise: random, associative, mimic,
    # pretrained:FOLDER or shuffled:FOLDER. None: as the name in lego.zoo has it.
    init: str | None = None
    mimic: dict[str, Any] = field(default_factory=dict)  # of ``Mimicking``, for init: mimic
    # How often a tied model runs its block in training: a number, or [fewest, most], drawn anew
    # for each step. None: as often as its config says, or the task of a stage needs.
    iterations: int | tuple[int, ...] | None = None
    # Which blocks' outputs the model's head is trained on: the last one's, all, or the last half's.
    deep_supervision: str | bool = "off"
    # How. A step is one update on ``batch`` examples, over all processes.
    seed: int = 0  # of the weights and the examples
    steps: int = 1000
    batch: int = 128
    accumulate: int = 1  # parts that a process takes its share of a batch in, to save memory
    optimizer: str = "adamw"  # or muon: Muon for the blocks' matrices, AdamW for everything else
    lr: float = 4e-3  # of AdamW
    muon_lr: float = 0.02
    schedule: str = "constant"  # from the end of the warm-up: constant, or to 0 at the last step
    warmup: int = 50  # steps of linear rise
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.01  # of all parameters, norms and biases too: p -= lr * decay * p
    clip: float = 1.0  # the largest norm of the gradient
    # auto: fp32 on a CPU, bf16 on a GPU that has it. Weights are always kept in fp32.
    precision: str = "auto"
    # Compile the blocks. auto: on a GPU, if the run is long enough to win back what it takes.
    compile: str | bool = "auto"
    threads: int | None = None  # of each process on a CPU; one is best for nano models
    # When to look, and when to stop.
    log_every: int = 25  # steps between lines on the training loss
    eval_every: int = 100  # steps between evaluations
    eval_rows: int = 1000  # examples of each split
    # None: validation and test, as far as there are; all: every split but train.
    eval_splits: tuple[str, ...] | str | None = None
    stop_accuracy: float | None = None  # stop when validation reaches it on each trained position
    stop_patience: int | None = None  # stop after so many evaluations without a better loss there
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    trackers: tuple[str, ...] = ()  # tensorboard, trackio, wandb: they write in RUN/trackers

    def __post_init__(self) -> None:
        require(bool(self.run), "run", self.run, "the name of a folder")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 .. 2**63 - 1")
        for name in ("compile", "deep_supervision"):
            value = getattr(self, name)  # YAML 1.1, which PyYAML reads, takes on and off for these
            object.__setattr__(self, name, {True: "on", False: "off"}.get(value, value))
        choose("schedule", self.schedule, SCHEDULES)
        choose("optimizer", self.optimizer, OPTIMIZERS)
        choose("precision", self.precision, PRECISIONS)
        choose("compile", self.compile, COMPILE)
        choose("deep_supervision", self.deep_supervision, SUPERVISION)
        for tracker in self.trackers:
            choose("trackers", tracker, TRACKERS)
        splits = self.eval_splits
        listed = not isinstance(splits, str) or splits == "all"
        require(listed, "eval_splits", splits, "a list, all, or null")
        held = self.init == "mimic" or not self.mimic
        require(held, "mimic", self.mimic, "{} where init is not mimic")
        decode(Mimicking, self.mimic)
        watched = splits is None or splits == "all" or "validation" in splits
        for name in ("stop_accuracy", "stop_patience"):
            held = watched or getattr(self, name) is None
            require(held, "eval_splits", splits, f"with validation, for {name}")
        counts = ("steps", "batch", "accumulate", "log_every", "eval_every", "eval_rows")
        for name in (*counts, "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("lr", "muon_lr", "clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 <= value < 1")
        require(self.warmup >= 0, "warmup", self.warmup, "0 or more")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        for name in ("threads", "stop_patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more, or null")
        stop = self.stop_accuracy
        require(stop is None or 0 < stop <= 1, "stop_accuracy", stop, "0 < value <= 1, or null")
        self._check_stages()

    def _check_stages(self) -> None:
        """Only the form: what a stage says is checked where it is decoded."""
        for stage in self.curriculum:
            require(isinstance(stage, dict), "curriculum", stage, "a list of stages, mappings")
        check_iterations(self.iterations)


def check_iterations(given: int | tuple[int, ...] | None) -> None:
    """Refuse what is neither a number of iterations nor a range of them."""
    if given is None:
        return
    ends = given if isinstance(given, tuple) else (given, given)
    held = len(ends) == 2 and all(type(end) is int for end in ends) and 1 <= ends[0] <= ends[1]
    require(held, "iterations", given, "a number, 1 or more, or [fewest, most], or null")


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
