"""Groups against their definitions, and against tables that break one law each."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lego.groups import Action, canonical, group
from lego.task import SettingError


@pytest.mark.parametrize(
    ("name", "order", "abelian", "simple"),
    [("z1", 1, True, False), ("z2", 2, True, True), ("z4", 4, True, False), ("z5", 5, True, True),
     ("d2", 4, True, False), ("d3", 6, False, False), ("d8", 16, False, False),
     ("s2", 2, True, True), ("s3", 6, False, False), ("s4", 24, False, False),
     ("s5", 120, False, False), ("a3", 3, True, True), ("a4", 12, False, False),
     ("a5", 60, False, True), ("q8", 8, False, False), ("z2xz3", 6, True, False),
     ("d3xz2", 12, False, False), ("q8xs3", 48, False, False)],
)  # fmt: skip
def test_groups_have_the_properties_of_the_textbook(name, order, abelian, simple):
    action = group(name)
    assert action.order == order
    assert action.product.shape == action.table.shape == (order, order)
    assert (action.abelian, action.simple) == (abelian, simple)
    assert action.faithful and action.transitive  # on itself
    assert len(set(action.operators)) == len(set(action.states)) == order
    assert action.operators[0] == "val"


def element_orders(action):
    """How many operators have each order."""
    orders = []
    for g in range(action.order):
        power, count = g, 1
        while power:
            power, count = action.product[power, g], count + 1
        orders.append(count)
    return Counter(orders)


@pytest.mark.parametrize(
    ("name", "orders"),
    [("z6", {1: 1, 2: 1, 3: 2, 6: 2}), ("d3", {1: 1, 2: 3, 3: 2}), ("s3", {1: 1, 2: 3, 3: 2}),
     ("d4", {1: 1, 2: 5, 4: 2}), ("q8", {1: 1, 2: 1, 4: 6}), ("a4", {1: 1, 2: 3, 3: 8}),
     ("s4", {1: 1, 2: 9, 3: 8, 4: 6}), ("a5", {1: 1, 2: 15, 3: 20, 5: 24}),
     ("z2xz3", {1: 1, 2: 1, 3: 2, 6: 2}), ("z2xz2", {1: 1, 2: 3})],
)  # fmt: skip
def test_elements_have_the_orders_of_the_textbook(name, orders):
    assert element_orders(group(name)) == orders


def times(action, a, b):
    places = [action.operators.index(word) for word in (a, b)]
    return action.operators[action.product[*places]]


def test_words_of_published_corpora_stay():
    assert (group("z2").operators, group("z2").states) == (("val", "not"), ("0", "1"))
    assert group("z4").operators == ("val", "+1", "+2", "+3")
    assert group("d3").operators == ("val", "R", "R2", "S", "RS", "R2S")
    assert group("d3").states == ("E", "R", "R2", "S", "RS", "R2S")
    assert group("a3").operators == ("val", "P120", "P201")


def test_quaternions_obey_the_relations_on_the_bridge():
    q8 = group("q8")
    assert q8.states == ("E", "-E", "I", "-I", "J", "-J", "K", "-K")
    for unit in "IJK":
        assert times(q8, unit, unit) == "-E"
        assert times(q8, "-E", unit) == times(q8, unit, "-E") == f"-{unit}"
    for a, b, c in ("IJK", "JKI", "KIJ"):
        assert times(q8, a, b) == c
        assert times(q8, b, a) == f"-{c}"


def test_points_of_permutations_are_moved_as_their_words_say():
    for name, degree in (("s2", 2), ("s4", 4), ("s5", 5), ("a3", 3), ("a5", 5)):
        points, itself = group(f"{name}-points"), group(name)
        assert points.states == tuple("01234"[:degree])
        assert points.operators == itself.operators
        assert (points.product == itself.product).all()
        assert points.faithful and points.transitive
        for word, row in zip(points.operators[1:], points.table[1:], strict=True):
            assert word == "P" + "".join(map(str, row))
    assert {tuple(row) for row in group("s4-points").table} == set(itertools.permutations(range(4)))


@pytest.mark.parametrize("n", [2, 3, 5, 26])
def test_corners_are_turned_and_then_reflected(n):
    corners, itself = group(f"d{n}-points"), group(f"d{n}")
    assert (corners.operators, corners.states) == (itself.operators, tuple(map(str, range(n))))
    assert (corners.product == itself.product).all()
    assert corners.transitive
    assert corners.faithful is (n > 2)  # a reflection leaves both corners of a 2-gon where they are
    for k, f, corner in itertools.product(range(n), range(2), range(n)):
        moved = corner
        for _ in range(f):
            moved = (n - moved) % n
        for _ in range(k):
            moved = (moved + 1) % n
        assert corners.table[k + n * f, corner] == moved


@pytest.mark.parametrize("name", ["z2xz3", "d3xz2", "z2xz2xz2", "z1xs3", "q8xd3"])
def test_a_product_multiplies_part_by_part(name):
    action, factors = group(name), [group(factor) for factor in name.split("x")]

    def split(word):
        return ["val"] * len(factors) if word == "val" else word.split(".")

    for a, b in itertools.product(action.operators, repeat=2):
        parts = [times(f, *pair) for f, *pair in zip(factors, split(a), split(b), strict=True)]
        assert split(times(action, a, b)) == parts
    states = itertools.product(*(factor.states for factor in factors))
    assert [tuple(word.split(".")) for word in action.states] == list(states)
    assert (action.table == action.product).all()


def test_words_of_a_product_are_joined_by_dots():
    assert group("z2xz3").operators == ("val", "val.+1", "val.+2", "not.val", "not.+1", "not.+2")
    assert group("z2xz3").states[-1] == "1.2"
    assert "R.0" in group("d3xz2").states


KNOWN = ["z1", "z2", "z6", "d3", "q8", "a4", "z2xd2", "s3-points", "d4-points", "d2-points"]


def user_table(action, order, places, words, keys):
    """An action told in another order of operators and states, each entry as a word or an index."""
    entries = {"product": (action.product, order), "action": (action.table, places)}
    table = {"name": "mine", "operators": [action.operators[a] for a in order]}
    if "action" in keys:
        table["states"] = [action.states[s] for s in places]
    for key in keys:
        array, columns = entries[key]
        names = action.operators if key == "product" else action.states
        cells = itertools.cycle(words)
        table[key] = [
            [names[array[a, b]] if next(cells) else columns.index(array[a, b]) for b in columns]
            for a in order
        ]
    return table


@st.composite
def told(draw):
    """A known group, and a user's table of it."""
    action = group(draw(st.sampled_from(KNOWN)))
    keys = [("product", "action"), ("product",)] + [("action",)] * action.faithful
    order = draw(st.permutations(range(action.order)))
    places = draw(st.permutations(range(len(action.states))))
    words = draw(st.lists(st.booleans(), min_size=1, max_size=5))
    return action, user_table(action, order, places, words, draw(st.sampled_from(keys)))


