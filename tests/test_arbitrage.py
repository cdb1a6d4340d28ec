"""Linear programs: as good as trying everything, feasible, unique under ties, a true bound."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from feeders import made_up_days, small_feeder
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from griddispatch.agents.rules import Schedule as Play
from griddispatch.assets.storage import Storage
from griddispatch.envs.feeder import EndSoc, Feeder
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import evaluate
from griddispatch.optimization.arbitrage import arbitrage_schedule
from griddispatch.optimization.linear import linear_schedule, trade

Float = NDArray[np.float64]
HOUR = 1.0


def grid_battery(eta: float, power_kw: float = 50.0) -> Storage:
    """One battery whose best schedules move on a grid of 25 kWh: 50 kW * 1 h * 0.5 = 25 kWh."""
    return Storage(
        nodes=(2,),
        power_kw=power_kw,
        capacity_kwh=250.0,
        soc_min=0.1,
        soc_max=0.8,
        soc_initial=0.3,
        eta_charge=eta,
        eta_discharge=eta,
    )


def best_by_trying(storage: Storage, price: list[float], end_soc: EndSoc) -> float:
    """Largest profit in EUR over all schedules on a grid of 25 kWh (dynamic programming)."""
    k = storage.limits(torch.zeros(1, dtype=torch.float64))
    capacity, rated = float(k.capacity_kwh), float(k.power_kw)
    charge, discharge = float(k.eta_charge), float(k.eta_discharge)
    levels = range(round(0.1 * capacity), round(0.8 * capacity) + 1, 25)
    start = round(0.3 * capacity)

    @cache
    def rest(t: int, level: int) -> float:
        if t == len(price):
            return 0.0 if end_soc == "free" or level == start else -np.inf
        best = -np.inf
        for after in levels:
            inside = (after - level) / HOUR
            power = inside / charge if inside > 0 else inside * discharge
            if abs(power) <= rated + 1e-9:
                best = max(best, -price[t] / 1000 * power * HOUR + rest(t + 1, after))
        return best

    return rest(0, start)


def profit(power: Float, price: list[float], hours: float = HOUR) -> float:
    return -float(np.asarray(price) @ power.sum(1)) * hours / 1000


def soc_path(storage: Storage, power: Float, hours: float = HOUR) -> Float:
    """State of charge [S + 1, M] by the environment's own storage, without its clamp."""
    k = {n: v.numpy() for n, v in storage.limits(torch.zeros(1).double())._asdict().items()}
    inside = np.maximum(power, 0) * k["eta_charge"] + np.minimum(power, 0) / k["eta_discharge"]
    return (
        k["soc_initial"] + np.vstack([0 * power[:1], inside.cumsum(0)]) * hours / k["capacity_kwh"]
    )


prices = st.lists(st.integers(-60, 90), min_size=1, max_size=9)


@given(price=prices, eta=st.sampled_from([1.0, 0.5]), end_soc=st.sampled_from(["free", "initial"]))
@settings(max_examples=150)
def test_no_schedule_on_the_grid_earns_more(price: list[int], eta: float, end_soc: EndSoc) -> None:
    storage = grid_battery(eta)
    power = arbitrage_schedule(storage, price, HOUR, end_soc)
    expected = best_by_trying(storage, [float(p) for p in price], end_soc)
    assert profit(power, price) == pytest.approx(expected, abs=1e-6)


