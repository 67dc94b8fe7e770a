"""What the encoders share: a linear head that classifies each token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils import can_return_tuple

from lego.zoo.configuration import LegoConfig
from lego.zoo.stack import LegoPreTrainedModel, Stack


class TokenClassification(LegoPreTrainedModel):
    """A stack with a linear head on each token."""

    stack: type[Stack]

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.model = self.stack(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        iterations: int | None = None,
        **capture: bool | None,
    ) -> TokenClassifierOutput:
        """input_ids, attention_mask, labels: (batch, tokens); labels int64, -100 to ignore.

        The loss is the mean cross-entropy over the labels that are not -100. ``iterations``: see
        ``Stack``. ``capture``: ``output_hidden_states`` and ``output_attentions`` (the latter with
        eager attention).
        """
        outputs = self.model(input_ids, attention_mask, iterations, **capture)
        logits = self.classifier(outputs.last_hidden_state)  # (batch, tokens, labels)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(rearrange(logits, "b t c -> (b t) c"), labels.flatten())
        return TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def readout(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the head makes of a block's output: (batch, tokens, channels) to (..., labels)."""
        return self.classifier(self.model.norm(hidden))
