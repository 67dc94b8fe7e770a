"""The trace formats: a log of writes as text, and the text read back.

A format is a sequence of words; where a blank or a line end stands between two words is for the
reader's eyes (in ``comments`` alone line ends count: they number the lines). ``@5`` is line 5, and
``#4`` the fourth write. A name is one word or more, ``a``, ``m [ 2 ]``, ``s . x``; a value is one
word, ``-12``, or with ``values="digits"`` the sign and each digit are a word, ``- 1 2``. After the
trace stand ``answer`` and the printed value. For ``a`` written in line 4 and ``b`` in line 5:

    writes      @4 a 3 @5 b 7
    states      @4 a 3 @5 b 7 a 3: the object just written, then the others as first written
    scratchpad  @5 b = ( a + 4 ) % 10 ; state b 7 a 3: the line's words, then the state
    frames      <frame> @5 { a : .. , b : 7 } ... <return>: every object as first written, ``..``
                for all but the one just written
    comments    int a = 3; // #1 a 3: the program, and behind a line all that it wrote
    answer      no trace

Any line of C may be quoted. In ``scratchpad`` a quoted word that could be one of ours, ``state`` or
``@5``, gets a backslash in front. In ``comments`` a line that wrote nothing but holds `` // #``, or
begins with the word ``answer``, ends in an empty `` // #``, so that the last one is always ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from lego.task import SettingError, choose, require

FORMATS = ("writes", "states", "scratchpad", "frames", "comments", "answer")
VALUES = ("token", "digits")
DIGITS = 20  # of the longest value: those of 64 bits
_MARK = " // #"

_STRING = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)+'"
_TOKEN = (
    rf"//.*|/\*.*?\*/|((?:u8|[uUL])?(?:{_STRING})|[^\W\d]\w*|\.?\d(?:[eEpP][+-]|[\w.])*"
    r"|\.\.\.|<<=|>>=|->|\+\+|--|<<|>>|&&|\|\||##|[-+*/%&|^<>=!]=|\S)"
)
_WORDS = re.compile(_TOKEN)
# An index is one word, whatever its sign.
_NAME_WORDS = re.compile(rf"//.*|((?<=\[)-[0-9]+(?=\]))|{_TOKEN}")
_NEEDLESS = re.compile(r"(?<!\w) | (?!\w)")

# An lvalue in words. No word of a value can go on with a name, and none of a name with a value, so
# no rule is needed for where one ends. Parentheses hold any words, and others three deep. The
# limits keep what no log holds, thousands of parentheses, from taking seconds.
_GROUP = r"\( (?:[^\s()]+ )*\)"
for _ in range(3):
    _GROUP = rf"\( (?:[^\s()]+ |{_GROUP} )*\)"
_IDENTIFIER = r"[^\W\d]\w*"
_NAME = (
    rf"(?:(?:[*&]|\+\+|--|{_GROUP}) ){{0,8}}(?:{_IDENTIFIER}|{_GROUP})"
    rf"(?: \[ -?[0-9]+ \]| (?:\.|->) {_IDENTIFIER}| {_GROUP}| \+\+| --){{0,32}}"
)
_VALUE = {
    "token": rf"0|-?[1-9][0-9]{{0,{DIGITS - 1}}}",
    "digits": rf"0|(?:- )?[1-9](?: [0-9]){{0,{DIGITS - 1}}}",
}
_WRITE = ("@LINE", "NAME", "VALUE")
_NOTE = ("#STEP", "NAME", "VALUE")
_QUOTE = ("@LINE", "words of the line", "state")
_FRAME = ("<frame>", "@LINE", "{")
_ENTRY = ("NAME", ":", "VALUE or ..", ", or }")
_ANSWER = ("answer", "VALUE")
_OURS = re.compile(r"\\*(?:state|@[1-9][0-9]*)")  # words that are escaped where they are quoted


@dataclass(frozen=True, slots=True)
class Write:
    """A write: its place in order, its line in the source (from 1), the object and its value."""

    step: int
    line: int
    name: str
    value: int


def words(source_line: str) -> list[str]:
    """The C tokens of a line; a string is one word, and comments are no words."""
    return [word for word in _WORDS.findall(source_line) if word]


@lru_cache(1 << 16)
def name_words(name: str) -> str:
    """The words of a log's name, ``m [ 2 ]`` for ``m[2]``. Raises SettingError for what is none."""
    if name.isidentifier():
        return name
    said = " ".join(index or word for index, word in _NAME_WORDS.findall(name))
    held = re.fullmatch(_NAME, said) is not None and spelled(said) == name
    require(held, "name", name, "an lvalue with numbers as indices and no needless blanks")
    return said


