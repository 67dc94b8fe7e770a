"""Text, ids and Arrow columns turn into one another without loss."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import lego
from lego.columns import list_column, padded
from lego.text import SPECIALS, Vocabulary

words = st.lists(
    st.text(st.characters(categories=["L", "N", "P"], exclude_characters="[]"), min_size=1),
    min_size=1,
    max_size=8,
    unique=True,
)


@settings(max_examples=50, deadline=None)
@given(words, st.data())
def test_text_gives_its_ids_back_for_any_words(plain, data):
    vocabulary = Vocabulary(tuple(plain))
    row = st.lists(st.integers(len(SPECIALS), len(vocabulary) - 1), max_size=9)
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    ids = np.zeros((len(rows), 11), np.int16)
    for i, inner in enumerate(rows):
        ids[i, : len(inner) + 2] = [1, *inner, 2]
    texts = vocabulary.render(ids).to_pylist()
    assert texts == [" ".join(vocabulary.words[i] for i in inner) for inner in rows]
    tokenizer = vocabulary.tokenizer(11)
    assert tokenizer(texts)["input_ids"] == [[1, *inner, 2] for inner in rows]
    for inner, text in zip(rows, texts, strict=True):
        assert tokenizer.decode([1, *inner, 2], skip_special_tokens=True) == text


@pytest.mark.parametrize("preset", ["z2-n6", "z2-n12"])
def test_a_saved_tokenizer_gives_input_ids_back_for_every_row(preset, tmp_path):
    task = lego.load_task("chains", preset=preset)
    task.tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    batch = task.sample("train", 0, 2000)
    texts = task.table(batch)["text"].to_pylist()
    assert loaded(texts)["input_ids"] == batch["input_ids"].tolist()
    assert loaded.model_max_length == task.max_length
    assert loaded.pad_token_id == task.pad_token_id == 0


matrices = st.integers(0, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-100, 100), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@given(matrices, st.data())
def test_columns_and_matrices_turn_into_one_another(rows, data):
    matrix = np.array(rows, np.int16).reshape(len(rows), -1)
    width = matrix.shape[1]
    assert list_column(matrix).to_pylist() == matrix.tolist()
    lengths = np.array([data.draw(st.integers(0, width)) for _ in rows])
    column = list_column(matrix, lengths)
    assert column.to_pylist() == [r[:n] for r, n in zip(matrix.tolist(), lengths, strict=True)]
    back = padded(column, width, fill=-7)
    assert back.dtype == np.int16
    expected = np.where(np.arange(width) < lengths[:, None], matrix, -7)
    np.testing.assert_array_equal(back, expected)


def test_a_row_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="width=2: allowed at least 3"):
        padded(pa.array([[1, 2, 3]], pa.list_(pa.int16())), 2)
