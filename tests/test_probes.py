"""Scores against models whose attention is known."""

import json

import numpy as np
import pytest
import torch

import lego
from lego import zoo
from lego.cli import main
from lego.data import Sampled
from lego.probes.patterns import attention_maps, head_scores

TASK = lego.load_task("chains", "z2-n6")


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
def test_uniform_attention_scores_what_uniform_attention_is_said_to(causal):
    scores = head_scores(uniform_model(causal), Sampled(TASK), "test", 100)
    np.testing.assert_allclose(scores.association, scores.uniform["association"], rtol=1e-4)
    np.testing.assert_allclose(scores.local, scores.uniform["local"], rtol=1e-4)
    assert scores.role(0, 0) == "none"
    if not causal:  # each of 32 tokens may see 32; 10 variables of 11 tokens have one twin
        assert scores.uniform["association"] == pytest.approx(1 / 32)
        assert scores.uniform["local"] == pytest.approx((5 * 32 - 6) / 32 / 32)


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
    assert scores.local[0, 0] > 0.999
    assert scores.association[0, 1] > 0.99
    assert [scores.role(0, head) for head in (0, 1)] == ["local", "association"]


def test_scores_do_not_depend_on_the_size_of_batches():
    model = zoo.build("conv-albert-nano", TASK)
    source = Sampled(TASK)
    whole = head_scores(model, source, "test", 130)
    maps = np.stack([attention_maps(model, source, "test", row) for row in range(130)])
    graph = TASK.graph(TASK.sample("test", 0, 130))
    mask, eligible = graph["association"], graph["association"].any(-1)
    share = (maps * mask[:, None, None]).sum(-1)  # (row, layer, head, query)
    direct = (share * eligible[:, None, None]).sum((0, 3)) / eligible.sum()
    np.testing.assert_allclose(whole.association, direct, rtol=1e-4)


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
    result = json.loads((tmp_path / "probe.json").read_text())
    assert len(result["heads"]) == 12
    assert result["sentence"]["shape"] == [6, 2, 32, 32]
    assert result["sentence"]["tokens"][0] == "[CLS]"
