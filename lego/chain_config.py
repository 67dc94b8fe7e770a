"""What a chain config may say, and the presets."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lego.chain_form import FORMS, NAMES
from lego.groups import Action, canonical, group
from lego.task import choose, decode, require
from lego.text import SPECIALS

SHAPES = ("chain", "tree")
ORDERS = ("random", "forward", "reversed", "root-first")
# What the parts of a mixture have in common: a word means one thing, whatever the part.
OF_THE_WHOLE = ("group", "alphabet", "form", "mixture", "stage", "unique")


@dataclass(frozen=True)
class ChainConfig:
    """One distribution of sentences. Raises SettingError when a field is out of its range."""

    # z1..z26, d2..d26, s2..s5, a3..a5, q8, products as z2xz3, d4-points; or one's own table: the
    # name of a YAML or JSON file, or what would stand in it (see lego.groups.group).
    group: str | dict[str, Any] = "z2"
    n: int = 6  # variables that are asked about, in their chain or tree
    n_tr: int | None = None  # how many of them have a label in train, 1..n; None is all
    shape: str = "chain"  # or tree: each variable from any earlier one, uniformly
    roots: int = 1  # of a tree: above 1, a forest
    # Variables of further chains (or trees) that nobody asks about, each below n.
    distractors: tuple[int, ...] = ()
    unused: int = 0  # clauses whose variable is neither asked nor used by another
    order: str = "random"  # of the clauses: random, forward, reversed, root-first
    operators: tuple[str, ...] | None = None  # those that occur; None is all of the group
    form: str = "paper"  # or compact, english, causal, causal-all
    alphabet: int = 26  # names to choose from: a..z, then bb, bc, ... up to 426
    unique: bool = False  # no sentence twice in a split; for spaces of up to 2**24 sentences
    # Parts of a mixture: fields that replace those above, and weight, a number, or one for each
    # stage. Train goes through the stages, so many examples each, and stays in the last.
    mixture: tuple[dict[str, Any], ...] = ()
    stage: int | None = None

    def __post_init__(self) -> None:
        self._settle("group", canonical(self.group))
        for field in ("distractors", "mixture"):  # as JSON gives them back, so that equal is equal
            value = getattr(self, field)
            require(isinstance(value, (list, tuple)), field, value, "a list")
            self._settle(field, tuple(json.loads(json.dumps(value))))
        if self.operators is not None:
            self._settle("operators", tuple(self.operators))
        for length in self.distractors:
            held = type(length) is int and 1 <= length < self.n
            require(held, "distractors", self.distractors, f"lengths of 1..{self.n - 1} (below n)")
        action, total = self.action, self.total
        choose("form", self.form, FORMS)
        choose("shape", self.shape, SHAPES)
        choose("order", self.order, ORDERS)
        most = len(NAMES)
        require(1 <= self.alphabet <= most, "alphabet", self.alphabet, f"1..{most} (names)")
        reached = f"1..{self.alphabet} (the names of alphabet={self.alphabet})"
        require(1 <= self.n <= self.alphabet, "n", self.n, reached)
        require(1 <= self.supervised <= self.n, "n_tr", self.n_tr, f"1..{self.n} (n)")
        trees = 1 if self.shape == "chain" else self.n
        require(1 <= self.roots <= trees, "roots", self.roots, f"1..{trees} (shape={self.shape})")
        bare = self.roots == 1 or not (self.distractors or self.unused)
        require(bare, "roots", self.roots, "1 where there are distractors or unused clauses")
        if self.shape == "chain" and self.unused:
            # An unused clause hangs where it can't be taken for the end of the chain.
            require(self.n >= 3, "unused", self.unused, "0 for n below 3")
        require(self.unused >= 0, "unused", self.unused, "0 or more")
        enough = f"{total}..{most} (a sentence of {total} variables needs as many names)"
        require(total <= self.alphabet, "alphabet", self.alphabet, enough)
        for word in self.operators or ():
            choose("operators", word, action.operators)
        once = self.operators is None or len(set(self.operators)) == len(self.operators) > 0
        require(once, "operators", self.operators, "one or more operators, each once")
        taken = {*NAMES[: self.alphabet], *SPECIALS, *FORMS[self.form].clause, "?"}
        for word in (*action.operators, *action.states):
            free = f"words that mean nothing else, as {word!r} does (a variable or a sign)"
            require(word not in taken, "group", action.name, free)
        self._check_mixture()

    def _settle(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)

    def _check_mixture(self) -> None:
        require(not (self.unique and self.mixture), "unique", True, "False for a mixture")
        held = self.stage is None or (bool(self.mixture) and self.stage >= 1)
        require(held, "stage", self.stage, "1 or more, for a mixture")
        if not self.mixture:
            return
        lengths = {len(row) for row in self._weights()}
        stages = f"as many weights for each part as there are stages, not {sorted(lengths)}"
        require(len(lengths) == 1 and lengths != {0}, "mixture", self.mixture, stages)
        staged = lengths == {1} or self.stage is not None
        require(staged, "stage", self.stage, "the examples of a stage, since weights are lists")
        for weight in (w for row in self._weights() for w in row):
            number = type(weight) in (int, float) and math.isfinite(weight) and weight >= 0
            require(number, "mixture weight", weight, "numbers from 0 up")
        for stage, column in enumerate(zip(*self._weights(), strict=True)):
            require(sum(column) > 0, "mixture weights", column, f"a sum above 0 in stage {stage}")
        assert self.parts  # which are checked as they are made

    def _weights(self) -> list[tuple[float, ...]]:
        for part in self.mixture:
            require(isinstance(part, dict), "mixture", part, "a list of {field: value, weight: w}")
        given = [part.get("weight", 1) for part in self.mixture]
        return [tuple(w) if isinstance(w, (list, tuple)) else (w,) for w in given]

    @cached_property
    def weights(self) -> list[list[float]]:
        """weights[s][p]: the share of part p in stage s; a row sums to 1."""
        columns = list(zip(*self._weights(), strict=True)) if self.mixture else [(1.0,)]
        return [[weight / sum(column) for weight in column] for column in columns]

    @cached_property
    def parts(self) -> tuple[ChainConfig, ...]:
        """The configs that are mixed; of a config that is no mixture, itself alone."""
        if not self.mixture:
            return (self,)
        whole = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        whole |= {"mixture": (), "stage": None}
        made = []
        for part in self.mixture:
            fields = {name: value for name, value in part.items() if name != "weight"}
            for name in OF_THE_WHOLE:
                require(name not in fields, f"mixture {name}", fields.get(name), "the whole's own")
            made.append(decode(ChainConfig, fields, ChainConfig(**whole)))
        return tuple(made)

    @property
    def action(self) -> Action:
        return group(self.group)

    @property
    def supervised(self) -> int:
        return self.n if self.n_tr is None else self.n_tr

    @property
    def total(self) -> int:
        """Variables of a sentence, asked about or not."""
        return self.n + sum(self.distractors) + self.unused

    @property
    def drawn(self) -> tuple[str, ...]:
        """The operators that occur, in the group's order."""
        chosen = self.operators or self.action.operators
        return tuple(word for word in self.action.operators if word in chosen)


