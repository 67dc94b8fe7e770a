"""The compact form of a program: (opcode, operand) pairs, ended by HALT, padded with HALT.

Expressions are postfix on a stack and end in the write that takes their value, so that a program is
printed as C, and run, in one walk from left to right. Operands are int16: a constant, or the index
of a variable in the order of declaration.

Later levels add, in the same form: IF end / ELSE end / LOOP end / NEXT begin (structured, each with
the place of its partner, so that a printer sees the braces and a machine the jumps); INDEX v (the
element of array v at the top of the stack) and STORE_INDEX v; CALL f and RETURN, with functions on
end in the same matrix; AND, OR, comparisons and shifts beside ADD.
"""

HALT = 0
CONSTANT = 1  # push the operand
LOAD = 2  # push a variable
NEGATE = 3
ADD, SUBTRACT, MULTIPLY = 4, 5, 6  # pop two, push one
REMAINDER = 7  # pop one, push what C's % by the operand leaves
DECLARE = 8  # pop one into a new variable: a write
ASSIGN = 9  # pop one into a variable: a write

LONGEST = 5  # pairs of the longest statement: load, load, add, remainder, assign
