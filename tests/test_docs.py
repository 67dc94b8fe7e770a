"""What the README and the pages of docs/ show is what their code prints."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cexec.native import find_compiler
from cexec.sandbox import guard
from cexec.sandbox_compile import is_zig
from lego.cli import main
from lego.presets import preset_page
from lego.task import SettingError

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# A block of code, and what it prints, if that stands right below it. Of the blocks in bash, those
# below the line <!-- run --> are run.
BLOCK = re.compile(r"^(<!-- run -->\n)?```(\w+)\n(.*?)^```\n(?:```\n(.*?)^```\n)?", re.S | re.M)
END = "\x1e"  # printed after each block


def notebook(page, kind="python"):
    """A script of all blocks of a page, on the page's own lines, and what each should print.

    The lines are for tracebacks. A page has one process, as a notebook has. ``kind``: "py" for the
    blocks that are not run with the others.
    """
    script, expected = "", []
    for block in BLOCK.finditer(page):
        run, language, code, printed = block.groups()
        if language == "bash" and run:
            bash = ["bash", "-e", "-o", "pipefail", "-c", code]
            lines = code.count("\n")
            code = f"import subprocess; subprocess.run({bash}, check=True)" + "\n" * lines
        elif language != kind:
            continue
        script += "\n" * (page.count("\n", 0, block.start(3)) - script.count("\n"))
        script += f"{code}print({END!r}, end='', flush=True)\n"
        expected.append(printed)
    return script, expected


def compiler_or_skip():
    try:
        compiler = find_compiler(sanitize=True)
        if not is_zig(compiler):
            guard(compiler)
    except SettingError as error:
        pytest.skip(f"no compiler with sanitizers, or no guard for it: {error}")
    if is_zig(compiler):
        pytest.skip("zig alone is here, which builds its C library first, for a minute or more")


def test_the_ten_lines_print_what_stands_below_them():
    code, printed = re.search(
        r"```python\n(.*?)```\n```\n(.*?)```", README.read_text(), re.S
    ).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == printed


@pytest.mark.parametrize(
    "name",
    [
        "use-a-corpus", "chains", "c-programs", "zoo", "train", "probes", "resolve",
        "interventions", "interop",
    ],
)  # fmt: skip
def test_the_blocks_of_a_page_print_what_stands_below_them(name, tmp_path):
    if name == "c-programs":  # it traces C in the sandbox, and asks for sanitizers
        compiler_or_skip()
    prints_what_it_shows(name, "python", tmp_path)


@pytest.mark.skipif(
    find_spec("transformer_lens") is None,
    reason="TransformerLens is of the extra bench, not of test: it is large",
)
def test_the_block_on_transformer_lens_prints_what_stands_below_it(tmp_path):
    prints_what_it_shows("interop", "py", tmp_path)


def prints_what_it_shows(name, kind, tmp_path):
    script, expected = notebook((ROOT / "docs" / f"{name}.md").read_text(), kind)
    assert expected
    work = tmp_path / "work"
    work.mkdir()
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-u", "-c", script],
        cwd=work,
        env=os.environ | {"PATH": tools, "HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for out, shown in zip(done.stdout.split(END)[:-1], expected, strict=True):
        if shown is not None:
            assert out == shown


@pytest.mark.parametrize(("name", "file"), [("chains", "presets"), ("cexec", "c-presets")])
def test_the_page_of_presets_is_what_its_command_prints(name, file):
    page = (ROOT / "docs" / f"{file}.md").read_text()
    rows = int(re.search(rf"`lego presets {name} --rows (\d+)`", page)[1])
    assert preset_page(name, rows) == page


def test_the_page_of_models_is_what_its_command_prints(capsys):
    page = (ROOT / "docs" / "models.md").read_text()
    command = re.search(r"`lego (models .*?)`", page)[1]
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == page
