"""What the encoders share: a linear head that classifies each token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput

from lego.zoo.configuration import LegoConfig
from lego.zoo.head import Headed


class TokenClassification(Headed):
    """A stack with a linear head on each token."""

    output = TokenClassifierOutput

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.classifier(hidden)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(rearrange(logits, "b t c -> (b t) c"), labels.flatten())
