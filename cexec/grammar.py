"""Random programs: declarations, statements in blocks, and functions.

Programs have no undefined behaviour (see ``expression``), end (every loop has a counter that the
rest leaves alone), read every variable and call every function, as compilers' warnings demand, and
hold at most one call in a statement, so that the order of evaluation cannot matter. The paper does
not publish its generator of C programs: this is our reconstruction.
"""

import numpy as np
from numba import njit

from cexec import bytecode as op
from cexec.expression import (
    ALL,
    ANOTHER,
    ARRAYS,
    AT,
    CONDITION,
    COPIES,
    DEPTH,
    DISTRACTED,
    DISTRACTORS,
    EXPRESSION,
    FORS,
    FUNCTIONS,
    IFS,
    INSIDE,
    JUMPS,
    KIND,
    LAST,
    LENGTH,
    LIMITS,
    MODULUS,
    NESTING,
    OBJECTS,
    ONE,
    OPERATORS,
    OTHER_VARIABLES,
    OTHERS,
    PERHAPS_TWO,
    POINTERS,
    READ,
    RECURSION,
    ROOT,
    SCOPE,
    SCOPED,
    SEEN,
    SPENT,
    STATEMENTS,
    TOP,
    TRIPS,
    UNREAD,
    VARIABLES,
    WHILES,
    WRITES,
    draw,
    emit,
    literal,
    load,
    pick,
    reduce,
    write_expression,
    write_index,
    write_leaf,
    write_operator,
)

# Parts of ``room`` for open blocks: their kind, statements left, place, scope and repetitions.
BLOCK, LEFT, PLACE, SCOPED_BEFORE, WEIGHT, CALLED = range(9 * 64, 15 * 64, 64)
ROOM = 15 * 64
ASSIGNMENT, JUMP, THEN, ELSE, FOR, WHILE = range(6)  # statements; from THEN on, blocks
MOST_OBJECTS = 26  # as many as there are names
SLACK = 320  # pairs of the longest statement, and of ``_write_rest``


@njit(cache=True, nogil=True)
def _declare(objects, room, kind, cells, limit):
    """A new object, still unread; ``limit``: the highest value of a counter, else -1."""
    v = room[OBJECTS]
    objects[v, 0], objects[v, 1] = kind, cells
    room[LIMITS + v], room[READ + v] = limit, 0
    room[OBJECTS] = v + 1
    return v


@njit(cache=True, nogil=True)
def _scalar(objects, room, limit):
    """A new scalar in scope; a counter, which the loop reads, counts as read."""
    v = _declare(objects, room, op.SCALAR, 1, limit)
    # Distractors' variables come after the others in scope, which ``pick`` relies on.
    for k in range(room[SCOPED] + room[OTHERS], room[SCOPED], -1):
        room[SCOPE + k] = room[SCOPE + k - 1]
    room[SCOPE + room[SCOPED]] = v
    room[SCOPED] += 1
    if limit >= 0:
        room[READ + v] = 1
    else:
        room[UNREAD] += 1
    return v


@njit(cache=True, nogil=True)
def _leave(room, before):
    """Close a scope: what was declared since is gone."""
    gone = room[SCOPED] - before
    for k in range(before, before + room[OTHERS]):
        room[SCOPE + k] = room[SCOPE + k + gone]
    room[SCOPED] = before
    room[LAST] = -1


@njit(cache=True, nogil=True)
def _value(key, knobs, code, room, depth):
    """Push an expression, reduced to what a variable holds."""
    write_expression(key, knobs, code, room, EXPRESSION, depth | ROOT if depth else 0)
    reduce(knobs, code, room)


