"""Real compilers find every fault in a corpus, name its row, and their word is put on record."""

import hashlib
import importlib.util
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lego
from cexec import batch, certificate, native
from cexec.cli import main as cexec
from cexec.task import CexecTask
from lego.cli import main
from lego.corpus import read_certificate, read_manifest

NAMES = native.COMPILERS[1:]
WRITE = pa.struct(
    [("step", pa.int32()), ("line", pa.int32()), ("name", pa.string()), ("value", pa.int64())]
)
SCHEMA = pa.schema([("source", pa.string()), ("stdout", pa.string()), ("trace", pa.list_(WRITE))])
MAIN = "#include <stdio.h>\n\nint main(void) {\n"
END = "    return 0;\n}\n"


def compiler_of(name, sanitize=False):
    there = importlib.util.find_spec("ziglang") if name == "zig" else shutil.which(name)
    if not there:
        pytest.skip(f"{name} is not installed here")
    return native.find_compiler(name, sanitize)


def row(source, stdout, *writes):
    """A row whose trace is given as (line, name, value), in order."""
    trace = [
        {"step": step, "line": line, "name": name, "value": value}
        for step, (line, name, value) in enumerate(writes)
    ]
    return {"source": source, "stdout": stdout, "trace": trace}


def straight(k):
    """A program of four writes that differ with k."""
    a, b = k % 10, k // 10 % 10
    c, d = (a * b) % 10, (a + 7) % 10
    body = f"    int a = {a};\n    int b = {b};\n    b = (a * b) % 10;\n    a = (a + 7) % 10;\n"
    writes = [(4, "a", a), (5, "b", b), (6, "b", c), (7, "a", d)]
    return row(MAIN + body + '    printf("%d\\n", b);\n' + END, f"{c}\n", *writes)


def rows_of(count):
    return [straight(k) for k in range(count)]


def table_of(rows):
    return pa.Table.from_pylist(rows, SCHEMA)


def faults_of(rows, compiler, sanitize=False):
    return certificate.check_rows(table_of(rows), compiler, sanitize)[1]


def with_line(one, line):
    """A row with one more line at its program's end, which the trace says nothing of."""
    return one | {"source": one["source"].replace("    printf", f"    {line}\n    printf")}


# Every kind of write, worked out by hand; several define f, struct pair and total.
ARRAY = row(
    MAIN + """\
    int m[3] = {5, 6, 7};
    int s = 0;
    for (int i = 0; i < 2; i++) {
        m[i] = m[i + 1];
        s += m[i];
    }
    printf("%d\\n", s);
""" + END,
    "13\n",
    (4, "m[0]", 5), (4, "m[1]", 6), (4, "m[2]", 7), (5, "s", 0),
    (6, "i", 0), (7, "m[0]", 6), (8, "s", 6),
    (6, "i", 1), (7, "m[1]", 7), (8, "s", 13), (6, "i", 2),
)  # fmt: skip
RECURSION = row(
    """\
#include <stdio.h>

static int f(int n, int a) {
    if (n <= 0) {
        return a;
    }
    return f(n - 1, a * 2);
}

int main(void) {
    int a = 3;
    a = f(2, a);
    printf("%d\\n", a);
""" + END,
    "12\n",
    (11, "a", 3), (3, "n", 2), (3, "a", 3), (3, "n", 1), (3, "a", 6), (3, "n", 0), (3, "a", 12),
    (12, "a", 12),
)  # fmt: skip
POINTERS = row(
    """\
#include <stdio.h>

struct pair {
    int x;
    int y;
};

static int f(int *v) {
    v[1] = 9;
    return v[0];
}

int main(void) {
    int a = 3;
    int m[2] = {1, 2};
    struct pair s = {1, 2};
    int *q = &a;
    struct pair *p = &s;
    *q = 4;
    q = &m[1];
    *q = 8;
    p->y = 5;
    s.x = f(m);
    printf("%d\\n", a);
""" + END,
    "4\n",
    (14, "a", 3), (15, "m[0]", 1), (15, "m[1]", 2), (16, "s.x", 1), (16, "s.y", 2),
    (19, "a", 4), (21, "m[1]", 8), (22, "s.y", 5), (9, "m[1]", 9), (23, "s.x", 1),
)  # fmt: skip
UNSIGNED = row(
    MAIN + """\
    unsigned a = 3u;
    a -= 4u;
    unsigned char b = 200;
    b = b + 100;
    while (b > 42) {
        b--;
    }
    printf("%u\\n", a);
""" + END,
    "4294967295\n",
    (4, "a", 3), (5, "a", 4294967295), (6, "b", 200), (7, "b", 44), (9, "b", 43), (9, "b", 42),
)  # fmt: skip
EXITS = row(
    """\
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    int a = 3;
    a++;
    printf("%d\\n", a);
    if (a == 4) {
        exit(0);
    }
    return 0;
}
""",
    "4\n",
    (5, "a", 3), (6, "a", 4),
)  # fmt: skip
BY_HAND = [ARRAY, RECURSION, POINTERS, UNSIGNED, EXITS]


