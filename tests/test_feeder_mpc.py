"""Rolling horizon on a feeder: what it knows, what it earns, which limits it keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from feeders import half_year, made_up_days, small_feeder

from griddispatch.agents.mpc import MPCPolicy
from griddispatch.agents.rules import Schedule, fixed_schedule
from griddispatch.data.series import Days
from griddispatch.data.splits import training_days
from griddispatch.envs.feeder import Feeder, State
from griddispatch.envs.observations import Prices
from griddispatch.errors import InputError
from griddispatch.evaluation.feeder_mpc import on_dates, on_validation
from griddispatch.evaluation.rollout import evaluate
from griddispatch.optimization.arbitrage import arbitrage_schedule

INFORMATION: tuple[Prices, ...] = ("now", "history", "day-ahead")


def training() -> Feeder:
    return small_feeder(days=made_up_days(12, seed=1))


def unseen(feeder: Feeder, days: int = 1, **options: float) -> Feeder:
    return feeder.on(made_up_days(days, seed=2, **options))


def at(feeder: Feeder, t: int) -> State:
    start = feeder.reset()
    return start._replace(t=start.t + t)


def best_for_price(feeder: Feeder) -> Schedule:
    powers = [
        arbitrage_schedule(feeder.storage, price, feeder.hours, feeder.end_soc)
        for price in feeder.days.price
    ]
    return Schedule(np.stack(powers))


def changed_after(days: Days, t: int) -> Days:
    """The same days with other prices and loads after step t."""
    price, load = days.price.copy(), days.load.copy()
    price[:, t + 1 :] = price[:, t + 1 :][:, ::-1] + 30
    load[:, t + 1 :] *= 1.4
    return replace(days, price=price, load=load)


@pytest.mark.parametrize("information", INFORMATION)
def test_nothing_that_comes_later_changes_an_action(information: Prices) -> None:
    feeder = training()
    policy = MPCPolicy.fit(feeder, information)
    before = unseen(feeder)
    after = before.on(changed_after(before.days, 30))
    actions = [policy.act(f, at(f, 30)) for f in (before, after)]
    loads = [policy.loads(f, 0, 30) for f in (before, after)]
    assert np.array_equal(*loads)
    if information == "day-ahead":  # only the loads are to be forecast
        assert np.array_equal(policy.prices(after, 0, 30), after.days.price[0, 30:])
    else:
        assert torch.equal(*actions)
        assert np.array_equal(*(policy.prices(f, 0, 30) for f in (before, after)))


def test_known_prices_without_voltages_give_the_best_schedule() -> None:
    feeder = unseen(small_feeder(days=made_up_days(12, seed=1), sigma=0.0))
    policy = MPCPolicy.fit(feeder, "day-ahead")
    made = evaluate({"MPC": policy, "best": best_for_price(feeder)}, feeder)
    own, best = made.groupby("policy")["profit"].sum()[["MPC", "best"]]
    assert own == pytest.approx(best, abs=1e-2)


def test_it_earns_more_than_the_clock_where_prices_move() -> None:
    feeder = training()
    price = feeder.days.price + 30 * np.random.default_rng(3).standard_normal((12, 1))
    noisy = feeder.on(replace(feeder.days, price=price))
    other = made_up_days(1, seed=7)
    played = noisy.on(replace(other, price=other.price[:, ::-1].copy()))
    policies = {"MPC": MPCPolicy.fit(noisy, "day-ahead"), "clock": fixed_schedule(noisy)}
    reward = evaluate(policies, played).groupby("policy")["reward"].sum()
    assert reward["MPC"] > reward["clock"] + 1


def test_it_gives_up_profit_to_keep_the_voltage() -> None:
    loaded = small_feeder(days=made_up_days(12, seed=1, load_kw=650.0))
    played = unseen(loaded, load_kw=650.0)
    policies = {"MPC": MPCPolicy.fit(loaded, "day-ahead"), "best": best_for_price(played)}
    made = evaluate(policies, played).groupby("policy")[["reward", "profit", "penalty"]].sum()
    assert made["penalty"]["best"] > made["penalty"]["MPC"]
    assert made["profit"]["MPC"] < made["profit"]["best"]
    assert made["reward"]["MPC"] > made["reward"]["best"]


def test_a_day_ends_where_it_has_to() -> None:
    feeder = small_feeder(days=made_up_days(6, seed=1), end_soc="initial")
    played = unseen(feeder)
    end = evaluate({"MPC": MPCPolicy.fit(feeder, "now")}, played)["soc_end"]
    assert end.to_numpy() == pytest.approx(0.4, abs=1e-6)


def test_what_it_cannot_do_is_named() -> None:
    feeder = training()
    with pytest.raises(InputError, match="unknown price information 'tomorrow'"):
        MPCPolicy.fit(feeder, "tomorrow")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="margin is 0.05"):
        MPCPolicy.fit(feeder, margin=0.05)
    with pytest.raises(InputError, match="settlement"):
        MPCPolicy.fit(small_feeder(settlement="import"))
    policy = MPCPolicy.fit(feeder)
    start = feeder.reset()
    with pytest.raises(InputError, match="different steps"):
        policy.act(feeder, start._replace(t=torch.arange(len(start.t))))
    with pytest.raises(InputError, match="no policy 'Oracle'"):
        on_validation(feeder.network, None, "Oracle", 1)  # type: ignore[arg-type]


def test_dates_are_played_with_a_fit_that_did_not_see_them() -> None:
    feeder, series, dates = small_feeder(), half_year(), ["2020-09-30", "2020-10-08"]
    made = on_dates(feeder.network, series, feeder.storage, "history", dates, "initial")
    assert list(made["date"]) == dates
    assert set(made["end_soc"]) == {"initial"}
    assert set(made["information"]) == {"history"}
    learned = series.days(training_days(series, "all"))
    fit = Feeder(feeder.network, feeder.storage, learned, end_soc="initial")
    same = evaluate({"MPC": MPCPolicy.fit(fit, "history")}, fit.on(series.days(dates)))
    assert np.array_equal(made["reward"], same["reward"])
