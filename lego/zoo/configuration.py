"""The fields of every model of the zoo, each of them checked; an architecture sets the defaults.

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


def require(held: bool, field: str, value: object, allowed: str) -> None:
    if not held:
        raise ValueError(f"{field}={value!r}: allowed {allowed}")


def checked(kind: type[Config]) -> type[Config]:
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
            require(known, field, value, f"the fields of {kind.__name__} only")
            for check in kind.__validators__.get(field, ()):
                try:
                    check(value)
                except (TypeError, ValueError):
                    kind_of_value = getattr(annotations[field], "__name__", annotations[field])
                    require(False, field, value, f"a value of type {kind_of_value}")
        construct(self, **settings)
        self.check()

    kind.__init__ = __init__
    return kind


NORM_POSITIONS = ("pre", "post", "both")
POSITION_EMBEDDINGS = ("none", "learned", "sinusoidal")
POSITION_BIASES = ("none", "relative", "alibi")
CONV_SHARING = ("channel", "head", "target")
HEAD_KINDS = ("dense", "association", "local", "window")


class LegoConfig(PreTrainedConfig):
    """The fields of all architectures; each (``zoo/bert.py`` and so on) has defaults of its own.

    Size
        vocab_size: tokens. pad_token_id: the padding token, or None. hidden_size: width, a multiple
        of ``num_attention_heads``. intermediate_size: the feed-forward layer's width. hidden_act:
        its activation, a name in transformers' ``ACT2FN``. embedding_size: width of a factorised
        embedding, which a matrix then widens, as in ALBERT (arXiv 1909.11942); None: no such
        matrix. max_position_embeddings: tokens a sentence may have, where positions are learned.
    Blocks
        num_hidden_layers: how many blocks run. num_hidden_groups: how many of them are distinct,
        None for all; 1 ties all layers. norm_position: "post", after each addition to the stream,
        as the original transformer and BERT; "pre", before each sub-layer, as GPT-2; or "both",
        before each sub-layer and at the end of the block, so that a loop can run on for as long as
        it likes. norm_eps: of LayerNorm. input_injection: add the embedding to the stream again
        before every block after the first, as looped transformers do (arXiv 2311.12424).
    Positions
        position_embeddings: what is added to the embeddings: "learned" vectors, initialised with
        standard deviation ``position_std``, "sinusoidal" (arXiv 1706.03762) or "none".
        rotary: turn queries and keys by their positions (arXiv 2104.09864). position_bias: what is
        added to the scores: "relative", a learned number for each head and signed distance,
        clipped to +-``relative_window``, where head 0 starts as a local head, at -0.5 |distance|,
        and the others at 0; "alibi", a fixed slope a head times |distance| (arXiv 2108.12409); or
        "none". Without learned positions, sentences may have any length.
    Convolution along the tokens, on the projected queries, keys and values (``zoo/conv.py``)
        conv_kernel: taps, 2 to 9, or 0 for none. conv_targets: which of "qkv" it acts on.
        conv_sharing: one kernel for each "channel" (depthwise), "head" or "target".
        conv_causal: it sees a token and those before it, not (odd kernels) as many on either side.
        conv_residual: x + conv(x) rather than conv(x). conv_bias: add a number to each channel.
        conv_after_rotary: after the rotary positions rather than before. conv_noise: it starts as
        the identity plus Gaussian noise of this standard deviation. conv_weights: these taps,
        divided by their sum, are the kernel and not learned.
        canon: which of "acd" to add, residual causal convolutions of ``canon_kernel`` taps before
        the attention (a), before the feed-forward layer (c) and inside it (d), as the Canon layers
        of Physics of Language Models 4.1; centred in an encoder if ``canon_kernel`` is odd.
    Heads
        head_kinds: for each distinct block a list of what its heads are, or one list for all;
        "dense", or a hard-coded "association", "local" or "window" head (``zoo/heads.py``). A
        shorter list is repeated. None: all dense.
    Initial values
        initializer_range: standard deviation of all matrices and embeddings; None: 1/sqrt(inputs),
        and less for what is added to the stream, and ``embedding_std`` for the embeddings.
    """

    is_causal: ClassVar[bool] = False
    cyclic: ClassVar[bool] = False  # distinct blocks in turn (ABAB), not each several times (AABB)

    vocab_size: int = 32
    pad_token_id: int | None = None
    hidden_size: int = 32
    embedding_size: int | None = None
    num_hidden_layers: int = 6
    num_hidden_groups: int | None = None
    num_attention_heads: int = 2
    intermediate_size: int = 128
    hidden_act: str = "relu"
    max_position_embeddings: int = 512
    norm_position: str = "pre"
    norm_eps: float = 1e-5
    input_injection: bool = False
    position_embeddings: str = "learned"
    position_std: float | int = 0.02
    rotary: bool = False
    position_bias: str = "none"
    relative_window: int = 16
    conv_kernel: int = 0
    conv_targets: str = "qkv"
    conv_sharing: str = "channel"
    conv_causal: bool = False
    conv_residual: bool = True
    conv_bias: bool = False
    conv_after_rotary: bool = False
    conv_noise: float | int = 0.0
    conv_weights: list[float] | None = None
    canon: str = ""
    canon_kernel: int = 4
    head_kinds: list[list[str]] | list[str] | None = None
    initializer_range: float | None = None
    embedding_std: float | int = 0.5

    @property
    def tied_layers(self) -> bool:
        """Whether all layers are one block, which can then run any number of times."""
        return self.num_hidden_groups == 1

    @property
    def distinct_layers(self) -> int:
        return self.num_hidden_groups or self.num_hidden_layers

    def block_of(self, layer: int, layers: int) -> int:
        """Which distinct block runs as this one of so many layers."""
        groups = self.distinct_layers
        return layer % groups if self.cyclic else layer * groups // layers

    def kinds_of(self, block: int) -> list[str]:
        """What each head of a distinct block is."""
        given: Any = self.head_kinds or ["dense"]
        kinds = given if isinstance(given[0], str) else given[block % len(given)]
        return kinds * (self.num_attention_heads // len(kinds))

    def check(self) -> None:
        """Raise ValueError on the first field out of its range."""
        self._check_sizes()
        self._check_convolution()
        self._check_heads()
        for field, known in (
            ("norm_position", NORM_POSITIONS),
            ("position_embeddings", POSITION_EMBEDDINGS),
            ("position_bias", POSITION_BIASES),
            ("hidden_act", ACT2FN),
        ):
            value = getattr(self, field)
            require(value in known, field, value, ", ".join(known))
        for field in ("position_std", "conv_noise"):
            value = getattr(self, field)
            require(0 <= value < inf, field, value, "0 or more, finite")
        for field in ("embedding_std", "norm_eps", "initializer_range"):
            value = getattr(self, field)
            require(value is None or 0 < value < inf, field, value, "above 0, finite")

    def _check_sizes(self) -> None:
        for field in (
            "vocab_size",
            "hidden_size",
            "embedding_size",
            "num_hidden_layers",
            "num_hidden_groups",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "relative_window",
        ):
            value = getattr(self, field)
            require(value is None or value >= 1, field, value, "1 or more")
        width, heads, layers = self.hidden_size, self.num_attention_heads, self.num_hidden_layers
        require(width % heads == 0, "hidden_size", width, f"multiples of the {heads} heads")
        odd = self.rotary and width // heads % 2 == 1
        require(not odd, "rotary", self.rotary, f"False where heads are {width // heads} wide: odd")
        groups = self.distinct_layers
        divides = layers % groups == 0
        require(divides, "num_hidden_groups", groups, f"divisors of the {layers} layers")
        pad = self.pad_token_id
        in_range = pad is None or 0 <= pad < self.vocab_size
        require(in_range, "pad_token_id", pad, f"None or 0 .. {self.vocab_size - 1}")

    def _check_convolution(self) -> None:
        kernel, names, canon = self.conv_kernel, self.conv_targets, self.canon
        require(kernel == 0 or 2 <= kernel <= 9, "conv_kernel", kernel, "0 or 2 .. 9")
        centred = kernel > 0 and not self.conv_causal
        require(not centred or kernel % 2 == 1, "conv_kernel", kernel, "odd when centred")
        subset = names != "" and names == "".join(name for name in "qkv" if name in names)
        require(subset, "conv_targets", names, "q, k, v, qk, qv, kv or qkv")
        sharing = self.conv_sharing
        require(sharing in CONV_SHARING, "conv_sharing", sharing, ", ".join(CONV_SHARING))
        late = self.conv_after_rotary and not self.rotary
        require(not late, "conv_after_rotary", True, "False without rotary positions")
        taps = self.conv_weights
        fits = taps is None or (len(taps) == kernel and sum(taps) > 0 and not self.conv_residual)
        allowed = f"None, or {kernel} taps (conv_kernel) with conv_residual=False"
        require(fits, "conv_weights", taps, allowed)
        require(
            canon in ("", "a", "c", "d", "ac", "ad", "cd", "acd"), "canon", canon, "some of acd"
        )
        size = self.canon_kernel
        require(2 <= size <= 9, "canon_kernel", size, "2 .. 9")

    def _check_heads(self) -> None:
        given, heads, blocks = self.head_kinds, self.num_attention_heads, self.distinct_layers
        if given is None:
            return
        lists: Any = [given] if not given or isinstance(given[0], str) else given
        require(len(lists) in (1, blocks), "head_kinds", given, f"a list, or {blocks} of them")
        for kinds in lists:
            fits = bool(kinds) and heads % len(kinds) == 0 and set(kinds) <= set(HEAD_KINDS)
            allowed = f"lists whose length divides {heads}, of {', '.join(HEAD_KINDS)}"
            require(fits, "head_kinds", given, allowed)
