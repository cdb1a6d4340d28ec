import numpy as np
import pytest

from griddispatch.data.regulation import synthesise
from griddispatch.errors import InputError
from griddispatch.evaluation.regulation import (
    credit,
    l1_ratio,
    mileage,
    performance_score,
    useful_mileage,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def regd():
    return synthesise("RegD", 6, seed=2)


def delayed(signal, samples):
    return np.concatenate([np.repeat(signal[:, :1], samples, axis=1), signal[:, :-samples]], axis=1)


def test_perfect_tracking_scores_one(regd):
    for part in performance_score(regd, regd):
        np.testing.assert_allclose(part, 1, atol=1e-12)


def test_half_the_amplitude_loses_half_the_precision_only(regd):
    score = performance_score(regd, regd / 2)
    np.testing.assert_allclose(score.precision, 0.5)
    np.testing.assert_allclose(score.total, 5 / 6)


def test_no_answer_still_has_a_third(regd):
    score = performance_score(regd, 0 * regd)
    np.testing.assert_allclose(score.correlation, 0)
    np.testing.assert_allclose(score.delay, 1)
    np.testing.assert_allclose(score.total, 1 / 3)


def test_a_delay_of_ten_seconds_costs_a_thirtieth_where_correlation_alone_decides(regd):
    late = performance_score(regd, delayed(regd, 5), choice="correlation")
    np.testing.assert_allclose(late.delay, 29 / 30)
    np.testing.assert_allclose(late.correlation, 1)


def test_the_sum_of_both_scores_judges_a_slow_window_as_in_time(regd):
    late = performance_score(regd, delayed(regd, 5))
    assert (late.delay > 29 / 30).all()
    assert (late.correlation < 1).all()
    alone = performance_score(regd, delayed(regd, 5), choice="correlation")
    # Of the two choices the sum is the largest C + D by definition.
    assert (late.delay + late.correlation >= alone.delay + alone.correlation - 1e-9).all()
    # In a signal that changes from sample to sample the delay is found by both.
    wild = np.repeat(RNG.uniform(-1, 1, (2, 360)), 5, axis=1)
    np.testing.assert_allclose(performance_score(wild, delayed(wild, 5)).delay, 29 / 30)


def test_a_delay_beyond_five_minutes_has_no_delay_score():
    wild = np.repeat(RNG.uniform(-1, 1, (2, 360)), 5, axis=1)
    score = performance_score(wild, delayed(wild, 150), choice="correlation")
    np.testing.assert_allclose(score.delay, 0)


def test_precision_is_computed_by_hand_for_a_square_wave():
    u = np.tile(np.repeat([1.0, -1.0], 50), 18)[None]
    score = performance_score(u, u + 0.25)
    np.testing.assert_allclose(score.precision, 0.75)
    np.testing.assert_allclose(score.correlation, 1)  # an offset does not change it
    np.testing.assert_allclose(performance_score(u, -u).precision, 0)


def test_prefix_sums_give_what_each_window_gives_alone(regd):
    regd = regd[:1]
    response = delayed(regd, 8) + 0.2 * RNG.standard_normal(regd.shape)
    u, y = (x.reshape(len(regd), 360, 5).mean(2) for x in (regd, response))
    C, D = np.empty((2, len(u), 301))
    delay = np.abs(np.arange(31) * 10 - 300) / 300
    for h in range(len(u)):
        for t in range(301):
            r = [np.corrcoef(u[h, t : t + 30], y[h, t + d : t + d + 30])[0, 1] for d in range(31)]
            best = np.argmax(r + delay)
            C[h, t], D[h, t] = max(0, r[best]), delay[best]
    score = performance_score(regd, response)
    np.testing.assert_allclose(score.correlation, C.mean(1), atol=1e-10)
    np.testing.assert_allclose(score.delay, D.mean(1), atol=1e-12)


def test_a_window_that_stands_still_is_judged_by_its_slope():
    u = np.full((1, 1800), 0.5)
    assert performance_score(u, u).correlation == pytest.approx(1)
    drifting = u + np.linspace(0, 1, 1800) * 1.2  # 0.1 of the capacity in 5 minutes
    drifting = np.repeat(drifting.reshape(1, 360, 5).mean(2), 5, axis=1)
    slope = 30 * 1.2 * 5 / 1799
    assert performance_score(u, drifting).correlation == pytest.approx(1 - slope, rel=1e-9)


def test_scores_do_not_depend_on_which_hours_are_scored_together(regd):
    response = delayed(regd, 3)
    together = performance_score(regd, response).total
    alone = [performance_score(regd[[h]], response[[h]]).total[0] for h in range(len(regd))]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_mileage_counts_changes_and_the_useful_part_closes_the_gap():
    assert mileage([0.0, 1.0, 0.5]) == pytest.approx(1.5)
    # Towards the command (1), past it (counts up to the command), away from it (counts nothing).
    assert useful_mileage([0.0, 2.0], [0.0, 1.0]) == pytest.approx(1)
    assert useful_mileage([0.0, 2.0], [0.0, 3.0]) == pytest.approx(2)
    assert useful_mileage([0.0, 2.0], [0.0, -1.0]) == pytest.approx(0)


def test_an_hour_below_a_quarter_is_not_paid():
    np.testing.assert_allclose(credit([0.2, 0.5], 10, 2, ratio=3), [0, 8])


def test_the_ratio_to_the_error_tends_to_one(regd):
    noise = np.repeat(RNG.standard_normal((len(regd), 360)), 5, axis=1)
    ratio = [l1_ratio(regd, regd + eps * noise).mean() for eps in (0.2, 0.02, 0.002, 0.0002)]
    assert ratio == sorted(ratio, reverse=True)
    assert 1 <= ratio[-1] < 1.002
    assert ratio[0] > 1.2  # the equivalence is asymptotic


@pytest.mark.parametrize(
    ("signal", "response", "options", "message"),
    [
        (np.ones((1, 200)), np.ones((1, 200)), {}, "300 or more"),
        (np.ones((1, 300)), np.ones((1, 400)), {}, "samples"),
        (np.full((1, 300), np.nan), np.ones((1, 300)), {}, "not finite"),
        (np.zeros((1, 300)), np.ones((1, 300)), {}, "zero throughout"),
        (np.ones((1, 300)), np.ones((1, 300)), {"choice": "both"}, "'both'"),
    ],
)
def test_bad_series_are_refused(signal, response, options, message):
    with pytest.raises(InputError, match=message):
        performance_score(signal, response, **options)
    if message == "300 or more":
        with pytest.raises(InputError, match="0 / 0"):
            l1_ratio(np.ones((1, 300)), np.ones((1, 300)))
