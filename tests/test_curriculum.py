"""Curricula: what each step is on, and what may not be."""

import re

import numpy as np
import pytest
import torch
from runs import metrics, write
from transformers import (
    AlbertConfig,
    AlbertForTokenClassification,
    AutoModelForTokenClassification,
)

import lego
from lego import zoo
from lego.answers import Score
from lego.checkpoint import Progress
from lego.cli import main
from lego.curriculum import Curriculum, depth, is_tied
from lego.data import Sampled, Stored
from lego.settings import Settings
from lego.task import SettingError
from lego.train import run

ROWS = "train=50,validation=50"
SHORT, LONG = {"n": 3, "n_tr": 2}, {"n": 5, "n_tr": 4}


def plan(stages=(), model="conv-albert-nano", model_fields=None, **fields):
    settings = {"run": "r", "preset": "z2-n6", "curriculum": tuple(stages), "steps": 10}
    settings = Settings(**settings | fields)
    source = Sampled(lego.load_task("chains", "z2-n6"))
    return Curriculum(settings, source, zoo.build(model, source.task, **model_fields or {}))


def moments(curriculum, steps=10, hits=lambda step: 0):
    """What each step is on; ``hits``: how many of 8 answers of a step are right."""
    progress = Progress()
    for step in range(steps):
        moment = curriculum.at(progress)
        yield moment
        right, asked = np.array([8, hits(step)]), np.array([8, 8])
        curriculum.advance(progress, moment.batch, lambda: Score(0.0, 16, right, asked))  # noqa: B023


def said(moment):
    config = moment.source.task.config
    return config.n, config.n_tr, moment.layers, moment.lr


def test_stages_follow_each_other_and_parts_take_turns():
    curriculum = plan(
        [
            {"steps": 2, "fields": SHORT},
            {"steps": 5, "fields": [SHORT, LONG], "iterations": 8, "lr": 0.5, "batch": 16},
            {},
        ]
    )
    found = list(moments(curriculum))
    short, long = (3, 2, 8, 0.5), (5, 4, 8, 0.5)
    assert [said(moment) for moment in found] == (
        [(3, 2, 3, 1)] * 2 + [short, long, short, long, short] + [(6, 4, 6, 1)] * 3
    )
    assert [moment.batch for moment in found] == [128] * 2 + [16] * 5 + [128] * 3
    assert curriculum.shapes == {(128, 17), (16, 17), (16, 27), (128, 32)}


def test_stages_before_a_corpus_are_made_on_the_fly(tmp_path):
    assert main(["make", "chains", f"{tmp_path}/c", "--preset", "z2-n6", "--rows", ROWS]) == 0
    source = Stored(tmp_path / "c")
    stages = ({"steps": 3, "fields": SHORT}, {})
    settings = Settings(run="r", corpus=f"{tmp_path}/c", curriculum=stages, steps=10)
    curriculum = Curriculum(settings, source, zoo.build("conv-albert-nano", source.task))
    found = [moment.source for moment in moments(curriculum)]
    assert [part is source for part in found] == [False] * 3 + [True] * 7
    assert found[0].task.config.n == 3


@pytest.mark.parametrize("begin", [0, 5, 20, 70])
def test_a_stage_ends_when_each_position_is_learned(begin):
    """The second position is answered right from a step on."""
    curriculum = plan([{"steps": 60, "fields": SHORT, "until": 0.5}, {}], steps=100)
    found = moments(curriculum, 80, hits=lambda step: 8 * (step >= begin))
    right, asked, step = 0.0, 0.0, 0
    while step < 60 and not right > 0.5 * asked:
        right, asked = 0.9 * right + (step >= begin), 0.9 * asked + 1
        step += 1
    assert [said(moment)[0] for moment in found] == [3] * step + [6] * (80 - step)


def test_no_example_of_a_task_is_seen_twice():
    curriculum, seen = plan([{"fields": [SHORT, LONG]}]), {3: set(), 5: set()}
    for step, moment in enumerate(moments(curriculum)):
        ids = moment.source.take("train", 16 * step, 16 * step + 16)["input_ids"]
        seen[moment.source.task.config.n] |= {row.tobytes() for row in ids}
    assert {n: len(rows) for n, rows in seen.items()} == {3: 80, 5: 80}


def test_a_model_of_its_own_depth_keeps_it_and_an_untied_one_has_no_other():
    fields = {"num_hidden_layers": 2}
    assert said(plan([{"fields": SHORT}], model_fields=fields).at(Progress())) == (3, 2, 2, 1)
    assert said(plan([{"fields": SHORT}], "bert-nano").at(Progress())) == (3, 2, None, 1)


def test_iterations_are_drawn_from_seed_and_step_alone():
    first, again, other = (plan(iterations=(2, 4), seed=seed) for seed in (0, 0, 1))
    draws = [[moment.layers for moment in moments(curriculum)] for curriculum in (first, other)]
    late = [again.at(Progress(step=step)).layers for step in reversed(range(10))]
    assert late == draws[0][::-1]
    assert set(draws[0]) == {2, 3, 4} and draws[0] != draws[1]
    assert {moment.layers for moment in moments(plan([{"iterations": [5, 6]}]))} == {5, 6}


