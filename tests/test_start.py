"""The weights that a run starts from, as its settings say."""

import re

import pytest
import torch
from runs import write
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import lego
from lego import zoo
from lego.cli import main
from lego.train import run

STILL = {
    "steps": 1,
    "lr": 1e-30,
    "model": "bert-nano",
}  # what a run ends with is what it began with


def ends_with(folder):
    return load_file(folder / "model" / "model.safetensors")


def same(ours, theirs):
    """Equal; what began at 0 is off by a step of the least rate."""
    return all(torch.allclose(w, theirs[name], atol=1e-29, rtol=0) for name, w in ours.items())


@pytest.mark.parametrize("init", ["random", "associative"])
def test_a_run_starts_as_its_settings_say(init, tmp_path):
    found = ends_with(run(write(tmp_path, **STILL, init=init), {}))
    torch.manual_seed(0)
    task = lego.load_task("chains", "z2-n6")
    assert same(found, zoo.build("bert-nano", task, init, num_hidden_layers=2).state_dict())


def test_null_is_what_the_name_says(tmp_path):
    (tmp_path / "conv").mkdir()
    plain = ends_with(run(write(tmp_path, **STILL), {}))
    conv = ends_with(run(write(tmp_path / "conv", **STILL | {"model": "conv-bert-nano"}), {}))
    for weights, equal in ((plain, False), (conv, True)):
        query, key, _ = weights["model.layers.0.attention.qkv.weight"].chunk(3)
        assert torch.equal(query, key) == equal


def test_mimicking_takes_the_sentences_of_training(tmp_path):
    task, (steps, batch, lr) = lego.load_task("chains", "z2-n6"), (3, 8, 0.01)
    mimic = {"steps": steps, "batch": batch, "lr": lr}
    found = ends_with(run(write(tmp_path, **STILL, init="mimic", mimic=mimic), {}))
    torch.manual_seed(0)
    model = zoo.build("bert-nano", task, num_hidden_layers=2)
    ids = torch.from_numpy(task.sample("train", 0, steps * batch)["input_ids"]).long()
    zoo.mimic(model, ids.split(batch), steps, lr)
    assert same(found, model.state_dict())


def test_pretrained_weights_come_with_a_vocabulary_for_the_task(tmp_path):
    words = {"[PAD]": 0, "[UNK]": 1, "val": 2, "not": 3}
    tokens = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokens, **special).save_pretrained(tmp_path / "bert")
    shape = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128}
    bert = BertModel(BertConfig(vocab_size=4, num_hidden_layers=2, **shape))
    bert.save_pretrained(tmp_path / "bert")
    found = ends_with(run(write(tmp_path, **STILL, init=f"pretrained:{tmp_path / 'bert'}"), {}))
    key = found["model.layers.1.attention.qkv.weight"].chunk(3)[1]
    assert torch.equal(key, bert.encoder.layer[1].attention.self.key.weight)
    here = lego.load_task("chains", "z2-n6").tokenizer().convert_tokens_to_ids("not")
    there = bert.embeddings.word_embeddings.weight[words["not"]]
    assert torch.equal(found["model.embed_tokens.weight"][here], there)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init": "smart"}, "model='bert-nano': init='smart': allowed random, associative"),
        ({"init": "pretrained:no/such"}, "model='bert-nano': init='pretrained:no/such': allowed"),
        ({"init": "random", "mimic": {"steps": 3}}, r"mimic=\{'steps': 3\}: allowed \{\} where"),
        ({"init": "mimic", "mimic": {"step": 3}}, "field='step': allowed steps, batch, lr"),
        ({"init": "mimic", "mimic": {"lr": 0}}, "mimic lr=0: allowed above 0"),
        (
            {"init": "mimic", "model_fields": {"num_attention_heads": 1}},
            "model='bert-nano': init='mimic': allowed models with 2 dense heads",
        ),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_nothing_is_written(
    fields, message, tmp_path, capsys
):
    assert main(["train", str(write(tmp_path, **STILL | fields))]) == 2
    said = capsys.readouterr().err
    assert re.match(f"lego: {message}", said.splitlines()[-1]), said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_has_a_start_of_its_own(tmp_path, capsys):
    task = lego.load_task("chains", "z2-n6")
    zoo.build("bert-nano", task).save_pretrained(tmp_path / "model")
    fields = {"model": str(tmp_path / "model"), "model_fields": {}, "init": "random"}
    assert main(["train", str(write(tmp_path, **fields))]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "lego: init='random': allowed null (a checkpoint has its own)"
