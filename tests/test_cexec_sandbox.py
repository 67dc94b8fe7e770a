"""Hostile programs under guard: each ends in one clear line, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cexec import sandbox, sandbox_child, sandbox_compile
from cexec.native import COMPILERS, Compiler, find_compiler
from cexec.sandbox import Limits, SandboxError, guard, run
from cexec.sandbox_compile import is_zig
from cexec.sandbox_scan import ScanError, assembler_reads, includes
from lego.task import SettingError

HOSTILE = Path(__file__).parent / "c" / "hostile"
TIGHT = Limits(cpu_seconds=1, wall_seconds=10)
SHORT = Limits(wall_seconds=1)
SECRET = "a1b2c3d4 secret"


def compiler_or_skip(name: str) -> Compiler:
    try:
        compiler = find_compiler(name)
    except SettingError as error:
        pytest.skip(str(error))
    if is_zig(compiler):
        cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(Path.home() / ".cache" / "zig"))
        if not list(Path(cache).glob("o/*/libc.a")):
            pytest.skip("zig would build its C library first, for a minute or more")
    try:
        guard(compiler)
    except SandboxError as error:
        pytest.skip(f"no guard for {name} here: {error}")
    return compiler


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return compiler_or_skip("auto")


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary files lie in a folder of the test's own; none of them stays, and no process."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    yield made
    assert list(made.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*"):
        for link in ("exe", "cwd"):
            try:
                assert not os.readlink(process / link).startswith(str(made))
            except OSError:  # it has ended, or is another user's
                continue


def refused(call_files: dict[str, str], compiler: Compiler, **settings: object) -> str:
    with pytest.raises(SettingError) as caught:
        run(call_files, next(iter(call_files)), compiler, **settings)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.isprintable() and len(message) < 500
    assert SECRET not in message and "a1b2c3d4" not in message
    return message


def hostile(name: str) -> dict[str, str]:
    return {f"{name}.c": (HOSTILE / f"{name}.c").read_text()}


@pytest.mark.parametrize(
    ("name", "says", "limits"),
    [
        ("endless_loop", "cpu_seconds=1", TIGHT),
        ("deaf_to_signals", "cpu_seconds=1", TIGHT),
        ("sleeper", "wall_seconds=1", SHORT),
        ("close_and_sleep", "wall_seconds=1", SHORT),
        ("infinite_output", "output_kb=1024: the program printed", TIGHT),
        ("infinite_errors", "output_kb=1024: the program printed", TIGHT),
        ("infinite_log", "output_kb=1024: the program logged", TIGHT),
        ("allocate_by_pieces", "segmentation fault", TIGHT),
        ("deep_recursion", "too deep a recursion", TIGHT),
        ("bad_pointer", "segmentation fault", TIGHT),
        ("divide_by_zero", "divided by zero", TIGHT),
        ("failed_assertion", "Assertion `a == 2' failed", TIGHT),
        ("big_bss", "memory_mb=256: its variables take 1024", TIGHT),
        ("huge_data", "", Limits(compile_seconds=2)),
        ("macro_bomb", "compile_seconds=1", Limits(compile_seconds=1)),
        ("include_bomb", "compile_seconds=1", Limits(compile_seconds=1)),
    ],
)
def test_what_never_ends_or_takes_too_much_meets_its_limit(
    name: str, says: str, limits: Limits, compiler: Compiler
) -> None:
    assert says in refused(hostile(name), compiler, limits=limits)


@pytest.mark.parametrize(
    "name",
    ["fork_bomb", "thread", "read_passwd", "write_file", "open_socket", "kill_parent", "kill_all",
     "constructor", "preinit", "shell", "shell_where_the_launcher_was", "shell_moved_there",
     "delete_folder", "trace_parent", "raise_limits", "old_calls"],
)  # fmt: skip
def test_what_reaches_out_is_ended(name: str, compiler: Compiler) -> None:
    """In bubblewrap some of it may go on, since there is nothing to reach."""
    if guard(compiler) == "seccomp":
        assert "guard=seccomp: the program made a system call" in refused(hostile(name), compiler)
    assert not Path("/tmp/cexec-was-here").exists()


@pytest.mark.parametrize("name", ["clang", "tcc", "zig"])
def test_other_compilers_programs_are_held_too(name: str) -> None:
    other = compiler_or_skip(name)
    for case in ("fork_bomb", "open_socket"):
        assert f"guard={guard(other)}" in refused(hostile(case), other)
    if guard(other) == "bubblewrap":  # which tells of signals in its own way
        assert "cpu_seconds=1" in refused(hostile("endless_loop"), other, limits=TIGHT)
        assert "wall_seconds=1" in refused(hostile("sleeper"), other, limits=SHORT)
        assert "segmentation" in refused(hostile("deep_recursion"), other)
    for case in ("read_passwd", "shell_where_the_launcher_was"):
        try:
            assert b"root" not in run(hostile(case), f"{case}.c", other).stdout
        except SandboxError as error:
            assert "system call" in str(error)


def test_malloc_refuses_ten_gigabytes_and_the_program_goes_on(compiler: Compiler) -> None:
    assert run(hostile("allocate_10gb"), "allocate_10gb.c", compiler).stdout == b"1\n"
    held = run(hostile("shell_without_a_path"), "shell_without_a_path.c", compiler)
    assert held.stdout == b"-1\n"


HARMLESS = """\
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "deep/er/more.h"

