"""Distributions of C programs: the knobs, the ladder of levels, and the splits beyond training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from cexec import expression, sampler
from cexec.layout import ENCODER_FORM
from cexec.source import first_line
from cexec.trace import FORMATS, VALUES
from lego.task import SPLITS, choose, require

DOMAINS = ("int", "unsigned", "uchar")  # in the order of op.INT, op.UNSIGNED, op.UCHAR
OPERATORS = ("copy", "ring", "all")  # in the order of expression.COPIES, RING, ALL
CONSTRUCTS = ("if", "for", "while", "jump", "array", "call", "recursion", "pointer")
BLOCKS = ("if", "for", "while")
REPEATS = ("for", "while", "recursion")
NAMINGS = ("letters", "ordered", "numbered")
FORMS = ("causal", "encoder")
LIMITS = {
    "variables": (2, 16),
    "statements": (1, 64),
    "expression_depth": (1, 4),
    "nesting": (1, 4),
    "trips": (2, 16),
    "modulus": (3, 100),
    "dependency_depth": (0, 64),
    "length": (32, 4096),
}

EVALUATIONS = (
    "test_longer",  # twice as many statements
    "test_deeper",  # blocks one level deeper; without blocks, expressions
    "test_trips",  # loops and recursion up to twice as often
    "test_values",  # constants that no program of training holds
    "test_renamed",  # rows 2k and 2k+1 differ by the names
    "test_flipped",  # rows 2k and 2k+1 differ by one constant or one operator
)


@dataclass(frozen=True)
class CexecConfig:
    """One distribution of programs. Raises SettingError when a field is out of its range."""

    variables: int = 4  # scalars of main, 2..16
    statements: int = 6  # after the declarations, those in blocks included, 1..64
    operators: str = "ring"  # copy: only copies and negation; ring: + - * (and ^); all of C's
    expression_depth: int = 1  # operators on top of each other, 1..4
    constructs: tuple[str, ...] = ()  # of if, for, while, jump, array, call, recursion, pointer
    nesting: int = 1  # blocks in each other, 1..4; an if around break or continue is apart
    trips: int = 4  # of a loop, and calls of a recursion, at most, 2..16
    elements: int = 4  # of an array, 2, 4 or 8
    domain: str = "int"  # all values' type: int, unsigned, or uchar for unsigned char
    modulus: int = 10  # int values are reduced to +-(modulus - 1), unsigned to 0 .. modulus - 1
    dependency_depth: int = 0  # of the printed variable; 0: the deepest that there is
    distractors: float = 0.0  # share of the statements that the answer does not depend on, 0 .. 0.9
    naming: str = "letters"  # letters at random; ordered a b c; numbered v0 v1 v2
    format: str = "writes"  # of the trace, see cexec.trace
    values: str = "token"  # one token a value, or digits
    form: str = "causal"  # encoder: no trace, but the value last written as a label on its name
    length: int = 256  # tokens of the longest example; longer ones are drawn anew

    def __post_init__(self) -> None:
        for field, (low, high) in LIMITS.items():
            value = getattr(self, field)
            require(low <= value <= high, field, value, f"{low}..{high}")
        choose("operators", self.operators, OPERATORS)
        choose("domain", self.domain, DOMAINS)
        choose("naming", self.naming, NAMINGS)
        choose("format", self.format, FORMATS)
        choose("values", self.values, VALUES)
        choose("form", self.form, FORMS)
        for construct in self.constructs:
            choose("constructs", construct, CONSTRUCTS)
        distinct = len(set(self.constructs)) == len(self.constructs)
        require(distinct, "constructs", self.constructs, "each construct once")
        loops = "for" in self.constructs or "while" in self.constructs
        require(
            loops or "jump" not in self.constructs, "constructs", self.constructs,
            "jump, which is break and continue, with for or while",
        )  # fmt: skip
        require(self.elements in (2, 4, 8), "elements", self.elements, "2, 4, 8")
        require(0 <= self.distractors <= 0.9, "distractors", self.distractors, "0 .. 0.9")
        held = self.distractors == 0 or self.variables >= 3
        require(held, "variables", self.variables, "3..16 with distractors")
        held = self.operators != "copy" or self.domain != "unsigned"
        require(held, "domain", self.domain, "int, uchar with operators='copy'")
        held = self.form == "causal" or (self.format, self.values) == ("writes", "token")
        require(held, "form", self.form, "causal; encoder with format='writes', values='token'")

    @property
    def kind(self) -> int:
        """The values' type, as in ``bytecode``."""
        return DOMAINS.index(self.domain)

    @property
    def highest(self) -> int:
        """The highest number that has a word: of a value, a constant or an index."""
        return 255 if self.domain == "uchar" else max(self.modulus, 2 * self.trips, 15)

    @property
    def lowest(self) -> int:
        """The lowest number that has a word."""
        return -self.highest if self.domain == "int" else 0

    @property
    def branches(self) -> bool:
        """Whether a program may hold an ``if``."""
        return any(construct in self.constructs for construct in ("if", "jump", "recursion"))

    @property
    def struct(self) -> bool:
        return "pointer" in self.constructs

    def splits(self) -> tuple[str, ...]:
        """The splits of this config: those along whose axis it can go further."""
        return (*SPLITS, *(split for split in EVALUATIONS if self._further(split) is not None))

    def of_split(self, split: str) -> CexecConfig:
        """The distribution of a split's programs: one field is further on, and the length."""
        return dataclasses.replace(self, **(self._further(split) or {}))

    def _further(self, split: str) -> dict[str, Any] | None:
        """The fields that a split changes; None where it has no further to go."""
        has = self.constructs
        if split == "test_flipped":  # other constants, or + for - and < for >
            low, high = self.literals(split)
            signs = self.operators != "copy" and self.domain != "unsigned"
            return {} if low < high or signs else None
        if split in ("test_values", "test_renamed"):
            return {}
        if split == "test_longer":
            field, value, held = "statements", 2 * self.statements, True
        elif split == "test_trips":
            field, value = "trips", 2 * self.trips
            held = any(construct in has for construct in REPEATS)
        elif split == "test_deeper" and any(construct in has for construct in BLOCKS):
            field, value, held = "nesting", self.nesting + 1, True
        elif split == "test_deeper":
            field, value = "expression_depth", self.expression_depth + 1
            held = self.operators != "copy"
        else:
            return None
        length = min(2 * self.length, LIMITS["length"][1])
        return {field: value, "length": length} if held and value <= LIMITS[field][1] else None

    def literals(self, split: str) -> tuple[int, int]:
        """The lowest and the highest constant that a programmer chose; guards are others."""
        most = 254 if self.domain == "uchar" else self.modulus - 1
        half = (most + 1) // 2
        return (half + 1, most) if split == "test_values" and half < most else (1, half)

    def knobs(self, split: str) -> np.ndarray:
        """What the kernels are told, (knobs,) int64."""
        own = self.of_split(split)
        low, high = self.literals(split)
        has = {name: int(name in self.constructs) for name in CONSTRUCTS}
        others = 0
        if self.distractors:
            others = min(max(int(self.variables * self.distractors), 1), self.variables - 2)
        values = {
            expression.VARIABLES: own.variables,
            expression.STATEMENTS: own.statements,
            expression.OPERATORS: OPERATORS.index(self.operators),
            expression.DEPTH: own.expression_depth,
            expression.KIND: self.kind,
            expression.MODULUS: self.modulus,
            expression.LOWEST: low,
            expression.HIGHEST: high,
            expression.NESTING: own.nesting,
            expression.TRIPS: own.trips,
            expression.IFS: has["if"],
            expression.FORS: has["for"],
            expression.WHILES: has["while"],
            expression.JUMPS: has["jump"],
            expression.ARRAYS: has["array"],
            expression.LENGTH: self.elements,
            expression.FUNCTIONS: has["call"] + has["recursion"],
            expression.RECURSION: has["recursion"],
            expression.POINTERS: has["pointer"],
            expression.DISTRACTORS: round(1000 * self.distractors),
            expression.OTHER_VARIABLES: others,
            expression.WRITES: own.length // 5,
            sampler.FORM: FORMATS.index(self.format) if self.form == "causal" else ENCODER_FORM,
            sampler.DIGITS: int(self.values == "digits"),
            sampler.TOP: self.highest,
            sampler.FLOOR: self.lowest,
            sampler.ASKED_DEPTH: self.dependency_depth,
            sampler.SHUFFLED: int(self.naming == "letters"),
            sampler.FIRST_LINE: first_line(self.struct),
            sampler.SPLITS: len(self.splits()),
            sampler.PAIRED: {"test_flipped": sampler.FLIPPED, "test_renamed": sampler.RENAMED}.get(
                split, sampler.ALONE
            ),
        }
        knobs = np.zeros(sampler.ALL_KNOBS, np.int64)
        for knob, value in values.items():
            knobs[knob] = value
        return knobs


# The ladder, from LEGO in C upwards; each level adds to what a program may hold.
PRESETS = {
    "copy": CexecConfig(variables=6, statements=8, operators="copy", length=144),
    "straight": CexecConfig(length=144),
    "expr": CexecConfig(
        statements=5, operators="all", expression_depth=2, domain="uchar", length=160
    ),
    "branch": CexecConfig(statements=8, constructs=("if",), length=176),
    "loop": CexecConfig(constructs=("for",), length=208),
    "nest": CexecConfig(
        statements=8, constructs=("if", "for", "while", "jump"), nesting=3, length=512
    ),
    "array": CexecConfig(constructs=("for", "array"), domain="unsigned", variables=3, length=320),
    "func": CexecConfig(constructs=("if", "call", "recursion"), length=320),
    "ptr": CexecConfig(constructs=("if", "pointer"), length=224),
}
