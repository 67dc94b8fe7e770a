"""A program's words: the vocabulary of small models, and the printer from bytecode to its tokens.

The words are those of the C source without ``int main(void) {``, and with ``print a ;`` for the
printf and what follows it. A constant is one word, which in ``source`` may have the suffix u.
"""

from __future__ import annotations

from functools import lru_cache
from string import ascii_lowercase

import numpy as np
from numba import njit

from cexec import bytecode as op
from lego.text import SPECIALS, Vocabulary

CLS, SEP = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
NAMES = 26
NAME = len(SPECIALS)  # the id of the variable that is declared first, or of the letter a
TYPES = ("int", "unsigned", "uchar")  # the word of op.INT, op.UNSIGNED, op.UCHAR
_SPELLED = (
    "int struct pair first second static f1 f2 if else for while break continue return print trace "
    "answer state <frame> <return> .. : // = += -= ^= ++ -- ; , ( ) [ ] { } . -> & * - ~ ! + / % | "
    "^ << >> < > <= >= == != && || ?"
)
_SIGNS = _SPELLED.split()
(
    TYPE, STRUCT, PAIR, FIRST, SECOND, STATIC, F1, F2, IF, ELSE, FOR, WHILE, BREAK, CONTINUE,
    RETURN, PRINT, TRACE, ANSWER, STATE, FRAME, RETURNED, SAME, COLON, COMMENT, EQUALS, PLUS_EQUALS,
    MINUS_EQUALS, XOR_EQUALS, PLUS_PLUS, MINUS_MINUS, SEMICOLON, COMMA, OPEN, CLOSE, BRACKET,
    UNBRACKET, BRACE, UNBRACE, DOT, ARROW, AND, STAR, MINUS, TILDE, BANG, PLUS, SLASH, PERCENT, BAR,
    CARET, LEFT, RIGHT, LESS, GREATER, AT_MOST, AT_LEAST, EQUAL, UNEQUAL, ALSO, OTHERWISE, QUESTION,
) = range(NAME + NAMES, NAME + NAMES + len(_SIGNS))  # fmt: skip
LINES = 127  # source lines that have a word: @1 .. @127
LINE = NAME + NAMES + len(_SIGNS) - 1  # @5 is LINE + 5
ZERO = LINE + LINES + 1  # the number 0; other numbers lie around it, see ``number``

# The signs of the binary operators ADD .. UNEQUAL, in the order of their opcodes.
_BINARY = np.array(
    [
        *(PLUS, MINUS, STAR, SLASH, PERCENT, AND, BAR, CARET, LEFT, RIGHT),
        *(LESS, GREATER, AT_MOST, AT_LEAST, EQUAL, UNEQUAL),
    ],
    np.int16,
)


@lru_cache
def vocabulary(
    kind: int, highest: int, lowest: int, steps: int = 0, numbered: bool = False
) -> Vocabulary:
    """Names, C's signs, @1 .. @127, 0 .. highest, -1 .. lowest, and #1 .. #steps.

    ``kind`` is the values' type; ``numbered`` names are v0 .. v25 instead of letters.
    """
    names = [f"v{k}" for k in range(NAMES)] if numbered else list(ascii_lowercase)
    signs = [TYPES[kind], *_SIGNS[1:]]
    lines = [f"@{k}" for k in range(1, LINES + 1)]
    numbers = [*range(highest + 1), *range(-1, lowest - 1, -1)]
    counted = [f"#{k}" for k in range(1, steps + 1)]
    return Vocabulary((*names, *signs, *lines, *map(str, numbers), *counted))


@njit(forceinline=True)
def number(value: int, highest: int) -> int:
    """The token id of a value, at least -lowest and at most highest."""
    return ZERO + value if value >= 0 else ZERO + highest - value


@njit(forceinline=True)
def _insert(ids, begin, at, count):
    """Make room for ``count`` tokens before ``begin``; returns the new end."""
    for j in range(at - 1, begin - 1, -1):
        ids[j + count] = ids[j]
    return at + count


@njit(forceinline=True)
def _bare(ids, begin, at):
    """Take away the parentheses around ids[begin:at]; returns the new end."""
    for j in range(begin, at - 2):
        ids[j] = ids[j + 1]
    return at - 2


