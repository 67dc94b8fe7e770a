"""Finite groups and their actions, as tables that are checked when they are made.

Operator g and state x are indices; the identity is operator 0. A chain's clause ``x = g y`` says
that the state of x is g acting on the state of y.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np

from lego.task import require


@dataclass(frozen=True)
class Action:
    """A group acting on a finite set of states.

    ``product``: (g, g) int, ``product[a, b]`` is a after b. ``table``: (g, x) int,
    ``table[a, s]`` is where a takes state s. ``operators`` and ``states`` are their words in text.

    Raises SettingError naming the offending elements when a law of groups or actions is broken.
    """

    name: str
    operators: tuple[str, ...]
    states: tuple[str, ...]
    product: np.ndarray
    table: np.ndarray

    def __post_init__(self) -> None:
        g, x, name = len(self.operators), len(self.states), self.name
        for law, array, shape, top in (
            ("product", self.product, (g, g), g),
            ("action", self.table, (g, x), x),
        ):
            held = array.shape == shape and bool(((array >= 0) & (array < top)).all())
            require(held, "group", name, f"{law} table of shape {shape} over 0..{top - 1}")
        everything = np.arange(g)
        identity = (self.product[0] == everything).all() and (
            self.product[:, 0] == everything
        ).all()
        require(bool(identity), "group", name, f"{self.operators[0]!r} as the identity")
        for a in everything:
            require(0 in self.product[a], "group", name, f"an inverse of {self.operators[a]!r}")
        left = self.product[self.product[:, :, None], everything]  # (ab)c
        right = self.product[everything[:, None, None], self.product[None]]  # a(bc)
        self._agree(left, right, "associative products")
        fixed = bool((self.table[0] == np.arange(x)).all())
        require(fixed, "group", name, "an identity that moves no state")
        composed = self.table[self.product]  # (ab)s
        nested = self.table[everything[:, None, None], self.table[None]]  # a(bs)
        self._agree(composed, nested, "an action that respects products")

    def _agree(self, left: np.ndarray, right: np.ndarray, law: str) -> None:
        broken = np.argwhere(left != right)
        if len(broken):
            a, b, c = broken[0]
            words = (self.operators[a], self.operators[b], c)
            require(False, "group", self.name, f"{law}; broken by {words}")

    @property
    def abelian(self) -> bool:
        """Whether products do not depend on their order: then counting solves a whole chain."""
        return bool((self.product == self.product.T).all())


def _permutation_group(degree: int, even: bool) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All (or the even) permutations of 0..degree-1, the identity first, and their products."""
    members = [
        p
        for p in permutations(range(degree))
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


def dihedral(sides: int) -> Action:
    """D_n of order 2n on itself; element k + n f is f reflections S, then k rotations R."""
    k, f = np.arange(2 * sides) % sides, np.arange(2 * sides) // sides
    turned = np.where(f[:, None] == 1, -k[None], k[None])
    product = (k[:, None] + turned) % sides + sides * (f[:, None] ^ f[None])
    turns = ["", "R"] + [f"R{i}" for i in range(2, sides)]
    words = [turn + flip for flip in ("", "S") for turn in turns]
    return _on_itself(f"d{sides}", words, product)


def symmetric(degree: int) -> Action:
    """S_n on itself; elements are named by where they take 0, 1, ...: P102 swaps 0 and 1."""
    members, product = _permutation_group(degree, even=False)
    return _on_itself(f"s{degree}", ["P" + "".join(map(str, p)) for p in members], product)


def alternating(degree: int) -> Action:
    """A_n, the even permutations, on itself; named as in ``symmetric``."""
    members, product = _permutation_group(degree, even=True)
    return _on_itself(f"a{degree}", ["P" + "".join(map(str, p)) for p in members], product)


def _on_itself(name: str, words: list[str], product: np.ndarray) -> Action:
    """Left multiplication. The identity is ``val`` as an operator and ``E`` as a state."""
    return Action(name, ("val", *words[1:]), ("E", *words[1:]), product, product)


_FAMILIES = {
    "z": (cyclic, 1, 26),
    "d": (dihedral, 2, 26),
    "s": (symmetric, 2, 5),
    "a": (alternating, 3, 5),
}


@lru_cache
def group(name: str) -> Action:
    """The group of a name such as z2, d3, s4 or a5, acting on itself.

    Raises SettingError for any other name, with the families and their ranges.
    """
    known = ", ".join(
        f"{letter}{low}..{letter}{top}" for letter, (_, low, top) in _FAMILIES.items()
    )
    parts = re.fullmatch(r"([a-z])([1-9]\d?)", name)
    held = parts is not None and parts[1] in _FAMILIES
    if parts is not None and held:
        make, low, top = _FAMILIES[parts[1]]
        if low <= int(parts[2]) <= top:
            return make(int(parts[2]))
    require(False, "group", name, known)
    raise AssertionError  # require has raised
