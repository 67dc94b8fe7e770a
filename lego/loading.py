"""A model from a folder, for a task: loaded without a word, or refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lego.task import Task, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(folder: str, task: Task) -> PreTrainedModel:
    """A model from a folder (or hub name) with the head that the task asks for.

    A head that the checkpoint lacks starts at random, and a line on stderr says so. Raises
    SettingError when there is no checkpoint, when its weights have other shapes than its config
    says, and when its vocabulary or its labels are not the task's.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    import lego.zoo  # noqa: F401  registers the zoo with the Auto classes

    heads = {
        "token-classification": AutoModelForTokenClassification,
        "causal-lm": AutoModelForCausalLM,
    }
    try:
        with _silence():
            model, found = heads[task.head].from_pretrained(
                folder, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        said = str(error).splitlines()[0]
        require(False, "MODEL", folder, f"a checkpoint for {task.head}; {said}")
    for name, held, meant in sorted(found["mismatched_keys"]):
        said = f"{name} is {tuple(held)}, and {tuple(meant)} in its config"
        require(False, "MODEL", folder, f"a checkpoint of one shape; {said}")
    _check_words(model, folder, task)
    if found["missing_keys"]:
        random = ", ".join(sorted(found["missing_keys"]))
        print(
            f"{folder}: these weights are not in it and start at random: {random}", file=sys.stderr
        )
    return model


def load_body(folder: str, task: Task) -> PreTrainedModel | None:
    """An encoder that was made for something else, as a model of the zoo with the task's words.

    For a checkpoint of the BERT family (folder or hub name) that classifies no tokens and has other
    words: each of the task's gets the checkpoint's embedding of the same word, as in a run that
    starts from it (``lego.zoo.pretrained``), and the head, which it lacks, is random; a line on
    stderr says so. None for any other checkpoint: ``load_model`` takes it, or says why not.
    """
    import torch
    from transformers import PreTrainedConfig

    from lego import zoo
    from lego.zoo.pretrained import ENCODERS, shape_of

    try:
        held, _ = PreTrainedConfig.get_config_dict(folder)
    except (OSError, ValueError):
        return None
    classifies = any("ForTokenClassification" in name for name in held.get("architectures") or ())
    other = held.get("vocab_size") != task.vocab_size and not classifies
    kind = ENCODERS.get(held.get("model_type", ""))
    if kind is None or not other or task.head != "token-classification":
        return None
    with torch.random.fork_rng(), _silence():  # words that it lacks are random, and always the same
        torch.manual_seed(0)
        model = zoo.build(f"{kind}-nano", task, init=f"pretrained:{folder}", **shape_of(folder))
    print(
        f"{folder}: the task's words, and no head: what its answers say is left out",
        file=sys.stderr,
    )
    return model


def _check_words(model: PreTrainedModel, folder: str, task: Task) -> None:
    """Raise SettingError unless what goes in and comes out is what the task means by it."""
    from tokenizers import Tokenizer

    sizes = {"vocab_size": task.vocab_size}
    if task.labels:
        sizes["num_labels"] = len(task.labels)
    for field, size in sizes.items():
        held = getattr(model.config, field)
        require(held == size, f"{folder} {field}", held, f"{size} (the task's)")
    file = Path(folder, "tokenizer.json")
    if file.is_file():
        held, own = Tokenizer.from_file(str(file)).get_vocab(), task.tokenizer().get_vocab()
        apart = min(held.items() ^ own.items(), default=("", 0))[0]
        require(
            held == own, "MODEL", folder, f"the task's vocabulary; its own differs in {apart!r}"
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Without transformers' bar and its report on the weights."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
