"""What each model of the zoo has and costs for a task, without making its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from lego.zoo.configuration import LegoConfig
from lego.zoo.presets import TaskShape, build, names


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    architecture: str  # the class, which ends in the head
    parameters: int  # those that are tied count once
    flops_per_token: float  # see ``flops``
    layers: int  # that run
    distinct_layers: int
    heads: dict[str, int]  # kind -> how many of it run, over all layers
    tied: tuple[str, ...]  # of "layers", "groups of layers" and "embedding and head"


def rows(task: TaskShape, tokens: int) -> Iterator[Row]:
    """A row for every name that fits the task's head; ``tokens``: the length of a sentence."""
    for name in names(task.head):
        # On the meta device tensors have shapes and no numbers: a large model costs nothing. GPT-2
        # would look for padding among the ids, which have no numbers either.
        with torch.device("meta"):
            model = build(name, task, init="random", pad_token_id=None)
        yield row(name, model, tokens)


def row(name: str, model: PreTrainedModel, tokens: int) -> Row:
    """The row of a model on the meta device."""
    config = model.config
    layers = config.num_hidden_layers
    distinct = getattr(config, "num_hidden_groups", None) or layers  # as in transformers' Albert
    heads: Counter[str] = Counter()
    for layer in range(layers):
        if isinstance(config, LegoConfig):
            heads.update(config.kinds_of(config.block_of(layer, layers)))
        else:
            heads["dense"] += config.num_attention_heads
    tied = []
    if distinct < layers:
        tied += ["layers" if distinct == 1 else "groups of layers"]
    output = model.get_output_embeddings()
    if output is not None and output.weight is model.get_input_embeddings().weight:
        tied += ["embedding and head"]
    return Row(
        name=name,
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        flops_per_token=flops(model, tokens) / tokens,
        layers=layers,
        distinct_layers=distinct,
        heads=dict(heads),
        tied=tuple(tied),
    )


def flops(model: PreTrainedModel, tokens: int) -> int:
    """Floating-point operations of the way forward on one sentence, for a model on the meta device.

    Two for each multiplication and addition in a matrix product or a convolution, as torch counts;
    norms, softmax, biases and other elementwise work are not counted. All keys are, of a causal
    model too. On the meta device none of ``lego.zoo.fast`` runs, which torch can't look into.
    """
    ids = torch.empty(1, tokens, dtype=torch.long, device="meta")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(input_ids=ids)
    return counter.get_total_flops()


def markdown(table: list[Row]) -> str:
    """The rows as a table."""
    lines = [
        "| name | class | parameters | FLOPs a token | layers (distinct) | heads | tied |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for one in table:
        heads = ", ".join(f"{count} {kind}" for kind, count in one.heads.items())
        lines.append(
            f"| {one.name} | {one.architecture} | {one.parameters:,} "
            f"| {one.flops_per_token:,.0f} | {one.layers} ({one.distinct_layers}) "
            f"| {heads} | {', '.join(one.tied) or 'nothing'} |"
        )
    return "".join(f"{line}\n" for line in lines)
