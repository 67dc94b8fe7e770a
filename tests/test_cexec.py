"""C programs: our machine, a reference interpreter of the text, and real compilers agree."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lego
from cexec import bytecode as op
from cexec import machine, native
from cexec.cli import main as cexec
from cexec.reference import interpret
from cexec.task import CexecConfig, CexecTask
from lego.cli import main
from lego.corpus import digest
from lego.task import IGNORED, SPLITS, SettingError
from lego.verify import verify

configs = st.integers(1, 26).flatmap(
    lambda variables: st.builds(  # with so many statements, every split owns some program
        CexecConfig,
        variables=st.just(variables),
        statements=st.integers(max(variables, 5), 64),
        modulus=st.integers(4, 100),
    )
)
STRAIGHT = CexecTask(CexecConfig(), 0)


def rows_of(task, split, count):
    return task.table(task.sample(split, 0, count)).to_pylist()


@settings(max_examples=30, deadline=None)
@given(configs, st.sampled_from(SPLITS), st.integers(0, 2**62), st.integers(0, 2**40))
def test_every_column_of_every_config_is_what_the_reference_gives(config, split, seed, start):
    task = CexecTask(config, seed)
    table = task.table(task.sample(split, start, start + 8))
    assert list(task.check(table, split)) == []


def test_the_reference_computes_as_c_does():
    """Worked out by hand: C's remainder has the sign of the dividend."""
    body = ["int a = 7;", "int b = 3;", "a = -a;", "b = (a + b) % 3;", "a = (b * a) % 10;"]
    text = "\n".join(f"    {line}" for line in body)
    source = f'#include <stdio.h>\n\nint main(void) {{\n{text}\n    printf("%d\\n", a);\n'
    writes, stdout = interpret(source + "    return 0;\n}\n")
    assert [(w.line, w.name, w.value) for w in writes] == [
        (4, "a", 7), (5, "b", 3), (6, "a", -7), (7, "b", -1), (8, "a", 7),
    ]  # fmt: skip
    assert stdout == "7\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("% 10", "% 0"),
        ("% 10", "* 2147483647 * 9"),
        ("= (", "= (("),
        ("    int ", "    "),
        ("return 0", "return 1"),
    ],
)
def test_the_reference_refuses_what_is_undefined_or_no_program(old, new):
    source = rows_of(STRAIGHT, "train", 3)[2]["source"]
    changed = source.replace(old, new, 1)
    assert changed != source
    with pytest.raises(SettingError):
        interpret(changed)


values = st.integers(-(2**15), 2**15 - 1)


@settings(max_examples=200, deadline=None)
@given(
    values, values, values, st.sampled_from([op.ADD, op.SUBTRACT, op.MULTIPLY]), st.integers(-9, 9)
)
def test_the_machine_flags_what_the_reference_calls_undefined(a, b, c, sign, modulus):
    """Unguarded programs ``x = a * b * c op c % modulus``, as the grammar never makes them."""
    pairs = [(op.CONSTANT, a), (op.CONSTANT, b), (op.MULTIPLY, 0), (op.CONSTANT, c)]
    pairs += [(op.MULTIPLY, 0), (op.CONSTANT, c), (sign, 0), (op.REMAINDER, modulus)]
    code = np.array([*pairs, (op.DECLARE, 0), (op.HALT, 0)], np.int16)
    writes = np.zeros((1, 2), np.int32)
    count, flags = machine.run(code, np.zeros(1, np.int64), np.zeros(4, np.int64), writes)
    product = a * b * c
    result = {op.ADD: product + c, op.SUBTRACT: product - c, op.MULTIPLY: product * c}[sign]
    fits = [-(2**31) <= value < 2**31 for value in (a * b, product, result)]
    assert bool(flags & machine.OVERFLOW) == (not all(fits))
    assert bool(flags & machine.DIVISION) == (modulus == 0)
    assert count == 1
    if flags == 0:
        assert writes[0, 1] == int(np.fmod(result, modulus))


