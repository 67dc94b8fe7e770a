"""The reports that are put into a program: of values, of whole objects, of where objects live."""

from __future__ import annotations

from tree_sitter import Node

from cexec.declared import OTHER, Type, elements
from cexec.instrument_types import Types


class Reports(Types):
    """C that tells the runtime of writes and of objects."""

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
            whole = self.whole(found.node, name, OTHER if opaque(type) else type, needed=False)
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
            elif not opaque(type):
                self.refuse(
                    found.node, f"{name} is declared among others and pointers may lead to it"
                )

    def _reachable(self, name: str, type: Type | None) -> bool:
        return name in self.addressed() or (type is not None and type.kind in ("array", "struct"))

    def _globals(self) -> None:
        lines = []
        if self.pointers:
            for name, type in dict(self.globals).items():
                if self._reachable(name, type):
                    kind = OTHER if opaque(type) else type
                    lines.append(f"cexec_rs({self.whole(1, name, kind, needed=False)});")
        begin = "cexec_begin();"
        if lines:
            begin = f"void cexec_globals(void); cexec_globals(); {begin}"
            end = len(self.source)
            newline = "" if self.source.endswith(b"\n") else "\n"
            body = " ".join(lines)
            self.after(end, f"{newline}void cexec_globals(void) {{ {body} }}\n", rank=9)
        self.after(self.main, begin, rank=-1)


def opaque(type: Type | None) -> bool:
    return type is None or type.kind in ("pointer", "other")


def quoted(format: str) -> str:
    return '"' + format.replace("\\", "\\\\").replace('"', '\\"').replace("\1", "\\001") + '"'