@njit(cache=True, nogil=True)
def _write_function(key, knobs, code, objects, room, number, recursive):
    """``f(a, b)`` with a local variable, or ``f(n, a)`` that calls itself n times."""
    begin = room[AT]
    emit(code, room, op.FUNCTION, number)
    first = _scalar(objects, room, knobs[TRIPS] if recursive else -1)
    second = _scalar(objects, room, -1)
    emit(code, room, op.PARAMETER, first)
    emit(code, room, op.PARAMETER, second)
    emit(code, room, op.OPEN, 0)
    if recursive:
        emit(code, room, op.LOAD, first)
        emit(code, room, op.GUARD, 0)
        emit(code, room, op.EQUAL, 0)
        condition = room[AT]
        emit(code, room, op.IF, 0)
        load(code, room, second, knobs)
        room[TOP] -= 1
        emit(code, room, op.RETURN, 0)
        code[condition, 1] = room[AT]
        emit(code, room, op.END, 0)
        emit(code, room, op.LOAD, first)
        emit(code, room, op.GUARD, 1)
        emit(code, room, op.SUBTRACT, 0)
        emit(code, room, op.ARGUMENT, 0)
        _value(key, knobs, code, room, 1)
        emit(code, room, op.ARGUMENT, 0)
        emit(code, room, op.CALL, begin)
    else:
        _value(key, knobs, code, room, max(knobs[DEPTH], 1))
        local = _scalar(objects, room, -1)
        emit(code, room, op.DECLARE, local)
        load(code, room, local, knobs)
        for v in (first, second):
            if not room[READ + v]:
                load(code, room, v, knobs)
                write_operator(knobs, code, room, op.ADD)
        write_leaf(key, knobs, code, room, True, True)
        write_operator(knobs, code, room, op.ADD)
        reduce(knobs, code, room)
    emit(code, room, op.RETURN, 0)
    emit(code, room, op.CLOSE, 0)
    _leave(room, 0)
    room[CALLED + number] = 0
    return begin


@njit(cache=True, nogil=True)
def _write_call(key, knobs, code, room, number):
    """Push what a function returns: ``f(a, 3)``, perhaps with ``+ b`` on end."""
    begin = room[PLACE + 32 + number]
    room[CALLED + number] = 1
    if room[LIMITS + code[begin + 1, 1]] >= 0:
        emit(code, room, op.GUARD, 1 + draw(key, room, knobs[TRIPS]))
    else:
        write_leaf(key, knobs, code, room, True, False)
        room[TOP] -= 1
    emit(code, room, op.ARGUMENT, 0)
    write_leaf(key, knobs, code, room, True, False)
    room[TOP] -= 1
    emit(code, room, op.ARGUMENT, 0)
    emit(code, room, op.CALL, begin)


@njit(cache=True, nogil=True)
def _write_assignment(key, knobs, code, objects, room, must_read):
    """One statement that writes: a constant, a copy, a negation or an expression to some object."""
    kind = draw(key, room, 8)
    first = room[LIMITS + 63]
    action, target = op.ASSIGN, np.int64(-1)
    aggregates = knobs[ARRAYS] + 2 * knobs[POINTERS]
    if aggregates > 0 and not room[DISTRACTED] and draw(key, room, 5) < 2:
        which = draw(key, room, aggregates)
        if which < knobs[ARRAYS]:
            action, target = op.STORE, first + which
            write_index(key, knobs, code, room)
            emit(code, room, op.ARGUMENT, 0)
        else:
            struct = first + knobs[ARRAYS]
            way = draw(key, room, 4)
            if way == 0:
                pointed = room[SCOPE + draw(key, room, room[SCOPED])]
                if room[LIMITS + pointed] < 0:
                    emit(code, room, op.ADDRESS, pointed)
                    emit(code, room, op.AIM_AGAIN, struct + 1)
            if way <= 1:
                action, target = op.STORE_TARGET, struct + 1
                room[READ + struct + 1] = 1  # the pointer is
            else:
                v = struct if way == 2 else struct + 2
                action, target = op.STORE_MEMBER, 2 * v + draw(key, room, 2)
                room[READ + v] = 1
    if target < 0:
        # Of the top-level scalars, distractors' after the others; counters are left alone.
        count = room[OTHERS] if room[DISTRACTED] else room[SCOPED]
        k = (room[SCOPED] if room[DISTRACTED] else 0) + draw(key, room, count)
        while room[LIMITS + room[SCOPE + k]] >= 0:
            k = k - 1 if k > 0 else room[SCOPED] - 1
        target = room[SCOPE + k]
    room[SEEN] = -1
    compound = action == op.ASSIGN and knobs[KIND] == op.UCHAR and knobs[OPERATORS] == ALL
    if compound and kind == 0 and not must_read:
        way = draw(key, room, 5)
        action = op.ADD_TO + way
        if way < 3:
            room[SEEN] = target
            write_leaf(key, knobs, code, room, True, False)
            room[TOP] -= 1
    elif knobs[OPERATORS] == COPIES or kind == 1 or kind == 2:
        negate = kind & 1 and knobs[KIND] != op.UNSIGNED
        if action == op.ASSIGN and not negate:
            room[SEEN] = target  # x = x; says nothing, and clang warns
        write_leaf(key, knobs, code, room, False, False)
        # A lone variable cannot be copied to itself.
        same = action == op.ASSIGN and room[SEEN] == target
        if negate or same:
            emit(code, room, op.NEGATE if knobs[KIND] != op.UNSIGNED else op.NOT, 0)
        room[TOP] -= 1
    elif kind == 3 and not must_read:
        literal(key, knobs, code, room)
        room[TOP] -= 1
    elif kind <= 5 and knobs[FUNCTIONS] > 0:
        _write_call(key, knobs, code, room, draw(key, room, knobs[FUNCTIONS]))
        room[SPENT] += 2 * knobs[TRIPS]
    else:
        _value(key, knobs, code, room, knobs[DEPTH])
    emit(code, room, action, target)
    if action == op.ASSIGN and not room[DISTRACTED]:
        room[LAST] = target


