"""Expressions of the reference interpreter, as closures (C11, 6.5), and the log that they write.

A closure takes the frame of its function, a list with an object in each slot, and gives a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from cexec.reference_parser import Node, refuse
from cexec.reference_values import (
    BASES,
    COMPARISONS,
    INT,
    INT_MAX,
    MASK,
    OPERATORS,
    UNARY,
    UNSET,
    UNSIGNED,
    Arithmetic,
    Array,
    Cell,
    Fault,
    Pointer,
    Struct,
    Type,
    Undefined,
    common,
    conversion,
    live,
    moved,
    promoted,
    target,
)  # fmt: skip
from lego.task import SettingError

MAX_DEPTH = 200  # calls inside each other
ESCAPES = {"\\n": 10, "\\t": 9, "\\0": 0, "\\\\": 92, "\\'": 39, '\\"': 34, "\\r": 13}
_NUMBER = re.compile(r"(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9]\d*))([uU]?)")

Run = Callable[[list[Any]], Any]


class Write(NamedTuple):
    """A write: its place in order, its line in the source (from 1), the object and its value."""

    step: int
    line: int
    name: str
    value: int


class Variable:
    def __init__(self, kind: Type, slot: int) -> None:
        self.kind, self.slot = kind, slot
        self.escapes = False  # whether a pointer may outlive it


@dataclass
class Function:
    kind: Type  # of what it returns
    parameters: list[tuple[str, Type]]
    line: int = 0
    slots: int = 0
    body: Run | None = None


class Expressions:
    """Closures of expressions, and all that the closures of a program share while it runs."""

    def __init__(self, limit: int) -> None:
        self.writes: list[Write] = []
        self.needs: list[list[int]] = []  # for each write, the steps that it depends on
        # A stack of the steps that values carry: an evaluation leaves those of its value on top.
        self.reads: list[int] = []
        self.limit, self.fuel, self.depth = limit, 10 * limit, 0
        self.returned: Any = UNSET
        self.written: Any = None  # the object written last
        self.previous: tuple[Any, list[int]] = (0, [])  # what it held before, and what that carried
        self.structs: dict[str, Struct] = {}
        self.functions: dict[str, Function] = {}
        self.scopes: list[dict[str, Variable]] = []

    def record(self, line: int, cell: Cell, value: int, mark: int) -> None:
        """Write to an int-like object what carries the steps from ``mark`` on, and drop those."""
        step = len(self.writes)
        if step >= self.limit:
            raise SettingError(f"line {line}={cell.name!r}: allowed {self.limit} writes, then none")
        self.writes.append(Write(step, line, cell.name, value))
        self.needs.append(self.reads[mark:])
        del self.reads[mark:]
        cell.value, cell.carried = value, (step,)
        self.written = cell

    def spend(self, statements: int, line: int) -> None:
        self.fuel -= statements
        if self.fuel < 0:
            raise SettingError(f"line {line}=endless: allowed {10 * self.limit} statements in all")

    def type(self, node: Node) -> Type:
        if node.kind == "pointer":
            return Pointer(self.type(node.parts[0]))
        if node.kind == "array":
            size = node.parts[1]
            number = constant(size)[0] if size.kind == "number" else 0
            if number < 1:
                refuse(size.line, size.text, "array sizes that are a constant of at least 1")
            return Array(self.type(node.parts[0]), number)
        if node.text in BASES:
            return BASES[node.text]
        if node.text not in self.structs:
            refuse(node.line, node.text, "structs defined before")
        return self.structs[node.text]

    def lookup(self, node: Node) -> Variable:
        for scope in reversed(self.scopes):
            if node.text in scope:
                return scope[node.text]
        refuse(node.line, node.text, "names declared before")

    def condition(self, node: Node) -> Run:
        """Whether a scalar is not 0; what it carries is dropped, as control is no data."""
        value, reads = self.scalar(node), self.reads

        def holds(frame: list[Any]) -> Any:
            mark = len(reads)
            found = value(frame)
            del reads[mark:]
            return found

        return holds

    def fetch(self, cell: Cell, line: int) -> Any:
        """The value of an object (6.3.2.1p2)."""
        if cell.value is UNSET:
            raise Undefined("uninitialised", line, cell.name)
        self.reads.extend(cell.carried)
        return cell.value

    # Places: expressions that name an object (6.3.2.1p1).

    def place(self, node: Node) -> tuple[Run, Type]:
        """What gives an object: a Cell, a Record or an array's list; and its type."""
        if node.kind == "name":
            variable = self.lookup(node)
            slot = variable.slot
            return lambda frame: frame[slot], variable.kind
        if node.kind == "field":
            return self.field(node)
        if node.kind == "index":
            base, line = node.parts[0], node.line
            if base.kind in PLACES:
                place, kind = self.place(base)
                if isinstance(kind, Array):
                    return self.item(node, place), kind.of
            pointer, kind = self.sum("+", line, *node.parts)
        elif (node.kind, node.text) == ("unary", "*"):
            line = node.line
            pointer, kind = self.value(node.parts[0])
        else:
            refuse(node.line, node.text or node.kind, "an lvalue here")
        if not isinstance(kind, Pointer) or kind.to is None:
            refuse(line, node.text or node.kind, "pointers and arrays before * -> []")
        return lambda frame: target(pointer(frame), line), kind.to

    def item(self, node: Node, place: Run) -> Run:
        index, line = self.integer(node.parts[1])[0], node.line

        def item(frame: list[Any]) -> Any:
            objects, k = place(frame), index(frame)
            if 0 <= k < len(objects):
                return objects[k]
            raise Undefined("bounds", line, f"index {k} of {len(objects)}")

        return item

    def field(self, node: Node) -> tuple[Run, Type]:
        place, kind = self.place(node.parts[0])
        if not isinstance(kind, Struct) or node.text not in kind.fields:
            refuse(node.line, node.text, "fields of a struct")
        k = list(kind.fields).index(node.text)
        return lambda frame: place(frame).fields[k], kind.fields[node.text]

    def address(self, node: Node) -> tuple[Run, Type]:
        """6.5.3.2p3: & of an lvalue; &*p is p, and &m[k] is m + k."""
        if (node.kind, node.text) == ("unary", "*"):
            return self.value(node.parts[0])
        if node.kind == "index":
            return self.sum("+", node.line, *node.parts)
        place, kind = self.place(node)
        if isinstance(kind, Array):
            refuse(node.line, node.text, "addresses of other objects than arrays")
        self.escape(node)

        def address(frame: list[Any]) -> Any:
            thing = place(frame)
            if not thing.box:
                thing.box.append(thing)
            return thing.box, 0

        return address, Pointer(kind)

    def escape(self, node: Node) -> None:
        while node.kind in ("index", "field"):
            node = node.parts[0]
        if node.kind == "name":
            self.lookup(node).escapes = True

    # Values.

    def value(self, node: Node) -> tuple[Run, Type]:
        """What gives a value, and its type: an int, or None or (objects, index) for a pointer."""
        return _VALUES[node.kind](self, node)

    def integer(self, node: Node) -> tuple[Run, Arithmetic]:
        value, kind = self.value(node)
        if not isinstance(kind, Arithmetic):
            refuse(node.line, node.text or node.kind, "an integer here")
        return value, kind

    def scalar(self, node: Node) -> Run:
        value, kind = self.value(node)
        if kind is None:
            refuse(node.line, node.text or node.kind, "a value here")
        return value

    def as_type(self, node: Node, wanted: Type) -> Run:
        """A value as an assignment converts it (6.5.16.1)."""
        if isinstance(wanted, Pointer):
            if _null(node):
                return lambda frame: None
            value, kind = self.value(node)
            if kind != wanted:
                refuse(node.line, node.text or node.kind, "pointers of the type that is wanted")
            return value
        value, kind = self.integer(node)
        if not isinstance(wanted, Arithmetic):
            refuse(node.line, node.text or node.kind, "int-like values")
        if conversion(kind, wanted) is None:
            return value
        convert = _stored(kind, wanted, node.line)
        return lambda frame: convert(value(frame))

    def name(self, node: Node) -> tuple[Run, Type]:
        """The value of a variable; most operands are one."""
        if node.text == "NULL":
            return lambda frame: None, Pointer(None)
        variable = self.lookup(node)
        slot, line, reads = variable.slot, node.line, self.reads
        if isinstance(variable.kind, Array | Struct):
            return self.loaded(node)

        def load(frame: list[Any]) -> Any:
            cell = frame[slot]
            value = cell.value
            if value is UNSET:
                raise Undefined("uninitialised", line, cell.name)
            reads.extend(cell.carried)
            return value

        return load, variable.kind

    def loaded(self, node: Node) -> tuple[Run, Type]:
        place, kind = self.place(node)
        if isinstance(kind, Array):  # 6.3.2.1p3: it is a pointer to its first element
            self.escape(node)
            return lambda frame: (place(frame), 0), Pointer(kind.of)
        if isinstance(kind, Struct):
            refuse(node.line, node.text or node.kind, "fields of a struct, not all of it")
        line, fetch = node.line, self.fetch
        return lambda frame: fetch(place(frame), line), kind

    def number(self, node: Node) -> tuple[Run, Type]:
        value, kind = constant(node)
        return lambda frame: value, kind

    def unary(self, node: Node) -> tuple[Run, Type]:
        (part,), sign, line = node.parts, node.text, node.line
        if sign == "&":
            return self.address(part)
        if sign == "*":
            return self.loaded(node)
        if sign == "!":  # 6.5.3.3p5
            scalar = self.scalar(part)
            return lambda frame: 0 if scalar(frame) else 1, INT
        value, kind = self.integer(part)
        kind = promoted(kind)
        apply = UNARY[kind][sign]

        def unary(frame: list[Any]) -> int:
            found = value(frame)
            try:
                return apply(found)
            except Fault as fault:
                raise Undefined(fault.args[0], line, fault.args[1]) from None

        return unary, kind

    def binary(self, node: Node) -> tuple[Run, Type]:
        sign, line, (one, two) = node.text, node.line, node.parts
        left, a = self.value(one)
        right, b = self.value(two)
        if isinstance(a, Arithmetic) and isinstance(b, Arithmetic):
            apply, kind = _operation(sign, a, b, line)
            return lambda frame: apply(left(frame), right(frame)), kind
        if sign in COMPARISONS:
            return self.compared(node, a, b), INT
        return self.sum(sign, line, one, two)

    def sum(self, sign: str, line: int, one: Node, two: Node) -> tuple[Run, Type]:
        """6.5.6p8: pointer + integer, integer + pointer, pointer - integer."""
        (left, a), (right, b) = self.value(one), self.value(two)
        if sign == "+" and isinstance(a, Arithmetic):
            left, a, right, b = right, b, left, a
        if sign in ("+", "-") and isinstance(a, Pointer) and isinstance(b, Arithmetic):
            way = 1 if sign == "+" else -1
            return lambda frame: moved(left(frame), way * right(frame), line), a
        refuse(line, sign, "integers, or a pointer plus or minus an integer")

    def compared(self, node: Node, a: Type, b: Type) -> Run:
        """6.5.8p5 and 6.5.9p5-6: pointers compared."""
        sign, line, (one, two) = node.text, node.line, node.parts
        left = self.as_type(one, a if isinstance(a, Pointer) else b)
        right = self.as_type(two, b if isinstance(b, Pointer) else a)

        def same(frame: list[Any]) -> int:
            p, q = left(frame), right(frame)
            if p is None or q is None:
                equal = p is q
            else:
                (p, k), (q, j) = live(p, line), live(q, line)
                # Whether an object lies right behind another is open: 6.5.9p6, the last case.
                if p is not q and (len(p) == k or len(q) == j):
                    raise Undefined("implementation", line, "a pointer past an end, compared")
                equal = p is q and k == j
            return int(equal == (sign == "=="))

        def ordered(frame: list[Any]) -> int:
            (p, k), (q, j) = live(left(frame), line), live(right(frame), line)
            if p is not q:
                raise Undefined("bounds", line, "pointers into two arrays, one < the other")
            return apply(k, j)

        apply = OPERATORS[INT][sign]
        return same if sign in ("==", "!=") else ordered

    def logic(self, node: Node) -> tuple[Run, Type]:
        """6.5.13, 6.5.14: the second operand is evaluated where the first does not decide."""
        left, right = self.scalar(node.parts[0]), self.scalar(node.parts[1])
        if node.text == "&&":
            return lambda frame: 1 if left(frame) and right(frame) else 0, INT
        return lambda frame: 1 if left(frame) or right(frame) else 0, INT

    def choice(self, node: Node) -> tuple[Run, Type]:
        """6.5.15: one of two is evaluated; the type is what both would have together."""
        holds, (_, one, two) = self.scalar(node.parts[0]), node.parts
        a, b = self.value(one)[1], self.value(two)[1]
        kind: Type
        if isinstance(a, Arithmetic) and isinstance(b, Arithmetic):
            kind = common(a, b)
        else:
            kind = a if isinstance(a, Pointer) else b
        first, second = self.as_type(one, kind), self.as_type(two, kind)
        return lambda frame: first(frame) if holds(frame) else second(frame), kind

    def cast(self, node: Node) -> tuple[Run, Type]:
        kind = self.type(node.parts[0])
        return self.as_type(node.parts[1], kind), kind

    def written_value(self, node: Node) -> tuple[Run, Type]:
        """6.5.16p3: the value of an assignment is the left operand's after it; so for ++x."""
        write, kind, reads = self.write(node), self.place(node.parts[0])[1], self.reads

        def written(frame: list[Any]) -> Any:
            write(frame)
            cell = self.written
            reads.extend(cell.carried)
            return cell.value

        return written, kind

    def after(self, node: Node) -> tuple[Run, Type]:
        """6.5.2.4p2: the value of x++ is x's before."""
        write, kind = self.write(node), self.place(node.parts[0])[1]
        reads = self.reads

        def after(frame: list[Any]) -> Any:
            write(frame)
            value, carried = self.previous
            reads.extend(carried)
            return value

        return after, kind

    def call(self, node: Node) -> tuple[Run, Type]:
        """6.5.2.2: arguments are converted and written to the parameters, in order."""
        function = self.functions.get(node.text)
        if function is None or len(function.parameters) != len(node.parts):
            refuse(node.line, node.text, "functions defined before, with all their arguments")
        reads, record, line, count = self.reads, self.record, node.line, len(node.parts)
        values = [
            self.as_type(part, kind)
            for part, (_, kind) in zip(node.parts, function.parameters, strict=True)
        ]
        logged = [isinstance(kind, Arithmetic) for _, kind in function.parameters]

        def call(frame: list[Any]) -> Any:
            body, base = function.body, len(reads)
            if body is None:
                refuse(line, node.text, "functions that are defined")
            if self.depth >= MAX_DEPTH:
                refuse(line, node.text, f"{MAX_DEPTH} calls inside each other")
            given = []
            for value in values:
                mark = len(reads)
                given.append((value(frame), reads[mark:]))
                del reads[mark:]
            inner: list[Any] = [None] * function.slots
            for k in range(count):
                inner[k] = cell = Cell(function.parameters[k][0])
                value, carried = given[k]
                if logged[k]:
                    reads.extend(carried)
                    record(function.line, cell, value, base)
                else:
                    cell.value, cell.carried = value, carried
            self.depth += 1
            self.spend(1, line)
            self.returned = UNSET
            signal = body(inner)
            self.depth -= 1
            return self.returned if signal else UNSET

        return call, function.kind

    def called(self, node: Node) -> tuple[Run, Type]:
        """A call whose value is used: 6.9.1p12, it must have returned one."""
        call, kind = self.call(node)

        def called(frame: list[Any]) -> Any:
            found = call(frame)
            if found is UNSET and kind is not None:
                raise Undefined("uninitialised", node.line, f"the value of {node.text}")
            return found

        return called, kind

    def unknown(self, node: Node) -> tuple[Run, Type]:
        refuse(node.line, node.text or "{", "expressions of integers and pointers")

    # Writes.

    def write(self, node: Node) -> Run:
        """An assignment (6.5.16), or ++ and -- (6.5.2.4, 6.5.3.1), whose value nobody wants."""
        if node.parts[0].kind not in PLACES:
            refuse(node.line, node.text, "assignments to an lvalue")
        place, kind = self.place(node.parts[0])
        if not isinstance(kind, Arithmetic | Pointer):
            refuse(node.line, node.text, "assignments to int-like objects and pointers")
        if node.text == "=":
            return self.store(node.line, place, kind, node.parts[1])
        one = Node("number", node.line, "1")
        value, other = self.value(node.parts[1] if node.kind == "assign" else one)
        fetch, reads, line = self.fetch, self.reads, node.line
        sign = node.text.removesuffix("=")
        if isinstance(kind, Pointer):
            if sign not in ("+", "-") or not isinstance(other, Arithmetic):
                refuse(line, node.text, "pointers plus or minus integers")

            def move(frame: list[Any]) -> None:
                mark = len(reads)
                self.written = cell = place(frame)
                old, by = fetch(cell, line), value(frame)
                self.previous = old, reads[mark:]
                cell.value = moved(old, by if sign == "+" else -by, line)
                cell.carried = reads[mark:]
                del reads[mark:]

            return move
        if not isinstance(other, Arithmetic):
            refuse(line, node.text, "integers here")
        apply, result = _operation(sign, kind, other, line)
        convert = _stored(result, kind, line)

        def update(frame: list[Any]) -> None:
            mark = len(reads)
            cell = place(frame)
            old = fetch(cell, line)
            new = convert(apply(old, value(frame)))
            self.previous = old, reads[mark:]
            self.record(line, cell, new, mark)

        return update

    def store(self, line: int, place: Run, kind: Type, node: Node) -> Run:
        value, reads, record = self.as_type(node, kind), self.reads, self.record
        if isinstance(kind, Pointer):

            def point(frame: list[Any]) -> None:
                mark = len(reads)
                self.written = cell = place(frame)
                cell.value = value(frame)
                cell.carried = reads[mark:]
                del reads[mark:]

            return point

        def store(frame: list[Any]) -> None:
            mark = len(reads)
            cell = place(frame)
            record(line, cell, value(frame), mark)

        return store


