"""C programs as a task: columns, splits, traces, knobs and bytes; the reference is the judge."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import datasets
import numpy as np
import pytest
from cexec_cases import configs, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

import lego
from cexec import card, reference, trace
from cexec.config import DOMAINS, EVALUATIONS, PRESETS, CexecConfig
from cexec.oracle import Row
from cexec.sampler import program_sum
from cexec.task import LIMIT, CexecTask
from cexec.trace import FORMATS, VALUES, Write
from lego.cli import main
from lego.task import IGNORED, SPLITS, SettingError, hash_weights
from lego.verify import verify

TASKS = {name: CexecTask(config, 0) for name, config in PRESETS.items()}
EVERY = [(name, split) for name, task in TASKS.items() for split in task.splits]
LAYOUTS = [(format, values) for format in FORMATS for values in VALUES]


def changed(name, seed=0, **fields):
    return CexecTask(replace(PRESETS[name], **fields), seed)


# Columns.


@pytest.mark.parametrize(("name", "split"), EVERY)
def test_published_columns_are_what_the_source_gives(name, split):
    task = TASKS[name]
    table = task.table(task.sample(split, 7, 107))
    assert list(task.check(table, split)) == []
    assert table.schema.names == list(task.features)


@settings(max_examples=60, deadline=None)
@given(configs(), st.integers(0, 2**62), st.integers(0, 2**40), st.data())
def test_every_config_publishes_what_the_source_gives(config, seed, start, data):
    task = CexecTask(config, seed)
    split = data.draw(st.sampled_from(task.splits))
    batch = task.sample(split, start, start + 6)
    table = task.table(batch)
    assert list(task.check(table, split)) == []
    assert (
        task.tokenizer()(table["text"].to_pylist())["input_ids"] == table["input_ids"].to_pylist()
    )


def damage_of(row):
    """What a corpus may have wrong: a column's name, and another value."""
    trace = row["trace"]
    yield "trace", [*trace[:-1], trace[-1] | {"value": trace[-1]["value"] + 1}]
    yield "trace", [*trace[:-1], trace[-1] | {"line": trace[-1]["line"] + 1}]
    yield "trace", [*trace[:-1], trace[-1] | {"name": "zz"}]
    yield "trace", trace[:-1]
    yield "stdout", row["stdout"].replace("\n", "1\n")
    yield "answer", f"{row['answer']}1"
    yield "text", row["text"].replace(" = ", " += ", 1)
    yield "source", row["source"].replace(" = ", " = 1 + ", 1)
    yield "source", row["source"].replace(";", "", 1)
    yield "source", row["source"].replace("return 0", "return 1")
    yield "question", row["question"].replace("What", "Which")
    yield "input_ids", [*row["input_ids"][:-2], 9, row["input_ids"][-1]]
    yield "labels", [IGNORED, *row["labels"][1:-1], IGNORED]
    for name in row:
        if type(row[name]) is int:
            yield name, row[name] + 1


@pytest.mark.parametrize("name", ["nest", "ptr"])
def test_any_wrong_cell_is_found(name):
    task = TASKS[name]
    table = task.table(task.sample("test", 0, 3))
    rows = table.to_pylist()
    kinds = list(damage_of(rows[1]))
    assert {column for column, _ in kinds} == set(rows[0]) - {"prompt"}
    for column, value in kinds:
        assert value != rows[1][column], column
        wrong = [rows[0], rows[1] | {column: value}, rows[2]]
        faults = list(task.check(type(table).from_pylist(wrong, table.schema), "test"))
        assert faults and {at for at, _ in faults} == {1}, column
    assert any("another split" in said for _, said in task.check(table, "train"))


def test_a_small_corpus_is_verified_and_loads(tmp_path):
    out, presets = tmp_path / "C", ("copy", "nest", "ptr")
    chosen = [word for name in presets for word in ("--preset", name)]
    rows = ["--rows", "train=60,test=40,test_longer=20", "--shard-rows", "50", "--workers", "1"]
    assert main(["make", "cexec", str(out), *chosen, *rows]) == 0
    verdict = verify(out, workers=1)
    assert (verdict.faults, verdict.rows) == ([], 3 * 120)
    for name in presets:
        task = TASKS[name]
        loaded = datasets.load_dataset(str(out), name, split="test")
        assert loaded.features == task.features
        assert loaded[:] == task.table(task.sample("test", 0, 40)).to_pydict()
    shutil.rmtree(out)