@njit(cache=True, nogil=True)
def _open_block(key, knobs, code, objects, room, level, kind, left):
    """Write the head of a block; returns the level inside it."""
    inside = level + 1
    room[SCOPED_BEFORE + inside] = room[SCOPED]
    room[WEIGHT + inside] = room[WEIGHT + level]
    room[BLOCK + inside] = kind
    room[LEFT + inside] = 1 + draw(key, room, min(left, 3))
    if kind == THEN:
        write_expression(key, knobs, code, room, CONDITION, PERHAPS_TWO)
        room[TOP] -= 1
        room[PLACE + inside] = room[AT]
        emit(code, room, op.IF, 0)
    elif kind == FOR:
        trips = 2 + draw(key, room, knobs[TRIPS] - 1)
        counter = _scalar(objects, room, trips - 1)
        room[PLACE + inside] = room[AT]
        emit(code, room, op.FOR, counter)
        emit(code, room, op.LIMIT, trips)
        emit(code, room, op.EXIT, 0)
        room[SPENT] += room[WEIGHT + level] * (trips + 1)
        room[WEIGHT + inside] *= trips
    else:
        # k = a & 3; while (k > 0 && ...) { k--; ...
        mask = np.int64(1)
        while 2 * mask + 1 <= knobs[TRIPS]:
            mask = 2 * mask + 1
        v = pick(key, room, -1)
        load(code, room, v, knobs)
        emit(code, room, op.GUARD, mask)
        emit(code, room, op.AND, 0)
        room[TOP] -= 1
        counter = _scalar(objects, room, mask)
        emit(code, room, op.DECLARE, counter)
        begin = room[AT]
        emit(code, room, op.LOAD, counter)
        emit(code, room, op.GUARD, 0)
        emit(code, room, op.GREATER, 0)
        if draw(key, room, 3) == 0:
            also = room[AT]
            emit(code, room, op.ALSO, 0)
            room[SEEN] = counter
            write_expression(key, knobs, code, room, CONDITION, ANOTHER)
            room[TOP] -= 1
            code[also, 1] = room[AT]
            emit(code, room, op.TRUTH, 0)
        room[PLACE + inside] = room[AT]
        emit(code, room, op.WHILE, begin)  # for now: closing the block gives it its place
        emit(code, room, op.DECREMENT, counter)
        room[SPENT] += room[WEIGHT + level] * (mask + 1)
        room[WEIGHT + inside] *= mask
    return inside


