"""Attention and all that is summed up of its weights in one pass on a CPU: a head's weights in one
sentence are there for as long as that takes, and stay in the cache."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numba import njit

from lego.probes.capture import Attended

LOG2E, LN2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
# 2**f for -1/2 <= f <= 1/2 by its Taylor series, and log(1 + x) as in Cephes' logf, highest first.
POWER = tuple(np.float32(LN2**i / f) for i, f in enumerate((1, 1, 2, 6, 24, 120, 720)))[::-1]
LOG = tuple(
    map(
        np.float32,
        (
            7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
            -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
        ),
    )
)  # fmt: skip
HALF_ROOT = 0x3F3504F3  # the bits of sqrt(1/2)


def usable(seen: Attended) -> bool:
    """Whether ``sums`` can take it: elsewhere, the weights have to be looked at."""
    plain = seen.query.device.type == "cpu" and seen.query.dtype == torch.float32
    return plain and seen.untouched and seen.hard is None and not seen.query.requires_grad


def sums(
    seen: Attended,
    columns: torch.Tensor,
    real: torch.Tensor,
    smoothed: torch.Tensor,
    floor: float,
    reach: int,
) -> tuple[torch.Tensor, ...]:
    """What ``patterns`` keeps of weights w, (batch, heads, query, key), and what the heads give.

    columns (batch, columns, query * key), real (batch, query), smoothed (batch, query * key), all
    float32. Returns (batch, heads, columns), sums of w times each column; (batch, heads), entropies
    weighed by ``real``; (batch, heads), sums of (w + floor) log(w + floor) times ``smoothed``;
    (batch, query, heads, channels); and (heads, 2 * reach + 1), the weights at each offset.
    """
    batch, heads, tokens, channels = seen.query.shape
    mask = seen.query.new_zeros(1, 1, tokens, tokens) if seen.mask is None else seen.mask
    # Loops along the keys have no remainder, which a compiler would leave without its vectors.
    more = -tokens % 32
    across = (F.pad(x.mT, (0, more)).numpy() for x in (seen.key, seen.value))
    found = torch.zeros(batch, heads, columns.shape[1])
    entropy, floored = torch.zeros(2, batch, heads)
    mixed = torch.zeros(batch, tokens, heads, channels)
    profile = torch.zeros(heads, 2 * reach + 1)
    _sums(
        (seen.query * seen.scaling).contiguous().numpy(),
        *across,
        np.broadcast_to(mask.numpy(), (mask.shape[0], mask.shape[1], tokens, tokens)),
        columns.contiguous().numpy(),
        real.numpy(),
        rearrange(smoothed, "b (q k) -> b q k", q=tokens).contiguous().numpy(),
        np.float32(floor),
        found.numpy(),
        entropy.numpy(),
        floored.numpy(),
        mixed.numpy(),
        profile.numpy(),
    )
    return found, entropy, floored, mixed, profile


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sums(
    query, key, value, mask, columns, real, smoothed, floor, found, entropy, floored, mixed, profile
):
    """key and value: (batch, heads, channels, tokens and more), for loops along the tokens."""
    batch, heads, tokens, channels = query.shape
    reach = profile.shape[1] // 2
    wide = key.shape[3]
    plane = np.empty(tokens * tokens, np.float32)
    score, weight = np.empty(wide, np.float32), np.empty(wide, np.float32)
    bits, exponent = np.empty(wide, np.int32), np.empty(wide, np.float32)
    power = bits.view(np.float32)
    for b in range(batch):
        masked = min(b, mask.shape[0] - 1)
        for h in range(heads):
            bias = mask[masked, min(h, mask.shape[1] - 1)]
            spread, logs = 0.0, 0.0
            for q in range(tokens):
                for k in range(tokens):
                    score[k] = bias[q, k]
                score[tokens:] = np.float32(-1e30)
                for c in range(channels):
                    scale, row = query[b, h, q, c], key[b, h, c]
                    for k in range(wide):
                        score[k] += scale * row[k]
                top = score[0]
                for k in range(wide):
                    top = max(top, score[k])
                for k in range(wide):  # softmax, by powers of two
                    score[k] -= top
                    x = max(score[k] * LOG2E, np.float32(-126))
                    whole = np.int32(x - np.float32(0.5))
                    part = x - np.float32(whole)
                    y = POWER[0]
                    y = y * part + POWER[1]
                    y = y * part + POWER[2]
                    y = y * part + POWER[3]
                    y = y * part + POWER[4]
                    y = y * part + POWER[5]
                    weight[k] = y * part + POWER[6]
                    bits[k] = (whole + 127) << 23
                total, mean = np.float32(0), np.float32(0)
                for k in range(wide):
                    weight[k] *= power[k]
                    total += weight[k]
                    mean += weight[k] * max(score[k], np.float32(-200))
                share = np.float32(1) / total
                spread += real[b, q] * (np.log(total) - mean * share)
                for k in range(wide):
                    weight[k] *= share
                    power[k] = weight[k] + floor
                plane[q * tokens : (q + 1) * tokens] = weight[:tokens]
                for k in range(wide):
                    shift = np.int32((bits[k] - HALF_ROOT) >> 23)
                    exponent[k] = np.float32(shift)
                    bits[k] -= shift << 23
                for k in range(wide):
                    x = power[k] - np.float32(1)
                    y = LOG[0]
                    y = y * x + LOG[1]
                    y = y * x + LOG[2]
                    y = y * x + LOG[3]
                    y = y * x + LOG[4]
                    y = y * x + LOG[5]
                    y = y * x + LOG[6]
                    y = y * x + LOG[7]
                    y = y * x + LOG[8]
                    score[k] = x - np.float32(0.5) * x * x + y * x * x * x + exponent[k] * LN2
                kept = np.float32(0)
                for k in range(tokens):
                    kept += (weight[k] + floor) * score[k] * smoothed[b, q, k]
                logs += kept
                for c in range(channels):
                    gathered, row = np.float32(0), value[b, h, c]
                    for k in range(wide):
                        gathered += weight[k] * row[k]
                    mixed[b, q, h, c] = gathered
                for k in range(max(0, q - reach), min(tokens, q + reach + 1)):
                    profile[h, k - q + reach] += real[b, q] * weight[k]
            entropy[b, h], floored[b, h] = spread, logs
            for m in range(columns.shape[1]):
                column, followed = columns[b, m], np.float32(0)
                for i in range(tokens * tokens):
                    followed += plane[i] * column[i]
                found[b, h, m] = followed
