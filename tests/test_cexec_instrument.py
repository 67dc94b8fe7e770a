"""Users' own C: what is traced is what runs, and what cannot be traced for certain is refused."""

import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from random import Random

import datasets
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cexec import foreign, native, sandbox
from cexec.cli import main as cexec
from cexec.instrument import RUNTIME, Untraceable, instrument
from lego.task import SettingError

PROGRAMS = Path(__file__).parent / "c"
INSTALLED = [name for name in ("gcc", "clang", "tcc") if shutil.which(name)]


def traced(source, name="auto"):
    return foreign.trace_source(source, "program.c", native.find_compiler(name))


def log(source, name="auto"):
    """The writes as ``LINE NAME VALUE``, with ``;`` between them."""
    writes = traced(source, name).writes
    return "; ".join(f"{write.line} {write.name} {write.value}" for write in writes)


def body(text, before=""):
    """A program whose line 3 is the first of ``text``; log entries of main's line do not occur."""
    head = "#include <stdio.h> \n#include <stdlib.h>\n"  # the blank is no mistake
    return f"{head}{before}int main(void) {{ {text}\nreturn 0; }}\n"


# Worked by hand, from the C standard.
BY_HAND = {
    "sieve.c": "8 primes 0; 9 i 2; 12 primes 1; 13 j 4; 14 composite[4] 1; 13 j 6;"
    " 14 composite[6] 1; 13 j 8; 14 composite[8] 1; 13 j 10; 14 composite[10] 1; 13 j 12;"
    " 14 composite[12] 1; 13 j 14; 9 i 3; 12 primes 2; 13 j 9; 14 composite[9] 1; 13 j 12;"
    " 14 composite[12] 1; 13 j 15; 9 i 4; 9 i 5; 12 primes 3; 13 j 25; 9 i 6; 9 i 7;"
    " 12 primes 4; 13 j 49; 9 i 8; 9 i 9; 9 i 10; 9 i 11; 12 primes 5; 13 j 121; 9 i 12; 9 i 13",
    "list.c": "19 last.value 0; 20 sum 0; 21 i 1; 9 value 1; 13 made->value 1; 21 i 2; 9 value 4;"
    " 13 made->value 4; 21 i 3; 9 value 9; 13 made->value 9; 21 i 4; 24 at->value 10; 25 sum 10;"
    " 24 at->value 5; 25 sum 15; 24 at->value 2; 25 sum 17; 24 last.value 1; 25 sum 18",
    "reverse.c": "14 word[0] 108; 14 word[1] 101; 14 word[2] 103; 14 word[3] 111; 14 word[4] 0;"
    " 7 kept 108; 8 word[0] 111; 9 word[3] 108; 7 kept 101; 8 word[1] 103; 9 word[2] 101",
    "gcd.c": "4 a 18446744073709551615; 4 b 10; 4 a 10; 4 b 5; 4 a 5; 4 b 0; 11 g 5",
}


@pytest.mark.parametrize("file", BY_HAND)
def test_a_program_by_hand(file):
    assert log((PROGRAMS / file).read_text()) == BY_HAND[file]


@pytest.mark.parametrize("file", sorted(path.name for path in PROGRAMS.glob("*.c")))
def test_every_compiler_gives_the_same_trace_and_output(file):
    source = (PROGRAMS / file).read_text()
    runs = [traced(source, name) for name in INSTALLED]
    assert len({(run.stdout, tuple(run.writes)) for run in runs}) == 1
    plain = sandbox.run({file: source}, file, native.find_compiler())
    assert runs[0].stdout == plain.stdout.decode()


def quicksort(v, low, high, writes):
    """What tests/c/quicksort.c writes, in Python."""
    writes += [(22, "low", low), (22, "high", high)]
    if low >= high:
        return
    writes += [(9, "low", low), (9, "high", high), (10, "pivot", v[high]), (11, "i", low - 1)]
    pivot, i = v[high], low - 1

    def swap(a, b):
        kept = v[a]
        v[a], v[b] = v[b], kept
        writes.extend([(4, "kept", kept), (5, f"m[{a}]", v[a]), (6, f"m[{b}]", v[b])])

    for j in range(low, high):
        writes.append((12, "j", j))
        if v[j] < pivot:
            i += 1
            writes.append((14, "i", i))
            swap(i, j)
    writes.append((12, "j", high))
    swap(i + 1, high)
    writes.append((24, "p", i + 1))
    quicksort(v, low, i, writes)
    quicksort(v, i + 2, high, writes)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=5, max_size=5))