def _flipflop(reflection: str) -> dict[str, Any]:
    """D3 with the identity and a reflection, which undoes itself."""
    return {"operators": ("val", reflection)}


PRESETS: Mapping[str, ChainConfig] = {
    "z2-n6": ChainConfig("z2", n=6, n_tr=4),
    "z2-n12": ChainConfig("z2", n=12, n_tr=6),
    "z2-n12-full": ChainConfig("z2", n=12),
    "z2-mix": ChainConfig("z2", n=12, mixture=tuple({"n": n} for n in range(4, 13))),
    "z2-n26": ChainConfig("z2", n=26, n_tr=13, alphabet=39),
    "z2-n100": ChainConfig("z2", n=100, n_tr=50, alphabet=150),
    "z2-trees": ChainConfig("z2", n=12, shape="tree"),
    "z5-n12": ChainConfig("z5", n=12, n_tr=6),
    "d3-n6": ChainConfig("d3", n=6, n_tr=4),
    "d3-n12": ChainConfig("d3", n=12, n_tr=6),
    # Three nearly isomorphic sub-tasks, a reflection each, and the three after one another.
    "d3-flipflop-1": ChainConfig("d3", n=6, **_flipflop("S")),
    "d3-flipflop-2": ChainConfig("d3", n=6, **_flipflop("RS")),
    "d3-flipflop-3": ChainConfig("d3", n=6, **_flipflop("R2S")),
    "d3-flipflop": ChainConfig(
        "d3",
        n=6,
        mixture=(
            _flipflop("S") | {"weight": [1, 0, 0]},
            _flipflop("RS") | {"weight": [0, 1, 0]},
            _flipflop("R2S") | {"weight": [0, 0, 1]},
        ),
        stage=100_000,
    ),
    "s3-n12": ChainConfig("s3", n=12, n_tr=6),
    "s4-n8": ChainConfig("s4", n=8, n_tr=4),
    "a5-n12": ChainConfig("a5", n=12, n_tr=6),
}
