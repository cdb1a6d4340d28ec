"""What the study of dispatch with forecasts hands on: forecasts, tables, claims with verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.data.profiles import Profiles
from griddispatch.evaluation import forecast_comparison as comparison
from griddispatch.evaluation.forecast_experiments import (
    NAIVE,
    TRANSFORMER,
    Made,
    Packed,
    Steps,
    copula_of,
)
from griddispatch.evaluation.forecasts import BANDS
from griddispatch.evaluation.statistics import Interval
from griddispatch.forecasting.windows import LEVELS, lit, truth
from griddispatch.optimization.mpc_plant import STEP_H
from griddispatch.pipeline import paths, records
from griddispatch.reporting.marks import mark
from griddispatch.reporting.tables import Column, write_table

STAGE = "tft_mpc"
P50 = "P50"
_INTERVAL = ("low", "high")


def data_line(data: Profiles) -> dict[str, Any]:
    """What a data set is, in one line of a table."""
    test = data.steps("test")
    days = {f"{split} days": len(dates) for split, dates in data.dates.items()}
    pv, load = (total[test].sum() * STEP_H for total in (data.total("pv"), data.total("load")))
    return {
        "data": data.name,
        **days,
        "PV series": len(data.of("pv")),
        "PV, kWp": float(data.capacity[data.of("pv")].sum()),
        "PV, kWh/day": float(pv) / days["test days"],
        "load, kWh/day": float(load) / days["test days"],
    }


def best_baseline(scores: pd.DataFrame, series: str) -> str:
    """The forecaster beside the transformer with the lowest pinball loss over all leads."""
    part = scores[scores["series"].eq(series) & scores["leads"].eq("all")]
    part = part[~part["forecaster"].str.startswith(TRANSFORMER)]
    return str(part["forecaster"].iloc[int(part["pinball"].to_numpy().argmin())])


def write_scores(scores: pd.DataFrame, data: str) -> None:
    """Write `forecasts.score_table` over all leads, one line per series and forecaster."""
    part = scores[scores["leads"].eq("all")].sort_values("series", kind="stable")
    write_table(
        part,
        f"{STAGE}_scores_{data}",
        f"Forecasts of the {data} data over all leads. Pinball loss, CRPS and width of the bands "
        "in % of the capacity; skill against the seasonal naive.",
        {
            "series": Column("Series"),
            "forecaster": Column("Forecaster"),
            "pinball": Column("Pinball", "%", digits=2),
            "crps": Column("CRPS", "%", digits=2),
            "skill": Column("Skill", digits=2),
            "coverage 50": Column("Coverage 50 %", "%", digits=1, scale=100),
            "coverage 90": Column("Coverage 90 %", "%", digits=1, scale=100),
            "width 90": Column("Width 90 %", "%", digits=1),
        },
    )


def write_costs(results: pd.DataFrame, data: str) -> None:
    """Write `forecast_comparison.results`, one line per case and controller."""
    shares = {
        f"captured {name}": Column(
            f"Captured, from {name}",
            "%",
            interval=(f"captured {name} low", f"captured {name} high"),
        )
        for name in (f"Persistence, {P50}", f"{NAIVE}, {P50}")
    }
    write_table(
        results,
        f"{STAGE}_costs_{data}",
        f"Controllers on the test days of the {data} data. Captured value is a dash where the gap "
        "to perfect foresight is below 2 % of the cost.",
        {
            "case": Column("Case"),
            "controller": Column("Controller"),
            "cost": Column("Cost", "EUR/day", interval=_INTERVAL),
            "above": Column(
                "Above perfect foresight", "%", interval=("above low", "above high"), digits=1
            ),
            **shares,
            "peak": Column("Peak", "kW", digits=0),
            "self-consumption": Column("Self-consumption", "%", digits=1, scale=100),
            "cycles": Column("Cycles", digits=1),
            "shifted": Column("Shifted", "kWh", digits=0),
            "cut": Column("Cut", "kWh", digits=0),
            "violation": Column("Largest violation", "kW", digits=1),
        },
    )


def claims(
    scores: Mapping[str, pd.DataFrame],
    gains: Mapping[str, Mapping[str, Interval]],
    days: Mapping[str, int],
    milliseconds: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Each reach of the study with what was measured, and whether it holds.

    Parameters
    ----------
    scores
        `forecasts.score_table` by data set.
    gains
        By data set, "p50": by how many % the transformer's medians are cheaper than the seasonal
        naive's; "stochastic": its scenarios than its medians.
    days
        Test days by data set.
    milliseconds
        Median time of one solution by shape of the program.
    """
    made: dict[str, dict[str, Any]] = {}
    for name, table in scores.items():
        whole = table[table["leads"].eq("all")]
        own = whole[whole["forecaster"].eq(TRANSFORMER)]
        load = own["series"].eq("load")
        for kind, part, reach in (("pv", own[~load], 0.45), ("load", own[load], 0.2)):
            least = float(part["skill"].min())
            made[f"{name}: {kind} skill"] = mark(least >= reach, value=least, reach=reach)
        low, high = float(own["coverage 90"].min()), float(own["coverage 90"].max())
        inside = low >= 0.86 and high <= 0.95
        made[f"{name}: coverage"] = mark(inside, low=low, high=high)
        wins = [_beats_all(whole, str(series)) for series in own["series"]]
        count = {"value": float(sum(wins)), "reach": float(len(wins))}
        made[f"{name}: wins every series"] = mark(all(wins), **count)
        for key, reach in (("p50", 3.0), ("stochastic", 1.0)):
            gain = gains[name][key]
            holds = (
                gain.value >= reach and gain.low > 0 and (days[name] >= 60 or name != "synthetic")
            )
            made[f"{name}: {key} cheaper"] = mark(holds, **gain._asdict(), reach=reach)
    for shape, reach in (("full", 30.0), ("block x scenarios", 30.0), ("full x scenarios", 200.0)):
        value = milliseconds[shape]
        made[f"{shape} ms"] = mark(value <= reach, value=value, reach=reach)
    return made


