"""Curricula: which task a step of training is on, how deep the model runs, how fast it learns.

Everything is a function of the run's progress, which its checkpoints hold: a resumed run, or one
with more ranks, has the same plan. Examples are taken in the order of their numbers, whatever the
task: no number is taken twice, so no example of a task is either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lego.answers import Score
from lego.checkpoint import Progress
from lego.data import Sampled, Source
from lego.settings import Settings, check_iterations
from lego.task import Task, decode, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DECAY = 0.9  # of the accuracy that ``until`` looks at: it is that of the last ten steps or so


@dataclass(frozen=True)
class Stage:
    """Some steps of training. Raises SettingError when a field is out of its range."""

    steps: int | None = None  # at most; None, for the last stage only: the rest
    # Go on to the next stage when the accuracy in training is above this on each labelled position.
    until: float | None = None
    # Replace fields of the task's config, as in {n: 4, n_tr: 3}; of a list of such mappings, each
    # is one step's in turn.
    fields: dict[str, Any] | tuple[dict[str, Any], ...] = field(default_factory=dict)
    # How often a tied model runs its block, as in ``Settings``; None: as there, or, if it is not
    # said there, as often as the ``layers`` of the stage's task say; if the model has another depth
    # than its own task's, that depth.
    iterations: int | tuple[int, ...] | None = None
    batch: int | None = None  # None: that of the settings
    lr: float = 1.0  # times the schedule's learning rate

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more, or null")
        until = self.until
        require(until is None or 0 < until < 1, "until", until, "0 < value < 1, or null")
        require(self.lr > 0, "lr", self.lr, "above 0")
        check_iterations(self.iterations)
        for fields in self.parts():
            require(isinstance(fields, dict), "fields", fields, "a mapping, or a list of mappings")

    def parts(self) -> tuple[dict[str, Any], ...]:
        """The fields of each part."""
        return (self.fields,) if isinstance(self.fields, dict) else self.fields or ({},)


class Moment(NamedTuple):
    """What one step of training is on."""

    source: Source
    layers: int | None  # how often a tied model runs its block; None: as its config says
    batch: int
    lr: float  # a factor


class Curriculum:
    """The stages of a run; without any, one that is the run's own task to the end.

    Raises SettingError for stages that are impossible, or not this model's.
    """

    def __init__(self, settings: Settings, source: Source, model: PreTrainedModel) -> None:
        self.settings, own = settings, source.task
        self.depth, self.tied = model.config.num_hidden_layers, is_tied(model)
        most = _longest(model)
        fits = f"sentences of up to {most} tokens (the model's positions)"
        require(most is None or own.max_length <= most, "max_length", own.max_length, fits)
        self.stages = [decode(Stage, given) for given in settings.curriculum] or [Stage()]
        self._lasting = _lasting(self.stages, settings.steps)
        self._deep_as_task = self.depth == own.layers
        self._sources: list[list[Source]] = []  # stage -> parts
        for stage in self.stages:
            given = stage.iterations or settings.iterations
            free = given is None or self.tied
            require(free, "iterations", given, "null for a model whose layers are not tied")
            sources = [_part(settings, source, fields) for fields in stage.parts()]
            for part, fields in zip(sources, stage.parts(), strict=True):
                length = part.take("train", 0, 1)["input_ids"].shape[1]
                require(most is None or length <= most, "fields", fields, fits)
            self._sources.append(sources)

    def at(self, progress: Progress) -> Moment:
        """What the step after this progress is on."""
        stage, parts = self.stages[progress.stage], self._sources[progress.stage]
        source = parts[(progress.step - progress.began) % len(parts)]
        batch = stage.batch or self.settings.batch
        return Moment(source, self._layers(stage, source, progress.step), batch, stage.lr)

    def _layers(self, stage: Stage, source: Source, step: int) -> int | None:
        if not self.tied:
            return None
        given = stage.iterations or self.settings.iterations
        if given is None:
            return source.task.layers if self._deep_as_task else self.depth
        if isinstance(given, int):
            return given
        # Philox is counter-based: the draw of a step needs none of those before it.
        generator = np.random.Generator(np.random.Philox(key=[self.settings.seed, step]))
        fewest, most = given
        return int(generator.integers(fewest, most, endpoint=True))

    def advance(self, progress: Progress, examples: int, score: Callable[[], Score]) -> None:
        """Note a step, and go on to the next stage if it ended this one.

        ``examples``: how many it was on. ``score``: gives the score of its batch, and is only
        called where that decides.
        """
        stage = self.stages[progress.stage]
        progress.step += 1
        progress.examples += examples
        ended = progress.step - progress.began == self._lasting[progress.stage]
        if stage.until is not None:
            total = score()
            for name, new in (("right", total.right), ("asked", total.asked)):
                pairs = zip_longest(getattr(progress, name), new.tolist(), fillvalue=0.0)
                setattr(progress, name, [DECAY * old + one for old, one in pairs])
            shares = [r / a for r, a in zip(progress.right, progress.asked, strict=True) if a]
            ended |= min(shares, default=0.0) > stage.until
        if ended and progress.stage + 1 < len(self.stages):
            progress.stage, progress.began = progress.stage + 1, progress.step
            progress.right, progress.asked = [], []

    @property
    def batches(self) -> set[int]:
        """The sizes of batch that training has."""
        return {stage.batch or self.settings.batch for stage in self.stages}

    @property
    def shapes(self) -> set[tuple[int, int]]:
        """The shapes of batch that training meets: rows and tokens."""
        return {
            (stage.batch or self.settings.batch, part.take("train", 0, 1)["input_ids"].shape[1])
            for stage, parts in zip(self.stages, self._sources, strict=True)
            for part in parts
        }


def _lasting(stages: list[Stage], steps: int) -> list[int]:
    """How many steps each stage has at most; the last one has the rest."""
    for stage in stages[:-1]:
        require(stage.steps is not None, "steps", None, "a number in every stage but the last")
    last = stages[-1]
    for name in ("steps", "until"):
        value = getattr(last, name)
        require(value is None, name, value, "null in the last stage, which goes on to the end")
    # Stages that may be left early may also be allowed more steps than there are.
    before = sum(stage.steps or 0 for stage in stages if stage.until is None)
    require(before < steps, "steps", steps, f"more than {before}, which the first stages have")
    return [stage.steps or steps for stage in stages]


def _part(settings: Settings, source: Source, fields: dict[str, Any]) -> Source:
    """The source of one part of a stage: the run's own, or its task with some fields replaced."""
    if not fields:
        return source
    kind, own = type(source.task), source.task.config
    task = kind(decode(kind.Config, fields, own), settings.seed)
    same = _words(task) == _words(source.task)
    require(same, "fields", fields, "those with the vocabulary and labels of the run's own task")
    return Sampled(task)


def _words(task: Task) -> tuple[Any, ...]:
    return task.head, task.labels, task.tokenizer().get_vocab()


def _longest(model: PreTrainedModel) -> int | None:
    """The tokens that a model has positions for; None: any number, as of a zoo model without."""
    learned = getattr(model.config, "position_embeddings", "learned") in ("learned", True)
    return getattr(model.config, "max_position_embeddings", None) if learned else None


def is_tied(model: PreTrainedModel) -> bool:
    """Whether a model runs one block as often as ``config.num_hidden_layers`` says."""
    # The field is the zoo's and transformers' own Albert's.
    return getattr(model.config, "num_hidden_groups", None) == 1


@contextmanager
def depth(model: PreTrainedModel, layers: int | None) -> Iterator[None]:
    """Within the block, a tied model runs its block so often; None: as often as ever."""
    own = model.config.num_hidden_layers
    model.config.num_hidden_layers = layers or own
    try:
        yield
    finally:
        model.config.num_hidden_layers = own
