"""The kernel that makes examples: a program that its split owns, printed, and its trace."""

import numpy as np
from numba import njit

from cexec import bytecode as op
from cexec import layout, machine, tokens
from cexec.expression import (
    HIGHEST,
    KIND,
    KNOBS,
    LOWEST,
    MODULUS,
    OTHER_VARIABLES,
    TRIPS,
    VARIABLES,
)
from cexec.grammar import ROOM, write_program
from cexec.machine import DEPTH, FLAGS, PLACE, STEPS, VALUE
from lego.counter import below, stream, word
from lego.task import MAX_ATTEMPTS, owner

FIRST_NAME_WORD = 10_000  # words of an example's stream from here on choose names
FIRST_FLIP_WORD = 20_000  # and from here on, what is flipped
MOST_LITERALS = 8  # other values of a constant that a flip may take, or operators would be rare

# Knobs of an example beside those of its program.
(
    FORM, DIGITS, TOP, FLOOR, ASKED_DEPTH, SHUFFLED, FIRST_LINE, SPLITS, PAIRED,
) = range(KNOBS, KNOBS + 9)  # fmt: skip
ALL_KNOBS = KNOBS + 9
ALONE, FLIPPED, RENAMED = 0, 1, 2  # values of PAIRED
CELLS = 128  # slots of a frame at most
PAIRS = 1024  # of a program's code at most
LOG = 512  # writes at most


@njit(cache=True, nogil=True)
def program_sum(ids, weights):
    """The weighted sum of a program's tokens, which decides what split owns it.

    Variables count by the order in which they appear, so that programs that differ in names alone
    have the same sum. ``ids`` end the program with PRINT or TRACE.
    """
    renamed = np.zeros(tokens.NAMES, np.int64)
    known = 0
    total = np.uint64(0)
    for j in range(1, len(ids)):
        token = np.int64(ids[j])
        if token == tokens.PRINT or token == tokens.TRACE:
            break
        if tokens.NAME <= token < tokens.NAME + tokens.NAMES:
            if renamed[token - tokens.NAME] == 0:
                known += 1
                renamed[token - tokens.NAME] = known
            token = tokens.NAME + renamed[token - tokens.NAME] - 1
        total += np.uint64(token) * weights[j]
    return total


@njit(forceinline=True)
def _owner(ids, end, weights, splits):
    """The owner of a program whose names stand in the order of declaration already."""
    total = np.uint64(0)
    for j in range(1, end):
        total += np.uint64(ids[j]) * weights[j]
    return owner(total, splits)


@njit(forceinline=True)
def lay_slots(objects, count, owners):
    """Fill owners (slots, 2) with each slot's object and the index in it; returns the slots."""
    slot = 0
    for v in range(count):
        for k in range(objects[v, 1]):
            owners[slot, 0], owners[slot, 1] = v, k
            slot += 1
    return slot


@njit(forceinline=True)
def choose_asked(knobs, objects, main, owners, slots, last, log):
    """The slot at the end of the deepest chain of dependencies, the first of equals.

    Of main's variables but the distractors' and those of inner blocks; with ASKED_DEPTH, the first
    slot with just that depth, or -1.
    """
    best, deepest = -1, -1
    aggregates = main + knobs[VARIABLES]
    for slot in range(slots):
        v = owners[slot, 0]
        kind = objects[v, 0]
        if v < main or (main + knobs[VARIABLES] - knobs[OTHER_VARIABLES] <= v < aggregates):
            continue
        if v >= aggregates and kind != op.ARRAY and kind != op.STRUCT:
            continue
        if last[slot] >= 0:
            depth = log[last[slot], DEPTH]
            if knobs[ASKED_DEPTH] > 0:
                if depth == knobs[ASKED_DEPTH]:
                    return slot
            elif depth > deepest:
                best, deepest = slot, depth
    return best


@njit(cache=True, nogil=True)
def _alternatives(knobs, code, pc):
    """How many other literals, or other operators, could stand in place of a pair."""
    action = code[pc, 0]
    guarded = pc > 0 and code[pc - 1, 0] == op.GUARD
    if action == op.CONSTANT:
        return min(knobs[HIGHEST] - knobs[LOWEST], MOST_LITERALS)
    if guarded:
        return np.int64(0)
    if (action == op.ADD or action == op.SUBTRACT) and knobs[KIND] != op.UNSIGNED:
        return np.int64(1)
    return np.int64(5) if op.LESS <= action <= op.UNEQUAL else np.int64(0)


