"""Who would look at whom, by the task's graph: named sets of (query, key) pairs of tokens."""

from __future__ import annotations

from itertools import product

import numpy as np

from lego.task import Batch, Task

PARTS = ("definition", "operator", "argument")  # of a clause


def edges(task: Task, batch: Batch) -> dict[str, np.ndarray]:
    """Each edge's pairs, (rows, query, key) bool, whoever a model lets see whom.

    ``association``: to another place of the same variable. ``self``; ``local``: to a token at most
    two away that is not itself. For tasks whose graph has clauses also, where a clause is its
    defined variable, operator and argument: ``operator`` and ``argument``, from the defined
    variable to these; ``clause``, within a clause; ``chain``, from a clause to the one that defines
    its argument; ``separator``, from anywhere to a token that is no variable and of no clause.
    """
    graph = task.graph(batch)
    rows, length = batch["input_ids"].shape
    itself = np.broadcast_to(np.eye(length, dtype=bool), (rows, length, length))
    found = {
        "association": graph["association"],
        "self": itself,
        "local": graph["local"] & ~itself,
    }
    if not {*PARTS, "parent"} <= graph.keys():
        return found
    definition, operator, argument = (graph[part] for part in PARTS)
    found["operator"] = _pairs(definition, operator, length)
    found["argument"] = _pairs(definition, argument, length)
    clause, chain = np.zeros((2, rows, length, length), bool)
    up = _clause_of(graph["parent"], definition)  # (rows, n)
    for query, key in product(PARTS, PARTS):
        above = np.take_along_axis(graph[key], np.maximum(up, 0), 1)
        chain |= _pairs(graph[query], np.where(up >= 0, above, -1), length)
        clause |= _pairs(graph[query], graph[key], length)
    found["clause"], found["chain"] = clause & ~itself, chain
    told = np.logical_or(graph["association"], clause).any(2, keepdims=True)  # (rows, query, 1)
    found["separator"] = np.broadcast_to(~np.swapaxes(told, 1, 2), (rows, length, length))
    return found


def _clause_of(place: np.ndarray, definition: np.ndarray) -> np.ndarray:
    """(rows, n) int64: the number in its row of the clause that is defined at each place, or -1."""
    same = (place[:, :, None] == definition[:, None, :]) & (place >= 0)[:, :, None]
    return np.where(same.any(2), same.argmax(2), -1)


def _pairs(query: np.ndarray, key: np.ndarray, length: int) -> np.ndarray:
    """(rows, length, length) bool from places (rows, n), -1 for none."""
    row, which = np.nonzero((query >= 0) & (key >= 0))
    found = np.zeros((len(query), length, length), bool)
    found[row, query[row, which], key[row, which]] = True
    return found
