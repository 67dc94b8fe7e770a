"""What every command line of the project shares: its arguments' form and its way to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from lego.task import SettingError, require


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """``["n=8", "group=d3"]`` as a dict; values are read as YAML, so 8 is an int."""
    fields = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        require(bool(name and sign), "argument", pair, "field=value")
        try:
            fields[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            require(False, name, value, "a YAML value")
    return fields


def exit_code(program: str, call: Callable[[], int]) -> int:
    """Run a command. 0: done; 1: faults found, or files not written; 2: bad input, in one line."""
    try:
        code = call()
        sys.stdout.flush()
        return code
    except SettingError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as of ``| head``: the reader has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    except OSError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
