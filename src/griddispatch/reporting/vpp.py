"""What the study of the virtual power plant hands on: tables, verdicts, trained policies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from griddispatch.data.vpp_demand import BASE_KW, PERIODS, SHIFTS
from griddispatch.envs.vpp import COSTS, VirtualPowerPlant
from griddispatch.evaluation.paired import block
from griddispatch.evaluation.statistics import Float, Interval
from griddispatch.evaluation.vpp_comparison import keys, rows
from griddispatch.evaluation.vpp_experiments import Cell, Watched
from griddispatch.forecasting.demand_models import DemandModel
from griddispatch.pipeline import paths, records
from griddispatch.reporting.marks import mark
from griddispatch.reporting.tables import Column, write_table

STAGE = "dromarl"
EXPLOITABILITY, GAP, PREMIUM = 0.003, 10.0, 3.0  # per period; % of the bound; % of the mean
BALANCED, BALANCED_SHIFTED = 99.0, 95.0  # % of periods
TAIL_CUT, CRPS_GAIN = 10.0, 5.0  # %
PARTS = ("world model", "robust critic", "inertia", "uncertainty")
_K = 1e-3  # currency to thousands


def schedule(env: VirtualPowerPlant, played: Watched, day: int) -> pd.DataFrame:
    """One day, a row per period: price, loads in kW, change of load in %, units, balance, cost."""
    base = BASE_KW
    on = played.on[day] > 0.5
    return pd.DataFrame(
        {
            "period": range(1, PERIODS + 1),
            "p_high": np.asarray(env.p_high.double().cpu().numpy()),
            "base_kw": base,
            "demand_kw": played.demand_kw[day],
            "change": 100 * (played.adjustment[day] + env.response.double().cpu().numpy()),
            "units": [" ".join(str(n + 1) for n in np.flatnonzero(row)) for row in on],
            "output_kw": played.output_kw[day].sum(-1),
            "reserve_kw": played.reserve_kw[day],
            "imbalance_kw": played.imbalance_kw[day],
            "cost": played.costs[day].sum(-1),
        }
    )


_SCHEDULE = {
    "period": Column("Period", digits=0),
    "p_high": Column("P(high price)", digits=2),
    "base_kw": Column("Base", "kW", digits=0),
    "demand_kw": Column("Demand", "kW", digits=1),
    "change": Column("Change", "%", digits=1),
    "units": Column("Units on"),
    "output_kw": Column("Units", "kW", digits=1),
    "reserve_kw": Column("Reserve", "kW", digits=1),
    "imbalance_kw": Column("Imbalance", "kW", digits=1),
    "cost": Column("Cost", digits=0),
}


def _wide(results: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """A line per policy; `name`, `name low`, `name high` for each name: (shift, metric)."""
    lines = results[["policy"]].drop_duplicates().reset_index(drop=True)
    for name, (shift, metric) in columns.items():
        own = results[results["shift"].eq(shift) & results["metric"].eq(metric)]
        named = {"mean": name, "low": f"{name} low", "high": f"{name} high"}
        own = own[["policy", *named]].rename(columns=named)
        lines = lines.merge(own, on="policy", how="left")
    return lines


def _shown(title: str, unit: str, name: str, scale: float = 1.0, **more: Any) -> Column:
    return Column(title, unit, interval=(f"{name} low", f"{name} high"), scale=scale, **more)


def write_tables(
    results: pd.DataFrame, differences: pd.DataFrame, day: pd.DataFrame, days: int
) -> None:
    """Write `paper/tables/dromarl_{schedule,totals,ablation,robustness}`.

    Parameters
    ----------
    results
        `vpp_comparison.results` of all policies.
    differences
        `vpp_comparison.difference`, a row each; those with DROMARL as the first are the ablation.
    day
        `schedule` of one day.
    days
        Number of test days, for the captions.
    """
    told = f"{days} test days, mean and 95 % interval over seeds and days"
    write_table(day, f"{STAGE}_schedule", "DROMARL on the first test day.", _SCHEDULE)

    cost = {"mean": ("nominal", "mean"), "cvar10": ("nominal", "cvar10")}
    others = [*COSTS, "starts_number", "ramp_kw", "comfort_periods", "shortage_kwh"]
    others += ["balanced", "violations", "reward", "clipped"]
    metric = {"starts_number": "starts_day", "comfort_periods": "comfort_day"}
    cost |= {name: ("nominal", metric.get(name, name)) for name in others}
    columns = {"policy": Column("Policy")}
    columns["mean"] = _shown("Cost", "1000/day", "mean", _K)
    columns["cvar10"] = _shown("CVaR10", "1000/day", "cvar10", _K)
    columns |= {n: Column(n.replace("_", "-"), "1000", digits=2, scale=_K) for n in COSTS}
    columns |= {
        "starts_number": Column("Starts", "per day", digits=1),
        "ramp_kw": Column("Ramp", "kW", digits=2),
        "comfort_periods": Column("Beyond comfort", "periods/day", digits=2),
        "shortage_kwh": Column("Unserved", "kWh/day", digits=2),
        "balanced": _shown("Balanced", "%", "balanced"),
        "violations": Column("Violations", "per day", digits=0),
        "reward": _shown("Reward", "", "reward"),
        "clipped": Column("Clipped", "%", digits=2),
    }
    write_table(_wide(results, cost), f"{STAGE}_totals", f"Nominal days: {told}.", columns)
    _write_ablation(results, differences, told)
    _write_robustness(results, told)


def _write_ablation(results: pd.DataFrame, differences: pd.DataFrame, told: str) -> None:
    lines = _wide(
        results,
        {
            "nominal": ("nominal", "mean"),
            "shifted": ("combined", "cvar10"),
            "balanced": ("combined", "balanced"),
        },
    )
    for name, (shift, metric) in {
        "saves": ("nominal", "mean"),
        "guards": ("combined", "cvar10"),
    }.items():
        own = differences[
            differences["first"].eq("DROMARL")
            & differences["shift"].eq(shift)
            & differences["metric"].eq(metric)
        ]
        named = {"second": "policy", "value": name, "low": f"{name} low", "high": f"{name} high"}
        lines = lines.merge(own[list(named)].rename(columns=named), on="policy", how="left")
    lines = lines[lines["saves"].notna() | lines["policy"].eq("DROMARL")]
    columns = {
        "policy": Column("Policy"),
        "nominal": _shown("Nominal mean", "1000/day", "nominal", _K),
        "shifted": _shown("Combined CVaR10", "1000/day", "shifted", _K),
        "balanced": _shown("Combined balanced", "%", "balanced"),
        "saves": _shown("DROMARL's mean below", "%", "saves"),
        "guards": _shown("DROMARL's CVaR10 below", "%", "guards"),
    }
    caption = f"What each part does, and other learners and rules: {told}; differences are paired."
    write_table(lines, f"{STAGE}_ablation", caption, columns)


def _write_robustness(results: pd.DataFrame, told: str) -> None:
    wanted = {
        f"{metric} {shift}": (shift, metric) for metric in ("mean", "cvar10") for shift in SHIFTS
    }
    wanted |= {"balanced nominal": ("nominal", "balanced")}
    wanted |= {"balanced combined": ("combined", "balanced")}
    wanted |= {f"slope {f}": (f"slope of {f}", "cvar10") for f in ("sigma", "mean")}
    title = {"mean": "Mean", "cvar10": "CVaR10", "balanced": "Balanced", "slope": "CVaR10 per"}
    unit = {"mean": "1000", "cvar10": "1000", "balanced": "%", "slope": "1000"}
    columns = {"policy": Column("Policy")}
    for name in wanted:
        kind, _, what = name.partition(" ")
        scale = 1.0 if kind == "balanced" else _K
        what = {"sigma": "sigma +100 %", "mean": "mean +10 %"}.get(what, what)
        columns[name] = _shown(f"{title[kind]}, {what}", unit[kind], name, scale)
    caption = f"Cost per day under shifts of the demand: {told}."
    write_table(_wide(results, wanted), f"{STAGE}_robustness", caption, columns)


def claims(gains: Mapping[str, Interval], facts: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Each aim of the project and claim of the source: what was measured, and whether it holds.

    Parameters
    ----------
    gains
        Intervals in %. "gap": nominal mean of DROMARL above perfect foresight. "tail": its CVaR10
        under the combined shift below that of itself without the robust critic, "premium": its
        nominal mean above that one's. "margin", "maddpg": CVaR10 under the combined shift below the
        margin rule's, and MADDPG's. "literal": the same of the GP-literal below no robust critic.
        "crps": CRPS of the VRNN below AR(1)'s. "inertia_known": correlation of kappa_hat with
        kappa. "part NAME" for each of `PARTS`: CVaR10 under the combined shift below that without.
    facts
        "exploitability": per period, of the worst seed; "balanced", "balanced_shifted",
        "balanced_swings": % of periods on nominal days, under the combined shift, and where the
        demand lies 20 to 40 % off the base; "violations"; "beaten": days cheaper than the bound.
    """
    gap, tail, premium = gains["gap"], gains["tail"], gains["premium"]
    made = {
        "near_equilibrium": mark(
            facts["exploitability"] <= EXPLOITABILITY,
            value=facts["exploitability"],
            reach=EXPLOITABILITY,
        ),
        "near_bound": mark(gap.value <= GAP, **gap._asdict(), reach=GAP),
        "balanced": mark(facts["balanced"] >= BALANCED, value=facts["balanced"], reach=BALANCED),
        "balanced_shifted": mark(
            facts["balanced_shifted"] >= BALANCED_SHIFTED,
            value=facts["balanced_shifted"],
            reach=BALANCED_SHIFTED,
        ),
        "robust_tail": mark(
            tail.value >= TAIL_CUT and tail.low > 0 and premium.value <= PREMIUM,
            **tail._asdict(),
            reach=TAIL_CUT,
            premium=premium.value,
        ),
        "world_model": mark(
            gains["crps"].value >= CRPS_GAIN, **gains["crps"]._asdict(), reach=CRPS_GAIN
        ),
        "beats_margin_rule": _positive(gains["margin"]),
        "beats_maddpg": _positive(gains["maddpg"]),
        "literal_helps": _positive(gains["literal"]),
        "inertia_known": _positive(gains["inertia_known"]),
        "balanced_swings": mark(
            facts["balanced_swings"] >= BALANCED_SHIFTED,
            value=facts["balanced_swings"],
            reach=BALANCED_SHIFTED,
        ),
        "no_violations": mark(facts["violations"] == 0, value=facts["violations"]),
        "bound_holds": mark(facts["beaten"] == 0, value=facts["beaten"]),
    }
    parts = {f"part_{p.replace(' ', '_')}": _positive(gains[f"part {p}"]) for p in PARTS}
    return made | parts