def test_sources_compile_without_a_warning(tmp_path):
    compiler = native.find_compiler().command
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    tasks = [STRAIGHT, CexecTask(CexecConfig(variables=1, statements=1, modulus=2), 0)]
    for number, task in enumerate(tasks):
        sources = [row["source"] for row in rows_of(task, "train", 400)]
        merged = "\n".join(
            source.replace("int main(void)", f"int main_{k}(void);\nint main_{k}(void)")
            for k, source in enumerate(sources)
        )
        file = tmp_path / f"{number}.c"
        file.write_text(merged)
        run = subprocess.run([*compiler, *strict, str(file)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[:2000]


@pytest.mark.parametrize("name", ["gcc", "clang", "tcc", "zig"])
def test_a_real_compiler_agrees_on_every_state(name):
    if name != "zig" and not shutil.which(name):
        pytest.skip(f"{name} is not installed here; zig comes with the test extra")
    compiler = native.find_compiler(name)
    wide = CexecTask(CexecConfig(variables=20, statements=40, modulus=100), 1)
    for task, count in ((STRAIGHT, 1500), (wide, 150)):
        assert list(native.mismatches(rows_of(task, "train", count), compiler)) == []


def wrong_value(row):
    row["trace"][3]["value"] += 1


def wrong_line(row):
    row["trace"][3]["line"] += 1


def wrong_name(row):
    row["trace"][3]["name"] = "zz"


def wrong_stdout(row):
    row["stdout"] = f"{int(row['stdout']) + 1}\n"


def lost_write(row):
    row["trace"].pop()


def wrong_source(row):
    row["source"] = row["source"].replace("= ", "= 1 + ", 1)


def no_program(row):
    row["source"] = row["source"].replace(";", "", 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("cexec") / "C"
    rows = ["--rows", "train=300,test=200", "--shard-rows", "150", "--workers", "1"]
    assert main(["make", "cexec", str(out), "--preset", "straight", *rows]) == 0
    return out


@pytest.fixture
def copy(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "C")
    return tmp_path / "C"


@pytest.mark.parametrize(
    "damage",
    [wrong_value, wrong_line, wrong_name, wrong_stdout, lost_write, wrong_source, no_program],
)
def test_an_injected_fault_is_found_by_the_compiler_and_by_the_oracle(copy, capsys, damage):
    path = copy / "straight" / "test-00001-of-00002.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    damage(rows[7])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    assert cexec(["check", str(copy), "--split", "test"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if ".parquet row" in line]
    row = 0 if damage is no_program else 7  # a compiler refuses the whole file
    assert lines and all(f"test-00001-of-00002.parquet row {row}: " in line for line in lines)
    manifest = json.loads((copy / "manifest.json").read_text())
    shards = manifest["configs"]["straight"]["splits"]["test"]["shards"]
    shards[1]["sha256"] = digest(path)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    faults = verify(copy, workers=1).faults
    assert faults and all("test-00001-of-00002.parquet row 7: " in fault for fault in faults)


def test_a_clean_corpus_is_called_clean_and_loads(corpus, capsys):
    assert cexec(["check", str(corpus), "--sample", "60"]) == 0
    assert "230 programs, 2,300 states compared, 0 mismatches" in capsys.readouterr().out
    assert main(["verify", str(corpus)]) == 0
    loaded = datasets.load_dataset(str(corpus), "straight", split="test")
    assert loaded.features == STRAIGHT.features
    assert loaded[:] == STRAIGHT.table(STRAIGHT.sample("test", 0, 200)).to_pydict()
    streamed = datasets.load_dataset(str(corpus), "straight", split="test", streaming=True)
    assert list(streamed) == list(loaded)


def test_tokenising_text_gives_input_ids_back():
    rows = rows_of(STRAIGHT, "train", 2000)
    tokenizer = STRAIGHT.tokenizer()
    assert tokenizer([row["text"] for row in rows])["input_ids"] == [r["input_ids"] for r in rows]


def test_steps_point_at_the_values_of_the_trace():
    batch = STRAIGHT.sample("test", 0, 300)
    steps = STRAIGHT.steps(batch)
    words = STRAIGHT.vocabulary.words
    for row, published in enumerate(STRAIGHT.table(batch).to_pylist()):
        values = [str(write["value"]) for write in published["trace"]]
        for step, value in enumerate(values):
            (at,) = np.flatnonzero(steps[row] == step)
            assert words[batch["input_ids"][row, at]] == value
            assert batch["labels"][row, at] == batch["input_ids"][row, at] != IGNORED
        assert steps[row].max() == len(values) - 1


def test_the_graph_follows_the_values_through_the_program():
    batch = STRAIGHT.sample("test", 0, 200)
    graph = STRAIGHT.graph(batch)
    words = np.array(STRAIGHT.vocabulary.words)[batch["input_ids"]]
    for row, published in enumerate(STRAIGHT.table(batch).to_pylist()):
        last, depth, line = {}, {}, published["source"].split("\n")
        for step, write in enumerate(published["trace"]):
            assert words[row, graph["definition"][row, step]] == write["name"]
            assert words[row, graph["value"][row, step]] == str(write["value"])
            right = line[write["line"] - 1].split("= ")[1]
            read = [sign for sign in right if sign.isalpha()]
            operands = [at for at in graph["operands"][row, step] if at >= 0]
            assert [words[row, at] for at in operands] == read
            found = [words[row, at] for at in graph["sources"][row, step] if at >= 0]
            assert found == [str(last[name]) for name in read]
            deep = max((depth[name] + 1 for name in read), default=0)
            assert graph["depth"][row, step] == deep
            last[write["name"]], depth[write["name"]] = write["value"], deep
        asked = published["question"].split()[5]
        assert depth[asked] == max(depth.values())


def test_splits_share_no_program_even_with_other_names():
    def skeleton(source):
        body = source.split("{\n")[1].split("    printf")[0]
        names = {}
        return "".join(
            names.setdefault(c, f"v{len(names)}") if c.isalpha() else c
            for c in body.replace("int ", "")
        )

    task = CexecTask(CexecConfig(variables=2, statements=2, modulus=3), 0)
    seen = {s: {skeleton(row["source"]) for row in rows_of(task, s, 2000)} for s in SPLITS}
    assert len(seen["train"]) > 500
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


@settings(max_examples=15, deadline=None)
@given(configs, st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_any_ranges_give_the_same_bytes(config, cuts):
    task = CexecTask(config, 3)
    whole = task.sample("train", 0, 30)
    parts = np.split(whole["input_ids"], sorted(cuts))
    bounds = [0, *sorted(cuts), 30]
    for part, start, stop in zip(parts, bounds, bounds[1:], strict=False):
        np.testing.assert_array_equal(part, task.sample("train", start, stop)["input_ids"])


def digest_of(rows):
    task = CexecTask(CexecTask.presets["straight"], 7)
    total = hashlib.sha256()
    for split in SPLITS:
        for array in task.sample(split, 0, rows).values():
            total.update(np.ascontiguousarray(array, "<i2").tobytes())
    return total.hexdigest()[:16]


def test_bytes_never_change():
    assert digest_of(500) == "4f362e3dd77ef92b"


@pytest.mark.parametrize("environment", [{"PYTHONHASHSEED": "1"}, {"NUMBA_DISABLE_JIT": "1"}])
def test_bytes_depend_neither_on_the_hash_seed_nor_on_compilation(environment):
    code = "import warnings; warnings.simplefilter('ignore'); import test_cexec;"
    code += "print(test_cexec.digest_of(4))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": os.path.dirname(__file__)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.strip() == digest_of(4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variables": 0}, r"variables=0: allowed 1\.\.26"),
        ({"statements": 3}, r"statements=3: allowed 4\.\.64"),
        ({"modulus": 1}, r"modulus=1: allowed 2\.\.100"),
        ({"level": "loop"}, "level='loop': allowed straight"),
        ({"loops": 3}, "field='loops': allowed level"),
        ({"preset": "strait"}, r"preset='strait': allowed straight \(did you mean 'straight'\?\)"),
    ],
)
def test_an_impossible_config_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message):
        lego.load_task("cexec", **fields)


def test_bad_usage_of_check_is_one_line(corpus, tmp_path, capsys):
    assert main(["make", "chains", str(tmp_path / "X"), "--rows", "test=5", "--workers", "1"]) == 0
    for words, message in (
        ([str(tmp_path)], "CORPUS="),
        ([str(tmp_path / "X")], "task='chains': allowed cexec"),
        ([str(corpus), "--compiler", "msvc"], "compiler='msvc': allowed auto, gcc"),
        ([str(corpus), "--sample", "0"], "sample=0: allowed 1 or more"),
        ([str(corpus), "--split", "dev"], "split='dev': allowed"),
    ):
        capsys.readouterr()
        assert cexec(["check", *words]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"cexec: {message}") and printed.count("\n") == 1
