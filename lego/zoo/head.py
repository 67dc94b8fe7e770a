"""What all models with a head share: a stack, the way from ids to logits, and the loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from transformers.utils import ModelOutput, can_return_tuple

from lego.zoo.configuration import LegoConfig
from lego.zoo.stack import LegoPreTrainedModel, Stack


class Headed(LegoPreTrainedModel):
    """A stack, whose class the architecture names, under a head, which the subclass adds."""

    stack: ClassVar[type[Stack]]
    output: ClassVar[type[ModelOutput]]

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.model = self.stack(config)

    @abstractmethod
    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, channels) to (batch, tokens, classes), the logits."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy over the labels that are not -100, where there is one."""

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        iterations: int | None = None,
        **capture: bool | None,
    ) -> ModelOutput:
        """input_ids, attention_mask, labels: (batch, tokens); labels int64, -100 to ignore.

        The loss is ``loss``; None without labels. ``iterations``: see ``Stack``. ``capture``:
        ``output_hidden_states`` and ``output_attentions`` (the latter with eager attention).
        """
        outputs = self.model(input_ids, attention_mask, iterations, **capture)
        logits = self.head(outputs.last_hidden_state)
        return self.output(
            loss=None if labels is None else self.loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def readout(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the head makes of a block's output: (batch, tokens, channels) to (..., classes)."""
        return self.head(self.model.norm(hidden))