@njit(cache=True, nogil=True)
def _close_block(key, code, room, level):
    """Write the end of a block, or go on with its else; returns the level outside."""
    kind, place = room[BLOCK + level], room[PLACE + level]
    _leave(room, room[SCOPED_BEFORE + level])
    end = room[AT]
    if kind == THEN and draw(key, room, 2):
        code[place, 1] = end
        emit(code, room, op.ELSE, 0)
        room[BLOCK + level], room[PLACE + level] = ELSE, end
        room[LEFT + level] = 1
        return level
    if kind in (THEN, ELSE):
        code[place, 1] = end
        emit(code, room, op.END, 0)
        return level - 1
    if kind == FOR:
        code[place + 2, 1] = end
        emit(code, room, op.NEXT, place)
    else:
        emit(code, room, op.AGAIN, code[place, 1])
        code[place, 1] = end
    for pc in range(place, end):  # the jumps of this loop, not those of loops inside it
        if (code[pc, 0] == op.BREAK or code[pc, 0] == op.CONTINUE) and code[pc, 1] == 0:
            code[pc, 1] = end
    return level - 1


@njit(cache=True, nogil=True)
def _write_jump(key, knobs, code, room):
    """``if (a < b) { break; }``, or continue."""
    write_expression(key, knobs, code, room, CONDITION, ONE)
    room[TOP] -= 1
    place = room[AT]
    emit(code, room, op.IF, place + 2)
    emit(code, room, op.BREAK if draw(key, room, 2) else op.CONTINUE, 0)
    emit(code, room, op.END, 0)


@njit(cache=True, nogil=True)
def _choose(key, knobs, room, level, in_loop):
    """The kind of the next statement."""
    deep = level >= knobs[NESTING] or room[OBJECTS] >= MOST_OBJECTS - 2
    costly = room[SPENT] + room[WEIGHT + level] * (3 * knobs[TRIPS] + 1) > knobs[WRITES]
    r = draw(key, room, 16)
    if r < 4 and knobs[FORS] and not deep and not costly:
        return FOR
    if r < 8 and knobs[IFS] and not deep:
        return THEN
    if r < 10 and knobs[WHILES] and not deep and not costly:
        return WHILE
    if r == 10 and knobs[JUMPS] and in_loop:
        return JUMP
    return ASSIGNMENT


@njit(cache=True, nogil=True)
def _write_declarations(key, knobs, code, objects, room):
    variables = knobs[VARIABLES]
    others = knobs[OTHER_VARIABLES]
    for _ in range(variables):
        literal(key, knobs, code, room)
        room[TOP] -= 1
        emit(code, room, op.DECLARE, _scalar(objects, room, -1))
    room[SCOPED] -= others
    room[OTHERS] = others
    room[LIMITS + 63] = room[OBJECTS]
    for k in range(knobs[ARRAYS] + knobs[POINTERS]):
        array = k < knobs[ARRAYS]
        cells = knobs[LENGTH] if array else 2
        for _ in range(cells):
            literal(key, knobs, code, room)
            room[TOP] -= 1
            emit(code, room, op.ARGUMENT, 0)
        v = _declare(objects, room, op.ARRAY if array else op.STRUCT, cells, -1)
        emit(code, room, op.FILL, v)
    if knobs[POINTERS]:
        struct = room[OBJECTS] - 1
        emit(code, room, op.ADDRESS, room[SCOPE + draw(key, room, room[SCOPED])])
        emit(code, room, op.AIM, _declare(objects, room, op.POINTER, 1, -1))
        emit(code, room, op.ADDRESS, struct)
        emit(code, room, op.AIM, _declare(objects, room, op.STRUCT_POINTER, 1, -1))


