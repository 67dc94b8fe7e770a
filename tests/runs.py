"""Runs for the tests: their settings, the processes that do them, and what they leave."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import time
from pathlib import Path

import yaml

from lego.checkpoint import checkpoints
from lego.train import run

TINY = {
    "preset": "z2-n6",
    "model": "conv-albert-nano",
    "model_fields": {"num_hidden_layers": 2},
    "steps": 30,
    "batch": 16,
    "warmup": 5,
    "schedule": "cosine",
    "log_every": 5,
    "eval_every": 10,
    "eval_rows": 40,
    "checkpoint_every": 5,
    "threads": 1,
}

# A server that has imported what a run needs, and forks: real processes, at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["lego.train", "transformers.models.bert.modeling_bert"])


def write(folder, **fields):
    """A YAML file of the tiny run, to be run in folder/run."""
    path = Path(folder) / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"run": str(Path(folder) / "run")} | fields))
    return path


def weights(folder):
    return hashlib.sha256((Path(folder) / "model" / "model.safetensors").read_bytes()).hexdigest()


def metrics(folder):
    """The lines of a run's metrics, without what a clock says."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    clock = {"examples_per_second", "seconds"}
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def _rank(config, overrides, environment):
    os.environ.update(environment)
    run(config, overrides)


def start(config, world=1, **overrides):
    """The processes of a run, one for each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(world):
        environment = {"ACCELERATE_USE_CPU": "1"}
        if world > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = PROCESSES.Process(target=_rank, args=(config, overrides, environment))
        process.start()
        processes.append(process)
    return processes


def finish(processes):
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def kill_after(processes, folder, step, seed):
    """SIGKILL all processes a random moment after a checkpoint at or after a step is there."""
    deadline = time.monotonic() + 60
    while not any(int(path.name.split("-")[1]) >= step for path in checkpoints(Path(folder))):
        assert all(process.is_alive() for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()
        assert process.exitcode == -signal.SIGKILL
