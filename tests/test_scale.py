"""The study of size: tasks carried over to other networks, one walk, growth and its figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import lines
from feeders import half_year, small_feeder

from griddispatch.errors import InputError
from griddispatch.evaluation import scale
from griddispatch.evaluation.scale import Meter, Plan, Walk
from griddispatch.evaluation.scale_tasks import (
    Reference,
    cigre_mv,
    dealt,
    make_task,
    spaced,
)
from griddispatch.grid.power_flow import solve
from griddispatch.grid.synthetic import synthetic_feeder
from griddispatch.reporting import scale as drawn

TINY = Plan(
    training_days=3,
    test_days=2,
    updates=2,
    environments=2,
    episodes=4,
    seeds=2,
    rounds=3,
    nlp_nodes=9,
    scenarios=64,
    newton=2,
)
REFERENCE = Reference(nodes=6, batteries=2, lowest_voltage=0.94, power_share=0.1, hours=6.0)


@pytest.fixture(scope="module")
def walked() -> dict[str, Walk]:
    """Return two synthetic feeders after the whole path; the second is too large for the NLP."""
    series = half_year()
    return {
        str(nodes): scale.walk(synthetic_feeder(nodes, 1), series, TINY, REFERENCE)
        for nodes in (9, 14)
    }


def test_the_benchmark_of_cigre_is_a_tree_that_newton_raphson_agrees_with() -> None:
    network = cigre_mv()
    assert network.is_radial
    assert (network.tap == 1).all()
    assert network.base_kv == 20.0
    buses = [int(n) for n in network.nodes if n <= 14]
    assert sorted(buses) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14], "1 and 12 are one busbar"
    assert len(network.from_bus) == 15, "as many lines as pandapower's net has"
    loads = network.load_kw[None], network.load_kvar[None]
    exact = solve(network, *loads, backend="pandapower", tol=1e-10)
    for backend in ("dense", "sweep"):
        flow = solve(network, *loads, backend=backend, tol=1e-12)  # type: ignore[arg-type]
        assert float((flow.voltage - exact.voltage).abs().max()) < 1e-8
    # The feeder of the buses 2 to 11 is the long one.
    assert int(network.nodes[int(exact.magnitude[0].argmin())]) in range(5, 12)


def test_dealt_profiles_keep_their_shape_and_follow_the_nominal_loads() -> None:
    series, network = half_year(), synthetic_feeder(12, 0)
    fit = series.days(series.dates[2:6])
    other = series.days(series.dates[8:10])
    days = dealt(other, network, fit)
    assert days.nodes == tuple(range(1, 13))
    assert (days.load[:, :, 0] == 0).all()
    mean = dealt(fit, network, fit).load.mean((0, 1))
    assert mean.sum() == pytest.approx(fit.load.mean((0, 1))[1:].sum())
    assert mean / mean.sum() == pytest.approx(network.load_kw / network.load_kw.sum())
    # Node 7 has the profile of the first source again: five load nodes are dealt in turn.
    ratio = days.load[:, :, 6] / other.load[:, :, 1]
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]))


def test_a_task_asks_the_same_of_its_batteries_on_every_network() -> None:
    series = half_year()
    for nodes, batteries in ((6, 2), (24, 4), (2, 1)):
        task = make_task(synthetic_feeder(nodes, 2), series, REFERENCE, 3, 2)
        assert task.learning.n_actions == batteries
        again = Reference.of(task.learning)
        assert again.lowest_voltage == pytest.approx(0.94, abs=1e-7)
        assert again.power_share == pytest.approx(0.1)
        assert again.hours == pytest.approx(6.0)
        assert task.test.scale is task.learning.scale
        held = [set(part.days.dates) for part in task]
        assert len(set.union(*held)) == sum(map(len, held)), "no day is in two parts"


def test_the_published_feeder_keeps_its_own_loads_and_batteries() -> None:
    feeder = small_feeder()
    found = Reference.of(feeder)
    assert (found.nodes, found.batteries) == (6, 2)
    assert found.power_share == pytest.approx(100 / feeder.days.load.sum(2).mean())
    assert found.hours == pytest.approx(6.0)
    assert found.lowest_voltage == float(feeder.idle_voltage.abs().min())


def test_a_walk_plays_every_policy_on_the_same_days(walked: dict[str, Walk]) -> None:
    for nodes, walk in walked.items():
        counts = walk.days.groupby("policy", sort=False).size().to_dict()
        assert counts == {
            "Do nothing": 2,
            "Fixed schedule": 2,
            "Yesterday's schedule": 2,
            "TD3": 4,
            "Pathwise": 4,
            "Optimum": 2,
        }
        assert walk.facts["nodes"] == int(nodes)
        assert walk.facts["dense_error"] < 1e-8
        assert walk.facts["sweep_error"] < 1e-8
        assert walk.facts["gap_eur"] > -1e-3, "the bound is above what the schedule earns"
        table = scale.captured({nodes: walk}, draws=50).set_index("policy")
        assert table.loc["Do nothing", "captured"] == 0
        assert table.loc["Optimum", "captured"] == 100
        assert table["captured"].max() <= 100 + 0.1
        assert (table["low"] <= table["captured"]).all()
        assert (table["captured"] <= table["high"]).all()


def test_a_walk_solves_the_nonlinear_program_up_to_its_limit(walked: dict[str, Walk]) -> None:
    small, large = walked["9"], walked["14"]
    assert "Nonlinear program" in set(small.timings["step"])
    assert "Nonlinear program" not in set(large.timings["step"])
    # It lies between what the linear program's schedule earns and what that program promises.
    assert small.facts["nlp_above_played_eur"] > -5e-3
    assert small.facts["nlp_below_bound_eur"] > -5e-3
    assert "nlp_above_played_eur" not in large.facts
    steps = list(small.timings["step"])
    assert len(steps) == len(set(steps))
    assert set(drawn.UNITS) <= set(steps), "the figure draws steps that a walk makes"
    assert (small.timings["seconds"] > 0).all()


def test_the_same_walk_has_the_same_numbers(walked: dict[str, Walk]) -> None:
    again = scale.walk(synthetic_feeder(9, 1), half_year(), TINY, REFERENCE)
    pd.testing.assert_frame_equal(again.days, walked["9"].days, check_exact=True)
    assert again.facts == walked["9"].facts


def test_the_meter_sees_time_and_the_peak_of_memory() -> None:
    meter = Meter()
    with meter.step("large", units=4):
        block = np.ones(16 * 2**20)  # 128 MB
        del block
    with meter.step("small"):
        pass
    table = meter.table().set_index("step")
    assert 120 < table.loc["large", "megabytes"] < 200
    assert table.loc["small", "megabytes"] < 20, "the peak is set back"
    assert 0 < table.loc["large", "seconds"] < 10


def test_growth_finds_the_exponent_of_a_power_law() -> None:
    nodes = np.array([10, 50, 100, 400, 1000])
    timings = pd.DataFrame(
        {"nodes": np.tile(nodes, 2), "step": np.repeat(["cubic", "noisy"], 5), "seconds": 1.0}
    )
    noise = np.array([9.0, 1.1, 0.9, 1.1, 1.0])  # the smallest network is out of line
    timings["seconds"] = np.concatenate([1e-9 * nodes**3.0, 1e-6 * nodes * noise])
    found = scale.growth(timings, "seconds", 50).set_index("step")
    assert found.loc["cubic", "exponent"] == pytest.approx(3)
    assert found.loc["cubic", "high"] == pytest.approx(3)
    noisy = found.loc["noisy"]
    assert noisy["low"] < 1 < noisy["high"]
    assert noisy["points"] == 4
    # From 400 to 1000 nodes the noise falls from 1.1 to 1.
    assert noisy["last"] == pytest.approx(1 - np.log(1.1) / np.log(2.5))
    again = pd.concat([timings, timings])  # two networks of each size
    pd.testing.assert_series_equal(
        scale.growth(again, "seconds", 50)["last"], found["last"].reset_index(drop=True)
    )
    two = scale.growth(timings, "seconds", 400)
    assert two["low"].isna().all(), "two points leave nothing to judge a slope by"
    assert scale.growth(timings, "seconds", 1000).empty


def test_days_are_spread_evenly_and_a_wrong_count_is_an_error() -> None:
    dates = [str(k) for k in range(10)]
    assert spaced(dates, 2) == ["2", "7"]
    assert spaced(dates, 99) == dates
    with pytest.raises(InputError, match="0 days are wanted"):
        spaced(dates, 0)


def test_the_figures_label_their_lines(walked: dict[str, Walk], drawing_project: Path) -> None:
    table = scale.captured(walked, draws=20)
    fig = drawn.captured_by_network(table, ["Pathwise", "TD3"])
    own = table[table["policy"].eq("TD3")]
    assert list(lines(fig.axes[0])["TD3"].get_ydata()) == own["captured"].tolist()
    with pytest.raises(InputError, match="no policy 'SAC'"):
        drawn.captured_by_network(table, ["SAC"])
    parts = [w.timings.assign(nodes=int(n)) for n, w in walked.items()]
    timings = pd.concat(parts, ignore_index=True)
    slopes = scale.growth(timings, "seconds", 2).assign(quantity="seconds")
    assert slopes["last"].tolist() == pytest.approx(slopes["exponent"].tolist())
    slopes.loc[slopes["step"].eq("Sweep"), "last"] = -0.04
    fig = drawn.growth_curves(timings, slopes)
    left, right, *_ = fig.axes
    slope = slopes.set_index("step").loc["Dense", "last"]
    assert f"Dense, $N^{{{round(slope, 1) + 0:.1f}}}$" in lines(left)  # measured; never -0.0
    assert "Sweep, $N^{0.0}$" in lines(left)
    assert any(label.startswith("Pathwise training") for label in lines(right))
    here = [text.get_text() for text in right.texts if text.get_text() == "Nonlinear program"]
    assert len(here) == 1, "one label, where its line ends"
