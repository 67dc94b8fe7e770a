"""A program that is instrumented: its text, what is put into it, why it is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from tree_sitter import Node

from cexec.declared import Scope, Type, named
from cexec.macros import HARMLESS, Macro, why_not
from lego.task import SettingError

WRITE = re.compile(rb"\+\+|--|(?<![=!<>])=(?!=)|<<=|>>=")
STRING = re.compile(rb'"(?:\\.|[^"\\])*"')
WORD = re.compile(rb"[A-Za-z_]\w*")
ADDRESS = re.compile(rb"&[\s(*]*([A-Za-z_]\w*)")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
REFUSED_WORDS = {
    b"asm": "inline assembly", b"__asm__": "inline assembly", b"__asm": "inline assembly",
    b"union": "a union", b"_Atomic": "an atomic type", b"_Complex": "a complex type",
    b"_Generic": "_Generic", b"_Thread_local": "threads", b"__thread": "threads",
    b"setjmp": "setjmp", b"sigsetjmp": "setjmp", b"longjmp": "longjmp",
    b"constructor": "a function that runs outside main", b"destructor": "a function that runs "
    "outside main", b"always_inline": "a function that has no frame of its own",
    b"vector_size": "a vector type", b"__builtin_setjmp": "setjmp", b"typeof": "typeof",
    b"__typeof__": "typeof", b"__auto_type": "a type that is not written down",
}  # fmt: skip


class Untraceable(SettingError):
    """A program that is not traced; the message is ``FILE:LINE: reason``."""


@dataclass(slots=True)
class Object:
    """A variable of a function that a pointer may lead to, and where it can be registered.

    ``position`` is the byte behind its declaration, or with ``between`` behind its declarator,
    among others. ``skipped``: a switch may jump over the declaration.
    """

    node: Node
    position: int
    name: str
    type: Type | None
    function: int
    static: bool = False
    between: bool = False
    number: bool = False  # declared behind an int type, so that one more int can be
    skipped: bool = False


class Text:
    """A program's text and what is put into it."""

    def __init__(self, source: str, file: str, suffix: str) -> None:
        self.source = source.encode()
        self.file, self.suffix = file, suffix
        self.scopes = [Scope()]
        self.edits: list[tuple[int, int, int, int, str]] = []  # position, rank, order, cut, text
        self.macros: dict[str, Macro] = {}
        self.numbers = 0
        self.described: dict[int, str] = {}  # id of a struct's type -> name of its description
        self.kept: list[Type] = []
        self.functions: set[str] = set()
        self.objects: list[Object] = []
        self.globals: list[tuple[str, Type | None]] = []
        self.function = -1  # where the body of the function that is being read begins
        self.jumps: dict[int, int] = {}  # function -> line of a label
        self.home = 0  # the end of the declaration that is being read
        self.pointers = False  # whether anything recorded is written through a pointer
        self.literal: Node | None = None  # a compound literal
        self.indirect: Node | None = None  # a call through a pointer
        self.main = -1
        self._addressed: set[str] | None = None

    def refuse(self, at: Node | int, reason: str) -> NoReturn:
        line = at if isinstance(at, int) else at.start_point[0] + 1
        raise Untraceable(f"{self.file}:{line}: {reason}")

    def _line_of(self, position: int) -> int:
        return self.source.count(b"\n", 0, position) + 1

    def _look_for_words(self, words: set[bytes]) -> None:
        for word in words & REFUSED_WORDS.keys():
            for found in re.finditer(rb"\b" + word + rb"\b", self._code()):
                self.refuse(self._line_of(found.start()), REFUSED_WORDS[word])
        if b"cexec_" in self.source:
            self.refuse(self._line_of(self.source.index(b"cexec_")), "a name with cexec_ in it")

    def _code(self) -> bytes:
        """The source with comments, strings and directives blanked: the same places of all else."""

        def blank(found: re.Match[bytes]) -> bytes:
            return re.sub(rb"[^\n]", b" ", found[0])

        return re.sub(
            rb'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|'
            rb"^[ \t]*#(?:\\\n|[^\n])*",
            blank, self.source, flags=re.S | re.M,
        )  # fmt: skip

    def of(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode()

    def flat(self, node: Node) -> str:
        """A node's text on one line, for a message."""
        return " ".join(COMMENT.sub(" ", self.of(node)).split())[:40]

    def again(self, node: Node) -> str:
        """A node's text on one line, to be put into the program once more, or into a name."""
        text = self.of(node)
        if not text.isprintable() or "/" in text:
            if '"' in text:
                self.refuse(node, "a string in the place that is written")
            text = " ".join(COMMENT.sub(" ", text).split())
        return text

    def words(self, node: Node) -> set[bytes]:
        """The names and keywords in a node."""
        text = self.source[node.start_byte : node.end_byte]
        return set(WORD.findall(STRING.sub(b"", text) if b'"' in text else text))

    def before(self, position: int, text: str, cut: int = 0) -> None:
        """Put text before what begins there; what is put last stands first."""
        self.edits.append((position, 5, -len(self.edits), cut, text))

    def after(self, position: int, text: str, rank: int = 1) -> None:
        """Put text behind what ends there; what is put last stands last."""
        self.edits.append((position, rank, len(self.edits), 0, text))

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def _directive(self, node: Node) -> None:
        kind = node.type
        if kind in ("preproc_def", "preproc_function_def"):
            name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
            assert name is not None
            given = node.child_by_field_name("parameters")
            parameters = None if given is None else [self.of(k) for k in given.named_children]
            macro = Macro(parameters, self.of(value) if value else "")
            if self.of(name) in self.macros and self.macros[self.of(name)] != macro:
                self.refuse(node, f"the macro {self.of(name)} is defined twice")
            self.macros[self.of(name)] = macro
        elif kind == "preproc_include":
            path = node.child_by_field_name("path")
            if path is None or path.type != "system_lib_string":
                self.refuse(node, "only system headers are included: what another does is not seen")
        elif kind == "preproc_call":
            directive = node.child_by_field_name("directive")
            if directive is None or self.of(directive).lstrip("# \t") not in ("pragma", "undef"):
                self.refuse(node, f"the directive {self.of(node).split()[0]}")
        else:
            for child in node.named_children:
                if child.type.startswith("preproc") and child.type not in (
                    "preproc_arg", "preproc_defined",
                ):  # fmt: skip
                    self._directive(child)
                elif child.type in ("declaration", "function_definition") or "statement" in (
                    child.type
                ):
                    self.refuse(node, "conditional compilation")

    def _check_macros(self, words: set[bytes]) -> None:
        code = None
        for name, macro in self.macros.items():
            if named(name) is not None or name in self.functions or name in HARMLESS:
                at = re.search(rf"define[ \t]+{name}\b".encode(), self.source)
                line = self._line_of(at.start()) if at else 1
                self.refuse(line, f"a macro with the name of something else: {name}")
            reason = why_not(macro, self.macros)
            if reason is None:
                continue
            code = code or self._code()
            used = re.search(rb"\b" + name.encode() + rb"\b", code)
            if used:
                self.refuse(self._line_of(used.start()), f"the macro {name} {reason}")
            for other, user in self.macros.items():
                if other != name and re.search(rf"\b{name}\b", user.body):
                    user.body += ";"  # not to be used either

    def addressed(self) -> set[str]:
        """The names behind an & sign, and perhaps more."""
        if self._addressed is None:
            commented = b"//" in self.source or b"/*" in self.source
            text = self._code() if commented else self.source
            self._addressed = {found.decode() for found in ADDRESS.findall(text)}
        return self._addressed
