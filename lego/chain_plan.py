"""What each split of a chain config draws, and how many sentences there are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from lego.chain_config import ChainConfig
from lego.chain_kernel import FLIPPED, RENAMED
from lego.task import SPLITS

# Evaluation splits, each of which departs from train in one way.
EVALUATIONS = (
    "test_distractor",  # half of the clauses are those of a second chain
    "test_longer",  # half as many variables again
    "test_unused",  # a third of the clauses are of no use
    "test_flipped",  # rows 2k and 2k+1 differ by one operator
    "test_renamed",  # rows 2k and 2k+1 differ by the names
    "test_ordered",  # clauses in the order of the chain (reversed, where train has that)
)
CHAIN_SPLITS = SPLITS + EVALUATIONS  # the places in it decide who owns a sentence
FEWEST_PAIRS = 32  # flipped pairs that a space must be expected to have
PAIRS = {"test_flipped": FLIPPED, "test_renamed": RENAMED}


@dataclass(frozen=True)
class Plan:
    """How the variables of a sentence hang together, and where their clauses go.

    ``config``: the part of a mixture, changed as the split asks. ``pairs``: 0, or a value of PAIRS.
    """

    config: ChainConfig
    pairs: int
    labelled: int  # of the asked variables, the first so many

    @cached_property
    def parents(self) -> tuple[np.ndarray, np.ndarray]:
        """low, count (total,) int64: the argument of variable c is one of count[c] from low[c] on.

        count 0: a root. The asked variables come first, then the distractors, then the unused.
        """
        config = self.config
        low: list[int] = []
        count: list[int] = []
        for size in (config.n, *config.distractors):
            first = len(low)
            for c in range(size):
                if c < config.roots:
                    low, count = [*low, 0], [*count, 0]
                elif config.shape == "chain":
                    low, count = [*low, first + c - 1], [*count, 1]
                else:
                    low, count = [*low, first], [*count, c]
        # In a tree an unused clause is a constant; beside a chain it is one more branch, which
        # ends before the chain does.
        branches = config.n - 2 if config.shape == "chain" else 0
        low += [0] * config.unused
        count += [branches] * config.unused
        return np.array(low), np.array(count)

    @property
    def head(self) -> int:
        """So many clauses at the beginning keep their places, if clauses are shuffled."""
        return int(self.config.order == "root-first")

    @property
    def shuffled(self) -> bool:
        return self.config.order in ("random", "root-first")

    @property
    def slots(self) -> np.ndarray:
        """(total,) uint16: the places of the clauses where they are not shuffled."""
        c = np.arange(self.config.total, dtype=np.uint16)
        return c[::-1].copy() if self.config.order == "reversed" else c

    @cached_property
    def contents(self) -> np.ndarray:
        """(total,) int64: the states that a root may have, the operators that another may have."""
        states, operators = len(self.config.action.states), len(self.config.drawn)
        return np.where(self.parents[1] == 0, states, operators)

    @property
    def bounds(self) -> np.ndarray:
        """(total, 4) int64: how many names, places, contents and parents there are to choose from.

        A sentence is drawn by choosing below each of them; some sentences come of many choices.
        """
        c = np.arange(self.config.total)
        names, parents = self.config.alphabet - c, np.maximum(self.parents[1], 1)
        places = c + 1 - np.minimum(c, self.head) if self.shuffled else 0 * c + 1
        return np.stack([names, places, self.contents, parents], axis=1)

    @property
    def choices(self) -> int:
        """The product of the bounds: at least the number of sentences."""
        return math.prod(self.bounds.ravel().tolist())


def variant(config: ChainConfig, split: str, longest: int) -> ChainConfig | None:
    """A config that is no mixture, as a split changes it; None where that can't be done.

    ``longest``: the largest n of the mixture that it is part of, or its own.
    """
    n, total, bare = config.n, config.total, config.roots == 1
    if split == "test_distractor":
        rest = total - (total // 2 + 1)
        if not bare or rest < 1:
            return None
        return replace(config, n=total - rest, n_tr=None, distractors=(rest,), unused=0)
    if split == "test_longer":
        longer = min(longest + math.ceil(longest / 2), config.alphabet - (total - n))
        return replace(config, n=longer, n_tr=None) if longer > longest else None
    if split == "test_unused":
        rest = max(1, total // 3)
        least = 3 if config.shape == "chain" else 2
        if not bare or total - rest < least:
            return None
        return replace(config, n=total - rest, n_tr=None, distractors=(), unused=rest)
    if split == "test_flipped":
        # A pair needs two sentences that the split owns, and it owns so few of all.
        changes = (n - config.roots) * (len(config.drawn) - 1)
        pairs = _sentences(config) * changes // (16 * (len(CHAIN_SPLITS) - 2)) ** 2
        return config if pairs >= FEWEST_PAIRS else None
    if split == "test_renamed":
        return config if config.alphabet > 1 else None
    if split == "test_ordered":
        order = "reversed" if config.order == "forward" else "forward"
        return replace(config, order=order) if total > 1 else None
    return config


def plans(config: ChainConfig, split: str) -> list[Plan] | None:
    """The plan of each part of a config for a split; None where a part can't have that split."""
    if split in EVALUATIONS and config.unique:
        return None
    made = []
    for part in config.parts:
        changed = variant(part, split, max(other.n for other in config.parts))
        if changed is None:
            return None
        labelled = changed.supervised if split == "train" else changed.n
        made.append(Plan(changed, PAIRS.get(split, 0), labelled))
    return made


