"""What learners of the virtual power plant stand on, and what they are compared with.

Cells of the study: the upper level's game and its equilibria, models of the demand, the tuned
margin rule, day-ahead schedules, perfect foresight.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from griddispatch.agents import maddpg
from griddispatch.agents.maddpg import GameTraining, MADDPGConfig
from griddispatch.agents.vpp_rules import MarginRule, candidate_costs, candidates, mean_demand
from griddispatch.data.vpp_demand import PERIODS, Model, draw_days
from griddispatch.envs import supply_load_game
from griddispatch.errors import InputError
from griddispatch.evaluation.vpp_comparison import ALPHA, FORESIGHT
from griddispatch.evaluation.vpp_experiments import CHOOSING, Sizes, environment, judged
from griddispatch.forecasting.demand_models import DemandModel, Linear
from griddispatch.forecasting.world_model import fit_gru, fit_vrnn
from griddispatch.forecasting.world_model_training import Settings
from griddispatch.optimization.game_equilibrium import Equilibrium, equilibria, principal
from griddispatch.optimization.vpp_milp import (
    Plan,
    Replay,
    foresight,
    mean_plan,
    scenario_plan,
)
from griddispatch.risk_measures import cvar

DEMAND_MODELS = ("VRNN", "GRU mixture", "Full history", "AR(1)")


def tuned_margin(sizes: Sizes, p_high: ArrayLike, premium: float, tried: int) -> MarginRule:
    """The margin rule with the smallest tail on validation days, chosen as the radius is.

    tried is about how many of all candidates are looked at. The tail is CVaR10, the mean over
    `CHOOSING` but the nominal days; premium is the largest rise, in %, of the nominal mean over
    that of the candidate with the smallest one.

    Raises
    ------
    InputError
        tried is below 1.
    """
    if tried < 1:
        raise InputError(f"tried is {tried}; give 1 or more")
    every = candidates()
    rules = every[:: max(1, len(every) // tried)]
    mean = mean_demand(draw_days(sizes.train, 0, "train"))
    costs = {
        shift: candidate_costs(
            environment("validation", sizes.validation, p_high, shift), mean, rules
        )
        for shift in CHOOSING
    }
    nominal = costs.pop("nominal").mean(1)
    tails = np.mean([[cvar(x, ALPHA) for x in own] for own in costs.values()], axis=0)
    allowed = nominal <= (1 + premium / 100) * nominal.min()
    return MarginRule(mean, rules[int(np.where(allowed, tails, np.inf).argmin())])


def day_ahead(scenarios: int, sizes: Sizes, p_high: ArrayLike, gap: float) -> Plan:
    """A schedule for some training days at once, or, with 0, for the mean of all of them."""
    env = environment("train", sizes.train, p_high)
    if scenarios == 0:
        return mean_plan(env, env.days)
    return scenario_plan(env, env.days.take(slice(0, scenarios)), gap=gap)


def play_game(name: str, config: MADDPGConfig, seeds: Sequence[int]) -> GameTraining:
    """MADDPG on a preset of the supply-load game: "published" or "repaired"."""
    return maddpg.train(supply_load_game.PRESETS[name](), config, list(seeds))


def solve_game(starts: int) -> tuple[Equilibrium, list[Equilibrium]]:
    """The principal equilibrium of the repaired game, and all that are found from some starts."""
    game = supply_load_game.PRESETS["repaired"]()
    return principal(game), equilibria(game, starts)


def demand_model(
    kind: str, model: Model, seeds: Sequence[int], sizes: Sizes, updates: int
) -> DemandModel:
    """Fit one of `DEMAND_MODELS` to training days of a model of the demand.

    Raises
    ------
    InputError
        There is no such kind.
    """
    train = draw_days(sizes.train, 0, "train", model=model).relative
    validation = draw_days(sizes.validation, 0, "validation", model=model).relative
    if kind == "AR(1)":
        return Linear(train, lags=1)
    if kind == "Full history":
        return Linear(train, lags=PERIODS - 1)
    if kind == "VRNN":
        return fit_vrnn(train, validation, list(seeds), Settings(updates=updates))
    if kind == "GRU mixture":
        settings = Settings(updates=updates, components=4)
        return fit_gru(train, validation, list(seeds), settings)
    raise InputError(f"no demand model {kind!r}; take one of {', '.join(DEMAND_MODELS)}")


def best_dispatch(day: int, shift: str, p_high: ArrayLike, gap: float) -> Plan:
    """Perfect foresight of one test day under a shift."""
    (plan,) = foresight(environment("test", day + 1, p_high, shift), [day], gap=gap)
    return plan


def foresight_rows(plans: Sequence[Plan], shift: str, p_high: ArrayLike) -> pd.DataFrame:
    """Rows as of `judged` for plans of the first test days, played in the simulator."""
    env = environment("test", len(plans), p_high, shift)
    return judged(env, Replay.of(list(plans)), FORESIGHT, shift)
