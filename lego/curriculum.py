"""Curricula: which task a step of training is on, how deep the model runs, how fast it learns.

Everything is a function of the number of the step: a resumed run, or one with more ranks, has the
same plan. The examples of a step are those that its number names, in every task: no number is taken
twice, so no example of a task is either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lego.data import Sampled, Source
from lego.settings import Settings
from lego.task import Task, decode, load_task, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Stage:
    """Some steps of training. Raises SettingError when a field is out of its range."""

    steps: int | None = None  # None, for the last stage: the rest
    # Replace fields of the task's config, as in {n: 4, n_tr: 3}; of a list of such mappings, each
    # is one step's in turn.
    fields: dict[str, Any] | tuple[dict[str, Any], ...] = field(default_factory=dict)
    # How often a tied model runs its block, or a list as long as that of fields. None: as often as
    # that task's ``layers`` say; if the model has another depth than its own task's, that depth.
    layers: int | tuple[int, ...] | None = None
    lr: float = 1.0  # times the schedule's learning rate

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 1, "steps", self.steps, "1 or more, or null")
        require(self.lr > 0, "lr", self.lr, "above 0")
        for fields, layers in self.parts():
            require(isinstance(fields, dict), "fields", fields, "a mapping, or a list of mappings")
            held = layers is None or (type(layers) is int and layers >= 1)
            require(held, "layers", layers, "1 or more, or a list of such numbers")

    def parts(self) -> list[tuple[dict[str, Any], int | None]]:
        """The fields of each part, and how often the block runs there."""
        fields = (self.fields,) if isinstance(self.fields, dict) else self.fields or ({},)
        layers = self.layers if isinstance(self.layers, tuple) else (self.layers,) * len(fields)
        fits = len(layers) == len(fields)
        require(fits, "layers", self.layers, f"a list of {len(fields)}, as fields has")
        return list(zip(fields, layers, strict=True))


class Moment(NamedTuple):
    """What one step of training is on."""

    source: Source
    layers: int | None  # how often a tied model runs its block; None: as its config says
    lr: float  # a factor


class Curriculum:
    """The stages of a run; without any, one that is the run's own task to the end.

    Raises SettingError for stages that are impossible, or not this model's.
    """

    def __init__(self, settings: Settings, source: Source, model: PreTrainedModel) -> None:
        self.settings, own = settings, source.task
        depth, most = model.config.num_hidden_layers, _longest(model)
        fits = f"sentences of up to {most} tokens (the model's positions)"
        require(most is None or own.max_length <= most, "max_length", own.max_length, fits)
        stages = [decode(Stage, given) for given in settings.curriculum] or [Stage()]
        self._ends = _ends(stages, settings.steps)
        tied = is_tied(model)
        self._moments: list[list[Moment]] = []  # stage -> parts
        for stage in stages:
            moments = []
            for fields, layers in stage.parts():
                part = _part(settings, source, fields)
                length = part.take("train", 0, 1)["input_ids"].shape[1]
                require(most is None or length <= most, "fields", fields, fits)
                one = layers is None or tied
                require(one, "layers", layers, "null for a model whose layers are not tied")
                free = layers is None or settings.iterations is None
                require(free, "layers", layers, "null where iterations are drawn")
                if layers is None and tied:
                    layers = part.task.layers if depth == own.layers else depth
                moments.append(Moment(part, layers, stage.lr))
            self._moments.append(moments)
        held = settings.iterations is None or tied
        require(held, "iterations", settings.iterations, "null for a model of untied layers")

    def at(self, step: int) -> Moment:
        """What a step is on, counted from 0."""
        stage = next(k for k, end in enumerate(self._ends) if step < end)
        begin = self._ends[stage - 1] if stage else 0
        parts = self._moments[stage]
        moment = parts[(step - begin) % len(parts)]
        if self.settings.iterations is None:
            return moment
        fewest, most = self.settings.iterations
        # Philox is counter-based: the draw of a step needs none of those before it.
        generator = np.random.Generator(np.random.Philox(key=[self.settings.seed, step]))
        return moment._replace(layers=int(generator.integers(fewest, most, endpoint=True)))

    @property
    def lengths(self) -> set[int]:
        """The lengths of batch that training meets, in tokens."""
        parts = [moment for stage in self._moments for moment in stage]
        return {part.source.take("train", 0, 1)["input_ids"].shape[1] for part in parts}


def _ends(stages: list[Stage], steps: int) -> list[int]:
    """The step before which each stage ends."""
    for stage in stages[:-1]:
        require(stage.steps is not None, "steps", None, "a number in every stage but the last")
    given = sum(stage.steps or 0 for stage in stages)
    open_ended = stages[-1].steps is None
    held = given < steps if open_ended else given == steps
    allowed = f"more than {given}" if open_ended else f"{given}"
    require(held, "steps", steps, f"{allowed}, as the stages of the curriculum have")
    return list(accumulate(stage.steps or steps - given for stage in stages))


def _part(settings: Settings, source: Source, fields: dict[str, Any]) -> Source:
    """The source of one part of a stage: the run's own, with some fields replaced."""
    if not fields:
        return source
    task = load_task(settings.task, settings.preset, settings.seed, **settings.fields | fields)
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
