"""Training runs side by side: each in a process of its own on this machine, or as a Ray task."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lego.engine import die_with_parent, start_ray
from lego.record import read_metrics
from lego.settings import Settings, read_settings
from lego.task import SettingError
from lego.train import run

# What is told of a run that has ended: of one that has failed, "error", in one line.
Outcome = dict[str, Any]
# (folder, threads); the folder has the run's config.yaml.
Job = tuple[Path, int | None]
# A run has ended; or None, now and then, for a look at those that go on.
Event = tuple[Path, Outcome] | None
LOG = "log.txt"  # what a run printed
LOOK_EVERY = 2.0  # seconds


def run_local(jobs: Sequence[Job], workers: int | None = None) -> Generator[Event, None, None]:
    """Run each job in a new process, so that what ends one leaves the others alone.

    ``workers``: how many at once; None: as many as the cores have room for. Closing the iterator
    ends the runs that go on.
    """
    if workers is None:
        cores = os.cpu_count() or 1
        workers = max(1, cores // max((threads or cores for _, threads in jobs), default=1))
    context = multiprocessing.get_context("spawn")  # as in lego.engine
    waiting = [folder for folder, _ in jobs]
    running: dict[Any, tuple[Path, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                folder = waiting.pop(0)
                answer, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(folder, theirs), name=folder.name)
                process.start()
                theirs.close()  # so that the pipe ends when the process does
                running[answer] = (folder, process)
            ended = wait(list(running), LOOK_EVERY)
            for answer in [end for end in running if end in ended]:
                folder, process = running[answer]
                try:
                    outcome = answer.recv()
                except EOFError:
                    process.join()
                    outcome = _ended_by(process.exitcode)
                process.join()
                answer.close()
                del running[answer]
                yield folder, outcome
            yield None
    finally:
        for _, process in running.values():
            process.kill()  # a run may be killed at any moment
            process.join()


def _ended_by(code: int) -> Outcome:
    if code >= 0:
        return {"error": f"exit code {code}, see {LOG}"}
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return {"error": f"ended by signal {-code}{hint}"}


def _child(folder: Path, answer: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair, who ends this
    die_with_parent()
    answer.send(_train(folder))


def run_ray(jobs: Sequence[Job]) -> Generator[Event, None, None]:
    """The same as Ray tasks, each of as many CPUs as its threads; folders must be shared."""
    ray = start_ray()
    # A worker that ends with its task is what makes a task a process of its own.
    remote = ray.remote(max_calls=1, max_retries=0)(_train)
    running = {
        remote.options(num_cpus=threads or 1).remote(folder.absolute()): folder
        for folder, threads in jobs
    }
    try:
        while running:
            for task in ray.wait(list(running), timeout=LOOK_EVERY)[0]:
                try:
                    outcome = ray.get(task)
                except ray.exceptions.RayError as error:
                    outcome = {"error": _line(error)}
                yield running.pop(task), outcome
            yield None
    finally:
        for task in running:
            ray.cancel(task, force=True)


def _train(folder: Path) -> Outcome:
    """Train the run whose config.yaml is in a folder. Takes this process's output for its log."""
    with (folder / LOG).open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        run(folder / "config.yaml", {})
        return outcome(folder)
    except Exception as error:
        traceback.print_exc()
        return {"error": _line(error)}


def _line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, SettingError) else f"{type(error).__name__}: {first}"


def outcome(folder: Path) -> Outcome:
    """What a run's settings and metrics tell of it, in fields that make columns of a table.

    ``last_step``, ``seconds``; ``solved_step``, ``solved_seconds`` (null where ``stop_accuracy``
    is not reached, or not set); for each split its last ``<split>_loss``, ``<split>_accuracy`` and
    so on. Seconds are those of training steps, without start, evaluation and checkpoints.
    """
    settings, lines = read_settings(folder / "config.yaml", {}), read_metrics(folder)
    solved = _solved(settings, lines) or {"step": None, "seconds": None}
    told: Outcome = {
        "last_step": lines[-1]["step"],
        "seconds": lines[-1]["seconds"],
        "solved_step": solved["step"],
        "solved_seconds": solved["seconds"],
    }
    for line in lines:
        for name in ("loss", "accuracy", "accuracy_per_position", "shortcuts"):
            if name in line:
                told[f"{line['split']}_{name}"] = line[name]
    return told


def _solved(settings: Settings, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first line on which validation reached stop_accuracy on each trained position."""
    each = [line["accuracy_per_position"] for line in lines if line["split"] == "train"]
    trained = {k for part in each for k, accuracy in enumerate(part) if accuracy is not None}
    if settings.stop_accuracy is None or not trained:
        return None
    for line in lines:
        if line["split"] == "validation":
            reached = line["accuracy_per_position"]
            if all(reached[k] >= settings.stop_accuracy for k in trained):
                return line
    return None
