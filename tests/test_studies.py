"""The frame of the studies: what is measured, kept, judged and shown."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import verdict
from benchmarks.__main__ import main, names, seeds
from benchmarks.page import markdown
from benchmarks.study import load, run
from lego.task import SettingError

ROOT = Path(__file__).parents[1]
# A study of dice: part "slow" takes a seed at a time, "batch" all of them.
DICE = """
import sys, time, types
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from benchmarks import verdict
from benchmarks.common.figures import panels
from benchmarks.page import Picture, Table
from benchmarks.study import Part, Study, option

@dataclass(frozen=True)
class Settings:
    seeds: int
    sides: tuple[int, ...]
    pause: float = 0.0
    real: str | None = option(None, "a folder of dice")

def slow(settings, seeds):
    (seed,) = seeds
    with open("calls", "a") as file:
        print(seed, file=file)
    time.sleep(settings.pause)
    return [{"seed": seed, "sides": s, "thrown": int(np.random.default_rng(seed).integers(s)) + 1}
            for s in settings.sides]

def batch(settings, seeds):
    return [{"seed": seed, "half": seed / 2, "nothing": float("nan")} for seed in seeds]

def judge(found, settings):
    most = found["slow"].groupby("seed").thrown.max()
    return [verdict.every("no throw above the sides", most, below=max(settings.sides)),
            verdict.every("no throw above 0", most, below=0, control=True)]

def show(found, settings):
    yield Table("Throws", found["slow"])
    figure, axes = panels()
    axes[0, 0].plot(found["batch"].seed, found["batch"].half)
    yield Picture("half", figure, "Half of each seed.")

STUDY = Study(
    claim="Dice have sides.", source="none", criterion="all", method="throw", reconstruction="all",
    scales={"smoke": Settings(3, (6, 20))}, parts={"slow": Part(slow), "batch": Part(batch, True)},
    judge=judge, show=show)
"""


@pytest.fixture
def dice(tmp_path, monkeypatch):
    """The study of dice as one of the package's, in an empty working directory."""
    from benchmarks import studies

    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "dice_sides.py").write_text(DICE)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path / "found")])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("benchmarks.studies.dice_sides", None)


def calls(folder):
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


