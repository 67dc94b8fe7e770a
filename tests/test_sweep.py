"""Grids of runs: resumed, killed, failing, refused, on Ray."""

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from runs import TINY, metrics, weights

from lego.cli import main
from lego.grid import cell_name, parse_grid
from lego.task import SettingError
from lego.train import run
from lego.workers import outcome


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"steps": 60, "stop_accuracy": 1.0}))
    return path


@pytest.fixture(scope="session")
def finished(config):
    """The folder of a sweep over two seeds that nothing disturbed, and what it printed."""
    out, printed = config.parent / "finished", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["sweep", str(config), "--out", str(out), "--grid", "seed=0,1"]) == 0
    return out, printed.getvalue()


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def untimed(record):
    return {k: v for k, v in record.items() if not k.endswith("seconds")}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until(held, what):
    deadline = time.monotonic() + 120
    while not held():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_a_sweep_is_the_runs_that_lego_train_makes(finished, config, tmp_path):
    out, _ = finished
    first, second = sorted(lines(out), key=lambda line: line["seed"])
    assert (first["run"], second["run"]) == ("runs/seed=0", "runs/seed=1")
    direct = run(config, {"seed": 1, "run": str(tmp_path / "run")})
    assert weights(direct) == weights(out / second["run"]) != weights(out / first["run"])
    for split in ("train", "validation", "test"):
        last = [line for line in metrics(direct) if line["split"] == split][-1]
        for name in ("loss", "accuracy", "accuracy_per_position"):
            assert second[f"{split}_{name}"] == last[name]
    assert (second["last_step"], second["solved_step"]) == (60, None)
    assert second["parameters"] > 10_000 and second["seconds"] > 0
    frame = pandas.read_json(out / "results.jsonl", lines=True)
    assert sorted(frame.seed) == [0, 1] and frame.test_accuracy.between(0, 1).all()


def test_the_table_has_each_cell_and_the_mean_over_seeds(finished):
    out, printed = finished
    head, *rows, mean = printed.splitlines()
    assert head.split() == ["seed", "test_accuracy", "seconds"]
    known = {line["seed"]: line["test_accuracy"] for line in lines(out)}
    assert [row.split()[:2] for row in rows] == [[str(k), f"{known[k]:.4f}"] for k in (0, 1)]
    low, high = sorted(known.values())
    assert mean.split()[:3] == ["mean", f"{(low + high) / 2:.4f}", f"({low:.4f}..{high:.4f})"]


