"""Synthetic radial medium-voltage feeders of any size, and the load that a network can carry.

The order of the steps is that of Schweitzer et al., "Automated generation algorithm for synthetic
medium voltage radial distribution systems" (2017): topology, loads, conductors by the current
that they carry, lengths. The distributions are simpler than theirs, which describe Dutch cables,
and are those of this module:

1. topology: a lateral grows node by node; with probability `BRANCHING` it ends, and the next node
   starts a new one at any node that is there, but not at the slack node: one line leaves it;
2. loads: log-normal shares of the load of the feeder, at the power factor `POWER_FACTOR`;
3. conductors: the thinnest overhead line of `LINES` that carries the current of all loads beyond
   it with a reserve, if voltages were nominal;
4. lengths: log-normal, and all times one factor, so that the lowest voltage at full load is the one
   asked for. A feeder is as long as its voltage allows, whatever its number of nodes.

A line's drop depends on impedance times power alone, so step 4 looks for a factor of the loads on
lines of mean length 1 km, and stretches the lines by it. Their charging then raises the voltages a
little, and the loads are raised until the lowest one fits again, by a few per cent at most.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve

Float = NDArray[np.float64]
Int = NDArray[np.int64]

BASE_KV = 20.0
BRANCHING = 0.2  # about the share of end nodes: 0.13 to 0.36 in the published feeders
LOAD_SPREAD = 0.6  # standard deviations of logarithms
LENGTH_SPREAD = 0.5
POWER_FACTOR = 0.95
UTILISATION = 0.6  # largest share of the rated current at full load
_FREQUENCY = 50.0
_TOL = 1e-11  # p.u., of the voltages behind a factor
_MOST = 1e9  # largest factor that is tried


class Line(NamedTuple):
    """An overhead line: series impedance in ohm/km, charging in nF/km, rated current in kA."""

    name: str
    r: float
    x: float
    c: float
    rated: float


LINES = (
    Line("34-AL1/6-ST1A 20.0", 0.8342, 0.382, 9.15, 0.170),
    Line("48-AL1/8-ST1A 20.0", 0.5939, 0.372, 9.50, 0.210),
    Line("70-AL1/11-ST1A 20.0", 0.4132, 0.360, 9.70, 0.290),
    Line("94-AL1/15-ST1A 20.0", 0.3060, 0.350, 10.00, 0.350),
    Line("122-AL1/20-ST1A 20.0", 0.2376, 0.344, 10.30, 0.410),
    Line("149-AL1/24-ST1A 20.0", 0.1940, 0.337, 10.50, 0.470),
    Line("184-AL1/30-ST1A 20.0", 0.1571, 0.330, 10.75, 0.535),
    Line("243-AL1/39-ST1A 20.0", 0.1188, 0.320, 11.00, 0.645),
)
"""Conductors from thin to thick: pandapower's standard types, after DIN EN 50182."""


def synthetic_feeder(
    nodes: int, seed: int = 0, *, load_mw: float = 6.0, lowest_voltage: float = 0.955
) -> Network:
    """A random feeder whose lowest voltage at full load is the given one.

    Parameters
    ----------
    nodes
        N, the slack node included; they are numbered from 1, the slack node.
    seed
        Of all that is drawn: the same seed gives the same feeder.
    load_mw
        Active load of the whole feeder, which decides its conductors; `Network.load_kw` adds up to
        it within 5 %.
    lowest_voltage
        In p.u., at the loads of `Network.load_kw` and `load_kvar`; the slack node is at 1.

    Raises
    ------
    InputError
        There are fewer than two nodes, the voltage is not in [0.8, 1), or no line carries the load.
    """
    if nodes < 2:
        raise InputError(f"a feeder of {nodes} node(s): it needs the slack node and at least one")
    if not 0.8 <= lowest_voltage < 1:
        raise InputError(f"lowest_voltage is {lowest_voltage}; take 0.8 or more, and less than 1")
    if not 0 < load_mw < np.inf:
        raise InputError(f"load_mw is {load_mw}; it must be positive")
    rng = np.random.default_rng(seed)
    parent = grown_tree(nodes, rng)
    load = np.append(0.0, rng.lognormal(sigma=LOAD_SPREAD, size=nodes - 1))
    load *= 1e3 * load_mw / load.sum()
    line = _conductors(beyond(parent, load))
    length = rng.lognormal(sigma=LENGTH_SPREAD, size=nodes - 1)
    length /= length.mean()

    name = f"synthetic, {nodes} nodes"
    bare = _network(name, parent, load, line * [1.0, 1.0, 0.0], length)
    nominal = bare.load_kw[None], bare.load_kvar[None]
    length = length * load_factor(bare, *nominal, lowest_voltage)
    feeder = _network(name, parent, load, line, length)
    rest = load_factor(feeder, *nominal, lowest_voltage)
    return _network(name, parent, rest * load, line, length)