def test_a_study_writes_its_results_page_and_figures(dice, capsys):
    assert "dice-sides" in names()
    assert main(["run", "dice-sides", "--scale", "smoke", "--workers", "1", "--seeds", "4-6"]) == 0
    assert "dice-sides: holds" in capsys.readouterr().out
    folder = dice / "runs/studies/smoke/dice-sides"
    results = json.loads((folder / "results.json").read_text())
    assert results["verdict"] == "holds" and results["seeds"] == [4, 5, 6]
    rows = {unit["part"]: [] for unit in results["measured"]}
    for unit in results["measured"]:
        rows[unit["part"]] += unit["rows"]
    assert [(row["seed"], row["sides"]) for row in rows["slow"]] == [
        (seed, sides) for seed in (4, 5, 6) for sides in (6, 20)
    ]
    assert rows["batch"][0] == {"seed": 4, "half": 2.0, "nothing": None}
    assert (folder / "half.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "README.md").read_text()
    for words in ("Dice have sides.", "Verdict: holds", "half.png", "--seeds 4-6", "must fail"):
        assert words in page
    assert "[dice-sides](dice-sides/README.md)" in (folder.parent / "README.md").read_text()
    assert not list(folder.glob(".*")) and not list(folder.glob("*.jsonl"))


def test_what_is_done_is_not_done_again(dice):
    first = run("dice-sides", "smoke", dice / "out", range(2), workers=1, progress=False)
    assert calls(dice) == ["0", "1"]
    again = run("dice-sides", "smoke", dice / "out", range(2), workers=1, progress=False)
    assert again["measured"] == first["measured"] and calls(dice) == ["0", "1"]
    more = run("dice-sides", "smoke", dice / "out", range(3), workers=1, progress=False)
    assert calls(dice) == ["0", "1", "2"]  # the batch is solved anew, with all seeds
    fresh = run("dice-sides", "smoke", dice / "new", range(3), workers=1, progress=False)
    timeless = [[{**unit, "seconds": 0} for unit in found["measured"]] for found in (more, fresh)]
    assert timeless[0] == timeless[1]


def test_a_killed_study_goes_on_from_what_it_had_done(dice):
    script = textwrap.dedent(
        f"""
        import dataclasses
        from pathlib import Path
        from benchmarks import studies, study
        studies.__path__.append({str(dice / "found")!r})
        made = study.load("dice-sides")
        slow = dataclasses.replace(made.scales["smoke"], pause=0.3)
        made.scales["smoke"] = slow
        study.run("dice-sides", "smoke", Path("out"), range(5), workers=1, progress=False)
        """
    )
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    began = subprocess.Popen([sys.executable, "-c", script], cwd=dice, env=where)
    log = dice / "out" / "measured.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 3):  # two units after the first line
        assert began.poll() is None
        time.sleep(0.01)
    began.send_signal(signal.SIGKILL)
    began.wait()
    with log.open("a") as file:
        file.write('{"part": "slow", "see')  # a line that was cut off
    before = log.read_text().count("\n") - 1
    seen = len(calls(dice))
    subprocess.run([sys.executable, "-c", script], cwd=dice, env=where, check=True)
    assert len(calls(dice)) - seen == 5 - before
    assert len(json.loads((dice / "out/results.json").read_text())["measured"]) == 6


def test_other_settings_are_refused(dice, capsys):
    run("dice-sides", "smoke", dice / "out" / "dice-sides", range(2), workers=1, progress=False)
    command = ["run", "dice-sides", "--scale", "smoke", "--out", "out", "--real", "x"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "out=" in error and "settings" in error and error.count("\n") == 1


@pytest.mark.parametrize("words", ["0", "x", "5-", "5-3", "-3", "1-2-3"])
def test_seeds_that_are_none_are_refused(words):
    with pytest.raises(SettingError, match="seeds="):
        seeds(words)


def test_an_unknown_name_is_refused(capsys):
    assert main(["run", "bias-seperable"]) == 2
    assert "NAME='bias-seperable'" in capsys.readouterr().err


def test_every_study_is_listed_with_its_claim(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    assert all(len(line.split()) > 2 for line in lines)


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(numbers, min_size=1, max_size=9), numbers)
def test_every_is_right_when_all_are_and_wrong_when_none_is(values, bound):
    right = [value <= bound for value in values]
    outcome = verdict.every("x", values, below=bound).outcome
    expected = verdict.HOLDS if all(right) else verdict.FAILS if not any(right) else verdict.UNSURE
    assert outcome == expected


@given(st.lists(numbers, min_size=1, max_size=9), numbers)
def test_above_is_below_of_the_negatives(values, bound):
    for kind in (verdict.every, verdict.mean):
        mirrored = kind("x", [-value for value in values], below=-bound).outcome
        assert kind("x", values, above=bound).outcome == mirrored


def test_the_interval_of_a_mean_is_students():
    # Of 1, 2, 3, 4: mean 2.5, standard error .6455, t(3, .975) = 3.1824.
    check = verdict.mean("x", [1, 2, 3, 4], above=0)
    assert math.isclose(check.low, 2.5 - 3.182446 * math.sqrt(5 / 12), rel_tol=1e-6)
    assert verdict.mean("x", [1], above=0).outcome == verdict.UNSURE


def test_a_verdict_needs_controls_that_fail():
    good, bad = verdict.every("x", [1], below=2), verdict.every("x", [3], below=2)
    control = verdict.every("x", [3], below=2, control=True)
    blind = verdict.every("x", [1], below=2, control=True)
    mixed = verdict.every("x", [1, 3], below=2)
    assert verdict.verdict([good, control]) == "holds"
    assert verdict.verdict([good, bad, control]) == "does not hold"
    assert verdict.verdict([good, mixed]) == "inconclusive"
    assert verdict.verdict([good, blind]) == "inconclusive"
    assert verdict.verdict([control]) == "inconclusive"
    assert verdict.every("x", [math.nan], below=2).outcome == verdict.UNSURE


def test_a_table_in_markdown():
    table = pd.DataFrame({"name": ["a", "b"], "x": [1234.5, math.nan], "n": [1, 20000]})
    assert markdown(table).splitlines() == [
        "| name | x | n |", "| --- | ---: | ---: |", "| a | 1,230 | 1 |", "| b |  | 20000 |",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("speed-")])
def test_the_smoke_of_a_study(name, tmp_path):
    """It runs, its page is whole, and its controls fail, as they must."""
    results = run(name, "smoke", tmp_path / name, workers=1, progress=False)
    assert set(load(name).scales) == {"smoke", "cpu", "paper"}
    controls = [check for check in results["checks"] if check["control"]]
    assert controls and all(check["outcome"] == verdict.FAILS for check in controls)
    assert results["verdict"] in (verdict.HOLDS, verdict.FAILS, verdict.UNSURE)
    page = (tmp_path / name / "README.md").read_text()
    pictures = list((tmp_path / name).glob("*.png"))
    assert pictures and all(picture.name in page for picture in pictures)
