"""The rolling-horizon program: its physics, its optimum, and what it says of bad input."""

from dataclasses import replace
from typing import Any

import casadi
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from griddispatch.errors import InputError
from griddispatch.optimization.mpc import Dispatch, Plan
from griddispatch.optimization.mpc_model import Model, Shape
from griddispatch.optimization.mpc_plant import (
    AGE,
    BLOCK,
    DAY,
    FULL,
    STEP_H,
    Grid,
    Outlook,
    Plant,
    State,
    time_of_use,
)

SMALL = (1,) * 4 + (2,) * 4  # 12 steps in 8 blocks
EXACT = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}


def outlook(seed: int, steps: int, W: int = 1) -> Outlook:
    random = np.random.default_rng(seed)
    weight = random.uniform(0.5, 1, W)
    pv, load = random.uniform(0, 150, (W, steps)), random.uniform(30, 150, (W, steps))
    return Outlook(pv, load, weight / weight.sum())


def prices(seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([seed, 1])
    buy = random.choice([0.12, 0.2, 0.32, 0.4], steps)
    return buy, buy * random.uniform(0, 1, steps)


def residuals(plan: Plan, plant: Plant, grid: Grid, state: State, see: Outlook) -> None:
    """Check every limit and balance of a plan."""
    dt, tol = grid.hours, 1e-6
    pv, load = grid.mean(see.pv), grid.mean(see.load)
    spill = pv + plan.grid + plan.discharge - plan.charge
    spill -= load - plan.cut - plan.later + plan.caught_up
    assert (spill > -tol).all()
    assert (spill < pv + tol).all()
    before = np.column_stack([np.full(len(pv), state.energy), plan.energy[:, :-1]])
    flow = dt * (plant.eta * plan.charge - plan.discharge / plant.eta)
    assert np.allclose(plan.energy, before * (1 - plant.leak) ** dt + flow, atol=1e-5)
    assert (plan.energy > plant.lowest_kwh - tol).all()
    assert (plan.energy < plant.energy_kwh + tol).all()
    owed = sum(state.due) + np.cumsum(
        dt * (plan.later - plan.caught_up / (1 + plant.payback)), axis=1
    )
    assert np.allclose(plan.backlog, owed, atol=1e-5)
    assert np.allclose(plan.backlog[:, -1], 0, atol=1e-6)
    assert (plan.backlog < plant.backlog_kwh + tol).all()
    assert (plan.later < plant.shift_share * load + tol).all()
    assert (plan.cut < plant.cut_share * load + tol).all()
    assert (plan.grid < plant.import_kw + tol).all()
    assert (plan.grid > -plant.export_kw - tol).all()
    for first in (plan.battery, plan.cut, plan.later, plan.caught_up):
        assert np.ptp(first[:, 0]) == 0


@given(seed=st.integers(0, 10_000), W=st.integers(1, 3), full=st.booleans())
@settings(max_examples=25)
def test_energy_is_conserved_and_no_battery_goes_both_ways(seed: int, W: int, full: bool) -> None:
    random = np.random.default_rng([seed, 2])
    plant = Plant(leak=float(random.choice([0, 0.01])), eta=float(random.uniform(0.7, 0.99)))
    due = np.zeros(AGE)
    due[random.integers(8, AGE)] = random.uniform(0, 20)
    state = State(random.uniform(0, 200), tuple(due), random.uniform(0, 100), 10.0, 50)
    blocks = FULL if full else BLOCK
    see = outlook(seed, DAY, W)
    program = Dispatch(plant, blocks, W, demand=float(random.choice([0, 10])))
    plan = program.solve(state, see, *prices(seed, DAY), value=0.1)
    residuals(plan, plant, Grid.of(blocks), state, see)
    assert np.minimum(plan.charge, plan.discharge).max() < 1e-6
    if program._shape[3]:  # with a demand charge
        assert (plan.peak >= plan.grid.max(1) - 1e-6).all()
        assert (plan.peak >= state.peak - 1e-6).all()


def by_the_book(
    plant: Plant,
    see: Outlook,
    buy: np.ndarray,
    sell: np.ndarray,
    state: State,
    value: float,
    demand: float,
    risk: float,
    tail: float,
) -> float:
    """Solve the written equations anew, in single steps, with all variables spelled out."""
    W, K = see.pv.shape
    names = ["buy", "sell", "charge", "give", "energy", "cut", "later", "up", "backlog", "spill"]
    at = {n: k * W * K + np.arange(W * K).reshape(W, K) for k, n in enumerate(names)}
    n = len(names) * W * K
    peak, excess, zeta = n + np.arange(W), n + W + np.arange(W), n + 2 * W
    width = n + 2 * W + 1
    eq, eq_to, ub, ub_to = [], [], [], []

    def row(cells: dict[int, float]) -> np.ndarray:
        made = np.zeros(width)
        for column, weight in cells.items():
            made[column] += weight
        return made

    case_cost = np.zeros((W, width))
    unit = {
        "buy": buy,
        "sell": -sell,
        "charge": plant.wear,
        "give": plant.wear,
        "cut": plant.cut_cost,
        "later": plant.shift_cost,
        "up": plant.shift_cost,
    }
    for w in range(W):
        for name, price in unit.items():
            case_cost[w, at[name][w]] = STEP_H * price
        case_cost[w, peak[w]] = demand
        case_cost[w, at["energy"][w, -1]] = -value
        ub.append(case_cost[w] - row({zeta: 1.0, excess[w]: 1.0}))
        ub_to.append(0.0)
        for k in range(K):
            v = {name: int(x[w, k]) for name, x in at.items()}
            signs = {"buy": 1, "sell": -1, "give": 1, "charge": -1, "cut": 1, "later": 1, "up": -1}
            eq.append(row({**{v[a]: b for a, b in signs.items()}, v["spill"]: -1.0}))
            eq_to.append(see.load[w, k] - see.pv[w, k])
            keep = (1 - plant.leak) ** STEP_H
            cells = {v["energy"]: 1.0, v["charge"]: -plant.eta * STEP_H}
            cells[v["give"]] = STEP_H / plant.eta
            eq_to.append(keep * state.energy if k == 0 else 0.0)
            if k:
                cells[int(at["energy"][w, k - 1])] = -keep
            eq.append(row(cells))
            cells = {v["backlog"]: 1.0, v["later"]: -STEP_H, v["up"]: STEP_H / (1 + plant.payback)}
            eq_to.append(sum(state.due) if k == 0 else 0.0)
            if k:
                cells[int(at["backlog"][w, k - 1])] = -1.0
            eq.append(row(cells))
            young = {int(at["later"][w, j]): -STEP_H for j in range(max(0, k + 1 - AGE), k + 1)}
            ub.append(row({v["backlog"]: 1.0, **young}))
            ub_to.append(sum(state.due[k + 1 :]))
            ub.append(row({v["buy"]: 1.0, peak[w]: -1.0}))
            ub_to.append(0.0)
        left = DAY - state.clock
        for days, allowed in (
            (slice(0, left), plant.cut_kwh - state.cut),
            (slice(left, K), plant.cut_kwh),
        ):
            ub.append(row(dict.fromkeys(at["cut"][w, days].tolist(), STEP_H)))
            ub_to.append(allowed)
        for name in ("charge", "give", "cut", "later", "up"):
            eq.append(row({int(at[name][w, 0]): 1.0}) - row({int(at[name][0, 0]): 1.0}))
            eq_to.append(0.0)
    most = {"buy": plant.import_kw, "sell": plant.export_kw, "up": plant.shift_up_kw}
    most |= {"charge": plant.power_kw, "give": plant.power_kw, "energy": plant.energy_kwh}
    high = np.full(width, np.inf)
    for name, limit in most.items():
        high[at[name]] = limit
    high[at["cut"]], high[at["later"]] = plant.cut_share * see.load, plant.shift_share * see.load
    high[at["backlog"]], high[at["spill"]] = plant.backlog_kwh, see.pv
    high[at["backlog"][:, -1]] = 0
    low = np.zeros(width)
    low[peak], low[zeta] = state.peak, -np.inf
    cost = see.weight @ case_cost
    cost[zeta], cost[excess] = risk, risk / tail * see.weight
    answer = linprog(
        cost,
        A_ub=sparse.csr_array(np.array(ub)),
        b_ub=ub_to,
        A_eq=sparse.csr_array(np.array(eq)),
        b_eq=eq_to,
        bounds=np.column_stack([low, high]),
        method="highs-ipm",
    )
    assert answer.status == 0, answer.message
    return float(answer.fun)


@pytest.mark.parametrize(
    ("seed", "W", "demand", "risk"), [(0, 1, 0, 0), (1, 2, 5, 0), (2, 3, 0, 0.7), (3, 2, 5, 0.7)]
)
def test_the_optimum_is_that_of_the_written_equations(
    seed: int, W: int, demand: float, risk: float
) -> None:
    plant, K = Plant(cut_kwh=15.0, leak=0.01), 34
    due = [0.0] * AGE
    due[6], due[20] = 9.0, 5.0
    state = State(80.0, tuple(due), 40.0, 12.0, DAY - 10)
    see, (buy, sell) = outlook(seed, K, W), prices(seed, K)
    program = Dispatch(plant, (1,) * K, W, demand=demand, risk=risk, tail=0.3)
    plan = program.solve(state, see, buy, sell, value=0.1)
    written = by_the_book(plant, see, buy, sell, state, 0.1, demand, risk, 0.3)
    assert plan.objective == pytest.approx(written, rel=1e-6)


def test_another_solver_finds_the_same_optimum() -> None:
    W, plant = 2, Plant()
    shape = Shape(plant, Grid.of(SMALL), W, 10.0, 0.0, 0.2, (0,) * len(SMALL), False)
    model = Model(shape)
    see, (buy, sell) = outlook(4, 12, W), prices(4, 12)
    new = model.numbers(State(50.0), see, buy, sell, 0.1)
    matrix = model.program.matrix().tolil()
    matrix[new.rows, new.columns] = new.values
    made = casadi.DM(sparse.csc_matrix(matrix))
    quiet = {"verbose": False, "print_time": False}
    other = casadi.conic("other", "clp", {"a": made.sparsity()}, quiet)
    found = other(g=new.cost, a=made, lba=new.row_low, uba=new.row_high, lbx=new.low, ubx=new.high)
    ours = Dispatch(plant, SMALL, W, demand=10.0).solve(State(50.0), see, buy, sell, value=0.1)
    assert ours.objective == pytest.approx(float(found["cost"]), rel=1e-7)


@given(seed=st.integers(0, 10_000), rise=st.floats(0.001, 1))
@settings(max_examples=20)
def test_a_higher_price_never_lowers_the_cost(seed: int, rise: float) -> None:
    program = Dispatch(Plant(), SMALL, options=EXACT)
    see, (buy, sell) = outlook(seed, 12), prices(seed, 12)
    dearer = buy.copy()
    dearer[seed % 12] += rise
    first, second = (
        program.solve(State(90.0), see, b, sell, value=0.1).objective for b in (buy, dearer)
    )
    assert second >= first - 1e-7


def test_refilled_programs_forget_what_they_solved_before() -> None:
    program = Dispatch(Plant(), BLOCK, 3, demand=10.0, risk=0.5)
    for seed in range(5):
        state = State(20.0 * seed, clock=19 * seed, peak=10.0 * seed)
        question = outlook(seed, DAY, 3), *prices(seed, DAY)
        fresh = Dispatch(Plant(), BLOCK, 3, demand=10.0, risk=0.5)
        plans = [p.solve(state, *question, value=0.12) for p in (program, fresh)]
        assert plans[0].objective == pytest.approx(plans[1].objective, rel=1e-8)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12)
