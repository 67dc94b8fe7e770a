"""The sections of probe.json, on models whose answers are known."""

import base64
import json
import re

import numpy as np
import pytest
import torch
import yaml
from handmade import ROLES, counter, resolved_after, solver
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import lego
from lego import zoo
from lego.cli import main
from lego.data import Sampled
from lego.probes.patterns import attention_maps, head_scores
from lego.probes.plain import plain, records
from lego.probes.resolve import resolve
from lego.probes.results import passed, sections
from lego.probes.run import SECTIONS
from lego.probes.sentences import SENTENCES, clauses, sentences

SHORT = lego.load_task("chains", "z2-n6", n=3, n_tr=3)


@pytest.fixture(scope="module")
def solved():
    return sections(solver(SHORT), Sampled(SHORT), "test", rows=60)


def test_what_the_solver_does_is_in_every_section(solved):
    assert list(solved) == [*SECTIONS, "missing"] and solved["missing"] == {}
    assert solved["resolve"]["resolved"] == [resolved_after(depth) for depth in range(3)]
    assert solved["lens"]["accuracy"][-1] == [1, 1, 1]
    assert solved["fingerprint"]["verdict"] == "chain"
    edges = {(row["edge"], row["position"]): row for row in solved["ablation"]["edges"]}
    assert all(row["intact"] == 1 for row in edges.values())
    assert edges["association", 2]["accuracy"] < 0.8 and edges["separator", 2]["accuracy"] == 1
    last = np.array(solved["patching"]["stream"], float)[-1]  # (part, distance, answer)
    at_answer = last[solved["patching"]["parts"].index("definition")].diagonal()
    assert at_answer[:2] == pytest.approx([1, 1])
    assert np.isnan(at_answer[2])  # the root never differs, so that nothing is two hops away
    assert solved["circuit"]["curve"][0]["accuracy"] == 1
    json.dumps(solved, allow_nan=False)


def test_what_a_source_cannot_be_asked_is_missing_with_the_reason():
    source = Sampled(SHORT)
    source.splits = ("train", "validation", "test")
    found = sections(zoo.build("bert-nano", SHORT), source, "test", rows=20)
    assert list(found["missing"]) == ["patching"]
    assert "test_flipped" in found["missing"]["patching"] and "patching" not in found


def test_a_brief_probe_has_heads_and_sentences_alone(tmp_path):
    zoo.build("bert-nano", SHORT).save_pretrained(tmp_path)
    words = ["probe", str(tmp_path), "chains", "--preset", "z2-n6", "n=3", "n_tr=3", "--rows", "9"]
    assert main([*words, "--brief", "--out", str(tmp_path / "probe.json")]) == 0
    found = json.loads((tmp_path / "probe.json").read_text())
    assert {"heads", "uniform", "sentences"} <= found.keys()
    assert not {*SECTIONS, "missing"} & found.keys()


@pytest.mark.parametrize("fields", [{}, {"form": "english"}])
def test_clauses_are_those_of_the_text(fields):
    task = lego.load_task("chains", "z2-n6", **fields)
    batch = task.sample("test", 0, 20)
    found = clauses(task, batch)
    tokenizer = task.tokenizer()
    for row, ids in enumerate(batch["input_ids"]):
        words = tokenizer.convert_ids_to_tokens(ids.tolist())
        for chain, at in enumerate(batch["positions"][row]):
            mine = [word for word, clause in zip(words, found[row], strict=True) if clause == chain]
            assert words[at] in mine
            assert sum(word in (",", ".") for word in mine) <= 1
        special = np.isin(ids, tokenizer.all_special_ids)
        assert (found[row][special] == -1).all()


def test_sentences_hold_the_maps_without_padding():
    task = lego.load_task("chains", "z2-n6", mixture=[{"n": 3, "n_tr": 3}, {"n": 6}])
    model, source = zoo.build("bert-nano", task), Sampled(task)
    found = sentences(model, source, "test")
    assert len(found) == SENTENCES
    for row, one in enumerate(found):
        length = len(one["tokens"])
        assert "[PAD]" not in one["tokens"]
        assert len(one["steps"]) == len(one["clauses"]) == length
        held = np.frombuffer(base64.b64decode(one["attention"]), np.uint8).reshape(one["shape"])
        maps = attention_maps(model, source, "test", row)[:, :, :length, :length]
        np.testing.assert_allclose(held / 255, maps, atol=0.5 / 255 + 1e-6)


