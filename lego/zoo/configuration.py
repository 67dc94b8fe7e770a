"""One family of configs: the encoder's and the decoder's, every field of them checked.

A bad field raises ValueError in one line, ``field=value: allowed ...``; so does an unknown one.
"""

from dataclasses import fields
from functools import wraps
from math import inf
from typing import Any, ClassVar, TypeVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

Config = TypeVar("Config", bound=PreTrainedConfig)

# What transformers itself hands to a config that it builds or reads, besides the config's fields.
_FROM_TRANSFORMERS = {
    "attn_implementation",
    "bos_token_id",  # this, eos_token_id and use_cache are what its Trainer writes into a config
    "eos_token_id",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "torch_dtype",
    "use_cache",
    *PreTrainedConfig().to_dict(),
}


def _require(held: bool, field: str, value: object, allowed: str) -> None:
    if not held:
        raise ValueError(f"{field}={value!r}: allowed {allowed}")


def _checked(kind: type[Config]) -> type[Config]:
    """``strict``, but what it refuses at construction is a ValueError in lego's one line.

    (On its own it raises a two-line error that is no ValueError. It still guards assignment.)
    """
    kind = strict(kind)
    construct = kind.__init__
    annotations = {field.name: field.type for field in fields(kind)}

    @wraps(construct)
    def __init__(self: Config, **settings: Any) -> None:
        for field, value in settings.items():
            known = field in annotations or field in _FROM_TRANSFORMERS
            _require(known, field, value, f"the fields of {kind.__name__} only")
            for check in kind.__validators__.get(field, ()):
                try:
                    check(value)
                except (TypeError, ValueError):
                    kind_of_value = getattr(annotations[field], "__name__", annotations[field])
                    _require(False, field, value, f"a value of type {kind_of_value}")
        construct(self, **settings)
        self.check()

    kind.__init__ = __init__
    return kind


class LegoConfig(PreTrainedConfig):
    """The fields that encoder and decoder share; see the two subclasses.

    vocab_size: tokens, 1 or more. pad_token_id: the padding token, or None.
    hidden_size: width, a multiple of ``num_attention_heads``. intermediate_size: the feed-forward
        layer's width. hidden_act: its activation, a name in transformers' ``ACT2FN``.
    num_hidden_layers: how many blocks run. tied_layers: they are one block run that many times,
        as in ALBERT (arXiv 1909.11942).
    input_injection: add the embedding to the stream again before every block after the first, as
        looped transformers do (arXiv 2311.12424).
    position_embeddings: add a learned vector for each absolute position below
        ``max_position_embeddings``, initialised with standard deviation ``position_std`` (0: all
        zeros). Without them, sentences may have any length.
    relative_bias: add to each head's scores a learned number for each signed distance, clipped to
        +-``relative_window``. Head 0 starts as a local head, at -0.5 |distance|; the others at 0.
    conv_kernel: taps of a depthwise convolution along the tokens on the projected queries, keys
        and values, 2 to 9, or 0 for none. conv_targets: which of "qkv" it acts on.
        conv_causal: it sees a token and those before it, not (odd kernels) as many on either side.
        conv_noise: it starts as the identity plus Gaussian noise of this standard deviation.
    associative_init: queries and keys start as the same random map, of twice the usual size, so
        that equal tokens attend to each other (the association head of LEGO, arXiv 2206.04301).
    embedding_std: standard deviation of the initial token embeddings. norm_eps: of LayerNorm.
    """

    is_causal: ClassVar[bool] = False

    vocab_size: int = 32
    pad_token_id: int | None = None
    hidden_size: int = 32
    num_hidden_layers: int = 6
    num_attention_heads: int = 2
    intermediate_size: int = 128
    hidden_act: str = "relu"
    max_position_embeddings: int = 512
    tied_layers: bool = False
    input_injection: bool = False
    position_embeddings: bool = True
    position_std: float | int = 0.02
    relative_bias: bool = False
    relative_window: int = 16
    conv_kernel: int = 0
    conv_targets: str = "qkv"
    conv_causal: bool = False
    conv_noise: float | int = 0.0
    associative_init: bool = False
    embedding_std: float | int = 0.5
    norm_eps: float = 1e-5

    def check(self) -> None:
        """Raise ValueError on the first field out of its range."""
        for field in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "relative_window",
        ):
            _require(getattr(self, field) >= 1, field, getattr(self, field), "1 or more")
        heads, kernel = self.num_attention_heads, self.conv_kernel
        divides = self.hidden_size % heads == 0
        _require(divides, "hidden_size", self.hidden_size, f"multiples of the {heads} heads")
        pad, names = self.pad_token_id, self.conv_targets
        in_range = pad is None or 0 <= pad < self.vocab_size
        _require(in_range, "pad_token_id", pad, f"None or 0 .. {self.vocab_size - 1}")
        known = self.hidden_act in ACT2FN
        _require(known, "hidden_act", self.hidden_act, "the names in transformers' ACT2FN")
        _require(kernel == 0 or 2 <= kernel <= 9, "conv_kernel", kernel, "0 or 2 .. 9")
        centred = kernel > 0 and not self.conv_causal
        _require(not centred or kernel % 2 == 1, "conv_kernel", kernel, "odd when centred")
        subset = names != "" and names == "".join(name for name in "qkv" if name in names)
        _require(subset, "conv_targets", names, "q, k, v, qk, qv, kv or qkv")
        for field in ("position_std", "conv_noise"):
            value = getattr(self, field)
            _require(0 <= value < inf, field, value, "0 or more, finite")
        for field in ("embedding_std", "norm_eps"):
            value = getattr(self, field)
            _require(0 < value < inf, field, value, "above 0, finite")


@_checked
class LegoEncoderConfig(LegoConfig):
    """The config of the bidirectional encoder (BERT-like; ALBERT-like with ``tied_layers``)."""

    model_type = "lego-encoder"


@_checked
class LegoDecoderConfig(LegoConfig):
    """The config of the causal decoder (GPT-like). A convolution in it must be causal."""

    model_type = "lego-decoder"
    is_causal: ClassVar[bool] = True

    conv_causal: bool = True
    tie_word_embeddings: bool = True

    def check(self) -> None:
        super().check()
        _require(self.conv_causal, "conv_causal", self.conv_causal, "True in a decoder")
