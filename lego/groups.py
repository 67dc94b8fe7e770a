"""Finite groups and their actions, as tables that are checked when they are made.

Operator g and state x are indices; the identity is operator 0. A chain's clause ``x = g y`` says
that the state of x is g acting on the state of y.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, reduce
from typing import Any

import numpy as np
from einops import rearrange

from lego.group_table import LIMIT, GroupTable, as_text, checked_words, decoded, encoded
from lego.task import require


@dataclass(frozen=True, eq=False)
class Action:
    """A group acting on a finite set of states; it equals any other of the same words and tables.

    ``product``: (g, g) int, ``product[a, b]`` is a after b. ``table``: (g, x) int,
    ``table[a, s]`` is where a takes state s. ``operators`` and ``states`` are their words in text,
    1..128 of each.

    Raises SettingError naming the offending elements when a law of groups or actions is broken.
    """

    name: str
    operators: tuple[str, ...]
    states: tuple[str, ...]
    product: np.ndarray
    table: np.ndarray

    def __post_init__(self) -> None:
        operators, states = self.operators, self.states
        checked_words(self.name, "operators", operators)
        checked_words(self.name, "states", states)
        self._closed("product", self.product, operators)
        self._closed("action", self.table, states)
        everything = np.arange(self.order)
        moved = (self.product[0] != everything) | (self.product[:, 0] != everything)
        self._unbroken(moved, f"{operators[0]!r} as the identity", operators)
        for a, word in enumerate(operators):
            require(0 in self.product[a], "group", self.name, f"an inverse of {word!r}")
        # One a at a time: all triples at once would be tens of megabytes.
        for a, word in enumerate(operators):
            differ = self.product[self.product[a]] != self.product[a][self.product]  # (ab)c, a(bc)
            self._unbroken(differ[None], "associative products", (word,), operators, operators)
        moved = self.table[0] != np.arange(len(states))
        self._unbroken(moved, "an identity that moves no state", states)
        for a, word in enumerate(operators):
            differ = self.table[self.product[a]] != self.table[a][self.table]  # (ab)s, a(bs)
            law = "an action that respects products"
            self._unbroken(differ[None], law, (word,), operators, states)

    def _closed(self, key: str, array: np.ndarray, words: Sequence[str]) -> None:
        shape, top = (self.order, len(words)), len(words) - 1
        law = f"{key} table of shape {shape} over 0..{top}"
        held = array.shape == shape and np.issubdtype(array.dtype, np.integer)
        require(held, "group", self.name, law)
        for a, b in np.argwhere((array < 0) | (array > top)):
            where = f"{key}[{self.operators[a]!r}, {words[b]!r}]={array[a, b]}"
            require(False, "group", self.name, f"{law}; not {where}")

    def _unbroken(self, broken: np.ndarray, law: str, *axes: Sequence[str]) -> None:
        """Refuse the first place where ``broken`` is true, by the words that its axes stand for."""
        for place in np.argwhere(broken):
            found = ", ".join(repr(words[i]) for words, i in zip(axes, place, strict=True))
            require(False, "group", self.name, f"{law}; broken by {found}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Action) and (
            (self.name, self.operators, self.states) == (other.name, other.operators, other.states)
            and np.array_equal(self.product, other.product)
            and np.array_equal(self.table, other.table)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.operators, self.states))

    @property
    def order(self) -> int:
        """The number of operators."""
        return len(self.operators)

    @cached_property
    def abelian(self) -> bool:
        """Whether products do not depend on their order: then counting solves a whole chain."""
        return bool((self.product == self.product.T).all())

    @cached_property
    def simple(self) -> bool:
        """Whether just two subgroups are normal: the whole, and the identity alone."""
        inverse = self.product.argmin(axis=1)
        for a in range(1, self.order):
            conjugates = self.product[self.product[:, a], inverse]  # b a b^-1 for every b
            closure, size = np.union1d(0, conjugates), 0
            while size < len(closure):  # of finitely many elements, products alone give inverses
                size = len(closure)
                closure = np.unique(self.product[np.ix_(closure, closure)])
            if size < self.order:
                return False
        return self.order > 1

    @cached_property
    def faithful(self) -> bool:
        """Whether different operators act differently."""
        return len(np.unique(self.table, axis=0)) == self.order

    @cached_property
    def transitive(self) -> bool:
        """Whether some operator takes any state to any other."""
        return len(np.unique(self.table[:, 0])) == len(self.states)


def _permutation_group(degree: int, even: bool) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All (or the even) permutations of 0..degree-1, the identity first, and their products."""
    members = [
        p
        for p in itertools.permutations(range(degree))
        if not even or sum(p[i] > p[j] for i in range(degree) for j in range(i, degree)) % 2 == 0
    ]
    index = {p: i for i, p in enumerate(members)}
    product = [[index[tuple(a[i] for i in b)] for b in members] for a in members]
    return members, np.array(product)