def test_plain_numbers_have_four_digits_and_no_nan():
    assert plain(np.array([[1 / 3, np.nan], [0, 2]])) == [[0.3333, None], [0.0, 2.0]]


@pytest.mark.parametrize(
    ("build", "verdict", "roles"), [(solver, "chain", ROLES), (counter, "whole-chain", ("none",))]
)
def test_the_commands_tell_of_a_model_what_it_was_built_for(build, verdict, roles, tmp_path):
    """From a folder of weights to a run that leaves them as they are, its probe and its report."""
    build(SHORT).save_pretrained(tmp_path / "built")
    run, out, page = tmp_path / "run", tmp_path / "run/probe.json", tmp_path / "report.html"
    fields = {"run": str(run), "preset": "z2-n6", "fields": {"n": 3, "n_tr": 3}, "threads": 1}
    fields |= {"model": str(tmp_path / "built"), "steps": 3, "lr": 1e-30, "batch": 8}
    fields |= {"eval_rows": 60, "eval_every": 3, "checkpoint_every": 1, "keep_checkpoints": 3}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    where = [str(run / "model"), "chains", "--preset", "z2-n6", "n=3", "n_tr=3", "--rows", "100"]
    assert main(["probe", *where, "--out", str(out)]) == 0
    assert main(["report", str(run), "--out", str(page)]) == 0
    found = json.loads(out.read_text())
    assert found["missing"] == {}
    assert found["fingerprint"]["verdict"] == verdict
    layers = found["heads"][-1]["layer"] + 1
    assert [head["role"] for head in found["heads"]] == [*roles] * layers
    assert found["circuit"]["curve"][0]["size"] == len(found["heads"])
    if build is solver:
        assert found["accuracy_per_position"] == [1, 1, 1]
        assert found["resolve"]["resolved"] == [resolved_after(depth) for depth in range(3)]
    embedded = re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.S)[1]
    (told,) = json.loads(embedded)["runs"]
    assert told["probe"]["fingerprint"]["verdict"] == verdict
    assert "tell of no labels in training" in told["sentence"]  # it logged none of its 3 steps
    assert told["followed"]["steps"] == [1, 2, 3]
    assert f"Verdicts: {verdict} from step 1." in told["followed"]["said"]
    assert told["followed"]["excess"][verdict] == [1, 1, 1]


def test_a_checkpoint_for_other_words_is_probed_without_a_head(tmp_path, capsys):
    """What does not take an answer is that of the same weights in transformers' own class."""
    words = [SHORT.tokenizer().convert_ids_to_tokens(i) for i in range(SHORT.vocab_size)]
    vocabulary = [*(f"word{i}" for i in range(9)), *words]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, "[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(tmp_path)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 64, "initializer_range": 0.3}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(tmp_path)
    where = [str(tmp_path), "chains", "--preset", "z2-n6", "n=3", "n_tr=3", "--rows", "60"]
    assert main(["probe", *where, "--out", str(tmp_path / "probe.json")]) == 0
    assert "no head" in capsys.readouterr().err
    found = json.loads((tmp_path / "probe.json").read_text())
    assert list(found["missing"]) == [name for name in SECTIONS if name != "resolve"]
    assert not {"loss", "accuracy", *found["missing"]} & found.keys()
    stock = zoo.build("hf-bert-nano", SHORT, init=f"pretrained:{tmp_path}", **shape)
    expected = records(head_scores(stock, Sampled(SHORT), "test", 60))
    for head, same in zip(found["heads"], expected, strict=True):
        assert head == pytest.approx(same, abs=2e-4)
    told = resolve(stock, Sampled(SHORT), "test", 60).sel(offset=0)
    np.testing.assert_allclose(found["resolve"]["accuracy"], told.accuracy, atol=0.07)
    assert main(["eval", *where, "--out", str(tmp_path / "eval.json")]) == 2


def test_a_large_model_is_read_on_fewer_rows():
    source = Sampled(SHORT)
    assert passed(zoo.build("bert-nano", SHORT), source, "test", 1000) == 250
    assert passed(zoo.build("bert-nano", SHORT), source, "test", 31) == 30
    wide = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    rows = [
        passed(zoo.build("bert-nano", SHORT, num_hidden_layers=layers, **wide), source, "test", 999)
        for layers in (4, 6, 30)
    ]
    assert 250 > rows[0] > rows[1] > rows[2] == 32 and all(count % 2 == 0 for count in rows)
