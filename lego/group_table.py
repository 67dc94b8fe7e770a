"""A user's own group as text: read from a file, a mapping or JSON, written as canonical JSON.

An entry of a table is a word or an index: a string is always a word, an integer always an index.
So all words are strings, and YAML needs quotes around ``0`` or ``no``, which it reads otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from lego.task import require

KEYS = ("name", "operators", "states", "product", "action")
SUFFIXES = (".yaml", ".yml", ".json")
LIMIT = 128  # operators, and states; their triples are all checked
SHOWN = 60  # characters of a table that an error repeats
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C: a tenth of the time
UNREADABLE = (OSError, ValueError, RecursionError, yaml.YAMLError)


class GroupTable(NamedTuple):
    """What ``lego.groups.Action`` is made of, in its order; operator 0 is the identity."""

    name: str
    operators: tuple[str, ...]
    states: tuple[str, ...]
    product: np.ndarray  # (g, g) int
    action: np.ndarray  # (g, x) int


def as_text(source: str | Mapping[str, Any]) -> str:
    """A mapping, or a file's content, as JSON that ``decoded`` reads; other strings as they are.

    Raises SettingError for a file that cannot be read or holds no mapping.
    """
    content: Any = source
    shown = source if isinstance(source, str) else str(source)[:SHOWN]
    if isinstance(source, str):
        if source.startswith("{") or not source.endswith(SUFFIXES):
            return source
        try:
            text = Path(source).read_text(encoding="utf-8")
            content = json.loads(text) if source.endswith(".json") else yaml.load(text, LOADER)
        except UNREADABLE as error:
            require(False, "group", shown, f"a readable file; {' '.join(str(error).split())}")
    keys = f"a mapping with the keys {', '.join(KEYS)}"
    require(isinstance(content, Mapping), "group", shown, keys)
    try:
        return json.dumps(dict(content), default=methodcaller("tolist"))  # arrays are welcome
    except (AttributeError, TypeError, ValueError, RecursionError):
        require(False, "group", shown, f"{keys}, to words, integers and lists of them")
        raise AssertionError from None  # require has raised


def decoded(text: str) -> GroupTable:
    """The group of a JSON text, with the identity moved to the front and all words as they were.

    With ``product`` alone the group acts on itself; with ``action`` alone the product is derived.
    That the two obey the laws is left to ``Action``. Raises SettingError for all else.
    """
    content: Any = None
    try:
        content = json.loads(text)
    except UNREADABLE as error:
        require(False, "group", text[:SHOWN], f"JSON; {error}")
    require(isinstance(content, dict), "group", text[:SHOWN], "a JSON object")
    name = content.get("name", text[:SHOWN])
    held = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None
    require(held, "group", name, "a name of letters, digits, - and _")
    for key in content:
        require(key in KEYS, "group", name, f"the keys {', '.join(KEYS)}; not {key!r}")
    acts, multiplies = "action" in content, "product" in content
    require(acts or multiplies, "group", name, "a product or an action")
    require(acts == ("states" in content), "group", name, "states with an action, and only then")

    operators = states = checked_words(name, "operators", content.get("operators"))
    if multiplies:
        product = action = _indices(name, "product", content["product"], operators, operators)
    if acts:
        states = checked_words(name, "states", content["states"])
        action = _indices(name, "action", content["action"], operators, states)
        product = product if multiplies else _composed(name, operators, action)

    everything = np.arange(len(operators))
    neutral = np.all((product == everything) & (everything == product.T), axis=1)
    require(bool(neutral.any()), "group", name, "an identity among the operators; none is")
    order = np.argsort(~neutral, kind="stable")  # new place -> old: the identity, then the others
    operators = tuple(operators[old] for old in order)
    product = np.argsort(order)[product[np.ix_(order, order)]]
    if acts:
        return GroupTable(name, operators, states, product, action[order])
    return GroupTable(name, operators, operators, product, product)


def encoded(table: GroupTable) -> str:
    """The canonical JSON of a group, all in words: ``decoded`` gives the same group back."""
    operators, states = np.array(table.operators), np.array(table.states)
    content = {
        **table._asdict(),
        "product": operators[table.product].tolist(),
        "action": states[table.action].tolist(),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def checked_words(name: str, key: str, given: Any) -> tuple[str, ...]:
    """The words of operators or states. Raises SettingError unless all fit into a sentence."""
    held = isinstance(given, (list, tuple)) and 1 <= len(given) <= LIMIT
    require(held, "group", name, f"a list of 1..{LIMIT} words as {key}")
    for place, word in enumerate(given):
        held = isinstance(word, str) and word.isprintable()
        held = held and re.fullmatch(r"[^\s=,;*?]+", word) is not None
        rule = f"strings as {key}, not empty, without whitespace or any of = , ; * ?; not {word!r}"
        require(held, "group", name, rule)
        require(word not in given[:place], "group", name, f"distinct {key}; {word!r} is repeated")
    return tuple(given)


def _indices(
    name: str, key: str, rows: Any, operators: Sequence[str], targets: Sequence[str]
) -> np.ndarray:
    """(operators, targets) int from rows of words or indices of targets."""
    held = isinstance(rows, list) and len(rows) == len(operators)
    held = held and all(isinstance(row, list) and len(row) == len(targets) for row in rows)
    require(held, "group", name, f"{len(operators)} rows of {len(targets)} entries as {key}")
    places = {word: place for place, word in enumerate(targets)}
    table = np.empty((len(operators), len(targets)), np.int64)
    for a, row in enumerate(rows):
        for b, entry in enumerate(row):
            place: Any = places.get(entry) if isinstance(entry, str) else entry
            held = type(place) is int and 0 <= place < len(targets)  # True is an int, but no index
            where = f"{key}[{operators[a]!r}, {targets[b]!r}]={entry!r}"
            require(held, "group", name, f"known words or 0..{len(targets) - 1}; not {where}")
            table[a, b] = place
    return table


def _composed(name: str, operators: Sequence[str], action: np.ndarray) -> np.ndarray:
    """(g, g) int: which operator acts as b and then a do."""
    known: dict[tuple[int, ...], int] = {}
    for b, row in enumerate(map(tuple, action.tolist())):
        a = known.setdefault(row, b)
        rule = f"a product where operators act alike; {operators[a]!r} and {operators[b]!r} do"
        require(a == b, "group", name, rule)
    product = np.empty((len(operators), len(operators)), np.int64)
    for a, first in enumerate(operators):
        for b, row in enumerate(map(tuple, action[a][action].tolist())):
            rule = f"a closed action; no operator acts as {first!r} after {operators[b]!r}"
            require(row in known, "group", name, rule)
            product[a, b] = known[row]
    return product
