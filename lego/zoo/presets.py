"""Models by name, ``<architecture>-<size>``: two tables and the function that crosses them."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from transformers import PreTrainedModel

from lego.zoo.configuration import LegoConfig, LegoDecoderConfig, LegoEncoderConfig
from lego.zoo.decoder import LegoDecoderForCausalLM
from lego.zoo.encoder import LegoEncoderForTokenClassification


class TaskShape(Protocol):
    """What a model has to know of its task."""

    vocab_size: int
    pad_token_id: int
    max_length: int  # tokens a sentence may have
    labels: tuple[str, ...]  # the classes' names; empty for causal-lm
    layers: int  # how many hops the longest dependency takes

    @property
    def head(self) -> Literal["token-classification", "causal-lm"]: ...


_CONV = {
    "input_injection": True,
    "position_std": 0.0,
    "relative_bias": True,
    "conv_kernel": 7,
    "conv_noise": 0.2,
    "associative_init": True,
}
ARCHITECTURES: dict[str, tuple[type[LegoConfig], dict[str, Any]]] = {
    "bert": (LegoEncoderConfig, {}),
    "albert": (LegoEncoderConfig, {"tied_layers": True}),
    "gpt": (LegoDecoderConfig, {"embedding_std": 0.2}),
    "conv-bert": (LegoEncoderConfig, _CONV),
    "conv-albert": (LegoEncoderConfig, _CONV | {"tied_layers": True}),
    "conv-gpt": (LegoDecoderConfig, _CONV | {"embedding_std": 0.2}),
}
SIZES = {
    "nano": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128},
}
_HEADS = {
    "token-classification": (LegoEncoderConfig, LegoEncoderForTokenClassification),
    "causal-lm": (LegoDecoderConfig, LegoDecoderForCausalLM),
}


def names(head: str | None = None) -> list[str]:
    """The names that ``build`` knows, or those of them that fit a task's head."""
    return [
        f"{architecture}-{size}"
        for architecture, (kind, _) in ARCHITECTURES.items()
        for size in SIZES
        if head is None or kind is _HEADS[head][0]
    ]


def build(name: str, task: TaskShape, **overrides: Any) -> PreTrainedModel:
    """A model with random weights for a task: as deep as it needs, with its labels' names.

    ``overrides`` are fields of the config. Raises ValueError for an unknown name, a name that
    does not fit ``task.head``, and an impossible field.
    """
    if name not in names():
        raise ValueError(f"name={name!r}: allowed {', '.join(names())}")
    if name not in names(task.head):
        fit = ", ".join(names(task.head))
        raise ValueError(f"name={name!r}: allowed {fit} for a {task.head} task")
    architecture, size = name.rsplit("-", 1)
    kind, model = _HEADS[task.head]
    shape: dict[str, Any] = {
        "vocab_size": task.vocab_size,
        "pad_token_id": task.pad_token_id,
        "max_position_embeddings": task.max_length,
        "num_hidden_layers": task.layers,
    }
    if task.labels:
        shape["id2label"] = dict(enumerate(task.labels))
        shape["label2id"] = {label: i for i, label in enumerate(task.labels)}
    return model(kind(**shape | SIZES[size] | ARCHITECTURES[architecture][1] | overrides))
