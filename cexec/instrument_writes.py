"""Writes, wherever they stand in an expression, and the order between them."""

from __future__ import annotations

import re

from tree_sitter import Node

from cexec.declared import INTS, OTHER, Type, pointed
from cexec.instrument_reports import Reports, quoted
from cexec.instrument_text import WORD, WRITE
from cexec.instrument_types import parts_of
from cexec.macros import HARMLESS

# An expression that holds none of these writes nothing and calls nothing.
EVENT = re.compile(rb"\+\+|--|(?<![=!<>])=(?!=)|<<=|>>=|[\w)\]]\s*\(|[()]\s*\{|asm|//|/\*")
MEMORY = re.compile(rb"[\[.*]|->")
POINTED = re.compile(rb"[\[*]")
PLAIN_INDEX = re.compile(r"[\w\s()+*%/-]+")
PERCENT_N = re.compile(r"%[-+ #0-9.*'hlqjztL]*n")
BLANK = re.compile(r"(?<!\w) | (?!\w)")  # blanks that no two words need
CONSTANTS = ("number_literal", "char_literal", "true", "false", "null", "string_literal")


class Effects:
    """What evaluating an expression does besides giving a value.

    ``writes``: (name of the variable, ".x" for a field x, or "" for another place; whether it is
    recorded);
    ``calls``: how many calls of the program's own functions.
    """

    __slots__ = ("calls", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[str, bool]] = []
        self.calls = 0

    def add(self, other: Effects | None) -> None:
        if other is not None:
            self.writes += other.writes
            self.calls += other.calls

    @property
    def recorded(self) -> bool:
        return any(recorded for _, recorded in self.writes)


class Place:
    """An lvalue: its type, the format of its name, the index expressions in it.

    ``direct``: it lies in the variable ``root`` for certain. ``indices``: (node, array's text) for
    each ``\\1`` in the format; the text is what sizeof is asked about, "" behind a pointer.
    """

    __slots__ = ("direct", "format", "indices", "root", "type", "zero")

    def __init__(self, type: Type | None, format: str, direct: bool, root: str) -> None:
        self.type, self.format, self.direct, self.root = type, format, direct, root
        self.zero = format  # the same place with every index 0, for sizeof
        self.indices: list[tuple[Node, str]] = []


