"""The training loop, on accelerate: ``lego train`` or ``accelerate launch -m lego.train``.

A run is a folder. Its state is in ``checkpoints/step-N``, each of which is complete or absent; the
same command on the same folder goes on from the last one and ends with the same weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration, parse_flag_from_env, set_seed

from lego import zoo
from lego.checkpoint import checkpoints
from lego.command import assignments, exit_code
from lego.corpus import whole_file
from lego.data import Sampled, Source, Stored
from lego.loading import load_model
from lego.record import check_trackers
from lego.settings import Mimicking, Settings, dump_settings, read_settings
from lego.task import SettingError, decode, load_task, require
from lego.trainer import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # ours -> accelerate's


def run(config: str | Path, overrides: dict[str, Any]) -> Path:
    """Train as a YAML file says, from the start or from the last checkpoint; returns the folder.

    Raises SettingError, with nothing written, for bad settings or a folder of another run, and
    OSError when something can't be written; the last checkpoint is intact then.
    """
    settings = read_settings(config, overrides)
    folder = Path(settings.run)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    check_trackers(settings)
    accelerator = open_accelerator(settings)
    source = open_training(settings)
    set_seed(settings.seed)
    model = open_model(settings, source, initial=not checkpoints(folder))
    trainer = Trainer(settings, source, model, accelerator)
    with accelerator.main_process_first():
        _claim(folder, settings, write=accelerator.is_main_process)
    if (folder / "model").is_dir():
        accelerator.print(f"{folder}: finished already")
    else:
        trainer.run()
    return folder


def open_accelerator(settings: Settings) -> Accelerator:
    """Accelerate, set up for this process's device; raises SettingError for its precision."""
    device = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).device
    precision = settings.precision
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if able else "fp32"
    held = precision != "fp16" or device.type == "cuda"
    require(held, "precision", precision, f"auto, fp32 or bf16 on {device.type}")
    AcceleratorState._reset_state()  # of the last run in this process, whose precision it keeps
    return Accelerator(
        mixed_precision=PRECISIONS[precision],
        log_with=list(settings.trackers) or None,
        project_config=ProjectConfiguration(settings.run, str(Path(settings.run, "trackers"))),
    )


def open_training(settings: Settings) -> Source:
    """The examples that a run learns from."""
    if settings.corpus is None:
        return Sampled(load_task(settings.task, settings.preset, settings.seed, **settings.fields))
    require(not settings.fields, "fields", settings.fields, "{} (a corpus has its own)")
    return Stored(settings.corpus, settings.preset, settings.seed)


def open_model(settings: Settings, source: Source, initial: bool = True) -> PreTrainedModel:
    """The model that a run trains: one of the zoo by its name, or a checkpoint.

    ``initial``: with its initial weights; without, where they will be replaced anyway, it has
    random ones, which are soon there.
    """
    name, fields, init, task = settings.model, settings.model_fields, settings.init, source.task
    if Path(name).is_dir():
        require(not fields, "model_fields", fields, "{} (a checkpoint has its own)")
        require(init is None, "init", init, "null (a checkpoint has its own)")
        return load_model(name, task)
    try:
        if init != "mimic":
            return zoo.build(name, task, init=init if initial else "random", **fields)
        model = zoo.build(name, task, init="random", **fields)
        if initial:
            given = decode(Mimicking, settings.mimic)
            zoo.mimic(model, _sentences(source, given.batch), given.steps, given.lr)
        return model
    except ValueError as error:
        raise SettingError(f"model={name!r}: {error}") from None


def _sentences(source: Source, size: int) -> Iterator[torch.Tensor]:
    """The training examples without their labels: token ids (batch, tokens) int64."""
    for start in count(0, size):
        ids = source.take("train", start, start + size)["input_ids"]
        yield torch.from_numpy(ids.astype(np.int64))


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
