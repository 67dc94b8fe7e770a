"""The kernel of ``lego.probes.fused``: queries stand side by side, in the lanes of vectors.

A sum over keys is then one of vectors, and no vector has to be summed up across. 26 multiplications
with an addition, or without, go to each weight where heads have 4 channels: 4 for scores, 7 for
powers, 10 for weights and their logarithms, and 5 for what is gathered.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 64  # queries side by side: a constant, so that loops over them become vectors with no rest
LOG2E, LN2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
# Minimax polynomials, the highest power first: 2**x for -1/2 <= x <= 1/2, off by 8e-8 of it, and
# log(1 + x) / x for sqrt(1/2) <= 1 + x <= sqrt(2), so that the logarithm is off by 3e-7.
POWER = tuple(
    map(np.float32, (1.3276472e-3, 9.67554133e-3, 5.55071327e-2, 0.240221197, 0.693146967, 1.0))
)
LOG = tuple(
    map(
        np.float32,
        (
            0.100174057, -0.184094444, 0.209382022, -0.249442624, 0.332836391, -0.500002448,
            1.00000652,
        ),
    )
)  # fmt: skip
HALF_ROOT = 0x3F3504F3  # the bits of sqrt(1/2)
kernel = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@kernel
def sums(
    query, key, value, mask, scale, bounds, queries, keys, share, real, alike, smooth, floor,
    found, entropy, floored, mixed, profile,
):  # fmt: skip
    """query, key and value: (batch, tokens, heads, channels). mask: (1 or batch, 1 or heads, key,
    blocks, LANES): queries stand in blocks of LANES, so that a loop over those of a block does for
    each what has no part in the others. Distinct arrays, since LLVM takes the parts of one for the
    same memory."""
    batch, tokens, heads, channels = query.shape
    blocks, reach = mask.shape[3], profile.shape[1] // 2
    wide = blocks * LANES
    assert 2 * reach < LANES
    padded, longer = channels + -channels % 4, tokens + -tokens % 4  # with zeros, for sums of 4
    # Weights, with a margin at either end for the diagonals.
    flat = np.zeros(LANES + longer * wide + LANES, np.float32)
    plane = flat[LANES:-LANES].reshape(longer, blocks, LANES)  # (key, blocks, lanes)
    left = np.zeros((padded, blocks, LANES), np.float32)
    right = np.zeros((tokens, padded), np.float32)
    given = np.zeros((longer, channels + 1), np.float32)  # the values, and the last column
    gathered = np.zeros((channels + 1, blocks, LANES), np.float32)
    top = np.zeros((blocks, LANES), np.float32)
    total, mean = np.zeros_like(top), np.zeros_like(top)
    spread, logs = np.zeros_like(top), np.zeros_like(top)
    part, near = np.zeros(LANES + wide + LANES, np.float32), np.zeros(LANES, np.float32)
    each = found.shape[2] - 1
    most = (bounds[each::each] - bounds[:-each:each]).max()
    place, picked = np.zeros(most, np.uint32), np.zeros(most, np.float32)
    for b in range(batch):
        start, stop = bounds[b * each], bounds[(b + 1) * each]
        for i in range(stop - start):
            place[i] = LANES + keys[start + i] * wide + queries[start + i]
        part[LANES : LANES + tokens] = real[b]
        given[:tokens, channels] = alike[b]
        for h in range(heads):
            for t in range(tokens):
                for c in range(channels):
                    left[c, t // LANES, t % LANES] = query[b, t, h, c] * scale
                    right[t, c], given[t, c] = key[b, t, h, c], value[b, t, h, c]
            top[:] = np.float32(-3e38)
            total[:], mean[:], logs[:], gathered[:], near[:] = 0, 0, 0, 0, 0
            hidden = mask[min(b, len(mask) - 1), min(h, mask.shape[1] - 1)]
            _scores(left, right, hidden, plane, top)
            _powers(plane[:tokens], top, total, mean)
            _entropies(total, mean, spread)
            _logs(plane[:tokens], total, floor, logs)
            _mix(plane, given, gathered)
            spread_sum, logs_sum, last = 0.0, 0.0, 0.0
            for t in range(tokens):
                i, q = t // LANES, t % LANES
                spread_sum += real[b, t] * spread[i, q]
                logs_sum += smooth[b, t] * logs[i, q]
                last += real[b, t] * gathered[channels, i, q]
                for c in range(channels):
                    mixed[b, t, h, c] = gathered[c, i, q]
            entropy[b, h], floored[b, h], found[b, h, each] = spread_sum, logs_sum, last
            for k in range(tokens):
                first = np.uint64(LANES + k - reach)  # unsigned: numba tests others for < 0
                second = first + np.uint64(k * wide)
                for o in range(LANES):
                    near[o] += part[first + np.uint64(o)] * flat[second + np.uint64(o)]
            for o in range(2 * reach + 1):
                profile[h, 2 * reach - o] += near[o]
            for i in range(stop - start):
                picked[i] = flat[place[i]] * share[start + i]
            for m in range(each):
                followed = np.float32(0)
                for i in range(bounds[b * each + m] - start, bounds[b * each + m + 1] - start):
                    followed += picked[i]
                found[b, h, m] = followed


@kernel
def _scores(left, right, mask, plane, top):
    """Rounded as torch's are, not yet by powers of two: a model may amplify the difference."""
    for k in range(right.shape[0]):
        for i in range(plane.shape[1]):
            a, b, d, e = right[k, 0], right[k, 1], right[k, 2], right[k, 3]
            for q in range(LANES):
                plane[k, i, q] = (
                    mask[k, i, q]
                    + a * left[0, i, q]
                    + b * left[1, i, q]
                    + d * left[2, i, q]
                    + e * left[3, i, q]
                )
            for c in range(4, right.shape[1], 4):
                a, b, d, e = right[k, c], right[k, c + 1], right[k, c + 2], right[k, c + 3]
                for q in range(LANES):
                    plane[k, i, q] += (
                        a * left[c, i, q]
                        + b * left[c + 1, i, q]
                        + d * left[c + 2, i, q]
                        + e * left[c + 3, i, q]
                    )
            for q in range(LANES):
                top[i, q] = max(top[i, q], plane[k, i, q])


