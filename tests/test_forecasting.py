"""What forecasters may know, the form of their answers, scenarios, and the scores."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest, norm
from statsmodels.regression.quantile_regression import QuantReg

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY, RUN
from griddispatch.errors import InputError
from griddispatch.evaluation.forecasts import (
    crps,
    diebold_mariano,
    issue_losses,
    pinball,
    pit,
    score_table,
)
from griddispatch.forecasting.naive import last_season, persistence, seasonal_naive
from griddispatch.forecasting.regression import Boosted, Linear, quantile_line
from griddispatch.forecasting.scenarios import Copula, reduced, robust, values_at
from griddispatch.forecasting.windows import (
    LEVELS,
    MEDIAN,
    Forecaster,
    Windows,
    lit,
    truth,
)

FITS: dict[str, Callable[[Profiles], Forecaster]] = {
    "persistence": persistence,
    "seasonal naive": seasonal_naive,
    "linear": lambda data: Linear.fit(data, rows=800),
    "boosted": lambda data: Boosted.fit(data, rows=2_000, trees=20),
}


@pytest.fixture(scope="module")
def data() -> Profiles:
    return synthetic(1, lengths={"train": 24, "validation": 4, "test": 3}, first_day="2021-05-03")


@pytest.fixture(scope="module")
def fitted(data: Profiles) -> dict[str, Forecaster]:
    return {name: fit(data) for name, fit in FITS.items()}


@pytest.mark.parametrize("name", FITS)
def test_the_future_cannot_change_a_forecast(
    name: str, data: Profiles, fitted: dict[str, Forecaster]
) -> None:
    random = np.random.default_rng(0)
    issues = data.issues("test", 37)
    before = fitted[name].forecast(data, issues)
    for k, issue in enumerate(issues):
        power, values = data.power.copy(), data.runs.values.copy()
        power[issue:] = random.permutation(power[issue:])
        values[issue // RUN + 1 :] += 100.0  # runs that are made later
        other = replace(data.with_power(power), runs=replace(data.runs, values=values))
        assert np.array_equal(fitted[name].forecast(other, issues[k : k + 1])[0], before[k])


@pytest.mark.parametrize("name", FITS)
def test_the_past_does_change_a_forecast(
    name: str, data: Profiles, fitted: dict[str, Forecaster]
) -> None:
    issue = data.issues("test")[40:41]
    power = data.power.copy()
    power[: issue[0]] *= 0.5
    changed = fitted[name].forecast(data.with_power(power), issue)
    assert np.abs(changed - fitted[name].forecast(data, issue)).max() > 1


@pytest.mark.parametrize("name", FITS)
def test_training_looks_at_training_days_alone(name: str, data: Profiles) -> None:
    power = data.power.copy()
    power[data.steps("validation")[0] :] += 50.0
    issue = data.issues("train")[-1:]
    first, second = (FITS[name](d).forecast(data, issue) for d in (data, data.with_power(power)))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", FITS)
def test_quantiles_never_cross_and_pv_sleeps_at_night(
    name: str, data: Profiles, fitted: dict[str, Forecaster]
) -> None:
    issues = data.issues("validation", 11)
    quantiles = fitted[name].forecast(data, issues)
    assert quantiles.shape == (len(issues), 5, DAY, len(LEVELS))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles >= 0).all()
    assert (quantiles <= data.ceiling[:, None, None]).all()
    assert (quantiles[~lit(data, issues)] == 0).all()
    assert fitted[name].forecast(data, issues[:0]).shape == (0, 5, DAY, len(LEVELS))


def test_regressions_beat_the_seasonal_naive_and_cover_roughly_what_they_say(
    data: Profiles, fitted: dict[str, Forecaster]
) -> None:
    issues = data.issues("validation", 5)
    made = {name: f.forecast(data, issues) for name, f in fitted.items()}
    table = score_table(made, data, issues, "seasonal naive")
    table = table[(table["leads"] == "all") & (table["series"] != "load")]
    skill = table.groupby("forecaster")["skill"].mean()
    assert skill["linear"] > 0.1
    assert skill["boosted"] > 0.1
    assert skill["seasonal naive"] == 0
    assert table[table["forecaster"] == "linear"]["coverage 90"].between(0.6, 1).all()
    assert (table["width 90"] > table["width 50"]).all()


def test_windows_hold_the_lags_they_name(data: Profiles) -> None:
    issues = np.array([700, 1001])
    windows = Windows.of(data, issues)
    share = data.power / data.capacity
    assert np.array_equal(windows.past[1], share[1001 - DAY : 1001])
    assert np.array_equal(windows.day_before[0], share[700 - DAY : 700])
    assert np.array_equal(windows.week_before[0], share[700 - 7 * DAY : 700 - 6 * DAY])
    assert windows.hour[1, 3] == data.index[1004].hour + data.index[1004].minute / 60
    assert np.array_equal(truth(data, issues)[1, 4], data.power[1001 : 1001 + DAY, 4])
    for wrong in (np.array([671]), np.array([len(data.index) - DAY + 1])):
        with pytest.raises(InputError, match="issue steps"):
            Windows.of(data, wrong)


def test_the_seasonal_naive_is_yesterdays_sun_and_last_weeks_load(data: Profiles) -> None:
    issues = data.issues("validation", 50)
    point = last_season(Windows.of(data, issues), data)
    at = issues[:, None] + np.arange(DAY)
    assert np.allclose(point[:, 0] * 50, data.power[at - DAY, 0])
    assert np.allclose(point[:, 4] * 150, data.power[at - 7 * DAY, 4])


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
def test_the_smoothed_regression_agrees_with_the_exact_one(level: float) -> None:
    random = np.random.default_rng(3)
    x = np.column_stack([np.ones(800), random.uniform(0, 1, (800, 2)), np.zeros(800)])
    y = x @ [0.3, 1.0, -0.5, 0.0] + x[:, 1] * random.standard_normal(800)
    ours = quantile_line(x, y, level)
    exact = QuantReg(y, x[:, :3]).fit(level).params
    loss = [pinball((x[:, :3] @ b)[:, None], y, [level]).mean() for b in (ours[:3], exact)]
    assert loss[0] == pytest.approx(loss[1], rel=2e-3)
    assert np.mean(y < x @ ours) == pytest.approx(level, abs=0.02)


def test_too_few_training_targets_are_an_error() -> None:
    small = synthetic(0, lengths={"train": 9, "validation": 1, "test": 1})
    with pytest.raises(InputError, match="needs 200 or more"):
        Linear.fit(small)


# Scores --------------------------------------------------------------------------------------


@given(value=st.floats(-50, 50), level=st.sampled_from(LEVELS))
def test_the_pinball_loss_is_least_at_the_quantile(value: float, level: float) -> None:
    sample = np.random.default_rng(0).standard_normal(4001) * 10
    best = np.quantile(sample, level)
    losses = [pinball(np.full((len(sample), 1), q), sample, [level]).mean() for q in (best, value)]
    assert losses[0] <= losses[1] + 1e-9
    assert losses[0] >= 0


def test_crps_of_many_quantiles_is_the_normals_closed_form() -> None:
    levels = np.arange(1, 400) / 400
    came = np.array([-1.5, 0.0, 0.7])
    quantiles = np.tile(ndtri(levels), (3, 1))
    closed = came * (2 * norm.cdf(came) - 1) + 2 * norm.pdf(came) - 1 / np.sqrt(np.pi)
    assert crps(quantiles, came, levels) == pytest.approx(closed, abs=2e-3)


def test_pit_of_a_true_forecast_is_uniform_and_of_a_wrong_one_is_not() -> None:
    levels = np.arange(1, 100) / 100
    came = np.random.default_rng(0).standard_normal(2000)
    right, narrow = (np.tile(s * ndtri(levels), (2000, 1)) for s in (1.0, 0.6))
    assert kstest(pit(right, came, levels), "uniform").pvalue > 0.01
    assert kstest(pit(narrow, came, levels), "uniform").pvalue < 1e-6
    assert pit(np.array([[1.0, 2.0, 3.0]]), np.array([2.5]), [0.25, 0.5, 0.75]) == 0.625
    assert pit(np.array([[1.0, 2.0, 3.0]]), np.array([9.0]), [0.25, 0.5, 0.75]) == 0.875


def test_the_table_counts_coverage_in_the_light_alone(data: Profiles) -> None:
    issues = data.issues("validation", 17)
    came = truth(data, issues)
    offset = np.array([-3, -2, -1, 0, 1, 2, 3.0])
    around = came[..., None] + offset
    above = came[..., None] + offset + 10
    table = score_table({"a": around, "b": above}, data, issues, "b")
    table = table.set_index(["forecaster", "series", "leads"]).sort_index()
    whole = table.loc[("a", "CdTe", "all")]
    assert whole["coverage 90"] == whole["coverage 50"] == 1
    assert whole["width 90"] == pytest.approx(100 * 6 / 50)
    assert table.loc[("b", "CdTe", "all"), "coverage 90"] == 0
    q = np.array(LEVELS)
    loss = np.maximum(-q * offset, (1 - q) * offset).mean()
    assert whole["pinball"] == pytest.approx(2 * loss)
    spoiled = around.copy()
    spoiled[~lit(data, issues)] = 1e6
    again = score_table({"a": spoiled}, data, issues, "a").set_index(["series", "leads"])
    assert again.loc[("CdTe", "all"), "pinball"] == pytest.approx(whole["pinball"])
    assert np.nanmean(issue_losses(around, data, issues, 4)) == pytest.approx(loss)
    with pytest.raises(InputError, match="no forecaster"):
        score_table({"a": around}, data, issues, "z")


def test_diebold_mariano_without_lags_is_the_paired_test() -> None:
    random = np.random.default_rng(0)
    first, second = random.uniform(0, 1, (2, 300))
    d = first - second
    found = diebold_mariano(first, second, 0)
    assert found.difference == pytest.approx(d.mean())
    assert found.statistic == pytest.approx(d.mean() / d.std() * np.sqrt(300))
    better = diebold_mariano(first - 0.2, second, 5)
    assert better.statistic < -5
    assert better.p < 1e-6


def test_diebold_mariano_allows_for_correlated_losses() -> None:
    random = np.random.default_rng(1)
    slow = np.repeat(random.standard_normal(40), 10)
    lags = [diebold_mariano(slow + 0.2, 0 * slow, k).statistic for k in (0, 12)]
    assert abs(lags[1]) < 0.6 * abs(lags[0])
    for bad, message in (((slow, slow), "do not differ"), ((slow, slow[:3]), "shapes")):
        with pytest.raises(InputError, match=message):
            diebold_mariano(*bad, 2)
    with pytest.raises(InputError, match="too few"):
        diebold_mariano(slow[:5], 0 * slow[:5], 4)


def test_scores_of_other_shapes_are_an_error() -> None:
    with pytest.raises(InputError, match="quantiles have shape"):
        pinball(np.zeros((3, 2)), np.zeros(3))


# Scenarios -----------------------------------------------------------------------------------


def test_values_between_levels_are_interpolated_and_tails_go_on() -> None:
    quantiles = np.tile(np.array([5.0, 10, 25, 50, 75, 90, 95]), (1, 1, 1))
    for level in (*LEVELS, 0.07, 0.6):
        assert values_at(quantiles, np.full((1, 1, 1), level)).item() == pytest.approx(100 * level)
    assert values_at(quantiles, np.ones((1, 1, 1))).item() == pytest.approx(100)
    assert values_at(quantiles, np.zeros((1, 1, 1))).item() == 0


def test_the_copula_keeps_marginals_and_correlation(data: Profiles) -> None:
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((400, 1, 1)), random.standard_normal((400, 5, DAY))
    levels = norm.cdf(0.8 * shared + 0.6 * own)  # correlation .64 between all columns
    copula = Copula.fit(levels, np.ones(levels.shape, np.bool_), data, paths=3000)
    z = ndtri(copula.levels[:, :, ::24].reshape(3000, -1))
    off = np.corrcoef(z.T)[np.triu_indices(z.shape[1], 1)]
    assert off.mean() == pytest.approx(0.64, abs=0.06)
    quantiles = (
        np.tile(100 + 10 * ndtri(LEVELS), (5, DAY, 1)) * np.array([0.2] * 4 + [1])[:, None, None]
    )
    drawn = copula.draw(quantiles)
    assert np.quantile(drawn[:, 2, 30], LEVELS) == pytest.approx(quantiles[2, 30], abs=0.3)
    total = copula.total(quantiles[None])[0]
    assert total[:, MEDIAN] == pytest.approx(80, abs=1)
    apart = np.sqrt(4) * 2 * ndtri(0.9)  # spread of the sum if the arrays were independent
    assert (total[:, LEVELS.index(0.9)] - 80 > 1.3 * apart).all()


def test_scenarios_are_paths_with_weights_and_more_of_them_fit_better(data: Profiles) -> None:
    random = np.random.default_rng(0)
    pv, load = random.uniform(0, 100, (2, 60, DAY)).cumsum(2) / 10
    paths = reduced(pv, load, 8)
    assert paths.weight.sum() == pytest.approx(1)
    assert (paths.weight > 0).all()
    for a, b in zip(paths.pv, paths.load):
        assert ((pv == a).all(1) & (load == b).all(1)).sum() == 1

    def misfit(kept: int) -> float:
        found = reduced(pv, load, kept)
        both = np.concatenate([pv, load], 1)[:, None] - np.concatenate([found.pv, found.load], 1)
        return float(np.linalg.norm(both, axis=2).min(1).mean())

    assert misfit(1) > misfit(4) > misfit(16) > misfit(60) == 0
    with pytest.raises(InputError, match="cannot be kept"):
        reduced(pv, load, 61)
    with pytest.raises(InputError, match="no copula"):
        Copula.fit(np.full((3, 5, DAY), 0.5), np.ones((3, 5, DAY), np.bool_), data)


def test_the_robust_path_has_little_sun_and_much_load() -> None:
    quantiles = np.tile(np.arange(7.0), (3, DAY, 1))
    path = robust(quantiles, np.array([True, True, False]))
    assert (path.pv == 2).all()
    assert (path.load == 5).all()