def _positive(gain: Interval) -> dict[str, Any]:
    return mark(gain.low > 0, **gain._asdict())


def balanced_swings(played: Sequence[Watched], low: float = 0.2, high: float = 0.4) -> float:
    """Share in % of periods within 1 kW, where the demand lies low .. high off the base load."""
    inside = []
    for one in played:
        off = np.abs(one.demand_kw / BASE_KW - 1)
        inside.append(np.abs(one.imbalance_kw)[(off >= low) & (off <= high)])
    return float(100 * (np.concatenate(inside) <= 1).mean())


def settings(cell: Cell) -> dict[str, Any]:
    """Settings of a training for a JSON file."""
    return asdict(cell.config)


def hand_on(
    cells: Sequence[Cell],
    table: pd.DataFrame,
    world: DemandModel,
    p_high: Float,
    seconds: Mapping[str, Any],
) -> None:
    """Write what later readers need of the trainings and the tested days.

    `data/models/dromarl.pt`
        The trained policies of every cell as their `saved`, the weights of the world model, p_high,
        and the cost of every policy on every test day under each shift, [seeds, days].
    `results/dromarl_curve.csv`
        Training curves.
    `results/timings/dromarl.json`
        Seconds and updates of each cell, and other times; they differ from run to run.
    """
    kept = {cell.policy: [one.saved for one in cell.policies] for cell in cells}
    costs = {
        f"{policy}; {shift}": torch.as_tensor(block(rows(table, (policy, shift)), "cost"))
        for policy, shift in keys(table)
    }
    weights = world.state_dict() if isinstance(world, torch.nn.Module) else {}
    content = {"policies": kept, "costs": costs, "world": weights, "p_high": torch.tensor(p_high)}
    torch.save(content, paths.write(f"data/models/{STAGE}.pt"))
    curve = pd.concat([cell.curve.drop(columns="seconds") for cell in cells], ignore_index=True)
    records.write_csv(f"results/{STAGE}_curve.csv", curve)
    timed = {c.policy: {"seconds": c.seconds, "updates": c.updates} for c in cells}
    records.write_json(f"results/timings/{STAGE}.json", {"cells": timed, **seconds}, digits=3)