@lru_cache(1 << 16)
def spelled(said: str) -> str:
    """The name that words in one string stand for: ``m[2]`` for ``m [ 2 ]``."""
    return _NEEDLESS.sub("", said)


def question(name: str) -> str:
    """What a language model is asked."""
    return f"What is the value of {name} when the program ends?"


def answer_of(text: str, values: str = "token") -> int | None:
    """The value behind the last word ``answer`` in what a model wrote; None where none is."""
    choose("values", values, VALUES)
    *_, last = ("", *re.split(r"(?<!\S)answer\s", text)[1:])
    found = _pattern(("VALUE",), values).match(" ".join(last.split()) + " ")
    return int(found[1].replace(" ", "")) if found else None


def render(
    format: str,
    lines: Sequence[str],
    writes: Sequence[Write],
    answer: int | None,
    values: str = "token",
) -> str:
    """A log of writes as text, and the answer, which is left out where it is None.

    lines: the source's, in any spelling; ``scratchpad`` and ``comments`` quote them. Raises
    SettingError for an unknown format, and for a log that could not be read back.
    """
    choose("format", format, FORMATS)
    choose("values", values, VALUES)
    quotes = format in ("scratchpad", "comments")
    log = []
    for step, write in enumerate(writes):
        require(write.step == step, "step", write.step, f"{step}: steps are 0, 1, 2, ...")
        held = write.line >= 1 and not (quotes and write.line > len(lines))
        require(held, "line", write.line, f"1..{len(lines) if quotes else ''}")
        log.append((write.line, name_words(write.name), _value_words(write.value, values)))
    text = _RENDER[format](lines, log)
    if answer is not None:
        text.append(f"answer {_value_words(answer, values)}")
    return "\n".join(text)


def parse(format: str, text: str, values: str = "token") -> tuple[list[Write], int | None]:
    """The log of writes and the answer, from the text that ``render`` made of them.

    Raises SettingError for anything else, and tells the first word that cannot stand where it does.
    """
    choose("format", format, FORMATS)
    choose("values", values, VALUES)
    if format == "comments":
        return _read_comments(text, values)
    reader = _Reader(text, values)
    return _READ[format](reader), reader.answer()


def _value_words(value: int, values: str) -> str:
    require(abs(value) < 10**DIGITS, "value", value, f"{DIGITS} digits")
    return str(value) if values == "token" else " ".join(str(value))


# Rendering: lines of text from a log of (line, words of the name, words of the value).

_Log = list[tuple[int, str, str]]


def _writes(lines: Sequence[str], log: _Log) -> list[str]:
    return [f"@{line} {name} {value}" for line, name, value in log]


def _states(lines: Sequence[str], log: _Log, quotes: bool = False) -> list[str]:
    text, state = [], dict[str, str]()
    for line, name, value in log:
        state[name] = f"{name} {value}"
        others = [said for other, said in state.items() if other != name]
        quoted = [*map(_escaped, lines[line - 1].split()), "state"] if quotes else []
        text.append(" ".join([f"@{line}", *quoted, state[name], *others]))
    return text


def _scratchpad(lines: Sequence[str], log: _Log) -> list[str]:
    return _states(lines, log, quotes=True)