def constant(node: Node) -> tuple[int, Arithmetic]:
    """6.4.4.1, 6.4.4.4: an integer constant or a character, and its type."""
    text = node.text
    if text.isdecimal() and len(text) < 10 and (text[0] != "0" or text == "0"):
        return int(text), INT
    if text[0] == "'":
        inner = text[1:-1]
        if len(inner) == 2 and inner not in ESCAPES:
            refuse(node.line, text, f"characters and {' '.join(ESCAPES)}")
        return ESCAPES.get(inner, ord(inner[0])), INT
    match = _NUMBER.fullmatch(text)
    if match is None:
        refuse(node.line, text, "integers, with a suffix u or none")
    digits, octal, decimal, suffix = match.groups()
    value = int(decimal) if decimal else int(digits, 16) if digits else int(octal, 8)
    if not suffix and value <= INT_MAX:
        return value, INT
    if value <= MASK and (suffix or not decimal):
        return value, UNSIGNED
    refuse(node.line, text, "constants that are an int or an unsigned")


def _null(node: Node) -> bool:
    """6.3.2.3p3 and 7.19: a null pointer constant."""
    return (node.kind, node.text) in (("number", "0"), ("name", "NULL"))


def _operation(
    sign: str, left: Arithmetic, right: Arithmetic, line: int
) -> tuple[Callable[[int, int], int], Arithmetic]:
    """An operator on values of two types, with their conversions, and the type of what it gives."""
    shift = sign in ("<<", ">>")  # 6.5.7p3: each operand is promoted by itself
    kind = promoted(left) if shift else common(left, right)
    apply, result = OPERATORS[kind][sign], INT if sign in COMPARISONS else kind
    one, two = conversion(left, kind), None if shift else conversion(right, kind)

    def checked(a: int, b: int) -> int:
        try:
            return apply(a, b)
        except Fault as fault:
            raise Undefined(fault.args[0], line, fault.args[1]) from None

    if one is None and two is None:
        return checked, result
    return lambda a, b: checked(a if one is None else one(a), b if two is None else two(b)), result


def _stored(old: Arithmetic, new: Arithmetic, line: int) -> Callable[[int], int]:
    convert = conversion(old, new)
    if convert is None:
        return lambda value: value

    def stored(value: int) -> int:
        try:
            return convert(value)
        except Fault as fault:
            raise Undefined(fault.args[0], line, fault.args[1]) from None

    return stored


PLACES = ("name", "index", "field", "unary")
_VALUES: dict[str, Callable[[Expressions, Node], tuple[Run, Type]]] = {
    "name": Expressions.name,
    "index": Expressions.loaded,
    "field": Expressions.loaded,
    "number": Expressions.number,
    "unary": Expressions.unary,
    "binary": Expressions.binary,
    "logic": Expressions.logic,
    "choice": Expressions.choice,
    "cast": Expressions.cast,
    "assign": Expressions.written_value,
    "before": Expressions.written_value,
    "after": Expressions.after,
    "call": Expressions.called,
    "list": Expressions.unknown,
    "string": Expressions.unknown,
}
