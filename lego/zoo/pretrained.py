"""Weights of a checkpoint of the BERT family, put into a model with a small vocabulary of its own.

The paper starts from BERT and ALBERT as they are, with their 30,000 words (arXiv 2206.04301). A
task needs some tens of words: here each gets the checkpoint's embedding of the same word, or a
random one like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AlbertModel,
    AutoConfig,
    AutoTokenizer,
    BertModel,
    GPT2Model,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaModel,
)

from lego.zoo.configuration import LegoConfig, require

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """Where a family of transformers keeps its weights; names of modules, "{}" for the block's."""

    model: type[PreTrainedModel]
    tokens: str
    positions: str
    token_types: str | None
    stack: Mapping[str, str]  # the zoo's names of modules beside the blocks: theirs
    block: Mapping[str, Sequence[str]]  # and in the blocks; several stand below each other
    norm_position: str = "post"
    transposed: bool = False  # matrices are (in, out)


_BERT_BLOCK = {
    "attention.qkv": [f"encoder.layer.{{}}.attention.self.{x}" for x in ("query", "key", "value")],
    "attention.out": ["encoder.layer.{}.attention.output.dense"],
    "attention_norm": ["encoder.layer.{}.attention.output.LayerNorm"],
    "feed_forward.up": ["encoder.layer.{}.intermediate.dense"],
    "feed_forward.down": ["encoder.layer.{}.output.dense"],
    "feed_forward_norm": ["encoder.layer.{}.output.LayerNorm"],
}
_ALBERT_GROUP = "encoder.albert_layer_groups.{}.albert_layers.0"
_ALBERT_BLOCK = {
    "attention.qkv": [f"{_ALBERT_GROUP}.attention.{x}" for x in ("query", "key", "value")],
    "attention.out": [f"{_ALBERT_GROUP}.attention.dense"],
    "attention_norm": [f"{_ALBERT_GROUP}.attention.LayerNorm"],
    "feed_forward.up": [f"{_ALBERT_GROUP}.ffn"],
    "feed_forward.down": [f"{_ALBERT_GROUP}.ffn_output"],
    "feed_forward_norm": [f"{_ALBERT_GROUP}.full_layer_layer_norm"],
}
_GPT2_BLOCK = {
    "attention.qkv": ["h.{}.attn.c_attn"],
    "attention.out": ["h.{}.attn.c_proj"],
    "attention_norm": ["h.{}.ln_1"],
    "feed_forward.up": ["h.{}.mlp.c_fc"],
    "feed_forward.down": ["h.{}.mlp.c_proj"],
    "feed_forward_norm": ["h.{}.ln_2"],
}
_EMBEDDINGS = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
)
_NORM = {"embed_norm": "embeddings.LayerNorm"}
_WIDEN = {"widen": "encoder.embedding_hidden_mapping_in"}
LAYOUTS = {
    "bert": Layout(BertModel, *_EMBEDDINGS, _NORM, _BERT_BLOCK),
    "roberta": Layout(RobertaModel, *_EMBEDDINGS, _NORM, _BERT_BLOCK),
    "albert": Layout(AlbertModel, *_EMBEDDINGS, _NORM | _WIDEN, _ALBERT_BLOCK),
    "gpt2": Layout(
        GPT2Model, "wte.weight", "wpe.weight", None, {"norm": "ln_f"}, _GPT2_BLOCK, "pre", True
    ),
}


ENCODERS = {"bert": "bert", "roberta": "bert", "albert": "albert"}  # theirs: the zoo's


def shape_of(source: str) -> dict[str, Any]:
    """The fields of the config of a zoo model that takes the weights of an encoder's checkpoint."""
    config = AutoConfig.from_pretrained(source)
    depth = {"num_hidden_layers": config.num_hidden_layers}
    return {k: v for k, v in (_shape(config, True) | depth).items() if v is not None}


@torch.no_grad()
def pretrain(
    model: PreTrainedModel, source: str, vocabulary: Sequence[str], shuffled: bool = False
) -> None:
    """Copy a checkpoint's weights into a model of the zoo, or a stock model of its own family.

    ``source``: a folder or hub name of a BERT, RoBERTa, ALBERT or GPT-2 checkpoint in safetensors,
    with its tokenizer. ``vocabulary``: the word of each of the model's token ids. A word that is
    one token of the checkpoint's gets its embedding; the others get Gaussian vectors with the mean
    and standard deviation, channel by channel, of all its embeddings. Of the positions the first
    are taken. A zoo model has no token types: type 0 is added to its positions. The head, and what
    the checkpoint's family does not have, such as convolutions, stay as they are.

    ``shuffled`` first permutes the entries of each matrix, queries, keys, values and embeddings
    apart; vectors, which are biases and norms, stay. It keeps the scale and loses the structure.

    Raises ValueError where there is no such checkpoint, or it has another shape than the model.
    """
    checkpoint, tokenizer = _read(source)
    layout, config = LAYOUTS[checkpoint.config.model_type], checkpoint.config
    words = model.config.vocab_size
    allowed = f"the {words} words of the model's token ids, for a pretrained start"
    require(len(vocabulary) == words, "vocabulary", f"{len(vocabulary)} words", allowed)
    _require_same_shape(model.config, config, source)
    weights = dict(checkpoint.state_dict())
    if shuffled:
        weights = {name: _shuffled(weight) for name, weight in weights.items()}
    table = weights[layout.tokens]
    weights[layout.tokens] = _embeddings(table, tokenizer, vocabulary)
    if config.model_type == "roberta":  # its first positions are for padding
        weights[layout.positions] = weights[layout.positions][config.pad_token_id + 1 :]
    most, needed = len(weights[layout.positions]), model.config.max_position_embeddings
    require(needed <= most, "max_position_embeddings", needed, f"up to {most}, as {source} has")
    weights[layout.positions] = weights[layout.positions][:needed]
    ours = isinstance(model.config, LegoConfig)
    copy(model.base_model, translate(weights, config.model_type) if ours else weights)


