"""GPT-like: a causal decoder, pre-norm, with learned positions, as GPT-2; its head is tied."""

from typing import ClassVar

from lego.zoo.configuration import LegoConfig, checked, require
from lego.zoo.decoder import CausalLM
from lego.zoo.stack import Stack


@checked
class LegoGPTConfig(LegoConfig):
    """See ``LegoConfig`` for the fields. A convolution in a decoder must be causal."""

    model_type = "lego-gpt"
    is_causal: ClassVar[bool] = True

    hidden_act: str = "gelu_new"
    conv_causal: bool = True
    embedding_std: float | int = 0.2
    tie_word_embeddings: bool = True

    def check(self) -> None:
        super().check()
        require(self.conv_causal, "conv_causal", self.conv_causal, "True in a decoder")
        whole = self.embedding_size is None
        require(whole, "embedding_size", self.embedding_size, "None in a decoder: its head is tied")


class LegoGPTModel(Stack):
    config_class = LegoGPTConfig


class LegoGPTForCausalLM(CausalLM):
    config_class = LegoGPTConfig
    stack = LegoGPTModel
