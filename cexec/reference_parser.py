"""The parser of the reference interpreter: C text to a tree, by recursive descent (C11, annex A).

It knows a subset of C and refuses the rest with its line. A tree of plain nodes comes out; what the
nodes mean is ``cexec.reference``'s business.
"""

from __future__ import annotations

import re
from string import ascii_letters
from typing import NamedTuple, NoReturn

from cexec.reference_values import Undefined
from lego.task import SettingError

_TOKEN = re.compile(
    r"[A-Za-z_]\w*|\d\w*|'(?:[^'\\\n]|\\.)'|\"(?:[^\"\\\n]|\\.)*\"|>>=|<<=|->|\+\+|--|<<|>>"
    r"|[<>=!+*/%&|^-]=|&&|\|\||\S",
    re.ASCII,
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_LEVELS = ["||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %"]
_PRECEDENCE = {sign: k for k, signs in enumerate(_LEVELS, start=1) for sign in signs.split()}
_ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
_UNARY = {"-", "+", "~", "!", "*", "&"}
_TYPES = {"int", "unsigned", "signed", "void", "struct", "char", "const"}
_OTHERS = set(  # the rest of 6.4.1; none of them is a name
    re.findall(
        r"\w+",
        "auto break case continue default do double else enum extern float for goto if inline "
        "long register restrict return short sizeof static switch typedef union volatile while",
    )
)
_KEYWORDS = _TYPES | _OTHERS
_LEAVES = dict.fromkeys("0123456789", "number") | dict.fromkeys(ascii_letters + "_", "name")
_AFTER = {*_PRECEDENCE, *_ASSIGNMENTS, "?", ":", ";", ",", ")", "]", "}"}  # what ends an operand
_SPELLED = {
    "int": "int",
    "signed": "int",
    "int signed": "int",
    "unsigned": "unsigned",
    "int unsigned": "unsigned",
    "char unsigned": "unsigned char",
    "void": "void",
}


class Node(NamedTuple):
    """A node: what it is, its line (from 1), a name, number or operator, and its parts.

    Expressions: name, number, index, field, call, unary, binary, logic (&& ||), choice (?:), cast,
    assign, before and after (++ --), list (an initialiser). Statements: block, expression, declare,
    if, while, do, for, break, continue, return. Types: base, struct, pointer, array. A variable's
    parts are its type and, where it has one, its initialiser; a function's are its return type, a
    list of its parameters and, unless it is a prototype, its body.
    """

    kind: str
    line: int
    text: str
    parts: tuple[Node, ...] = ()


_END = "(end of text)"


def refuse(line: int, found: str, allowed: str) -> NoReturn:
    raise SettingError(f"line {line}={found!r}: allowed {allowed}")


def parse(source: str) -> list[Node]:
    """The structs and functions of a C text, in order. Raises SettingError for what it refuses."""
    return Parser(source).program()


class Parser:
    def __init__(self, source: str) -> None:
        self.tokens: list[str] = []
        self.lines: list[int] = []
        self.at = 0
        self.effects = 0  # calls and side effects seen so far
        self.mixed: list[Node] = []  # full expressions with side effects inside
        self.addressed: set[str] = set()  # names whose address is taken
        self.sharing: set[str] = set()  # functions that write what others see
        if "/*" in source or "//" in source:
            source = _COMMENT.sub(_blanked, source)
        included = False
        for number, line in enumerate(source.split("\n"), start=1):
            if line.lstrip().startswith("#"):
                if line.split() not in (["#include", "<stdio.h>"], ["#", "include", "<stdio.h>"]):
                    refuse(number, line.strip(), "#include <stdio.h>")
                included = True
                continue
            found = _TOKEN.findall(line)
            self.tokens += found
            self.lines += [number] * len(found)
        if not included:
            refuse(1, source.split("\n")[0], "#include <stdio.h> somewhere")
        # Three, as the parser looks two tokens ahead.
        self.tokens += [_END] * 3
        self.lines += [self.lines[-1] if self.lines else 1] * 3

    # Tokens.

    def fail(self, allowed: str) -> NoReturn:
        refuse(self.lines[self.at], self.tokens[self.at], allowed)

    def take(self, token: str) -> None:
        if self.tokens[self.at] != token:
            self.fail(repr(token))
        self.at += 1

    def name(self) -> str:
        token = self.tokens[self.at]
        if _LEAVES.get(token[0]) != "name" or token in _KEYWORDS:
            self.fail("a name here")
        self.at += 1
        return token

    # Declarations (6.7, 6.9).

    def program(self) -> list[Node]:
        found = []
        while self.tokens[self.at] != _END:
            while self.tokens[self.at] in ("static", "inline"):
                self.at += 1
            if self.tokens[self.at] == "struct" and self.tokens[self.at + 2] == "{":
                found.append(self.struct())
            else:
                found.append(self.function())
        for node in self.mixed:
            self.touched(node)
        return found

    def struct(self) -> Node:
        line = self.lines[self.at]
        self.at += 1
        name, fields = self.name(), list[Node]()
        self.take("{")
        while self.tokens[self.at] != "}":
            fields += self.declarators(initialised=False)
        self.at += 1
        self.take(";")
        return Node("struct", line, name, tuple(fields))

    def function(self) -> Node:
        kind = self.stars(self.base())
        name = self.name()
        self.take("(")
        parameters: list[Node] = []
        if self.tokens[self.at] == "void" and self.tokens[self.at + 1] == ")":
            self.at += 1
        elif self.tokens[self.at] != ")":
            parameters.append(self.parameter())
            while self.tokens[self.at] == ",":
                self.at += 1
                parameters.append(self.parameter())
        self.take(")")
        if any(parameter.parts[0].kind == "pointer" for parameter in parameters):
            self.sharing.add(name)
        line = self.lines[self.at]
        head = (kind, Node("list", line, "", tuple(parameters)))
        if self.tokens[self.at] == ";":
            self.at += 1
            return Node("function", line, name, head)
        if self.tokens[self.at] != "{":
            self.fail("functions and structs outside of functions")
        return Node("function", line, name, (*head, self.block()))

    def parameter(self) -> Node:
        kind = self.stars(self.base())
        line = self.lines[self.at]
        name = "" if self.tokens[self.at] in ",)" else self.name()
        if self.tokens[self.at] == "[":  # 6.7.6.3p7: an array parameter is a pointer
            self.at += 1
            if self.tokens[self.at] != "]":
                self.expression()
            self.take("]")
            kind = Node("pointer", line, "", (kind,))
        return Node("variable", line, name, (kind,))

    def base(self) -> Node:
        """Type specifiers (6.7.2), with const, which a program that compiles can do without."""
        line, words = self.lines[self.at], list[str]()
        while self.tokens[self.at] in _TYPES:
            token = self.tokens[self.at]
            self.at += 1
            if token == "struct":
                words.append(f"struct {self.name()}")
            elif token != "const":
                words.append(token)
        spelled = " ".join(sorted(words))
        if len(words) == 1 and spelled.startswith("struct "):
            return Node("base", line, spelled)
        if spelled not in _SPELLED:
            found = spelled or self.tokens[self.at]
            refuse(line, found, "the types int, unsigned, unsigned char, struct ...")
        return Node("base", line, _SPELLED[spelled])

    def stars(self, kind: Node) -> Node:
        while self.tokens[self.at] in ("*", "const"):
            if self.tokens[self.at] == "*":
                kind = Node("pointer", self.lines[self.at], "", (kind,))
            self.at += 1
        return kind

    def declarators(self, initialised: bool) -> list[Node]:
        base, found = self.base(), list[Node]()
        while True:
            kind, line = self.stars(base), self.lines[self.at]
            name = self.name()
            if self.tokens[self.at] == "[":
                self.at += 1
                # 6.7.9p22: without a size, the initialiser gives it.
                size = () if self.tokens[self.at] == "]" else (self.expression(),)
                self.take("]")
                kind = Node("array", line, "", (kind, *size))
            if initialised and self.tokens[self.at] == "=":
                self.at += 1
                start, value = self.at, self.initialiser()
                if value.kind == "list" and name in self.tokens[start : self.at]:
                    refuse(line, name, "initialisers that do not read what they initialise")
                found.append(Node("variable", line, name, (kind, value)))
            else:
                found.append(Node("variable", line, name, (kind,)))
            if self.tokens[self.at] != ",":
                self.take(";")
                return found
            self.at += 1

    def initialiser(self) -> Node:
        if self.tokens[self.at] != "{":
            return self.full()
        line, items, before = self.lines[self.at], list[Node](), self.effects
        self.at += 1
        while self.tokens[self.at] != "}":
            item = self.initialiser if self.tokens[self.at] == "{" else self.expression
            items.append(item())
            if self.tokens[self.at] == ",":
                self.at += 1
            elif self.tokens[self.at] != "}":
                self.fail("',' or '}'")
        self.at += 1
        node = Node("list", line, "", tuple(items))
        if self.effects > before:
            self.mixed.append(node)  # 6.7.9p23: its items are in no order either
        return node

    # Statements (6.8).

    def block(self) -> Node:
        line, found = self.lines[self.at], list[Node]()
        self.take("{")
        while self.tokens[self.at] != "}":
            found.append(self.statement(declares=True))
        self.at += 1
        return Node("block", line, "", tuple(found))

    def statement(self, declares: bool = False) -> Node:
        token, line = self.tokens[self.at], self.lines[self.at]
        if token == "{":
            return self.block()
        if token in _TYPES and declares:
            return Node("declare", line, "", tuple(self.declarators(initialised=True)))
        if token in _STATEMENTS:
            self.at += 1
            return _STATEMENTS[token](self, line)
        if token == ";":
            self.at += 1
            return Node("block", line, "")
        node = Node("expression", line, "", (self.full(),))
        self.take(";")
        return node

    def condition(self) -> Node:
        self.take("(")
        node = self.full()
        self.take(")")
        return node

    def _if(self, line: int) -> Node:
        condition, held = self.condition(), self.statement()
        if self.tokens[self.at] != "else":
            return Node("if", line, "", (condition, held))
        self.at += 1
        return Node("if", line, "", (condition, held, self.statement()))

    def _while(self, line: int) -> Node:
        return Node("while", line, "", (self.condition(), self.statement()))

    def _do(self, line: int) -> Node:
        body = self.statement()
        self.take("while")
        condition = self.condition()
        self.take(";")
        return Node("do", line, "", (condition, body))

    def _for(self, line: int) -> Node:
        self.take("(")
        if self.tokens[self.at] == "{" or self.tokens[self.at] in _STATEMENTS:
            self.fail("a declaration or an expression")
        first = self.statement(declares=True)
        condition = Node("number", line, "1")  # 6.8.5.3p2
        if self.tokens[self.at] != ";":
            condition = self.full()
        self.take(";")
        last = Node("block", line, "")
        if self.tokens[self.at] != ")":
            last = Node("expression", self.lines[self.at], "", (self.full(),))
        self.take(")")
        return Node("for", line, "", (first, condition, last, self.statement()))

    def _jump(self, line: int) -> Node:
        kind = self.tokens[self.at - 1]
        self.take(";")
        return Node(kind, line, kind)

    def _return(self, line: int) -> Node:
        parts = () if self.tokens[self.at] == ";" else (self.full(),)
        self.take(";")
        return Node("return", line, "return", parts)

    # Expressions (6.5).

    def full(self) -> Node:
        """A full expression (6.8p4), noted if it has a side effect anywhere but at its root."""
        before = self.effects
        node = self.expression()
        root = node.kind in ("assign", "before", "after", "call")
        if self.effects - before > root:
            self.mixed.append(node)
        return node

    def expression(self) -> Node:
        """An assignment-expression (6.5.16); there is no comma operator."""
        left = self.conditional()
        token = self.tokens[self.at]
        if token not in _ASSIGNMENTS:
            return left
        if left.kind not in ("name", "index", "field", "unary"):
            self.fail("assignments to an lvalue")
        self.at += 1
        self.effects += 1
        return Node("assign", left.line, token, (left, self.expression()))

    def conditional(self) -> Node:
        left = self.binary(1)
        if self.tokens[self.at] != "?":
            return left
        line = self.lines[self.at]
        self.at += 1
        held = self.expression()
        self.take(":")
        return Node("choice", line, "?:", (left, held, self.conditional()))

    def binary(self, level: int) -> Node:
        left = self.unary()
        while True:
            token = self.tokens[self.at]
            own = _PRECEDENCE.get(token, 0)
            if own < level or own == 0:
                return left
            line = self.lines[self.at]
            self.at += 1
            right = self.binary(own + 1)
            left = Node("binary" if own > 2 else "logic", line, token, (left, right))

    def unary(self) -> Node:
        token, line = self.tokens[self.at], self.lines[self.at]
        leaf = _LEAVES.get(token[0])
        if leaf and self.tokens[self.at + 1] in _AFTER and token not in _KEYWORDS:
            self.at += 1  # most operands; the way through postfix() would find the same
            return Node(leaf, line, token)
        if token in _UNARY:
            self.at += 1
            operand = self.unary()
            if token == "&":
                self.addressed.add(_rooted(operand))
            return Node("unary", line, token, (operand,))
        if token in ("++", "--"):
            self.at += 1
            self.effects += 1
            operand = self.unary()
            return Node("before", operand.line, token[0], (operand,))
        if token == "(" and self.tokens[self.at + 1] in _TYPES:
            self.at += 1
            kind = self.stars(self.base())
            self.take(")")
            return Node("cast", line, "", (kind, self.unary()))
        return self.postfix()

    def postfix(self) -> Node:
        token, line = self.tokens[self.at], self.lines[self.at]
        first = token[0]
        if first.isdigit() or first == "'":
            self.at += 1
            node = Node("number", line, token)
        elif token == "(":
            self.at += 1
            node = self.expression()
            self.take(")")
        elif first == '"':
            self.at += 1
            node = Node("string", line, token)
        else:
            node = Node("name", line, self.name())
        while True:
            token = self.tokens[self.at]
            if token == "[":
                self.at += 1
                node = Node("index", node.line, "", (node, self.expression()))
                self.take("]")
            elif token == "(" and node.kind == "name":
                node = Node("call", line, node.text, self.arguments())
            elif token in (".", "->"):
                self.at += 1
                if token == "->":  # 6.5.2.3: p->x is (*p).x
                    node = Node("unary", node.line, "*", (node,))
                node = Node("field", node.line, self.name(), (node,))
            elif token in ("++", "--"):
                self.at += 1
                self.effects += 1
                node = Node("after", node.line, token[0], (node,))
            else:
                return node

    def arguments(self) -> tuple[Node, ...]:
        self.at += 1
        self.effects += 1
        found: list[Node] = []
        while self.tokens[self.at] != ")":
            found.append(self.expression())
            if self.tokens[self.at] != ",":
                break
            self.at += 1
        self.take(")")
        return tuple(found)

    # Order (6.5p2): side effects that are unsequenced with another use of the object.

    def touched(self, node: Node, stored: bool = False) -> _Uses:
        """What an expression uses. Raises Undefined where the order of evaluation would matter.

        ``stored``: it is the left side of =, whose own object is not read. Objects that may have
        more than one name all count as one, called ``*``.
        """
        parts = node.parts[1:] if node.kind == "cast" else node.parts
        effect = node.kind in ("assign", "before", "after")
        uses = [self.touched(part, effect and node.text == "=" and k == 0)
                for k, part in enumerate(parts)]  # fmt: skip
        reads = {name for use in uses for name in use.reads}
        writes = {name for use in uses for name in use.writes}
        if node.kind not in ("logic", "choice"):  # 6.5.13p4, 6.5.14p4, 6.5.15p4
            for k, use in enumerate(uses):
                others = {n for other in uses[:k] + uses[k + 1 :] for n in other.reads}
                others |= {n for other in uses[:k] + uses[k + 1 :] for n in other.writes}
                if use.writes & others:
                    name = min(use.writes & others)
                    raise Undefined("order", node.line, f"{name} read and changed in no order")
        if node.kind == "name":
            own = "*" if node.text in self.addressed else node.text
            reads = set() if stored else {own}
        elif node.kind in ("index", "field") or (node.kind, node.text) == ("unary", "*"):
            reads = reads if stored else reads | {"*"}
        elif node.kind == "call" and node.text in self.sharing:
            reads, writes = reads | {"*"}, writes | {"*"}
        elif effect:
            target = parts[0]
            own = target.text if target.kind == "name" else "*"
            own = "*" if own in self.addressed else own
            # A called function is over before the store; a side effect of this kind is not.
            if (own if own != "*" else "* directly") in writes:
                raise Undefined("order", node.line, f"{target.text} changed twice in no order")
            writes = writes | {own} | ({"* directly"} if own == "*" else set())
        return _Uses(frozenset(reads), frozenset(writes))


class _Uses(NamedTuple):
    reads: frozenset[str]
    writes: frozenset[str]


def _rooted(node: Node) -> str:
    while node.kind in ("index", "field"):
        node = node.parts[0]
    return node.text


def _blanked(match: re.Match[str]) -> str:
    """A comment is one space (5.1.1.2p3); its ends of line stay, and a string is none."""
    found = match[0]
    return found if found[0] == '"' else " " + "\n" * found.count("\n")


_STATEMENTS = {
    "if": Parser._if,
    "while": Parser._while,
    "do": Parser._do,
    "for": Parser._for,
    "break": Parser._jump,
    "continue": Parser._jump,
    "return": Parser._return,
}