@njit(cache=True, nogil=True)
def write_program(code, objects, first_line, ids, lines, places, begins, ends, scratch):
    """Print a program's statements to ids[1:]; returns (the place after them, the line after them).

    Object v has the name NAME + v. ``first_line``: the source's line of the first function, or of
    main. ``lines`` and ``places``, (pairs,) int16: the source line of each pair that writes, and
    where in ids the name of what it writes stands. Line k's tokens are ids[begins[k]:ends[k]],
    (LINES + 1,) int16. ``scratch``: (128,) int64. The place is len(ids) where ids or LINES do not
    suffice.
    """
    # Where the text of each value on the stack begins, and what it is: 0 a word or the like, 1 in
    # parentheses, 2 with a sign before it, or the sign of && or || that waits for its right side.
    at, top, line, pc = 1, 0, first_line, 0
    begins[:] = 0
    ends[:] = 0
    begins[line] = 1
    while True:
        action, operand = np.int64(code[pc, 0]), np.int64(code[pc, 1])
        if action == op.HALT:
            return at, line
        if at + 24 >= len(ids) or line >= LINES - 2:
            return len(ids), line
        lines[pc] = before = line
        if op.ADD <= action <= op.UNEQUAL or action == op.TRUTH:
            top -= 1
            left, right = scratch[top - 1], scratch[top]
            sign = scratch[64 + top - 1] if action == op.TRUTH else _BINARY[action - op.ADD]
            at = _insert(ids, right, at, 2)
            _insert(ids, left, right, 1)
            ids[left], ids[right + 1], ids[at] = OPEN, sign, CLOSE
            at += 1
            scratch[64 + top - 1] = 1
        elif action == op.CONSTANT or action == op.GUARD:
            scratch[top], scratch[64 + top] = at, 0
            ids[at] = ZERO + operand
            at, top = at + 1, top + 1
        elif action == op.LOAD:
            scratch[top], scratch[64 + top] = at, 0
            ids[at] = NAME + operand
            at, top = at + 1, top + 1
        elif action == op.TARGET or action == op.ADDRESS:
            scratch[top], scratch[64 + top] = at, 2
            ids[at], ids[at + 1] = STAR if action == op.TARGET else AND, NAME + operand
            at, top = at + 2, top + 1
        elif action == op.MEMBER:
            v = operand >> 1
            scratch[top], scratch[64 + top] = at, 0
            ids[at], ids[at + 2] = NAME + v, FIRST + (operand & 1)
            ids[at + 1] = DOT if objects[v, 0] == op.STRUCT else ARROW
            at, top = at + 3, top + 1
        elif action == op.NEGATE or action == op.INVERT or action == op.NOT:
            begin = scratch[top - 1]
            if scratch[64 + top - 1] == 2:  # not --a, which is another thing
                at = _insert(ids, begin, at, 1)
                ids[begin], ids[at] = OPEN, CLOSE
                at += 1
            at = _insert(ids, begin, at, 1)
            ids[begin] = MINUS if action == op.NEGATE else TILDE if action == op.INVERT else BANG
            scratch[64 + top - 1] = 2
        elif action == op.ALSO or action == op.OTHERWISE:
            scratch[64 + top - 1] = ALSO if action == op.ALSO else OTHERWISE
        elif action == op.CHOSEN:
            top -= 2
            asked, held, other = scratch[top - 1], scratch[top], scratch[top + 1]
            at = _insert(ids, other, at, 3)
            _insert(ids, held, other, 2)
            _insert(ids, asked, held, 1)
            ids[asked], ids[held + 1], ids[other + 2], ids[at] = OPEN, QUESTION, COLON, CLOSE
            at += 1
            scratch[64 + top - 1] = 1
        elif action == op.CALL:
            count = 0
            while code[operand + 1 + count, 0] == op.PARAMETER:
                count += 1
            top -= count
            begin = scratch[top]
            at = _insert(ids, begin, at, 2)
            ids[begin], ids[begin + 1], ids[at - 1] = F1 + code[operand, 1], OPEN, CLOSE
            scratch[64 + top] = 0
            top += 1
        elif action == op.FOR:
            name = NAME + operand
            places[pc] = at + 3
            ids[at], ids[at + 1], ids[at + 2], ids[at + 3] = FOR, OPEN, TYPE, name
            ids[at + 4], ids[at + 5], ids[at + 6] = EQUALS, ZERO, SEMICOLON
            ids[at + 7], ids[at + 8], ids[at + 9] = name, LESS, ZERO + code[pc + 1, 1]
            ids[at + 10], ids[at + 11], ids[at + 12] = SEMICOLON, name, PLUS_PLUS
            ids[at + 13], ids[at + 14] = CLOSE, BRACE
            at += 15
            line += 1
        elif action == op.NEXT or action == op.AGAIN or action == op.END or action == op.CLOSE:
            if action == op.NEXT:
                lines[pc], places[pc] = lines[operand], places[operand] + 8
            ids[at] = UNBRACE
            at += 1
            line += 2 if action == op.CLOSE else 1  # an empty line after a function
        elif action == op.ELSE:
            ids[at], ids[at + 1], ids[at + 2] = UNBRACE, ELSE, BRACE
            at += 3
            line += 1
        elif action == op.BREAK or action == op.CONTINUE:
            ids[at], ids[at + 1] = BREAK if action == op.BREAK else CONTINUE, SEMICOLON
            at += 2
            line += 1
        elif action == op.INCREMENT or action == op.DECREMENT:
            places[pc] = at
            ids[at], ids[at + 2] = NAME + operand, SEMICOLON
            ids[at + 1] = PLUS_PLUS if action == op.INCREMENT else MINUS_MINUS
            at += 3
            line += 1
        elif action == op.FUNCTION:
            ids[at], ids[at + 1], ids[at + 2], ids[at + 3] = STATIC, TYPE, F1 + operand, OPEN
            at += 4
        elif action == op.PARAMETER:
            places[pc] = at + 1
            ids[at], ids[at + 1], ids[at + 2] = TYPE, NAME + operand, COMMA
            at += 3
        elif action == op.OPEN:
            ids[at - 1], ids[at] = CLOSE, BRACE
            at += 1
            line += 1
        elif action == op.MAIN:
            line += 1
        elif action == op.FILL:
            top -= objects[operand, 1]
            begin = scratch[top]
            ids[at - 1], ids[at] = UNBRACE, SEMICOLON  # instead of the last comma
            at += 1
            if objects[operand, 0] == op.ARRAY:
                at = _insert(ids, begin, at, 7)
                places[pc] = begin + 1
                ids[begin], ids[begin + 1], ids[begin + 2] = TYPE, NAME + operand, BRACKET
                ids[begin + 3], ids[begin + 4] = ZERO + objects[operand, 1], UNBRACKET
                ids[begin + 5], ids[begin + 6] = EQUALS, BRACE
            else:
                at = _insert(ids, begin, at, 5)
                places[pc] = begin + 2
                ids[begin], ids[begin + 1], ids[begin + 2] = STRUCT, PAIR, NAME + operand
                ids[begin + 3], ids[begin + 4] = EQUALS, BRACE
            line += 1
        elif action >= op.ARGUMENT or action == op.ELEMENT or action == op.PICK:
            begin = scratch[top - 1]
            if action == op.IF or action == op.WHILE:
                if scratch[64 + top - 1] != 1:
                    at = _insert(ids, begin, at, 1)
                    ids[begin], ids[at] = OPEN, CLOSE
                    at += 1
                at = _insert(ids, begin, at, 1)
                ids[begin], ids[at] = IF if action == op.IF else WHILE, BRACE
                at += 1
                top -= 1
                line += 1
            elif op.LIMIT <= action <= op.EXIT:
                pass
            else:
                if scratch[64 + top - 1] == 1:
                    at = _bare(ids, begin, at)
                    scratch[64 + top - 1] = 0
                if action == op.ELEMENT:
                    at = _insert(ids, begin, at, 2)
                    ids[begin], ids[begin + 1], ids[at] = NAME + operand, BRACKET, UNBRACKET
                    at += 1
                elif action == op.ARGUMENT:
                    ids[at] = COMMA
                    at += 1
                elif action != op.PICK:
                    top -= 1
                    at = _write_statement(
                        action, operand, objects, ids, begin, scratch[top - 1], at, places, pc
                    )
                    top -= action == op.STORE
                    line += 1
        if line != before:
            ends[before] = begins[line] = at
        pc += 1