def test_a_finished_sweep_runs_nothing_again_and_a_wider_one_what_is_new(finished, config, capsys):
    out, printed = finished
    before = files(out)
    command = ["sweep", str(config), "--out", str(out), "--grid"]
    assert main([*command, "seed=0,1"]) == 0
    assert capsys.readouterr().out == printed
    assert main([*command, "seed=2,1,0", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    states = {2: "to run", 1: "finished", 0: "finished"}
    assert shown == [f"{out}/runs/seed={seed}: {state}" for seed, state in states.items()]
    assert files(out) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=0,1", "lr=0.1"], r"lr=0.1: allowed 0.004, as in .*sweep.yaml \(or take another"),
        (["seed=0,2"], r"grid seed=\[0, 2\]: allowed with \[1\] besides, as in"),
        (["seed=0,1", "model=bert-nano"], "grid='seed, model': allowed seed, as in"),
    ],
)
def test_a_folder_of_another_sweep_is_refused(finished, config, capsys, arguments, message):
    out, _ = finished
    before = files(out)
    grid = [a for a in arguments if not a.startswith("lr")]
    fixed = [a for a in arguments if a.startswith("lr")]
    command = ["sweep", str(config), *fixed, "--out", str(out), "--grid", *grid]
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert re.match(f"lego: {message}", printed) and printed.count("\n") == 1, printed
    assert files(out) == before


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["seed=0", "model=bert-nano,bert-giant"], "model='bert-giant': .*allowed"),
        (["fields.n=4,99"], "n=99: allowed 1..26"),
        (["model_fields.conv_kernel=3,4"], ".*conv_kernel=4: allowed"),
        (["seed=0,-1"], "seed=-1: allowed 0 .. "),
        (["seed=0,0"], "grid='seed=0': allowed each cell once"),
        (["seeds=0,1"], "field='seeds': allowed .*did you mean 'seed'"),
        (["task.n=1"], "grid='task': allowed .*fields, model_fields"),
        (["fields={n: 4}", "fields.n=4"], "grid='fields.n': allowed without fields beside it"),
        (["seed"], "grid='seed': allowed field=value,value"),
        (["seed="], "grid='seed=': allowed a value or more"),
        (["lr=1,,2"], r"lr='\[1,,2\]': allowed a YAML value"),
        (["seed=0", "seed=1"], "grid='seed=1': allowed seed once"),
        (["run=a,b"], r"run=\['a', 'b'\]: allowed none here"),
        (["seed=0", "--engine", "slurm"], "engine='slurm': allowed local, ray"),
        (["seed=0", "--workers", "0"], "workers=0: allowed 1 or more"),
    ],
)
def test_bad_settings_of_any_cell_are_one_line_and_write_nothing(
    config, tmp_path, capsys, grid, message
):
    assert main(["sweep", str(config), "--out", str(tmp_path / "out"), "--grid", *grid]) == 2
    printed = capsys.readouterr().err
    assert re.match(f"lego: {message}", printed) and printed.count("\n") == 1, printed
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_left_alone(config, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["sweep", str(config), "--out", str(tmp_path), "--grid", "seed=0"]) == 2
    assert "allowed a new or empty folder, or one of this sweep" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_killed_sweep_leaves_no_run_behind_and_goes_on_to_the_same_bits(
    finished, config, tmp_path
):
    out, checkpoints = tmp_path / "out", tmp_path / "out/runs/seed=0/checkpoints"
    command = ["sweep", str(config), "--out", str(out), "--grid", "seed=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lego.cli", *command],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: list(checkpoints.glob("step-*")), "no checkpoint")
    finally:
        process.kill()
        process.wait()

    def gone():
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True

    until(gone, "a run outlived the sweep")
    assert not (out / "runs/seed=0/model").exists()
    with (out / "results.jsonl").open("a") as torn:
        torn.write('{"seed": 0, "run')  # a line torn by the kill
    moved = tmp_path / "moved"
    out.rename(moved)
    command[3] = str(moved)
    assert main(command) == 0
    assert weights(moved / "runs/seed=0") == weights(finished[0] / "runs/seed=0")
    assert "goes on from step-" in (moved / "runs/seed=0/log.txt").read_text()
    (record,) = lines(moved)
    (whole,) = [line for line in lines(finished[0]) if line["seed"] == 0]
    assert untimed(record) == untimed(whole)


def test_what_ends_one_cell_leaves_the_others_alone_and_is_tried_again(
    finished, config, tmp_path, capsys
):
    out = tmp_path / "out"
    blocked = out / "runs/seed=0/metrics.jsonl"
    blocked.mkdir(parents=True)
    shutil.copy(finished[0] / "sweep.yaml", out)  # a sweep that has not begun

    def kill():
        until((out / "runs/seed=1/log.txt").exists, "no run")
        (process,) = [p for p in multiprocessing.active_children() if p.name == "seed=1"]
        process.kill()

    command = ["sweep", str(config), "--out", str(out), "--workers", "3", "--grid", "seed=0,1,2"]
    thread = threading.Thread(target=kill)
    thread.start()
    assert main(command) == 1
    thread.join()
    first = {line["seed"]: line for line in lines(out)}
    assert first[0]["error"].startswith("IsADirectoryError: ")
    assert first[1]["error"] == "ended by signal 9, as when memory runs out"
    assert "error" not in first[2] and first[2]["last_step"] == 60
    assert f"{out}/runs/seed=1: ended by signal 9" in capsys.readouterr().out
    assert main([*command, "--dry-run"]) == 0
    states = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert states == ["to run", "to run", "finished"]


def test_ctrl_c_stops_the_runs_and_says_so_in_one_line(config, tmp_path, capsys):
    out = tmp_path / "out"

    def interrupt():
        until((out / "runs/seed=0/log.txt").exists, "no run")
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts what runs in its background deaf to interrupts; so may these tests be.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    command = ["sweep", str(config), "--out", str(out), "steps=100000", "--grid", "seed=0"]
    try:
        assert main(command) == 130
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    assert not multiprocessing.active_children()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"lego: {out}: stopped; the same command goes on"
    assert lines(out) == []


