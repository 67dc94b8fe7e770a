"""The values of the reference interpreter: types, conversions, operators, objects (C11, N1570).

``int`` and ``unsigned`` are 32 bits wide, as everywhere today. What C leaves undefined, and what it
leaves to the implementation, is raised and never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lego.task import SettingError

WIDTH = 32
MASK = 2**WIDTH - 1
UNSET = object()  # the value of what has none
INT_MIN, INT_MAX = -(2 ** (WIDTH - 1)), 2 ** (WIDTH - 1) - 1


class Undefined(SettingError):
    """What C leaves undefined: ``kind`` says what, ``line`` where.

    The kinds: overflow, division, shift, bounds, uninitialised, null (a dangling pointer too),
    order (of unsequenced side effects, 6.5p2) and implementation (defined by the implementation).
    """

    def __init__(self, kind: str, line: int, what: str) -> None:
        super().__init__(f"line {line}={what!r}: allowed what C defines (here: {kind})")
        self.kind, self.line = kind, line


class Fault(Exception):
    """An operator's or conversion's own word; whoever knows the line makes it ``Undefined``."""


class Arithmetic:
    """An integer type: one of the three below, told apart as objects, which is fast."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Pointer:
    to: Type


@dataclass(frozen=True)
class Array:
    of: Type
    size: int


@dataclass(eq=False)
class Struct:
    """A structure type, known by its tag alone; ``fields`` come in the order of their members."""

    name: str
    fields: dict[str, Type] = field(default_factory=dict)


Type = Arithmetic | Pointer | Array | Struct | None  # None is void

INT, UNSIGNED, BYTE = map(Arithmetic, ("int", "unsigned", "unsigned char"))
BASES: dict[str, Type] = {"int": INT, "unsigned": UNSIGNED, "unsigned char": BYTE, "void": None}


def promoted(kind: Arithmetic) -> Arithmetic:
    """6.3.1.1p2: an int holds every unsigned char."""
    return INT if kind is BYTE else kind


def common(left: Arithmetic, right: Arithmetic) -> Arithmetic:
    """6.3.1.8, the usual arithmetic conversions: unsigned wins over int, at the same rank."""
    return UNSIGNED if left is UNSIGNED or right is UNSIGNED else INT


Convert = Callable[[int], int]


def conversion(old: Arithmetic, new: Arithmetic) -> Convert | None:
    """6.3.1.3: what takes a value of one type to another; None where it stays as it is."""
    if old is new or (old is BYTE and new is not BYTE):
        return None
    return _to_int if new is INT else _to_unsigned if new is UNSIGNED else _to_byte


def _to_unsigned(value: int) -> int:
    return value & MASK  # p2: modulo one more than the largest value


def _to_byte(value: int) -> int:
    return value & 255


def _to_int(value: int) -> int:
    if value > INT_MAX:  # p3; only unsigned gets here, so that nothing is too small
        raise Fault("implementation", f"{value} to int")
    return value


