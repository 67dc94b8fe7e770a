"""Capture against what transformers itself gives out, and what is replaced in it."""

import pytest
import torch
from zoo_cases import CLASSIFY, PREDICT, WORDS, sentences

import lego
from lego import zoo
from lego.probes.capture import blocks, capturing, resumed

HARD = {"num_attention_heads": 4, "head_kinds": ["dense", "association", "window", "dense"]}
MODELS = {
    "tied": ("conv-albert-nano", {}),
    "untied": ("bert-nano", {}),
    "looped": ("looped-nano", {}),
    "hard and dense": ("pre-albert-nano", HARD),
    "all hard": ("lego-bert-nano", {}),
    "decoder": ("conv-gpt-nano", {}),
    "rotary decoder": ("canon-gpt-nano", {"rotary": True, "position_embeddings": "none"}),
    "hard and dense decoder": ("gpt-nano", HARD | {"position_bias": "alibi"}),
    "bert": ("hf-bert-nano", {}),
    "albert": ("hf-albert-nano", {}),
    "modernbert": ("hf-modernbert-nano", {}),
    "gpt2": ("hf-gpt2-nano", {}),
    "llama, grouped queries": ("hf-llama-nano", {"num_key_value_heads": 1}),
}
NO_LAST_NORM = {"untied", "bert", "albert"}  # their last state is the stream itself


def build(kind):
    name, fields = MODELS[kind]
    torch.manual_seed(0)
    decodes = name in zoo.names("causal-lm")
    model = zoo.build(name, PREDICT if decodes else CLASSIFY, **fields)
    with torch.no_grad():  # away from attention that is all but uniform
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2)
    return model.eval().requires_grad_(False)


def given(padded=False):
    ids = sentences(rows=5)
    mask = torch.ones_like(ids)
    mask[1:, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask} if padded else {"input_ids": ids}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("padded", [False, True])