def test_negative_prices_do_not_burn_energy(seed: int) -> None:
    random = np.random.default_rng(seed)
    buy = random.uniform(-0.2, 0.3, 12)
    see, plant, state = outlook(seed, 12), Plant(wear=0.0), State(150.0)
    plan = Dispatch(plant, SMALL).solve(state, see, buy, buy - 0.01, value=0.0)
    assert np.minimum(plan.charge, plan.discharge).max() < 1e-4
    residuals(plan, plant, Grid.of(SMALL), state, see)


def test_burning_energy_would_pay_without_the_binaries() -> None:
    """Guard of the test above: the relaxation does go both ways at such prices."""
    buy, see, plant = np.full(12, -0.2), outlook(0, 12), Plant(wear=0.0)
    shape = Shape(plant, Grid.of(SMALL), 1, 0.0, 0.0, 0.2, (0,) * 8, False)
    model = Model(shape)
    new = model.numbers(State(200.0), see, buy, buy - 0.01, 0.0)
    matrix = model.program.matrix().tolil()
    matrix[new.rows, new.columns] = new.values
    csr, equal = sparse.csr_array(matrix), new.row_low == new.row_high
    above, below = np.isfinite(new.row_high) & ~equal, np.isfinite(new.row_low) & ~equal
    answer = linprog(
        new.cost,
        A_ub=sparse.vstack([csr[above], -csr[below]]),
        b_ub=np.concatenate([new.row_high[above], -new.row_low[below]]),
        A_eq=csr[equal],
        b_eq=new.row_low[equal],
        bounds=np.column_stack([new.low, new.high]),
    )
    assert np.minimum(answer.x[model.charge], answer.x[model.give]).max() > 10
    plan = Dispatch(plant, SMALL).solve(State(200.0), see, buy, buy - 0.01, value=0.0)
    assert plan.objective > answer.fun + 0.1


