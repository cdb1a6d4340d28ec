"""What the regulation study hands on: its table, its claims with verdicts, its trained policies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch

from griddispatch.assets.regulation import Fleet
from griddispatch.assets.regulation_resources import Battery, Generator
from griddispatch.evaluation.regulation_comparison import KEYS, Violations
from griddispatch.evaluation.regulation_experiments import Cell
from griddispatch.evaluation.statistics import Interval
from griddispatch.pipeline import paths, records
from griddispatch.reporting.marks import mark
from griddispatch.reporting.tables import Column, write_table

STAGE = "deltanet"
_COLUMNS = {
    "total": ("S", "", None),
    "correlation": ("C", "", None),
    "delay": ("D", "", None),
    "precision": ("P", "", None),
    "l1": ("l1", "%", 100),
    "objective": ("J", "%", 100),
    "useful": ("Useful mileage", "1/h", None),
    "cost": ("Mileage cost", "$/h", None),
    "violations": ("Violations", "per 1000", None),
    "excess": ("Violated", "MW s/h", None),
    "energy_error": ("Energy error", "%", 100),
}
_HEAD = {
    "policy": "Policy",
    "fleet": "Fleet",
    "signal": "Signal",
    "dead_time": "Dead time",
    "preview": "Preview",
    "order": "Order",
    "balance": "Balance",
    "nested": "Nested",
}


def resources(fleet: Fleet) -> pd.DataFrame:
    """The resources of a fleet in the units in which they are usually given."""
    lines = []
    for r in fleet.resources:
        line: dict[str, Any] = {"resource": r.name, "band, MW": r.power_mw}
        line["ramp, %/min"] = r.ramp if isinstance(r, Generator) else None
        line |= {"dead time, s": r.dead_s, "lag, s": r.lag_s, "cost, $/MW-mile": r.cost}
        line["energy, MWh"] = r.energy_mwh if isinstance(r, Battery) else None
        lines.append(line)
    return pd.DataFrame(lines).set_index("resource")


def write_results(results: pd.DataFrame, name: str, caption: str) -> None:
    """Write `regulation_comparison.results` as a table with one line per policy and setting.

    Settings that are the same in all lines are left out.
    """
    lines = results[list(KEYS)].drop_duplicates().reset_index(drop=True)
    shown = [key for key in KEYS if key == "policy" or len(set(lines[key])) > 1]
    columns = {key: Column(_HEAD[key]) for key in shown}
    for metric, (title, unit, scale) in _COLUMNS.items():
        own = results[results["metric"].eq(metric)]
        named = {end: f"{metric} {end}" for end in ("mean", "low", "high")}
        own = own[[*KEYS, *named]].rename(columns=named)
        lines = lines.merge(own, on=list(KEYS), how="left")
        ends = (named["low"], named["high"])
        columns[named["mean"]] = Column(title, unit, interval=ends, scale=scale or 1.0)
    write_table(lines, name, caption, columns)


def zero(found: Violations) -> str:
    """How many violations there were, in words, with the bound where there was none."""
    if found.outside:
        per_1000 = 1000 * found.outside / found.setpoints
        return f"{found.outside} of {found.setpoints} ({per_1000:.3g} per 1000)"
    return f"0 of {found.setpoints}, so below {1e6 * found.bound:.3g} per million"


def claims(
    violated: Mapping[str, Violations],
    score: Mapping[str, float],
    gains: Mapping[str, Interval],
    ratio: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Each claim with what was measured, and whether it holds.

    Parameters
    ----------
    violated
        Violations of every interval policy.
    score
        Mean S of "tuned", "pathwise", "ppo".
    gains
        Paired intervals: "tuned", by how much J of the pathwise policy lies below that of the tuned
        rule in %; "precision", "mileage", P of the factored PPO minus that of the monolithic one,
        and by how much its cost lies below in %.
    ratio
        "RegD", "RegA": the ratio at an error of 1 %.
    """
    most = sum(v.outside for v in violated.values())
    fewest = min(v.setpoints for v in violated.values())
    tuned, precision, cost = (gains[name] for name in ("tuned", "precision", "mileage"))
    return {
        "no_violations": mark(most == 0, value=most, setpoints=fewest),
        "tuned_score": mark(score["tuned"] >= 0.975, value=score["tuned"], reach=0.975),
        "pathwise_score": mark(score["pathwise"] >= 0.98, value=score["pathwise"], reach=0.98),
        "ppo_score": mark(score["ppo"] >= 0.95, value=score["ppo"], reach=0.95),
        "ppo_above_tuned": mark(score["ppo"] > score["tuned"], value=score["ppo"]),
        "below_tuned": mark(tuned.value >= 10 and tuned.low > 0, **tuned._asdict(), reach=10),
        "tracks_better": mark(precision.low > 0, **precision._asdict()),
        "moves_cheaper": mark(cost.low > 0, **cost._asdict()),
        "equivalent_regd": mark(abs(ratio["RegD"] - 1) <= 0.05, value=ratio["RegD"], reach=1.05),
        "equivalent_rega": mark(abs(ratio["RegA"] - 1) <= 0.05, value=ratio["RegA"], reach=1.05),
    }


def hand_on(cells: Sequence[Cell], hours: pd.DataFrame, milliseconds: Mapping[str, float]) -> None:
    """Write what later readers need of the trainings and the tested hours.

    `data/models/deltanet.pt`
        The trained policies of every cell, as their `saved`, where they can be saved.
    `results/deltanet_hours.csv`, `results/deltanet_curve.csv`
        Tested hours and training curves.
    `results/timings/deltanet.json`
        Seconds and updates of each cell, ms per decision; they differ from run to run.
    """
    kept = {
        name(cell): [policy.saved for policy in cell.policies]  # type: ignore[attr-defined]
        for cell in cells
        if all(hasattr(policy, "saved") for policy in cell.policies)
    }
    torch.save(kept, paths.write(f"data/models/{STAGE}.pt"))
    records.write_csv(f"results/{STAGE}_hours.csv", hours)
    curve = pd.concat([c.curve for c in cells]).drop(columns="seconds")
    records.write_csv(f"results/{STAGE}_curve.csv", curve)
    timings = {name(cell): {"seconds": cell.seconds, "updates": cell.updates} for cell in cells}
    written = {"cells": timings, "decision_ms": dict(milliseconds)}
    records.write_json(f"results/timings/{STAGE}.json", written, digits=3)


def name(cell: Cell) -> str:
    """Name of a cell: its policy and every value of its setting."""
    return ", ".join([cell.policy, *(f"{k} {v}" for k, v in asdict(cell.setting).items())])
