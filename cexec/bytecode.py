"""The compact form of a program: (opcode, operand) pairs, ended by HALT and padded with HALT.

Expressions are postfix on a stack and end in the write or the jump that takes their value; blocks
are structured, each end with the place of its partner. So a program is run, and printed as C, in
one walk from left to right. Operands are int16.

Beside its code a program has a table of objects, (objects, 2) int16: kind and cells of each, in
the order of declaration, in which the text names them first, too. An object's cells lie one after
the other in the frame of its function; the k-th cell of a frame is the frame's slot k.
"""

HALT = 0

# Values: push one. A literal that was drawn, or one that keeps the program defined, as in ``% 10``.
CONSTANT, GUARD = 1, 2
LOAD = 3  # the operand's value
ELEMENT = 4  # pop an index; the operand's element
TARGET = 5  # what the operand points to
MEMBER = 6  # operand 2 * object + field: a struct's field, or a field of what a pointer points to
ADDRESS = 7  # where the operand begins
CALL = 8  # pop the arguments, run the function whose FUNCTION stands there, push what it returns

NEGATE, INVERT, NOT = 9, 10, 11  # pop one, push one
ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER = 12, 13, 14, 15, 16  # pop two, push one
AND, OR, XOR, LEFT, RIGHT = 17, 18, 19, 20, 21
LESS, GREATER, AT_MOST, AT_LEAST, EQUAL, UNEQUAL = 22, 23, 24, 25, 26, 27

# Operands evaluated only where C evaluates them. ``a && b`` is a, ALSO, b, TRUTH: ALSO keeps a on
# the stack; where a decides, it becomes the result, and the operand says where TRUTH stands.
ALSO, OTHERWISE, TRUTH = 28, 29, 30
# ``a ? b : c`` is a, PICK, b, COLON, c, CHOSEN: PICK has COLON's place, COLON has CHOSEN's.
PICK, COLON, CHOSEN = 31, 32, 33

# Follows each argument of a CALL, each value of a FILL and the index of a STORE: for the printer.
ARGUMENT = 34

# Writes: pop one value; STORE an index before it. An initialiser, FILL, pops one for each cell.
DECLARE, ASSIGN, STORE, STORE_TARGET, STORE_MEMBER, FILL = 35, 36, 37, 38, 39, 40
ADD_TO, SUBTRACT_FROM, XOR_TO = 41, 42, 43  # ``a += value``
INCREMENT, DECREMENT = 44, 45  # ``a++``: pop nothing
AIM, AIM_AGAIN = (
    46,
    47,
)  # pop an address into a pointer, declared here or before: no entry of the log

# Blocks. IF pops a condition and has the place of its ELSE, or else of its END; ELSE has END's.
IF, ELSE, END = 48, 49, 50
# ``for (int v = 0; v < limit; v++)`` is FOR v, LIMIT limit, EXIT its NEXT, ..., NEXT its FOR.
FOR, LIMIT, EXIT, NEXT = 51, 52, 53, 54
# ``while (condition)`` is the condition, WHILE its AGAIN, ..., AGAIN where the condition begins.
WHILE, AGAIN = 55, 56
BREAK, CONTINUE = 57, 58  # the place of the loop's NEXT or AGAIN

# Functions stand before MAIN: FUNCTION number, PARAMETER v ..., OPEN, statements, RETURN, CLOSE.
FUNCTION, PARAMETER, OPEN, RETURN, CLOSE, MAIN = 59, 60, 61, 62, 63, 64

# Kinds of objects.
SCALAR, ARRAY, STRUCT, POINTER, STRUCT_POINTER = 0, 1, 2, 3, 4

# Types of all values of a program.
INT, UNSIGNED, UCHAR = 0, 1, 2
