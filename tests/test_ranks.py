"""Runs on several processes: the same examples, the same loss, the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config import load_config_from_file
from runs import finish, metrics, start, weights, write
from safetensors.torch import load_file

from lego.cli import main
from lego.train import run

CONFIGS = Path(__file__).parents[1] / "benchmarks" / "accelerate"


@pytest.mark.parametrize("preset", ["z2-n6", "z2-mix"])
@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 4), (2, 2)])
def test_a_batch_in_parts_is_that_batch(preset, world, accumulate, tmp_path):
    """Sentences of z2-mix have 4 to 12 labels, so that parts have different numbers of them."""
    (tmp_path / "whole").mkdir()
    fields = {"preset": preset, "steps": 10, "log_every": 1}
    whole = run(write(tmp_path / "whole", **fields), {})
    finish(start(write(tmp_path, **fields, accumulate=accumulate), world))
    for mine, theirs in zip(metrics(whole), metrics(tmp_path / "run"), strict=True):
        assert (mine["step"], mine["split"]) == (theirs["step"], theirs["split"])
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5, abs=1.1e-5)
    one, two = (load_file(f / "model" / "model.safetensors") for f in (whole, tmp_path / "run"))
    # Adam divides by the gradient's size: where the parts of a gradient cancel, rounding decides.
    apart = torch.cat([(weight - two[name]).abs().flatten() for name, weight in one.items()])
    assert (apart < 2e-5).float().mean() > 0.99


def test_accelerate_launches_two_ranks_on_cpus(tmp_path):
    launch = ["-m", "accelerate.commands.launch", "--config_file", CONFIGS / "cpu-2-ranks.yaml"]
    command = [sys.executable, *launch, "--main_process_port", "0", "-m", "lego.train"]
    done = subprocess.run(
        [*command, write(tmp_path, steps=2), "eval_rows=4"],
        env=os.environ | {"ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    opening = "conv-albert-nano: 16,260 parameters, world size 2, cpu, fp32, not compiled"
    assert opening in said, said
    assert said[-1].startswith(f"{tmp_path}/run/model: written after 2 steps; accuracy: validation")
    assert len(said) == 2
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_our_configs(path):
    config = load_config_from_file(str(path))
    assert config.mixed_precision == "no" and config.num_processes > 1


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, capsys):
    assert main(["train", str(write(tmp_path)), "accumulate=3"]) == 2
    said = capsys.readouterr().err
    assert said == "lego: batch=16: allowed multiples of 1 processes x 3 parts (accumulate)\n"
    assert not (tmp_path / "run").exists()