@given(told())
def test_a_relabelled_group_is_the_same_group(case):
    action, table = case
    mine = group(table)
    assert mine.name == "mine"
    # Words name the elements, whatever their order: the isomorphism is by word.
    assert mine.operators[0] == "val"
    front = [a for a in table["operators"] if a != "val"]
    assert mine.operators == ("val", *front)  # the others keep their order
    a = np.array([action.operators.index(word) for word in mine.operators])
    assert (a[mine.product] == action.product[np.ix_(a, a)]).all()
    if "action" in table:
        assert mine.states == tuple(table["states"])
        s = np.array([action.states.index(word) for word in mine.states])
        assert (s[mine.table] == action.table[np.ix_(a, s)]).all()
    else:
        assert mine.states == mine.operators
        assert (mine.table == mine.product).all()
    assert element_orders(mine) == element_orders(action)
    for law in ("abelian", "simple"):
        assert getattr(mine, law) == getattr(action, law)


@given(told())
def test_canonical_stands_for_the_whole_table(case):
    _, table = case
    text = canonical(table)
    assert group(text) == group(table)
    assert hash(group(text)) == hash(group(table))
    assert canonical(text) == canonical(json.dumps(table)) == text
    told = json.loads(text)
    assert list(told) == sorted(("name", "operators", "states", "product", "action"))
    assert text == json.dumps(told, sort_keys=True, separators=(",", ":"))
    rows = told["product"] + told["action"] + [told["operators"], told["states"]]
    assert all(isinstance(word, str) for row in rows for word in row)


