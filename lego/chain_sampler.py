"""Batches of chains: a config and a split made into what the kernel reads, and its rows merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lego import chain_kernel as kernel
from lego.chain_config import ChainConfig
from lego.chain_form import FIRST, FORMS, NAMES
from lego.chain_plan import CHAIN_SPLITS, Plan, plans, space
from lego.task import (
    IGNORED,
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

UNIQUE_CHOICES = 2**24  # sentences that are numbered, hashed and sorted in a second or two
LISTS = ("input_ids", "labels", "values", "positions", "clause_order")


@dataclass(frozen=True)
class Part:
    """A plan, with the tokens that all of its sentences share and what the kernel reads."""

    plan: Plan
    frame: np.ndarray  # (length,) int16; 0 where sentences differ
    language: kernel.Language
    shape: kernel.Shape


class Sampler:
    """Draws the batches of ``ChainTask.sample``.

    ``plans``: for each split that the config has, a plan for each part of a mixture. ``sharers``:
    the splits that own all sentences between them, whether the config has them or not.
    """

    def __init__(self, config: ChainConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.form, self.action = FORMS[config.form], config.action
        self.vocabulary = self.form.vocabulary(config.alphabet, self.action)
        self.sharers = SPLITS if config.unique else CHAIN_SPLITS
        self.plans = {
            split: found for split in self.sharers if (found := plans(config, split)) is not None
        }
        self._parts: dict[str, list[Part]] = {}
        self._numbers: dict[str, np.ndarray] = {}

    def length(self, split: str) -> int:
        """Tokens of the longest example of a split."""
        return max(map(self._length, self.plans[split]))

    def _length(self, plan: Plan) -> int:
        asking = {"": 0, "one": 4, "all": 1 + 4 * plan.labelled}[self.form.asks]
        return FIRST + self.form.width * plan.config.total + asking + 1

    def owners(self, ids: np.ndarray) -> np.ndarray:
        """(rows,) int64: which of the ``sharers`` owns each sentence, whatever it is asked."""
        return owners(weighted_sums(self._sentence(ids)), len(self.sharers))

    def _sentence(self, ids: np.ndarray) -> np.ndarray:
        """ids with 0 from the question on."""
        if not self.form.asks:
            return ids
        asked = (ids == self.vocabulary.ids["?"]).cumsum(axis=1) > 0
        return np.where(asked, 0, ids)

    def operators(self, words: tuple[str, ...]) -> np.ndarray:
        """(words,) int16: the tokens of some operators of the group."""
        identity = self.action.operators[0]
        return self.vocabulary.tokens([self.form.spelled(word, identity) for word in words])

    def _part(self, plan: Plan) -> Part:
        config, form, tokens = plan.config, self.form, self.vocabulary.tokens
        frame = np.zeros(self._length(plan), np.int16)
        frame[[0, -1]] = tokens((CLS, SEP))
        stop = FIRST + form.width * config.total
        for offset, word in form.fixed:
            frame[FIRST + offset : stop : form.width] = self.vocabulary.ids[word]
        if form.asks:
            frame[stop] = self.vocabulary.ids["?"]
        drawn = [self.action.operators.index(word) for word in config.drawn]
        layout = kernel.Layout(
            width=np.uint64(form.width),
            operator=np.uint64(form.offset("operator")),
            argument=np.uint64(form.offset("argument")),
            identity=np.uint64(self.operators(self.action.operators[:1])[0]),
            fixed=weighted_sums(self._sentence(frame[None]))[0],
        )
        language = kernel.Language(
            names=tokens(NAMES[: config.alphabet]),
            operators=self.operators(config.drawn),
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
        return Part(plan, frame, language, shape)

    def sample(self, split: str, start: int, stop: int) -> Batch:
        """See ``ChainTask.sample``."""
        split_index(tuple(self.plans), split, start, stop)
        if split not in self._parts:
            self._parts[split] = [self._part(plan) for plan in self.plans[split]]
        parts, examples = self._parts[split], np.arange(start, stop)
        number = self.sharers.index(split)
        if len(parts) == 1:
            return self._sample_part(parts[0], split, examples)
        drawn = examples // 2 if parts[0].plan.pairs else examples
        chosen = kernel.chosen_parts(self.seed, number, drawn, self._shares(split, drawn))
        width, most = self.length(split), max(part.plan.config.total for part in parts)
        widths = {"input_ids": width, "labels": width}
        fills = {"input_ids": 0, "labels": IGNORED}
        batch: Batch = {
            name: np.full((len(examples), widths.get(name, most)), fills.get(name, -1), np.int16)
            for name in LISTS
        }
        batch["asked"] = np.empty(len(examples), np.int16)
        for p, part in enumerate(parts):
            rows = np.flatnonzero(chosen == p)
            for name, array in self._sample_part(part, split, examples[rows]).items():
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

    def _sample_part(self, part: Part, split: str, examples: np.ndarray) -> Batch:
        plan, rows, number = part.plan, len(examples), self.sharers.index(split)
        ids = np.empty((rows, len(part.frame)), np.int16)
        ids[:] = part.frame
        labels = np.full(ids.shape, IGNORED, np.int16)
        values = np.empty((rows, plan.config.total), np.int16)
        order = np.empty_like(values)
        ranks, bounds = np.empty(0, np.uint64), np.empty((0, 4), np.uint64)
        if self.config.unique:
            owned = self._owned(part, split)
            most = f"up to {len(owned)} (sentences that {split} owns; unique=True repeats none)"
            wanted = int(examples.max(initial=-1)) + 1
            require(wanted <= len(owned), f"rows of {split}", wanted, most)
            ranks, bounds = owned[examples], plan.bounds.astype(np.uint64)
        failed = kernel.fill(
            self.seed, number, len(self.sharers), examples, ranks, bounds,
            *part.language, *part.shape, ids, labels, values, order,
        )  # fmt: skip
        if failed >= 0:
            raise SettingError(
                f"split={split!r}: allowed splits that own a sentence of this config; none was "
                f"found for example {examples[failed]} ({space(self.config)[0]:,} sentences, "
                f"which {len(self.sharers)} splits share)"
            )
        batch: Batch = {"input_ids": ids, "labels": labels, "values": values}
        batch["positions"] = order * np.int16(self.form.width) + np.int16(FIRST)
        batch["clause_order"] = order
        batch["asked"] = np.full(rows, plan.config.n, np.int16)
        if self.form.asks:
            self._ask(plan, number, examples, batch)
        return batch

    def _owned(self, part: Part, split: str) -> np.ndarray:
        """(count,) uint64: the numbers of all sentences of a split, in an order of the seed's."""
        choices = part.plan.choices
        small = f"False for more than {UNIQUE_CHOICES:,} ways to draw a sentence; here {choices:,}"
        require(choices <= UNIQUE_CHOICES, "unique", True, small)
        if not self._numbers:
            widths = len(part.frame), part.plan.config.total, part.plan.config.total
            row = (np.empty(width, np.int16) for width in widths)
            low, _, slots, flags = part.shape
            bounds = part.plan.bounds.astype(np.uint64)
            sums = kernel.sums(choices, bounds, *part.language, low, slots, flags, *row)
            numbers = np.unique(sums, return_index=True)[1].astype(np.uint64)  # each sentence once
            owned_by = owners(sums[numbers], len(self.sharers))
            for number, sharer in enumerate(self.sharers):
                mine = numbers[owned_by == number]
                keys = kernel.scrambled(self.seed, number, mine)
                self._numbers[sharer] = mine[np.argsort(keys, kind="stable")]
        return self._numbers[split]

    def _ask(self, plan: Plan, number: int, examples: np.ndarray, batch: Batch) -> None:
        """Write the question after each sentence, and label its answers."""
        ids, labels, rows = batch["input_ids"], batch["labels"], np.arange(len(examples))
        at = FIRST + self.form.width * plan.config.total
        word = self.vocabulary.ids
        states = self.vocabulary.tokens(self.action.states)
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
