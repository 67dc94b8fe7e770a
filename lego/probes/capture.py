"""Attention and the stream of a transformers model as it runs: to be looked at, or changed.

A capturing function stands in transformers' attention registry beside "sdpa" and "eager", and hooks
stand on the blocks: training keeps its fast path, and a probe holds no more than one layer. What is
observed can also be replaced, which is all that an intervention is; what comes before it need not
be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lego.task import require
from lego.zoo.block import SHOWS_HARD_HEADS, HardMaps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "lego_capture"


class Attended:
    """One run of a model's attention. What a sink assigns to ``weights`` or to ``mixed``, or writes
    into them, is what the model goes on with.

    ``layer`` counts the runs of a forward pass from 0: a tied block counts each time. ``weights``
    and ``mixed`` are computed when they are first looked at, so that what no sink asks for costs
    nothing, and ``mixed`` follows from ``weights`` as they are then. Where heads are hard-coded,
    ``query`` and ``key`` are those of the other heads alone, and ``hard`` is not None.
    """

    def __init__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float,
        hard: HardMaps | None = None,
    ) -> None:
        self.layer, self.scaling, self.hard = layer, scaling, hard
        self.query = query  # (batch, heads, query, channels), rotated if the model does so
        self.key = key  # (batch, heads, key, channels); grouped ones are repeated
        self.value = value  # (batch, all heads, key, channels)
        self.mask = mask  # added to the scores: broadcasts to (batch, heads, query, key), or None
        self._weights: torch.Tensor | None = None
        self._mixed: torch.Tensor | None = None

    def part(self, rows: slice) -> Attended:
        """The same run for some sentences of the batch, with weights and outputs of its own, so
        that those of all sentences need not be there at once."""
        mask = self.mask if self.mask is None or len(self.mask) == 1 else self.mask[rows]
        hard = self.hard and self.hard._replace(maps=self.hard.maps[rows])
        query, key, value = self.query[rows], self.key[rows], self.value[rows]
        part = Attended(self.layer, query, key, value, mask, self.scaling, hard)
        if self._weights is not None:  # they may have been replaced
            part._weights = self._weights[rows]
        if self._mixed is not None:
            part._mixed = self._mixed[rows]
        return part

    @property
    def untouched(self) -> bool:
        """Whether weights and outputs still are what query, key and value say."""
        return self._weights is None and self._mixed is None

    @property
    def weights(self) -> torch.Tensor:
        """(batch, all heads, query, key): sums to 1 over keys."""
        if self._weights is None:
            scores = einsum(self.query * self.scaling, self.key, "b h q c, b h k c -> b h q k")
            if self.mask is not None:
                scores = scores + self.mask
            weights = scores.softmax(-1)
            self._weights = weights if self.hard is None else self.hard.whole(weights)
        return self._weights

    @weights.setter
    def weights(self, weights: torch.Tensor) -> None:
        self._weights, self._mixed = weights, None

    @property
    def mixed(self) -> torch.Tensor:
        """(batch, query, all heads, channels): what each head gathers, before the output map."""
        if self._mixed is None:
            if self._weights is None and self.hard is None:
                given = self.query, self.key, self.value, self.mask
                mixed = F.scaled_dot_product_attention(*given, scale=self.scaling)
            else:
                mixed = self.weights @ self.value
            self._mixed = rearrange(mixed, "b h q c -> b q h c").contiguous()
        return self._mixed

    @mixed.setter
    def mixed(self, mixed: torch.Tensor) -> None:
        self._mixed = mixed


@dataclass
class Streamed:
    """The stream of hidden states between two blocks. What a sink assigns to ``hidden``, or writes
    into it, is what the model goes on with.

    ``depth``: 0 for what the first block takes, k for what the k-th block run gives. ``hidden``:
    (batch, tokens, channels), before the norm that some models have at their end.
    """

    depth: int
    hidden: torch.Tensor


@contextmanager
def capturing(
    model: PreTrainedModel,
    attended: Callable[[Attended], None] | None = None,
    streamed: Callable[[Streamed], None] | None = None,
) -> Iterator[None]:
    """Within the block, call ``attended`` for each attention that the model runs, and ``streamed``
    for the stream at each depth, in the order of the computation.

    Captures nest, of one model or of several: each sees what those outside of it left. A sink must
    not run the model that it looks at. The model is left as it was, also by an error. One thread.
    Raises ValueError for a model that does not tell transformers what its blocks are.
    """
    run = _Run(model, attended, streamed)
    with ExitStack() as stack:
        base = model.base_model  # its forward pass is part of every other
        stack.enter_context(_removed(base.register_forward_pre_hook(run.begin)))
        stack.enter_context(_removed(base.register_forward_hook(run.end, always_call=True)))
        if streamed is not None:
            for block in blocks(model):
                before = block.register_forward_pre_hook(run.before_block, with_kwargs=True)
                stack.enter_context(_removed(before))
                stack.enter_context(_removed(block.register_forward_hook(run.after_block)))
        if attended is not None:
            stack.callback(model.set_attn_implementation, model.config._attn_implementation)
            model.set_attn_implementation(NAME)
        yield


@contextmanager
def resumed(model: PreTrainedModel, depth: int, hidden: torch.Tensor) -> Iterator[None]:
    """Within the block, each forward pass has ``hidden``, (batch, tokens, channels), as its stream
    at a depth, and the blocks before that do not run: it is as if a sink of ``capturing`` had put
    it there, for what is left of the cost.

    Depths and layers count as ever; a block that does not run gives what it was given, or at its
    end ``hidden``, and has no attention. For models whose blocks give a tensor and nothing else, as
    those of the zoo and transformers' current ones do. Raises ValueError as ``capturing`` does.
    """
    if depth == 0:

        def start(seen: Streamed) -> None:
            if seen.depth == 0:
                seen.hidden = hidden

        with capturing(model, streamed=start):
            yield
        return
    ran = 0

    def begin(*_: object) -> None:
        nonlocal ran
        ran = 0

    def late(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal ran
            ran += 1
            if ran > depth:
                return forward(*args, **kwargs)
            for capture in _running:
                if capture.model is model:
                    capture.layer += 1
            given = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            return hidden if ran == depth else given

        return run

    with ExitStack() as stack:
        stack.enter_context(_removed(model.base_model.register_forward_pre_hook(begin)))
        for block in blocks(model):
            stack.enter_context(_running_instead(block, late(block.forward)))
        yield


def blocks(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The distinct blocks of a model, in their order. Raises ValueError where none are known."""
    recorded = (model._can_record_outputs or {}).get("hidden_states")
    kind: Any = getattr(recorded, "target_class", recorded)
    require(
        isinstance(kind, type),
        "model",
        type(model).__name__,
        "models whose hidden states can be recorded",
    )
    return [module for module in model.modules() if isinstance(module, kind)]


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _running_instead(block: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward pass for a block, in front of its class's; the hooks stay around it."""
    own = vars(block).get("forward")
    block.forward = forward
    try:
        yield
    finally:
        del block.forward
        if own is not None:
            block.forward = own


_running: list[_Run] = []  # captures of the forward passes that go on now, the innermost last


class _Run:
    """One capture, and how far the model's forward pass is."""

    def __init__(
        self,
        model: PreTrainedModel,
        attended: Callable[[Attended], None] | None,
        streamed: Callable[[Streamed], None] | None,
    ) -> None:
        self.model, self.attended, self.streamed = model, attended, streamed
        self.layer, self.depth = 0, -1

    def begin(self, *_: object) -> None:
        self.layer, self.depth = 0, -1
        _running.append(self)

    def end(self, *_: object) -> None:
        if self in _running:
            _running.remove(self)

    def before_block(self, _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.depth >= 0:
            return None
        by_name = "hidden_states" in kwargs
        hidden = self._show(kwargs["hidden_states"] if by_name else args[0])
        if by_name:
            return args, kwargs | {"hidden_states": hidden}
        return (hidden, *args[1:]), kwargs

    def after_block(self, _: object, args: object, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return self._show(output)
        return type(output)([self._show(output[0]), *output[1:]])

    def _show(self, hidden: torch.Tensor) -> torch.Tensor:
        self.depth += 1
        seen = Streamed(self.depth, hidden)
        assert self.streamed is not None
        self.streamed(seen)
        return seen.hidden


def _capture(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    hard: HardMaps | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """An attention function of transformers, as ``lego.zoo.block.eager_attention`` is one."""
    if hard is None and query.shape[1] > key.shape[1]:  # grouped-query attention
        groups = query.shape[1] // key.shape[1]
        key, value = (repeat(x, "b h t c -> b (h g) t c", g=groups) for x in (key, value))
    if attention_mask is not None:
        attention_mask = attention_mask[..., : key.shape[2]]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen = Attended(0, query, key, value, attention_mask, scaling, hard)
    for run in [run for run in _running if run.model is _running[-1].model]:
        seen.layer = run.layer
        run.layer += 1
        if run.attended is not None:
            run.attended(seen)
    return seen.mixed, seen._weights


AttentionInterface.register(NAME, _capture)
AttentionMaskInterface.register(NAME, eager_mask)
SHOWS_HARD_HEADS.add(NAME)