# Lines and traces.

_HEADER = re.compile(r"^static [\w ]+?\bf[12]\((.*)\) \{$")
_LVALUES = [
    re.compile(pattern)
    for pattern in (
        r"^ *(?:int|unsigned|unsigned char|struct pair) (\w+)(?:\[\d+u?\])? = ",
        r"^ *(?:} else \{)?(\w+) [-+^]?= ",
        r"^ *(\w+)(?:\+\+|--);$",
        r"^ *(\w+)\[.+\] = ",
        r"^ *(\w+(?:\.|->)(?:first|second)) = ",
        r"^ *\*(\w+) = ",
        r"^ *for \((?:int|unsigned|unsigned char) (\w+) = 0u?; ",
    )
]


def lvalue_of(line):
    for pattern in _LVALUES:
        if found := pattern.match(line):
            return found[1]
    return None


@pytest.mark.parametrize("name", PRESETS)
def test_each_write_stands_on_its_line_as_an_lvalue(name):
    seen = Counter()
    for row in rows_of(TASKS[name], "train", 200):
        lines = row["source"].split("\n")
        pointers = dict(re.findall(r"struct pair \*(\w+) = &(\w+);", row["source"]))
        aims = set(re.findall(r"^ *(?:int|unsigned|unsigned char) \*(\w+) =", row["source"], re.M))
        for write in row["trace"]:
            line, (base, *member) = lines[write["line"] - 1], re.split(r"(?=[.\[])", write["name"])
            if header := _HEADER.match(line):
                assert base in [word.split()[-1] for word in header[1].split(", ")]
                seen["parameter"] += 1
                continue
            stands = lvalue_of(line)
            assert stands is not None, line
            if "->" in stands:
                pointer, field = stands.split("->")
                assert (pointers[pointer], f".{field}") == (base, *member)
            elif line.lstrip().startswith("*"):
                assert stands in aims and re.search(rf"\b{stands} = &{base};", row["source"])
            elif "." in stands:
                assert stands == write["name"]
            else:
                assert stands == base, (line, write)
                assert bool(member) == ("[" in line.split(" = ")[0] or "struct" in line)
            if found := re.match(r" *\w+\[(\d)u?\] =", line):
                assert member == [f"[{found[1]}]"]
            seen[line.lstrip()[0] == "*", "->" in stands, bool(member)] += 1
    assert len(seen) == {"array": 2, "func": 2, "ptr": 4}.get(name, 1)


def layouts(name, format, values, **fields):
    repeats = format in ("states", "scratchpad", "frames", "comments")
    length = min(PRESETS[name].length * (4 if repeats or values == "digits" else 1), 2048)
    return changed(name, format=format, values=values, length=length, **fields)


@pytest.mark.parametrize(("format", "values"), LAYOUTS)
@pytest.mark.parametrize("name", ["expr", "nest", "func", "ptr"])
def test_the_trace_in_the_text_is_rendered_and_read_back(name, format, values):
    task = layouts(name, format, values)
    batch = task.sample("test", 0, 40)
    table = task.table(batch)
    assert list(task.check(table, "test")) == []
    for row in table.to_pylist():
        log = [Write(**write) for write in row["trace"]]
        program, _, said = row["text"].partition(" trace ")
        asked = trace.name_words(row["question"].split()[5])
        assert program.endswith(f" print {asked} ;")
        if format == "comments":
            numbered = [["", ""]]
            for word in said.split():
                at = re.fullmatch(r"@(\d+)", word)
                if at or word == "answer":
                    numbered.append([at[1] if at else "", "" if at else word])
                else:
                    numbered[-1][1] += f" {word}"
            last = numbered.pop()[1] if numbered[-1][1].startswith("answer") else ""
            lines = [""] * max(int(number) for number, _ in numbered[1:])
            for number, line in numbered[1:]:
                lines[int(number) - 1] = line
            said = "\n".join([*lines, last])
        read, answer = trace.parse(format, said, values)
        assert read == ([] if format == "answer" else log)
        assert f"{answer}\n" == row["stdout"]
        assert trace.answer_of(row["text"], values) == answer
        if format != "comments":
            words = [" ".join(line.split()) for line in Row(row["source"], LIMIT).lines]
            assert " ".join(trace.render(format, words, log, answer, values).split()) == said


