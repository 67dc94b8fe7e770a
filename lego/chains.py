"""The LEGO task: variables that are each a group operation away from an earlier one.

The sentences are those of the paper's code (arXiv 2206.04301), ``c = val 1 , a = not c , ...``, and
what a researcher would vary about them: group, shape, order of the clauses, surface form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lego.chain_card import describe
from lego.chain_config import PRESETS, ChainConfig
from lego.chain_form import NAMES, Clause
from lego.chain_graph import SHORTCUTS, guesses, labelled, masks, relations
from lego.chain_oracle import faults
from lego.chain_plan import space
from lego.chain_sampler import LISTS, Sampler
from lego.columns import list_column
from lego.groups import Action
from lego.task import IGNORED, NO_ANSWER, Batch

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast


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
        self.config, self.seed = config, seed
        self.sampler = Sampler(config, seed)
        self.form, self.vocabulary = self.sampler.form, self.sampler.vocabulary
        self.action: Action = config.action
        self.vocab_size = len(self.vocabulary)
        self.labels = () if self.form.asks else self.action.states
        self.layers = max(part.n for part in config.parts)
        self.splits = tuple(self.sampler.plans)
        self.max_length = max(map(self.sampler.length, self.splits))

    @property
    def head(self) -> Literal["token-classification", "causal-lm"]:
        return "causal-lm" if self.form.asks else "token-classification"

    def sample(self, split: str, start: int, stop: int) -> Batch:
        return self.sampler.sample(split, start, stop)

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
        ``own-clause``: the clause's operator applied to state 0, whatever its argument; a root has
        its own value there.
        ``root``: the root's value. ``k-hop``: right to depth 2, then the majority.
        ``majority``: the commonest answer; all are equally common, so state 0.
        """
        clause = self.form.width, self.form.offset("operator"), self.form.offset("argument")
        columns = (batch[name] for name in ("input_ids", "values", "positions", "asked"))
        operators = self.sampler.operators(self.action.operators)
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
        ids, lists = batch["input_ids"], {name: batch[name] for name in LISTS}
        lists |= {f"shortcut_{name}": found for name, found in self.shortcuts(batch).items()}
        lengths: dict[str, np.ndarray] = {}
        if self.config.mixture:  # else all rows of a split are equally long
            tokens, variables = (ids != self.pad_token_id).sum(1), (batch["values"] >= 0).sum(1)
            lengths = dict.fromkeys(lists, batch["asked"]) | dict.fromkeys(LISTS, variables)
            lengths |= {"input_ids": tokens, "labels": tokens}
        text = self.vocabulary.render(ids)
        prompt, answer = self._prompts(batch, text)
        columns = {name: list_column(array, lengths.get(name)) for name, array in lists.items()}
        strings = {"text": text, "prompt": prompt, "answer": answer}
        return pa.table(strings | columns | {"asked": batch["asked"]})

    def _prompts(self, batch: Batch, text: pa.StringArray) -> tuple[pa.Array, pa.Array]:
        """What a language model is asked, and the answer; about the last labelled variable."""
        ids, rows = batch["input_ids"], np.arange(len(batch["input_ids"]))
        if self.form.asks:  # the question is there already, up to "? x =" or "?"
            mark = (ids == self.vocabulary.ids["?"]).argmax(axis=1)
            stop = mark[:, None] + (2 if self.form.asks == "one" else 0)
            asking = np.arange(ids.shape[1]) <= stop
            render = self.vocabulary.render
            return render(np.where(asking, ids, 0)), render(np.where(asking, 0, ids))
        last = labelled(batch["labels"], batch["positions"]).sum(axis=1) - 1
        asked = ids[rows, batch["positions"][rows, last]]
        identity = self.action.operators[0]
        tails = [self.form.asking(word, identity) for word in self.vocabulary.words]
        prompt = pc.binary_join_element_wise(text, pa.array(tails).take(pa.array(asked)), "")
        return prompt, pa.array(self.labels).take(pa.array(batch["values"][rows, last]))

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
        (count, exact), length = space(self.config), self.sampler.length
        return (
            f"{'' if exact else 'at most '}{count:,} different sentences in train; "
            f"{length('train')} tokens, up to {self.max_length} in {max(self.splits, key=length)}; "
            f"{self.vocab_size} words."
        )

    def describe(self) -> str:
        return f"{describe(self)}\n\n{self.size()}"