def test_a_quicksort(values):
    source = (PROGRAMS / "quicksort.c").read_text()
    source = source.replace("{4, 1, 5, 2, 3}", "{" + ", ".join(map(str, values)) + "}")
    expected = [(31, f"m[{k}]", value) for k, value in enumerate(values)]
    v = list(values)
    quicksort(v, 0, 4, expected)
    expected += [(33, "i", i) for i in range(6)]
    run = traced(source)
    assert [(write.line, write.name, write.value) for write in run.writes] == expected
    assert run.stdout == "".join(f"{value} " for value in sorted(values)) + "\n"


TRAPS = {
    "a condition that writes": (
        "int k = 2, n = 0; while (k--) n += k;",
        "3 k 2; 3 n 0; 3 k 1; 3 n 1; 3 k 0; 3 n 1; 3 k -1",
    ),
    "an assignment as a condition": (
        "int x; if ((x = 5) > 4) x = 1; else x = 2;",
        "3 x 5; 3 x 1",
    ),
    "an index that writes": (
        "int a[2] = {0}, i = 0; a[i++] = 7; a[i--] += 3; ++a[i];",
        "3 a[0] 0; 3 a[1] 0; 3 i 0; 3 i 1; 3 a[0] 7; 3 i 0; 3 a[1] 3; 3 a[0] 8",
    ),
    "pointers that walk": (
        "int a[2] = {5, 6}, b[2], *p = a, *q = b; while (p < a + 2) *q++ = *p++; (*--q)--;",
        "3 a[0] 5; 3 a[1] 6; 3 b[0] 5; 3 b[1] 6; 3 b[1] 5",
    ),
    "a merge": (
        "int a[2] = {5, 6}, b[2] = {1, 2}, i = 0, j = 0; a[i++] = b[j++];",
        "3 a[0] 5; 3 a[1] 6; 3 b[0] 1; 3 b[1] 2; 3 i 0; 3 j 0; 3 i 1; 3 j 1; 3 a[0] 1",
    ),
    "writes of one expression, in order": (
        "int a, b, c; a = b = c = 3; (a = 1), b = a, c++; a = (b++, b);",
        "3 c 3; 3 b 3; 3 a 3; 3 a 1; 3 b 1; 3 c 4; 3 b 2; 3 a 2",
    ),
    "branches of an expression": (
        "int a = 1, b = 0, c; a ? (b = 2) : (a = 9); a && b++; b || (a = 7); c = a ? b-- : 0;",
        "3 a 1; 3 b 0; 3 b 2; 3 b 3; 3 b 2; 3 c 3",
    ),
    "the heads of loops": (
        "int n = 0; for (int i = 0, j = 2; i < j; i++, j--) n += i; for (n = 9; n--;) break;",
        "3 n 0; 3 i 0; 3 j 2; 3 n 0; 3 i 1; 3 j 1; 3 n 9; 3 n 8",
    ),
    "a declarator that uses another": (
        "int i = 1, *p = &i, j = (*p = 4), m[2] = {i, j};",
        "3 i 1; 3 i 4; 3 j 4; 3 m[0] 4; 3 m[1] 4",
    ),
    "a switch that falls through": (
        "int a = 1; switch (a++) { case 1: a = 5; case 2: a += 1; break; default: a = 0; }",
        "3 a 1; 3 a 2; 3 a 5; 3 a 6",
    ),
    "goto": (
        "int i = 0; again: if (i < 2) { i++; goto again; }",
        "3 i 0; 3 i 1; 3 i 2",
    ),
    "a name in an inner block": (
        "int a = 1, *p = &a; { int a = 2; *p = 3; a = 4; } *p = 5;",
        "3 a 1; 3 a 2; 3 a 3; 3 a 4; 3 a 5",
    ),
    "an inner object that pointers reach": (
        "int m[1] = {0}, *p = m; for (int i = 0; i < 2; i++) { int n[1] = {i}; p = n; *p = 7; }"
        " p = m; *p = 2;",
        "3 m[0] 0; 3 i 0; 3 n[0] 0; 3 n[0] 7; 3 i 1; 3 n[0] 1; 3 n[0] 7; 3 i 2; 3 m[0] 2",
    ),
    "conversion at the store": (
        "unsigned char c = 300; signed char s = 200; unsigned u = -1; _Bool t = 5; c += 250;"
        " c--; long l = u; s++;",
        "3 c 44; 3 s -56; 3 u 4294967295; 3 t 1; 3 c 38; 3 c 37; 3 l 4294967295; 3 s -55",
    ),
    "what is not recorded": (
        "double d = 1; float f[2]; f[1] = 3; d++; int *p = NULL; p = p; static int k = 4; k = 5;",
        "3 k 5",
    ),
    "memory without a name": (
        "struct v { int *item; int n; } *v = malloc(sizeof *v); v->item = calloc(3, 4); v->n = 0;"
        " for (int i = 0; i < 2; i++) v->item[v->n++] = i; *(v->item + 1) = 5; (*v).n--;"
        " int **h = &v->item; (*h)[2] = 8;",
        "3 v->n 0; 3 i 0; 3 v->n 1; 3 v->item[0] 0; 3 i 1; 3 v->n 2; 3 v->item[1] 1; 3 i 2;"
        " 3 *(v->item+1) 5; 3 (*v).n 1; 3 (*h)[2] 8",
    ),
    "structs as a whole": (
        "struct p { int x; char y[2]; double d; struct { short z; } in; };"
        " struct p a = {1, \"b\", 2, {3}}, b, *q = &b; b = a; b.in.z = 9; *q = a; q->y[1]++;",
        "3 a.x 1; 3 a.y[0] 98; 3 a.y[1] 0; 3 a.in.z 3; 3 b.x 1; 3 b.y[0] 98; 3 b.y[1] 0;"
        " 3 b.in.z 3; 3 b.in.z 9; 3 b.x 1; 3 b.y[0] 98; 3 b.y[1] 0; 3 b.in.z 3; 3 b.y[1] 1",
    ),
    "two dimensions": (
        "int g[2][3] = {{1}}, (*row)[3] = g, i = 1; g[i][2] = 4; row[1][i - 1] = 5; row++;"
        " (*row)[i] = 6; **g = 7;",
        "3 g[0][0] 1; 3 g[0][1] 0; 3 g[0][2] 0; 3 g[1][0] 0; 3 g[1][1] 0; 3 g[1][2] 0; 3 i 1;"
        " 3 g[1][2] 4; 3 g[1][0] 5; 3 g[1][1] 6; 3 g[0][0] 7",
    ),
    "an array that grows with n": (
        "int n = 2; int v[n]; for (int i = 0; i < n; i++) v[i] = i; int *p = v; p[1] = 3;",
        "3 n 2; 3 i 0; 3 v[0] 0; 3 i 1; 3 v[1] 1; 3 i 2; 3 v[1] 3",
    ),
    "signs before a step": (
        "int i = 1, j, m[1] = {4}, *p = m; j = -i++; j = ~ -i-- + 1; j = !*p++; j = -m[0]++;"
        " -i++; j = -(*--p)++;",
        "3 i 1; 3 m[0] 4; 3 i 2; 3 j -1; 3 i 1; 3 j 2; 3 j 0; 3 m[0] 5; 3 j -4; 3 i 2;"
        " 3 m[0] 6; 3 j -5",
    ),
    "sizeof evaluates nothing": (
        "int a[4], n = sizeof a / sizeof *a; n += sizeof(int);", "3 n 4; 3 n 8"
    ),
    "an index that the write changes": (
        "int m[2] = {1, 0}; m[m[0]] = 5; m[m[0] - 1] = 9;",
        "3 m[0] 1; 3 m[1] 0; 3 m[1] 5; 3 m[0] 9",
    ),
    "volatile, enums, comments": (
        "enum e { A, B } e = B; volatile int /* = 3 */ v = e; v /* ++ */ = // --\n 4; e--;",
        "3 e 1; 3 v 1; 3 v 4; 4 e 0",
    ),
}  # fmt: skip


