"""Comparisons of speed, and studies: a claim of a paper each, with a verdict."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import speed, studies, study
from benchmarks.page import PAGE
from lego.command import exit_code
from lego.task import choose, require

SPEED = "speed-"
SCALES = ("smoke", "cpu", "paper")


def names() -> tuple[str, ...]:
    """All that can be run: ``speed-`` and a file's name, or a study's."""
    compared = [f"{SPEED}{module.name}" for module in pkgutil.iter_modules(speed.__path__)]
    claims = [module.name.replace("_", "-") for module in pkgutil.iter_modules(studies.__path__)]
    return (*compared, *claims)


def comparison(name: str) -> Any:
    return import_module(f"{speed.__name__}.{name.removeprefix(SPEED)}")


def show_all(args: argparse.Namespace) -> int:
    for name in names():
        if name.startswith(SPEED):
            line = (comparison(name).__doc__ or "").splitlines()[0]
        else:
            line = " ".join(study.load(name).claim.split())
        print(f"{name:28} {line}")
    return 0


def run(args: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(args).items() if name in args.options}
    for name in args.names:
        choose("NAME", name, names())
    for name in args.names:
        if name.startswith(SPEED):
            print(comparison(name).measure().table())
        else:
            run_study(name, args, given)
    return 0


def run_study(name: str, args: argparse.Namespace, given: Mapping[str, str | None]) -> None:
    known = study.options(study.load(name))
    chosen = {name: value for name in known if (value := given[name]) is not None}
    folder = Path(args.out or f"runs/studies/{args.scale}") / name
    asked = None if args.seeds is None else seeds(args.seeds)
    results = study.run(name, args.scale, folder, asked, chosen, args.workers)
    for check in results["checks"]:
        control = "control, must fail: " if check["control"] else ""
        print(f"  {check['outcome']:14} {control}{check['name']}")
    print(f"{name}: {results['verdict']} ({folder / PAGE})")


def seeds(words: str) -> Sequence[int]:
    """``3`` for 0, 1, 2; ``100-109`` for these."""
    first, dash, last = words.partition("-")
    allowed = "how many (3), or from-to (100-109)"
    require(first.isdigit() and (last.isdigit() if dash else not last), "seeds", words, allowed)
    found = range(int(first), int(last) + 1) if dash else range(int(first))
    require(len(found) > 0, "seeds", words, allowed)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, whatever the verdict; 2 bad usage."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("list", help="what there is")
    sub.set_defaults(call=show_all)
    sub = commands.add_parser(
        "run",
        help="run some and print what was measured",
        description="A comparison of speed prints its table. A study writes results.json, figures "
        "and a page README.md into OUT/NAME, and goes on where it was if it was stopped. "
        "Options of one study alone are told by: run NAME --help.",
    )
    sub.add_argument("names", nargs="+", metavar="NAME", help="a name that list shows")
    sub.add_argument("--scale", choices=SCALES, default="cpu", help="of a study (cpu)")
    sub.add_argument("--seeds", metavar="N|A-B", help="of a study: how many, or from-to")
    sub.add_argument("--out", metavar="DIR", help="of a study (runs/studies/SCALE)")
    sub.add_argument("--workers", type=int, metavar="N", help="of a study: processes (one a core)")
    args = argv or sys.argv[1:]
    claimed = [name for name in args if name in names() and not name.startswith(SPEED)]
    taken = {
        option: about
        for name in claimed
        for option, about in study.options(study.load(name)).items()
    }
    for option, about in taken.items():
        sub.add_argument(f"--{option}", choices=about["choices"] or None, help=about["help"])
    sub.set_defaults(call=run, options=tuple(taken))
    parsed = parser.parse_args(argv)
    return exit_code("benchmarks", lambda: parsed.call(parsed))


if __name__ == "__main__":
    sys.exit(main())
