"""Ablation, patching and circuits, on a model whose circuit is known."""

import numpy as np
import pytest
import torch
from handmade import resolved_after, solver

import lego
from lego import zoo
from lego.data import Sampled
from lego.evaluate import measure
from lego.probes.ablate import ablate_heads, ablate_layers, ablate_taps, knock_out
from lego.probes.circuit import Examples, attribution, circuit, smallest
from lego.probes.patch import pairs_in, patch_heads, patch_stream, path
from lego.task import SettingError

N = 3
TASK = lego.load_task("chains", "z2-n6", n=N, n_tr=N)
SOURCE = Sampled(TASK)
CAUSAL = lego.load_task("chains", "z2-n6", form="causal-all", n=N, n_tr=N)
ONE = lego.load_task("chains", "z2-n6", form="causal", n=N, n_tr=N)
LAYERS = 2 * N - 1
ASSOCIATION, OPERATOR, ARGUMENT = range(3)
# In turn: what an operator makes of an argument, and a value on its way to the next clause.
CIRCUIT = sorted(
    [(layer, head) for layer in range(0, LAYERS, 2) for head in (OPERATOR, ARGUMENT)]
    + [(layer, ASSOCIATION) for layer in range(1, LAYERS, 2)]
)


def table(found, *names):
    """Unit -> accuracy by chain position."""
    found = found.pivot_table(index=list(names), columns="position", values="accuracy")
    return {unit: row.to_numpy() for unit, row in found.iterrows()}


def test_the_solver_needs_the_heads_of_its_circuit_and_no_others():
    """Without one of them everything after it is a block late: too late for the last variable."""
    found = ablate_heads(solver(TASK), SOURCE, "test", 120, "zero")
    assert (found["intact"] == 1).all()
    for unit, accuracy in table(found, "layer", "head").items():
        assert (accuracy[:-1] == 1).all()
        assert (accuracy[-1] < 0.8) if unit in CIRCUIT else (accuracy[-1] == 1)


def test_the_solver_needs_every_block():
    found = table(ablate_layers(solver(TASK), SOURCE, "test", 120), "layer")
    assert len(found) == LAYERS
    for accuracy in found.values():
        assert (accuracy[:-1] == 1).all() and accuracy[-1] < 0.8


def test_edges_that_are_knocked_out():
    found = knock_out(solver(TASK), SOURCE, "test", 120, by_layer=True)
    together = {edge: a for (edge, layer), a in table(found, "edge", "layer").items() if layer < 0}
    assert (together["self"] == 1).all()
    for edge in ("association", "chain"):  # only the root needs no other clause
        assert together[edge][0] == 1 and (together[edge][1:] < 0.8).all()
    for edge in ("operator", "argument", "local"):
        assert (together[edge] < 0.8).all()
    for (edge, layer), accuracy in table(found, "edge", "layer").items():
        if edge == "association" and layer >= 0:
            assert (accuracy[-1] < 0.8) == (layer % 2 == 1)


@pytest.mark.parametrize("how", ["mean", "resample"])
def test_other_ablations_leave_a_model_that_does_not_use_its_heads(how):
    model = zoo.build("bert-nano", TASK, num_hidden_layers=2)
    for block in model.model.layers:
        block.attention.out.weight.data.zero_()
    found = ablate_heads(model, SOURCE, "test", 60, how, seed=1)
    np.testing.assert_array_equal(found["accuracy"], found["intact"])


def test_a_tap_that_is_ablated_is_a_weight_that_is_zero():
    torch.manual_seed(0)
    model = zoo.build("conv-albert-nano", TASK, conv_noise=1.0, conv_targets="qk")
    found = ablate_taps(model, SOURCE, "test", 100)
    assert sorted(found["tap"].unique()) == list(range(-3, 4))
    conv = model.model.layers[0].attention.conv
    for tap in range(7):
        kept = conv.weight.data.clone()
        conv.weight.data[:, tap] = -1.0 if tap == 3 else 0.0  # where the identity is added
        score = measure(model, SOURCE, "test", 0, 100)
        conv.weight.data.copy_(kept)
        accuracy = found[found["tap"] == tap - 3]["accuracy"]
        np.testing.assert_allclose(accuracy, score.right / score.asked, atol=0.011)


def test_ablation_of_any_model_leaves_it_as_it_was():
    for model in (zoo.build("hf-gpt2-nano", CAUSAL), zoo.build("canon-gpt-nano", CAUSAL)):
        before = measure(model, Sampled(CAUSAL), "test", 0, 30)
        for ablate in (ablate_heads, ablate_layers, ablate_taps, knock_out):
            found = ablate(model, Sampled(CAUSAL), "test", 30)
            assert {"position", "asked", "accuracy", "intact"} <= set(found.columns)
        after = measure(model, Sampled(CAUSAL), "test", 0, 30)
        assert before.loss == after.loss
    with pytest.raises(SettingError, match=r"^how=.drop.: allowed zero, mean"):
        ablate_heads(model, Sampled(CAUSAL), "test", 30, "drop")


def test_pairs_differ_by_one_operator_and_by_what_hangs_on_it():
    task = lego.load_task("chains", "z2-n6")
    batch = task.sample("test_flipped", 0, 60)
    pairs = pairs_in(task, batch)
    for k in range(30):
        clean, corrupt = batch["input_ids"][2 * k : 2 * k + 2]
        (at,) = np.flatnonzero(clean != corrupt)
        cause = int(np.flatnonzero(batch["positions"][2 * k] == at - 2)[0])
        assert pairs.distance[k].tolist() == [max(c - cause, -1) for c in range(6)]
        assert (pairs.pair == k).sum() == 6 - cause  # in z2 all that hangs on it changes
    only = pairs_in(task, batch, cause=2)
    assert set(only.hops.tolist()) == {0, 1, 2, 3}


