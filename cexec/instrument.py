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
from functools import cache
from importlib.resources import files

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from cexec.declared import Scope, Type, Variable, declarator, elements
from cexec.instrument_text import WORD, WRITE, Object, Untraceable
from cexec.instrument_writes import EVENT, Writes
from cexec.macros import WRITING

__all__ = ["RUNTIME", "Untraceable", "instrument"]

RUNTIME = files("cexec").joinpath("runtime.c").read_text()
TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|^[ \t]*#[ \t]*include[^\n]*'
    r"|\.?\d[\w.]*|([A-Za-z_]\w*)",
    re.S | re.M,
)
DIRECTIVE_END = re.compile(rb"^([ \t]*#[ \t]*include)([^\n]*?)([ \t\r]+)$", re.M)
SKIPPED = frozenset(
    ("comment", "break_statement", "continue_statement", "goto_statement", "statement_identifier")
)


@cache
def parser() -> Parser:
    return Parser(Language(tree_sitter_c.language()))


def instrument(source: str, file: str = "program.c", suffix: str = "") -> str:
    """The text of a C program with reports inserted; every token stays on its line.

    It compiles behind ``RUNTIME`` (``#line 1`` between them), without optimisation. ``suffix`` is
    put behind every name of file scope, so that many programs can share one file; ``main`` is
    renamed too. Raises Untraceable (``FILE:LINE: reason``) for what cannot be traced for certain.
    """
    return Program(source, file, suffix).text()


class Program(Writes):
    """Declarations and statements; ``text`` is the instrumented program."""

    def text(self) -> str:
        root = parser().parse(DIRECTIVE_END.sub(moved, self.source)).root_node
        words = set(WORD.findall(self.source))
        self._look_for_words(words)
        if root.has_error:
            self.refuse(first_error(root), "not understood as C")
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

        return TOKEN.sub(rename, text)

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
            self.objects.append(Object(parameter, start, called, type, start))
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
                found = Object(child, place, name, type, self.function, static, between, number)
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
        return EVENT.search(self.source, node.start_byte, node.end_byte) is not None

    def eventless(self, node: Node) -> None:
        """A place where nothing may be written: the size of an array."""
        if node.type != "identifier" and WRITE.search(self.source, node.start_byte, node.end_byte):
            self.refuse(node, "a write in a declarator")

    def statement(self, node: Node) -> None:
        kind = node.type
        if kind == "expression_statement":
            for child in node.named_children:
                if child.type != "assignment_expression":
                    self.full(child, discard=True)
                elif not self._simple(child):
                    self.expression(child, discard=True)
        elif kind in SKIPPED:
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


def moved(found: re.Match[bytes]) -> bytes:
    """The blanks at the end of an #include, which the parser does not take, moved inside."""
    return found[1] + found[3].replace(b"\r", b" ") + found[2]


def first_error(node: Node) -> Node:
    while True:
        for child in node.children:
            if child.is_error or child.is_missing:
                return child
            if child.has_error:
                node = child
                break
        else:
            return node
