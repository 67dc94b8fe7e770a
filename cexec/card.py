"""What the dataset card says of a config of C programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lego.task import config_name

if TYPE_CHECKING:
    from cexec.task import CexecTask

ROWS = 10_000  # of train, from which the balance is counted

_OPERATORS = {
    "copy": "copies and negations alone",
    "ring": "constants, copies, negations and `+ - *`",
    "all": "all of C's arithmetic, bitwise, comparison, logical and conditional operators",
}
_CONSTRUCTS = {
    "if": "`if` and `else`",
    "for": "`for` loops",
    "while": "`while` loops",
    "jump": "`break` and `continue`",
    "array": "an array",
    "call": "a function",
    "recursion": "a recursive function",
    "pointer": "a struct, a pointer to it and a pointer to a scalar",
}
_TYPES = {"int": "int", "unsigned": "unsigned", "uchar": "unsigned char"}


def entropy(values: np.ndarray) -> float:
    """In bits, of how often each value occurs."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log2(shares)).sum())


def balance(task: CexecTask) -> dict[str, float]:
    """Of ROWS rows of train: the entropy of answers in bits, that of all values of the domain, and
    the share of the conditions of ``if`` that held (nan where there is none)."""
    ran = task.executed(task.sample("train", 0, ROWS))
    config = task.config
    sizes = {"int": 2 * config.modulus - 1, "unsigned": config.modulus, "uchar": 256}
    if config.operators == "copy":  # nothing but constants and their negations
        sizes = dict.fromkeys(sizes, 2 * config.literals("train")[1])
    branches, taken = ran["facts"][:, 1].sum(), ran["facts"][:, 2].sum()
    return {
        "entropy": entropy(ran["answers"]),
        "domain": float(np.log2(sizes[config.domain])),
        "taken": taken / branches if branches else float("nan"),
    }


def describe(task: CexecTask) -> str:
    """Markdown: what a row is, how it is made, how balanced it is, which shortcuts there are."""
    config = task.config
    operators = _OPERATORS[config.operators]
    if config.operators == "ring" and config.domain == "uchar":
        operators += " and `^`"
    holds = [_CONSTRUCTS[construct] for construct in config.constructs]
    may = f", and which may hold {', '.join(holds)}" if holds else ""
    values = f"`{_TYPES[config.domain]}`"
    if config.domain == "int":
        values += f", brought to {1 - config.modulus} .. {config.modulus - 1} by `%` in the text"
    if config.domain == "unsigned":
        values += f", brought to 0 .. {config.modulus - 1} by `%` in the text"
    found = balance(task)
    taken = f"; {found['taken']:.0%} of the conditions of `if` hold" if config.branches else ""
    asked = "the deepest chain of dependencies"
    if config.dependency_depth:
        asked = f"a chain of {config.dependency_depth} dependencies"
    functions = "call" in config.constructs or "recursion" in config.constructs
    called = " (a call writes its parameters)" if functions else ""
    read = (
        f"`print` and the variable, the word `trace`, and the log in the format "
        f"`{config.format}` with the answer; `labels` are the tokens after `trace`"
        if config.form == "causal"
        else "and `print` and the variable; `labels` are the values last written, at the names"
    )
    branch = " and `no-branch` (every `if` is taken)" if config.branches else ""
    return "\n\n".join(
        [
            f"Config `{config_name(type(task), config)}`: C programs with {config.variables} "
            f"variables and {config.statements} statements after their declarations, of "
            f"{operators}{may}. All values are {values}. Nothing is undefined: what C would not "
            f"define is guarded in the text. The paper's own generator of C programs is not "
            f"published: this one is our reconstruction.",
            f"`source` is a complete C11 program, `trace` has every write in order with its line "
            f"in `source`{called}, and `stdout` is what it prints: the variable at the end of "
            f"{asked}. `text` is what a small model reads: the words of the statements, {read}. "
            f"`dependency_depth` and `distractors`, the writes that the answer does not depend on, "
            f"count dependencies between values, not what decides a branch. Programs that differ "
            f"in names alone belong to the same split. Examples longer than {config.length} tokens "
            f"are drawn anew.",
            f"Balance, of {ROWS:,} rows of train: the answers' entropy is {found['entropy']:.2f} "
            f"bits, {found['entropy'] / found['domain']:.0%} of the {found['domain']:.2f} bits of "
            f"all values{taken}.",
            f"Known shortcuts for what is printed: `initial-value` (the variable's first value), "
            f"`last-constant` (the last constant in the text that is a value){branch} need the "
            f"program alone; `copy-last-write` (the last write's value) and `majority` (the value "
            f"written most often) need its trace.",
        ]
    )