def logs(sources, name):
    """The log of each of many programs, compiled as one file, with a suffix to their names."""
    units = [instrument(source, suffix=f"_{k}") for k, source in enumerate(sources)]
    calls = " ".join(f"cexec_mark({k}); main_{k}();" for k in range(len(units)))
    text = RUNTIME + "".join(units) + f"int main(void) {{ {calls} cexec_flush(); return 0; }}\n"
    flags = ("-DCEXEC_BATCH", *foreign.FLAGS)
    limits = sandbox.Limits(memory_mb=1024, compile_seconds=60)
    ran = sandbox.run(
        {"all.c": text}, "all.c", native.find_compiler(name), flags=flags, limits=limits
    )
    _, *found = re.split(r"\x01 \d+\n", ran.log.decode())
    return ["; ".join(records.splitlines()) for records in found]


@pytest.mark.parametrize("name", INSTALLED)
def test_traps(name):
    found = logs([body(text) for text, _ in TRAPS.values()], name)
    assert dict(zip(TRAPS, found, strict=True)) == {
        case: expected for case, (_, expected) in TRAPS.items()
    }


FUNCTIONS = """\
#include <stdio.h>
static int calls, level[3];
static int (*chosen)(int, int *);

static int twice(int n, int *p)
{
    static int seen;
    seen++;
    return *p = 2 * n;
}

static void fill(int n, int v[n], int (*rows)[2]) {
    v[0] = n; rows[1][1] = calls++;
    if (n > 1) fill(n - 1, v + 1, rows);
}

typedef struct { int x; int y; } point;
static point moved(point p, int by) { p.x += by; return p; }

int main(void) {
    int r, grid[2][2];
    point b = {1, 2};
    point a = moved((moved)(
        b, 3), 4);
    chosen = twice;
    r = chosen(3, &level[1]) + (*chosen)(1, &level[2]);
    fill(2, level, grid);
    printf("%d %d\\n", r, a.x);
}
"""