@njit(cache=True, nogil=True)
def _write_rest(key, knobs, code, objects, room):
    """Read what no statement has read, and call what none has called."""
    for number in range(knobs[FUNCTIONS]):
        if not room[CALLED + number]:
            room[SEEN] = -1
            _write_call(key, knobs, code, room, number)
            target = room[SCOPE + draw(key, room, room[SCOPED])]
            emit(code, room, op.ASSIGN, target)
            room[LAST] = target
    room[DISTRACTED] = 1
    for k in range(room[SCOPED] + room[OTHERS]):
        v = room[SCOPE + k]
        if not room[READ + v]:
            # Into a variable of its own kind, so that a distractor stays one.
            begin, count = (0, room[SCOPED]) if k < room[SCOPED] else (room[SCOPED], room[OTHERS])
            target = room[SCOPE + begin + draw(key, room, count)]
            load(code, room, v, knobs)
            room[TOP] -= 1
            if target == v or knobs[OPERATORS] == COPIES:
                negate = knobs[KIND] != op.UNSIGNED
                emit(code, room, op.NEGATE if negate else op.NOT, 0)
            else:
                emit(code, room, op.LOAD, target)
                emit(code, room, op.ADD, 0)
                if knobs[KIND] != op.UCHAR:
                    emit(code, room, op.GUARD, knobs[MODULUS])
                    emit(code, room, op.REMAINDER, 0)
            emit(code, room, op.ASSIGN, target)
    first = room[LIMITS + 63]
    for k in range(knobs[ARRAYS] + 3 * knobs[POINTERS]):
        v = first + k
        if not room[READ + v]:
            if k < knobs[ARRAYS]:
                emit(code, room, op.GUARD, draw(key, room, knobs[LENGTH]))
                emit(code, room, op.ELEMENT, v)
            elif objects[v, 0] == op.POINTER:
                emit(code, room, op.TARGET, v)
            elif objects[v, 0] == op.STRUCT_POINTER:
                emit(code, room, op.MEMBER, 2 * v)
            else:
                continue  # a pointer points to it, which is a use
            emit(code, room, op.ASSIGN, room[SCOPE + draw(key, room, room[SCOPED])])


@njit(cache=True, nogil=True)
def write_program(key, knobs, code, objects, room):
    """Fill code (pairs, 2) and objects (MOST_OBJECTS, 2), int16, with the program of a stream.

    ``knobs``: (KNOBS,) int64; ``room``: ROOM int64, scratch. Returns (pairs, objects, the first of
    main's objects). Raises nothing: a program that does not fit in ``code`` has -1 pairs.
    """
    for k in range(64):
        room[k] = 0
    room[LAST] = room[SEEN] = -1
    room[INSIDE] = 1
    for number in range(knobs[FUNCTIONS]):
        recursive = knobs[RECURSION] and number == knobs[FUNCTIONS] - 1
        room[PLACE + 32 + number] = _write_function(
            key, knobs, code, objects, room, number, recursive
        )
    room[INSIDE] = 0
    main = room[OBJECTS]
    emit(code, room, op.MAIN, 0)
    _write_declarations(key, knobs, code, objects, room)
    level, loops, left = 0, 0, knobs[STATEMENTS]
    room[WEIGHT + 0] = 1
    while left > 0 or level > 0:
        if room[AT] > len(code) - SLACK:
            return -1, room[OBJECTS], main
        if level > 0 and room[LEFT + level] == 0:
            loops -= room[BLOCK + level] >= FOR
            level = _close_block(key, code, room, level)
            continue
        room[LEFT + level] -= 1
        left -= 1
        if level == 0:
            room[DISTRACTED] = draw(key, room, 1000) < knobs[DISTRACTORS]
        kind = _choose(key, knobs, room, level, loops > 0)
        if kind >= THEN and left > 0:
            level = _open_block(key, knobs, code, objects, room, level, kind, left)
            loops += kind >= FOR
        elif kind == JUMP:
            _write_jump(key, knobs, code, room)
        else:
            _write_assignment(key, knobs, code, objects, room, left <= room[UNREAD])
            room[SPENT] += room[WEIGHT + level]
    _write_rest(key, knobs, code, objects, room)
    emit(code, room, op.HALT, 0)
    return room[AT], room[OBJECTS], main
