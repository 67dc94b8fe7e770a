"""What each split holds, how many sentences there are, and how often each is drawn."""

from collections import Counter
from dataclasses import replace
from itertools import permutations, product

import chain_reader
import numpy as np
import pytest
from chain_strategies import configs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import lego
from lego.chain_config import PRESETS
from lego.chain_form import NAMES
from lego.chain_plan import space
from lego.chains import ChainConfig, ChainTask
from lego.task import SPLITS, SettingError

EVALUATIONS = tuple(
    f"test_{kind}" for kind in ("distractor", "longer", "unused", "flipped", "renamed", "ordered")
)


def texts(task, split, rows):
    return task.vocabulary.render(task.sample(split, 0, rows)["input_ids"]).to_pylist()


def solved(task, text):
    return chain_reader.solve(text, task.config.form, task.action)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_every_evaluation_split(name):
    assert ChainTask(PRESETS[name], 0).splits == (*SPLITS, *EVALUATIONS)


@settings(max_examples=40, deadline=None)
@given(configs())
def test_evaluation_splits_are_what_they_are_called(config):
    task = ChainTask(config, 1)
    total, changed = config.total, set(task.splits)
    if "test_distractor" in changed:
        for text in texts(task, "test_distractor", 4):
            trees = Counter(v.root for v in solved(task, text).values())
            assert sorted(trees.values()) == [total - total // 2 - 1, total // 2 + 1]
    if "test_longer" in changed:
        for text in texts(task, "test_longer", 4):
            assert total < len(solved(task, text)) <= total + -(-config.n // 2)
    if "test_unused" in changed:
        for text in texts(task, "test_unused", 4):
            variables = solved(task, text)
            assert len(variables) == total
            asked = task.sample("test_unused", 0, 1)["asked"][0]
            assert total - asked == max(1, total // 3)
    if "test_ordered" in changed:
        for text in texts(task, "test_ordered", 4):
            clauses = chain_reader.clauses_of(text, config.form, task.action)
            if config.order == "forward":
                clauses.reverse()
            defined = set()
            for left, _, argument in clauses:  # an argument comes before what uses it
                assert argument in defined or argument in task.action.states
                defined.add(left)


@settings(max_examples=30, deadline=None)
@given(configs(), st.integers(0, 10))
def test_flipped_pairs_differ_by_one_operator_and_only_in_what_hangs_on_it(config, pair):
    task = ChainTask(config, 2)
    if "test_flipped" not in task.splits:
        return
    batch = task.sample("test_flipped", 2 * pair, 2 * pair + 2)
    first, second = (solved(task, t) for t in task.table(batch)["text"].to_pylist())
    (changed,) = [name for name in first if first[name].operator != second[name].operator]

    def hangs(name):
        return name == changed or (name in first and hangs(first[name].argument))

    for name, variable in first.items():
        other = second[name]
        assert (variable.argument, variable.clause) == (other.argument, other.clause)
        if not hangs(name):
            assert variable.value == other.value
    one = task.sample("test_flipped", 2 * pair + 1, 2 * pair + 2)
    np.testing.assert_array_equal(one["input_ids"][0], batch["input_ids"][1])


@settings(max_examples=30, deadline=None)
@given(configs(), st.integers(0, 10))
def test_renamed_pairs_differ_by_names_alone(config, pair):
    task = ChainTask(config, 2)
    batch = task.sample("test_renamed", 2 * pair, 2 * pair + 2)
    rows = task.table(batch).to_pylist()
    first, second = (solved(task, row["text"]) for row in rows)
    assert set(first) != set(second) or list(first) != list(second)
    name_of = {v.clause: name for name, v in second.items()}
    for variable in first.values():
        twin = second[name_of[variable.clause]]
        assert (variable.operator, variable.value) == (twin.operator, twin.value)
        up = first[variable.argument].clause if variable.depth else variable.argument
        assert up == (second[twin.argument].clause if twin.depth else twin.argument)
    assert rows[0]["values"] == rows[1]["values"]
    assert rows[0]["clause_order"] == rows[1]["clause_order"]
    asked = [task.table(batch)["text"][k].as_py().split(" ? ")[1:] for k in (0, 1)]
    if config.form == "causal":  # about the same variable
        named = [text[0].split()[0] for text in asked]
        assert first[named[0]].clause == second[named[1]].clause


def test_pairs_whose_parts_are_drawn_alike_share_their_shape():
    task = ChainTask(replace(PRESETS["z2-mix"], form="causal"), 4)
    for split in ("test_flipped", "test_renamed"):
        batch = task.sample(split, 0, 60)
        asked, steps = batch["asked"], task.steps(batch).max(axis=1)
        np.testing.assert_array_equal(asked[0::2], asked[1::2])
        np.testing.assert_array_equal(steps[0::2], steps[1::2])
        assert len(set(asked)) > 1


def test_counting_is_right_in_test_and_wrong_where_a_second_chain_distracts():
    task = lego.load_task("chains", preset="z2-n12")
    score = {}
    for split in ("test", "test_distractor", "test_unused", "test_longer"):
        batch = task.sample(split, 0, 4000)
        right = task.shortcuts(batch)["whole-chain"] == task.answers(batch)
        score[split] = right[:, -1].mean()
    assert score["test"] == score["test_longer"] == 1
    assert abs(score["test_distractor"] - 0.5) < 0.04
    assert abs(score["test_unused"] - 0.5) < 0.04


# --- the whole of small spaces ---


def enumerate_texts(config):
    """Counter of all sentences of a config, by how many equally likely choices give each."""
    action, n = config.action, config.n
    total, found = config.total, Counter()
    operators = [w for w in action.operators if config.operators is None or w in config.operators]
    parents = []  # for each variable, the arguments that it may have; None: a root
    for size in (n, *config.distractors):
        first = len(parents)
        for c in range(size):
            if c < config.roots:
                parents.append([None])
            elif config.shape == "chain":
                parents.append([first + c - 1])
            else:
                parents.append(list(range(first, first + c)))
    for _ in range(config.unused):
        parents.append([None] if config.shape == "tree" else list(range(n - 2)))
    if config.order == "random":
        orders = list(permutations(range(total)))
    elif config.order == "root-first":
        orders = [(0, *rest) for rest in permutations(range(1, total))]
    else:
        orders = [tuple(range(total))[:: 1 if config.order == "forward" else -1]]
    for up in product(*parents):
        words = [
            [(action.operators[0], s) for s in action.states] if p is None else
            [(g, p) for g in operators] for p in up
        ]  # fmt: skip
        for content in product(*words):
            for names in permutations(NAMES[: config.alphabet], total):
                said = [
                    f"{names[c]} = {g} {names[a] if isinstance(a, int) else a} ,"
                    for c, (g, a) in enumerate(content)
                ]
                for order in orders:  # order[k]: the variable whose clause stands at place k
                    found[" ".join(said[c] for c in order)] += 1
    return found


SMALL = [
    ChainConfig("z2", n=1, alphabet=3),
    ChainConfig("z2", n=2, alphabet=3),
    ChainConfig("z2", n=3, alphabet=4),
    ChainConfig("z3", n=2, alphabet=4, order="root-first"),
    ChainConfig("z3", n=3, alphabet=3, order="forward"),
    ChainConfig("z2", n=3, alphabet=4, order="reversed", operators=("not",)),
    ChainConfig("s3-points", n=2, alphabet=3),
    ChainConfig("z2", n=3, alphabet=3, shape="tree"),
    ChainConfig("z2", n=4, alphabet=4, shape="tree"),
    ChainConfig("z2", n=4, alphabet=4, shape="tree", order="forward"),
    ChainConfig("z2", n=4, alphabet=4, shape="tree", order="root-first"),
    ChainConfig("z2", n=3, alphabet=4, shape="tree", roots=2),
    ChainConfig("z2", n=4, alphabet=4, shape="tree", roots=2, order="root-first"),
    ChainConfig("z2", n=3, alphabet=3, shape="tree", roots=3),
    ChainConfig("z2", n=2, alphabet=4, distractors=(1, 1)),
    ChainConfig("z2", n=3, alphabet=4, distractors=(1,)),
    ChainConfig("z2", n=3, alphabet=4, unused=1),
    ChainConfig("z2", n=3, alphabet=5, unused=2, operators=("not",)),
    ChainConfig("z2", n=3, alphabet=4, unused=1, order="root-first"),
    ChainConfig("z2", n=3, alphabet=5, unused=2, order="forward"),
    ChainConfig("z2", n=3, alphabet=4, shape="tree", unused=1),
    ChainConfig("z2", n=2, alphabet=4, shape="tree", unused=1, distractors=(1,)),
]


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_small_space_has_the_size_that_the_card_states_and_is_drawn_as_it_should(config):
    weights = enumerate_texts(config)
    assert space(config) == (len(weights), True)
    task = ChainTask(config, 5)
    whole = list(weights)
    ids = np.array(task.tokenizer()(whole)["input_ids"])
    owned = task.sampler.owners(ids) == 0
    drawn = Counter(texts(task, "train", 60_000))
    assert set(drawn) <= {text for text, mine in zip(whole, owned, strict=True) if mine}
    expected = np.array([weights[t] for t, mine in zip(whole, owned, strict=True) if mine], float)
    counts = np.array([drawn[t] for t, mine in zip(whole, owned, strict=True) if mine])
    assert (expected * 60_000 / expected.sum()).min() > 1
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-6


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_unique_splits_hold_every_sentence_once_and_no_more(config):
    task = ChainTask(replace(config, unique=True), 3)
    assert task.splits == SPLITS
    seen: list[str] = []
    for split in SPLITS:
        with pytest.raises(SettingError, match=f"rows of {split}=.*allowed up to"):
            task.sample(split, 0, 10**6)
        count = int(task_limit(task, split))
        rows = texts(task, split, count)
        assert len(set(rows)) == count
        table = task.table(task.sample(split, 0, count))
        assert list(task.check(table, split)) == []
        with pytest.raises(
            SettingError, match=f"rows of {split}={count + 1}: allowed up to {count} "
        ):
            task.sample(split, count, count + 1)
        seen += rows
    assert Counter(seen) == Counter(dict.fromkeys(enumerate_texts(config), 1))


def task_limit(task, split):
    with pytest.raises(SettingError) as raised:
        task.sample(split, 0, 10**6)
    return str(raised.value).split("allowed up to")[1].split()[0]


def test_unique_orders_differ_by_seed_and_ranges_agree():
    config = ChainConfig("z2", n=3, alphabet=5, unique=True)
    one, two = ChainTask(config, 0), ChainTask(config, 1)
    assert texts(one, "train", 500) != texts(two, "train", 500)
    parts = [one.sample("train", a, b)["input_ids"] for a, b in ((0, 200), (200, 500))]
    np.testing.assert_array_equal(np.concatenate(parts), one.sample("train", 0, 500)["input_ids"])


def test_a_space_too_large_to_be_numbered_is_refused():
    task = lego.load_task("chains", preset="z2-n12", unique=True)
    with pytest.raises(SettingError, match="unique=True: allowed False for more than 16,777,216"):
        task.sample("train", 0, 1)


# --- mixtures ---


def test_a_mixture_has_its_parts_in_their_shares():
    parts = ({"n": 3, "weight": 1}, {"n": 5, "weight": 2}, {"n": 8, "weight": 5})
    task = lego.load_task("chains", mixture=parts, n=8, alphabet=26)
    for split in ("train", "test"):
        counts = Counter(task.sample(split, 0, 8000)["asked"].tolist())
        observed = [counts[n] for n in (3, 5, 8)]
        assert chisquare(observed, [1000, 2000, 5000]).pvalue > 1e-6


def test_a_curriculum_goes_through_its_stages_and_tests_on_all():
    parts = ({"n": 3, "weight": [1, 0, 1]}, {"n": 6, "weight": [0, 1, 1]})
    task = lego.load_task("chains", mixture=parts, n=6, stage=100)
    asked = task.sample("train", 0, 4000)["asked"]
    assert (asked[:100] == 3).all() and (asked[100:200] == 6).all()
    assert abs((asked[200:] == 3).mean() - 0.5) < 0.05  # the last stage has no end
    assert abs((task.sample("test", 0, 4000)["asked"] == 3).mean() - 0.5) < 0.05


def operators_of(task, start):
    ids = task.sample("train", start, start + 100)["input_ids"]
    clauses = [
        clause
        for text in task.vocabulary.render(ids).to_pylist()
        for clause in chain_reader.clauses_of(text, "paper", task.action)
    ]
    return {operator for _, operator, _ in clauses}


def test_flipflop_experiences_have_a_reflection_each_and_one_vocabulary():
    sequence = lego.load_task("chains", preset="d3-flipflop")
    for k, word in enumerate(("S", "RS", "R2S")):
        task = lego.load_task("chains", preset=f"d3-flipflop-{k + 1}")
        assert operators_of(task, 0) == operators_of(sequence, 100_000 * k) == {"val", word}
        assert task.vocabulary == sequence.vocabulary
    assert operators_of(sequence, 10**9) == {"val", "R2S"}  # the last has no end


def test_the_size_of_a_mixture_counts_what_parts_share_once():
    def size(**fields):
        return space(ChainConfig("d3", n=2, alphabet=3, **fields))

    each = [{"operators": ["val", word]} for word in ("S", "RS", "R2S")]
    sets = [enumerate_texts(ChainConfig("d3", n=2, alphabet=3, operators=tuple(p["operators"])))
            for p in each]  # fmt: skip
    assert size(mixture=each) == (len(set().union(*sets)), True)
    assert size(mixture=({"n": 1}, {"n": 2})) == (size()[0] + 3 * 6, True)
    assert size(mixture=({}, {"order": "forward"}))[1] is False


def test_a_mixture_may_have_any_shapes():
    parts = (
        {"shape": "tree"},
        {"distractors": [3], "order": "reversed"},
        {"unused": 2, "n_tr": 3},
        {"n": 2, "operators": ["not"]},
    )
    task = lego.load_task("chains", mixture=parts, n=6)
    for split in task.splits:
        table = task.table(task.sample(split, 0, 200))
        assert list(task.check(table, split)) == []
