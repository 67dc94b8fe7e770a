"""A counter-based random generator for numba kernels.

Word k of a stream is a hash of (key, k): nothing is carried from one draw to the next, so any
example can be made anywhere, in any order, and its bytes do not change with the version of numpy
or Python. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 15).
"""

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)


@njit(inline="always")
def mix64(x):
    """A bijection of uint64 onto itself in which every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    return x ^ (x >> np.uint64(31))


@njit(inline="always")
def stream(seed, split, index, attempt):
    """The key (uint64) of the stream that belongs to four integers, each of 64 bits."""
    key = mix64(np.uint64(seed) + GOLDEN)
    key = mix64(key ^ mix64(np.uint64(split) + GOLDEN))
    key = mix64(key + np.uint64(index) * GOLDEN)
    return mix64(key + np.uint64(attempt) * GOLDEN)


@njit(inline="always")
def word(key, k):
    """Word k of the stream: uint64, uniform."""
    return mix64(key + (np.uint64(k) + np.uint64(1)) * GOLDEN)


@njit(inline="always")
def below(bits, bound):
    """An integer (uint64) in 0..bound-1, bound < 2**32, from the low 32 bits of a word.

    Multiply-shift without rejection: each value's probability is off by at most 2**-32.
    """
    return ((bits & _LOW) * np.uint64(bound)) >> np.uint64(32)
