"""The LEGO task: chains of variables, each a group operation away from the one before it.

The sentences are those of the paper's code (arXiv 2206.04301): ``c = val 1 , a = not c , ...``, the
clauses in uniformly random order, one answer asked at each clause's left-hand variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from lego import chain_kernel as kernel
from lego.chain_oracle import HOPS, published
from lego.columns import list_column, padded
from lego.groups import Action, group
from lego.task import (
    IGNORED,
    SPLITS,
    Batch,
    SettingError,
    config_name,
    hash_weights,
    owners,
    require,
    split_index,
    weighted_sums,
)
from lego.text import CLS, SEP, Vocabulary

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

CLAUSE, FIRST, OPERATOR, ARGUMENT = map(
    int, (kernel.CLAUSE, kernel.FIRST, kernel.OPERATOR, kernel.ARGUMENT)
)
LOCAL = 2  # tokens to either side that count as local


@dataclass(frozen=True)
class ChainConfig:
    """One distribution of chains. Raises SettingError when a field is out of its range."""

    group: str = "z2"  # z1..z26, d2..d26, s2..s5, a3..a5, acting on itself
    n: int = 6  # variables in a sentence, 1..26
    n_tr: int | None = None  # chain positions with a label in train, 1..n; None is all of them

    def __post_init__(self) -> None:
        group(self.group)
        letters = len(ascii_lowercase)
        require(1 <= self.n <= letters, "n", self.n, f"1..{letters} (one letter a variable)")
        require(1 <= self.supervised <= self.n, "n_tr", self.n_tr, f"1..{self.n} (n)")

    @property
    def supervised(self) -> int:
        return self.n if self.n_tr is None else self.n_tr


class ChainTask:
    """LEGO chains; see ``lego.task.Task`` for the contract that it fulfils.

    ``sample`` adds, in chain order and int16 (rows, n): ``values`` (the state's index),
    ``positions`` (the token index of the variable in the clause that defines it) and
    ``clause_order`` (which clause of the sentence that is, from 0).
    """

    Config: ClassVar[Any] = ChainConfig
    presets: ClassVar[Mapping[str, Any]] = {
        "z2-n6": ChainConfig("z2", n=6, n_tr=4),
        "z2-n12": ChainConfig("z2", n=12, n_tr=6),
    }

    name = "chains"
    splits = SPLITS
    head: Literal["token-classification"] = "token-classification"
    pad_token_id = 0

    def __init__(self, config: ChainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.action: Action = group(config.group)
        self.labels = self.action.states
        self.layers = config.n
        self.max_length = CLAUSE * config.n + 2
        words = (*ascii_lowercase, "=", ",", *self.action.operators, *self.action.states)
        self.vocabulary = Vocabulary(tuple(dict.fromkeys(words)))
        self.vocab_size = len(self.vocabulary)

    def _ids(self, words: tuple[str, ...]) -> np.ndarray:
        return np.array([self.vocabulary.ids[word] for word in words], np.int16)

    @cached_property
    def _kernel_tables(self) -> tuple[np.ndarray, ...]:
        """What the kernel reads: group, hash weights, shared tokens, and the ids of each class."""
        frame = np.zeros(self.max_length, np.int16)
        frame[[0, -1]] = self._ids((CLS, SEP))
        frame[FIRST + 1 : -1 : CLAUSE] = self.vocabulary.ids["="]
        frame[FIRST + 4 : -1 : CLAUSE] = self.vocabulary.ids[","]
        return (
            self.action.table,
            hash_weights(self.max_length),
            frame,
            self._ids(tuple(ascii_lowercase)),
            self._ids(self.action.operators),
            self._ids(self.action.states),
        )

    def sample(self, split: str, start: int, stop: int) -> Batch:
        number = split_index(self, split, start, stop)
        n, rows = self.config.n, stop - start
        shapes = {"input_ids": self.max_length, "labels": self.max_length}
        shapes |= {"values": n, "positions": n, "clause_order": n}
        batch = {name: np.empty((rows, width), np.int16) for name, width in shapes.items()}
        failed = kernel.fill(
            self.seed, number, start, self._asked(split), *self._kernel_tables, *batch.values()
        )
        if failed >= 0:
            raise SettingError(
                f"split={split!r}: allowed splits that own a sentence of this config; "
                f"none was found for example {start + failed} (n={n} is too small a space)"
            )
        return batch

    def _asked(self, split: str) -> int:
        return self.config.supervised if split == "train" else self.config.n

    def steps(self, batch: Batch) -> np.ndarray:
        steps = np.full(batch["input_ids"].shape, -1, np.int16)
        chain = np.broadcast_to(np.arange(self.config.n, dtype=np.int16), batch["positions"].shape)
        np.put_along_axis(steps, batch["positions"].astype(np.int64), chain, axis=1)
        steps[batch["labels"] == IGNORED] = -1
        return steps

    def graph(self, batch: Batch) -> Batch:
        """Token indices (rows, n) in chain order, and masks (rows, length, length) bool.

        ``definition``: the variable where it is defined; ``operator`` and ``argument``: the
        other tokens of that clause; ``parent``: the argument's definition, -1 for the root;
        ``depth``: hops from the root. ``association[i, j]``: i and j are the same variable, i != j;
        ``local[i, j]``: |i - j| <= 2.
        """
        ids, definition = batch["input_ids"], batch["positions"].astype(np.int64)
        parent = np.concatenate([np.full((len(ids), 1), -1), definition[:, :-1]], axis=1)
        letters = self._kernel_tables[3]
        variable = (ids >= letters[0]) & (ids <= letters[-1])  # (rows, length)
        same = (ids[:, :, None] == ids[:, None, :]) & variable[:, :, None]
        places = np.arange(ids.shape[1])
        apart = np.abs(places[:, None] - places)
        return {
            "definition": definition,
            "operator": definition + OPERATOR,
            "argument": definition + ARGUMENT,
            "parent": parent,
            "depth": np.broadcast_to(np.arange(self.config.n), definition.shape),
            "association": same & (apart > 0),
            "local": np.broadcast_to(apart <= LOCAL, same.shape),
        }

    def answers(self, batch: Batch) -> np.ndarray:
        return batch["values"]

    def shortcuts(self, batch: Batch) -> Batch:
        """Each shortcut's answers, (rows, n) int16 in chain order.

        ``whole-chain``: all operators of the sentence, as they stand, applied to the root's value.
        ``own-clause``: the clause's operator applied to state 0, whatever its argument.
        ``root``: the root's value. ``k-hop``: right to depth 2, then the majority.
        ``majority``: the commonest answer; all are equally common, so state 0.
        """
        table, operators = self.action.table, self._kernel_tables[4]
        values = batch["values"]
        index = np.zeros(self.vocab_size, np.int16)
        index[operators] = np.arange(len(operators))
        written = index[batch["input_ids"][:, FIRST + OPERATOR :: CLAUSE]]
        whole = values[:, 0]
        for column in written.T:  # a sentence's clauses, left to right; the root's is the identity
            whole = table[column, whole]
        own = table[np.take_along_axis(written, batch["clause_order"].astype(np.int64), 1), 0]
        own[:, 0] = values[:, 0]
        reached = np.arange(self.config.n) <= HOPS
        answers = {
            "whole-chain": np.broadcast_to(whole[:, None], values.shape),
            "own-clause": own,
            "root": np.broadcast_to(values[:, :1], values.shape),
            "k-hop": np.where(reached, values, 0),
            "majority": np.zeros_like(values),
        }
        return {name: answer.astype(np.int16) for name, answer in answers.items()}

    @cached_property
    def features(self) -> datasets.Features:
        from datasets import Features, List, Value

        strings = {name: Value("string") for name in ("text", "prompt", "answer")}
        shortcuts = [f"shortcut_{name}" for name in self.shortcuts(self.sample("train", 0, 1))]
        lists = ["input_ids", "labels", "values", "positions", "clause_order", *shortcuts]
        return Features(strings | {name: List(Value("int16")) for name in lists})

    def table(self, batch: Batch) -> pa.Table:
        ids, rows = batch["input_ids"], np.arange(len(batch["input_ids"]))
        # The question is about the last labelled variable: "<sentence> x = val", answered "1".
        labelled = np.take_along_axis(batch["labels"], batch["positions"].astype(np.int64), 1)
        last = (labelled != IGNORED).sum(axis=1) - 1
        asked = ids[rows, batch["positions"][rows, last]]
        tail = np.broadcast_to(self._ids(("=", self.action.operators[0])), (len(ids), 2))
        prompt = np.concatenate([ids, asked[:, None], tail], axis=1)
        columns = {
            "text": self.vocabulary.render(ids),
            "prompt": self.vocabulary.render(prompt),
            "answer": pa.array(self.labels).take(pa.array(batch["values"][rows, last])),
        }
        lists = batch | {f"shortcut_{k}": v for k, v in self.shortcuts(batch).items()}
        columns |= {name: list_column(rows) for name, rows in lists.items()}
        return pa.table(columns)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self.vocabulary.tokenizer(self.max_length)

    def check(self, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
        asked, texts = self._asked(split), table["text"].to_pylist()
        tokenized = self.tokenizer()(texts)["input_ids"]
        expected: list[dict[str, str | list[int]]] = []
        for row, (text, ids) in enumerate(zip(texts, tokenized, strict=True)):
            try:
                expected.append(published(text, ids, asked, self.config.n, self.action))
            except SettingError as error:
                yield row, str(error)
                return
        for name in expected[0]:
            column = table[name].combine_chunks()
            derived = pa.array([row[name] for row in expected], column.type)
            if not derived.equals(column):
                for row, (value, held) in enumerate(zip(derived, column, strict=True)):
                    if value != held:
                        yield row, f"{name}={held.as_py()!r}, but the text gives {value.as_py()!r}"
        ids = padded(table["input_ids"].combine_chunks(), self.max_length)
        for at in np.flatnonzero(owners(weighted_sums(ids)) != self.splits.index(split)):
            yield int(at), f"text={texts[at]!r}: owned by another split than {split!r}"

    def describe(self) -> str:
        config, action = self.config, self.action
        operators = ", ".join(f"`{word}`" for word in action.operators[:8])
        more = ", ..." if len(action.operators) > 8 else ""
        paragraphs = [
            f"Config `{config_name(ChainTask, config)}`: {config.n} variables, drawn without "
            f"replacement from a-z, with values iid uniform over {len(action.states)} states of "
            f"the group {action.name}. The first variable of a chain is defined by "
            f"`x = {action.operators[0]} VALUE ,`, each later one by `x = OPERATOR y ,` from the "
            f"one before it; operators are {operators}{more}. Clauses stand in uniformly random "
            f"order. `labels` holds the index of the state at each clause's left-hand variable: "
            f"in `train` for the first {config.supervised} chain positions, elsewhere for all "
            f"{config.n}; -100 at all other tokens. `values`, `positions` and `clause_order` are "
            f"in chain order. The sentences are those of the paper's code.",
            f"Known shortcuts, whose answers stand in the columns `shortcut_*` in chain order: "
            f"`whole-chain` (all operators of the sentence applied to the root's value), "
            f"`own-clause` (the operator applied to state 0), `root` (the root's value), `k-hop` "
            f"(right to depth {HOPS}, then state 0) and `majority` (state 0).",
        ]
        return "\n\n".join(paragraphs)
