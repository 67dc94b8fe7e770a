"""The chain sampler: examples of a split, drawn, owned and written one after another.

A sentence is ``[CLS]``, n clauses of as many tokens each, and what follows them. All of its choices
are drawn first; if the split does not own the sentence that they make, the next candidate takes its
place.

Indices are unsigned, which spares numba the test for negative ones. Functions take arrays rather
than tuples of arrays: taking one out of a tuple counts references, in every row.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from lego import chain_form
from lego.counter import below, stream, word
from lego.task import MAX_ATTEMPTS, owner

FIRST = np.uint64(chain_form.FIRST)
ASIDE = 2**62  # the attempt whose words choose what is not part of a sentence
FLIPPED, RENAMED = 1, 2  # the values of Plan.pairs, other than 0
PARTNERS = 512  # renamings tried before another sentence is drawn


class Layout(NamedTuple):
    """How clauses are laid out; all uint64.

    ``width``: tokens of a clause; ``operator``, ``argument``: where they stand in it, after the
    left-hand variable. ``identity``: the token of a root's operator. ``fixed``: the weighted sum
    of the tokens that all sentences share.
    """

    width: np.uint64
    operator: np.uint64
    argument: np.uint64
    identity: np.uint64
    fixed: np.uint64


class Language(NamedTuple):
    """The tokens of a form and the action of a group.

    ``names``, ``operators``, ``states``: int16 token ids by index; of the operators, those that
    are drawn. ``table``: (operators * states,) int16, where an operator takes a state.
    ``weights``: (length,) uint64 of ``task.hash_weights``.
    """

    names: np.ndarray
    operators: np.ndarray
    states: np.ndarray
    table: np.ndarray
    weights: np.ndarray
    layout: Layout


class Flags(NamedTuple):
    """How a ``Plan`` is drawn, and what is done with the sentence.

    ``grows``: parents are drawn at all. ``shuffled``: so are the places of clauses, but for the
    first ``head``. ``asked``, ``labelled``: so many are asked about, or labelled, in chain order,
    which is another than that in which variables are drawn if ``branched``. ``pairs``: see Plan.
    """

    grows: bool
    shuffled: bool
    head: int
    branched: bool
    asked: int
    labelled: int
    pairs: int


class Shape(NamedTuple):
    """How the variables of a ``Plan`` hang together.

    ``low``, ``counts``: (n,) uint64, as ``Plan.parents``, but that a root is its own parent.
    ``slots``: (n,) uint16, the places of the clauses where they are not shuffled.
    """

    low: np.ndarray
    counts: np.ndarray
    slots: np.ndarray
    flags: Flags


@njit(inline="always")
def swap_names(here, distance, pool):
    """One step of a Fisher-Yates shuffle."""
    there = here + distance
    pool[here], pool[there] = pool[there], pool[here]


@njit(inline="always")
def insert_clause(here, there, slot):
    """One step of a Fisher-Yates shuffle, inside out."""
    slot[here] = slot[there]
    slot[there] = here


@njit(cache=True, nogil=True)
def draw(key, names, low, counts, flags, pool, slot, parent):
    """Draw the names of a sentence's variables, the places of their clauses, and their parents.

    pool: (names,) int16, whose first n become the names. slot, parent: (n,) uint16, left as they
    are where there is nothing to draw.
    Word c of the stream names variable c (low half) and places its clause (high half); word n + c
    picks its operator, or a root's state (low half), and its parent (high half).
    """
    n = len(slot)
    for c in range(len(names)):
        pool[c] = names[c]
    for c in range(n):
        here, bits = np.uint64(c), word(key, c)
        swap_names(here, below(bits, len(names) - c), pool)
        if flags.shuffled:
            first = min(c, flags.head)
            there = np.uint64(first) + below(bits >> np.uint64(32), c + 1 - first)
            insert_clause(here, there, slot)
    if flags.grows:
        for c in range(n):
            here, bits = np.uint64(c), word(key, n + c)
            parent[here] = low[here] + below(bits >> np.uint64(32), counts[here])


@njit(cache=True, nogil=True)
def unrank(rank, bounds, names, low, flags, pool, slot, content, parent):
    """Make the sentence of a number in 0 .. product of bounds - 1; bounds: (n, 4) uint64.

    As ``draw``, and content: (n,) uint16, the operators, or the states of roots.
    """
    for c in range(len(names)):
        pool[c] = names[c]
    for c in range(len(slot)):
        here = np.uint64(c)
        rank, distance = rank // bounds[here, 0], rank % bounds[here, 0]
        rank, place = rank // bounds[here, 1], rank % bounds[here, 1]
        rank, content[here] = rank // bounds[here, 2], rank % bounds[here, 2]
        rank, up = rank // bounds[here, 3], rank % bounds[here, 3]
        swap_names(here, distance, pool)
        if flags.shuffled:
            insert_clause(here, np.uint64(min(c, flags.head)) + place, slot)
        parent[here] = low[here] + up


@njit(cache=True, nogil=True)
def write(
    key, operators, states, table, weights, layout, pool, slot, content, parent, ids, values, order
):  # fmt: skip
    """Write a sentence into a row, but for its labels; returns the sum that decides who owns it.

    content: as ``unrank`` makes it; empty where it is drawn.
    """
    n, most = len(slot), np.uint64(len(states))
    hashed, value = layout.fixed, np.uint64(0)
    for c in range(n):
        here, up, clause = np.uint64(c), np.uint64(parent[c]), np.uint64(slot[c])
        root = up == here
        if len(content):
            chosen = np.uint64(content[here])
        else:
            chosen = below(word(key, n + c), most if root else np.uint64(len(operators)))
        if root:
            operator, argument, value = layout.identity, np.uint64(states[chosen]), chosen
        else:
            operator, argument = np.uint64(operators[chosen]), np.uint64(pool[up])
            if up + np.uint64(1) != here:  # else it is still at hand
                value = np.uint64(values[up])
            value = np.uint64(table[chosen * most + value])
        left, at = np.uint64(pool[here]), FIRST + layout.width * clause
        hashed += left * weights[at]
        hashed += operator * weights[at + layout.operator]
        hashed += argument * weights[at + layout.argument]
        ids[at] = left
        ids[at + layout.operator] = operator
        ids[at + layout.argument] = argument
        values[here] = value
        order[here] = clause
    return hashed


@njit(cache=True, nogil=True)
def scratch(names, low, slots):
    """pool, slot and parent, see ``draw``; as they are where there is nothing to draw."""
    return names.copy(), slots.copy(), low.astype(np.uint16)


@njit(cache=True, nogil=True)
def fill(
    seed, split, splits, examples, ranks, bounds,
    names, operators, states, table, weights, layout, low, counts, slots, flags,
    ids, labels, values, order,
):  # fmt: skip
    """Write one example a row; returns -1, or the first row for which MAX_ATTEMPTS found none.

    examples: (rows,) int64, their numbers. ranks: (rows,) uint64, the numbers of the sentences
    among the choices below ``bounds``; or empty, then they are drawn. names .. layout: of
    ``Language``; low .. flags: of ``Shape``.
    Filled, int16: ids, labels (rows, length), which hold the fixed tokens and IGNORED already;
    values, order (rows, n), in chain order.
    """
    n = len(low)
    pool, slot, parent = scratch(names, low, slots)
    content = np.empty(n if len(ranks) else 0, np.uint16)
    depth, rank = np.empty(n, np.int64), np.empty(n, np.int64)
    for row in range(len(examples)):
        example = examples[row] // 2 if flags.pairs else examples[row]
        for attempt in range(MAX_ATTEMPTS):
            key = stream(seed, split, example, attempt)
            if len(ranks):
                unrank(ranks[row], bounds, names, low, flags, pool, slot, content, parent)
            else:
                draw(key, names, low, counts, flags, pool, slot, parent)
            hashed = write(
                key, operators, states, table, weights, layout, pool, slot, content, parent,
                ids[row], values[row], order[row],
            )  # fmt: skip
            if owner(hashed, splits) == split and (
                flags.pairs == 0
                or change(
                    key, hashed, split, splits, examples[row] % 2, flags.pairs == RENAMED,
                    names, operators, table, weights, layout,
                    parent, ids[row], values[row], order[row],
                )
            ):  # fmt: skip
                break
        else:
            return row
        if flags.branched:
            settle(flags.asked, parent, depth, rank, values[row], order[row])
        for c in range(flags.labelled):
            here = np.uint64(c)
            labels[row, FIRST + layout.width * np.uint64(order[row, here])] = values[row, here]
    return -1


@njit(cache=True, nogil=True)
def sums(
    choices, bounds, names, operators, states, table, weights, layout, low, slots, flags,
    ids, values, order,
):  # fmt: skip
    """(choices,) uint64: the sums that decide who owns each sentence, by its number.

    ids, values, order: a row of each, which is written over and over.
    """
    pool, slot, parent = scratch(names, low, slots)
    content, found = np.empty(len(low), np.uint16), np.empty(choices, np.uint64)
    for rank in range(choices):
        unrank(np.uint64(rank), bounds, names, low, flags, pool, slot, content, parent)
        found[rank] = write(
            np.uint64(0), operators, states, table, weights, layout, pool, slot, content, parent,
            ids, values, order,
        )  # fmt: skip
    return found


@njit(cache=True, nogil=True)
def change(
    key, hashed, split, splits, apply, renames,
    names, operators, table, weights, layout, parent, ids, values, order,
):  # fmt: skip
    """Look for a change to a sentence that leaves it to its split; whether there is one.

    The change is made if ``apply``: other names if ``renames``, else one other operator.
    hashed: the sum of the sentence. The row of ids, values and order is in the order of drawing.
    """
    if renames:
        return rename(key, hashed, split, splits, apply, names, weights, ids, len(order))
    n, many = len(order), len(operators)
    start = np.int64(below(word(key, 2 * n), n * many))  # all are tried, from a random one on
    for k in range(n * many):
        c, chosen = divmod((start + k) % (n * many), many)
        at = FIRST + layout.width * np.uint64(order[c]) + layout.operator
        if parent[c] == c or operators[chosen] == ids[at]:
            continue
        moved = np.uint64(operators[chosen]) - np.uint64(ids[at])
        if owner(hashed + moved * weights[at], splits) == split:
            if apply:
                ids[at] = operators[chosen]
                follow(c, operators, table, layout, parent, ids, values, order)
            return True
    return False


@njit(cache=True, nogil=True)
def follow(first, operators, table, layout, parent, ids, values, order):
    """Work out the values of a row anew, from variable ``first`` on."""
    states = len(table) // len(operators)
    for c in range(first, len(order)):
        if parent[c] != c:
            at = FIRST + layout.width * np.uint64(order[c]) + layout.operator
            chosen = 0
            while operators[chosen] != ids[at]:
                chosen += 1
            values[c] = table[chosen * states + values[parent[c]]]


@njit(cache=True, nogil=True)
def rename(key, hashed, split, splits, apply, names, weights, ids, n):
    """As ``change``: give the n variables of a sentence other names, drawn anew."""
    first, pool = np.int64(names[0]), names.copy()
    renamed = np.full(len(names), -1, np.int64)
    for attempt in range(PARTNERS):
        again = stream(key, 0, 0, attempt)
        for c in range(n):
            here = np.uint64(c)
            swap_names(here, below(word(again, c), len(pool) - c), pool)
        renamed[:] = -1
        total, known = hashed, 0
        for j in range(len(ids)):
            name = ids[j] - first
            if 0 <= name < len(names):
                if renamed[name] < 0:
                    renamed[name] = pool[known]
                    known += 1
                total += np.uint64(renamed[name] - ids[j]) * weights[j]
        if total != hashed and owner(total, splits) == split:
            if apply:
                for j in range(len(ids)):
                    if 0 <= ids[j] - first < len(names):
                        ids[j] = renamed[ids[j] - first]
            return True
    return False


@njit(cache=True, nogil=True)
def settle(asked, parent, depth, rank, values, order):
    """Put the variables of a row in chain order.

    That is: the asked before the others, then by depth, then by the place of the clause, all of
    which the text determines. depth, rank: (n,) int64, to work in.
    """
    n = len(order)
    for c in range(n):
        up = parent[c]
        depth[c] = depth[up] + 1 if up != c else 0
        key = (np.int64(c >= asked) * n + depth[c]) * n + order[c]
        value, clause, at = values[c], order[c], c
        while at and rank[at - 1] > key:  # insertion sort
            rank[at], values[at], order[at] = rank[at - 1], values[at - 1], order[at - 1]
            at -= 1
        rank[at], values[at], order[at] = key, value, clause


@njit(cache=True, nogil=True)
def chosen_parts(seed, split, examples, shares):
    """(rows,) int64: the part of a mixture that each example is of.

    shares: (rows, parts) float64, the cumulated shares of the parts.
    """
    parts = np.empty(len(examples), np.int64)
    for r in range(len(examples)):
        bits = word(stream(seed, split, examples[r], ASIDE), 0)
        share = np.float64(bits >> np.uint64(11)) * 2.0**-53
        parts[r] = np.searchsorted(shares[r], share, side="right")
    return parts


@njit(cache=True, nogil=True)
def chosen_variables(seed, split, examples, count):
    """(rows,) int64: which of ``count`` variables a sentence that asks for one asks for."""
    chosen = np.empty(len(examples), np.int64)
    for r in range(len(examples)):
        chosen[r] = below(word(stream(seed, split, examples[r], ASIDE), 1), count)
    return chosen


@njit(cache=True, nogil=True)
def scrambled(seed, split, numbers):
    """(count,) uint64: keys that sort numbers into an order of the seed's own."""
    keys = np.empty(len(numbers), np.uint64)
    for k in range(len(numbers)):
        keys[k] = word(stream(seed, split, numbers[k], ASIDE), 2)
    return keys