@njit(cache=True, nogil=True)
def _write_statement(action, operand, objects, ids, begin, index, at, places, pc):
    """Put what a statement has before its value, at ``begin``, and the semicolon after it.

    ``index``: where the value under it begins, the index of STORE.
    """
    name = NAME + operand
    if action == op.STORE:
        at = _insert(ids, begin, at, 3)
        _insert(ids, index, begin, 2)
        ids[index], ids[index + 1] = name, BRACKET
        ids[begin + 1], ids[begin + 2] = UNBRACKET, EQUALS  # instead of the comma
        places[pc] = index
    elif action == op.ASSIGN or action == op.AIM_AGAIN:
        at = _insert(ids, begin, at, 2)
        ids[begin], ids[begin + 1] = name, EQUALS
        places[pc] = begin
    elif action == op.DECLARE:
        at = _insert(ids, begin, at, 3)
        ids[begin], ids[begin + 1], ids[begin + 2] = TYPE, name, EQUALS
        places[pc] = begin + 1
    elif action == op.STORE_TARGET:
        at = _insert(ids, begin, at, 3)
        ids[begin], ids[begin + 1], ids[begin + 2] = STAR, name, EQUALS
        places[pc] = begin + 1
    elif action == op.STORE_MEMBER:
        v = operand >> 1
        at = _insert(ids, begin, at, 4)
        ids[begin], ids[begin + 2], ids[begin + 3] = NAME + v, FIRST + (operand & 1), EQUALS
        ids[begin + 1] = DOT if objects[v, 0] == op.STRUCT else ARROW
        places[pc] = begin
    elif action == op.RETURN:
        at = _insert(ids, begin, at, 1)
        ids[begin] = RETURN
    elif action == op.AIM:
        if objects[operand, 0] == op.STRUCT_POINTER:
            at = _insert(ids, begin, at, 5)
            ids[begin], ids[begin + 1] = STRUCT, PAIR
            begin += 2
        else:
            at = _insert(ids, begin, at, 4)
            ids[begin] = TYPE
            begin += 1
        ids[begin], ids[begin + 1], ids[begin + 2] = STAR, name, EQUALS
        places[pc] = begin + 1
    else:
        at = _insert(ids, begin, at, 2)
        ids[begin] = name
        ids[begin + 1] = (
            PLUS_EQUALS
            if action == op.ADD_TO
            else MINUS_EQUALS
            if action == op.SUBTRACT_FROM
            else XOR_EQUALS
        )
        places[pc] = begin
    ids[at] = SEMICOLON
    return at + 1
