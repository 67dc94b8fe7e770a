"""The training loop, on accelerate: ``lego train`` or ``accelerate launch -m lego.train``.

A run is a folder. Its state is in ``checkpoints/step-N``, each of which is complete or absent; the
same command on the same folder goes on from the last one and ends with the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from tqdm import tqdm

from lego import zoo
from lego.command import assignments, exit_code
from lego.corpus import sync, whole_file
from lego.data import Sampled, Source, Stored, tensors
from lego.evaluate import NOTHING, Score, load_model, measure, score
from lego.settings import Settings, dump_settings, read_settings
from lego.task import IGNORED, SettingError, choose, load_task, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METRICS, CHECKPOINTS = "metrics.jsonl", "checkpoints"


def run(config: str | Path, overrides: dict[str, Any]) -> Path:
    """Train as a YAML file says, from the start or from the last checkpoint; returns the folder.

    Raises SettingError, with nothing written, for bad settings or a folder of another run.
    """
    settings = read_settings(config, overrides)
    folder = Path(settings.run)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    accelerator = Accelerator()
    source = open_training(settings)
    for split in settings.eval_splits or ():
        choose("eval_splits", split, source.splits)
    set_seed(settings.seed)
    model = open_model(settings, source)
    accelerator.print(
        f"{settings.model}: {model.num_parameters():,} parameters, "
        f"world size {accelerator.num_processes}, {accelerator.device}"
    )
    with accelerator.main_process_first():
        _claim(folder, settings, write=accelerator.is_main_process)
    if (folder / "model").is_dir():
        accelerator.print(f"{folder}: finished already")
        return folder
    Trainer(settings, source, model, accelerator).run()
    return folder


def open_training(settings: Settings) -> Source:
    """The examples that a run learns from."""
    if settings.corpus is None:
        return Sampled(load_task(settings.task, settings.preset, settings.seed, **settings.fields))
    require(not settings.fields, "fields", settings.fields, "{} (a corpus has its own)")
    return Stored(settings.corpus, settings.preset, settings.seed)


def open_model(settings: Settings, source: Source) -> PreTrainedModel:
    """The model that a run trains: random weights of a zoo name, or those of a checkpoint."""
    if Path(settings.model).is_dir():
        fields = settings.model_fields
        require(not fields, "model_fields", fields, "{} (a checkpoint has its own)")
        return load_model(settings.model, source.task)
    try:
        return zoo.build(settings.model, source.task, **settings.model_fields)
    except ValueError as error:
        raise SettingError(f"model={settings.model!r}: {error}") from None


def _claim(folder: Path, settings: Settings, write: bool) -> None:
    """Write config.yaml in a new folder; refuse one that another run, or anything else, is in."""
    file, text = folder / "config.yaml", dump_settings(settings)
    if file.is_file():
        there = read_settings(file, {})
        for name, value in vars(settings).items():
            held = getattr(there, name)
            require(value == held, name, value, f"{held!r}, as in {file} (or take another run=)")
        return
    held = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    require(held, "run", str(folder), "a new or empty folder, or one of a run with these settings")
    if write:
        with whole_file(file) as temporary:
            temporary.write_text(text)


@dataclass
class Progress:
    """How far the run is: a checkpoint's only state besides accelerate's own."""

    step: int = 0
    solved: bool = False  # ``stop_accuracy`` is reached

    def state_dict(self) -> dict[str, Any]:
        return vars(self).copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Trainer:
    """One run over its steps, on any number of processes."""

    def __init__(
        self, settings: Settings, source: Source, model: PreTrainedModel, accelerator: Accelerator
    ) -> None:
        world = accelerator.num_processes
        require(
            settings.batch % world == 0, "batch", settings.batch, f"multiples of {world} processes"
        )
        self.settings, self.source, self.accelerator = settings, source, accelerator
        self.folder = Path(settings.run)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.progress = Progress()
        # Not prepared: accelerate would step the schedule once for each process.
        accelerator.register_for_checkpointing(self.scheduler, self.progress)

    def _rate(self, step: int) -> float:
        """The learning rate's factor at a step."""
        warmup, steps = self.settings.warmup, self.settings.steps
        if step < warmup:
            return (step + 1) / warmup
        left = (steps - step) / max(steps - warmup, 1)
        cosine = 0.5 * (1 - math.cos(math.pi * left))
        return {"constant": 1.0, "linear": left, "cosine": cosine}[self.settings.schedule]

    def run(self) -> None:
        settings, progress = self.settings, self.progress
        self._resume()
        bar = tqdm(
            total=settings.steps,
            initial=progress.step,
            unit="step",
            desc=settings.run,
            disable=not self.accelerator.is_main_process,
        )
        window: list[Score] = []
        began = time.perf_counter()
        while progress.step < settings.steps and not progress.solved:
            window.append(self._step())
            bar.update()
            last = progress.step == settings.steps
            if progress.step % settings.log_every == 0:
                rate = len(window) * settings.batch / (time.perf_counter() - began)
                total = self._everywhere(sum(window, NOTHING))
                self._log("train", total, examples_per_second=round(rate, 1))
                window, began = [], time.perf_counter()
            if progress.step % settings.eval_every == 0 or last:
                before = time.perf_counter()
                self._evaluate(bar)
                began += time.perf_counter() - before
            if progress.step % settings.checkpoint_every == 0 or last or progress.solved:
                self._checkpoint()
        bar.close()
        self._save_model()

    def _step(self) -> Score:
        """One update; returns the score of this process's share of the batch before it."""
        settings, accelerator = self.settings, self.accelerator
        share = settings.batch // accelerator.num_processes
        start = self.progress.step * settings.batch + accelerator.process_index * share
        batch = self.source.take("train", start, start + share)
        given = {n: t.to(accelerator.device) for n, t in tensors(batch, self.source.task).items()}
        self.model.train()
        output = self.model(**given)
        # A process's loss is a mean over its own labels; weighted, their mean is over all labels.
        labels = (given["labels"] != IGNORED).sum().float()
        weight = labels / accelerator.reduce(labels, "mean") if accelerator.num_processes > 1 else 1
        accelerator.backward(output.loss * weight)
        accelerator.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        with torch.no_grad():
            steps = self.source.task.steps(batch)
            return score(self.source.task, output.logits, given["labels"], steps)

    def _everywhere(self, part: Score) -> Score:
        """The sum of a score over all processes."""
        return sum(gather_object([part]), NOTHING)

    def _evaluate(self, bar: tqdm) -> None:
        """Score the evaluation splits, each process its share; notes when the run is solved."""
        rows, world = self.settings.eval_rows, self.accelerator.num_processes
        mine = [
            rows * rank // world for rank in (self.accelerator.process_index + k for k in (0, 1))
        ]
        model = self.accelerator.unwrap_model(self.model)
        shown = {}
        given = self.settings.eval_splits or ("validation", "test")
        for split in (split for split in given if split in self.source.splits):
            total = self._everywhere(measure(model, self.source, split, *mine))
            self._log(split, total)
            shown[split] = f"{total.right.sum() / max(total.asked.sum(), 1):.3f}"
            if split == "validation" and self.settings.stop_accuracy is not None:
                trained = self._trained_positions
                reached = total.right[trained] / total.asked[trained]
                self.progress.solved = bool((reached >= self.settings.stop_accuracy).all())
        bar.set_postfix(shown)

    @cached_property
    def _trained_positions(self) -> np.ndarray:
        """The chain positions or trace steps that have a label in training."""
        steps = self.source.task.steps(self.source.take("train", 0, self.settings.batch))
        return np.unique(steps[steps >= 0])

    def _log(self, split: str, total: Score, **more: float) -> None:
        """Add a line to metrics.jsonl."""
        if self.accelerator.is_main_process:
            rate = self.scheduler.get_last_lr()[0]
            line = {"step": self.progress.step, "split": split} | total.summary()
            with (self.folder / METRICS).open("a") as file:
                file.write(json.dumps(line | {"lr": rate} | more) + "\n")

    def _checkpoint(self) -> None:
        """Write checkpoints/step-N under another name first, and then drop the oldest."""
        name, main = f"step-{self.progress.step}", self.accelerator.is_main_process
        with whole_folder(self.folder / CHECKPOINTS / name, self.accelerator) as temporary:
            self.accelerator.save_state(str(temporary))
        for old in checkpoints(self.folder)[: -self.settings.keep_checkpoints]:
            if main:
                shutil.rmtree(old)

    def _resume(self) -> None:
        """Take up the last checkpoint, if any, and forget the metrics that came after it."""
        found = checkpoints(self.folder)
        if found:
            self.accelerator.load_state(str(found[-1]))
            self.accelerator.print(f"{self.folder}: goes on from {found[-1].name}")
        self.accelerator.wait_for_everyone()  # all have looked before anything changes
        if self.accelerator.is_main_process:
            metrics = self.folder / METRICS
            lines = metrics.read_text().splitlines() if metrics.is_file() else []
            kept = [line for line in lines if _step_of(line) <= self.progress.step]
            with whole_file(metrics) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))

    def _save_model(self) -> None:
        with whole_folder(self.folder / "model", self.accelerator) as temporary:
            if self.accelerator.is_main_process:
                self.accelerator.unwrap_model(self.model).save_pretrained(temporary)
                self.source.task.tokenizer().save_pretrained(temporary)
        self.accelerator.print(f"{self.folder}/model: written after {self.progress.step} steps")


def _step_of(line: str) -> float:
    """The step of a line of metrics; a line that a kill has torn belongs to no step."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return np.inf


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = (folder / CHECKPOINTS).glob("step-*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


@contextlib.contextmanager
def whole_folder(path: Path, accelerator: Accelerator) -> Iterator[Path]:
    """A temporary folder, shared by all processes, that becomes ``path`` once it is on disk."""
    temporary = path.parent / f".{path.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    yield temporary
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for part in [*temporary.rglob("*"), temporary]:
            sync(part)
        temporary.replace(path)
        sync(path.parent)
    accelerator.wait_for_everyone()


def main(argv: list[str] | None = None) -> int:
    """``python -m lego.train CONFIG.yaml [field=value ...]``: what a launch starts."""
    parser = argparse.ArgumentParser(prog="lego.train", description=__doc__)
    parser.add_argument("config", help="a YAML file; see lego/settings.py for the fields")
    parser.add_argument("fields", nargs="*", metavar="field=value", help="as in lr=1e-3")
    args = parser.parse_args(argv)

    def call() -> int:
        run(args.config, assignments(args.fields))
        return 0

    return exit_code("lego.train", call)


if __name__ == "__main__":
    sys.exit(main())
