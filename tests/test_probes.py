"""Scores against models whose attention is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from handmade import ROLES, counter, solver

import lego
from lego import zoo
from lego.cli import main
from lego.data import Sampled, Stored
from lego.probes.ablate import ablate_heads, ablate_layers, knock_out
from lego.probes.circuit import attribution, circuit
from lego.probes.lens import logit_lens
from lego.probes.patch import patch_heads, patch_stream
from lego.probes.patterns import attention_maps, head_scores
from lego.probes.resolve import resolve
from lego.probes.run import probe
from lego.probes.sentences import sentences
from lego.probes.shortcuts import fingerprint
from lego.task import SettingError
from lego.zoo.mimic import divergence, targets

TASK = lego.load_task("chains", "z2-n6")
EDGES = ("association", "chain", "operator", "argument", "self", "local", "clause", "separator")


def decoder():
    config = zoo.LegoGPTConfig(vocab_size=TASK.vocab_size, num_hidden_layers=2, conv_kernel=4)
    return zoo.LegoGPTForCausalLM(config)


def uniform_model(causal):
    """Queries and keys are zero, so that attention is spread evenly over what may be seen."""
    model = decoder() if causal else zoo.build("bert-nano", TASK)
    for name, parameter in model.named_parameters():
        if "qkv" in name:
            parameter.data[: 2 * model.config.hidden_size] = 0
    return model


@pytest.mark.parametrize("causal", [False, True])
def test_even_attention_scores_what_even_attention_is_said_to(causal):
    scores = head_scores(uniform_model(causal), Sampled(TASK), "test", 100)
    for edge in EDGES:
        if causal and edge in ("operator", "argument"):  # they stand to the right of the variable
            assert edge not in scores
        else:
            np.testing.assert_allclose(scores[edge], scores[f"{edge}_even"], rtol=1e-4)
    np.testing.assert_allclose(scores["entropy"], scores["entropy_even"], rtol=1e-4)
    assert set(scores["role"]) == {"none"}
    if not causal:  # each of 32 tokens may see 32; 10 variables of 11 tokens have one twin
        first = scores.iloc[0]
        assert first["association"] == pytest.approx(1 / 32)
        assert first["local"] == pytest.approx((5 * 32 - 6) / 32 / 32)
        assert first["clause"] == pytest.approx(2 / 32)
        assert first["chain"] == pytest.approx(3 / 32)
        assert first["separator"] == pytest.approx((2 + 6 * 2) / 32)
        assert first["offset_-3"] == pytest.approx(29 / 32 / 32)
        assert first["entropy"] == pytest.approx(np.log(32), rel=1e-4)


def test_a_head_built_to_associate_is_found_and_so_is_one_built_to_be_local():
    """Head 0 sees its neighbours by its bias; head 1 matches one-hot tokens, itself among them."""
    width = 128
    model = zoo.build(
        "bert-nano", TASK, hidden_size=width, num_hidden_layers=1, position_bias="relative",
        position_embeddings="none", norm_position="pre",
    )  # fmt: skip
    block = model.model.layers[0].attention
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
        for token in range(TASK.vocab_size):
            model.model.embed_tokens.weight[token, 64 + token] = 1.0
        block.qkv.weight.zero_()
        block.qkv.bias.zero_()
        for start in (64, width + 64):  # head 1's part of the queries and of the keys
            block.qkv.weight[start : start + 64, 64:] = torch.eye(64)
        block.relative_bias.weight.zero_()
        distance = torch.arange(-16, 17).abs()
        block.relative_bias.weight[0] = torch.where(distance <= 2, 0.0, -30.0)
        block.relative_bias.weight[1, 16] = -1e4  # head 1 does not see itself
    scores = head_scores(model, Sampled(TASK), "test", 200)
    assert scores["local"][0] > 0.999
    assert scores["association"][1] > 0.99
    assert list(scores["role"]) == ["local", "association"]


@pytest.mark.parametrize("name", ["z2-n6", "z2-n12"])
def test_the_heads_of_the_solver_are_named_by_what_they_were_built_for(name):
    task = lego.load_task("chains", name)
    model = solver(task)
    scores = head_scores(model, Sampled(task), "test", 150)
    layers = 2 * task.config.n - 1
    assert list(scores["role"]) == layers * list(ROLES)
    assert list(scores["layer"]) == np.repeat(range(layers), 3).tolist()
    for head, column in enumerate(("association", "operator", "argument")):
        np.testing.assert_allclose(scores[column][head::3], 1, atol=1e-4)
        assert (scores[f"{column}_low"][head::3] > 0.9).all()
    length = 5 * task.config.n + 2
    for head, offset in ((1, 2), (2, 3)):
        np.testing.assert_allclose(
            scores[f"offset_{offset}"][head::3], (length - offset) / length, atol=1e-4
        )
    # But [CLS], which has no place like itself to look at, looks everywhere in head 0.
    expected = layers * [np.log(length - 1) / length, 0, 0]
    np.testing.assert_allclose(scores["entropy"], expected, atol=1e-4)


def test_the_head_of_the_counter_has_no_role():
    assert list(head_scores(counter(TASK), Sampled(TASK), "test", 100)["role"]) == ["none"]


def test_random_models_have_no_roles():
    """192 heads; none has half of what chance leaves, so that one of them is named in one of 100
    tests such as this."""
    for seed in range(4):
        torch.manual_seed(seed)
        for kind in ("bert", "pre-albert", "hf-bert", "canon-albert"):
            model = zoo.build(f"{kind}-nano", TASK)
            assert set(head_scores(model, Sampled(TASK), "test", 100)["role"]) == {"none"}


def slow_scores(model, task, rows):
    """The scores, sentence by sentence and query by query, from the text's own clauses."""
    batch = task.sample("test", 0, rows)
    graph, found = task.graph(batch), []
    for row in range(rows):
        ids, length = batch["input_ids"][row], int((batch["input_ids"][row] != 0).sum())
        real = graph["definition"][row] >= 0
        places = [
            {part: graph[part][row, c] for part in ("definition", "operator", "argument")}
            for c in np.flatnonzero(real)
        ]
        defines = {clause["definition"]: clause for clause in places}
        clause_of = {at: clause for clause in places for at in clause.values()}
        parent = dict(zip(graph["definition"][row], graph["parent"][row], strict=True))
        twin = {
            i: [j for j in range(length) if graph["association"][row, i, j]] for i in range(length)
        }
        told = set(clause_of) | {i for i in twin if twin[i]}
        wanted = {
            "association": twin,
            "operator": {c["definition"]: [c["operator"]] for c in places},
            "argument": {c["definition"]: [c["argument"]] for c in places},
            "clause": {at: [b for b in c.values() if b != at] for at, c in clause_of.items()},
            "chain": {
                at: list(defines[parent[c["definition"]]].values())
                for at, c in clause_of.items()
                if parent[c["definition"]] >= 0
            },
            "self": {i: [i] for i in range(length)},
            "local": {i: [j for j in range(length) if abs(i - j) <= 2] for i in range(length)},
            "separator": {i: [j for j in range(length) if j not in told] for i in range(length)},
        }
        maps = attention_maps(model, Sampled(task), "test", row)[:, :, :length, :length]
        causal = task.head == "causal-lm"
        scores = {}
        for edge, keys in wanted.items():
            seen = {q: [k for k in ks if k <= q or not causal] for q, ks in keys.items()}
            shares = [maps[:, :, q, ks].sum(-1) for q, ks in seen.items() if ks]
            if shares:
                scores[edge] = np.mean(shares, 0)  # (layers, heads)
        logs = np.log(np.where(maps > 0, maps, 1))
        scores["entropy"] = -(maps * logs).sum(-1).mean(-1)
        for offset in (-8, 0, 3):
            diagonal = maps.diagonal(offset, 2, 3).sum(-1) / length
            scores[f"offset_{offset}"] = diagonal
        tensor = torch.from_numpy(ids[None, :length].astype(np.int64))
        association, local, visible = targets(tensor, None, causal)
        for edge, pattern in (("association", association), ("local", local)):
            scores[f"{edge}_divergence"] = np.array(
                [
                    [
                        divergence(torch.from_numpy(head)[None], pattern, visible, None)
                        for head in layer
                    ]
                    for layer in maps
                ]
            )
        found.append({name: score.flatten() for name, score in scores.items()})
    return {name: np.mean([scores[name] for scores in found], 0) for name in found[0]}


