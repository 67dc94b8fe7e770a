"""The reference interpreter of C: hand-worked programs, undefined behaviour, and gcc's word.

The random programs come from a generator of this file alone: its types are mixed, its expressions
rely on precedence, and many of its programs are undefined, which gcc's sanitizer must say too.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cexec.reference import Execution, Undefined, run
from lego.task import SettingError


def program(*body: str, before: str = "", show: str = "a", form: str = "%d") -> str:
    lines = "".join(f"    {line}\n" for line in body)
    tail = f'    printf("{form}\\n", {show});\n    return 0;\n}}\n'
    return f"#include <stdio.h>\n{before}int main(void) {{\n{lines}{tail}"


def log(done: Execution) -> list[tuple[int, str, int]]:
    assert [write.step for write in done.writes] == list(range(len(done.writes)))
    return [(write.line, write.name, write.value) for write in done.writes]


# What a program prints, worked out by hand from the standard; its body starts in line 3.
PRINTED = [
    # 6.5: precedence and associativity, without parentheses.
    ("int a = 2 + 3 * 4 - 8 / 2 % 3;", 13),
    ("int a = 20 - 6 - 4;", 10),
    ("int a = 1 << 2 + 1;", 8),
    ("int a = 6 & 3 == 3;", 0),
    ("int a = 1 | 6 ^ 3 & 5;", 7),
    ("int a = 1 || 0 && 0;", 1),
    ("int a = 0 ? 1 : 1 ? 2 : 3;", 2),
    ("int a = - - 3 - -2 + ~0 + !5 + !0;", 5),
    ("int a = 5 > 3 > 1;", 0),
    ("int a = 100 / 7 * 7;", 98),
    ("int a = 10 - (3 - 2);", 9),
    # 6.5.5p6: quotients are truncated towards zero, remainders have the dividend's sign.
    ("int a = -7 / 2;", -3),
    ("int a = -7 % 3;", -1),
    ("int a = 7 % -3;", 1),
    # 6.3.1: promotions and the usual arithmetic conversions.
    ("unsigned char c = 200; unsigned char d = 100; int a = c + d;", 300),
    ("unsigned char c = 200; int a = ~c;", -201),
    ("unsigned char c = 255; int a = c++ + c * 0;", None),
    ("unsigned char c = 255; c++; int a = c;", 0),
    ("unsigned char c = 3; c -= 5; int a = c;", 254),
    ("unsigned char c = 0; c = 1000; int a = c;", 232),
    ("int a = -1 < 1u;", 0),
    ("int a = -1 < 1;", 1),
    ("unsigned char c = 1; int a = -1 < c;", 1),
    ("unsigned u = 0u; u = u - 1; int a = u > 2147483647;", 1),
    ("unsigned u = 4000000000u; int a = u / 3 >> 4;", 83333333),
    ("unsigned u = 1u << 31; int a = (u << 1) == 0;", 1),
    ("int a = (unsigned char)300 + (unsigned)-1 / 4294967295;", None),  # the last is a long
    ("int a = (unsigned char)300 + ((unsigned)-1 == 4294967295u);", 45),
    ("int a = 017 + 0x1F + 'A' + '\\n';", 121),
    ("int a = 0xFFFFFFFF > 0;", 1),
    # 6.5.13 .. 6.5.15: what is not evaluated is not undefined.
    ("int b = 0; int a = b != 0 && 5 / b > 1;", 0),
    ("int b = 0; int a = b == 0 || 5 / b > 1;", 1),
    ("int b = 0; int a = b ? 5 / b : -1;", -1),
    # 6.5.16, 6.5.2.4, 6.5.3.1: values of assignments, ++ and --.
    ("int b = 1; int a = b = 7;", 7),
    ("int b = 1; int a = b++;", 1),
    ("int b = 1; int a = ++b;", 2),
    ("int b = 5; int a = b-- - 3;", 2),
    ("int a = 100; a += 5; a -= 1; a *= 2; a /= 3; a %= 40; a <<= 2; a >>= 1; a |= 1; a ^= 2;", 57),
    ("int a = 13; a &= 6;", 4),
    ("int a = 5; a *= 2 + 3;", 25),
    # 6.7.9: initialisers.
    ("int m[4] = {7, 8}; int a = m[0] + m[1] + m[2] + m[3];", 15),
    ("int m[] = {1, 2, 3,}; int a = m[2];", 3),
    # 6.8: statements.
    ("int a = 0; while (a < 5) a += 2;", 6),
    ("int a = 9; do { a++; } while (a < 5);", 10),
    ("int a = 0; for (int i = 0; i < 9; i++) { if (i == 2) continue; if (i == 5) break; a += i; }",
     8),
    ("int a = 0; for (;;) { if (++a > 3) break; }", 4),
    ("int a = 1; if (a) if (a > 5) a = 2; else a = 3;", 3),
    ("int a = 1; { int a = 5; a++; } a += 1;", 2),
    ("int a = 0; int i = 7; for (int i = 0; i < 3; i++) { a += i; } a += i;", 10),
    ("int a = 0; int k = 3; while (k--) { a += k; }", 3),
    ("int a = 0; for (int i = 0; i < 3; i++) for (int j = 0; j < 3; j++) { if (j) break; a++; }",
     3),
    # 6.5.2.1, 6.5.3.2, 6.5.6: arrays and pointers.
    ("int m[3] = {1, 2, 3}; int *q = m; q++; int a = *q + q[1] + *(m + 0) + q[-1];", 7),
    ("int m[3] = {1, 2, 3}; int *q = &m[1]; *q = 9; int a = m[1];", 9),
    ("int m[3] = {1, 2, 3}; int *q = m + 3; q -= 2; int a = *q == 2 && q > m && q != &m[2];", 1),
    ("int b = 1; int *q = &b; int **r = &q; **r = 4; int a = b;", 4),
    ("int b = 1; int *q = 0; if (!q) { q = &b; } int a = q == NULL ? 5 : *q;", 1),
    ("int b = 3; int c = 4; int *q = b < c ? &b : &c; int a = *q;", 3),
    ("int m[3] = {0}; int i = 0; m[i++] = 5; int a = m[0] * 10 + i;", 51),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), PRINTED)
def test_hand_worked_programs(body, expected):
    if expected is None:
        with pytest.raises(SettingError, match=r"^line 3="):
            run(program(body))
    else:
        assert run(program(body)).stdout == f"{expected}\n"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_gcc_has_the_same_word_on_the_hand_worked_programs(tmp_path):
    known = [(program(body), expected) for body, expected in PRINTED if expected is not None]
    assert gcc([source for source, _ in known], tmp_path) == [f"{said}\n" for _, said in known]


FUNCTIONS = """
struct pair {
    int x;
    int y;
};

