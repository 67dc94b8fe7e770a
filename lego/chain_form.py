"""The surface forms of chains: how a clause is written, read, and asked about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal

import numpy as np

from lego.groups import Action
from lego.task import require
from lego.text import Vocabulary

FIRST = 1  # the first clause follows [CLS]

# One letter, then two: pairs of consonants, none of which is an English word.
_CONSONANTS = "bcdfghjklmnpqrstvwxz"
NAMES = (*ascii_lowercase, *(a + b for a in _CONSONANTS for b in _CONSONANTS))


@dataclass(frozen=True)
class Clause:
    """A clause as it was read: its words, and the characters start .. stop-1 that it takes.

    ``operator`` is the group's word for it, whatever the form writes.
    """

    left: str
    operator: str
    argument: str
    start: int
    stop: int


@dataclass(frozen=True)
class Form:
    """One way to write chains.

    ``clause``: the tokens of a clause, of which ``left``, ``operator`` and ``argument`` vary.
    ``question``: the words that ask for variable ``left`` in a prompt, where the sentence itself
    asks nothing; ``identity`` is the identity's word. ``asks``: what it does ask, in the causal
    forms, after its last clause: one variable, or all of them in the order of the chain.
    """

    name: str
    clause: tuple[str, ...]
    question: tuple[str, ...] = ()
    gap: str = " "
    tight: tuple[str, ...] = ()
    asks: Literal["", "one", "all"] = ""

    @property
    def width(self) -> int:
        """Tokens of a clause."""
        return len(self.clause)

    def offset(self, part: str) -> int:
        """Where ``left``, ``operator`` or ``argument`` stands in a clause, in tokens."""
        return self.clause.index(part)

    @property
    def fixed(self) -> tuple[tuple[int, str], ...]:
        """(offset, word) of the tokens that all clauses share."""
        varying = ("left", "operator", "argument")
        return tuple((at, word) for at, word in enumerate(self.clause) if word not in varying)

    def places(self, clauses: int) -> dict[str, np.ndarray]:
        """Token indices (clauses,) int64 in the order of the text.

        Of each clause its tokens ``start`` .. ``stop`` - 1, and its ``left``, ``operator`` and
        ``argument``. Characters are ``return_offsets_mapping`` of the tokenizer away.
        """
        start = FIRST + self.width * np.arange(clauses)
        parts = {part: start + self.offset(part) for part in ("left", "operator", "argument")}
        return {"start": start, "stop": start + self.width} | parts

    def spelled(self, operator: str, identity: str) -> str:
        """An operator of the group as this form writes it: one token."""
        if self.name == "compact":
            return {identity: "+", "not": "-"}.get(operator, f"{operator}*")
        if self.name == "english":
            known = {identity: "equals", "not": "is the opposite of"}
            return known.get(operator, f"is {operator} applied to")
        return operator

    def _gap(self, at: int, word: str) -> str:
        """What stands before a word, the at-th of a clause."""
        return self.gap if at and word not in self.tight else ""

    def asking(self, name: str, identity: str) -> str:
        """What is put after a sentence to ask for a variable, for a language model to go on."""
        words = {"left": name, "identity": self.spelled(identity, identity)}
        return "".join(
            ("" if word in self.tight else self.gap) + words.get(word, word)
            for word in self.question
        )

    def vocabulary(self, names: int, action: Action) -> Vocabulary:
        """The words of this form, for so many variables and a group."""
        fixed = [word for _, word in self.fixed]
        operators = [self.spelled(word, action.operators[0]) for word in action.operators]
        asking = ["?"] if self.asks else []
        words = (*NAMES[:names], *fixed, *operators, *action.states, *asking)
        return Vocabulary(tuple(dict.fromkeys(words)), self.gap, self.tight)

    def read(self, text: str, action: Action) -> list[Clause]:
        """The clauses of a sentence, in the order of the text; ``answers`` reads what follows them.

        Raises SettingError when the text is not wholly of this form.
        """
        identity = action.operators[0]
        words = {self.spelled(word, identity): word for word in action.operators}
        parts = {
            "left": r"(?P<left>[^\s=;*.,?]+)",
            "operator": f"(?P<operator>{'|'.join(map(re.escape, sorted(words, key=len)[::-1]))})",
            "argument": r"(?P<argument>[^\s=;*,?]+?)",
        }
        words_of = (parts.get(word, re.escape(word)) for word in self.clause)
        pattern = "".join(self._gap(at, self.clause[at]) + word for at, word in enumerate(words_of))
        clause = re.compile(pattern + f"(?:{self.gap}|$)")
        sentence = text
        if self.asks:
            self.answers(text)
            sentence = text.partition("? ")[0]
        look = "".join(self._gap(at, word) + word for at, word in enumerate(self.clause))
        clauses, at = [], 0
        while at < len(sentence):
            found = clause.match(sentence, at)
            require(found is not None, "text", sentence[at : at + 40], f"a clause as {look!r}")
            assert found is not None
            left, operator, argument = found["left"], found["operator"], found["argument"]
            stop = at + len(found[0].rstrip())
            clauses.append(Clause(left, words[operator], argument, at, stop))
            at = found.end()
        require(bool(clauses), "text", text, "at least one clause")
        return clauses

    def answers(self, text: str) -> list[tuple[str, str]]:
        """(variable, state) for each answer in a causal sentence; none in other forms.

        Raises SettingError when there is no question, or something else after it.
        """
        if not self.asks:
            return []
        _, mark, tail = text.partition(" ? ")
        found = re.findall(r"([^\s=,?]+) = ([^\s=,?]+)", tail)
        shown = [f"{name} = {state}" for name, state in found]
        whole = "".join(f"{answer} , " for answer in shown).rstrip()
        held = bool(mark and found) and tail == (whole if self.asks == "all" else shown[0])
        require(held, "text", text, "one question and its answers at the end")
        return found


_PAPER = ("left", "=", "operator", "argument", ",")
FORMS = {
    form.name: form
    for form in (
        # The sentences of the paper's code: a = not b ,
        Form("paper", _PAPER, ("left", "=", "identity")),
        # a=-b;
        Form(
            "compact", ("left", "=", "operator", "argument", ";"), ("left", "=", "identity"), gap=""
        ),
        # a is the opposite of b.
        Form(
            "english",
            ("left", "operator", "argument", "."),
            ("What is", "left", "?"),
            tight=(".", "?"),
        ),
        # a = not b , ? a = 1
        Form("causal", _PAPER, asks="one"),
        # b = val 0 , a = not b , ? b = 0 , a = 1 ,
        Form("causal-all", _PAPER, asks="all"),
    )
}
