"""The chain sampler against other ways to make chains, and against what it cannot beat.

The paper's code (arXiv 2206.04301) makes a sentence in one Python loop a row, has BERT's tokenizer
turn it into a tensor with one call a row, and stacks the rows at the end. That is repeated here
from its description, with the tokenizer of today, which is faster than that of 2022.

Two kernels draw numbers and write bytes, and nothing else. One does what any sampler of these rows
must: it draws the candidates, reduces each word to the ranges of its choices, and writes every
byte of new arrays once. The other does less than that: one candidate a row, words not reduced,
and ids, labels and the chain's columns written into the same arrays over and over.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from importlib.metadata import version
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from numba import njit
from transformers import BertTokenizer

import lego
from benchmarks.speed import Race, race
from lego.counter import below, stream, word

N = 12
WIDTHS = (5 * N + 2, 5 * N + 2, N, N, N)  # input_ids, labels, values, positions, clause_order
OTHERS = ("d3-n12", "s3-n12", "a5-n12", "z2-trees")
SLOW, FAST = 1_000, 200_000  # rows of a round
BATCH = 1_000  # rows of a call: training asks for no more


def measure() -> Race:
    """Rows of train, z2-n12 unless another preset is named; of reasoning-gym, items."""
    ours = lego.load_task("chains", preset="z2-n12").tokenizer()
    same = [np.empty((BATCH, width), np.int16) for width in WIDTHS]

    def bound(start: int) -> None:
        arrays = [np.empty((BATCH, width), np.int16) for width in WIDTHS]
        _draw_and_write(start, len(ascii_lowercase), 2, *arrays, np.empty(BATCH, np.int16))

    contestants = {"lego": _batches(_sampler("z2-n12"))}
    contestants |= {f"lego, {preset}": _batches(_sampler(preset)) for preset in OTHERS}
    contestants |= {
        "limit: the same draws, reduced, and the same bytes, once": _batches(bound),
        "harsher limit: fewer draws, not reduced, nothing allocated": _batches(
            lambda start: _touch(start, *same)
        ),
        "the paper's loop, BERT's tokenizer a row": _loop(BertTokenizer(ours.get_vocab())),
        "the paper's loop, our tokenizer a row": _loop(ours),
    }
    return race("rows", contestants | _gym("chain_sum", "propositional_logic"))


def _batches(make: Callable[[int], object]) -> Callable[[], int]:
    """FAST rows, in calls of BATCH that are told where they start."""

    def portion() -> int:
        for start in range(0, FAST, BATCH):
            make(start)
        return FAST

    return portion


def _sampler(preset: str) -> Callable[[int], object]:
    task = lego.load_task("chains", preset=preset)
    return lambda start: task.sample("train", start, start + BATCH)


def _gym(*names: str) -> dict[str, Callable[[], int]]:
    """reasoning-gym's generators of these names, or none, with a word on how to have them."""
    try:
        import reasoning_gym
    except ImportError:
        print("without reasoning-gym: pip install 'lego-reasoning[bench]'", file=sys.stderr)
        return {}

    def items(name: str) -> Callable[[], int]:
        made = reasoning_gym.create_dataset(name, size=10**9, seed=0)
        return lambda: len([made[i] for i in range(SLOW)])

    return {f"reasoning-gym {version('reasoning-gym')}, {name}": items(name) for name in names}


def _loop(tokenizer: Any) -> Callable[[], int]:
    """SLOW rows the paper's way: tensors of tokens, orders and values."""
    generator = random.Random(0)

    def portion() -> int:
        tokens, orders, values = [], [], []
        for _ in range(SLOW):
            sentence, order, drawn = _sentence(generator)
            tokens.append(tokenizer(sentence, return_tensors="pt")["input_ids"][0])
            orders.append(order)
            values.append(drawn)
        made = torch.stack(tokens), torch.tensor(orders), torch.tensor(values)
        return len(made[0])

    return portion


def _sentence(generator: random.Random) -> tuple[str, list[int], list[int]]:
    """A sentence, made as a script would; which variable each clause defines; and the values."""
    names = generator.sample(ascii_lowercase, len(ascii_lowercase))
    values = [generator.randrange(2) for _ in range(N)]
    clauses = [f"{names[0]} = val {values[0]} , "]
    for i in range(1, N):
        operator = "val" if values[i] == values[i - 1] else "not"
        clauses.append(f"{names[i]} = {operator} {names[i - 1]} , ")
    order = generator.sample(range(N), N)
    return "".join(clauses[i] for i in order), order, values


@njit(cache=True)
def _draw_and_write(start, names, states, ids, labels, values, positions, order, asked):  # type: ignore[no-untyped-def]
    """The 2n words of each candidate, each reduced to its ranges; then every byte of the row.

    Train owns 14 of 16 candidates: there are 8/7 of them a row, so every 7th row has a second.
    """
    rows, length = ids.shape
    n = values.shape[1]
    for row in range(rows):
        drawn = np.uint64(0)
        for attempt in range(2 if row % 7 == 0 else 1):
            key = stream(0, 0, start + row, attempt)
            for c in range(n):
                bits = word(key, c)
                drawn += below(bits, names - c)
                drawn += below(bits >> np.uint64(32), c + 1)
                drawn += below(word(key, n + c), states)
        value = np.int16(drawn)
        for j in range(length):
            ids[row, j] = value
            labels[row, j] = value
        for c in range(n):
            values[row, c] = value
            positions[row, c] = value
            order[row, c] = value
        asked[row] = value


@njit(cache=True)
def _touch(start, ids, labels, values, positions, order):  # type: ignore[no-untyped-def]
    """2n words a row, and every byte but those of ``asked``."""
    rows, length = ids.shape
    for row in range(rows):
        key = stream(0, 0, start + row, 0)
        drawn = np.uint64(0)
        for k in range(2 * N):
            drawn ^= word(key, k)
        value = np.int16(drawn & np.uint64(1))
        for j in range(length):
            ids[row, j] = value
            labels[row, j] = value
        for c in range(N):
            values[row, c] = value
            positions[row, c] = value
            order[row, c] = value
