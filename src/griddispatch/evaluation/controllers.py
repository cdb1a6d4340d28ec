"""Controllers of a plant: rules, and planners that solve the program on what they believe.

A controller sees the number of the step and the state of the plant. What it may know of the future
is in the forecast that it was given; the tariff is known in advance.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.data.profiles import Profiles
from griddispatch.errors import InputError
from griddispatch.forecasting.scenarios import KEPT, Copula, robust
from griddispatch.forecasting.windows import MEDIAN
from griddispatch.optimization.mpc import Dispatch
from griddispatch.optimization.mpc_plant import (
    DAY,
    STEP_H,
    Float,
    Outlook,
    Plant,
    State,
    Tariff,
    time_of_use,
)

Steps = NDArray[np.intp]
Forecast = Callable[[int], Outlook]  # what is believed at a step of the 96 that begin with it


class Order(NamedTuple):
    """What a controller wants of a step, in kW.

    battery (+ = charging), cut, later (load put off), caught_up (load made up for); band is the
    grid exchange (+ = import) that the inner rule keeps, by moving the battery within its range.
    """

    battery: float = 0.0
    cut: float = 0.0
    later: float = 0.0
    caught_up: float = 0.0
    band: tuple[float, float] = (-np.inf, np.inf)
    range: tuple[float, float] = (-np.inf, np.inf)


class Controller(Protocol):
    """Decides at the start of a step."""

    def act(self, step: int, state: State) -> Order:
        """The order for step `step` of the data, from a state of the plant."""


@dataclass(frozen=True)
class Case:
    """A plant under a tariff: `case` makes the three of the study."""

    name: str
    plant: Plant
    tariff: Tariff

    @property
    def credit(self) -> float:
        """EUR per kWh left in the battery at the end."""
        return float(self.tariff.buy.min())


STANDARD = Plant()
CASES = ("energy only", "demand charge", "export cap")


def case(name: str, index: pd.DatetimeIndex, plant: Plant = STANDARD) -> Case:
    """One of `CASES` over an index.

    Energy only; 10 EUR per kW of a month's peak; export of at most 40 kW at .04 EUR/kWh.

    Raises
    ------
    InputError
        There is no such case.
    """
    if name not in CASES:
        raise InputError(f"no case {name!r}; take one of {list(CASES)}")
    if name == "export cap":
        return Case(name, replace(plant, export_kw=40.0), time_of_use(index, sell=0.04))
    return Case(name, plant, time_of_use(index, demand=10.0 if name == "demand charge" else 0.0))


# Controllers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Idle:
    """No storage and no flexible load."""

    def act(self, step: int, state: State) -> Order:
        """Nothing."""
        return Order(range=(0.0, 0.0))


@dataclass(frozen=True)
class Rules:
    """Charge at the night price up to a share, store surplus, discharge into the dear load.

    night is the share of the battery that is filled at night; the rest is left for the sun.
    """

    case: Case
    night: float = 0.5

    def act(self, step: int, state: State) -> Order:
        """Follow the present price alone."""
        plant, buy = self.case.plant, self.case.tariff.buy
        if buy[step] <= buy.min():
            room = max(self.night * plant.energy_kwh - state.energy, 0.0) / (plant.eta * STEP_H)
            return Order(battery=min(room, plant.power_kw))
        lowest = -np.inf if buy[step] >= buy.max() else 0.0
        return Order(band=(0.0, 0.0), range=(lowest, np.inf))


class Planner:
    """Solve the program anew at every step, or every few, and apply the plan's first steps.

    Parameters
    ----------
    case
        Plant and tariff; the tariff is known in advance.
    forecast
        What is believed.
    dispatch
        The program; its number of scenarios is that of the forecasts.
    value
        EUR per kWh in the battery at the end of the horizon.
    every
        Steps between solutions; 96 is the day-ahead open loop, which starts at midnight. More than
        1 needs a horizon whose first `every` blocks are single steps.
    """

    def __init__(
        self, case: Case, forecast: Forecast, dispatch: Dispatch, value: float, every: int = 1
    ) -> None:
        self.case, self.forecast, self.dispatch = case, forecast, dispatch
        self.value, self.every = value, every
        if not 1 <= every <= dispatch.single_steps:
            raise InputError(
                f"every is {every}; the horizon begins with {dispatch.single_steps} single steps"
            )
        self.milliseconds: list[float] = []
        self._orders: list[Order] = []

    def act(self, step: int, state: State) -> Order:
        """Plan if it is time, and give the order of the plan for this step."""
        if state.clock % self.every == 0 or not self._orders:
            self._orders = self._plan(step, state)
        return self._orders.pop(0)

    def _plan(self, step: int, state: State) -> list[Order]:
        tariff, ahead = self.case.tariff, slice(step, step + DAY)
        plan = self.dispatch.solve(
            state,
            self.forecast(step),
            tariff.buy[ahead],
            tariff.sell[ahead],
            value=self.value,
        )
        self.milliseconds.append(1000 * plan.seconds)
        peak = float(plan.weight @ plan.peak) if tariff.demand else np.inf
        grid = plan.weight @ plan.grid
        return [
            Order(
                battery=float(plan.weight @ plan.battery[:, k]),
                cut=float(plan.weight @ plan.cut[:, k]),
                later=float(plan.weight @ plan.later[:, k]),
                caught_up=float(plan.weight @ plan.caught_up[:, k]),
                band=_band(float(grid[k]), peak),
            )
            for k in range(self.every)
        ]


def _band(planned: float, peak: float) -> tuple[float, float]:
    """The exchange that keeps the sign of the planned one, and the planned peak."""
    if planned > 1e-3:
        return 0.0, peak
    return (-np.inf, 0.0) if planned < -1e-3 else (0.0, 0.0)


# Forecasts -----------------------------------------------------------------------------------


def foresight(data: Profiles) -> Forecast:
    """The truth of the day ahead, as one scenario."""
    pv, load = data.total("pv"), data.total("load")
    return lambda step: Outlook.certain(pv[step : step + DAY], load[step : step + DAY])


@dataclass(frozen=True)
class Issued:
    """Forecasts made once and used by several controllers.

    quantiles [I, N, 96, Q] in kW at the issue steps [I], ascending; pv [N] says which series are
    PV.
    """

    quantiles: NDArray[np.floating]
    issues: Steps
    pv: NDArray[np.bool_]

    def at(self, step: int) -> Float:
        """[N, 96, Q] of an issue step; InputError if there is none."""
        k = int(np.searchsorted(self.issues, step))
        if k == len(self.issues) or self.issues[k] != step:
            raise InputError(f"no forecast was issued at step {step}; issue one for every decision")
        return self.quantiles[k].astype(np.float64)

    def median(self, step: int) -> Outlook:
        """The sum of the medians, as one scenario."""
        middle = self.at(step)[..., MEDIAN]
        return Outlook.certain(middle[self.pv].sum(0), middle[~self.pv].sum(0))

    def cautious(self, step: int) -> Outlook:
        """The robust variant: little PV and much load, as one scenario."""
        return Outlook(*robust(self.at(step), self.pv))

    def scenarios(self, copula: Copula, kept: int = KEPT) -> Forecast:
        """Scenarios from a copula; made once per step, for all runs that use this answer."""
        made: dict[int, Outlook] = {}

        def outlook(step: int) -> Outlook:
            if step not in made:
                made[step] = Outlook(*copula.scenarios(self.at(step), kept))
            return made[step]

        return outlook
