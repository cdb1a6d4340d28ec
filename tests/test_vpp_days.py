"""Demand of the virtual power plant: day types, shifts, common random numbers."""

import numpy as np
import pytest

from griddispatch.data.vpp_demand import (
    BASE_KW,
    KIND_SHARE,
    NOISE_LIMIT_KW,
    PROFILES,
    SHIFTS,
    DemandDays,
    Shift,
    draw_days,
    elasticity,
    joined,
    make_days,
    price_response,
)
from griddispatch.errors import InputError


def still(days: int) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers of days without weather, noise and events, kind 0, amplitude 1."""
    normals, uniforms = np.zeros((days, 2, 12)), np.full((days, 4, 12), 0.5)
    uniforms[:, 3, 0] = 0.1
    return normals, uniforms


def test_a_day_does_not_depend_on_how_many_are_drawn():
    some, more = draw_days(3, 5, "train"), draw_days(8, 5, "train")
    np.testing.assert_array_equal(some.demand_kw, more.demand_kw[:3])
    np.testing.assert_array_equal(some.kappa, more.kappa[:3])


def test_parts_and_seeds_never_share_a_day():
    drawn = [
        draw_days(40, seed, part).demand_kw
        for seed in (0, 1, 2)
        for part in ("train", "validation", "test")
    ]
    rows = np.concatenate(drawn)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_shift_of_the_mean_scales_the_same_days():
    plain, more = (draw_days(50, 3, "test", shift=s) for s in ("nominal", "mean +20 %"))
    np.testing.assert_array_equal(plain.kind, more.kind)
    np.testing.assert_array_equal(plain.event, more.event)
    noise = 1.2 * plain.demand_kw - more.demand_kw  # a fifth of the noise
    assert np.abs(noise).max() <= 0.2 * NOISE_LIMIT_KW + 1e-9
    assert more.demand_kw.sum() / plain.demand_kw.sum() == pytest.approx(1.2, abs=1e-3)


def test_a_shift_of_sigma_doubles_what_weather_and_noise_do():
    nothing, plain, wide = (
        draw_days(50, 3, "test", shift=Shift(sigma=s, events=0.0)).demand_kw for s in (0, 1, 2)
    )
    np.testing.assert_allclose(wide - nothing, 2 * (plain - nothing), atol=1e-9)


def test_more_events_keep_those_of_the_nominal_days_beginning():
    plain, more = (draw_days(400, 3, "test", shift=s).event for s in ("nominal", "events 20 %"))
    began = plain[:, 0] != 0
    np.testing.assert_array_equal(plain[began, 0], more[began, 0])
    assert (more != 0).mean() > 1.7 * (plain != 0).mean()


def test_events_begin_with_their_probability_and_last_two_and_a_half_periods():
    event = draw_days(4000, 1, "train").event
    assert (event[:, 0] != 0).mean() == pytest.approx(0.08, abs=0.015)
    stays = (event[:, 1:] == event[:, :-1])[event[:, :-1] != 0].mean()
    # An event goes on with probability .6; one that ends is followed by its like with .4 .08 / 2.
    assert stays == pytest.approx(0.6 + 0.4 * 0.08 / 2, abs=0.03)
    assert set(np.unique(event)) == {-0.3, 0.0, 0.3}


def test_a_still_normal_day_is_base_times_profile():
    days = make_days(*still(2), shift=SHIFTS["nominal"], model="day types")
    np.testing.assert_allclose(days.demand_kw[0], BASE_KW * (1 + PROFILES[0]))
    published = make_days(*still(2), shift=SHIFTS["nominal"], model="published")
    np.testing.assert_allclose(published.demand_kw[0], BASE_KW)


def test_day_types_leave_the_mean_day_almost_as_it_was():
    assert np.abs(np.array(KIND_SHARE) @ PROFILES).max() <= 0.005
    assert np.abs(PROFILES).max() <= 0.3
    days = draw_days(3000, 0, "train")
    np.testing.assert_allclose(np.bincount(days.kind) / 3000, KIND_SHARE, atol=0.03)
    np.testing.assert_allclose(days.relative.mean(0), 0, atol=0.02)


def test_the_published_demand_is_almost_an_ar1_process_and_day_types_are_not():
    def gain(model: str) -> float:
        """Relative fall of the squared error by knowing two more periods of the day."""
        x = draw_days(2000, 2, "train", model=model).relative
        errors = []
        for lags in (1, 3):
            squares = []
            for t in range(3, 12):
                past = np.c_[np.ones(len(x)), x[:, t - lags : t]]
                weights = np.linalg.lstsq(past, x[:, t], rcond=None)[0]
                squares.append((x[:, t] - past @ weights) ** 2)
            errors.append(np.mean(squares))
        return 1 - errors[1] / errors[0]

    assert gain("published") < 0.1
    assert gain("day types") > 1.5 * gain("published")


def test_prices_lower_demand_where_they_are_high():
    assert (np.diag(elasticity()) <= -0.2).all()
    assert (np.diag(elasticity()) >= -0.4).all()
    off = elasticity()[~np.eye(12, dtype=bool)]
    assert 0.01 <= off.min() <= off.max() <= 0.02
    high = np.full(12, 0.5)
    high[6] = 1.0
    response = price_response(high)
    assert response[6] < 0 < np.delete(response, 6).min()
    np.testing.assert_array_equal(price_response(np.full(12, 0.5)), 0)


def test_joined_days_stand_in_order():
    one, two = draw_days(2, 0, "train"), draw_days(3, 0, "train", shift="combined")
    both = joined([one, two])
    np.testing.assert_array_equal(both.demand_kw[2:], two.demand_kw)
    assert len(both.take(slice(1, 4))) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_days(1, 0, "tests"), "no part 'tests'"),
        (lambda: draw_days(1, 0, "test", model="printed"), "no model 'printed'"),
        (lambda: draw_days(0, 0, "test"), "count >= 1"),
        (lambda: draw_days(1, 0, "test", shift="sigma x3"), "no shift 'sigma x3'"),
        (lambda: Shift(sigma=-1), "sigma >= 0"),
        (lambda: Shift(events=1.2), r"events in \[0, 1\]"),
        (lambda: price_response([0.5] * 11), "12 probabilities"),
        (lambda: price_response([1.5] * 12), "12 probabilities"),
        (
            lambda: DemandDays(
                np.ones((2, 11)), np.ones(2) / 2, np.zeros(2, np.int64), np.zeros((2, 12))
            ),
            "demand_kw has shape",
        ),
        (
            lambda: DemandDays(
                -np.ones((1, 12)), np.ones(1) / 2, np.zeros(1, np.int64), np.zeros((1, 12))
            ),
            "demand_kw >= 0",
        ),
    ],
)
def test_wrong_days_are_explained(call, message):
    with pytest.raises(InputError, match=message):
        call()
