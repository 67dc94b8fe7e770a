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
from lego.cli import main
from lego.curriculum import Curriculum, depth, is_tied
from lego.data import Sampled
from lego.settings import Settings
from lego.task import SettingError
from lego.train import run

SHORT, LONG = {"n": 3, "n_tr": 2}, {"n": 5, "n_tr": 4}


def plan(stages=(), model="conv-albert-nano", model_fields=None, **fields):
    settings = Settings(run="r", preset="z2-n6", curriculum=tuple(stages), steps=10, **fields)
    source = Sampled(lego.load_task("chains", "z2-n6"))
    return Curriculum(settings, source, zoo.build(model, source.task, **model_fields or {}))


def said(moment):
    config = moment.source.task.config
    return config.n, config.n_tr, moment.layers, moment.lr


def test_stages_follow_each_other_and_parts_take_turns():
    curriculum = plan(
        [
            {"steps": 2, "fields": SHORT},
            {"steps": 5, "fields": [SHORT, LONG], "layers": [4, 8], "lr": 0.5},
            {},
        ]
    )
    short, long = (3, 2, 4, 0.5), (5, 4, 8, 0.5)
    assert [said(curriculum.at(step)) for step in range(10)] == (
        [(3, 2, 3, 1)] * 2 + [short, long, short, long, short] + [(6, 4, 6, 1)] * 3
    )
    assert curriculum.lengths == {17, 27, 32}


def test_no_example_of_a_task_is_seen_twice():
    curriculum, seen = plan([{"fields": [SHORT, LONG]}]), {3: set(), 5: set()}
    for step in range(10):
        source = curriculum.at(step).source
        ids = source.take("train", 16 * step, 16 * step + 16)["input_ids"]
        seen[source.task.config.n] |= {row.tobytes() for row in ids}
    assert {n: len(rows) for n, rows in seen.items()} == {3: 80, 5: 80}


def test_a_model_of_its_own_depth_keeps_it_and_an_untied_one_has_no_other():
    fields = {"num_hidden_layers": 2}
    assert said(plan([{"fields": SHORT}], model_fields=fields).at(0)) == (3, 2, 2, 1)
    assert said(plan([{"fields": SHORT}], "bert-nano").at(0)) == (3, 2, None, 1)


def test_iterations_are_drawn_from_seed_and_step_alone():
    first, again, other = (plan(iterations=(2, 4), seed=seed) for seed in (0, 0, 1))
    draws = [[curriculum.at(step).layers for step in range(10)] for curriculum in (first, other)]
    assert [again.at(step).layers for step in reversed(range(10))] == draws[0][::-1]
    assert set(draws[0]) == {2, 3, 4} and draws[0] != draws[1]


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
        {"steps": 4, "fields": {"n": 3, "n_tr": 2}, "layers": 1},
        {"fields": [{"n": 4}, {}], "layers": [2, 3], "lr": 0.5},
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
        ({"curriculum": [{"step": 3}]}, "field='step': allowed steps, fields.*did you mean"),
        ({"curriculum": ["easy"]}, "curriculum='easy': allowed a list of stages"),
        ({"curriculum": [{"steps": 40}]}, "steps=30: allowed 40, as the stages"),
        ({"curriculum": [{"steps": 30}, {}]}, "steps=30: allowed more than 30"),
        ({"curriculum": [{}, {"steps": 3}]}, "steps=None: allowed a number in every stage but"),
        ({"curriculum": [{"fields": [3]}]}, "fields=3: allowed a mapping, or a list of mappings"),
        ({"curriculum": [{"fields": {"n": 0}}]}, "n=0: allowed 1..26"),
        (
            {"curriculum": [{"fields": {"n": 10}}]},
            r"fields=\{'n': 10\}: allowed sentences of up to 47",
        ),
        ({"curriculum": [{"fields": {"group": "z3"}}]}, "fields=.* vocabulary and labels"),
        ({"curriculum": [{"fields": {"alphabet": 20}}]}, "fields=.* vocabulary and labels"),
        ({"curriculum": [{"layers": 0}]}, "layers=0: allowed 1 or more"),
        ({"curriculum": [{"layers": [1, 2]}]}, r"layers=\(1, 2\): allowed a list of 1, as fields"),
        ({"curriculum": [{"layers": 3}], "iterations": [1, 2]}, "layers=3: allowed null where"),
        ({"curriculum": [{"lr": 0}]}, "lr=0: allowed above 0"),
        (
            {"curriculum": [{"layers": 3}], "model": "bert-nano"},
            "layers=3: allowed null for a model",
        ),
        ({"iterations": [1, 3], "model": "bert-nano"}, r"iterations=\(1, 3\): allowed null for"),
        ({"iterations": [3, 1]}, r"iterations=\(3, 1\): allowed \[fewest, most\]"),
        ({"curriculum": [{}], "corpus": "x"}, r"curriculum=.*: allowed \[\] for a corpus"),
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