def test_two_sweeps_at_once_on_one_folder_are_refused(config, tmp_path, capsys):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert main(["sweep", str(config), "--out", str(tmp_path), "--grid", "seed=0"]) == 2
    finally:
        os.close(handle)
    assert "allowed a folder that no other sweep is at now" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ray_gives_the_same_results(finished, config, tmp_path):
    out = tmp_path / "out"
    command = ["sweep", str(config), "--out", str(out), "--engine", "ray", "--grid", "seed=0"]
    assert main(command) == 0
    (whole,) = [line for line in lines(finished[0]) if line["seed"] == 0]
    assert [untimed(line) for line in lines(out)] == [untimed(whole)]
    assert weights(out / "runs/seed=0") == weights(finished[0] / "runs/seed=0")


def test_a_solved_run_tells_when_by_its_metrics(tmp_path):
    (tmp_path / "config.yaml").write_text("run: x\nstop_accuracy: 0.9\nbatch: 10\n")
    each = [
        {"step": 20, "split": "train", "accuracy_per_position": [1, 1, None]},
        {"step": 30, "split": "validation", "accuracy_per_position": [1, 0.8, 0.5]},
        {"step": 40, "split": "train", "accuracy_per_position": [1, 1, None]},
        {"step": 50, "split": "validation", "accuracy_per_position": [1, 0.9, 0.5]},
        {"step": 50, "split": "test", "accuracy_per_position": [1, 1, 1], "accuracy": 1},
        {"step": 60, "split": "validation", "accuracy_per_position": [1, 1, 0.6]},
    ]
    timed = [line | {"seconds": line["step"] / 10} for line in each]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timed))
    told = outcome(tmp_path)
    assert (told["last_step"], told["solved_step"]) == (60, 50)
    assert (told["seconds"], told["solved_seconds"]) == (6, 5)
    assert told["test_accuracy"] == 1


@pytest.mark.parametrize(
    ("pair", "values"),
    [
        ("model=conv-albert-nano,bert-nano", ["conv-albert-nano", "bert-nano"]),
        ("seed=0,1, 2", [0, 1, 2]),
        ("lr=1.0e-3,0.01", [0.001, 0.01]),
        ("fields={n: 6, n_tr: 3},{n: 8}", [{"n": 6, "n_tr": 3}, {"n": 8}]),
        ("eval_splits=[test, validation],null", [["test", "validation"], None]),
        ("model='a,b',c", ["a,b", "c"]),
        ("model=pretrained:x/y=z", ["pretrained:x/y=z"]),
    ],
)
def test_values_of_a_grid_are_yaml_and_commas_separate_them(pair, values):
    assert parse_grid([pair]) == {pair.split("=")[0]: values}


TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=60)
PLAIN = st.none() | st.booleans() | st.integers() | TEXT
VALUES = st.lists(PLAIN | st.lists(PLAIN) | st.dictionaries(TEXT, PLAIN), min_size=1)


@given(VALUES)
def test_any_values_survive_the_way_through_a_grid(values):
    written = ",".join(json.dumps(value) for value in values)
    assert parse_grid([f"x={written}"]) == {"x": values}


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,20}(\.[a-z]{1,9})?", fullmatch=True), PLAIN))
def test_a_cell_has_one_safe_name_whatever_the_order(fields):
    name = cell_name(fields)
    assert name == cell_name(dict(reversed(fields.items())))
    assert len(name) <= 200 and re.fullmatch(r"[\w.+=,-]*", name, re.ASCII)


def test_values_that_look_alike_in_a_name_are_kept_apart():
    names = {cell_name({"model": value}) for value in ("a/b", "a b", "a-b", "x" * 41, "x" * 42)}
    assert len(names) == 5


def test_a_grid_that_is_no_grid_is_refused():
    for pair in ("=1", "x", "x=]", "x='"):
        with pytest.raises(SettingError):
            parse_grid([pair])
