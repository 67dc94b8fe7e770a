"""Random expressions, free of undefined behaviour by construction.

While an expression is written, the interval of each value on the stack is known. An operand that
an operator could not take is brought into bounds: ``% m``, ``& 15``, or ``& 6 | 1`` for divisors.
"""

import numpy as np
from numba import njit

from cexec import bytecode as op
from lego.counter import below, word

# The knobs of the kernel, one int64 each: see ``CexecConfig`` for what they say.
(
    VARIABLES, STATEMENTS, OPERATORS, DEPTH, KIND, MODULUS, LOWEST, HIGHEST, NESTING, TRIPS,
    IFS, FORS, WHILES, JUMPS, ARRAYS, LENGTH, FUNCTIONS, RECURSION, POINTERS, DISTRACTORS,
    OTHER_VARIABLES, WRITES,
) = range(22)  # fmt: skip
KNOBS = 22
COPIES, RING, ALL = 0, 1, 2  # values of OPERATORS

# ``room`` is the generator's scratch, (ROOM,) int64: one array, which is passed on at little cost.
# It begins with single numbers; then come parts of 64.
AT, DRAWS, OBJECTS, SCOPED, OTHERS, TOP, LAST, SEEN, PATCHED, DISTRACTED, UNREAD, SPENT, INSIDE = (
    range(13)
)
SCOPE, READ, LIMITS, LOW, HIGH, TASKS, DETAILS, PATCHES = range(64, 9 * 64, 64)

# Tasks of ``write_expression``.
EXPRESSION, FIT_LEFT, FIT_RIGHT, EMIT, CONDITION, COMPARED, JUMP, FIXED = range(8)
# Of EXPRESSION's detail, beside its depth: at least one operator; no comparison, no ?: and no ~;
# perhaps a constant; no element or field.
ROOT, PLAIN, RIGHT_SIDE, SIMPLE = 8, 16, 32, 64
# Of CONDITION's: one comparison, one or two, or one that stands after another.
ONE, PERHAPS_TWO, ANOTHER = 0, 1, 2


@njit(forceinline=True)
def draw(key, room, bound):
    """The next number of the program's stream, in 0 .. bound - 1."""
    room[DRAWS] += 1
    return np.int64(below(word(key, room[DRAWS]), bound))


@njit(forceinline=True)
def emit(code, room, action, operand):
    code[room[AT], 0], code[room[AT], 1] = action, operand
    room[AT] += 1


@njit(forceinline=True)
def _push(room, low, high):
    top = room[TOP]
    room[LOW + top], room[HIGH + top] = low, high
    room[TOP] = top + 1


@njit(forceinline=True)
def _bound(knobs):
    """The interval of what a variable holds."""
    if knobs[KIND] == op.UCHAR:
        return np.int64(0), np.int64(255)
    if knobs[KIND] == op.UNSIGNED:
        return np.int64(0), knobs[MODULUS] - 1
    return 1 - knobs[MODULUS], knobs[MODULUS] - 1


@njit(forceinline=True)
def literal(key, knobs, code, room):
    """A constant that the programmer chose; at least 1, so that comparisons say something."""
    value = knobs[LOWEST] + draw(key, room, knobs[HIGHEST] - knobs[LOWEST] + 1)
    emit(code, room, op.CONSTANT, value)
    _push(room, value, value)


@njit(forceinline=True)
def pick(key, room, avoid):
    """A scalar in scope other than ``avoid``, or -1; one that was not read yet goes first, and the
    one that was written last is a likely choice, which makes dependencies deep."""
    count = room[SCOPED] + (room[OTHERS] if room[DISTRACTED] else 0)
    room[DRAWS] += 1
    bits = word(key, room[DRAWS])
    way, k = np.int64(bits & np.uint64(3)), np.int64(below(bits >> np.uint64(32), count))
    if room[UNREAD] > 0 and way < 2:
        for j in range(count):
            if not room[READ + room[SCOPE + j]] and room[SCOPE + j] != avoid:
                return room[SCOPE + j]
    if way & 1 and room[LAST] >= 0 and room[LAST] != avoid:
        return room[LAST]
    if room[SCOPE + k] == avoid:
        if count == 1:
            return np.int64(-1)
        k = (k + 1) % count
    return room[SCOPE + k]


