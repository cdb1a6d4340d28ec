"""Scores of one-step predictions, and the panels and tables made of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from scipy.integrate import quad
from torch.distributions import Categorical, MixtureSameFamily, Normal

from griddispatch.errors import InputError
from griddispatch.evaluation.world_model import (
    ALL,
    coverage,
    crps,
    lead_crps,
    nll,
    pit,
    score_table,
    skill,
)
from griddispatch.forecasting.demand_models import PERIODS, Linear, Mixture, one_step
from griddispatch.learning.networks import Streams
from griddispatch.reporting import world_model as drawn
from griddispatch.reporting.tables import format_cells

ONES = np.ones(PERIODS)


def some_predictions(seed=0, seeds=2, days=3, parts=3):
    rng = np.random.default_rng(seed)
    shape = (seeds, days, PERIODS, parts)
    weight = rng.dirichlet(np.ones(parts), shape[:-1])
    mean, sd = 2 * rng.standard_normal(shape), 0.2 + rng.random(shape)
    return Mixture(*(torch.as_tensor(a) for a in (weight, mean, sd)))


def true_to(days=3_000, seed=0, factor=1.0):
    """Predictions N(m, factor) with what came drawn from N(m, 1)."""
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((1, days, PERIODS, 1))
    came = mean[0, ..., 0] + rng.standard_normal((days, PERIODS))
    both = (np.ones_like(mean), mean, np.full_like(mean, factor))
    return Mixture(*(torch.as_tensor(a) for a in both)), came


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_crps_is_the_integral_over_thresholds(seed):
    ahead = some_predictions(seed, 1, 1)
    came = np.random.default_rng(seed).uniform(-6, 6, (1, PERIODS))
    at = [a[0, 0, 4] for a in ahead]
    twin = MixtureSameFamily(Categorical(at[0]), Normal(at[1], at[2]))
    x = came[0, 4]

    def below(y):
        return float(twin.cdf(torch.tensor(y, dtype=torch.float64))) ** 2

    def above(y):
        return (1 - float(twin.cdf(torch.tensor(y, dtype=torch.float64)))) ** 2

    wanted = quad(below, -30, x, limit=200)[0] + quad(above, x, 30, limit=200)[0]
    assert crps(ahead, came)[0, 0, 4] == pytest.approx(wanted, abs=1e-6)


def test_crps_does_not_depend_on_how_days_are_taken_together():
    ahead, came = some_predictions(1, 2, 130), np.random.default_rng(0).normal(size=(130, PERIODS))
    whole = crps(ahead, came)
    single = crps(Mixture(*(a[:, 127:128] for a in ahead)), came[127:128])
    assert whole.shape == (2, 130, PERIODS)
    assert whole[:, 127:128] == pytest.approx(single, abs=1e-12)


def test_nll_and_pit_are_those_of_torch():
    ahead, came = some_predictions(), np.random.default_rng(1).normal(size=(3, PERIODS))
    twin = MixtureSameFamily(Categorical(ahead.weight), Normal(ahead.mean, ahead.sd))
    x = torch.as_tensor(came).expand(2, -1, -1)
    assert nll(ahead, came) == pytest.approx(-twin.log_prob(x).numpy())
    assert pit(ahead, came) == pytest.approx(twin.cdf(x).numpy())


def test_bands_hold_their_share_if_and_only_if_the_spread_is_true():
    for factor, low, high in ((1.0, 0.89, 0.91), (0.5, 0.0, 0.65), (2.0, 0.99, 1.0)):
        held = coverage(pit(*true_to(factor=factor)))["90"]
        assert low <= held <= high


def test_the_true_spread_has_the_best_scores():
    scores = {f: true_to(factor=f) for f in (0.7, 1.0, 1.4)}
    for score in (nll, crps):
        mean = {f: score(*both).mean() for f, both in scores.items()}
        assert min(mean, key=mean.get) == 1.0


def test_the_table_has_every_period_and_all_in_kw():
    ahead, came = true_to(400)
    kw = np.arange(1.0, 13.0)
    table = score_table({"AR(1)": ahead}, came, kw)
    assert list(table["period"]) == [*range(PERIODS), ALL]
    plain = crps(ahead, came)[0]
    by = table.set_index("period")
    assert by["crps"][3] == pytest.approx(4 * plain[:, 3].mean())
    assert by["crps"][ALL] == pytest.approx((kw * plain).mean())
    # The density per kW of twice the spread is half as large.
    assert by["nll"][1] - np.log(2) == pytest.approx(nll(ahead, came)[0, :, 1].mean())
    # Of a standard normal density: 2 x 1.645.
    assert by["width 90"][0] == pytest.approx(3.29, abs=0.01)
    assert by["coverage 90"][ALL] == pytest.approx(90, abs=1.5)


def test_skill_is_relative_paired_and_against_the_reference():
    came_of = {f: true_to(300, factor=f) for f in (1.0, 2.0)}
    good, poor = (crps(*came_of[f]) for f in (1.0, 2.0))
    gain = skill(good, poor, ONES)
    assert gain.value == pytest.approx(100 * (1 - good.mean() / poor.mean()))
    assert 0 < gain.low < gain.value < gain.high
    assert skill(poor, good, ONES).high < 0
    same = skill(good, good, ONES)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    two = skill(np.concatenate([good, poor]), poor, ONES)
    assert two.low < two.value < gain.value


def test_skill_weighs_the_periods_by_their_kw():
    first, second = np.ones((1, 5, PERIODS)), np.ones((1, 5, PERIODS))
    first[..., 0] = 0.5
    heavy = ONES.copy()
    heavy[0] = 11.0
    assert skill(first, second, ONES).value == pytest.approx(50 / 12)
    assert skill(first, second, heavy).value == pytest.approx(25)


def test_lead_crps_begins_with_the_exact_score():
    rng = np.random.default_rng(0)
    days = 10 + rng.standard_normal((800, PERIODS)).cumsum(1)
    model = Linear(days[:400])
    came = days[400:]
    leads = lead_crps(model, came, Streams([0], "test"), seen=3, draws=60)
    assert leads.shape == (1, 400, PERIODS - 3)
    exact = crps(one_step(model, came), came)[0, :, 3].mean()
    assert leads[0, :, 0].mean() == pytest.approx(exact, rel=0.03)
    # A random walk spreads out with the lead.
    assert leads[0, :, 8].mean() > 2 * leads[0, :, 0].mean()


def test_scores_of_what_does_not_fit_are_refused():
    ahead, came = some_predictions(), np.zeros((3, PERIODS))
    for score in (nll, crps, pit):
        with pytest.raises(InputError, match=r"shape \(2, 12\)"):
            score(ahead, came[:2])
        with pytest.raises(InputError, match="NaN or infinite"):
            score(ahead, came * np.nan)
    with pytest.raises(InputError, match="12 positive numbers of kW"):
        score_table({"AR(1)": ahead}, came, np.ones(3))
    with pytest.raises(InputError, match="12 positive numbers of kW"):
        skill(np.ones((1, 3, PERIODS)), np.ones((1, 3, PERIODS)), -ONES)
    with pytest.raises(InputError, match="compare the same days"):
        skill(np.ones((1, 3, PERIODS)), np.ones((1, 4, PERIODS)), ONES)
    model = Linear(np.random.default_rng(0).normal(size=(30, PERIODS)))
    for wrong in ({"seen": 12}, {"seen": -1}, {"draws": 1}):
        with pytest.raises(InputError, match="draws 2 or more"):
            lead_crps(model, came, Streams([0]), **wrong)


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_calibration_draws_the_distance_from_the_diagonal(ax):
    levels = np.linspace(0.0005, 0.9995, 1_000)
    drawn.calibration(ax, {"VRNN": levels, "AR(1)": levels**2})
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert np.abs(lines["VRNN"]).max() < 0.1
    # Of squares, sqrt(level) lie below a level: 25 points more at a quarter.
    assert lines["AR(1)"][5] == pytest.approx(25, abs=0.2)
    for wrong in (np.array([]), np.array([0.5, 1.2]), np.array([np.nan])):
        with pytest.raises(InputError, match="PIT values of VRNN"):
            drawn.calibration(ax, {"VRNN": wrong})


def test_a_histogram_has_density_one_where_calibrated(ax):
    drawn.pit_histogram(ax, np.linspace(0.001, 0.999, 1_000), "VRNN", bins=10)
    assert [p.get_height() for p in ax.patches] == pytest.approx([1.0] * 10, abs=0.02)


def test_the_band_of_a_day_holds_its_quantiles_in_kw(ax):
    ahead, came = true_to(1)
    day = Mixture(*(a[0, 0] for a in ahead))
    base = np.full(PERIODS, 20.0)
    drawn.day_band(ax, day, came[0], 2 * ONES, base, "VRNN")
    median, line = ax.get_lines()
    assert median.get_ydata() == pytest.approx(20 + 2 * day.centre.numpy())
    assert line.get_ydata() == pytest.approx(20 + 2 * came[0])
    wide = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert wide.max() == pytest.approx(20 + 2 * (float(day.centre.max()) + 1.645), abs=0.01)
    with pytest.raises(InputError, match="a day's band"):
        drawn.day_band(ax, ahead, came[0], ONES, base, "VRNN")


def test_skill_by_period_is_drawn_against_the_reference(ax):
    scores = pd.DataFrame(
        {
            "model": ["AR(1)"] * 13 + ["VRNN"] * 13,
            "period": [*range(PERIODS), ALL] * 2,
            "crps": [2.0] * 13 + [1.5] * 12 + [9.0],
        }
    )
    drawn.skill_by_period(ax, scores, "AR(1)")
    assert ax.get_lines()[1].get_ydata() == pytest.approx([25.0] * PERIODS)
    assert ax.get_lines()[1].get_label() == "VRNN"
    with pytest.raises(InputError, match="no model 'GRU'"):
        drawn.skill_by_period(ax, scores, "GRU")


def test_the_table_of_scores_prints_a_line_per_model():
    good, came = true_to(200)
    poor, _ = true_to(200, factor=2.0)
    scores = score_table({"AR(1)": poor, "VRNN": good}, came, ONES)
    gain = skill(crps(good, came), crps(poor, came), ONES)
    lines = drawn.score_lines(scores, {"VRNN": gain}, ["VRNN", "AR(1)"])
    cells = format_cells(lines, drawn.SCORE_COLUMNS)
    assert list(cells["model"]) == ["VRNN", "AR(1)"]
    assert cells["skill"][0].startswith(f"{gain.value:.1f} [")
    assert cells["skill"][1] == "—"
    with pytest.raises(InputError, match="no scores of 'GRU'"):
        drawn.score_lines(scores, {}, ["GRU"])
