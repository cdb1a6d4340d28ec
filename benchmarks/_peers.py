"""Other power-flow programs behind one face: loads in, voltages out.

Each program gets the network in its own form before the clock runs, and has several ways to solve
a batch. `power_flow.py` takes the fastest way that is as exact as asked for.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.grid.network import Network

Float = NDArray[np.float64]
FREQUENCY = 50.0
CUT = "tensorpowerflow, called by chunks"


@dataclass(frozen=True)
class Way:
    """One way to solve one batch with one program."""

    program: str
    way: str
    rows: int
    """Scenarios that one call solves: the batch, or the beginning of it."""
    run: Callable[[], Any]
    """What is timed."""
    magnitude: Callable[[Any], Float]
    """Voltage magnitudes [rows, N] in p.u. from what `run` returned."""
    converged: Callable[[Any], float]
    """Share of converged scenarios from what `run` returned."""


def pandapower(network: Network, p_kw: Float, q_kvar: Float, tol: float) -> Iterator[Way]:
    """Newton-Raphson as it is called by default (with numba), scenario after scenario."""
    import pandapower as pp

    net = network.to_pandapower()

    def run(tolerance: float = tol) -> Float:
        magnitude = np.empty(p_kw.shape)
        for row, (p, q) in enumerate(zip(p_kw, q_kvar, strict=True)):
            net.load["p_mw"], net.load["q_mvar"] = p / 1e3, q / 1e3
            pp.runpp(net, tolerance_mva=tolerance * network.base_kva / 1e3)
            magnitude[row] = net.res_bus["vm_pu"].to_numpy()
        return magnitude

    yield Way("pandapower", "Newton-Raphson", len(p_kw), run, lambda v: v, lambda v: 1.0)


def power_grid_model(network: Network, p_kw: Float, q_kvar: Float, tol: float) -> Iterator[Way]:
    """Batch calculation, P and Q of all loads as columns, only the voltages returned."""
    from power_grid_model import ComponentType as Kind
    from power_grid_model import DatasetType, PowerGridModel, initialize_array

    z_base = network.base_kv**2 * 1e3 / network.base_kva
    n, lines = network.n_nodes, len(network.r)
    columns = {
        Kind.node: {"id": np.arange(n), "u_rated": np.full(n, network.base_kv * 1e3)},
        Kind.line: {
            "id": n + np.arange(lines),
            "from_node": network.from_bus,
            "to_node": network.to_bus,
            "from_status": np.ones(lines),
            "to_status": np.ones(lines),
            "r1": network.r * z_base,
            "x1": network.x * z_base,
            "c1": network.b / z_base / (2 * np.pi * FREQUENCY),
            "tan1": np.zeros(lines),
            "i_n": np.full(lines, 1e4),
        },
        Kind.sym_load: {
            "id": n + lines + np.arange(n),
            "node": np.arange(n),
            "status": np.ones(n),
            "type": np.zeros(n),
            "p_specified": np.zeros(n),
            "q_specified": np.zeros(n),
        },
        Kind.source: {
            "id": [2 * n + lines],
            "node": [network.slack],
            "status": [1],
            "u_ref": [abs(network.v_slack)],
            "sk": [1e20],  # as stiff as a slack node
        },
    }
    tables = {}
    for kind, values in columns.items():
        tables[kind] = initialize_array(DatasetType.input, kind, len(values["id"]))
        for name, column in values.items():
            tables[kind][name] = column
    model = PowerGridModel(tables, system_frequency=FREQUENCY)
    loads = {Kind.sym_load: {"p_specified": p_kw * 1e3, "q_specified": q_kvar * 1e3}}

    def solver(method: str) -> Callable[[], Any]:
        return lambda: model.calculate_power_flow(
            update_data=loads,
            calculation_method=method,
            error_tolerance=tol,
            output_component_types={Kind.node: ["u_pu", "u_angle"]},
            threading=-1,
        )

    for method in ("newton_raphson", "iterative_current", "linear_current"):
        yield Way(
            "power-grid-model",
            method.replace("_", " "),
            len(p_kw),
            solver(method),
            lambda out: out[Kind.node]["u_pu"],
            lambda out: 1.0,  # it raises an error otherwise
        )


def lightsim2grid(network: Network, p_kw: Float, q_kvar: Float, tol: float) -> Iterator[Way]:
    """The compiled time-series solver: all injections in one call, one thread."""
    import pandapower as pp
    from lightsim2grid.lightsim2grid_cpp import (
        AlgorithmType,
        InjectionSweepCPP,
        TimeSeriesCPP,
    )
    from lightsim2grid.network import init_from_pandapower

    net = network.to_pandapower()
    pp.runpp(net)
    grid = init_from_pandapower(net)
    p_mw, q_mvar = p_kw / 1e3, q_kvar / 1e3
    flat = np.ones(network.n_nodes, np.complex128)

    def solver(series: Any, algorithm: str, refactor: int) -> Callable[[], Any]:
        solve = series(grid)
        solve.change_algorithm(getattr(AlgorithmType, algorithm))
        config = solve.get_algo_config()
        numbers = list(config.int_params)
        numbers[1] = refactor
        config.int_params = numbers
        solve.set_algo_config(config)

        def run() -> Any:
            solve.modify_load_p(p_mw)
            solve.modify_load_q(q_mvar)
            solve.compute(flat, 30, tol)
            return solve, solve.get_voltages()

        return run

    for series, start in ((TimeSeriesCPP, "from step to step"), (InjectionSweepCPP, "flat start")):
        for refactor, word in ((0, "Newton-Raphson"), (2, "Newton-Raphson, one Jacobian")):
            yield Way(
                "lightsim2grid",
                f"{word}, {start}",
                len(p_kw),
                solver(series, "NRSing_KLU", refactor),
                lambda out: np.abs(out[1]),
                lambda out: float(np.mean(out[0].converged_mask())),
            )


def tensorpowerflow(network: Network, p_kw: Float, q_kvar: Float, tol: float) -> Iterator[Way]:
    """The fixed point of the RL-ADN authors. It takes the slack to be the first node, at 1 p.u."""
    import tensorpowerflow.grid as module
    from tqdm import trange

    module.trange = partial(trange, disable=True)  # its progress bar is not timed here
    z_base = network.base_kv**2 * 1e3 / network.base_kva
    n = network.n_nodes
    nodes = pd.DataFrame({"NODES": np.arange(1, n + 1), "Tb": 0, "PD": 0.0, "QD": 0.0})
    nodes = nodes.assign(Pct=1, Ict=0, Zct=0)
    nodes.loc[0, "Tb"] = 1
    lines = pd.DataFrame(
        {
            "FROM": network.from_bus + 1,
            "TO": network.to_bus + 1,
            "R": network.r * z_base,
            "X": network.x * z_base,
            "B": network.b / z_base,
            "STATUS": 1,
            "TAP": 1,
        }
    )
    with contextlib.redirect_stdout(io.StringIO()):
        grid = module.GridTensor(
            "",  # without a text here it ignores the tables and takes a network of its own
            "",
            from_file=False,
            nodes_frame=nodes,
            lines_frame=lines,
            s_base=network.base_kva,
            v_base=network.base_kv,
        )

    def solve(p: Float, q: Float, algorithm: str) -> Any:
        return grid.run_pf(active_power=p, reactive_power=q, algorithm=algorithm, tolerance=tol)

    def magnitude(parts: list[Any]) -> Float:
        v = np.abs(np.vstack([part["v"] for part in parts]))
        return np.hstack([np.ones((len(v), 1)), v])

    p, q = np.ascontiguousarray(p_kw[:, 1:]), np.ascontiguousarray(q_kvar[:, 1:])

    def way(name: str, algorithm: str, chunk: int, rows: int) -> Way:
        cuts = [slice(lo, min(lo + chunk, rows)) for lo in range(0, rows, chunk)]
        return Way(
            "tensorpowerflow" if chunk >= rows else CUT,
            name,
            rows,
            lambda: [solve(p[cut], q[cut], algorithm) for cut in cuts],
            magnitude,
            lambda parts: float(np.mean([part["convergence"] for part in parts])),
        )

    yield way("tensor", "tensor", len(p), len(p))
    yield way("hp-tensor", "hp-tensor", len(p), min(500, len(p)))
    yield way("tensor, 256 scenarios a call", "tensor", 256, len(p))


PROGRAMS = {
    "pandapower": pandapower,
    "power-grid-model": power_grid_model,
    "lightsim2grid": lightsim2grid,
    "tensorpowerflow": tensorpowerflow,
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no log lines of other programs."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
