"""Complete C11 programs from the tokens of their statements."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from cexec.trace import CLOSE, EQUALS, MINUS, OPEN, SEMICOLON, TRACE
from lego.text import SPECIALS, Vocabulary, join

HEAD = "#include <stdio.h>\n\nint main(void) {\n"
TAIL = '    printf("%d\\n", {name});\n    return 0;\n}}\n'
FIRST_LINE = 4  # of ``source``, from 1: where the first statement stands, one on each line
INDENT = "    "


def sources(ids: np.ndarray, asked: np.ndarray, vocabulary: Vocabulary) -> pa.StringArray:
    """The source of each example; ids (rows, length), asked (rows,) the printed variable's token.

    Pieces of text are put on end without spaces: a piece is a token, a token and a space, or one
    of the lines around the statements.
    """
    words = ("",) * len(SPECIALS) + vocabulary.plain
    spaced = [f"{word} " for word in words]
    tails = [TAIL.format(name=word) for word in words]
    pieces = (*words, *spaced, *tails, HEAD, INDENT, ";\n")
    return join(_lay_out(ids, asked, len(words)), pieces, "")


@njit(cache=True, nogil=True)
def _lay_out(ids: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    rows, length = ids.shape
    head, indent, end = 3 * count, 3 * count + 1, 3 * count + 2
    # Piece 0 is [PAD], which has no letters.
    laid = np.zeros((rows, 2 * length), np.int16)
    for row in range(rows):
        laid[row, 0], laid[row, 1] = head, indent
        at, k = 2, 1
        while ids[row, k] != TRACE:
            token, following = ids[row, k], ids[row, k + 1]
            tight = token == OPEN or following in (CLOSE, SEMICOLON)
            negates = token == MINUS and ids[row, k - 1] == EQUALS
            if token == SEMICOLON:
                laid[row, at] = end
                if following != TRACE:
                    laid[row, at + 1] = indent
                    at += 1
            elif tight or negates:
                laid[row, at] = token
            else:
                laid[row, at] = count + token
            at += 1
            k += 1
        laid[row, at] = 2 * count + asked[row]
    return laid