static int compare(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static void on(int number) {
    (void)number;
    puts("signal");
}

int main(int argc, char **argv) {
    int v[] = {3, 1, 2};
    (void)argv;
    setlocale(LC_ALL, "");
    qsort(v, 3, sizeof *v, compare);
    printf("%d%d%d %d %.3f\\n", v[0], v[1], v[2], argc, sin(1));
    puts(getenv("HOME") ? "home" : "none");
    signal(SIGUSR1, on);
    raise(SIGUSR1);
    char *held = realloc(malloc(200000), 100000000);
    memset(held, MORE, 100000000);
    printf("%d %d\\n", held[99999999], getchar() == EOF);
    free(held);
    srand((unsigned)time(NULL) + (unsigned)clock());
    perror("said");
    FILE *log = fdopen(3, "w");
    fputs("logged", log);
    fclose(log);
    exit(other());
}
"""


@pytest.mark.parametrize("name", COMPILERS[1:])
def test_a_harmless_program_runs_as_it_would(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "more.h").write_text('#include "most.h"\r\nint other(void);\n')
    (tmp_path / "deep" / "er" / "most.h").write_text("\ufeff#define MORE 7 // \u00e4\n")
    held = run(
        {"a.c": HARMLESS, "b.c": "int other(void) { return VALUE; }\n"},
        "a.c",
        compiler_or_skip(name),
        flags=("-std=gnu11", "-O1", "-DVALUE=42"),
        folder=tmp_path,
    )
    assert held.stdout == b"123 1 0.841\nnone\nsignal\n7 1\n"
    assert (held.log, held.status) == (b"logged", 42)
    assert held.guard in ("seccomp", "bubblewrap")


INCLUDES = [
    '#include "/etc/passwd"',
    "#include </etc/passwd>",
    '#include "../x.h"',
    "#include <../../etc/passwd>",
    '#include "sub/../../x.h"',
    '#include_next "x.h"',
    '#import "/etc/passwd"',
    '#embed "/etc/passwd"',
    '#define X "/etc/passwd"\n#include X',
    '#define X(a) <a>\n#include X(/etc/passwd)',
    "#include __FILE__",
    '#if __has_include("/etc/passwd")\n#endif',
    '%:include "/etc/passwd"',
    '??=include "/etc/passwd"',
    '#inc\\\nlude "/etc/passwd"',
    '#inc\\ \nlude "/etc/passwd"',
    '/* */ # /* */ include /* */ "/etc/passwd"',
    '/*\n*/#include "/etc/passwd"',
    '// ??/\n#include "/etc/passwd"\n',
    '#error /*\n#include "/etc/passwd"\n*/',
    "#define A don't /*\n#include \"/etc/passwd\"\n*/",
    'char *s = R"(" /* )";\n#include "/etc/passwd"\n/* */',
    "\u00a0#include \"/etc/passwd\"",
    "\r#include \"/etc/passwd\"\r",
    '#pragma GCC dependency "/etc/passwd"',
    '#pragma include_alias("x.h", "/etc/passwd")',
    '_Pragma("GCC dependency \\"/etc/passwd\\"")',
    '#line 1 "/etc/passwd"',
    '# 1 "/etc/passwd"',
    'asm(".incbin \\"/etc/passwd\\"");',
    '__asm__(".include \\"/etc/passwd\\"");',
    '#include "link.h"',
]  # fmt: skip


@pytest.mark.parametrize("text", INCLUDES)
def test_what_would_read_another_file_is_refused_before_the_compiler(
    text: str, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard(compiler)
    monkeypatch.setattr(sandbox, "compile_program", lambda *_: pytest.fail("it was compiled"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.h").write_text("")
    (tmp_path / "sub" / "link.h").symlink_to("/etc/passwd")
    message = refused({"a.c": text + "\nint main(void) { return 0; }\n"}, compiler,
                      folder=tmp_path / "sub")  # fmt: skip
    assert re.search(r"a\.c: line \d|link\.h: it leads out", message)


ASSEMBLED = [
    # What preprocessing makes of pieces, and what a name carries into the assembler's text.
    '#define P(a, b) a##b\nP(as, m)(".incbin \\"%s\\"");\n',
    'char s[] __attribute__((section(".data\\n\\t.incbin \\"%s\\"\\n#"))) = "x";\n',
    'char s[] __attribute__((section("a\\n\\t.MACRO m\\n.inc\\\\()bin \\"%s\\"\\n#"))) = "x";\n',
    '#include <sys/cdefs.h>\nint __REDIRECT(f, (void), x\\n .incbin "%s"\\n);\n'
    "int f(void) { return 0; }\n",
]


@pytest.mark.parametrize("text", ASSEMBLED)
@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_no_name_tells_the_assembler_to_read_a_file(text: str, name: str, tmp_path: Path) -> None:
    compiler = compiler_or_skip(name)
    (tmp_path / "secret").write_text(SECRET)
    text = text.replace("%s", str(tmp_path / "secret")) + "int main(void) { return 0; }\n"
    refused({"a.c": text}, compiler)


@pytest.mark.parametrize("walls", ["landlock", "bubblewrap"])
@pytest.mark.parametrize("name", ["gcc", "clang", "zig", "tcc"])
def test_the_walls_hold_alone_where_no_text_is_read(
    name: str, walls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = compiler_or_skip(name)
    if walls == "landlock" and not sandbox_child.landlock_version():
        pytest.skip("the kernel has no Landlock")
    wall = shutil.which("bwrap")
    if walls == "bubblewrap" and not (
        wall and subprocess.call([wall, "--ro-bind", "/", "/", "true"]) == 0
    ):
        pytest.skip("bubblewrap is not here, or does not work")
    monkeypatch.setattr(sandbox_compile, "walls", lambda compiler: walls)
    monkeypatch.setattr(sandbox_compile, "assembler_reads", lambda text: None)
    monkeypatch.setattr(sandbox_compile, "_check_read", lambda *_: None)
    monkeypatch.setattr(sandbox, "includes", lambda text: [])
    secret = tmp_path / "secret"
    secret.write_text(f'static const char held[] = "{SECRET}";\n')
    reads = [f'#include "{secret}"\n']
    if name != "tcc":  # which knows no .incbin
        reads.append(
            f'__asm__(".globl held\\nheld: .incbin \\"{secret}\\"");\nextern const char held[];\n'
        )
    prints = "#include <stdio.h>\nint main(void) { puts(held); return 0; }\n"
    for read in reads:
        refused({"a.c": read + prints}, compiler)
    plain = 'static const char held[] = "x";\n'
    assert run({"a.c": plain + prints}, "a.c", compiler).stdout == b"x\n"


def test_what_the_compiler_says_that_it_read_is_checked_without_walls(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sandbox_compile.writes_assembly(compiler):
        pytest.skip("this compiler is called behind walls only")
    monkeypatch.setattr(sandbox_compile, "walls", lambda compiler: "")
    monkeypatch.setattr(sandbox, "includes", lambda text: [])
    secret = tmp_path / "secret.h"
    secret.write_text("int held;\n")
    text = f'#include "{secret}"\nint main(void) {{ return held; }}\n'
    assert "neither the system's nor its own" in refused({"a.c": text}, compiler)
    secret.write_text(SECRET)  # its errors would show what is in it
    refused({"a.c": text}, compiler)


def test_what_a_program_says_last_is_told_without_control_characters(compiler: Compiler) -> None:
    text = (
        "#include <stdio.h>\n#include <stdlib.h>\n"
        'int main(void) { fputs("first\\nred \\033[31m\\a", stderr); abort(); }\n'
    )
    assert "aborted itself: red  [31m" in refused({"a.c": text}, compiler)


def test_errors_name_the_line_and_what_is_missing(compiler: Compiler) -> None:
    assert refused({"a.c": "int main(void) {\n    return b;\n}\n"}, compiler).startswith("a.c:2:")
    assert "a.c" in refused({"a.c": '#include "none.h"\nint main(void) { return 0; }\n'}, compiler)
    assert "away" in refused(
        {"a.c": "int away(void);\nint main(void) { return away(); }\n"}, compiler
    )
    with pytest.raises(SettingError, match=r"main='b\.c': allowed a\.c"):
        run({"a.c": ""}, "b.c", compiler)
    for name in ("/tmp/a.c", "../a.c", "-o.c", "sub/a.c", "a b.c"):
        refused({name: "int main(void) { return 0; }\n"}, compiler)


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory_mb", 1 << 20), ("memory_mb", 1), ("cpu_seconds", 0), ("output_kb", 1.5)],
)
def test_limits_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"{field}={value}: allowed "):
        Limits(**{field: value})  # type: ignore[arg-type]


def test_a_compiler_that_makes_nothing_is_refused(compiler: Compiler) -> None:
    with pytest.raises(SandboxError, match="guard=None: allowed seccomp or bubblewrap"):
        guard(replace(compiler, command=("false",)))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_numbers_of_system_calls_are_the_kernels(machine: str) -> None:
    places = {
        "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h",),
        "aarch64": ("/usr/include/asm-generic/unistd.h",),
    }
    header = next((Path(place) for place in places[machine] if Path(place).exists()), None)
    if header is None:
        pytest.skip("linux-libc-dev is not installed")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    known = {name: int(number) for name, number in re.findall(pattern, header.read_text())}
    column = sandbox_child.ARCHITECTURES[machine][1]
    tables = (sandbox_child.FREE, sandbox_child.ANSWERED, sandbox_child.CHECKED)
    for name, numbers in ((n, v) for table in tables for n, v in table.items()):
        renamed = "fstatat" if name == "newfstatat" and machine == "aarch64" else name
        assert numbers[column] == known.get(renamed), name


def judged(rules: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel makes of a call: its BPF machine, as far as these filters go."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    program = list(struct.iter_unpack("=HBBI", rules))
    at = held = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x06:
            return int(k)
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, k)
        elif code == 0x14:
            held = (held - k) % 2**32
        else:
            at += yes if {0x15: held == k, 0x35: held >= k, 0x45: held & k != 0}[code] else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_it_names_and_nothing_else(machine: str) -> None:
    audit, column = sandbox_child.ARCHITECTURES[machine]
    static = sandbox_child.seccomp_filter("static", 77, machine)
    free = {numbers[column] for numbers in sandbox_child.FREE.values()}
    asked = {numbers[column] for numbers in sandbox_child.ANSWERED.values()}
    checked = {name: numbers[column] for name, numbers in sandbox_child.CHECKED.items()}
    allow, kill = sandbox_child.ALLOW, sandbox_child.KILL
    for number in [*range(1000), *(0x4000_0000 + number for number in range(600))]:
        if number not in checked.values():
            verdict = judged(static, audit, number)
            assert (verdict == allow) == (number in free)
            assert (verdict == kill) == (number not in free | asked)
        assert judged(static, 0x4000_0003, number) == kill  # as a 32-bit program calls
    where = sandbox_child.EXEC_PATH
    for name, arguments, verdict in [
        ("execve", (where,), allow),
        ("execve", (where + 1,), kill),
        ("execve", (where + (1 << 32),), kill),
        ("execve", (0,), kill),
        ("mmap", (0,), allow),
        ("mmap", (where - (32 << 30) - 1, 16 << 30), allow),
        ("mmap", (where - (32 << 30),), kill),
        ("mmap", (where,), kill),
        ("mmap", (where + (4 << 30) - 1,), kill),
        ("mmap", (0x7F00_0000_0000,), allow),
        ("mremap", (0, 1, 2, 1), allow),
        ("mremap", (0, 1, 2, 3, where), kill),
        ("mremap", (0, 1, 2, 5), kill),
        ("kill", (77, 6), allow),
        ("kill", (1, 9), kill),
        ("kill", (2**64 - 1, 9), kill),
        ("tgkill", (77, 77, 6), allow),
        ("prlimit64", (0, 0, 0, where), allow),
        ("prlimit64", (0, 0, where, 0), kill),
        ("prlimit64", (1, 0, 0, where), kill),
        ("fcntl", (1, 0), kill),
        ("openat", (0, where, 0), kill),
        ("wait4", (), kill),
    ]:
        number = checked[name]
        assert number is not None and judged(static, audit, number, *arguments) == verdict, name
    dynamic = sandbox_child.seccomp_filter("dynamic", 77, machine)
    for flags, verdict in [(0, allow), (os.O_CLOEXEC, allow), (1, kill), (os.O_CREAT, kill)]:
        assert judged(dynamic, audit, checked["openat"] or 0, 0, 0, flags) == verdict


def test_the_assemblers_text_is_read_at_its_statements() -> None:
    for line in ('.incbin "x"', 'a: .include "x"', 'nop; .INCBIN "x"', "/* */ .macro m"):
        assert assembler_reads(f"main:\n\tret\n\t{line}\n")
    for line in ('.string "see x.include"', ".size main, .-main", ".reptile"):
        assert not assembler_reads(f"main:\n\tret\n\t{line}\n")


PIECES = ["#", "%:", "include", " ", '"q.h"', "/*", "*/", "//", "\\\n", "\n", "'", '"', 'R"(', ')"',
          "#define X ", "X", "\t", "\x0b", "#if 0\n", "#endif\n", "/", "\\", "#error ", "#pragma ",
          "(", ")", "##", "\u00a0", '\n#include "q.h"\n', '\n%:include "q.h"\n', "??=", "??/",
          "\r", "\\ \n", "#include ", "#warning /*"]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_compiler_reads_what_the_scan_did_not_see(text: str) -> None:
    try:
        if any(name == "q.h" for _, name in includes(text)):
            return
    except ScanError:
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "q.h").write_text("#error READ\n")
        (Path(folder) / "a.c").write_text(text, newline="")
        for name in ("gcc", "clang", "tcc"):
            try:
                command = find_compiler(name).command
            except SettingError:
                continue
            said = subprocess.run([*command, "-E", "a.c"], cwd=folder, capture_output=True)
            assert b"READ" not in said.stderr, name
