"""C programs and their traces as a task of lego."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cexec import card, machine, steps, tokens
from cexec.config import PRESETS, CexecConfig
from cexec.execution import ROW_FACTS, execute
from cexec.grammar import MOST_OBJECTS
from cexec.oracle import Row
from cexec.sampler import LOG, fill, program_sum
from cexec.source import first_line, sources
from lego.columns import list_column, padded
from lego.task import (
    IGNORED,
    Batch,
    SettingError,
    hash_weights,
    owners,
    split_index,
)

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

    from lego.task import Certifier

__all__ = ["CexecConfig", "CexecTask"]

LOCAL = 2  # tokens to either side that count as local
LIMIT = LOG - machine.MARGIN  # writes that a program may make
SHORTCUTS = ("initial-value", "last-constant", "copy-last-write", "majority", "no-branch")
ELEMENTS = 8  # of the longest array: names are m, m[0] .. m[7], m.first, m.second


class CexecTask:
    """C execution; see ``lego.task.Task`` for the contract that it fulfils.

    ``sample`` adds the program as bytecode, ``code`` (rows, pairs, 2) and ``objects`` (rows,
    objects, 2), the token ids of the objects' ``names`` (rows, objects), and ``asked`` (rows,) the
    slot that is printed, all int16: the one at the end of the deepest chain of dependencies.
    """

    Config: ClassVar[Any] = CexecConfig
    presets: ClassVar[Mapping[str, Any]] = PRESETS

    name = "cexec"
    pad_token_id = 0
    layers = 4  # to find both operands, compute, and write: it does not grow with the program

    def __init__(self, config: CexecConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.splits = config.splits()
        self.head: Literal["token-classification", "causal-lm"] = (
            "causal-lm" if config.form == "causal" else "token-classification"
        )
        values = range(config.lowest, config.highest + 1)
        self.labels = () if config.form == "causal" else tuple(map(str, values))
        self.vocabulary = tokens.vocabulary(
            config.kind,
            config.highest,
            config.lowest,
            LIMIT if config.format == "comments" else 0,
            config.naming == "numbered",
        )
        self.vocab_size = len(self.vocabulary)
        self.max_length = max(config.of_split(split).length for split in self.splits)

    def sample(self, split: str, start: int, stop: int) -> Batch:
        number = split_index(self.splits, split, start, stop)
        length, rows = self.config.of_split(split).length, stop - start
        batch = {
            "input_ids": np.zeros((rows, length), np.int16),
            "labels": np.full((rows, length), IGNORED, np.int16),
            "code": np.zeros((rows, length // 2, 2), np.int16),
            "objects": np.zeros((rows, MOST_OBJECTS, 2), np.int16),
            "names": np.empty((rows, tokens.NAMES), np.int16),
            "asked": np.empty(rows, np.int16),
        }
        knobs, weights = self.config.knobs(split), hash_weights(length)
        failed, flags = fill(self.seed, number, start, knobs, weights, *batch.values())
        if flags:
            raise AssertionError(f"undefined behaviour, flags {flags}: {split} {start + failed}")
        if failed >= 0:
            rare = f", or dependency_depth={self.config.dependency_depth} too rare"
            raise SettingError(
                f"split={split!r}: allowed splits that own a program of this config; none was "
                f"found for example {start + failed} (the space of programs is too small, "
                f"length={length} too short{rare if self.config.dependency_depth else ''})"
            )
        return batch

    def steps(self, batch: Batch) -> np.ndarray:
        if self.config.form == "encoder":
            held = batch["labels"] != IGNORED
            return np.where(held, held.cumsum(axis=1) - 1, -1).astype(np.int16)
        first_step = tokens.ZERO + self.config.highest + 1 - self.config.lowest
        return steps.of_values(batch["input_ids"], self.config.format, first_step)

    def graph(self, batch: Batch) -> Batch:
        """Token indices (rows, writes), -1 where there is none, and masks (rows, length, length).

        ``value``: where the written value stands in the trace, the first of its tokens;
        ``definition``: the written variable in the program. ``operands`` (rows, writes, 8): the
        other variables in the program's statement; ``sources`` (rows, writes, 8): the values in
        the trace that the written one depends on, and ``depth`` how many lie behind it.
        ``association[i, j]``: tokens i and j are the same variable, i != j; ``local[i, j]``:
        |i - j| <= 2.
        """
        ids = batch["input_ids"]
        names = (ids >= tokens.NAME) & (ids < tokens.NAME + tokens.NAMES)
        places = np.arange(ids.shape[1])
        apart = np.abs(places[:, None] - places)
        same = (ids[:, :, None] == ids[:, None, :]) & names[:, :, None]
        step_of = self.steps(batch) if self.config.form == "causal" else None
        edges = steps.dependencies(ids, step_of, self.executed(batch, steps.EDGES))
        return edges | {
            "association": same & (apart > 0),
            "local": np.broadcast_to(apart <= LOCAL, same.shape),
        }

    def executed(self, batch: Batch, edges: int = 0) -> dict[str, np.ndarray]:
        """What the programs of a sampled batch did, see ``execution.execute``."""
        line = first_line(self.config.struct)
        return execute(
            batch["code"], batch["objects"], batch["asked"], self.config.kind, line, edges
        )

    def answers(self, batch: Batch) -> np.ndarray:
        return self.executed(batch)["answers"]

    def shortcuts(self, batch: Batch) -> Batch:
        """Each shortcut's answer to what the program prints, (rows,) int32.

        ``initial-value``: the asked variable's first value. ``last-constant``: the last constant
        of the program that is a value (not a modulus, an index or a bound). ``copy-last-write``:
        the last write's value. ``majority``: the value written most often, the smallest of equals.
        ``no-branch``, where there may be an ``if``: what is printed if every one is taken, 0 where
        that is undefined.
        """
        return self._shortcuts(batch, self.executed(batch))

    def _shortcuts(self, batch: Batch, ran: dict[str, np.ndarray]) -> Batch:
        ends = ran["facts"][:, 0].cumsum()
        guesses = {
            "initial-value": ran["initial"],
            "last-constant": steps.last_constant(batch["input_ids"], self.config.highest),
            "copy-last-write": ran["log"][ends - 1, 3],
            "majority": ran["majority"],
            "no-branch": ran["no_branch"],
        }
        return {name: guesses[name] for name in self._shortcut_names}

    @property
    def _shortcut_names(self) -> tuple[str, ...]:
        return SHORTCUTS if self.config.branches else SHORTCUTS[:-1]

    @cached_property
    def features(self) -> datasets.Features:
        from datasets import Features, List, Value

        strings = ("text", "prompt", "answer", "source", "stdout", "question")
        kinds = {"step": "int32", "line": "int32", "name": "string", "value": "int32"}
        write = {name: Value(kind) for name, kind in kinds.items()}
        return Features(
            {name: Value("string") for name in strings}
            | {name: List(Value("int16")) for name in ("input_ids", "labels")}
            | {"trace": List(write)}
            | {name: Value("int32") for name in ROW_FACTS}
            | {f"shortcut_{name}": Value("int32") for name in self._shortcut_names}
        )

    @cached_property
    def _names(self) -> pa.Array:
        """What an object and an index in it are called, see ``_named``."""
        names = self.vocabulary.words[tokens.NAME : tokens.NAME + tokens.NAMES]
        suffixes = ["", *(f"[{k}]" for k in range(ELEMENTS)), ".first", ".second"]
        return pa.array([name + suffix for name in names for suffix in suffixes])

    def _named(self, batch: Batch, rows: np.ndarray, v: np.ndarray, index: np.ndarray) -> pa.Array:
        """The names of the index-th cells of objects v of some rows."""
        kind = batch["objects"][rows, v, 0]
        suffix = np.choose(np.minimum(kind, 3), [0, 1 + index, 1 + ELEMENTS + index, 0])
        place = (batch["names"][rows, v] - tokens.NAME).astype(np.int32)
        return self._names.take(pa.array(place * (3 + ELEMENTS) + suffix))

    def _asked(self, batch: Batch) -> pa.Array:
        """The printed object's name."""
        ends = batch["objects"][:, :, 1].cumsum(axis=1)
        v = (ends > batch["asked"][:, None]).argmax(axis=1)
        rows = np.arange(len(v))
        index = batch["asked"] - ends[rows, v] + batch["objects"][rows, v, 1]
        return self._named(batch, rows, v, index)

    def table(self, batch: Batch) -> pa.Table:
        ids, config, ran = batch["input_ids"], self.config, self.executed(batch)
        log, counts = ran["log"], ran["facts"][:, 0]
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        row_of = np.repeat(np.arange(len(ids)), counts)
        struct = pa.StructArray.from_arrays(
            [
                pa.array(np.arange(len(log), dtype=np.int32) - offsets[row_of]),
                pa.array(log[:, 0]),
                self._named(batch, row_of, log[:, 1], log[:, 2]),
                pa.array(log[:, 3]),
            ],
            ["step", "line", "name", "value"],
        )
        source = sources(ids, self.vocabulary, config.kind, config.struct)
        question = _concatenate(
            "What is the value of ", self._asked(batch), " when the program ends?"
        )
        answer = pc.cast(pa.array(ran["answers"]), pa.string())
        lengths = (ids != self.pad_token_id).sum(axis=1)
        return pa.table(
            {
                "text": self.vocabulary.render(ids, lengths),
                "prompt": _concatenate(source, "\n", question, " Answer with a number:"),
                "answer": answer,
                "source": source,
                "stdout": _concatenate(answer, "\n"),
                "question": question,
                "input_ids": list_column(ids, lengths),
                "labels": list_column(batch["labels"], lengths),
                "trace": pa.ListArray.from_arrays(pa.array(offsets), struct),
            }
            | {name: pa.array(ran["facts"][:, k]) for k, name in enumerate(ROW_FACTS)}
            | {f"shortcut_{k}": pa.array(v) for k, v in self._shortcuts(batch, ran).items()}
        )

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self.vocabulary.tokenizer(self.max_length)

    def check(self, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
        rows, config = table.to_pylist(), self.config
        tokenized = self.tokenizer()([row["text"] for row in rows])["input_ids"]
        for at, (row, ids) in enumerate(zip(rows, tokenized, strict=True)):
            try:
                found = Row(row["source"], LIMIT)
            except ValueError as error:
                yield at, str(error)
                continue
            text = found.text(config.form, config.format, config.values)
            expected = found.columns(LIMIT) | {"text": text, "input_ids": ids}
            if text == row["text"]:
                expected["labels"] = found.labels(ids, text, config.form, config.lowest)
            for name in self.features:
                if name in expected and row[name] != expected[name]:
                    yield at, f"{name}={row[name]!r}, but the source gives {expected[name]!r}"
        ids = padded(table["input_ids"].combine_chunks(), self.max_length)
        weights = hash_weights(self.max_length)
        sums = np.array([program_sum(row, weights) for row in ids], np.uint64)
        for wrong in np.flatnonzero(owners(sums, len(self.splits)) != self.splits.index(split)):
            yield int(wrong), f"source={rows[wrong]['source']!r}: owned by another split"

    @staticmethod
    def certifier() -> Certifier:
        from cexec.certificate import certify

        return certify()

    def size(self) -> str:
        return f"{self.max_length} tokens at most; {self.vocab_size} words."

    def describe(self) -> str:
        return card.describe(self)


def _concatenate(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
