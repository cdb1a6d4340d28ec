"""Controllers of a plant step by step, on what really comes: costs, peaks, cycles, solve times.

A controller decides at the start of a step, from forecasts. Within the step the plant sees the true
mean of PV and load, and an inner rule moves the battery as little as it takes to keep the grid's
exchange in the controller's band: what a plan drew from the grid is not fed into it by mistake,
surplus that it meant to store is not bought, and with a demand charge the planned peak holds. All
controllers have the same inner rule; they differ by the band and range that they give it.

The costs of a step are those of `optimization.mpc`. The demand charge is booked when the month's
peak rises, which sums to the month's charge. At the end the energy left in the battery is credited
at the night price, and a backlog is charged at the highest price, for the bound as for all others.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.data.profiles import Profiles
from griddispatch.errors import InputError
from griddispatch.evaluation.controllers import Case, Controller, Order
from griddispatch.optimization.mpc import Dispatch
from griddispatch.optimization.mpc_plant import DAY, STEP_H, Float, Outlook, Plant, State

Steps = NDArray[np.intp]
_ROUNDING = 1e-6  # kW or kWh


class Step(NamedTuple):
    """What happened in a step: powers in kW, energy in kWh at its end, violation of a limit in kW.

    cost in EUR is energy + wear + flexibility + demand.
    """

    grid: float
    battery: float
    spill: float
    cut: float
    later: float
    caught_up: float
    energy: float
    violation: float
    cost: float


@dataclass(frozen=True)
class Run:
    """Trace of a controller: one row per step, and the settlement at the end in EUR.

    steps has the columns of `Step`, beside pv and load in kW, indexed by time; milliseconds are of
    each solution, where the controller solves anything.
    """

    steps: pd.DataFrame
    settlement: float
    milliseconds: Float
    plant: Plant

    @property
    def cost(self) -> float:
        """EUR in all."""
        return float(self.steps["cost"].sum()) + self.settlement

    def daily(self) -> pd.Series:
        """EUR by date, the settlement on the last one."""
        dates = pd.DatetimeIndex(self.steps.index).strftime("%Y-%m-%d")
        daily = self.steps["cost"].groupby(dates).sum()
        daily.iloc[-1] += self.settlement
        return daily

    def summary(self) -> dict[str, float]:
        """The numbers of a table; energies in kWh, shares of 1."""
        s, hours = self.steps, STEP_H
        wasted = s["spill"].sum() + (-s["grid"]).clip(lower=0).sum()
        made = s["pv"].sum()
        return {
            "cost": self.cost,
            "peak": float(s["grid"].max()),
            "self-consumption": 1 - wasted / made if made else 1.0,
            "cycles": float((-s["battery"]).clip(lower=0).sum() * hours / self.plant.energy_kwh),
            "shifted": float(s["later"].sum() * hours),
            "cut": float(s["cut"].sum() * hours),
            "violation": float(s["violation"].max()),
            "solve ms": float(np.median(self.milliseconds)) if len(self.milliseconds) else 0.0,
        }


def simulate(
    controller: Controller, data: Profiles, case: Case, steps: Steps, soc: float = 0.5
) -> Run:
    """Let a controller run a plant over consecutive steps of the data.

    Parameters
    ----------
    controller
        Sees the step number and the plant's state, nothing of the data.
    data, case
        What comes, and the plant and tariff.
    steps
        Of the data, one after the other, the first at midnight.
    soc
        Share of the battery's energy at the start.

    Raises
    ------
    InputError
        The steps are not consecutive from a midnight on.
    """
    if not len(steps) or (np.diff(steps) != 1).any():
        raise InputError("a run needs consecutive steps; simulate each stretch of days by itself")
    clock = data.index.hour.to_numpy() * 4 + data.index.minute.to_numpy() // 15
    if clock[steps[0]]:
        raise InputError(f"a run begins at midnight, not at {data.index[steps[0]]}")
    pv, load, month = data.total("pv"), data.total("load"), data.index.month.to_numpy()
    plant = case.plant
    begin = plant.lowest_kwh + soc * (plant.energy_kwh - plant.lowest_kwh)
    state, rows = State(begin), []
    for t in steps:
        if t > steps[0] and month[t] != month[t - 1]:
            state = state._replace(peak=0.0)
        state = state._replace(clock=int(clock[t]), cut=state.cut if clock[t] else 0.0)
        order = controller.act(int(t), state)
        done, state = play(order, state, case, int(t), float(pv[t]), float(load[t]))
        rows.append(done)
    frame = pd.DataFrame(rows, index=data.index[steps], columns=list(Step._fields))
    frame = frame.assign(pv=pv[steps], load=load[steps])
    owed = sum(state.due) * (1 + plant.payback) * float(case.tariff.buy.max())
    spent = np.array(getattr(controller, "milliseconds", []))
    return Run(frame, owed - case.credit * (state.energy - begin), spent, plant)


def play(
    order: Order, state: State, case: Case, t: int, pv: float, load: float
) -> tuple[Step, State]:
    """One step: hold the order within the plant's limits, apply the inner rule, settle."""
    plant, tariff = case.plant, case.tariff
    usable = max(load, 0.0)
    grow = 1 + plant.payback
    cut = min(max(order.cut, 0.0), plant.cut_share * usable)
    cut = min(cut, max(plant.cut_kwh - state.cut, 0.0) / STEP_H)
    caught_up = max(order.caught_up, state.due[0] * grow / STEP_H)
    caught_up = min(caught_up, plant.shift_up_kw, sum(state.due) * grow / STEP_H)
    due = _made_up(state.due, caught_up * STEP_H / grow)
    room = max(plant.backlog_kwh - sum(due), 0.0) / STEP_H
    later = min(max(order.later, 0.0), plant.shift_share * usable, room)
    net = load - pv - cut - later + caught_up

    kept = state.energy * (1 - plant.leak) ** STEP_H
    least = max(-plant.power_kw, -(kept - plant.lowest_kwh) * plant.eta / STEP_H, order.range[0])
    most = min(plant.power_kw, (plant.energy_kwh - kept) / (plant.eta * STEP_H), order.range[1])
    least, most = min(least, 0.0), max(most, 0.0)
    low, high = max(order.band[0], -plant.export_kw), min(order.band[1], plant.import_kw)
    battery = min(max(order.battery, least), most)
    battery = min(max(min(max(net + battery, low), high) - net, least), most)
    grid = net + battery
    spill = 0.0
    if tariff.sell[t] < 0 or grid < -plant.export_kw:
        free = 0.0 if tariff.sell[t] < 0 else plant.export_kw
        spill = min(max(-free - grid, 0.0), pv)
        grid += spill
    violation = max(grid - plant.import_kw, -plant.export_kw - grid, 0.0)

    inside = plant.eta * max(battery, 0.0) + min(battery, 0.0) / plant.eta
    energy = min(max(kept + STEP_H * inside, plant.lowest_kwh), plant.energy_kwh)
    peak = max(state.peak, grid)
    cost = STEP_H * (
        (tariff.buy[t] if grid > 0 else tariff.sell[t]) * grid
        + plant.wear * abs(battery)
        + plant.cut_cost * cut
        + plant.shift_cost * (later + caught_up)
    ) + tariff.demand * (peak - state.peak)
    after = State(
        energy=energy,
        due=(*due[1:], later * STEP_H),
        peak=peak,
        cut=state.cut + cut * STEP_H,
        clock=(state.clock + 1) % DAY,
    )
    step = Step(grid, battery, spill, cut, later, caught_up, energy, violation, float(cost))
    return step, after


