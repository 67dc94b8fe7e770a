"""``python -m benchmarks list`` and ``python -m benchmarks run NAME``."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from importlib import import_module
from types import ModuleType

from benchmarks import speed
from lego.command import exit_code
from lego.task import choose


def found() -> dict[str, ModuleType]:
    """The comparisons by name, ``speed-`` and the file's name."""
    return {
        f"speed-{module.name}": import_module(f"{speed.__name__}.{module.name}")
        for module in pkgutil.iter_modules(speed.__path__)
    }


def show_all(args: argparse.Namespace) -> int:
    for name, module in found().items():
        print(f"{name:20} {(module.__doc__ or '').splitlines()[0]}")
    return 0


def run(args: argparse.Namespace) -> int:
    modules = found()
    choose("NAME", args.name, tuple(modules))
    print(modules[args.name].measure().table())
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("list", help="what there is")
    sub.set_defaults(call=show_all)
    sub = commands.add_parser("run", help="run one and print what was measured")
    sub.add_argument("name", metavar="NAME", help="a name that list shows")
    sub.set_defaults(call=run)
    args = parser.parse_args(argv)
    return exit_code("benchmarks", lambda: args.call(args))


if __name__ == "__main__":
    sys.exit(main())
