"""The chain sampler and its oracle, which share no code."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from chain_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import lego
from lego.chain_oracle import solve
from lego.chains import ChainConfig, ChainTask
from lego.groups import group
from lego.task import IGNORED, SPLITS, SettingError, weighted_sums

configs = st.builds(
    lambda name, n, share: ChainConfig(name, n, 1 + int(share * (n - 1))),
    st.sampled_from(["z2", "z3", "z5", "d3", "s3", "a4", "s4"]),
    st.integers(2, 26),
    st.floats(0, 1),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_the_oracle_solves_the_cases_that_were_solved_by_hand(case):
    action = group(case.group)
    found = [(link.variable, action.states[link.value]) for link in solve(case.text, action)]
    assert tuple(found) == case.chain


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
        "a = val 1 , b = val 0 ,",
    ],
)
def test_the_oracle_refuses_what_is_not_one_chain(text):
    with pytest.raises(SettingError):
        solve(text, group("z2"))


@settings(max_examples=40, deadline=None)
@given(configs, st.sampled_from(SPLITS), st.integers(0, 2**62), st.integers(0, 2**40))
def test_every_row_of_every_config_is_what_its_text_says(config, split, seed, start):
    task = ChainTask(config, seed)
    table = task.table(task.sample(split, start, start + 20))
    assert list(task.check(table, split)) == []


@settings(max_examples=20, deadline=None)
@given(configs, st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_any_ranges_give_the_same_bytes(config, cuts):
    task = ChainTask(config, 3)
    whole = task.sample("train", 0, 60)
    bounds = sorted({0, 60, *cuts})
    parts = [task.sample("train", a, b) for a, b in pairwise(bounds)]
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
@pytest.mark.parametrize("split", SPLITS)
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


def test_a_small_space_is_covered_whole_and_each_sentence_once_over_the_splits():
    task = ChainTask(ChainConfig("z2", n=1), 0)
    space = {f"{x} = val {v} ," for x in "abcdefghijklmnopqrstuvwxyz" for v in "01"}
    seen = {}
    for split in SPLITS:
        table = task.table(task.sample(split, 0, 3000))
        seen[split] = set(table["text"].to_pylist())
    assert set.union(*seen.values()) == space
    assert sum(map(len, seen.values())) == len(space)


@pytest.mark.parametrize("name", sorted(ChainTask.presets))
def test_splits_are_disjoint_even_between_seeds(name):
    tasks = [ChainTask(ChainTask.presets[name], seed) for seed in (0, 1)]
    sums = {
        split: set(
            np.concatenate([weighted_sums(t.sample(split, 0, 5000)["input_ids"]) for t in tasks])
        )
        for split in SPLITS
    }
    assert not sums["train"] & sums["test"]
    assert not sums["train"] & sums["validation"]
    assert not sums["validation"] & sums["test"]


def test_seeds_and_neighbouring_examples_share_nothing():
    first = ChainTask(ChainTask.presets["z2-n12"], 0).sample("train", 0, 1000)["input_ids"]
    second = ChainTask(ChainTask.presets["z2-n12"], 1).sample("train", 0, 1000)["input_ids"]
    rows = {tuple(row) for row in np.concatenate([first, second]).tolist()}
    assert len(rows) == 2000


PINNED = {
    "z2-n6": "56e4232da42c14d0",
    "z2-n12": "1ba0ca0061af3d95",
}


def digest_of(preset, rows):
    """A digest of the bytes of the first rows of every split."""
    task = ChainTask(ChainTask.presets[preset], 7)
    total = hashlib.sha256()
    for split in SPLITS:
        for array in task.sample(split, 0, rows).values():
            total.update(np.ascontiguousarray(array, "<i2").tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("preset", sorted(PINNED))
def test_bytes_never_change(preset):
    assert digest_of(preset, 1000) == PINNED[preset]


@pytest.mark.parametrize("environment", [{"PYTHONHASHSEED": "1"}, {"NUMBA_DISABLE_JIT": "1"}])
def test_bytes_depend_neither_on_the_hash_seed_nor_on_compilation(environment):
    code = "import test_chains, warnings; warnings.simplefilter('ignore');"
    code += "print(test_chains.digest_of('z2-n6', 5))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": os.path.dirname(__file__)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.strip() == digest_of("z2-n6", 5)


@settings(max_examples=20, deadline=None)
@given(configs)
def test_the_graph_is_what_a_slow_reading_of_the_tokens_gives(config):
    task = ChainTask(config, 0)
    batch = task.sample("test", 0, 3)
    graph = task.graph(batch)
    letters = set("abcdefghijklmnopqrstuvwxyz")
    for row, ids in enumerate(batch["input_ids"]):
        words = [task.vocabulary.words[i] for i in ids]
        defined = {words[at]: at for at in range(1, len(words) - 1, 5)}
        for c, at in enumerate(graph["definition"][row]):
            assert defined[words[at]] == at
            assert graph["operator"][row, c] == at + 2 and graph["argument"][row, c] == at + 3
            argument = words[at + 3]
            assert graph["parent"][row, c] == defined.get(argument, -1)
            assert graph["depth"][row, c] == c
        for i, first in enumerate(words):
            for j, second in enumerate(words):
                same = first == second and first in letters and i != j
                assert graph["association"][row, i, j] == same
                assert graph["local"][row, i, j] == (abs(i - j) <= 2)


@settings(max_examples=20, deadline=None)
@given(configs)
def test_shortcuts_are_what_a_slow_reading_of_the_text_gives(config):
    task = ChainTask(config, 5)
    batch = task.sample("test", 0, 10)
    found = task.shortcuts(batch)
    act, operators = task.action.table, task.action.operators
    for row, text in enumerate(task.table(batch)["text"].to_pylist()):
        chain = solve(text, task.action)
        written = [clause.split()[2] for clause in text.rstrip(" ,").split(" , ")]
        whole = chain[0].value
        for word in written:
            whole = act[operators.index(word), whole]
        own = [act[operators.index(written[link.clause]), 0] for link in chain]
        own[0] = chain[0].value
        assert found["whole-chain"][row].tolist() == [whole] * config.n
        assert found["own-clause"][row].tolist() == own
        assert found["root"][row].tolist() == [chain[0].value] * config.n
        hops = [link.value if depth <= 2 else 0 for depth, link in enumerate(chain)]
        assert found["k-hop"][row].tolist() == hops
        assert found["majority"][row].tolist() == [0] * config.n
    if task.action.abelian:  # then the order of the product does not matter: the last value
        np.testing.assert_array_equal(found["whole-chain"][:, 0], batch["values"][:, -1])


def test_steps_are_the_chain_position_of_each_label():
    task = lego.load_task("chains", preset="z2-n6")
    for split, asked in (("train", 4), ("test", 6)):
        batch = task.sample(split, 0, 50)
        steps = task.steps(batch)
        assert ((steps >= 0) == (batch["labels"] != IGNORED)).all()
        assert (np.sort(steps[steps >= 0].reshape(50, asked), axis=1) == np.arange(asked)).all()


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
        ({"ntr": 4}, r"field='ntr': allowed group, n, n_tr \(did you mean 'n_tr'\?\)"),
        ({"preset": "z2-n7"}, r"preset='z2-n7': allowed .*did you mean"),
        ({"seed": -1}, "seed=-1: allowed 0"),
        ({"preset": "z2-n12", "n": 4}, "n_tr=6: allowed 1..4"),
    ],
)
def test_an_impossible_config_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as raised:
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


def test_the_smallest_space_of_all_still_fills_every_split():
    task = ChainTask(ChainConfig("z1", n=1), 0)  # 26 sentences
    for split in SPLITS:
        assert list(task.check(task.table(task.sample(split, 0, 100)), split)) == []
