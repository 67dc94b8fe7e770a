"""The chain sampler against the paper's way of making chains, and against what it cannot beat.

The paper's code (arXiv 2206.04301) makes a sentence in one Python loop a row, and has BERT's
tokenizer turn it into a tensor with one call a row. That is repeated here from its description. In
2022 that tokenizer was slower than today's: the same loop with our fast one stands beside it.
"""

from __future__ import annotations

import random
from string import ascii_lowercase

import numpy as np
from numba import njit
from transformers import BertTokenizer

from benchmarks.speed import Race, race
from lego.chains import ChainTask
from lego.counter import stream, word

N = 12
LENGTH = 5 * N + 2
SLOW, FAST = 2_000, 200_000  # rows of a round
BATCH = 1_000  # rows of a call: training asks for no more


def measure() -> Race:
    """Rows of z2-n12, train split: ours, the paper's loop, and the bare draws and writes."""
    task = ChainTask(ChainTask.presets["z2-n12"], 0)
    quick, bert = task.tokenizer(), BertTokenizer(vocab=dict(task.vocabulary.ids))
    generator = random.Random(0)
    ids = np.empty((BATCH, LENGTH), np.int16)
    labels = np.empty_like(ids)
    chain = np.empty((BATCH, 3 * N), np.int16)

    def ours() -> int:
        for start in range(0, FAST, BATCH):
            task.sample("train", start, start + BATCH)
        return FAST

    def paper() -> int:
        for _ in range(SLOW):
            bert(_sentence(generator), return_tensors="pt")
        return SLOW

    def loop() -> int:
        for _ in range(SLOW):
            quick(_sentence(generator))
        return SLOW

    def limit() -> int:
        for start in range(0, FAST, BATCH):
            _draw_and_write(start, ids, labels, chain)
        return FAST

    contestants = {
        "lego": ours,
        "a Python loop and BERT's tokenizer a row": paper,
        "a Python loop and our tokenizer a row": loop,
        "draws and writes alone": limit,
    }
    return race("rows", contestants)


def _sentence(generator: random.Random) -> str:
    """One sentence, made as a script would."""
    names = generator.sample(ascii_lowercase, N)
    values = [generator.randrange(2) for _ in range(N)]
    clauses = [f"{names[0]} = val {values[0]} , "]
    for i in range(1, N):
        operator = "val" if values[i] == values[i - 1] else "not"
        clauses.append(f"{names[i]} = {operator} {names[i - 1]} , ")
    generator.shuffle(clauses)
    return "".join(clauses)


@njit(cache=True)
def _draw_and_write(start, ids, labels, chain):  # type: ignore[no-untyped-def]
    """The floor: the 2n random words of each row, and every output byte written once."""
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
        for j in range(3 * N):
            chain[row, j] = value
