"""C programs of the levels ``loop`` and ``array`` made and run in plain Python, to compare with."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from string import ascii_lowercase

OPERATORS = (("+", operator.add), ("-", operator.sub), ("*", operator.mul))
VARIABLES, STATEMENTS, TRIPS, CELLS = 4, 6, 4, 4  # as in the presets

Value = Callable[[], int]
Statement = Callable[[], None]


class Program:
    """A random program: its lines of C, and closures that do what they say and log every write.

    ``log``: (step, line, name, value). It does less than lego: no variable is asked for, none
    need be read, no program belongs to a split, and there are no tokens.
    """

    def __init__(self, generator: random.Random, array: bool) -> None:
        self.random, self.array = generator.random, array
        self.memory: dict[str, int] = {}
        self.log: list[tuple[int, int, str, int]] = []
        self.lines = ["#include <stdio.h>", "", "int main(void) {"]
        pool = generator.sample(ascii_lowercase, VARIABLES + STATEMENTS + 1)
        self.scalars, self.cells, self.counters = pool[:VARIABLES], pool[VARIABLES], pool[-1:4:-1]
        self.readable = list(self.scalars)
        self.statements = [self._declaration(name) for name in self.scalars]
        if array:
            self.statements.append(self._array())
        left = STATEMENTS
        while left:
            left -= 1
            if left and self._below(4) == 0:
                count = 1 + self._below(min(left, 3))
                left -= count
                self.statements.append(self._loop(count))
            else:
                self.statements.append(self._assignment(1))
        self.asked = self.scalars[self._below(VARIABLES)]
        self._line(1, f'printf("%d\\n", {self.asked});')
        self._line(1, "return 0;")
        self._line(0, "}")

    def source(self) -> str:
        return "\n".join(self.lines) + "\n"

    def run(self) -> int:
        """Fill ``log``; returns what is printed."""
        for statement in self.statements:
            statement()
        return self.memory[self.asked]

    def _below(self, bound: int) -> int:
        return int(self.random() * bound)

    def _line(self, depth: int, text: str) -> int:
        self.lines.append("    " * depth + text)
        return len(self.lines)

    def _write(self, line: int, name: str, value: int) -> None:
        self.memory[name] = value
        self.log.append((len(self.log), line, name, value))

    def _declaration(self, name: str) -> Statement:
        value = 1 + self._below(5)
        line = self._line(1, f"int {name} = {value};")
        return lambda: self._write(line, name, value)

    def _array(self) -> Statement:
        values = [1 + self._below(5) for _ in range(CELLS)]
        line = self._line(1, f"int {self.cells}[{CELLS}] = {{{', '.join(map(str, values))}}};")

        def run() -> None:
            for index, value in enumerate(values):
                self._write(line, f"{self.cells}[{index}]", value)

        return run

    def _cell(self) -> tuple[str, Callable[[], str]]:
        """An element as it stands in the program, and what finds its name."""
        name, memory, cells = self.scalars[self._below(VARIABLES)], self.memory, self.cells
        return f"{cells}[{name} & 3]", lambda: f"{cells}[{memory[name] & 3}]"

    def _operand(self) -> tuple[str, Value]:
        memory = self.memory
        if self._below(3) == 0:
            value = 1 + self._below(5)
            return str(value), lambda: value
        if self.array and self._below(3) == 0:
            text, cell = self._cell()
            return text, lambda: memory[cell()]
        name = self.readable[self._below(len(self.readable))]
        return name, lambda: memory[name]

    def _assignment(self, depth: int) -> Statement:
        (left, first), (right, second) = self._operand(), self._operand()
        sign, apply = OPERATORS[self._below(3)]
        if self.array and self._below(3) == 0:
            text, target = self._cell()
        else:
            text = name = self.scalars[self._below(VARIABLES)]
            target = lambda: name  # noqa: E731
        line = self._line(depth, f"{text} = ({left} {sign} {right}) % 10;")

        def run() -> None:
            value = apply(first(), second())
            self._write(line, target(), value - 10 * int(value / 10))  # as C rounds

        return run

    def _loop(self, count: int) -> Statement:
        counter, trips, memory = self.counters.pop(), 2 + self._below(TRIPS - 1), self.memory
        head = f"for (int {counter} = 0; {counter} < {trips}; {counter}++) {{"
        line = self._line(1, head)
        self.readable.append(counter)
        body = [self._assignment(2) for _ in range(count)]
        self.readable.pop()
        self._line(1, "}")

        def run() -> None:
            self._write(line, counter, 0)
            while memory[counter] < trips:
                for statement in body:
                    statement()
                self._write(line, counter, memory[counter] + 1)

        return run
