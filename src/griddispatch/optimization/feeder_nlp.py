"""The optimum: dispatch of one day with perfect foresight, as a multi-period branch-flow model.

Source: Hou et al., "RL-ADN", eq. 8-18; for the branch-flow equations Farivar and Low, "Branch flow
model: relaxations and convexification" (2013). Physics and reward are those of
`griddispatch.envs.feeder`, so that the optimum is what no policy exceeds. Two things differ from
the printed model. The voltage limits are soft, with the penalty of the environment, because hard
ones leave some days without a solution; and they hold where the environment penalises.

Per unit, for each step t, each branch from the parent i of node j to j, and each battery m

    maximise  profit - sigma * sum of s - wear,  profit = -sum of price_t (c - d)_tm dt / 1000

    P_j = p_j + (c - d)_j + G_j v_j + r_j l_j + sum of P_k over the children k      active power
    Q_j = q_j             - B_j v_j + x_j l_j + sum of Q_k over the children k      reactive power
    v_j = v_i - 2 (r_j P_j + x_j Q_j) + (r_j^2 + x_j^2) l_j                         voltage drop
    l_j v_i = P_j^2 + Q_j^2                                                         current
    (0.95 - s_j)^2 <= v_j <= (1.05 + s_j)^2,  s_j >= 0                              soft limits
    e_t = e_(t-1) + (eta_c c_t - d_t / eta_d) dt / capacity                         storage

with v = |V|^2, l = |I|^2, and P, Q at the head of the series impedance. G + jB holds the shunts at
the node and half the charging of each line that ends there.
"""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.optimization import ipopt
from griddispatch.optimization.arbitrage import parameters
from griddispatch.optimization.linear import Schedule, check_day, linear_schedule, schedule

Float = NDArray[np.float64]

# In per unit and EUR the model is scaled already; scaling it again costs digits of the objective.
_OPTIONS = {"nlp_scaling_method": "none"}

# Ties. A price holds for all quarters of an hour, so the optimum has many schedules, some of them
# cycling for nothing. A tiny cost on squared powers, below a tenth of a cent per day, picks the
# smoothest. It does not count in the objective that is reported.
_SMOOTH = 1e-9  # EUR per kW^2 and step

_BOTH_KW = 1e-3  # charging and discharging at once by more than this is no rounding


def optimal_schedule(
    feeder: Feeder, day_index: int, *, program: ipopt.Program = "auto"
) -> Schedule:
    """The best schedule of one day of a feeder; see `optimal_schedules`."""
    return optimal_schedules(feeder, [day_index], program=program)[0]


def optimal_schedules(
    feeder: Feeder, day_indices: Sequence[int] | None = None, *, program: ipopt.Program = "auto"
) -> list[Schedule]:
    """The best schedules of some days of a feeder, by default of all.

    The model is built once; from day to day only its loads and prices change.

    Parameters
    ----------
    feeder
        Network, batteries, days, penalty, and how a day has to end.
    day_indices
        Places in ``feeder.days``.
    program
        Which Ipopt; see `griddispatch.optimization.ipopt.solve`.

    Raises
    ------
    InputError
        The network has a loop, taps or voltage-dependent loads, there is no such day, the reward is
        not the paper's, or Ipopt finds no solution; the message names the day.
    """
    days = range(len(feeder.days)) if day_indices is None else day_indices
    for day in days:
        check_day(feeder, day)
    started = time.perf_counter()
    model = build(feeder)
    building = (time.perf_counter() - started) / max(len(days), 1)
    return [_solve_day(model, feeder, day, program, building) for day in days]


def build(feeder: Feeder) -> pyo.ConcreteModel:
    """The model of this module's text for a feeder; `set_day` fills in a day.

    Its index sets are T, the steps; J, the nodes but the slack node, as places in the order of
    `Network.tree`; K, those of them with soft limits; M, the batteries.

    Raises
    ------
    InputError
        The network has a loop, taps or voltage-dependent loads.
    """
    network = feeder.network
    order, _, _ = network.tree
    if not network.is_constant_power or (network.tap != 1).any():
        raise InputError(
            f"network {network.name} has voltage-dependent loads or taps, which this model does "
            "not describe; take constant power, `replace_loads((1, 0, 0))`, and no transformers"
        )
    place = {int(column): at for at, column in enumerate(order)}
    model = pyo.ConcreteModel(name=f"optimal dispatch of {network.name}")
    model.T = pyo.RangeSet(0, feeder.steps - 1)
    model.J = pyo.RangeSet(1, network.n_nodes - 1)
    model.K = pyo.Set(initialize=[place[n] for n in feeder.penalised.tolist() if place[n] > 0])
    model.M = pyo.RangeSet(0, feeder.n_actions - 1)
    model.p = pyo.Param(model.T, model.J, mutable=True, initialize=0.0)
    model.q = pyo.Param(model.T, model.J, mutable=True, initialize=0.0)
    model.price = pyo.Param(model.T, mutable=True, initialize=0.0)
    _add_storage(model, feeder)
    _add_branch_flow(model, network, [place[n] for n in feeder.at.tolist()])
    _add_soft_limits(model)
    _add_objective(model, feeder)
    return model