@pytest.mark.parametrize(("format", "values"), LAYOUTS)
@pytest.mark.parametrize("name", ["straight", "array", "func", "ptr"])
def test_steps_point_at_the_value_of_each_write(name, format, values):
    task = layouts(name, format, values)
    batch = task.sample("train", 0, 40)
    steps, words = task.steps(batch), np.array(task.vocabulary.words)
    for ids, found, labels, row in zip(
        batch["input_ids"], steps, batch["labels"], task.table(batch).to_pylist(), strict=True
    ):
        said = words[ids].tolist()
        wanted = [(w["line"], w["name"], w["value"]) for w in row["trace"]]
        wanted = [] if format == "answer" else wanted
        ends = [0]
        for step, (line, name_, value) in enumerate(wanted):
            (places,) = np.nonzero(found == step)
            spelled = [str(value)] if values == "token" else list(str(value))
            assert said[places[0] : places[-1] + 1] == spelled and len(places) == len(spelled)
            assert labels[places].tolist() == ids[places].tolist()
            before = trace.name_words(name_).split()
            before = {
                "writes": [f"@{line}", *before],
                "states": [f"@{line}", *before],
                "scratchpad": ["state", *before],
                "frames": [*before, ":"],
                "comments": [f"#{step + 1}", *before],
            }[format]
            assert said[places[0] - len(before) : places[0]] == before
            assert places[0] > ends[-1] or format == "comments"
            ends.append(places[-1])
        (places,) = np.nonzero(found == len(wanted))
        assert said[places[0] - 1] == "answer" and said[places[-1] + 1] == "[SEP]"
        assert "".join(said[k] for k in places) == row["answer"]
        assert found.max() == len(wanted)


@pytest.mark.parametrize("name", PRESETS)
def test_an_encoder_answers_what_was_written_last_to_each_name(name):
    task = changed(name, form="encoder")
    assert task.head == "token-classification"
    batch = task.sample("test", 0, 60)
    table = task.table(batch)
    assert list(task.check(table, "test")) == []
    words = task.vocabulary.words
    graph = task.graph(batch)
    for k, row in enumerate(table.to_pylist()):
        assert "trace" not in row["text"].split()
        last = {}
        for write, place in zip(row["trace"], graph["definition"][k], strict=False):
            last[int(place)] = write
        labels = batch["labels"][k]
        assert np.flatnonzero(labels != IGNORED).tolist() == sorted(last)
        for place, write in last.items():
            assert task.labels[labels[place]] == str(write["value"])
            word = words[batch["input_ids"][k, place]]
            assert word == re.split(r"[.\[]", write["name"])[0] or name == "ptr"
        steps = task.steps(batch)[k]
        assert steps[sorted(last)].tolist() == list(range(len(last)))
        assert (steps >= 0).sum() == len(last)


