"""The zoo at its public contract: what its models compute, save, refuse and offer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
)
from zoo_cases import CLASSIFY, DECODERS, ENCODERS, PREDICT, build, sentences

from lego import zoo
from lego.zoo.block import eager_attention

torch.set_num_threads(1)


# Everything that a model may have at once, so that a property is tested against all of it.
EVERYTHING: dict[str, Any] = {
    "num_hidden_groups": 1,
    "input_injection": True,
    "position_std": 0.3,
    "position_bias": "relative",
    "relative_window": 3,
    "conv_noise": 0.3,
}


def full_encoder(**overrides: Any) -> Any:
    return build("conv-albert-nano", **EVERYTHING | {"conv_kernel": 5} | overrides)


def full_decoder(**overrides: Any) -> Any:
    return build("conv-gpt-nano", **EVERYTHING | {"conv_kernel": 4} | overrides)


# What the models compute


NANO = [name for name in zoo.names() if name.endswith("nano")]


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in NANO])
def test_every_larger_name_builds(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    assert model.num_parameters() > build(name.rsplit("-", 1)[0] + "-nano").num_parameters()


@pytest.mark.parametrize("name", NANO)
def test_every_name_builds_a_model_that_learns(name: str) -> None:
    model, ids = build(name), sentences()
    output = model(input_ids=ids, labels=ids % 3)
    output.loss.backward()
    assert output.logits.shape == (4, 9, 3 if name in ENCODERS else 11)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("build_full", [full_encoder, full_decoder])
def test_tied_equals_untied_with_copied_weights(build_full: Any) -> None:
    tied, untied = build_full(), build_full(num_hidden_groups=None)
    rest = {k: v for k, v in tied.state_dict().items() if ".layers." not in k}
    untied.load_state_dict(rest, strict=False)
    for layer in untied.model.layers:
        layer.load_state_dict(tied.model.layers[0].state_dict())
    ids = sentences()
    assert len(tied.model.layers) == 1 and len(untied.model.layers) == 3
    torch.testing.assert_close(tied(input_ids=ids).logits, untied(input_ids=ids).logits)


def test_input_injection_adds_the_embedding_before_every_block_but_the_first() -> None:
    model, ids = full_encoder(position_embeddings="none"), sentences()
    seen: list[torch.Tensor] = []
    model.model.layers[0].register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    states = model(input_ids=ids, output_hidden_states=True).hidden_states
    embedded = model.model.embed_tokens(ids)
    torch.testing.assert_close(seen[0], embedded)
    torch.testing.assert_close(seen[1], states[1] + embedded)
    torch.testing.assert_close(seen[2], states[2] + embedded)


def test_the_encoder_ignores_padding() -> None:
    model, ids = full_encoder(), sentences()
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[:, 9:] = 0
    padded = torch.cat([ids, torch.zeros(4, 3, dtype=torch.long)], dim=1)
    short = model(input_ids=ids).logits
    torch.testing.assert_close(model(input_ids=padded, attention_mask=mask).logits[:, :9], short)
    torch.testing.assert_close(model(ids, attention_mask=mask[:, :9]).logits, short)


def test_the_decoder_ignores_padding_on_the_left() -> None:
    model, ids = full_decoder(), sentences()
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[:, :3] = 0
    padded = torch.cat([torch.zeros(4, 3, dtype=torch.long), ids], dim=1)
    logits = model(input_ids=padded, attention_mask=mask).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:, 3:], model(input_ids=ids).logits)


@pytest.mark.parametrize("changed", range(1, 9))
def test_the_decoder_does_not_see_the_future(changed: int) -> None:
    model, ids = full_decoder(), sentences()
    other = ids.clone()
    other[:, changed] = ids[:, changed] % 10 + 1
    before, after = model(input_ids=ids).logits, model(input_ids=other).logits
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.allclose(before[:, changed], after[:, changed])


def test_the_encoder_sees_the_future() -> None:
    model, ids = build("bert-nano"), sentences()
    other = ids.clone()
    other[:, -1] = ids[:, -1] % 10 + 1
    assert not torch.allclose(model(input_ids=ids).logits[:, 0], model(other).logits[:, 0])


def test_losses_are_means_over_the_labels_that_are_not_ignored() -> None:
    ids = sentences()
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[3, 5] = 1, 2
    for model, before in ((full_encoder(), 0), (full_decoder(), 1)):  # a decoder's label shifts
        output = model(input_ids=ids, labels=labels)
        chances = output.logits.log_softmax(dim=-1)
        expected = -(chances[0, 2 - before, 1] + chances[3, 5 - before, 2]) / 2
        torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("build_full", [full_encoder, full_decoder])
@pytest.mark.parametrize("bias", ["relative", "alibi", "none"])
def test_sdpa_equals_eager_with_gradients(build_full: Any, bias: str) -> None:
    ids = sentences()
    mask = torch.ones_like(ids)
    mask[0, :4] = 0  # some queries of the decoder may see nothing at all
    results = []
    for implementation in ("sdpa", "eager"):
        model = build_full(position_bias=bias, attn_implementation=implementation)
        assert model.config._attn_implementation == implementation
        labels = ids % 3
        labels[0, :5] = -100  # the decoder asks for a label at the token before it
        output = model(input_ids=ids, attention_mask=mask, labels=labels)
        output.loss.backward()
        gradients = [p.grad for p in model.parameters()]
        results.append([torch.where(mask[..., None] == 1, output.logits, 0), *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_sdpa_is_the_default() -> None:
    assert full_encoder().config._attn_implementation == "sdpa"


# Initial values


@pytest.mark.parametrize("build_full", [full_encoder, full_decoder])
def test_convolution_without_noise_starts_as_the_identity(build_full: Any) -> None:
    ids = sentences()
    identity, none = build_full(conv_noise=0.0), build_full(conv_kernel=0)
    missing = identity.load_state_dict(none.state_dict(), strict=False).missing_keys
    assert missing == ["model.layers.0.attention.conv.weight"]
    assert torch.equal(identity(input_ids=ids).logits, none(input_ids=ids).logits)


@pytest.mark.parametrize("associative", [True, False])
def test_associative_init_makes_scores_symmetric(associative: bool) -> None:
    fields = {"position_bias": "none", "conv_kernel": 0}
    init = "associative" if associative else "random"
    attention = full_encoder(**fields, init=init).model.layers[0].attention
    x = torch.randn(1, 6, 32)
    query, key, _ = attention.qkv(x).chunk(3, dim=-1)
    scores = query @ key.mT
    assert torch.allclose(scores, scores.mT, atol=1e-4) == associative


def test_associative_init_makes_equal_tokens_attend_to_each_other() -> None:
    model = build("conv-albert-nano", conv_noise=0.0, attn_implementation="eager")
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]])
    association = model(input_ids=ids, output_attentions=True).attentions[0][0, 1]
    assert association[0].topk(2).indices.sort().values.tolist() == [0, 9]


def test_initial_weights_have_the_standard_deviations_of_the_config() -> None:
    fields = {"hidden_size": 256, "max_position_embeddings": 64, "embedding_std": 0.7}
    model = full_encoder(**fields).model
    block = model.layers[0]
    for weight, std in (
        (model.embed_tokens.weight, 0.7),
        (model.embed_positions, 0.3),
        (block.attention.conv.weight, 0.3),
        (block.feed_forward.up.weight, 256**-0.5),
        (block.attention.out.weight, (256 * 2 * 3) ** -0.5),  # two additions in each of 3 blocks
        (block.feed_forward.down.weight, (128 * 2 * 3) ** -0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.05)


# Capture


@pytest.mark.parametrize("groups", [1, None])
@pytest.mark.parametrize("build_full", [full_encoder, full_decoder])
def test_outputs_have_one_entry_for_each_block_run(build_full: Any, groups: int | None) -> None:
    model = build_full(num_hidden_groups=groups, attn_implementation="eager")
    ids = sentences()
    output = model(input_ids=ids, output_attentions=True, output_hidden_states=True)
    assert [tuple(a.shape) for a in output.attentions] == [(4, 2, 9, 9)] * 3
    assert [tuple(h.shape) for h in output.hidden_states] == [(4, 9, 32)] * 4
    torch.testing.assert_close(output.attentions[2].sum(dim=-1), torch.ones(4, 2, 9))
    plain = model(input_ids=ids)
    assert plain.attentions is None and plain.hidden_states is None


def test_a_probe_can_register_its_own_attention_function() -> None:
    captured: list[torch.Tensor] = []

    def capture(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        mixed, weights = eager_attention(module, *args, **kwargs)
        captured.append(weights)
        return mixed, None

    AttentionInterface.register("capture", capture)
    model, ids = full_decoder(), sentences()
    expected = model(input_ids=ids).logits
    model.set_attn_implementation("capture")
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    assert len(captured) == 3 and not captured[0].triu(1).any()


def test_misspelt_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="atention_mask"):
        full_encoder()(input_ids=sentences(), atention_mask=None)


# Saving


@pytest.mark.parametrize("name", ["conv-albert-nano", "conv-gpt-nano", "bert-nano"])
def test_checkpoints_round_trip_through_the_auto_classes(name: str, tmp_path: Path) -> None:
    auto = AutoModelForCausalLM if name in DECODERS else AutoModelForTokenClassification
    model, ids = build(name), sentences()
    model.save_pretrained(tmp_path)
    torch.manual_seed(9)
    loaded = auto.from_pretrained(tmp_path)
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    states = AutoModel.from_pretrained(tmp_path)(input_ids=ids).last_hidden_state
    assert torch.equal(states, model.model(input_ids=ids).last_hidden_state)


def test_labels_of_the_task_are_in_the_config() -> None:
    config = build("bert-nano").config
    assert config.id2label == {0: "+1", 1: "-1", 2: "?"}
    assert config.label2id == {"+1": 0, "-1": 1, "?": 2}
    assert config.num_labels == 3


def test_a_checkpoint_holds_tied_weights_once(tmp_path: Path) -> None:
    full_decoder().save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        keys = set(file.keys())
    assert {key.split(".")[2] for key in keys if ".layers." in key} == {"0"}
    assert "model.embed_tokens.weight" in keys and "lm_head.weight" not in keys
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_an_unknown_key_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    full_encoder().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_sizes": 32}))
    with pytest.raises(ValueError, match="hidden_sizes=32: allowed"):
        AutoConfig.from_pretrained(tmp_path)


def test_greedy_generation_appends_the_likeliest_token() -> None:
    model, ids = full_decoder(), sentences(rows=2, tokens=4)
    made = model.generate(ids, max_new_tokens=3, do_sample=False)
    for _ in range(3):
        ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(made, ids)


# What is refused

BAD_FIELDS = [
    ("vocab_size", 0),
    ("vocab_size", "many"),
    ("pad_token_id", 11),
    ("hidden_size", 33),
    ("hidden_size", 0),
    ("hidden_size", 32.0),
    ("num_hidden_layers", 0),
    ("num_attention_heads", 0),
    ("intermediate_size", -1),
    ("max_position_embeddings", 0),
    ("hidden_act", "gelo"),
    ("num_hidden_groups", "yes"),
    ("num_hidden_groups", 2),  # of 3 layers
    ("embedding_size", 0),
    ("norm_position", "mid"),
    ("rotary", 1),
    ("position_bias", "t5"),
    ("conv_sharing", "tap"),
    ("conv_residual", None),
    ("conv_after_rotary", True),  # without rotary positions
    ("conv_weights", [1.0, 2.0]),
    ("canon", "b"),
    ("canon_kernel", 10),
    ("head_kinds", ["dense", "global"]),
    ("head_kinds", []),
    ("head_kinds", [["dense", "dense"], ["dense", "dense"]]),  # of one distinct block
    ("initializer_range", 0.0),
    ("input_injection", 2),
    ("position_embeddings", "no"),
    ("position_embeddings", None),
    ("position_std", -0.1),
    ("relative_window", 0),
    ("conv_kernel", 1),
    ("conv_kernel", 10),
    ("conv_kernel", 4),  # even, and centred
    ("conv_targets", ""),
    ("conv_targets", "kq"),
    ("conv_targets", "qkvo"),
    ("conv_noise", -1.0),
    ("embedding_std", 0.0),
    ("embedding_std", float("nan")),
    ("embedding_std", float("inf")),
    ("norm_eps", 0.0),
    ("no_such_field", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_bad_fields_are_refused_in_one_line(field: str, value: object) -> None:
    with pytest.raises(ValueError) as error:
        zoo.build("conv-albert-nano", CLASSIFY, **{field: value})
    message = str(error.value)
    assert message.startswith(f"{field}={value!r}: allowed ")
    assert "\n" not in message


def test_a_decoder_refuses_a_convolution_that_sees_the_future() -> None:
    with pytest.raises(ValueError, match="conv_causal=False: allowed True"):
        zoo.LegoGPTConfig(conv_kernel=3, conv_causal=False)


def test_names_that_are_unknown_or_do_not_fit_the_task_are_refused() -> None:
    forms = r"allowed \[pre\|conv.*\]\(bert\|albert\|looped\|gpt\)-\(nano\|mini\|base\) or hf-"
    with pytest.raises(ValueError, match=rf"name='bart-nano': {forms}"):
        zoo.build("bart-nano", CLASSIFY)
    with pytest.raises(
        ValueError, match=r"name='gpt-nano': .*\(bert\|albert\|looped\)-.* for a tok"
    ):
        zoo.build("gpt-nano", CLASSIFY)
    with pytest.raises(ValueError, match=r"name='bert-nano': .*-\]\(gpt\)-.* for a causal-lm task"):
        zoo.build("bert-nano", PREDICT)


def test_sentences_longer_than_the_position_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens of input_ids=13: allowed up to 12"):
        full_encoder()(input_ids=sentences(tokens=13))
    free = full_encoder(position_embeddings="none")
    assert free(input_ids=sentences(tokens=13)).logits.shape == (4, 13, 3)
