"""Controllers of the study of dispatch with forecasts: who takes part, and the runs over days.

`lineup` says which controllers act on a forecaster's forecasts, `drive` lets them run the plant,
and `choose` tries one candidate of a setting on validation days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from griddispatch.data.profiles import Profiles
from griddispatch.errors import InputError
from griddispatch.evaluation.closed_loop import Run, bound, simulate
from griddispatch.evaluation.controllers import (
    Case,
    Controller,
    Forecast,
    Idle,
    Issued,
    Planner,
    Rules,
    case,
    foresight,
)
from griddispatch.evaluation.forecast_experiments import (
    NAIVE,
    PERSISTENCE,
    TRANSFORMER,
    Made,
    Packed,
    Sizes,
    Steps,
    copula_of,
    days_of,
)
from griddispatch.forecasting.naive import seasonal_naive
from griddispatch.optimization.mpc import Dispatch, Plan
from griddispatch.optimization.mpc_plant import BLOCK, DAY, FULL, STEP_H, Float, Outlook, State

Way = Literal["median", "scenarios", "robust", "open loop", "foresight", "rules", "idle"]

BEST, IDLE, RULES = "Perfect-foresight MPC", "No storage", "Rules"
HORIZONS = (8, 16, 24, 48, DAY)
"""Steps of the horizons that the study tries, all single."""
INTERVALS = (1, 2, 4, 8, 24)
"""Steps between solutions that it tries, on `LEISURE`."""
LEISURE = (1,) * 24 + (4,) * 18
"""A block horizon of a day whose plan can be followed for six hours."""

WAYS: Mapping[str, tuple[tuple[str, Way], ...]] = {
    TRANSFORMER: (
        ("P50", "median"),
        ("stochastic", "scenarios"),
        ("robust", "robust"),
        ("day-ahead", "open loop"),
    ),
    "Boosted": (("P50", "median"), ("stochastic", "scenarios")),
    "Linear": (("P50", "median"), ("stochastic", "scenarios")),
    NAIVE: (("P50", "median"),),
    PERSISTENCE: (("P50", "median"),),
}
"""Ways to act on the forecasts of each forecaster."""


@dataclass(frozen=True)
class Job:
    """A controller to be run: its name in tables, on what it acts, and in which case.

    blocks and every are horizon and steps between solutions; value is EUR per kWh in the battery at
    the end of the horizon, night the share of it that the rules fill at night.
    """

    controller: str
    way: Way
    case: str
    value: float = 0.0
    night: float = 0.5
    blocks: tuple[int, ...] = BLOCK
    every: int = 1


@dataclass(frozen=True)
class Driven:
    """A job and its run."""

    job: Job
    run: Run


def lineup(
    cases: Sequence[str],
    value: Mapping[str, float],
    night: Mapping[str, float],
    forecaster: str | None = None,
) -> list[Job]:
    """Jobs of all who act on a forecaster's forecasts; with None of those who need none.

    value and night are by case, as chosen on validation days.
    """
    if forecaster is not None:
        return [
            Job(f"{forecaster}, {label}", way, case, value[case])
            for case in cases
            for label, way in WAYS[forecaster]
        ]
    return [
        job
        for case in cases
        for job in (
            Job(BEST, "foresight", case, value[case]),
            Job(RULES, "rules", case, night=night[case]),
            Job(IDLE, "idle", case),
        )
    ]


def variations(case: str, value: float, way: Way, name: str) -> list[tuple[str, float, Job]]:
    """What is varied ("horizon" or "interval"), hours of it, and the job."""
    horizons = [
        ("horizon", k * STEP_H, Job(name, way, case, value, blocks=(1,) * k)) for k in HORIZONS
    ]
    intervals = [
        ("interval", k * STEP_H, Job(name, way, case, value, blocks=LEISURE, every=k))
        for k in INTERVALS
    ]
    return horizons + intervals


class Shorter(Dispatch):
    """The program over a horizon of less than a day, filled from what a day's planner knows."""

    def solve(
        self, state: State, outlook: Outlook, buy: Float, sell: Float, *, value: float
    ) -> Plan:
        """Plan the first steps; parameters as of `Dispatch.solve`, for the whole day."""
        cut = slice(self._shape[1].steps)
        near = outlook._replace(pv=outlook.pv[:, cut], load=outlook.load[:, cut])
        return super().solve(state, near, buy[cut], sell[cut], value=value)