@pytest.mark.parametrize(
    ("name", "form", "model"),
    [("z2-n6", "paper", "conv-albert-nano"), ("z2-mix", "paper", "bert-nano"),
     ("z2-trees", "causal", "gpt-nano"), ("z2-n6", "paper", "hf-bert-nano")],
)  # fmt: skip
def test_scores_are_those_of_a_slow_reading_whatever_the_batches(name, form, model, monkeypatch):
    task = lego.load_task("chains", name, form=form)
    torch.manual_seed(1)
    model = zoo.build(model, task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    expected = slow_scores(model, task, 23)
    for batch, fuses in ((64, True), (11, True), (64, False)):  # in batches of 11 and 12 too
        monkeypatch.setattr("lego.probes.patterns.BATCH", batch)
        monkeypatch.setattr("lego.probes.fused.usable", lambda seen, fuses=fuses: fuses)
        found = head_scores(model, Sampled(task), "test", 23)
        for name, scores in expected.items():
            np.testing.assert_allclose(found[name], scores, rtol=1e-3, atol=1e-5, err_msg=name)


def test_an_interval_holds_the_score_of_many_sentences():
    """And that of association is against other sentences: a head that only looks where such edges
    mostly are has no excess."""
    torch.manual_seed(0)
    model = zoo.build("bert-nano", TASK)
    few = head_scores(model, Sampled(TASK), "test", 40)
    many = head_scores(model, Sampled(TASK), "validation", 2000)
    for edge in EDGES:
        excess = (many[edge] - many[f"{edge}_chance"]) / (1 - many[f"{edge}_chance"])
        assert (few[f"{edge}_low"] <= excess + 1e-6).all(), edge
        assert (few[f"{edge}_high"] >= excess - 1e-6).all(), edge
        assert (many[f"{edge}_high"] - many[f"{edge}_low"]).max() < 0.1


def test_probe_and_eval_write_json(tmp_path, capsys):
    zoo.build("conv-albert-nano", TASK).save_pretrained(tmp_path / "model")
    for command in ("probe", "eval"):
        out = tmp_path / f"{command}.json"
        words = [command, str(tmp_path / "model"), "chains", "--preset", "z2-n6", "--rows", "70"]
        assert main([*words, "--out", str(out)]) == 0
        result = json.loads(out.read_text())
        assert len(result["accuracy_per_position"]) == 6 and result["rows"] == 70
        assert main([*words, "--split", "dev", "--out", str(out)]) == 2
        assert main([*words[:-1], "0", "--out", str(out)]) == 2
    assert main(["probe", *words[1:-1], "1", "--out", str(out)]) == 2
    result = json.loads((tmp_path / "probe.json").read_text())
    assert len(result["heads"]) == 12
    assert result["sentences"][0]["shape"] == [6, 2, 32, 32]
    assert result["sentences"][0]["tokens"][0] == "[CLS]"
    assert {"layer", "head", "association", "local", "role"} <= result["heads"][0].keys()
    assert result["uniform"]["association"] == pytest.approx(1 / 32, abs=1e-4)


def test_a_corpus_of_programs_is_probed_as_its_task_is(tmp_path):
    """Its columns lack what the graph is read from."""
    rows = ["--rows", "train=8,test=8"]
    assert main(["make", "cexec", str(tmp_path / "c"), "--preset", "straight", *rows]) == 0
    task = lego.load_task("cexec", "straight")
    torch.manual_seed(0)
    model = zoo.build("gpt-nano", task, num_hidden_layers=1)
    stored, sampled = Stored(tmp_path / "c"), Sampled(task)
    assert not stored.explained
    assert probe(model, stored, "test", 8, brief=True) == probe(model, sampled, "test", 8, True)
    for measure in (
        lambda source: head_scores(model, source, "test", 8),
        lambda source: ablate_heads(model, source, "test", 8),
        lambda source: ablate_layers(model, source, "test", 8),
        lambda source: knock_out(model, source, "test", 8, by_layer=True),
        lambda source: circuit(model, source, "test", 8),
        lambda source: attribution(model, source, "test", 8, steps=1),
        lambda source: fingerprint(model, source, "test", 8),
    ):
        pd.testing.assert_frame_equal(measure(stored), measure(sampled))
    for measure in (
        lambda source: resolve(model, source, "test", 8),
        lambda source: logit_lens(model, source, "test", 8),
    ):
        xr.testing.assert_identical(measure(stored), measure(sampled))
    assert sentences(model, stored, "test") == sentences(model, sampled, "test")
    for refused in (
        lambda: patch_stream(model, stored, 8),
        lambda: patch_heads(model, stored, 8),
        lambda: resolve(model, stored, "test", 8, where="operator"),
    ):
        with pytest.raises(SettingError, match=r"^(task|where)=.*: allowed [^\n]*$"):
            refused()
