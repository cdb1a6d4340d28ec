"""What the microgrid study hands on: its tables, its claims with verdicts, its trained policies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from griddispatch.assets.microgrid import Plant
from griddispatch.errors import InputError
from griddispatch.evaluation.comparison import verdict
from griddispatch.evaluation.paired import block, less
from griddispatch.evaluation.risk_comparison import Drawn, Key, keys, rows
from griddispatch.evaluation.risk_experiments import Cell
from griddispatch.evaluation.statistics import Interval
from griddispatch.pipeline import paths, records
from griddispatch.reporting.marks import mark
from griddispatch.reporting.tables import Column, write_table

STAGE = "cvar_td3"
HALF_MS = 5.0  # the source says about 10 ms per step; half of it is aimed at
CLAIMED_MB = 100.0  # of memory for a million transitions, as the source has it
_COLUMNS = {
    "mean": ("Mean", "EUR/day"),
    "var95": ("VaR95", "EUR/day"),
    "cvar95": ("CVaR95", "EUR/day"),
    "objective": ("J(0.3)", "EUR/day"),
    "largest": ("Largest", "EUR"),
    "outside": ("Outside limits", "per day"),
    "violations": ("Violations", "per day"),
    "lost_kwh": ("Unserved", "kWh/day"),
    "starts": ("Starts", "per day"),
    "cycles": ("Cycles", "per day"),
    "gap": ("Gap to the bound", "%"),
}


def plant_table(plants: Mapping[str, Plant]) -> pd.DataFrame:
    """Numbers of some plants, one column each; only rows with a number."""
    columns = {}
    for name, plant in plants.items():
        flat = {k: v for k, v in asdict(plant).items() if not isinstance(v, dict)}
        for part in ("battery", "chp"):
            flat |= {f"{part} {k}": v for k, v in asdict(getattr(plant, part)).items()}
        columns[name] = flat
    return pd.DataFrame(columns)


def difference(
    drawn: Mapping[Key, Drawn], first: Key, second: Key, metric: str, weight: float
) -> dict[str, Any]:
    """A paired difference as a row: by how much the first lies below the second, in %.

    metric is a field of `Drawn`, or "objective" for J at `weight`.
    """

    def of(key: Key) -> Any:
        one = drawn[key]
        return one.objective(weight) if metric == "objective" else getattr(one, metric)

    found = less(of(first), of(second))
    who = {"first": first[0], "first_weight": first[1], "second": second[0]}
    named = {"second_weight": second[1], "metric": metric}
    return who | named | found._asdict() | {"verdict": verdict(found)}


def gaps(drawn: Mapping[Key, Drawn], best: Key, days: int) -> pd.DataFrame:
    """Mean cost of policies above that of perfect foresight on the same days, in %."""
    made = []
    for key, one in drawn.items():
        found = less(one.mean, drawn[best].mean)
        # Above the bound is what does not lie below it.
        ends = (-found.value, -found.high, -found.low)
        made.append((*key, days, float(one.mean[0]), *ends))
    columns = ["policy", "weight", "days", "mean", "gap", "low", "high"]
    return pd.DataFrame(made, columns=columns)


def write_results(results: pd.DataFrame, gap: pd.DataFrame, name: str, caption: str) -> None:
    """Write `risk_comparison.results` and `gaps` as a table with one line per policy and weight."""
    joined = gap.rename(columns={"gap": "mean", "mean": "eur"}).assign(metric="gap")
    every = pd.concat([results, joined[list(results)]], ignore_index=True)
    lines = results[["policy", "weight"]].drop_duplicates().reset_index(drop=True)
    columns = {"policy": Column("Policy"), "weight": Column("λ", digits=1)}
    for metric, (title, unit) in _COLUMNS.items():
        own = every[every["metric"].eq(metric)]
        named = {end: f"{metric} {end}" for end in ("mean", "low", "high")}
        own = own[["policy", "weight", *named]].rename(columns=named)
        lines = lines.merge(own, on=["policy", "weight"], how="left")
        with_ends = bool(own[named["low"]].notna().any())
        ends = (named["low"], named["high"]) if with_ends else None
        columns[named["mean"]] = Column(title, unit, interval=ends)
    write_table(lines, name, caption, columns)


def claims(gains: Mapping[str, Interval], facts: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Each claim with what was measured, and whether it holds.

    Parameters
    ----------
    gains
        Paired intervals in %, by how much A lies below B unless said otherwise. "hedge": CVaR of
        the tuned rule at lambda 0.3 below that at 0; "hedge_off": the same below that of the rule
        without CHP, and "premium": its mean above that one's. "gap": mean of the best risk-neutral
        policy above the bound. "objective", "ru_objective": J of the best learner, and of RU-TD3,
        below the tuned rule's. "tail": CVaR of the best learner below that of the best risk-neutral
        one; "ru_tail": CVaR of RU-TD3 below its own at lambda 0. "published": CVaR of the published
        agent below that of TD3 that is chosen by the same J.
    facts
        "outside": set-points outside their limits, of all policies with intervals; "gradient_past":
        the larger gradient of the published penalty; "starts": starts of the published CHP;
        "update_ms", "step_ms", "memory_mb"; "commitment": relative distance to the published
        optimum of the ten-unit case; "beaten": days with a cost below the bound.
    """
    hedge, off, premium, gap = (gains[k] for k in ("hedge", "hedge_off", "premium", "gap"))
    at_rule, ru_rule = gains["objective"], gains["ru_objective"]
    spent = facts["update_ms"] + facts["step_ms"]
    return {
        "hedge_exists": mark(hedge.low > 0, **hedge._asdict()),
        "hedge_size": mark(
            off.value >= 12 and premium.value <= 3.5, **off._asdict(), premium=premium.value
        ),
        "neutral_near_bound": mark(gap.value <= 4, **gap._asdict(), reach=4),
        "learner_reaches_rule": mark(at_rule.value >= 0, **at_rule._asdict()),
        "ru_reaches_rule": mark(ru_rule.value >= 0, **ru_rule._asdict()),
        "learner_cuts_tail": mark(gains["tail"].low > 0, **gains["tail"]._asdict()),
        "ru_cuts_tail": mark(gains["ru_tail"].low > 0, **gains["ru_tail"]._asdict()),
        "published_cuts_tail": mark(gains["published"].low > 0, **gains["published"]._asdict()),
        "past_penalty_is_inert": mark(facts["gradient_past"] == 0, value=facts["gradient_past"]),
        "published_chp_never_starts": mark(facts["starts"] == 0, value=facts["starts"]),
        "no_violations": mark(facts["outside"] == 0, value=facts["outside"]),
        "fast": mark(spent <= HALF_MS, value=spent, reach=HALF_MS),
        "memory": mark(
            facts["memory_mb"] <= CLAIMED_MB, value=facts["memory_mb"], reach=CLAIMED_MB
        ),
        "commitment": mark(facts["commitment"] <= 1e-4, value=facts["commitment"]),
        "bound_holds": mark(facts["beaten"] == 0, value=facts["beaten"]),
    }


