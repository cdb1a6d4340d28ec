"""Figures, tables and verdicts of the microgrid study."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from drawings import lines

from griddispatch.agents.microgrid_rules import HeatLed, Numbers, TimeOfUse
from griddispatch.assets.microgrid import preset
from griddispatch.errors import InputError
from griddispatch.evaluation import risk_comparison as comparison
from griddispatch.evaluation import risk_experiments as experiments
from griddispatch.evaluation.risk_experiments import Cell
from griddispatch.evaluation.statistics import Interval
from griddispatch.pipeline import records
from griddispatch.reporting import microgrid, microgrid_figures
from griddispatch.risk_measures import cvar, value_at_risk

OFF, LED, BEST = ("CHP off", 0.0), ("Tuned rule", 0.3), ("Perfect foresight", 0.0)


pytestmark = pytest.mark.usefixtures("drawing_project")


@cache
def environment():
    return experiments.environment("train", 8)


@cache
def table():
    rules = {OFF: TimeOfUse(), LED: HeatLed()}
    return pd.concat(experiments.judged(environment(), r, *k) for k, r in rules.items())


@cache
def drawn():
    return comparison.resample(table(), draws=30)


@cache
def results():
    return comparison.results(table(), drawn(), 0.3)


@cache
def traces():
    rules = {"CHP off, λ = 0": TimeOfUse(), "Tuned rule, λ = 0.3": HeatLed()}
    return {name: experiments.trace(environment(), r, 1) for name, r in rules.items()}


def cell(policy="RU-TD3", weight=0.3, objective=(1.0, 3.0)):
    curve = pd.DataFrame({"seed": [0], "update": [1], "seconds": [0.5], "objective": [1.0]})
    days = table()[table()["policy"].eq("CHP off")].assign(policy=policy, weight=weight)
    found = [Saved(), Saved()]
    return Cell(policy, weight, None, curve, days, found, list(objective), 2.0, 3, 4)


class Saved:
    """A policy that can be saved."""

    saved = {"weight": 1.0}  # noqa: RUF012


# -- tables and words ---------------------------------------------------------------------


def test_the_table_of_plants_has_every_number_of_every_part():
    found = microgrid.plant_table({"rec": preset(), "printed": preset("as_printed_prices")})
    assert found.loc["gas_eur", "rec"] == 0.055
    assert found.loc["gas_eur", "printed"] == 0.05
    assert found.loc["chp start_kw", "rec"] == 10
    assert found.loc["battery energy_kwh", "rec"] == 100


def test_a_difference_is_paired_and_says_which_way_it_goes():
    found = microgrid.difference(drawn(), LED, OFF, "cvar95", 0.3)
    costs = {k: comparison.rows(table(), k)["cost"] for k in (OFF, LED)}
    assert found["value"] == pytest.approx(100 * (1 - cvar(costs[LED]) / cvar(costs[OFF])))
    assert found["low"] <= found["value"] <= found["high"]
    back = microgrid.difference(drawn(), OFF, LED, "objective", 0.3)
    assert (back["first"], back["second_weight"], back["metric"]) == ("CHP off", 0.3, "objective")
    J = {k: 0.7 * x.mean() + 0.3 * float(cvar(x)) for k, x in costs.items()}
    assert back["value"] == pytest.approx(100 * (1 - J[OFF] / J[LED]))


def test_a_gap_is_what_a_policy_costs_above_the_bound():
    best = comparison.rows(table(), OFF).assign(policy=BEST[0])
    best["cost"] /= 1.25
    both = pd.concat([table(), best])
    found = microgrid.gaps(comparison.resample(both, draws=20), BEST, 8).set_index("policy")
    # A quarter more on every day is a quarter more in every draw.
    np.testing.assert_allclose(found.loc["CHP off", ["gap", "low", "high"]].astype(float), 25)
    assert found.loc["Perfect foresight", "gap"] == 0
    assert found.loc["Tuned rule", "low"] <= found.loc["Tuned rule", "high"]


def test_the_table_has_a_line_per_policy_and_weight(drawing_project):
    best = comparison.rows(table(), OFF).assign(policy=BEST[0])
    gaps = microgrid.gaps(comparison.resample(pd.concat([table(), best]), draws=9), BEST, 8)
    microgrid.write_results(results(), gaps, "one", "A caption.")
    head, *body = (drawing_project / "scratch/paper/tables/one.csv").read_text().splitlines()
    assert head.startswith("Policy,λ,Mean (EUR/day),VaR95 (EUR/day),CVaR95 (EUR/day)")
    assert head.endswith("Gap to the bound (%)")
    assert [line.split(",")[:2] for line in body] == [["CHP off", "0.0"], ["Tuned rule", "0.3"]]
    mean = comparison.rows(table(), OFF)["cost"].mean()
    assert f"{mean:.0f}"[:2] in body[0]


def judged_claims(**changed):
    good = Interval(14.0, 10.0, 18.0)
    names = ("hedge", "hedge_off", "objective", "ru_objective", "tail", "ru_tail", "published")
    gains = dict.fromkeys(names, good) | {"premium": Interval(2.0, 1.0, 3.0)}
    gains["gap"] = Interval(3.0, 2.0, 5.0)
    facts = {"outside": 0, "gradient_past": 0.0, "starts": 0, "update_ms": 3.0, "step_ms": 1.0}
    facts |= {"memory_mb": 90.0, "commitment": 0.0, "beaten": 0}
    for name, value in changed.items():
        (gains if name in gains else facts)[name] = value
    found = microgrid.claims(gains, facts)
    return {name for name, claim in found.items() if claim["holds"]}


NONE, WORSE = Interval(5.0, -1.0, 11.0), Interval(-2.0, -3.0, -1.0)


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"hedge": NONE}, {"hedge_exists"}),
        ({"premium": Interval(4.0, 3.0, 5.0)}, {"hedge_size"}),
        ({"hedge_off": Interval(11.0, 8.0, 14.0)}, {"hedge_size"}),
        ({"gap": Interval(4.5, 3.0, 6.0)}, {"neutral_near_bound"}),
        ({"objective": WORSE}, {"learner_reaches_rule"}),
        ({"ru_objective": WORSE}, {"ru_reaches_rule"}),
        ({"tail": NONE}, {"learner_cuts_tail"}),
        ({"ru_tail": NONE}, {"ru_cuts_tail"}),
        ({"published": NONE}, {"published_cuts_tail"}),
        ({"gradient_past": 1e-12}, {"past_penalty_is_inert"}),
        ({"starts": 1}, {"published_chp_never_starts"}),
        ({"outside": 1}, {"no_violations"}),
        ({"step_ms": 2.5}, {"fast"}),
        ({"memory_mb": 148.0}, {"memory"}),
        ({"commitment": 1e-3}, {"commitment"}),
        ({"beaten": 1}, {"bound_holds"}),
    ],
)
def test_verdicts_follow_the_numbers(changed, lost):
    every = judged_claims()
    assert len(every) == 15
    assert judged_claims(**changed) == every - lost


def test_the_best_learner_is_chosen_by_validation_days_alone():
    cells = [cell("a"), cell("b", objective=(1.5, 2.0)), cell("c", 0.0, objective=(0.0, 0.0))]
    assert microgrid.best_by_validation(cells, 0.3).policy == "b"
    assert microgrid.best_by_validation(cells, 0.0).policy == "c"
    with pytest.raises(InputError, match=r"no learner has weight 0\.9"):
        microgrid.best_by_validation(cells, 0.9)


def test_settings_can_be_written_though_a_rule_has_no_limit(drawing_project):
    config = experiments.LEARNERS["RU-TD3, cloned"].config
    endless = replace(config, teacher=Numbers(20.0, 6.0, float("inf"), 10.0, 0.1))
    found = microgrid.settings(replace(cell(), config=endless))
    assert found["teacher"] == ["20.0", "6.0", "inf", "10.0", "0.1"]
    assert found["weight"] == config.weight
    records.write_json("results/one.json", found)
    assert (
        microgrid.settings(replace(cell(), config=replace(config, teacher=None)))["teacher"] is None
    )


def test_policies_costs_curves_and_times_are_handed_on(drawing_project):
    others = pd.DataFrame({"policy": ["a"], "cost": [1.0]})
    microgrid.hand_on([cell()], table(), {"mpc_s": 0.1234}, others)
    kept = torch.load(drawing_project / "scratch/data/models/cvar_td3.pt")
    assert kept["policies"] == {"RU-TD3, λ = 0.3": [Saved.saved] * 2}
    off = comparison.rows(table(), OFF)["cost"].to_numpy()
    np.testing.assert_array_equal(kept["costs"]["CHP off, λ = 0"].numpy(), off[None])
    curve = pd.read_csv(drawing_project / "scratch/results/cvar_td3_curve.csv")
    assert list(curve) == ["seed", "update", "objective"]  # a time would differ from run to run
    assert len(curve) == 1
    assert len(pd.read_csv(drawing_project / "scratch/results/cvar_td3_extensions.csv")) == 1
    written = (drawing_project / "scratch/results/timings/cvar_td3.json").read_text()
    assert '"mpc_s": 0.123' in written
    assert '"seconds": 2.0' in written


# -- figures ------------------------------------------------------------------------------


def test_variants_look_like_their_policy_but_for_the_dash():
    plain, variant = (microgrid_figures.look(n) for n in ("RU-TD3", "RU-TD3, cloned"))
    assert plain["color"] == variant["color"]
    assert plain["linestyle"] != variant["linestyle"]
    assert microgrid_figures.look("RU-TD3, cloned, λ = 0.3") == variant
    assert microgrid_figures.look("TD3")["color"] != plain["color"]
    assert microgrid_figures.marker("RU-TD3, cloned") == microgrid_figures.marker("RU-TD3")
    assert microgrid_figures.filled("RU-TD3, cloned") != microgrid_figures.filled("RU-TD3")


def test_days_show_the_one_that_is_asked_for():
    fig = microgrid_figures.days(environment().days, 3)
    assert len(fig.axes) == 6
    np.testing.assert_array_equal(
        lines(fig.axes[2])["one day"].get_ydata(), environment().days.load[3]
    )


def test_the_clock_counts_the_worst_steps_by_hour():
    costs = np.zeros((10, 96))
    costs[:, 40:44] = 1  # hour 10
    costs[0, 0] = 1
    fig = microgrid_figures.clock(costs + 1e-6 * np.arange(960).reshape(10, 96))
    heights = [bar.get_height() for bar in fig.axes[0].patches]
    assert len(heights) == 24
    assert sum(heights) == pytest.approx(100)
    assert heights[10] > 75


def test_the_dispatch_stacks_what_supplies_up_to_the_load_and_what_is_taken():
    trace = traces()["Tuned rule, λ = 0.3"]
    fig = microgrid_figures.dispatch(trace)
    supply = trace[["pv", "wind", "chp", "drawn", "lost"]].sum(axis=1)
    supply -= trace["battery"].clip(upper=0)
    highest = max(c.get_paths()[0].vertices[:, 1].max() for c in fig.axes[0].collections)
    assert highest == pytest.approx(supply.max())
    np.testing.assert_array_equal(lines(fig.axes[0])["load"].get_ydata(), trace["load"])


def test_learning_is_drawn_over_the_share_of_the_training():
    curve = pd.DataFrame({"policy": "TD3", "seed": [0, 0, 1, 1], "update": [0, 10, 0, 10]})
    curve = curve.assign(objective=[4.0, 2.0, 6.0, 2.0], cvar=[1.0, 1.0, 3.0, 1.0])
    left, right = (lines(ax)["TD3"] for ax in microgrid_figures.learning(curve).axes)
    np.testing.assert_allclose(left.get_xdata(), [0, 1])
    np.testing.assert_allclose(left.get_ydata(), [5, 2])
    np.testing.assert_allclose(right.get_ydata(), [2, 1])


def test_costs_are_marked_with_their_mean_var_and_cvar():
    fig = microgrid_figures.costs(table(), [OFF, LED])
    x = comparison.rows(table(), LED)["cost"]
    marks = {name: line.get_xdata()[0] for name, line in lines(fig.axes[1]).items()}
    expected = {"mean": x.mean(), "VaR95": value_at_risk(x), "CVaR95": cvar(x)}
    assert marks == pytest.approx({k: float(v) for k, v in expected.items()})


def test_the_frontier_joins_the_weights_of_a_policy_in_their_order():
    more = results()[results()["policy"].eq("Tuned rule")].assign(weight=0.0)
    more[["mean", "low", "high"]] += 10
    fig = microgrid_figures.frontier(pd.concat([results(), more]))
    found = lines(fig.axes[0])["Tuned rule"]
    own = results()[results()["policy"].eq("Tuned rule")].set_index("metric")["mean"]
    np.testing.assert_allclose(found.get_xdata(), [own["mean"] + 10, own["mean"]])
    np.testing.assert_allclose(found.get_ydata(), [own["cvar95"] + 10, own["cvar95"]])


def test_a_day_is_compared_by_what_it_has_cost_so_far():
    fig = microgrid_figures.spike(traces())
    drawn_lines = lines(fig.axes[3])
    for name, trace in traces().items():
        assert drawn_lines[name].get_ydata()[-1] == pytest.approx(trace["cost"].sum())