@njit(forceinline=True)
def load(code, room, v, knobs):
    """Push a scalar's value."""
    emit(code, room, op.LOAD, v)
    if not room[READ + v]:
        room[READ + v] = 1
        room[UNREAD] -= 1
    if room[LIMITS + v] >= 0:
        _push(room, np.int64(0), room[LIMITS + v])
    else:
        low, high = _bound(knobs)
        _push(room, low, high)
    room[SEEN] = v


@njit(forceinline=True)
def write_index(key, knobs, code, room):
    """Push an index below LENGTH, a power of two: a counter, a constant, or ``a & 3``."""
    length = knobs[LENGTH]
    v = pick(key, room, -1)
    if v >= 0 and 0 <= room[LIMITS + v] < length:
        load(code, room, v, knobs)
    elif draw(key, room, 3) == 0 or v < 0:
        emit(code, room, op.GUARD, draw(key, room, length))
        _push(room, np.int64(0), length - 1)
    else:
        load(code, room, v, knobs)
        emit(code, room, op.GUARD, length - 1)
        emit(code, room, op.AND, 0)
    room[TOP] -= 1


@njit(forceinline=True)
def write_leaf(key, knobs, code, room, constant, simple):
    """Push a scalar other than the one that was read just before; with ``constant`` perhaps a
    constant; unless ``simple`` perhaps an element, a field, or what a pointer points to.
    """
    if constant and draw(key, room, 3) == 0:
        literal(key, knobs, code, room)
        return
    aggregates = knobs[ARRAYS] + 2 * knobs[POINTERS]
    mixed = aggregates > 0 and not (simple or room[INSIDE] or room[DISTRACTED])
    if mixed and draw(key, room, 5) < 2:
        low, high = _bound(knobs)
        which = draw(key, room, aggregates)
        first = room[LIMITS + 63]  # the first aggregate: arrays, then a struct and two pointers
        if which < knobs[ARRAYS]:
            write_index(key, knobs, code, room)
            emit(code, room, op.ELEMENT, first + which)
            room[READ + first + which] = 1
        else:
            struct = first + knobs[ARRAYS]
            way = draw(key, room, 3)
            if way == 0:
                emit(code, room, op.TARGET, struct + 1)
            else:
                emit(code, room, op.MEMBER, 2 * (struct + (way - 1) * 2) + draw(key, room, 2))
            room[READ + struct + (1 if way == 0 else 2 * (way - 1))] = 1
        _push(room, low, high)
        room[SEEN] = -1
        return
    v = pick(key, room, room[SEEN])
    if v >= 0:
        load(code, room, v, knobs)
    elif constant:
        literal(key, knobs, code, room)
    else:
        load(code, room, room[SEEN], knobs)


@njit(forceinline=True)
def _guard(code, room, action, value, low, high):
    emit(code, room, op.GUARD, value)
    emit(code, room, action, 0)
    top = room[TOP] - 1
    room[LOW + top], room[HIGH + top] = low, high


@njit(forceinline=True)
def fit(knobs, code, room, action, right):
    """Bring the value on top into what the operator can take on that side."""
    top = room[TOP] - 1
    low, high = room[LOW + top], room[HIGH + top]
    if action == op.LEFT or action == op.RIGHT:
        if right:
            if low < 0 or high > 3:
                _guard(code, room, op.AND, 3, 0, 3)
        elif low < 0 or high > 65535:
            _guard(code, room, op.AND, 15, 0, 15)
    elif action == op.DIVIDE or action == op.REMAINDER:
        if right and low < 1:
            _guard(code, room, op.AND, 6, 0, 6)
            _guard(code, room, op.OR, 1, 1, 7)
    else:
        most = 46340 if action == op.MULTIPLY else 1 << 29
        if knobs[KIND] == op.UNSIGNED and right and action == op.SUBTRACT:
            most = knobs[MODULUS]
        if low < -most or high > most:
            m = knobs[MODULUS]
            _guard(code, room, op.REMAINDER, m, min(low, 0) and 1 - m, m - 1)