def space(config: ChainConfig) -> tuple[int, bool]:
    """The number of different sentences that train may draw, and whether it is exact.

    It is an upper bound for mixtures of parts that have sentences in common in other ways than by
    their operators.
    """
    total, exact = 0, True
    by_length: dict[int, list[ChainConfig]] = {}
    for part in config.parts:
        by_length.setdefault(part.total, []).append(part)
    for parts in by_length.values():
        bases = [replace(part, operators=None, n_tr=None) for part in parts]
        if any(base != bases[0] for base in bases):
            total, exact = total + sum(map(_sentences, parts)), False
            continue
        sets = {frozenset(part.drawn) for part in parts}
        for size in range(1, len(sets) + 1):  # inclusion and exclusion
            for some in combinations(sets, size):
                shared = len(frozenset.intersection(*some))
                total -= (-1) ** size * _sentences(parts[0], shared)
    return total, exact


def _sentences(config: ChainConfig, operators: int | None = None) -> int:
    """The number of sentences of a config that is no mixture, given how many operators it has."""
    n, total, action = config.n, config.total, config.action
    operators = len(config.drawn) if operators is None else operators
    tree, roots = config.shape == "tree", config.roots
    sizes = [n, *config.distractors, *([1] * config.unused if tree else [])]
    root_count = roots + len(sizes) - 1
    words = len(action.states) ** root_count * operators ** (total - root_count)
    names = math.perm(config.alphabet, total)  # of the left-hand variables, in the text's order
    if config.order in ("forward", "reversed"):
        # The place of a clause says which variable it defines: only the arguments are open.
        _, count = Plan(config, 0, n).parents
        return names * words * math.prod(np.maximum(count, 1).tolist())
    # Which clauses make up which chain or tree, with like ones not told apart; then how.
    if not tree:
        ways = math.factorial(total) * (n - 2) ** config.unused // math.factorial(config.unused)
        ways //= math.prod(map(math.factorial, Counter(config.distractors).values()))
        return names * words * (ways if config.order == "random" else ways // total)
    ways = math.factorial(total) // math.prod(map(math.factorial, sizes))
    ways //= math.prod(map(math.factorial, Counter(sizes[1:]).values()))
    for size in sizes[1:]:
        ways *= size ** (size - 1)  # rooted trees on labelled nodes (Cayley)
    # Rooted forests on labelled nodes; the share of those with a given root is roots / n.
    ways *= 1 if roots == n else math.comb(n, roots) * roots * n ** (n - roots - 1)
    if config.order == "root-first":
        ways = ways * roots // total  # by symmetry: the first clause is one of the asked roots
    return names * words * ways