def cyclic(order: int) -> Action:
    """Z_n on itself. Z_2 has the words of the paper's code: ``val``, ``not``, and states 0, 1."""
    numbers = np.arange(order)
    product = (numbers[:, None] + numbers) % order
    shifts = ("not",) if order == 2 else tuple(f"+{k}" for k in range(1, order))
    return Action(
        f"z{order}", ("val", *shifts)[:order], tuple(map(str, range(order))), product, product
    )


def dihedral(sides: int, points: bool = False) -> Action:
    """D_n of order 2n on itself; element k + n f is f reflections S, then k rotations R.

    On points, R takes corner i to i + 1 mod n, and S to -i mod n.
    """
    k, f = np.arange(2 * sides) % sides, np.arange(2 * sides) // sides
    turned = np.where(f[:, None] == 1, -k[None], k[None])
    rotation = (k[:, None] + turned) % sides
    product = rotation + sides * (f[:, None] ^ f[None])
    turns = ["", "R"] + [f"R{i}" for i in range(2, sides)]
    words = [turn + flip for flip in ("", "S") for turn in turns]
    if points:  # corner i is where rotation i takes corner 0
        return _on_points(f"d{sides}", words, product, rotation[:, :sides].copy())
    return _on_itself(f"d{sides}", words, product)


def symmetric(degree: int, points: bool = False) -> Action:
    """S_n on itself, or on its points; P102 takes 0, 1, 2 to 1, 0, 2, and so on for every word."""
    return _permutations(f"s{degree}", degree, points, even=False)


def alternating(degree: int, points: bool = False) -> Action:
    """A_n, the even permutations, on itself, or on its points; named as in ``symmetric``."""
    return _permutations(f"a{degree}", degree, points, even=True)


def _permutations(name: str, degree: int, points: bool, even: bool) -> Action:
    members, product = _permutation_group(degree, even)
    words = ["P" + "".join(map(str, p)) for p in members]
    if points:
        return _on_points(name, words, product, np.array(members))
    return _on_itself(name, words, product)


def quaternion() -> Action:
    """Q_8 on itself: I I = J J = K K = -E, and I J = K, J K = I, K I = J."""
    unit, sign = np.divmod(np.arange(8), 2)  # E, I, J, K; 0 is plus
    u, v = unit[:, None], unit
    # In the ring I J K, a unit times the next one is plus the third; times the others, minus.
    minus = (u > 0) & (v > 0) & ((v - u) % 3 != 1)
    product = 2 * (u ^ v) + (sign[:, None] ^ sign ^ minus)
    return _on_itself("q8", [minus + unit for unit in "EIJK" for minus in ("", "-")], product)


