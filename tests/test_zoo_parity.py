"""The zoo computes what transformers' own models do, with their weights: outputs and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaModel,
)

from lego import zoo
from lego.zoo.pretrained import LAYOUTS, copy, translate

torch.set_num_threads(1)
# (width, heads, layers, inner width, rows, tokens)
SHAPES = [(32, 2, 2, 64, 3, 9), (48, 4, 4, 48, 2, 17), (24, 3, 6, 100, 5, 2)]
WORDS, PLACES = 29, 20


def pair(family: str, width: int, heads: int, layers: int, inner: int) -> tuple[Any, Any]:
    """A stock model of random weights, biases and norms too, and ours without weights yet."""
    torch.manual_seed(0)
    common = {"vocab_size": WORDS, "num_hidden_layers": layers, "num_attention_heads": heads}
    common |= {"hidden_size": width, "intermediate_size": inner, "max_position_embeddings": PLACES}
    theirs: Any
    if family == "bert":
        theirs = BertModel(BertConfig(**common), add_pooling_layer=False)
        ours: Any = zoo.LegoBertModel(zoo.LegoBertConfig(**common))
    elif family == "gpt2":
        renamed = {"n_inner" if k == "intermediate_size" else k: v for k, v in common.items()}
        theirs = GPT2Model(GPT2Config(**renamed, bos_token_id=None, eos_token_id=None))
        ours = zoo.LegoGPTModel(zoo.LegoGPTConfig(**common))
    else:
        common |= {"embedding_size": 16, "num_hidden_groups": int(family[-1])}
        special = {"bos_token_id": None, "eos_token_id": None}
        theirs = AlbertModel(AlbertConfig(**common, **special), add_pooling_layer=False)
        ours = zoo.LegoAlbertModel(zoo.LegoAlbertConfig(**common))
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases of 0 and norms of 1 would hide mistakes
            parameter += 0.1 * torch.randn_like(parameter)
    return theirs.eval(), ours


def gradients(model: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The output, after the way back of a random function of it, 0 at padding."""
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    if mask is not None:
        states = states * mask[..., None]
    generator = torch.Generator().manual_seed(2)
    (states * torch.randn(states.shape, generator=generator)).sum().backward()
    return states


def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-5, of the largest entry where that is above 1."""
    scale = theirs.abs().max().clamp(min=1)
    torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["bert", "albert-1", "albert-2", "gpt2"])
def test_outputs_and_gradients_are_those_of_transformers(
    family: str, shape: tuple[int, ...], padded: bool
) -> None:
    rows, tokens = shape[4:]
    theirs, ours = pair(family, *shape[:4])
    kind = family.split("-")[0]
    given = translate(theirs.state_dict(), kind)
    assert {k: v.shape for k, v in given.items()} == {
        k: v.shape for k, v in ours.named_parameters()
    }
    copy(ours, given)
    ids = torch.randint(0, WORDS, (rows, tokens), generator=torch.Generator().manual_seed(1))
    mask = None
    if padded:
        mask = torch.ones_like(ids)
        mask[0, tokens // 2 :] = 0
        mask[-1, -1] = 0
    assert_near(gradients(ours, ids, mask), gradients(theirs, ids, mask))
    by_name = {name: p.grad for name, p in theirs.named_parameters()}
    positions = ours.embed_positions.grad
    types = LAYOUTS[kind].token_types
    if types is not None:
        # Token type 0 is at every position, so that its gradient is the sum of theirs.
        assert_near(positions.sum(0), by_name[types][0])
        by_name[types] = torch.zeros_like(by_name[types])
    expected = translate(by_name, kind)
    for name, parameter in ours.named_parameters():
        assert_near(parameter.grad, expected[name])
        assert expected[name].abs().max() > 1e-4


def test_attention_maps_are_those_of_transformers() -> None:
    theirs, ours = pair("albert-2", *SHAPES[1][:4])
    copy(ours, translate(theirs.state_dict(), "albert"))
    ids = torch.randint(0, WORDS, (2, 17), generator=torch.Generator().manual_seed(1))
    maps = []
    for model in (ours, theirs):
        model.set_attn_implementation("eager")
        maps.append(model(input_ids=ids, output_attentions=True).attentions)
    assert len(maps[0]) == len(maps[1]) == 4
    for mine, other in zip(*maps, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_roberta_is_laid_out_as_bert() -> None:
    torch.manual_seed(0)
    special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"vocab_size": WORDS, "intermediate_size": 64}
    theirs = RobertaModel(RobertaConfig(**small, **special, max_position_embeddings=PLACES + 2))
    fields = {"norm_eps": 1e-12, "max_position_embeddings": PLACES}
    ours = zoo.LegoBertModel(zoo.LegoBertConfig(**small, **fields))
    weights = translate(theirs.state_dict(), "roberta")
    weights["embed_positions"] = weights["embed_positions"][2:]  # after those of padding
    copy(ours, weights)
    ids = torch.randint(3, WORDS, (2, 9), generator=torch.Generator().manual_seed(1))
    assert_near(ours(ids).last_hidden_state, theirs.eval()(ids).last_hidden_state)
