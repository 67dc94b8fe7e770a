"""What the names in a program stand for, and the types of its expressions, scope by scope."""

from __future__ import annotations

from tree_sitter import Node

from cexec.declared import (
    CHARS,
    INTS,
    POINTER,
    Type,
    Variable,
    declarator,
    elements,
    named,
    pointed,
)
from cexec.instrument_text import Text


class Types(Text):
    """Declared names and the types of expressions."""

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
            return pointed(self.type_of(parts_of(node)[0]))
        if kind == "field_expression":
            owner, step, field = parts_of(node)
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


def parts_of(node: Node) -> list[Node]:
    return [child for child in node.children if child.type != "comment"]
