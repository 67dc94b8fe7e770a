"""The truth about a chain, from its text alone: no code is shared with the sampler."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lego.groups import Action
from lego.task import IGNORED, require

HOPS = 2  # the shortcut k-hop follows the chain this far from its root
CLAUSE_TOKENS = 5


@dataclass(frozen=True)
class Link:
    """A variable of a solved chain: its name, the indices of its operator and state, its clause."""

    variable: str
    operator: int
    value: int
    clause: int


def solve(text: str, action: Action) -> list[Link]:
    """Parse a sentence and walk its chain from the root: the oracle of ``lego verify``.

    Raises SettingError when the text is not one chain in which every variable is defined once.
    """
    clauses = re.findall(r"(\S+) = (\S+) (\S+) ,(?: |$)", text)
    whole = " ".join(f"{left} = {operator} {argument} ," for left, operator, argument in clauses)
    require(bool(clauses) and whole == text, "text", text, "clauses of the form 'x = operator y ,'")
    after = {argument: i for i, (_, _, argument) in enumerate(clauses)}
    roots = [state for state in action.states if state in after]
    defined = {left for left, _, _ in clauses}
    held = len(roots) == 1 and len(after) == len(defined) == len(clauses)
    require(held, "text", text, "one root, and each variable defined once and used at most once")
    chain: list[Link] = []
    argument, value = roots[0], action.states.index(roots[0])
    while argument in after:
        clause = after.pop(argument)
        argument, word, _ = clauses[clause]
        require(word in action.operators, "operator", word, ", ".join(action.operators))
        operator = action.operators.index(word)
        value = int(action.table[operator, value])
        chain.append(Link(argument, operator, value, clause))
    require(not after, "text", text, "a single chain")
    return chain


def published(
    text: str, ids: list[int], asked: int, n: int, action: Action
) -> dict[str, str | list[int]]:
    """The columns of a row as its text gives them; ids: what the tokenizer makes of the text.

    asked: how many chain positions have a label. Raises SettingError as ``solve`` does, and for a
    chain of another length than n.
    """
    chain = solve(text, action)
    require(len(chain) == n, "text", text, f"{n} clauses")
    positions = [1 + CLAUSE_TOKENS * link.clause for link in chain]  # [CLS] is token 0
    labels = [IGNORED] * len(ids)
    for link, position in zip(chain[:asked], positions, strict=False):
        labels[position] = link.value
    last = chain[asked - 1]
    root = whole = chain[0].value
    for link in sorted(chain, key=lambda link: link.clause):
        whole = int(action.table[link.operator, whole])
    return {
        "input_ids": ids,
        "labels": labels,
        "prompt": f"{text} {last.variable} = {action.operators[0]}",
        "answer": action.states[last.value],
        "values": [link.value for link in chain],
        "positions": positions,
        "clause_order": [link.clause for link in chain],
        "shortcut_whole-chain": [whole] * n,
        "shortcut_own-clause": [root, *(int(action.table[x.operator, 0]) for x in chain[1:])],
        "shortcut_root": [root] * n,
        "shortcut_k-hop": [x.value if depth <= HOPS else 0 for depth, x in enumerate(chain)],
        "shortcut_majority": [0] * n,
    }
