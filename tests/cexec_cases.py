"""What the tests of C programs share: configs, bytecode made at random, and how it is run."""

import re
from dataclasses import dataclass, field
from random import Random
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import strategies as st

from cexec import bytecode as op
from cexec import layout, machine, native, reference, sampler, tokens
from cexec.config import CONSTRUCTS, CexecConfig
from cexec.execution import execute
from cexec.grammar import MOST_OBJECTS
from cexec.source import first_line, sources
from cexec.task import LIMIT
from cexec.trace import FORMATS
from lego.task import SettingError

HIGHEST = 999  # constant that random bytecode holds
LINE = first_line(True)
ANSWERS = ("answers", "no_branch")
# The machine's flags, by what the reference calls them.
KINDS = {
    "overflow": machine.OVERFLOW,
    "division": machine.DIVISION,
    "shift": machine.SHIFT,
    "bounds": machine.BOUNDS,
    "uninitialised": machine.UNINITIALISED,
    "implementation": machine.NEGATIVE_SHIFT,
}


def rows_of(task, split, count, start=0):
    return task.table(task.sample(split, start, start + count)).to_pylist()


def compiler_of(name, sanitize=False):
    try:
        return native.find_compiler(name, sanitize)
    except SettingError as error:
        pytest.skip(str(error))


@st.composite
def configs(draw, forms=True):
    """Every field within its limits; together, no more than an example has room for.

    ``forms``: with all trace formats, not the causal writes alone.
    """
    constructs = set(draw(st.lists(st.sampled_from(CONSTRUCTS), unique=True)))
    if not constructs & {"for", "while"}:
        constructs -= {"jump"}
    blocks = bool(constructs & {"if", "for", "while"})
    form, format, values = "causal", "writes", "token"
    if forms:
        form = draw(st.sampled_from(["causal", "causal", "encoder"]))
    if forms and form == "causal":
        format, values = draw(st.sampled_from(FORMATS)), draw(st.sampled_from(["token", "digits"]))
    operators = draw(st.sampled_from(["copy", "ring", "all"]))
    depth = draw(st.integers(1, 4))
    repeats = format in ("states", "scratchpad", "frames")  # all objects with each write
    most = 10 if repeats else 24 if blocks else (64, 40, 24, 12)[depth - 1]
    if depth > 2 and not repeats:
        most = min(most, 12)
    statements = draw(st.integers(4, most))
    variables = draw(st.integers(3, 5 if repeats else 16))
    distractors = draw(st.just(0.0) | st.floats(0.0, 0.9))
    deepest = int((statements - 1) * (1 - distractors) / 3)
    trips = draw(st.integers(2, 4 if repeats else 16))
    return CexecConfig(
        variables=variables,
        statements=statements,
        operators=operators,
        expression_depth=depth,
        constructs=tuple(sorted(constructs)),
        nesting=draw(st.integers(1, 4)),
        trips=trips,
        elements=draw(st.sampled_from([2, 4] if repeats else [2, 4, 8])),
        domain=draw(st.sampled_from(["int", "uchar", *["unsigned"] * (operators != "copy")])),
        modulus=draw(st.integers(6, 100)),
        dependency_depth=draw(st.just(0) | st.integers(0, min(deepest, 4))),
        distractors=distractors,
        naming=draw(st.sampled_from(["letters", "ordered", "numbered"])),
        format=format,
        values=values,
        form=form,
        length=4096 if repeats else draw(st.sampled_from([2048, 4096])),
    )


@dataclass
class Bytecode:
    """A program: code (PAIRS, 2), objects (MOST_OBJECTS, 2), the printed slot, the values' type."""

    code: np.ndarray
    objects: np.ndarray
    asked: int
    kind: int

    def run(self, stop=None, every_branch=False):
        """The machine's counts, (4,); ``stop``: the place before which it halts."""
        code, table = self.code, self.objects[self.objects[:, 1] > 0]
        if stop is not None:
            code = code.copy()
            code[stop:] = 0
        cells = machine.FRAMES * table[:, 1].sum()
        counts = np.zeros(4, np.int64)
        machine.run(
            code, table, self.kind, every_branch,
            np.zeros(cells, np.int64), np.zeros(cells, np.int32),
            np.zeros((sampler.LOG, 4), np.int64),
            np.zeros(8 * sampler.LOG, np.int32), np.zeros(sampler.LOG + 1, np.int32),
            counts, np.zeros(machine.SCRATCH, np.int64),
        )  # fmt: skip
        return counts

    def executed(self):
        """What ``execute`` says of it: (log of (line, name, value), depths, the rest)."""
        ran = execute(
            self.code[None], self.objects[None], np.array([self.asked], np.int16), self.kind, LINE
        )
        # Columns of values are int32: the grammar's own values fit in.
        bits = 2**32 - 1 if self.kind == op.UNSIGNED else -1
        log = [
            (line, name_of(self.objects, v, index), value & bits)
            for line, v, index, value, _ in ran["log"].tolist()
        ]
        ran["answer"], ran["no-branch"] = (int(ran[name][0]) & bits for name in ANSWERS)
        return log, ran["log"][:, 4].tolist(), ran


