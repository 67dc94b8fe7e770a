"""Text, ids and Arrow columns turn into one another without loss."""

import chain_reader
import numpy as np
import pyarrow as pa
import pytest
from chain_strategies import configs
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import lego
from lego.chain_form import FORMS, NAMES
from lego.chains import ChainConfig, ChainTask
from lego.columns import list_column, padded
from lego.groups import group
from lego.task import SettingError
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", ["z2-n6", "d3-n12", "z5-n12", "z2-n26"])
def test_a_saved_tokenizer_gives_input_ids_back_for_every_row(preset, form, tmp_path):
    task = lego.load_task("chains", preset=preset, form=form)
    task.tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    batch = task.sample("train", 0, 500)
    texts = task.table(batch)["text"].to_pylist()
    assert loaded(texts)["input_ids"] == batch["input_ids"].tolist()
    assert loaded.model_max_length == task.max_length
    assert loaded.pad_token_id == task.pad_token_id == 0


LOOKS = {
    "paper": "b = not a , a = val 1 ,",
    "compact": "b=-a;a=+1;",
    "english": "b is the opposite of a. a equals 1.",
    "causal": "b = not a , a = val 1 , ? b = 0",
    "causal-all": "b = not a , a = val 1 , ? a = 1 , b = 0 ,",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_looks_as_it_should_and_is_read_back(form):
    action = group("z2")
    (b, a) = FORMS[form].read(LOOKS[form], action)
    assert (b.left, b.operator, b.argument) == ("b", "not", "a")
    assert (a.left, a.operator, a.argument) == ("a", "val", "1")
    answers = {"causal": [("b", "0")], "causal-all": [("a", "1"), ("b", "0")]}
    assert FORMS[form].answers(LOOKS[form]) == answers.get(form, [])
    assert LOOKS[form][a.start : a.stop].startswith("a") and b.start == 0
    task = ChainTask(ChainConfig("z2", n=2, form=form), 0)
    ids = np.array(task.tokenizer()([LOOKS[form]])["input_ids"], np.int16)
    assert task.vocabulary.render(ids).to_pylist() == [LOOKS[form]]


@settings(max_examples=40, deadline=None)
@given(configs(), st.data())
def test_any_sentence_is_read_back_and_its_tokens_stand_where_they_say(config, data):
    task = ChainTask(config, 9)
    form, action = FORMS[config.form], task.action
    split = data.draw(st.sampled_from(task.splits))
    batch = task.sample(split, 0, 3)
    texts = task.table(batch)["text"].to_pylist()
    offsets = task.tokenizer()(texts, return_offsets_mapping=True)["offset_mapping"]
    for row, text in enumerate(texts):
        clauses = task.read(text)
        plain = chain_reader.clauses_of(text, config.form, action)
        assert [(c.left, c.operator, c.argument) for c in clauses] == plain
        places = task.places(len(clauses))
        for k, clause in enumerate(clauses):
            tokens = offsets[row][places["start"][k] : places["stop"][k]]
            assert (tokens[0][0], tokens[-1][1]) == (clause.start, clause.stop)
            spelled = form.spelled(clause.operator, action.operators[0])
            words = {"left": clause.left, "operator": spelled, "argument": clause.argument}
            for part, word in words.items():
                begin, end = offsets[row][places[part][k]]
                assert text[begin:end] == word


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["x", " ,", "=", "", "? b", " ? ?"])
def test_a_text_of_another_form_is_refused_in_one_line(form, damage):
    text = LOOKS[form][:-3] + damage if damage else ""
    with pytest.raises(SettingError, match=r"^text=") as raised:
        FORMS[form].read(text, group("z2"))
    assert "\n" not in str(raised.value)


def test_names_go_on_after_the_alphabet_and_are_no_words_of_a_form():
    assert len(set(NAMES)) == len(NAMES) == 426
    assert NAMES[:27] == (*"abcdefghijklmnopqrstuvwxyz", "bb")
    english = {"is", "of", "to", "the", "as", "val", "not"}
    assert not english & set(NAMES)


matrices = st.integers(0, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-100, 100), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@settings(deadline=None)
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