@pytest.mark.parametrize("kind", ["zoo", "transformers"])
def test_a_tied_model_runs_as_deep_as_it_is_told(kind):
    task = lego.load_task("chains", "z2-n6")
    if kind == "zoo":
        model = zoo.build("albert-nano", task)
    else:
        shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
        model = AlbertForTokenClassification(
            AlbertConfig(vocab_size=task.vocab_size, embedding_size=8, **shape)
        )
    assert is_tied(model)
    own = model.config.num_hidden_layers
    ids = torch.from_numpy(task.sample("train", 0, 2)["input_ids"].astype(np.int64))
    for layers in (1, 3, None):
        with depth(model, layers):
            hidden = model(ids, output_hidden_states=True).hidden_states
        assert len(hidden) == 1 + (layers or own)
    assert model.config.num_hidden_layers == own


def test_a_run_learns_by_stages_and_is_measured_on_its_own_task(tmp_path):
    stages = [
        {"steps": 4, "fields": {"n": 3, "n_tr": 2}, "iterations": 1, "batch": 8},
        {"fields": [{"n": 4}, {}], "iterations": [2, 3], "lr": 0.5},
    ]
    folder = run(
        write(tmp_path, curriculum=stages, steps=8, log_every=1, eval_every=4, schedule="constant"),
        {},
    )
    lines = metrics(folder)
    train = [line for line in lines if line["split"] == "train"]
    asked = [len(line["accuracy_per_position"]) for line in train]
    assert asked == [2, 2, 2, 2, 4, 4, 4, 4]
    assert train[-1]["lr"] == 0.002
    assert all(len(line["accuracy_per_position"]) == 6 for line in lines if line["split"] == "test")
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    assert model.config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"curriculum": [{"step": 3}]}, "field='step': allowed steps, until, fields.*did you mean"),
        ({"curriculum": ["easy"]}, "curriculum='easy': allowed a list of stages"),
        ({"curriculum": [{"steps": 40}]}, "steps=40: allowed null in the last stage"),
        ({"curriculum": [{"until": 0.5}]}, "until=0.5: allowed null in the last stage"),
        ({"curriculum": [{"steps": 30}, {}]}, "steps=30: allowed more than 30"),
        ({"curriculum": [{}, {"steps": 3}]}, "steps=None: allowed a number in every stage but"),
        ({"curriculum": [{"steps": 3, "until": 1.5}, {}]}, "until=1.5: allowed 0 < value < 1"),
        ({"curriculum": [{"batch": 7}], "accumulate": 2}, "batch=7: allowed multiples of 1 proc"),
        ({"curriculum": [{"batch": 0}]}, "batch=0: allowed 1 or more"),
        ({"curriculum": [{"fields": [3]}]}, "fields=3: allowed a mapping, or a list of mappings"),
        ({"curriculum": [{"fields": {"n": 0}}]}, "n=0: allowed 1..26"),
        (
            {"curriculum": [{"fields": {"n": 10}}]},
            r"fields=\{'n': 10\}: allowed sentences of up to 47",
        ),
        ({"curriculum": [{"fields": {"group": "z3"}}]}, "fields=.* vocabulary and labels"),
        ({"curriculum": [{"fields": {"alphabet": 20}}]}, "fields=.* vocabulary and labels"),
        ({"curriculum": [{"iterations": 0}]}, "iterations=0: allowed a number, 1 or more"),
        ({"curriculum": [{"iterations": [1]}]}, r"iterations=\(1,\): allowed a number, 1 or"),
        ({"curriculum": [{"lr": 0}]}, "lr=0: allowed above 0"),
        (
            {"curriculum": [{"iterations": 3}], "model": "bert-nano"},
            "iterations=3: allowed null for a model",
        ),
        ({"iterations": [1, 3], "model": "bert-nano"}, r"iterations=\(1, 3\): allowed null for"),
        ({"iterations": [3, 1]}, r"iterations=\(3, 1\): allowed a number, .*\[fewest, most\]"),
    ],
)
def test_an_impossible_plan_is_one_line_and_nothing_is_written(fields, message, tmp_path, capsys):
    assert main(["train", str(write(tmp_path, **fields))]) == 2
    printed = capsys.readouterr().err
    assert re.match(f"lego: {message}", printed) and printed.count("\n") == 1, printed
    assert not (tmp_path / "run").exists()


def test_a_task_too_long_for_a_checkpoint_is_refused(tmp_path):
    task = lego.load_task("chains", "z2-n6")
    zoo.build("albert-nano", task).save_pretrained(tmp_path / "model")
    fields = {"model": str(tmp_path / "model"), "model_fields": {}, "preset": "z2-n12"}
    with pytest.raises(SettingError, match=r"max_length=92: allowed sentences of up to 47 tokens"):
        run(write(tmp_path, **fields), {})
