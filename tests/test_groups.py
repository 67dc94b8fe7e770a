"""Groups against their definitions, and against tables that break one law each."""

import numpy as np
import pytest

from lego.groups import Action, group
from lego.task import SettingError


@pytest.mark.parametrize(
    ("name", "order", "abelian"),
    [("z1", 1, True), ("z2", 2, True), ("z7", 7, True), ("d2", 4, True), ("d3", 6, False),
     ("d8", 16, False), ("s3", 6, False), ("s4", 24, False), ("a4", 12, False), ("a5", 60, False)],
)  # fmt: skip
def test_orders_and_commutativity_are_those_of_the_textbook(name, order, abelian):
    action = group(name)
    assert action.product.shape == (order, order)
    assert action.abelian is abelian
    assert len(set(action.operators)) == len(set(action.states)) == order


def test_d3_and_s3_are_isomorphic_by_their_element_orders():
    def element_orders(name):
        product = group(name).product
        orders = []
        for g in range(len(product)):
            power, count = g, 1
            while power:
                power, count = product[power, g], count + 1
            orders.append(count)
        return sorted(orders)

    assert element_orders("d3") == element_orders("s3") == [1, 2, 2, 2, 3, 3]


def broken(product=None, table=None):
    good = group("z3").product
    return Action(
        "broken", ("val", "+1", "+2"), ("0", "1", "2"),
        good if product is None else np.array(product), good if table is None else np.array(table),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "law"),
    [
        ({"product": [[0, 1, 2], [1, 2, 3], [2, 0, 1]]}, "over 0..2"),
        ({"product": [[0, 1, 2], [2, 0, 1], [1, 2, 0]]}, "'val' as the identity"),
        ({"product": [[0, 1, 2], [1, 1, 2], [2, 2, 1]]}, "an inverse of '\\+1'"),
        ({"product": [[0, 1, 2], [1, 0, 1], [2, 1, 0]]}, "associative products; broken by"),
        ({"table": [[1, 0, 2], [1, 2, 0], [2, 0, 1]]}, "moves no state"),
        ({"table": [[0, 1, 2], [1, 0, 2], [1, 0, 2]]}, "respects products; broken by"),
    ],
)
def test_a_table_that_breaks_a_law_is_refused_with_the_law(tables, law):
    with pytest.raises(SettingError, match=law):
        broken(**tables)


@pytest.mark.parametrize("name", ["", "z", "z0", "z27", "q8", "Z2", "a6", "d1", "z2 ", "d003"])
def test_an_unknown_group_is_refused_with_the_families(name):
    with pytest.raises(SettingError, match=r"^group=.*allowed z1\.\.z26"):
        group(name)
