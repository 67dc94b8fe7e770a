"""What the decoders share: a tied head that predicts the next token, and no cache of keys."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from lego.zoo.configuration import LegoConfig
from lego.zoo.head import Headed


class CausalLM(Headed, GenerationMixin):
    """A stack with a head that predicts the next token, tied to the token embeddings."""

    output = CausalLMOutput
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.generation_config.use_cache = False

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.lm_head(hidden)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """A label stands at its own token: the logits before it are scored, as transformers has
        it."""
        ahead = rearrange(logits[:, :-1], "b t v -> (b t) v")
        return F.cross_entropy(ahead, labels[:, 1:].flatten())

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> dict[str, torch.Tensor | None]:
        """Without a cache, every step of ``generate`` reads the whole sentence."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}