@pytest.mark.parametrize("name", PRESETS)
def test_the_graph_says_what_each_write_depends_on(name):
    """Depths, and what the answer depends on, are the reference's: it looks at values alone."""
    task = TASKS[name]
    batch = task.sample("test", 0, 150)
    graph, words = task.graph(batch), task.vocabulary.words
    steps = task.steps(batch)
    for k, row in enumerate(task.table(batch).to_pylist()):
        ran, count = reference.run(row["source"], limit=LIMIT), row["writes"]
        assert graph["depth"][k, :count].tolist() == ran.depths
        found = Row(row["source"], LIMIT).lines
        begins = np.cumsum([1, *(len(line.split()) for line in found)])
        places = graph["value"][k, :count]
        assert [steps[k, place] for place in places] == list(range(count))
        step_at = {int(place): step for step, place in enumerate(places)}
        needs = []
        for step, write in enumerate(row["trace"]):
            at, line = int(graph["definition"][k, step]), write["line"]
            assert begins[line - 1] <= at < begins[line]
            word, base = words[batch["input_ids"][k, at]], re.split(r"[.\[]", write["name"])[0]
            assert word == base or re.search(rf"\*{word} = &", row["source"])
            sources = graph["sources"][k, step]
            needs.append({step_at[int(place)] for place in sources if place >= 0})
            depths = [ran.depths[source] for source in needs[-1]]
            if (sources >= 0).sum() < 8:
                assert max(depths, default=-1) + 1 == ran.depths[step]
        asked = row["question"].split()[5]
        last = max(step for step, write in enumerate(row["trace"]) if write["name"] == asked)
        used, waiting = {last}, [last]
        while waiting:
            for step in needs[waiting.pop()] - used:
                used.add(step)
                waiting.append(step)
        assert count - len(used) == row["distractors"]
        assert row["dependency_depth"] == ran.depths[last]
        for unused in (graph["definition"], graph["value"], graph["depth"]):
            assert (unused[k, count:] == -1).all()
    distance = np.abs(np.subtract.outer(*[np.arange(batch["input_ids"].shape[1])] * 2))
    assert np.array_equal(graph["local"][0], distance <= 2)
    said = [words[token] for token in batch["input_ids"][0]]
    names = [word if re.fullmatch(r"[a-z]", word) else None for word in said]
    same = [
        [a == b is not None and i != j for j, b in enumerate(names)] for i, a in enumerate(names)
    ]
    assert np.array_equal(graph["association"][0], np.array(same))


@pytest.mark.parametrize("name", ["copy", "straight"])
def test_the_graph_of_straight_lines_is_in_their_text(name):
    task = TASKS[name]
    batch = task.sample("train", 0, 200)
    graph, words = task.graph(batch), np.array(task.vocabulary.words)[batch["input_ids"]]
    for k, row in enumerate(task.table(batch).to_pylist()):
        last, lines = {}, row["source"].split("\n")
        for step, write in enumerate(row["trace"]):
            assert words[k, graph["definition"][k, step]] == write["name"]
            read = re.findall(r"[a-z]", lines[write["line"] - 1].split(" = ")[1])
            operands = [int(at) for at in graph["operands"][k, step] if at >= 0]
            assert words[k, operands].tolist() == read
            assert (np.diff(operands) > 0).all() if read else not operands
            sources = {int(at) for at in graph["sources"][k, step] if at >= 0}
            assert sources == {last[variable] for variable in read}
            last[write["name"]] = int(graph["value"][k, step])


# Splits.


def skeleton(source):
    """A program without its names, and without what it prints."""
    names, body = {}, source.split("\n\n", 1)[1].split("    printf(")[0]
    return re.sub(r"\b[a-z]\b", lambda found: names.setdefault(found[0], f"_{len(names)}"), body)


def test_splits_share_no_program_even_with_other_names():
    task = CexecTask(CexecConfig(variables=3, statements=3, modulus=8, operators="copy"), 0)
    assert len(task.splits) >= 7
    seen = {split: {skeleton(row["source"]) for row in rows_of(task, split, 2000)}
            for split in task.splits}  # fmt: skip
    assert len(seen["train"]) > 1000 and min(map(len, seen.values())) > 100
    for first, second in combinations(seen, 2):
        assert not seen[first] & seen[second]
    other = CexecTask(task.config, 1)  # of another seed, too
    assert not seen["train"] & {skeleton(row["source"]) for row in rows_of(other, "test", 2000)}


@pytest.mark.parametrize("name", PRESETS)
def test_a_program_renamed_by_hand_has_the_same_owner(name):
    task, random = TASKS[name], np.random.default_rng(0)
    weights, tokenizer = hash_weights(task.max_length), task.tokenizer()
    for row in rows_of(task, "test", 30):
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        renamed = dict(zip(letters, random.permutation(letters), strict=True))
        text = re.sub(r"\b[a-z]\b", lambda found, to=renamed: str(to[found[0]]), row["text"])
        assert text != row["text"]
        sums = [program_sum(np.array(ids, np.int16), weights)
                for ids in tokenizer([row["text"], text])["input_ids"]]  # fmt: skip
        assert sums[0] == sums[1]
        other = text.replace(" = ", " = 0 + ", 1)
        assert program_sum(np.array(tokenizer(other)["input_ids"], np.int16), weights) != sums[0]


