"""One guarded process seen from outside: started, listened to within limits, ended as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from cexec import sandbox_child
from lego.task import SettingError, require

CHUNK = 1 << 16
GONE = 5  # seconds in which a killed process has died


class SandboxError(SettingError):
    """A program that is refused, or that was ended; one line: what, the limit, what to do.

    Some of it may be the program's words, so nothing in it moves a terminal's cursor.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else " " for c in message))


@dataclass(frozen=True)
class Limits:
    """What one program may take; stdout and the log may each have ``output_kb``.

    Raises SettingError for a value that is not a whole number within its range.
    """

    cpu_seconds: int = 2
    memory_mb: int = 256
    output_kb: int = 1024
    wall_seconds: int = 10
    compile_seconds: int = 20

    def __post_init__(self) -> None:
        for each in fields(self):
            value, least, most = getattr(self, each.name), 1, 1 << 20
            if each.name == "memory_mb":
                least, most = 16, 16 << 10
            held = isinstance(value, int) and least <= value <= most
            require(held, each.name, value, f"{least} .. {most}")


@dataclass(frozen=True)
class Plan:
    """What ``sandbox_child`` does, and how long its process is listened to. Sizes are in bytes."""

    command: tuple[str, ...]
    folder: Path  # where it starts
    environment: Mapping[str, str]
    cpu: int  # seconds
    wall: float  # seconds
    keep: Mapping[str, int]  # of each stream that is read: how much, until the process is ended
    limits: Mapping[str, int] = field(default_factory=dict)  # RLIMIT_* -> value
    landlock: tuple[Sequence[str], Sequence[str]] | None = None  # may be read, may be written
    seccomp: Literal["static", "dynamic"] | None = None


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or minus a signal; ``over`` names the limit that it hit.

    ``over`` is a stream's name, ``wall`` or empty; ``cpu`` is in seconds.
    """

    code: int
    said: Mapping[str, bytes]
    over: str
    cpu: float


def launch(plan: Plan) -> Ended:
    """Run one process and all that it starts; nothing of them is left when this returns."""
    ends = {}
    log_end = None
    if "log" in plan.keep:
        ends["log"], log_end = os.pipe()
    told = json.dumps(
        {
            "command": plan.command,
            "environment": dict(plan.environment),
            "cpu": plan.cpu,
            "limits": dict(plan.limits),
            "landlock": plan.landlock,
            "seccomp": plan.seccomp,
            "log": log_end,
            "parent": os.getpid(),
        }
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", sandbox_child.__file__, told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if log_end is None else (log_end,),
            cwd=plan.folder,
            env={},
            start_new_session=True,
        )
    except BaseException:
        for end in ends.values():
            os.close(end)
        raise
    finally:
        if log_end is not None:
            os.close(log_end)
    assert process.stdout and process.stderr  # they are pipes
    ends["stdout"], ends["stderr"] = process.stdout.fileno(), process.stderr.fileno()
    try:
        said, over = _listen(process.pid, ends, plan)
    finally:
        # Not waited for yet, so its number is still its own, and that of its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _let_go(ends.values())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        process.stderr.close()
        if "log" in ends:
            os.close(ends["log"])
    return Ended(process.returncode, said, over, used.ru_utime + used.ru_stime)


def _listen(pid: int, ends: Mapping[str, int], plan: Plan) -> tuple[dict[str, bytes], str]:
    said = {name: bytearray() for name in ends}
    until = time.monotonic() + plan.wall
    over, done = "", False
    handle = os.pidfd_open(pid)
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(handle, selectors.EVENT_READ, "")
            for name, end in ends.items():
                os.set_blocking(end, False)
                selector.register(end, selectors.EVENT_READ, name)
            while not over and not done:
                left = until - time.monotonic()
                events = selector.select(max(0, left))
                if not events and left <= 0:
                    over = "wall"
                for key, _ in events:
                    if key.data == "":
                        done = True
                    elif not _read(key.fd, said[key.data], plan.keep[key.data]):
                        selector.unregister(key.fd)
                    if key.data and len(said[key.data]) > plan.keep[key.data]:
                        over = key.data
        finally:
            os.close(handle)
    for name, end in ends.items():  # what lay in the pipes when it ended
        while not over and _read(end, said[name], plan.keep[name]):
            if len(said[name]) > plan.keep[name]:
                over = name
    return {name: bytes(held) for name, held in said.items()}, over


def _let_go(ends: Iterable[int]) -> None:
    """Wait until nobody holds the other ends of the pipes: until all that was killed is gone."""
    until = time.monotonic() + GONE
    for end in ends:
        while time.monotonic() < until:
            try:
                if not os.read(end, CHUNK):
                    break
            except BlockingIOError:
                time.sleep(0.002)


def _read(end: int, held: bytearray, most: int) -> bool:
    """Take what lies in a pipe, up to one byte over ``most``; False at its end or if it's empty."""
    try:
        chunk = os.read(end, min(CHUNK, most + 1 - len(held)))
    except BlockingIOError:
        return False
    held += chunk
    return bool(chunk)
