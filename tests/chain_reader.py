"""A second reading of chains, in plain Python from the text: slow, obvious, and nobody else's.

It knows the surface forms by their look and solves a sentence by walking from each variable up to
its root. Only the table of the group comes from lego.
"""

import re
from dataclasses import dataclass

HOPS = 2
PATTERNS = {
    "paper": r"(\S+) = (\S+) (\S+) , ?",
    "causal": r"(\S+) = (\S+) (\S+) , ?",
    "causal-all": r"(\S+) = (\S+) (\S+) , ?",
    "compact": r"([a-z]+)=([+-]|[^=;]+\*)([^=;*]+);",
    "english": r"(\S+) (equals|is the opposite of|is \S+ applied to) ([^\s.]\S*)\. ?",
}


@dataclass(frozen=True)
class Variable:
    name: str
    operator: str  # the group's word
    argument: str
    clause: int
    depth: int
    value: int
    root: str


def clauses_of(text, form, action):
    """[(left, operator, argument)] in the order of the text; fails on anything left over."""
    sentence = text.split(" ? ")[0] if form.startswith("causal") else text
    found = list(re.finditer(PATTERNS[form], sentence))
    assert "".join(match[0] for match in found) == sentence, text
    identity = action.operators[0]
    words = {"+": identity, "-": "not", "equals": identity, "is the opposite of": "not"}
    plain = []
    for match in found:
        operator = match[2]
        if form == "compact":
            operator = words.get(operator, operator.removesuffix("*"))
        if form == "english":
            operator = words.get(operator) or operator.split()[1]
        plain.append((match[1], operator, match[3]))
    return plain


def answered(text):
    """[(name, state)] after the question mark of a causal sentence."""
    return re.findall(r"(\S+) = (\S+)", text.split(" ? ")[1])


def solve(text, form, action):
    """{name: Variable} by walking up from each variable."""
    clauses = clauses_of(text, form, action)
    defined = {
        left: (k, operator, argument) for k, (left, operator, argument) in enumerate(clauses)
    }
    assert len(defined) == len(clauses), "a variable is defined twice"

    def walk(name):
        clause, operator, argument = defined[name]
        if argument not in defined:
            assert operator == action.operators[0]
            return Variable(
                name, operator, argument, clause, 0, action.states.index(argument), name
            )
        above = walk(argument)
        value = int(action.table[action.operators.index(operator), above.value])
        return Variable(name, operator, argument, clause, above.depth + 1, value, above.root)

    return {name: walk(name) for name in defined}


def chain_order(solved, config):
    """The variables in chain order: (asked, others)."""
    everything = list(solved.values())
    trees = {}
    for variable in everything:
        trees.setdefault(variable.root, []).append(variable)
    asked = everything
    if config.roots == 1:
        asked = max(trees.values(), key=len)
        assert [len(t) for t in trees.values()].count(len(asked)) == 1, "which tree is asked?"
        if config.shape == "chain":
            deepest = max(v.depth for v in asked)
            (end,) = [v for v in asked if v.depth == deepest]
            asked = [end]
            while asked[-1].depth:
                asked.append(solved[asked[-1].argument])
    by_depth = sorted(asked, key=lambda v: (v.depth, v.clause))
    others = [v for v in everything if v not in asked]
    return by_depth, sorted(others, key=lambda v: (v.depth, v.clause))


def shortcuts(solved, asked, action):
    """{shortcut: [answer]} by the definitions in words."""
    written = sorted(solved.values(), key=lambda v: v.clause)
    found = {"whole-chain": [], "own-clause": [], "root": [], "k-hop": [], "majority": []}
    for variable in asked:
        root = solved[variable.root].value
        state = root
        for other in written:
            state = int(action.table[action.operators.index(other.operator), state])
        own = int(action.table[action.operators.index(variable.operator), 0])
        found["whole-chain"].append(state)
        found["own-clause"].append(own if variable.depth else root)
        found["root"].append(root)
        found["k-hop"].append(variable.value if variable.depth <= HOPS else 0)
        found["majority"].append(0)
    return found
