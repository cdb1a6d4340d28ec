"""Backward-forward sweep over blocks of scenarios: the fast backend for trees on a CPU.

Shirmohammadi et al. (1988), "A compensation-based power flow method for weakly meshed
distribution and transmission networks", without the compensation. Per iteration

    backward   J_n = conj(S_n / V_n) + y_n V_n + sum of J over the children of n
    forward    V_n = V_parent(n) - z_n J_n

The loops run over nodes outside and over a block of `BLOCK` scenarios inside, so that the inner
loop is one stream of SIMD instructions over contiguous memory that stays in the cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit
from numpy.typing import NDArray

from griddispatch.errors import InputError

if TYPE_CHECKING:
    from griddispatch.grid.network import Network

Float = NDArray[np.float64]
Index = NDArray[np.uint32]
Complex = NDArray[np.complex128]

BLOCK = 64  # scenarios side by side
# Over a millisecond of work: torch's own threads keep their cores busy for a while after they are
# done, and a thread started meanwhile waits for one. With 256 rows the environment was 4x slower.
ROWS_PER_THREAD = 8192

# The work array has a row per node: P, Q, V and J of a block, BLOCK numbers each.
P, Q, VR, VI, JR, JI, WIDTH = range(0, 7 * BLOCK, BLOCK)

# No "nnan" and no "ninf": a NaN must stay a NaN to be seen.
_FASTMATH = {"contract", "nsz", "arcp", "reassoc"}
_compiled = njit(fastmath=_FASTMATH, nogil=True, error_model="numpy", cache=True)


def sweep(
    network: Network,
    p_kw: Float,
    q_kvar: Float | None,
    v_init: Complex | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> tuple[Complex, NDArray[np.bool_], NDArray[np.int64]]:
    """Solve all rows; see `griddispatch.grid.power_flow.solve` for shapes and meaning.

    Raises
    ------
    InputError
        The network has a loop, taps or voltage-dependent loads.
    """
    tree = _tree(network)
    rows, n = p_kw.shape
    voltage = np.empty((rows, n), np.complex128)
    converged = np.zeros(rows, np.bool_)
    iterations = np.full(rows, max_iter, np.int64)
    q = p_kw[:0] if q_kvar is None else q_kvar
    start = network.no_load_voltage[None, :] if v_init is None else v_init

    def run(lo: int, hi: int) -> None:
        _sweep_rows(
            p_kw[lo:hi],
            q[lo:hi],
            q_kvar is not None,
            start if v_init is None else start[lo:hi],
            v_init is not None,
            *tree,
            network.v_slack,
            1.0 / network.base_kva,
            tol * tol,
            max_iter,
            voltage[lo:hi],
            converged[lo:hi],
            iterations[lo:hi],
        )

    parts = max(1, min(threads, rows // ROWS_PER_THREAD))
    if parts == 1:
        run(0, rows)
    else:
        edges = [BLOCK * round(rows * k / parts / BLOCK) for k in range(parts)] + [rows]
        with ThreadPoolExecutor(parts) as pool:  # the kernel releases the GIL
            list(pool.map(run, edges[:-1], edges[1:]))
    return voltage, converged, iterations


_Tree = tuple[Index, Index, Index, Complex, Complex]
_TREES: WeakKeyDictionary[Network, _Tree] = WeakKeyDictionary()  # as long as the network lives


def _tree(network: Network) -> _Tree:
    """Places (0 to N - 1), columns, parents, series impedances and shunts, depth first."""
    if network not in _TREES:
        order, parent, z = network.tree
        if (network.tap != 1).any() or not network.is_constant_power:
            raise InputError(
                f"network {network.name} has transformer taps or voltage-dependent loads, which "
                "the sweep does not model; use backend='dense'"
            )
        shunt = network.shunt.copy()
        np.add.at(shunt, network.from_bus, 0.5j * network.b)
        np.add.at(shunt, network.to_bus, 0.5j * network.b)
        places = np.arange(network.n_nodes, dtype=np.uint32)
        # Unsigned, so that numba need not look for negative indices. The slack has no parent.
        above = np.maximum(parent, 0).astype(np.uint32)
        _TREES[network] = places, order.astype(np.uint32), above, z, shunt[order]
    return _TREES[network]


# The compiled part. What keeps its inner loops vectorised (and four times faster):
# - They touch one row of the work array and the small arrays `carry` and `worst`, never two rows.
# - The row's number comes out of an array (`for i in places`, not `range`). With a range, LLVM
#   compares the memory of the whole array at once, finds that rows may overlap, and gives up.


@_compiled
def _sweep_rows(
    p: Float,
    q: Float,
    has_q: bool,
    start: Complex,
    has_start: bool,
    places: Index,
    order: Index,
    parent: Index,
    z: Complex,
    shunt: Complex,
    v_slack: complex,
    scale: float,
    tol2: float,
    max_iter: int,
    voltage: Complex,
    converged: NDArray[np.bool_],
    iterations: NDArray[np.int64],
) -> None:
    rows, n = p.shape
    work = np.zeros((n, WIDTH))
    carry, worst = np.zeros(2 * BLOCK), np.zeros(BLOCK)
    done = np.zeros(BLOCK, np.bool_)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        own_start = start[first:last] if has_start else start
        out = voltage[first:last]
        width = last - first
        if width < BLOCK:
            work[:] = 0.0
        _load(work, worst, p[first:last], q[first:last], has_q, own_start, places, order, scale)
        for k in range(BLOCK):
            work[0, VR + k], work[0, VI + k] = v_slack.real, v_slack.imag
        left = width
        for k in range(width):
            done[k] = worst[k] != 0.0  # a NaN or an infinity came in
            if done[k]:
                left -= 1
                iterations[first + k] = 0
                out[k] = complex(np.nan, np.nan)
        iteration = 0
        while left > 0 and iteration < max_iter:
            iteration += 1
            _backward(work, carry, worst, places, parent, shunt)
            _forward(work, carry, worst, places, parent, z)
            for k in range(width):
                if done[k] or worst[k] >= tol2:
                    continue
                # A row leaves with the values of its own last sweep: its neighbours in the
                # block decide neither its result nor its count.
                done[k] = True
                left -= 1
                iterations[first + k] = iteration
                converged[first + k] = worst[k] == worst[k]  # not NaN
                if converged[first + k]:
                    row = out[k]
                    for i in places:
                        row[order[i]] = complex(work[i, VR + k], work[i, VI + k])
                else:
                    out[k] = complex(np.nan, np.nan)
        for k in range(width):
            if not done[k]:
                out[k] = complex(np.nan, np.nan)


@_compiled
def _load(
    work: Float,
    worst: Float,
    p: Float,
    q: Float,
    has_q: bool,
    start: Complex,
    places: Index,
    order: Index,
    scale: float,
) -> None:
    """Transpose a block into the work array; `worst` is 0 where all that came in is finite."""
    width = len(p)
    worst[:] = 0.0
    for i in places:
        c = order[i]
        for k in range(width):
            work[i, P + k] = p[k, c] * scale
        if has_q:
            for k in range(width):
                work[i, Q + k] = q[k, c] * scale
        if len(start) == 1:
            v = start[0, c]
            for k in range(BLOCK):
                work[i, VR + k], work[i, VI + k] = v.real, v.imag
        else:
            for k in range(width):
                work[i, VR + k], work[i, VI + k] = start[k, c].real, start[k, c].imag
        for k in range(BLOCK):
            sound = work[i, P + k] + work[i, Q + k] + work[i, VR + k] + work[i, VI + k]
            worst[k] += sound * 0.0
            work[i, JR + k] = 0.0
            work[i, JI + k] = 0.0


@_compiled
def _backward(
    work: Float, carry: Float, worst: Float, places: Index, parent: Index, shunt: Complex
) -> None:
    """Sum the currents J from the leaves on; `worst` becomes 0, or NaN where a current is.

    A chain of nodes hands its J on in `carry`; only where the chain ends at a node that is not
    the one before it in the order, J is added to the work array.
    """
    carry[:] = 0.0
    for i in places[:0:-1]:
        m = parent[i]
        g, b = shunt[i].real, shunt[i].imag
        for k in range(BLOCK):
            x, y = work[i, VR + k], work[i, VI + k]
            s = 1.0 / (x * x + y * y)
            re = (work[i, P + k] * x + work[i, Q + k] * y) * s + (g * x - b * y)
            im = (work[i, P + k] * y - work[i, Q + k] * x) * s + (g * y + b * x)
            re += work[i, JR + k] + carry[k]
            im += work[i, JI + k] + carry[BLOCK + k]
            work[i, JR + k], work[i, JI + k] = re, im
            carry[k], carry[BLOCK + k] = re, im
        if m + 1 != i:
            for k in range(2 * BLOCK):
                work[m, JR + k] += carry[k]
                carry[k] = 0.0
    for k in range(BLOCK):
        # The slack node's J is the sum of all: no NaN can hide from it. Squared, it is infinite
        # before any z J can be.
        re, im = work[0, JR + k] + carry[k], work[0, JI + k] + carry[BLOCK + k]
        worst[k] = (re * re + im * im) * 0.0
        work[0, JR + k] = 0.0
        work[0, JI + k] = 0.0


@_compiled
def _forward(
    work: Float, carry: Float, worst: Float, places: Index, parent: Index, z: Complex
) -> None:
    """Take the voltage drops off from the slack node on; `worst` becomes the largest move^2."""
    for k in range(2 * BLOCK):
        carry[k] = work[0, VR + k]
    for i in places[1:]:
        m = parent[i]
        if m + 1 != i:
            for k in range(2 * BLOCK):
                carry[k] = work[m, VR + k]
        r, x = z[i].real, z[i].imag
        for k in range(BLOCK):
            re = carry[k] - r * work[i, JR + k] + x * work[i, JI + k]
            im = carry[BLOCK + k] - r * work[i, JI + k] - x * work[i, JR + k]
            dr, di = re - work[i, VR + k], im - work[i, VI + k]
            move = dr * dr + di * di
            worst[k] = move if move > worst[k] else worst[k]  # a NaN in `worst` stays
            work[i, VR + k], work[i, VI + k] = re, im
            carry[k], carry[BLOCK + k] = re, im
            work[i, JR + k] = 0.0
            work[i, JI + k] = 0.0
