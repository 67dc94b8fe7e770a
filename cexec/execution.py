"""What the programs of a batch did: every write with its line, the facts, and the dependencies."""

from __future__ import annotations

import numpy as np
from numba import njit

from cexec import machine, tokens
from cexec.grammar import MOST_OBJECTS
from cexec.machine import BRANCHES, DEPTH, FLAGS, PLACE, SLOT, STEPS, TAKEN, VALUE
from cexec.sampler import CELLS, LOG, PAIRS, lay_slots

ROW_FACTS = ("writes", "branches", "branches_taken", "dependency_depth", "distractors")


def execute(
    code: np.ndarray,
    objects: np.ndarray,
    asked: np.ndarray,
    kind: int,
    line: int,
    edges: int = 0,
) -> dict[str, np.ndarray]:
    """Run the programs of a batch again: code (rows, pairs, 2), objects (rows, objects, 2), asked
    (rows,) slots, all int16; ``kind`` the values' type, ``line`` that of the first function.

    Returns ``log`` (writes in all, 5) int32: line, object, index in it, value and depth of every
    write, row after row; ``places`` (writes,) int16, where in the program's tokens its name stands;
    ``facts`` (rows, 5) int32 in the order of ROW_FACTS; ``answers``, ``initial``, ``majority`` and
    ``no_branch`` (rows,) int32; ``edges`` (writes, edges) int32, of the writes of the same row that
    a write depends on so many at most, -1 where there are no more.
    """
    rows = len(code)
    space = _Space(rows, edges)
    total = 0
    while True:
        total, done = _execute(code, objects, asked, kind, line, *space.arrays())
        if done:
            return space.taken(total)
        space.grow()


class _Space:
    """Room for the log of a batch: as much as it turns out to need."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows, self.writes, self.width = rows, 24 * rows + LOG, width

    def arrays(self) -> tuple[np.ndarray, ...]:
        self.log = np.empty((self.writes, 5), np.int32)
        self.places = np.empty(self.writes, np.int16)
        self.edges = np.empty((self.writes, self.width), np.int32)
        self.facts = np.empty((self.rows, len(ROW_FACTS)), np.int32)
        self.guesses = np.empty((self.rows, 4), np.int32)
        return self.log, self.places, self.edges, self.facts, self.guesses

    def grow(self) -> None:
        self.writes *= 2

    def taken(self, total: int) -> dict[str, np.ndarray]:
        names = ("answers", "initial", "majority", "no_branch")
        columns = {name: self.guesses[:, k].copy() for k, name in enumerate(names)}
        return columns | {
            "log": self.log[:total],
            "places": self.places[:total],
            "edges": self.edges[:total],
            "facts": self.facts,
        }


@njit(cache=True, nogil=True)
def _majority(log, steps):
    """The commonest of the values written; the smallest of equals."""
    best, most = log[0, VALUE], 0
    for i in range(steps):
        count = 0
        for j in range(steps):
            count += log[j, VALUE] == log[i, VALUE]
        if count > most or (count == most and log[i, VALUE] < best):
            best, most = log[i, VALUE], count
    return best


@njit(cache=True, nogil=True)
def _execute(code, objects, asked, kind, line, out, places, edges_out, facts, guesses):
    """Fill the arrays; returns (writes in all, whether they had room)."""
    ids = np.zeros(8192, np.int16)
    lines, at = np.zeros(PAIRS, np.int16), np.zeros(PAIRS, np.int16)
    begins, ends = np.zeros(tokens.LINES + 1, np.int16), np.zeros(tokens.LINES + 1, np.int16)
    owners = np.zeros((CELLS, 2), np.int64)
    memory = np.zeros(CELLS * machine.FRAMES, np.int64)
    last = np.zeros(CELLS * machine.FRAMES, np.int32)
    log = np.zeros((LOG, 4), np.int64)
    edges, edge_begins = np.zeros(8 * LOG, np.int32), np.zeros(LOG + 1, np.int32)
    counts, scratch = np.zeros(4, np.int64), np.zeros(machine.SCRATCH, np.int64)
    feeds = np.zeros(LOG, np.bool_)
    total = 0
    for row in range(len(code)):
        known = 0
        while known < MOST_OBJECTS and objects[row, known, 1] > 0:
            known += 1
        table = objects[row, :known]
        slots = lay_slots(table, known, owners)
        held, came = memory[: slots * machine.FRAMES], last[: slots * machine.FRAMES]
        tokens.write_program(code[row], table, line, ids, lines, at, begins, ends, scratch)
        machine.run(
            code[row], table, kind, False, held, came, log, edges, edge_begins, counts, scratch
        )
        steps = counts[STEPS]
        if total + steps > len(out):
            return total, False
        slot = asked[row]
        for step in range(steps):
            out[total + step, 0] = lines[log[step, PLACE]]
            out[total + step, 1] = owners[log[step, SLOT], 0]
            out[total + step, 2] = owners[log[step, SLOT], 1]
            out[total + step, 3] = log[step, VALUE]
            out[total + step, 4] = log[step, DEPTH]
            places[total + step] = at[log[step, PLACE]]
            count = 0
            for e in range(edge_begins[step], edge_begins[step + 1]):
                if count < edges_out.shape[1]:
                    edges_out[total + step, count] = edges[e]
                    count += 1
            edges_out[total + step, count:] = -1
        final = came[slot]
        feeds[:steps] = False
        feeds[final] = True
        distractors = 0
        for step in range(steps - 1, -1, -1):
            if feeds[step]:
                for e in range(edge_begins[step], edge_begins[step + 1]):
                    feeds[edges[e]] = True
            else:
                distractors += 1
        facts[row, 0], facts[row, 1], facts[row, 2] = steps, counts[BRANCHES], counts[TAKEN]
        facts[row, 3], facts[row, 4] = log[final, DEPTH], distractors
        guesses[row, 0], guesses[row, 2] = held[slot], _majority(log, steps)
        guesses[row, 3] = held[slot]
        first = 0
        while log[first, SLOT] != slot:
            first += 1
        guesses[row, 1] = log[first, VALUE]
        if counts[BRANCHES] > counts[TAKEN]:
            machine.run(
                code[row], table, kind, True, held, came, log, edges, edge_begins, counts, scratch
            )
            guesses[row, 3] = 0 if counts[FLAGS] or came[slot] < 0 else held[slot]
        total += steps
    return total, True
