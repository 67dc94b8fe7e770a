"""What is computed otherwise on a CPU, against torch's autograd of the plain formula in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from lego.zoo import LegoBertConfig, LegoBertModel
from lego.zoo.fast_attention import Attention
from lego.zoo.fast_feed_forward import ROWS, FeedForward

FORBIDDEN = torch.finfo(torch.float32).min
ACTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


@pytest.fixture(autouse=True, params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def assert_same(
    fast: Callable[..., torch.Tensor], plain: Callable[..., torch.Tensor], *given: torch.Tensor
) -> None:
    """Output and every gradient to 1e-6, of the largest entry where that is above 1."""
    found = []
    for function, kind in ((fast, torch.float32), (plain, torch.float64)):
        inputs = [x.detach().to(kind).requires_grad_(x.requires_grad) for x in given]
        output = function(*inputs)
        toward = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(kind)
        (output * toward).sum().backward()
        found.append([output, *(x.grad for x in inputs if x.requires_grad)])
    for mine, other in zip(*found, strict=True):
        scale = other.abs().max().clamp(min=1)
        torch.testing.assert_close(mine / scale, (other / scale).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [1, ROWS, ROWS + 1, 2 * ROWS + 7])
@pytest.mark.parametrize("act", ACTS)
def test_a_feed_forward_layer_is_its_formula(act: str, rows: int) -> None:
    x, up, down = torch.randn(rows, 6), 0.5 * torch.randn(10, 6), 0.5 * torch.randn(6, 10)
    given = [x, up, torch.randn(10), down, torch.randn(6)]
    assert_same(
        lambda *weights: FeedForward.apply(*weights, act),
        lambda x, up, a, down, b: F.linear(ACTS[act](F.linear(x, up, a)), down, b),
        *(tensor.requires_grad_() for tensor in given),
    )


@pytest.mark.parametrize("act", ACTS)
def test_an_activation_is_right_everywhere(act: str) -> None:
    """Through a layer of one channel that does nothing else; its slope too."""
    far = torch.tensor([0.0, -0.0, 1e-30, 13.0, 88.0, 1e3, 1e6])
    x = torch.cat([torch.linspace(-20, 20, 4001), far, -far]).reshape(-1, 1)
    one, zero = torch.ones(1, 1), torch.zeros(1)
    value, slope = {}, {}
    for kind in (torch.float32, torch.float64):
        given = x.detach().to(kind).requires_grad_()
        plain = ACTS[act](given)
        if kind == torch.float32:
            plain = FeedForward.apply(given, one, zero, one, zero, act)
        plain.sum().backward()
        value[kind], slope[kind] = plain.detach().double(), given.grad.double()
    for each in (value, slope):
        torch.testing.assert_close(*each.values(), rtol=1e-6, atol=1e-6)


def plain_attention(qkv: torch.Tensor, mask: torch.Tensor | None, channels: int) -> torch.Tensor:
    q, k, v = rearrange(qkv, "b t (s h c) -> s b h t c", s=3, c=channels)
    scores = einsum(q, k, "b h q c, b h k c -> b h q k") * channels**-0.5
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return einsum(weights, v, "b h q k, b h k c -> b q h c")


@pytest.mark.parametrize("mask", [None, (1, 1), (1, 4), (5, 1), (5, 4)])
@pytest.mark.parametrize(("tokens", "channels"), [(1, 8), (9, 5), (62, 32)])
def test_attention_is_its_formula(tokens: int, channels: int, mask: tuple[int, int] | None) -> None:
    given = [torch.randn(5, tokens, 3 * 4 * channels)]
    if mask is not None:
        given.append(torch.randn(*mask, tokens, tokens))

    def with_mask(attend: Any) -> Callable[..., torch.Tensor]:
        return lambda qkv, mask=None: attend(qkv, mask, channels)

    learned = [tensor.requires_grad_() for tensor in given]
    assert_same(with_mask(Attention.apply), with_mask(plain_attention), *learned)


def test_a_key_that_a_mask_forbids_has_no_part() -> None:
    qkv = torch.randn(2, 7, 3 * 2 * 4)
    mask = torch.zeros(2, 1, 1, 7)  # one for all queries
    mask[0, ..., 5:] = FORBIDDEN
    mask[1] = FORBIDDEN  # all alike: none is nearer than the others
    other = qkv.clone()
    other[0, 5:] += 1
    before, after = (Attention.apply(x.requires_grad_(), mask, 4) for x in (qkv, other))
    assert torch.equal(before[0, :5], after[0, :5])
    before[0, :5].sum().backward()
    assert not qkv.grad[0, 5:].any() and qkv.grad[0, :5].any()
    values = rearrange(qkv[1], "t (s h c) -> s t h c", s=3, c=4)[2]
    torch.testing.assert_close(before[1], values.mean(0).expand(7, -1, -1))


@pytest.mark.parametrize("part", ["up", "act", "down"])
def test_a_hook_inside_of_a_feed_forward_layer_sees_it(part: str) -> None:
    model = LegoBertModel(LegoBertConfig(num_hidden_layers=1))
    ids, seen = torch.arange(8)[None], []
    before = model(ids).last_hidden_state
    layer = getattr(model.layers[0].feed_forward, part)
    layer.register_forward_hook(lambda module, given, output: seen.append(output))
    torch.testing.assert_close(model(ids).last_hidden_state, before)
    assert len(seen) == 1