def test_selling_above_the_buying_price_is_no_money_machine() -> None:
    see = Outlook.certain(np.zeros(12), np.full(12, 50.0))
    buy, sell = np.full(12, 0.1), np.full(12, 0.3)
    plan = Dispatch(Plant(), SMALL).solve(State(0.0), see, buy, sell, value=0.0)
    assert (plan.grid > 0).any()
    lossless = -0.3 * 50.0 * 3  # not even a plant that sells all the time gets this much
    assert plan.objective > lossless


def test_risk_aversion_lowers_the_worst_case_and_raises_the_mean() -> None:
    see, (buy, sell) = outlook(7, DAY, 5), prices(7, DAY)
    pv = see.pv * np.array([0, 0.3, 1, 1, 1])[:, None]
    see = see._replace(pv=pv)

    def costs(risk: float) -> np.ndarray:
        plan = Dispatch(Plant(), FULL, 5, demand=10.0, risk=risk).solve(
            State(100.0), see, buy, sell, value=0.1
        )
        trade = np.where(plan.grid > 0, buy * plan.grid, sell * plan.grid)
        other = Plant().wear * (plan.charge + plan.discharge) + 0.3 * plan.cut
        other += 0.01 * (plan.later + plan.caught_up)
        return STEP_H * (trade + other).sum(1) + 10 * plan.peak - 0.1 * plan.energy[:, -1]

    calm, bold = costs(20.0), costs(0.0)
    assert calm.max() <= bold.max() + 1e-6
    assert see.weight @ calm >= see.weight @ bold - 1e-6


