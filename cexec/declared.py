"""What a C program declares: the types of its variables, as far as tracing a write needs them.

A type is known or it is not: a name that only a system header defines, and that is not in the
table below, has no type here, and whoever needs it refuses the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from tree_sitter import Node


@dataclass(slots=True)
class Type:
    """A type: ``int`` (traced), ``other`` (not: floats, void), ``pointer``, ``array``, ``struct``,
    ``function``.

    ``of`` is what a pointer points to, what an array holds, what a function returns. ``code`` is
    the runtime's name of an int: ``int``, ``uchar``... A struct's ``fields`` are None while it is
    incomplete; ``spelling`` is how C names it, ``home`` the byte after its definition, where text
    that speaks of it can stand.
    """

    kind: str
    of: Type | None = None
    code: str = ""
    spelling: str = ""
    fields: dict[str, Type] | None = None
    home: int | None = None

    wide: bool = False  # whether its values may not fit a long long


INTS = {
    code: Type("int", code=code, wide=code in ("ulong", "ullong"))
    for code in (
        *("char", "schar", "uchar", "short", "ushort", "int", "uint"),
        *("long", "ulong", "llong", "ullong", "bool"),
    )
}
OTHER = Type("other")
VOID = Type("other", spelling="void")
CHARS = Type("pointer", INTS["char"])
POINTER = Type("pointer", VOID)

# What system headers on 64-bit Linux make of these names.
_NAMED = {
    "bool": "bool", "_Bool": "bool", "size_t": "ulong", "ssize_t": "long", "ptrdiff_t": "long",
    "intptr_t": "long", "uintptr_t": "ulong", "intmax_t": "long", "uintmax_t": "ulong",
    "time_t": "long", "clock_t": "long", "off_t": "long", "wchar_t": "int", "wint_t": "uint",
    "int8_t": "schar", "int16_t": "short", "int32_t": "int", "int64_t": "long",
    "uint8_t": "uchar", "uint16_t": "ushort", "uint32_t": "uint", "uint64_t": "ulong",
    "int_least8_t": "schar", "int_least16_t": "short", "int_least32_t": "int",
    "int_least64_t": "long", "uint_least8_t": "uchar", "uint_least16_t": "ushort",
    "uint_least32_t": "uint", "uint_least64_t": "ulong", "int_fast8_t": "schar",
    "int_fast16_t": "long", "int_fast32_t": "long", "int_fast64_t": "long",
    "uint_fast8_t": "uchar", "uint_fast16_t": "ulong", "uint_fast32_t": "ulong",
    "uint_fast64_t": "ulong", "uint": "uint", "ulong": "ulong", "ushort": "ushort",
    "u_char": "uchar", "u_short": "ushort", "u_int": "uint", "u_long": "ulong",
}  # fmt: skip
_WORDS = {"signed", "unsigned", "char", "short", "int", "long"}


@lru_cache(4096)
def named(words: str) -> Type | None:
    """The type that keywords, or a name of the system's, stand for; None where it is not known."""
    split = words.split()
    if words in _NAMED:
        return INTS[_NAMED[words]]
    if words in ("float", "double", "long double", "double long", "FILE"):
        return OTHER
    if words == "void":
        return VOID
    if not split or set(split) - _WORDS:
        return None
    sign = "u" if "unsigned" in split else ""
    if "char" in split:
        return INTS["schar" if "signed" in split else sign + "char"]
    if "short" in split:
        return INTS[sign + "short"]
    return INTS[sign + ("int", "long", "llong")[min(split.count("long"), 2)]]


def pointed(kind: Type | None) -> Type | None:
    """What ``*x`` is for an x of this type."""
    return kind.of if kind and kind.kind in ("pointer", "array") else None


def declarator(kind: Type | None, node: Node | None) -> tuple[str, Type | None]:
    """The name that a declarator declares ("" for an abstract one), and its type.

    ``kind`` is what stands before it: ``int`` in ``int *m[3]``.
    """
    while node is not None:
        what = node.type
        if what in ("identifier", "field_identifier", "type_identifier"):
            return (node.text or b"").decode(), kind
        if what in ("pointer_declarator", "abstract_pointer_declarator"):
            kind = Type("pointer", kind)
        elif what in ("array_declarator", "abstract_array_declarator"):
            kind = Type("array", kind)
        elif what in ("function_declarator", "abstract_function_declarator"):
            kind = Type("function", kind)
        elif what == "primitive_type":  # a typedef such as `typedef unsigned char bool`
            return (node.text or b"").decode(), kind
        inner = node.child_by_field_name("declarator")
        if (inner is None and "paren" in what) or (
            inner is None and what == "attributed_declarator"
        ):
            inner = next(iter(node.named_children), None)
        node = inner
    return "", kind


@dataclass(slots=True)
class Variable:
    """A name in scope: its type, whether it lives as long as the program, what else it may be."""

    type: Type | None
    static: bool = False
    typedef: bool = False
    constant: bool = False  # of an enum


@dataclass(slots=True)
class Scope:
    """The names, and the tags of structs and enums, of one block."""

    names: dict[str, Variable] = field(default_factory=dict)
    tags: dict[str, Type] = field(default_factory=dict)


def elements(kind: Type | None) -> tuple[Type | None, int]:
    """What an array holds at last, and how many dimensions it has; (itself, 0) for others."""
    dimensions = 0
    while kind is not None and kind.kind == "array":
        kind, dimensions = kind.of, dimensions + 1
    return kind, dimensions
