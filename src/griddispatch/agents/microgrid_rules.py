"""Rules for the microgrid that need no learning, and the candidates of a tuned one.

All of them ask for the feasible intervals before they answer, so none violates a limit.

- `PublishedRule`: the published order. Renewables first, then the battery for any gap, then the
  CHP, the grid last; heat by CHP and boiler.
- `TimeOfUse`: CHP off; the battery takes surplus and night power, gives in the evening, and covers
  price spikes and outages.
- `HeatLed`: the CHP is always on and follows the heat load; battery as in `TimeOfUse`.
- `Scheduled`: the CHP's status follows a plan, such as `optimization.microgrid_milp` finds for many
  days at once.
- `NetLoad`: the CHP starts at a net load (or a price) and then follows it, not below a floor; the
  battery keeps a reserve for spikes. Its numbers are tuned by trying them all on the days of an
  environment (`candidate_costs`), and chosen for E + lambda (CVaR - E) by
  `evaluation.risk.frontier`.

Starting early is the hedge: from the start to 80 kW takes 3.5 hours, and a started CHP costs little
more than its start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.errors import InputError

Float = NDArray[np.float64]

CHEAP_EUR, DEAR_EUR, SPIKE_EUR = 0.12, 0.18, 0.4  # per kWh: below, above and far above the base
NIGHT_KW = 20.0  # of charging at a cheap price
_ROWS = 32_768  # of a batch of candidates and days


def _finish(env: Microgrid, state: State, battery: Tensor, chp: Tensor, on: Tensor) -> Tensor:
    """Return set-points [B, 3] with the battery cut to its interval."""
    low, high = env.battery_interval(state, chp)
    battery = within(battery, low, high)
    return torch.stack([battery, chp, on.to(chp.dtype)], 1)


def _chp(env: Microgrid, state: State, wanted: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Return power and status that come nearest to the wanted ones; ramp down in order to stop."""
    on = env.status(state, wanted)
    low, high = env.chp_interval(state, on)
    power = torch.where(wanted, power, torch.zeros_like(power))
    return within(power, low, high), on


def _battery(env: Microgrid, state: State, chp: Tensor, reserve: Tensor | float) -> Tensor:
    """[B] kW that the battery wants at the prices: charge cheap, cover the gap where it is dear.

    reserve is the SOC that is kept for spikes and outages.
    """
    pv, wind, load, _, price, limit = env.now(state).unbind(1)
    gap = load - chp - pv - wind
    battery, hours = env.plant.battery, env.plant.step_hours
    stock = state.energy_kwh - torch.as_tensor(reserve) * battery.energy_kwh
    spare = stock.clamp(min=0) * (battery.eta_discharge / hours)
    dear = torch.minimum(gap, spare).clamp(min=0)
    wanted = torch.where(price < CHEAP_EUR, NIGHT_KW, torch.where(price > DEAR_EUR, -dear, 0.0))
    wanted = torch.where(price > SPIKE_EUR, -gap.clamp(min=0), wanted)
    wanted = torch.minimum(wanted, (limit - gap))  # never beyond the limit; cover what exceeds it
    return torch.where(gap < 0, torch.maximum(wanted, -gap), wanted)


@dataclass(frozen=True)
class PublishedRule:
    """The published dispatch: battery for any gap or surplus, CHP for the rest, then the grid."""

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points."""
        pv, wind, load, _, _, _ = env.now(state).unbind(1)
        gap = load - pv - wind
        low, high = env.battery_interval(state, state.chp_kw)
        battery = within(-gap, low, high)
        rest = gap + battery
        chp, on = _chp(env, state, rest >= env.plant.chp.minimum_kw, rest)
        return _finish(env, state, chp - gap, chp, on)


@dataclass(frozen=True)
class TimeOfUse:
    """The CHP stays off."""

    reserve: float = 0.1

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points."""
        off = torch.zeros_like(state.on)
        chp, on = _chp(env, state, off, state.chp_kw)
        return _finish(env, state, _battery(env, state, chp, self.reserve), chp, on)