def test_load_waits_six_hours_at_most() -> None:
    buy = np.full(DAY, 0.3)
    buy[40:] = 0.01  # cheap, but too late for the load of the first hours
    see = Outlook.certain(np.zeros(DAY), np.full(DAY, 100.0))
    plant = Plant(energy_kwh=1.0, power_kw=1.0, cut_share=0.0)
    plan = Dispatch(plant, FULL).solve(State(0.0), see, buy, 0 * buy, value=0.0)
    assert plan.later[0, :16].max() < 1e-9
    assert plan.later[0, 16:40].sum() * STEP_H == pytest.approx(60, abs=0.1)
    due = [0.0] * AGE
    due[3] = 20.0
    forced = Dispatch(plant, FULL).solve(State(0.0, tuple(due)), see, buy, 0 * buy, value=0.0)
    assert forced.caught_up[0, :4].sum() * STEP_H == pytest.approx(22.0)


def test_cut_energy_of_a_day_is_capped_on_both_sides_of_midnight() -> None:
    see = Outlook.certain(np.zeros(DAY), np.full(DAY, 100.0))
    buy = np.full(DAY, 0.5)
    state = State(0.0, cut=20.0, clock=76)  # five hours to midnight
    plan = Dispatch(Plant(), FULL).solve(state, see, buy, 0 * buy, value=0.0)
    assert plan.cut[0, :20].sum() * STEP_H == pytest.approx(30)
    assert plan.cut[0, 20:].sum() * STEP_H == pytest.approx(50)


def test_the_tariff_of_the_study() -> None:
    index = pd.date_range("2021-06-04", periods=2 * DAY, freq="15min", tz="UTC")  # Friday
    tariff = time_of_use(index)
    assert tariff.buy[[0, 23, 24, 67, 68, 83, 84, 88]].tolist() == [
        0.12, 0.12, 0.2, 0.2, 0.32, 0.32, 0.2, 0.12
    ]  # fmt: skip
    assert tariff.buy[DAY + 70] == 0.2
    assert set(tariff.sell) == {0.08}


def question(**changes: Any) -> dict[str, Any]:
    see, (buy, sell) = outlook(0, 12), prices(0, 12)
    return {"state": State(50.0), "outlook": see, "buy": buy, "sell": sell, "value": 0.1} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": State(500.0)}, "battery holds 500"),
        ({"buy": np.ones(3)}, "buy has shape"),
        ({"buy": np.full(12, np.nan)}, "12 values that are not finite"),
        ({"outlook": outlook(0, 12)._replace(weight=np.array([0.5]))}, "sum to 0.5"),
        ({"outlook": outlook(0, 12)._replace(pv=-np.ones((1, 12)))}, "negative"),
        ({"state": State(50.0, due=(1.0,))}, "due needs"),
        ({"outlook": Outlook.certain(np.zeros(12), np.full(12, 900.0))}, "row 'balance' of block"),
        (
            {"state": State(50.0, due=(30.0,) + (0.0,) * 23)},
            "row '(age of the )?backlog' of block 0",
        ),
    ],
)
def test_bad_or_infeasible_input_is_explained(changes: dict[str, Any], message: str) -> None:
    program = Dispatch(Plant(), SMALL)
    with pytest.raises(InputError, match=message):
        program.solve(**question(**changes))
    program.solve(**question())  # the program is not spoiled


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": 0.0}, "eta"),
        ({"power_kw": -1.0}, "power_kw"),
        ({"cut_share": 0.95}, "cut_share"),
        ({"backlog_kwh": 400.0}, "backlog"),
    ],
)
def test_an_impossible_plant_is_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(Plant(), **changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": (4, 4)}, "horizon"),
        ({"scenarios": 0}, "scenarios"),
        ({"risk": -1.0}, "risk"),
        ({"periods": (0, 1)}, "periods"),
    ],
)
def test_an_impossible_program_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Dispatch(Plant(), **arguments)
