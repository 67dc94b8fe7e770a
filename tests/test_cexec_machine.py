"""The machine, the Python reference and real compilers agree, also on what C leaves undefined."""

from random import Random

import pytest
from cexec_cases import (
    KINDS,
    Maker,
    compiler_of,
    first_flag,
    referee,
    rows_of,
    straight_line,
    structured,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cexec import batch, machine, reference, tokens
from cexec import bytecode as op
from cexec.config import PRESETS
from cexec.task import LIMIT, CexecTask

TYPES = (op.INT, op.UNSIGNED, op.UCHAR)
PLACES_FIRST = (op.STORE, op.ADD_TO, op.SUBTRACT_FROM, op.XOR_TO)
ROWS = 600  # of train; and OTHERS of each other split
OTHERS = 60


@pytest.fixture(scope="module")
def ladder():
    """Rows of each preset, from all its splits, and what the reference makes of their sources."""
    found = {}
    for name, config in PRESETS.items():
        task = CexecTask(config, 11)
        found[name] = [
            row
            for split in task.splits
            for row in rows_of(task, split, ROWS if split == "train" else OTHERS)
        ]
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_the_reference_agrees_on_every_write(ladder, name):
    for row in ladder[name]:
        ran = reference.run(row["source"], limit=LIMIT)
        held = [(w["step"], w["line"], w["name"], w["value"]) for w in row["trace"]]
        assert held == [tuple(write) for write in ran.writes], row["source"]
        assert row["stdout"] == ran.stdout, row["source"]


def agree(rows, compiler, sanitize):
    """Compiles without a warning under STRICT, runs without a trap, and prints what we say."""
    ran = batch.run_programs(
        [row["source"] for row in rows], compiler, batch.unmodified(compiler, sanitize)
    )
    assert ran.warnings == {} and ran.faults == {}
    printed = [said.decode() for said in ran.written.to_pylist()]
    assert printed == [row["stdout"] for row in rows]


@pytest.mark.parametrize("name", PRESETS)
def test_gcc_agrees_and_its_sanitizers_find_nothing(ladder, name):
    agree(ladder[name], compiler_of("gcc", sanitize=True), sanitize=True)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "tcc"])
@pytest.mark.parametrize("name", PRESETS)
def test_compilers_agree(ladder, name, compiler):
    rows = ladder[name]  # gcc is the slowest, and has seen them all
    agree(rows[::5] if compiler == "gcc" else rows, compiler_of(compiler), sanitize=False)


def test_zig_agrees():
    """Its start is slow, and it is a clang: one file for all levels."""
    rows = [
        row for config in PRESETS.values() for row in rows_of(CexecTask(config, 12), "test", 30)
    ]
    agree(rows, compiler_of("zig"), sanitize=False)


def test_clangs_sanitizers_find_nothing(ladder):
    rows = [row for name in PRESETS for row in ladder[name][::10]]
    agree(rows, compiler_of("clang", sanitize=True), sanitize=True)


# Bytecode that the grammar would never write.

randoms = st.randoms(use_true_random=False)


def compare_logs(program, source, ran):
    log, depths, facts = program.executed()
    assert log == [(w.line, w.name, w.value) for w in ran.writes], source
    assert depths == ran.depths, source
    assert f"{facts['answer']}\n" == ran.stdout, source
    held = [len(ran.writes), ran.branches, ran.taken, ran.depth, ran.distractors]
    assert facts["facts"][0].tolist() == held, source


def statement_of(program, place):
    """The action that ends the straight-line statement around a pair."""
    while not op.DECLARE <= program.code[place, 0] <= op.AIM_AGAIN:
        place += 1
    return int(program.code[place, 0])


def compare_undefined(program, source):
    """The machine flags a straight-line program just where the reference raises, and the first
    undefined thing is of the same kind; returns that kind."""
    ran, undefined = referee(source)
    first = first_flag(program)
    if ran is not None:
        assert first is None, (source, first)
        compare_logs(program, source, ran)
        return "defined"
    assert undefined is not None and first is not None, (source, undefined)
    place, flags = first
    action = statement_of(program, place)
    kind = KINDS[undefined.kind]
    if action in PLACES_FIRST:
        # C has no order between where a value goes and the value: any of the two may come first.
        end = place
        while program.code[end, 0] != action:
            end += 1
        flags = program.run(end + 1)[machine.FLAGS]
        assert flags & kind, (source, undefined, flags)
    else:
        assert flags == kind, (source, undefined, flags)
    assert program.run()[machine.FLAGS] & flags == flags
    return undefined.kind


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=120, deadline=None)
@given(random=randoms)
def test_what_is_undefined_is_flagged_and_nothing_else(kind, random):
    program = straight_line(random, kind)
    (source,) = texts([program])
    compare_undefined(program, source)