@kernel
def _powers(plane, top, total, mean):
    """2 to what each score is below the top one; sums of these, and of these times it."""
    for k in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for q in range(LANES):
                x = max((plane[k, i, q] - top[i, q]) * LOG2E, np.float32(-126))
                whole = np.int32(x - np.float32(0.5))
                part = x - np.float32(whole)
                y = POWER[0]
                y = y * part + POWER[1]
                y = y * part + POWER[2]
                y = y * part + POWER[3]
                y = y * part + POWER[4]
                y = y * part + POWER[5]
                y = np.int32(np.float32(y).view(np.int32) + (whole << 23)).view(np.float32)
                plane[k, i, q] = y
                total[i, q] += y
                mean[i, q] += y * x


@kernel
def _log(x):
    bits = np.float32(x).view(np.int32)
    shift = np.int32(bits - HALF_ROOT) >> 23
    x = np.int32(bits - (shift << 23)).view(np.float32) - np.float32(1)
    y = LOG[0]
    y = y * x + LOG[1]
    y = y * x + LOG[2]
    y = y * x + LOG[3]
    y = y * x + LOG[4]
    y = y * x + LOG[5]
    y = y * x + LOG[6]
    return y * x + np.float32(shift) * LN2


@kernel
def _entropies(total, mean, spread):
    """Entropies from the sums; ``total`` becomes what the powers are to be multiplied with."""
    for i in range(total.shape[0]):
        for q in range(LANES):
            share = np.float32(1) / total[i, q]
            spread[i, q] = _log(total[i, q]) - mean[i, q] * share * LN2
            total[i, q] = share


@kernel
def _logs(plane, share, floor, logs):
    """From powers to weights w, and sums of (w + floor) log(w + floor)."""
    for k in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for q in range(LANES):
                weight = plane[k, i, q] * share[i, q]
                plane[k, i, q] = weight
                logs[i, q] += (weight + floor) * _log(weight + floor)


@kernel
def _mix(plane, given, gathered):
    """Four keys at once, so that sums are not loaded and stored for each."""
    for k in range(0, plane.shape[0], 4):
        for i in range(plane.shape[1]):
            for c in range(gathered.shape[0]):
                a, b, d, e = given[k, c], given[k + 1, c], given[k + 2, c], given[k + 3, c]
                for q in range(LANES):
                    gathered[c, i, q] += (
                        a * plane[k, i, q]
                        + b * plane[k + 1, i, q]
                        + d * plane[k + 2, i, q]
                        + e * plane[k + 3, i, q]
                    )
