"""What a model reads: a program's tokens and then its trace, one token a value.

``int a = 3 ; b = ( a + 4 ) % 10 ; trace a 3 b 7``: the statements as in the C source, the word
``trace``, and a name and a value for each write. The whole range of values is in the vocabulary.
"""

from __future__ import annotations

from functools import lru_cache
from string import ascii_lowercase

import numpy as np
from numba import njit

from cexec import bytecode as op
from lego.text import SPECIALS, Vocabulary

CLS, SEP = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
NAME = len(SPECIALS)  # the id of the variable a; b follows
INT, TRACE, EQUALS, SEMICOLON, OPEN, CLOSE, PERCENT, MINUS, PLUS, TIMES = range(
    NAME + 26, NAME + 36
)
ZERO = NAME + 36  # the id of the number 0; other numbers lie around it, see ``number``
_SIGNS = ("int", "trace", "=", ";", "(", ")", "%", "-", "+", "*")


@lru_cache
def vocabulary(modulus: int) -> Vocabulary:
    """Names, C's signs, 0 .. modulus, and then -1 .. -(modulus - 1)."""
    numbers = [*range(modulus + 1), *range(-1, -modulus, -1)]
    return Vocabulary((*ascii_lowercase, *_SIGNS, *map(str, numbers)))


@njit(inline="always")
def number(value: int, modulus: int) -> int:
    """The token id of a value in -(modulus - 1) .. modulus."""
    return ZERO + value if value >= 0 else ZERO + modulus - value


def value_of(ids: np.ndarray, modulus: int) -> np.ndarray:
    """The values of number tokens: the inverse of ``number``."""
    shifted = ids.astype(np.int32) - ZERO
    return np.where(shifted <= modulus, shifted, modulus - shifted)


def lengths(variables: int, statements: int) -> tuple[int, int]:
    """(tokens of the longest program, tokens of the longest example)."""
    program = 5 * variables + 10 * statements
    return program, 1 + program + 1 + 2 * (variables + statements) + 1


@njit(cache=True, nogil=True)
def write_tokens(code: np.ndarray, modulus: int, names: np.ndarray, ids: np.ndarray) -> int:
    """Fill ids[1:] with the program's statements; returns the place after the last of them.

    names: (variables,) token ids. A statement is a declaration, or one of ``x = 3 ;``, ``x = y ;``,
    ``x = - y ;`` and ``x = ( y + z ) % 10 ;``, whose pairs begin at ``begin`` and end at ``k``.
    """
    at, begin = 1, 0
    for k in range(len(code)):
        kind, target = code[k, 0], code[k, 1]
        if kind != op.DECLARE and kind != op.ASSIGN:
            continue
        if kind == op.DECLARE:
            ids[at] = INT
            at += 1
        ids[at], ids[at + 1] = names[target], EQUALS
        at += 2
        arithmetic = code[k - 1, 0] == op.REMAINDER
        if arithmetic:
            ids[at] = OPEN
            at += 1
        elif code[k - 1, 0] == op.NEGATE:
            ids[at] = MINUS
            at += 1
        for j in range(begin, begin + 1 + arithmetic):
            if j > begin:
                sign = code[j + 1, 0]
                ids[at] = PLUS if sign == op.ADD else MINUS if sign == op.SUBTRACT else TIMES
                at += 1
            operand = code[j, 1]
            ids[at] = names[operand] if code[j, 0] == op.LOAD else number(operand, modulus)
            at += 1
        if arithmetic:
            ids[at], ids[at + 1], ids[at + 2] = CLOSE, PERCENT, number(modulus, modulus)
            at += 3
        ids[at] = SEMICOLON
        at += 1
        begin = k + 1
    return at


@njit(cache=True, nogil=True)
def write_trace(
    writes: np.ndarray, modulus: int, names: np.ndarray, ids: np.ndarray, at: int
) -> int:
    """Fill ids from ``at`` on with the trace of writes (steps, 2) and [SEP]; returns its end."""
    ids[at] = TRACE
    at += 1
    for k in range(len(writes)):
        ids[at], ids[at + 1] = names[writes[k, 0]], number(writes[k, 1], modulus)
        at += 2
    ids[at] = SEP
    return at + 1


def steps(ids: np.ndarray, writes: int) -> np.ndarray:
    """(rows, length) int16: which write a token is the value of, or -1; from the tokens alone."""
    begin = (ids == TRACE).argmax(axis=1)
    after = np.arange(ids.shape[1]) - begin[:, None] - 2  # 0 at the first value, 2 at the next
    held = (after >= 0) & (after % 2 == 0) & (after < 2 * writes)
    return np.where(held, after // 2, -1).astype(np.int16)
