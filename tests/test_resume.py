"""Runs that are killed, or that can't write, and go on: to the same bits."""

import os
import subprocess

import pytest
import torch
from runs import finish, kill_after, metrics, start, weights, write
from transformers import BertConfig, BertForTokenClassification

import lego
from lego.checkpoint import checkpoints
from lego.cli import main
from lego.train import run


@pytest.fixture(scope="session")
def dropout(tmp_path_factory):
    """The folder of a stock model with dropout, untrained."""
    folder = tmp_path_factory.mktemp("stock") / "bert"
    task = lego.load_task("chains", "z2-n6")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=task.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=task.max_length,
        num_labels=2,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    )
    BertForTokenClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("world", [1, 2])
def test_a_killed_run_with_dropout_ends_with_the_same_bits(world, dropout, tmp_path):
    fields = {"model": dropout, "model_fields": {}, "steps": 60}
    (tmp_path / "whole").mkdir()
    finish(start(write(tmp_path / "whole", **fields), world))
    config, folder = write(tmp_path, **fields), tmp_path / "run"
    for seed, step in enumerate((5, 15, 30)):
        kill_after(start(config, world), folder, step, seed)
        assert not (folder / "model").exists()
    with (folder / "metrics.jsonl").open("a") as torn:
        torn.write('{"step": 61, "spl')  # as a line would be that a kill has torn
    finish(start(config, world))
    assert weights(folder) == weights(tmp_path / "whole" / "run")
    assert metrics(folder) == metrics(tmp_path / "whole" / "run")
    before = weights(folder)
    finish(start(config, world))  # finished already
    assert weights(folder) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "muon", "clip": 0.5},
        {"accumulate": 4, "deep_supervision": "half", "iterations": [1, 4]},
        {"curriculum": [{"steps": 9, "fields": [{"n": 4}, {"n": 5}]}, {"lr": 0.5}]},
        {
            "curriculum": [
                {"steps": 25, "until": 0.55, "fields": {"n": 3, "n_tr": 2}, "batch": 32},
                {},
            ]
        },
        {"init": "mimic", "mimic": {"steps": 2, "batch": 8}},
    ],
    ids=["muon", "parts", "stages", "until", "mimic"],
)
def test_every_way_to_train_resumes_to_the_bit(fields, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = run(write(tmp_path / "whole", **fields), {})
    config = write(tmp_path, **fields)
    kill_after(start(config), tmp_path / "run", 10, seed=0)
    finish(start(config))
    assert weights(tmp_path / "run") == weights(whole)
    assert metrics(tmp_path / "run") == metrics(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 1 MB of space, on a file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("mounting a small file system takes more rights")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_with_space(small_disk, tmp_path, capsys):
    whole = run(write(tmp_path), {})
    command = ["train", str(tmp_path / "tiny.yaml"), f"run={small_disk / 'run'}"]
    filler = small_disk / "filler"
    filler.write_bytes(bytes(700_000))
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"lego: {small_disk}/run/checkpoints/step-"), said
    assert "not written" in said and "is intact" in said
    held = list((small_disk / "run" / "checkpoints").iterdir())
    assert held == checkpoints(small_disk / "run") and len(held) == 1
    filler.unlink()
    assert main(command) == 0
    assert weights(small_disk / "run") == weights(whole)
    assert metrics(small_disk / "run") == metrics(whole)


def test_no_space_for_a_line_of_metrics_leaves_no_part_of_it(small_disk, tmp_path, capsys):
    config = write(tmp_path, run=str(small_disk / "run"), log_every=1, steps=8)
    left = os.statvfs(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(left.f_bsize * (left.f_bavail - 6)))
    assert main(["train", str(config), "checkpoint_every=100", "eval_every=100"]) == 1
    lines = (small_disk / "run" / "metrics.jsonl").read_text()
    assert lines == "" or lines.endswith("\n")
    filler.unlink()
    assert main(["train", str(config), "checkpoint_every=100", "eval_every=100"]) == 0
    steps = [line["step"] for line in metrics(small_disk / "run") if line["split"] == "train"]
    assert steps == list(range(1, 9))


def test_a_folder_that_cannot_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    config = write(tmp_path, run=str(tmp_path / "file" / "run"))
    assert main(["train", str(config)]) == 1
    assert "Not a directory" in capsys.readouterr().err.splitlines()[-1]
