"""Models whose weights are set by hand, in the spirit of Tracr (arXiv 2301.05062): what they do
inside is known exactly, so that they are the truth for probes.

They read the paper's sentences over z2, ``x = not y ,``. The stream holds the features of
``STREAM``, each 0 or 1: channel i and, negated, channel HALF + i, so that the mean over channels is
0. One pair is a large constant, which all but fixes the variance: with the right gain, LayerNorm
changes nothing (3 parts in 10,000).

``solver``: an ALBERT-like model, one block run 2n - 1 times, that solves chains exactly. Its heads:
0  *association*: a variable looks at the other place where it stands, and reads what is known of
   its value there. A token that has no such place looks at [CLS], where there is nothing to read.
1  *local, operator*: each token looks two to its right: a defined variable sees its operator.
2  *argument*: each token looks three to its right: a defined variable sees its argument.
The feed-forward layer writes a value where none is known yet: the one that head 0 found, or
what the operator (head 1) makes of the argument's value (head 2). So the root is known at its
definition after one block; a value goes to where it is used in one more, and through that clause in
another: ``resolved_after``. Whatever is not on this path is idle, the circuit is all of the heads.

``counter``: one block with one head of even attention, that takes the shortcut ``whole-chain``: it
counts every ``not`` of a sentence of n clauses, adds the root's value, and gives all variables the
parity.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import torch

from lego import zoo

STREAM = (
    *ascii_lowercase, "[CLS]", "val", "not",  # which token it is, of those that matter
    "0", "1",  # the value is known, and which it is
    "found 0", "found 1", "operator val", "operator not", "argument 0", "argument 1",
    "constant",
)  # fmt: skip
HALF, WIDTH = 48, 96
CONSTANT = 100.0
HEAD = WIDTH // 3  # channels of a head of the solver
ROLES = ("association", "operator + local", "argument")  # of the solver's heads


def resolved_after(depth: int) -> int:
    """How many blocks the solver needs for a variable, at its definition, of that depth (0 is the
    root); one more, and it is known where it is an argument."""
    return 2 * depth + 1


def solver(task: Any) -> Any:
    """A model with accuracy 1 on all chain positions; task: chains of z2 in the paper's form."""
    fields = {"num_attention_heads": 3, "num_hidden_layers": 2 * task.config.n - 1}
    model = _empty(task, 18, position_bias="relative", **fields)
    attention, feed_forward = model.model.layers[0].attention, model.model.layers[0].feed_forward
    with torch.no_grad():
        query, key = attention.qkv.weight[:HEAD], attention.qkv.weight[WIDTH : WIDTH + HEAD]
        for slot, letter in enumerate(ascii_lowercase):  # the same letter scores 40 before softmax
            query[slot, _at(letter)] = 40 * HEAD**0.5
            key[slot, _at(letter)] = 1
        attention.qkv.bias[26] = 20 * HEAD**0.5  # and [CLS] scores 20 for everyone
        key[26, _at("[CLS]")] = 1
        distance = torch.arange(-16, 17)
        bias = attention.relative_bias.weight
        bias[0] = torch.where(distance == 0, -1000.0, 0.0)
        bias[1], bias[2] = (-30.0 * (distance - right).abs() for right in (2, 3))
        _read(attention, 0, {"0": "found 0", "1": "found 1"})
        _read(attention, 1, {"val": "operator val", "not": "operator not"})
        _read(attention, 2, {"0": "argument 0", "1": "argument 1"})
        units = iter(range(18))
        for value, other in (("0", "1"), ("1", "0")):
            unknown = {"0": -2.0, "1": -2.0}
            for terms, threshold in (
                ({f"found {value}": 1.0}, 0.5),
                ({"operator val": 1.0, f"argument {value}": 1.0}, 1.5),
                ({"operator not": 1.0, f"argument {other}": 1.0}, 1.5),
            ):
                for late in (0, 1):  # relu(z) - relu(z - 1), a step from 0 to 1
                    unit = next(units)
                    for name, factor in (terms | unknown).items():
                        feed_forward.up.weight[unit, _at(name)] = 4 * factor
                    feed_forward.up.bias[unit] = -4 * threshold - late
                    _write(feed_forward.down, unit, value, -1.0 if late else 1.0)
        for name in STREAM[-7:-1]:  # what was read is forgotten
            unit = next(units)
            feed_forward.up.weight[unit, _at(name)] = 1
            _write(feed_forward.down, unit, name, -1.0)
    return model


def counter(task: Any) -> Any:
    """A model that answers ``whole-chain`` always; task: chains of z2 in the paper's form."""
    most = task.config.n + 1
    fields = {"num_attention_heads": 1, "num_hidden_layers": 1}
    model = _empty(task, most + 1, position_bias="none", **fields)
    attention, feed_forward = model.model.layers[0].attention, model.model.layers[0].feed_forward
    with torch.no_grad():
        tokens = 5 * task.config.n + 2  # of a sentence: they turn a mean into a sum
        _read(attention, 0, {"not": "found 1", "1": "found 1"}, tokens)
        for unit in range(most):  # 1 at odd counts, 0 at even ones, a line in between
            feed_forward.up.weight[unit, _at("found 1")] = 1
            feed_forward.up.bias[unit] = -unit
            slope = (-1.0) ** unit * (2.0 if unit else 1.0)
            _write(feed_forward.down, unit, "operator not", slope)
        feed_forward.up.bias[most] = 0.5
        _write(feed_forward.down, most, "operator not", -1.0)
        _answer(model, "operator not")
    return model


def _at(name: str) -> int:
    return STREAM.index(name)


def _empty(task: Any, units: int, **fields: Any) -> Any:
    """A model of tied blocks that adds nothing to its stream, and reads its answer off 0 and 1."""
    model = zoo.build(
        "pre-albert-nano", task, hidden_size=WIDTH, intermediate_size=units, hidden_act="relu",
        position_embeddings="none", **fields,
    )  # fmt: skip
    block, words = model.model.layers[0], task.tokenizer().get_vocab()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (block.attention_norm, block.feed_forward_norm, model.model.norm):
            norm.weight.fill_(CONSTANT * (2 / WIDTH) ** 0.5)
        embedded = model.model.embed_tokens.weight
        embedded[:, _at("constant")] = CONSTANT
        for name in STREAM[: STREAM.index("found 0")]:
            embedded[words[name], _at(name)] = 1
        embedded[:, HALF:] = -embedded[:, :HALF]
        model.classifier.weight[0, _at("0")], model.classifier.weight[1, _at("1")] = 10.0, 10.0
    return model.eval()


def _answer(model: Any, name: str) -> None:
    """Answer 1 where that feature is above 0, else 0."""
    weight = model.classifier.weight.zero_()
    weight[0, _at(name)], weight[1, _at(name)] = -10.0, 10.0


def _read(attention: Any, head: int, names: dict[str, str], factor: float = 1.0) -> None:
    """A head adds features of where it looks to others of the token that looks."""
    size = attention.head_size
    for slot, (source, target) in enumerate(names.items()):
        place = head * size + slot
        attention.qkv.weight[2 * WIDTH + place, _at(source)] = 1
        _write(attention.out, place, target, factor)


def _write(linear: Any, column: int, name: str, factor: float) -> None:
    linear.weight[_at(name), column] += factor
    linear.weight[HALF + _at(name), column] -= factor
