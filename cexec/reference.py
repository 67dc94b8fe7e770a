"""A reference interpreter of C text in plain Python, after the C11 standard (N1570).

It shares no code with the generator and the machine, and knows no more than the text: it is the
oracle of ``lego verify``. It refuses what it does not know, and raises ``Undefined`` for what C
leaves undefined. The tree of a program is compiled to closures once, which then run it; a closure
takes the frame of its function, a list with an object in each slot.

Two function calls in one expression are made from left to right, where C leaves their order open;
that decides no value, only the order of the log. Constant sizes alone are known for arrays.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cexec.reference_expressions import PLACES, Expressions, Function, Run, Variable, Write
from cexec.reference_parser import Node, parse, refuse
from cexec.reference_values import (
    BYTE,
    INT,
    UNSIGNED,
    Arithmetic,
    Array,
    Cell,
    Pointer,
    Struct,
    Type,
    Undefined,
    end,
    maker,
    zero,
)  # fmt: skip
from lego.task import SettingError

__all__ = ["Execution", "Undefined", "Write", "run"]

STACK = 20_000  # Python frames: some dozens for each of those calls
FORMATS = {'"%d\\n"': (INT, BYTE), '"%u\\n"': (UNSIGNED, BYTE)}
BREAK, CONTINUE, RETURN = 1, 2, 3  # how a statement may end; else it gives 0 or None


@dataclass(frozen=True)
class Execution:
    """What a program did, and what follows from the dependencies between its writes.

    A write depends on those whose values it was computed from, also through an index. ``depths``
    has a number for each write: 0 where it depends on none, else one more than the largest of
    theirs. ``depth`` is that of the last write of the printed object, ``asked``; ``distractors``
    counts the writes that what is printed does not depend on, directly or through others.
    ``branches`` counts the conditions of ``if`` that were evaluated, ``taken`` those that held.
    """

    writes: list[Write]
    stdout: str
    asked: str
    depths: list[int]
    depth: int
    distractors: int
    branches: int
    taken: int


def run(source: str, *, limit: int = 10_000, every_branch: bool = False) -> Execution:
    """Run a program. ``every_branch``: each ``if`` goes on as though its condition held.

    Raises SettingError for what is unknown, for more than ``limit`` writes or ten times as many
    statements, and for more than 200 calls inside each other; ``Undefined`` for what C does not
    define.
    """
    allowed, collects = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(allowed, STACK))
    gc.disable()  # it would look at every new closure and find nothing: see Program.run
    try:
        machine = Program(parse(source), limit, every_branch)
        machine.run()
    except RecursionError:
        raise SettingError("source: allowed expressions and blocks that nest less deeply") from None
    finally:
        sys.setrecursionlimit(allowed)
        if collects:
            gc.enable()
    depths: list[int] = []
    for needs in machine.needs:
        depths.append(1 + max([depths[step] for step in needs]) if needs else 0)
    if machine.printed is None:
        raise SettingError(f"printf={source[:40]!r}: allowed programs that print one variable")
    asked, value, last, reached = machine.printed
    used, waiting = set(reached), list(reached)
    while waiting:
        for step in machine.needs[waiting.pop()]:
            if step not in used:
                used.add(step)
                waiting.append(step)
    return Execution(
        writes=machine.writes,
        stdout=f"{value}\n",
        asked=asked,
        depths=depths,
        depth=max([depths[step] for step in last], default=0),
        distractors=len(depths) - len(used),
        branches=machine.branches,
        taken=machine.taken,
    )


class Program(Expressions):
    """A program as closures of its statements, ready to run once."""

    def __init__(self, tree: list[Node], limit: int, every_branch: bool) -> None:
        super().__init__(limit)
        self.every_branch = every_branch
        self.branches = self.taken = self.slots = self.loops = 0
        # The printed object's name, its value, its last write's step, all steps that it carries.
        self.printed: tuple[str, int, list[int], list[int]] | None = None
        self.function = Function(None, [])
        for node in tree:
            (self.define_struct if node.kind == "struct" else self.define_function)(node)

    def run(self) -> None:
        main = self.functions.get("main")
        if main is None or main.body is None or main.parameters or main.kind is not INT:
            raise SettingError("main=None: allowed programs with int main(void) { ... }")
        try:
            main.body([None] * main.slots)
        finally:
            for function in self.functions.values():  # closures and functions hold each other:
                function.body = None  # cut here, they need no collector, which would cost a third

    # Definitions.

    def define_struct(self, node: Node) -> None:
        kind = Struct(f"struct {node.text}")
        if kind.name in self.structs:
            refuse(node.line, kind.name, "one definition")
        self.structs[kind.name] = kind  # 6.2.1p7: its members may point to it
        fields: dict[str, Type] = {}
        for member in node.parts:
            if member.text in fields:
                refuse(member.line, member.text, "one field of a name")
            fields[member.text] = self.type(member.parts[0])
            maker(fields[member.text], member.text, member.line)  # 6.7.2.1p3: not of its own type
        kind.fields = fields

    def define_function(self, node: Node) -> None:
        kind, parameters = self.type(node.parts[0]), node.parts[1].parts
        given = [(p.text, self.type(p.parts[0])) for p in parameters]
        for (name, of), parameter in zip(given, parameters, strict=True):
            if not isinstance(of, Arithmetic | Pointer):
                refuse(parameter.line, name, "int-like parameters and pointers")
        if isinstance(kind, Struct) or node.text == "printf":
            refuse(node.line, node.text, "functions of void, an int-like type or a pointer")
        known = self.functions.setdefault(node.text, Function(kind, given))
        same = known.kind == kind and [k for _, k in known.parameters] == [k for _, k in given]
        if not same or (known.body is not None and len(node.parts) == 3):
            refuse(node.line, node.text, "one definition of a function")
        known.parameters, known.line, self.function = given, node.line, known
        if len(node.parts) == 2:
            return
        self.slots, self.scopes = 0, [{}]
        for (name, of), parameter in zip(given, parameters, strict=True):
            self.declare(parameter, name, of)
        body = self.block(node.parts[2], own=False)
        known.body, known.slots = self.closed(body), self.slots

    def declare(self, node: Node, name: str, kind: Type) -> Variable:
        if not name or name in self.scopes[-1]:
            refuse(node.line, name, "one declaration of a name in a block")
        variable = self.scopes[-1][name] = Variable(kind, self.slots)
        self.slots += 1
        return variable

    def closed(self, body: Run) -> Run:
        """The end of a scope: 6.2.4p6, its objects live no longer."""
        dead = [variable.slot for variable in self.scopes.pop().values() if variable.escapes]
        if not dead:
            return body

        def ended(frame: list[Any]) -> Any:
            signal = body(frame)
            for slot in dead:
                end(frame[slot])
            return signal

        return ended

    # Statements.

    def statement(self, node: Node) -> Run:
        return _STATEMENTS[node.kind](self, node)

    def block(self, node: Node, own: bool = True) -> Run:
        if own:
            self.scopes.append({})
        parts = [self.statement(part) for part in node.parts]
        spend, count, line = self.spend, len(parts), node.line

        def block(frame: list[Any]) -> Any:
            spend(count, line)
            for part in parts:
                if signal := part(frame):
                    return signal
            return 0

        return self.closed(block) if own else block

    def declaration(self, node: Node) -> Run:
        runs = [self.variable(part) for part in node.parts]
        if len(runs) == 1:
            return runs[0]

        def declare(frame: list[Any]) -> None:
            for run in runs:
                run(frame)

        return declare

    def variable(self, node: Node) -> Run:
        of, value = node.parts[0], node.parts[1] if len(node.parts) == 2 else None
        if of.kind == "array" and len(of.parts) == 1 and value is not None:
            size = Node("number", node.line, str(len(value.parts)))
            of = Node("array", node.line, "", (*of.parts, size))
        elif of.kind == "array" and len(of.parts) == 1:
            refuse(node.line, node.text, "arrays with a size or an initialiser")
        kind = self.type(of)
        make = maker(kind, node.text, node.line)
        slot = self.declare(node, node.text, kind).slot
        if value is None:

            def declare(frame: list[Any]) -> None:
                frame[slot] = make()

            return declare
        if isinstance(kind, Arithmetic | Pointer):
            fill = self.store(node.line, lambda frame: frame[slot], kind, value)
        else:
            fill = self.aggregate(node.line, lambda frame: frame[slot], kind, value)

        def initialise(frame: list[Any]) -> None:
            frame[slot] = thing = make()
            fill(frame)
            if thing.__class__ is not Cell:
                zero(thing, kind)

        return initialise

    def aggregate(self, line: int, place: Run, kind: Type, value: Node) -> Run:
        """6.7.9p17: the items of a list initialise elements and members in order."""
        kinds = [kind.of] * kind.size if isinstance(kind, Array) else []
        if isinstance(kind, Struct):
            kinds = list(kind.fields.values())
        if value.kind != "list" or not 0 < len(value.parts) <= len(kinds):
            refuse(value.line, value.text, f"an initialiser of 1 .. {len(kinds)} items in braces")
        array, runs = isinstance(kind, Array), []
        for k, (item, of) in enumerate(zip(value.parts, kinds, strict=False)):

            def part(frame: list[Any], k: int = k) -> Any:
                return place(frame)[k] if array else place(frame).fields[k]

            if isinstance(of, Arithmetic | Pointer):
                runs.append(self.store(line, part, of, item))
            else:
                runs.append(self.aggregate(line, part, of, item))

        def fill(frame: list[Any]) -> None:
            for run in runs:
                run(frame)

        return fill

    def expression(self, node: Node) -> Run:
        (root,) = node.parts
        if root.kind in ("assign", "before", "after"):
            return self.write(root)
        if root.kind == "call" and root.text == "printf":
            return self.printing(root)
        value, reads = self.value(root)[0], self.reads

        def evaluate(frame: list[Any]) -> None:
            mark = len(reads)
            value(frame)
            del reads[mark:]

        return evaluate

    def printing(self, node: Node) -> Run:
        kinds = FORMATS.get(node.parts[0].text) if len(node.parts) == 2 else None
        allowed = 'printf("%d\\n", x) of an int-like x, "%u\\n" if it is unsigned'
        if kinds is None or node.parts[1].kind not in PLACES:
            refuse(node.line, "printf", allowed)
        place, kind = self.place(node.parts[1])
        if kind not in kinds:
            refuse(node.line, "printf", allowed)
        reads, line = self.reads, node.parts[1].line

        def show(frame: list[Any]) -> None:
            if self.printed is not None:
                refuse(node.line, "printf", "one in all")
            mark = len(reads)
            cell = place(frame)
            value = self.fetch(cell, line)
            self.printed = cell.name, value, list(cell.carried), list(set(reads[mark:]))
            del reads[mark:]

        return show

    def choose(self, node: Node) -> Run:
        holds, first = self.condition(node.parts[0]), self.statement(node.parts[1])
        other = self.statement(node.parts[2]) if len(node.parts) == 3 else None

        def choose(frame: list[Any]) -> Any:
            held = holds(frame)
            self.branches += 1
            if held:
                self.taken += 1
            if held or self.every_branch:
                return first(frame)
            return other(frame) if other is not None else 0

        return choose

    def loop(self, node: Node) -> Run:
        first: Run | None = None
        last: Run | None = None
        if node.kind == "for":
            self.scopes.append({})  # 6.8.5p5
            first, test, last = (
                self.statement(node.parts[0]),
                self.condition(node.parts[1]),
                self.statement(node.parts[2]),
            )
        else:
            test = self.condition(node.parts[0])
        self.loops += 1
        body, spend, line = self.statement(node.parts[-1]), self.spend, node.line
        self.loops -= 1
        tested_first = node.kind != "do"

        def loop(frame: list[Any]) -> Any:
            if first is not None:
                first(frame)
            tests = tested_first
            while not tests or test(frame):
                tests = True
                spend(1, line)
                signal = body(frame)
                if signal == BREAK:
                    break
                if signal == RETURN:
                    return signal
                if last is not None:
                    last(frame)
            return 0

        return self.closed(loop) if node.kind == "for" else loop

    def jump(self, node: Node) -> Run:
        if not self.loops:  # 6.8.6.2p1, 6.8.6.3p1
            refuse(node.line, node.kind, "it in a loop")
        signal = BREAK if node.kind == "break" else CONTINUE
        return lambda frame: signal

    def leave(self, node: Node) -> Run:
        kind = self.function.kind
        if (kind is None) != (not node.parts):  # 6.8.6.4p1
            refuse(node.line, "return", "a value where the function has one")
        if kind is None:
            return lambda frame: RETURN
        value = self.as_type(node.parts[0], kind)

        def leave(frame: list[Any]) -> int:
            self.returned = value(frame)  # what it carries stays for the caller
            return RETURN

        return leave


_STATEMENTS: dict[str, Callable[[Program, Node], Run]] = {
    "block": Program.block,
    "declare": Program.declaration,
    "expression": Program.expression,
    "if": Program.choose,
    "while": Program.loop,
    "do": Program.loop,
    "for": Program.loop,
    "break": Program.jump,
    "continue": Program.jump,
    "return": Program.leave,
}