@pytest.mark.parametrize(
    ("name", "sanitize"), [(one, False) for one in NAMES] + [(one, True) for one in native.SANITIZE]
)
def test_a_compiler_agrees_with_traces_worked_out_by_hand(name, sanitize):
    compiler = compiler_of(name, sanitize)
    rows = rows_of(300) + BY_HAND * 2
    count, faults = certificate.check_rows(table_of(rows), compiler, sanitize)
    assert faults == []
    writes = sum(len(one["trace"]) for one in rows)
    assert vars(count) == {"rows": 310, "writes": writes, "mismatches": 0, "warnings": 0}


@pytest.fixture(scope="module")
def of_every_level():
    """Some rows of each preset, of a split that the check of a finished corpus begins with."""
    parts = []
    for config in CexecTask.presets.values():
        task = CexecTask(config, 3)
        parts.append(task.table(task.sample("test", 0, 60)).select(SCHEMA.names))
    return pa.concat_tables(part.cast(parts[0].schema) for part in parts)


@pytest.mark.parametrize("name", native.SANITIZE)
def test_a_compiler_agrees_with_every_level_of_the_generator(name, of_every_level):
    compiler = compiler_of(name)
    count, faults = certificate.check_rows(of_every_level, compiler, sanitize=True)
    assert faults == []
    assert count.rows == 60 * len(CexecTask.presets)


def test_tcc_agrees_with_every_level_of_the_generator(of_every_level):
    assert certificate.check_rows(of_every_level, compiler_of("tcc"))[1] == []


def wrong_value(one):
    one["trace"][2]["value"] += 1
    return "step 2: line 6, b = 1, but the compiler has line 6, b = 0"


def wrong_line(one):
    one["trace"][1]["line"] += 1
    return "step 1: line 6, b = 0, but the compiler has line 5, b = 0"


def wrong_name(one):
    one["trace"][3]["name"] = "zz"
    return "step 3: line 7, zz = 4, but the compiler has line 7, a = 4"


def lost_write(one):
    one["trace"].pop()
    return "trace: 3 writes, but the compiler has 4"


def one_write_too_many(one):
    one["trace"].append({"step": 4, "line": 7, "name": "a", "value": 4})
    return "trace: 5 writes, but the compiler has 4"


def wrong_order(one):
    first, second, *_ = one["trace"]
    first["step"], second["step"] = 1, 0
    return "trace: steps are not 0, 1, 2, ..."


def wrong_stdout(one):
    one["stdout"] = "1\n"
    return r"stdout='1\n', but the compiler has '0\n'"


def no_program(one):
    one["source"] = one["source"].replace("a = 7;", "a = 7", 1)
    return "does not compile: line "


def a_warning(one):
    one["source"] = with_line(one, "int unused;")["source"]
    return "warning: line 8: unused variable"