class Writes(Reports):
    """Every write of an expression gets its report, in an order that is certain."""

    def _simple(self, node: Node) -> bool:
        """The commonest statement, ``a = b + c;``; False, with nothing done, for all others."""
        parts = node.children
        left = parts[0]
        if len(parts) != 3 or left.type != "identifier":
            return False
        end = node.end_byte
        if EVENT.search(self.source, parts[2].start_byte, end):
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
        if EVENT.search(self.source, node.start_byte, node.end_byte):
            self.expression(node, discard)

    def expression(self, node: Node, discard: bool = False) -> Effects | None:
        """Instrument what an expression writes; ``discard``: its value is not used."""
        kind = node.type
        if kind == "assignment_expression":
            return self._assignment(node, discard)
        if kind == "update_expression":
            return self._update(node, discard)
        if kind == "call_expression":
            return self._call(node)
        if kind in ("identifier", "field_identifier", *CONSTANTS):
            return None
        if kind in ("sizeof_expression", "alignof_expression", "offsetof_expression"):
            if WRITE.search(self.source, node.start_byte, node.end_byte):
                self.refuse(node, "a write that is not evaluated")
            return None
        if kind in ("parenthesized_expression", "comma_expression"):
            total = Effects()
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
            total = Effects()
            for child in node.named_children:
                total.add(self._part(child))
            return total
        if kind in ("generic_expression", "gnu_asm_expression", "extension_expression"):
            self.refuse(node, f"not understood: {self.flat(node)}")
        if kind == "compound_literal_expression":
            self.literal = node
        return self._unsequenced([k for k in node.named_children if k.type != "comment"])

    def _part(self, node: Node, discard: bool = False) -> Effects | None:
        if EVENT.search(self.source, node.start_byte, node.end_byte):
            return self.expression(node, discard)
        return None

    def _unsequenced(self, nodes: list[Node], calls: bool = True) -> Effects:
        """Operands between which C sets no order; ``calls``: two may call functions."""
        total = Effects()
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
        self, node: Node, effects: Effects, other: Node, others: Effects | None,
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
            aliases = MEMORY if not name else POINTED if name[0] == "." else None
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

    def _call(self, node: Node) -> Effects:
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
                if WRITE.search(self.source, arguments.start_byte, arguments.end_byte):
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
            if PERCENT_N.search(self.of(format).replace("%%", "")):
                self.refuse(node, f"{name} with %n")
        elif name == "time" and [self.of(k) for k in given] not in (["NULL"], ["0"]):
            self.refuse(node, "time writes what its argument points to")

    def place(self, node: Node) -> Place:
        """The lvalue that an expression is."""
        kind = node.type
        if kind == "identifier":
            name = self.of(node)
            if name in self.macros:
                self.refuse(node, f"a write through the macro {name}")
            variable = self.variable(name)
            if variable is None or variable.typedef:
                self.refuse(node, f"{name} is not declared here")
            return Place(variable.type, name, True, name)
        if kind == "parenthesized_expression" and len(node.named_children) == 1:
            place = self.place(node.named_children[0])
            if not place.direct:
                place.format = f"({place.format})"
            return place
        if kind == "subscript_expression":
            array_node, _, index, _ = parts_of(node)
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
            held_by, step, field = parts_of(node)
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

    def _inner(self, node: Node) -> Place:
        """What a place is computed from: itself a place, or any expression of a known type."""
        held = node
        while held.type == "parenthesized_expression" and len(held.named_children) == 1:
            held = held.named_children[0]
        if held.type in ("identifier", "subscript_expression", "field_expression") or (
            held.type == "pointer_expression" and held.children[0].type == "*"
        ):
            return self.place(node)
        text = BLANK.sub("", self.again(held))
        if held.type == "update_expression":
            text = text.replace("++", "").replace("--", "").strip()
        elif held.type not in ("call_expression",):
            text = f"({text})"
        return Place(self.type_of(held), text, False, "")

    def _assignment(self, node: Node, discard: bool) -> Effects:
        left, sign, right = parts_of(node)
        operator = sign.type
        outer_node = None if discard else node.parent
        if outer_node is not None and (
            outer_node.type in ("unary_expression", "cast_expression", "binary_expression")
            or outer_node.child_by_field_name("alternative") == node
        ):
            self.refuse(node, "not understood as C")  # it assigns to a value
        place = self.place(left)
        effects = Effects()
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
        effects.writes.append((root or field_of(left), recorded))
        return effects

    def _settle_place(self, right: Node, outer: Effects, left: Node) -> None:
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

    def _update(self, node: Node, discard: bool) -> Effects:
        target = node.child_by_field_name("argument")
        assert target is not None
        if node.children[0].id == target.id:  # behind its operand
            while target.type == "unary_expression":  # `-i++`, which the parser takes for `(-i)++`
                inside = target.child_by_field_name("argument")
                assert inside is not None
                target, discard = inside, False
        place = self.place(target)
        root = place.format if place.format == place.root else ""
        effects = Effects()
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
        effects.writes.append((root or field_of(target), recorded))
        return effects

    def _old_value(self, node: Node, target: Node, name: str, type: Type | None) -> None:
        """``k--`` as a value: a copy of the old one, which may be that of a register."""
        old = f"cexec_o{self.number()}"
        report = self.report(target, target.start_point[0] + 1, name, type)
        self.before(target.start_byte, f"({{ __typeof__({name}) {old} = ")
        self.after(node.end_byte, f"; {report}; {old}; }})")

    def _recorded(self, node: Node, place: Place) -> bool:
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

    def _plain(self, place: Place) -> bool:
        """Whether a place can be named again after the write: it cannot have moved."""
        if not place.direct or place.type is None or place.type.kind != "int":
            return False
        for index, _ in place.indices:
            text = self.of(index)
            if not PLAIN_INDEX.fullmatch(text):
                return False
            for word in WORD.findall(text.encode()):
                name = word.decode()
                macro = self.macros.get(name)
                variable = self.variable(name)
                if macro is not None:
                    if not macro.number:
                        return False
                elif variable is None or variable.type is None or variable.type.kind != "int":
                    return False
        return True

    def _cheap(self, node: Node, left: Node, place: Place, discard: bool) -> None:
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
            report = f"cexec_n({line}, {quoted(place.format)}, &({text}), {kind}{values})"
        if discard:
            self.after(node.end_byte, f", {report}")
        else:
            self.before(node.start_byte, "(")
            self.after(node.end_byte, f", {report}, {text})")

    def _careful(
        self, node: Node, left: Node, place: Place, discard: bool, sign: str, before: bool = False
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
        report = f"{call}({line}, {quoted(place.format)}, cexec_p{n}, {kind}{values});"
        raw = self.again(left)
        head = f"({{ {names}__typeof__({raw}) *cexec_p{n} = &("
        if before:
            operator = node.children[0]
            self.before(operator.start_byte, head, cut=operator.end_byte - operator.start_byte)
            self.after(left.end_byte, f"); {sign}{own}; {report}" + ("" if discard else f" {own};"))
            self.after(node.end_byte, " })")
        elif sign in ("++", "--"):
            self.before(left.start_byte, head)
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


def field_of(node: Node) -> str:
    """ ".x" for the place of a field x, "" for another."""
    if node.type != "field_expression":
        return ""
    return "." + (node.children[-1].text or b"").decode()
