"""Models by name, ``[<variant>-]<architecture>-<size>``: three tables and what crosses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import torch
from transformers import PreTrainedModel

from lego.zoo.albert import LegoAlbertForTokenClassification
from lego.zoo.bert import LegoBertForTokenClassification
from lego.zoo.configuration import require
from lego.zoo.gpt import LegoGPTForCausalLM
from lego.zoo.initial import initialise
from lego.zoo.looped import LegoLoopedForTokenClassification
from lego.zoo.stock import STOCK, stock_model

Head = Literal["token-classification", "causal-lm"]


class TaskShape(Protocol):
    """What a model has to know of its task."""

    vocab_size: int
    pad_token_id: int
    max_length: int  # tokens a sentence may have
    labels: tuple[str, ...]  # the classes' names; empty for causal-lm
    layers: int  # how many hops the longest dependency takes

    @property
    def head(self) -> Head: ...


ARCHITECTURES: dict[str, tuple[type[PreTrainedModel], Head]] = {
    "bert": (LegoBertForTokenClassification, "token-classification"),
    "albert": (LegoAlbertForTokenClassification, "token-classification"),
    "looped": (LegoLoopedForTokenClassification, "token-classification"),
    "gpt": (LegoGPTForCausalLM, "causal-lm"),
}
# Fields, and under "init" how the weights start. What is not named here is the architecture's own.
VARIANTS: dict[str, dict[str, Any]] = {
    "pre": {"norm_position": "pre"},
    # What learns chains within minutes of one core: see docs/zoo.md.
    "conv": {
        "norm_position": "pre",
        "hidden_act": "relu",
        "input_injection": True,
        "position_std": 0.0,
        "position_bias": "relative",
        "conv_kernel": 7,
        "conv_noise": 0.2,
        "init": "associative",
    },
    # The convolution of Primer (arXiv 2109.08668), with its squared ReLU.
    "primer": {
        "norm_position": "pre",
        "hidden_act": "relu2",
        "conv_kernel": 3,
        "conv_causal": True,
        "conv_residual": False,
        "conv_bias": True,
    },
    # Canon layers (Physics of Language Models 4.1): B on the projections, A, C and D in the block.
    "canon": {"norm_position": "pre", "conv_kernel": 4, "conv_causal": True, "canon": "acd"},
    # The local pattern that the paper's authors mimic, as a kernel that is not learned.
    "fixed": {
        "norm_position": "pre",
        "conv_kernel": 5,
        "conv_targets": "qk",
        "conv_sharing": "target",
        "conv_residual": False,
        "conv_weights": [1.0, 2.0, 4.0, 2.0, 1.0],
    },
    # The LEGO-attention block, our reconstruction: association and local heads in turn.
    "lego": {"norm_position": "pre", "head_kinds": ["association", "local"]},
}
SIZES: dict[str, dict[str, Any]] = {
    "nano": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128},
    "mini": {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512},
    # The paper's: BERT-base and ALBERT-base.
    "base": {
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "initializer_range": 0.02,
    },
}


def names(head: str | None = None) -> list[str]:
    """The names that ``build`` knows, or those of them that fit a task's head."""
    own = [
        f"{variant}{architecture}-{size}"
        for architecture, (_, kind) in ARCHITECTURES.items()
        for variant in ("", *(f"{name}-" for name in VARIANTS))
        for size in SIZES
        if head in (None, kind)
    ]
    stock = [
        f"hf-{family}-{size}"
        for family, (_, kind, _) in STOCK.items()
        for size in SIZES
        if head in (None, kind)
    ]
    return own + stock


def build(
    name: str,
    task: TaskShape,
    init: str | None = None,
    batches: Iterable[torch.Tensor] | None = None,
    **overrides: Any,
) -> PreTrainedModel:
    """A model for a task: as deep as it needs, with its labels' names.

    ``init`` and ``batches``: how its weights start, see ``initialise``; None takes the variant's
    own. The words for pretrained embeddings are those of ``task.tokenizer()``. ``overrides`` are
    fields of the config. Raises ValueError for an unknown name, a name that does not fit
    ``task.head``, and a field that is impossible, or impossible for the task.
    """
    if name not in names(task.head):
        require(False, "name", name, _forms(task.head if name in names() else None))
    *variant, architecture, size = name.split("-")
    fields: dict[str, Any] = {
        "vocab_size": task.vocab_size,
        "pad_token_id": task.pad_token_id,
        "max_position_embeddings": task.max_length,
        "num_hidden_layers": task.layers,
    } | SIZES[size]
    if task.labels:
        fields["id2label"] = dict(enumerate(task.labels))
        fields["label2id"] = {label: i for i, label in enumerate(task.labels)}
    if variant == ["hf"]:
        model, start = stock_model(architecture, fields, overrides), init or "random"
    else:
        kind, _ = ARCHITECTURES[architecture]
        if name == "albert-base":
            fields["embedding_size"] = 128
        own = VARIANTS[variant[0]] if variant else {}
        start = own.get("init", "random") if init is None else init
        fields |= {field: value for field, value in own.items() if field != "init"}
        model = kind(kind.config_class(**fields | overrides))
    for field, count in (("vocab_size", task.vocab_size), ("num_labels", len(task.labels))):
        value = getattr(model.config, field)
        require(value == count or count == 0, field, value, f"{count}, as the task has")
    words: list[str] = []
    if ":" in start and hasattr(task, "tokenizer"):
        words = task.tokenizer().convert_ids_to_tokens(range(task.vocab_size))
    initialise(model, start, words, batches)
    return model


def _forms(head: str | None) -> str:
    """The names in short."""
    own = [name for name, (_, kind) in ARCHITECTURES.items() if head in (None, kind)]
    stock = [name for name, (_, kind, _) in STOCK.items() if head in (None, kind)]
    variants, sizes = "|".join(VARIANTS), "|".join(SIZES)
    for_head = f" for a {head} task" if head else ""
    return f"[{variants}-]({'|'.join(own)})-({sizes}) or hf-({'|'.join(stock)})-({sizes}){for_head}"