def _beats_all(scores: pd.DataFrame, series: str) -> bool:
    """Whether the transformer has the lowest pinball loss over all leads of a series."""
    loss = scores[scores["series"].eq(series)].set_index("forecaster")["pinball"]
    return bool(loss[TRANSFORMER] < loss[best_baseline(scores, series)])


def save_forecasts(made: Sequence[Made], data: Profiles) -> None:
    """Write the forecasts of every test step to `data/processed/forecasts_NAME.npz`.

    codes of each forecaster [I, N, 96, Q] in 16 bits, to be multiplied by ceiling / 65535; the
    issue steps; the names of the series; the start of each issue.
    """
    codes: dict[str, Any] = {m.forecaster.replace(" ", "_"): m.test.codes for m in made}
    first = made[0].test
    np.savez_compressed(
        paths.write(f"data/processed/forecasts_{data.name}.npz"),
        issues=first.issues,
        ceiling=first.ceiling,
        series=np.array(data.names),
        start=data.index[first.issues].strftime("%Y-%m-%dT%H:%M").to_numpy(dtype=str),
        **codes,
    )


def hand_on(
    results: pd.DataFrame,
    scores: pd.DataFrame,
    tests: pd.DataFrame,
    daily: pd.DataFrame,
    summary: Mapping[str, Any],
    timings: Mapping[str, Any],
) -> None:
    """Write the tables of the study, its summary, and measured times, which differ by run.

    The claims of the summary that are about times, "... ms", go to the times.
    """
    kept: dict[str, Any] = {}
    timed: dict[str, Any] = {}
    for name, claim in summary["claims"].items():
        (timed if name.endswith(" ms") else kept)[name] = claim
    records.write_csv(f"results/{STAGE}.csv", results)
    records.write_csv(f"results/{STAGE}_scores.csv", scores)
    records.write_csv(f"results/{STAGE}_tests.csv", tests)
    records.write_csv(f"results/{STAGE}_days.csv", daily)
    records.write_json(f"results/{STAGE}_summary.json", {**summary, "claims": kept}, digits=5)
    records.write_json(f"results/timings/{STAGE}.json", {**timings, "claims": timed}, digits=3)


def gains_of(daily: pd.DataFrame, case: str, draws: int) -> dict[str, Interval]:
    """The paired differences that the claims are about."""
    p50, stochastic = f"{TRANSFORMER}, {P50}", f"{TRANSFORMER}, stochastic"
    return {
        "p50": comparison.cheaper(daily, case, p50, f"{NAIVE}, {P50}", draws),
        "stochastic": comparison.cheaper(daily, case, stochastic, p50, draws),
    }


def total_coverage(
    parts: Mapping[str, tuple[Packed, NDArray[np.float64]]],
    data: Profiles,
    issues: Steps,
    paths_drawn: int,
) -> dict[str, float]:
    """Share of steps in which the summed PV lay in its 90 % band, by forecaster.

    Parameters
    ----------
    parts
        Forecasts that calibrate the copula, and quantiles [I, N, 96, Q] of the issues.
    data, issues
        What came; only steps count in which some array is lit.
    paths_drawn
        Paths behind each band.
    """
    pv = data.of("pv")
    came = truth(data, issues)[:, pv].sum(1)
    bright = lit(data, issues)[:, pv].any(1)
    low, high = (LEVELS.index(level) for level in BANDS["90"])
    shares = {}
    for name, (calibration, quantiles) in parts.items():
        made = copula_of(data, calibration, paths_drawn).total(quantiles)
        inside = (came >= made[..., low]) & (came <= made[..., high])
        shares[name] = float(inside[bright].mean())
    return shares
