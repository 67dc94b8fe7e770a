"""What the parts that torch is slow at on a CPU share: ``fast_attention`` and its like."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit


def usable(x: torch.Tensor) -> bool:
    """Whether these parts can take x: elsewhere, torch's own are faster, or the only ones."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def in_threads(rows: int, call: Callable[[int, int, int], object]) -> None:
    """``call(start, stop, part)`` for an even part of the rows in each of torch's threads."""
    parts = torch.get_num_threads()
    cuts = [rows * part // parts for part in range(parts + 1)]
    if parts == 1:
        call(0, rows, 0)
        return
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(call, cuts[:-1], cuts[1:], range(parts)))


kernel = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
_F = np.float32
_LOG2_E, _LN_2, _LN_2_REST = _F(math.log2(math.e)), _F(0.693359375), _F(math.log(2) - 0.693359375)
_C2, _C3, _C4, _C5, _C6 = (_F(1 / math.factorial(k)) for k in range(2, 7))


@kernel
def exp(x):
    """e^x of a float32 in -87 .. 88, to 3e-7 of it: 2^n by its bits, the rest by its series."""
    n = np.floor(x * _LOG2_E + _F(0.5))
    r = x - n * _LN_2 - n * _LN_2_REST
    series = _F(1) + r * (_F(1) + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * _C6)))))
    return series * np.int32((np.int32(n) + 127) << 23).view(np.float32)
