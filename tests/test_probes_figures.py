"""Figures: what is drawn is what was given, under names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from handmade import counter, resolved_after, solver
from matplotlib.figure import Figure

import lego
from lego import zoo
from lego.data import Sampled
from lego.probes import figures
from lego.probes.ablate import ablate_heads, knock_out
from lego.probes.attention import attention, in_chain_order
from lego.probes.learning import accuracy_over_training
from lego.probes.patterns import attention_maps, head_scores
from lego.probes.resolve import resolve
from lego.probes.shortcuts import fingerprint
from lego.task import SettingError

SHORT = lego.load_task("chains", "z2-n6", n=3, n_tr=3)
SOURCE = Sampled(SHORT)


@pytest.fixture(scope="module")
def model():
    return solver(SHORT)


def words(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def drawn(figure):
    """The shaded values, and the axes that they are on."""
    ax = figure.axes[0]
    return np.ma.filled(ax.images[0].get_array(), np.nan), ax


def test_a_heatmap_shades_what_it_is_given_and_names_its_axes():
    values = np.array([[0.25, np.nan, 1.0], [0, 0.5, 0.999]])
    given = xr.DataArray(values, {"layer": [4, 5], "part": list("abc")}, ("layer", "part"), "share")
    figure = figures.heatmap(given)
    shown, ax = drawn(figure)
    np.testing.assert_array_equal(shown, values)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("layer", "part")
    assert (words(ax.yaxis), words(ax.xaxis)) == (["4", "5"], ["a", "b", "c"])
    assert [text.get_text() for text in ax.texts] == [".25", "1", ".00", ".50", "1"]
    assert figure.axes[1].get_ylabel() == "share"
    assert ax.images[0].get_clim() == (0, 1)
    with pytest.raises(SettingError, match="two dimensions"):
        figures.heatmap(given[0])


def test_white_is_zero_where_there_are_values_below():
    given = xr.DataArray([[-0.5, 0, 2.0]], dims=("layer", "head"))
    image = figures.heatmap(given, numbers=False).axes[0].images[0]
    assert image.get_clim() == (-2, 2)
    assert min(image.cmap(image.norm(0.0))) > 0.99


def test_it_draws_on_axes_that_it_is_given():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    given = xr.DataArray(np.eye(2), dims=("a", "b"))
    assert figures.heatmap(given, right) is figure
    assert right.images and not left.images


def test_numbers_can_be_read_on_every_shade():
    given = xr.DataArray(np.linspace(0, 1, 50)[None], dims=("a", "b"))
    ax = figures.heatmap(given).axes[0]
    image = ax.images[0]

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for text, value in zip(ax.texts, given.values[0], strict=True):
        behind = luminance(image.cmap(image.norm(value))[:3])
        ink = 1.0 if text.get_color() == "white" else 0.0
        high, low = max(behind, ink), min(behind, ink)
        assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG


def test_the_atlas_has_the_roles_in_the_colours_of_the_report(model):
    scores = head_scores(model, SOURCE, "test", 60)
    ax = figures.atlas(scores).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("head", "layer")
    letters = {text.get_position(): text.get_text() for text in ax.texts}
    for head in scores.to_dict("records"):
        said = letters[head["head"], head["layer"]]
        for role in head["role"].split(" + "):
            assert role == "none" or figures.LETTERS[role] in said
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"as  association", "op  operator", "ar  argument"} <= set(legend)
    script = (Path(lego.__file__).parent / "page" / "heads.js").read_text()
    for role, colour in figures.ROLE_COLOURS.items():
        assert f'{role}: "{colour}"' in script


def test_the_atlas_of_a_column_is_a_map_of_it(model):
    scores = head_scores(model, SOURCE, "test", 20)
    shown, _ = drawn(figures.atlas(scores, "association"))
    np.testing.assert_array_equal(shown.ravel(), scores["association"])
    with pytest.raises(SettingError, match="measure"):
        figures.atlas(scores, "nothing")


def test_attention_has_its_words_and_the_order_of_the_chain(model):
    found = attention(model, SOURCE, "test", 1)
    assert found.dims == ("layer", "head", "query", "key")
    np.testing.assert_array_equal(found, attention_maps(model, SOURCE, "test", 1))
    batch = SHORT.sample("test", 1, 2)
    written = SHORT.tokenizer().convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert found.query_token.values.tolist() == found.key_token.values.tolist() == written
    ordered = in_chain_order(found)
    assert ordered.key_clause.values.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [-1] * 2
    # In the order of the chain a clause starts with the variable that it defines.
    np.testing.assert_array_equal(ordered["query"][[0, 5, 10]], batch["positions"][0])
    one = ordered.sel(layer=0, head=0)
    shown, ax = drawn(figures.attention_map(found.sel(layer=0, head=0)))
    np.testing.assert_array_equal(shown, one.values)
    assert words(ax.xaxis) == one.key_token.values.tolist()
    shown, ax = drawn(figures.attention_map(found.sel(layer=0, head=0), chain=False))
    assert words(ax.yaxis) == written
    with pytest.raises(SettingError, match="query, key"):
        figures.attention_map(found)


def test_padding_is_left_out_of_the_attention():
    task = lego.load_task("chains", "z2-n6", mixture=[{"n": 3, "n_tr": 3}, {"n": 6}])
    model = zoo.build("bert-nano", task)
    sizes = {attention(model, Sampled(task), "test", row).sizes["key"] for row in range(12)}
    assert sizes == {17, 32}


def test_the_flow_frames_the_layer_that_resolves(model):
    found = resolve(model, SOURCE, "test", 80)
    shown, ax = drawn(figures.flow(found))
    np.testing.assert_array_equal(shown, found.accuracy.sel(offset=0))
    frames = {(patch.get_y() + 0.5, patch.get_x() + 0.5) for patch in ax.patches}
    assert frames == {(resolved_after(depth), depth) for depth in range(3)}
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("layer", "position")


@pytest.mark.parametrize(("build", "name"), [(solver, "chain"), (counter, "whole-chain")])
def test_the_answerers_have_their_intervals_and_the_verdict(build, name):
    found = fingerprint(build(SHORT), SOURCE, "test", 200)
    ax = figures.answerers(found).axes[0]
    assert ax.get_title() == f"verdict: {name}"
    assert words(ax.yaxis) == found.index.tolist()
    bars = [
        line for line in ax.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    ]
    drawn_ends = [tuple(line.get_xdata()) for line in bars]
    assert drawn_ends == list(
        found[["excess_low", "excess_high"]].itertuples(index=False, name=None)
    )
    blue = {
        found.index[int(line.get_ydata()[0])] for line in bars if line.get_color() == figures.HEAT
    }
    assert blue == {name}


def test_an_ablation_begins_with_the_intact_model(model):
    table = knock_out(model, SOURCE, "test", 40)
    shown, ax = drawn(figures.ablation(table))
    assert words(ax.yaxis) == ["intact", *table["edge"].unique()]
    np.testing.assert_array_equal(shown[0], [1, 1, 1])
    grid = table.pivot_table(index="edge", columns="position", values="accuracy", sort=False)
    np.testing.assert_array_equal(shown[1:], grid)
    names = words(figures.ablation(ablate_heads(model, SOURCE, "test", 20)).axes[0].yaxis)
    assert names[:3] == ["intact", "layer 0 head 0", "layer 0 head 1"]
    alone = table.query("edge == 'self'")
    assert words(figures.ablation(alone).axes[0].yaxis)[0] == "intact"


def test_learning_is_read_from_the_metrics_of_a_run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 10, "split": "train", "accuracy_per_position": [0.1, 0.2]}\n'
        '{"step": 20, "split": "validation", "accuracy_per_position": [1.0, null]}\n'
        '{"step": 10, "split": "validation", "accuracy_per_position": [0.5, 0.25]}\n'
    )
    found = accuracy_over_training(tmp_path)
    assert (found.index.name, found.columns.name) == ("step", "position")
    expected = pd.DataFrame({0: [0.5, 1.0], 1: [0.25, np.nan]}, [10, 20])
    pd.testing.assert_frame_equal(found, expected, check_names=False)
    ax = figures.training(found).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "accuracy")
    for line, position in zip(ax.lines, found.columns, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [10, 20])
        np.testing.assert_array_equal(line.get_ydata(), found[position])
        assert line.get_label() == str(position)
    with pytest.raises(SettingError, match="split"):
        accuracy_over_training(tmp_path, "test")
    with pytest.raises(SettingError, match="run"):
        accuracy_over_training(tmp_path / "nothing")
