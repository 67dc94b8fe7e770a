"""The machine that runs bytecode, and records every write and what it depends on."""

import numpy as np
from numba import njit

from cexec import bytecode as op

INT_MAX = 2**31 - 1
FRAMES = 24  # of functions at once, main's among them

# Flags: what a program did that C leaves undefined. The machine goes on with some value.
OVERFLOW, DIVISION, SHIFT, BOUNDS, UNINITIALISED = 1, 2, 4, 8, 16
NEGATIVE_SHIFT = 32  # >> of a negative value: defined by the compiler, not by C
ENDLESS = 64  # more writes, calls or steps than there is room for: the machine stops

# Columns of the log, (writes, 4) int64.
PLACE, SLOT, VALUE, DEPTH = 0, 1, 2, 3  # in the code; of the frame; stored; of the dependencies
UNWRITTEN, UNLOGGED = -1, -2  # in place of the write that a cell holds: none, a pointer's

# Parts of ``scratch``: each object's first slot, the stack, where what a value carries begins, what
# the values carry, and the calls that are open.
SLOTS, STACK, BEGINS, CARRIED, RETURN_TO, FRAME_OF = 0, 64, 128, 192, 448, 480
SCRATCH = 512
MARGIN = 24  # of the log, for what one initialiser or call writes

# What ``run`` returns.
STEPS, FLAGS, BRANCHES, TAKEN = 0, 1, 2, 3


@njit(inline="always")
def wrapped(value):
    """What the computers of today leave of a value that int cannot hold."""
    return np.int64(np.int32(value))


@njit(inline="always")
def stored(value, kind):
    """A value after its conversion to the type of the object that takes it (C11 6.3.1.3)."""
    if kind == op.UCHAR:
        return value & 255
    return value & 0xFFFFFFFF if kind == op.UNSIGNED else value


