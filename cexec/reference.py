"""A reference interpreter of C text in plain Python, after the C11 standard (N1570).

It shares no code with the generator and the machine, and knows no more than the text: it is the
oracle of ``lego verify``. It refuses what it does not know and whatever would be undefined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lego.task import SettingError, require

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(.))")


@dataclass(frozen=True)
class Write:
    """A write: its place in order, its line in the source (from 1), the variable and its value."""

    step: int
    line: int
    name: str
    value: int


def interpret(source: str) -> tuple[list[Write], str]:
    """Run a program: its writes and what it prints. Raises SettingError for what it refuses."""
    lines = source.split("\n")
    frame = lines[:3] + lines[-3:]
    known = frame == ["#include <stdio.h>", "", "int main(void) {", "    return 0;", "}", ""]
    require(known, "source", source, "a main that returns 0, after #include <stdio.h>")
    memory: dict[str, int] = {}
    writes: list[Write] = []
    for number, line in enumerate(lines[3:-4], start=4):
        parts = re.fullmatch(r"    (int )?([a-z]\w*) = (.+);", line)
        require(parts is not None, f"line {number}", line, "int x = expression; or x = expression;")
        assert parts is not None
        declared, name = parts[1] is not None, parts[2]
        require((name in memory) != declared, f"line {number}", line, "one declaration, first")
        memory[name] = _Expression(parts[3], memory).value()
        writes.append(Write(len(writes), number, name, memory[name]))
    printed = re.fullmatch(r'    printf\("%d\\n", ([a-z]\w*)\);', lines[-4])
    require(printed is not None and printed[1] in memory, "printf", lines[-4], "one variable")
    assert printed is not None
    return writes, f"{memory[printed[1]]}\n"


class _Expression:
    """Recursive descent over one expression (6.5.3, 6.5.5, 6.5.6): unary -, then * %, then + -."""

    def __init__(self, text: str, memory: dict[str, int]) -> None:
        self.memory = memory
        self.tokens = [number or name or sign for number, name, sign in _TOKEN.findall(text)]

    def value(self) -> int:
        value = self._sum()
        require(not self.tokens, "expression", " ".join(self.tokens), "nothing after its end")
        return value

    def _take(self) -> str:
        require(bool(self.tokens), "expression", "", "an operand at its end")
        return self.tokens.pop(0)

    def _sum(self) -> int:
        value = self._product()
        while self.tokens and self.tokens[0] in "+-":
            sign = self._take()
            other = self._product()
            value = _checked(value + other if sign == "+" else value - other)
        return value

    def _product(self) -> int:
        value = self._unary()
        while self.tokens and self.tokens[0] in "*%":
            sign = self._take()
            other = self._unary()
            if sign == "%":
                require(other != 0, "expression", "% 0", "divisors other than 0")
                # 6.5.5: the quotient is truncated towards zero, and (a/b)*b + a%b equals a.
                quotient = abs(value) // abs(other) * (1 if (value < 0) == (other < 0) else -1)
                value -= quotient * other
            else:
                value = _checked(value * other)
        return value

    def _unary(self) -> int:
        token = self._take()
        if token == "-":
            return _checked(-self._unary())
        if token == "(":
            value = self._sum()
            require(self._take() == ")", "expression", token, "a closing parenthesis")
            return value
        if token.isdigit():
            return _checked(int(token))
        require(token in self.memory, "name", token, ", ".join(self.memory))
        return self.memory[token]


def _checked(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise SettingError(f"value={value}: allowed {INT_MIN} .. {INT_MAX} (int would overflow)")
    return value