def drive(
    data: Profiles,
    jobs: Sequence[Job],
    steps: Steps,
    made: Made | None = None,
    sizes: Sizes | None = None,
) -> list[Driven]:
    """Run controllers over consecutive steps, one after the other.

    Parameters
    ----------
    data, steps
        What comes, and which of its steps.
    jobs
        The controllers; the forecasts of scenarios are shared by all of them.
    made
        Forecasts of every step, for the ways that need some.
    sizes
        Number of paths and scenarios.

    Raises
    ------
    InputError
        A way needs forecasts and there are none.
    """
    sizes = sizes or Sizes()
    beliefs = _beliefs(data, jobs, made, sizes)
    driven = []
    for job in jobs:
        c = case(job.case, data.index)
        run = simulate(_controller(job, c, beliefs, sizes), data, c, steps)
        driven.append(Driven(job, run))
    return driven


def _beliefs(
    data: Profiles, jobs: Sequence[Job], made: Made | None, sizes: Sizes
) -> dict[Way, Forecast]:
    """What each way takes for the day ahead."""
    beliefs: dict[Way, Forecast] = {"foresight": foresight(data)}
    needs = {job.way for job in jobs} - {"foresight", "rules", "idle"}
    if not needs:
        return beliefs
    if made is None:
        raise InputError(f"{', '.join(sorted(needs))}: these need forecasts; give those of a fit")
    pv = np.array([kind == "pv" for kind in data.kinds])
    issued = Issued(made.test.quantiles().astype(np.float32), made.test.issues, pv)
    beliefs |= {"median": issued.median, "open loop": issued.median, "robust": issued.cautious}
    if "scenarios" in needs:
        copula = copula_of(data, made.calibration, sizes.paths)
        beliefs["scenarios"] = issued.scenarios(copula, sizes.kept)
    return beliefs


def _controller(job: Job, c: Case, beliefs: dict[Way, Forecast], sizes: Sizes) -> Controller:
    if job.way == "idle":
        return Idle()
    if job.way == "rules":
        return Rules(c, job.night)
    blocks, every = (FULL, DAY) if job.way == "open loop" else (job.blocks, job.every)
    scenarios = sizes.kept if job.way == "scenarios" else 1
    kind = Dispatch if sum(blocks) == DAY else Shorter
    dispatch = kind(c.plant, blocks, scenarios, demand=c.tariff.demand)
    return Planner(c, beliefs[job.way], dispatch, job.value, every)


def choose(data: Profiles, job: Job, days: int) -> float:
    """Cost in EUR of a candidate over the first validation days, on the seasonal naive's medians.

    The weakest planner makes the choice, and with it the opponent of all others: what is chosen
    favours no better forecast.
    """
    steps = days_of(data, "validation", days)
    naive = Packed.of(seasonal_naive(data).forecast(data, steps), steps, data)
    made = Made(NAIVE, naive, naive, 0.0, 0.0, pd.DataFrame(), {})
    return drive(data, [job], steps, made)[0].run.cost


def least_cost(data: Profiles, name: str, steps: Steps) -> float:
    """The bound of a case: cost in EUR of perfect foresight over all steps at once."""
    return bound(data, case(name, data.index), steps)


def solve_ms(
    data: Profiles, name: str, made: Made, sizes: Sizes, days: int = 2
) -> dict[str, float]:
    """Median ms of one solution, by horizon and number of scenarios, on the first test days."""
    steps = days_of(data, "test", days)
    shapes: dict[str, tuple[Way, tuple[int, ...]]] = {
        "block": ("median", BLOCK),
        "full": ("median", FULL),
        "block x scenarios": ("scenarios", BLOCK),
        "full x scenarios": ("scenarios", FULL),
    }
    jobs = [Job(shape, way, name, 0.15, blocks=blocks) for shape, (way, blocks) in shapes.items()]
    driven = drive(data, jobs, steps, made, sizes)
    return {d.job.controller: float(np.median(d.run.milliseconds)) for d in driven}
