"""Every trace format gives its log back, whatever the program's lines look like."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cexec.trace import (
    FORMATS,
    VALUES,
    Write,
    answer_of,
    name_words,
    parse,
    question,
    render,
    spelled,
    words,
)
from lego.task import SettingError

identifiers = st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,3}", fullmatch=True) | st.sampled_from(
    ["a", "b", "answer", "state", "int", "über"]
)
indices = st.integers(-99, 10**6).map("[{}]".format)
fields = st.builds(str.__add__, st.sampled_from([".", "->"]), identifiers)
heads = identifiers | st.builds(
    str.format,
    st.sampled_from(["*{}", "**{}", "({})", "(*{})", "*({}+1)", "(&{})", "*{}++", "++*{}"])
    | st.sampled_from(["((struct s*){})", "f({},-2)", "*(m[-1]+g(({})))", "(c?{}:q->r)", "*&{}"]),
    identifiers,
)
names = st.builds(
    lambda head, ends: head + "".join(ends), heads, st.lists(indices | fields, max_size=3)
)
numbers = st.integers(-9, 9) | st.integers(-(2**63), 2**64 - 1)

# What stands in a line: C, text that looks like the formats', and anything without a line end.
ours = ["state", "@5", "\\state", "\\\\@5", "answer", "7", "// #", " // #1 a 3", "// #2 b", " // #"]
ours += ["a", "{", "}", "<frame>", "<return>", '"@1 a"', "/*", "..", "-", "state a 7", "answer 7"]
pieces = st.sampled_from([*ours, " ", "  ", "\t", "\r", "\f", "\x1c", "\x85", "\u2028"])
anything = st.text(st.characters(exclude_characters="\n"), max_size=12)
source_lines = anything | st.lists(pieces | anything, max_size=5).map("".join)
programs = st.lists(source_lines, min_size=1, max_size=5)


@st.composite
def logs(draw, lines):
    """A log over few names, so that they are written again; its lines go back and forth."""
    known = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    write = st.tuples(st.integers(1, lines), st.sampled_from(known), numbers)
    return [Write(k, *rest) for k, rest in enumerate(draw(st.lists(write, max_size=10)))]


cases = programs.flatmap(lambda lines: st.tuples(st.just(lines), logs(len(lines))))
NONE: list[Write] = []


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(cases, st.none() | numbers)
@example((["answer 7"], NONE), None)
@example((["", "answer 7", ""], NONE), None)
@example((["x // #1 a 3"], NONE), 7)
@example((["x // #1 a 3 // #"], NONE), 7)
@example((["x // #1 a ("], [Write(0, 1, "a", 3)]), None)
@example((["@1 state a 7 state @1"], [Write(0, 1, "state", 3), Write(1, 1, "a", -3)]), None)
@example((["answer = 7;"], [Write(0, 1, "answer", 7)]), None)
@example((["x"], [Write(0, 1, "x", 1), Write(1, 1, "answer", 2)]), 2)
@example((["a = a;"], [Write(0, 1, "a", 0), Write(1, 1, "a", 0)]), 0)
def test_every_log_comes_back(format, values, case, answer):
    lines, log = case
    text = render(format, lines, log, answer, values)
    assert parse(format, text, values) == ([] if format == "answer" else log, answer)
    if format == "comments":
        assert all(
            said.startswith(line) for line, said in zip(lines, text.split("\n"), strict=False)
        )
        assert parse(format, text + "\n", values) == (log, answer)
    else:
        assert parse(format, " ".join(text.split()), values) == parse(format, text, values)


PROGRAM = """\
#include <stdio.h>

