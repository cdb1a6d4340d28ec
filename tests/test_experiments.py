"""Cells of Table 3, what training notebooks hand on, training times, another library's agent."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from feeders import half_year, made_up_days, small_feeder
from matplotlib import pyplot as plt

from griddispatch.agents import pathwise, ppo, td3
from griddispatch.agents.learning import Actor
from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Days
from griddispatch.envs.observations import observe
from griddispatch.errors import InputError
from griddispatch.evaluation import experiments, interoperability, training_time
from griddispatch.evaluation.experiments import SETTINGS, Setting, train_and_test
from griddispatch.evaluation.metrics import PrintedBound
from griddispatch.evaluation.rollout import evaluate
from griddispatch.pipeline import paths
from griddispatch.reporting import comparisons, policies, training

ROOT = Path(__file__).resolve().parents[1]
BATTERIES = Storage(nodes=(3, 6))
TINY = replace(pathwise.PRESETS["tuned"], updates=2, environments=2, hidden=(8,), paired_days=0)


def cell(setting: Setting = SETTINGS[0], generated: Days | None = None) -> experiments.Cell:
    return train_and_test(
        pathwise.train,
        pathwise.NAME,
        setting,
        "tuned",
        TINY,
        [0, 1],
        small_feeder().network,
        half_year(),
        BATTERIES,
        generated,
    )


def test_table_3_has_the_eight_settings_of_the_paper():
    assert len(SETTINGS) == 8
    printed = pd.read_csv(ROOT / "paper/printed/rladn_table3.csv", keep_default_na=False)
    wanted = set(zip(printed["primary"], printed["augmented"], strict=True))
    assert {(s.primary.replace("all", "1 year"), s.augmented) for s in SETTINGS} == wanted


def test_a_cell_is_tested_on_days_that_it_has_not_seen():
    found = cell()
    assert set(found.days["scope"]) == {"test", "stress"}
    assert set(found.days["date"]) == {"2020-09-29", "2020-09-30", "2020-10-01", "2020-10-08"}
    assert len(found.days) == 2 * 4
    assert len(found.actors) == 2
    assert (found.days["information"] == "history").all()


def test_generated_days_join_the_training_days_and_nothing_else():
    few = made_up_days(3, seed=5)
    few = replace(few, dates=("generated 0001", "generated 0002", "generated 0003"))
    network, series = small_feeder().network, half_year()
    with_them = experiments.training_feeder(
        network, series, BATTERIES, Setting("1 month", "1 year"), generated=few
    )
    without = experiments.training_feeder(network, series, BATTERIES, Setting("1 month"))
    assert with_them.days.dates == without.days.dates + few.dates
    assert cell(Setting("1 month", "1 year"), few).setting.augmented == "1 year"


def test_agents_learn_from_all_training_days_and_from_no_test_or_stress_day():
    network, series = small_feeder().network, half_year()
    for primary in splits.PRIMARY:
        feeder = experiments.training_feeder(network, series, BATTERIES, Setting(primary))
        learnt = set(feeder.days.dates)
        assert learnt == set(splits.training_days(series, primary))
        assert not learnt & {*splits.test_days(series), *splits.stress_days(series)}


def test_the_device_that_agents_learn_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert experiments.learning_device("auto") == "cpu"
    with pytest.raises(InputError, match="finds none"):
        experiments.learning_device("cuda")
    with pytest.raises(InputError, match="'tpu'"):
        experiments.learning_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert experiments.learning_device("auto") == "cuda"
    assert experiments.learning_device("cpu") == "cpu"


def test_generated_days_where_none_are_asked_for_are_an_error():
    network, series = small_feeder().network, half_year()
    with pytest.raises(InputError, match="generated"):
        experiments.training_feeder(network, series, BATTERIES, Setting("1 month", "1 year"))
    with pytest.raises(InputError, match="generated"):
        experiments.training_feeder(
            network, series, BATTERIES, Setting("1 month"), generated=made_up_days(2)
        )


def test_what_a_training_hands_on_can_be_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    monkeypatch.delenv(paths.RUN, raising=False)
    cells = [cell()]
    training.hand_on("train_pathwise", cells, {"tuned": (TINY, 2)})
    folder = tmp_path / "scratch"
    days = pd.read_csv(folder / "results/train_pathwise.csv", keep_default_na=False)
    np.testing.assert_allclose(days["reward"], cells[0].days["reward"], rtol=1e-5, atol=1e-5)
    assert days["augmented"].eq("none").all()
    saved = torch.load(folder / "data/models/train_pathwise.pt")
    actor = Actor.load(saved["tuned, 1 month, none, history, free"][1])
    series = half_year()
    feeder = experiments.training_feeder(small_feeder().network, series, BATTERIES, SETTINGS[0])
    again = evaluate({"": actor}, feeder.on(series.days(["2020-09-29"])))
    own = cells[0].days
    own = own[own["seed"].eq(1) & own["date"].eq("2020-09-29")]
    assert again["reward"].item() == pytest.approx(own["reward"].item())


def test_curves_and_times_become_figures():
    cells = [cell()]
    curve = training.curves(cells)
    assert training.find(cells, "tuned", primary="1 month") is cells[0]
    plt.close(policies.learning_curves(curve))
    times = pd.DataFrame({"policy": ["TD3"] * 2, "backend": ["Sweep", "pandapower"]})
    fig = policies.training_times(times.assign(hours=[1.0, 4.0]))
    assert [bar.get_height() for bar in fig.axes[0].patches] == [1.0, 4.0]
    plt.close(fig)


def test_groups_of_rows_are_drawn_where_they_belong():
    rows = [
        ("TD3", "none", "test", 80.0),
        ("TD3", "1 year", "test", 90.0),
        ("PPO", "none", "test", 70.0),
        ("Fixed schedule", "", "test", 60.0),
    ]
    results = pd.DataFrame(rows, columns=["policy", "augmented", "scope", "mean"])
    results = results.assign(low=results["mean"] - 1, high=results["mean"] + 1, metric="captured")
    both = pd.concat([results, results.assign(scope="stress")], ignore_index=True)
    groups = [(name, both["augmented"].eq(name)) for name in ("none", "1 year")]
    fig = comparisons.captured_by(both, groups, "Fixed schedule", "generated days")
    drawn = {line.get_label(): line.get_ydata() for line in fig.axes[0].get_lines()}
    assert drawn["TD3"].tolist() == [80.0, 90.0]
    assert drawn["PPO"].tolist() == [70.0]
    assert set(drawn["Fixed schedule"]) == {60.0}
    plt.close(fig)


def test_the_printed_bound_is_drawn_through_its_points():
    reward = np.linspace(3, 12, 8)
    printed = pd.DataFrame({"algorithm": "TD3", "reward": reward})
    printed["bound_percent"] = 100 * (1 - 1.7 / reward)
    fig = comparisons.printed_bound(printed, PrintedBound(1.7, 0.0, 0.0, 8))
    curve = fig.axes[0].get_lines()[0]
    np.testing.assert_allclose(
        np.interp(reward, curve.get_xdata(), curve.get_ydata()), printed["bound_percent"], atol=0.05
    )
    plt.close(fig)


@pytest.mark.parametrize("learner", [td3, ppo])
def test_training_time_counts_learning_days_only(learner):
    """A clock that ticks with the steps of the environment gives one day per day."""
    feeder = small_feeder(days=made_up_days(2))

    def train(feeder, config, seeds):
        clock.append(clock[-1] + config.episodes)
        assert config.batch <= 96 * config.environments or hasattr(config, "warmup_episodes")

    clock = [0.0]
    presets = {"paper": replace(learner.PRESETS["paper"], episodes=50)}
    agent = SimpleNamespace(PRESETS=presets, train=train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_time.time, "perf_counter", lambda: clock[-1])
        table = training_time.measure({learner.NAME: agent}, feeder, days=3)
    assert clock[-1] < 40  # a batch of whole days is not played in full
    assert table["backend"].tolist() == ["Sweep", "pandapower"]
    assert table["seconds_per_day"].tolist() == [1.0, 1.0]
    assert table["hours"].tolist() == [50 / 3600] * 2


def test_another_librarys_agent_trains_on_the_environment_unchanged():
    feeder = small_feeder(observation=observe("now"))
    seconds = {}
    for library in ("griddispatch", "stable-baselines3"):
        found = interoperability.compare(library, feeder, feeder, days=2, warmup=1, seeds=[3])
        seconds[library] = found
        assert [row[:2] for row in found] == [(library, 3)]
        assert np.isfinite(found[0][2])
    again = interoperability.compare("stable-baselines3", feeder, feeder, 2, 1, [3])
    assert again == seconds["stable-baselines3"]
    with pytest.raises(InputError, match="no library 'rllib'"):
        interoperability.compare("rllib", feeder, feeder, 2, 1, [0])


def test_paying_over_the_mean_price_judges_a_charge_at_once():
    feeder = small_feeder()
    reward = interoperability.OverMean(float(feeder.price.mean()), feeder.hours)
    state = feeder.reset()
    charge = torch.ones_like(state.soc)
    _, _, outcome = feeder.step(state, charge)
    cheap = feeder.price[:, 0] < feeder.price.mean()
    paid = reward(outcome) + outcome.penalty
    assert bool(((paid > 0) == cheap).all())
