"""The trace formats of ``trace`` as token ids, for the small models: a kernel for each."""

from numba import njit

from cexec import bytecode as op
from cexec import tokens
from cexec.machine import PLACE, SLOT, VALUE

# The order of trace.FORMATS.
WRITES, STATES, SCRATCHPAD, FRAMES, COMMENTS, ANSWER = range(6)
ENCODER_FORM = 6  # no trace at all: the encoders' form


@njit(forceinline=True)
def _room(ids, at):
    """Whether a name, a value and the words around them fit in."""
    return at + 12 < len(ids)


@njit(forceinline=True)
def write_name(slot, owners, objects, ids, at):
    """A slot's words: ``a``, ``m [ 2 ]`` or ``s . first``; owners: (slots, 2) object, index."""
    v, index = owners[slot, 0], owners[slot, 1]
    ids[at] = tokens.NAME + v
    if objects[v, 0] == op.ARRAY:
        ids[at + 1], ids[at + 3] = tokens.BRACKET, tokens.UNBRACKET
        ids[at + 2] = tokens.ZERO + index
        return at + 4
    if objects[v, 0] == op.STRUCT:
        ids[at + 1], ids[at + 2] = tokens.DOT, tokens.FIRST + index
        return at + 3
    return at + 1


@njit(forceinline=True)
def write_value(value, highest, digits, ids, at):
    """One word, or with ``digits`` a sign and the digits."""
    if not digits:
        ids[at] = tokens.number(value, highest)
        return at + 1
    if value < 0:
        ids[at] = tokens.MINUS
        at, value = at + 1, -value
    unit = 1
    while unit * 10 <= value:
        unit *= 10
    while unit > 0:
        ids[at] = tokens.ZERO + value // unit % 10
        at, unit = at + 1, unit // 10
    return at


@njit(cache=True, nogil=True)
def _write_state(order, count, first, now, owners, objects, highest, digits, ids, at):
    """The slots of ``order``, each with its value in ``now``, the slot ``first`` in front."""
    at = write_name(first, owners, objects, ids, at)
    at = write_value(now[first], highest, digits, ids, at)
    for k in range(count):
        if order[k] != first:
            if not _room(ids, at):
                return len(ids)
            at = write_name(order[k], owners, objects, ids, at)
            at = write_value(now[order[k]], highest, digits, ids, at)
    return at


@njit(cache=True, nogil=True)
def _write_comments(
    log, steps, lines, begins, ends, last, owners, objects, highest, lowest, digits, ids, at
):
    """The program's lines up to ``last``, each with what it wrote behind it."""
    for line in range(1, last + 1):
        size = ends[line] - begins[line]
        if size == 0:
            continue
        if at + size + 12 >= len(ids):
            return len(ids)
        ids[at] = tokens.LINE + line
        for k in range(size):
            ids[at + 1 + k] = ids[begins[line] + k]
        at += 1 + size
        some = False
        for step in range(steps):
            if lines[log[step, PLACE]] == line:
                if not _room(ids, at):
                    return len(ids)
                if not some:
                    ids[at] = tokens.COMMENT
                    at += 1
                some = True
                ids[at] = step_word(step, highest, lowest)
                at = write_name(log[step, SLOT], owners, objects, ids, at + 1)
                at = write_value(log[step, VALUE], highest, digits, ids, at)
    return at


@njit(forceinline=True)
def step_word(step, highest, lowest):
    """#1 for step 0: the words after all numbers."""
    return tokens.ZERO + highest + 1 - lowest + step


@njit(cache=True, nogil=True)
def write_trace(
    form,
    digits,
    log,
    steps,
    answer,
    lines,
    begins,
    ends,
    last,
    owners,
    objects,
    highest,
    lowest,
    ids,
    at,
    room,
):
    """Fill ids from ``at`` on with ``trace``, the log in a format, ``answer`` and [SEP].

    ``lines``: (pairs,) the line of each pair; line k's tokens are ids[begins[k]:ends[k]], up to
    line ``last``. ``room``: (3, slots) int64, scratch. Returns the end, len(ids) when it is too
    long.
    """
    ids[at] = tokens.TRACE
    at += 1
    if form == COMMENTS:
        at = _write_comments(
            log, steps, lines, begins, ends, last, owners, objects, highest, lowest, digits, ids, at
        )
    elif form != ANSWER:
        order, now, known = room[0], room[1], room[2]
        if form >= STATES:
            known[:] = 0
        count = 0
        for step in range(steps):
            slot, value = log[step, SLOT], log[step, VALUE]
            line = lines[log[step, PLACE]]
            if at + 16 + ends[line] - begins[line] >= len(ids):
                return len(ids)
            now[slot] = value
            if form >= STATES and not known[slot]:
                known[slot] = 1
                order[count] = slot
                count += 1
            if form == FRAMES:
                ids[at], ids[at + 1], ids[at + 2] = tokens.FRAME, tokens.LINE + line, tokens.BRACE
                at += 3
                for k in range(count):
                    if not _room(ids, at):
                        return len(ids)
                    at = write_name(order[k], owners, objects, ids, at)
                    ids[at] = tokens.COLON
                    if order[k] == slot:
                        at = write_value(value, highest, digits, ids, at + 1)
                    else:
                        ids[at + 1] = tokens.SAME
                        at += 2
                    ids[at] = tokens.COMMA if k < count - 1 else tokens.UNBRACE
                    at += 1
                continue
            ids[at] = tokens.LINE + line
            at += 1
            if form == WRITES:
                at = write_name(slot, owners, objects, ids, at)
                at = write_value(value, highest, digits, ids, at)
                continue
            if form == SCRATCHPAD:
                for k in range(begins[line], ends[line]):
                    ids[at] = ids[k]
                    at += 1
                ids[at] = tokens.STATE
                at += 1
            at = _write_state(order, count, slot, now, owners, objects, highest, digits, ids, at)
            if at >= len(ids) - 16:
                return len(ids)
        if form == FRAMES:
            ids[at] = tokens.RETURNED
            at += 1
    if at + 8 >= len(ids):
        return len(ids)
    ids[at] = tokens.ANSWER
    at = write_value(answer, highest, digits, ids, at + 1)
    ids[at] = tokens.SEP
    return at + 1
