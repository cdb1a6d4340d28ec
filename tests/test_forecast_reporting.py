"""Figures, tables and verdicts of the study of dispatch with forecasts."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY
from griddispatch.evaluation import forecast_comparison as comparison
from griddispatch.evaluation import forecast_dispatch as dispatch
from griddispatch.evaluation import forecast_experiments as experiments
from griddispatch.evaluation.controllers import case
from griddispatch.evaluation.forecast_experiments import NAIVE, Made, Sizes
from griddispatch.evaluation.statistics import Interval
from griddispatch.forecasting.tft import Look
from griddispatch.forecasting.windows import LEVELS, truth
from griddispatch.reporting import forecasting, forecasting_figures

CASE = "energy only"


pytestmark = pytest.mark.usefixtures("drawing_project")


@cache
def data() -> Profiles:
    lengths = {"train": 12, "validation": 3, "test": 2}
    return synthetic(2, lengths=lengths, first_day="2021-05-15")


@cache
def naive() -> Made:
    return experiments.fit(data(), NAIVE, Sizes(every=2, test_days=2))


@cache
def driven() -> list[dispatch.Driven]:
    steps = experiments.days_of(data(), "test", 2)
    jobs = dispatch.lineup([CASE], {CASE: 0.13}, {CASE: 0.4})
    jobs += dispatch.lineup([CASE], {CASE: 0.13}, {CASE: 0.4}, NAIVE)
    return dispatch.drive(data(), jobs, steps, naive())


@cache
def results() -> pd.DataFrame:
    return comparison.results(driven(), (f"{NAIVE}, P50", "No storage"), draws=20)


def scores(tft: float = 1.0, skill: float = 0.5, coverage: float = 0.9) -> pd.DataFrame:
    lines = [
        (name, series, "all", loss, 2 * loss, gain, 0.5, 1.0, coverage, 5.0)
        for series in ("mono-Si", "load")
        for name, loss, gain in (("TFT", tft, skill), ("Linear", 1.2, 0.4), (NAIVE, 2.0, 0.0))
    ]
    columns = ["forecaster", "series", "leads", "pinball", "crps", "skill"]
    columns += ["coverage 50", "width 50", "coverage 90", "width 90"]
    return pd.DataFrame(lines, columns=columns)


def claims(table: pd.DataFrame, gain: Interval, days: int = 62, ms: float = 5.0) -> dict[str, bool]:
    spent = dict.fromkeys(("full", "block x scenarios", "full x scenarios"), ms)
    gains = {"synthetic": {"p50": gain, "stochastic": gain}}
    made = forecasting.claims({"synthetic": table}, gains, {"synthetic": days}, spent)
    return {name: claim["holds"] for name, claim in made.items()}


def test_verdicts_follow_the_numbers() -> None:
    assert all(claims(scores(), Interval(4, 3, 5)).values())
    worse = claims(scores(tft=1.3, skill=0.3, coverage=0.8), Interval(4, -1, 9), ms=900.0)
    assert [name for name, holds in worse.items() if holds] == ["synthetic: load skill"]
    assert not claims(scores(), Interval(4, 3, 5), days=30)["synthetic: p50 cheaper"]
    little = claims(scores(), Interval(2, 1, 3))
    assert not little["synthetic: p50 cheaper"]
    assert little["synthetic: stochastic cheaper"]


def test_the_best_baseline_is_no_transformer() -> None:
    assert forecasting.best_baseline(scores(tft=0.1), "load") == "Linear"


def test_tables_hold_every_line(drawing_project) -> None:
    forecasting.write_scores(scores(), "synthetic")
    named = results().rename(columns=lambda c: c.replace("No storage", "Persistence, P50"))
    forecasting.write_costs(named, "synthetic")
    folder = drawing_project / "scratch/paper/tables"
    text = (folder / "tft_mpc_costs_synthetic.csv").read_text()
    assert len(text.splitlines()) == 1 + len(results())
    assert "Rules" in text
    assert len((folder / "tft_mpc_scores_synthetic.csv").read_text().splitlines()) == 7


def test_saved_forecasts_can_be_read_again(drawing_project) -> None:
    forecasting.save_forecasts([naive()], data())
    with np.load(drawing_project / "scratch/data/processed/forecasts_synthetic.npz") as file:
        share = file["Seasonal_naive"] / 65535
        quantiles = share * file["ceiling"][:, None, None]
        assert list(file["series"]) == list(data().names)
        assert file["start"][0] == data().dates["test"][0] + "T00:00"
    assert np.allclose(quantiles, naive().test.quantiles())


def test_the_line_of_a_data_set_counts_its_days() -> None:
    line = forecasting.data_line(data())
    assert (line["train days"], line["test days"], line["PV series"]) == (12, 2, 4)
    test = data().steps("test")
    assert line["load, kWh/day"] == pytest.approx(data().total("load")[test].sum() / 8)


def test_the_sum_of_pv_is_covered_by_bands_that_are_wide() -> None:
    issues = naive().test.issues[: DAY + 1 : 24]
    quantiles = naive().test.quantiles(issues)
    wide = quantiles.copy()
    wide[..., 0], wide[..., 1] = 0.0, 0.0
    wide[..., -1] = wide[..., -2] = data().ceiling[:, None]
    middle = np.repeat(quantiles[..., 3:4] + 500, 7, axis=-1)
    parts = {"wide": (naive().calibration, wide), "off": (naive().calibration, middle)}
    shares = forecasting.total_coverage(parts, data(), issues, 60)
    assert shares["wide"] > 0.9
    assert shares["off"] < 0.2


def test_all_is_handed_on(drawing_project) -> None:
    daily = comparison.daily_costs(driven())
    tests = pd.DataFrame({"series": ["load"], "p": [0.5]})
    made = {"claims": {"full ms": {"holds": True}, "synthetic: coverage": {"holds": False}}}
    forecasting.hand_on(results(), scores(), tests, daily, {"a": 1, **made}, {"b": 2.0})
    names = ("", "_scores", "_tests", "_days")
    assert all((drawing_project / f"scratch/results/tft_mpc{name}.csv").exists() for name in names)
    text = (drawing_project / "scratch/results/tft_mpc_summary.json").read_text()
    assert "full ms" not in text
    assert "coverage" in text
    assert "full ms" in (drawing_project / "scratch/results/timings/tft_mpc.json").read_text()
    kept = pd.read_csv(drawing_project / "scratch/results/tft_mpc_days.csv")
    assert kept["cost"].sum() == pytest.approx(sum(d.run.cost for d in driven()), rel=1e-4)


# Figures -------------------------------------------------------------------------------------


def test_fans_show_each_series_and_what_came() -> None:
    issue = int(naive().test.issues[0])
    fig = forecasting_figures.fans(naive().test.quantiles()[0], data(), issue, NAIVE)
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == list(data().names)
    came = truth(data(), np.array([issue]))[0]
    for ax, y in zip(shown, came, strict=True):
        drawn = {str(line.get_label()): line.get_ydata() for line in ax.get_lines()}
        assert np.array_equal(drawn["came"], y)
        assert len(ax.collections) == 2


def test_reliability_of_the_truth_in_the_middle_is_a_step() -> None:
    issues = naive().test.issues[: DAY + 1 : 8]
    came = truth(data(), issues)[..., None]
    forecasts = {"TFT": came + np.array([-3, -2, -1, 0, 1, 2, 3]) * 1e-3}
    fig = forecasting_figures.reliability(forecasts, data(), issues)
    line = next(x for x in fig.axes[1].get_lines() if x.get_label() == "TFT")
    assert list(line.get_ydata()) == [0, 0, 0, 1, 1, 1, 1]
    assert list(line.get_xdata()) == list(LEVELS)


def test_pit_of_the_truth_in_the_middle_is_one_bar() -> None:
    issues = naive().test.issues[: DAY + 1 : 8]
    came = truth(data(), issues)[..., None]
    forecasts = {"TFT": came + np.array([-3, -2, -1, 0.5, 1, 2, 3]) * 1e-3}
    fig = forecasting_figures.pit_histograms(forecasts, data(), issues)
    for ax in fig.axes:
        (steps,) = ax.patches
        values, edges, _ = steps.get_data()
        assert list(edges) == [0, *LEVELS, 1]
        assert values == pytest.approx([0, 0, 0, 4, 0, 0, 0, 0])


def test_attention_is_drawn_by_lead() -> None:
    variables = pd.DataFrame(
        {"group": ["past", "past", "ahead"], "variable": ["a", "b", "c"], "weight": [0.2, 0.8, 1]}
    )
    look = Look(variables, np.full((24, 48), 1 / 48))
    fig = forecasting_figures.attention({"pv": look, "load": look})
    assert [bar.get_width() for bar in fig.axes[0].patches] == pytest.approx([20, 80] * 2)
    assert len(fig.axes[2].get_lines()) == 5


def test_costs_leave_out_a_site_without_storage() -> None:
    fig = forecasting_figures.costs(results(), [CASE])
    names = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert "No storage" not in names
    assert "Rules" in names
    marks = [line.get_xdata()[0] for line in fig.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert marks == pytest.approx(results()[results()["controller"] != "No storage"]["above"])


def test_a_week_shows_what_was_served() -> None:
    price = pd.Series(case(CASE, data().index).tariff.buy, data().index)
    fig = forecasting_figures.week(driven()[0].run, price, days=1)
    grid = next(x for x in fig.axes[1].get_lines() if str(x.get_label()).startswith("grid"))
    assert np.array_equal(grid.get_ydata(), driven()[0].run.steps["grid"][:DAY])
    assert len(fig.axes) == 4


def test_skill_and_sensitivity_draw_a_mark_per_line() -> None:
    points = pd.DataFrame(
        {
            "data": "synthetic",
            "forecaster": ["TFT", "TFT", "Linear"],
            "way": ["P50", "stochastic", "P50"],
            "error": [1.0, 1.0, 2.0],
            "above": [5.0, 4.0, 6.0],
        }
    )
    fig = forecasting_figures.skill_and_value(points)
    assert [line.get_ydata()[0] for line in fig.axes[0].get_lines()] == [5, 4, 6]
    table = pd.DataFrame(
        {
            "what": ["horizon", "horizon", "interval"],
            "hours": [2.0, 24.0, 1.0],
            "controller": "x",
            "cost": [3.0, 2.0, 2.5],
        }
    )
    drawn = forecasting_figures.sensitivity(table)
    assert list(drawn.axes[0].get_lines()[0].get_ydata()) == [3, 2]
