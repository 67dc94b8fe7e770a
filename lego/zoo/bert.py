"""BERT-like: a bidirectional encoder, post-norm, with learned positions (arXiv 1810.04805).

``norm_position="pre"`` makes it the pre-norm encoder. The parts that others add to it, such as the
convolution on queries, keys and values, are fields of every architecture.
"""

from lego.zoo.configuration import LegoConfig, checked
from lego.zoo.encoder import TokenClassification
from lego.zoo.stack import Stack


@checked
class LegoBertConfig(LegoConfig):
    """See ``LegoConfig`` for the fields."""

    model_type = "lego-bert"

    hidden_act: str = "gelu"
    norm_position: str = "post"
    norm_eps: float = 1e-12


class LegoBertModel(Stack):
    config_class = LegoBertConfig


class LegoBertForTokenClassification(TokenClassification):
    config_class = LegoBertConfig
    stack = LegoBertModel