@given(price=prices, eta=st.sampled_from([1.0, 0.9, 0.5]), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_a_schedule_keeps_every_limit(price: list[int], eta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    storage = Storage(
        nodes=(2, 5),
        power_kw=tuple(rng.uniform(10, 90, 2)),
        capacity_kwh=tuple(rng.uniform(50, 300, 2)),
        eta_charge=eta,
    )
    end_soc: EndSoc = "initial" if seed % 2 else "free"
    power = arbitrage_schedule(storage, price, HOUR, end_soc)
    assert power.shape == (len(price), 2)
    assert (np.abs(power) <= np.array(storage.power_kw) + 1e-6).all()
    soc = soc_path(storage, power)
    assert soc.min() >= 0.2 - 1e-6
    assert soc.max() <= 0.8 + 1e-6
    if end_soc == "initial":
        np.testing.assert_allclose(soc[-1], soc[0], atol=1e-6)


def test_batteries_do_not_depend_on_each_other() -> None:
    price = made_up_days(1).price[0]
    both = Storage(nodes=(2, 5), power_kw=(50.0, 20.0), eta_charge=(1.0, 0.8))
    one, other = Storage(nodes=(2,)), Storage(nodes=(5,), power_kw=20.0, eta_charge=0.8)
    expected = [arbitrage_schedule(s, price, 0.25) for s in (one, other)]
    np.testing.assert_allclose(
        arbitrage_schedule(both, price, 0.25), np.hstack(expected), atol=1e-7
    )


def test_among_equal_prices_it_charges_first_and_discharges_last() -> None:
    storage = Storage(nodes=(2,), capacity_kwh=100.0, soc_initial=0.2)
    price = [30.0] * 4 + [90.0] * 4
    power = arbitrage_schedule(storage, price, 0.5)[:, 0]
    np.testing.assert_allclose(power, [50, 50, 20, 0, 0, -20, -50, -50], atol=1e-6)


def test_it_moves_no_energy_for_nothing() -> None:
    storage = Storage(nodes=(2,), capacity_kwh=100.0, soc_initial=0.5)
    np.testing.assert_allclose(
        arbitrage_schedule(storage, [40.0] * 96, 0.25, "initial"), 0, atol=1e-7
    )
    free = arbitrage_schedule(storage, [40.0] * 96, 0.25)[:, 0]  # what is stored is sold, late
    np.testing.assert_allclose(free[:-3], 0, atol=1e-7)
    np.testing.assert_allclose(free[-3:], [-20, -50, -50], atol=1e-6)


def test_the_smallest_step_of_a_price_is_no_tie() -> None:
    storage = Storage(nodes=(2,), capacity_kwh=100.0, soc_initial=0.2)
    power = arbitrage_schedule(storage, [40.01, 40.0, 40.01, 40.02], 1.0, "initial")[:, 0]
    np.testing.assert_allclose(power, [0, 50, 0, -50], atol=1e-6)


def test_wear_stops_trades_that_do_not_pay_for_it() -> None:
    worn = Storage(nodes=(2,), wear_eur_per_kwh=0.01)  # 10 EUR/MWh on either way
    assert np.abs(arbitrage_schedule(worn, [30.0, 49.0], 1.0, "initial")).max() < 1e-6
    assert np.abs(arbitrage_schedule(worn, [30.0, 51.0], 1.0, "initial")).max() > 49


def test_the_same_input_gives_the_same_bits() -> None:
    price = made_up_days(1).price[0]
    first, second = (arbitrage_schedule(Storage(), price, 0.25) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("price", "hours", "end_soc", "message"),
    [
        ([1.0, np.nan], 1.0, "free", "one finite number per step"),
        ([], 1.0, "free", "one finite number per step"),
        ([[1.0, 2.0]], 1.0, "free", r"shape \(1, 2\)"),
        ([1.0], 0.0, "free", "step of 0.0 h must be positive"),
        ([1.0], 1.0, "full", "end_soc 'full'"),
    ],
)
def test_wrong_input_is_named(price: object, hours: float, end_soc: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        arbitrage_schedule(Storage(), price, hours, end_soc)  # type: ignore[arg-type]


# With voltages ---------------------------------------------------------------------------------


def loaded(**options: Any) -> Feeder:
    """Two batteries, and so much load that the voltages sag in the evening."""
    return small_feeder(days=made_up_days(2, load_kw=300.0), tol=1e-11, **options)


def played(feeder: Feeder, power: Float) -> Float:
    """Rewards [D] of powers [D, S, M] in the environment."""
    return evaluate({"": Play(power)}, feeder)["reward"].to_numpy()


@pytest.mark.parametrize("voltage_scope", ["battery", "all"])
@pytest.mark.parametrize("end_soc", ["free", "initial"])
def test_tangents_enclose_the_optimum(voltage_scope: str, end_soc: str) -> None:
    feeder = loaded(voltage_scope=voltage_scope, end_soc=end_soc)
    idle = -feeder.idle_penalty.sum(1).numpy()
    assert (idle < -5).all()
    gaps = []
    for rounds in (1, 2, 5):
        schedules = [linear_schedule(feeder, day, rounds) for day in (0, 1)]
        reached = played(feeder, np.stack([s.power_kw for s in schedules]))
        bound = np.array([s.objective for s in schedules])
        assert (reached <= bound + 1e-7).all()
        assert (reached > idle).all()
        gaps.append(((bound - reached) / -idle).max())
    assert gaps[2] < 1e-4 < gaps[0] < 1e-2


def test_without_a_penalty_only_the_price_counts() -> None:
    feeder = loaded(sigma=0.0)
    schedule = linear_schedule(feeder, 1)
    price = feeder.days.price[1]
    best = trade(feeder, 1, arbitrage_schedule(feeder.storage, price, 0.25))[0]
    assert schedule.profit == pytest.approx(best, abs=1e-6)
    assert (schedule.penalty, schedule.wear) == (0, 0)
    assert schedule.objective == schedule.profit


def test_a_penalised_slack_node_costs_the_same_for_everybody() -> None:
    feeder = loaded(voltage_scope="all")
    low = Feeder(
        replace(feeder.network, v_slack=0.94 + 0j),
        feeder.storage,
        feeder.days,
        voltage_scope="all",
        tol=1e-11,
    )
    schedule = linear_schedule(low, 0, 5)
    reached = played(low, np.stack([schedule.power_kw] * 2))[0]
    assert schedule.objective == pytest.approx(reached, rel=1e-5)
    assert schedule.penalty > 96 * 400 * 0.01


def test_only_loads_depend_on_the_voltage_as_in_the_environment() -> None:
    days = made_up_days(2, load_kw=600.0)
    days = replace(days, pv=0.3 * days.load)
    options: dict[str, Any] = {"days": days, "zip_shares": (0.1, 0.2, 0.7), "tol": 1e-11}
    still = small_feeder(storage=Storage(nodes=(3, 6), power_kw=1e-9), **options)
    idle = still.idle_penalty.sum(1).numpy()
    assert (idle > 5).all()  # the tangents' own voltages, where no battery moves them
    assert [linear_schedule(still, day).penalty for day in (0, 1)] == pytest.approx(idle, abs=1e-7)
    feeder = small_feeder(**options)
    schedules = [linear_schedule(feeder, day, 6) for day in (0, 1)]
    bound = np.array([s.objective for s in schedules])
    reached = played(feeder, np.stack([s.power_kw for s in schedules]))
    np.testing.assert_allclose(reached, bound, rtol=0, atol=1e-4 * idle.min())
    assert (reached <= bound + 1e-7).all()


def test_a_schedule_adds_up() -> None:
    feeder = loaded(storage=Storage(nodes=(3, 6), eta_charge=0.9, wear_eur_per_kwh=0.001))
    s = linear_schedule(feeder, 1, 2)
    assert s.date == feeder.days.dates[1]
    assert s.objective == pytest.approx(s.profit - s.penalty - s.wear)
    assert s.wear == pytest.approx(0.001 * 0.25 * np.abs(s.power_kw).sum())
    assert min(s.penalty, s.wear, s.iterations, s.seconds) > 0


def test_wrong_days_rounds_and_rewards_are_named() -> None:
    feeder = loaded()
    with pytest.raises(InputError, match="no day 2 among the 2"):
        linear_schedule(feeder, 2)
    with pytest.raises(InputError, match="rounds is 0"):
        linear_schedule(feeder, 0, 0)
    with pytest.raises(InputError, match="a reward of its own"):
        linear_schedule(loaded(reward=lambda outcome: outcome.profit), 0)
    storage = Storage(nodes=(3, 6), power_kw=50_000.0, capacity_kwh=1e6)
    with pytest.raises(InputError, match="no power-flow solution on 2021-01-01"):
        linear_schedule(loaded(storage=storage), 0, 2)
