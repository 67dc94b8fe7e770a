"""Folders that are complete or absent, and the checkpoints of a run, which are such folders."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from lego.corpus import sync

CHECKPOINTS = "checkpoints"


@dataclass
class Progress:
    """How far a run is: a checkpoint's only state besides accelerate's own."""

    step: int = 0
    examples: int = 0  # taken so far: the place in the data
    seconds: float = 0.0  # of training so far, without evaluations and checkpoints
    stage: int = 0  # of the curriculum
    began: int = 0  # the step at which the stage did
    # By position, right answers and questions of the stage's last steps, for ``Stage.until``.
    right: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    solved: bool = False  # ``stop_accuracy`` is reached
    best: float = inf  # the least loss on validation
    waited: int = 0  # evaluations since then

    def state_dict(self) -> dict[str, Any]:
        return vars(self).copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = (folder / CHECKPOINTS).glob("step-*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def save(folder: Path, step: int, keep: int, accelerator: Accelerator) -> None:
    """Write checkpoints/step-N, and then drop all but the last so many."""
    with whole_folder(folder / CHECKPOINTS / f"step-{step}", accelerator) as temporary:
        accelerator.save_state(str(temporary))
    if accelerator.is_main_process:
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)


@contextlib.contextmanager
def whole_folder(path: Path, accelerator: Accelerator) -> Iterator[Path]:
    """A temporary folder, shared by all processes, that becomes ``path`` once it is on disk.

    Raises OSError when it can't be written; nothing of it is left then.
    """
    temporary = path.parent / f".{path.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        yield temporary
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            for part in [*temporary.rglob("*"), temporary]:
                sync(part)
            temporary.replace(path)
            sync(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors have errors of their own for a full disk.
        shutil.rmtree(temporary, ignore_errors=True)
        said = " ".join(str(error).split())
        raise OSError(f"{path}: not written ({said}); what was there before is intact") from error
    accelerator.wait_for_everyone()