def test_functions_parameters_globals_and_pointers_to_functions():
    assert log(FUNCTIONS) == (
        "22 b.x 1; 22 b.y 2; 18 p.x 1; 18 p.y 2; 18 by 3; 18 p.x 4;"
        " 18 p.x 4; 18 p.y 2; 18 by 4; 18 p.x 8; 23 a.x 8; 23 a.y 2;"
        " 6 n 3; 8 seen 1; 9 level[1] 6; 6 n 1; 8 seen 2; 9 level[2] 2; 26 r 8;"
        " 12 n 2; 13 level[0] 2; 13 calls 1; 13 grid[1][1] 0;"
        " 12 n 1; 13 level[1] 1; 13 calls 2; 13 grid[1][1] 1"
    )
    with pytest.raises(Untraceable, match=r"program\.c:26: .*without an order"):
        instrument(FUNCTIONS.replace("(1, &", "(r = 1, &"))
    with pytest.raises(Untraceable, match=r"program\.c:24: a compound literal"):
        instrument(FUNCTIONS.replace("b, 3", "(point){1, 2}, 3"))


REFUSED = {
    "int a; union { int b; } u;": (3, "a union"),
    "struct { int a : 3; } s; s.a = 1;": (3, "a bit-field"),
    "int a; \n\nscanf(\"%d\", &a);": (5, "what scanf writes cannot be seen"),
    "char s[9];\nsprintf(s, \"x\");": (4, "what sprintf writes cannot be seen"),
    "int a[2] = {2, 1};\nqsort(a, 2, 4, 0);": (4, "what qsort writes cannot be seen"),
    "int a;\nprintf(\"%d%n\", 1, &a);": (4, "printf with %n"),
    "char *f = \"%n\";\nprintf(f);": (4, "a format that is not written out"),
    "int a = 1;\na = a++ + a++;": (4, "without an order between them"),
    "int a = 1, b = 1;\na = b++ + a;\na = b++ + a--;": (5, "without an order between them"),
    "int i = 0, m[2];\nm[i] = i++;": (4, "i is written and used"),
    "int i = 0;\ni = i++;": (4, "written twice"),
    "int a = 1;\nprintf(\"%d %d\", a++, a);": (4, "a is written and used"),
    "int a;\nint n = sizeof(a = 3);": (4, "a write that is not evaluated"),
    "int a = ({ int b = 3; b; });": (3, "a statement as an expression"),
    "__asm__(\"nop\");": (3, "inline assembly"),
    "int a = 1, b = 2;\na || b = 3;": (4, "not understood as C"),
    "int a;\na = ;": (4, "not understood as C"),
    "errno = 3;": (3, "errno is not declared here"),
    "int *p;\np = (int[]){1, 2}; *p = 3;": (4, "a compound literal"),
    "int a = 3;\n#ifdef X\na = 4;\n#endif": (4, "conditional compilation"),
    "int m[2], *p = m; l: *p = 1;": (3, "a label in a function"),
    "int k = 1, *p;\nswitch (k) { int n[2]; case 1: p = n; *p = 2; }": (4, "block of a switch"),
    "long a = 1; char *p = (char *)&a;\n*p = 2;": (4, "a pointer of another type"),
    "int a = 0;\nfor (;;) a ^= 1;": (4, "more writes than are recorded"),
    "struct { int a; } cexec_s = {3};": (3, "a name with cexec_ in it"),
}  # fmt: skip
REFUSED_FILES = {
    "#define SET(x) x = 3\nint main(void) {\n    int a;\n    SET(a);\n}\n": (4, "the macro SET"),
    "#define END ; }\nint main(void) { return 0 END\n": (2, "not understood as C"),
    "#define TOP stack[0]\nint stack[3];\nint main(void) {\n    TOP = 3;\n}\n": (4, "macro TOP"),
    "#define ID(x) (x)\nint main(void) {\n    int a = 0;\n    ID(a++);\n}\n": (4, "argument"),
    "#define AT(x) (&x)\nint main(void) {\n    int a;\n    *AT(a) = 1;\n}\n": (4, "the macro AT"),
    "int next(void);\nint main(void) {\n    return next();\n}\n": (3, "what next writes"),
    '#include "mine.h"\nint main(void) { return 0; }\n': (1, "only system headers"),
    "int f(a) int a; { return a; }\nint main(void) { return f(1); }\n": (1, "the old way"),
    "int f(void) { return 1; }\n": (1, "no function main"),
    "#include <setjmp.h>\njmp_buf b;\nint main(void) { return setjmp(b); }\n": (3, "setjmp"),
    "int g; int f(void) { return g = 2; }\nint m[3];\nint main(void) {\n    m[g] = f();\n}\n": (
        4, "g is read beside a call",
    ),
    "void *c = memcpy;\nvoid (*f)(int);\nint main(void) {\n    f(1);\n}\n": (4, "memcpy"),
    "#define g(x) f(x)\nint f(int x) { return x; }\nint main(void) { return g(1); }\n": (
        3, "the macro g calls f",
    ),
    "int f(int x) { return x; }\nint a, b;\nint main(void) {\n    return a++ + f(b);\n}\n": (
        4, "without an order",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", [*REFUSED, *REFUSED_FILES])
def test_what_is_refused_is_told_with_its_line(text):
    line, reason = (REFUSED | REFUSED_FILES)[text]
    source = text if text in REFUSED_FILES else body(text)
    with pytest.raises(Untraceable) as told:
        traced(source)
    assert str(told.value).startswith(f"program.c:{line}: ")
    assert reason in str(told.value)


@pytest.mark.parametrize("text", ["int m[3];\nm[3] = 1;", "int k = 0, m[3];\nm[--k] = 1;"])
def test_an_index_out_of_range_has_no_trace(text):
    with pytest.raises(SettingError):  # by the compiler's trap where it has one, else by ours
        traced(body(text))
    if "tcc" in INSTALLED:
        with pytest.raises(Untraceable, match=r"program\.c:4: an index out of range"):
            traced(body(text), "tcc")


@pytest.mark.parametrize("file", sorted(path.name for path in PROGRAMS.glob("*.c")))
def test_every_line_stays_where_it_is(file):
    source = (PROGRAMS / file).read_text()
    made = instrument(source).splitlines()
    for line, was in zip(made, source.splitlines(), strict=False):
        rest = iter(line)
        kept = was.replace("++", "").replace("--", "") if "({" in line else was
        assert all(sign in rest for sign in kept), line  # what was there, in its order


# Straight programs, made with what they write.


def program(draw):
    """A straight program in C, and its writes as Python works them out."""
    state = {"a": 1, "b": 2, "m[0]": 3, "m[1]": 4, "s.x": 5}
    lines = ["int a = 1, b = 2, m[2] = {3, 4}; struct pair s = {5}; int *p = &a;"]
    writes = [(2, name, value) for name, value in state.items()]
    pointed = "a"
    for line in range(3, draw.randint(5, 14)):
        kind = draw.choice(["assign", "add", "step", "chain", "point", "index"])
        target = draw.choice([*state, "(*p)"])
        other = draw.choice(list(state))
        name = pointed if target == "(*p)" else target
        number = draw.randint(0, 9)
        if kind == "point":
            pointed = other
            lines.append(f"p = &{other};")
            continue
        if kind == "index":
            lines.append(f"m[(a & 1) ^ 1] = {number};")
            name, value = f"m[{state['a'] & 1 ^ 1}]", number
        elif kind == "assign":
            # C's remainder has the sign of the dividend.
            value = abs(state[other] * number + 1) % 10
            value = value if state[other] * number + 1 > 0 else -value
            lines.append(f"{target} = ({other} * {number} + 1) % 10;")
        elif kind == "add":
            lines.append(f"if ({other} > {number}) {target} += {number}; else {target} -= 1;")
            value = state[name] + (number if state[other] > number else -1)
        elif kind == "step":
            lines.append(f"{target}++;")
            value = state[name] + 1
        else:
            target, name = ("a", "a") if target == "b" else (target, name)
            lines.append(f"{target} = b = {number};")
            state["b"] = value = number
            writes.append((line, "b", number))
        state[name] = value
        writes.append((line, name, value))
    lines.append('printf("%d\\n", a); return 0; }')
    text = "#include <stdio.h>\nstruct pair { int x; }; int main(void) { " + "\n".join(lines)
    return text + "\n", writes


@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 2**32), st.sampled_from(INSTALLED))
def test_many_programs_in_one_file_write_what_they_should(seed, name):
    """Their names of file scope, ``main`` and ``struct pair``, get a suffix each."""
    draw = Random(seed)
    cases = [program(draw) for _ in range(100)]
    found = logs([text for text, _ in cases], name)
    for (source, expected), records in zip(cases, found, strict=True):
        assert records == "; ".join(f"{a} {b} {c}" for a, b, c in expected), source


