"""Figures, tables and verdicts of the regulation study."""

from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from drawings import lines

from griddispatch.agents.regulation_rules import FrequencySplit, MeritOrder, ProRata
from griddispatch.assets.regulation import preset
from griddispatch.evaluation import regulation_comparison as comparison
from griddispatch.evaluation import regulation_equivalence as equivalence
from griddispatch.evaluation import regulation_experiments as experiments
from griddispatch.evaluation.regulation_comparison import Violations
from griddispatch.evaluation.regulation_experiments import ORDERS, PLAIN, Cell
from griddispatch.evaluation.regulation_rollout import play
from griddispatch.evaluation.statistics import Interval
from griddispatch.reporting import regulation, regulation_figures, regulation_hours

RULES = {"Merit order": MeritOrder(), "Tuned split": FrequencySplit.untuned()}


pytestmark = pytest.mark.usefixtures("drawing_project")


@cache
def environment():
    return experiments.environment(PLAIN, "test", 2)


@cache
def traces():
    return {name: play(environment(), rule) for name, rule in RULES.items()}


@cache
def table():
    return pd.concat(
        experiments.judged(environment(), rule, **experiments.label(name), seed=0)
        for name, rule in RULES.items()
    )


@cache
def results():
    return comparison.results(table(), draws=20)


# -- tables and words ---------------------------------------------------------------------


def test_the_resources_are_listed_with_their_units():
    found = regulation.resources(preset())
    assert list(found.index) == ["thermal", "hydro", "LNG", "EV", "BESS"]
    assert found.loc["thermal", "dead time, s"] == 20
    assert np.isnan(found.loc["EV", "ramp, %/min"])


def test_the_table_has_a_line_per_policy_and_only_what_differs(drawing_project):
    regulation.write_results(results(), "one", "A caption.")
    text = (drawing_project / "scratch/paper/tables/one.csv").read_text()
    head, *body = text.splitlines()
    assert head.startswith("Policy,S,C,D,P,l1 (%),J (%)")
    assert [line.split(",")[0] for line in body] == list(RULES)
    other = results().assign(fleet="easy")
    regulation.write_results(pd.concat([results(), other]), "two", "A caption.")
    text = (drawing_project / "scratch/paper/tables/two.csv").read_text()
    assert text.startswith("Policy,Fleet,S")
    assert len(text.splitlines()) == 5
    J = results().loc[results()["metric"].eq("objective"), "mean"].iloc[0]
    assert f"{100 * J:.1f}" in text


def test_none_seen_is_said_with_its_bound():
    assert regulation.zero(Violations(0, 3_000_000, 9, 1e-6)) == (
        "0 of 3000000, so below 1 per million"
    )
    assert regulation.zero(Violations(30, 1000, 9, np.nan)) == "30 of 1000 (30 per 1000)"


def judged_claims(outside=0, tuned=0.98, gain=(20.0, 15.0, 25.0), rega=2.0):
    return regulation.claims(
        {"a": Violations(0, 100, 1, 0.03), "b": Violations(outside, 200, 1, np.nan)},
        {"tuned": tuned, "pathwise": 0.985, "ppo": 0.97},
        {
            "tuned": Interval(*gain),
            "precision": Interval(-0.01, -0.02, 0.01),
            "mileage": Interval(3.0, 1.0, 5.0),
        },
        {"RegD": 1.02, "RegA": rega},
    )


def test_verdicts_follow_the_numbers():
    good = judged_claims()
    assert good["no_violations"] == {"holds": True, "value": 0, "setpoints": 100}
    assert good["below_tuned"]["holds"]
    assert not good["ppo_above_tuned"]["holds"]
    assert not good["tracks_better"]["holds"]
    assert good["moves_cheaper"]["holds"]
    assert good["equivalent_regd"]["holds"]
    assert not good["equivalent_rega"]["holds"]
    assert not judged_claims(outside=1)["no_violations"]["holds"]
    assert not judged_claims(tuned=0.9)["tuned_score"]["holds"]
    assert not judged_claims(gain=(9.0, 8.0, 10.0))["below_tuned"]["holds"]
    assert not judged_claims(gain=(20.0, -1.0, 40.0))["below_tuned"]["holds"]


def test_policies_curves_and_times_are_handed_on(drawing_project):
    curve = pd.DataFrame({"seed": [0], "update": [1], "seconds": [0.5], "validation": [0.5]})
    rule = Cell("rule", PLAIN, None, pd.DataFrame(), table(), [ProRata()], 2.0, 3)
    learner = Cell("learner", PLAIN, None, curve, table(), [Saved()], 1.0, 4)
    regulation.hand_on([rule, learner], table(), {"rule": 0.1234})
    kept = torch.load(drawing_project / "scratch/data/models/deltanet.pt")
    assert kept == {regulation.name(learner): [{"weight": 1.0}]}
    curve = pd.read_csv(drawing_project / "scratch/results/deltanet_curve.csv")
    assert list(curve) == ["seed", "update", "validation"]  # a time would differ from run to run
    hours = pd.read_csv(drawing_project / "scratch/results/deltanet_hours.csv")
    assert len(hours) == 4
    written = (drawing_project / "scratch/results/timings/deltanet.json").read_text()
    assert '"rule": 0.123' in written
    assert '"seconds": 2.0' in written


class Saved(MeritOrder):
    """A dispatcher that can be saved."""

    def __init__(self):
        self.saved = {"weight": 1.0}


# -- figures ------------------------------------------------------------------------------


