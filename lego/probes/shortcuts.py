"""Whether a model reasons or cheats: whom its answers follow, the chain or a known shortcut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from lego import zoo
from lego.answers import asked, followed
from lego.checkpoint import checkpoints
from lego.data import Source, explained
from lego.forward import forward
from lego.loading import load_model
from lego.settings import Settings, read_settings
from lego.task import Task, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 250
CHAIN = "chain"
NONE = "none"
FOLLOWED = 0.5  # somebody is followed in more than half of what answering without looking leaves
Z = 1.959964  # of intervals that hold the truth 95 times in 100
_COUNTS = ("questions", "agreed", "blind", "asked", "chain", "shortcut")


def fingerprint(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Whom a model follows on the first rows of a split: one row for the chain, and a shortcut.

    Where a shortcut's answer is not the chain's: how many answers were ``asked``, and the shares
    given as the ``chain`` has it, as the ``shortcut`` has it and as ``neither``. Of all answers:
    ``agreement``, the share as the chain or shortcut of that row has it; ``control``, the same of
    the same answers given to other questions, shuffled in their batch; and ``excess``, how far of
    the way from control to 1 the agreement is. Each share but the control has its Wilson interval
    of 95 %, ``_low`` and ``_high`` after its name. The intervals take answers for independent:
    those to one sentence are not, so that they are somewhat too narrow. Where nothing was asked a
    share is NaN.
    """
    require(rows >= 1, "rows", rows, "1 or more")
    source = explained(source)
    model.eval()
    generator = np.random.default_rng(seed)
    counts: dict[str, np.ndarray] = {}
    for start in tqdm(range(0, rows, BATCH), disable=not progress, desc=split, unit="batch"):
        batch = source.take(split, start, min(start + BATCH, rows))
        wanted = asked(source.task, batch)
        with torch.no_grad():
            found = forward(model, source.task, batch, wanted)[1]
        answers = found.answers.cpu().numpy()
        right, shortcuts = followed(source.task, batch, wanted, answers)
        blind, theirs = followed(source.task, batch, wanted, generator.permutation(answers))
        nowhere = np.zeros_like(right)
        seen = {CHAIN: (right, blind, nowhere, nowhere)}
        for name, (differs, same) in shortcuts.items():
            seen[name] = same, theirs[name][1], differs, same
        for name, (agreed, chance, differs, same) in seen.items():
            each = (np.ones_like(right), agreed, chance, differs, differs & right, differs & same)
            part = np.array([int(one.sum()) for one in each])
            counts[name] = counts.get(name, np.zeros_like(part)) + part
    return _shares(counts)


def _shares(counts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The table of ``fingerprint`` from sums in the order of ``_COUNTS``."""
    lines = {}
    for name, sums in counts.items():
        of = dict(zip(_COUNTS, sums.tolist(), strict=True))
        parts = {"chain": of["chain"], "shortcut": of["shortcut"]}
        parts["neither"] = of["asked"] - of["chain"] - of["shortcut"]
        line: dict[str, float] = {"asked": of["asked"]}
        for kind, part in parts.items():
            line |= _with_interval(kind, part, of["asked"])
        line |= _with_interval("agreement", of["agreed"], of["questions"])
        control = of["blind"] / of["questions"] if of["questions"] else np.nan
        line["control"] = control
        for end in ("", "_low", "_high"):
            left = 1 - control
            line[f"excess{end}"] = (line[f"agreement{end}"] - control) / left if left else 0.0
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("answerer")


def _with_interval(name: str, part: int, whole: int) -> dict[str, float]:
    low, high = wilson(part, whole)
    return {name: part / whole if whole else np.nan, f"{name}_low": low, f"{name}_high": high}


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0..1 (Wilson, 1927); NaN of nothing."""
    if not whole:
        return np.nan, np.nan
    share, more = part / whole, Z**2 / whole
    middle = (share + more / 2) / (1 + more)
    half = (share * (1 - share) * more + more**2 / 4) ** 0.5 / (1 + more)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def verdict(found: pd.DataFrame) -> str:
    """``chain``, the name of a shortcut, or ``none``, from a table of ``fingerprint``.

    The one whose excess is largest, if the low end of its interval is above ``FOLLOWED``. A model
    that answers always the same agrees with nobody beyond its control, so that it is ``none``.
    """
    best = found["excess"].idxmax()
    return str(best) if found.loc[best, "excess_low"] > FOLLOWED else NONE


def over_training(
    run: str | Path, source: Source, split: str, rows: int, seed: int = 0, progress: bool = False
) -> pd.DataFrame:
    """``fingerprint`` for each checkpoint that a run has kept, indexed by (step, answerer).

    The run's ``keep_checkpoints`` says how many those are. Raises SettingError for a folder without
    any, or of a model for another task.
    """
    found = checkpoints(Path(run))
    require(bool(found), "run", str(run), "a run's folder with checkpoints")
    settings = read_settings(Path(run, "config.yaml"), {})
    model, tables = _blank(settings, source.task), {}
    for path in tqdm(found, disable=not progress, desc="checkpoints"):
        file = path / "model.safetensors"
        require(file.is_file(), "checkpoint", str(path), "those with a model.safetensors")
        weights = load_file(file)
        # A run of several ranks keeps its model inside of another. A tied head is stored once.
        weights = {name.removeprefix("module."): weight for name, weight in weights.items()}
        said = model.load_state_dict(weights, strict=False)
        model.tie_weights()
        tied = set(model._tied_weights_keys or ())
        fits = not said.unexpected_keys and set(said.missing_keys) <= tied
        require(fits, "checkpoint", str(path), f"weights of {settings.model}")
        step = int(path.name.removeprefix("step-"))
        tables[step] = fingerprint(model, source, split, rows, seed)
    return pd.concat(tables, names=["step"])


def _blank(settings: Settings, task: Task) -> PreTrainedModel:
    """A model of a run's form; its weights are of no account."""
    if Path(settings.model).is_dir():
        return load_model(settings.model, task)
    return zoo.build(settings.model, task, init="random", **settings.model_fields)


def history(found: pd.DataFrame) -> pd.DataFrame:
    """From a table of ``over_training``, for each verdict in the order in which they come: the
    ``first`` step that has it, and the step at which it is ``left`` for good, NaN if it is not."""
    steps = found.index.unique("step")
    verdicts = pd.Series({step: verdict(found.loc[step]) for step in steps})
    lines = {}
    for name in verdicts.unique():
        held = verdicts.index[verdicts == name]
        after = verdicts.index[verdicts.index > held[-1]]
        lines[name] = {"first": held[0], "left": after[0] if len(after) else np.nan}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("verdict")
