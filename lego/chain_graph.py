"""What hangs on what in a sampled or published sentence, and what each shortcut would answer.

Read from token ids, ``positions`` and ``values``, so that it works on batches of any origin.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lego.task import IGNORED, NO_ANSWER

HOPS = 2  # the shortcut k-hop follows the chain this far from its root
LOCAL = 2  # tokens to either side that count as local
SHORTCUTS = ("whole-chain", "own-clause", "root", "k-hop", "majority")


@njit(cache=True, nogil=True)
def relations(
    ids: np.ndarray, positions: np.ndarray, argument: int, vocabulary: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """parent, depth, root of each variable: (rows, n) int16, as chain positions; -1: none.

    positions: (rows, n), in an order in which arguments come before what uses them, -1 for none.
    argument: how many tokens after a left-hand variable its argument stands.
    """
    rows, n = positions.shape
    parent = np.full((rows, n), -1, np.int16)
    depth, root = parent.copy(), parent.copy()
    defined = np.empty(vocabulary, np.int16)
    for r in range(rows):
        defined[:] = -1
        for c in range(n):
            at = positions[r, c]
            if at < 0:
                break
            up = defined[ids[r, at + argument]]
            parent[r, c] = up
            depth[r, c] = depth[r, up] + 1 if up >= 0 else 0
            root[r, c] = root[r, up] if up >= 0 else c
            defined[ids[r, at]] = c
    return parent, depth, root


def masks(ids: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """association, local: (rows, length, length) bool; variables are the ids first .. last."""
    variable = (ids >= first) & (ids <= last)  # (rows, length)
    same = (ids[:, :, None] == ids[:, None, :]) & variable[:, :, None]
    places = np.arange(ids.shape[1])
    apart = np.abs(places[:, None] - places)
    return same & (apart > 0), np.broadcast_to(apart <= LOCAL, same.shape)


@njit(cache=True, nogil=True)
def guesses(
    ids: np.ndarray,
    values: np.ndarray,
    positions: np.ndarray,
    asked: np.ndarray,
    clause: tuple[int, int, int],
    operators: np.ndarray,
    table: np.ndarray,
    vocabulary: int,
) -> np.ndarray:
    """(shortcuts, rows, most asked) int16: each shortcut's answers, see ``ChainTask.shortcuts``.

    clause: its width, and where its operator and its argument stand. operators: token ids by
    index. table: (operators, states).
    """
    width, operator, argument = clause
    rows, n = positions.shape
    answers = np.full((len(SHORTCUTS), rows, asked.max() if rows else 0), NO_ANSWER, np.int16)
    index = np.zeros(vocabulary, np.int16)
    index[operators] = np.arange(len(operators))
    _, depth, root = relations(ids, positions, argument, vocabulary)
    for r in range(rows):
        clauses = 0
        while clauses < n and positions[r, clauses] >= 0:
            clauses += 1
        known, whole = -1, np.int16(0)
        for c in range(asked[r]):
            start = values[r, root[r, c]]
            if root[r, c] != known:  # one root for a chain or tree, several for a forest
                known, whole = root[r, c], start
                for k in range(clauses):
                    whole = table[index[ids[r, 1 + width * k + operator]], whole]
            own = table[index[ids[r, positions[r, c] + operator]], 0]
            answers[0, r, c] = whole
            answers[1, r, c] = own if depth[r, c] else start
            answers[2, r, c] = start
            answers[3, r, c] = values[r, c] if depth[r, c] <= HOPS else 0
            answers[4, r, c] = 0
    return answers


def labelled(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(rows, n) bool: which variables have a label where they are defined."""
    given = np.take_along_axis(labels, np.maximum(positions, 0).astype(np.int64), 1) != IGNORED
    return given & (positions >= 0)