def test_patching_finds_the_way_of_a_value_through_the_solver():
    """The operator of the second variable is flipped: it waits for its argument, the value stands
    at its definition, then where it is used, then at the next definition."""
    effect = patch_stream(solver(TASK), SOURCE, 60, cause=1)
    assert effect.sizes == {"depth": LAYERS + 1, "part": 3, "distance": N, "answer": N}
    told = path(effect, answer=1)
    known = resolved_after(1)
    expected = [("operator", 0)] * known
    expected += [("definition", 0), ("argument", 1), ("definition", 1)]
    assert list(zip(told["part"], told["distance"], strict=True)) == expected
    np.testing.assert_allclose(told["effect"], 1, atol=1e-3)
    sites = effect.sel(answer=1).stack(site=("part", "distance")).fillna(0)
    assert (abs(sites).sum("site") < 1.01).all()  # nowhere else is any of it


def test_patching_finds_the_heads_that_carry_it():
    effect = patch_heads(solver(TASK), SOURCE, 60, cause=1)
    carries = {
        answer: {
            (int(layer), int(head))
            for layer in effect["layer"]
            for head in effect["head"]
            if effect.sel(layer=layer, head=head, answer=answer) > 0.5
        }
        for answer in (0, 1)
    }
    reads = (2, OPERATOR)  # the head that reads the operator when the argument is known
    assert carries == {0: {reads}, 1: {reads, (3, ASSOCIATION), (4, ARGUMENT)}}


@pytest.mark.parametrize(
    ("name", "task"),
    [("conv-albert-nano", TASK), ("hf-modernbert-nano", TASK), ("hf-llama-nano", ONE)],
)
def test_all_of_the_difference_is_in_the_operators_embedding(name, task):
    torch.manual_seed(0)
    effect = patch_stream(zoo.build(name, task, num_hidden_layers=1), Sampled(task), 40)
    whole = effect.sel(depth=0, part="operator", distance=0)
    np.testing.assert_allclose(whole, [1, 1, np.nan], atol=1e-3)  # a root has no such operator
    other = effect.sel(depth=0, part="argument", distance=0)
    np.testing.assert_allclose(other, [0, 0, np.nan], atol=1e-3)


def test_the_greedy_circuit_of_the_solver_is_its_circuit():
    curve = circuit(solver(TASK), SOURCE, "test", 24, how="zero")
    assert curve["size"].tolist() == list(range(3 * LAYERS, -1, -1))
    assert smallest(curve) == CIRCUIT
    assert (curve.loc[curve["size"] >= len(CIRCUIT), "accuracy"] == 1).all()
    assert (curve["faithfulness"].iloc[[0, -1]] == [1, 0]).all()


def test_what_heads_are_worth_adds_up_to_what_all_of_them_are():
    torch.manual_seed(0)
    model = zoo.build("hf-bert-nano", TASK, num_hidden_layers=2, initializer_range=0.3)
    model.classifier.weight.data.mul_(3)
    # A few answers only: over many, what an untrained model wins and loses is even.
    found = attribution(model, SOURCE, "test", 3, "zero", steps=60)
    examples = Examples(model, SOURCE, "test", 3, "zero", 0)
    fall = examples.scores([])[0] - examples.scores(examples.heads)[0]
    assert abs(fall) > 0.003
    assert found["worth"].sum() == pytest.approx(fall, rel=0.02)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
@pytest.mark.parametrize("name", ["conv-albert-nano", "hf-bert-nano"])
def test_scores_that_start_from_what_was_kept_are_those_of_a_whole_pass(name, how):
    torch.manual_seed(0)
    model = zoo.build(name, TASK)
    kept = Examples(model, SOURCE, "test", 300, how, 0)  # two batches
    sets = [[], [(1, 0)], [(1, 0), (2, 1)], [(2, 1)], [(2, 1)], [(0, 1), (2, 1)], kept.heads]
    for k, heads in enumerate(sets):
        whole = Examples(model, SOURCE, "test", 300, how, 0).scores(heads)
        assert kept.scores(heads, keep=k != 3) == whole


def test_a_circuit_by_attribution_leaves_out_what_is_worth_least():
    torch.manual_seed(0)
    model = zoo.build("hf-gpt2-nano", CAUSAL, num_hidden_layers=2)
    found = attribution(model, Sampled(CAUSAL), "test", 40)
    curve = circuit(model, Sampled(CAUSAL), "test", 40, "attribution")
    ranked = found.sort_values("worth")[["layer", "head"]].to_numpy().tolist()
    assert curve[["layer", "head"]].to_numpy().tolist() == [[-1, -1], *ranked]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: patch_stream(m, SOURCE, 3), "rows=3: allowed 2, 4, ..."),
        (lambda m: circuit(m, SOURCE, "test", 9, "acdc"), "method='acdc': allowed greedy"),
        (lambda m: circuit(m, SOURCE, "test", 0), "rows=0: allowed 1 or more"),
        (lambda m: knock_out(m, SOURCE, "test", 0), "rows=0: allowed 1 or more"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(call, said):
    with pytest.raises(SettingError) as raised:
        call(zoo.build("bert-nano", TASK, num_hidden_layers=1))
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)