# gdb steps the program as it was written, and sees values change.

GDB = """
import gdb
gdb.execute("set confirm off")
gdb.execute("set print elements 0")
gdb.execute("break main")
gdb.execute("run > /dev/null")
while True:
    frame, line = gdb.selected_frame(), gdb.selected_frame().find_sal().line
    if frame.older() is not None and frame.name() == "main":
        frame = None
    outer = gdb.selected_frame()
    while outer.name() != "main":
        outer = outer.older()
    outer.select()
    held = [str(gdb.parse_and_eval(name)) for name in NAMES]
    gdb.newest_frame().select()
    print("STEP", line, *held)
    try:
        gdb.execute("step", to_string=True)
        if gdb.selected_frame().find_sal().line == END:
            break
    except gdb.error:
        break
"""


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize(
    ("file", "names", "end"),
    [
        ("quicksort.c", [f"m[{k}]" for k in range(5)], 35),
        ("sieve.c", ["primes", *(f"composite[{k}]" for k in range(13))], 17),
        ("matrix.c", [f"c[{i}][{j}]" for i in (0, 1) for j in (0, 1)] + ["lines[1].to[1].x"], 24),
    ],
)
def test_gdb_sees_the_same_values_at_the_same_lines(file, names, end, tmp_path):
    source = (PROGRAMS / file).read_text()
    subprocess.run(["gcc", "-g", "-O0", "-o", tmp_path / "program", PROGRAMS / file], check=True)
    script = tmp_path / "steps.py"
    script.write_text(f"NAMES, END = {names!r}, {end}\n{GDB}")
    command = ["gdb", "-nx", "-batch", "-x", str(script), str(tmp_path / "program")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50)
    steps = [line.split() for line in ran.stdout.splitlines() if line.startswith("STEP")]
    assert len(steps) > 10, ran.stdout[-500:] + ran.stderr[-500:]
    values = {"true": 1, "false": 0}
    writes = traced(source).writes
    for at, name in enumerate(names):
        seen = [(int(line), values.get(held[at], held[at])) for _, line, *held in steps]
        changes = [
            (before[0], int(after[1])) for before, after in pairwise(seen) if before[1] != after[1]
        ]
        last, mine = int(seen[0][1]), []
        for write in writes:
            if write.name == name and write.value != last:
                mine.append((write.line, write.value))
                last = write.value
        assert changes == mine, name


