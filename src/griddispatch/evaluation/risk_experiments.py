"""Cells of the microgrid study: train K dispatchers, tune a rule, solve a day; judge all alike.

A plant is named as in `assets.microgrid.preset`, and its days have the scenario of the same name.
Training days teach, validation days choose, and test days, which nothing else has seen, judge.
Day k of a split is the same in every cell: random numbers are common to all policies.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from griddispatch.agents import cvar_td3
from griddispatch.agents import microgrid_pathwise as pathwise
from griddispatch.agents.microgrid_extensions import (
    CoupledConfig,
    Coupling,
    LagrangianConfig,
    team_costs,
    train_coupled,
    train_lagrangian,
)
from griddispatch.agents.microgrid_policy import MicrogridActor
from griddispatch.agents.microgrid_rules import (
    GRID,
    Numbers,
    Scheduled,
    candidate_costs,
    candidates,
)
from griddispatch.assets.microgrid import preset
from griddispatch.data.microgrid import HOURS, QUANTITIES, Split, draw_days
from griddispatch.envs.microgrid import TOLERANCE_KW, Microgrid, Outcome
from griddispatch.errors import InputError
from griddispatch.evaluation.risk import Dispatcher, play
from griddispatch.learning.training import Training
from griddispatch.optimization.microgrid_milp import Plan, Replay, foresight, scenario_plan
from griddispatch.optimization.microgrid_mpc import Forecast, Predictive
from griddispatch.optimization.unit_commitment import TEN_UNIT_OPTIMUM, commit, ten_units
from griddispatch.risk_measures import ALPHA

REC = "rec"


@dataclass(frozen=True)
class Sizes:
    """How many days are drawn for each purpose, all of seed 0 of their split."""

    train: int = 2000
    validation: int = 500
    test: int = 2000


@dataclass(frozen=True)
class Cell:
    """Result of `train_and_test`: K policies, their settings, and what they did.

    curve is `Training.curve`, days has the columns of `judged`, validation_objective [K] the J by
    which each policy was kept; weight is lambda. All of them in EUR per day.
    """

    policy: str
    weight: float
    config: Any
    curve: pd.DataFrame
    days: pd.DataFrame
    policies: list[Any]
    validation_objective: list[float]
    seconds: float
    updates: int
    memory_bytes: int


@dataclass(frozen=True)
class Learner:
    """A method: how it is trained, with which settings, and what its length is called."""

    train: Callable[..., Training[MicrogridActor]]
    config: Any
    length: str


LEARNERS = {
    "RU-TD3": Learner(cvar_td3.train, cvar_td3.PRESETS["ru"], "rounds"),
    "RU-TD3, discrete": Learner(cvar_td3.train, cvar_td3.PRESETS["ru discrete"], "rounds"),
    "RU-TD3, cloned": Learner(cvar_td3.train, cvar_td3.PRESETS["ru cloned"], "rounds"),
    "Quantile TD3": Learner(cvar_td3.train, cvar_td3.PRESETS["quantile"], "rounds"),
    "Pathwise, sampled": Learner(pathwise.train, pathwise.PRESETS["sampled"], "updates"),
    "Pathwise, enumerated": Learner(pathwise.train, pathwise.PRESETS["enumerated"], "updates"),
    "Published TD3": Learner(cvar_td3.train, cvar_td3.PRESETS["published"], "rounds"),
    "Published TD3, index fixed": Learner(
        cvar_td3.train, cvar_td3.PRESETS["index fixed"], "rounds"
    ),
    "TD3": Learner(cvar_td3.train, cvar_td3.PRESETS["td3"], "rounds"),
}
"""Methods A (three ways), B, C (two ways), D, E and F."""


def environment(
    split: Split, days: int, plant: str = REC, dtype: torch.dtype = torch.float32
) -> Microgrid:
    """A plant on the days of a split.

    Raises
    ------
    InputError
        The plant or the split is unknown, or there is no day.
    """
    built = preset(plant)
    drawn = draw_days(days, 0, split, scenario=plant, steps=built.steps)
    return Microgrid(built, drawn, dtype=dtype)


def judged(
    env: Microgrid, dispatcher: Dispatcher, policy: str, weight: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """One row per day of the environment: policy, weight, seed, day, outside, `risk.DayResults`.

    outside is how many set-points of the day lay outside their intervals, before any cut.
    """
    outside = torch.zeros(len(env.days))

    def count(outcome: Outcome) -> None:
        outside.add_((outcome.excess > TOLERANCE_KW).sum(1).to(outside))

    frame = pd.DataFrame(play(env, dispatcher, watch=count)._asdict())
    named = {"policy": policy, "weight": weight, "seed": seed, "day": range(len(frame))}
    named["outside"] = outside.double().numpy()
    return pd.concat([pd.DataFrame(named, index=frame.index), frame], axis=1)


def train_and_test(
    train: Callable[..., Training[MicrogridActor]],
    policy: str,
    config: Any,
    seeds: Sequence[int],
    sizes: Sizes,
    records: int = 10,
) -> Cell:
    """Train on training days, keep the best on validation days, judge on test days.

    Parameters
    ----------
    train, policy, config
        The `train` of a learner's module, the name of the rows, and its settings.
    seeds
        One dispatcher each, trained side by side.
    sizes, records
        How many days are drawn; points on the training curve.
    """
    env = environment("train", sizes.train)
    validation = environment("validation", sizes.validation)

    def progress(line: str) -> None:
        print(f"{policy}, lambda {config.weight:g}: {line}", flush=True)

    done = train(env, config, list(seeds), validation, records=records, progress=progress)
    test = environment("test", sizes.test)
    tested = [
        judged(test, one, policy, config.weight, seed)
        for seed, one in zip(seeds, done.policies, strict=True)
    ]
    best = done.curve.groupby("seed")["objective"].min()
    return Cell(
        policy=policy,
        weight=config.weight,
        config=config,
        curve=done.curve.assign(policy=policy, weight=config.weight),
        days=pd.concat(tested, ignore_index=True),
        policies=list(done.policies),
        validation_objective=[float(best[seed]) for seed in seeds],
        seconds=done.seconds,
        updates=done.updates,
        memory_bytes=done.memory_bytes,
    )


# -- rules --------------------------------------------------------------------------------


def some_candidates(count: int) -> tuple[Numbers, ...]:
    """Every candidate of `microgrid_rules.GRID`, or about `count` of them at even distances.

    Raises
    ------
    InputError
        count is below 1.
    """
    if count < 1:
        raise InputError(f"candidates is {count}; give 1 or more")
    every = candidates(GRID)
    return every[:: max(1, len(every) // count)]


def rule_costs(numbers: Sequence[Numbers], sizes: Sizes, plant: str = REC) -> np.ndarray:
    """[N, D] EUR, cost of N net-load rules on the training days: what tunes the rule."""
    return candidate_costs(environment("train", sizes.train, plant), list(numbers))


# -- programs -----------------------------------------------------------------------------


def best_dispatch(day: int) -> Plan:
    """Perfect foresight of one of the test days."""
    (plan,) = foresight(environment("test", day + 1, dtype=torch.float64), [day])
    return plan


def status_plan(scenarios: int, weight: float, gap: float) -> Plan:
    """One status schedule for the first training days; see `microgrid_milp.scenario_plan`."""
    env = environment("train", scenarios, dtype=torch.float64)
    return scenario_plan(env, range(scenarios), weight, ALPHA, gap=gap)


def scheduled(plan: Plan) -> Scheduled:
    """The rule that follows the status of a plan."""
    return Scheduled(tuple(bool(on) for on in plan.setpoint[0, :, 2] >= 0.5))


def predictive_day(day: int, horizon: int, train: int) -> tuple[pd.DataFrame, float]:
    """A test day under model predictive control: its row as of `judged`, and s per decision.

    train is the number of training days to which the forecast is fitted.
    """
    test = environment("test", day + 1, dtype=torch.float64)
    forecast = Forecast(environment("train", train).days)
    started = time.perf_counter()
    found = judged(test.on(test.days.take([day])), Predictive(forecast, horizon), "MPC")
    return found.assign(day=day), (time.perf_counter() - started) / test.steps


def foresight_rows(plans: Sequence[Plan]) -> pd.DataFrame:
    """Rows as of `judged` for plans of the first test days, played in the simulator."""
    test = environment("test", len(plans), dtype=torch.float64)
    best = Replay(np.stack([plan.setpoint[0] for plan in plans]))
    return judged(test, best, "Perfect foresight")


def ten_unit_check(gap: float) -> dict[str, float]:
    """Cost, lower bound and solver seconds of the ten-unit case, beside the published optimum."""
    units, demand, reserve = ten_units()
    found = commit(units, demand, reserve, gap=gap)
    return {
        "cost": found.cost,
        "bound": found.bound,
        "published": TEN_UNIT_OPTIMUM,
        "seconds": found.seconds,
    }


# -- extensions ---------------------------------------------------------------------------


def lagrangian(learned: bool, seeds: Sequence[int], updates: int, sizes: Sizes) -> pd.DataFrame:
    """Rows of `train_lagrangian`, one per seed; learned is whether the multiplier is."""
    config = LagrangianConfig(learned=learned, updates=updates)
    env = environment("train", sizes.train)
    # Nothing is chosen: the last policy counts, so it may be tried on test days at once.
    found = train_lagrangian(env, config, list(seeds), environment("test", sizes.test))
    return found.assign(policy="Lagrangian actor" if learned else "multiplier 0")


def coupled(
    shared: bool, seed: int, rounds: int, sizes: Sizes, count: int, common_kw: float
) -> pd.DataFrame:
    """Team cost on every test day of `count` microgrids behind one connection, for one seed.

    shared is whether one critic sees all of them; rounds is 0 for untrained actors.
    """

    def made(split: Split, days: int) -> Coupling:
        return Coupling(preset(REC), environment(split, days).days, count, common_kw)

    train, test = made("train", sizes.train), made("test", sizes.test)
    policy = train_coupled(train, CoupledConfig(shared=shared, rounds=rounds), seed)
    cost = team_costs(test, policy).double().numpy()
    named = {"policy": "one critic for all" if shared else "a critic each", "weight": 0.0}
    return pd.DataFrame({**named, "seed": seed, "day": range(len(cost)), "cost": cost})


# -- days and steps to look at ------------------------------------------------------------


def trace(env: Microgrid, dispatcher: Dispatcher, day: int) -> pd.DataFrame:
    """Every step of one day: hour, what happened outside, and what the dispatcher made of it.

    Powers in kW: pv, wind, load, heat, import_kw as limit, battery, chp, drawn, sold, curtailed,
    lost, boiler, dumped, cold (lost heat), chp_heat; price in EUR/kWh; soc; cost in EUR.
    """
    one = env.on(env.days.take([day]))
    seen: list[Outcome] = []
    play(one, dispatcher, watch=seen.append)

    def of(field: str) -> np.ndarray:
        return torch.cat([getattr(outcome, field) for outcome in seen]).double().cpu().numpy()

    setpoint = of("setpoint").reshape(-1, 3)
    steps = np.arange(env.steps) * HOURS / env.steps
    outside = {name: getattr(one.days, name)[0] for name in QUANTITIES}
    outside["limit"] = outside.pop("import_kw")
    energy = np.array([float(outcome.state.energy_kwh[0]) for outcome in seen])
    made = {
        "battery": setpoint[:, 0],
        "chp": setpoint[:, 1],
        "drawn": of("import_kw"),
        "sold": of("export_kw"),
        "curtailed": of("curtailed_kw"),
        "lost": of("lost_kw"),
        "boiler": of("boiler_kw"),
        "dumped": of("dumped_kw"),
        "cold": of("lost_heat_kw"),
        "chp_heat": env.plant.chp.heat_ratio * setpoint[:, 1],
        "soc": energy / env.plant.battery.energy_kwh,
        "cost": of("cost"),
    }
    return pd.DataFrame({"hour": steps, **outside, **made})


def step_costs(env: Microgrid, dispatcher: Dispatcher) -> np.ndarray:
    """[D, T] EUR of every step of every day."""
    seen: list[Outcome] = []
    play(env, dispatcher, watch=seen.append)
    return np.stack([outcome.cost.double().cpu().numpy() for outcome in seen], 1)


def billed_by_hours(env: Microgrid) -> Microgrid:
    """The same plant and days, with powers multiplied by the length of a step for the bill."""
    plant = replace(env.plant, billed_hours=env.plant.step_hours)
    return Microgrid(plant, env.days, observation=env.observation, dtype=env.dtype)
