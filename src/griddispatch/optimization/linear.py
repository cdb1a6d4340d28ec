"""Dispatch with perfect foresight by linear programs, with voltages linear in the power.

`linear_schedule` adds voltage limits to the program of `griddispatch.optimization.arbitrage`, as
tangents of the power flow. It shares neither equations nor solver with `feeder_nlp` and so checks
the optimum independently: each round adds the tangents at the schedule just found (Kelley, "The
cutting-plane method for solving convex programs", 1960).
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from griddispatch.assets.storage import energy_kwh
from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder, paper_reward
from griddispatch.errors import InputError
from griddispatch.grid.power_flow import solve
from griddispatch.optimization.arbitrage import Limits, Program, batteries, minimise, parameters

Float = NDArray[np.float64]

_MILLE = 1e3  # voltages in thousandths of a p.u., so that no coefficient is tiny
_PROBE_KW = 1.0  # half the step of the central differences


@dataclass(frozen=True)
class Schedule:
    """Dispatch of one day with perfect foresight, and what it brings according to its model.

    power_kw [S, M] (+ = charging) keeps all limits up to the rounding of the solver, about 1e-6 kW;
    the environment clamps the rest. objective = profit - penalty - wear, all in EUR. iterations are
    those of the solver; seconds are wall time, with the building of the model.
    """

    date: str
    power_kw: Float
    objective: float
    profit: float
    penalty: float
    wear: float
    iterations: int
    seconds: float


def linear_schedule(feeder: Feeder, day_index: int, rounds: int = 1) -> Schedule:
    """Best schedule of a day if every voltage were linear in the powers of the batteries.

    |V| sags faster and faster with rising load: it is concave in the powers and lies below its
    tangents. So the program sees too little under-voltage: its objective is an upper bound of what
    any policy can reach, and its schedule, played in the environment, gives a lower bound of the
    optimum. For over-voltages, of which the published series has none, it is an approximation.

    Parameters
    ----------
    feeder, day_index
        The environment, and the place of the day in ``feeder.days``.
    rounds
        1 takes the tangents at idle batteries; each further round adds those at the schedule
        just found, and both bounds close in on the optimum.

    Raises
    ------
    InputError
        There is no such day or round, the feeder's reward is not the paper's, or the power flow has
        no solution.
    """
    check_day(feeder, day_index)
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; the first is the program itself, so take 1 or more")
    started = time.perf_counter()
    price = np.asarray(feeder.days.price[day_index])
    program = batteries(feeder.storage, price, feeder.hours, feeder.end_soc)
    tangents = [_tangent(feeder, day_index, np.zeros((feeder.steps, feeder.n_actions)))]
    iterations = 0
    while True:
        x, used = minimise(program, _voltage_limits(feeder, program, tangents))
        iterations += used
        if len(tangents) == rounds:
            break
        tangents.append(_tangent(feeder, day_index, program.power(x)))
    outside = float(x[program.width :].sum()) / _MILLE
    return schedule(feeder, day_index, program.power(x), outside, iterations, started)


def check_day(feeder: Feeder, day_index: int) -> None:
    """Raise InputError unless the day exists and its reward is the one that is modelled here."""
    if not 0 <= day_index < len(feeder.days):
        raise InputError(f"there is no day {day_index} among the {len(feeder.days)} of the feeder")
    if feeder.settlement != "battery":
        raise InputError(
            "the optimum is modelled for settlement='battery', the printed reward; with 'import' "
            "the losses of the network are traded too, which it does not know"
        )
    if feeder.reward is not paper_reward:
        raise InputError(
            "the optimum models profit - penalty - wear, but this feeder has a reward of its own; "
            "give it the paper's"
        )


def schedule(
    feeder: Feeder,
    day_index: int,
    power_kw: Float,
    outside: float,
    iterations: int,
    started: float,
) -> Schedule:
    """The `Schedule` of powers [S, M] that a solver began to look for at `started`.

    outside is the sum of the violations in p.u. over the day, without those at the slack node;
    started is a time of ``time.perf_counter``.
    """
    profit, wear = trade(feeder, day_index, power_kw)
    penalty = feeder.sigma * (outside + slack_violation(feeder))
    return Schedule(
        date=feeder.days.dates[day_index],
        power_kw=power_kw,
        objective=profit - penalty - wear,
        profit=profit,
        penalty=penalty,
        wear=wear,
        iterations=iterations,
        seconds=time.perf_counter() - started,
    )


def trade(feeder: Feeder, day_index: int, power_kw: Float) -> tuple[float, float]:
    """Profit and wear in EUR of powers [S, M] on a day."""
    power = torch.as_tensor(power_kw)
    energy = energy_kwh(power.sum(1), feeder.hours).numpy()
    wear = float(feeder.storage.wear_eur(power, feeder.hours).sum())
    return -float(feeder.days.price[day_index] @ energy) / 1000, wear


def slack_violation(feeder: Feeder) -> float:
    """Violation at the slack node over a day, in p.u., where it is penalised: a constant."""
    if feeder.network.slack not in feeder.penalised.tolist():
        return 0.0
    return feeder.steps * max(0.0, abs(1 - abs(feeder.network.v_slack)) - VOLTAGE_BAND)


# Voltages ------------------------------------------------------------------------------------


class _Tangent(NamedTuple):
    """Power flow near powers [S, M]: magnitude [S, K] in p.u., slope [S, K, M] in p.u. per kW."""

    power_kw: Float
    magnitude: Float
    slope: Float


def _tangent(feeder: Feeder, day_index: int, power_kw: Float) -> _Tangent:
    """Linearise the voltages of the penalised nodes (without the slack node) by differences.

    Only loads may depend on the voltage: batteries and PV hold their power, as in the environment.
    """
    m, nodes = feeder.n_actions, feeder.network.n_nodes
    probe = np.concatenate([np.zeros((1, m)), _PROBE_KW * np.eye(m), -_PROBE_KW * np.eye(m)])
    load = np.repeat(feeder.days.load[day_index][None], len(probe), axis=0)
    constant = np.repeat(-feeder.days.pv[day_index][None], len(probe), axis=0)
    constant[:, :, feeder.at.tolist()] += power_kw + probe[:, None]
    reactive = np.broadcast_to(feeder.days.reactive[day_index], load.shape)
    flow = solve(
        feeder.network,
        load.reshape(-1, nodes),
        reactive.reshape(-1, nodes),
        constant_kw=constant.reshape(-1, nodes),
        tol=1e-12,
    )
    if not bool(flow.converged.all()):
        raise InputError(
            f"no power-flow solution on {feeder.days.dates[day_index]} with the batteries at work; "
            "reduce their power or the load"
        )
    columns = [n for n in feeder.penalised.tolist() if n != feeder.network.slack]
    magnitude = flow.magnitude.numpy()[:, columns].reshape(*load.shape[:2], -1)
    slope = (magnitude[1 : m + 1] - magnitude[m + 1 :]) / (2 * _PROBE_KW)
    return _Tangent(power_kw, magnitude[0], np.moveaxis(slope, 0, -1))


def _voltage_limits(feeder: Feeder, program: Program, tangents: list[_Tangent]) -> Limits:
    """Violations v, in thousandths of a p.u.: at least how far each tangent leaves the band.

    There is one for each step and node that the batteries could bring out of the band.
    """
    rated = parameters(feeder.storage)["power_kw"]
    reach = 1.5 * np.abs(tangents[0].slope) @ rated  # generous: the slope changes with the power
    step, node = np.nonzero(np.abs(1 - tangents[0].magnitude) + reach > VOLTAGE_BAND)
    entries = np.arange(len(step))
    column = (step[:, None] + feeder.steps * np.arange(len(rated))).ravel()
    unused = sparse.csr_array((len(step), program.width // 3))
    violation = -sparse.eye_array(len(step))
    rows, below = [], []
    for tangent in tangents:
        slope = tangent.slope[step, node]
        level = tangent.magnitude[step, node] - (slope * tangent.power_kw[step]).sum(1)
        at = entries.repeat(len(rated)), column
        change = sparse.csr_array((_MILLE * slope.ravel(), at), shape=unused.shape)
        rows += [[-change, change, unused, violation], [change, -change, unused, violation]]
        below += [level - (1 - VOLTAGE_BAND), (1 + VOLTAGE_BAND) - level]
    return Limits(
        matrix=sparse.block_array(rows, format="csr"),
        below=_MILLE * np.concatenate(below),
        cost=np.full(len(step), feeder.sigma / feeder.hours),
    )
