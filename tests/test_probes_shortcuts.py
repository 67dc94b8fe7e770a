"""The fingerprint of models whose answers are known, and of models that know nothing."""

import numpy as np
import pytest
import torch
from handmade import counter, solver
from safetensors.torch import save_file
from scipy.stats import binomtest
from transformers.modeling_outputs import TokenClassifierOutput

import lego
from lego import zoo
from lego.answers import asked, followed
from lego.data import Sampled
from lego.evaluate import measure
from lego.probes.shortcuts import fingerprint, history, over_training, verdict, wilson
from lego.settings import Settings, dump_settings
from lego.task import SettingError

TASK = lego.load_task("chains", "z2-n6")
SHORT = lego.load_task("chains", "z2-n6", n=3, n_tr=3)
ROWS = 300


class Replay(torch.nn.Module):
    """A model that gives set answers: (rows, n) classes of the first rows of test, chain order."""

    def __init__(self, task, answers):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))
        batch = task.sample("test", 0, len(answers))
        chosen = np.zeros(batch["input_ids"].shape, np.int64)
        np.put_along_axis(chosen, batch["positions"].astype(np.int64), answers, 1)
        ids = batch["input_ids"].astype(np.int64)
        self.known = {row.tobytes(): answer for row, answer in zip(ids, chosen, strict=True)}
        self.classes = len(task.labels)

    def forward(self, input_ids):
        chosen = np.stack([self.known[row.tobytes()] for row in input_ids.numpy()])
        logits = torch.nn.functional.one_hot(torch.from_numpy(chosen), self.classes).float()
        return TokenClassifierOutput(logits=logits + self.nothing)


def test_the_solver_reasons_and_the_counter_counts():
    found = fingerprint(solver(TASK), Sampled(TASK), "test", ROWS)
    assert verdict(found) == "chain"
    assert (found.loc[found["asked"] > 0, "chain"] == 1).all()
    found = fingerprint(counter(TASK), Sampled(TASK), "test", ROWS)
    assert verdict(found) == "whole-chain"
    assert found.loc["whole-chain", "shortcut"] == found.loc["whole-chain", "agreement"] == 1
    assert found.loc["whole-chain", "chain"] == found.loc["whole-chain", "neither"] == 0


@pytest.mark.parametrize("preset", ["z2-n6", "d3-n6"])
def test_each_shortcut_is_found_where_it_is_followed(preset):
    task = lego.load_task("chains", preset)
    batch = task.sample("test", 0, ROWS)
    for name, answers in task.shortcuts(batch).items():
        found = fingerprint(Replay(task, answers), Sampled(task), "test", ROWS)
        assert found.loc[name, "agreement"] == 1
        # An answer that is always the same says nothing of whom it follows.
        assert verdict(found) == ("none" if name == "majority" else name)


def test_the_answer_of_a_program_is_read_before_the_end_of_its_row():
    """A decoder's last label is the end of the text, which whoever answers gets right."""
    task = lego.load_task("cexec", "straight", form="causal")
    batch = task.sample("test", 0, ROWS)
    wanted = asked(task, batch)
    answer = np.flatnonzero(np.append(wanted.row[1:] != wanted.row[:-1], True)) - 1
    guess = task.shortcuts(batch)["last-constant"]
    differs = guess != task.answers(batch)
    tokens = dict(zip(task.answers(batch), wanted.label[answer], strict=True))
    chosen = wanted.label.copy()
    chosen[answer] = [tokens[value] for value in guess]
    right, found = followed(task, batch, wanted, chosen)
    assert (right == ~differs).all()
    where, same = found["last-constant"]
    assert (where == differs).all() and same.all()


def test_the_counts_are_those_of_an_evaluation():
    model = Replay(TASK, np.random.default_rng(0).integers(0, 2, (ROWS, 6)))
    found = fingerprint(model, Sampled(TASK), "test", ROWS)
    score = measure(model, Sampled(TASK), "test", 0, ROWS)
    for name, (count, chain, shortcut) in score.shortcuts.items():
        line = found.loc[name]
        assert line["asked"] == count
        np.testing.assert_allclose(
            [line["chain"], line["shortcut"]], [chain / count, shortcut / count]
        )
        assert line["chain"] + line["shortcut"] + line["neither"] == pytest.approx(1)
    assert found.loc["chain", "agreement"] == pytest.approx(score.right.sum() / score.asked.sum())


