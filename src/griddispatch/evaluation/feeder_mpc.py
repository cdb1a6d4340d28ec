"""The rolling horizon on the RL-ADN feeder, beside the fixed schedule and the optimum.

`on_validation` plays validation days (`splits.validation_days`), on which settings are chosen;
`on_dates` any days, for the comparison of all policies of the feeder.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from griddispatch.agents.learning import Policy
from griddispatch.agents.mpc import MPCPolicy
from griddispatch.agents.rules import DoNothing, Schedule, fixed_schedule
from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Series
from griddispatch.envs.feeder import EndSoc, Feeder
from griddispatch.envs.observations import Prices
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import evaluate
from griddispatch.grid.network import Network
from griddispatch.optimization.feeder_nlp import optimal_schedules

PRIMARY = "all"
POLICIES = (
    "Do nothing",
    "Fixed schedule",
    "MPC, now",
    "MPC, history",
    "MPC, day-ahead",
    "Optimum",
)
"""Names of `on_validation`; what follows MPC is the information about prices."""


def on_validation(network: Network, series: Series, policy: str, days: int) -> pd.DataFrame:
    """Fit one of `POLICIES` on the fit days and play validation days.

    Parameters
    ----------
    network, series
        The feeder and its days.
    policy
        A name of `POLICIES`.
    days
        Number of validation days, evenly spread over all of them; all if there are fewer.

    Returns
    -------
    table
        As of `rollout.evaluate`.

    Raises
    ------
    InputError
        There is no such policy, or not one day is asked for.
    """
    if policy not in POLICIES:
        raise InputError(f"no policy {policy!r}; take one of {', '.join(POLICIES)}")
    every = splits.validation_days(series, PRIMARY)
    if days < 1:
        raise InputError(f"days is {days}; play at least one validation day")
    spread = np.linspace(0, len(every) - 1, min(days, len(every)))
    picked = [every[k] for k in spread.round().astype(int)]
    fit = Feeder(network, Storage(), series.days(splits.fit_days(series, PRIMARY)))
    played = fit.on(series.days(picked))
    made: dict[str, Callable[[], Policy]] = {
        "Do nothing": DoNothing,
        "Fixed schedule": partial(fixed_schedule, fit),
        "MPC, now": partial(MPCPolicy.fit, fit, "now"),
        "MPC, history": partial(MPCPolicy.fit, fit, "history"),
        "MPC, day-ahead": partial(MPCPolicy.fit, fit, "day-ahead"),
        "Optimum": partial(_optimum, played),
    }
    chosen = made[policy]()
    return evaluate({policy: chosen}, played)


def on_dates(
    network: Network,
    series: Series,
    storage: Storage,
    information: Prices,
    dates: Sequence[str],
    end_soc: EndSoc = "free",
) -> pd.DataFrame:
    """Fit the forecasts on all training days and play dates, as the rules of the feeder do.

    Parameters
    ----------
    network, series, storage
        The feeder, its days and its batteries.
    information
        What is known of the prices; see `agents.mpc`.
    dates
        ISO dates of the series.
    end_soc
        Where the batteries must stand at the end of a day; see `Feeder`.

    Returns
    -------
    table
        As of `rollout.evaluate`, with the columns `information` and `end_soc`.

    Raises
    ------
    InputError
        A date is not in the series, or the information is unknown.
    """
    training = series.days(splits.training_days(series, PRIMARY))
    fit = Feeder(network, storage, training, end_soc=end_soc)
    policy = MPCPolicy.fit(fit, information)
    table = evaluate({"MPC": policy}, fit.on(series.days(dates)))
    return table.assign(information=information, end_soc=end_soc)


def _optimum(played: Feeder) -> Schedule:
    best = optimal_schedules(played, range(len(played.days)))
    return Schedule(np.stack([day.power_kw for day in best]))
