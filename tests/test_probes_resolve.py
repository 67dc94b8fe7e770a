"""Readouts and the logit lens, on what is known to be in a stream."""

import numpy as np
import pytest
import torch
from handmade import resolved_after, solver
from zoo_cases import CLASSIFY, PREDICT, build, sentences

import lego
from lego import zoo
from lego.data import Sampled
from lego.evaluate import measure
from lego.probes.lens import logit_lens, readings
from lego.probes.resolve import resolve
from lego.task import SettingError

TASK = lego.load_task("chains", "z2-n6")
CAUSAL = lego.load_task("chains", "z2-n6", form="causal-all")


def first_tokens(hidden):
    return hidden[:, :3].flatten(0, 1)


NAMES = ["conv-albert-nano", "bert-nano", "looped-nano", "canon-gpt-nano"]


@pytest.mark.parametrize("name", NAMES)
def test_the_lens_is_the_zoos_own_readout(name):
    model, ids = build(name).eval(), sentences()
    read = readings(model, {"input_ids": ids}, first_tokens)
    output = model(ids, output_hidden_states=True)
    layers = len(output.hidden_states)
    assert len(read) == layers == 1 + model.config.num_hidden_layers
    for layer, hidden in enumerate(output.hidden_states[:-1]):
        expected = first_tokens(model.readout(hidden))
        torch.testing.assert_close(read[layer], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read[-1], first_tokens(output.logits), atol=1e-5, rtol=1e-5)


STOCK = {
    "hf-bert-nano": lambda model, hidden: model.classifier(hidden),
    "hf-albert-nano": lambda model, hidden: model.classifier(hidden),
    "hf-modernbert-nano": lambda model, hidden: model.classifier(
        model.head(model.model.final_norm(hidden))
    ),
    "hf-gpt2-nano": lambda model, hidden: model.lm_head(model.transformer.ln_f(hidden)),
    "hf-llama-nano": lambda model, hidden: model.lm_head(model.model.norm(hidden)),
}


@pytest.mark.parametrize("name", STOCK)
def test_the_lens_of_a_stock_model_is_its_head_after_its_last_norm(name):
    torch.manual_seed(0)
    task = PREDICT if name in zoo.names("causal-lm") else CLASSIFY
    model, ids = zoo.build(name, task).eval(), sentences()
    read = readings(model, {"input_ids": ids}, first_tokens)
    output = model(ids, output_hidden_states=True)
    for layer, hidden in enumerate(output.hidden_states[:-1]):
        expected = first_tokens(STOCK[name](model, hidden))
        torch.testing.assert_close(read[layer], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read[-1], first_tokens(output.logits), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", [TASK, CAUSAL], ids=["encoder", "decoder"])
def test_the_lens_ends_at_the_models_own_accuracy(task):
    name = "conv-albert-nano" if task is TASK else "conv-gpt-nano"
    torch.manual_seed(0)
    model = zoo.build(name, task)
    found = logit_lens(model, Sampled(task), "test", 300)
    score = measure(model, Sampled(task), "test", 0, 300)
    np.testing.assert_allclose(found.accuracy[-1], score.right / score.asked)
    assert found.sizes == {"layer": 7, "position": 6}
    assert not model._forward_hooks and not model.base_model._forward_hooks


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_a_readout_finds_what_a_token_says_and_nothing_else(method):
    """The root's argument is its value; no other token of the embedding knows any value."""
    model = zoo.build("bert-nano", TASK)
    places = {
        where: resolve(model, Sampled(TASK), "test", 800, method, where=where).isel(layer=0)
        for where in ("argument", "answer")
    }
    own = places["argument"].accuracy.sel(offset=0)
    assert own[0] == 1
    assert (own[1:] < 0.65).all() and (places["answer"].accuracy < 0.65).all()
    for found in places.values():
        assert ((found.control > 0.35) & (found.control < 0.65)).all()


def test_what_is_resolved_where():
    """The token of the root's value has it from the start; no untrained model has the others."""
    model = zoo.build("bert-nano", TASK)
    found = resolve(model, Sampled(TASK), "test", 600, offsets=(-1, 0), where="argument")
    assert found.accuracy.dims == ("layer", "offset", "position")
    assert found.sizes == {"layer": 7, "offset": 2, "position": 6}
    assert found.resolved[0] == 0 and found.resolved[2:].isnull().all()
    assert found.accuracy.sel(offset=-1)[:, 0].isnull().all()  # nothing comes before the root


def test_readouts_do_not_depend_on_how_rows_are_batched(monkeypatch):
    torch.manual_seed(0)
    model = zoo.build("conv-gpt-nano", CAUSAL, num_hidden_layers=1)
    whole = resolve(model, Sampled(CAUSAL), "test", 100, where="definition", seed=3)
    monkeypatch.setattr("lego.probes.resolve.BATCH", 33)
    parts = resolve(model, Sampled(CAUSAL), "test", 100, where="definition", seed=3)
    np.testing.assert_allclose(whole.accuracy, parts.accuracy, atol=0.05)
    np.testing.assert_array_equal(whole.resolved, parts.resolved)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "lasso"}, "method='lasso': allowed ridge, logistic"),
        ({"where": "depth"}, "where='depth': allowed answer, definition, operator, argument"),
        ({"rows": 7}, "rows=7: allowed 8 or more"),
        ({"split": "dev"}, "split='dev': allowed "),
    ],
)
def test_what_cannot_be_read_out_is_refused_in_a_line(given, said):
    model = zoo.build("bert-nano", TASK, num_hidden_layers=1)
    arguments = {"split": "test", "rows": 20} | given
    with pytest.raises(SettingError) as raised:
        resolve(model, Sampled(TASK), **arguments)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


SHORT = lego.load_task("chains", "z2-n6", n=3, n_tr=3)


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_the_hand_built_solver_resolves_each_variable_where_it_is_said_to(method):
    found = resolve(solver(SHORT), Sampled(SHORT), "test", 240, method)
    assert found.resolved.values.tolist() == [resolved_after(depth) for depth in range(3)]
    for depth in range(3):
        own = found.accuracy.sel(offset=0, position=depth)
        assert (own[resolved_after(depth) :] == 1).all()
        assert (own[: resolved_after(depth)] < 0.8).all()


def test_a_value_is_used_one_block_after_it_is_resolved():
    """At its argument the next clause knows what stands before it: offset 1 of that place."""
    found = resolve(solver(SHORT), Sampled(SHORT), "test", 240, offsets=(1,), where="argument")
    for depth in range(2):
        used = found.accuracy.sel(offset=1, position=depth)
        assert (used[resolved_after(depth) + 1 :] == 1).all()
        assert (used[: resolved_after(depth) + 1] < 0.8).all()


def test_the_lens_sees_the_solver_answer_from_there_on():
    found = logit_lens(solver(SHORT), Sampled(SHORT), "test", 240)
    for depth in range(3):
        assert (found.accuracy.sel(position=depth)[resolved_after(depth) :] == 1).all()
        assert (found.accuracy.sel(position=depth)[: resolved_after(depth)] < 0.7).all()