def pairs_of(task, split, count):
    rows = rows_of(task, split, 2 * count)
    return list(zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("name", PRESETS)
def test_renamed_pairs_differ_by_names_alone(name):
    for one, two in pairs_of(TASKS[name], "test_renamed", 100):
        assert one["source"] != two["source"]
        assert skeleton(one["source"]) == skeleton(two["source"])
        for column in ("answer", "writes", "branches", "dependency_depth", "distractors"):
            assert one[column] == two[column]
        values = [[write["value"] for write in row["trace"]] for row in (one, two)]
        assert values[0] == values[1]


@pytest.mark.parametrize("name", PRESETS)
def test_flipped_pairs_differ_by_one_constant_or_operator(name):
    changes, answers = Counter(), 0
    for one, two in pairs_of(TASKS[name], "test_flipped", 100):
        words = [trace.words(row["source"].replace("\n", " ")) for row in (one, two)]
        assert len(words[0]) == len(words[1])
        ((old, new),) = [(a, b) for a, b in zip(*words, strict=True) if a != b]
        numbers = [re.fullmatch(r"\d+u?", word) is not None for word in (old, new)]
        assert numbers[0] == numbers[1]
        signs = [{"+", "-"}, {"<", ">", "<=", ">=", "==", "!="}]
        assert numbers[0] or any({old, new} <= kind for kind in signs)
        assert one["question"] == two["question"]
        changes[numbers[0]] += 1
        answers += one["answer"] != two["answer"]
    assert answers >= 10
    assert changes[True] and (changes[False] or name in ("copy", "expr", "array"))


@pytest.mark.parametrize("name", PRESETS)
def test_the_values_of_test_values_are_new(name):
    task = TASKS[name]
    initial = re.compile(r"^    (?:int|unsigned|unsigned char) \w = (\d+)u?;$", re.M)
    held = {
        split: {int(value) for row in rows_of(task, split, 400)
                for value in initial.findall(row["source"])}
        for split in task.splits
    }  # fmt: skip
    assert len(held["train"]) >= 5 and len(held["test_values"]) >= 4
    assert max(held["train"]) < min(held["test_values"])
    for split in set(task.splits) - {"test_values"}:
        assert held[split] <= set(range(min(held["train"]), max(held["train"]) + 1))


_JUMP = re.compile(r" *if \(.*\) {\n *(?:break|continue);\n *}\n")


def shape(row):
    """(statements, blocks in each other) of a source's main; a jump's `if` is no block."""
    main_ = (
        _JUMP.sub("", row["source"])
        .split("int main(void) {\n")[1]
        .split("    printf(")[0]
        .split("\n")[:-1]
    )
    inside = [line for line in main_ if not re.match(r" *(?:} else {|})$", line)]
    return len(inside), max((len(line) - len(line.lstrip())) // 4 for line in main_) - 1


def trips(row):
    """Most repetitions of one line's write to one counter, and of a recursion's calls."""
    headers = re.compile(r"for \(|^static .* f2\(|^static .* f1\(")
    lines = row["source"].split("\n")
    bounds = [int(bound) for bound in re.findall(r"\w < (\d+)u?; \w\+\+", row["source"])]
    first = [w["value"] for w in row["trace"] if headers.search(lines[w["line"] - 1])]
    return max(bounds, default=0), max(first, default=0)


def test_longer_programs_are_longer():
    for name in ("copy", "straight", "expr"):
        task = TASKS[name]
        train, longer = (
            [shape(row)[0] for row in rows_of(task, split, 300)]
            for split in ("train", "test_longer")
        )
        fewest = task.config.variables + 2 * task.config.statements
        assert max(train) < fewest <= min(longer)
    for name in ("branch", "loop", "nest", "array", "func", "ptr"):
        train, longer = (
            np.mean([shape(row)[0] for row in rows_of(TASKS[name], split, 300)])
            for split in ("train", "test_longer")
        )
        assert longer > train + 0.7 * TASKS[name].config.statements


@pytest.mark.parametrize("name", ["branch", "loop", "nest", "array", "func", "ptr"])
def test_deeper_programs_are_deeper(name):
    task = TASKS[name]
    train = [shape(row)[1] for row in rows_of(task, "train", 400)]
    deeper = [shape(row)[1] for row in rows_of(task, "test_deeper", 400)]
    assert max(train) <= task.config.nesting
    assert max(deeper) == task.config.nesting + 1
    assert np.mean(np.array(deeper) > task.config.nesting) > 0.05


def test_deeper_expressions_are_deeper():
    for name in ("straight", "expr"):
        nested = [
            np.mean([row["source"].count("(") for row in rows_of(TASKS[name], split, 400)])
            for split in ("train", "test_deeper")
        ]
        assert nested[1] > 1.1 * nested[0]
    assert "test_deeper" not in TASKS["copy"].splits


@pytest.mark.parametrize("name", ["loop", "nest", "array", "func"])
def test_trips_go_on_for_longer(name):
    task = TASKS[name]
    kind = int(name == "func")
    limit = task.config.trips
    train = [trips(row)[kind] for row in rows_of(task, "train", 400)]
    longer = [trips(row)[kind] for row in rows_of(task, "test_trips", 400)]
    if name != "func":
        assert max(train) <= limit < max(longer) <= 2 * limit
        assert np.mean(np.array(longer) > limit) > 0.3
    else:  # all parameters' values, of which the counts of calls go up
        assert np.mean(longer) > np.mean(train)


def test_a_split_is_there_where_it_goes_beyond():
    assert TASKS["straight"].splits == (*SPLITS, *(s for s in EVALUATIONS if s != "test_trips"))
    assert TASKS["nest"].splits == (*SPLITS, *EVALUATIONS)
    assert "test_longer" not in CexecTask(CexecConfig(statements=33, length=1024), 0).splits


# Knobs.


@pytest.mark.parametrize("depth", [1, 2, 4, 7])
@pytest.mark.parametrize("name", ["straight", "nest", "func"])
def test_the_depth_of_the_answer_is_what_was_asked_for(name, depth):
    task = changed(name, dependency_depth=depth, statements=10, length=1024)
    for split in task.splits:
        rows = rows_of(task, split, 40)
        if split == "test_flipped":  # a flip may change what runs, and so how deep it gets
            rows = rows[::2]
        assert {row["dependency_depth"] for row in rows} == {depth}, split


@pytest.mark.parametrize("name", ["straight", "loop"])
def test_more_distractors_are_more_distractors(name):
    shares = []
    for share in (0.0, 0.3, 0.6, 0.9):
        rows = rows_of(changed(name, distractors=share, variables=6, statements=10, length=512),
                       "train", 500)  # fmt: skip
        shares.append(np.mean([row["distractors"] / row["writes"] for row in rows]))
    assert (np.diff(shares) > 0.02).all() and shares[-1] > shares[0] + 0.15


@pytest.mark.parametrize("name", PRESETS)
def test_names_are_in_order_or_numbered(name):
    for naming, known in (("ordered", list("abcdefghijklmnopqrstuvwxyz")),
                          ("numbered", [f"v{k}" for k in range(26)])):  # fmt: skip
        task = changed(name, naming=naming)
        rows = rows_of(task, "train", 40)
        for row in rows:
            text = re.sub(r'#.*|".*"|struct pair {[^}]*}', "", row["source"])
            found = dict.fromkeys(re.findall(r"\b(?:[a-z]|v\d+)\b", text))
            assert list(found) == known[: len(found)]
        assert list(task.check(task.table(task.sample("train", 0, 40)), "train")) == []
    used = {row["question"].split()[5][0] for row in rows_of(TASKS[name], "train", 400)}
    assert len(used) == 26  # letters at random


@pytest.mark.parametrize("name", PRESETS)
def test_shortcuts_against_slow_definitions(name):
    task = TASKS[name]
    batch = task.sample("test", 0, 150)
    guesses, answers = task.shortcuts(batch), task.answers(batch)
    for k, row in enumerate(task.table(batch).to_pylist()):
        asked = row["question"].split()[5]
        values = [write["value"] for write in row["trace"]]
        own = [write["value"] for write in row["trace"] if write["name"] == asked]
        assert guesses["initial-value"][k] == own[0]
        assert answers[k] == own[-1] == int(row["answer"])
        assert guesses["copy-last-write"][k] == values[-1]
        most = max(Counter(values).values())
        assert guesses["majority"][k] == min(v for v in values if values.count(v) == most)
        words = trace.words(row["source"].split("printf(")[0].replace("\n", " "))
        constants = [
            int(word.removesuffix("u"))
            for before, word in pairwise(words)
            if word[0].isdecimal() and before in list("=(,{+-*^")
        ]
        assert guesses["last-constant"][k] == constants[-1], row["source"]
        for shortcut, guess in guesses.items():
            assert row[f"shortcut_{shortcut}"] == guess[k]
        if "no-branch" not in guesses:
            assert " if (" not in row["source"]
            continue
        try:
            ran = reference.run(row["source"], limit=LIMIT, every_branch=True)
            assert guesses["no-branch"][k] == int(ran.stdout)
        except SettingError:
            assert guesses["no-branch"][k] == 0
    if "if" in task.config.constructs:
        assert 0.3 < (guesses["no-branch"] == answers).mean() < 0.95


@pytest.mark.parametrize("name", PRESETS)
def test_answers_and_branches_are_balanced(name):
    found = card.balance(TASKS[name])
    assert found["entropy"] >= 0.85 * found["domain"]
    rows = rows_of(TASKS[name], "train", 2000)
    assert (
        abs(card.entropy(np.array([int(row["answer"]) for row in rows])) - found["entropy"]) < 0.2
    )
    taken, all_ = (sum(row[column] for row in rows) for column in ("branches_taken", "branches"))
    if {"if", "recursion"} & set(TASKS[name].config.constructs):
        assert 0.3 <= found["taken"] <= 0.7
        assert abs(found["taken"] - taken / all_) < 0.03
    else:
        assert all_ == 0


def test_the_card_says_what_the_config_is():
    said = TASKS["ptr"].describe()
    for part in ("reconstruction", "a struct", "`no-branch`", "entropy", "-9 .. 9"):
        assert part in said
    assert "conditions of `if`" not in TASKS["loop"].describe()


# Bytes.

PINS = ("train", "test", "test_flipped")
# Made by python tests/test_cexec.py
PINNED = {
    "copy": "90afc3bb6bca7a1d", "straight": "3a9010fa71ce9180", "expr": "071126314ca3b994",
    "branch": "d58e27d0c29821f2", "loop": "00e1146d6aee68a7", "nest": "6a7434b2f926829e",
    "array": "891c77fe6b7373c1", "func": "70bf211783e89141", "ptr": "42e10146c86b75e6",
}  # fmt: skip


def digest_of(name, splits=PINS, rows=200):
    task, total = CexecTask(PRESETS[name], 7), hashlib.sha256()
    for split in splits:
        batch = task.sample(split, 0, rows)
        for column in ("input_ids", "labels"):
            total.update(np.ascontiguousarray(batch[column], "<i2").tobytes())
    return total.hexdigest()[:16]


def test_bytes_never_change():
    assert {name: digest_of(name) for name in PRESETS} == PINNED


@settings(max_examples=15, deadline=None)
@given(configs(), st.lists(st.integers(0, 9), min_size=1, max_size=4), st.data())
def test_any_ranges_give_the_same_bytes(config, cuts, data):
    task = CexecTask(config, 3)
    split = data.draw(st.sampled_from(task.splits))
    whole, bounds = task.sample(split, 0, 9), [0, *sorted(cuts), 9]
    for start, stop in pairwise(bounds):
        part = task.sample(split, start, stop)
        for column, values in whole.items():
            np.testing.assert_array_equal(part[column], values[start:stop])


@pytest.mark.parametrize(
    ("environment", "names", "rows"),
    [({"PYTHONHASHSEED": "1"}, "nest ptr", 20), ({"NUMBA_DISABLE_JIT": "1"}, "copy ptr", 2)],
)
def test_bytes_depend_neither_on_the_hash_seed_nor_on_compilation(environment, names, rows):
    code = "import warnings; warnings.simplefilter('ignore'); import test_cexec as t;"
    code += f"print(*[t.digest_of(name, ('train',), {rows}) for name in {names.split()}])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == [digest_of(name, ("train",), rows) for name in names.split()]


# Refusals.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variables": 1}, "variables=1: allowed 2..16"),
        ({"variables": 17}, "variables=17: allowed 2..16"),
        ({"statements": 0}, "statements=0: allowed 1..64"),
        ({"statements": 65}, "statements=65: allowed 1..64"),
        ({"expression_depth": 5}, "expression_depth=5: allowed 1..4"),
        ({"nesting": 0}, "nesting=0: allowed 1..4"),
        ({"trips": 1}, "trips=1: allowed 2..16"),
        ({"modulus": 2}, "modulus=2: allowed 3..100"),
        ({"dependency_depth": -1}, "dependency_depth=-1: allowed 0..64"),
        ({"length": 31}, "length=31: allowed 32..4096"),
        ({"elements": 3}, "elements=3: allowed 2, 4, 8"),
        ({"distractors": 0.95}, "distractors=0.95: allowed 0 .. 0.9"),
        ({"distractors": 0.5, "variables": 2}, "variables=2: allowed 3..16 with distractors"),
        ({"operators": "rings"},
         "operators='rings': allowed copy, ring, all (did you mean 'ring'?)"),
        ({"domain": "char"}, "domain='char': allowed int, unsigned, uchar (did you mean 'uchar'?)"),
        ({"operators": "copy", "domain": "unsigned"},
         "domain='unsigned': allowed int, uchar with operators='copy'"),
        ({"naming": "letter"},
         "naming='letter': allowed letters, ordered, numbered (did you mean 'letters'?)"),
        ({"format": "cwm"}, f"format='cwm': allowed {', '.join(FORMATS)}"),
        ({"values": "bits"}, "values='bits': allowed token, digits (did you mean 'digits'?)"),
        ({"form": "decoder"},
         "form='decoder': allowed causal, encoder (did you mean 'encoder'?)"),
        ({"form": "encoder", "values": "digits"},
         "form='encoder': allowed causal; encoder with format='writes', values='token'"),
        ({"constructs": ("loop",)}, "constructs='loop': allowed if, for, while, jump, array, call, "
         "recursion, pointer"),
        ({"constructs": ("if", "if")}, "constructs=('if', 'if'): allowed each construct once"),
        ({"constructs": ("if", "jump")}, "constructs=('if', 'jump'): allowed jump, which is break "
         "and continue, with for or while"),
        ({"constructs": "if"}, "constructs='if': allowed a value of type tuple[str, ...]"),
        ({"loops": 3}, "field='loops': allowed "),
        ({"preset": "strait"}, "preset='strait': allowed copy, straight, expr, branch, loop, nest, "
         "array, func, ptr (did you mean 'straight'?)"),
    ],
)  # fmt: skip
def test_an_impossible_config_is_refused_in_one_line(fields, message):
    with pytest.raises(SettingError) as raised:
        lego.load_task("cexec", **fields)
    said = str(raised.value)
    assert "\n" not in said
    assert said == message or (said.startswith(message) and message.endswith("allowed "))


def test_a_split_that_a_config_lacks_is_refused():
    with pytest.raises(SettingError, match=r"^split='test_trips': allowed train, validation, test"):
        TASKS["straight"].sample("test_trips", 0, 1)
    with pytest.raises(SettingError, match="split='dev': allowed train"):
        TASKS["straight"].sample("dev", 0, 1)


def test_a_config_without_programs_says_so():
    task = CexecTask(CexecConfig(length=32), 0)
    with pytest.raises(SettingError, match=r"^split='train': allowed splits that own a program"):
        task.sample("train", 0, 1)


@pytest.mark.parametrize("domain", DOMAINS)
def test_values_keep_to_their_domain(domain):
    low, high = {"int": (-12, 12), "unsigned": (0, 12), "uchar": (0, 255)}[domain]
    fields = {"domain": domain, "modulus": 13, "trips": 12, "operators": "all", "length": 2048}
    task = changed("nest", **fields)
    held = [w["value"] for row in rows_of(task, "train", 500) for w in row["trace"]]
    assert low <= min(held) <= low + 3 and high - 3 <= max(held) <= high


if __name__ == "__main__":
    print("PINNED =", {name: digest_of(name) for name in PRESETS})
