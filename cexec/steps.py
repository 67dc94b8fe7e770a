"""What the tokens of an example say of its writes: which value is which write's, and from where."""

from __future__ import annotations

import numpy as np
from numba import njit

from cexec import layout, tokens
from cexec.trace import FORMATS

EDGES = 8  # dependencies, and operands, of a write that are told at most


def of_values(ids: np.ndarray, format: str, first_step: int) -> np.ndarray:
    """(rows, length) int16: which write a token is the value of; the answer comes last; else -1.

    ``first_step``: the token id of #1.
    """
    return _of_values(ids, FORMATS.index(format), first_step)


@njit(cache=True)
def _of_values(ids, form, first_step):
    found = np.full(ids.shape, -1, np.int16)
    length = ids.shape[1]
    for row in range(len(ids)):
        j, step, most = 1, -1, -1
        while ids[row, j] != tokens.TRACE:
            j += 1
        # After a word that opens a write: where its value is looked for.
        open_, named = False, False
        while j < length and ids[row, j] != tokens.SEP:
            token = ids[row, j]
            opens = tokens.LINE < token < tokens.ZERO
            if form == layout.COMMENTS:
                opens = token >= first_step
            if token == tokens.ANSWER:
                step = most + 1
                open_, named = True, True
            elif opens:  # comments stand in the order of lines, with the number of their step
                step = token - first_step if form == layout.COMMENTS else step + 1
                most = max(most, step)
                open_, named = form != layout.SCRATCHPAD, False
            elif form == layout.SCRATCHPAD and token == tokens.STATE:
                open_, named = True, False
            elif open_ and not named:
                if form == layout.FRAMES:
                    named = token == tokens.COLON and ids[row, j + 1] != tokens.SAME
                elif tokens.NAME <= token < tokens.NAME + tokens.NAMES:
                    named = True
                    if ids[row, j + 1] == tokens.BRACKET:
                        j += 3
                    elif ids[row, j + 1] == tokens.DOT:
                        j += 2
            elif open_ and (token >= tokens.ZERO or token == tokens.MINUS):
                found[row, j] = step
            elif open_:
                open_ = False
            j += 1
    return found


@njit(cache=True)
def last_constant(ids: np.ndarray, highest: int) -> np.ndarray:
    """(rows,) int32: the program's last constant that is a value by itself or is added to one."""
    found = np.zeros(len(ids), np.int32)
    for row in range(len(ids)):
        j = 1
        while ids[row, j] != tokens.PRINT:
            before, token = ids[row, j - 1], ids[row, j]
            if tokens.ZERO <= token <= tokens.ZERO + highest and (
                before == tokens.EQUALS
                or before == tokens.OPEN
                or before == tokens.COMMA
                or before == tokens.BRACE
                or before == tokens.PLUS
                or before == tokens.MINUS
                or before == tokens.STAR
                or before == tokens.CARET
            ):
                found[row] = token - tokens.ZERO
            j += 1
    return found


def dependencies(
    ids: np.ndarray, step_of: np.ndarray | None, ran: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The edges of ``CexecTask.graph``; ran: what ``execute`` gives.

    step_of: what ``of_values`` gives; None where there is no trace, and a value's place is that of
    the name that it is written to.
    """
    counts = ran["facts"][:, 0]
    shape = (len(ids), int(counts.max(initial=0)))
    value, definition = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    operands, depth = np.full((*shape, EDGES), -1, np.int64), np.full(shape, -1, np.int64)
    sources = np.full((*shape, EDGES), -1, np.int64)
    if step_of is None:
        value[np.arange(shape[1]) < counts[:, None]] = ran["places"]
        step_of = np.full(ids.shape, -1, np.int16)
    _dependencies(
        ids, step_of, counts, ran["log"], ran["places"], ran["edges"],
        value, definition, operands, sources, depth,
    )  # fmt: skip
    return {
        "value": value,
        "definition": definition,
        "operands": operands,
        "sources": sources,
        "depth": depth,
    }


@njit(cache=True)
def _dependencies(
    ids, step_of, counts, log, places, edges, value, definition, operands, sources, depth
):
    begin = 0
    for row in range(len(ids)):
        for j in range(ids.shape[1] - 1, -1, -1):
            if 0 <= step_of[row, j] < counts[row]:
                value[row, step_of[row, j]] = j
        for step in range(counts[row]):
            place = np.int64(places[begin + step])
            definition[row, step], depth[row, step] = place, log[begin + step, 4]
            # The statement's variables, up to its end: that of a block's head is its brace.
            count, j = 0, place + 1
            while (ids[row, j] != tokens.SEMICOLON and ids[row, j] != tokens.BRACE) or (
                ids[row, j] == tokens.BRACE and ids[row, j - 1] == tokens.EQUALS
            ):
                name = tokens.NAME <= ids[row, j] < tokens.NAME + tokens.NAMES
                if name and count < operands.shape[2]:
                    operands[row, step, count] = j
                    count += 1
                j += 1
            for k in range(edges.shape[1]):
                if edges[begin + step, k] >= 0:
                    sources[row, step, k] = value[row, edges[begin + step, k]]
        begin += counts[row]