def _escaped(word: str) -> str:
    return f"\\{word}" if _OURS.fullmatch(word) else word


def _frames(lines: Sequence[str], log: _Log) -> list[str]:
    text, frame = [], dict[str, str]()
    for line, name, value in log:
        frame[name] = f"{name} : {value}"
        text.append(f"<frame> @{line} {{ {' , '.join(frame.values())} }}")
        frame[name] = f"{name} : .."
    return [*text, "<return>"]


def _comments(lines: Sequence[str], log: _Log) -> list[str]:
    notes: dict[int, list[str]] = {}
    for step, (at, name, value) in enumerate(log, start=1):
        notes.setdefault(at, []).append(f" #{step} {name} {value}")
    text = []
    for number, line in enumerate(lines, start=1):
        require("\n" not in line, f"line {number}", line, "lines without line ends")
        if number in notes:
            line += f" //{''.join(notes[number])}"
        elif _MARK in line or line.split()[:1] == ["answer"]:
            line += _MARK
        text.append(line)
    return text


def _nothing(lines: Sequence[str], log: _Log) -> list[str]:
    return []


_RENDER: dict[str, Callable[[Sequence[str], _Log], list[str]]] = {
    "writes": _writes,
    "states": _states,
    "scratchpad": _scratchpad,
    "frames": _frames,
    "comments": _comments,
    "answer": _nothing,
}


# Parsing.


@lru_cache
def _pattern(parts: tuple[str, ...], values: str) -> re.Pattern[str]:
    """What reads these parts, a blank after each."""
    known = {
        "@LINE": "@([1-9][0-9]{0,19})",
        "#STEP": "#([1-9][0-9]{0,19})",
        "NAME": f"(?P<name>{_NAME})",
        "VALUE": f"({_VALUE[values]})",
        "VALUE or ..": rf"({_VALUE[values]}|\.\.)",
        ", or }": "([,}])",
    }
    quoted = r"(?:(?!state |@[1-9][0-9]* )\S+ )*+"  # has its blanks
    return re.compile(
        "".join(
            quoted if part == "words of the line" else f"{known.get(part, re.escape(part))} "
            for part in parts
        )
    )


@lru_cache(1 << 16)
def _name(said: str) -> str | None:
    """The name that has exactly these words."""
    name = spelled(said)
    try:
        return name if name_words(name) == said else None
    except SettingError:
        return None


class _Reader:
    """Words, read from the left; ``place`` is where the next one begins in ``text``."""

    def __init__(self, text: str, values: str, before: int = 0) -> None:
        """before: words that stand before this text, in what errors count."""
        self.text = "".join([f"{word} " for word in text.split()])
        self.values, self.before, self.place = values, before, 0

    def follows(self, start: str) -> bool:
        return self.text.startswith(start, self.place)

    def fail(self, allowed: str) -> NoReturn:
        number = self.before + self.text.count(" ", 0, self.place) + 1
        word = self.text[self.place :].partition(" ")[0]
        raise SettingError(f"trace word {number}={word!r}: allowed {allowed}")

    def explain(self, parts: tuple[str, ...]) -> NoReturn:
        """Fail at the first part that is not there."""
        for part in parts:
            found = _pattern((part,), self.values).match(self.text, self.place)
            if found is None:
                self.fail(part)
            self.place = found.end()
        raise AssertionError(f"{parts} can be read one by one, but not together")

    def take(self, parts: tuple[str, ...]) -> re.Match[str]:
        found = _pattern(parts, self.values).match(self.text, self.place)
        if found is None:
            self.explain(parts)
        self.place = found.end()
        return found

    def name(self, found: re.Match[str]) -> str:
        """The name in what was taken. What the pattern lets pass in parentheses may be none."""
        name = _name(found["name"])
        if name is None:
            self.place = found.start("name")
            self.fail("NAME")
        return name

    def expect(self, said: str) -> None:
        """Go past these words, a blank after each; fail at the first that is another."""
        if self.follows(said):
            self.place += len(said)
            return
        for word in said.split():
            if not self.follows(f"{word} "):
                self.fail(f"{word!r}, after what was written before")
            self.place += len(word) + 1

    def answer(self) -> int | None:
        """What stands after the trace, up to the end."""
        if self.place == len(self.text):
            return None
        if not self.follows("answer "):
            self.fail("a step of the trace, answer VALUE or the end")
        value = _number(self.take(_ANSWER)[1])
        if self.place < len(self.text):
            self.fail("nothing after the answer")
        return value


