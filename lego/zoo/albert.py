"""ALBERT-like: a BERT whose layers share their weights (arXiv 1909.11942).

``num_hidden_groups`` neighbouring groups of layers are tied, each to one block: 1 ties them all.
``embedding_size`` factorises the embedding.
"""

from lego.zoo.configuration import LegoConfig, checked
from lego.zoo.encoder import TokenClassification
from lego.zoo.stack import Stack


@checked
class LegoAlbertConfig(LegoConfig):
    """See ``LegoConfig`` for the fields."""

    model_type = "lego-albert"

    num_hidden_groups: int | None = 1
    hidden_act: str = "gelu_new"
    norm_position: str = "post"
    norm_eps: float = 1e-12


class LegoAlbertModel(Stack):
    config_class = LegoAlbertConfig


class LegoAlbertForTokenClassification(TokenClassification):
    config_class = LegoAlbertConfig
    stack = LegoAlbertModel
