"""What the size of the batteries and the spread of prices are worth to each policy, as a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from griddispatch.evaluation.metrics import captured_value
from griddispatch.evaluation.rollout import evaluate
from griddispatch.reporting.panel import Laboratory, Setting

_KEPT = ["reward", "profit", "penalty", "violations"]


def effects(
    laboratory: Laboratory,
    settings: Mapping[str, Setting],
    policies: Iterable[str],
    dates: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Means per day of policies under settings, on some days of each scope.

    Parameters
    ----------
    laboratory
        The case.
    settings
        By name; their own date and policy play no part.
    policies
        Of `panel.POLICIES`; the optimum always joins them.
    dates
        By scope.

    Returns
    -------
    DataFrame
        One row per setting, scope and policy: reward, profit, penalty and gain over doing nothing
        in EUR per day, violations per day, and captured in % (NaN where there is nothing to gain).
    """
    who = dict.fromkeys((*policies, "Optimum"))
    rows = []
    for name, setting in settings.items():
        for scope, chosen in dates.items():
            feeder = laboratory.feeder(setting, chosen)
            played = {p: laboratory.policy(replace(setting, policy=p), feeder) for p in who}
            means = evaluate(played, feeder).groupby("policy")[_KEPT].mean()
            idle = -float(feeder.idle_penalty.sum(1).mean())
            for policy in who:
                own = means.loc[policy]
                row = {"setting": name, "scope": scope, "policy": policy, **own}
                share = captured_value(own["reward"], idle, means["reward"]["Optimum"])
                rows.append(row | {"gain": own["reward"] - idle, "captured": share})
    return pd.DataFrame(rows)


def evenly(dates: Sequence[str], count: int) -> list[str]:
    """At most `count` of the dates, those in the middle of equal parts."""
    count = min(count, len(dates))
    return [dates[int((k + 0.5) * len(dates) / count)] for k in range(count)]
