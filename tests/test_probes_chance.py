"""Intervals and roles of heads whose true share of attention is known, and lies on the line."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import lego
from lego import zoo
from lego.data import Sampled
from lego.probes.capture import capturing
from lego.probes.patterns import ALPHA, NAMED, head_scores

TASK = lego.load_task("chains", "z2-n6")
HEADS, LAYERS, ROWS = 64, 6, 100
EDGES = 8


def on_the_line(draw):
    """Scores of heads that give the token itself a share p of each sentence's attention, and spread
    the rest evenly, with p drawn anew for each head and sentence: the excess of such a head is the
    mean of p."""
    model = zoo.build(
        "albert-nano", TASK, hidden_size=HEADS, num_attention_heads=HEADS, num_hidden_layers=LAYERS
    )

    def spread(seen):
        rows, heads, tokens = seen.query.shape[:3]
        p = torch.from_numpy(draw((rows, heads, 1, 1))).float()
        seen.weights = p * torch.eye(tokens) + (1 - p) / tokens

    with capturing(model, spread):
        return head_scores(model, Sampled(TASK), "test", ROWS)


def beyond(scores):
    """(heads,): how many standard errors the excess is above the line."""
    low, high = scores["self_low"], scores["self_high"]
    width = NormalDist().inv_cdf(1 - ALPHA / 2 / (len(scores) * EDGES))
    return (((low + high) / 2 - NAMED) / ((high - low) / 2 / width)).to_numpy()


def test_the_scores_are_of_what_other_captures_left():
    found = on_the_line(lambda shape: np.full(shape, 0.8))
    even = 1 / 32
    np.testing.assert_allclose(found["self"], 0.8 + 0.2 * even, atol=1e-6)
    np.testing.assert_allclose(found["association_low"], found["association_high"], atol=0.2)
    assert set(found["role"]) == {"self"}
    np.testing.assert_allclose(found["offset_1"], 0.2 * even * 31 / 32, atol=1e-6)


@pytest.mark.parametrize("level", [0.025, 0.1])
def test_a_head_on_the_line_is_above_it_as_often_as_its_interval_says(level):
    """Where the rate can be seen: that of a model's roles is too low for it."""
    generator = np.random.default_rng(0)
    z = beyond(on_the_line(lambda shape: generator.beta(2, 2, shape)))
    assert len(z) == HEADS * LAYERS
    for tail in (z, -z):
        above = int((tail > NormalDist().inv_cdf(1 - level)).sum())
        interval = binomtest(above, len(z)).proportion_ci(0.999, "wilson")
        assert interval.low < level < interval.high, above


def test_heads_on_the_line_have_no_role_and_those_well_above_have():
    generator = np.random.default_rng(1)
    assert set(on_the_line(lambda shape: generator.beta(2, 2, shape))["role"]) == {"none"}
    assert set(on_the_line(lambda shape: generator.beta(6, 2, shape))["role"]) <= {"self", "local"}