def _fits(value: int) -> int:
    """6.5p5: a result out of its type's range is undefined."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise Fault("overflow", f"{value} in an int")


def _quotient(a: int, b: int) -> int:
    if b == 0:
        raise Fault("division", f"{a} / 0")
    # 6.5.5p6: truncated towards zero; -INT_MIN is no int.
    return _fits(abs(a) // abs(b) if (a < 0) == (b < 0) else -(abs(a) // abs(b)))


def _remainder(a: int, b: int) -> int:
    # 6.5.5p6: a % b is defined where a / b is, and (a/b)*b + a%b equals a.
    return a - _quotient(a, b) * b


def _unsigned_quotient(a: int, b: int) -> int:
    if b == 0:
        raise Fault("division", f"{a} / 0")
    return a // b


def _unsigned_remainder(a: int, b: int) -> int:
    return a - _unsigned_quotient(a, b) * b


def _count(count: int) -> int:
    if not 0 <= count < WIDTH:  # 6.5.7p3
        raise Fault("shift", f"a shift by {count}")
    return count


def _left(a: int, b: int) -> int:
    _count(b)
    if a < 0 or a << b > INT_MAX:  # 6.5.7p4
        raise Fault("shift", f"{a} << {b}")
    return a << b


def _right(a: int, b: int) -> int:
    _count(b)
    if a < 0:  # 6.5.7p5
        raise Fault("implementation", f"{a} >> {b}")
    return a >> b


def _add(a: int, b: int) -> int:
    if INT_MIN <= (value := a + b) <= INT_MAX:
        return value
    return _fits(value)


def _multiply(a: int, b: int) -> int:
    if INT_MIN <= (value := a * b) <= INT_MAX:
        return value
    return _fits(value)


Operator = Callable[[int, int], int]

# Comparisons and bits are the same for both types, as their operands have been converted. Python's
# integers are two's complement without an end, so that & | ^ ~ of two ints is an int.
_BOTH: dict[str, Operator] = {
    "==": lambda a, b: 1 if a == b else 0,  # 6.5.8p6, 6.5.9p3: the result is an int, 0 or 1
    "!=": lambda a, b: 1 if a != b else 0,
    "<": lambda a, b: 1 if a < b else 0,
    ">": lambda a, b: 1 if a > b else 0,
    "<=": lambda a, b: 1 if a <= b else 0,
    ">=": lambda a, b: 1 if a >= b else 0,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}
COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
OPERATORS: dict[Arithmetic, dict[str, Operator]] = {
    INT: _BOTH
    | {
        "+": _add,
        "-": lambda a, b: _fits(a - b),
        "*": _multiply,
        "/": _quotient,
        "%": _remainder,
        "<<": _left,
        ">>": _right,
    },
    UNSIGNED: _BOTH
    | {
        "+": lambda a, b: (a + b) & MASK,  # 6.2.5p9
        "-": lambda a, b: (a - b) & MASK,
        "*": lambda a, b: (a * b) & MASK,
        "/": _unsigned_quotient,
        "%": _unsigned_remainder,
        "<<": lambda a, b: (a << _count(b)) & MASK,
        ">>": lambda a, b: a >> _count(b),
    },
}
UNARY: dict[Arithmetic, dict[str, Convert]] = {
    INT: {"-": lambda a: _fits(-a), "~": lambda a: ~a, "+": lambda a: a},
    UNSIGNED: {"-": lambda a: -a & MASK, "~": lambda a: ~a & MASK, "+": lambda a: a},
}


# Objects (6.2.4). A pointer's value is None or (objects, index): a list of objects that lie side by
# side, and a place in it. The list is emptied when their life ends.


class Cell:
    """An object with a value. ``carried``: the steps of the writes that its value carries."""

    __slots__ = ("box", "carried", "name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = UNSET
        self.carried: Sequence[int] = ()
        self.box: list[Any] = []  # itself alone, once its address has been taken


class Record:
    """An object of structure type."""

    __slots__ = ("box", "fields")

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields
        self.box: list[Any] = []


def maker(kind: Type, name: str, line: int) -> Callable[[], Any]:
    """What makes an uninitialised object: a Cell, a Record, or an array's list of them."""
    if isinstance(kind, Array):
        items = [maker(kind.of, f"{name}[{k}]", line) for k in range(kind.size)]
        return lambda: [item() for item in items]
    if isinstance(kind, Struct):
        if not kind.fields:
            raise SettingError(f"line {line}={kind.name!r}: allowed structs with their fields")
        parts = [maker(of, f"{name}.{field}", line) for field, of in kind.fields.items()]
        return lambda: Record([part() for part in parts])
    if kind is None:
        raise SettingError(f"line {line}={name!r}: allowed objects with a type")
    return lambda: Cell(name)


def zero(thing: Any, kind: Type) -> None:
    """6.7.9p10 and p21: 0, or a null pointer, in every part that nothing is written to."""
    if isinstance(kind, Array):
        for item in thing:
            zero(item, kind.of)
    elif isinstance(kind, Struct):
        for part, of in zip(thing.fields, kind.fields.values(), strict=True):
            zero(part, of)
    elif thing.value is UNSET:
        thing.value = None if isinstance(kind, Pointer) else 0


def end(thing: Any) -> None:
    """The end of an object's life: pointers to it dangle."""
    if isinstance(thing, list):
        for item in thing:
            end(item)
        thing.clear()
    elif thing is not None:
        thing.box.clear()
        if isinstance(thing, Record):
            for part in thing.fields:
                end(part)


def moved(pointer: Any, by: int, line: int) -> Any:
    """6.5.6p8: pointer + by, which may point one past the end."""
    objects, index = live(pointer, line)
    if not 0 <= index + by <= len(objects):
        raise Undefined("bounds", line, f"index {index + by} of {len(objects)}")
    return objects, index + by


def target(pointer: Any, line: int) -> Any:
    """6.5.3.2p4: the object that a pointer points to."""
    objects, index = live(pointer, line)
    if index == len(objects):
        raise Undefined("bounds", line, f"index {index} of {index}")
    return objects[index]


def live(pointer: Any, line: int) -> Any:
    if pointer is None:
        raise Undefined("null", line, "a null pointer")
    if not pointer[0]:
        raise Undefined("null", line, "a pointer to what is no more")
    return pointer