static int f(int n, int a) {
    if (n <= 0) {
        return a;
    }
    return f(n - 1, (a * 3 + n) % 10);
}

static void twice(int v[], int n) {
    for (int i = 0; i < n; i++) {
        v[i] *= 2;
    }
}

static unsigned char low(unsigned n);

static void swap(struct pair *p)
{
    int t = p->x;
    p->x = p->y;
    p->y = t;
}

static unsigned char low(unsigned n) {
    return n;
}

"""
START = FUNCTIONS.count("\n") + 2  # the line of main's header; its body follows


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "int a = f(2, 4);",
            [(8, "n", 2), (8, "a", 4), (8, "n", 1), (8, "a", 4), (8, "n", 0), (8, "a", 3),
             (START + 1, "a", 3)],
        ),
        (
            "int m[2] = {3, 4}; twice(m, 2); int a = m[1];",
            [(START + 1, "m[0]", 3), (START + 1, "m[1]", 4), (15, "n", 2), (16, "i", 0),
             (17, "m[0]", 6), (16, "i", 1), (17, "m[1]", 8), (16, "i", 2), (START + 1, "a", 8)],
        ),
        (
            "struct pair s = {1, 2}; struct pair *p = &s; swap(p); p->y += 4; int a = s.y;",
            [(START + 1, "s.x", 1), (START + 1, "s.y", 2), (25, "t", 1), (26, "s.x", 2),
             (27, "s.y", 1), (START + 1, "s.y", 5), (START + 1, "a", 5)],
        ),
        ("int a = low(257);", [(30, "n", 257), (START + 1, "a", 1)]),
        (
            "struct pair s[2] = {{1, 2}, {3}}; int a = s[1].y; s[0].y--;",
            [(START + 1, "s[0].x", 1), (START + 1, "s[0].y", 2), (START + 1, "s[1].x", 3),
             (START + 1, "a", 0), (START + 1, "s[0].y", 1)],
        ),
        ("int a = 3; int *q = &a; *q = 4;", [(START + 1, "a", 3), (START + 1, "a", 4)]),
        ("int m[3] = {0}; int a = 1; m[a] = 5; m[a + 1] = m[a];",
         [(START + 1, "m[0]", 0), (START + 1, "a", 1), (START + 1, "m[1]", 5),
          (START + 1, "m[2]", 5)]),
    ],
)  # fmt: skip
def test_the_log_names_objects_and_the_lines_of_lvalues(body, expected):
    assert log(run(program(body, before=FUNCTIONS))) == expected


def test_lines_are_those_of_the_unmodified_text():
    source = program(
        "int a = 1; // int z = 2;", "/* two", "lines */ a", "= 2;", "for (int i = 0;", "i < 1;",
        "i++) { a = 3; }",
    )  # fmt: skip
    assert log(run(source)) == [(3, "a", 1), (5, "a", 2), (7, "i", 0), (9, "a", 3), (9, "i", 1)]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("overflow", "int a = 2147483647; a++;"),
        ("overflow", "int a = -2147483647 - 1; a = -a;"),
        ("overflow", "int a = -2147483647 - 1; a = a / -1;"),
        ("overflow", "int a = -2147483647 - 1; a = a % -1;"),
        ("overflow", "int a = 65536; a *= a;"),
        ("overflow", "unsigned char c = 255; int a = c * c * c * c;"),
        ("division", "int a = 0; a = 1 / a;"),
        ("division", "unsigned a = 0u; a = 1u % a;"),
        ("division", "int a = 5; a /= 0;"),
        ("shift", "int a = 32; a = 1 << a;"),
        ("shift", "int a = -1; a = 1u >> a;"),
        ("shift", "int a = -1; a = a << 1;"),
        ("shift", "int a = 1; a <<= 31;"),
        ("bounds", "int m[2] = {1, 2}; int a = 2; a = m[a];"),
        ("bounds", "int m[2] = {1, 2}; int a = -1; m[a] = 3;"),
        ("bounds", "int a = 1; int *q = &a; q++; a = *q;"),
        ("bounds", "int m[2] = {1, 2}; int *q = m; q += 3; int a = 0;"),
        ("uninitialised", "int a; a = a + 1;"),
        ("uninitialised", "int m[2]; m[0] = 1; int a = m[1];"),
        ("uninitialised", "int a = a;"),
        ("uninitialised", "int a = 0; int *q; *q = 1;"),
        ("uninitialised", "int a = 0; for (int i = 0; i < 2; i++) { int b; if (i == 0) { b = 1; } "
         "a += b; }"),
        ("null", "int *q = 0; int a = *q;"),
        ("null", "int a = 0; int *q = &a; { int b = 1; q = &b; } a = *q;"),
        ("null", "int a = 0; int *q = &a; for (int i = 0; i < 1; i++) { int m[2] = {1, 2}; "
         "q = &m[1]; } a = *q;"),
        ("implementation", "int a = -8; a = a >> 1;"),
        ("implementation", "unsigned u = 2147483648u; int a = u;"),
        ("order", "int a = 1; a = a++;"),
        ("order", "int a = 1; int b = a++ + a; a = b;"),
        ("order", "int m[2] = {1, 2}; int a = 0; m[a] = a++;"),
        ("order", "int b = 1; int *q = &b; int a = b++ + *q;"),
    ],
)  # fmt: skip
def test_what_c_leaves_open_is_raised_with_its_kind_and_line(kind, body):
    with pytest.raises(Undefined) as raised:
        run(program("", body, show="a", form="%u" if "unsigned a" in body else "%d"))
    assert (raised.value.kind, raised.value.line) == (kind, 4)
    assert str(raised.value).startswith("line 4=") and "\n" not in str(raised.value)


def test_what_a_function_leaves_open():
    lost = "int *f(void) { int b = 1; return &b; }\n"
    with pytest.raises(Undefined) as raised:
        run(program("int a = *f();", before=lost))
    assert (raised.value.kind, raised.value.line) == ("null", 4)
    mixed = "int f(int *p) { *p += 1; return *p; }\n"
    with pytest.raises(Undefined) as raised:
        run(program("int a = 1;", "a = a + f(&a);", before=mixed))
    assert raised.value.kind == "order"
    assert run(program("int a = 1;", "a = f(&a) + 1;", before=mixed)).stdout == "3\n"
    with pytest.raises(Undefined) as raised:
        run(program("int a = f(2);", before="int f(int n) { if (n < 2) { return 1; } }\n"))
    assert raised.value.kind == "uninitialised"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (program("int a = 1;", "goto end;"), 4),
        (program("int a = 1;", "break;"), 4),
        (program("float a = 1;"), 3),
        (program("int a = sizeof(int);"), 3),
        (program("int a = 1, b = (2, 3);"), 3),
        (program("int a = 1;", "b = a;"), 4),
        (program("int a = 1;", "int a = 2;"), 4),
        (program("int a = 1", "a = 2;"), 4),
        (program("int a = (1;"), 3),
        (program("int a = 1;", "a + 1 = 2;"), 4),
        (program("int a = 1;", "int *q = a;"), 4),
        (program("int a = 09;"), 3),
        (program("int a = 2147483648;"), 3),
        (program("int a = f(1);"), 3),
        (program("int a = 1;", 'printf("%d\\n", a);'), 5),
        (program("int a = 1;", show="a + 1"), 4),
        (program("int a = 1;", form="%u"), 4),
        (program("int a = 1;", form="%d %d"), 4),
        (program("int a = 1;", before="#define X 1\n"), 2),
        (program("int a = 1;", before="int g;\n"), 2),
        (program("int a = 1;").replace("return 0;\n}", "return 0;\n"), 5),
        (program("int a = 1;", "@"), 4),
        (program("int a = f(1);", before="int f(int n) { return f(n + 1); }\n"), 2),
        (program("int a = 1;", "while (1) { }"), 4),
        (program("int a = 1;", "while (1) { a ^= 1; }"), 4),
    ],
)
def test_what_it_does_not_know_or_does_not_end_is_refused_with_its_line(source, line):
    with pytest.raises(SettingError, match=rf"^line {line}=[^\n]*: allowed [^\n]*$") as raised:
        run(source)
    assert not isinstance(raised.value, Undefined)


@pytest.mark.parametrize("source", ["", "int main(void) { return 0; }", "#include <stdio.h>\n"])
def test_what_is_no_program_is_refused(source):
    with pytest.raises(SettingError):
        run(source)


def test_deep_nesting_is_refused_and_leaves_python_as_it_was():
    with pytest.raises(SettingError):
        run(program("int a = " + "(" * 30_000 + "1" + ")" * 30_000 + ";"))
    deep = "int f(int n) { if (n < 1) { return 0; } return ((1 + (f(n - 1)))); }\n"
    assert run(program("int a = f(199);", before=deep)).stdout == "199\n"


def test_calls_in_one_expression_are_logged_from_left_to_right():
    before = "int f(int n) {\n    if (n < 2) { return n; }\n    return f(n - 1) + f(n - 2);\n}\n"
    done = run(program("int a = f(3);", before=before))
    assert [value for _, _, value in log(done)] == [3, 2, 1, 0, 1, 2]
    assert done.depths == [0, 1, 2, 2, 1, 3]
    assert run(program("int a = f(10);", before=before)).stdout == "55\n"


def test_the_limit_counts_writes():
    source = program("int a = 0;", "while (a < 9) { a++; }")
    assert len(run(source, limit=10).writes) == 10
    with pytest.raises(SettingError):
        run(source, limit=9)


def test_dependencies_are_carried_by_values_and_indices_and_not_by_control():
    done = run(
        program(
            "int a = 1;", "int b = 2;", "int m[2] = {5, 6};", "int c = a + b;", "m[c & 1] = b;",
            "if (c > 0) { a = 7; }", "b = m[a & 1];", "a = a > 0 ? b : c;", "c = 3;", "a++;",
        )
    )  # fmt: skip
    #        a  b  m0 m1 c  m1 a  b  a  c  a
    assert done.depths == [0, 0, 0, 0, 1, 2, 0, 3, 4, 0, 5]
    # a: 10 <- 8 <- {6, 7} <- {5, 6} <- {1, 4} <- {0, 1}; not the elements' first values, nor c = 3.
    assert (done.asked, done.depth, done.distractors) == ("a", 5, 3)
    assert (done.branches, done.taken, done.stdout) == (1, 1, "3\n")


def test_dependencies_go_through_the_operands_that_were_evaluated():
    done = run(program("int b = 0;", "int c = b + 1;", "int a = b && c;", "a = b || c;"))
    assert done.depths == [0, 1, 1, 2]
    assert done.distractors == 1


def test_dependencies_go_through_parameters_and_returned_values():
    before = "static int f(int n, int k) {\n    if (n > k) { return 1; }\n    return n;\n}\n"
    done = run(program("int b = 4;", "int a = b;", "a = f(a + 1, 9) + b;", before=before))
    # b, a, n (from a), k (from nothing), a (from n and b)
    assert done.depths == [0, 1, 2, 0, 3]
    assert (done.depth, done.distractors, done.branches, done.taken) == (3, 1, 1, 0)
    done = run(program("int b = 4;", "int a = b;", "a = f(a + 9, 9) + b;", before=before))
    assert done.depths == [0, 1, 2, 0, 1]


def test_dependencies_of_what_is_printed_count_its_index():
    done = run(program("int i = 1;", "int m[2] = {3, 4};", show="m[i]"))
    assert (done.asked, done.depth, done.distractors) == ("m[1]", 0, 1)


def test_dependencies_go_through_pointers_to_the_object():
    done = run(program("int a = 1;", "int *q = &a;", "*q = *q + 1;", "int b = *q;", show="b"))
    assert log(done) == [(3, "a", 1), (5, "a", 2), (6, "b", 2)]
    assert (done.depths, done.distractors) == ([0, 1, 2], 0)


def test_a_long_chain_is_as_deep_as_it_is_long():
    done = run(program("int a = 0;", "for (int i = 0; i < 400; i++) { a += 2; }"))
    assert (done.depth, done.distractors) == (400, 401)


def test_every_branch_is_taken_when_asked():
    source = program("int a = 1;", "if (a > 5) { a = 2; } else { a = 3; }", "if (a) { a++; }")
    assert (run(source).stdout, run(source).taken) == ("4\n", 1)
    taken = run(source, every_branch=True)
    assert (taken.stdout, taken.branches) == ("3\n", 2)
    divides = program("int a = 0;", "if (a != 0) { a = 1 / a; }")
    assert run(divides).stdout == "0\n"
    with pytest.raises(Undefined):
        run(divides, every_branch=True)


class Maker:
    """Random programs: mixed types, few parentheses, every statement of the subset."""

    TYPES = ("int", "int", "unsigned", "unsigned char")
    BINARY = "+ - * / % & | ^ << >> < > <= >= == != && ||".split()  # noqa: SIM905

    def __init__(self, seed: int, branches: bool = True) -> None:
        self.random, self.branches, self.loops = random.Random(seed), branches, 0
        self.variables = list("abcdefg"[: self.random.randint(2, 7)])

    def operand(self) -> str:
        which = self.random.randrange(10)
        number = self.random.choice([0, 1, 2, 3, 5, 7, 10, 31, 255, 2147483647])
        if which < 3:
            return f"/* n */{number}{self.random.choice(['', '', 'u'])}"
        if which < 7:
            return self.random.choice(self.variables)
        if which < 9:
            index = "m" if self.random.random() < 0.02 else "3"  # now and then out of bounds
            return f"m[{self.random.choice(self.variables)} & {index[0] if index == '3' else 7}]"
        return self.random.choice(["s.x", "p->y", "*q"])

    def expression(self, size: int) -> str:
        if size == 0:
            return self.operand()
        which = self.random.randrange(12)
        if which == 0:
            return f"{self.random.choice('-~!')} {self.expression(size - 1)}"
        if which == 1:
            parts = [self.expression(size - 1) for _ in range(3)]
            return f"({parts[0]} ? {parts[1]} : {parts[2]})"
        sign = self.random.choice(self.BINARY)
        text = f"{self.expression(size - 1)} {sign} {self.expression(size - 1)}"
        if sign in ("/", "%", "<<", ">>") and self.random.random() < 0.8:
            right = f"({self.expression(size - 1)} & 7)"
            text = f"{self.operand()} {sign} " + (right if sign in "<<>>" else f"({right} + 1)")
        return f"({text})" if self.random.random() < 0.5 else text

    def target(self) -> str:
        which = self.random.randrange(8)
        if which < 5:
            return self.random.choice(self.variables)
        return self.random.choice(["s.x", "p->y", "*q", f"m[{self.expression(0)} & 3]"])

    def statement(self, depth: int, loops: bool = False) -> list[str]:
        which = self.random.randrange(13)
        size = self.random.randint(0, 2)
        if which < 4 or (depth == 0 and which < 8):
            return [f"{self.target()} = {self.expression(size)};"]
        if which == 4:
            sign = self.random.choice(["+", "-", "*", "&", "|", "^", "%", "/", "<<", ">>"])
            return [f"{self.target()} {sign}= {self.expression(size)};"]
        if which == 5:
            target = self.target().replace("*q", "(*q)")
            return [f"{target}{self.random.choice(['++', '--'])};"]
        if which == 6 and loops:
            word = self.random.choice(["break", "continue"])
            return [f"if ({self.expression(1)}) {word};"] if self.branches else []
        if which == 7:
            return [f"{self.target()} = r({self.operand()} & 7, {self.expression(size)});"]
        if which == 8:
            return [f"{self.random.choice(['v(m, 3)', 'v(&m[1], 2)', 'w(&s)'])};"]
        if which == 9:
            return [self.random.choice(["q = &a;", "q = &m[2];", "q = m;"])]
        if depth == 0:
            return []
        self.loops += 1
        loop, body = f"k{self.loops}", self.block(depth - 1, loops=which > 10 or loops)
        if which == 10 and self.branches:
            other = [f"}} else {{ {' '.join(self.block(depth - 1, loops))}"]
            rest = other if self.random.random() < 0.5 else []
            return [f"if ({self.expression(1)}) {{", *body, *rest, "}"]
        if which == 11:
            return [f"for (int {loop} = 0; {loop} < {size + 1}; {loop}++) {{", *body, "}"]
        return [f"int {loop} = {size};", f"while ({loop}-- > 0) {{", *body, "}"]

    def block(self, depth: int, loops: bool = False) -> list[str]:
        return [
            line for _ in range(self.random.randint(1, 3)) for line in self.statement(depth, loops)
        ]

    def program(self) -> str:
        kind, pick = self.random.choice(self.TYPES), self.random.randint
        before = (
            f"struct pair {{ {kind} x; int y; }};\n"
            f"static {kind} r(int n, {kind} b) {{\n"
            "    if (n <= 0) { return b; }\n    return r(n - 1, b * 3 % 101 + n);\n}\n"
            if self.branches
            else f"struct pair {{ {kind} x; int y; }};\n"
            f"static {kind} r(int n, {kind} b) {{ return n * 3 + b % 7; }}\n"
        ) + (
            "static void v(int t[], int n) {\n"
            "    for (int i = 0; i < n; i++) { t[i] = t[i] / 2 + i; }\n}\n"
            "static void w(struct pair *o) { o->x = o->y & 15; o->y++; }\n"
        )
        lines = [
            f"{'int' if name == 'a' else self.random.choice(self.TYPES)} {name} = {pick(0, 300)};"
            for name in self.variables
        ]
        lines += ["int m[4] = {%d, %d, 3};" % (pick(0, 9), pick(0, 99))]  # noqa: UP031
        lines += ["struct pair s = {1, 2};", "struct pair *p = &s;", "int *q = &a;", "unsigned h;"]
        lines += [line for _ in range(pick(2, 9)) for line in self.statement(2)]
        lines.append("h = 7u;")
        lines += [
            f"h = h * 31u + {x};" for x in [*self.variables, "m[0]", "m[1]", "m[2]", "m[3]", "s.y"]
        ]
        return program(*lines, before=before, show="h", form="%u")


def gcc(sources: list[str], folder: Path) -> list[str]:
    """What each program prints, or "undefined" where gcc's sanitizer or the processor stops it."""
    text = ["#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <sys/wait.h>\n"]
    names = re.compile(r"\b(main|pair|f|twice|low|swap|r|v|w)(?=\(| \{| s\b| \*[po]\b)")
    # gcc folds constants, and says nothing of an overflow there: so they come from functions.
    text.append(
        "static int n_(int n) { return n; }\nstatic unsigned n_u(unsigned n) { return n; }\n"
    )
    for k, source in enumerate(sources):
        opaque = re.sub(r"/\* n \*/(\d+)(u?)", r"n_\2(\1)", source)
        text.append(names.sub(rf"\1_{k}", opaque))
    calls = "".join(f"    once(main_{k});\n" for k in range(len(sources)))
    text.append(
        "static void once(int (*program)(void)) {\n    int status;\n    fflush(stdout);\n"
        "    if (fork() == 0) { program(); fflush(stdout); _exit(0); }\n    wait(&status);\n"
        '    puts(status ? "undefined\\nend" : "end");\n}\n'
        f"int main(void) {{\n{calls}    return 0;\n}}\n"
    )
    file = folder / "programs.c"
    file.write_text("\n".join(text))
    traps = "-fsanitize=signed-integer-overflow,integer-divide-by-zero,shift,bounds"
    flags = ["-std=gnu11", "-O0", "-w", traps, "-fsanitize-undefined-trap-on-error"]
    command = ["gcc", *flags, str(file), "-o", str(folder / "programs")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:2000]
    ran = subprocess.run([str(folder / "programs")], capture_output=True, text=True, timeout=60)
    return ran.stdout.split("end\n")[:-1]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_gcc_and_its_sanitizer_agree_on_random_programs(tmp_path):
    sources = [Maker(seed).program() for seed in range(600)]
    said, kinds = gcc(sources, tmp_path), []
    for source, real in zip(sources, said, strict=True):
        try:
            mine, kind = run(source).stdout, "defined"
        except Undefined as error:
            mine, kind = "undefined\n", error.kind
        kinds.append(kind)
        # gcc defines what is left to it; and what goes to an unsigned char it computes as one, so
        # that it does not see an int overflow on the way.
        narrow = kind == "overflow" and "unsigned char" in source
        if kind != "implementation" and not narrow:
            assert mine == real, source
    assert kinds.count("defined") >= 200
    assert {"overflow", "shift", "division", "bounds"} <= set(kinds)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_without_an_if_every_branch_changes_nothing(seed):
    source = Maker(seed, branches=False).program()
    assert "if (" not in source
    try:
        done = run(source)
    except Undefined as error:
        with pytest.raises(Undefined) as raised:
            run(source, every_branch=True)
        assert (raised.value.kind, raised.value.line) == (error.kind, error.line)
    else:
        assert run(source, every_branch=True) == done
        assert done.branches == done.taken == 0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_writes_stand_where_their_names_do_and_depend_on_what_came_before(seed):
    source = Maker(seed).program()
    try:
        done = run(source)
    except Undefined:
        return
    lines = source.split("\n")
    through = {"a": {"q"}, "s": {"p"}, "m": {"q"}}  # other ways to write to these in main
    for write, depth in zip(done.writes, done.depths, strict=True):
        name, line = re.split(r"[.\[]", write.name)[0], lines[write.line - 1]
        found = {name, *through.get(name, ()), "t", "o"} & set(re.findall(r"[a-z]\w*", line))
        assert found, (write, line)
        assert 0 <= depth <= write.step
    assert done.stdout == f"{done.writes[-1].value}\n"
    assert done.depth == done.depths[-1]
    assert 0 <= done.distractors < len(done.writes)
