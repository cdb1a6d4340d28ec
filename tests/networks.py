"""Random networks for property tests, and pandapower's answer to a batch."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from griddispatch.grid.network import Network

Float = NDArray[np.float64]


def random_network(
    seed: int, nodes: int = 8, *, extra_branches: int = 0, charging: bool = True, **fields: Any
) -> Network:
    """Return a tree with `extra_branches` more, slack and numbers anywhere, impedances 0.1-2 %."""
    rng = np.random.default_rng(seed)
    parent = [int(rng.integers(i)) for i in range(1, nodes)]
    extra = [rng.choice(nodes, 2, replace=False) for _ in range(extra_branches)]
    ends = [*zip(range(1, nodes), parent, strict=True), *((int(a), int(b)) for a, b in extra)]
    ends = [pair[::-1] if rng.random() < 0.5 else pair for pair in ends]
    column = rng.permutation(nodes)  # the slack and the order of the tree go anywhere
    count = len(ends)
    plain = np.tile((1.0, 0.0, 0.0), (nodes, 1))
    return Network(
        **{
            "name": f"random network {seed}",
            "nodes": rng.permutation(100)[:nodes],
            "slack": int(column[0]),
            "from_bus": column[[a for a, _ in ends]],
            "to_bus": column[[b for _, b in ends]],
            "r": rng.uniform(1e-3, 2e-2, count),
            "x": rng.uniform(1e-3, 2e-2, count),
            "b": rng.uniform(0, 0.02, count) if charging else np.zeros(count),
            "tap": np.ones(count, np.complex128),
            "shunt": np.zeros(nodes, np.complex128),
            "zip_p": plain,
            "zip_q": plain,
            "load_kw": np.zeros(nodes),
            "load_kvar": np.zeros(nodes),
            "v_slack": complex(rng.uniform(0.98, 1.03)),
        }
        | fields
    )


@st.composite
def networks(draw: st.DrawFn, meshed: bool = False, **fields: Any) -> Network:
    """Draw a random network of 2 to 14 nodes."""
    extra = draw(st.integers(1, 4)) if meshed else 0
    nodes = draw(st.integers(3 if meshed else 2, 14))
    return random_network(draw(st.integers(0, 2**16)), nodes, extra_branches=extra, **fields)


def random_loads(
    network: Network, rows: int, seed: int = 0, *, drop: float = 0.1
) -> tuple[Float, Float]:
    """P in kW and Q in kvar [rows, N], of both signs, with voltage drops of about `drop`."""
    rng = np.random.default_rng(seed)
    shape = (rows, network.n_nodes)
    p, q = rng.uniform(-0.5, 1.0, shape), rng.uniform(-0.5, 0.5, shape)
    worst = np.abs(network.impedance).sum(1).max() * network.base_kva**-1
    return p * drop / worst, q * drop / worst


def newton_raphson(network: Network, p_kw: Float, q_kvar: Float) -> NDArray[np.complex128]:
    """Voltages [B, N] by pandapower, row by row."""
    import pandapower as pp

    net = network.to_pandapower()
    voltage = np.empty(p_kw.shape, np.complex128)
    for row, (p, q) in enumerate(zip(p_kw, q_kvar, strict=True)):
        net.load["p_mw"], net.load["q_mvar"] = p / 1e3, q / 1e3
        pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False)
        voltage[row] = complex_voltage(net)
    return voltage


def complex_voltage(net: Any) -> NDArray[np.complex128]:
    """Voltages [N] of a solved pandapower net."""
    magnitude, degree = net.res_bus["vm_pu"].to_numpy(), net.res_bus["va_degree"].to_numpy()
    return np.asarray(magnitude * np.exp(1j * np.deg2rad(degree)))
