"""What the tests of the zoo build models for, and what they read: no task of lego is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lego import zoo

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "val", "not", "A", "+1", "0")


class Words:
    """As much of a task's tokenizer as a model is built with."""

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        return [WORDS[i] for i in ids]


@dataclass(frozen=True)
class TinyTask:
    head: str = "token-classification"
    labels: tuple[str, ...] = ("+1", "-1", "?")
    vocab_size: int = len(WORDS)
    max_length: int = 12
    layers: int = 3
    pad_token_id: int = 0

    def tokenizer(self) -> Words:
        return Words()


CLASSIFY = TinyTask()
PREDICT = TinyTask(head="causal-lm", labels=())
ENCODERS, DECODERS = zoo.names("token-classification"), zoo.names("causal-lm")


def build(name: str, seed: int = 0, **fields: Any) -> Any:
    """A model of that name, the same for the same seed."""
    torch.manual_seed(seed)
    return zoo.build(name, PREDICT if name in DECODERS else CLASSIFY, **fields)


def sentences(rows: int = 4, tokens: int = 9, seed: int = 1) -> torch.Tensor:
    """(rows, tokens) ids, none of them padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, len(WORDS), (rows, tokens), generator=generator)