@njit(forceinline=True)
def write_operator(knobs, code, room, action):
    """Emit a binary operator, and work out the interval of its result."""
    emit(code, room, action, 0)
    top = room[TOP] - 2
    room[TOP] -= 1
    a, b, c, d = room[LOW + top], room[HIGH + top], room[LOW + top + 1], room[HIGH + top + 1]
    low, high = np.int64(0), np.int64(1)
    if action == op.ADD:
        low, high = a + c, b + d
    elif action == op.SUBTRACT:
        low, high = a - d, b - c
    elif action == op.MULTIPLY:
        low = min(min(a * c, a * d), min(b * c, b * d))
        high = max(max(a * c, a * d), max(b * c, b * d))
    elif action == op.DIVIDE:  # divisors are 1 or more
        low, high = min(a, 0), max(b, 0)
    elif action == op.REMAINDER:
        low, high = -min(max(-a, 0), d - 1), min(max(b, 0), d - 1)
    elif action == op.LEFT:
        low, high = a, b << d
    elif action == op.RIGHT:
        low, high = np.int64(0), b
    elif action == op.AND or action == op.OR or action == op.XOR:
        span = np.int64(1)
        while span <= max(max(abs(a), abs(b)), max(abs(c), abs(d))):
            span *= 2
        low, high = (-span if a < 0 or c < 0 else 0), span - 1
        if action == op.AND and (a >= 0 or c >= 0):
            low = np.int64(0)
            high = min(b, d) if a >= 0 and c >= 0 else b if a >= 0 else d
    room[LOW + top], room[HIGH + top] = low, high


@njit(forceinline=True)
def _choose(key, knobs, room, plain):
    """An operator; + - ^ and * keep all values equally likely, the others do so less."""
    r = draw(key, room, 16)
    if knobs[OPERATORS] != ALL:
        if knobs[KIND] == op.UCHAR and r >= 13:
            return op.XOR
        return op.ADD if r < 6 else op.SUBTRACT if r < 12 else op.MULTIPLY
    if r < 4:
        return op.ADD
    if r < 7:
        return op.SUBTRACT
    if r < 9:
        return op.XOR
    if r == 9:
        return op.MULTIPLY
    if r == 10:
        return op.AND if draw(key, room, 2) else op.OR
    if r == 11:
        return op.DIVIDE
    if r == 12:
        return op.REMAINDER
    if r == 13 or plain:
        return op.LEFT if draw(key, room, 2) else op.RIGHT
    if r == 14:
        return op.CHOSEN
    return op.INVERT if draw(key, room, 2) and knobs[KIND] != op.UNSIGNED else op.LESS


@njit(forceinline=True)
def _task(room, count, task, detail):
    room[TASKS + count], room[DETAILS + count] = task, detail
    return count + 1


