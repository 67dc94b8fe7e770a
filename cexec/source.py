"""Complete C11 programs from the tokens of their statements."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
from numba import njit

from cexec import bytecode as op
from cexec import tokens
from lego.text import SPECIALS, Vocabulary, join

HEAD = "#include <stdio.h>\n\n"
PAIR = "struct pair {{\n    {type} first;\n    {type} second;\n}};\n\n"
MAIN = "int main(void) {\n"
C_TYPES = ("int", "unsigned", "unsigned char")  # of op.INT, op.UNSIGNED, op.UCHAR


def head(kind: int, struct: bool) -> str:
    """What stands before the functions; ``struct``: whether struct pair does."""
    return HEAD + (PAIR.format(type=C_TYPES[kind]) if struct else "")


def first_line(struct: bool) -> int:
    """The line, from 1, after ``head``."""
    return head(op.INT, struct).count("\n") + 1


def sources(ids: np.ndarray, vocabulary: Vocabulary, kind: int, struct: bool) -> pa.StringArray:
    """The source of each example of ids (rows, length) int16, whose programs end at PRINT.

    Pieces of text are put on end: a piece is a token, a token and a space, or a part of a line.
    """
    count, pieces = _pieces(vocabulary, kind, struct)
    laid, lengths = _lay_out(ids, count)
    return join(laid, pieces, "", lengths=lengths)


@lru_cache
def _pieces(vocabulary: Vocabulary, kind: int, struct: bool) -> tuple[int, tuple[str, ...]]:
    """How many words there are, and the pieces: words, words and a space, parts of lines."""
    words = ["", *SPECIALS[1:], *vocabulary.plain]
    words[tokens.TYPE] = C_TYPES[kind]
    if kind == op.UNSIGNED:
        words[tokens.ZERO :] = [f"{word}u" for word in words[tokens.ZERO :]]
    form = "%u" if kind == op.UNSIGNED else "%d"
    extra = [head(kind, struct), MAIN, "    ", "\n", f'    printf("{form}\\n", ']
    extra += [");\n    return 0;\n}\n", "\n\n"]
    return len(words), (*words, *(f"{word} " for word in words), *extra)


@njit(cache=True, nogil=True)
def _lay_out(ids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (rows, width) int16 of the programs, and how many each row has."""
    rows, length = ids.shape
    # For each token: 1 no space after it, 2 none before it, 4 what a sign before it is unary after.
    class_of = np.zeros(count, np.int8)
    for token in (tokens.OPEN, tokens.BRACKET, tokens.DOT, tokens.ARROW, tokens.BANG, tokens.TILDE):
        class_of[token] |= 1
    class_of[tokens.BRACE] |= 1  # of an initialiser; a block's ends the line
    for token in (
        tokens.CLOSE, tokens.UNBRACKET, tokens.BRACKET, tokens.UNBRACE, tokens.SEMICOLON,
        tokens.COMMA, tokens.DOT, tokens.ARROW, tokens.PLUS_PLUS, tokens.MINUS_MINUS,
    ):  # fmt: skip
        class_of[token] |= 2
    for token in range(tokens.EQUALS, count):
        if token < tokens.LINE and token != tokens.CLOSE and token != tokens.UNBRACKET:
            class_of[token] |= 4
    class_of[tokens.RETURN] |= 4
    begin, main, indent, newline, printf, tail, gap = range(2 * count, 2 * count + 7)
    laid, lengths = np.empty((rows, 6 * length + 64), np.int16), np.empty(rows, np.int64)
    for row in range(rows):
        laid[row, 0] = begin
        at, k, depth, parens = 1, 1, 0, 0
        inside_main = False
        fresh = True  # at the begin of a line
        while ids[row, k] != tokens.PRINT:
            token, following = ids[row, k], ids[row, k + 1]
            if fresh:
                if depth == 0 and not inside_main and token != tokens.STATIC:
                    inside_main = True
                    laid[row, at] = main
                    at += 1
                for _ in range(depth + inside_main - (token == tokens.UNBRACE)):
                    laid[row, at] = indent
                    at += 1
                fresh = False
            parens += (token == tokens.OPEN) - (token == tokens.CLOSE)
            block = token == tokens.BRACE and ids[row, k - 1] != tokens.EQUALS
            closing = token == tokens.UNBRACE and following != tokens.SEMICOLON
            if block or (token == tokens.SEMICOLON and parens == 0):
                depth += block
                laid[row, at], laid[row, at + 1] = token, newline
                at += 2
                fresh = True
            elif closing:
                depth -= 1
                if following == tokens.ELSE:
                    laid[row, at] = count + token
                    at += 1
                else:
                    laid[row, at] = token
                    laid[row, at + 1] = newline if inside_main or depth > 0 else gap
                    at += 2
                    fresh = True
            else:
                sign = token == tokens.MINUS or token == tokens.STAR or token == tokens.AND
                before = ids[row, k - 1]
                unary = sign and (
                    class_of[before] & 4 > 0 or before == tokens.TYPE or before == tokens.PAIR
                )
                # f1(a: no space between a function's name and its arguments.
                called = following == tokens.OPEN and (token == tokens.F1 or token == tokens.F2)
                tight = class_of[token] & 1 or class_of[following] & 2 or unary or called
                laid[row, at] = token if tight else count + token
                at += 1
            k += 1
        if not inside_main:
            laid[row, at] = main
            at += 1
        laid[row, at] = printf
        at += 1
        k += 1
        while ids[row, k] != tokens.SEMICOLON:
            laid[row, at] = ids[row, k]
            at, k = at + 1, k + 1
        laid[row, at] = tail
        lengths[row] = at + 1
    return laid, lengths
