"""What a foreign C text asks the compiler to read: found, or refused, before the compiler sees it.

The text is taken through translation phases 1 to 3 (line splices, comments, literals) and its
directives are read one by one. Compilers differ at the edges of those phases, and a text that two
of them read in two ways could hide a line from this reader; so trigraphs, raw strings, unpaired
quotes, odd line ends and letters outside ASCII in code are refused, not interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

DIRECTIVES = ("define", "undef", "if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else",
              "endif", "error", "warning", "line", "pragma")  # fmt: skip
PRAGMAS = re.compile(
    r"(once|pack\b.*|STDC\b.*|omp\b.*|(GCC|clang) (diagnostic|optimize|push_options|pop_options|"
    r"unroll|ivdep|loop)\b.*)?\s*"
)
WORDS = re.compile(r"\b(asm|__asm|__asm__|_Pragma|__has_include\w*|__has_embed|__include__)\b")
TOKENS = re.compile(
    r"""(?P<line>//.*)|(?P<block>/\*.*?\*/)|(?P<open>/\*.*)"""
    r"""|(?P<literal>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<quote>["'])|(?P<code>[^"'/]+|/)"""
)
HEADER = re.compile(r"""include\s*(?:"([\w./+-]+)"|<([\w./+-]+)>)\s*""", re.ASCII)
# What the assembler would read, and what could build such a line from pieces.
ASSEMBLER = re.compile(
    r"(?:^|[\r\n;:]|\*/)[^\w.\n]*\.(?:incbin|include|macro|altmacro|mri|irp|irpc|rep|rept)\b", re.I
)


class ScanError(ValueError):
    """The text is refused: ``line`` counts from 1, the message says why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


def includes(text: str) -> list[tuple[int, str]]:
    """The (line, name) of every ``#include "name"`` of a text; ``<name>`` is the system's.

    Raises ScanError for whatever could make a compiler read another file.
    """
    found = []
    for number, code, bare in _lines(text):
        if not bare.isascii():
            raise ScanError(number, "letters outside ASCII are for comments and strings only")
        word = WORDS.search(bare)
        if word:
            raise ScanError(number, f"{word[0]} is not allowed in a guarded program")
        if re.search(r'\b(u8|[uUL])?R""', bare):
            raise ScanError(number, 'raw strings, R"(...)", are not allowed')
        directive = re.match(r"\s*(?:#|%:)\s*(.*)", bare)
        if not directive:
            continue
        name = re.match(r"[A-Za-z_]*", directive[1])[0]  # type: ignore[index]
        if name == "include":
            found += _header(number, re.sub(r"^\s*(?:#|%:)\s*", "", code))
        elif name == "pragma" and not PRAGMAS.fullmatch(directive[1][6:].strip()):
            raise ScanError(number, f"#{directive[1].strip()[:60]} is not allowed")
        elif name == "line" and not re.fullmatch(r"line\s+\d+\s*", directive[1]):
            raise ScanError(number, "#line may hold a number, not a file")
        elif name not in DIRECTIVES and directive[1].strip():
            raise ScanError(number, f"#{directive[1].strip()[:40]} is not allowed")
    return found


def _header(number: int, directive: str) -> list[tuple[int, str]]:
    held = HEADER.fullmatch(directive)
    if not held:
        raise ScanError(number, f"#{directive.strip()[:60]}: allowed a plain name in quotes or < >")
    name = held[1] or held[2]
    if name.startswith("/") or ".." in name.split("/"):
        raise ScanError(
            number, f"#include of {name!r}: allowed headers of the system and of the file's folder"
        )
    return [(number, name)] if held[1] else []


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Logical lines without comments: (number of the first, its code, that with literals empty)."""
    inside = 0  # the line where a comment began that is still open
    for number, line in _spliced(text):
        at, code, bare = 0, "", ""
        if inside:
            end = line.find("*/")
            if end < 0:
                continue
            inside, at = 0, end + 2
        while at < len(line):
            token = TOKENS.match(line, at)
            assert token  # every character starts one of them
            at = token.end()
            if token["quote"]:
                raise ScanError(number, f"an unpaired {token['quote']}")
            if token["open"]:
                if re.match(r"\s*(#|%:)\s*(error|warning)", bare):
                    raise ScanError(number, "a comment that goes on after #error or #warning")
                inside = number  # some take those lines as text, and see no comment in them
            literal = token["literal"]
            code += literal or token["code"] or " "
            bare += literal[0] * 2 if literal else token["code"] or " "
        yield number, code, bare
    if inside:
        raise ScanError(inside, "a comment without an end")


def _spliced(text: str) -> Iterator[tuple[int, str]]:
    """Phases 1 and 2: (number of the first physical line, logical line)."""
    whole, first = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        odd = re.search(r"[\x00-\x08\x0e-\x1f\x7f\r]", line)
        if odd:
            raise ScanError(number, f"a control character, {odd[0]!r}")
        if re.search(r"\?\?[=/'()!<>-]", line):
            raise ScanError(number, "a trigraph: compilers differ on them; write \\? in a string")
        if re.search(r"\\\s+$", line):
            raise ScanError(number, "white space between a backslash and the line's end")
        if line.endswith("\\"):
            whole += line[:-1]
            continue
        whole += line
        if "??" in whole and re.search(r"\?\?[=/'()!<>-]", whole):
            raise ScanError(first, "a trigraph: compilers differ on them")
        yield first, whole
        whole, first = "", number + 1
    if whole:
        raise ScanError(first, "a backslash at the end of the file")


def assembler_reads(assembly: str) -> str | None:
    """The line of a compiler's output by which the assembler would read a file, if there is one."""
    held = ASSEMBLER.search(assembly)
    return held[0].strip() if held else None