def set_day(model: pyo.ConcreteModel, feeder: Feeder, day_index: int) -> None:
    """Give a model the loads and prices of a day; its variables start at idle batteries."""
    order, parent, z = feeder.network.tree
    days, base = feeder.days, feeder.network.base_kva
    voltage = feeder.idle_voltage[day_index].cpu().numpy().astype(np.complex128)[:, order]
    head = voltage[:, parent[1:]]
    current = (head - voltage[:, 1:]) / z[1:]
    flow = head * current.conj()
    limited = np.abs(voltage[:, list(model.K)])
    model.price.store_values(_items(model.price, days.price[day_index]))
    model.p.store_values(_items(model.p, days.net_load[day_index][:, order[1:]] / base))
    model.q.store_values(_items(model.q, days.reactive[day_index][:, order[1:]] / base))
    model.P.set_values(_items(model.P, flow.real))
    model.Q.set_values(_items(model.Q, flow.imag))
    model.v.set_values(_items(model.v, np.abs(voltage[:, 1:]) ** 2))
    model.l.set_values(_items(model.l, np.abs(current) ** 2))
    model.s.set_values(_items(model.s, np.maximum(np.abs(1 - limited) - VOLTAGE_BAND, 0)))
    for t, m in model.c:
        model.e[t, m].set_value(model.e_start[m])
        for power in (model.c[t, m], model.d[t, m]):
            power.set_value(0)
            power.unfix()
    _fix_signed(model)


def _fix_signed(model: pyo.ConcreteModel) -> None:
    """Fix the discharging power of batteries whose charging power may be negative."""
    for t, m in model.T * model.signed:
        model.d[t, m].fix(0)


def _items(component: Any, values: Float) -> dict[Any, float]:
    """Values [S, ...] by the indices (t, ...) of a component, for one call that sets them all."""
    return dict(zip(component, values.ravel().tolist(), strict=True))


def _solve_day(
    model: pyo.ConcreteModel,
    feeder: Feeder,
    day_index: int,
    program: ipopt.Program,
    building: float,
) -> Schedule:
    """Solve one day; `building` seconds are its share of the time to build the model."""
    started = time.perf_counter() - building
    date, base = feeder.days.dates[day_index], feeder.network.base_kva
    set_day(model, feeder, day_index)
    iterations = 0
    while True:
        try:
            result = ipopt.solve(model, _OPTIONS, program=program)
        except InputError as error:
            raise InputError(f"{date}: {error}") from error
        iterations += result.iterations
        both = [i for i in model.c if base * min(model.c[i].value, model.d[i].value) > _BOTH_KW]
        if not both:
            break
        _choose_directions(model, both, linear_schedule(feeder, day_index).power_kw)
    net = [model.c[i].value - model.d[i].value for i in model.c]
    power = base * np.array(net).reshape(feeder.steps, feeder.n_actions)
    outside = sum(s.value for s in model.s.values())
    return schedule(feeder, day_index, power, outside, iterations, started)


def _choose_directions(model: pyo.ConcreteModel, both: list[tuple[int, int]], guide: Float) -> None:
    """Allow only one direction where a solution charges and discharges at once to waste energy.

    That pays at negative prices, if there are losses. The powers `guide` [S, M] come from the
    linear program, which is small enough for binary variables, and say which direction to take.
    """
    tempting = [(t, m) for t, m in model.c if model.price[t].value <= 0 and m not in model.signed]
    for t, m in {*both, *tempting}:
        (model.d if guide[t, m] > 0 else model.c)[t, m].fix(0)


# The parts of the model ------------------------------------------------------------------------


def _add_storage(model: pyo.ConcreteModel, feeder: Feeder) -> None:
    """Charging c and discharging d per unit, state of charge e after each step."""
    k = SimpleNamespace(**{name: x.tolist() for name, x in parameters(feeder.storage).items()})
    base, last = feeder.network.base_kva, feeder.steps - 1
    # Without losses and wear one signed variable is enough, and two would have no unique solution.
    signed = [
        m
        for m in model.M
        if k.eta_charge[m] * k.eta_discharge[m] == 1 and not k.wear_eur_per_kwh[m]
    ]
    model.signed = pyo.Set(initialize=signed)
    model.e_start = pyo.Param(model.M, initialize=dict(enumerate(k.soc_initial)))

    def charging(_: Any, t: int, m: int) -> tuple[float, float]:
        rated = k.power_kw[m] / base
        return (-rated if m in signed else 0.0), rated

    def discharging(_: Any, t: int, m: int) -> tuple[float, float]:
        return 0.0, k.power_kw[m] / base

    def soc(_: Any, t: int, m: int) -> tuple[float, float]:
        if t == last and feeder.end_soc == "initial":
            return k.soc_initial[m], k.soc_initial[m]
        return k.soc_min[m], k.soc_max[m]

    def balance(model: Any, t: int, m: int) -> Any:
        before = model.e[t - 1, m] if t else k.soc_initial[m]
        inside = k.eta_charge[m] * model.c[t, m] - model.d[t, m] / k.eta_discharge[m]
        return model.e[t, m] == before + base * feeder.hours / k.capacity_kwh[m] * inside

    model.c = pyo.Var(model.T, model.M, bounds=charging)
    model.d = pyo.Var(model.T, model.M, bounds=discharging)
    model.e = pyo.Var(model.T, model.M, bounds=soc)
    model.storage = pyo.Constraint(model.T, model.M, rule=balance)
    _fix_signed(model)


