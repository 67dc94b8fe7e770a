"""Published rows derived anew from their C source, by the reference interpreter.

Shares no code with the kernels that make the rows. It knows the text's conventions: how a
program's words stand in ``text`` and which tokens have labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cexec import reference, trace
from cexec.trace import Write, question, words
from lego.task import IGNORED

CONSTANT_AFTER = frozenset(["=", "(", ",", "{", "+", "-", "*", "^"])
_DECIMAL = re.compile(r"(\d+)u?")


class Row:
    """A program as its source alone tells it. Raises SettingError for what is no such program."""

    def __init__(self, source: str, limit: int) -> None:
        """limit: of writes."""
        self.source = source
        self.ran = reference.run(source, limit=limit)
        self.log = [Write(*write) for write in self.ran.writes]
        self.answer = int(self.ran.stdout)
        self.lines = _lines(source)

    def no_branch(self, limit: int) -> int:
        """What is printed if every ``if`` is taken; 0 where that is undefined or does not end."""
        if self.ran.branches == self.ran.taken:
            return self.answer
        try:
            return int(reference.run(self.source, limit=limit, every_branch=True).stdout)
        except ValueError:
            return 0

    def program(self) -> list[str]:
        return " ".join(line for line in self.lines if line).split()

    def text(self, form: str, format: str, values: str) -> str:
        """The words of an example."""
        program = [*self.program(), "print", *trace.name_words(self.ran.asked).split(), ";"]
        if form == "encoder":
            return " ".join(program)
        lines = self.lines
        if format == "comments":  # line ends, which number the lines, are no words
            lines = [f"@{k} {line}" if line else "" for k, line in enumerate(lines, start=1)]
        said = trace.render(format, lines, self.log, self.answer, values)
        return " ".join([*program, "trace", *said.split()])

    def labels(self, ids: list[int], text: str, form: str, lowest: int) -> list[int]:
        """After ``trace`` each token itself; of an encoder, what was last written at each name."""
        if form == "causal":
            asked = 1 + text.split().index("trace") + 1
            return [IGNORED] * asked + ids[asked:]
        labels = [IGNORED] * len(ids)
        begins, at = [], 1
        for line in self.lines:
            begins.append(at)
            at += len(line.split())
        for write in self.log:
            place = _place(self.lines[write.line - 1].split(), write)
            labels[begins[write.line - 1] + place] = write.value - lowest
        return labels

    def columns(self, limit: int) -> dict[str, Any]:
        """What does not depend on how the trace is laid out."""
        ran, log = self.ran, self.log
        counts = Counter(write.value for write in log)
        asked = [write.value for write in log if write.name == ran.asked]
        return {
            "prompt": f"{self.source}\n{question(ran.asked)} Answer with a number:",
            "answer": str(self.answer),
            "source": self.source,
            "stdout": ran.stdout,
            "question": question(ran.asked),
            "trace": [
                {"step": w.step, "line": w.line, "name": w.name, "value": w.value} for w in log
            ],
            "writes": len(log),
            "branches": ran.branches,
            "branches_taken": ran.taken,
            "dependency_depth": ran.depth,
            "distractors": ran.distractors,
            "shortcut_initial-value": asked[0],
            "shortcut_last-constant": _last_constant(self.program()),
            "shortcut_copy-last-write": log[-1].value,
            "shortcut_majority": min(counts, key=lambda value: (-counts[value], value)),
            "shortcut_no-branch": self.no_branch(limit),
        }


def _lines(source: str) -> list[str]:
    """Each line's words in one string; none for those around functions and main's statements."""
    found, inside = [], False
    for line in source.split("\n"):
        inside |= line.startswith(("static ", "int main"))
        own = inside and not line.startswith("int main(void)")
        # The end of main: printf, return 0; and its brace stand in ``print``.
        inside &= not line.startswith("    printf(")
        found.append(_words_of(line) if own and inside else "")
    return found


@lru_cache(1 << 14)
def _words_of(line: str) -> str:
    said = " ".join(words(line)).replace("unsigned char", "uchar")
    return re.sub(r"\b(\d+)u\b", r"\1", said)


def _last_constant(program: Sequence[str]) -> int:
    for before, word in zip(program[-2::-1], program[:0:-1], strict=True):
        if before in CONSTANT_AFTER and word.isdigit():
            return int(word)
    raise AssertionError("every program declares a variable with a constant")


def _place(line: list[str], write: Write) -> int:
    """Which of a line's words is the name that the write is made to."""
    if line[0] == "for":  # for ( int i = 0 ; i < 4 ; i ++ ) {
        return 3 if write.value == 0 else 11
    if line[0] == "static":
        return line.index(write.name, 3)
    if line[0] == "struct":  # struct pair s =
        return 2
    return 1 if line[0] in ("int", "unsigned", "uchar", "*") else 0