def direct_product(*factors: Action) -> Action:
    """All factors at once, each on its own part of the state; words are joined by dots.

    Raises SettingError for an order above 128.
    """
    name = "x".join(factor.name for factor in factors)
    order = math.prod(factor.order for factor in factors)
    require(order <= LIMIT, "group", name, f"products of order 1..{LIMIT}; this is of {order}")
    operators, states = (
        tuple(map(".".join, itertools.product(*words)))
        for words in ([f.operators for f in factors], [f.states for f in factors])
    )
    product = reduce(_side_by_side, (factor.product for factor in factors))
    table = reduce(_side_by_side, (factor.table for factor in factors))
    return Action(name, ("val", *operators[1:]), states, product, table)


def _side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(g, x) and (h, y) -> (g h, x y): the two tables on pairs, the left one's part first."""
    pairs = left[:, None, :, None] * right.shape[1] + right[None, :, None, :]
    return rearrange(pairs, "g h x y -> (g h) (x y)")


def _on_itself(name: str, words: list[str], product: np.ndarray) -> Action:
    """Left multiplication. The identity is ``val`` as an operator and ``E`` as a state."""
    return Action(name, ("val", *words[1:]), ("E", *words[1:]), product, product)


def _on_points(name: str, words: list[str], product: np.ndarray, table: np.ndarray) -> Action:
    """The same group, with the same operator words, moving points 0, 1, ..."""
    points = tuple(map(str, range(table.shape[1])))
    return Action(f"{name}-points", ("val", *words[1:]), points, product, table)


_FAMILIES: dict[str, tuple[Callable[..., Action], int, int]] = {
    "z": (cyclic, 1, 26),
    "d": (dihedral, 2, 26),
    "s": (symmetric, 2, 5),
    "a": (alternating, 3, 5),
}
_GROUPS: dict[str, Callable[..., Action]] = {
    f"{letter}{n}": partial(make, n)
    for letter, (make, low, top) in _FAMILIES.items()
    for n in range(low, top + 1)
} | {"q8": quaternion}
_POINTS: dict[str, Callable[..., Action]] = {
    f"{name}-points": partial(make, points=True)
    for name, make in _GROUPS.items()
    if name[0] in "dsa"
}
_ALLOWED = ", ".join(f"{letter}{low}..{letter}{top}" for letter, (_, low, top) in _FAMILIES.items())
_ALLOWED += (
    f", q8; d, s and a with -points, as in s4-points; products up to order {LIMIT}, as in z2xz3; "
    "or a table of your own: a .yaml, .yml or .json file, a mapping, or JSON"
)


def group(source: str | Mapping[str, Any]) -> Action:
    """The group of a name such as z2, q8, s4-points or d3xz2, or of a user's own table.

    A table is a YAML or JSON file, its content as a mapping, or as a JSON string: ``name``,
    ``operators``, and ``product`` (rows of words or indices: a after b), ``action`` (rows: where
    each of ``states`` goes), or both. A file is read at each call; equal content is made once.

    Raises SettingError for any other name, with the families and their ranges, and for a table
    that is not of a group, with the offending words.
    """
    return _made(as_text(source))


def canonical(source: str | Mapping[str, Any]) -> str:
    """What stands for a group in configs: a known name, or all of a user's table as one JSON line.

    ``group(canonical(x)) == group(x)``, and needs no file. Raises SettingError as ``group`` does.
    """
    action = group(source)
    if action.name == source:  # no table's name is the path or the JSON that it comes from
        return action.name
    fields = (action.name, action.operators, action.states, action.product, action.table)
    return encoded(GroupTable(*fields))


@lru_cache
def _made(text: str) -> Action:
    """The group of a name or of a JSON table."""
    if text.startswith("{"):
        return Action(*decoded(text))
    if text in _POINTS:
        return _POINTS[text]()
    factors = text.split("x")
    require(all(factor in _GROUPS for factor in factors), "group", text, _ALLOWED)
    if len(factors) > 1:
        return direct_product(*map(_made, factors))
    return _GROUPS[text]()