@njit(cache=True, nogil=True)
def _flip(knobs, code, pc, which):
    """Put an alternative in place of a pair."""
    action = np.int64(code[pc, 0])
    if action == op.CONSTANT:
        span = knobs[HIGHEST] - knobs[LOWEST]
        further = 1 + which * span // _alternatives(knobs, code, pc)
        code[pc, 1] = knobs[LOWEST] + (code[pc, 1] - knobs[LOWEST] + further) % (span + 1)
    elif action <= op.SUBTRACT:
        code[pc, 0] = op.ADD + op.SUBTRACT - action
    else:
        other = op.LESS + which
        code[pc, 0] = other + (other >= action)


@njit(cache=True, nogil=True)
def _find_flipped(
    key, split, knobs, weights, code, other, count, table, ids,
    lines, places, begins, ends, memory, last, log, edges, edge_begins, counts, scratch,
):  # fmt: skip
    """Make ``other`` a program with one change that the split owns too; returns whether it did.

    All changes are tried, from a random one on: of those that the split owns, the first is taken
    whose program is defined and keeps to the values that there are words for.
    """
    total = 0
    for pc in range(count):
        total += _alternatives(knobs, code, pc)
    skipped = np.int64(below(word(key, FIRST_FLIP_WORD), max(total, 1)))
    highest = max(knobs[MODULUS] - 1, knobs[TRIPS])
    if knobs[KIND] == op.UCHAR:
        highest = knobs[TOP]
    other[count:] = 0
    for lap in range(2):
        seen = 0
        for pc in range(count):
            for which in range(_alternatives(knobs, code, pc)):
                seen += 1
                if (seen > skipped) != (lap == 0):
                    continue
                other[:count] = code[:count]
                _flip(knobs, other, pc, which)
                end, _ = tokens.write_program(
                    other, table, knobs[FIRST_LINE], ids, lines, places, begins, ends, scratch
                )
                if end >= len(ids) or _owner(ids, end, weights, knobs[SPLITS]) != split:
                    continue
                machine.run(
                    other, table, knobs[KIND], False, memory, last, log, edges, edge_begins,
                    counts, scratch,
                )  # fmt: skip
                held = counts[FLAGS] == 0
                for step in range(counts[STEPS]):
                    held &= max(knobs[FLOOR], -highest) <= log[step, VALUE] <= highest
                if held:
                    return True
    return False


@njit(forceinline=True)
def _lay_rest(
    knobs, log, counts, memory, slot, lines, begins, ends, line, owners, table, ids, end, room
):
    """What follows a program: ``print``, the trace and [SEP]; returns where the last two begin."""
    ids[end] = tokens.PRINT
    end = layout.write_name(slot, owners, table, ids, end + 1)
    ids[end] = tokens.SEMICOLON
    end += 1
    if end + 2 >= len(ids):
        return end, len(ids)
    if knobs[FORM] == layout.ENCODER_FORM:
        ids[end] = tokens.SEP
        return end, end + 1
    stop = layout.write_trace(
        knobs[FORM], knobs[DIGITS], log, counts[STEPS], memory[slot], lines, begins, ends,
        line - 1, owners, table, knobs[TOP], knobs[FLOOR], ids, end, room,
    )  # fmt: skip
    return end, stop


