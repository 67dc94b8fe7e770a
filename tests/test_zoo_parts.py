"""The parts of the zoo's models against their definitions, one number at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lego.zoo import LegoBertConfig, LegoBertForTokenClassification, LegoGPTConfig, LegoGPTModel
from lego.zoo.configuration import LegoConfig
from lego.zoo.conv import TokenConv, projection_conv
from lego.zoo.heads import LOCAL, HardHeads, association_map
from lego.zoo.positions import Alibi, RelativeBias, rotate, sinusoidal

torch.set_num_threads(1)

IDS = torch.tensor([[1, 2, 3, 1, 4, 5, 2, 1, 6], [7, 7, 8, 9, 1, 2, 3, 4, 5]])


# Convolution


def plain_conv(x: torch.Tensor, kernel: list[list[float]], bias: list[float], reach: int) -> Any:
    """x (tokens, channels); a kernel and a bias for each channel."""
    y = torch.zeros_like(x)
    for t in range(len(x)):
        for c in range(x.shape[1]):
            y[t, c] = bias[c]
            for tap, weight in enumerate(kernel[c]):
                if 0 <= t + tap - reach < len(x):
                    y[t, c] += weight * x[t + tap - reach, c]
    return y


def kernels_of(conv: TokenConv, config: LegoConfig) -> tuple[list[list[float]], list[float]]:
    """What the config says each of the 3 * hidden_size channels is convolved with."""
    size, reach = config.conv_kernel, conv.reach
    identity = [float(tap == reach) for tap in range(size)]
    if config.conv_weights:
        rows = [[w / sum(config.conv_weights) for w in config.conv_weights]] * 99
    else:
        rows = conv.weight.tolist()
    if config.conv_residual:
        rows = [[a + b for a, b in zip(row, identity, strict=True)] for row in rows]
    biases = conv.bias.tolist() if conv.bias is not None else [0.0] * 99
    kernels, bias, row = [], [], 0
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    for name in "qkv":
        if name not in config.conv_targets:
            kernels += [identity] * width
            bias += [0.0] * width
            continue
        shared = {"channel": 1, "head": head, "target": width}[config.conv_sharing]
        kernels += [rows[row + channel // shared] for channel in range(width)]
        row += width // shared
        bias += [biases.pop(0) for _ in range(width)]
    return kernels, bias


@pytest.mark.parametrize(
    "fields",
    [
        {"conv_kernel": 3},
        {"conv_kernel": 7, "conv_targets": "qk"},
        {"conv_kernel": 9, "conv_targets": "v", "conv_sharing": "head"},
        {"conv_kernel": 2, "conv_targets": "qv", "conv_causal": True, "conv_bias": True},
        {"conv_kernel": 4, "conv_causal": True, "conv_sharing": "target", "conv_residual": False},
        {"conv_kernel": 5, "conv_residual": False, "conv_weights": [1.0, 2.0, 4.0, 2.0, 1.0]},
    ],
    ids=str,
)
def test_convolution_equals_its_definition(fields: dict[str, Any]) -> None:
    config = LegoBertConfig(hidden_size=4, **fields)
    conv = projection_conv(config, {"q": 2, "k": 2, "v": 2})
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter)
    kernels, bias = kernels_of(conv, config)
    x = torch.randn(2, 6, 12)
    expected = torch.stack([plain_conv(row, kernels, bias, conv.reach) for row in x])
    torch.testing.assert_close(conv(x, None), expected)
    mask = torch.tensor([1.0, 1, 1, 1, 0, 0])[:, None].expand(2, 6, 1)
    expected = torch.stack([plain_conv(row[:4], kernels, bias, conv.reach) for row in x])
    torch.testing.assert_close(conv(x, mask)[:, :4], expected)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("sharing", ["channel", "head", "target"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_convolution_at_its_start_is_none(after: bool, sharing: str, residual: bool) -> None:
    fields = {"rotary": True, "conv_bias": True, "conv_after_rotary": after, "canon": "acd"}
    fields |= {"conv_sharing": sharing, "conv_residual": residual, "conv_kernel": 5}
    torch.manual_seed(0)
    conv = LegoBertForTokenClassification(LegoBertConfig(**fields))
    none = LegoBertForTokenClassification(LegoBertConfig(rotary=True))
    for name, weight in none.state_dict().items():
        conv.state_dict()[name].copy_(weight)
    for name, weight in conv.named_parameters():
        if "_conv.weight" in name or "feed_forward.conv.weight" in name:
            assert not weight.any()
    ids = torch.arange(1, 13)[None]
    torch.testing.assert_close(conv(ids).logits, none(ids).logits)


def test_before_and_after_rotary_positions_are_two_things() -> None:
    outputs = []
    for after in (False, True):
        torch.manual_seed(0)
        fields = {"rotary": True, "conv_kernel": 3, "conv_noise": 0.5, "conv_after_rotary": after}
        outputs.append(LegoBertForTokenClassification(LegoBertConfig(**fields))(IDS).logits)
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("canon", ["a", "c", "d", "acd"])
def test_canon_layers_of_a_decoder_do_not_see_the_future(canon: str) -> None:
    torch.manual_seed(0)
    model = LegoGPTModel(LegoGPTConfig(canon=canon))
    for name, weight in model.named_parameters():
        if "conv" in name:
            torch.nn.init.normal_(weight)
    other = IDS.clone()
    other[:, 5] = 20
    before, after = (model(ids).last_hidden_state for ids in (IDS, other))
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 6], after[:, 6])


# Positions


def relative_bias() -> RelativeBias:
    bias = RelativeBias(LegoBertConfig(relative_window=3), heads=2)
    bias.weight.data = bias.initial()
    return bias


def test_one_head_starts_local_and_the_others_blind_to_distance() -> None:
    bias = relative_bias()
    local, other = bias(6)[0]
    assert local[1].tolist() == [-0.5, 0.0, -0.5, -1.0, -1.5, -1.5]  # clipped at 3
    assert not other.any()


def test_relative_bias_tells_left_from_right() -> None:
    bias = relative_bias()
    bias.weight.data = torch.arange(14.0).reshape(2, 7)
    assert bias(5)[0, 0, 2].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]  # keys 0 .. 4 from query 2


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    x, y = torch.randn(2, 1, 1, 1, 6)
    query, key = (rotate(z.expand(1, 9, 1, 6))[0, :, 0] for z in (x, y))
    scores = query @ key.T
    for shift in range(-8, 9):
        assert scores.diagonal(shift).std(correction=0) < 1e-5
    assert scores[0].std() > 1e-2
    torch.testing.assert_close(query.norm(dim=-1), x.norm().expand(9))


def test_sinusoidal_vectors_are_those_of_the_transformer() -> None:
    table = sinusoidal(5, 7, torch.zeros(1))
    for t in range(5):
        for c in range(7):
            angle = t / 10_000 ** (c // 2 * 2 / 7)
            expected = math.cos(angle) if c % 2 else math.sin(angle)
            assert table[t, c].item() == pytest.approx(expected, abs=1e-6)


def test_alibi_falls_off_by_a_slope_a_head() -> None:
    bias = Alibi(4)(5, torch.zeros(1))
    assert bias.shape == (1, 4, 5, 5)
    for head, slope in enumerate((1 / 4, 1 / 16, 1 / 64, 1 / 256)):
        assert bias[0, head, 2].tolist() == [-2 * slope, -slope, 0, -slope, -2 * slope]


# Hard-coded heads


def plain_map(ids: list[int], kind: str, causal: bool, taps: list[float]) -> np.ndarray:
    """(query, key): what a head of that kind attends to in a sentence without padding."""
    tokens = range(len(ids))
    weights = np.zeros((len(ids), len(ids)))
    for q in tokens:
        for k in tokens:
            if causal and k > q:
                continue
            if kind == "association":
                weights[q, k] = q != k and ids[q] == ids[k]
            elif abs(k - q) <= 2:
                weights[q, k] = taps[k - q + 2]
        weights[q] /= weights[q].sum() or 1
    return weights


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_hard_coded_heads_equal_their_maps(causal: bool, padded: bool) -> None:
    kinds = ["local", "association", "window", "association", "window"]
    heads = HardHeads(kinds, causal)
    torch.nn.init.normal_(heads.window)
    soft = heads.window.softmax(-1).tolist()
    taps = [list(LOCAL), [], soft[0], [], soft[1]]
    length = 6 if padded else 9
    seen = (torch.arange(9) < length).expand(2, 9)
    mask = seen[..., None].float() if padded else None
    association = association_map(IDS, seen if padded else None, causal)
    value = torch.randn(2, 9, 5, 3)
    mixed = heads(value, association, mask)
    weights = heads.weights(9, association, mask, value)
    for row in range(2):
        for head, kind in enumerate(kinds):
            expected = plain_map(IDS[row, :length].tolist(), kind, causal, taps[head])
            found = weights[row, head, :length, :length].detach().numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6)
            gathered = torch.from_numpy(expected).float() @ value[row, :length, head]
            torch.testing.assert_close(mixed[row, :length, head], gathered, atol=1e-5, rtol=1e-5)


def test_dense_and_hard_coded_heads_stand_in_the_order_that_is_given() -> None:
    """With every dense head's queries at zero, attention is uniform: each map is known."""
    kinds = [["dense", "association"], ["local", "dense"]]
    config = LegoBertConfig(num_hidden_layers=2, head_kinds=kinds, attn_implementation="eager")
    model = LegoBertForTokenClassification(config)
    for layer in model.model.layers:
        layer.attention.qkv.weight.data[:16] = 0
    found = model(IDS, output_attentions=True).attentions
    uniform = np.full((9, 9), 1 / 9)
    for row, sentence in enumerate(IDS.tolist()):
        association = plain_map(sentence, "association", False, [])
        local = plain_map(sentence, "local", False, list(LOCAL))
        for layer, maps in enumerate(((uniform, association), (local, uniform))):
            for head, expected in enumerate(maps):
                weights = found[layer][row, head].detach().numpy()
                np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_a_model_of_hard_coded_heads_alone_has_no_queries_and_no_keys() -> None:
    config = LegoBertConfig(head_kinds=["association", "window"])
    model = LegoBertForTokenClassification(config)
    assert model.model.layers[0].attention.qkv.weight.shape == (32, 32)
    model(IDS, labels=IDS % 2).loss.backward()
    assert model.model.layers[0].attention.hard_heads.window.grad.abs().sum() > 0