@pytest.mark.parametrize("name", [*KNOWN, "s4-points", "z2xz3"])
def test_a_known_name_is_its_own_canonical_form(name):
    assert canonical(name) == name
    assert group(name) is group(name)


KLEIN = {
    "name": "klein-4",
    "operators": ["A", "B", "N", "AB"],  # N, the identity, is not in front
    "product": [[2, 3, 0, 1], ["AB", "N", "B", "A"], [0, 1, 2, 3], ["B", "A", "AB", "N"]],
}


@pytest.mark.parametrize(
    ("suffix", "dump"), [(".yaml", yaml.safe_dump), (".yml", json.dumps), (".json", json.dumps)]
)
def test_a_file_is_read_anew_when_it_has_changed(tmp_path, suffix, dump):
    path = tmp_path / f"mine{suffix}"
    path.write_text(dump(KLEIN))
    first = group(str(path))
    assert first == group(KLEIN) == group(json.dumps(KLEIN))
    assert first.operators == first.states == ("N", "A", "B", "AB")
    assert first.product.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    assert group(str(path)) is first
    path.write_text(dump(KLEIN | {"name": "other"}))
    text = canonical(str(path))
    path.unlink()
    assert group(text).name == "other"
    assert group(text) != first


def test_arrays_of_numpy_are_tables_too():
    z3 = np.add.outer(np.arange(3), np.arange(3)) % 3
    assert group({"name": "z", "operators": ["E", "P", "Q"], "product": z3}).order == 3
    assert group({"name": "z", "operators": ["E", "P", "Q"], "product": list(z3)}).simple


def test_equality_is_of_words_and_tables():
    z3 = group("z3")
    fields = {"name": "z3", "operators": z3.operators, "states": z3.states}
    twin = Action(**fields, product=z3.product.astype(np.int16), table=z3.table.copy())
    assert twin == z3 and hash(twin) == hash(z3) and twin is not z3
    assert Action(**fields | {"states": ("E", "P", "Q")}, product=z3.product, table=z3.table) != z3
    still = np.broadcast_to(np.arange(3), (3, 3))
    assert Action(**fields, product=z3.product, table=still) != z3
    assert z3 != "z3"


def test_an_action_may_be_neither_faithful_nor_transitive():
    still = {"name": "still", "operators": ["E", "F"], "states": ["0", "1"],
             "product": [[0, 1], [1, 0]], "action": [[0, 1], [0, 1]]}  # fmt: skip
    action = group(still)
    assert not action.faithful and not action.transitive


def test_the_largest_group_is_checked_too():
    action = group("x".join(["z2"] * 7))
    assert (action.order, action.abelian, action.simple) == (128, True, False)
    alone = json.loads(canonical({"name": "big", "operators": action.operators,
                                  "product": action.product}))  # fmt: skip
    product = alone.pop("product")
    assert json.loads(canonical(alone))["product"] == product  # the action alone determines it
    with pytest.raises(SettingError, match=r"^group='z13xz10': allowed .*128; this is of 130$"):
        group("z13xz10")


def broken(product=None, table=None, **changes):
    good = group("z3").product
    fields = {"operators": ("val", "+1", "+2"), "states": ("0", "1", "2")} | changes
    return Action(
        "broken", product=good if product is None else np.array(product),
        table=good if table is None else np.array(table), **fields,
    )  # fmt: skip


