"""The optimum: the environment pays what the model promises, and nobody earns more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from feeders import chain, made_up_days
from numpy.typing import NDArray

from griddispatch.agents.rules import Schedule as Play
from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days, Series
from griddispatch.envs.feeder import Feeder
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import Rollout, rollout
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve
from griddispatch.optimization import feeder_nlp
from griddispatch.optimization.arbitrage import arbitrage_schedule
from griddispatch.optimization.feeder_nlp import optimal_schedule, optimal_schedules
from griddispatch.optimization.linear import Schedule, linear_schedule

Float = NDArray[np.float64]
EXACT = 1e-11  # tolerance of the power flow, so that its error does not hide another


def hourly(days: Days) -> Days:
    """Every fourth step, each of an hour: a model of a quarter of the size."""
    blocks = ("load", "pv", "reactive", "price")
    cut = {name: getattr(days, name)[:, ::4] for name in blocks}
    return replace(days, **cut, step_hours=1.0, price_before=None)


def loads(count: int = 2) -> Days:
    """Days with so much load that the voltages sag in the evening."""
    return hourly(made_up_days(count, load_kw=300.0))


def forked() -> Network:
    """Nodes 1 - 2 - 3 - 4 - 5 with a lateral from 2 to 6."""
    return replace(chain(6, ohm=1.2), name="forked", from_bus=np.array([0, 1, 2, 3, 1]))


def loaded(days: Days | None = None, **options: Any) -> Feeder:
    """Two batteries on the forked feeder."""
    storage = options.pop("storage", Storage(nodes=(3, 6)))
    days = days or loads()
    return Feeder(forked(), storage, days, tol=EXACT, **options)


def sunny() -> Days:
    """Days with so much PV that the voltages rise at noon, and negative prices at that time."""
    days = made_up_days(2)
    noon = np.exp(-(((np.arange(96) / 4 - 12) / 3) ** 2))
    sun = replace(days, pv=days.pv + 700 * noon[:, None], price=days.price - 60 * noon)
    return hourly(sun)


def with_everything() -> Feeder:
    """Line charging, shunts, reactive loads, a slack voltage above 1, batteries that differ."""
    n = forked()
    shunt = np.zeros(6, complex)
    shunt[4] = 0.02 + 0.1j
    network = replace(n, b=0.05 * np.ones(5), shunt=shunt, v_slack=1.01 + 0j)
    days = loads()
    days = replace(days, reactive=0.4 * days.load)
    storage = Storage(
        nodes=(6, 3),
        power_kw=(40.0, 70.0),
        capacity_kwh=(100.0, 300.0),
        soc_initial=(0.3, 0.5),
        eta_charge=(0.9, 1.0),
        eta_discharge=(0.95, 1.0),
        wear_eur_per_kwh=(0.0, 0.004),
    )
    return Feeder(network, storage, days, voltage_scope="all", tol=EXACT)


def lossy(days: Days) -> Feeder:
    return loaded(days, storage=Storage(nodes=(3, 6), eta_charge=0.85, eta_discharge=0.85))


def play(feeder: Feeder, schedules: list[Schedule]) -> Rollout:
    return rollout(Play(np.stack([s.power_kw for s in schedules])), feeder)


def rewards(feeder: Feeder, power: Float) -> Float:
    """Rewards [D] of powers [D, S, M] in the environment."""
    return rollout(Play(power), feeder).reward.sum(1).numpy()


CASES = {
    "as printed": lambda: loaded(),
    "back to the start": lambda: loaded(end_soc="initial"),
    "all nodes": lambda: loaded(voltage_scope="all"),
    "losses": lambda: lossy(loads()),
    "everything": with_everything,
    "over-voltage": lambda: loaded(sunny(), voltage_scope="all"),
    "paid for wasting": lambda: lossy(sunny()),
    "paid for wasting, back to the start": lambda: loaded(
        sunny(),
        storage=Storage(nodes=(3, 6), capacity_kwh=60.0, eta_charge=0.8, eta_discharge=0.8),
        end_soc="initial",
        voltage_scope="all",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_environment_pays_what_the_model_promises(case: str) -> None:
    feeder = CASES[case]()
    schedules = optimal_schedules(feeder)
    played = play(feeder, schedules)
    for day, s in enumerate(schedules):
        assert s.date == feeder.days.dates[day]
        assert s.objective == pytest.approx(s.profit - s.penalty - s.wear)
        for part in ("profit", "penalty", "wear"):
            paid = float(getattr(played, part)[day].sum())
            assert paid == pytest.approx(getattr(s, part), abs=1e-4)
        assert float(played.reward[day].sum()) == pytest.approx(s.objective, rel=1e-6, abs=1e-5)
        # What the environment clamps is the rounding of the solver.
        np.testing.assert_allclose(played.power_kw[day], s.power_kw, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_linear_programs_enclose_it(case: str) -> None:
    feeder = CASES[case]()
    for day, s in enumerate(optimal_schedules(feeder)):
        linear = linear_schedule(feeder, day, 4)
        reached = rewards(feeder, np.stack([linear.power_kw] * 2))[day]
        scale = abs(s.objective) + float(feeder.idle_penalty[day].sum())
        assert reached <= s.objective + 1e-5 * scale
        assert s.objective - reached < 1e-3 * scale
        if feeder.idle_voltage[day].abs().max() < 1.05:  # else the tangents are no bound
            assert s.objective <= linear.objective + 1e-5 * scale


def test_the_cases_are_what_they_are_called() -> None:
    sag, sun = loaded(voltage_scope="all"), loaded(sunny(), voltage_scope="all")
    assert float(sag.idle_penalty[0].sum()) > 15
    assert float(sun.idle_voltage.abs().max()) > 1.055
    assert sun.days.price.min() < -10


@pytest.mark.parametrize("case", ["as printed", "everything", "paid for wasting"])
def test_nobody_earns_more(case: str) -> None:
    feeder = CASES[case]()
    schedules = optimal_schedules(feeder)
    best = np.array([s.objective for s in schedules])
    power = np.stack([s.power_kw for s in schedules])
    rated = feeder.storage.limits(feeder.price).power_kw.numpy()
    rng = np.random.default_rng(0)
    price = feeder.days.price
    rivals = [np.zeros_like(power)]
    rivals += [np.stack([arbitrage_schedule(feeder.storage, p, feeder.hours) for p in price])]
    rivals += [rated * rng.uniform(-1, 1, power.shape) for _ in range(10)]
    rivals += [power + s * rated * rng.normal(size=power.shape) for s in np.logspace(-4, 0, 20)]
    rivals += [np.roll(power, shift, 1) for shift in (-4, -1, 1, 4)]
    rivals += [share * power for share in (0.5, 0.9, 0.99, 1.01)]
    for rival in rivals:
        assert (rewards(feeder, rival) <= best + 1e-5).all()


def test_small_steps_from_the_optimum_lose() -> None:
    """Move energy between two steps of one battery, which keeps the end of the day as it is."""
    feeder = loaded(end_soc="initial")
    s = optimal_schedule(feeder, 0)
    rng = np.random.default_rng(1)
    moved = []
    for _ in range(60):
        (a, b), m = rng.choice(feeder.steps, 2, replace=False), rng.integers(2)
        power = s.power_kw.copy()
        amount = 10 ** rng.uniform(-3, 1)
        power[a, m] += amount
        power[b, m] -= amount
        moved.append(power)
    crowd = feeder.on(feeder.days.select([s.date] * len(moved)))
    earned = rewards(crowd, np.stack(moved))
    assert earned.max() <= s.objective + 1e-5
    assert earned.min() < s.objective - 0.01


def test_voltages_are_concave_in_the_powers() -> None:
    """So the penalty of an under-voltage is convex, and a local optimum is the optimum."""
    feeder = loaded(voltage_scope="all")
    load = np.tile(feeder.days.net_load[0], (40, 1))
    rng = np.random.default_rng(2)
    first, second = rng.uniform(-50, 50, (2, len(load), 2))

    def magnitude(power: Float) -> Float:
        at = load.copy()
        at[:, feeder.at.tolist()] += power
        return solve(feeder.network, at, tol=1e-13).magnitude.numpy()

    middle = magnitude((first + second) / 2)
    assert (middle >= (magnitude(first) + magnitude(second)) / 2 - 1e-13).all()


def test_without_a_penalty_it_is_arbitrage() -> None:
    feeder = loaded(sigma=0.0)
    s = optimal_schedule(feeder, 1)
    price = feeder.days.price[1]
    best = arbitrage_schedule(feeder.storage, price, feeder.hours)
    assert s.penalty == 0
    assert s.objective == pytest.approx(-float(price @ best.sum(1)) * feeder.hours / 1000, abs=1e-5)


def test_a_day_ends_where_it_began_if_it_has_to() -> None:
    schedules = {end: optimal_schedule(loaded(end_soc=end), 0) for end in ("free", "initial")}
    soc = play(loaded(), [schedules["initial"]] * 2).soc
    np.testing.assert_allclose(soc[0, -1], soc[0, 0], atol=1e-7)
    assert schedules["free"].objective > schedules["initial"].objective + 0.1


def test_a_battery_never_does_both_at_once() -> None:
    feeder = CASES["paid for wasting, back to the start"]()
    model = feeder_nlp.build(feeder)
    feeder_nlp.set_day(model, feeder, 0)
    feeder_nlp.ipopt.solve(model, program="bundled")
    wasted = sum(min(model.c[i].value, model.d[i].value) for i in model.c)
    assert wasted * feeder.network.base_kva > 10  # the relaxed model does
    s = optimal_schedule(feeder, 0)
    assert s.objective < pyo.value(model.objective) - 0.01
    np.testing.assert_allclose(play(feeder, [s] * 2).power_kw[0], s.power_kw, atol=1e-4)


@pytest.mark.parametrize("case", ["as printed", "paid for wasting, back to the start"])
def test_one_model_serves_all_days(case: str) -> None:
    feeder = CASES[case]()
    backwards = optimal_schedules(feeder, [1, 0])
    assert [s.date for s in backwards] == ["2021-01-02", "2021-01-01"]
    for day in (0, 1):
        alone = optimal_schedule(feeder, day)
        assert backwards[1 - day].objective == pytest.approx(alone.objective, abs=1e-6)
        np.testing.assert_allclose(backwards[1 - day].power_kw, alone.power_kw, atol=1e-3)


def test_the_same_day_gives_the_same_bits() -> None:
    first, second = optimal_schedules(loaded()), optimal_schedules(loaded())
    for a, b in zip(first, second, strict=True):
        assert a.power_kw.tobytes() == b.power_kw.tobytes()
        assert (a.objective, a.penalty, a.iterations) == (b.objective, b.penalty, b.iterations)


def test_equal_prices_do_not_make_it_cycle() -> None:
    feeder = loaded(replace(hourly(made_up_days(1)), price=np.full((1, 24), 40.0)))
    power = optimal_schedule(feeder, 0).power_kw
    np.testing.assert_allclose(power, power.mean(), atol=0.01)
    assert power.max() < 0


def test_no_days_are_no_error() -> None:
    assert optimal_schedules(loaded(), []) == []


def other(network: Network) -> Feeder:
    return Feeder(network, Storage(nodes=(3, 6)), made_up_days(1), backend="dense")


def test_what_the_model_does_not_describe_is_refused() -> None:
    n = forked()
    with pytest.raises(InputError, match="forked has voltage-dependent loads or taps"):
        optimal_schedule(other(n.replace_loads((0.5, 0.2, 0.3))), 0)
    with pytest.raises(InputError, match="forked has voltage-dependent loads or taps"):
        optimal_schedule(other(replace(n, tap=np.array([1, 1, 0.98, 1, 1], complex))), 0)
    ring = {
        name: np.append(getattr(n, name), getattr(n, name)[-1]) for name in ("r", "x", "b", "tap")
    }
    meshed = replace(n, from_bus=np.append(n.from_bus, 4), to_bus=np.append(n.to_bus, 5), **ring)
    with pytest.raises(InputError, match="forked.*loop"):
        optimal_schedule(other(meshed), 0)
    with pytest.raises(InputError, match="no day 5 among the 2"):
        optimal_schedule(loaded(), 5)
    with pytest.raises(InputError, match="a reward of its own"):
        optimal_schedule(loaded(reward=lambda outcome: outcome.profit), 0)


def test_a_failure_names_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_nlp, "_OPTIONS", {"max_iter": 3})
    with pytest.raises(InputError, match=r"2021-01-02: model optimal dispatch of forked was not"):
        optimal_schedule(loaded(), 1)


# The published feeders ---------------------------------------------------------------------------


def published(raw_data: Path, nodes: int) -> Network:
    tables = (raw_data / f"{kind}_{nodes}.csv" for kind in ("Nodes", "Lines"))
    return Network.read(*tables, name=f"{nodes} nodes")


def test_the_worst_stress_day(raw_data: Path) -> None:
    series = Series.read(raw_data / "34_node_time_series.csv")
    feeder = Feeder(published(raw_data, 34), Storage(), series.days(["2020-12-10"]))
    s = optimal_schedule(feeder, 0)
    idle, reward = float(feeder.idle_penalty.sum()), float(play(feeder, [s]).reward.sum())
    assert idle > 90
    assert s.objective > -50
    strict = Feeder(feeder.network, feeder.storage, feeder.days, sigma=1e6)
    assert linear_schedule(strict, 0).penalty > 1e4  # hard limits leave the day without a solution
    assert reward == pytest.approx(s.objective, rel=1e-4)
    linear = linear_schedule(feeder, 0, 4)
    assert s.objective == pytest.approx(linear.objective, abs=1e-3)
    assert s.iterations < 40


def test_line_charging_of_the_69_nodes(raw_data: Path) -> None:
    network = published(raw_data, 69)
    assert network.b.max() > 0
    rng = np.random.default_rng(0)
    shape = 1 - 0.4 * np.cos(2 * np.pi * np.arange(96) / 96)
    load = rng.uniform(0, 150, 69) * shape[None, :, None]
    days = hourly(replace(made_up_days(1, 69), load=load, reactive=0.4 * load))
    feeder = Feeder(network, Storage(nodes=(12, 27, 50, 65)), days, tol=EXACT)
    s = optimal_schedule(feeder, 0)
    assert float(feeder.idle_penalty.sum()) > 1
    assert float(play(feeder, [s]).reward.sum()) == pytest.approx(s.objective, abs=1e-5)