def test_answers_by_chance_follow_nobody():
    """Not once in 60 x 6 chances: the low end of an interval would have to be 0.5 too high."""
    generator = np.random.default_rng(1)
    for _ in range(60):
        model = Replay(SHORT, generator.integers(0, 2, (50, 3)))
        assert verdict(fingerprint(model, Sampled(SHORT), "test", 50)) == "none"


@pytest.mark.parametrize("name", ["bert-nano", "conv-albert-nano", "hf-albert-nano"])
def test_untrained_models_follow_nobody(name):
    for seed in range(4):
        torch.manual_seed(seed)
        found = fingerprint(zoo.build(name, SHORT), Sampled(SHORT), "test", 100)
        assert verdict(found) == "none", (seed, found["excess"])


def test_half_of_the_answers_right_by_reasoning_are_not_enough():
    """The first half of the chain right, the others by chance: nobody is followed in most."""
    batch = TASK.sample("test", 0, ROWS)
    answers = batch["values"].astype(np.int64)
    answers[:, 3:] = np.random.default_rng(2).integers(0, 2, (ROWS, 3))
    found = fingerprint(Replay(TASK, answers), Sampled(TASK), "test", ROWS)
    assert verdict(found) == "none"
    assert 0.4 < found.loc["chain", "excess"] < 0.6


@pytest.mark.parametrize(("part", "whole"), [(0, 7), (7, 7), (3, 11), (480, 1000)])
def test_intervals_are_wilsons(part, whole):
    expected = binomtest(part, whole).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(wilson(part, whole), (expected.low, expected.high), atol=1e-6)


def test_what_is_followed_over_training(tmp_path):
    """Two checkpoints, of which the second, that of a run of ranks, is the hand-built solver."""
    built = solver(SHORT)
    fields = {"hidden_size": 96, "intermediate_size": 18, "num_attention_heads": 3}
    fields |= {"num_hidden_layers": 5, "position_embeddings": "none", "position_bias": "relative"}
    fields["hidden_act"] = "relu"
    settings = Settings(run=str(tmp_path), model="pre-albert-nano", model_fields=fields)
    (tmp_path / "config.yaml").write_text(dump_settings(settings))
    torch.manual_seed(0)
    untrained = zoo.build("pre-albert-nano", SHORT, **fields)
    for step, model, prefix in ((5, untrained, ""), (10, built, "module.")):
        folder = tmp_path / "checkpoints" / f"step-{step}"
        folder.mkdir(parents=True)
        weights = {prefix + name: value for name, value in model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
    found = over_training(tmp_path, Sampled(SHORT), "test", 100)
    told = history(found)
    assert told["first"].to_dict() == {"none": 5, "chain": 10}
    assert told.loc["none", "left"] == 10 and np.isnan(told.loc["chain", "left"])
    with pytest.raises(SettingError, match=r"^run='.*': allowed a run's folder with checkpoints$"):
        over_training(tmp_path / "checkpoints", Sampled(SHORT), "test", 100)


def test_a_run_keeps_what_this_reads(tmp_path):
    from runs import write

    from lego.train import run

    fields = {"steps": 4, "checkpoint_every": 2, "keep_checkpoints": 9, "eval_every": 4}
    folder = run(write(tmp_path, **fields), {})
    found = over_training(folder, Sampled(TASK), "test", 50)
    assert found.index.unique("step").tolist() == [2, 4]
    score = measure(
        zoo.LegoAlbertForTokenClassification.from_pretrained(folder / "model"),
        Sampled(TASK), "test", 0, 50,
    )  # fmt: skip
    last = found.loc[(4, "chain"), "agreement"]
    assert last == pytest.approx(score.right.sum() / score.asked.sum())
