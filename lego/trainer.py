"""The training loop: steps, measurements and checkpoints, on any number of processes."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object, set_seed
from tqdm import tqdm

from lego import optimizer
from lego.answers import NOTHING, Score, asked
from lego.checkpoint import Progress, checkpoints, save, whole_folder
from lego.compiling import check_compiler, compile_blocks, decide
from lego.curriculum import Curriculum, Moment, depth
from lego.data import Source
from lego.evaluate import measure
from lego.forward import Answered, forward
from lego.record import Record
from lego.settings import Settings
from lego.task import choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def evaluated(settings: Settings, source: Source) -> tuple[str, ...]:
    """The splits that a run is evaluated on."""
    if settings.eval_splits == "all":
        return tuple(split for split in source.splits if split != "train")
    for split in settings.eval_splits or ():
        choose("eval_splits", split, source.splits)
    usual = tuple(split for split in ("validation", "test") if split in source.splits)
    return usual if settings.eval_splits is None else tuple(settings.eval_splits)


class Trainer:
    """One run over its steps, on any number of processes.

    Raises SettingError for settings that do not fit the model, the task or the machine.
    """

    def __init__(
        self, settings: Settings, source: Source, model: PreTrainedModel, accelerator: Accelerator
    ) -> None:
        self.settings, self.source, self.accelerator = settings, source, accelerator
        self.folder, self.device = Path(settings.run), accelerator.device
        self.splits = evaluated(settings, source)
        self.curriculum = Curriculum(settings, source, model)
        world, parts = accelerator.num_processes, settings.accumulate
        allowed = f"multiples of {world} processes x {parts} parts (accumulate)"
        for batch in self.curriculum.batches:
            require(batch % (world * parts) == 0, "batch", batch, allowed)
        check_compiler(settings, self.device)
        supervised, able = settings.deep_supervision, hasattr(model, "readout")
        require(able or supervised == "off", "deep_supervision", supervised, "off for this model")
        sharded = accelerator.distributed_type == DistributedType.FSDP
        held = settings.optimizer == "adamw" or not sharded
        require(held, "optimizer", settings.optimizer, "adamw under FSDP")
        self.bare = self.model = model.to(self.device)
        self.progress, self.record = Progress(), Record(settings, accelerator)
        self.window: list[Answered] = []  # since the last line on the training loss

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one."""
        self._prepare()
        self._resume()
        with tqdm(
            total=self.settings.steps,
            initial=self.progress.step,
            unit="step",
            desc=self.settings.run,
            disable=not self.accelerator.is_main_process,
        ) as bar:
            self._loop(bar)
        self._save_model()
        self.record.close()

    def _loop(self, bar: tqdm) -> None:
        settings, progress = self.settings, self.progress
        clock = time.perf_counter() - progress.seconds
        examples, seconds = progress.examples, progress.seconds  # at the last line
        self.model.train()
        while not self._ended():
            self._step()
            bar.update()
            progress.seconds = time.perf_counter() - clock
            if progress.step % settings.log_every == 0:
                total = self._everywhere(self._answered(self.window))
                progress.seconds = time.perf_counter() - clock
                rate = (progress.examples - examples) / (progress.seconds - seconds)
                stage = {"stage": progress.stage} if settings.curriculum else {}
                self._note("train", total, **stage, examples_per_second=round(rate, 1))
                bar.set_postfix({"loss": total.summary()["loss"]} | stage)
                self.window, examples, seconds = [], progress.examples, progress.seconds
            if progress.step % settings.eval_every == 0 or progress.step == settings.steps:
                self._evaluate()
            if progress.step % settings.checkpoint_every == 0 or self._ended():
                save(self.folder, progress.step, settings.keep_checkpoints, self.accelerator)
            clock = time.perf_counter() - progress.seconds

    def _prepare(self) -> None:
        """Hand the model to accelerate, compiled or not, with its optimizers."""
        settings, accelerator = self.settings, self.accelerator
        shapes = len(self.curriculum.shapes)
        self.compiled = decide(settings, shapes, self._trial, accelerator)
        self.bare.zero_grad()
        if self.compiled:
            compile_blocks(self.bare, shapes)
        made = optimizer.optimizers(self.bare, settings, self.device)
        self.model, *self.optimizers = accelerator.prepare(self.bare, *made)
        accelerator.register_for_checkpointing(self.progress)
        # Each process has a stream of its own, for dropout.
        set_seed(settings.seed, device_specific=True)
        precision = accelerator.mixed_precision.replace("no", "fp32")
        accelerator.print(
            f"{settings.model}: {self.bare.num_parameters():,} parameters, "
            f"world size {accelerator.num_processes}, {self.device.type}, {precision}, "
            f"{'compiled' if self.compiled else 'not compiled'}"
        )

    def _trial(self) -> None:
        """What a step does before it changes the weights, for a clock."""
        with self.accelerator.autocast():
            self._learn(self.curriculum.at(self.progress))

    def _ended(self) -> bool:
        progress, patience = self.progress, self.settings.stop_patience
        tired = patience is not None and progress.waited >= patience
        return progress.step == self.settings.steps or progress.solved or tired

    def _step(self) -> None:
        """One update."""
        moment = self.curriculum.at(self.progress)
        factor = optimizer.rate(self.settings, self.progress.step) * moment.lr
        found = self._learn(moment)
        self.window += found
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for each in self.optimizers:
            for group in each.param_groups:
                group["lr"] = factor * group["peak_lr"]
            each.step()
            each.zero_grad()
        self.curriculum.advance(
            self.progress, moment.batch, lambda: self._everywhere(self._answered(found))
        )

    def _learn(self, moment: Moment) -> list[Answered]:
        """The gradient of a step's loss, the mean over all labels of its batch everywhere.

        Returns what the model answered, for each part of this process's share.
        """
        settings, accelerator = self.settings, self.accelerator
        task, world = moment.source.task, accelerator.num_processes
        share, size = moment.batch // world, moment.batch // world // settings.accumulate
        start = self.progress.examples + accelerator.process_index * share
        batch = moment.source.take("train", start, start + share)
        parts = [
            {name: array[first : first + size] for name, array in batch.items()}
            for first in range(0, share, size)
        ]
        asks = [asked(task, part) for part in parts]
        labels = torch.tensor(float(max(sum(map(len, asks)), 1)), device=self.device)
        if world > 1:  # a sum over this process's labels, to be a part of the mean over all
            labels = accelerator.reduce(labels, "sum") / world
        readout, found = getattr(self.bare, "readout", None), []
        supervision = str(settings.deep_supervision)
        with depth(self.bare, moment.layers):
            for part, ask in zip(parts, asks, strict=True):
                last = ask is asks[-1]
                with nullcontext() if last else accelerator.no_sync(self.model):
                    loss, answers = forward(self.model, task, part, ask, supervision, readout)
                    accelerator.backward(loss / labels)
                found.append(answers)
        return found

    @staticmethod
    def _answered(found: list[Answered]) -> Score:
        """The score of what this process answered."""
        return sum((answers.score() for answers in found), NOTHING)

    @property
    def _lr(self) -> float:
        return self.optimizers[0].param_groups[0]["lr"]

    def _note(self, split: str, total: Score, **more: float) -> None:
        seconds = round(self.progress.seconds, 2)
        self.record.add(self.progress.step, split, total, self._lr, seconds=seconds, **more)

    def _everywhere(self, part: Score) -> Score:
        """The sum of a score over all processes."""
        return sum(gather_object([part]), NOTHING)

    def _evaluate(self) -> None:
        """Score the evaluation splits, each process its share; notes whether that ends the run."""
        rows, world = self.settings.eval_rows, self.accelerator.num_processes
        rank = self.accelerator.process_index
        mine = rows * rank // world, rows * (rank + 1) // world
        model = self.accelerator.unwrap_model(self.model)
        for split in self.splits:
            # Not compiled: each other shape of batch would cost as much as training's.
            with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
                total = self._everywhere(measure(model, self.source, split, *mine))
            self._note(split, total)
            if split == "validation":
                self._watch(total)
        self.model.train()

    def _watch(self, total: Score) -> None:
        """Note what ``stop_accuracy`` and ``stop_patience`` ask of a score on validation."""
        progress, loss = self.progress, total.loss / max(total.labels, 1)
        if self.settings.stop_accuracy is not None:
            trained = self._trained_positions
            reached = total.right[trained] / total.asked[trained]
            progress.solved = bool((reached >= self.settings.stop_accuracy).all())
        progress.waited = 0 if loss < progress.best else progress.waited + 1
        progress.best = min(progress.best, loss)

    @cached_property
    def _trained_positions(self) -> np.ndarray:
        """The chain positions or trace steps that have a label in training."""
        steps = self.source.task.steps(self.source.take("train", 0, self.settings.batch))
        return np.unique(steps[steps >= 0])

    def _resume(self) -> None:
        """Take up the last checkpoint, if any, and forget the metrics that came after it."""
        found = checkpoints(self.folder)
        if found:
            self.accelerator.load_state(str(found[-1]))
            self.accelerator.print(f"{self.folder}: goes on from {found[-1].name}")
        self.accelerator.wait_for_everyone()  # all have looked before anything changes
        self.record.open(self.progress.step)

    def _save_model(self) -> None:
        weights = self.accelerator.get_state_dict(self.model)
        with whole_folder(self.folder / "model", self.accelerator) as temporary:
            if self.accelerator.is_main_process:
                self.bare.save_pretrained(temporary, state_dict=weights)
                self.source.task.tokenizer().save_pretrained(temporary)
        if self.accelerator.is_main_process:
            accuracies = [f"{s} {line['accuracy']:.3f}" for s, line in self.record.last().items()]
            ending = f"written after {self.progress.step} steps; accuracy: {', '.join(accuracies)}"
            print(f"{self.folder}/model: {ending}")
