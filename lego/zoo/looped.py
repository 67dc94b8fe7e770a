"""Looped: a short stack of blocks that runs again and again (arXiv 2311.12424).

Pre-norm, without absolute positions, and the embedding is added again before every block, so that
an iteration need not know how many came before it. ``num_hidden_groups`` is how many distinct
blocks the loop has, which run in turn; ``model(ids, iterations=20)`` runs the loop 20 times.
"""

from typing import ClassVar

from lego.zoo.configuration import LegoConfig, checked
from lego.zoo.encoder import TokenClassification
from lego.zoo.stack import Stack


@checked
class LegoLoopedConfig(LegoConfig):
    """See ``LegoConfig`` for the fields."""

    model_type = "lego-looped"
    cyclic: ClassVar[bool] = True

    num_hidden_groups: int | None = 1
    input_injection: bool = True
    position_embeddings: str = "none"
    position_bias: str = "relative"


class LegoLoopedModel(Stack):
    config_class = LegoLoopedConfig


class LegoLoopedForTokenClassification(TokenClassification):
    config_class = LegoLoopedConfig
    stack = LegoLoopedModel