def name_of(objects, v, index):
    letter = ascii_lowercase[v]
    if objects[v, 0] == op.ARRAY:
        return f"{letter}[{index}]"
    return f"{letter}.{('first', 'second')[index]}" if objects[v, 0] == op.STRUCT else letter


def texts(programs):
    """Each program's C source. They are of one type."""
    kind, length = programs[0].kind, 4096
    vocabulary = tokens.vocabulary(kind, HIGHEST, -1)
    lines, places = np.zeros(sampler.PAIRS, np.int16), np.zeros(sampler.PAIRS, np.int16)
    begins, ends = np.zeros(tokens.LINES + 1, np.int16), np.zeros(tokens.LINES + 1, np.int16)
    owners = np.zeros((sampler.CELLS, 2), np.int64)
    ids = np.zeros((len(programs), length), np.int16)
    for program, row in zip(programs, ids, strict=True):
        table = program.objects[program.objects[:, 1] > 0]
        scratch = np.zeros(machine.SCRATCH, np.int64)
        end, _ = tokens.write_program(
            program.code, table, LINE, row, lines, places, begins, ends, scratch
        )
        assert end < length
        row[end:] = 0
        sampler.lay_slots(table, len(table), owners)
        row[end] = tokens.PRINT
        end = layout.write_name(program.asked, owners, table, row, end + 1)
        row[end] = tokens.SEMICOLON
    return sources(ids, vocabulary, kind, True).to_pylist()


def first_flag(program):
    """(place, flags) of the first action of a straight-line program that is undefined, or None."""
    for stop in range(1, int(np.flatnonzero(program.code[:, 0])[-1]) + 2):
        flags = program.run(stop)[machine.FLAGS]
        if flags:
            return stop - 1, int(flags)
    return None


