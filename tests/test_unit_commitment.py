from itertools import groupby, product

import numpy as np
import pytest
from scipy.optimize import linprog

from griddispatch.errors import InputError
from griddispatch.optimization.mixed_integer import MixedInteger
from griddispatch.optimization.unit_commitment import TEN_UNIT_OPTIMUM, Units, commit, ten_units


def two_units(**changes):
    """A cheap one that has just stopped, and a dear one that has run for a step."""
    values = {
        "minimum": [30.0, 10.0],
        "maximum": [100.0, 60.0],
        "min_up": [2.0, 3.0],
        "min_down": [2.0, 1.0],
        "held": [-1.0, 1.0],
        "power": [0.0, 40.0],
        "hot": [50.0, 5.0],
        "cold": [80.0, 9.0],
        "cold_after": [3.0, 1.0],
        "ramp_up": [25.0, 30.0],
        "ramp_down": [25.0, 30.0],
        "start_ramp": [40.0, 25.0],
        "stop_ramp": [35.0, 25.0],
        "fixed": [10.0, 3.0],
        "linear": [2.0, 5.0],
        **changes,
    }
    return Units(**{name: np.array(value) for name, value in values.items()})


def allowed(pattern, held, min_up, min_down):
    """Whether a status pattern keeps the minimum times, by looking at its runs."""
    past = [int(held > 0)] * int(abs(held))
    runs = [(status, len(list(run))) for status, run in groupby([*past, *pattern])]
    # The last run may go on after the end; every other one must be long enough.
    return all(length >= (min_up if status else min_down) for status, length in runs[:-1])


def start_costs(pattern, held, hot, cold, cold_after):
    off, total, before = max(-held, 0), 0.0, held > 0
    for status in pattern:
        if status and not before:
            total += hot if off <= cold_after else cold
        off = 0 if status else off + 1
        before = bool(status)
    return total


def dispatch_cost(units, statuses, demand):
    """Cheapest powers for given statuses [T, N]; inf if there are none."""
    T, N = statuses.shape
    place = np.arange(T * N).reshape(T, N)
    rows, below = [], []
    for n in range(N):
        for t in range(T):
            was = statuses[t - 1, n] if t else float(units.held[n] > 0)
            now = statuses[t, n]
            up = units.ramp_up[n] if was else units.start_ramp[n]
            down = units.ramp_down[n] if now else units.stop_ramp[n]
            row = np.zeros(T * N)
            row[place[t, n]] = 1
            known = units.power[n]
            if t:
                row[place[t - 1, n]], known = -1, 0
            rows += [row, -row]
            below += [up + known, down - known]
    bounds = [
        (units.minimum[n] * statuses[t, n], units.maximum[n] * statuses[t, n])
        for t in range(T)
        for n in range(N)
    ]
    answer = linprog(
        np.tile(units.linear, T),
        np.array(rows),
        below,
        np.kron(np.eye(T), np.ones(N)),
        demand,
        bounds,
    )
    return answer.fun + float((units.fixed * statuses).sum()) if answer.status == 0 else np.inf


def enumerated(units, demand, reserve):
    best = np.inf
    T = len(demand)
    patterns = [
        [
            p
            for p in product((0, 1), repeat=T)
            if allowed(p, units.held[n], units.min_up[n], units.min_down[n])
        ]
        for n in range(len(units))
    ]
    for pair in product(*patterns):
        statuses = np.array(pair, dtype=float).T
        if (statuses @ units.maximum < demand + reserve).any():
            continue
        starts = sum(
            start_costs(p, units.held[n], units.hot[n], units.cold[n], units.cold_after[n])
            for n, p in enumerate(pair)
        )
        if starts < best:
            best = min(best, starts + dispatch_cost(units, statuses, demand))
    return best


@pytest.mark.parametrize(
    ("demand", "changes"),
    [
        ([40.0, 45.0, 70.0, 100.0, 60.0], {}),
        ([20.0, 50.0, 40.0, 12.0, 35.0], {"min_down": [1.0, 2.0], "stop_ramp": [50.0, 45.0]}),
        ([45.0, 40.0, 30.0, 42.0, 30.0], {"cold": [400.0, 90.0], "held": [-3.0, 2.0]}),
        ([45.0, 58.0, 48.0, 33.0, 70.0], {"hot": [0.0, 0.0], "cold": [0.0, 0.0]}),
    ],
)
def test_a_small_system_costs_what_enumeration_finds(demand, changes):
    units, demand = two_units(**changes), np.array(demand)
    found = commit(units, demand, 5.0, gap=1e-7)
    assert np.isfinite(found.cost)
    assert found.cost == pytest.approx(enumerated(units, demand, 5.0), abs=1e-5)
    assert found.bound <= found.cost + 1e-6


def test_the_ten_units_of_the_literature_have_its_optimum():
    units, demand, reserve = ten_units()
    found = commit(units, demand, reserve)
    assert round(found.cost) == TEN_UNIT_OPTIMUM
    assert found.cost - found.bound <= 1e-5 * found.cost
    np.testing.assert_allclose(found.power.sum(1), demand, atol=1e-6)
    assert (found.on @ units.maximum >= demand + reserve).all()
    for n in range(len(units)):
        pattern = found.on[:, n].astype(int)
        assert allowed(pattern, units.held[n], units.min_up[n], units.min_down[n])


def test_a_unit_that_has_just_stopped_stays_off():
    units = two_units(min_down=[3.0, 1.0])
    found = commit(units, [40.0, 45.0, 50.0, 60.0])
    assert found.on[:2, 0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_units(minimum=[200.0, 10.0]), "minimum <= maximum"),
        (lambda: two_units(linear=[np.nan, 1.0]), "linear holds a value"),
        (lambda: two_units(held=[0.0, 1.0]), "held not 0"),
        (lambda: commit(two_units(), [40.0, np.nan]), "one finite number per step"),
        (lambda: commit(two_units(), [400.0]), "HiGHS ends with Infeasible"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_program_keeps_whole_numbers_whole():
    program = MixedInteger()
    x = program.variables((2,), 0, 10, cost=[-3.0, -2.0])
    program.rows([(2.0, x[0]), (1.0, x[1])], high=7.5)
    assert program.minimise().objective == pytest.approx(-15.0)
    program.make_integer(x)
    answer = program.minimise(gap=0.0)
    assert answer.value.tolist() == pytest.approx([0.0, 7.0])
    assert answer.gap == pytest.approx(0.0, abs=1e-9)
