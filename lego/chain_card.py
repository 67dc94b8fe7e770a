"""What the dataset card of a chain corpus says of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lego.chain_graph import HOPS
from lego.task import config_name

if TYPE_CHECKING:
    from lego.chains import ChainTask

_SPLITS = {
    "test": "as train, and what train has no labels for",
    "test_distractor": "as many clauses, but a good third of them a second chain or tree that "
    "nobody asks about",
    "test_longer": "half as many variables again as the longest sentence of train",
    "test_unused": "as many clauses, but a third of them define variables of no use",
    "test_flipped": "rows 2k and 2k+1 differ by one operator: only the variables that hang on it "
    "may change",
    "test_renamed": "rows 2k and 2k+1 differ by the names of the variables: no answer may change",
    "test_ordered": "the clauses in the order of the chain (reversed, where train has that order)",
}
_COLUMNS = {
    "text": "the sentence",
    "input_ids": "its tokens, between [CLS] and [SEP]",
    "labels": "the answer at each token where one is asked, -100 elsewhere",
    "prompt, answer": "for language models: the sentence with a question, and its answer",
    "values": "the index of each variable's state, in chain order: first what is asked, by depth "
    "(by place in the text where depths are equal), then the rest in the same way",
    "positions": "the token index of each variable in the clause that defines it, in that order",
    "clause_order": "which clause of the sentence that is, from 0, in that order",
    "asked": "how many of the variables are asked about",
    "shortcut_*": "what each known shortcut would answer, for the asked variables in chain order",
}


def describe(task: ChainTask) -> str:
    """Markdown: what a row is, how it is made, its columns, splits and shortcuts."""
    config, action = task.config, task.action
    law = "abelian" if action.abelian else "not abelian"
    law += ", simple" if action.simple else ""
    clause = " ".join(task.form.clause) if task.form.gap else "".join(task.form.clause)
    parts = [f"Config `{config_name(type(task), config)}`: the group {action.name} ({law}) of "]
    states = _some(action.states)
    parts += [
        f"order {action.order} acting on {len(action.states)} states, {states}, which labels "
    ]
    parts += [f"and values number from 0; operators {_some(config.drawn)}. "]
    parts += [_mixture(task) if config.mixture else _shape(task)]
    parts += [f"A clause is written `{clause}`, where a root's operator is the identity and its "]
    parts += ["argument a state. Names are drawn without replacement from "]
    parts += [f"{config.alphabet}, operators and the roots' states uniformly. "]
    if not config.mixture:
        parts += [f"In train the first {config.supervised} of {config.n} variables are asked, "]
        parts += ["elsewhere all. "]
    parts += ["In its default form the sentences are those of the paper's code; other shapes, "]
    parts += ["groups and forms are this project's own."]
    columns = "".join(f"| `{name}` | {text} |\n" for name, text in _COLUMNS.items())
    splits = "".join(f"- `{s}`: {_SPLITS[s]}\n" for s in task.splits if s in _SPLITS)
    return (
        f"{''.join(parts)}\n\n| column | |\n| --- | --- |\n{columns}\n{splits}\n"
        f"Known shortcuts: `whole-chain` (all operators of the sentence, as they stand, applied to "
        f"the root's value; right for the last variable of a chain when the group is abelian), "
        f"`own-clause` (the operator applied to state 0; right for a root), `root` (the root's "
        f"value), `k-hop` (right to depth {HOPS}, then state 0) and `majority` (state 0; all are "
        f"equally common)."
    )


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words[:8]) + (", ..." if len(words) > 8 else "")


def _shape(task: ChainTask) -> str:
    config = task.config
    kind = f"one {config.shape}"
    if config.roots > 1:
        kind = f"a forest of {config.roots} trees"
    if config.shape == "tree":
        kind += ", each variable from a uniformly drawn earlier one"
    parts = [f"A sentence has {config.total} clauses, in {config.order} order: {config.n} "]
    parts += [f"variables that are asked about, in {kind}"]
    if config.distractors:
        parts += [f"; chains of {', '.join(map(str, config.distractors))} that distract"]
    if config.unused:
        parts += [f"; {config.unused} clauses of no use"]
    return "".join([*parts, ". "])


def _mixture(task: ChainTask) -> str:
    config = task.config
    text = f"A mixture of {len(config.parts)} parts (see the field `mixture`)"
    if config.stage:
        text += f", whose shares change every {config.stage:,} examples of train"
    return text + ". "
