"""The machine that runs bytecode and records every write."""

import numpy as np
from numba import njit

from cexec import bytecode as op

INT_MAX = 2**31 - 1
OVERFLOW, DIVISION = 1, 2  # flags; 0 says that nothing undefined happened


@njit(cache=True, nogil=True)
def run(code, memory, stack, writes):
    """Run one program: code (pairs, 2) int16, to the HALT that ends it or to the end.

    Records write k as writes[k] = (variable, value), int32, (steps, 2). ``memory``, (variables,)
    int64, holds the final values; ``stack``, int64, is scratch. Returns (writes, flags): OVERFLOW
    where a value left the range of int, DIVISION for a remainder by 0. It goes on in either case.
    """
    top = step = flags = 0
    for k in range(len(code)):
        kind, operand = code[k, 0], code[k, 1]
        if kind == op.HALT:
            break
        elif kind == op.CONSTANT:
            stack[top] = operand
            top += 1
        elif kind == op.LOAD:
            stack[top] = memory[operand]
            top += 1
        elif kind == op.NEGATE:
            stack[top - 1] = -stack[top - 1]
        elif kind == op.ADD:
            top -= 1
            stack[top - 1] += stack[top]
        elif kind == op.SUBTRACT:
            top -= 1
            stack[top - 1] -= stack[top]
        elif kind == op.MULTIPLY:
            top -= 1
            stack[top - 1] *= stack[top]
        elif kind == op.REMAINDER:
            if operand == 0:
                flags |= DIVISION
            else:  # C truncates towards zero: the remainder has the sign of the dividend
                size = abs(stack[top - 1]) % abs(operand)
                stack[top - 1] = size if stack[top - 1] >= 0 else -size
        else:
            top -= 1
            memory[operand] = stack[top]
            writes[step, 0] = operand
            writes[step, 1] = stack[top]
            step += 1
        if top > 0 and not -INT_MAX - 1 <= stack[top - 1] <= INT_MAX:
            flags |= OVERFLOW
            stack[top - 1] = np.int64(np.int32(stack[top - 1]))  # wrap, so as to go on
    return step, flags