def best_by_validation(cells: Sequence[Cell], weight: float) -> Cell:
    """The learner with the smallest mean J on validation days at a weight: test days play no part.

    Raises
    ------
    InputError
        No cell has this weight.
    """
    own = [cell for cell in cells if cell.weight == weight]
    if not own:
        raise InputError(f"no learner has weight {weight}; train one with it")
    return min(own, key=lambda cell: float(np.mean(cell.validation_objective)))


def settings(cell: Cell) -> dict[str, Any]:
    """Settings of a training for a JSON file; numbers of a rule, which may be infinite, as text."""
    teacher = cell.config.teacher
    words = None if teacher is None else [str(x) for x in teacher]
    return asdict(cell.config) | {"teacher": words}


def hand_on(
    cells: Sequence[Cell], table: pd.DataFrame, seconds: Mapping[str, Any], others: pd.DataFrame
) -> None:
    """Write what later readers need of the trainings and the tested days.

    `data/models/cvar_td3.pt`
        The trained policies of every cell as their `saved`, and the cost of every policy on every
        test day, [seeds, days] in EUR.
    `results/cvar_td3_curve.csv`, `results/cvar_td3_extensions.csv`
        Training curves; the two ablations.
    `results/timings/cvar_td3.json`
        Seconds and updates of each cell, and other times; they differ from run to run.
    """
    kept = {name((c.policy, c.weight)): [policy.saved for policy in c.policies] for c in cells}
    costs = {name(key): torch.as_tensor(block(rows(table, key), "cost")) for key in keys(table)}
    torch.save({"policies": kept, "costs": costs}, paths.write(f"data/models/{STAGE}.pt"))
    curve = pd.concat([c.curve for c in cells]).drop(columns="seconds")
    records.write_csv(f"results/{STAGE}_curve.csv", curve)
    records.write_csv(f"results/{STAGE}_extensions.csv", others)
    timed = {
        name((c.policy, c.weight)): {"seconds": c.seconds, "updates": c.updates} for c in cells
    }
    records.write_json(f"results/timings/{STAGE}.json", {"cells": timed, **seconds}, digits=3)


def name(key: Key) -> str:
    """A policy with its weight in words."""
    return f"{key[0]}, λ = {key[1]:g}"
