"""The truth about chains, from their text alone: no code is shared with the sampler.

Every clause is looked up where its argument is defined, again and again until nothing changes; the
columns of a row follow. ``lego verify`` compares them with what was published.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lego.chain_graph import HOPS, SHORTCUTS
from lego.chain_plan import Plan
from lego.columns import padded
from lego.task import IGNORED, NO_ANSWER

if TYPE_CHECKING:
    from lego.chains import ChainTask

Columns = dict[str, np.ndarray]


def faults(task: ChainTask, table: pa.Table, split: str) -> Iterator[tuple[int, str]]:
    """(row, what is wrong) for each row that is not what its text says."""
    if not len(table):
        return
    texts = np.array(table["text"].to_pylist(), object)
    tokenized = task.tokenizer()(list(texts))["input_ids"]
    ids = np.zeros((len(texts), max(map(len, tokenized), default=0)), np.int16)
    for row, tokens in enumerate(tokenized):
        ids[row, : len(tokens)] = tokens
    wrong = np.full(len(texts), "not a sentence of this config", object)
    for plan in task.sampler.plans[split]:
        # A row of a mixture is right when it is right as an example of one of the parts.
        rows = np.flatnonzero(wrong != "")
        found = Reader(task, plan).read(ids[rows], texts[rows])
        wrong[rows] = np.where(found.pop("readable"), "", wrong[rows])
        for name, expected in found.items():
            held = _matrix(table[name], expected)[rows]
            same = held == expected if held.ndim == 1 else (held == expected).all(axis=1)
            for at in np.flatnonzero(~same & (wrong[rows] == "")):
                told = f"{name}={_shown(held[at])}, but the text gives {_shown(expected[at])}"
                wrong[rows[at]] = told
    yield from ((int(row), f"text={texts[row]!r}: {wrong[row]}") for row in np.flatnonzero(wrong))
    for at in np.flatnonzero(task.sampler.owners(ids) != task.sampler.sharers.index(split)):
        yield int(at), f"text={texts[at]!r}: owned by another split than {split!r}"


def _matrix(column: pa.ChunkedArray, like: np.ndarray) -> np.ndarray:
    """A column as an array in the form of another; NO_ANSWER stands where a list has ended."""
    whole = column.combine_chunks()
    if like.ndim == 1:
        return np.array(whole.to_pylist(), like.dtype)
    longest = max(whole.value_lengths().to_pylist(), default=0)
    matrix = padded(whole, max(longest, like.shape[1]), NO_ANSWER)
    # What sticks out makes the row a different one.
    extra = (matrix[:, like.shape[1] :] != NO_ANSWER).any(axis=1)
    matrix = matrix[:, : like.shape[1]].astype(np.int64)
    matrix[extra] = NO_ANSWER - 1
    return matrix


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str([v for v in value.tolist() if v != NO_ANSWER])
    return repr(value)


class Reader:
    """Reads the sentences of one plan."""

    def __init__(self, task: ChainTask, plan: Plan) -> None:
        self.task, self.config, self.labelled = task, plan.config, plan.labelled
        self.form, self.action = task.form, task.action
        words = task.vocabulary.ids
        identity = self.action.operators[0]
        self.operator = self._index(
            [words[self.form.spelled(w, identity)] for w in self.action.operators]
        )
        self.state = self._index([words[w] for w in self.action.states])
        self.states = np.array([words[w] for w in self.action.states])
        self.allowed = [self.action.operators.index(w) for w in self.config.drawn]

    def _index(self, tokens: list[int]) -> np.ndarray:
        """Token id -> place in the list, -1 for other tokens."""
        index = np.full(len(self.task.vocabulary), -1)
        index[tokens] = np.arange(len(tokens))
        return index

    def read(self, ids: np.ndarray, texts: np.ndarray) -> Columns:
        """All columns but text, and ``readable``: whether a row is a sentence of the plan."""
        config, width, words = self.config, self.form.width, self.task.vocabulary.ids
        total, offset_of = config.total, self.form.offset
        stop = 1 + width * total
        asking = {"": 0, "one": 4, "all": 1 + 4 * self.labelled}[self.form.asks]
        wide = np.zeros((len(ids), max(ids.shape[1], stop + asking + 1)), np.int16)
        wide[:, : ids.shape[1]] = ids
        ids = wide
        readable = (ids[:, stop + asking] == words["[SEP]"]) & (
            (ids != 0).sum(axis=1) == stop + asking + 1
        )
        clauses = ids[:, 1:stop].reshape(len(ids), total, width)
        for offset, word in self.form.fixed:
            readable &= (clauses[:, :, offset] == words[word]).all(axis=1)
        left, argument = clauses[:, :, offset_of("left")], clauses[:, :, offset_of("argument")]
        operator = self.operator[clauses[:, :, offset_of("operator")]]
        state = self.state[argument]
        defines = argument[:, :, None] == left[:, None, :]  # (rows, clause, clause)
        constant = ~defines.any(axis=2)
        twice = (left[:, :, None] == left[:, None, :]).sum(axis=(1, 2)) > total
        known = np.where(constant, (operator == 0) & (state >= 0), np.isin(operator, self.allowed))
        readable &= known.all(axis=1) & ~twice
        parent = np.where(constant, -1, defines.argmax(axis=2))
        chain = self._follow(parent, operator, state)
        readable &= (chain["value"] >= 0).all(axis=1)
        order, right = self._chain_order(chain, parent)
        readable &= right

        def take(array: np.ndarray) -> np.ndarray:
            return np.take_along_axis(array, order, axis=1)

        positions = 1 + width * order + offset_of("left")
        found: Columns = {
            "readable": readable,
            "values": take(chain["value"]),
            "positions": positions,
            "clause_order": order,
            "asked": np.full(len(ids), config.n),
        }
        found |= self._shortcuts(chain, operator, take)
        found |= self._asked(ids, texts, positions, found["values"], stop, readable)
        ended = (ids == 0) & (np.arange(ids.shape[1]) > stop)
        found["input_ids"] = np.where(ended, NO_ANSWER, ids)
        found["labels"] = np.where(ended, NO_ANSWER, found["labels"])
        return found

    def _follow(self, parent: np.ndarray, operator: np.ndarray, state: np.ndarray) -> Columns:
        """value, depth and root of every clause; -1 where a clause hangs on itself."""
        table = self.action.table
        clause = np.broadcast_to(np.arange(parent.shape[1]), parent.shape)
        constant = parent < 0
        value, depth = np.where(constant, state, -1), np.where(constant, 0, -1)
        root, up = np.where(constant, clause, -1), np.maximum(parent, 0)
        for _ in range(parent.shape[1]):
            above = np.take_along_axis(value, up, 1)
            new = (value < 0) & (above >= 0) & ~constant
            if not new.any():
                break
            value = np.where(new, table[operator, above], value)
            depth = np.where(new, np.take_along_axis(depth, up, 1) + 1, depth)
            root = np.where(new, np.take_along_axis(root, up, 1), root)
        return {"value": value, "depth": depth, "root": root}

    def _chain_order(self, chain: Columns, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The clauses in chain order, and whether the shape is the config's.

        Asked is the largest tree; of a tree that should be a chain, the way to its deepest clause.
        """
        config, depth, root = self.config, chain["depth"], chain["root"]
        rows, total = depth.shape
        sizes = np.stack([(root == c).sum(axis=1) for c in range(total)], axis=1)
        if config.roots > 1:
            asked = np.ones((rows, total), bool)
            right = (sizes > 0).sum(axis=1) == config.roots
        else:
            asked = root == sizes.argmax(axis=1)[:, None]
            branches = config.unused if config.shape == "chain" else 0
            rest = [1] * (config.unused - branches)
            expected = sorted([config.n + branches, *config.distractors, *rest])
            expected = [0] * (total - len(expected)) + expected
            right = (np.sort(sizes, axis=1) == expected).all(axis=1)
        if config.shape == "chain":
            end = np.where(asked, depth, -1).argmax(axis=1)
            asked = np.zeros((rows, total), bool)
            for _ in range(config.n):
                asked[np.arange(rows)[end >= 0], end[end >= 0]] = True
                end = np.where(end >= 0, parent[np.arange(rows), end], -1)
        right &= asked.sum(axis=1) == config.n
        places = np.arange(total)
        order = np.lexsort((np.broadcast_to(places, depth.shape), depth, ~asked), axis=1)
        if config.order == "forward":  # what an argument names stands before it
            right &= (parent < places).all(axis=1)
        if config.order == "reversed":
            right &= ((parent < 0) | (parent > places)).all(axis=1)
        if config.order == "root-first":
            right &= (depth[:, 0] == 0) & asked[:, 0]
        return order, right

    def _shortcuts(self, chain: Columns, operator: np.ndarray, take: Any) -> Columns:
        table, n = self.action.table, self.config.n
        value, root, depth = (take(chain[name])[:, :n] for name in ("value", "root", "depth"))
        start = np.take_along_axis(chain["value"], root, 1)
        whole = start
        for column in operator.T:
            whole = table[column[:, None], whole]
        own = table[take(operator)[:, :n], 0]
        answers = (whole, np.where(depth > 0, own, start), start, np.where(depth <= HOPS, value, 0))
        found = dict(zip(SHORTCUTS, (*answers, np.zeros_like(value)), strict=True))
        return {f"shortcut_{name}": found[name] for name in SHORTCUTS}

    def _asked(
        self, ids: np.ndarray, texts: np.ndarray, positions: np.ndarray, values: np.ndarray,
        stop: int, readable: np.ndarray,
    ) -> Columns:  # fmt: skip
        """labels, prompt and answer."""
        labels = np.full(ids.shape, IGNORED)
        words, labelled = np.array(self.task.vocabulary.words), self.labelled
        names, states = np.take_along_axis(ids, positions, 1), self.states[values]
        rows = np.arange(len(ids))
        if not self.form.asks:
            np.put_along_axis(labels, positions[:, :labelled], values[:, :labelled], 1)
            last = words[names[:, labelled - 1]]
            ask = {"paper": " {} = {}", "compact": "{}={}", "english": " What is {}?"}[
                self.form.name
            ]
            identity = "+" if self.form.name == "compact" else self.action.operators[0]
            prompt = [
                text + ask.format(name, identity) for text, name in zip(texts, last, strict=True)
            ]
            answer = words[self.states[values[:, labelled - 1]]]
            return {
                "labels": labels,
                "prompt": np.array(prompt, object),
                "answer": answer.astype(object),
            }
        readable &= ids[:, stop] == self.task.vocabulary.ids["?"]
        tail = [text.partition(" ? ") for text in texts]
        if self.form.asks == "one":
            same = names[:, :labelled] == ids[:, stop + 1, None]
            which = same.argmax(axis=1)
            answered = states[rows, which]
            readable &= same.any(axis=1) & (ids[:, stop + 3] == answered)
            readable &= ids[:, stop + 2] == self.task.vocabulary.ids["="]
            labels[:, stop + 3] = answered
            prompt = [f"{sentence} ? {rest.partition(' = ')[0]} =" for sentence, _, rest in tail]
            answer = [rest.partition(" = ")[2] for _, _, rest in tail]
        else:
            equals, comma = self.task.vocabulary.ids["="], self.task.vocabulary.ids[","]
            width = 4 * labelled
            written = np.empty((len(ids), labelled, 4), np.int64)
            written[:, :, 0], written[:, :, 2] = names[:, :labelled], states[:, :labelled]
            written[:, :, 1], written[:, :, 3] = equals, comma
            flat = written.reshape(len(ids), width)
            readable &= (ids[:, stop + 1 : stop + 1 + width] == flat).all(axis=1)
            labels[:, stop + 1 : stop + 1 + width] = flat
            prompt = [f"{sentence} ?" for sentence, _, _ in tail]
            answer = [rest for _, _, rest in tail]
        return {
            "labels": labels,
            "prompt": np.array(prompt, object),
            "answer": np.array(answer, object),
        }
