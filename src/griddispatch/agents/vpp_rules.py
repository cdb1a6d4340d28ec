"""Rules for the virtual power plant that need no learning: priority list with and without margin.

A rule forecasts the demand of the coming period and takes units in the order of their cost until
their power meets the forecast plus a margin; minimum times come first:

    forecast_t = base_t (1 + mean_t + gain correction_t + response_t + adjustment expected)
    correction = memory correction + (1 - memory) last error, at first the first error

mean [12] is the relative mean demand of training days. The published priority list has no margin
and no correction. With them it is the margin rule; `tune` tries its numbers on the days that it is
given, never test days. The load action is a constant: 0, or one that shows what shedding costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.data.vpp_demand import INERTIA, DemandDays
from griddispatch.envs.vpp import Action, State, VirtualPowerPlant
from griddispatch.errors import InputError

Float = NDArray[np.float64]


class Numbers(NamedTuple):
    """Numbers of a margin rule: margin in kW; gain and memory of the correction in [0, 1]."""

    margin_kw: float
    gain: float
    memory: float


PRIORITY_LIST = Numbers(0.0, 0.0, 0.0)
GRID: tuple[Sequence[float], ...] = (
    (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0),
    (0.7, 0.9, 1.0),
    (0.0, 0.25, 0.5),
)


def candidates(grid: Sequence[Sequence[float]] = GRID) -> tuple[Numbers, ...]:
    """Every combination of margins, gains and memories."""
    return tuple(Numbers(*values) for values in product(*grid))


@dataclass(frozen=True, eq=False)
class MarginRule:
    """Units by cost until they meet the forecast plus a margin.

    Where the plant has no recourse, outputs are the cheapest ones for the forecast.

    Attributes
    ----------
    mean
        [12] relative mean demand of training days (`mean_demand`).
    numbers
        Margin, gain, memory; without any it is the priority list.
    load
        Load action of every period, in [-1, 1].

    Raises
    ------
    InputError
        A number lies outside its range.
    """

    mean: Float
    numbers: Numbers = PRIORITY_LIST
    load: float = 0.0

    def __post_init__(self) -> None:
        margin, gain, memory = self.numbers
        if not (0 <= margin < np.inf and 0 <= gain <= 1 and 0 <= memory <= 1):
            raise InputError(
                "margin rule: needs margin_kw >= 0, gain and memory in [0, 1]; they are "
                f"{margin}, {gain}, {memory}"
            )
        if not -1 <= self.load <= 1:
            raise InputError(f"margin rule: load is {self.load}; give -1 .. 1")

    def act(self, env: VirtualPowerPlant, state: State) -> Action:
        """Commitment and load action; no commitment is forbidden."""
        load = torch.full_like(state.load, self.load)
        target = self.forecast_kw(env, state, load)
        must_on, must_off = env.must(state)
        power = env.power_kw
        free = (~must_on & ~must_off) * power
        ahead = free.index_select(1, env.order)
        cheaper = (ahead.cumsum(1) - ahead).index_select(1, env.place)
        sure = (must_on * power).sum(1, keepdim=True)
        needed = cheaper + sure < (target + self.numbers.margin_kw)[:, None]
        commit = (must_on | (needed & ~must_off)).to(power.dtype)
        output = None if env.plant.recourse else env.merit_order(commit, target)
        return Action(commit, load, output)

    def forecast_kw(self, env: VirtualPowerPlant, state: State, load: Tensor) -> Tensor:
        """[B] demand in kW to be expected in the coming period with these load actions [B]."""
        t, (_, gain, memory) = state.t, self.numbers
        mean = torch.as_tensor(self.mean, device=env.device).to(env.dtype)
        errors = state.free - mean
        correction = errors[:, 0] if t else torch.zeros_like(load)
        for s in range(1, t):
            correction = memory * correction + (1 - memory) * errors[:, s]
        kappa = torch.full_like(load, sum(INERTIA) / 2)
        adjustment = env.adjusted(state.expected, kappa, load, t)
        relative = 1 + mean[t] + gain * correction + env.response[t] + adjustment
        return (env.base_kw[t] * relative).clamp(min=0)


def mean_demand(days: DemandDays) -> Float:
    """[12] relative mean demand of the days; give training days."""
    return np.asarray(days.relative.mean(0))


@torch.no_grad()
def candidate_costs(env: VirtualPowerPlant, mean: Float, rules: Sequence[Numbers]) -> Float:
    """[N, D] cost of N margin rules on all D days of an environment."""
    rows = []
    for numbers in rules:
        rule, state = MarginRule(mean, numbers), env.reset()
        total = torch.zeros(len(state.day), dtype=torch.float64)
        while state.t < env.steps:
            state, _, outcome = env.step(state, rule.act(env, state))
            total += outcome.cost.double().cpu()
        rows.append(total.numpy())
    return np.stack(rows)


def tune(
    envs: Sequence[VirtualPowerPlant],
    mean: Float,
    objective: Callable[[Float], float],
    rules: Sequence[Numbers] | None = None,
) -> Numbers:
    """The candidate with the smallest sum of objectives over the environments.

    Parameters
    ----------
    envs
        One for each shift that counts, all of validation days.
    mean
        [12] relative mean demand of training days.
    objective
        A number of the costs [D] of one candidate on one environment, such as mean or CVaR.
    rules
        By default all `candidates`.

    Raises
    ------
    InputError
        There is no environment, or no candidate.
    """
    tried = candidates() if rules is None else tuple(rules)
    if not len(envs) or not tried:
        raise InputError("margin rule: give at least one environment and one candidate to tune")
    total = np.zeros(len(tried))
    for env in envs:
        total += [objective(row) for row in candidate_costs(env, mean, tried)]
    return tried[int(total.argmin())]