def a_crash(one):
    one["source"] = with_line(one, "b = 1 / (b - b);")["source"]
    return "ends by SIGFPE"


DAMAGES = [
    wrong_value, wrong_line, wrong_name, lost_write, one_write_too_many, wrong_order, wrong_stdout,
    no_program, a_crash,
]  # fmt: skip


def write_corpus(folder, splits, shards=1):
    """A corpus of hand-made rows: split -> rows, in so many shards a split."""
    parts = {}
    (folder / "hand").mkdir(parents=True)
    for split, rows in splits.items():
        parts[split] = {"rows": len(rows), "shards": []}
        size = len(rows) // shards
        for k in range(shards):
            file = f"hand/{split}-{k:05d}-of-{shards:05d}.parquet"
            some = rows[k * size : (k + 1) * size]
            pq.write_table(table_of(some), folder / file, row_group_size=40)
            digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            parts[split]["shards"].append({"file": file, "rows": len(some), "sha256": digest})
    manifest = {"task": "cexec", "version": lego.__version__, "seed": 0}
    manifest |= {"configs": {"hand": {"fields": {}, "splits": parts}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "README.md").write_text("# by hand\n")
    return folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_an_injected_fault_is_named_by_its_row(tmp_path, capsys, damage):
    rows = rows_of(200)
    message = damage(rows[107])
    corpus = write_corpus(tmp_path / "C", {"test": rows}, shards=2)
    assert cexec(["check", str(corpus), "--compiler", fastest()]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if ".parquet" in line]
    assert lines[0].startswith(f"hand/test-00001-of-00002.parquet row 7: {message}"), lines
    assert "200 programs, " in summary and " 1 mismatches" in summary


def fastest():
    return next(
        name for name in ("tcc", "clang", "gcc", "zig") if shutil.which(name) or name == "zig"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_many_faults_is_gone_through_to_its_end(name):
    compiler = compiler_of(name)
    rows = rows_of(90)
    damages = {7 + 10 * k: damage for k, damage in enumerate([no_program, a_crash, wrong_value])}
    messages = {k: [damage(rows[k])] for k, damage in damages.items() if damage is not wrong_value}
    rows[27]["trace"][2]["value"] += 1
    messages[27] = ["step 2: line 6, b = 5, but the compiler has line 6, b = 4"]
    rows[40] = with_line(rows[40], "extern int nowhere(int); b = nowhere(b);")
    messages[40] = ["does not load: "]
    rows[50] = with_line(rows[50], 'fprintf(stdout, "x"); a = undeclared(a);')
    messages[50] = ["does not "]
    found = {}
    for at, message in faults_of(rows, compiler):
        if not message.startswith("warning: "):
            found.setdefault(at, []).append(message)
    assert list(found) == sorted(messages)
    for at, told in messages.items():
        assert len(found[at]) == 1 and found[at][0].startswith(told[0]), found[at]


@pytest.mark.parametrize("name", NAMES)
def test_warnings_are_named_by_row_and_line(name):
    compiler = compiler_of(name)
    rows = [
        with_line(straight(k), "int unused;") if k in (3, 8) else straight(k) for k in range(12)
    ]
    rows[5] = with_line(straight(5), "a = a == 3 ? 1 : 1u + 7u > a;")
    rows[6] = with_line(straight(6), "if (a = b) { b = b; }")
    count, faults = certificate.check_rows(table_of(rows), compiler, False)
    told = {at: text for at, text in faults if text.startswith("warning: line 8: ")}
    if name == "tcc":  # which hardly warns
        assert told == {}
    else:
        assert set(told) >= {3, 6, 8} and count.warnings == len(told)
        assert "unused" in told[3]


UNDEFINED = {
    "overflow": "a = 2147483647; a = a + b + 1;",
    "division": "b = 0; a = 7 / b;",
    "shift": "b = 40; a = a << b;",
    "negative shift": "b = -b - 1; a = 1 >> b;",
    "bounds": "int m[2] = {1, 2}; b = 2; a = m[b];",
}


@pytest.mark.parametrize("name", native.SANITIZE)
def test_undefined_behaviour_is_found_when_sanitized(name):
    compiler = compiler_of(name, sanitize=True)
    rows = rows_of(40)
    for k, line in enumerate(UNDEFINED.values()):
        # Guarded by a condition that no compiler sees through, so that no value changes.
        rows[5 * k + 2] = with_line(rows[5 * k + 2], f"{{ int a = 3, b = 3; {line} (void)a; }}")
    found = {at: message for at, message in faults_of(rows, compiler, sanitize=True)}
    assert sorted(found) == [2, 7, 12, 17, 22]
    assert all(message.startswith("undefined behaviour") for message in found.values()), found


def test_tcc_is_refused_for_a_sanitized_check(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "C", {"test": rows_of(4)})
    assert cexec(["check", str(corpus), "--compiler", "tcc", "--sanitize"]) == 2
    said = capsys.readouterr().err
    assert said == "cexec: compiler='tcc': allowed clang, gcc, zig for a sanitized check\n"


def test_a_program_that_does_not_end_is_named_and_the_next_ones_run(monkeypatch):
    monkeypatch.setattr(batch, "PROGRAM_SECONDS", 1)
    compiler = native.find_compiler(fastest())
    rows = rows_of(6)
    rows[2] = with_line(rows[2], "while (b + 1) { b = b; }")
    kind = batch.unmodified(compiler)
    ran = batch.run_programs([one["source"] for one in rows], compiler, kind)
    assert ran.faults == {2: "does not end within 1 s"}
    printed = [text.decode() for text in ran.written.to_pylist()]
    assert [printed[k] for k in (0, 1, 3, 4, 5)] == [rows[k]["stdout"] for k in (0, 1, 3, 4, 5)]


def test_a_program_that_prints_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(batch, "PROGRAM_BYTES", 2**20)
    compiler = native.find_compiler(fastest())
    endless = MAIN + '    for (;;) {\n        printf("%d\\n", 1);\n    }\n' + END
    sources = [straight(1)["source"], endless]
    ran = batch.run_programs(sources, compiler, batch.unmodified(compiler))
    assert ran.faults == {1: "prints more than 1048576 bytes"}
    assert ran.written[0].as_py() == b"0\n"


@pytest.mark.parametrize("name", NAMES)
def test_programs_of_one_file_do_not_stand_in_each_others_way(name):
    compiler = compiler_of(name)
    one = """\
#include <stdio.h>
#include <stdlib.h>
#define TIMES 3
typedef struct {
    int x;
} box;
enum { RED = 1, BLUE };
union either {
    int a;
};
static const int total = 3;
int counts[4] = {1, 2};
static int *where(box b) {
    static int held;
    held = b.x + total;
    return &held;
}

int main(int argc, char **argv) {
    box b = {4};
    union either e = {7};
    printf("%d %d %d %d\\n", *where(b) * TIMES, e.a + BLUE, argc, argv[1] == 0);
    exit(0);
}
"""
    other = one.replace("TIMES 3", "TIMES 5").replace("int x", "long y, x").replace("{4}", "{0, 4}")
    sources = [one, other, straight(12)["source"], one]
    ran = batch.run_programs(sources, compiler, batch.unmodified(compiler))
    assert ran.faults == {}
    texts = [text.decode() for text in ran.written.to_pylist()]
    assert texts == ["21 9 1 1\n", "35 9 1 1\n", "2\n", "21 9 1 1\n"]


def test_a_certificate_states_what_was_checked_and_adds_up(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "C", {"train": rows_of(100), "test": rows_of(60)}, shards=2)
    name = fastest()
    assert cexec(["check", str(corpus), "--compiler", name, "--split", "test"]) == 0
    assert "60 programs, 240 states compared, 0 mismatches" in capsys.readouterr().out
    held = read_certificate(corpus, read_manifest(corpus))
    (check,) = held["checks"]
    assert check["by"] == native.find_compiler(name).version
    assert check["settings"]["compiler"] == name
    assert check["settings"]["sanitized"] == "no"
    assert "-std=c11 -Wall -Wextra -pedantic" in check["settings"]["as it stands, stdout compared"]
    (part,) = check["splits"]
    assert part.pop("date")
    numbers = {"rows": 60, "of": 60, "writes": 240, "mismatches": 0, "warnings": 0}
    assert part == {"config": "hand", "split": "test"} | numbers

    # A sample neither takes the place of the whole, nor claims to be it.
    assert cexec(["check", str(corpus), "--compiler", name, "--sample", "5"]) == 0
    (check,) = read_certificate(corpus, read_manifest(corpus))["checks"]
    parts = {part["split"]: (part["rows"], part["of"]) for part in check["splits"]}
    assert parts == {"test": (60, 60), "train": (10, 100)}

    other = next(one for one in ("gcc", "zig") if one != name)
    if native.find_compiler().name != name:
        other = "auto"
    words = ["check", str(corpus), "--compiler", other, "--sample", "2", "--sanitize"]
    assert cexec(words) == 0
    first, second = read_certificate(corpus, read_manifest(corpus))["checks"]
    assert first == check
    assert second["settings"]["sanitized"] == "yes"
    assert "-fsanitize=signed-integer-overflow" in json.dumps(second["settings"])
    card = (corpus / "README.md").read_text()
    assert card.startswith("# by hand\n") and card.count("## Checked from outside") == 1
    assert "| hand | train | 10 | 100 | 40 | 0 | 0 |" in card


def test_a_certificate_of_a_bad_corpus_says_so(tmp_path, capsys):
    rows = rows_of(20)
    wrong_value(rows[7])
    corpus = write_corpus(tmp_path / "C", {"test": rows})
    assert cexec(["check", str(corpus), "--compiler", fastest()]) == 1
    (check,) = read_certificate(corpus, read_manifest(corpus))["checks"]
    assert check["splits"][0]["mismatches"] == 1
    assert "| hand | test | 20 | 20 | 80 | 1 | 0 |" in (corpus / "README.md").read_text()


def test_a_certificate_of_another_corpus_is_ignored(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "C", {"train": rows_of(10), "test": rows_of(20)})
    words = ["check", str(corpus), "--compiler", fastest(), "--split"]
    assert cexec([*words, "test"]) == 0
    manifest = json.loads((corpus / "manifest.json").read_text())
    (corpus / "manifest.json").write_text(json.dumps(manifest | {"seed": 1}))
    capsys.readouterr()
    assert read_certificate(corpus, read_manifest(corpus)) is None
    assert "certificate.json: ignored, it is of a corpus with other" in capsys.readouterr().out
    assert cexec([*words, "train"]) == 0
    (check,) = read_certificate(corpus, read_manifest(corpus))["checks"]
    assert [part["split"] for part in check["splits"]] == ["train"]


def test_each_comparison_can_be_made_alone(tmp_path, capsys):
    rows = rows_of(40)
    wrong_value(rows[7])
    rows[8]["stdout"] = "11\n"
    corpus = write_corpus(tmp_path / "C", {"test": rows})
    for what, row, writes in (("stdout", 8, 0), ("writes", 7, 160)):
        assert cexec(["check", str(corpus), "--compiler", fastest(), "--only", what]) == 1
        said = capsys.readouterr().out
        assert f"row {row}: " in said
        assert f"40 programs, {writes} states compared, 1 mismatches" in said
    checks = read_certificate(corpus, read_manifest(corpus))["checks"]
    assert [len(check["settings"]) for check in checks] == [3, 3]


def test_a_damaged_shard_gets_no_certificate(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "C", {"test": rows_of(20)})
    pq.write_table(table_of(rows_of(21)[1:]), corpus / "hand/test-00000-of-00001.parquet")
    assert cexec(["check", str(corpus), "--compiler", fastest()]) == 1
    said = capsys.readouterr().out
    assert "hand/test-00000-of-00001.parquet: sha256=" in said and "no certificate" in said
    assert not (corpus / "certificate.json").exists()


ROWS = ["--rows", "train=60,validation=30,test=30", "--workers", "1", "--certify"]
MAKE = ["make", "cexec"]


def test_make_certifies_the_evaluation_splits_before_the_manifest(tmp_path, capsys):
    out = tmp_path / "C"
    assert main([*MAKE, str(out), "--preset", "straight", *ROWS]) == 0
    manifest = read_manifest(out)
    (check,) = read_certificate(out, manifest)["checks"]
    assert check["settings"]["sanitized"] == "yes"
    found = [(part["split"], part["rows"], part["mismatches"]) for part in check["splits"]]
    assert found == [("validation", 30, 0), ("test", 30, 0)]
    card = (out / "README.md").read_text()
    assert "## Checked from outside" in card
    # Made again without it, the certificate stays: it is of these very shards.
    assert main([*MAKE, str(out), "--preset", "straight", *ROWS[:-1]]) == 0
    assert (out / "README.md").read_text() == card
    assert read_certificate(out, manifest)["checks"] == [check]
    assert cexec(["check", str(out), "--split", "train", "--sanitize"]) == 0
    (check,) = read_certificate(out, manifest)["checks"]
    assert [part["split"] for part in check["splits"]] == ["validation", "test", "train"]


def test_a_corpus_that_fails_its_check_has_no_manifest(tmp_path, capsys, monkeypatch):
    out = tmp_path / "C"
    table = CexecTask.table

    def damaged(self, batch):
        made = table(self, batch)
        wrong = pa.array(["x\n"] * len(made), made.schema.field("stdout").type)
        return made.set_column(made.schema.get_field_index("stdout"), "stdout", wrong)

    with monkeypatch.context() as patch:
        patch.setattr(CexecTask, "table", damaged)
        assert main([*MAKE, str(out), "--preset", "straight", *ROWS]) == 1
    said = capsys.readouterr().out
    assert r"row 0: stdout='x\n', but the compiler has" in said and "not certified" in said
    assert not (out / "manifest.json").exists() and not (out / "certificate.json").exists()
    assert "train-" not in said  # the evaluation splits alone are checked


def test_certify_is_refused_before_anything_is_made(tmp_path, capsys, monkeypatch):
    out = tmp_path / "C"
    assert main(["make", "chains", str(out), "--rows", "test=5", "--certify"]) == 2
    said = "task='chains': allowed tasks with a check of their own for --certify"
    assert capsys.readouterr().err == f"lego: {said}\n"
    words = [*MAKE, str(out), "--preset", "straight"]
    assert main([*words, "--rows", "train=5", "--certify"]) == 2
    assert capsys.readouterr().err.startswith("lego: rows=")
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    monkeypatch.setattr(native, "find_spec", lambda name: None)
    assert main([*words, *ROWS]) == 2
    assert "pip install 'lego-reasoning[zig]'" in capsys.readouterr().err
    assert not out.exists()


def test_bad_usage_of_check_is_one_line(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "C", {"test": rows_of(4)})
    for words, message in (
        ([str(tmp_path)], "CORPUS="),
        ([str(corpus), "--compiler", "msvc"], "compiler='msvc': allowed auto, clang"),
        ([str(corpus), "--sample", "0"], "sample=0: allowed 1 or more"),
        ([str(corpus), "--workers", "0"], "workers=0: allowed 1 or more"),
        ([str(corpus), "--split", "dev"], "split='dev': allowed test"),
        ([str(corpus), "--only", "trace"], "only='trace': allowed stdout, writes"),
        ([str(corpus), "--only", "writes", "--sanitize"], "only='writes': allowed stdout for"),
    ):
        assert cexec(["check", *words]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"cexec: {message}") and printed.count("\n") == 1
