"""The elementwise steps of the dense fixed point, compiled for the CPU.

torch needs some fifteen passes over a chunk for what `advance` does in one. The arrays are those
of `griddispatch.grid.dense`: [2n, B], real parts above imaginary ones.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 or float64

# No "nnan" and no "ninf": a NaN must stay a NaN to be seen.
_compiled = njit(
    fastmath={"contract", "nsz", "arcp", "reassoc"}, nogil=True, error_model="numpy", cache=True
)


@_compiled
def advance(
    drop: Array, v0: Array, p: Array, q: Array | None, x: Array, current: Array, move: Array
) -> None:
    """Put V = v0 - drop into `x`, conj(S / V) into `current`, max |V - V_before|^2 into `move`.

    `move` comes in as zeros; it is NaN where a voltage is.
    """
    n, width = p.shape
    one = v0.dtype.type(1)
    for i in range(n):
        a, b = v0[i, 0], v0[n + i, 0]
        for k in range(width):
            re, im = a - drop[i, k], b - drop[n + i, k]
            dr, di = re - x[i, k], im - x[n + i, k]
            step = dr * dr + di * di
            worst = move[k]
            move[k] = worst if step <= worst or worst != worst else step
            x[i, k], x[n + i, k] = re, im
            s = one / (re * re + im * im)
            u = p[i, k] * s
            if q is None:
                current[i, k], current[n + i, k] = u * re, u * im
            else:
                w = q[i, k] * s
                current[i, k], current[n + i, k] = u * re + w * im, u * im - w * re


@_compiled
def store(
    x: Array,
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    demand: NDArray[np.int64],
    voltage: Array,
    slack: int,
    v_slack: complex,
) -> None:
    """Write columns of [2n, B] and the slack voltage into rows of complex [B, N]."""
    n = len(demand)
    for j in range(len(columns)):
        k = columns[j]
        out = voltage[rows[j]]
        for i in range(n):
            out[demand[i]] = complex(x[i, k], x[n + i, k])
        out[slack] = v_slack
