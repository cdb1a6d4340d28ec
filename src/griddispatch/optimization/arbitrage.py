"""Dispatch by linear programs: for the price alone, and with voltages linear in the power.

`arbitrage_schedule` knows nothing but the price; the rules use it. `linear_schedule` adds voltage
limits as tangents of the power flow. It shares neither equations nor solver with `feeder_nlp` and
so checks the optimum independently: each round adds the tangents at the schedule just found
(Kelley, "The cutting-plane method for solving convex programs", 1960).

The variables, for M batteries and S steps, are charging c >= 0 and discharging d >= 0 in kW and the
state of charge e after each step, e_t - e_(t-1) = (eta_c c_t - d_t / eta_d) dt / capacity. A
battery cannot do both at once. That takes care of itself wherever wasted energy costs money; in
the few steps where waste would pay (a negative price and losses), a binary variable decides.
"""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog

from griddispatch.assets.storage import Storage, energy_kwh
from griddispatch.envs.feeder import VOLTAGE_BAND, EndSoc, Feeder, paper_reward
from griddispatch.errors import InputError
from griddispatch.grid.power_flow import solve

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Ties. A price holds for all quarters of an hour, so the best schedule is one of many with the same
# profit. Of these we want the one that moves the least energy, and among those the one that charges
# earliest and discharges latest. Two tiny costs in EUR/MWh say so. Price differences below 2e-4
# EUR/MWh are ties, too (published prices have two decimals).
_USE = 1e-4  # for each MWh through the terminals
_LATE = 4e-5  # rise of the price over the day; less than a charge and a discharge cost in use

_BOTH = 1e-3  # kW; charging and discharging at once by more than this is no rounding
_MILLE = 1e3  # voltages in thousandths of a p.u., so that no coefficient is tiny
_PROBE_KW = 1.0  # half the step of the central differences
_SOLVER = {
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-8,  # below the costs that break ties
    "mip_rel_gap": 1e-6,
}


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


def arbitrage_schedule(
    storage: Storage, price: ArrayLike, hours: float, end_soc: EndSoc = "free"
) -> Float:
    """The power [S, M] in kW that earns most at prices [S] in EUR/MWh; + = charging.

    Where many schedules earn the same, it is the one that moves the least energy, and of those the
    one that charges earliest and discharges latest.

    Parameters
    ----------
    storage
        M batteries; without a network none depends on another.
    price
        For each step, known in advance.
    hours
        Length of a step.
    end_soc
        "free", or "initial": the state of charge at the end is that at the start.

    Raises
    ------
    InputError
        A price is missing or not finite, the step is not positive, or `end_soc` is unknown.
    """
    prices = np.asarray(price, dtype=np.float64)
    if prices.ndim != 1 or not len(prices) or not np.isfinite(prices).all():
        raise InputError(
            f"the price (shape {prices.shape}) must be one finite number per step; fill its gaps"
        )
    if not hours > 0 or end_soc not in ("free", "initial"):
        raise InputError(
            f"the step of {hours} h must be positive, end_soc {end_soc!r} 'free' or 'initial'"
        )
    program = _batteries(storage, prices, hours, end_soc)
    no_limits = _Limits(sparse.csr_array((0, program.width)), np.empty(0), np.empty(0))
    return program.power(_minimise(program, no_limits)[0])


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
    program = _batteries(feeder.storage, price, feeder.hours, feeder.end_soc)
    tangents = [_tangent(feeder, day_index, np.zeros((feeder.steps, feeder.n_actions)))]
    iterations = 0
    while True:
        x, used = _minimise(program, _voltage_limits(feeder, program, tangents))
        iterations += used
        if len(tangents) == rounds:
            break
        tangents.append(_tangent(feeder, day_index, program.power(x)))
    power = program.power(x)
    profit, wear = trade(feeder, day_index, power)
    outside = float(x[program.width :].sum()) / _MILLE + slack_violation(feeder)
    return Schedule(
        date=feeder.days.dates[day_index],
        power_kw=power,
        objective=profit - feeder.sigma * outside - wear,
        profit=profit,
        penalty=feeder.sigma * outside,
        wear=wear,
        iterations=iterations,
        seconds=time.perf_counter() - started,
    )


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


def parameters(storage: Storage) -> dict[str, Float]:
    """Each parameter of M batteries as an array [M]."""
    limits = storage.limits(torch.empty(0, dtype=torch.float64))
    return {name: value.numpy() for name, value in limits._asdict().items()}


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


# Programs of batteries -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Program:
    """Minimise cost @ x with equal @ x = equal_to within bounds; x = [c, d, e], each [M, S].

    The cost is in EUR/MWh times kW, that is EUR * 1000 / hours.
    """

    cost: Float
    equal: sparse.csr_array
    equal_to: Float
    bounds: Float  # [3 M S, 2]
    batteries: int

    @property
    def width(self) -> int:
        """Number of variables, 3 M S."""
        return len(self.cost)

    def power(self, x: Float) -> Float:
        """[S, M] net power in kW."""
        charge, discharge, _ = x[: self.width].reshape(3, self.batteries, -1)
        return np.ascontiguousarray((charge - discharge).T)


class _Limits(NamedTuple):
    """matrix @ [x, v] <= below, with further variables v >= 0 of a cost each."""

    matrix: sparse.csr_array
    below: Float
    cost: Float