@njit(cache=True, nogil=True)
def fill(seed, split, start, knobs, weights, input_ids, labels, code, objects, names, asked):
    """Write one example a row; returns (-1 or the first row that failed, the machine's flags).

    ``input_ids`` and ``labels`` are (rows, length), ``code`` (rows, pairs, 2), zeros, ``objects``
    (rows, MOST_OBJECTS, 2), ``names`` (rows, NAMES), token ids, and ``asked`` (rows,) the printed
    slot, all int16.
    """
    room = np.zeros(ROOM, np.int64)
    lines, places = np.zeros(PAIRS, np.int16), np.zeros(PAIRS, np.int16)
    begins, ends = np.zeros(tokens.LINES + 1, np.int16), np.zeros(tokens.LINES + 1, np.int16)
    owners = np.zeros((CELLS, 2), np.int64)
    memory = np.zeros(CELLS * machine.FRAMES, np.int64)
    last = np.zeros(CELLS * machine.FRAMES, np.int32)
    log = np.zeros((LOG, 4), np.int64)
    edges, edge_begins = np.zeros(8 * LOG, np.int32), np.zeros(LOG + 1, np.int32)
    counts, scratch = np.zeros(4, np.int64), np.zeros(machine.SCRATCH, np.int64)
    whole, other = np.zeros((PAIRS, 2), np.int16), np.zeros((PAIRS, 2), np.int16)
    state_room = np.zeros((3, CELLS), np.int64)
    splits, kind, paired = knobs[SPLITS], knobs[KIND], knobs[PAIRED]
    length = input_ids.shape[1]
    for row in range(len(input_ids)):
        ids = input_ids[row]
        index = (start + row) >> 1 if paired != ALONE else start + row
        second = paired != ALONE and (start + row) & 1
        found = False
        for attempt in range(MAX_ATTEMPTS):
            key = stream(seed, split, index, attempt)
            count, known, main = write_program(key, knobs, whole, objects[row], room)
            if count < 0 or count > code.shape[1]:
                continue
            table = objects[row, :known]
            end, line = tokens.write_program(
                whole, table, knobs[FIRST_LINE], ids, lines, places, begins, ends, scratch
            )
            if end >= length or _owner(ids, end, weights, splits) != split:
                continue
            slots = lay_slots(table, known, owners)
            room_for = memory[: slots * machine.FRAMES], last[: slots * machine.FRAMES]
            machine.run(
                whole, table, kind, False, *room_for, log, edges, edge_begins, counts, scratch
            )
            if counts[FLAGS] & machine.ENDLESS:
                continue
            if counts[FLAGS]:
                return row, counts[FLAGS]
            slot = choose_asked(knobs, table, main, owners, slots, last, log)
            if slot < 0:
                continue
            if paired == FLIPPED:
                # The other of the pair, too, must be this split's, defined, and short enough.
                if not _find_flipped(
                    key, split, knobs, weights, whole, other, count, table, ids, lines, places,
                    begins, ends, *room_for, log, edges, edge_begins, counts, scratch,
                ):  # fmt: skip
                    continue
                mine, its = (other, whole) if second else (whole, other)
                for program in (its, mine):
                    end, line = tokens.write_program(
                        program, table, knobs[FIRST_LINE], ids, lines, places, begins, ends, scratch
                    )
                    machine.run(
                        program, table, kind, False, *room_for, log, edges, edge_begins, counts,
                        scratch,
                    )  # fmt: skip
                    end, stop = _lay_rest(
                        knobs, log, counts, memory, slot, lines, begins, ends, line, owners, table,
                        ids, end, state_room,
                    )  # fmt: skip
                    if stop >= length:
                        break
                if second:
                    whole[:count] = other[:count]
            else:
                end, stop = _lay_rest(
                    knobs, log, counts, memory, slot, lines, begins, ends, line, owners, table, ids,
                    end, state_room,
                )  # fmt: skip
            if stop >= length:
                continue
            found = True
            break
        if not found:
            return row, 0
        for k in range(count):
            code[row, k, 0], code[row, k, 1] = whole[k, 0], whole[k, 1]
        objects[row, known:] = 0
        asked[row] = slot
        ids[0] = tokens.CLS
        ids[stop:] = 0
        pool = names[row]
        for j in range(tokens.NAMES):
            pool[j] = tokens.NAME + j
        renamed = second and paired == RENAMED
        if knobs[SHUFFLED] or renamed:
            if renamed:
                key = stream(seed, split, index, MAX_ATTEMPTS + attempt)
            for v in range(known):  # the first of a Fisher-Yates shuffle
                bits = word(key, FIRST_NAME_WORD + v)
                u = v + np.int64(below(bits, tokens.NAMES - v))
                pool[v], pool[u] = pool[u], pool[v]
        for j in range(1, stop):
            name = np.uint64(ids[j] - tokens.NAME)  # wraps where it is none
            if name < np.uint64(tokens.NAMES):
                ids[j] = pool[name]
        if knobs[FORM] == layout.ENCODER_FORM:
            for step in range(counts[STEPS]):
                labels[row, places[log[step, PLACE]]] = log[step, VALUE] - knobs[FLOOR]
        else:
            for j in range(end + 1, stop):
                labels[row, j] = ids[j]
    return -1, 0
