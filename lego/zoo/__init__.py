"""Models: they see only integers and tensors, and know no task.

Importing this package registers them with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
)

from lego.zoo.albert import (
    LegoAlbertConfig,
    LegoAlbertForTokenClassification,
    LegoAlbertModel,
)
from lego.zoo.bert import LegoBertConfig, LegoBertForTokenClassification, LegoBertModel
from lego.zoo.gpt import LegoGPTConfig, LegoGPTForCausalLM, LegoGPTModel
from lego.zoo.initial import initialise
from lego.zoo.looped import (
    LegoLoopedConfig,
    LegoLoopedForTokenClassification,
    LegoLoopedModel,
)
from lego.zoo.mimic import Mimicked, mimic
from lego.zoo.presets import build, names

__all__ = [
    "LegoAlbertConfig",
    "LegoAlbertForTokenClassification",
    "LegoAlbertModel",
    "LegoBertConfig",
    "LegoBertForTokenClassification",
    "LegoBertModel",
    "LegoGPTConfig",
    "LegoGPTForCausalLM",
    "LegoGPTModel",
    "LegoLoopedConfig",
    "LegoLoopedForTokenClassification",
    "LegoLoopedModel",
    "Mimicked",
    "build",
    "initialise",
    "mimic",
    "names",
]

for _config, _stack, _auto, _model in (
    (
        LegoBertConfig,
        LegoBertModel,
        AutoModelForTokenClassification,
        LegoBertForTokenClassification,
    ),
    (
        LegoAlbertConfig,
        LegoAlbertModel,
        AutoModelForTokenClassification,
        LegoAlbertForTokenClassification,
    ),
    (
        LegoLoopedConfig,
        LegoLoopedModel,
        AutoModelForTokenClassification,
        LegoLoopedForTokenClassification,
    ),
    (LegoGPTConfig, LegoGPTModel, AutoModelForCausalLM, LegoGPTForCausalLM),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _stack)
    _auto.register(_config, _model)
