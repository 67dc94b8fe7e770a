"""Stock models by name: they train as they are, in silence, without dropout."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from zoo_cases import build, sentences

from lego import zoo

torch.set_num_threads(1)


SMALL = [n for n in zoo.names() if n.startswith("hf-") and not n.endswith("base")]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What transformers logs, of what it logs only once too."""
    seen: list[str] = []
    logger = logging.getLogger("transformers")
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    once = logging.Logger.warning_once  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.Logger, "warning_once", once.__wrapped__)
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", SMALL)
def test_a_stock_model_trains_without_a_word(name: str, logged: list[str]) -> None:
    model, ids = build(name).train(), sentences()
    ids[0, -1] = 0  # padding
    given = {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": ids % 3}
    output = model(**given, output_hidden_states=True)
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert [tuple(h.shape) for h in output.hidden_states] == [(4, 9, model.config.hidden_size)] * 4
    assert logged == []


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_dropped_out(name: str) -> None:
    model, ids = build(name).train(), sentences()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("name", [n for n in SMALL if n.endswith("nano")])
def test_no_special_token_lies_outside_of_the_vocabulary(name: str) -> None:
    config = build(name).config.to_dict()
    ids = {k: v for k, v in config.items() if k.endswith("_token_id") and v is not None}
    assert ids == {"pad_token_id": 0}


def test_alberts_embedding_is_no_wider_than_the_model_or_than_its_own() -> None:
    assert build("hf-albert-nano").config.embedding_size == 32
    assert build("hf-albert-mini", hidden_size=64).config.embedding_size == 64
    with torch.device("meta"):
        assert build("hf-albert-base").config.embedding_size == 128
    assert build("hf-albert-nano", embedding_size=8).config.embedding_size == 8


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "hf-bert-nano",
            {"conv_kernel": 3},
            "conv_kernel=3: allowed the fields of BertConfig only",
        ),
        ("hf-llama-nano", {"layers": 3}, "layers=3: allowed the fields of LlamaConfig only"),
        ("hf-bert-nano", {"hidden_size": 33}, "hidden_size=33: allowed multiples of the 2 heads"),
        ("hf-bert-nano", {"hidden_size": "wide"}, "model_fields="),
        ("hf-albert-nano", {"hidden_size": 33}, "hidden_size=33: allowed multiples"),
        ("hf-gpt2-nano", {"hidden_size": 33}, "hidden_size=33: allowed multiples"),
        ("hf-bert-nano", {"hidden_act": "gelo"}, "model_fields="),
    ],
)
def test_what_a_stock_model_cannot_be_is_refused_in_one_line(
    name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        build(name, **fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value) and ": allowed " in str(error.value)
