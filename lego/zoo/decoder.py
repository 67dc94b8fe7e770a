"""What the decoders share: a tied head that predicts the next token, and no cache of keys."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import can_return_tuple

from lego.zoo.configuration import LegoConfig
from lego.zoo.stack import LegoPreTrainedModel, Stack


class CausalLM(LegoPreTrainedModel, GenerationMixin):
    """A stack with a head that predicts the next token, tied to the token embeddings."""

    stack: type[Stack]
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.model = self.stack(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.generation_config.use_cache = False

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        iterations: int | None = None,
        **capture: bool | None,
    ) -> CausalLMOutput:
        """input_ids, attention_mask, labels: (batch, tokens); labels int64, -100 to ignore.

        A label stands at its own token: the logits before it are scored, as transformers has it.
        The loss is the mean cross-entropy over the labels that are not -100. ``iterations``: see
        ``Stack``. ``capture``: ``output_hidden_states`` and ``output_attentions`` (the latter with
        eager attention).
        """
        outputs = self.model(input_ids, attention_mask, iterations, **capture)
        logits = self.lm_head(outputs.last_hidden_state)  # (batch, tokens, vocabulary)
        loss = None
        if labels is not None:
            ahead = rearrange(logits[:, :-1], "b t v -> (b t) v")
            loss = F.cross_entropy(ahead, labels[:, 1:].flatten())
        return CausalLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def readout(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the head makes of a block's output: (batch, tokens, channels) to (..., words)."""
        return self.lm_head(self.model.norm(hidden))

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> dict[str, torch.Tensor | None]:
        """Without a cache, every step of ``generate`` reads the whole sentence."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}
