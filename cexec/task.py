"""C programs and their traces as a task of lego."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from cexec import bytecode as op
from cexec import reference, trace
from cexec.grammar import deepest, write_program
from cexec.machine import run
from cexec.source import FIRST_LINE, sources
from lego.columns import list_column, padded
from lego.counter import below, stream, word
from lego.task import (
    IGNORED,
    MAX_ATTEMPTS,
    SPLITS,
    Batch,
    SettingError,
    choose,
    config_name,
    hash_weights,
    owner,
    owners,
    require,
    split_index,
)

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

LEVELS = ("straight",)
LOCAL = 2  # tokens to either side that count as local
SHORTCUTS = ("initial-value", "last-constant", "copy-last-write")
FIRST_NAME_WORD = 10_000  # words of an example's stream from here on choose names


@dataclass(frozen=True)
class CexecConfig:
    """One distribution of programs. Raises SettingError when a field is out of its range."""

    level: str = "straight"
    variables: int = 4  # declared at the top, 1..26
    statements: int = 6  # after the declarations, variables..64, so that each variable is read
    modulus: int = 10  # values are reduced to +-(modulus - 1), 2..100

    def __post_init__(self) -> None:
        choose("level", self.level, LEVELS)
        require(1 <= self.variables <= 26, "variables", self.variables, "1..26")
        held = self.variables <= self.statements <= 64
        require(held, "statements", self.statements, f"{self.variables}..64 (from variables on)")
        require(2 <= self.modulus <= 100, "modulus", self.modulus, "2..100")


class CexecTask:
    """C execution; see ``lego.task.Task`` for the contract that it fulfils.

    ``sample`` adds ``asked`` (rows,) int16, the token id of the printed variable: the one at the
    end of the deepest chain of dependencies. The rest stands in the tokens.
    """

    Config: ClassVar[Any] = CexecConfig
    presets: ClassVar[Mapping[str, Any]] = {"straight": CexecConfig()}

    name = "cexec"
    splits = SPLITS
    head: Literal["causal-lm"] = "causal-lm"
    labels: tuple[str, ...] = ()
    pad_token_id = 0
    layers = 4  # to find both operands, compute, and write: it does not grow with the program

    def __init__(self, config: CexecConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.writes = config.variables + config.statements
        self.vocabulary = trace.vocabulary(config.modulus)
        self.vocab_size = len(self.vocabulary)
        _, self.max_length = trace.lengths(config.variables, config.statements)

    def sample(self, split: str, start: int, stop: int) -> Batch:
        number = split_index(self.splits, split, start, stop)
        config, rows = self.config, stop - start
        batch = {
            "input_ids": np.zeros((rows, self.max_length), np.int16),
            "labels": np.full((rows, self.max_length), IGNORED, np.int16),
            "asked": np.empty(rows, np.int16),
        }
        shape = (config.variables, config.statements, config.modulus)
        failed, flags = _fill(
            self.seed, number, start, shape, hash_weights(self.max_length), *batch.values()
        )
        if failed >= 0:
            raise SettingError(
                f"split={split!r}: allowed splits that own a program of this config; none was "
                f"found for example {start + failed} (the space of programs is too small)"
            )
        if flags:
            raise AssertionError(f"undefined behaviour, flags {flags}, in {split} from {start}")
        return batch

    def steps(self, batch: Batch) -> np.ndarray:
        return trace.steps(batch["input_ids"], self.writes)

    def graph(self, batch: Batch) -> Batch:
        """Token indices (rows, steps), -1 where there is none, and masks (rows, length, length).

        ``value``: a write's value in the trace; ``definition``: the written variable in the
        program. ``operands`` (rows, steps, 2): what the statement reads, in the program;
        ``sources`` (rows, steps, 2): the value in the trace that it finds there. ``depth``: how
        many writes lie behind the value. ``association[i, j]``: tokens i and j are the same
        variable, i != j; ``local[i, j]``: |i - j| <= 2.
        """
        ids = batch["input_ids"]
        names = (ids >= trace.NAME) & (ids < trace.NAME + 26)
        places = np.arange(ids.shape[1])
        apart = np.abs(places[:, None] - places)
        same = (ids[:, :, None] == ids[:, None, :]) & names[:, :, None]
        found = _dependencies(ids, self.writes)
        edges = dict(
            zip(("value", "definition", "operands", "sources", "depth"), found, strict=True)
        )
        return edges | {
            "association": same & (apart > 0),
            "local": np.broadcast_to(apart <= LOCAL, same.shape),
        }

    def _values(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """The trace: token ids of the written variables, and values, both (rows, steps)."""
        ids = batch["input_ids"]
        begin = (ids == trace.TRACE).argmax(axis=1)[:, None] + 1 + 2 * np.arange(self.writes)
        names = np.take_along_axis(ids, begin, 1)
        values = np.take_along_axis(ids, begin + 1, 1)
        return names, trace.value_of(values, self.config.modulus)

    def answers(self, batch: Batch) -> np.ndarray:
        names, values = self._values(batch)
        last = self.writes - 1 - (names == batch["asked"][:, None])[:, ::-1].argmax(axis=1)
        return values[np.arange(len(values)), last]

    def shortcuts(self, batch: Batch) -> Batch:
        """Each shortcut's answer to what the program prints, (rows,) int32.

        ``initial-value``: the asked variable's first value. ``last-constant``: the last constant
        of the program's text, the modulus apart. ``copy-last-write``: the program's last write.
        """
        ids = batch["input_ids"]
        names, values = self._values(batch)
        rows = np.arange(len(ids))
        first = (names == batch["asked"][:, None]).argmax(axis=1)
        begin = (ids == trace.TRACE).argmax(axis=1)[:, None]
        after_percent = np.roll(ids, 1, axis=1) == trace.PERCENT
        constant = (ids >= trace.ZERO) & (np.arange(ids.shape[1]) < begin) & ~after_percent
        last = ids.shape[1] - 1 - constant[:, ::-1].argmax(axis=1)
        return {
            "initial-value": values[rows, first],
            "last-constant": trace.value_of(ids[rows, last], self.config.modulus),
            "copy-last-write": values[:, -1],
        }

    @cached_property
    def features(self) -> datasets.Features:
        from datasets import Features, List, Value

        strings = ("text", "prompt", "answer", "source", "stdout", "question")
        write = {name: Value("int32") for name in ("step", "line", "value")}
        write = {"step": write["step"], "line": write["line"], "name": Value("string")} | write
        return Features(
            {name: Value("string") for name in strings}
            | {name: List(Value("int16")) for name in ("input_ids", "labels")}
            | {"trace": List(write)}
            | {f"shortcut_{name}": Value("int32") for name in SHORTCUTS}
        )

    def table(self, batch: Batch) -> pa.Table:
        ids, rows, writes = batch["input_ids"], len(batch["input_ids"]), self.writes
        words = pa.array(self.vocabulary.words)
        names, values = self._values(batch)
        order = np.tile(np.arange(writes, dtype=np.int32), rows)
        struct = pa.StructArray.from_arrays(
            [
                pa.array(order),
                pa.array(order + np.int32(FIRST_LINE)),
                words.take(pa.array(names.reshape(-1))),
                pa.array(values.reshape(-1)),
            ],
            ["step", "line", "name", "value"],
        )
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * writes)
        source = sources(ids, batch["asked"], self.vocabulary)
        asked = words.take(pa.array(batch["asked"]))
        question = _concatenate("What is the value of ", asked, " when the program ends?")
        answer = pc.cast(pa.array(self.answers(batch)), pa.string())
        lengths = (ids != self.pad_token_id).sum(axis=1)
        return pa.table(
            {
                "text": self.vocabulary.render(ids),
                "prompt": _concatenate(source, "\n", question, " Answer with a number:"),
                "answer": answer,
                "source": source,
                "stdout": _concatenate(answer, "\n"),
                "question": question,
                "input_ids": list_column(ids, lengths),
                "labels": list_column(batch["labels"], lengths),
                "trace": pa.ListArray.from_arrays(offsets, struct),
            }
            | {f"shortcut_{k}": pa.array(v) for k, v in self.shortcuts(batch).items()}
        )

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return self.vocabulary.tokenizer(self.max_length)

    def check(self, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
        rows = table.to_pylist()
        tokenized = self.tokenizer()([row["text"] for row in rows])["input_ids"]
        for at, (row, ids) in enumerate(zip(rows, tokenized, strict=True)):
            try:
                expected = self._published(row["source"], row["text"], ids)
            except SettingError as error:
                yield at, str(error)
                continue
            for name, value in expected.items():
                if row[name] != value:
                    yield at, f"{name}={row[name]!r}, but the source gives {value!r}"
        ids = padded(table["input_ids"].combine_chunks(), self.max_length)
        for wrong in np.flatnonzero(
            owners(_program_sums(ids), len(self.splits)) != self.splits.index(split)
        ):
            yield int(wrong), f"source={rows[wrong]['source']!r}: owned by another split"

    def _published(self, source: str, text: str, ids: list[int]) -> dict[str, object]:
        """The columns of a row as the source alone gives them."""
        writes, stdout = reference.interpret(source)
        statements = source.split("\n")[FIRST_LINE - 1 : -4]
        spaced = " ".join(statements).replace("(", "( ").replace(")", " )").replace(";", " ;")
        tokens = spaced.replace("= -", "= - ").split()
        recorded = [word for write in writes for word in (write.name, str(write.value))]
        asked = source.split("\n")[-4].split(", ")[1].removesuffix(");")
        question = f"What is the value of {asked} when the program ends?"
        constants = [
            word for k, word in enumerate(tokens) if word.isdigit() and tokens[k - 1] != "%"
        ]
        return {
            "text": " ".join([*tokens, "trace", *recorded]),
            "prompt": f"{source}\n{question} Answer with a number:",
            "answer": stdout.removesuffix("\n"),
            "stdout": stdout,
            "question": question,
            "input_ids": ids,
            "labels": [IGNORED] * (len(tokens) + 2) + ids[len(tokens) + 2 :],
            "trace": [vars(write) for write in writes],
            "shortcut_initial-value": next(w.value for w in writes if w.name == asked),
            "shortcut_last-constant": int(constants[-1]),
            "shortcut_copy-last-write": writes[-1].value,
        }

    def size(self) -> str:
        return f"{self.max_length} tokens at most; {self.vocab_size} words."

    def describe(self) -> str:
        config = self.config
        return "\n\n".join(
            [
                f"Config `{config_name(CexecTask, config)}`: straight-line C programs, "
                f"{config.variables} `int` variables and {config.statements} assignments after "
                f"their declarations. An assignment is a constant, a copy, a negation, or "
                f"`(y op z) % {config.modulus}` with op one of `+ - *`; no value leaves "
                f"+-{config.modulus - 1}, so that nothing can overflow. `source` is a complete C11 "
                f"program, `trace` has every write in order (line numbers of `source`), `stdout` "
                f"is what it prints: the variable at the end of the deepest chain of dependencies. "
                f"`text` is what a causal model reads: the statements' tokens, the word `trace`, "
                f"and a name and a value for each write; `labels` are the tokens after `trace`. "
                f"Programs that differ in names alone fall into the same split. The paper's own "
                f"generator of C programs is not published: this one is our reconstruction.",
                "Known shortcuts for what is printed: `initial-value` (the asked variable's first "
                "value), `last-constant` (the last constant in the text, the modulus apart) and "
                "`copy-last-write` (the value of the last write).",
            ]
        )


def _concatenate(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _program_sums(ids: np.ndarray) -> np.ndarray:
    """(rows,) uint64: the sums that decide who owns each program, see ``_program_sum``."""
    weights = hash_weights(ids.shape[1])
    return np.array([_program_sum(row, weights) for row in ids], np.uint64)


@njit(cache=True)
def _program_sum(ids, weights):  # type: ignore[no-untyped-def]
    """The weighted sum of a program's tokens, its variables renamed a, b, ... as they are declared.

    The trace, which the program determines, plays no part.
    """
    renamed = np.zeros(26, np.int64)
    known = 0
    total = np.uint64(0)
    for j in range(1, len(ids)):
        token = np.int64(ids[j])
        if token == trace.TRACE:
            break
        if trace.NAME <= token < trace.NAME + 26:
            if renamed[token - trace.NAME] == 0:
                known += 1
                renamed[token - trace.NAME] = known
            token = trace.NAME + renamed[token - trace.NAME] - 1
        total += np.uint64(token) * weights[j]
    return total


@njit(cache=True, nogil=True)
def _fill(seed, split, start, shape, weights, input_ids, labels, asked):  # type: ignore[no-untyped-def]
    """Write one example a row; returns (-1 or the first row that failed, the machine's flags).

    shape: (variables, statements, modulus).
    """
    variables, statements, modulus = shape
    code = np.zeros((2 * variables + op.LONGEST * statements + 1, 2), np.int16)
    read = np.empty(variables, np.bool_)
    memory = np.empty(variables, np.int64)
    stack = np.empty(4, np.int64)
    writes = np.empty((variables + statements, 2), np.int32)
    pool = np.empty(26, np.int64)
    flagged = 0
    for row in range(len(input_ids)):
        ids = input_ids[row]
        for attempt in range(MAX_ATTEMPTS):
            key = stream(seed, split, start + row, attempt)
            write_program(key, variables, statements, modulus, code, read)
            for j in range(26):
                pool[j] = trace.NAME + j
            for v in range(variables):  # the first of a Fisher-Yates shuffle
                other = v + np.int64(below(word(key, FIRST_NAME_WORD + v), 26 - v))
                pool[v], pool[other] = pool[other], pool[v]
            at = trace.write_tokens(code, modulus, pool, ids)
            ids[at] = trace.TRACE
            if owner(_program_sum(ids, weights), len(SPLITS)) == split:
                break
        else:
            return row, flagged
        _, flags = run(code, memory, stack, writes)
        flagged |= flags
        end = trace.write_trace(writes, modulus, pool, ids, at)
        ids[0] = trace.CLS
        ids[end:] = 0
        for j in range(at + 1, end):
            labels[row, j] = ids[j]
        asked[row] = pool[deepest(code, memory, stack)]
    return -1, flagged


@njit(cache=True)
def _dependencies(ids, writes):  # type: ignore[no-untyped-def]
    """The edges of ``CexecTask.graph``, read off the tokens."""
    rows = len(ids)
    value = np.full((rows, writes), -1, np.int64)
    definition = np.full((rows, writes), -1, np.int64)
    operands = np.full((rows, writes, 2), -1, np.int64)
    sources = np.full((rows, writes, 2), -1, np.int64)
    depth = np.zeros((rows, writes), np.int64)
    last = np.empty(26, np.int64)
    for row in range(rows):
        begin = 1
        while ids[row, begin] != trace.TRACE:
            begin += 1
        last[:] = -1
        step, operand = 0, -1
        for j in range(1, begin):
            token = ids[row, j]
            variable = trace.NAME <= token < trace.NAME + 26
            if token == trace.SEMICOLON:
                value[row, step] = begin + 2 + 2 * step
                last[ids[row, definition[row, step]] - trace.NAME] = step
                step, operand = step + 1, -1
            elif variable and operand < 0:
                definition[row, step] = j
                operand = 0
            elif variable:
                before = last[token - trace.NAME]
                operands[row, step, operand] = j
                sources[row, step, operand] = value[row, before]
                depth[row, step] = max(depth[row, step], depth[row, before] + 1)
                operand += 1
    return value, definition, operands, sources, depth
