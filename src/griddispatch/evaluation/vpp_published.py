"""What the published formulation of the virtual power plant does, one number per defect."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from griddispatch.assets.vpp import Plant, preset
from griddispatch.data.vpp_demand import (
    BASE_KW,
    NOISE_LIMIT_KW,
    PERIODS,
    PUBLISHED_NOISE_KW,
    DemandDays,
)
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.evaluation.vpp_rollout import Dispatcher
from griddispatch.optimization.vpp_milp import foresight

Float = NDArray[np.float64]


class Shedding(NamedTuple):
    """What perfect foresight does with the load: cost saved in %, kWh taken in sum per day."""

    saved: float
    taken_kwh: float


def shedding(plant: Plant, days: DemandDays) -> Shedding:
    """What moving the load saves under perfect foresight, with the comfort costs of a plant.

    Outputs follow the demand here, as the optimum needs, whatever the plant says.
    """
    env = VirtualPowerPlant(replace(plant, recourse=True), days)
    places = range(len(days))
    fixed, moved = (foresight(env, places, move_load=move) for move in (False, True))
    cost, less = (sum(float(p.cost[0]) for p in plans) for plans in (fixed, moved))
    taken = [-float(BASE_KW @ p.adjustment) for p in moved]
    return Shedding(100 * (1 - less / cost), float(np.mean(taken)))


class Constant:
    """Every unit that may run does, at its full output or as the expected demand asks.

    Parameters
    ----------
    full
        Whether units give their full output.
    """

    def __init__(self, full: bool) -> None:
        self.full = full

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        """Cheapest units up to the base load, or all of them at full output."""
        rows, base = len(state.day), env.base_kw[state.t]
        order = env.order
        before = env.power_kw[order].cumsum(0) - env.power_kw[order]
        needed = torch.zeros_like(env.power_kw).scatter(0, order, (before < base).to(base))
        on = torch.ones_like(needed) if self.full else needed
        on = env.allowed(state, on.expand(rows, -1))
        power = on * env.power_kw
        output = power if self.full else env.merit_order(on, base.expand(rows))
        return Action(on, torch.zeros_like(state.load), output)


def day(env: VirtualPowerPlant, dispatcher: Dispatcher) -> tuple[float, float]:
    """Mean reward and mean cost of a day, in currency."""
    state, reward, cost = env.reset(), 0.0, 0.0
    while state.t < env.steps:
        state, paid, outcome = env.step(state, dispatcher.act(env, state))
        reward, cost = reward + float(paid.mean()), cost + float(outcome.cost.mean())
    return reward, cost


def signs(days: DemandDays) -> dict[str, tuple[float, float]]:
    """Reward and cost of a day, with the public code's signs: as needed, and everything at full."""
    plant = replace(preset("as_published"), published_signs=True)
    env = VirtualPowerPlant(plant, days)
    return {
        "as needed": day(env, Constant(full=False)),
        "all at full output": day(env, Constant(full=True)),
    }


def within_noise(count: int, within_kw: float = 0.5) -> float:
    """Share in % of periods in which the noise alone stays within `within_kw`: no plan does better.

    The noise of the published demand: that of a plan that knows all the rest, without reserve.

    Raises
    ------
    InputError
        count is below 1.
    """
    if count < 1:
        raise InputError(f"count is {count}; give 1 or more")
    noise = PUBLISHED_NOISE_KW * np.random.default_rng(0).standard_normal(count)
    clipped = noise.clip(-NOISE_LIMIT_KW, NOISE_LIMIT_KW)
    return float(100 * (np.abs(clipped) <= within_kw).mean())


def period_costs(env: VirtualPowerPlant, dispatcher: Dispatcher) -> Float:
    """[D, 12] cost of every period in currency."""
    state, seen = env.reset(), []
    with torch.no_grad():
        while state.t < env.steps:
            state, _, outcome = env.step(state, dispatcher.act(env, state))
            seen.append(outcome.cost.double().cpu().numpy())
    return np.stack(seen, 1)


def reach(env: VirtualPowerPlant, dispatcher: Dispatcher, share: float) -> tuple[float, float]:
    """What a demand that is higher by `share` of the base in one period costs at once, and later.

    Mean over days and periods, in currency. A critic that is made robust by the slope of the next
    state's value sees only the second number.
    """
    plain = period_costs(env, dispatcher)
    now, later = [], []
    for t in range(PERIODS):
        moved = env.days.demand_kw.copy()
        moved[:, t] += share * BASE_KW[t]
        costs = period_costs(env.on(replace(env.days, demand_kw=moved)), dispatcher)
        now.append((costs - plain)[:, t].mean())
        later.append((costs - plain)[:, t + 1 :].sum(1).mean())
    return float(np.mean(now)), float(np.mean(later))