LAWS = [
    ({"product": [[0, 1, 2], [1, 2, 3], [2, 0, 1]]}, r"over 0\.\.2; not product\['\+1', '\+2'\]=3"),
    ({"product": [[0, 1, 2], [1, 2, 0], [2, -1, 1]]}, r"not product\['\+2', '\+1'\]=-1"),
    ({"table": [[0, 1, 2], [1, 2, 0], [2, 0, 9]]}, r"not action\['\+2', '2'\]=9"),
    ({"table": [[0, 1], [1, 0], [0, 1]]}, r"action table of shape \(3, 3\) over 0\.\.2$"),
    ({"product": np.zeros((3, 3))}, r"product table of shape \(3, 3\) over 0\.\.2$"),
    ({"product": [[0, 1, 2], [2, 0, 1], [1, 2, 0]]}, r"'val' as the identity; broken by '\+1'"),
    ({"product": [[0, 1, 2], [1, 1, 2], [2, 2, 1]]}, r"an inverse of '\+1'"),
    ({"product": [[0, 1, 2], [1, 0, 1], [2, 1, 0]]},
     r"associative products; broken by '\+1', '\+1', '\+2'"),
    ({"table": [[1, 0, 2], [1, 2, 0], [2, 0, 1]]}, "moves no state; broken by '0'"),
    ({"table": [[0, 1, 2], [1, 0, 2], [1, 0, 2]]},
     r"respects products; broken by '\+1', '\+1', '0'"),
    ({"operators": ("val", "+1", "+1")}, r"distinct operators; '\+1' is repeated"),
    ({"states": ("0", "1", "a b")}, "not 'a b'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "law"), LAWS)
def test_a_table_that_breaks_a_law_is_refused_with_the_law(changes, law):
    with pytest.raises(SettingError, match=rf"^group='broken': allowed .*{law}"):
        broken(**changes)


Z3 = {"name": "mine", "operators": ["E", "P", "Q"], "product": [[0, 1, 2], [1, 2, 0], [2, 0, 1]]}
TURN = {"states": ["0", "1", "2"], "action": [[0, 1, 2], [1, 2, 0], [2, 0, 1]]}
ALONE = {"name": "mine", "operators": ["E", "P", "Q"]} | TURN


@pytest.mark.parametrize(
    ("table", "law"),
    [
        (Z3 | {"product": [[0, 1, 2], [1, 2, "R"], [2, 0, 1]]}, r"not product\['P', 'Q'\]='R'$"),
        (Z3 | {"product": [[0, 1, 2], [1, 2, 3], [2, 0, 1]]}, r"0\.\.2; not product\['P', 'Q'\]=3"),
        (Z3 | {"product": [[0, 1, 2], [1, 2, 0], [2, 0, True]]}, r"product\['Q', 'Q'\]=True"),
        (Z3 | {"product": [[0, 1, 2], [1, 2, 0], [2, [0], 1]]}, r"product\['Q', 'P'\]=\[0\]"),
        (Z3 | {"product": [[0, 1, 2], [1, 2, 0], [2, 0]]}, "3 rows of 3 entries as product"),
        (Z3 | {"product": None}, "3 rows of 3 entries as product"),
        (Z3 | {"product": [[1, 2, 0], [0, 1, 2], [1, 2, 0]]}, "identity among the operators"),
        (Z3 | {"product": [[0, 1, 2], [1, 1, 2], [2, 2, 0]]}, "an inverse of 'P'"),
        # Words, though the identity stood last and everything was moved.
        ({"name": "mine", "operators": ["P", "Q", "E"],
          "product": [["E", "P", "P"], ["P", "E", "Q"], ["P", "Q", "E"]]},
         "associative products; broken by 'P', 'P', 'Q'"),
        (Z3 | TURN | {"action": [[0, 1, 2], [1, 0, 2], [1, 0, 2]]},
         "respects products; broken by 'P', 'P', '0'"),
        (Z3 | TURN | {"action": [[1, 2, 0], [0, 1, 2], [2, 0, 1]]}, "no state; broken by '0'"),
        (Z3 | TURN | {"action": [[0, 1, 2], [1, 2, 0], [2, 0, "3"]]}, r"action\['Q', '2'\]='3'"),
        (ALONE | {"action": [[0, 1, 2], [1, 2, 0], [1, 2, 0]]}, "alike; 'P' and 'Q' do"),
        (ALONE | {"action": [[0, 1, 2], [1, 2, 0], [1, 0, 2]]},
         "no operator acts as 'P' after 'P'"),
        (ALONE | {"action": [[0, 1, 2], [0, 0, 0], [1, 1, 1]]}, "an inverse of 'P'"),
        (Z3 | {"states": ["0", "1", "2"]}, "states with an action, and only then"),
        (Z3 | {"action": TURN["action"]}, "states with an action, and only then"),
        ({"name": "mine", "operators": ["E"]}, "a product or an action"),
        (Z3 | {"table": []}, "name, operators, states, product, action; not 'table'"),
        (Z3 | {"operators": ["E", "P", "P"]}, "distinct operators; 'P' is repeated"),
        (Z3 | {"operators": []}, r"a list of 1\.\.128 words as operators"),
        (Z3 | {"operators": "EPQ"}, r"a list of 1\.\.128 words as operators"),
        (Z3 | {"operators": [f"o{i}" for i in range(129)]}, r"a list of 1\.\.128 words"),
        (Z3 | TURN | {"states": [f"s{i}" for i in range(129)]}, r"1\.\.128 words as states"),
        *((Z3 | {"operators": ["E", "P", word]}, "strings as operators, not empty")
          for word in ("", " ", "a b", "\t", "\u3000", "\ud800", "=", "x,", "a;", "*", "?", 0)),
    ],
)  # fmt: skip
def test_a_users_table_is_refused_with_the_offending_words(table, law):
    with pytest.raises(SettingError, match=rf"^group='mine': allowed .*{law}") as refused:
        group(table)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "ä", "m\n", 3, None])