def test_all_that_bytecode_can_express_is_met():
    """The same on many programs, in each type, whose kinds are counted."""
    for kind in TYPES:
        programs = [straight_line(Random(seed), kind) for seed in range(500)]
        met = [compare_undefined(*pair) for pair in zip(programs, texts(programs), strict=True)]
        assert met.count("defined") >= 100
        allowed = {"defined", "bounds", "division", "shift", "uninitialised"}
        if kind != op.UNSIGNED:
            allowed |= {"overflow", "implementation"}
        assert set(met) == allowed, tokens.TYPES[kind]


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=80, deadline=None)
@given(random=randoms)
def test_structured_programs_give_the_log_of_the_reference(kind, random):
    program = structured(random, kind)
    (source,) = texts([program])
    compare_structured(program, source)


def compare_structured(program, source):
    ran, undefined = referee(source)
    flags = program.run()[machine.FLAGS]
    if flags & machine.ENDLESS or (ran is None and undefined is None):
        assert flags & machine.ENDLESS and (ran is None or len(ran.writes) > 300), source
        return "endless"
    if ran is None:
        assert flags & KINDS[undefined.kind], (source, flags, undefined)
        return undefined.kind
    assert flags == 0, (source, flags)
    compare_logs(program, source, ran)
    other, _ = referee(source, every_branch=True)
    counts = program.run(every_branch=True)
    if other is not None and not counts[machine.FLAGS] & machine.ENDLESS:
        assert counts[: machine.TAKEN].tolist() == [len(other.writes), 0, other.branches], source
        if ran.taken < ran.branches:
            *_, facts = program.executed()
            assert f"{facts['no-branch']}\n" == other.stdout, source
    return "defined"


def test_structured_programs_are_defined_as_a_rule():
    for kind in TYPES:
        programs = [structured(Random(seed), kind) for seed in range(300)]
        sources = texts(programs)
        met = [compare_structured(*pair) for pair in zip(programs, sources, strict=True)]
        assert met.count("defined") >= 200
        words = " ".join(sources)
        for word in ("for (", "while (", "else {", "break;", "continue;", "f2(", "->", "&&", "?"):
            assert words.count(word) >= 10, word


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_the_sanitizers_trap_what_is_flagged(name):
    compiler, kind = compiler_of(name, sanitize=True), op.INT
    programs = [straight_line(Random(seed), kind, opaque=True) for seed in range(400)]
    programs += [structured(Random(seed), kind) for seed in range(100)]
    sources = texts(programs)
    compiled = batch.unmodified(compiler, sanitize=True)
    compiled = batch.Kind(("-w", *[flag for flag in compiled.flags if "-W" not in flag]))
    ran = batch.run_programs(sources, compiler, compiled)
    printed, trapped = ran.written.to_pylist(), 0
    for k, (program, source) in enumerate(zip(programs, sources, strict=True)):
        mine, undefined = referee(source)
        if undefined is None:
            assert k not in ran.faults and printed[k].decode() == mine.stdout, source
        elif undefined.kind not in ("uninitialised", "implementation"):
            assert "trap" in ran.faults.get(k, ""), (source, undefined)
            assert program.run()[machine.FLAGS] & KINDS[undefined.kind], source
            trapped += 1
    assert trapped >= 100


def test_an_array_at_its_end():
    """Worked out by hand: the last element, and one behind it."""
    make = Maker(Random(0), op.INT)
    make.emit(op.MAIN)
    for value in (3, 4):
        make.several((op.CONSTANT, value), (op.ARGUMENT, 0))
    make.emit(op.FILL, array := make.declare(op.ARRAY, 2))
    make.several((op.CONSTANT, 1), (op.ELEMENT, array))
    make.emit(op.DECLARE, v := make.declare())
    make.scalars.append(v)
    inside = make.finished(1)
    assert inside.run().tolist() == [3, 0, 0, 0]
    assert inside.executed()[0] == [(9, "a[0]", 3), (9, "a[1]", 4), (10, "b", 4)]
    inside.code[6, 1] = 2  # where the index's CONSTANT stands
    assert inside.run()[machine.FLAGS] == machine.BOUNDS