def test_what_is_captured_is_what_eager_attention_gives_out(kind, padded):
    model, sentence = build(kind), given(padded)
    fast = model(**sentence).logits
    implementation = model.config._attn_implementation
    maps, streams = [], []

    def look(seen):
        maps.append(seen)
        assert seen.weights.shape[1] == model.config.num_attention_heads

    with capturing(model, look, streams.append):
        captured = model(**sentence).logits
        half = len(maps)
        model(**sentence)  # all is counted anew in every forward pass
    assert model.config._attn_implementation == implementation
    assert [seen.layer for seen in maps] == 2 * list(range(half))
    assert [seen.depth for seen in streams] == 2 * list(range(half + 1))
    model.set_attn_implementation("eager")
    eager = model(**sentence, output_attentions=True, output_hidden_states=True)
    seen = sentence.get("attention_mask", torch.ones_like(sentence["input_ids"])).bool()
    assert len(eager.attentions) == half
    for attended, expected in zip(maps, eager.attentions, strict=False):
        torch.testing.assert_close(attended.weights, expected, atol=1e-6, rtol=0)
        mixed = torch.einsum("bhqk,bhkc->bqhc", expected, attended.value)
        torch.testing.assert_close(attended.mixed[seen], mixed[seen], atol=1e-5, rtol=1e-5)
    last = half + (kind in NO_LAST_NORM)
    for streamed, expected in zip(streams[:last], eager.hidden_states, strict=False):
        torch.testing.assert_close(streamed.hidden[seen], expected[seen], atol=2e-5, rtol=1e-5)
    for logits in (captured, fast):
        torch.testing.assert_close(logits[seen], eager.logits[seen], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_a_replacement_is_what_the_model_goes_on_with(kind):
    """All heads of a layer silenced, by weights or by outputs, written or assigned, are the same;
    and it is as if the map after them gave its bias alone."""
    model = build(kind)

    def zero_weights(seen):
        if seen.layer == 1:
            seen.weights = torch.zeros_like(seen.weights)

    def write_weights(seen):
        if seen.layer == 1:
            seen.weights[:] = 0

    def zero_mixed(seen):
        if seen.layer == 1:
            seen.mixed = torch.zeros_like(seen.mixed)

    def write_mixed(seen):
        if seen.layer == 1:
            seen.mixed[:] = 0

    found = []
    for sink in (zero_weights, write_weights, zero_mixed, write_mixed, lambda seen: None):
        with capturing(model, sink):
            found.append(model(**given()).logits)
    for logits in found[1:4]:
        torch.testing.assert_close(logits, found[0], atol=0, rtol=0)
    assert (found[0] - found[4]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_a_stream_that_is_replaced_by_that_of_another_sentence_gives_its_answers(kind):
    model, sentence = build(kind), given()
    other = {"input_ids": sentence["input_ids"].flip(0).roll(1, 1)}
    streams = []
    with capturing(model, streamed=streams.append):
        expected = model(**other).logits
    assert model.config._attn_implementation == "sdpa"
    depths = range(len(streams))
    if model.config.to_dict().get("input_injection") or "hard" in kind:
        depths = depths[-1:]  # blocks before the last read the sentence itself, besides the stream
    for depth in depths:

        def swap(seen, depth=depth):
            if seen.depth == depth:
                seen.hidden = streams[depth].hidden

        with capturing(model, streamed=swap):
            torch.testing.assert_close(model(**sentence).logits, expected)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("padded", [False, True])
def test_a_pass_that_is_resumed_goes_on_from_there_and_nothing_before_runs(kind, padded):
    """From its own stream it has its own answers to the last bit, and from another the answers
    that a pass of all blocks gives when its stream is exchanged; counts are those of a whole pass.
    """
    model, sentence = build(kind), given(padded)
    own, maps, ran = [], [], []
    with capturing(model, maps.append, own.append):
        expected = model(**sentence).logits
    for block in blocks(model):
        part = next(
            m for m in block.modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.Linear)
        )
        part.register_forward_hook(lambda *_: ran.append(1))
    other = torch.randn(own[0].hidden.shape, generator=torch.Generator().manual_seed(1))
    for depth in range(len(own)):
        seen, streams = [], []
        ran.clear()
        with (
            resumed(model, depth, own[depth].hidden),
            capturing(model, seen.append, streams.append),
        ):
            for _ in range(2):
                torch.testing.assert_close(model(**sentence).logits, expected, atol=0, rtol=0)
        assert len(ran) >= 1 if depth < len(maps) else not ran
        assert [one.layer for one in seen] == 2 * list(range(depth, len(maps)))
        assert [one.depth for one in streams] == 2 * list(range(len(own)))
        for one, before in zip(streams[depth : len(own)], own[depth:], strict=True):
            torch.testing.assert_close(one.hidden, before.hidden, atol=0, rtol=0)

        def exchange(seen, depth=depth):
            if seen.depth == depth:
                seen.hidden = other

        with capturing(model, streamed=exchange):
            exchanged = model(**sentence).logits
        with resumed(model, depth, other):
            torch.testing.assert_close(model(**sentence).logits, exchanged, atol=0, rtol=0)
    assert all("forward" not in vars(block) for block in blocks(model))


def test_one_head_at_one_query_can_be_changed_alone():
    model, caught = build("untied"), []

    def look_at_first(seen):
        if seen.layer == 0:
            seen.weights[:, 1, 3] = torch.eye(9)[0]
            caught.append(seen)

    with capturing(model, look_at_first):
        model(**given())
    torch.testing.assert_close(caught[0].mixed[:, 3, 1], caught[0].value[:, 1, 0])


def test_what_nobody_looks_at_is_not_computed():
    model, caught = build("untied"), []
    with capturing(model, caught.append):
        model(**given())
    assert all(seen._weights is None for seen in caught)


def test_captures_nest():
    """The inner one sees what the outer one left; those of other models see their own."""
    model, other = build("untied"), build("decoder")
    inner, outer, apart = [], [], []

    def silence(seen):
        outer.append(seen.layer)
        seen.mixed = torch.zeros_like(seen.mixed)

    def run_another(seen):
        inner.append((seen.layer, float(seen.mixed.abs().max())))
        other(**given())

    with capturing(model, silence), capturing(other, lambda seen: apart.append(seen.layer)):
        with capturing(model, run_another):
            model(**given())
        model.base_model(**given())
    assert inner == [(layer, 0.0) for layer in range(3)]
    assert outer == 2 * [0, 1, 2]
    assert apart == 3 * [0, 1, 2]
    assert model.config._attn_implementation == other.config._attn_implementation == "sdpa"


def test_gradients_go_through_what_is_captured():
    model, caught = build("untied").requires_grad_(True), []
    with capturing(model, caught.append):
        logits = model(**given()).logits
    gradient = torch.autograd.grad(logits.sum(), caught[0].mixed)[0]
    assert gradient.abs().max() > 0


def test_capture_leaves_the_model_as_it_was_even_after_an_error():
    model = build("tied")
    with pytest.raises(ZeroDivisionError), capturing(model, lambda _: 1 / 0, lambda _: None):
        model(**given())
    assert model.config._attn_implementation == "sdpa"
    for module in model.modules():
        assert not module._forward_pre_hooks and not module._forward_hooks
    caught = []
    with capturing(model, caught.append):
        with pytest.raises(IndexError):  # in the middle of a forward pass
            model(torch.full((1, 4), len(WORDS)))
        model(**given())
    assert [seen.layer for seen in caught] == [0, 1, 2]


def test_training_keeps_its_fast_path():
    task = lego.load_task("chains", "z2-n6")
    model = zoo.build("conv-albert-nano", task)
    assert model.config._attn_implementation == "sdpa"
    with capturing(model, lambda _: None):
        assert model.config._attn_implementation != "sdpa"
    assert model.config._attn_implementation == "sdpa"
