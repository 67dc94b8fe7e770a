"""The LEGO task: variables that are each a group operation away from an earlier one.

The sentences are those of the paper's code (arXiv 2206.04301), ``c = val 1 , a = not c , ...``, and
what a researcher would vary about them: group, shape, order of the clauses, surface form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lego import chain_kernel as kernel
from lego.chain_card import describe
from lego.chain_config import PRESETS, ChainConfig
from lego.chain_form import FIRST, FORMS, NAMES, Clause
from lego.chain_graph import SHORTCUTS, guesses, labelled, masks, relations
from lego.chain_oracle import faults
from lego.chain_plan import CHAIN_SPLITS, Plan, plans, space
from lego.columns import list_column
from lego.groups import Action
from lego.task import (
    IGNORED,
    NO_ANSWER,
    SPLITS,
    Batch,
    SettingError,
    hash_weights,
    owners,
    require,
    split_index,
    weighted_sums,
)
from lego.text import CLS, SEP

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

UNIQUE_CHOICES = 2**24  # sentences that are numbered, hashed and sorted in a second or two
LISTS = ("input_ids", "labels", "values", "positions", "clause_order")


@dataclass(frozen=True)
class _Part:
    """A plan, with the tokens that all of its sentences share and what the kernel reads."""

    plan: Plan
    frame: np.ndarray  # (length,) int16; 0 where sentences differ
    language: kernel.Language
    shape: kernel.Shape


class ChainTask:
    """LEGO chains; see ``lego.task.Task`` for the contract that it fulfils.

    ``sample`` adds, in chain order and int16 (rows, n): ``values`` (the state's index),
    ``positions`` (the token index of the variable in the clause that defines it) and
    ``clause_order`` (which clause of the sentence that is, from 0), -1 in shorter rows; and
    ``asked`` (rows,): the first so many of them are asked about, the others distract. Chain order
    is by depth, and by place in the text where depths are equal.
    """

    Config: ClassVar[Any] = ChainConfig
    presets: ClassVar[Mapping[str, Any]] = PRESETS

    name = "chains"
    pad_token_id = 0

    def __init__(self, config: ChainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.action: Action = config.action
        self.form = FORMS[config.form]
        self.vocabulary = self.form.vocabulary(config.alphabet, [self.action])
        self.vocab_size = len(self.vocabulary)
        self.labels = () if self.form.asks else self.action.states
        self.layers = max(part.n for part in config.parts)
        self._owners = SPLITS if config.unique else CHAIN_SPLITS
        self._plans = {
            split: found for split in self._owners if (found := plans(config, split)) is not None
        }
        self.splits = tuple(self._plans)
        self.max_length = max(map(self.length, self.splits))
        self._parts: dict[str, list[_Part]] = {}
        self._numbers: np.ndarray | None = None

    @property
    def head(self) -> Literal["token-classification", "causal-lm"]:
        return "causal-lm" if self.form.asks else "token-classification"

    def plans(self, split: str) -> list[Plan]:
        """What a split draws: a plan for each part of a mixture."""
        return self._plans[split]

    def number(self, split: str) -> int:
        """The number of a split among the ``sharers`` that own all sentences between them."""
        return self._owners.index(split)

    @property
    def sharers(self) -> int:
        return len(self._owners)

    def length(self, split: str) -> int:
        """Tokens of the longest example of a split."""
        return max(map(self._length, self._plans[split]))

    def _length(self, plan: Plan) -> int:
        asking = {"": 0, "one": 4, "all": 1 + 4 * plan.labelled}[self.form.asks]
        return FIRST + self.form.width * plan.config.total + asking + 1

    def _spelled(self, operators: tuple[str, ...]) -> np.ndarray:
        identity = self.action.operators[0]
        return self.vocabulary.tokens([self.form.spelled(word, identity) for word in operators])

    def _part(self, plan: Plan) -> _Part:
        config, form, tokens = plan.config, self.form, self.vocabulary.tokens
        frame = np.zeros(self._length(plan), np.int16)
        frame[[0, -1]] = tokens((CLS, SEP))
        stop = FIRST + form.width * config.total
        for offset, word in form.fixed:
            frame[FIRST + offset : stop : form.width] = self.vocabulary.ids[word]
        drawn = [self.action.operators.index(word) for word in config.drawn]
        layout = kernel.Layout(
            width=np.uint64(form.width),
            operator=np.uint64(form.offset("operator")),
            argument=np.uint64(form.offset("argument")),
            identity=np.uint64(self._spelled(self.action.operators[:1])[0]),
            fixed=weighted_sums(self._sentence(frame[None]))[0],
        )
        language = kernel.Language(
            names=tokens(NAMES[: config.alphabet]),
            operators=self._spelled(config.drawn),
            states=tokens(self.action.states),
            table=self.action.table[drawn].astype(np.int16).ravel(),
            weights=hash_weights(len(frame)),
            layout=layout,
        )
        low, count = plan.parents
        flags = kernel.Flags(
            grows=bool((count > 1).any()),
            shuffled=plan.shuffled,
            head=plan.head,
            branched=config.shape == "tree" or config.total > config.n,
            asked=config.n,
            labelled=0 if form.asks else plan.labelled,
            pairs=plan.pairs,
        )
        own = np.where(count == 0, np.arange(len(low)), low)
        shape = kernel.Shape(own.astype(np.uint64), count.astype(np.uint64), plan.slots, flags)
        return _Part(plan, frame, language, shape)

    def _sentence(self, ids: np.ndarray) -> np.ndarray:
        """ids, without what is asked after the sentence: what decides who owns it."""
        if not self.form.asks:
            return ids
        ended = (ids == self.vocabulary.ids["?"]).cumsum(axis=1) > 0
        return np.where(ended | (ids == self.vocabulary.ids[SEP]), 0, ids)

    def sample(self, split: str, start: int, stop: int) -> Batch:
        split_index(self, split, start, stop)
        number = self.number(split)
        if split not in self._parts:
            self._parts[split] = [self._part(plan) for plan in self._plans[split]]
        parts, examples = self._parts[split], np.arange(start, stop)
        if len(parts) == 1:
            return self._sample_part(parts[0], number, examples)
        drawn = examples // 2 if parts[0].plan.pairs else examples
        chosen = kernel.chosen_parts(self.seed, number, drawn, self._shares(split, drawn))
        width, most = self.length(split), max(part.plan.config.total for part in parts)
        widths = {"input_ids": width, "labels": width}
        fills = {"input_ids": self.pad_token_id, "labels": IGNORED}
        batch: Batch = {
            name: np.full((len(examples), widths.get(name, most)), fills.get(name, -1), np.int16)
            for name in LISTS
        }
        batch["asked"] = np.empty(len(examples), np.int16)
        for p, part in enumerate(parts):
            rows = np.flatnonzero(chosen == p)
            for name, array in self._sample_part(part, number, examples[rows]).items():
                if name == "asked":
                    batch[name][rows] = array
                else:
                    batch[name][rows, : array.shape[1]] = array
        return batch

    def _shares(self, split: str, examples: np.ndarray) -> np.ndarray:
        """(rows, parts) float64: cumulated shares; outside train, their mean over the stages."""
        shares = np.cumsum(self.config.weights, axis=1)
        if split != "train":
            return np.broadcast_to(shares.mean(axis=0), (len(examples), shares.shape[1]))
        stages = examples // (self.config.stage or 1)
        return shares[np.minimum(stages, len(shares) - 1)]

    def _sample_part(self, part: _Part, number: int, examples: np.ndarray) -> Batch:
        plan, rows, split = part.plan, len(examples), self._owners[number]
        ids = np.empty((rows, len(part.frame)), np.int16)
        ids[:] = part.frame
        labels = np.full(ids.shape, IGNORED, np.int16)
        values = np.empty((rows, plan.config.total), np.int16)
        order = np.empty_like(values)
        ranks, bounds = np.empty(0, np.uint64), np.empty((0, 4), np.uint64)
        if self.config.unique:
            owned = self._owned(number)
            most = f"0..{len(owned)} (sentences that {split} owns; unique=True repeats none)"
            wanted = int(examples.max(initial=-1)) + 1
            require(wanted <= len(owned), f"rows of {split}", wanted, most)
            ranks, bounds = owned[examples], plan.bounds.astype(np.uint64)
        failed = kernel.fill(
            self.seed, number, len(self._owners), examples, ranks, bounds,
            *part.language, *part.shape, ids, labels, values, order,
        )  # fmt: skip
        if failed >= 0:
            raise SettingError(
                f"split={split!r}: allowed splits that own a sentence of this config; none was "
                f"found for example {examples[failed]} ({space(self.config)[0]:,} sentences, "
                f"which {len(self._owners)} splits share)"
            )
        batch: Batch = {"input_ids": ids, "labels": labels, "values": values}
        batch["positions"] = order * np.int16(self.form.width) + np.int16(FIRST)
        batch["clause_order"] = order
        batch["asked"] = np.full(rows, plan.config.n, np.int16)
        if self.form.asks:
            self._ask(plan, number, examples, batch)
        return batch

    def _owned(self, number: int) -> np.ndarray:
        """(count,) uint64: the numbers of all sentences of a split, in an order of the seed's."""
        part = self._parts[self._owners[number]][0]
        choices = part.plan.choices
        small = f"False for more than {UNIQUE_CHOICES:,} ways to draw a sentence; here {choices:,}"
        require(choices <= UNIQUE_CHOICES, "unique", True, small)
        if self._numbers is None:
            widths = len(part.frame), part.plan.config.total, part.plan.config.total
            row = (np.empty(width, np.int16) for width in widths)
            bounds = part.plan.bounds.astype(np.uint64)
            low, _, slots, flags = part.shape
            sums = kernel.sums(choices, bounds, *part.language, low, slots, flags, *row)
            first = np.unique(sums, return_index=True)[1]  # each sentence once
            self._numbers = first.astype(np.uint64)
            self._number_owners = owners(sums[first], len(self._owners))
        owned = self._numbers[self._number_owners == number]
        return owned[np.argsort(kernel.scrambled(self.seed, number, owned), kind="stable")]

    def _ask(self, plan: Plan, number: int, examples: np.ndarray, batch: Batch) -> None:
        """Write the question after each sentence, and label its answers."""
        ids, labels, rows = batch["input_ids"], batch["labels"], np.arange(len(examples))
        at = FIRST + self.form.width * plan.config.total
        word = self.vocabulary.ids
        states = self.vocabulary.tokens(self.action.states)
        ids[:, at] = word["?"]
        if self.form.asks == "one":
            drawn = examples // 2 if plan.pairs else examples
            chosen = kernel.chosen_variables(self.seed, number, drawn, plan.labelled)[:, None]
        else:
            chosen = np.broadcast_to(np.arange(plan.labelled), (len(ids), plan.labelled))
        for k, variable in enumerate(chosen.T):
            name, value = at + 1 + 4 * k, at + 3 + 4 * k
            ids[:, name] = ids[rows, batch["positions"][rows, variable]]
            ids[:, name + 1] = word["="]
            ids[:, value] = labels[:, value] = states[batch["values"][rows, variable]]
            if self.form.asks == "all":  # then the model writes down the names as well
                ids[:, value + 1] = word[","]
                labels[:, name : value + 2] = ids[:, name : value + 2]

    def steps(self, batch: Batch) -> np.ndarray:
        ids, positions = batch["input_ids"], batch["positions"].astype(np.int64)
        steps = np.full(ids.shape, -1, np.int16)
        rows, n = np.arange(len(ids))[:, None], positions.shape[1]
        if not self.form.asks:
            rows, chain = np.nonzero(labelled(batch["labels"], positions))
            steps[rows, positions[rows, chain]] = chain
            return steps
        names = np.where(positions < 0, -1, ids[rows, positions])  # (rows, n)
        at = (ids == self.vocabulary.ids["?"]).argmax(axis=1)[:, None]
        for k in range(n if self.form.asks == "all" else 1):
            value = np.minimum(at + 3 + 4 * k, ids.shape[1] - 1)
            same = ids[rows, value - 2] == names  # (rows, n)
            asked = same.any(axis=1) & (batch["labels"][rows, value] != IGNORED)[:, 0]
            steps[asked, value[asked, 0]] = same.argmax(axis=1)[asked]
        return steps

    def graph(self, batch: Batch) -> Batch:
        """Token indices (rows, n) in chain order, and masks (rows, length, length) bool.

        ``definition``: the variable where it is defined; ``operator`` and ``argument``: the
        other tokens of that clause; ``parent``: the argument's own definition, -1 for a root;
        ``depth``: hops from the root. All are -1 where a row has fewer variables.
        ``association[i, j]``: i and j are the same variable, i != j; ``local[i, j]``: |i - j| <= 2.
        """
        ids, definition = batch["input_ids"], batch["positions"].astype(np.int64)
        offset = self.form.offset("argument")
        parent, depth, _ = relations(ids, definition, offset, self.vocab_size)
        above = np.take_along_axis(definition, np.maximum(parent, 0).astype(np.int64), 1)
        names = self.vocabulary.tokens(NAMES[: self.config.alphabet])
        association, local = masks(ids, names[0], names[-1])
        here = definition >= 0
        return {
            "definition": definition,
            "operator": np.where(here, definition + self.form.offset("operator"), -1),
            "argument": np.where(here, definition + offset, -1),
            "parent": np.where(parent >= 0, above, -1),
            "depth": depth,
            "association": association,
            "local": local,
        }

    def answers(self, batch: Batch) -> np.ndarray:
        """The asked variables' states, (rows, most asked) int16 in chain order."""
        asked = batch["asked"]
        values = batch["values"][:, : asked.max(initial=0)]
        return np.where(np.arange(values.shape[1]) < asked[:, None], values, NO_ANSWER)

    def shortcuts(self, batch: Batch) -> Batch:
        """Each shortcut's answers, in the shape of ``answers``.

        ``whole-chain``: all operators of the sentence, as they stand, applied to the root's value.
        ``own-clause``: the clause's operator applied to state 0, whatever its argument.
        ``root``: the root's value. ``k-hop``: right to depth 2, then the majority.
        ``majority``: the commonest answer; all are equally common, so state 0.
        """
        clause = self.form.width, self.form.offset("operator"), self.form.offset("argument")
        columns = (batch[name] for name in ("input_ids", "values", "positions", "asked"))
        operators = self._spelled(self.action.operators)
        table = self.action.table.astype(np.int16)
        answers = guesses(*columns, clause, operators, table, self.vocab_size)
        return dict(zip(SHORTCUTS, answers, strict=True))

    @cached_property
    def features(self) -> datasets.Features:
        from datasets import Features, List, Value

        strings = {name: Value("string") for name in ("text", "prompt", "answer")}
        lists = [*LISTS, *(f"shortcut_{name}" for name in SHORTCUTS)]
        numbers = {name: List(Value("int16")) for name in lists}
        return Features(strings | numbers | {"asked": Value("int16")})

    def table(self, batch: Batch) -> pa.Table:
        ids = batch["input_ids"]
        text = self.vocabulary.render(ids)
        prompt, answer = self._prompts(batch, text)
        even = len(self._plans["train"]) == 1
        lengths = {
            "input_ids": (ids != self.pad_token_id).sum(axis=1),
            "values": (batch["values"] >= 0).sum(axis=1),
            "shortcut": batch["asked"],
        }
        groups = dict.fromkeys(LISTS, "values") | dict.fromkeys(LISTS[:2], "input_ids")
        lists = {name: batch[name] for name in LISTS}
        lists |= {f"shortcut_{name}": found for name, found in self.shortcuts(batch).items()}
        columns = {
            name: list_column(array, None if even else lengths[groups.get(name, "shortcut")])
            for name, array in lists.items()
        }
        strings = {"text": text, "prompt": prompt, "answer": answer}
        return pa.table(strings | columns | {"asked": batch["asked"]})

    def _prompts(self, batch: Batch, text: pa.StringArray) -> tuple[pa.Array, pa.Array]:
        """What a language model is asked, and the answer; about the last labelled variable."""
        ids, rows = batch["input_ids"], np.arange(len(batch["input_ids"]))
        gap = self.form.gap
        if self.form.asks:  # the question is there already
            pattern = " = [^=]*$" if self.form.asks == "one" else r" \?.*$"
            kept = " =" if self.form.asks == "one" else " ?"
            prompt = pc.replace_substring_regex(text, pattern, kept)
            cut = pc.utf8_length(prompt).to_numpy() + 1
            answer = [line[at:] for line, at in zip(text.to_pylist(), cut, strict=True)]
            return prompt, pa.array(answer, pa.string())
        last = labelled(batch["labels"], batch["positions"]).sum(axis=1) - 1
        asked = ids[rows, batch["positions"][rows, last]]
        word = {"identity": self.form.spelled(self.action.operators[0], self.action.operators[0])}
        words = [word.get(w, w) for w in self.form.question]
        at = words.index("left")
        before = "".join(w + gap for w in words[:at])
        after = "".join(("" if w in self.form.tight else gap) + w for w in words[at + 1 :])
        tails = pa.array([f"{gap}{before}{w}{after}" for w in self.vocabulary.words])
        prompt = pc.binary_join_element_wise(text, tails.take(pa.array(asked)), "")
        states = pa.array(self.action.states).take(pa.array(batch["values"][rows, last]))
        return prompt, states

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self.vocabulary.tokenizer(self.max_length)

    def read(self, text: str) -> list[Clause]:
        """The clauses of a sentence, with their places in the text. Raises SettingError."""
        return self.form.read(text, self.action)

    def places(self, clauses: int) -> dict[str, np.ndarray]:
        """Where the parts of each clause stand, in tokens; see ``Form.places``."""
        return self.form.places(clauses)

    def check(self, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
        yield from faults(self, table, split)

    def size(self) -> str:
        """A line on how many sentences there are and how long they are."""
        count, exact = space(self.config)
        bound = "" if exact else "at most "
        return (
            f"{bound}{count:,} different sentences in train; {self.length('train')} tokens, up to "
            f"{self.max_length} in {max(self.splits, key=self.length)}; {self.vocab_size} words."
        )

    def describe(self) -> str:
        return f"{describe(self)}\n\n{self.size()}"