def _batteries(storage: Storage, price: Float, hours: float, end_soc: EndSoc) -> _Program:
    """State the program of the batteries at prices [S]."""
    steps, m = len(price), len(storage)
    k = {name: value[:, None] for name, value in parameters(storage).items()}
    wear = 1000 * k["wear_eur_per_kwh"]
    price = price + _LATE * np.arange(steps) / steps
    cost = [price + wear + _USE, wear + _USE - price, np.zeros((m, steps))]

    rise, fall = (hours / k["capacity_kwh"] * x for x in (k["eta_charge"], 1 / k["eta_discharge"]))
    each, change = sparse.eye_array(steps), sparse.eye_array(steps) - sparse.eye_array(steps, k=-1)
    inside = (-np.diag(rise[:, 0]), each), (np.diag(fall[:, 0]), each), (np.eye(m), change)
    start, low, high = np.zeros((m, steps)), np.zeros((3, m, steps)), np.zeros((3, m, steps))
    start[:, :1] = k["soc_initial"]
    low[2], high[:2], high[2] = k["soc_min"], k["power_kw"], k["soc_max"]
    if end_soc == "initial":
        low[2, :, -1:] = high[2, :, -1:] = k["soc_initial"]
    return _Program(
        cost=np.concatenate([part.ravel() for part in cost]),
        equal=sparse.hstack([sparse.kron(*pair) for pair in inside], format="csr"),
        equal_to=start.ravel(),
        bounds=np.column_stack([low.ravel(), high.ravel()]),
        batteries=m,
    )


def _minimise(program: _Program, limits: _Limits) -> tuple[Float, int]:
    """Solve with HiGHS; return [x, v] and the iterations.

    Directions get a binary variable only where a solution charges and discharges at once: without
    any of them the program is a relaxation, so a solution that needs none is optimal.
    """
    size = program.width // 3
    directed = np.zeros(size, dtype=np.bool_)
    iterations = 0
    while True:
        answer = _highs(program, limits, directed)
        iterations += int(answer.nit)
        charge, discharge = answer.x[:size], answer.x[size : 2 * size]
        both = (np.minimum(charge, discharge) > _BOTH) & ~directed
        if not both.any():
            return answer.x[: program.width + len(limits.cost)], iterations
        directed |= both


def _highs(program: _Program, limits: _Limits, directed: Bool) -> Any:
    """Run HiGHS once, with a binary variable (1 = charging) for each directed pair of c and d."""
    pairs = np.flatnonzero(directed)
    continuous, binaries = program.width + len(limits.cost), len(pairs)
    power = program.bounds[pairs, 1]
    one = sparse.eye_array(continuous, format="csr")
    one_way = [  # c <= P z, d <= P (1 - z)
        [one[pairs], -sparse.diags_array(power, shape=(binaries, binaries))],
        [one[len(directed) + pairs], sparse.diags_array(power, shape=(binaries, binaries))],
    ]
    unused = sparse.csr_array((len(program.equal_to), continuous - program.width + binaries))
    free, either = np.tile([0, np.inf], (len(limits.cost), 1)), np.tile([0, 1], (binaries, 1))
    answer = linprog(
        np.concatenate([program.cost, limits.cost, np.zeros(binaries)]),
        A_ub=sparse.block_array([[limits.matrix, None], *one_way], format="csr"),
        b_ub=np.concatenate([limits.below, np.zeros(binaries), power]),
        A_eq=sparse.hstack([program.equal, unused], format="csr"),
        b_eq=program.equal_to,
        bounds=np.vstack([program.bounds, free, either]),
        integrality=np.repeat([0, 1], [continuous, binaries]),
        method="highs",
        options=_SOLVER,
    )
    if answer.status != 0:
        raise InputError(f"HiGHS did not solve the dispatch: {answer.message}; check the prices")
    return answer


# Voltages ------------------------------------------------------------------------------------


class _Tangent(NamedTuple):
    """Power flow near powers [S, M]: magnitude [S, K] in p.u., slope [S, K, M] in p.u. per kW."""

    power_kw: Float
    magnitude: Float
    slope: Float


def _tangent(feeder: Feeder, day_index: int, power_kw: Float) -> _Tangent:
    """Linearise the voltages of the penalised nodes (without the slack node) by differences."""
    m, nodes = feeder.n_actions, feeder.network.n_nodes
    probe = np.concatenate([np.zeros((1, m)), _PROBE_KW * np.eye(m), -_PROBE_KW * np.eye(m)])
    load = np.repeat(feeder.days.net_load[day_index][None], len(probe), axis=0)
    load[:, :, feeder.at.tolist()] += power_kw + probe[:, None]
    reactive = np.broadcast_to(feeder.days.reactive[day_index], load.shape)
    flow = solve(feeder.network, load.reshape(-1, nodes), reactive.reshape(-1, nodes), tol=1e-12)
    if not bool(flow.converged.all()):
        raise InputError(
            f"no power-flow solution on {feeder.days.dates[day_index]} with the batteries at work; "
            "reduce their power or the load"
        )
    columns = [n for n in feeder.penalised.tolist() if n != feeder.network.slack]
    magnitude = flow.magnitude.numpy()[:, columns].reshape(*load.shape[:2], -1)
    slope = (magnitude[1 : m + 1] - magnitude[m + 1 :]) / (2 * _PROBE_KW)
    return _Tangent(power_kw, magnitude[0], np.moveaxis(slope, 0, -1))


def _voltage_limits(feeder: Feeder, program: _Program, tangents: list[_Tangent]) -> _Limits:
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
    return _Limits(
        matrix=sparse.block_array(rows, format="csr"),
        below=_MILLE * np.concatenate(below),
        cost=np.full(len(step), feeder.sigma / feeder.hours),
    )