@dataclass
class Maker:
    """Bytecode at random, in scopes as C has them. ``guarded``: as a rule it is defined.

    ``opaque``: constants stand in declarations alone, where compilers cannot fold them away.
    """

    random: Random
    kind: int
    guarded: bool = False
    opaque: bool = False
    pairs: list[tuple[int, int]] = field(default_factory=list)
    objects: list[tuple[int, int]] = field(default_factory=list)
    scalars: list[int] = field(default_factory=list)  # in scope, to read and to write
    counters: list[int] = field(default_factory=list)  # in scope, to read
    arrays: list[int] = field(default_factory=list)
    functions: list[tuple[int, list[int], bool]] = field(default_factory=list)
    pointers: tuple[int, int, int] | None = None  # struct, pointer to a scalar and to the struct
    calls: bool = False  # whether the statement may still call a function

    def below(self, bound):
        return self.random.randrange(bound)

    def emit(self, action, operand=0):
        self.pairs.append((action, operand))
        return len(self.pairs) - 1

    def patch(self, place, operand):
        self.pairs[place] = self.pairs[place][0], operand

    def declare(self, kind=op.SCALAR, cells=1):
        self.objects.append((kind, cells))
        return len(self.objects) - 1

    def room(self, objects=1):
        return len(self.objects) + objects <= MOST_OBJECTS and len(self.pairs) < 400

    # Expressions. In unsigned programs none but an unsigned goes into an operator: that what ints
    # give stays an int is left to the grammar, which never computes on.

    def constant(self):
        pool = [0, 1, 2, 3, 7, 10, 31, 32, 100, 255, 256, HIGHEST]
        small = self.guarded or self.below(3)
        self.emit(op.CONSTANT, self.below(12) if small else self.random.choice(pool))

    def extreme(self):
        """INT_MAX, INT_MIN, 2**30 or UINT_MAX, which no int16 holds."""
        if self.kind == op.UNSIGNED:
            self.several((op.CONSTANT, 0), (op.CONSTANT, 1), (op.SUBTRACT, 0))
            return
        which = self.below(4)
        if which > 1:
            self.several((op.CONSTANT, 1), (op.CONSTANT, 30), (op.LEFT, 0))
        if which < 3:
            half = [(op.CONSTANT, 1), (op.CONSTANT, 30), (op.LEFT, 0)]
            less = [*half, (op.CONSTANT, 1), (op.SUBTRACT, 0)]
            if which < 2:
                self.several(*half, *less, (op.ADD, 0))
            else:
                self.several(*less, (op.ADD, 0))
        if which == 1:
            self.several((op.NEGATE, 0), (op.CONSTANT, 1), (op.SUBTRACT, 0))

    def several(self, *pairs):
        self.pairs += pairs

    def index(self, v, depth):
        cells = self.objects[v][1]
        which = self.below(8)
        if which < 2 and not self.opaque:
            self.emit(op.CONSTANT, self.below(cells))
            return
        self.expression(depth)
        if self.guarded or which < 7:
            self.several((op.GUARD, cells - 1), (op.AND, 0))

    def leaf(self):
        which = self.below(10)
        if which < 3 and not self.opaque:
            self.constant()
        elif which == 3 and not self.guarded and not self.opaque:
            self.extreme()
        elif which == 4 and self.arrays:
            v = self.random.choice(self.arrays)
            self.index(v, 0)
            self.emit(op.ELEMENT, v)
        elif which == 5 and self.pointers:
            struct, scalar, pointer = self.pointers
            at = self.random.choice([(op.TARGET, scalar), (op.MEMBER, 2 * struct)])
            at = self.random.choice([at, (op.MEMBER, 2 * pointer)])
            self.emit(at[0], at[1] + (at[0] == op.MEMBER and self.below(2)))
        elif which == 6 and self.functions and self.calls:
            self.call()
        else:
            self.emit(op.LOAD, self.random.choice(self.scalars + self.counters))

    def call(self):
        self.calls = False
        place, parameters, recursive = self.random.choice(self.functions)
        for k, _ in enumerate(parameters):
            if recursive and k == 0:
                self.emit(op.CONSTANT, self.below(4))
            else:
                self.expression(self.below(2))
            self.emit(op.ARGUMENT)
        self.emit(op.CALL, place)

    def expression(self, depth):
        if depth == 0 or self.below(4) == 0:
            self.leaf()
            return
        which = self.below(12)
        if which < 7:
            self.binary(depth)
        elif which < 9:
            self.expression(depth - 1)
            self.emit(self.random.choice([op.NEGATE, op.INVERT]))
        elif which == 9:
            self.condition(depth - 1)
            self.as_operand()
        else:
            self.condition(depth - 1)
            pick = self.emit(op.PICK)
            self.expression(depth - 1)
            self.patch(pick, colon := self.emit(op.COLON))
            self.expression(depth - 1)
            self.patch(colon, self.emit(op.CHOSEN))

    def as_operand(self):
        """Of a truth, an int: make it what the other values are."""
        if self.kind == op.UNSIGNED:
            self.several((op.LOAD, self.random.choice(self.scalars)), (op.ADD, 0))

    def binary(self, depth):
        signs = range(op.ADD, op.RIGHT + 1)
        sign = self.random.choice(signs if not self.guarded else [*signs, *[op.ADD] * 6])
        self.expression(depth - 1)
        shift, divide = sign in (op.LEFT, op.RIGHT), sign in (op.DIVIDE, op.REMAINDER)
        tame = self.guarded or self.below(2)
        if shift and tame:
            self.several((op.GUARD, 15), (op.AND, 0))
        elif self.guarded and self.kind == op.INT:
            self.several((op.GUARD, 50), (op.REMAINDER, 0))
        self.expression(depth - 1)
        if shift and tame:
            self.several((op.GUARD, 3), (op.AND, 0))
        elif divide and tame:
            self.several((op.GUARD, 6), (op.AND, 0), (op.GUARD, 1), (op.OR, 0))
        elif self.guarded and self.kind == op.INT:
            self.several((op.GUARD, 50), (op.REMAINDER, 0))
        self.emit(sign)

    def condition(self, depth):
        """A truth: comparisons, !, && and ||."""
        which = self.below(8) if depth else self.below(6)
        if which < 5:
            self.expression(min(depth, 1))
            self.expression(min(depth, 1))
            self.emit(self.random.choice(range(op.LESS, op.UNEQUAL + 1)))
        elif which == 5:
            self.expression(min(depth, 1))
            self.emit(op.NOT)
        else:
            self.condition(depth - 1)
            both = self.emit(self.random.choice([op.ALSO, op.OTHERWISE]))
            self.condition(depth - 1)
            self.patch(both, self.emit(op.TRUTH))

    def value(self, depth):
        """An expression; a guarded one is brought near 0, or sums would overflow at last."""
        self.expression(depth)
        if self.guarded and self.kind != op.UCHAR:
            self.several((op.GUARD, 97), (op.REMAINDER, 0))

    # Statements.

    def initialise(self, itself=False):
        v = self.declare()
        if itself:
            self.scalars.append(v)  # int a = a + 1;
        self.value(self.below(3))
        self.emit(op.DECLARE, v)
        if not itself:
            self.scalars.append(v)

    def declarations(self, count):
        self.calls = False  # whose writes an initialiser's would lie between
        for _ in range(count):
            v = self.declare()
            self.extreme() if not self.guarded and self.below(4) == 0 else self.constant()
            self.emit(op.DECLARE, v)
            self.scalars.append(v)
        if self.below(2):
            self.fill(op.ARRAY, self.random.choice([2, 4, 8]))
        if self.below(2):
            struct = self.fill(op.STRUCT, 2)
            self.emit(op.ADDRESS, self.random.choice(self.scalars))
            self.emit(op.AIM, scalar := self.declare(op.POINTER))
            self.emit(op.ADDRESS, struct)
            self.emit(op.AIM, pointer := self.declare(op.STRUCT_POINTER))
            self.pointers = struct, scalar, pointer

    def fill(self, kind, cells):
        for _ in range(cells):
            self.value(self.below(2))
            self.emit(op.ARGUMENT)
        v = self.declare(kind, cells)
        self.emit(op.FILL, v)
        if kind == op.ARRAY:
            self.arrays.append(v)
        return v

    def assignment(self):
        if not self.room(0):
            return
        which, depth = self.below(12), self.below(4)
        if which < 2 and self.arrays:
            v = self.random.choice(self.arrays)
            self.index(v, 1)
            self.emit(op.ARGUMENT)
            self.value(depth)
            self.emit(op.STORE, v)
        elif which < 4 and self.pointers:
            struct, scalar, pointer = self.pointers
            if self.below(3) == 0:
                self.emit(op.ADDRESS, self.random.choice(self.scalars[:2]))
                self.emit(op.AIM_AGAIN, scalar)
            self.value(depth)
            if self.below(2):
                self.emit(op.STORE_TARGET, scalar)
            else:
                at = self.random.choice([struct, pointer])
                self.emit(op.STORE_MEMBER, 2 * at + self.below(2))
        elif which < 6 and (self.kind != op.INT or not self.guarded):
            target, way = self.random.choice(self.scalars), self.below(5)
            if way < 3:
                self.expression(min(depth, 2))
            self.emit(op.ADD_TO + way, target)
        else:
            self.value(depth)
            self.emit(op.ASSIGN, self.random.choice(self.scalars))

    def block(self, depth, loop=0, function=False):
        """Some statements in a scope of their own. ``loop``: a list for the jumps to be patched."""
        held = list(self.scalars), list(self.counters)
        for _ in range(1 + self.below(3)):
            self.statement(depth, loop, function)
        self.scalars, self.counters = held

    def statement(self, depth, loop=None, function=False):
        self.calls = True
        which = self.below(10) if depth and self.room(2) else 9
        if which < 2:
            self.choice(depth, loop, function)
        elif which == 2:
            self.bounded(depth, function)
        elif which == 3:
            self.repeated(depth, function)
        elif which == 4 and loop is not None:
            self.guard_statement()
            loop.append(self.emit(self.random.choice([op.BREAK, op.CONTINUE])))
            self.end_statement()
        elif which == 5 and function:
            self.guard_statement()
            self.value(1)
            self.emit(op.RETURN)
            self.end_statement()
        elif which == 6 and self.room(1):
            self.initialise()
        else:
            self.assignment()

    def guard_statement(self):
        self.condition(1)
        self.open = self.emit(op.IF)

    def end_statement(self):
        self.patch(self.open, self.emit(op.END))

    def choice(self, depth, loop, function):
        self.condition(1)
        begin = self.emit(op.IF)
        self.block(depth - 1, loop, function)
        if self.below(2):
            self.patch(begin, begin := self.emit(op.ELSE))
            self.block(depth - 1, loop, function)
        self.patch(begin, self.emit(op.END))

    def bounded(self, depth, function):
        v = self.declare()
        begin = self.emit(op.FOR, v)
        self.emit(op.LIMIT, self.below(4))
        leave = self.emit(op.EXIT)
        self.counters.append(v)
        jumps = []
        self.block(depth - 1, jumps, function)
        self.counters.pop()
        self.close(jumps, next := self.emit(op.NEXT, begin))
        self.patch(leave, next)

    def repeated(self, depth, function):
        v = self.declare()
        self.emit(op.CONSTANT, self.below(4))
        self.emit(op.DECLARE, v)
        begin = len(self.pairs)
        self.several((op.LOAD, v), (op.CONSTANT, 0), (op.GREATER, 0))
        if self.below(2):
            both = self.emit(op.ALSO)
            self.condition(1)
            self.patch(both, self.emit(op.TRUTH))
        leave = self.emit(op.WHILE)
        self.counters.append(v)
        self.emit(op.DECREMENT, v)
        jumps = []
        self.block(depth - 1, jumps, function)
        self.counters.pop()
        self.close(jumps, again := self.emit(op.AGAIN, begin))
        self.patch(leave, again)

    def close(self, jumps, end):
        for place in jumps:
            self.patch(place, end)

    def function(self, recursive):
        number = len(self.functions)
        begin = self.emit(op.FUNCTION, number)
        parameters = [self.declare() for _ in range(2 if recursive else 1 + self.below(2))]
        for v in parameters:
            self.emit(op.PARAMETER, v)
        self.emit(op.OPEN)
        self.scalars, self.counters = parameters[int(recursive) :], parameters[: int(recursive)]
        if recursive:
            self.several((op.LOAD, parameters[0]), (op.CONSTANT, 0), (op.AT_MOST, 0))
            self.open = self.emit(op.IF)
            self.several((op.LOAD, parameters[1]), (op.RETURN, 0))
            self.end_statement()
        for _ in range(1 + self.below(2)):
            self.statement(1, None, True)
        self.calls = True
        if recursive:
            self.several((op.LOAD, parameters[0]), (op.CONSTANT, 1), (op.SUBTRACT, 0))
            self.emit(op.ARGUMENT)
            self.calls = False
            self.value(1)
            self.emit(op.ARGUMENT)
            self.emit(op.CALL, begin)
        else:
            self.value(1)
        self.emit(op.RETURN)
        self.emit(op.CLOSE)
        self.scalars, self.counters = [], []
        self.functions.append((begin, parameters, recursive))

    def finished(self, main):
        """The program; it prints a scalar of main."""
        self.emit(op.HALT)
        assert len(self.pairs) < sampler.PAIRS and len(self.objects) <= MOST_OBJECTS
        code = np.zeros((sampler.PAIRS, 2), np.int16)
        code[: len(self.pairs)] = self.pairs
        objects = np.zeros((MOST_OBJECTS, 2), np.int16)
        objects[: len(self.objects)] = self.objects
        asked = sum(cells for _, cells in self.objects[: self.random.choice(self.scalars[:main])])
        return Bytecode(code, objects, asked, self.kind)


def straight_line(random, kind, opaque=False):
    """Declarations and assignments of anything to anything."""
    make = Maker(random, kind, opaque=opaque)
    make.emit(op.MAIN)
    make.declarations(2 + make.below(3))
    for _ in range(make.below(3)):
        make.initialise(itself=not opaque and make.below(4) == 0)
    for _ in range(1 + make.below(4)):
        if make.room():
            make.assignment()
    return make.finished(2)


def structured(random, kind):
    """Functions, then main with blocks in each other."""
    make = Maker(random, kind, guarded=True)
    for _ in range(make.below(3)):
        make.function(recursive=make.below(2) == 1)
    make.emit(op.MAIN)
    make.declarations(2 + make.below(3))
    for _ in range(2 + make.below(4)):
        make.statement(3)
    return make.finished(2)


def referee(source, every_branch=False):
    """(Execution, None), or (None, Undefined), or (None, None) where it ends by a limit."""
    try:
        return reference.run(source, limit=LIMIT, every_branch=every_branch), None
    except reference.Undefined as error:
        return None, error
    except SettingError as error:
        assert re.search("writes, then none|statements in all|calls inside", str(error)), source
        return None, None
