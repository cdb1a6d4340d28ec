"""What the validation of the power flow needs: loads, the Newton-Raphson reference, the nose.

The reference is pandapower's Newton-Raphson, one scenario after the other, to a tolerance that is
tight beside the errors that are looked for.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days
from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder, State
from griddispatch.errors import InputError
from griddispatch.evaluation.timing import interleaved
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import Backend, PowerFlow, solve

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

EXACT = 1e-9  # p.u. of power; what Newton-Raphson reaches on all four networks
NEWTON_STEPS = 10  # pandapower's own limit
Q_TO_P = 0.3
BACKENDS: dict[str, Backend] = {"Dense": "dense", "Sweep": "sweep"}


class Newton:
    """pandapower's Newton-Raphson for one network, to a tight tolerance."""

    def __init__(self, network: Network, tol: float = EXACT) -> None:
        self.network, self.tol = network, tol

    def voltage(self, p_kw: Float, q_kvar: Float | None = None) -> Complex:
        """[B, N] complex voltages in p.u. for loads [B, N]; NaN where it does not converge."""
        flow = solve(
            self.network, p_kw, q_kvar, backend="pandapower", tol=self.tol, max_iter=NEWTON_STEPS
        )
        return np.asarray(flow.voltage.numpy())


def equal_load(network: Network, lowest_voltage: float = 1 - VOLTAGE_BAND) -> float:
    """Load per node in kW (and Q = 0.3 P) that takes the lowest voltage to the given one."""
    shape = np.ones((1, network.n_nodes))

    def lowest(mean: float) -> float:
        flow = solve(network, mean * shape, Q_TO_P * mean * shape, backend="dense")
        return float(flow.magnitude.min()) if bool(flow.converged.all()) else 0.0

    low, high = 0.0, 1.0
    while lowest(high) > lowest_voltage:
        high *= 2
    return _bisect(lambda mean: lowest(mean) > lowest_voltage, low, high)


def heavy_loads(network: Network, count: int, seed: int = 0) -> tuple[Float, Float]:
    """Independent uniform loads P in kW and Q in kvar [count, N] around `equal_load`.

    P lies between 0 and twice that mean, Q between 0 and 0.6 times it; about half of the scenarios
    leave the band of 5 %. The slack node has none.
    """
    mean = equal_load(network)
    random = np.random.default_rng(seed)
    p = random.uniform(0, 2 * mean, (count, network.n_nodes))
    q = random.uniform(0, 2 * Q_TO_P * mean, (count, network.n_nodes))
    p[:, network.slack] = q[:, network.slack] = 0.0
    return p, q


def error_percent(voltage: torch.Tensor, reference: Complex) -> Float:
    """[B, N] difference of the voltage magnitudes in % of the reference."""
    return np.asarray(100 * np.abs(voltage.abs().numpy() / np.abs(reference) - 1))


def accuracy(flow: PowerFlow, error: Float) -> dict[str, float]:
    """Summary of errors [B, N] in %, of the iterations, and of the scenarios that failed."""
    return {
        "mean_error_percent": float(error.mean()),
        "p99_error_percent": float(np.quantile(error, 0.99)),
        "max_error_percent": float(error.max()),
        "iterations_mean": float(flow.iterations.double().mean()),
        "iterations_max": int(flow.iterations.max()),
        "failed": int((~flow.converged).sum()),
    }


def loading(
    network: Network, p_kw: Float, q_kvar: Float, last: float, points: int = 60
) -> pd.DataFrame:
    """Lowest voltage in p.u. (NaN where it fails) and iterations on the way to a collapse.

    The multiples of the load [N] end just before `last` and stand closer together towards it: the
    voltage falls like the square root of what is left.
    """
    factors = last * (1 - np.linspace(0.99, 0.01, points) ** 2)
    scale = factors[:, None]
    flow = solve(network, scale * p_kw, scale * q_kvar, max_iter=2_000)
    return pd.DataFrame(
        {
            "network": network.n_nodes,
            "factor": factors,
            "v_min": flow.magnitude.amin(1).numpy(),
            "iterations": flow.iterations.numpy(),
        }
    )


