"""The dispatch panel: what a setting is answered with, its picture, and its controls."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from feeders import chain, made_up_days
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from griddispatch.agents.learning import Actor
from griddispatch.agents.rules import YesterdaysSchedule
from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days
from griddispatch.envs.feeder import EndSoc
from griddispatch.errors import InputError
from griddispatch.evaluation.rollout import rollout
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.optimization.feeder_nlp import optimal_schedule
from griddispatch.reporting import figures
from griddispatch.reporting.panel import LEARNED, POLICIES, Laboratory, Setting, learned
from griddispatch.reporting.panel_effects import effects, evenly
from griddispatch.reporting.panel_figure import draw, empty, png
from griddispatch.reporting.panel_rollout import played
from griddispatch.reporting.panel_widgets import Panel

TWO = Storage(nodes=(3, 6))
DAYS = made_up_days(9, seed=3)
RULES = [policy for policy in POLICIES if policy != LEARNED]


def agent(batteries: int = 2) -> Actor:
    """An agent that has learned nothing: 6 of time, 6 loads, 25 prices, 2 states of charge."""
    sizes = (6 + 6 + 25 + batteries, 8, batteries)
    return Actor(StackedMLP(sizes, Streams([0]), "tanh", torch.tanh))


def laboratory(days: Days = DAYS, **agents: Actor) -> Laboratory:
    ends: dict[EndSoc, Actor] = {"free": agents["free"]} if agents else {}
    return Laboratory(
        network=chain(6, ohm=1.2),
        days=days.select(days.dates[:3]),
        scopes={"test": days.dates[:2], "stress": days.dates[2:3]},
        training=days.select(days.dates[3:]),
        validation=days.select(days.dates[3:5]),
        agents=ends,
        storage=TWO,
    )


LAB = laboratory(free=agent())


def ask(policy: str, **setting: Any) -> Setting:
    return Setting(**({"date": DAYS.dates[0], "policy": policy, "storage": TWO} | setting))


def value(setting: Setting) -> float:
    """What the optimum gains over doing nothing."""
    answer = LAB.respond(replace(setting, policy="Optimum"))
    return float(answer.optimum.reward.sum()) - answer.idle


def test_doing_nothing_leaves_charge_and_voltages() -> None:
    answer = LAB.respond(ask("Do nothing"))
    assert (answer.run.soc == 0.4).all()
    np.testing.assert_allclose(answer.voltage, answer.idle_voltage, atol=1e-6)
    assert answer.numbers["profit"] == 0
    assert answer.captured == pytest.approx(0, abs=1e-3)


@settings(max_examples=15)
@given(
    policy=st.sampled_from(POLICIES),
    date=st.sampled_from(DAYS.dates[:3]),
    capacity=st.floats(20, 2000),
    power=st.floats(5, 150),
    spread=st.floats(0, 3),
)
def test_energy_is_kept_and_limits_are_too(
    policy: str, date: str, capacity: float, power: float, spread: float
) -> None:
    storage = Storage((3, 6), power, capacity)
    answer = LAB.respond(Setting(date, policy, storage, spread))
    soc, taken = answer.run.soc[0], answer.run.power_kw[0]
    np.testing.assert_allclose(soc.diff(dim=0) * capacity, taken * 0.25, atol=1e-6)
    assert 0.2 - 1e-9 <= soc.min() <= soc.max() <= 0.8 + 1e-9
    assert taken.abs().max() <= power + 1e-9
    assert float(answer.run.reward.sum()) <= answer.bound + 1e-4


@pytest.mark.parametrize("policy", RULES)
def test_a_day_played_at_once_is_the_day_played_step_by_step(policy: str) -> None:
    setting = ask(policy)
    feeder = LAB.feeder(setting, DAYS.dates[:3])
    rule = LAB.policy(setting, feeder)
    quick, slow = played(rule, feeder), rollout(rule, feeder)
    for name in ("power_kw", "soc", "magnitude", "reward", "profit", "penalty", "wear"):
        torch.testing.assert_close(getattr(quick, name), getattr(slow, name), atol=1e-3, rtol=1e-6)


def test_voltages_of_all_nodes_hold_those_that_are_paid_for() -> None:
    answer = LAB.respond(ask("Optimum"))
    assert answer.voltage.shape == (96, 6)
    here = answer.voltage[:, answer.feeder.at.tolist()]
    np.testing.assert_allclose(here, answer.run.magnitude[0], atol=1e-7)


def test_the_optimum_is_that_of_the_interior_point_solver() -> None:
    answer = LAB.respond(ask("Optimum"))
    exact = optimal_schedule(answer.feeder, 0).objective
    best = float(answer.optimum.reward.sum())
    assert best <= exact + 2e-3 <= answer.bound + 4e-3
    assert answer.bound - best < 0.05


@settings(max_examples=10)
@given(small=st.floats(50, 600), factor=st.floats(1, 4), spread=st.floats(0.2, 2))
def test_a_larger_battery_never_lowers_what_the_optimum_gains(
    small: float, factor: float, spread: float
) -> None:
    storage = Storage((3, 6), capacity_kwh=small)
    setting = ask("Optimum", storage=storage, spread=spread)
    larger = replace(setting, storage=replace(storage, capacity_kwh=factor * small))
    answer = LAB.respond(larger)
    gap = answer.bound - float(answer.optimum.reward.sum())
    assert value(larger) >= value(setting) - gap - 1e-4


def test_without_a_spread_there_is_nothing_to_trade() -> None:
    flat = LAB.respond(ask("Optimum", spread=0.0, end_soc="initial"))
    assert flat.feeder.price.std() < 1e-9
    assert flat.numbers["profit"] == pytest.approx(0, abs=1e-6)
    sold = LAB.respond(ask("Optimum", spread=0.0))  # only the charge of the morning is left to sell
    stock = 2 * (0.4 - 0.2) * 300 / 1000 * float(flat.feeder.price.mean())
    assert sold.numbers["profit"] == pytest.approx(stock, abs=1e-6)


def test_prices_spread_about_the_training_mean_today_and_yesterday() -> None:
    days = LAB.feeder(ask("Do nothing", spread=2.0), DAYS.dates[:2]).days
    mean, published = LAB.training.price.mean(), LAB.days.select(DAYS.dates[:2])
    np.testing.assert_allclose(days.price - mean, 2 * (published.price - mean))
    assert days.price_before is not None
    assert published.price_before is not None
    np.testing.assert_allclose(days.price_before - mean, 2 * (published.price_before - mean))


def test_rules_follow_the_spread_and_look_at_no_test_day() -> None:
    setting = ask("Price threshold")
    wide = replace(setting, spread=2.0)
    plain, doubled = (LAB.respond(s).run.power_kw for s in (setting, wide))
    assert torch.equal(plain, doubled)  # the same hours are cheap
    shifted = replace(LAB.days, price=LAB.days.price + 30)
    other = replace(LAB, days=shifted)
    for policy in ("Price threshold", "Fixed schedule"):
        feeder = LAB.feeder(ask(policy), DAYS.dates[:1])
        mine, its = (lab.policy(ask(policy), feeder) for lab in (LAB, other))
        assert torch.equal(played(mine, feeder).power_kw, played(its, feeder).power_kw)


def test_nothing_to_gain_has_no_share() -> None:
    calm = laboratory(replace(DAYS, load=DAYS.load / 10))
    answer = calm.respond(ask("Do nothing", spread=0.0, end_soc="initial"))
    assert np.isnan(answer.captured)
    assert "nothing to gain" in texts(draw(empty(), answer))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "Guess"}, "unknown policy 'Guess'; there are Do nothing"),
        ({"spread": -1.0}, "the price spread is -1.0; give a factor of 0"),
        ({"spread": float("nan")}, "the price spread is nan"),
        ({"date": "1999-01-01"}, "no day '1999-01-01' among these days"),
        ({"storage": Storage((1, 6))}, "node 1, the slack node"),
        ({"storage": Storage((3, 9))}, "no node 9"),
        ({"policy": LEARNED, "storage": Storage((6,))}, "trained for 2 batteries"),
        ({"policy": LEARNED, "end_soc": "initial"}, "dvc repro train_pathwise"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_mend(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LAB.respond(ask(**({"policy": "Do nothing"} | change)))


def test_a_learned_policy_says_where_it_leaves_what_it_learned() -> None:
    printed = ask(LEARNED)
    assert LAB.notes(printed) == ()
    (note,) = LAB.notes(replace(printed, spread=2.0, storage=replace(TWO, capacity_kwh=600)))
    assert "capacity and price spread differ" in note
    assert LAB.notes(replace(printed, policy="Optimum", spread=2.0)) == ()


def test_models_are_read_by_the_end_of_their_day(tmp_path: Any) -> None:
    file = tmp_path / "agents.pt"
    mine = agent()
    torch.save({"tuned, all, none, history, free": [mine.saved]}, file)
    read = learned(file)
    assert set(read) == {"free"}
    feeder = LAB.feeder(ask(LEARNED), DAYS.dates[:1])
    state = feeder.reset()
    assert torch.equal(read["free"].act(feeder, state), mine.act(feeder, state))


def test_effects_are_means_of_answers() -> None:
    wide = ask("Do nothing", spread=2.0)
    table = effects(LAB, {"wide": wide}, ["Yesterday's schedule"], {"test": DAYS.dates[:2]})
    assert list(table["policy"]) == ["Yesterday's schedule", "Optimum"]
    asked = [replace(wide, date=d, policy="Yesterday's schedule") for d in DAYS.dates[:2]]
    gains = [LAB.respond(setting).numbers["gain"] for setting in asked]
    assert table["gain"][0] == pytest.approx(np.mean(gains), abs=1e-3)
    assert table["captured"][1] == pytest.approx(100)
    assert evenly("abcdef", 2) == ["b", "e"]
    assert evenly("ab", 5) == ["a", "b"]


# The picture -----------------------------------------------------------------------------------


def texts(fig: Figure) -> str:
    return "\n".join(text.get_text() for text in fig.texts)


@pytest.mark.parametrize("storage", [TWO, Storage((6,), 20), Storage((2, 3, 4), (9.0, 20.0, 30.0))])
def test_a_picture_drawn_twice_is_the_picture_drawn_once(storage: Storage) -> None:
    figures.style()
    once, twice = empty(), empty()
    answer = LAB.respond(ask("Yesterday's schedule", storage=storage))
    first = png(draw(once, answer))
    draw(twice, LAB.respond(ask("Optimum", spread=3.0)))
    assert png(draw(twice, answer)) == first
    assert "Yesterday's schedule" in texts(once)


def test_the_legend_covers_no_axes() -> None:
    figures.style()
    fig = draw(empty(), LAB.respond(ask("Optimum")))
    png(fig)
    box = fig.legends[0].get_window_extent()
    assert not any(box.overlaps(ax.get_window_extent()) for ax in fig.axes)


# The controls ------------------------------------------------------------------------------------


@pytest.fixture
def panel() -> Panel:
    figures.style()
    return Panel(LAB, ask("Yesterday's schedule"))


@pytest.mark.parametrize(
    ("control", "moved"),
    [
        ("date", DAYS.dates[1]),
        ("policy", "Optimum"),
        ("capacity", 600.0),
        ("power", 20.0),
        ("spread", 2.0),
        ("nodes", "6"),
        ("end", "initial"),
    ],
)
def test_every_control_changes_answer_and_picture(panel: Panel, control: str, moved: Any) -> None:
    before = panel.picture.value, panel.answer
    getattr(panel, control).value = moved
    assert panel.picture.value != before[0]
    assert panel.answer.setting != before[1].setting
    assert panel.answer.setting == panel.setting
    assert f"{panel.answer.numbers['lowest_voltage']:.3f} p.u." in panel.numbers.value


def test_a_bad_entry_keeps_the_picture_and_says_so(panel: Panel) -> None:
    before = panel.picture.value
    panel.nodes.value = "<b>"
    assert "nodes are &#x27;&lt;b&gt;&#x27;; write numbers" in panel.message.value
    assert panel.picture.value == before
    panel.nodes.value = "3 6"
    assert panel.message.value == ""


def test_the_panel_offers_the_learned_policy_only_where_there_is_one() -> None:
    assert LEARNED in Panel(LAB, ask("Do nothing")).policy.options
    assert LEARNED not in Panel(laboratory(), ask("Do nothing")).policy.options


def test_yesterdays_schedule_is_made_for_the_batteries_of_the_setting() -> None:
    feeder = LAB.feeder(ask("Yesterday's schedule"), DAYS.dates[:1])
    rule = LAB.policy(ask("Yesterday's schedule"), feeder)
    assert isinstance(rule, YesterdaysSchedule)
    assert rule is not LAB.policy(ask("Yesterday's schedule"), feeder)
