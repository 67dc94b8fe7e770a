"""The page of a study: claim, source, criterion, verdict, what was measured, figures."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.speed import figure
from lego.corpus import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "README.md"


@dataclass(frozen=True)
class Table:
    title: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Picture:
    """``name``: of the file, without ``.png``. ``caption``: what is drawn, and how to read it."""

    name: str
    figure: Figure
    caption: str


def write_page(out: Path, results: Mapping[str, Any], shown: Sequence[Table | Picture]) -> None:
    """``out/README.md`` and its pictures, and the list of all studies in the folder above."""
    for picture in shown:
        if isinstance(picture, Picture):
            with whole_file(out / f"{picture.name}.png") as temporary:
                picture.figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    with whole_file(out / PAGE) as temporary:
        temporary.write_text(page(results, shown))
    with whole_file(out.parent / PAGE) as temporary:
        temporary.write_text(contents(out.parent))


def page(results: Mapping[str, Any], shown: Iterable[Table | Picture]) -> str:
    """The page in markdown."""
    seconds = sum(unit["seconds"] for unit in results["measured"])
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    settings = ", ".join(f"{name}={_words(value)}" for name, value in results["settings"].items())
    parts = [
        f"# {results['study']}: {results['verdict']}",
        f"**Claim.** {_text(results['claim'])}",
        f"**Source.** {_text(results['source'])}",
        f"**Method.** {_text(results['method'])}",
        f"**Our reconstruction.** {_text(results['reconstruction'])}",
        f"**Criterion, fixed in advance.** {_text(results['criterion'])}",
        f"**Verdict: {results['verdict']}.**",
        markdown(_checks(results["checks"])),
    ]
    for one in shown:
        if isinstance(one, Table):
            parts += [f"## {one.title}", markdown(one.table)]
        else:
            caption = _text(one.caption)
            parts += [f"![{caption}]({one.name}.png)", f"*{caption}*"]
    parts += [
        "## How it was made",
        f"```bash\n{command(results)}\n```",
        f"{seconds:,.0f} s of CPU time on {machine}; lego {results['lego']}. Settings: {settings}. "
        "Every number, with its seed, is in [results.json](results.json).",
    ]
    return "\n\n".join(parts) + "\n"


def command(results: Mapping[str, Any]) -> str:
    """The command that makes these results."""
    seeds: list[int] = results["seeds"]
    first, last = seeds[0], seeds[-1]
    named = f"{len(seeds)}" if first == 0 else f"{first}-{last}"
    words = [f"python -m benchmarks run {results['study']}", f"--scale {results['scale']}"]
    words += [f"--seeds {named}"]
    words += [f"--{name} {value}" for name, value in results["given"].items()]
    return " ".join(words)


def contents(folder: Path) -> str:
    """A page that lists the studies in a folder, with their verdicts."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*/results.json"))]
    lines = [
        {
            "study": f"[{one['study']}]({one['study']}/{PAGE})",
            "claim": _text(one["claim"]),
            "verdict": one["verdict"],
            "scale": one["scale"],
            "seeds": len(one["seeds"]),
        }
        for one in found
    ]
    return f"# Studies\n\n{markdown(pd.DataFrame(lines))}\n"


def _checks(checks: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    lines = []
    for check in checks:
        side = "at least" if check["above"] else "at most"
        low, high = _number(check["low"]), _number(check["high"])
        control = check["control"]
        lines.append(
            {
                "required": ("control, must fail: " if control else "") + check["name"],
                "measured": _number(check["estimate"]),
                "interval": f"{low} .. {high} ({check['interval']}, {check['seeds']} seeds)",
                "bound": f"{side} {_number(check['bound'])}",
                "outcome": check["outcome"],
            }
        )
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame) -> str:
    """A table in markdown: numbers to three digits, on the right."""
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    lines = ["| " + " | ".join(map(str, table.columns)) + " |"]
    lines.append("| " + " | ".join("---:" if number else "---" for number in numeric) + " |")
    for row in table.itertuples(index=False):
        lines.append("| " + " | ".join(map(_number, row)) + " |")
    return "\n".join(lines)


def _number(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool | str | int):
        return str(value).replace("|", "\\|")
    small = 0 < abs(value) < 1e-3
    return f"{value:.2g}" if small or abs(value) >= 1e7 else figure(value)


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _text(text: str) -> str:
    """One line, as markdown wants it, of a text that the source wraps."""
    return " ".join(textwrap.dedent(text).split())
