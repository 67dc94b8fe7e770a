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
    "ring": "constants, copies, negations, and `+ - *` (and `^` with unsigned char)",
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
    holds = [_CONSTRUCTS[construct] for construct in config.constructs]
    values = f"`{_TYPES[config.domain]}`"
    if config.domain != "uchar":
        bound = "+-" if config.domain == "int" else "0 .. "
        values += f", reduced to {bound}{config.modulus - 1} in the program's own text"
    found = balance(task)
    taken = ""
    if found["taken"] == found["taken"]:
        taken = f"; {found['taken']:.0%} of the conditions of `if` hold"
    asked = "the deepest chain of dependencies"
    if config.dependency_depth:
        asked = f"a chain of {config.dependency_depth} dependencies"
    return "\n\n".join(
        [
            f"Config `{config_name(type(task), config)}`: C programs with {config.variables} "
            f"variables and {config.statements} statements after their declarations: "
            f"{'; '.join([_OPERATORS[config.operators], *holds])}. All values are {values}. "
            f"Nothing is undefined: divisors, shifts, indices and overflow are guarded in the "
            f"text. The paper's own generator of C programs is not published: this one is our "
            f"reconstruction.",
            f"`source` is a complete C11 program, `trace` has every write in order (line numbers "
            f"of `source`; a call writes its parameters), and `stdout` is what it prints: the "
            f"variable at the end of {asked}. `text` is what a small model reads: the words of the "
            f"statements, `print` and the variable, and then, for a causal model, the word `trace` "
            f"and the log in the format `{config.format}` with the answer; `labels` are the tokens "
            f"after `trace`, or for an encoder the value last written to each name. Depths and "
            f"`distractors`, the writes that the answer does not depend on, count dependencies "
            f"between values, not what decides a branch. Programs that differ in names alone fall "
            f"into the same split. Examples longer than {config.length} tokens are drawn anew.",
            f"Balance, of {ROWS:,} rows of train: the answers' entropy is {found['entropy']:.2f} "
            f"bits, {found['entropy'] / found['domain']:.0%} of the {found['domain']:.2f} bits of "
            f"all values{taken}.",
            "Known shortcuts for what is printed: `initial-value` (the variable's first value), "
            "`last-constant` (the last constant in the text that is a value), `copy-last-write` "
            "(the last write's value), `majority` (the value written most often) and `no-branch` "
            "(every `if` is taken).",
        ]
    )