@njit(cache=True, nogil=True)
def write_expression(key, knobs, code, room, task, detail):
    """Push a random value: EXPRESSION of a depth, or a CONDITION of one or two comparisons."""
    if task != CONDITION or detail != ANOTHER:
        room[SEEN] = -1
    count = _task(room, 0, task, detail)
    while count > 0:
        count -= 1
        task, detail = room[TASKS + count], room[DETAILS + count]
        if task == EXPRESSION:
            depth = detail & 7
            leaf = depth == 0 or (not detail & ROOT and draw(key, room, 2) == 0)
            if leaf:
                write_leaf(key, knobs, code, room, detail & RIGHT_SIDE, detail & SIMPLE)
                continue
            action = _choose(key, knobs, room, detail & PLAIN)
            if action == op.INVERT:
                write_leaf(key, knobs, code, room, False, False)
                emit(code, room, op.INVERT, 0)
                top = room[TOP] - 1
                low = room[LOW + top]
                room[LOW + top], room[HIGH + top] = -1 - room[HIGH + top], -1 - low
            elif action == op.LESS:
                count = _task(room, count, CONDITION, ONE)
            elif action == op.CHOSEN:
                count = _task(room, count, FIXED, op.CHOSEN)
                count = _task(room, count, EXPRESSION, RIGHT_SIDE)
                count = _task(room, count, FIXED, op.COLON)
                count = _task(room, count, EXPRESSION, 0)
                count = _task(room, count, FIXED, op.PICK)
                count = _task(room, count, CONDITION, ONE)
            else:
                right = depth - 1
                if action >= op.LEFT or action == op.DIVIDE or action == op.REMAINDER:
                    right = 0
                count = _task(room, count, EMIT, action)
                count = _task(room, count, FIT_RIGHT, action)
                count = _task(room, count, EXPRESSION, right | PLAIN | RIGHT_SIDE)
                count = _task(room, count, FIT_LEFT, action)
                count = _task(room, count, EXPRESSION, (depth - 1) | PLAIN)
        elif task == CONDITION:
            if detail == PERHAPS_TWO and draw(key, room, 4) == 0:
                kind = op.ALSO if draw(key, room, 2) else op.OTHERWISE
                count = _task(room, count, FIXED, op.TRUTH)
                count = _task(room, count, COMPARED, ANOTHER)
                count = _task(room, count, FIXED, kind)
            count = _task(room, count, COMPARED, detail)
        elif task == COMPARED:
            # Compilers warn of comparisons that say nothing. So the sides differ, and a second
            # comparison is not of what the first one compares.
            depth = 1 if knobs[OPERATORS] == ALL and draw(key, room, 4) == 0 else 0
            simple = SIMPLE if detail == ANOTHER else 0
            count = _task(room, count, EMIT, op.LESS + draw(key, room, 6))
            count = _task(room, count, EXPRESSION, RIGHT_SIDE | SIMPLE)
            count = _task(room, count, EXPRESSION, depth | (depth and ROOT) | PLAIN | simple)
        elif task == FIT_LEFT:
            fit(knobs, code, room, detail, False)
            if detail == op.SUBTRACT and knobs[KIND] == op.UNSIGNED:
                # a - b as a + (m - b), which never passes below 0.
                emit(code, room, op.GUARD, knobs[MODULUS])
                _push(room, knobs[MODULUS], knobs[MODULUS])
        elif task == FIT_RIGHT:
            fit(knobs, code, room, detail, True)
        elif task == EMIT:
            write_operator(knobs, code, room, detail)
            if detail == op.SUBTRACT and knobs[KIND] == op.UNSIGNED:
                write_operator(knobs, code, room, op.ADD)
        else:
            _write_lazy(code, room, detail)


@njit(forceinline=True)
def _write_lazy(code, room, action):
    """Emit a part of && || or ?:, and fill in where the parts before it jump to."""
    place, top = room[AT], room[TOP]
    emit(code, room, action, 0)
    if action == op.TRUTH or action == op.COLON or action == op.CHOSEN:
        room[PATCHED] -= 1
        code[room[PATCHES + room[PATCHED]], 1] = place
    if action == op.TRUTH:
        room[TOP] -= 1
        room[LOW + top - 2], room[HIGH + top - 2] = 0, 1
    elif action == op.CHOSEN:
        room[TOP] -= 2
        room[LOW + top - 3] = min(room[LOW + top - 2], room[LOW + top - 1])
        room[HIGH + top - 3] = max(room[HIGH + top - 2], room[HIGH + top - 1])
    else:
        room[PATCHES + room[PATCHED]] = place
        room[PATCHED] += 1


@njit(forceinline=True)
def reduce(knobs, code, room):
    """Bring the value on top into the interval of variables, and take it off."""
    top = room[TOP] - 1
    low, high = _bound(knobs)
    if knobs[KIND] != op.UCHAR and (room[LOW + top] < low or room[HIGH + top] > high):
        emit(code, room, op.GUARD, knobs[MODULUS])
        emit(code, room, op.REMAINDER, 0)
    room[TOP] -= 1
