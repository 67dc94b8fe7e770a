"""Compiled blocks: whether a run is to have them, and having them.

The blocks are compiled, not the model: a tied block once, equal ones once, whatever the depth.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from lego.corpus import whole_file
from lego.optimizer import blocks
from lego.settings import Settings
from lego.task import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from accelerate import Accelerator
    from transformers import PreTrainedModel

DECISION = "compile.json"  # in the run folder, so that a resumed run computes the same
# What a compiled block is taken to cost for each shape of batch, and to save of a step; 40 to 80 s
# on a core. On a CPU it saves nothing: the zoo's own gradients are faster (docs/results.md).
SECONDS, SAVED = 60.0, 0.3
WARM, TIMED = 2, 3  # passes before and while the clock runs


def check_compiler(settings: Settings, device: torch.device) -> None:
    """Raises SettingError where compiled blocks are wanted, and there is no compiler."""
    held = settings.compile != "on" or has_compiler(device)
    require(
        held, "compile", settings.compile, "auto or off, without a C++ compiler (g++, or CXX=...)"
    )


def has_compiler(device: torch.device) -> bool:
    """Whether torch finds the C++ compiler that it needs to compile for a CPU."""
    usual = "clang++" if platform.system() == "Darwin" else "g++"
    return device.type != "cpu" or shutil.which(os.environ.get("CXX", usual)) is not None


def decide(
    settings: Settings, shapes: int, step: Callable[[], Any], accelerator: Accelerator
) -> bool:
    """Whether a run compiles: as it did before, as its settings say, or if that pays.

    ``shapes``: how many shapes of batch training meets. ``step`` does a step's forward and
    backward pass; all processes time it, and the main one's times count.
    """
    file = Path(settings.run, DECISION)
    before = file.is_file()
    accelerator.wait_for_everyone()  # all have looked before the main process writes
    if not before:
        decision = _decision(settings, shapes, step, accelerator.device)
        if accelerator.is_main_process:
            with whole_file(file) as temporary:
                temporary.write_text(json.dumps(decision) + "\n")
        accelerator.wait_for_everyone()
    return json.loads(file.read_text())["compile"]


def _decision(
    settings: Settings, shapes: int, step: Callable[[], Any], device: torch.device
) -> dict[str, Any]:
    if settings.compile != "auto" or device.type == "cpu":
        return {"compile": settings.compile == "on"}
    if settings.steps < WARM + TIMED:
        return {"compile": False}
    times = []
    for _ in range(WARM + TIMED):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    seconds = median(times[WARM:])
    paid = settings.steps * seconds * SAVED > SECONDS * shapes
    return {"compile": paid, "step_seconds": round(seconds, 5), "shapes": shapes}


def compile_blocks(model: PreTrainedModel, shapes: int) -> None:
    """Compile each block's forward; hooks, parameters and their names stay as they are."""
    # A graph for each shape of batch, with and without padding; torch would give up after 8.
    torch._dynamo.config.recompile_limit = max(8, 2 * shapes)
    for block in blocks(model):
        block.forward = torch.compile(block.forward, dynamic=False)
