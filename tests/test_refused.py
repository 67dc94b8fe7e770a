"""What no run can be made of: one line, exit code 2, nothing written."""

import json
import re
import shutil

import pytest
import torch
from runs import write
from transformers import BertConfig, BertForTokenClassification, BertModel

import lego
from lego import zoo
from lego.cli import main
from lego.loading import load_model
from lego.train import run

GROUPS = {"d3": {"group": "d3"}, "s3": {"group": "s3"}, "z5": {"group": "z5"}}
GROUPS |= {"n4": {"n": 4, "n_tr": 3}, "z2": {"n_tr": 4}}


def saved(folder, fields, **model_fields):
    """The folder of an untrained model, with the tokenizer of its task."""
    task = lego.load_task("chains", **fields)
    torch.manual_seed(0)
    zoo.build("albert-nano", task, **model_fields).save_pretrained(folder)
    task.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    """Checkpoints, corpora and a run, each of them fit for some settings and not for others."""
    folder = tmp_path_factory.mktemp("there")
    for name, fields in GROUPS.items():
        saved(folder / name, fields)
        command = ["make", "chains", str(folder / f"corpus-{name}"), "--workers", "1"]
        command += ["--rows", "train=20,validation=10,test=10"]
        assert main([*command, *(f"{k}={v}" for k, v in fields.items())]) == 0
    saved(folder / "wide", GROUPS["z2"], hidden_size=64)
    weights = (folder / "wide" / "model.safetensors").read_bytes()
    for name, content in (("mixed", weights), ("torn", weights[:1000])):
        shutil.copytree(folder / "z2", folder / name)
        (folder / name / "model.safetensors").write_bytes(content)
    shutil.copytree(folder / "z2", folder / "odd")
    file = folder / "odd" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 33}))
    task = lego.load_task("chains", "z2-n6")
    few = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    many = BertConfig(vocab_size=task.vocab_size, num_labels=5, intermediate_size=32, **few)
    BertForTokenClassification(many).save_pretrained(folder / "labels")
    run(write(folder, steps=2), {})
    return folder


AT = {"model_fields": "{}", "preset": "null", "fields": "{n_tr: 4}"}  # of the checkpoint z2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_fields": "{conv_kernel: 4}"}, "conv_kernel=4: allowed odd when centred"),
        ({"model_fields": "{num_attention_heads: 3}"}, "hidden_size=32: allowed multiples of the"),
        (
            {"model": "hf-bert-nano", "model_fields": "{num_attention_heads: 3}"},
            "hidden_size=32: allowed multiples of the 3 heads",
        ),
        (
            {"model": "bert-nano", "model_fields": "{max_position_embeddings: 8}"},
            "max_length=47: allowed sentences of up to 8 tokens",
        ),
        ({"model_fields": "{vocab_size: 8}"}, "vocab_size=8: allowed 37, as the task has"),
        (
            {"model": "hf-bert-nano", "model_fields": "{vocab_size: 8}"},
            "vocab_size=8: allowed 37, as the task has",
        ),
        ({"model_fields": "{num_labels: 1}"}, "num_labels=1: allowed 2, as the task has"),
        # A checkpoint for another task, and one that is none.
        (AT | {"model": "THERE/z5"}, "vocab_size=43: allowed 37"),
        (AT | {"model": "THERE/labels"}, "num_labels=5: allowed 2"),
        (AT | {"model": "THERE/n4"}, "max_length=47: allowed sentences of up to 32 tokens"),
        (AT | {"model": "THERE/z2", "fields": "{n: 12}"}, "max_length=92: allowed sentences of up"),
        (AT | {"model": "THERE/d3", "fields": "{group: s3}"}, "the task's vocabulary; .* in '"),
        (AT | {"model": "THERE/mixed"}, r"of one shape; \S+ is \(.*64.*\), and \(.*32.*\) in its"),
        (AT | {"model": "THERE/torn"}, "a checkpoint for token-classification; Error while des"),
        (AT | {"model": "THERE/odd"}, "hidden_size=33: allowed multiples of the 2 heads"),
        (AT | {"model": "THERE"}, "MODEL='THERE': allowed a checkpoint for token-classification;"),
        (AT | {"model": "THERE/none"}, "model='THERE/none': .*allowed"),
        # A corpus that the checkpoint was not made for.
        (AT | {"fields": "{}", "corpus": "THERE/corpus-z5", "model": "THERE/z2"}, "vocab_size=37:"),
        (AT | {"fields": "{}", "corpus": "THERE/corpus-s3", "model": "THERE/d3"}, "vocabulary;"),
        (AT | {"fields": "{}", "corpus": "THERE/corpus-z2", "model": "THERE/n4"}, "max_length=47"),
        # The folder of a run with another config.
        ({"run": "THERE/run", "steps": "2", "lr": "0.1"}, "lr=0.1: allowed 0.004, as in .*config"),
        ({"run": "THERE/run", "steps": "2", "model": "bert-nano"}, "model='bert-nano': allowed 'c"),
        ({"run": "THERE"}, "run='THERE': allowed a new or empty folder"),
    ],
)
def test_what_does_not_fit_is_one_line(fields, message, there, tmp_path, capsys):
    config = write(tmp_path)
    given = [f"{name}={value}".replace("THERE", str(there)) for name, value in fields.items()]
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    capsys.readouterr()
    assert main(["train", str(config), *given]) == 2
    printed = capsys.readouterr()
    said = printed.err.replace(str(there), "THERE")
    assert re.match(f"lego: .*{message}", said) and said.count("\n") == 1, said
    assert printed.out == "" and not (tmp_path / "run").exists()
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*")} == before


def test_what_a_checkpoint_lacks_is_told(there, tmp_path, capsys):
    config = BertConfig.from_pretrained(there / "labels", id2label={0: "a", 1: "b"})
    BertModel(config).save_pretrained(tmp_path)
    capsys.readouterr()
    load_model(str(tmp_path), lego.load_task("chains", "z2-n6"))
    said = "these weights are not in it and start at random: classifier.bias, classifier.weight"
    assert capsys.readouterr().err == f"{tmp_path}: {said}\n"