def _number(said: str) -> int:
    return int(said.replace(" ", ""))


def _read_writes(reader: _Reader) -> list[Write]:
    log: list[Write] = []
    match, text, place = _pattern(_WRITE, reader.values).match, reader.text, reader.place
    while found := match(text, place):
        line, _, value = found.groups()
        log.append(Write(len(log), int(line), reader.name(found), _number(value)))
        place = found.end()
    reader.place = place
    if reader.follows("@"):
        reader.explain(_WRITE)
    return log


def _read_states(reader: _Reader, quotes: bool = False) -> list[Write]:
    log: list[Write] = []
    state: dict[str, str] = {}
    while reader.follows("@"):
        if quotes:
            line = reader.take(_QUOTE)[1]
            found = reader.take(_WRITE[1:])
        else:
            found = reader.take(_WRITE)
            line = found[1]
        name, value = found.groups()[-2:]
        log.append(Write(len(log), int(line), reader.name(found), _number(value)))
        state[name] = f"{name} {value} "
        # How many objects follow is known: that is why one of them may be called answer.
        reader.expect("".join([said for other, said in state.items() if other != name]))
    return log


def _read_scratchpad(reader: _Reader) -> list[Write]:
    return _read_states(reader, quotes=True)


def _read_frames(reader: _Reader) -> list[Write]:
    log: list[Write] = []
    frame: dict[str, str] = {}
    while reader.follows("<frame>"):
        line, begin = int(reader.take(_FRAME)[1]), reader.place
        written, sign = None, ","
        while sign == ",":
            found = reader.take(_ENTRY)
            _, value, sign = found.groups()
            if value != ".." and written is None:
                written = found
        if written is None:
            reader.fail("a frame with a value before it")
        name, value, _ = written.groups()
        log.append(Write(len(log), line, reader.name(written), _number(value)))
        frame[name] = f"{name} : {value}"
        reader.place = begin
        reader.expect(" , ".join(frame.values()) + " } ")
        frame[name] = f"{name} : .."
    reader.take(("<return>",))
    return log


def _read_comments(text: str, values: str) -> tuple[list[Write], int | None]:
    answer, seen = None, 0  # seen: words
    notes: list[tuple[int, int, str, int]] = []
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        at = line.rfind(_MARK)
        if at >= 0 and not line.endswith(_MARK):
            reader = _Reader(line[at + 4 :], values, seen + len(line[:at].split()) + 1)
            while reader.place < len(reader.text):
                found = reader.take(_NOTE)
                step, _, value = found.groups()
                notes.append((int(step), number, reader.name(found), _number(value)))
        elif at < 0 and number == len(lines) and line.split()[:1] == ["answer"]:
            answer = _Reader(line, values, seen).answer()
        seen += len(line.split())
    notes.sort(key=lambda note: note[0])
    for place, (step, *_) in enumerate(notes, start=1):
        require(step == place, "trace step", f"#{step}", f"#{place}: each number once, from #1 on")
    return [Write(step - 1, line, name, value) for step, line, name, value in notes], answer


def _read_nothing(reader: _Reader) -> list[Write]:
    return []


_READ: dict[str, Callable[[_Reader], list[Write]]] = {
    "writes": _read_writes,
    "states": _read_states,
    "scratchpad": _read_scratchpad,
    "frames": _read_frames,
    "answer": _read_nothing,
}