def test_a_table_needs_a_plain_name(name):
    with pytest.raises(SettingError, match=r"^group=.*allowed a name of letters"):
        group(Z3 | {"name": name})


@pytest.mark.parametrize(
    "source",
    [
        {key: Z3[key] for key in ("operators", "product")}, {}, Z3 | {"product": {1, 2}},
        Z3 | {"product": object()}, {("a",): 1}, "{", "{'name': 1}", "{}" * 2, None, 3,
        '{"name":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_one_line(source):
    with pytest.raises(SettingError, match=r"^group=.*: allowed ") as refused:
        group(source)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.yaml", b"a: [1"), ("x.yaml", b"- 1"), ("x.yaml", b""), ("x.yml", b"\xff\xfe\x00"),
     ("x.json", b"{"), ("x.json", b"[1]"), ("x.yaml", b"a: 2001-01-01"), ("x.yaml", b"a: &a [*a]"),
     ("x.yaml", b"a: !!python/object:os.system {}"), ("missing.yaml", None), ("folder.json", None)],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    (tmp_path / "folder.json").mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=rf"^group='.*{name}': allowed ") as refused:
        group(str(path))
    assert "\n" not in str(refused.value)


UNKNOWN = ["", "z", "z0", "z27", "q4", "q16", "Z2", "a6", "d1", "z2 ", "d003", "x", "z2x", "xz2",
           "z2xz0", "z3-points", "q8-points", "z2xd3-points", "d3-pointsxz2", "s6-points", "z2*z3",
           "z2-points", "-points", "z2.toml"]  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("ask", [group, canonical])
def test_an_unknown_group_is_refused_with_the_families(ask, name):
    families = r"^group=.*allowed z1\.\.z26, d2\.\.d26, s2\.\.s5, a3\.\.a5, q8; .*-points.*z2xz3"
    with pytest.raises(SettingError, match=families):
        ask(name)