int main(void) {
    int m[2] = {3, -4};
    for (int i = 0; i < 1; i++) {
        m[i] = m[1];
    }
    printf("%d\\n", m[0]);
    return 0;
}
""".splitlines()
LOG = [
    Write(0, 4, "m[0]", 3),
    Write(1, 4, "m[1]", -4),
    Write(2, 5, "i", 0),
    Write(3, 6, "m[0]", -4),
    Write(4, 5, "i", 1),
]
COMMENTED = list(PROGRAM)
COMMENTED[3] += " // #1 m [ 0 ] 3 #2 m [ 1 ] -4"
COMMENTED[4] += " // #3 i 0 #5 i 1"
COMMENTED[5] += " // #4 m [ 0 ] -4"
FOR = "@5 for (int i = 0; i < 1; i++) { state"
EXPECTED = {
    "writes": [
        "@4 m [ 0 ] 3",
        "@4 m [ 1 ] -4",
        "@5 i 0",
        "@6 m [ 0 ] -4",
        "@5 i 1",
    ],
    "states": [
        "@4 m [ 0 ] 3",
        "@4 m [ 1 ] -4 m [ 0 ] 3",
        "@5 i 0 m [ 0 ] 3 m [ 1 ] -4",
        "@6 m [ 0 ] -4 m [ 1 ] -4 i 0",
        "@5 i 1 m [ 0 ] -4 m [ 1 ] -4",
    ],
    "scratchpad": [
        "@4 int m[2] = {3, -4}; state m [ 0 ] 3",
        "@4 int m[2] = {3, -4}; state m [ 1 ] -4 m [ 0 ] 3",
        f"{FOR} i 0 m [ 0 ] 3 m [ 1 ] -4",
        "@6 m[i] = m[1]; state m [ 0 ] -4 m [ 1 ] -4 i 0",
        f"{FOR} i 1 m [ 0 ] -4 m [ 1 ] -4",
    ],
    "frames": [
        "<frame> @4 { m [ 0 ] : 3 }",
        "<frame> @4 { m [ 0 ] : .. , m [ 1 ] : -4 }",
        "<frame> @5 { m [ 0 ] : .. , m [ 1 ] : .. , i : 0 }",
        "<frame> @6 { m [ 0 ] : -4 , m [ 1 ] : .. , i : .. }",
        "<frame> @5 { m [ 0 ] : .. , m [ 1 ] : .. , i : 1 }",
        "<return>",
    ],
    "comments": COMMENTED,
    "answer": [],
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_small_program_as_text(format):
    expected = "\n".join([*EXPECTED[format], "answer -4"])
    assert render(format, PROGRAM, LOG, -4) == expected
    assert render(format, PROGRAM, LOG, None) == expected.removesuffix("answer -4").rstrip("\n")


def test_digits_are_words_of_values_alone():
    log = [Write(0, 12, "m[34]", -567), Write(1, 12, "a", 89)]
    held = [
        render(format, ["x"] * 12, log, 10, "digits").replace("\n", " ")
        for format in ("writes", "states", "frames", "answer")
    ]
    assert held == [
        "@12 m [ 34 ] - 5 6 7 @12 a 8 9 answer 1 0",
        "@12 m [ 34 ] - 5 6 7 @12 a 8 9 m [ 34 ] - 5 6 7 answer 1 0",
        "<frame> @12 { m [ 34 ] : - 5 6 7 } <frame> @12 { m [ 34 ] : .. , a : 8 9 } <return> "
        "answer 1 0",
        "answer 1 0",
    ]


def test_words_that_look_like_a_trace_are_escaped_where_they_are_quoted():
    line = r"  state = state@5; // @5 @x \state"
    text = render("scratchpad", [line], [Write(0, 1, "state", 3)], None)
    assert text == r"@1 \state = state@5; // \@5 @x \\state state state 3"
    assert render("comments", ["a; // #1", "b"], [], 3) == "a; // #1 // #\nb\nanswer 3"


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("writes", "@4 a 3 @5 b x", "6='x': allowed VALUE"),
        ("writes", "@4 a 3 @5 3", "5='3': allowed NAME"),
        ("writes", "@0 a 3", "1='@0': allowed @LINE"),
        ("writes", "@4 a 3 5", "4='5': allowed a step"),
        ("writes", "@4 a", "3='': allowed VALUE"),
        ("writes", "@4 a 03", "3='03': allowed VALUE"),
        ("writes", "@4 a -0", "3='-0': allowed VALUE"),
        ("writes", "@4 a ٣", "3='٣': allowed VALUE"),
        ("writes", "@4 a 3.0", "3='3.0': allowed VALUE"),
        ("writes", "@4 a " + "9" * 5000, "allowed VALUE"),
        ("writes", "@4 m [ i ] 3", "3='[': allowed VALUE"),
        ("writes", "@4 a 3 @5 * ( m -1 ] ) 3", "5='*': allowed NAME"),
        ("writes", "@4 ( ( p ) 3", "2='(': allowed NAME"),
        ("writes", "@4 a 3 answer", "5='': allowed VALUE"),
        ("writes", "@4 a 3 answer 4 5", "6='5': allowed nothing"),
        ("writes", "answer 4 @4 a 3", "3='@4': allowed nothing"),
        ("writes", "@4 a\n3\nb\u20283", "4='b': allowed a step"),
        ("states", "@4 a 3 @5 b 7", "7='': allowed 'a'"),
        ("states", "@4 a 3 @5 b 7 a 4", "8='4': allowed '3'"),
        ("states", "@4 a 3 b 4", "4='b': allowed a step"),
        ("scratchpad", "@5 b = 3 ; b 3", "8='': allowed state"),
        ("scratchpad", "@5 b = 3 ; @6 state b 3", "6='@6': allowed state"),
        ("scratchpad", "@5 b = 3 ; state", "7='': allowed NAME"),
        ("frames", "<frame> @5 { a : 3 }", "8='': allowed <return>"),
        ("frames", "<frame> @5 { a : .. } <return>", "8='<return>': allowed a frame with a value"),
        ("frames", "<frame> @5 { a : 3 , b : 4 } <return>", "7=',': allowed '}'"),
        ("frames", "<frame> @5 { a 3 } <return>", "5='3': allowed :"),
        ("frames", "<frame> @5 { a : 3 ; <return>", "7=';': allowed , or }"),
        ("frames", "<frame> @5 { a : 3 } <frame> @5 { b : 4 } <return>", "11='b': allowed 'a'"),
        ("frames", "@5 a 3 <return>", "1='@5': allowed <return>"),
        ("comments", "int a = 3; // #1 a x", "8='x': allowed VALUE"),
        ("comments", "x\nint a = 3; // #1 a 3 4", "10='4': allowed #STEP"),
        ("comments", "a; // #1 a 3\nb; // #3 a 3", "step='#3': allowed #2"),
        ("comments", "a; // #1 a 3\nb; // #1 a 3", "step='#1': allowed #2"),
        ("comments", "a; // #1 a 3\nanswer x", "7='x': allowed VALUE"),
        ("answer", "answer", "2='': allowed VALUE"),
        ("answer", "@4 a 3 answer 3", "1='@4': allowed a step"),
    ],
)
def test_malformed_text_is_refused_in_one_line(format, text, said):
    with pytest.raises(SettingError) as refused:
        parse(format, text)
    message = str(refused.value)
    assert message.startswith("trace ") and "\n" not in message
    assert said in message


@pytest.mark.parametrize("said", ["- 1 - 2", "-12", "12", "1 2 x", "- 0", "0 1", "-"])
def test_digits_are_read_one_a_word(said):
    with pytest.raises(SettingError, match=r"^trace word \d+="):
        parse("writes", f"@4 a {said}", "digits")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(pieces | st.sampled_from(["@1", "#1", ":", ","])))
def test_any_text_is_a_log_or_refused(format, said):
    """What can be read is what ``render`` writes: of other text there is no log."""
    text = " ".join(said)
    try:
        log, answer = parse(format, text)
    except SettingError as refused:
        assert "\n" not in str(refused)
        return
    if format not in ("scratchpad", "comments"):
        assert render(format, [], log, answer).split() == text.split()


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("format", ["writes", "states", "frames"])
@settings(max_examples=60, deadline=None)
@given(logs(9), st.data())
def test_a_changed_word_is_refused_or_makes_another_log(format, values, log, data):
    text = render(format, [], log, 12, values).split()
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + 1] = data.draw(
        st.sampled_from([[], [text[at]] * 2, ["a"], ["7"], ["@5"], ["-"]])
    )
    try:
        found, answer = parse(format, " ".join(text), values)
    except SettingError as refused:
        assert str(refused).startswith("trace word ")
        return
    assert render(format, [], found, answer, values).split() == text


@pytest.mark.parametrize(
    "log",
    [
        [Write(1, 1, "a", 3)],
        [Write(0, 0, "a", 3)],
        [Write(0, 2, "a", 3)],
        [Write(0, 1, "a", 10**20)],
        [Write(0, 1, "", 3)],
        [Write(0, 1, "3a", 3)],
        [Write(0, 1, "a b", 3)],
        [Write(0, 1, "m[i]", 3)],
        [Write(0, 1, "m[1", 3)],
        [Write(0, 1, "*(p + 1)", 3)],
        [Write(0, 1, 'f("x // #1")->a', 3)],
    ],
)
def test_a_log_that_could_not_be_read_back_is_refused(log):
    with pytest.raises(SettingError, match="allowed"):
        render("comments", ["x"], log, None)


def test_unknown_formats_and_line_ends_are_refused():
    for ask in (lambda: render("write", [], [], 1), lambda: parse("write", "answer 1")):
        with pytest.raises(SettingError, match="did you mean 'writes'"):
            ask()
    with pytest.raises(SettingError, match="values='words'"):
        parse("writes", "answer 1", "words")
    with pytest.raises(SettingError, match="line 1="):
        render("comments", ["a\nb"], [], None)


@given(names)
def test_names_and_their_words(name):
    said = name_words(name)
    assert spelled(said) == name
    assert said.split() == said.split(" ")
    assert [word for word in said.split() if re.fullmatch("-?[0-9]+", word)] == re.findall(
        r"(?<=\[)-[0-9]+|(?<!\w)[0-9]+", name
    )


def test_words_of_a_line():
    line = r'    p->x <<= a[i++] + 10u*(b >= 0x1F) /* c */ != 1e-5; f("a // \" b", L"\\", '
    assert words(line + r"'\''); // end") == [
        *("p", "->", "x", "<<=", "a", "[", "i", "++", "]", "+", "10u", "*", "(", "b", ">=", "0x1F"),
        *(")", "!=", "1e-5", ";", "f", "(", r'"a // \" b"', ",", r'L"\\"', ",", r"'\''", ")", ";"),
    ]
    assert words("#include <stdio.h>") == ["#", "include", "<", "stdio", ".", "h", ">"]
    assert words("int a=-3;") == ["int", "a", "=", "-", "3", ";"]
    assert words('a = "') == ["a", "=", '"']
    assert words("  // only this") == []


def test_questions_and_answers_of_language_models():
    assert question("m[2]") == "What is the value of m[2] when the program ends?"
    assert answer_of("the answer is ... answer 4\nanswer -7 .") == -7
    assert answer_of("answer - 1 2 it is", "digits") == -12
    for text in ("", "7", "answer", "answer x", "answer 7 answer x", "myanswer 7", "answer 7."):
        assert answer_of(text) is None