def collapse(network: Network, p_kw: Float, q_kvar: Float, backend: Backend | Newton) -> float:
    """Largest multiple of a load [N] that a program still solves (to 1e-6 of it)."""

    def solved(factor: float) -> bool:
        if isinstance(backend, Newton):
            v = backend.voltage(factor * p_kw[None], factor * q_kvar[None])
            return bool(np.isfinite(v).all())
        loads = (factor * p_kw[None], factor * q_kvar[None])
        return bool(solve(network, *loads, backend=backend, max_iter=20_000).converged.all())

    if not solved(1.0):
        raise InputError(f"network {network.name} cannot carry the load to begin with; reduce it")
    high = 2.0
    while solved(high):
        high *= 2
    return _bisect(solved, high / 2, high)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Largest value that `holds`, which it does at `low` and not at `high`."""
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def feeder_on(network: Network, days: int, backend: Backend) -> Feeder:
    """Environment on `heavy_loads`, with four batteries at the last nodes: for timing its step."""
    p, q = heavy_loads(network, 96 * days)
    shape = (days, 96, network.n_nodes)
    price = np.random.default_rng(0).uniform(10, 90, shape[:2])
    made = Days(
        dates=tuple(f"scenario {d}" for d in range(days)),
        nodes=tuple(int(n) for n in network.nodes),
        load=p.reshape(shape),
        pv=np.zeros(shape),
        reactive=q.reshape(shape),
        price=price,
        step_hours=0.25,
    )
    last = tuple(int(n) for n in network.nodes[-4:])
    return Feeder(network, Storage(nodes=last), made, backend=backend)


def times(network: Network, batch: int, turns: int) -> pd.DataFrame:
    """Microseconds per scenario, medians over turns that the programs take one after the other.

    One thread each, in processor time. A turn takes a small batch several times over, since the
    first call after another program's turn finds none of its own data in the cache.

    Returns
    -------
    DataFrame
        network, backend, batch, power_flow_us, and env_step_us: a step of the same environment
        with that backend. pandapower has no batch and stands only where `batch` is 1.
    """
    p, q = heavy_loads(network, batch)
    calls = max(1, 50 // batch)
    programs = dict(BACKENDS)
    if batch == 1:
        programs["pandapower"] = "pandapower"
    feeders = {name: feeder_on(network, 2, backend) for name, backend in programs.items()}
    state = feeders["Dense"].reset(torch.zeros(batch, dtype=torch.int64))
    action = torch.zeros_like(state.soc)
    repeats = {name: 1 if name == "pandapower" else calls for name in programs}
    flows = {
        name: partial(_solved, network, p, q, backend, repeats[name])
        for name, backend in programs.items()
    }
    steps = {
        name: partial(_stepped, env, state, action, repeats[name]) for name, env in feeders.items()
    }
    frame = pd.DataFrame(
        {
            "power_flow_us": _micros(interleaved(flows, turns, time.process_time)),
            "env_step_us": _micros(interleaved(steps, turns, time.process_time)),
        }
    )
    frame = frame.rename_axis("backend").reset_index()
    frame.insert(0, "network", network.n_nodes)
    frame.insert(2, "batch", batch)
    return frame


def _solved(network: Network, p: Float, q: Float, backend: Backend, calls: int) -> int:
    return sum(len(solve(network, p, q, backend=backend).converged) for _ in range(calls))


def _stepped(feeder: Feeder, state: State, action: torch.Tensor, calls: int) -> int:
    return sum(len(feeder.step(state, action)[1]) for _ in range(calls))


def _micros(speeds: dict[str, list[float]]) -> pd.Series:
    return pd.Series({name: 1e6 / float(np.median(turns)) for name, turns in speeds.items()})
