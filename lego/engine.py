"""Where independent jobs run: in this process, in processes of this machine, or as Ray tasks."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from lego.task import SettingError, choose, require

Result = TypeVar("Result")
ENGINES = ("local", "ray")


def run(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    workers: int | None = None,
    engine: str = "local",
) -> Iterator[Result]:
    """Yield ``function(*job)`` for each job, as it is done, in any order.

    ``function`` and the jobs must pickle. ``workers``: processes, None for one a core; a single
    worker or a single job runs in this process. With ``ray``, workers are Ray's own affair.
    Raises SettingError for an unknown engine, workers < 1, or Ray where it is not installed.
    """
    choose("engine", engine, ENGINES)
    require(workers is None or workers >= 1, "workers", workers, "1 or more")
    if engine == "ray":
        yield from _run_ray(function, jobs)
        return
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1:
        yield from (function(*job) for job in jobs)
        return
    # Spawned, since a fork of a process that has threads (torch, numba, Arrow) may deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=die_with_parent) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def die_with_parent() -> None:
    """A worker whose parent was killed would otherwise wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_ray(function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
    ray = start_ray()
    remote = ray.remote(function)
    waiting = [remote.remote(*job) for job in jobs]
    while waiting:
        done, waiting = ray.wait(waiting)
        yield ray.get(done[0])


def start_ray() -> Any:
    """The module, connected to a cluster: the user's own, or one on this machine.

    Raises SettingError where Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise SettingError(
            "engine='ray': allowed where Ray is installed: pip install 'lego-reasoning[ray]'"
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    return ray
