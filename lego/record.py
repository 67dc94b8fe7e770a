"""What a run tells while it goes: metrics.jsonl, and the trackers that its settings name."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lego.corpus import whole_file
from lego.settings import Settings
from lego.task import require

if TYPE_CHECKING:
    from accelerate import Accelerator

    from lego.answers import Score

METRICS = "metrics.jsonl"


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics so far, but for one that a kill has torn."""
    file, found = Path(folder, METRICS), []
    for line in file.read_text().splitlines() if file.is_file() else []:
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def check_trackers(settings: Settings) -> None:
    """Raises SettingError for a tracker that is not installed."""
    for name in settings.trackers:
        there = find_spec(name) is not None
        require(there, "trackers", name, "installed ones; pip install 'lego-reasoning[trackers]'")


class Record:
    """The measurements of a run, written by its main process."""

    def __init__(self, settings: Settings, accelerator: Accelerator) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.file = Path(settings.run, METRICS)

    def open(self, step: int) -> None:
        """Forget the lines after a step, and a line that was torn; start the trackers."""
        if self.accelerator.is_main_process:
            lines = read_metrics(self.settings.run)
            kept = [json.dumps(line) for line in lines if line["step"] <= step]
            with whole_file(self.file) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))
        if self.settings.trackers:
            self._start_trackers()

    def _start_trackers(self) -> None:
        folder = Path(self.settings.run, "trackers").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(self.settings.run).name
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
        wandb = {"name": name, "dir": str(folder), "mode": os.environ.get("WANDB_MODE", "offline")}
        options = {"wandb": wandb, "trackio": {"name": name}}
        plain = {
            field: value if isinstance(value, (int, float, str)) else json.dumps(value)
            for field, value in dataclasses.asdict(self.settings).items()
        }
        used = {name: options[name] for name in self.settings.trackers if name in options}
        self.accelerator.init_trackers("lego", plain, used)

    def add(self, step: int, split: str, total: Score, lr: float, **more: float) -> None:
        """Add a line on a split's score, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        found = total.summary() | {"lr": lr} | more
        written = json.dumps({"step": step, "split": split} | found).encode() + b"\n"
        with self.file.open("ab", buffering=0) as file:
            begin = file.tell()
            try:
                if file.write(written) < len(written):
                    raise OSError(f"{self.file}: not written (no space left)")
            except OSError:
                file.truncate(begin)
                raise
        if self.settings.trackers:
            self.accelerator.log(dict(_numbers(split, found)), step=step)

    def last(self) -> dict[str, Any]:
        """The last line on each split but train."""
        lines = read_metrics(self.settings.run)
        return {line["split"]: line for line in lines if line["split"] != "train"}

    def close(self) -> None:
        for tracker in self.accelerator.trackers:
            tracker.finish()


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """(name, number) for every number of a line, as in ``test/accuracy_per_position/3``."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{name}/{key}", inner)
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from _numbers(f"{name}/{key}", inner)
    elif isinstance(value, (int, float)):
        yield name, value