# The command line, and folders.


def test_the_command_prints_each_format(tmp_path, capsys):
    file = str(PROGRAMS / "gcd.c")
    for name in foreign.SHOWN:
        assert cexec(["trace", file, "--format", name]) == 0
        said = capsys.readouterr()
        assert "guarded by" in said.err
        assert "18446744073709551615" in said.out
    held = json.loads(said.out)
    assert held["stdout"] == "5\n"
    assert held["trace"][-1] == {"step": 6, "line": 11, "name": "g", "value": 5}
    assert cexec(["trace", file, "--out", str(tmp_path / "trace.txt")]) == 0
    assert (tmp_path / "trace.txt").read_text().endswith("@11 g 5\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int main(void) {\n    return f();\n}\n", "file.c:2: what f writes cannot be seen"),
        ("int main(void) { int a = 1;\n    a = b;\n}\n", "file.c:2:"),
        ("int main(void) { for (;;) ; }\n", "file.c: "),
        ("int main(void) { int a = 2147483647; a++; return a; }\n", "undefined behaviour"),
        ("int main(void) { return 0; }\0", "allowed a text"),
    ],
)
def test_what_has_no_trace_ends_with_2_and_one_line(text, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.c").write_text(text)
    assert cexec(["trace", "file.c"]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert said in found.err and found.err.count("\n") == 1


def test_a_folder_becomes_a_corpus(tmp_path, capsys):
    folder, out = tmp_path / "mine", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(PROGRAMS / "sieve.c", folder / "deep" / "sieve.c")
    (folder / "bad.c").write_text("int main(void) {\n    return next();\n}\n")
    assert cexec(["import", str(folder), str(out)]) == 0
    assert "1 programs, 1 files refused" in capsys.readouterr().out
    table = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    (row,) = table
    assert row["file"] == "deep/sieve.c"
    assert row["source"] == (PROGRAMS / "sieve.c").read_text()
    assert row["stdout"] == "5\n"
    entries = [f"{one['line']} {one['name']} {one['value']}" for one in row["trace"]]
    assert "; ".join(entries) == BY_HAND["sieve.c"]
    assert [one["step"] for one in row["trace"]] == list(range(row["writes"]))
    (refused,) = map(json.loads, (out / "refused.jsonl").read_text().splitlines())
    assert refused == {"file": "bad.c", "reason": "bad.c:2: what next writes cannot be seen"}
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    assert cexec(["import", str(folder), str(out)]) == 2
    assert cexec(["import", str(tmp_path / "nothing"), str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


REAL = os.environ.get("LEGO_REAL_C")


@pytest.mark.skipif(not REAL, reason="LEGO_REAL_C names no folder of C programs")
def test_real_programs_print_the_same_when_they_are_traced():
    compiler, count = native.find_compiler(), 0
    for path in sorted(Path(REAL).rglob("*.c")):
        try:
            source = foreign.read_source(path)
            run = foreign.trace_source(source, path.name, compiler)
        except SettingError:
            continue
        plain = sandbox.run(
            {"program.c": source}, "program.c", compiler, flags=foreign.FLAGS, limits=foreign.LIMITS
        )
        assert run.stdout == plain.stdout.decode(errors="replace"), path
        count += 1
    assert count >= 10