@dataclass(frozen=True)
class HeatLed:
    """The CHP is always on and follows the heat load."""

    reserve: float = 0.1

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points."""
        heat = env.now(state)[:, 3]
        always = torch.ones_like(state.on)
        chp, on = _chp(env, state, always, heat / env.plant.chp.heat_ratio)
        return _finish(env, state, _battery(env, state, chp, self.reserve), chp, on)


@dataclass(frozen=True)
class Scheduled:
    """The CHP's status follows a plan, the same on every day; its power follows the net load.

    Attributes
    ----------
    on
        Wanted status in each step of the day.
    floor_kw, reserve
        As of `Numbers`.
    """

    on: tuple[bool, ...]
    floor_kw: float = 10.0
    reserve: float = 0.1

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points.

        Raises
        ------
        InputError
            The plan has another number of steps than a day.
        """
        if len(self.on) != env.steps:
            raise InputError(f"the plan has {len(self.on)} steps, a day {env.steps}; make it anew")
        pv, wind, load, _, _, _ = env.now(state).unbind(1)
        wanted = torch.full_like(state.on, self.on[state.t])
        power = (load - pv - wind).clamp(min=self.floor_kw)
        chp, on = _chp(env, state, wanted, power)
        return _finish(env, state, _battery(env, state, chp, self.reserve), chp, on)


class Numbers(NamedTuple):
    """Numbers of a `NetLoad` rule.

    start_kw
        Net load at which the CHP starts; inf: never.
    latest_h
        Hour of the day from which it does not start any more.
    start_eur
        Price in EUR/kWh at which it starts whatever the net load; inf: never.
    floor_kw
        Power below which it does not follow the net load down.
    reserve
        SOC of the battery that is kept for spikes.
    """

    start_kw: float
    latest_h: float
    start_eur: float
    floor_kw: float
    reserve: float


GRID: tuple[Sequence[float], ...] = (
    (-100.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, float("inf")),
    (1.0, 6.0, 12.0, 18.0),
    (0.7, float("inf")),
    (10.0, 30.0, 50.0),
    (0.1, 0.3, 0.5),
)


def candidates(grid: Sequence[Sequence[float]] = GRID) -> tuple[Numbers, ...]:
    """Every combination, without those that differ in numbers that play no part."""
    found = []
    for values in product(*grid):
        numbers = Numbers(*values)
        never = numbers.start_kw == float("inf")
        if never and numbers.latest_h != grid[1][0]:
            continue
        if never and numbers.start_eur == float("inf") and numbers.floor_kw != grid[3][0]:
            continue
        found.append(numbers)
    return tuple(found)


class NetLoad:
    """The CHP follows the net load once started, and stays on for the rest of the day.

    Parameters
    ----------
    numbers
        Of one rule, or of N rules: the rows of a batch are then split evenly among them, in order.

    Raises
    ------
    InputError
        There is no rule, or a number is NaN.
    """

    def __init__(self, *numbers: Numbers) -> None:
        self.values = torch.tensor(numbers, dtype=torch.float64)
        if not numbers or bool(self.values.isnan().any()):
            raise InputError("net-load rule: give at least one set of numbers, none of them NaN")

    def act(self, env: Microgrid, state: State) -> Tensor:
        """[B, 3] set-points."""
        pv, wind, load, _, price, _ = env.now(state).unbind(1)
        rows = len(state.day)
        if rows % len(self.values):
            raise InputError(f"{rows} rows cannot be split among {len(self.values)} rules")
        each = self.values.to(load).repeat_interleave(rows // len(self.values), 0)
        start_kw, latest, start_eur, floor, reserve = each.unbind(1)
        net = load - pv - wind
        hour = state.t * (24 / env.steps)
        wanted = state.on | ((net >= start_kw) & (hour < latest)) | (price >= start_eur)
        chp, on = _chp(env, state, wanted, torch.maximum(net, floor))
        return _finish(env, state, _battery(env, state, chp, reserve), chp, on)


@torch.no_grad()
def candidate_costs(env: Microgrid, rules: Sequence[Numbers]) -> Float:
    """[N, D] cost in EUR of N net-load rules on all D days of an environment.

    Raises
    ------
    InputError
        There is no rule, or a number is NaN.
    """
    days = len(env.days)
    chunk = max(1, _ROWS // days)
    parts = []
    for first in range(0, max(len(rules), 1), chunk):
        some = rules[first : first + chunk]
        rule = NetLoad(*some)
        state = env.reset(torch.arange(days, device=env.device).repeat(len(some)))
        total = torch.zeros(len(state.day), dtype=torch.float64)
        while state.t < env.steps:
            state, reward, _ = env.step(state, rule.act(env, state))
            total -= reward.double().cpu()
        parts.append(total.view(len(some), days).numpy())
    return np.concatenate(parts)
