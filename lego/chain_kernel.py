"""The chain sampler: examples start .. stop-1 of a split in one pass over the output arrays.

A sentence is ``[CLS]``, n clauses of five tokens ``x = operator argument ,``, and ``[SEP]``. All of
its choices are drawn first; if the split owns the sentence that they make, it is written out.
"""

import numpy as np
from numba import njit

from lego.counter import below, stream, word
from lego.task import IGNORED, MAX_ATTEMPTS, owner

CLAUSE = np.uint64(5)  # tokens: left-hand variable, '=', operator, argument, ','
LEFT, OPERATOR, ARGUMENT = np.uint64(0), np.uint64(2), np.uint64(3)  # where they stand in a clause
FIRST = np.uint64(1)  # the first clause follows [CLS]


@njit(cache=True, nogil=True)
def fill(
    seed, split, start, asked, table, weights, frame, names, operators, states,
    input_ids, labels, values, positions, clause_order,
):  # fmt: skip
    """Write one example a row; returns -1, or the first row that MAX_ATTEMPTS could not fill.

    asked: the number of labelled chain positions. table: (g, x), the group's action.
    weights: (length,) uint64 of ``task.hash_weights``. frame: (length,) int16, the tokens that all
    sentences share, 0 elsewhere. names, operators, states: int16 token ids by index.
    Filled: input_ids, labels (rows, length); values, positions, clause_order (rows, n), all int16.

    Word c of an example's stream names variable c (low half) and places its clause (high half);
    word n + c picks its operator, or the root's value. Indices are unsigned, which spares numba
    the test for negative ones: a fifth of the time.
    """
    rows, length = input_ids.shape
    n = values.shape[1]
    shared = np.uint64(0)
    for j in range(length):
        shared += np.uint64(frame[j]) * weights[j]
    pool = np.empty(len(names), np.int16)
    slot = np.empty(n, np.uint64)
    chosen = np.empty(n, np.uint64)
    for row in range(rows):
        for attempt in range(MAX_ATTEMPTS):
            key = stream(seed, split, start + row, attempt)
            pool[:] = names
            # Two Fisher-Yates shuffles at once, of names (its first n) and of clauses (inside out):
            # each waits on its own memory, so that together they cost little more than one.
            for c in range(n):
                here, bits = np.uint64(c), word(key, c)
                there = here + below(bits, len(names) - c)
                pool[here], pool[there] = pool[there], pool[here]
                there = below(bits >> np.uint64(32), c + 1)
                slot[here] = slot[there]
                slot[there] = here
            root = below(word(key, n), len(states))
            chosen[0] = 0
            for c in range(1, n):
                chosen[c] = below(word(key, n + c), len(operators))

            hashed = shared
            argument = states[root]
            for c in range(n):
                here = np.uint64(c)
                at = FIRST + CLAUSE * slot[here]
                hashed += np.uint64(pool[here]) * weights[at + LEFT]
                hashed += np.uint64(operators[chosen[here]]) * weights[at + OPERATOR]
                hashed += np.uint64(argument) * weights[at + ARGUMENT]
                argument = pool[here]
            if owner(hashed) == split:
                break
        else:
            return row

        for j in range(length):
            input_ids[row, j] = frame[j]
            labels[row, j] = IGNORED
        argument = states[root]
        value = root
        for c in range(n):
            here = np.uint64(c)
            at = FIRST + CLAUSE * slot[here]
            value = np.uint64(table[chosen[here], value])
            input_ids[row, at + LEFT] = pool[here]
            input_ids[row, at + OPERATOR] = operators[chosen[here]]
            input_ids[row, at + ARGUMENT] = argument
            argument = pool[here]
            if c < asked:
                labels[row, at + LEFT] = value
            values[row, here] = value
            positions[row, here] = at + LEFT
            clause_order[row, here] = slot[here]
    return -1