def _made_up(due: tuple[float, ...], energy: float) -> tuple[float, ...]:
    """The backlog after `energy` kWh of it were made up for, the oldest first."""
    left = list(due)
    for j, owed in enumerate(left):
        paid = min(owed, energy)
        left[j], energy = owed - paid, energy - paid
        if energy <= _ROUNDING:
            break
    return tuple(x if x > _ROUNDING else 0.0 for x in left)


def bound(data: Profiles, case: Case, steps: Steps, soc: float = 0.5) -> float:
    """Cost in EUR of the best that any controller could do over consecutive steps, all known.

    One linear program over all steps, settled as a run is; a bound wherever buy >= sell >= 0.
    """
    plant, tariff = case.plant, case.tariff
    at = slice(int(steps[0]), int(steps[-1]) + 1)
    month = data.index.month.to_numpy()[at]
    periods = np.concatenate([[0], np.cumsum(month[1:] != month[:-1])]).astype(int)
    options = {"presolve": "on", "solver": "ipm"}
    whole = Dispatch(
        plant, (1,) * len(steps), demand=tariff.demand, periods=periods.tolist(), options=options
    )
    begin = plant.lowest_kwh + soc * (plant.energy_kwh - plant.lowest_kwh)
    outlook = Outlook.certain(data.total("pv")[at], data.total("load")[at])
    plan = whole.solve(State(begin), outlook, tariff.buy[at], tariff.sell[at], value=case.credit)
    return plan.objective + case.credit * begin
