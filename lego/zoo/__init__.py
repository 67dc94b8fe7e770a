"""Models: they see only integers and tensors, and know no task.

Importing this package registers them with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
)

from lego.zoo.configuration import LegoDecoderConfig, LegoEncoderConfig
from lego.zoo.decoder import LegoDecoderForCausalLM, LegoDecoderModel
from lego.zoo.encoder import LegoEncoderForTokenClassification, LegoEncoderModel
from lego.zoo.presets import build, names

__all__ = [
    "LegoDecoderConfig",
    "LegoDecoderForCausalLM",
    "LegoDecoderModel",
    "LegoEncoderConfig",
    "LegoEncoderForTokenClassification",
    "LegoEncoderModel",
    "build",
    "names",
]

for _config, _model in (
    (LegoEncoderConfig, LegoEncoderModel),
    (LegoDecoderConfig, LegoDecoderModel),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _model)
AutoModelForTokenClassification.register(LegoEncoderConfig, LegoEncoderForTokenClassification)
AutoModelForCausalLM.register(LegoDecoderConfig, LegoDecoderForCausalLM)