def translate(weights: Weights, model_type: str) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint's base model by the zoo's names. Gradients translate as well."""
    layout = LAYOUTS[model_type]
    positions = weights[layout.positions]
    if layout.token_types is not None:
        positions = positions + weights[layout.token_types][0]
    ours = {"embed_tokens.weight": weights[layout.tokens], "embed_positions": positions}
    modules: dict[str, list[str]] = {name: [theirs] for name, theirs in layout.stack.items()}
    block = 0
    while f"{layout.block['attention.out'][0].format(block)}.weight" in weights:
        for name, theirs in layout.block.items():
            modules[f"layers.{block}.{name}"] = [part.format(block) for part in theirs]
        block += 1
    for name, theirs in modules.items():
        parts = [weights[f"{part}.weight"] for part in theirs]
        if layout.transposed and parts[0].ndim == 2:
            parts = [part.T for part in parts]
        ours[f"{name}.weight"] = torch.cat(parts)
        ours[f"{name}.bias"] = torch.cat([weights[f"{part}.bias"] for part in theirs])
    return ours


@torch.no_grad()
def copy(model: PreTrainedModel, weights: Weights) -> None:
    """Set those of a base model's parameters that are there."""
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])


def _read(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A checkpoint and its tokenizer; no code of its own is run."""
    try:
        kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
        if kind in LAYOUTS:
            model = LAYOUTS[kind].model.from_pretrained(source, use_safetensors=True)
            return model, AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        kind = str(error).strip().splitlines()[0]
    allowed = f"checkpoints in safetensors, with a tokenizer, of {', '.join(LAYOUTS)}; not: {kind}"
    require(False, "init", f"pretrained:{source}", allowed)
    raise AssertionError


def _shape(config: PreTrainedConfig, ours: bool) -> dict[str, Any]:
    """The fields that a model must share with a checkpoint, by the zoo's names or by its own."""
    names = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    names += ["hidden_act", "embedding_size", "num_hidden_groups"]
    shape = {name: getattr(config, name) for name in names if hasattr(config, name)}
    if config.model_type == "gpt2" and config.n_inner is None:
        shape["intermediate_size"] = 4 * config.hidden_size
    if shape.get("num_hidden_groups") == 1:
        del shape["num_hidden_layers"]  # tied layers run as often as one likes
    if ours:
        eps = "layer_norm_epsilon" if config.model_type == "gpt2" else "layer_norm_eps"
        shape = {"embedding_size": None, "num_hidden_groups": None} | shape
        shape |= {
            "norm_position": LAYOUTS[config.model_type].norm_position,
            "norm_eps": getattr(config, eps),
            "position_embeddings": "learned",
            "head_kinds": None,
        }
    return shape


def _require_same_shape(model: PreTrainedConfig, given: PreTrainedConfig, source: str) -> None:
    ours = isinstance(model, LegoConfig)
    kinds = (given.model_type, "a model of the zoo")
    require(
        ours or model.model_type == given.model_type, "model", model.model_type, " or ".join(kinds)
    )
    if ours:
        causal = given.model_type == "gpt2"
        allowed = f"{'decoders' if causal else 'encoders'}, as {source} is"
        require(model.is_causal == causal, "model", model.model_type, allowed)
    shape = _shape(given, ours)
    whole = ", ".join(f"{field}={value}" for field, value in shape.items() if value is not None)
    for field, value in shape.items():
        has = getattr(model, field)
        if field == "intermediate_size" and has is None:  # GPT-2's default
            has = 4 * model.hidden_size
        require(has == value, field, has, f"{value!r} (that of {source}: {whole})")


def _shuffled(weight: torch.Tensor) -> torch.Tensor:
    if weight.ndim < 2:
        return weight
    return weight.flatten()[torch.randperm(weight.numel())].view_as(weight)


def _embeddings(
    table: torch.Tensor, tokenizer: PreTrainedTokenizerBase, words: Sequence[str]
) -> torch.Tensor:
    """(words, channels): the table's rows of the words that it has, random ones for the others."""
    fresh = table.mean(0) + table.std(0) * torch.randn(len(words), table.shape[1])
    for i, word in enumerate(words):
        token = _token(tokenizer, word)
        if token is not None:
            fresh[i] = table[token]
    return fresh


def _token(tokenizer: PreTrainedTokenizerBase, word: str) -> int | None:
    """The id of a word that is one token, spelled as it is, inside of a sentence."""
    if word in tokenizer.all_special_tokens:
        return tokenizer.convert_tokens_to_ids(word)
    ids = tokenizer.encode(f" {word}", add_special_tokens=False)
    whole = len(ids) == 1 and tokenizer.decode(ids).strip() == word
    return ids[0] if whole else None
