"""The table of models: parameters and FLOPs against formulas, and what is said to be tied."""

import pytest
import torch
from zoo_cases import CLASSIFY, PREDICT

from lego import zoo
from lego.zoo.table import Row, markdown, row, rows

TOKENS = 9
CLASSIFIERS = {one.name: one for one in rows(CLASSIFY, TOKENS)}
DECODERS = {one.name: one for one in rows(PREDICT, TOKENS)}


def of(kind: type, tokens: int = TOKENS, **fields: object) -> Row:
    with torch.device("meta"):
        return row("mine", kind(kind.config_class(**fields)), tokens)


def test_every_name_that_fits_has_a_row() -> None:
    assert list(CLASSIFIERS) == zoo.names("token-classification")
    assert list(DECODERS) == zoo.names("causal-lm")


@pytest.mark.parametrize("tokens", [1, TOKENS])
@pytest.mark.parametrize(
    ("width", "heads", "inner", "layers"), [(32, 2, 128, 3), (48, 4, 80, 2), (768, 12, 3072, 12)]
)
def test_bert_has_the_parameters_and_flops_of_its_formula(
    width: int, heads: int, inner: int, layers: int, tokens: int
) -> None:
    words, places, labels = 11, 12, 3
    found = of(
        zoo.LegoBertForTokenClassification,
        tokens,
        vocab_size=words,
        max_position_embeddings=places,
        num_labels=labels,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_hidden_layers=layers,
    )
    norm = 2 * width
    attention = 4 * (width * width + width)
    feed_forward = width * inner + inner + inner * width + width
    block = attention + feed_forward + 2 * norm
    ends = (words + places) * width + norm + width * labels + labels
    assert found.parameters == ends + layers * block
    # For each token: four maps, its scores and its mixture of all tokens, the feed-forward layer.
    each = 4 * width * width + 2 * tokens * width + 2 * width * inner
    assert found.flops_per_token == 2 * (layers * each + width * labels)
    assert (found.layers, found.distinct_layers) == (layers, layers)
    assert found.heads == {"dense": heads * layers} and found.tied == ()


@pytest.mark.parametrize("size", ["nano", "mini", "base"])
def test_models_differ_by_what_their_parts_cost(size: str) -> None:
    table, width = CLASSIFIERS, {"nano": 32, "mini": 128, "base": 768}[size]
    bert, conv, lego = (table[f"{v}bert-{size}"] for v in ("", "conv-", "lego-"))
    layers = bert.layers
    # 7 taps on each channel of queries, keys and values.
    assert conv.flops_per_token - bert.flops_per_token == layers * 3 * width * 7 * 2
    # Hard-coded heads have no queries, keys and scores; half of them are convolutions of 5 taps.
    spared = layers * (2 * width * width + TOKENS * width + TOKENS * width // 2) * 2
    heads = sum(lego.heads.values()) // layers // 2
    added = layers * (width // 2 + heads) * 5 * 2  # and what falls outside of the sentence
    assert lego.flops_per_token == bert.flops_per_token - spared + added
    assert lego.heads == {"association": layers * heads, "local": layers * heads}
    assert lego.parameters < bert.parameters < conv.parameters
    stock = table[f"hf-bert-{size}"]
    assert stock.flops_per_token == bert.flops_per_token and stock.heads == bert.heads


def test_a_decoder_is_counted_with_its_head_over_the_vocabulary() -> None:
    bert, gpt = CLASSIFIERS["bert-nano"], DECODERS["gpt-nano"]
    assert gpt.flops_per_token - bert.flops_per_token == 2 * 32 * (11 - 3)
    assert gpt.tied == ("embedding and head",) and DECODERS["hf-llama-nano"].tied == ()
    assert DECODERS["hf-gpt2-nano"].flops_per_token == gpt.flops_per_token


@pytest.mark.parametrize("name", ["albert-nano", "hf-albert-nano", "looped-nano"])
def test_tied_layers_are_counted_once_and_run_each_time(name: str) -> None:
    tied = CLASSIFIERS[name]
    assert (tied.layers, tied.distinct_layers, tied.tied) == (3, 1, ("layers",))
    assert tied.parameters < CLASSIFIERS["bert-nano"].parameters / 2
    assert tied.flops_per_token >= CLASSIFIERS["bert-nano"].flops_per_token


def test_groups_of_layers_and_other_heads_in_each_are_told() -> None:
    found = of(
        zoo.LegoAlbertForTokenClassification,
        num_hidden_groups=2,
        head_kinds=[["dense"], ["window", "dense"]],
    )
    assert (found.layers, found.distinct_layers) == (6, 2)
    assert found.tied == ("groups of layers",)
    assert found.heads == {"dense": 3 * 2 + 3, "window": 3}


def test_the_table_has_a_line_for_each_row() -> None:
    head, _, line = markdown([CLASSIFIERS["lego-albert-base"]]).splitlines()
    assert head.count("|") == line.count("|") == 8
    assert "| 12 (1) | 72 association, 72 local | layers |" in line
