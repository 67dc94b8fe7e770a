"""Runs as their users meet them: what they leave, what they learn from, what they refuse."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import metrics, weights, write
from transformers import AutoModelForTokenClassification, AutoTokenizer

import lego
from lego import zoo
from lego.answers import NOTHING, Score, asked, score
from lego.checkpoint import checkpoints
from lego.cli import main
from lego.command import assignments
from lego.data import Sampled, Stored, tensors
from lego.evaluate import measure
from lego.record import read_metrics
from lego.settings import read_settings
from lego.task import IGNORED, SettingError
from lego.train import run


@pytest.fixture
def config(tmp_path):
    return write(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    return run(write(tmp_path_factory.mktemp("train")), {})


def test_a_number_may_be_written_as_people_write_it(config):
    for written in ("4e-3", "0.004", "4.0e-3"):
        assert read_settings(config, assignments([f"lr={written}"])).lr == 0.004
    config.write_text("run: somewhere\nlr: 1e-3\n")
    assert read_settings(config, {}).lr == 0.001


def test_a_run_leaves_what_the_design_says(finished):
    names = {"step", "split", "loss", "accuracy", "accuracy_per_position", "lr"}
    for line in read_metrics(finished):
        assert names <= set(line)
        asked = 4 if line["split"] == "train" else 6
        assert len(line["accuracy_per_position"]) == asked
        assert ("examples_per_second" in line) == (line["split"] == "train")
    assert [m["step"] for m in metrics(finished) if m["split"] == "test"] == [10, 20, 30]
    assert [path.name for path in checkpoints(finished)] == ["step-25", "step-30"]
    task = lego.load_task("chains", "z2-n6")
    model = AutoModelForTokenClassification.from_pretrained(finished / "model")
    total = measure(model, Sampled(task), "test", 0, 40).summary()
    last = metrics(finished)[-1]
    assert total == {name: last[name] for name in total}
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    assert tokenizer("a = val 1 ,").input_ids == task.tokenizer()("a = val 1 ,").input_ids


def test_config_yaml_runs_again_and_gives_the_same_weights(finished, tmp_path):
    again = run(finished / "config.yaml", {"run": str(tmp_path / "again")})
    assert weights(again) == weights(finished)
    assert metrics(again) == metrics(finished)


def test_a_finished_run_is_left_as_it_is(config, tmp_path, capsys):
    folder = run(config, {"steps": 2})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    assert main(["train", str(config), "steps=2"]) == 0
    assert capsys.readouterr().out == f"{folder}: finished already\n"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_solved_run_stops_and_stays_stopped(config):
    folder = run(config, {"stop_accuracy": 0.01})
    assert metrics(folder)[-1]["step"] == 10
    assert [path.name for path in checkpoints(folder)] == ["step-5", "step-10"]
    before = weights(folder)
    (folder / "model").rename(folder.parent / "model-away")  # as if killed before it was written
    assert weights(run(config, {"stop_accuracy": 0.01})) == before


def test_a_checkpoint_trains_on_in_another_run(config, tmp_path, finished):
    model = str(finished / "model")
    folder = run(
        config, {"model": model, "model_fields": {}, "steps": 5, "run": str(tmp_path / "b")}
    )
    assert weights(folder) != weights(finished)


@pytest.fixture(scope="session")
def chains(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "chains"
    rows = "train=100,validation=30,test=30"
    command = [
        "make",
        "chains",
        str(out),
        "--preset",
        "z2-n6",
        "--rows",
        rows,
        "--shard-rows",
        "30",
    ]
    assert main([*command, "--workers", "1"]) == 0
    return out


def test_a_corpus_gives_each_row_once_an_epoch_in_a_new_order(chains):
    source = Stored(chains, seed=3)
    task = lego.load_task("chains", "z2-n6")
    rows = {row.tobytes() for row in task.sample("train", 0, 100)["input_ids"]}
    parts = [source.take("train", start, start + 16)["input_ids"] for start in range(0, 208, 16)]
    ids = np.concatenate(parts)
    first, second = ids[:100], ids[100:200]
    assert {row.tobytes() for row in first} == {row.tobytes() for row in second} == rows
    assert (first != second).any()
    assert (Stored(chains, seed=4).take("train", 0, 100)["input_ids"] != first).any()
    batch, direct = source.take("test", 0, 30), task.sample("test", 0, 30)
    for name, array in direct.items():
        np.testing.assert_array_equal(batch[name], array)
    np.testing.assert_array_equal(task.steps(batch), task.steps(direct))


def test_a_run_learns_from_a_corpus(chains, config):
    folder = run(config, {"corpus": str(chains), "steps": 10})
    assert {line["split"] for line in metrics(folder)} == {"train", "validation", "test"}


def test_padded_examples_get_a_mask_and_others_none():
    task = lego.load_task("chains", "z2-n6")
    batch = task.sample("train", 0, 4)
    assert set(tensors(batch, task)) == {"input_ids", "labels"}
    batch["input_ids"][2, 20:] = 0
    given = tensors(batch, task)
    assert given["attention_mask"].sum(1).tolist() == [32, 32, 20, 32]
    assert given["labels"].dtype == torch.int64


def scored(task, batch, logits):
    asks = asked(task, batch)
    chosen = asks.select(logits)
    loss = torch.nn.functional.cross_entropy(chosen, torch.from_numpy(asks.label), reduction="sum")
    return score(asks, loss, chosen.argmax(-1))


def test_scores_count_by_position_and_add_up():
    task = lego.load_task("chains", "z2-n6")
    batch = task.sample("test", 0, 200)
    labels = torch.from_numpy(batch["labels"].astype(np.int64))
    truth = torch.nn.functional.one_hot(labels.clamp(min=0), 2).float()
    position = torch.from_numpy(batch["positions"].astype(np.int64))
    rows = torch.arange(150)
    truth[rows, position[:150, 2]] = 1 - truth[rows, position[:150, 2]]  # wrong at position 2
    whole = scored(task, batch, truth)
    assert whole.summary()["accuracy_per_position"] == [1, 1, 0.25, 1, 1, 1]
    logits = torch.randn(200, 32, 2)
    whole = scored(task, batch, logits)
    parts = [
        scored(task, {k: v[part] for k, v in batch.items()}, logits[part])
        for part in (slice(0, 70), slice(70, 200))
    ]
    assert sum(parts, NOTHING).summary() == whole.summary()
    assert whole.labels == 1200 and (labels != IGNORED).sum() == 1200
    uneven = Score(0, 0, np.array([1]), np.array([1])) + Score(
        0, 0, np.array([0, 2]), np.array([1, 2])
    )
    assert uneven.summary()["accuracy_per_position"] == [0.5, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["step=4"], "field='step': allowed run, task.*did you mean 'steps'"),
        (["steps=0"], "steps=0: allowed 1 or more"),
        (["steps=ten"], "steps='ten': allowed a value of type int"),
        (["lr=-1"], "lr=-1: allowed above 0"),
        (["schedule=step"], "schedule='step': allowed constant, linear, cosine"),
        (["model=bert-giant"], r"model='bert-giant'.*\(bert\|"),
        (["model=gpt-nano"], "model='gpt-nano'.*for a token-classification task"),
        (["model_fields={conv_kernel: 4}"], "conv_kernel=4: allowed odd when centred"),
        (["model_fields={depth: 4}"], "depth=4: allowed"),
        (["preset=z2-n5"], "preset='z2-n5': allowed"),
        (["fields={n: 0}"], "n=0: allowed 1..26"),
        (["task=chians"], "task='chians': allowed"),
        (["corpus=/nowhere"], "CORPUS='/nowhere': allowed a folder with a manifest.json"),
        (["stop_accuracy=1.5"], "stop_accuracy=1.5: allowed 0 < value <= 1"),
        (["run="], "run=None: allowed a value of type str"),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(config, tmp_path, capsys, fields, message):
    assert main(["train", str(config), *fields]) == 2
    printed = capsys.readouterr().err
    assert re.match(f"lego: .*{message}", printed) and printed.count("\n") == 1, printed
    assert not (tmp_path / "run").exists()


def test_a_bad_yaml_file_is_one_line(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    for text in ("stepz: 3\nrun: x\n", "- a\n", "a: [\n"):
        path.write_text(text)
        assert main(["train", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["train", str(tmp_path / "none.yaml")]) == 2


def test_a_folder_of_another_run_or_a_damaged_corpus_is_refused(finished, config, chains, tmp_path):
    with pytest.raises(SettingError, match=r"lr=0.1: allowed 0.004, as in .*config.yaml"):
        run(config, {"run": str(finished), "lr": 0.1})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(SettingError, match=r"run=.*allowed a new or empty folder"):
        run(config, {"run": str(tmp_path / "mine")})
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", chains, copy], check=True)
    shard = next(copy.rglob("train-00002*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(SettingError, match=r"train-00002-of-00004.parquet sha256="):
        run(config, {"corpus": str(copy)})
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_vocabulary_is_refused(finished, tmp_path, capsys):
    task = lego.load_task("chains", group="z5", n=6)
    zoo.build("albert-nano", task).save_pretrained(tmp_path / "other")
    out = str(tmp_path / "e.json")
    command = ["eval", str(tmp_path / "other"), "chains", "--preset", "z2-n6", "--out", out]
    assert main(command) == 2
    assert "vocab_size=" in capsys.readouterr().err
    assert main(["eval", str(tmp_path), "chains", "--preset", "z2-n6", "--out", out]) == 2
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("preset", "form", "model"),
    [("z2-mix", "english", "bert-nano"), ("z2-trees", "causal", "gpt-nano")],
)
def test_mixtures_trees_and_causal_forms_train_and_are_measured(config, preset, form, model):
    splits = ["validation", "test_longer"]
    more = {"preset": preset, "fields": {"form": form}, "model": model, "steps": 2, "log_every": 1}
    folder = run(config, more | {"eval_splits": splits})
    assert {line["split"] for line in metrics(folder)} == {"train", *splits}
    out = str(folder / "eval.json")
    source = ["chains", "--preset", preset, "--rows", "20", "--out", out, f"form={form}"]
    assert main(["eval", str(folder / "model"), *source, "--split", "test_distractor"]) == 0
    assert json.loads(Path(out).read_text())["fields"] == {"form": form}


def test_an_unknown_split_to_evaluate_on_is_refused_and_nothing_written(config, tmp_path):
    with pytest.raises(SettingError, match=r"eval_splits=.* with validation, for stop_accuracy"):
        run(config, {"eval_splits": ["test"], "stop_accuracy": 0.9})
    with pytest.raises(SettingError, match="eval_splits='dev': allowed train, validation"):
        run(config, {"eval_splits": ["dev"]})
    assert not (tmp_path / "run").exists()
