"""Data augmentation: what is drawn, how it hangs together, and the test that compares days."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feeders import made_up_days, small_feeder
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.mixture import GaussianMixture
from statsmodels.distributions.copula.api import GaussianCopula, StudentTCopula

from griddispatch.data import copula as copulas
from griddispatch.data.augmentation import FEWEST_DAYS, Model, fit
from griddispatch.data.copula import Copula, Regularised, degrees_of_freedom, normal_scores
from griddispatch.data.marginals import Marginals
from griddispatch.data.series import Days
from griddispatch.errors import InputError
from griddispatch.evaluation import generated_days as judged

FIELDS = ("load", "pv", "reactive", "price", "price_before")


def measured(count: int = 40, nodes: int = 3, seed: int = 0) -> Days:
    """Hourly days: loads with common weather and a course of their own, PV, hourly prices."""
    random = np.random.default_rng(seed)
    hour = np.arange(24)
    weather = random.normal(size=(count, 1, 1))
    drift = np.cumsum(random.normal(size=(count, 24, nodes)), axis=1) / 5
    load = 50 + 10 * weather + 5 * drift
    load[:, :, 0] -= 60  # this node feeds in at times
    sun = np.maximum(0, np.sin((hour - 6) * np.pi / 12)) * random.uniform(0.1, 1, (count, 1))
    sun[: count // 2, 7] = 0
    prices = 40 + np.cumsum(random.normal(size=(count, 48)), axis=1)
    return Days(
        dates=tuple(f"day {d}" for d in range(count)),
        nodes=tuple(range(1, nodes + 1)),
        load=load,
        pv=sun[:, :, None] * np.arange(nodes),
        reactive=0.3 * load,
        price=prices[:, 24:],
        step_hours=1.0,
        price_before=prices[:, :24],
    )


@cache
def fitted(kind: Any = "gaussian") -> Model:
    return fit(measured()) if kind == "gaussian" else fitted().with_copula(kind)


def same(one: Days, other: Days) -> bool:
    return all(np.array_equal(getattr(one, f), getattr(other, f)) for f in FIELDS)


# -- complete days ------------------------------------------------------------------------------


def test_a_generated_day_is_a_complete_input() -> None:
    days = fitted().sample(30, seed=1)
    assert days.dates[:2] == ("generated 0001", "generated 0002")
    assert days.load.shape == (30, 24, 3)
    assert days.price_before is not None
    assert days.price_before.shape == (30, 24)
    assert all(np.isfinite(getattr(days, field)).all() for field in FIELDS)


@pytest.mark.parametrize("kind", ["gaussian", "student", "none"])
def test_one_seed_gives_the_same_days_and_another_seed_others(kind: Any) -> None:
    model = fitted(kind)
    assert same(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not same(model.sample(5, seed=3), model.sample(5, seed=4))


def test_the_same_days_give_the_same_model() -> None:
    one, other = (fit(measured(20), seed=2).sample(5, seed=0) for _ in range(2))
    assert same(one, other)


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    long, short = fitted().sample(50, seed=0), fitted().sample(7, seed=0)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(long, field)[:7], getattr(short, field), rtol=1e-12)


def test_pv_is_dark_at_night_never_negative_and_keeps_the_shares_of_its_nodes() -> None:
    days = fitted().sample(400, seed=0)
    assert fitted().pv_factor is not None
    assert (days.pv >= 0).all()
    assert not days.pv[:, :7].any()
    assert not days.pv[:, :, 0].any()
    np.testing.assert_allclose(days.pv[:, :, 2], 2 * days.pv[:, :, 1], rtol=1e-12)


def test_pv_that_differs_from_node_to_node_is_drawn_node_by_node() -> None:
    real = measured()
    own = real.pv * np.random.default_rng(0).uniform(0.5, 1, real.pv.shape)
    model = fit(replace(real, pv=own))
    days = model.sample(300, seed=0)
    assert model.pv_factor is None
    assert (days.pv >= 0).all()
    assert not days.pv[:, :7].any()
    assert days.pv.mean() == pytest.approx(own.mean(), rel=0.1)


def test_zero_keeps_its_probability_at_dawn() -> None:
    days = fitted().sample(2000, seed=0)
    assert (days.pv[:, 7, 1] == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_only_a_node_that_fed_in_feeds_in() -> None:
    load = fitted().sample(500, seed=0).load
    assert load[:, :, 0].min() < 0
    assert load[:, :, 1:].min() >= 0


def test_prices_of_an_hour_stay_equal_and_reach_into_the_next_day() -> None:
    quarter = np.arange(1, 97) // 4  # the last hour of the day before holds in the first steps
    random = np.random.default_rng(0)
    days, hours = made_up_days(12, nodes=1), random.normal(40, 10, (12, 49))
    days = replace(days, price=hours[:, 24 + quarter], price_before=hours[:, quarter])
    model = fit(days)
    new = model.sample(20, seed=0)
    assert new.price_before is not None
    assert np.array_equal(np.diff(new.price, axis=1).any(0), np.diff(quarter) > 0)
    assert np.array_equal(new.price[:, 0], new.price_before[:, -1])
    assert model.block("price")[0].columns.shape[1] == 49


def test_a_power_factor_is_kept_and_a_free_reactive_load_is_drawn() -> None:
    days = fitted().sample(10, seed=0)
    np.testing.assert_allclose(days.reactive, 0.3 * days.load, rtol=1e-9)
    real = measured()
    free = replace(real, reactive=np.random.default_rng(0).normal(5, 1, real.load.shape))
    assert fit(free).sample(300, seed=0).reactive.mean() == pytest.approx(5, abs=0.1)


def test_a_fixed_tariff_and_a_node_without_load_stay_as_they_are() -> None:
    real = measured()
    load = real.load.copy()
    load[:, :, 2] = 0
    tariff = np.tile(np.linspace(20, 60, 24), (40, 1))
    days = fit(replace(real, load=load, price=tariff, price_before=tariff)).sample(5, seed=0)
    assert not days.load[:, :, 2].any()
    assert np.array_equal(days.price, tariff[:5])


def test_every_generated_day_has_a_power_flow_solution() -> None:
    real = made_up_days(12)
    feeder = small_feeder(days=real.joined(fit(real).sample(100, seed=0)))  # raises if not
    assert len(feeder.days) == 112


# -- wrong input --------------------------------------------------------------------------------


def test_too_few_days_are_refused() -> None:
    with pytest.raises(InputError, match=f"9 days are too few.*at least {FEWEST_DAYS}"):
        fit(measured(9))


@pytest.mark.parametrize("field", ["load", "pv", "reactive", "price", "price_before"])
def test_a_value_that_is_not_finite_is_named(field: str) -> None:
    days = measured()
    getattr(days, field)[3, 5] = np.nan
    with pytest.raises(InputError, match=f"{field} is not finite on day 3, step 5"):
        fit(days)


def test_a_constant_load_is_named_by_node_and_step() -> None:
    days = measured()
    days.load[:, 5, 1] = 12.0
    with pytest.raises(InputError, match="load has the same value in all 40 days at node 2 step 5"):
        fit(days)


def test_pv_that_is_constant_but_not_zero_is_refused() -> None:
    days = measured()
    days.pv[:, 12] = days.pv[0, 12]
    with pytest.raises(InputError, match="pv has the same value .* node 3 step 12"):
        fit(days)


def test_a_price_that_stands_still_at_one_step_is_refused() -> None:
    days = measured()
    days.price[:, 4] = 30.0
    with pytest.raises(InputError, match="price has the same value in all 40 days at step 4"):
        fit(days)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"copula": "clayton"}, "must be one of"), ({"components": 0}, "1 or more")]
)
def test_an_unknown_option_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(measured(), **wrong)


def test_a_sample_of_no_day_is_refused() -> None:
    with pytest.raises(InputError, match="1 day or more"):
        fitted().sample(0, seed=0)


# -- marginals ----------------------------------------------------------------------------------


def two_humps(count: int, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return np.where(random.random(count) < 0.3, random.normal(10, 1, count), random.normal(30, 3))


def test_bic_finds_two_humps_and_is_content_with_one() -> None:
    random = np.random.default_rng(0)
    two = np.r_[random.normal(10, 2, 60), random.normal(40, 3, 60)]
    values = np.stack([two, random.normal(5, 2, 120)], axis=1)
    model = Marginals.fit(values, np.zeros(2, bool), components=4, seed=0)
    assert model.components.tolist() == [2, 1]
    np.testing.assert_allclose(np.sort(model.mean[0, :2]), [10, 40], atol=1.5)


def test_the_mixture_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    values = np.r_[random.normal(-2, 1, 60), random.normal(6, 2, 60)][:, None]
    model = Marginals.fit(values, np.zeros(1, bool), components=2, seed=0)
    # No component is narrower than a tenth of the column's standard deviation.
    other = GaussianMixture(2, reg_covar=0.01 * values.var(), random_state=0).fit(values)
    x = np.linspace(-5, 12, 50)
    density = np.exp(other.score_samples(x[:, None]))
    np.testing.assert_allclose(model.density(0, x), density, atol=0.01 * density.max())


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_table_inverts_the_distribution_function(seed: int, cut: bool) -> None:
    random = np.random.default_rng(seed)
    values = random.gamma(2, 10, (60, 1)) - (0 if cut else 20)
    values[: 15 * cut] = 0
    model = Marginals.fit(values, np.array([cut]), components=3, seed=0)
    share = np.linspace(0.02, 0.98, 49)
    x = model.quantile(stats.norm.ppf(share)[:, None])[:, 0]
    z = (x[:, None] - model.mean[0]) / model.sd[0]
    value = model.zero[0] + (1 - model.zero[0]) * (model.weight[0] * stats.norm.cdf(z)).sum(1)
    inside = x > 0 if cut else np.ones(len(x), bool)
    # Next to the jump at zero the table interpolates across it.
    inside[np.flatnonzero(inside)[:1]] = not cut
    np.testing.assert_allclose(value[inside], share[inside], atol=2e-3)
    assert (np.diff(x) >= 0).all()


def test_the_extremes_of_a_long_sample_stay_near_the_data() -> None:
    real, new = measured(), fitted().sample(2000, seed=0)
    spread = np.ptp(real.load, axis=0)
    assert (new.load.max(0) < real.load.max(0) + spread).all()
    assert (new.load.min(0) > real.load.min(0) - spread).all()


# -- dependence ---------------------------------------------------------------------------------


def test_normal_scores_have_mean_zero_and_variance_one_with_equal_values_too() -> None:
    values = np.random.default_rng(0).integers(0, 4, (50, 6)).astype(float)
    scores = normal_scores(values)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scores.std(0), 1, rtol=1e-12)


CHANNEL = 0.6 * np.ones((4, 4)) + 0.4 * np.eye(4)
TIME = 0.9 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
TRUTH = np.kron(CHANNEL, TIME)


def block_scores(channels: int = 4, days: int = 60, seed: int = 0) -> NDArray[np.float64]:
    """Return scores [days, 6 channels] whose true correlation is a Kronecker product."""
    draw = np.random.default_rng(seed).standard_normal((days, channels, 6))
    values = np.linalg.cholesky(CHANNEL[:channels, :channels]) @ draw @ np.linalg.cholesky(TIME).T
    return normal_scores(values.reshape(days, -1))


def block(channels: int = 4, days: int = 60, seed: int = 0) -> Regularised:
    """Return the correlation estimated from them."""
    present = np.ones((channels, 6), bool)
    return Regularised.fit(block_scores(channels, days, seed), present, np.arange(6))


@pytest.mark.parametrize(("channels", "days"), [(4, 60), (1, 60), (1, 5)])
def test_a_draw_has_the_regularised_correlation_and_unit_variance(channels: int, days: int) -> None:
    part = block(channels, days)
    draw = Copula("gaussian", (part,), np.inf).draw(40000, seed=0)
    sigma = part.correlation()
    np.testing.assert_allclose(sigma.diagonal(), 1, rtol=1e-9)
    np.testing.assert_allclose(np.cov(draw.T), sigma, atol=0.04)


def test_regularisation_brings_the_correlation_nearer_to_the_truth() -> None:
    few = [block(days=15, seed=seed) for seed in range(5)]
    plain = [np.corrcoef(block_scores(days=15, seed=seed).T) for seed in range(5)]
    error = [np.abs(part.correlation() - TRUTH).mean() for part in few]
    raw = [np.abs(sample - TRUTH).mean() for sample in plain]
    assert max(np.divide(error, raw)) < 0.9


def test_shrinkage_falls_with_the_number_of_days() -> None:
    shares = [block(days=days).shrinkage for days in (15, 60, 2000)]
    assert shares == sorted(shares, reverse=True)


def test_cells_that_are_not_drawn_leave_the_others_alone() -> None:
    """PV is dark at different hours at different nodes: the block has holes."""
    full = block_scores()
    present = np.ones((4, 6), bool)
    present[0, :2] = present[3, 5] = False
    part = Regularised.fit(full[:, present.ravel()], present, np.arange(6))
    draw = Copula("gaussian", (part,), np.inf).draw(30000, seed=1)
    assert draw.shape[1] == 21
    np.testing.assert_allclose(draw.std(0), 1, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(draw.T), part.correlation(), atol=0.04)


@pytest.mark.parametrize("nu", [np.inf, 4.0])
def test_the_copula_is_that_of_statsmodels(nu: float) -> None:
    part = block(channels=1, days=200)
    rho = float(part.correlation()[0, 3])
    kind: Any = "gaussian" if np.isinf(nu) else "student"
    ours = stats.norm.cdf(Copula(kind, (part,), nu).draw(20000, seed=0)[:, [0, 3]])
    reference = GaussianCopula(rho) if np.isinf(nu) else StudentTCopula(rho, df=nu)
    theirs = reference.rvs(20000, rng=np.random.default_rng(1))
    tau = stats.kendalltau(*ours[:4000].T).statistic
    assert tau == pytest.approx(reference.tau(), abs=0.03)
    for corner in (0.02, 0.1, 0.5, 0.9):
        joint = [(sample < corner).all(1).mean() for sample in (ours, theirs)]
        assert joint[0] == pytest.approx(joint[1], abs=4 * np.sqrt(joint[1] / 20000) + 1e-3)


def test_each_column_of_a_student_draw_is_standard_normal() -> None:
    draw = Copula("student", (block(),), 3.0).draw(5000, seed=0)
    assert stats.kstest(draw[:, 7], "norm").pvalue > 0.01


def test_the_degrees_of_freedom_are_found_again() -> None:
    random = np.random.default_rng(0)
    normal = random.standard_normal((300, 12)) + random.standard_normal((300, 1))
    mixing = np.sqrt(random.chisquare(4, (300, 1)) / 4)
    assert 2.5 < degrees_of_freedom(normal / mixing, seed=0, pairs=40) < 7
    assert degrees_of_freedom(normal, seed=0, pairs=40) > 20


def test_the_table_of_t_scores_is_exact_to_the_eye() -> None:
    t = np.linspace(-6, 6, 101)
    exact = stats.norm.ppf(stats.t.cdf(t, 5))
    np.testing.assert_allclose(copulas.to_normal(t, 5.0), exact, atol=1e-4)


def test_correlations_of_nodes_and_times_survive_and_without_a_copula_they_do_not() -> None:
    real = measured()
    for measure in (judged.node_correlation, judged.time_correlation):
        wanted = measure(real)
        off = ~np.eye(len(wanted), dtype=bool)
        errors = {
            kind: np.abs(measure(fitted(kind).sample(800, seed=0)) - wanted)[off].mean()
            for kind in ("gaussian", "student", "none")
        }
        assert max(errors["gaussian"], errors["student"]) < 0.07
        assert errors["none"] > 0.3


def test_loads_prices_and_the_day_before_hang_together() -> None:
    real = measured(60)
    real.price[:] += 0.5 * (real.load.mean((1, 2)) - 30)[:, None]
    model = fit(real)

    def links(days: Days) -> list[float]:
        price, load = days.price.mean(1), days.load.mean((1, 2))
        assert days.price_before is not None
        pairs = [(price, load), (days.price[:, 0], days.price_before[:, -1])]
        return [float(np.corrcoef(*pair)[0, 1]) for pair in pairs]

    shared, midnight = links(model.sample(2000, seed=0))
    assert shared == pytest.approx(np.sqrt(1 - model.shrinkage["load"]) * links(real)[0], abs=0.1)
    assert min(*links(real), midnight) > 0.5


def test_daily_energy_varies_as_much_as_it_should() -> None:
    real = judged.daily(measured())["net energy"]
    spread = {k: judged.daily(fitted(k).sample(800, 0))["net energy"] for k in ("gaussian", "none")}
    assert spread["gaussian"].std() == pytest.approx(real.std(), rel=0.15)
    assert spread["none"].std() < 0.5 * real.std()


# -- the two-sample test ------------------------------------------------------------------------


def test_held_out_days_pass_and_independent_columns_fail() -> None:
    everything = measured(150)
    real = everything.select(everything.dates[::2])
    held_out = everything.select(everything.dates[1::2])
    model = fit(real)
    p_values = {}
    for kind in ("gaussian", "none"):
        new = model.with_copula(kind).sample(100, seed=0)
        x, y = (judged.features(days, real) for days in (held_out, new))
        p_values[kind] = judged.energy_test(x, y, seed=0, permutations=299).p_value
    assert p_values["gaussian"] > 0.05
    assert p_values["none"] < 0.05


def test_the_test_keeps_its_level_and_sees_a_shift() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(200, 5)), random.normal(size=(80, 5))
    assert judged.power(x, y, size=20, draws=100, seed=0) < 0.15
    assert judged.power(x + 1, y, size=20, draws=30, seed=0) > 0.9


def test_both_ways_to_the_energy_distance_agree() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 5)), random.normal(1, 1, size=(30, 5))
    test = judged.energy_test(x, y, seed=0, permutations=9)
    assert test.distance == pytest.approx(judged.energy_distance(x, y), rel=1e-9)
    assert test.p_value == pytest.approx(0.1)


# -- sets of days -------------------------------------------------------------------------------


def test_joined_days_follow_each_other() -> None:
    real, new = measured(), fitted().sample(3, seed=0)
    both = real.joined(new)
    assert both.dates == real.dates + new.dates
    assert same(both.select(new.dates), new)


def test_days_that_do_not_fit_are_not_joined() -> None:
    with pytest.raises(InputError, match="other nodes"):
        measured().joined(measured(nodes=2))
    with pytest.raises(InputError, match="'day 0' and 39 more dates"):
        measured().joined(measured())


def test_saved_days_come_back_in_single_precision_and_as_the_same_bytes(tmp_path: Path) -> None:
    days = fitted().sample(3, seed=0)
    files = [tmp_path / f"{name}.npz" for name in "ab"]
    for file in files:
        days.save(file)
    back = Days.read(files[0])
    assert (back.dates, back.nodes, back.step_hours) == (days.dates, days.nodes, days.step_hours)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(back, field), getattr(days, field), rtol=1e-6)
    assert files[0].read_bytes() == files[1].read_bytes()