def _add_branch_flow(model: pyo.ConcreteModel, network: Network, battery_at: list[int]) -> None:
    """Power balances, voltage drops and currents of every branch; j is its far end."""
    order, parents, z = network.tree
    parent, r, x = parents.tolist(), z.real.tolist(), z.imag.tolist()
    admittance = network.shunt.copy()
    np.add.at(admittance, network.from_bus, 0.5j * network.b)
    np.add.at(admittance, network.to_bus, 0.5j * network.b)
    g, b = admittance.real[order].tolist(), admittance.imag[order].tolist()
    battery = {place: m for m, place in enumerate(battery_at)}
    children = [[j for j in model.J if parent[j] == i] for i in range(network.n_nodes)]

    def square(model: Any, t: int, i: int) -> Any:
        return model.v[t, i] if i else abs(network.v_slack) ** 2

    def active(model: Any, t: int, j: int) -> Any:
        m = battery.get(j)
        load = model.p[t, j] if m is None else model.p[t, j] + model.c[t, m] - model.d[t, m]
        onward = sum(model.P[t, k] for k in children[j])
        return model.P[t, j] == load + g[j] * model.v[t, j] + r[j] * model.l[t, j] + onward

    def reactive(model: Any, t: int, j: int) -> Any:
        onward = sum(model.Q[t, k] for k in children[j])
        shunt = b[j] * model.v[t, j]
        return model.Q[t, j] == model.q[t, j] - shunt + x[j] * model.l[t, j] + onward

    def drop(model: Any, t: int, j: int) -> Any:
        linear = 2 * (r[j] * model.P[t, j] + x[j] * model.Q[t, j])
        before = square(model, t, parent[j])
        return model.v[t, j] == before - linear + (r[j] ** 2 + x[j] ** 2) * model.l[t, j]

    def current(model: Any, t: int, j: int) -> Any:
        before = square(model, t, parent[j])
        return model.l[t, j] * before == model.P[t, j] ** 2 + model.Q[t, j] ** 2

    model.P, model.Q = pyo.Var(model.T, model.J), pyo.Var(model.T, model.J)
    model.v = pyo.Var(model.T, model.J, bounds=(0.25, 2.25))
    # No bound l >= 0: the last equation implies it, and the bound would cost many iterations.
    model.l = pyo.Var(model.T, model.J)
    model.active_power = pyo.Constraint(model.T, model.J, rule=active)
    model.reactive_power = pyo.Constraint(model.T, model.J, rule=reactive)
    model.voltage_drop = pyo.Constraint(model.T, model.J, rule=drop)
    model.squared_current = pyo.Constraint(model.T, model.J, rule=current)


def _add_soft_limits(model: pyo.ConcreteModel) -> None:
    """How far s the voltage lies outside the band, without a square root."""

    def low(model: Any, t: int, j: int) -> Any:
        return (1 - VOLTAGE_BAND - model.s[t, j]) ** 2 <= model.v[t, j]

    def high(model: Any, t: int, j: int) -> Any:
        return model.v[t, j] <= (1 + VOLTAGE_BAND + model.s[t, j]) ** 2

    model.s = pyo.Var(model.T, model.K, bounds=(0, 0.5))
    model.low_voltage = pyo.Constraint(model.T, model.K, rule=low)
    model.high_voltage = pyo.Constraint(model.T, model.K, rule=high)


def _add_objective(model: pyo.ConcreteModel, feeder: Feeder) -> None:
    """Profit minus penalty minus wear, in EUR, and what breaks ties."""
    wear = parameters(feeder.storage)["wear_eur_per_kwh"].tolist()
    energy = feeder.network.base_kva * feeder.hours  # kWh per unit of power
    cells = list(model.T * model.M)
    bought = pyo.quicksum(model.price[t] * (model.c[t, m] - model.d[t, m]) for t, m in cells)
    worn = pyo.quicksum(wear[m] * (model.c[t, m] + model.d[t, m]) for t, m in cells if wear[m])
    outside = pyo.quicksum(model.s.values())
    money = -energy / 1000 * bought - feeder.sigma * outside - energy * worn
    squares = pyo.quicksum(model.c[i] ** 2 + model.d[i] ** 2 for i in cells)
    smooth = _SMOOTH * feeder.network.base_kva**2 * squares
    model.objective = pyo.Objective(expr=money - smooth, sense=pyo.maximize)
