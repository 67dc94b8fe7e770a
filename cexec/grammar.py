"""Random straight-line programs, free of undefined behaviour by construction.

First every variable is declared with a constant; then follow assignments of a constant, a copy, a
negation, or ``(y op z) % modulus`` with op one of + - *. Values stay within +-(modulus - 1), so
nothing can overflow. Every variable is read by some statement, as compilers' warnings demand.
"""

import numpy as np
from numba import njit

from cexec import bytecode as op
from lego.counter import below, word

COPY, NEGATION, FIXED = 1, 2, 3  # all other kinds of 0..7 are arithmetic


@njit(inline="always")
def _draw(key, k, bound):
    return np.int64(below(word(key, k), bound))


@njit(cache=True, nogil=True)
def write_program(key, variables, statements, modulus, code, read):
    """Fill ``code``, (pairs, 2) int16, with the program of a stream's key.

    ``read``: (variables,) bool, scratch. Statement s draws eight words after the declarations'.
    """
    code[:] = 0
    read[:] = False
    unread = variables
    at = 0
    for v in range(variables):
        code[at, 0], code[at, 1] = op.CONSTANT, _draw(key, v, modulus)
        code[at + 1, 0], code[at + 1, 1] = op.DECLARE, v
        at += 2
    last = -1  # the variable written before: a likely operand, which makes dependencies deep
    for s in range(statements):
        base = variables + 8 * s
        kind = _draw(key, base, 8)
        target = _draw(key, base + 1, variables)
        first = _draw(key, base + 2, variables)
        if last >= 0 and _draw(key, base + 3, 2) == 0:
            first = last
        if statements - s <= unread:  # from here on, each statement must read a new variable
            while read[first]:
                first = (first + 1) % variables
            kind = kind if kind != FIXED else 0
        if kind == COPY and first == target:
            kind = NEGATION  # x = x; says nothing, and clang warns
        if kind == FIXED:
            code[at, 0], code[at, 1] = op.CONSTANT, _draw(key, base + 4, modulus)
            at += 1
        else:
            code[at, 0], code[at, 1] = op.LOAD, first
            unread -= not read[first]
            read[first] = True
            at += 1
            if kind == NEGATION:
                code[at, 0] = op.NEGATE
                at += 1
            elif kind != COPY:
                second = _draw(key, base + 5, variables)
                constant = _draw(key, base + 6, 4) == 0
                if constant:
                    code[at, 0], code[at, 1] = op.CONSTANT, _draw(key, base + 4, modulus)
                else:
                    code[at, 0], code[at, 1] = op.LOAD, second
                    unread -= not read[second]
                    read[second] = True
                code[at + 1, 0] = op.ADD + _draw(key, base + 7, 3)
                code[at + 2, 0], code[at + 2, 1] = op.REMAINDER, modulus
                at += 3
        code[at, 0], code[at, 1] = op.ASSIGN, target
        at += 1
        last = target


@njit(cache=True, nogil=True)
def deepest(code, depth, stack):
    """The variable at the end of the longest chain of dependencies; the first of equals.

    A constant has depth 0, an assignment one more than the deepest variable that it reads.
    ``depth``: (variables,) int64, and ``stack``: (4,) int64, scratch.
    """
    depth[:] = 0
    top = 0
    for k in range(len(code)):
        kind, operand = code[k, 0], code[k, 1]
        if kind == op.CONSTANT:
            stack[top] = -1
            top += 1
        elif kind == op.LOAD:
            stack[top] = depth[operand]
            top += 1
        elif kind == op.ADD or kind == op.SUBTRACT or kind == op.MULTIPLY:
            top -= 1
            stack[top - 1] = max(stack[top - 1], stack[top])
        elif kind == op.DECLARE or kind == op.ASSIGN:
            top -= 1
            depth[operand] = stack[top] + 1
    return np.argmax(depth)