@njit(inline="always")
def quotient(a, b):
    """C truncates towards zero (6.5.5)."""
    size = np.int64(np.uint32(abs(a)) // np.uint32(abs(b)))  # half the width, twice as fast
    return size if (a < 0) == (b < 0) else -size


@njit(forceinline=True)
def compute(kind, a, b, unsigned):
    """(a op b, flags) of an arithmetic operator, in int or in unsigned (6.5.5 to 6.5.14)."""
    flags = 0
    if kind == op.ADD:
        value = a + b
    elif kind == op.SUBTRACT:
        value = a - b
    elif kind == op.MULTIPLY:
        # Two unsigned numbers' product may pass int64, whose wrapping keeps the low bits right.
        value = a * b
    elif kind == op.DIVIDE or kind == op.REMAINDER:
        value = np.int64(0)
        if b == 0:
            flags = DIVISION
        else:
            value = quotient(a, b)
            if value > INT_MAX and not unsigned:  # INT_MIN / -1; the remainder is undefined too
                flags = OVERFLOW
            if kind == op.REMAINDER:
                value = a - value * b
    elif kind == op.AND:
        value = a & b
    elif kind == op.OR:
        value = a | b
    elif kind == op.XOR:
        value = a ^ b
    else:
        value = np.int64(0)
        if not 0 <= b < 32:
            flags = SHIFT
        elif kind == op.LEFT:
            value = a << b
            if not unsigned and (a < 0 or value > INT_MAX):
                flags = SHIFT
        else:
            value = a >> b
            if a < 0:
                flags = NEGATIVE_SHIFT
    if unsigned:
        value &= 0xFFFFFFFF
    elif not -INT_MAX - 1 <= value <= INT_MAX:
        flags |= OVERFLOW if flags == 0 else 0
        value = wrapped(value)
    return value, flags


@njit(inline="always")
def compare(kind, a, b):
    """1 or 0, as C's comparisons give (6.5.8, 6.5.9)."""
    if kind == op.LESS:
        held = a < b
    elif kind == op.GREATER:
        held = a > b
    elif kind == op.AT_MOST:
        held = a <= b
    elif kind == op.AT_LEAST:
        held = a >= b
    elif kind == op.EQUAL:
        held = a == b
    else:
        held = a != b
    return np.int64(held)


@njit(inline="always")
def record(log, step, place, slot, value, scratch, begin, end, edges, edge):
    """Log a write that depends on the writes carried[begin:end]; returns the end of its edges."""
    depth = np.int64(-1)
    for j in range(begin, end):
        came = scratch[CARRIED + j]
        edges[edge + j - begin] = came
        depth = max(depth, log[came, DEPTH])
    log[step, PLACE], log[step, SLOT], log[step, VALUE], log[step, DEPTH] = (
        place,
        slot,
        value,
        depth + 1,
    )
    return edge + end - begin


@njit(cache=True, nogil=True)
def run(code, objects, kind, every_branch, memory, last, log, edges, edge_begins, counts, scratch):
    """Run one program. code (pairs, 2) and objects (objects, 2) int16; kind: the values' type.

    ``every_branch`` takes the condition of every ``if`` as true. Afterwards memory (cells,) int64
    and last (cells,) int32 hold the values of main's frame, slot by slot, and the writes that they
    come from; ``log`` (writes, 4) int64 has PLACE, SLOT, VALUE and DEPTH of every write; write k
    depends on the writes ``edges[edge_begins[k]:edge_begins[k + 1]]``, int32. ``counts`` (4,)
    int64 holds STEPS, FLAGS, BRANCHES and TAKEN. memory and last have room for FRAMES frames;
    ``scratch`` is (SCRATCH,) int64.
    """
    unsigned = kind == op.UNSIGNED
    scratch[SLOTS + 0] = 0
    for v in range(len(objects)):
        scratch[SLOTS + v + 1] = scratch[SLOTS + v] + objects[v, 1]
    cells = scratch[SLOTS + len(objects)]
    last[:] = UNWRITTEN
    # Value k on the stack carries the writes that it comes from: those of CARRIED from BEGINS[k] up
    # to where the next value's begin. Postfix order makes them lie one after the other.
    top = held = step = edge = flags = branches = taken = frames = base = 0
    pc = laps = 0
    while code[pc, 0] != op.MAIN:  # functions stand before it
        pc += 1
    edge_begins[0] = 0
    while True:
        action, operand = np.int64(code[pc, 0]), np.int64(code[pc, 1])
        cell = np.int64(-1)  # the cell that this action reads or writes
        reads = False
        value = np.int64(0)
        if action == op.LOAD:
            cell, reads = base + scratch[SLOTS + operand], True
        elif action == op.CONSTANT or action == op.GUARD:
            scratch[STACK + top], scratch[BEGINS + top] = operand, held
            top += 1
        elif action == op.ELEMENT:
            top -= 1
            index = scratch[STACK + top]
            if not 0 <= index < objects[operand, 1]:
                flags |= BOUNDS
                index = 0
            cell, reads = base + scratch[SLOTS + operand] + index, True
        elif action == op.TARGET or action == op.STORE_TARGET:
            pointer = base + scratch[SLOTS + operand]
            cell, reads = memory[pointer], action == op.TARGET
            if last[pointer] != UNLOGGED:
                flags |= UNINITIALISED
                cell = base
        elif action == op.MEMBER or action == op.STORE_MEMBER:
            v = operand >> 1
            cell, reads = base + scratch[SLOTS + v], action == op.MEMBER
            if objects[v, 0] == op.STRUCT_POINTER:
                if last[cell] != UNLOGGED:
                    flags |= UNINITIALISED
                    cell = base
                else:
                    cell = memory[cell]
            cell += operand & 1
        elif action == op.ADDRESS:
            scratch[STACK + top], scratch[BEGINS + top] = base + scratch[SLOTS + operand], held
            top += 1
        elif action == op.NEGATE:
            value, flag = compute(op.SUBTRACT, np.int64(0), scratch[STACK + top - 1], unsigned)
            scratch[STACK + top - 1] = value
            flags |= flag
        elif action == op.INVERT:
            value = ~scratch[STACK + top - 1]
            scratch[STACK + top - 1] = value & 0xFFFFFFFF if unsigned else value
        elif action == op.NOT:
            scratch[STACK + top - 1] = scratch[STACK + top - 1] == 0
        elif op.ADD <= action <= op.RIGHT:
            top -= 1
            value, flag = compute(action, scratch[STACK + top - 1], scratch[STACK + top], unsigned)
            scratch[STACK + top - 1] = value
            flags |= flag
        elif op.LESS <= action <= op.UNEQUAL:
            top -= 1
            scratch[STACK + top - 1] = compare(
                action, scratch[STACK + top - 1], scratch[STACK + top]
            )
        elif action == op.ALSO or action == op.OTHERWISE:
            # The operand that has been evaluated stays where it is: the result carries it too.
            if (scratch[STACK + top - 1] == 0) == (action == op.ALSO):
                scratch[STACK + top - 1] = action == op.OTHERWISE
                pc = operand
        elif action == op.TRUTH or action == op.CHOSEN:
            top -= 1
            scratch[STACK + top - 1] = (
                scratch[STACK + top] if action == op.CHOSEN else scratch[STACK + top] != 0
            )
        elif action == op.PICK:
            if scratch[STACK + top - 1] == 0:
                pc = operand
        elif action == op.COLON:
            pc = operand - 1
        elif action == op.CALL:
            callee = operand
            count = 0
            while code[callee + 1 + count, 0] == op.PARAMETER:
                count += 1
            if frames == FRAMES - 1:
                flags |= ENDLESS
                break
            scratch[RETURN_TO + frames], scratch[FRAME_OF + frames] = pc, base
            frames += 1
            first = top - count
            frame = cells * frames
            for c in range(frame, frame + cells):
                last[c] = UNWRITTEN
            for k in range(count):
                slot = scratch[SLOTS + code[callee + 1 + k, 1]]
                value = stored(scratch[STACK + first + k], kind)
                memory[frame + slot], last[frame + slot] = value, step
                to = scratch[BEGINS + first + k + 1] if k + 1 < count else held
                edge = record(
                    log,
                    step,
                    callee + 1 + k,
                    slot,
                    value,
                    scratch,
                    scratch[BEGINS + first + k],
                    to,
                    edges,
                    edge,
                )
                step += 1
                edge_begins[step] = edge
            if count:
                held = scratch[BEGINS + first]
            top = first
            base = frame
            pc = callee + count + 1
        elif action == op.RETURN:
            scratch[STACK + top - 1] = stored(scratch[STACK + top - 1], kind)
            frames -= 1
            pc, base = scratch[RETURN_TO + frames], scratch[FRAME_OF + frames]
        elif action == op.IF:
            top -= 1
            held = scratch[BEGINS + top]
            branches += 1
            if every_branch or scratch[STACK + top] != 0:
                taken += 1
            else:
                pc = operand
        elif action == op.ELSE:
            pc = operand
        elif action == op.FOR:
            cell = base + scratch[SLOTS + operand]
            scratch[STACK + top], scratch[BEGINS + top] = 0, held
            top += 1
        elif action == op.EXIT:
            if memory[base + scratch[SLOTS + code[pc - 2, 1]]] >= code[pc - 1, 1]:
                pc = operand
        elif action == op.NEXT:
            cell = base + scratch[SLOTS + code[operand, 1]]
            scratch[STACK + top], scratch[BEGINS + top] = memory[cell] + 1, held
            scratch[CARRIED + held] = last[cell]
            held += 1
            top += 1
        elif action == op.WHILE:
            top -= 1
            held = scratch[BEGINS + top]
            if scratch[STACK + top] == 0:
                pc = operand
        elif action == op.AGAIN:
            pc = operand - 1
            laps += 1
            if laps > len(log):  # a loop that writes nothing, or little
                flags |= ENDLESS
                break
        elif action == op.BREAK:
            pc = operand
        elif action == op.CONTINUE:
            pc = operand - 1
        elif action == op.DECLARE or action == op.ASSIGN:
            cell = base + scratch[SLOTS + operand]
        elif action == op.STORE:
            index = scratch[STACK + top - 2]
            if not 0 <= index < objects[operand, 1]:
                flags |= BOUNDS
                index = 0
            cell = base + scratch[SLOTS + operand] + index
            # The index's writes, which lie before the value's, belong to the value from here on.
            top -= 1
            scratch[STACK + top - 1] = scratch[STACK + top]
        elif op.ADD_TO <= action <= op.DECREMENT:
            cell = base + scratch[SLOTS + operand]
            if last[cell] == UNWRITTEN:
                flags |= UNINITIALISED
                memory[cell] = 0
            else:
                scratch[CARRIED + held] = last[cell]
                held += 1
            if action >= op.INCREMENT:
                scratch[STACK + top], scratch[BEGINS + top] = 1, held - (last[cell] != UNWRITTEN)
                top += 1
            sign = op.XOR
            if action == op.ADD_TO or action == op.INCREMENT:
                sign = op.ADD
            elif action != op.XOR_TO:
                sign = op.SUBTRACT
            value, flag = compute(sign, memory[cell], scratch[STACK + top - 1], unsigned)
            scratch[STACK + top - 1] = value
            flags |= flag
        elif action == op.FILL:
            count = np.int64(objects[operand, 1])
            first = top - count
            for k in range(count):
                slot = scratch[SLOTS + operand] + k
                value = stored(scratch[STACK + first + k], kind)
                memory[base + slot], last[base + slot] = value, step
                to = scratch[BEGINS + first + k + 1] if k + 1 < count else held
                edge = record(
                    log,
                    step,
                    pc,
                    slot,
                    value,
                    scratch,
                    scratch[BEGINS + first + k],
                    to,
                    edges,
                    edge,
                )
                step += 1
                edge_begins[step] = edge
            held = scratch[BEGINS + first]
            top = first
        elif action == op.AIM or action == op.AIM_AGAIN:
            top -= 1
            memory[base + scratch[SLOTS + operand]] = scratch[STACK + top]
            last[base + scratch[SLOTS + operand]] = UNLOGGED
        elif action == op.HALT:
            break
        if reads:
            if action != op.ELEMENT:
                scratch[BEGINS + top] = held
            value = memory[cell]
            if last[cell] == UNWRITTEN:
                flags |= UNINITIALISED
                value = 0
            elif last[cell] >= 0:
                scratch[CARRIED + held] = last[cell]
                held += 1
            scratch[STACK + top] = value
            top += 1
        elif cell >= 0:
            top -= 1
            value = stored(scratch[STACK + top], kind)
            memory[cell], last[cell] = value, step
            slot = cell - base
            if not 0 <= slot < cells:  # a pointer reached another frame
                slot = cell % cells
            edge = record(
                log,
                step,
                pc,
                slot,
                value,
                scratch,
                scratch[BEGINS + top],
                held,
                edges,
                edge,
            )
            held = scratch[BEGINS + top]
            step += 1
            edge_begins[step] = edge
            if step >= len(log) - MARGIN or edge >= len(edges) - 256:
                flags |= ENDLESS
                break
            if action == op.NEXT and value < code[operand + 1, 1]:
                pc = operand + 2
        pc += 1
    counts[STEPS], counts[FLAGS], counts[BRANCHES], counts[TAKEN] = step, flags, branches, taken
