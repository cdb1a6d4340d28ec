"""Controllers on a plant, step by step: the inner rule, the books, and the bound."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.data.profiles import Profiles, synthetic
from griddispatch.data.weather import DAY
from griddispatch.errors import InputError
from griddispatch.evaluation.closed_loop import bound, play, simulate
from griddispatch.evaluation.controllers import (
    CASES,
    Case,
    Idle,
    Issued,
    Order,
    Planner,
    Rules,
    case,
    foresight,
)
from griddispatch.forecasting.naive import seasonal_naive
from griddispatch.forecasting.scenarios import Copula
from griddispatch.forecasting.windows import MEDIAN
from griddispatch.optimization.mpc import Dispatch
from griddispatch.optimization.mpc_plant import BLOCK, FULL, STEP_H, Plant, State, Tariff

VALUE = 0.13


@pytest.fixture(scope="module")
def data() -> Profiles:
    return synthetic(2, lengths={"train": 15, "validation": 3, "test": 2}, first_day="2021-05-15")


@pytest.fixture(scope="module")
def steps(data: Profiles) -> np.ndarray:
    return data.steps("validation")[: 2 * DAY]


def foreseeing(data: Profiles, c: Case, blocks: tuple[int, ...] = BLOCK) -> Planner:
    return Planner(c, foresight(data), Dispatch(c.plant, blocks, demand=c.tariff.demand), VALUE)


@pytest.mark.parametrize("name", CASES)
def test_nobody_beats_the_bound_and_foresight_comes_near(
    name: str, data: Profiles, steps: np.ndarray
) -> None:
    c = case(name, data.index)
    least = bound(data, c, steps)
    costs = {
        "foresight": simulate(foreseeing(data, c), data, c, steps).cost,
        "rules": simulate(Rules(c), data, c, steps).cost,
        "idle": simulate(Idle(), data, c, steps).cost,
    }
    assert all(cost >= least - 1e-6 for cost in costs.values())
    # A day's horizon does not see the month, so with a demand charge it stays further off.
    assert costs["foresight"] < (1.15 if c.tariff.demand else 1.01) * least
    assert costs["foresight"] < min(costs["rules"], costs["idle"])


def test_the_books_balance(data: Profiles, steps: np.ndarray) -> None:
    c = case("demand charge", data.index)
    run = simulate(foreseeing(data, c), data, c, steps)
    s = run.steps
    served = s["load"] - s["cut"] - s["later"] + s["caught_up"]
    assert np.allclose(s["grid"] + s["pv"] - s["spill"] - s["battery"], served)
    flow = 0.95 * s["battery"].clip(lower=0) + s["battery"].clip(upper=0) / 0.95
    assert np.allclose(s["energy"], 100 + (flow * STEP_H).cumsum())
    buy, sell = (x[steps] for x in c.tariff[:2])
    trade = STEP_H * np.where(s["grid"] > 0, buy * s["grid"], sell * s["grid"]).sum()
    plant = c.plant
    wear = STEP_H * plant.wear * s["battery"].abs().sum()
    flexible = STEP_H * (
        plant.cut_cost * s["cut"] + plant.shift_cost * (s["later"] + s["caught_up"])
    )
    peak = 10 * s["grid"].max()
    assert s["cost"].sum() == pytest.approx(trade + wear + flexible.sum() + peak)
    assert run.daily().sum() == pytest.approx(run.cost)
    assert list(run.daily().index) == list(data.dates["validation"][:2])
    summary = run.summary()
    assert summary["peak"] == s["grid"].max()
    assert summary["violation"] == 0
    assert summary["shifted"] == pytest.approx(s["later"].sum() / 4)
    assert summary["solve ms"] > 0


def test_the_demand_charge_lowers_the_peak_that_cheap_nights_raise(
    data: Profiles, steps: np.ndarray
) -> None:
    peaks = {}
    for name in ("energy only", "demand charge"):
        c = case(name, data.index)
        peaks[name] = simulate(foreseeing(data, c), data, c, steps).summary()["peak"]
    idle = simulate(Idle(), data, case("energy only", data.index), steps).summary()["peak"]
    assert peaks["demand charge"] < idle < peaks["energy only"]


def test_the_export_cap_holds_and_what_is_over_is_spilled(
    data: Profiles, steps: np.ndarray
) -> None:
    sunny = data.with_power(data.power * np.array([3, 3, 3, 3, 1.0]))
    c = case("export cap", data.index)
    for controller in (Idle(), foreseeing(sunny, c)):
        s = simulate(controller, sunny, c, steps).steps
        assert s["grid"].min() == pytest.approx(-40)
        assert s["spill"].max() > 10


order = st.builds(
    Order,
    battery=st.floats(-200, 200),
    cut=st.floats(0, 100),
    later=st.floats(0, 100),
    caught_up=st.floats(0, 100),
    band=st.sampled_from([(-np.inf, np.inf), (0.0, 80.0), (-np.inf, 0.0), (0.0, 0.0)]),
)


@given(
    orders=st.lists(order, min_size=30, max_size=30),
    pv=st.floats(0, 200),
    load=st.floats(0, 150),
)
@settings(max_examples=40)
def test_no_order_breaks_a_limit(orders: list[Order], pv: float, load: float) -> None:
    plant = Plant()
    flat = Case("flat", plant, Tariff(np.full(99, 0.2), np.full(99, 0.1), 5.0))
    state = State(100.0)
    for t, wanted in enumerate(orders):
        before = state
        done, state = play(wanted, state, flat, t, pv, load)
        assert 0 <= state.energy <= 200
        assert abs(done.battery) <= 100 + 1e-9
        assert done.cut <= 0.1 * load + 1e-9
        assert state.cut <= plant.cut_kwh + 1e-9
        assert sum(state.due) <= plant.backlog_kwh + 1e-6
        owed = sum(before.due) + STEP_H * (done.later - done.caught_up / 1.1)
        assert sum(state.due) == pytest.approx(owed, abs=1e-4)
        assert before.due[0] <= STEP_H * done.caught_up / 1.1 + 1e-6
        assert done.violation == 0


@pytest.mark.parametrize(
    ("band", "load", "pv", "battery", "grid"),
    [
        ((0.0, np.inf), 60.0, 0.0, -60.0, 0.0),  # less load: no feeding in by mistake
        ((0.0, np.inf), 100.0, 0.0, -80.0, 20.0),  # more load: the grid takes it
        ((0.0, 10.0), 100.0, 0.0, -90.0, 10.0),  # unless the planned peak forbids it
        ((-np.inf, 0.0), 20.0, 70.0, -80.0, -130.0),  # selling is planned: no correction
        ((0.0, 0.0), 20.0, 70.0, 50.0, 0.0),  # neither: surplus into the battery
    ],
)
def test_the_inner_rule_keeps_the_band_with_the_least_correction(
    band: tuple[float, float], load: float, pv: float, battery: float, grid: float
) -> None:
    flat = Case("flat", Plant(cut_share=0, shift_share=0), Tariff(np.ones(9), np.zeros(9)))
    done, _ = play(Order(battery=-80.0, band=band), State(100.0), flat, 0, pv, load)
    assert (done.battery, done.grid) == pytest.approx((battery, grid))


def test_an_empty_battery_cannot_keep_the_band_and_the_grid_steps_in() -> None:
    flat = Case("flat", Plant(), Tariff(np.ones(9), np.zeros(9)))
    done, after = play(Order(battery=-80.0, band=(0.0, 10.0)), State(5.0), flat, 0, 0.0, 100.0)
    assert done.battery == pytest.approx(-5 * 0.95 * 4)
    assert done.grid == pytest.approx(81)
    assert after.energy == pytest.approx(0)


def test_a_month_begins_with_a_peak_of_zero(data: Profiles) -> None:
    start = int(np.flatnonzero(data.index.strftime("%Y-%m-%d") == "2021-05-31")[0])
    steps = np.arange(start, start + 2 * DAY)
    c = case("demand charge", data.index)
    run = simulate(Idle(), data, c, steps)
    grid = run.steps["grid"].to_numpy().reshape(2, DAY)
    c0 = case("energy only", data.index)
    extra = run.cost - simulate(Idle(), data, c0, steps).cost
    assert extra == pytest.approx(10 * grid.max(1).sum())


def test_planners_use_the_forecasts_issued_for_the_step(data: Profiles, steps: np.ndarray) -> None:
    model = seasonal_naive(data)
    pv = np.array([True] * 4 + [False])
    issued = Issued(model.forecast(data, steps).astype(np.float32), steps, pv)
    seen = issued.median(int(steps[7]))
    assert seen.pv[0] == pytest.approx(issued.quantiles[7, :4, :, MEDIAN].sum(0), rel=1e-5)
    assert (issued.cautious(int(steps[7])).load[0] >= seen.load[0]).all()
    with pytest.raises(InputError, match="no forecast was issued"):
        issued.median(int(steps[-1]) + 1)
    levels = np.random.default_rng(0).uniform(0, 1, (300, 5, DAY))
    copula = Copula.fit(levels, np.ones(levels.shape, np.bool_), data, paths=40)
    believed = issued.scenarios(copula, 5)
    assert believed(int(steps[3])) is believed(int(steps[3]))
    c = case("energy only", data.index)
    day = steps[:DAY]
    planners = {
        "median": Planner(c, issued.median, Dispatch(c.plant), VALUE),
        "scenarios": Planner(c, believed, Dispatch(c.plant, BLOCK, 5), VALUE),
        "open loop": Planner(c, issued.median, Dispatch(c.plant, FULL), VALUE, every=DAY),
    }
    runs = {name: simulate(p, data, c, day) for name, p in planners.items()}
    best = bound(data, c, day)
    idle = simulate(Idle(), data, c, day).cost
    assert all(best - 1e-6 <= run.cost < idle for run in runs.values())
    assert len(runs["open loop"].milliseconds) == 1
    assert len(runs["scenarios"].milliseconds) == DAY
    assert runs["scenarios"].cost != runs["median"].cost


def test_the_same_run_twice_is_the_same_to_the_last_digit(
    data: Profiles, steps: np.ndarray
) -> None:
    c = case("demand charge", data.index)
    runs = [simulate(foreseeing(data, c), data, c, steps[:DAY]) for _ in range(2)]
    assert runs[0].steps.equals(runs[1].steps)


def test_bad_runs_are_named(data: Profiles, steps: np.ndarray) -> None:
    c = case("energy only", data.index)
    with pytest.raises(InputError, match="consecutive"):
        simulate(Idle(), data, c, steps[::2])
    with pytest.raises(InputError, match="midnight"):
        simulate(Idle(), data, c, steps[5:])
    with pytest.raises(InputError, match="no case"):
        case("free beer", data.index)
    with pytest.raises(InputError, match="every is 96"):
        Planner(c, foresight(data), Dispatch(c.plant, BLOCK), VALUE, every=96)
    assert replace(c, name="x").credit == 0.12
