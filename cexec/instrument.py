"""Users' own C with a report after every write: the same text, line for line.

``instrument`` reads a program with tree-sitter-c and inserts calls of the runtime (``RUNTIME``,
which is put before the program). A plain statement gets a comma and a call behind it,

    m[i] = v;        m[i] = v, cexec_e(4, "m", i, sizeof m / sizeof *m, m[i]);

and a write whose value is used, or whose place is not certain to stay what it was, becomes an
expression of gcc's kind, ``({ ... })``, in which the place is computed once.

What counts as a write: assignments, ``++`` and ``--``, initialisers of automatic variables,
parameters (of main as well) at the line of their function's ``{``. A whole array or struct that is
initialised or assigned writes each number in it, in order, those that get 0 too. Globals and static
variables are initialised before the program runs: that is no write. Values of pointers and floats
are not recorded. A write through a pointer has the name of the object that it lands in, which the
runtime looks up among those registered; only what has no name of its own (malloc) is named as
written, with indices evaluated: ``list->item[3]``.

Order: what is written inside an operand comes before the write that uses it. In ``a[i++] = b[j++]``
the left side is made to be evaluated first, which C allows; any other two writes without an order
between them are refused, as is all that could make a wrong trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NoReturn

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from cexec.declared import (
    CHARS,
    INTS,
    OTHER,
    POINTER,
    Scope,
    Type,
    Variable,
    declarator,
    elements,
    named,
    pointed,
)
from cexec.macros import HARMLESS, WRITING, Macro, why_not
from lego.task import SettingError

RUNTIME = files("cexec").joinpath("runtime.c").read_text()

# An expression that holds none of these writes nothing and calls nothing.
_EVENT = re.compile(rb"\+\+|--|(?<![=!<>])=(?!=)|<<=|>>=|[\w)\]]\s*\(|[()]\s*\{|asm|//|/\*")
_WRITE = re.compile(rb"\+\+|--|(?<![=!<>])=(?!=)|<<=|>>=")
_MEMORY = re.compile(rb"[\[.*]|->")
_POINTED = re.compile(rb"[\[*]")
_STRING = re.compile(rb'"(?:\\.|[^"\\])*"')
_WORD = re.compile(rb"[A-Za-z_]\w*")
_PLAIN_INDEX = re.compile(r"[\w\s()+*%/-]+")
_ADDRESS = re.compile(rb"&[\s(*]*([A-Za-z_]\w*)")
_PERCENT_N = re.compile(r"%[-+ #0-9.*'hlqjztL]*n")
_BLANK = re.compile(r"(?<!\w) | (?!\w)")  # blanks that no two words need
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|^[ \t]*#[ \t]*include[^\n]*'
    r"|\.?\d[\w.]*|([A-Za-z_]\w*)",
    re.S | re.M,
)
_DIRECTIVE_END = re.compile(rb"^([ \t]*#[ \t]*include)([^\n]*?)([ \t\r]+)$", re.M)
_REFUSED_WORDS = {
    b"asm": "inline assembly", b"__asm__": "inline assembly", b"__asm": "inline assembly",
    b"union": "a union", b"_Atomic": "an atomic type", b"_Complex": "a complex type",
    b"_Generic": "_Generic", b"_Thread_local": "threads", b"__thread": "threads",
    b"setjmp": "setjmp", b"sigsetjmp": "setjmp", b"longjmp": "longjmp",
    b"constructor": "a function that runs outside main", b"destructor": "a function that runs "
    "outside main", b"always_inline": "a function that has no frame of its own",
    b"vector_size": "a vector type", b"__builtin_setjmp": "setjmp", b"typeof": "typeof",
    b"__typeof__": "typeof", b"__auto_type": "a type that is not written down",
}  # fmt: skip
_SKIPPED = frozenset(
    ("comment", "break_statement", "continue_statement", "goto_statement", "statement_identifier")
)
_CONSTANTS = ("number_literal", "char_literal", "true", "false", "null", "string_literal")


class Untraceable(SettingError):
    """A program that is not traced; the message is ``FILE:LINE: reason``."""


@dataclass(slots=True)
class _Object:
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


class _Effects:
    """What evaluating an expression does besides giving a value.

    ``writes``: (name of the variable, ".x" for a field x, or "" for another place; whether it is
    recorded);
    ``calls``: how many calls of the program's own functions.
    """

    __slots__ = ("calls", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[str, bool]] = []
        self.calls = 0

    def add(self, other: _Effects | None) -> None:
        if other is not None:
            self.writes += other.writes
            self.calls += other.calls

    @property
    def recorded(self) -> bool:
        return any(recorded for _, recorded in self.writes)


class _Place:
    """An lvalue: its type, the format of its name, the index expressions in it.

    ``direct``: it lies in the variable ``root`` for certain. ``indices``: (node, array's text) for
    each ``\\1`` in the format; the text is what sizeof is asked about, "" behind a pointer.
    """

    __slots__ = ("direct", "format", "indices", "root", "type", "zero")

    def __init__(self, type: Type | None, format: str, direct: bool, root: str) -> None:
        self.type, self.format, self.direct, self.root = type, format, direct, root
        self.zero = format  # the same place with every index 0, for sizeof
        self.indices: list[tuple[Node, str]] = []


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_c.language()))


def instrument(source: str, file: str = "program.c", suffix: str = "") -> str:
    """The text of a C program with reports inserted; every token stays on its line.

    It compiles behind ``RUNTIME`` (``#line 1`` between them), without optimisation. ``suffix`` is
    put behind every name of file scope, so that many programs can share one file; ``main`` is
    renamed too. Raises Untraceable (``FILE:LINE: reason``) for what cannot be traced for certain.
    """
    return _Program(source, file, suffix).text()


class _Program:
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
        self.objects: list[_Object] = []
        self.globals: list[tuple[str, Type | None]] = []
        self.function = -1  # where the body of the function that is being read begins
        self.jumps: dict[int, int] = {}  # function -> line of a label
        self.home = 0  # the end of the declaration that is being read
        self.pointers = False  # whether anything recorded is written through a pointer
        self.literal: Node | None = None  # a compound literal
        self.indirect: Node | None = None  # a call through a pointer
        self.main = -1
        self._addressed: set[str] | None = None

    # Refusals

    def refuse(self, at: Node | int, reason: str) -> NoReturn:
        line = at if isinstance(at, int) else at.start_point[0] + 1
        raise Untraceable(f"{self.file}:{line}: {reason}")

    def _line_of(self, position: int) -> int:
        return self.source.count(b"\n", 0, position) + 1

    def _look_for_words(self, words: set[bytes]) -> None:
        for word in words & _REFUSED_WORDS.keys():
            for found in re.finditer(rb"\b" + word + rb"\b", self._code()):
                self.refuse(self._line_of(found.start()), _REFUSED_WORDS[word])
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

    # Text

    def of(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode()

    def flat(self, node: Node) -> str:
        """A node's text on one line, for a message."""
        return " ".join(_COMMENT.sub(" ", self.of(node)).split())[:40]

    def again(self, node: Node) -> str:
        """A node's text on one line, to be put into the program once more, or into a name."""
        text = self.of(node)
        if not text.isprintable() or "/" in text:
            if '"' in text:
                self.refuse(node, "a string in the place that is written")
            text = " ".join(_COMMENT.sub(" ", text).split())
        return text

    def words(self, node: Node) -> set[bytes]:
        """The names and keywords in a node."""
        text = self.source[node.start_byte : node.end_byte]
        return set(_WORD.findall(_STRING.sub(b"", text) if b'"' in text else text))

    def before(self, position: int, text: str, cut: int = 0) -> None:
        """Put text before what begins there; what is put last stands first."""
        self.edits.append((position, 5, -len(self.edits), cut, text))

    def after(self, position: int, text: str, rank: int = 1) -> None:
        """Put text behind what ends there; what is put last stands last."""
        self.edits.append((position, rank, len(self.edits), 0, text))

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def text(self) -> str:
        root = _parser().parse(_DIRECTIVE_END.sub(_moved, self.source)).root_node
        words = set(_WORD.findall(self.source))
        self._look_for_words(words)
        if root.has_error:
            self.refuse(_first_error(root), "not understood as C")
        if b"\\\n" in self.source and b"\\\n" in self._code():
            at = self._code().index(b"\\\n")
            self.refuse(self._line_of(at), "a line that goes on after a backslash")
        top = root.children
        for node in top:
            if node.type == "function_definition":
                self.functions.add(declarator(None, node.child_by_field_name("declarator"))[0])
            elif node.type.startswith("preproc"):
                self._directive(node)
        if self.macros:
            self._check_macros(words)
        if "main" not in self.functions:
            self.refuse(1, "no function main")
        for node in top:
            self._external(node)
        if self.indirect is not None:
            for word in words & {name.encode() for name in WRITING - self.functions}:
                if re.search(rb"\b" + word + rb"\b", self._code()):
                    self.refuse(self.indirect, f"what {word.decode()} writes cannot be seen")
        if self.pointers:
            self._register()
        self._globals()
        self.edits.sort()
        parts, at = [], 0
        for position, _, _, cut, text in self.edits:
            parts.append(self.source[at:position].decode())
            parts.append(text)
            at = position + cut
        parts.append(self.source[at:].decode())
        done = "".join(parts)
        return self._renamed(done) if self.suffix else done

    def _renamed(self, text: str) -> str:
        """The names of file scope with the suffix, wherever they stand outside strings."""
        scope = self.scopes[0]
        names = self.functions | scope.names.keys() | self.macros.keys()
        names |= {tag.split()[-1] for tag in scope.tags}
        names |= {"cexec_globals", *self.described.values()}
        names |= {f"{name}_fields" for name in self.described.values()}
        for macro in self.macros.values():
            if "#" in macro.body:
                self.refuse(1, "a macro with # among many programs")
        suffix = self.suffix

        def rename(found: re.Match[str]) -> str:
            return found[0] + suffix if found[1] in names else found[0]

        return _TOKEN.sub(rename, text)

    # Directives

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

    # Declarations

    def variable(self, name: str) -> Variable | None:
        for scope in reversed(self.scopes):
            found = scope.names.get(name)
            if found is not None:
                return found
        return None

    def base(self, node: Node | None) -> Type | None:
        """The type that a specifier stands for; None where it is not known."""
        if node is None:
            return None
        kind = node.type
        if kind == "sized_type_specifier":
            return named(self.of(node))
        if kind == "primitive_type":
            name = self.of(node)
            if name == "int":
                return INTS[name]
            known = self.scopes[0].names.get(name)
            return known.type if known is not None else named(name)
        if kind == "type_identifier":
            name = self.of(node)
            known = self.variable(name)
            if known is not None:
                return known.type if known.typedef else None
            if name in self.macros:
                return named(" ".join(self.macros[name].body.split()))
            return named(name)
        if kind == "struct_specifier":
            return self._struct(node)
        if kind == "enum_specifier":
            return self._enum(node)
        return None

    def _tag(self, key: str, new: bool) -> Type:
        for scope in self.scopes[-1:] if new else reversed(self.scopes):
            if key in scope.tags:
                return scope.tags[key]
        made = Type("struct", spelling=key)
        self.scopes[-1].tags[key] = made
        return made

    def _struct(self, node: Node) -> Type:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        kind = Type("struct") if name is None else self._tag(f"struct {self.of(name)}", bool(body))
        if body is None:
            return kind
        fields: dict[str, Type | None] = {}
        for entry in body.named_children:
            if entry.type == "comment":
                continue
            if entry.type != "field_declaration":
                self.refuse(entry, "not understood as a field")
            base = self.base(entry.child_by_field_name("type"))
            named_one = False
            for child in entry.named_children:
                if child.type == "bitfield_clause":
                    self.refuse(child, "a bit-field")
            for child in entry.children_by_field_name("declarator"):
                field, type = declarator(base, child)
                inner, _ = elements(type)
                if inner is not None and inner.kind == "struct" and not inner.spelling:
                    inner.spelling = "?"  # told by its place, below
                fields[field], named_one = type, True
            if not named_one:
                self.refuse(entry, "a struct without a name in a struct")
        kind.fields, kind.home = fields, self.home  # type: ignore[assignment]
        return kind

    def _enum(self, node: Node) -> Type:
        body, name = node.child_by_field_name("body"), node.child_by_field_name("name")
        key = f"enum {self.of(name)}" if name else ""
        if body is None:
            for scope in reversed(self.scopes):
                if key in scope.tags:
                    return scope.tags[key]
            return INTS["uint"]
        kind = INTS["int" if "-" in self.of(body) else "uint"]
        if key:
            self.scopes[-1].tags[key] = kind
        for entry in body.named_children:
            one = entry.child_by_field_name("name")
            if one is not None:
                self.scopes[-1].names[self.of(one)] = Variable(INTS["int"], static=True)
                self.scopes[-1].names[self.of(one)].constant = True
        return kind

    def _external(self, node: Node) -> None:
        kind = node.type
        if kind == "function_definition":
            self._function(node)
        elif kind in ("declaration", "type_definition"):
            self._declaration(node)
        elif kind in ("struct_specifier", "enum_specifier"):
            following = node.next_sibling
            self.home = following.end_byte if following and following.type == ";" else -1
            self.base(node)
        elif kind in (";", "comment") or kind.startswith("preproc"):
            pass
        else:
            self.refuse(node, f"outside a function: {self.flat(node)}")

    def _function(self, node: Node) -> None:
        body, head = node.child_by_field_name("body"), node.child_by_field_name("declarator")
        assert body is not None
        self.home = -1
        name, type = declarator(self.base(node.child_by_field_name("type")), head)
        if type is None or type.kind != "function":
            self.refuse(node, "a function that is not understood")
        self.scopes[0].names[name] = Variable(type, static=True)
        while head is not None and head.type != "function_declarator":
            head = head.child_by_field_name("declarator")
        inside = head.child_by_field_name("declarator") if head is not None else None
        if head is None or inside is None or inside.type != "identifier":
            self.refuse(node, "a function that is not understood")
        start = body.start_byte + 1
        self.function = start
        self.scopes.append(Scope())
        line = body.start_point[0] + 1
        parameters = head.child_by_field_name("parameters")
        for parameter in parameters.named_children if parameters else ():
            if parameter.type == "identifier":
                self.refuse(node, "parameters declared in the old way")
            if parameter.type != "parameter_declaration":
                continue
            base = self.base(parameter.child_by_field_name("type"))
            called, type = declarator(base, parameter.child_by_field_name("declarator"))
            if not called:
                continue
            if type is not None and type.kind == "array":
                type = Type("pointer", type.of)
            elif type is not None and type.kind == "function":
                type = Type("pointer", type)
            self.scopes[-1].names[called] = Variable(type)
            self.objects.append(_Object(parameter, start, called, type, start))
            report = self.report(parameter, line, called, type)
            if report:
                self.after(start, report + ";", rank=3)
        if name == "main":
            self.main = start
        for child in body.named_children:
            self.statement(child)
        self.scopes.pop()

    def _declaration(self, node: Node, heading: bool = False) -> None:
        """A declaration, in a block, at file scope or (``heading``) in the head of a for."""
        outside = len(self.scopes) == 1
        typedef = node.type == "type_definition"
        end = node.end_byte
        self.home = -1 if heading else end
        parts = node.children
        storage: set[str] = set()
        if len(parts) == 3 and parts[0].type == "primitive_type" and not typedef:
            base, declarators = self.base(parts[0]), parts[1:2]
        else:
            for child in parts:
                if child.type == "storage_class_specifier":
                    storage.add(self.of(child))
            base = self.base(node.child_by_field_name("type"))
            declarators = node.children_by_field_name("declarator")
        eventful = heading or (
            len(declarators) > 1
            and any(
                map(
                    self.eventful,
                    filter(None, (k.child_by_field_name("value") for k in declarators)),
                )
            )
        )
        static = outside or "static" in storage or "extern" in storage
        for child in declarators:
            value, declared = None, child
            if child.type == "init_declarator":
                declared, value = child.children[0], child.child_by_field_name("value")
            name, type = declarator(base, declared)
            if typedef:
                self.scopes[-1].names[name] = Variable(type, static=True, typedef=True)
                if type is not None and type.kind == "struct" and not type.spelling:
                    type.spelling = name
                continue
            inner, dimensions = elements(type)
            if inner is not None and inner.kind == "struct" and not inner.spelling:
                inner.spelling = f"__typeof__({name}{'[0]' * dimensions})"
            if type is not None and type.kind == "function":
                self.scopes[-1].names.setdefault(name, Variable(type, static=True))
                continue
            # The name is in scope in its own initialiser.
            self.scopes[-1].names[name] = Variable(type, static)
            if outside:
                if "extern" not in storage:
                    self.globals.append((name, type))
                continue
            if "extern" in storage:
                self.refuse(child, "an extern variable in a function")
            if "register" not in storage:
                place = child.end_byte if eventful and not static else end
                number = base is not None and base.kind == "int"
                between = eventful and not static
                found = _Object(child, place, name, type, self.function, static, between, number)
                self.objects.append(found)
            if static:
                continue
            if value is None:
                self.eventless(child)
                continue
            effects = self.expression(value) if self.eventful(value) else None
            if effects and (effects.calls or effects.writes) and name.encode() in self.words(value):
                self.refuse(child, f"{name} is used in its own initialiser")
            report = self.report(child, child.start_point[0] + 1, name, type)
            if not report:
                continue
            if not eventful:
                self.after(end, report + ";")
            elif base is not None and base.kind == "int":
                # One more variable, so that the report stands between this and the next.
                self.after(child.end_byte, f", cexec_v{self.number()} = ({report}, 0)")
            else:
                self.refuse(child, "initialisers that write, in a declaration of structs")

    def eventful(self, node: Node) -> bool:
        return _EVENT.search(self.source, node.start_byte, node.end_byte) is not None

    def eventless(self, node: Node) -> None:
        """A place where nothing may be written: the size of an array."""
        if node.type != "identifier" and _WRITE.search(self.source, node.start_byte, node.end_byte):
            self.refuse(node, "a write in a declarator")

    # Reports

    def description(self, at: Node | int, type: Type | None, needed: bool = True) -> str:
        """C for the address of a type's description in the runtime.

        Where it is not ``needed``, an unknown type may stay one: a write there ends the run.
        """
        if type is None or (type.kind == "struct" and not type.fields and not needed):
            if not needed:
                return "&cexec_other"
            self.refuse(at, "a type that is not known here")
        if type.kind == "int":
            return f"&cexec_{type.code}"
        if type.kind != "struct":
            return "&cexec_other"
        if id(type) in self.described:
            return f"&{self.described[id(type)]}"
        if type.fields is None or type.home is None or type.home < 0 or type.spelling == "":
            self.refuse(at, "a struct whose fields are not known here")
        name = f"cexec_t{self.number()}"
        self.described[id(type)] = name
        self.kept.append(type)
        rows = []
        for field, kind in type.fields.items():
            place = f"(({type.spelling} *)0)->{field}"
            inner, dimensions = elements(kind)
            if inner is not None and inner.kind == "struct" and inner.spelling == "?":
                inner.spelling = f"__typeof__({place}{'[0]' * dimensions})"
            if inner is None or inner.kind not in ("int", "struct"):
                continue
            if dimensions > 4:
                self.refuse(at, "an array of more than four dimensions")
            strides = "".join(f"sizeof({place}{'[0]' * k}), " for k in range(1, dimensions + 1))
            rows.append(
                f'{{"{field}", (unsigned long)&{place}, sizeof({place}), '
                f"{self.description(at, inner)}, {dimensions}, {{{strides or '0'}}}}}"
            )
        held = f"{name}_fields"
        fields = f"static const struct cexec_object {held}[] = {{{', '.join(rows) or '{0}'}}};"
        self.after(
            type.home,
            f"{fields}static const struct cexec_type {name} = {{0, 0, {len(rows)}, {held}}};",
            rank=0,
        )
        return f"&{name}"

    def whole(self, at: Node | int, name: str, type: Type | None, needed: bool = True) -> str:
        """The arguments that tell the runtime of an object: name, address, size, type, strides."""
        inner, dimensions = elements(type)
        if dimensions > 4:
            self.refuse(at, "an array of more than four dimensions")
        strides = "".join(f", sizeof({name}{'[0]' * k})" for k in range(1, dimensions + 1))
        kind = self.description(at, inner, needed)
        address = name if dimensions else f"&{name}"  # tcc has another one for &v of v[n]
        return f'"{name}", {address}, sizeof({name}), {kind}, {dimensions}{strides}'

    def report(self, at: Node, line: int, name: str, type: Type | None) -> str:
        """C that reports a variable's value, all of it; "" for what is not recorded."""
        if type is None:
            self.refuse(at, f"the type of {name} is not known here")
        if type.kind == "int":
            return f'cexec_{"u" if type.wide else "s"}({line}, "{name}", {name})'
        if type.kind in ("array", "struct"):
            inner, _ = elements(type)
            if inner is None:
                self.refuse(at, f"the type of {name} is not known here")
            if inner.kind in ("int", "struct"):
                return f"cexec_o({line}, {self.whole(at, name, type)})"
        return ""

    # Statements

    def statement(self, node: Node) -> None:
        kind = node.type
        if kind == "expression_statement":
            for child in node.named_children:
                if child.type != "assignment_expression":
                    self.full(child, discard=True)
                elif not self._simple(child):
                    self.expression(child, discard=True)
        elif kind in _SKIPPED:
            pass
        elif kind == "declaration":
            self._declaration(node)
        elif kind == "compound_statement":
            self.scopes.append(Scope())
            for child in node.named_children:
                self.statement(child)
            self.scopes.pop()
        elif kind == "for_statement":
            self.scopes.append(Scope())
            body = node.child_by_field_name("body")
            head = node.child_by_field_name("initializer")
            if head is not None and head.type == "declaration":
                self._declaration(head, heading=True)
            elif head is not None:
                self.full(head, discard=True)
            condition = node.child_by_field_name("condition")
            if condition is not None:
                self.full(condition)
            update = node.child_by_field_name("update")
            if update is not None:
                self.full(update, discard=True)
            if body is not None:
                self.statement(body)
            self.scopes.pop()
        elif kind in ("if_statement", "while_statement", "do_statement", "switch_statement"):
            for child in node.named_children:
                if child.type == "parenthesized_expression":
                    self.full(child)
                elif kind == "switch_statement" and child.type == "compound_statement":
                    self._switch(child)
                elif child.type != "comment":
                    self.statement(child)
        elif kind == "else_clause":
            for child in node.named_children:
                self.statement(child)
        elif kind in ("labeled_statement", "case_statement"):
            if kind == "case_statement" and node.parent is not None:
                outer = node.parent.parent
                if node.parent.type == "compound_statement" and (
                    outer is None or outer.type != "switch_statement"
                ):
                    self.refuse(node, "a case in a block of its own")
            if kind == "labeled_statement":
                self.jumps[self.function] = node.start_point[0] + 1
            value = node.child_by_field_name("value")
            label = node.child_by_field_name("label")
            for child in node.named_children:
                if child not in (value, label):
                    self.statement(child)
        elif kind == "return_statement":
            for child in node.named_children:
                if child.type != "comment":
                    self.full(child)
        elif kind == "type_definition":
            self._declaration(node)
        elif kind in ("struct_specifier", "enum_specifier"):
            following = node.next_sibling
            self.home = following.end_byte if following and following.type == ";" else -1
            self.base(node)
        elif kind in ("preproc_def", "preproc_function_def"):
            self.refuse(node, "a macro defined in a function")
        elif kind == "preproc_call":
            self._directive(node)
        elif kind.startswith("preproc"):
            self.refuse(node, "conditional compilation")
        elif kind == "function_definition":
            self.refuse(node, "a function in a function")
        else:
            self.refuse(node, f"not understood: {self.flat(node)}")

    def _switch(self, body: Node) -> None:
        """A switch may jump over what its own block declares, so nothing there is registered."""
        first = len(self.objects)
        self.statement(body)
        blocks = [body, *(k for k in body.named_children if k.type == "case_statement")]
        ends = {k.end_byte for block in blocks for k in block.children if k.type == "declaration"}
        for found in self.objects[first:]:
            found.skipped |= found.position in ends

    # Expressions

    def _simple(self, node: Node) -> bool:
        """The commonest statement, ``a = b + c;``; False, with nothing done, for all others."""
        parts = node.children
        left = parts[0]
        if len(parts) != 3 or left.type != "identifier":
            return False
        end = node.end_byte
        if _EVENT.search(self.source, parts[2].start_byte, end):
            return False
        name = self.source[left.start_byte : left.end_byte].decode()
        variable = self.variable(name)
        if variable is None or variable.typedef or name in self.macros:
            return False
        type = variable.type
        if type is None or type.kind != "int":
            return False
        sign = "u" if type.wide else "s"
        line = left.start_point[0] + 1
        self.after(end, f', cexec_{sign}({line}, "{name}", {name})')
        return True

    def full(self, node: Node, discard: bool = False) -> None:
        """A full expression: between two of them everything is settled."""
        if _EVENT.search(self.source, node.start_byte, node.end_byte):
            self.expression(node, discard)

    def expression(self, node: Node, discard: bool = False) -> _Effects | None:
        """Instrument what an expression writes; ``discard``: its value is not used."""
        kind = node.type
        if kind == "assignment_expression":
            return self._assignment(node, discard)
        if kind == "update_expression":
            return self._update(node, discard)
        if kind == "call_expression":
            return self._call(node)
        if kind in ("identifier", "field_identifier", *_CONSTANTS):
            return None
        if kind in ("sizeof_expression", "alignof_expression", "offsetof_expression"):
            if _WRITE.search(self.source, node.start_byte, node.end_byte):
                self.refuse(node, "a write that is not evaluated")
            return None
        if kind in ("parenthesized_expression", "comma_expression"):
            total = _Effects()
            for child in node.named_children:
                if child.type == "compound_statement":
                    self.refuse(child, "a statement as an expression")
                if child.type != "comment":
                    last = child == node.named_children[-1]
                    total.add(self._part(child, discard or (kind[0] == "c" and not last)))
            return total
        if kind == "conditional_expression" or (
            kind == "binary_expression" and node.children[1].type in ("&&", "||")
        ):
            total = _Effects()
            for child in node.named_children:
                total.add(self._part(child))
            return total
        if kind in ("generic_expression", "gnu_asm_expression", "extension_expression"):
            self.refuse(node, f"not understood: {self.flat(node)}")
        if kind == "compound_literal_expression":
            self.literal = node
        return self._unsequenced([k for k in node.named_children if k.type != "comment"])

    def _part(self, node: Node, discard: bool = False) -> _Effects | None:
        if _EVENT.search(self.source, node.start_byte, node.end_byte):
            return self.expression(node, discard)
        return None

    def _unsequenced(self, nodes: list[Node], calls: bool = True) -> _Effects:
        """Operands between which C sets no order; ``calls``: two may call functions."""
        total = _Effects()
        found = [(node, self._part(node)) for node in nodes]
        for node, effects in found:
            if effects is None:
                continue
            for other, others in found:
                if other is not node:
                    self._settle(node, effects, other, others)
            if effects.calls and total.calls and not calls:
                self.refuse(node, "two calls without an order between them")
            total.add(effects)
        return total

    def _settle(
        self, node: Node, effects: _Effects, other: Node, others: _Effects | None,
        ordered: bool = False,
    ) -> None:  # fmt: skip
        """Refuse a write whose place in the order, or whose effect on the other side, is open."""
        if not effects.writes:
            return
        both = others is not None and (others.recorded or others.calls)
        if both and effects.recorded and not ordered:
            self.refuse(node, "two writes in one expression without an order between them")
        text, words = self.source[other.start_byte : other.end_byte], self.words(other)
        for name, _ in effects.writes:
            if name.lstrip(".").encode() in words:
                self.refuse(node, f"{name} is written and used without an order between them")
            aliases = _MEMORY if not name else _POINTED if name[0] == "." else None
            if aliases is not None and aliases.search(text):
                self.refuse(node, "a write beside a read of memory without an order between them")
            if others is not None and others.calls and (aliases or self._shared(name)):
                what = name or "memory"
                self.refuse(node, f"{what} is written beside a call without an order between them")

    def _shared(self, name: str) -> bool:
        """Whether a function that is called may see a variable of the one that calls."""
        variable = self.variable(name)
        if variable is None or variable.static:
            return True
        return name in self.addressed()

    def _call(self, node: Node) -> _Effects:
        function = node.child_by_field_name("function")
        arguments = node.child_by_field_name("arguments")
        assert function is not None and arguments is not None
        given = [k for k in arguments.named_children if k.type != "comment"]
        own = True
        operands = given
        if function.type == "identifier":
            name = self.of(function)
            variable = self.variable(name)
            if name in self.macros:
                macro = self.macros[name]
                if macro.parameters is None:
                    self.refuse(node, f"the macro {name} stands for a function")
                own = False
                if _WRITE.search(self.source, arguments.start_byte, arguments.end_byte):
                    self.refuse(node, f"a write in an argument of the macro {name}")
            elif variable is not None and not variable.static and variable.type is not None:
                self.indirect = node
                if (pointed(variable.type) or OTHER).kind != "function":
                    self.refuse(node, f"what {name} writes cannot be seen")
            elif name in self.functions:
                pass
            elif (
                variable is not None and variable.type is not None
                and (pointed(variable.type) or OTHER).kind == "function"
            ):  # fmt: skip
                self.indirect = node
            elif name in HARMLESS:
                own = False
                self._library(node, name, given)
            else:
                self.refuse(node, f"what {name} writes cannot be seen")
        elif self._cast_type(function) is not None:
            own = False  # `(T)(x)`, which looks like a call
        else:
            self.indirect = node
            if (self.type_of(function) or INTS["int"]).kind not in ("function", "pointer"):
                self.refuse(node, f"what {self.flat(function)} writes cannot be seen")
            operands = [function, *given]
        effects = self._unsequenced(operands, calls=False)
        effects.calls += own
        return effects

    def _library(self, node: Node, name: str, given: list[Node]) -> None:
        if name in ("printf", "fprintf"):
            format = given[name == "fprintf"] if len(given) > (name == "fprintf") else None
            if format is None or format.type not in ("string_literal", "concatenated_string"):
                self.refuse(node, f"{name} with a format that is not written out: it may hold %n")
            if _PERCENT_N.search(self.of(format).replace("%%", "")):
                self.refuse(node, f"{name} with %n")
        elif name == "time" and [self.of(k) for k in given] not in (["NULL"], ["0"]):
            self.refuse(node, "time writes what its argument points to")

    def _cast_type(self, node: Node) -> Type | None:
        """The type in parentheses that the parser took for a function."""
        if node.type != "parenthesized_expression" or len(node.named_children) != 1:
            return None
        inner = node.named_children[0]
        if inner.type != "identifier":
            return None
        name = self.of(inner)
        variable = self.variable(name)
        if variable is not None:
            return variable.type if variable.typedef else None
        return named(name)

    def type_of(self, node: Node) -> Type | None:
        """The type of an expression as far as it is known: that of places and pointers is."""
        kind = node.type
        if kind == "identifier":
            variable = self.variable(self.of(node))
            return variable.type if variable is not None and not variable.typedef else None
        if kind == "parenthesized_expression":
            inner = [k for k in node.named_children if k.type != "comment"]
            return self.type_of(inner[0]) if len(inner) == 1 else None
        if kind == "subscript_expression":
            return pointed(self.type_of(_parts(node)[0]))
        if kind == "field_expression":
            owner, step, field = _parts(node)
            held = self.type_of(owner)
            if step.type == "->":
                held = pointed(held)
            return (held.fields or {}).get(self.of(field)) if held is not None else None
        if kind == "pointer_expression":
            argument = node.child_by_field_name("argument")
            assert argument is not None
            held = self.type_of(argument)
            if node.children[0].type == "&":
                return Type("pointer", held)
            return held if held is not None and held.kind == "function" else pointed(held)
        if kind in ("assignment_expression", "update_expression"):
            target = node.child_by_field_name(
                "left" if kind == "assignment_expression" else "argument"
            )
            return self.type_of(target) if target is not None else None
        if kind == "comma_expression":
            right = node.child_by_field_name("right")
            return self.type_of(right) if right is not None else None
        if kind == "conditional_expression":
            for side in ("consequence", "alternative"):
                one = node.child_by_field_name(side)
                found = self.type_of(one) if one is not None else None
                if found is not None and found is not POINTER:
                    return found
            return None
        if kind == "binary_expression" and node.children[1].type in ("+", "-"):
            for one in (node.children[0], node.children[2]):
                found = self.type_of(one)
                if found is not None and found.kind in ("pointer", "array"):
                    return Type("pointer", found.of)
            return None
        if kind == "cast_expression":
            descriptor = node.child_by_field_name("type")
            if descriptor is not None:
                base = self.base(descriptor.child_by_field_name("type"))
                return declarator(base, descriptor.child_by_field_name("declarator"))[1]
        if kind == "call_expression":
            function = node.child_by_field_name("function")
            assert function is not None
            cast = self._cast_type(function)
            if cast is not None:
                return cast
            if function.type == "identifier" and self.of(function) in (
                "malloc", "calloc", "realloc",
            ):  # fmt: skip
                return POINTER
            held = self.type_of(function)
            if held is not None and held.kind == "pointer":
                held = held.of
            return held.of if held is not None and held.kind == "function" else None
        return CHARS if kind in ("string_literal", "concatenated_string") else None

    # Writes

    def place(self, node: Node) -> _Place:
        """The lvalue that an expression is."""
        kind = node.type
        if kind == "identifier":
            name = self.of(node)
            if name in self.macros:
                self.refuse(node, f"a write through the macro {name}")
            variable = self.variable(name)
            if variable is None or variable.typedef:
                self.refuse(node, f"{name} is not declared here")
            return _Place(variable.type, name, True, name)
        if kind == "parenthesized_expression" and len(node.named_children) == 1:
            place = self.place(node.named_children[0])
            if not place.direct:
                place.format = f"({place.format})"
            return place
        if kind == "subscript_expression":
            array_node, _, index, _ = _parts(node)
            place = self._inner(array_node)
            array = place.type is not None and place.type.kind == "array"
            place.direct = place.direct and array
            place.type = pointed(place.type)
            if not place.direct and self.of(index).isdecimal() and self.of(index)[0] != "0":
                place.format += f"[{self.of(index)}]"
            else:
                place.format += "[\1]"
                place.indices.append((index, place.zero if array else ""))
            place.zero += "[0]"
            return place
        if kind == "field_expression":
            held_by, step, field = _parts(node)
            place = self._inner(held_by)
            arrow = step.type == "->"
            if arrow:
                place.type, place.direct = pointed(place.type), False
            held = place.type.fields if place.type is not None else None
            place.type = (held or {}).get(self.of(field))
            text = step.type + self.of(field)
            place.format += text
            place.zero += text
            return place
        if kind == "pointer_expression" and node.children[0].type == "*":
            argument = node.child_by_field_name("argument")
            assert argument is not None
            place = self._inner(argument)
            place.type, place.direct = pointed(place.type), False
            place.format, place.zero = f"*{place.format}", f"*{place.zero}"
            return place
        self.refuse(node, f"a write to {self.flat(node)}")

    def _inner(self, node: Node) -> _Place:
        """What a place is computed from: itself a place, or any expression of a known type."""
        held = node
        while held.type == "parenthesized_expression" and len(held.named_children) == 1:
            held = held.named_children[0]
        if held.type in ("identifier", "subscript_expression", "field_expression") or (
            held.type == "pointer_expression" and held.children[0].type == "*"
        ):
            return self.place(node)
        text = _BLANK.sub("", self.again(held))
        if held.type == "update_expression":
            text = text.replace("++", "").replace("--", "").strip()
        elif held.type not in ("call_expression",):
            text = f"({text})"
        return _Place(self.type_of(held), text, False, "")

    def _assignment(self, node: Node, discard: bool) -> _Effects:
        left, sign, right = _parts(node)
        operator = sign.type
        place = self.place(left)
        effects = _Effects()
        inner = None if left.type == "identifier" else self._part(left)
        outer = self._part(right)
        root = place.format if place.format == place.root else ""
        for one in (inner, outer):
            if one is not None:
                if root and any(name == root for name, _ in one.writes):
                    self.refuse(node, f"{root} is written twice in one expression")
                effects.add(one)
        recorded = self._recorded(left, place)
        if inner is not None:
            self._settle(left, inner, right, outer, ordered=True)
            if inner.calls and outer is not None and outer.calls:
                self.refuse(node, "two calls without an order between them")
        if outer is not None and outer.writes and not root:
            self._settle_place(right, outer, left)
        if outer is not None and outer.calls and recorded and not root:
            self._settle_call(left)
            if operator != "=":
                self.refuse(left, f"{self.flat(left)} is read beside a call that may write it")
        if recorded:
            simple = root and not place.indices
            if simple or (discard and outer is None and inner is None and self._plain(place)):
                self._cheap(node, left, place, discard)
            else:
                self._careful(node, left, place, discard, operator)
        effects.writes.append((root or _field(left), recorded))
        return effects

    def _settle_place(self, right: Node, outer: _Effects, left: Node) -> None:
        """The right side writes: the place on the left must not depend on what it writes."""
        words = self.words(left)
        for name, recorded in outer.writes:
            if name.lstrip(".").encode() in words:
                self.refuse(right, f"{name} is written and used without an order between them")
            if recorded and None in self._read_by(left):
                self.refuse(right, "a write beside a read of memory without an order between them")

    def _settle_call(self, left: Node) -> None:
        """The right side calls a function: the place on the left must not depend on what it did."""
        for word in self._read_by(left):
            if word is None or self._shared(word):
                what = word or "memory"
                self.refuse(left, f"{what} is read beside a call without an order between them")

    def _read_by(self, node: Node) -> list[str | None]:
        """The variables whose values the address of a place needs; None stands for memory."""
        kind = node.type
        if kind == "identifier":
            variable = self.variable(self.of(node))
            if variable is None or variable.type is None:
                return [self.of(node)] if self.of(node) not in self.macros else []
            fixed = variable.type.kind in ("array", "struct", "function") or variable.constant
            return [] if fixed else [self.of(node)]
        found: list[str | None] = []
        if kind == "parenthesized_expression" and len(node.named_children) == 1:
            return self._read_by(node.named_children[0])
        if kind == "field_expression":
            argument = node.child_by_field_name("argument")
            assert argument is not None
            found += self._read_by(argument)
            arrow = b"->" in self.source[argument.end_byte : node.end_byte]
            if arrow and argument.type != "identifier":
                found.append(None)
            return found
        if kind in ("subscript_expression", "pointer_expression"):
            for child in node.named_children:
                found += self._read_by(child)
                # The value of a place is read, unless that place is an array.
                if child.type in ("subscript_expression", "field_expression",
                                  "pointer_expression"):  # fmt: skip
                    held = self.type_of(child)
                    if held is None or held.kind != "array":
                        found.append(None)
            return found
        for child in node.named_children:
            found += self._read_by(child)
            if child.type in ("subscript_expression", "field_expression", "pointer_expression"):
                held = self.type_of(child)
                if held is None or held.kind != "array":
                    found.append(None)
        return found

    def _update(self, node: Node, discard: bool) -> _Effects:
        target = node.child_by_field_name("argument")
        assert target is not None
        place = self.place(target)
        root = place.format if place.format == place.root else ""
        effects = _Effects()
        inner = None if root else self._part(target)
        effects.add(inner)
        recorded = self._recorded(target, place)
        if recorded:
            sign = self.of(node.child_by_field_name("operator") or node)
            before = node.children[0].type == sign
            if discard and inner is None and (root or self._plain(place)):
                self._cheap(node, target, place, True)
            elif root and before:
                self._cheap(node, target, place, False)
            elif root:
                self._old_value(node, target, root, place.type)
            else:
                self._careful(node, target, place, discard, sign, before)
        effects.writes.append((root or _field(target), recorded))
        return effects

    def _old_value(self, node: Node, target: Node, name: str, type: Type | None) -> None:
        """``k--`` as a value: a copy of the old one, which may be that of a register."""
        old = f"cexec_o{self.number()}"
        report = self.report(target, target.start_point[0] + 1, name, type)
        self.before(node.start_byte, f"({{ __typeof__({name}) {old} = ")
        self.after(node.end_byte, f"; {report}; {old}; }})")

    def _recorded(self, node: Node, place: _Place) -> bool:
        type = place.type
        if type is None:
            self.refuse(node, f"the type of {self.flat(node)} is not known here")
        if type.kind in ("array", "function"):
            self.refuse(node, f"{self.flat(node)} cannot be assigned")
        if type.kind == "int" or type.kind == "struct":
            if not place.direct:
                self.pointers = True
            return True
        return False

    def _plain(self, place: _Place) -> bool:
        """Whether a place can be named again after the write: it cannot have moved."""
        if not place.direct or place.type is None or place.type.kind != "int":
            return False
        for index, _ in place.indices:
            text = self.of(index)
            if not _PLAIN_INDEX.fullmatch(text):
                return False
            for word in _WORD.findall(text.encode()):
                name = word.decode()
                macro = self.macros.get(name)
                variable = self.variable(name)
                if macro is not None:
                    if not macro.number:
                        return False
                elif variable is None or variable.type is None or variable.type.kind != "int":
                    return False
        return True

    def _cheap(self, node: Node, left: Node, place: _Place, discard: bool) -> None:
        """A comma and a report behind the write."""
        assert place.type is not None
        line = left.start_point[0] + 1
        text = self.again(left)
        if not place.indices:
            if place.type.kind == "struct" and place.format == place.root:
                report = self.report(left, line, place.root, place.type)
            elif place.type.kind == "int":
                sign = "u" if place.type.wide else "s"
                report = f'cexec_{sign}({line}, "{place.format}", {text})'
            else:
                kind = self.description(left, place.type)
                report = f'cexec_n({line}, "{place.format}", &({text}), {kind})'
        elif len(place.indices) == 1 and place.format[-3:] == "[\1]" and not place.type.wide:
            index, array = place.indices[0]
            report = (
                f'cexec_e({line}, "{place.format[:-3]}", {self.again(index)}, '
                f"sizeof({array}) / sizeof({array}[0]), {text})"
            )
        else:
            values = "".join(
                f", (long)({self.again(index)}), sizeof({array}) / sizeof({array}[0])"
                for index, array in place.indices
            )
            kind = self.description(left, place.type)
            report = f"cexec_n({line}, {_quoted(place.format)}, &({text}), {kind}{values})"
        if discard:
            self.after(node.end_byte, f", {report}")
        else:
            self.before(node.start_byte, "(")
            self.after(node.end_byte, f", {report}, {text})")

    def _careful(
        self, node: Node, left: Node, place: _Place, discard: bool, sign: str, before: bool = False
    ) -> None:
        """The place computed once, then written, reported, and given as the value."""
        assert place.type is not None
        n = self.number()
        line = left.start_point[0] + 1
        own = f"(*cexec_p{n})"
        values = names = ""
        for k, (index, array) in enumerate(place.indices):
            names += f"long cexec_i{n}_{k}; "
            # Unsigned indices do not go below 0, whatever long makes of them.
            self.before(index.start_byte, f"cexec_i{n}_{k} = (")
            self.after(index.end_byte, ")")
            values += f", cexec_i{n}_{k}"
            if place.direct:
                values += f", sizeof({array}) / sizeof({array}[0])"
        kind = self.description(left, place.type)
        if place.type.kind == "struct" and place.format[0] == "*":
            place.format = f"({place.format})"
        call = "cexec_n" if place.direct else "cexec_p"
        report = f"{call}({line}, {_quoted(place.format)}, cexec_p{n}, {kind}{values});"
        raw = self.again(left)
        head = f"({{ {names}__typeof__({raw}) *cexec_p{n} = &("
        if before:
            operator = node.children[0]
            self.before(operator.start_byte, head, cut=operator.end_byte - operator.start_byte)
            self.after(left.end_byte, f"); {sign}{own}; {report}" + ("" if discard else f" {own};"))
            self.after(node.end_byte, " })")
        elif sign in ("++", "--"):
            self.before(node.start_byte, head)
            if discard:
                self.after(left.end_byte, f"); {own}")
                self.after(node.end_byte, f"; {report} }})")
            else:
                self.after(left.end_byte, f"); __typeof__({raw}) cexec_o{n} = {own}")
                self.after(node.end_byte, f"; {report} cexec_o{n}; }})")
        else:
            self.before(node.start_byte, head)
            self.after(left.end_byte, f"); {own}")
            self.after(node.end_byte, f"; {report}" + (" })" if discard else f" {own}; }})"))

    # Objects that pointers may lead to

    def _register(self) -> None:
        if self.literal is not None:
            self.refuse(
                self.literal, "a compound literal in a program that writes through pointers"
            )
        entered = set()
        for found in self.objects:
            name, type, function = found.name, found.type, found.function
            if not self._reachable(name, type):
                continue
            if function in self.jumps or found.skipped:
                how = "a label" if function in self.jumps else "the block of a switch"
                at = self.jumps.get(function, found.node)
                self.refuse(at, f"{how} in a function whose {name} pointers may lead to")
            whole = self.whole(found.node, name, OTHER if _opaque(type) else type, needed=False)
            if found.static:
                self.after(found.position, f"cexec_rs({whole});", rank=0)
                continue
            if function not in entered:
                entered.add(function)
                self.after(function, "cexec_enter(__builtin_frame_address(0));", rank=0)
            call = f"cexec_r(__builtin_frame_address(0), {whole})"
            if not found.between:
                rank = 1 if found.position == function else 0
                self.after(found.position, f"{call};", rank)
            elif found.number:
                self.after(found.position, f", cexec_v{self.number()} = ({call}, 0)", rank=0)
            elif not _opaque(type):
                self.refuse(
                    found.node, f"{name} is declared among others and pointers may lead to it"
                )

    def addressed(self) -> set[str]:
        """The names behind an & sign, and perhaps more."""
        if self._addressed is None:
            commented = b"//" in self.source or b"/*" in self.source
            text = self._code() if commented else self.source
            self._addressed = {found.decode() for found in _ADDRESS.findall(text)}
        return self._addressed

    def _reachable(self, name: str, type: Type | None) -> bool:
        return name in self.addressed() or (type is not None and type.kind in ("array", "struct"))

    def _globals(self) -> None:
        lines = []
        if self.pointers:
            for name, type in dict(self.globals).items():
                if self._reachable(name, type):
                    kind = OTHER if _opaque(type) else type
                    lines.append(f"cexec_rs({self.whole(1, name, kind, needed=False)});")
        begin = "cexec_begin();"
        if lines:
            begin = f"void cexec_globals(void); cexec_globals(); {begin}"
            end = len(self.source)
            newline = "" if self.source.endswith(b"\n") else "\n"
            body = " ".join(lines)
            self.after(end, f"{newline}void cexec_globals(void) {{ {body} }}\n", rank=9)
        self.after(self.main, begin, rank=-1)


def _moved(found: re.Match[bytes]) -> bytes:
    """The blanks at the end of an #include, which the parser does not take, moved inside."""
    return found[1] + found[3].replace(b"\r", b" ") + found[2]


def _field(node: Node) -> str:
    """ ".x" for the place of a field x, "" for another."""
    if node.type != "field_expression":
        return ""
    return "." + (node.children[-1].text or b"").decode()


def _opaque(type: Type | None) -> bool:
    return type is None or type.kind in ("pointer", "other")


def _parts(node: Node) -> list[Node]:
    return [child for child in node.children if child.type != "comment"]


def _quoted(format: str) -> str:
    return '"' + format.replace("\\", "\\\\").replace('"', '\\"').replace("\1", "\\001") + '"'


def _first_error(node: Node) -> Node:
    while True:
        for child in node.children:
            if child.is_error or child.is_missing:
                return child
            if child.has_error:
                node = child
                break
        else:
            return node
