"""Stock models: transformers' own architectures, with random weights, in the zoo's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from lego.zoo.configuration import require

# Training examples are fresh, so that nothing is dropped out; special tokens are the task's.
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_NO_SPECIAL = {"bos_token_id": None, "eos_token_id": None}
STOCK: dict[str, tuple[type[PreTrainedConfig], str, dict[str, Any]]] = {
    "bert": (BertConfig, "token-classification", _NO_DROPOUT),
    "albert": (
        AlbertConfig,
        "token-classification",
        _NO_DROPOUT | _NO_SPECIAL | {"classifier_dropout_prob": 0.0},
    ),
    "modernbert": (
        ModernBertConfig,
        "token-classification",
        _NO_SPECIAL | {"cls_token_id": None, "sep_token_id": None},
    ),
    "gpt2": (
        GPT2Config,
        "causal-lm",
        _NO_SPECIAL | {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
    ),
    "llama": (LlamaConfig, "causal-lm", _NO_SPECIAL),
}
# What another architecture calls a field.
_RENAMED = {"gpt2": {"intermediate_size": "n_inner"}}


def stock_model(
    family: str, fields: Mapping[str, Any], overrides: Mapping[str, Any]
) -> PreTrainedModel:
    """A model of a family in ``STOCK``; ``overrides`` are fields of its own config.

    Raises ValueError for a field that its config does not have, or cannot have.
    """
    kind, head, own = STOCK[family]
    known = {"attn_implementation", *kind().to_dict(), *kind.attribute_map}
    for field, value in overrides.items():
        require(field in known, field, value, f"the fields of {kind.__name__} only")
    renamed = _RENAMED.get(family, {})
    given = {renamed.get(k, k): v for k, v in fields.items()} | dict(overrides)
    if family == "albert":  # its default, 128, is for a width of 768
        given = {"embedding_size": min(AlbertConfig().embedding_size, given["hidden_size"])} | given
    width, heads = given["hidden_size"], given["num_attention_heads"]
    whole = not isinstance(width, int) or width % heads == 0  # not every family minds
    require(whole, "hidden_size", width, f"multiples of the {heads} heads")
    auto = AutoModelForCausalLM if head == "causal-lm" else AutoModelForTokenClassification
    try:
        model = auto.from_config(kind(**own | given))
    except Exception as error:  # transformers and strict raise what they like
        require(False, "model_fields", dict(overrides), str(error).splitlines()[0])
    if head == "causal-lm":
        # transformers finds the loss by the name of the class, warns where it cannot, and takes
        # this one.
        model.loss_type = "ForCausalLM"
    return model