def test_the_stack_adds_up_to_the_delivered_power():
    fig = regulation_hours.stacked(traces()["Merit order"], environment())
    (ax,) = fig.axes
    trace = traces()["Merit order"]
    planned = environment().schedule[0].double().numpy()
    up = (trace.power[0] - planned).clip(min=0).sum(1)
    highest = max(c.get_paths()[0].vertices[:, 1].max() for c in ax.collections)
    assert highest == pytest.approx(up.max())
    shown = lines(ax)["command"].get_ydata()
    np.testing.assert_allclose(shown, 100 * environment().hours.signal[0, :1800], rtol=1e-5)


def test_the_zoom_shows_every_policy_and_its_error():
    fig = regulation_hours.zoomed(traces(), environment(), start_min=10)
    top, low = fig.axes
    command, merit = lines(top)["command"], lines(top)["Merit order"]
    error = low.get_lines()[0].get_ydata()
    np.testing.assert_allclose(error, merit.get_ydata() - command.get_ydata())
    assert len(error) == 150
    assert command.get_xdata()[0] == 10


def test_stored_energy_is_drawn_between_its_limits():
    fig = regulation_hours.energies(traces(), environment())
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["EV, since arrival", "BESS"]
    for s, ax in enumerate(fig.axes):
        low, high = (line.get_ydata() for line in ax.get_lines()[:2])
        for name in RULES:
            energy = lines(ax)[name].get_ydata()
            np.testing.assert_array_equal(energy, traces()[name].energy[0, :, s])
            # The limits are drawn at the time at which the energy is reached.
            assert (energy >= low - 1e-4).all()
            assert (energy <= high + 1e-4).all()


def test_the_drawn_policy_has_a_head_for_all_but_the_last_resource():
    fig = regulation_hours.architecture(environment())
    texts = [t.get_text() for t in fig.axes[0].texts]
    assert sum(t.startswith("head") for t in texts) == environment().n_actions
    assert any(t.startswith("BESS") and "rest" in t for t in texts)


def test_signals_have_a_panel_each():
    fig = regulation_hours.signals({"one": np.zeros(1800), "two": np.ones(1800)})
    assert [ax.get_ylabel() for ax in fig.axes] == ["one", "two"]
    assert fig.axes[0].get_lines()[0].get_xdata()[-1] == pytest.approx(60, abs=0.1)


def test_variants_look_like_their_policy():
    first = regulation_hours.look("Tuned split")
    assert regulation_hours.look("Tuned split, short") == first
    assert regulation_hours.look("Merit order") != first


def test_policies_stand_in_the_order_of_the_table():
    shown = [("objective", "J"), ("precision", "P")]
    fig = regulation_figures.policies(results(), shown)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == list(RULES)
    means = results()[results()["metric"].eq("precision")]["mean"]
    drawn = [line.get_xdata()[0] for line in fig.axes[1].get_lines()]
    np.testing.assert_allclose(drawn, means)


def test_learning_is_drawn_over_the_share_of_the_training():
    curve = pd.DataFrame(
        {
            "policy": "Tuned split",
            "seed": [0, 0, 1, 1],
            "update": [5, 10, 5, 10],
            "validation": [0.4, 0.2, 0.6, 0.2],
            "validation_violations": [1.0, 0.0, 3.0, 0.0],
        }
    )
    fig = regulation_figures.learning(curve)
    left, right = (lines(ax)["Tuned split"] for ax in fig.axes)
    np.testing.assert_allclose(left.get_xdata(), [0.5, 1.0])
    np.testing.assert_allclose(left.get_ydata(), [0.5, 0.2])
    np.testing.assert_allclose(right.get_ydata(), [2.0, 0.0])


def test_errors_are_drawn_against_scores():
    marks = table().assign(relative=1 - table()["precision"])
    fig = regulation_figures.error_and_score(marks)
    drawn = lines(fig.axes[0])["Merit order"]
    own = marks[marks["policy"].eq("Merit order")]
    np.testing.assert_allclose(drawn.get_xdata(), own["relative"] / 3)
    np.testing.assert_allclose(drawn.get_ydata(), 1 - own["total"])


def test_orders_are_named_with_their_resources():
    part = results()[results()["policy"].eq("Merit order")]
    both = pd.concat([part.assign(order=o) for o in ("slow to fast", "fast to slow")])
    fig = regulation_figures.orders(both)
    labels = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert labels[1] == "fast to slow\n" + " ".join(ORDERS["fast to slow"])


def test_dead_times_are_drawn_in_rising_order():
    mixed = pd.concat([results().assign(dead_time=f) for f in (2.0, 0.0, 1.0)])
    fig = regulation_figures.dead_times(mixed)
    for ax in fig.axes:
        np.testing.assert_array_equal(lines(ax)["Merit order"].get_xdata(), [0, 1, 2])


def test_tasks_stand_side_by_side():
    both = pd.concat([results().assign(setting=s) for s in ("one", "two")])
    fig = regulation_figures.settings(both)
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["one", "two"]
    places = [line.get_xdata() for line in fig.axes[0].get_lines()]
    assert all(a[0] < b[0] for a, b in pairwise(places))


def test_the_ratio_is_drawn_for_both_signals():
    fig = regulation_figures.theorem(equivalence.ratios(["RegD", "RegA"], 2))
    for ax, sizes in zip(fig.axes, (equivalence.NOISE, equivalence.LAGS), strict=True):
        for kind in ("RegD", "RegA"):
            np.testing.assert_allclose(lines(ax)[kind].get_xdata(), sizes)