def load_factor(network: Network, p_kw: Float, q_kvar: Float, lowest_voltage: float) -> float:
    """The factor of loads [B, N] with which the lowest voltage of all rows is the given one.

    Raises
    ------
    InputError
        The loads do not lower the voltage, or the voltage without load is not above the given one.
    """
    start = np.full(p_kw.shape, network.v_slack)

    def above(factor: float) -> float:
        flow = solve(network, factor * p_kw, factor * q_kvar, tol=_TOL, v_init=start)
        lowest = float(flow.magnitude.min()) if bool(flow.converged.all()) else 0.0
        return lowest - lowest_voltage

    low, high = 0.0, 1.0
    while above(high) > 0 and high < _MOST:
        low, high = high, 2 * high
    # Beyond the nose there is no solution, so no voltage to interpolate with: step back from it.
    while above(high) <= -lowest_voltage and high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) > 0 else (low, middle)
    if above(0.0) <= 0 or not -lowest_voltage < above(high) <= 0:
        raise InputError(
            f"network {network.name}: no multiple of these loads takes the lowest voltage to "
            f"{lowest_voltage} p.u.; give loads that consume, and a voltage below the one without"
        )
    return float(brentq(above, low, high, xtol=1e-12, rtol=1e-13))


def grown_tree(nodes: int, rng: np.random.Generator) -> Int:
    """[N] column of the parent of each node, -1 for the slack node 0; parents come first."""
    parent, tip = [-1], 0
    for node in range(1, nodes):
        if node > 1 and rng.random() < BRANCHING:
            tip = int(rng.integers(1, node))
        parent.append(tip)
        tip = node
    return np.array(parent)


def beyond(parent: Int, load: Float) -> Float:
    """[N] load of each node and of all nodes that it supplies, for parents that come first."""
    total = load.copy()
    for node in range(len(parent) - 1, 0, -1):
        total[parent[node]] += total[node]
    return total


def _conductors(load_kw: Float) -> Float:
    """[N - 1, 3] R, X in ohm/km and charging in S/km of the lines that carry loads [N]."""
    current = load_kw[1:] / POWER_FACTOR / (np.sqrt(3) * BASE_KV) / 1e3  # kA
    rated = np.array([line.rated for line in LINES])
    choice = np.searchsorted(rated * UTILISATION, current)
    if choice.max() == len(LINES):
        raise InputError(
            f"the feeder's load needs {current.max():.2f} kA, its strongest line carries "
            f"{UTILISATION * rated[-1]:.2f} kA with reserve; reduce load_mw"
        )
    farad = 2 * np.pi * _FREQUENCY * 1e-9
    table = np.array([[line.r, line.x, farad * line.c] for line in LINES])
    return np.asarray(table[choice])


def _network(name: str, parent: Int, load_kw: Float, line: Float, length_km: Float) -> Network:
    base_kva = 1000.0
    z_base, count = BASE_KV**2 * 1e3 / base_kva, len(parent)
    plain = np.tile((1.0, 0.0, 0.0), (count, 1))
    return Network(
        name=name,
        nodes=np.arange(1, count + 1),
        slack=0,
        from_bus=parent[1:],
        to_bus=np.arange(1, count),
        r=line[:, 0] * length_km / z_base,
        x=line[:, 1] * length_km / z_base,
        b=line[:, 2] * length_km * z_base,
        tap=np.ones(count - 1, np.complex128),
        shunt=np.zeros(count, np.complex128),
        zip_p=plain,
        zip_q=plain,
        load_kw=load_kw,
        load_kvar=load_kw * np.tan(np.arccos(POWER_FACTOR)),
        base_kva=base_kva,
        base_kv=BASE_KV,
    )
