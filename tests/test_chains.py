"""The chain sampler against readers of its text, of which none shares code with it."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise, permutations

import chain_reader
import numpy as np
import pyarrow as pa
import pytest
from chain_cases import CASES
from chain_strategies import configs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import lego
from lego.chain_config import PRESETS
from lego.chain_form import FORMS
from lego.chain_oracle import Reader
from lego.chains import ChainConfig, ChainTask
from lego.groups import group
from lego.task import IGNORED, NO_ANSWER, SettingError, weighted_sums

CAUSAL = ("causal", "causal-all")


def rows_of(task, split, start, stop):
    """The published rows and the batch that they are of."""
    batch = task.sample(split, start, stop)
    table = task.table(batch).select(list(task.features)).cast(task.features.arrow_schema)
    return table.to_pylist(), batch


def expect(task, split, row):
    """Compare a published row with what the plain reader makes of its text."""
    action, form = task.action, task.config.form
    solved = chain_reader.solve(row["text"], form, action)
    plans = [plan for plan in task.sampler.plans[split] if plan.config.total == len(solved)]
    assert plans, "a sentence of a length that the split does not have"
    asked, others = chain_reader.chain_order(solved, plans[0].config)
    chain = asked + others
    width = FORMS[form].width
    assert row["asked"] == len(asked)
    assert row["values"] == [v.value for v in chain]
    assert row["clause_order"] == [v.clause for v in chain]
    assert row["positions"] == [1 + width * v.clause for v in chain]
    for name, answers in chain_reader.shortcuts(solved, asked, action).items():
        assert row[f"shortcut_{name}"] == answers, name
    tokens = task.tokenizer()(row["text"])["input_ids"]
    assert row["input_ids"] == tokens
    labelled = asked[: plans[0].labelled]
    labels = [IGNORED] * len(tokens)
    if form not in CAUSAL:
        for variable in labelled:
            labels[1 + width * variable.clause] = variable.value
        assert row["labels"] == labels
        last = labelled[-1]
        identity = {"compact": "+"}.get(form, action.operators[0])
        ask = {"paper": f" {last.name} = {identity}", "compact": f"{last.name}={identity}"}
        assert row["prompt"] == row["text"] + ask.get(form, f" What is {last.name}?")
        assert row["answer"] == action.states[last.value]
        return
    answers = chain_reader.answered(row["text"])
    truth = {v.name: action.states[v.value] for v in labelled}
    assert row["prompt"] + " " + row["answer"] == row["text"]
    if form == "causal":
        ((name, state),) = answers
        assert truth[name] == state == row["answer"]
        assert [t for t in row["labels"] if t != IGNORED] == [tokens[-2]]
        assert row["labels"][-2] == tokens[-2]
    else:
        assert answers == list(truth.items())
        mark = tokens.index(task.vocabulary.ids["?"])
        assert row["labels"] == [IGNORED] * (mark + 1) + tokens[mark + 1 : -1] + [IGNORED]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_both_readers_solve_the_cases_that_were_solved_by_hand(case):
    action = group(case.group)
    solved = chain_reader.solve(case.text, "paper", action)
    asked, _ = chain_reader.chain_order(solved, ChainConfig())
    assert tuple((v.name, action.states[v.value]) for v in asked) == case.chain
    task = ChainTask(ChainConfig(case.group, n=len(case.chain)), 0)
    ids = np.array(task.tokenizer()([case.text])["input_ids"])
    found = Reader(task, task.sampler.plans["test"][0]).read(ids, np.array([case.text], object))
    assert found["readable"][0]
    names = [task.vocabulary.words[t] for t in ids[0, found["positions"][0]]]
    states = [action.states[v] for v in found["values"][0]]
    assert tuple(zip(names, states, strict=True)) == case.chain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a = val 1",
        "a = val b , b = val a ,",
        "a = val 1 , a = val 0 ,",
        "a = val 1 , b = not c ,",
        "a = val 1 , b = not a , c = not a ,",
        "a = yes 1 ,",
        "a = not 1 ,",
        "a = val 1 , b = val 0 ,",
    ],
)
def test_the_oracle_refuses_what_is_not_one_chain(text):
    task = ChainTask(ChainConfig("z2", n=max(1, text.count("="))), 0)
    ids = np.array(task.tokenizer()([text])["input_ids"])
    found = Reader(task, task.sampler.plans["test"][0]).read(ids, np.array([text], object))
    assert not found["readable"][0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_row_of_every_preset_form_and_split_is_what_its_text_says(name, form):
    task = ChainTask(replace(PRESETS[name], form=form), 3)
    count = 2 if PRESETS[name].n > 50 else 10
    for split in task.splits:
        rows, batch = rows_of(task, split, 20, 20 + count)
        for row in rows:
            expect(task, split, row)
        table = task.table(batch).select(list(task.features)).cast(task.features.arrow_schema)
        assert list(task.check(table, split)) == []


@settings(max_examples=60, deadline=None)
@given(configs(), st.integers(0, 2**62), st.integers(0, 2**40), st.data())
def test_every_row_of_any_config_is_what_its_text_says(config, seed, start, data):
    task = ChainTask(config, seed)
    split = data.draw(st.sampled_from(task.splits))
    rows, batch = rows_of(task, split, start, start + 6)
    for row in rows:
        expect(task, split, row)
    table = task.table(batch).select(list(task.features)).cast(task.features.arrow_schema)
    assert list(task.check(table, split)) == []


def damaged(value):
    """A cell that is as it was but for one thing."""
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    if isinstance(value, int):
        return value + 1
    return [*value[:-1], value[-1] + 1]


@settings(max_examples=40, deadline=None)
@given(configs(), st.integers(0, 5), st.data())
def test_any_wrong_cell_of_any_config_is_found_in_its_row(config, at, data):
    task = ChainTask(config, 4)
    split = data.draw(st.sampled_from(task.splits))
    column = data.draw(st.sampled_from([name for name in task.features if name != "text"]))
    rows, _ = rows_of(task, split, 0, 6)
    rows[at][column] = damaged(rows[at][column])
    table = pa.Table.from_pylist(rows, task.features.arrow_schema)
    found = list(task.check(table, split))
    assert [row for row, _ in found] == [at] and f"{column}=" in found[0][1]


@settings(max_examples=25, deadline=None)
@given(configs(), st.lists(st.integers(0, 60), min_size=1, max_size=5), st.data())
def test_any_ranges_give_the_same_bytes(config, cuts, data):
    task = ChainTask(config, 3)
    split = data.draw(st.sampled_from(task.splits))
    whole = task.sample(split, 0, 60)
    bounds = sorted({0, 60, *cuts})
    parts = [task.sample(split, a, b) for a, b in pairwise(bounds)]
    for name, array in whole.items():
        np.testing.assert_array_equal(array, np.concatenate([part[name] for part in parts]))


def test_the_sentence_is_that_of_the_papers_code():
    task = lego.load_task("chains", preset="z2-n12", seed=0)
    batch = task.sample("train", 0, 500)
    words = np.array(task.vocabulary.words)[batch["input_ids"]]
    assert words.shape == (500, 62)
    assert (words[:, 0] == "[CLS]").all() and (words[:, -1] == "[SEP]").all()
    clauses = words[:, 1:-1].reshape(500, 12, 5)
    assert (clauses[:, :, 1] == "=").all() and (clauses[:, :, 4] == ",").all()
    assert set(clauses[:, :, 2].flat) == {"val", "not"}
    for row, sentence in enumerate(clauses):
        assert len(set(sentence[:, 0])) == 12
        order = batch["clause_order"][row]
        chain = sentence[order]
        assert chain[0, 2] == "val" and chain[0, 3] in "01"
        assert (chain[1:, 3] == chain[:-1, 0]).all()
        value = int(chain[0, 3])
        values = [value := value ^ (word == "not") for word in chain[:, 2]]
        assert (batch["values"][row] == values).all()
        assert (batch["positions"][row] == 1 + 5 * order).all()


@pytest.mark.parametrize(("preset", "n", "n_tr"), [("z2-n6", 6, 4), ("z2-n12", 12, 6)])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_stand_at_the_first_variables_of_the_chain(preset, n, n_tr, split):
    batch = lego.load_task("chains", preset=preset).sample(split, 0, 300)
    asked = n_tr if split == "train" else n
    expected = np.full_like(batch["labels"], IGNORED)
    for c in range(asked):
        expected[np.arange(300), batch["positions"][:, c]] = batch["values"][:, c]
    np.testing.assert_array_equal(batch["labels"], expected)


def test_orders_names_and_values_are_uniform():
    task = ChainTask(ChainConfig("z3", n=4), 11)
    batch = task.sample("train", 0, 60_000)
    order = Counter(map(tuple, batch["clause_order"].tolist()))
    assert set(order) == set(permutations(range(4)))
    assert chisquare(list(order.values())).pvalue > 1e-6
    values = Counter(map(tuple, batch["values"].tolist()))
    assert len(values) == 3**4
    assert chisquare(list(values.values())).pvalue > 1e-6
    names = np.take_along_axis(batch["input_ids"], batch["positions"].astype(int), 1)
    pairs = Counter(map(tuple, names[:, :2].tolist()))
    assert len(pairs) == 26 * 25
    assert chisquare(list(pairs.values())).pvalue > 1e-6
    # Order and values do not depend on each other.
    joint = Counter(
        zip(batch["clause_order"][:, 0].tolist(), batch["values"][:, 3].tolist(), strict=True)
    )
    assert chisquare(list(joint.values())).pvalue > 1e-6


def test_seeds_and_neighbouring_examples_share_nothing():
    first = ChainTask(PRESETS["z2-n12"], 0).sample("train", 0, 1000)["input_ids"]
    second = ChainTask(PRESETS["z2-n12"], 1).sample("train", 0, 1000)["input_ids"]
    rows = {tuple(row) for row in np.concatenate([first, second]).tolist()}
    assert len(rows) == 2000


PINNED = {
    "a5-n12": "2b3c1d92fb1984cc",
    "d3-flipflop": "b10431cacabfd7c5",
    "d3-flipflop-1": "5bc24777995911f7",
    "d3-flipflop-2": "c319038e18de54cd",
    "d3-flipflop-3": "f49765db380ff3b1",
    "d3-n12": "d9c8940fe155be39",
    "d3-n6": "363a405dce5ba438",
    "s3-n12": "5c89979a03db92ce",
    "s4-n8": "aa447a2dde86681a",
    "z2-mix": "e09998e8b848a0dc",
    "z2-n100": "a4b9310ce5ae40d5",
    "z2-n12": "c7040c66600bbc6a",
    "z2-n12-full": "e6c30f1c85936bff",
    "z2-n26": "5f8c51de8d759f66",
    "z2-n6": "3f645fd9f8133704",
    "z2-trees": "122dcc2529a3fed9",
    "z5-n12": "a5257c3e4485b2d4",
}


def digest_of(preset, rows, **fields):
    """A digest of the bytes of the first rows of every split."""
    task = ChainTask(replace(PRESETS[preset], **fields), 7)
    total = hashlib.sha256()
    for split in task.splits:
        for name, array in sorted(task.sample(split, 0, rows).items()):
            total.update(f"{split} {name} {array.shape}".encode())
            total.update(np.ascontiguousarray(array, "<i2").tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_bytes_never_change(preset):
    assert digest_of(preset, 1000) == PINNED[preset]


def test_bytes_depend_neither_on_the_hash_seed_nor_on_compilation():
    """In one process without compilation: a chain, a tree, a mixture, and a question."""
    code = "import test_chains, warnings; warnings.simplefilter('ignore');"
    code += "print(*(test_chains.digest_of(*call, **fields) for call, fields in test_chains.FEW))"
    environment = {"PYTHONHASHSEED": "1", "NUMBA_DISABLE_JIT": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": os.path.dirname(__file__)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.split() == [digest_of(*call, **fields) for call, fields in FEW]


FEW = [
    (("d3-n6", 2), {}),
    (("z2-trees", 2), {"n": 5, "alphabet": 8}),
    (("z2-mix", 4), {"form": "causal"}),
]


@settings(max_examples=30, deadline=None)
@given(configs())
def test_the_graph_is_what_a_slow_reading_of_the_tokens_gives(config):
    task = ChainTask(config, 0)
    form, names = FORMS[config.form], set(task.vocabulary.plain[: config.alphabet])
    for split in task.splits:
        batch = task.sample(split, 0, 2)
        graph = task.graph(batch)
        texts = task.table(batch)["text"].to_pylist()
        for row, ids in enumerate(batch["input_ids"]):
            words = [task.vocabulary.words[i] for i in ids]
            solved = chain_reader.solve(texts[row], config.form, task.action)
            defined = {name: 1 + form.width * v.clause for name, v in solved.items()}
            real = batch["positions"][row] >= 0
            assert real.sum() == len(solved)
            for key in ("definition", "operator", "argument", "parent", "depth"):
                assert (graph[key][row, ~real] == -1).all()
            for c, at in enumerate(graph["definition"][row, real]):
                variable = solved[words[at]]
                assert defined[words[at]] == at
                spelled = form.spelled(variable.operator, task.action.operators[0])
                assert words[graph["operator"][row, c]] == spelled
                assert words[graph["argument"][row, c]] == variable.argument
                assert graph["parent"][row, c] == defined.get(variable.argument, -1)
                assert graph["depth"][row, c] == variable.depth
            for i, first in enumerate(words):
                for j, second in enumerate(words):
                    same = first == second and first in names and i != j
                    assert graph["association"][row, i, j] == same
                    assert graph["local"][row, i, j] == (abs(i - j) <= 2)


def test_counting_solves_the_last_variable_of_an_abelian_chain_and_of_no_other():
    for preset in ("z2-n12", "z5-n12", "d3-n12", "s4-n8"):
        task = lego.load_task("chains", preset=preset)
        batch = task.sample("test", 0, 2000)
        right = task.shortcuts(batch)["whole-chain"] == task.answers(batch)
        assert (right[:, -1].mean() == 1) == task.action.abelian
        assert right[:, 1].mean() < 0.6


@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_chain_position_of_each_label(form):
    task = lego.load_task("chains", preset="z2-n6", form=form)
    for split, asked in (("train", 4), ("test", 6)):
        batch = task.sample(split, 0, 50)
        steps, labels = task.steps(batch), batch["labels"]
        rows, columns = np.nonzero(steps >= 0)
        answers = batch["values"][rows, steps[rows, columns]]
        if form in CAUSAL:
            states = [task.vocabulary.ids[s] for s in task.action.states]
            answers = np.array(states)[answers]
            one = form == "causal"
            assert len(rows) == 50 * (1 if one else asked)
            assert set(steps[steps >= 0]) == set(range(asked))
        else:
            assert ((steps >= 0) == (labels != IGNORED)).all()
            assert (np.sort(steps[steps >= 0].reshape(50, asked), 1) == np.arange(asked)).all()
        np.testing.assert_array_equal(labels[rows, columns], answers)


def test_answers_of_shorter_rows_are_filled_up():
    task = lego.load_task("chains", preset="z2-mix")
    batch = task.sample("test", 0, 200)
    answers = task.answers(batch)
    assert answers.shape == (200, batch["asked"].max())
    assert ((answers == NO_ANSWER).sum(axis=1) == answers.shape[1] - batch["asked"]).all()
    for found in task.shortcuts(batch).values():
        np.testing.assert_array_equal(found == NO_ANSWER, answers == NO_ANSWER)


def test_splits_are_disjoint_even_between_seeds():
    for name in ("z2-n6", "d3-flipflop", "z2-trees"):
        tasks = [ChainTask(PRESETS[name], seed) for seed in (0, 1)]
        seen: set[int] = set()
        for split in tasks[0].splits:
            sampled = [weighted_sums(t.sample(split, 0, 2000)["input_ids"]) for t in tasks]
            sums = set(np.concatenate(sampled).tolist())
            assert not sums & seen
            seen |= sums


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 0}, "n=0: allowed 1..26"),
        ({"n": 27}, "n=27: allowed 1..26"),
        ({"n": "six"}, "n='six': allowed a value of type int"),
        ({"n": True}, "n=True: allowed a value of type int"),
        ({"n": 4, "n_tr": 5}, r"n_tr=5: allowed 1..4 \(n\)"),
        ({"n_tr": 0}, "n_tr=0: allowed 1..6"),
        ({"group": "z99"}, "group='z99': allowed z1..z26"),
        ({"ntr": 4}, r"field='ntr': allowed group, n, n_tr.*\(did you mean 'n_tr'\?\)"),
        ({"preset": "z2-n7"}, r"preset='z2-n7': allowed .*did you mean"),
        ({"seed": -1}, "seed=-1: allowed 0"),
        ({"preset": "z2-n12", "n": 4}, "n_tr=6: allowed 1..4"),
        ({"shape": "ring"}, "shape='ring': allowed chain, tree"),
        ({"order": "alphabetical"}, "order='alphabetical': allowed random, forward"),
        ({"form": "latex"}, "form='latex': allowed paper, compact, english"),
        ({"roots": 2}, r"roots=2: allowed 1..1 \(shape=chain\)"),
        ({"shape": "tree", "roots": 7}, "roots=7: allowed 1..6"),
        ({"shape": "tree", "roots": 2, "unused": 1}, "roots=2: allowed 1 where there are"),
        ({"distractors": [6]}, r"distractors=\(6,\): allowed lengths of 1..5"),
        ({"distractors": 3}, "distractors=3: allowed a value of type tuple"),
        ({"distractors": ["a"]}, r"distractors=\('a',\): allowed lengths"),
        ({"n": 2, "unused": 1}, "unused=1: allowed 0 for n below 3"),
        ({"unused": -1}, "unused=-1: allowed 0 or more"),
        ({"alphabet": 9, "distractors": [5]}, "alphabet=9: allowed 11..426"),
        ({"alphabet": 0}, "alphabet=0: allowed 1..426"),
        ({"operators": ["flip"]}, "operators='flip': allowed val, not"),
        ({"operators": []}, r"operators=\(\): allowed one or more"),
        ({"operators": ["not", "not"]}, "operators=.*each once"),
        ({"stage": 5}, "stage=5: allowed 1 or more, for a mixture"),
        ({"mixture": [{"n": 4, "weight": -1}, {"n": 5}]}, "mixture weight=-1: allowed numbers"),
        ({"mixture": [{"n": 4, "weight": 0}]}, "mixture weights=.*a sum above 0 in stage 0"),
        ({"mixture": [{"n": 4, "weight": [1, 0]}, {"n": 5}]}, "mixture=.*as many weights"),
        ({"mixture": [{"n": 4, "weight": []}], "stage": 3}, "mixture=.*as many weights"),
        ({"mixture": [{"n": 4, "weight": [1, 1]}]}, "stage=None: allowed the examples of a stage"),
        ({"mixture": [{"n": 99}]}, "n=99: allowed 1..26"),
        ({"mixture": [{"deep": 1}]}, "field='deep': allowed"),
        ({"mixture": [{"group": "z3"}]}, "mixture group='z3': allowed the whole's own"),
        ({"mixture": ["n"]}, "mixture='n': allowed a list of"),
        ({"mixture": [{"n": 4}], "unique": True}, "unique=True: allowed False for a mixture"),
    ],
)
def test_an_impossible_config_is_refused_in_one_line(fields, message):
    with pytest.raises(SettingError, match=message) as raised:
        lego.load_task("chains", **fields)
    assert "\n" not in str(raised.value)


def test_unknown_tasks_splits_and_ranges_are_refused():
    with pytest.raises(SettingError, match=r"task='chain': allowed .*did you mean 'chains'"):
        lego.load_task("chain")
    task = lego.load_task("chains")
    with pytest.raises(SettingError, match="split='dev': allowed train, validation, test"):
        task.sample("dev", 0, 1)
    with pytest.raises(SettingError, match="start, stop"):
        task.sample("train", 5, 4)


def test_a_split_that_owns_no_sentence_is_refused_with_the_size_of_the_space():
    task = ChainTask(ChainConfig("z1", n=1, alphabet=1), 0)
    (text,) = set(task.table(task.sample("train", 0, 9))["text"].to_pylist())
    assert text == "a = val 0 ,"
    with pytest.raises(SettingError, match=r"split='test': allowed .*example 0 \(1 sentences"):
        task.sample("test", 0, 1)
