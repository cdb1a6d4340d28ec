"""Comparisons on common days, and what is made of them for the reader."""

import numpy as np
import pandas as pd
import pytest
from feeders import made_up_days, small_feeder
from matplotlib import pyplot as plt

from griddispatch.agents.rules import DoNothing, PriceThreshold
from griddispatch.errors import InputError
from griddispatch.evaluation.comparison import BEST, IDLE, Comparison, Kind, verdict
from griddispatch.evaluation.metrics import fit_printed_bound
from griddispatch.evaluation.rollout import rollout
from griddispatch.evaluation.statistics import Interval
from griddispatch.pipeline import paths
from griddispatch.reporting import comparisons, policies


def table() -> pd.DataFrame:
    """Two scopes of ten days: idle, a learner with two seeds around the half, the optimum."""
    rng = np.random.default_rng(0)
    rows = []
    for scope in ("test", "stress"):
        idle = -rng.uniform(1, 2, 10)
        best = idle + rng.uniform(10, 12, 10)
        for policy, primary, seed, share in (
            ("Do nothing", "", 0, 0.0),
            ("TD3", "all", 0, 0.45),
            ("TD3", "all", 1, 0.55),
            ("Optimum", "", 0, 1.0),
        ):
            for day in range(10):
                reward = idle[day] + share * (best[day] - idle[day])
                date = f"2020-{'09' if scope == 'test' else '10'}-{day + 1:02d}"
                rows.append((policy, primary, scope, seed, date, reward, reward + 1.0, 1.0))
    columns = ["policy", "primary", "scope", "seed", "date", "reward", "profit", "penalty"]
    return pd.DataFrame(rows, columns=columns)


def test_ends_of_the_scale_and_the_half_between_them():
    comparison = Comparison(table(), draws=300)
    assert comparison.interval(IDLE, "test", "captured") == (0, 0, 0)
    assert comparison.interval(BEST, "test", "captured") == pytest.approx((100, 100, 100))
    half = comparison.interval(Kind("TD3", "all"), "stress", "captured")
    assert half.value == pytest.approx(50)
    assert half.low == pytest.approx(45)  # both drawn seeds are the worse one, or the better one
    assert half.high == pytest.approx(55)


def test_paired_gain_knows_no_noise_of_the_days():
    comparison = Comparison(table(), draws=300)
    gain = comparison.gain(BEST, IDLE, "test")
    assert gain == pytest.approx((100, 100, 100))
    assert verdict(gain) == "more"
    assert verdict(Interval(0.0, -1.0, 1.0)) == "no clear difference"
    assert verdict(Interval(-2.0, -3.0, -1.0)) == "less"


def test_the_mean_gain_is_the_mean_of_the_gains():
    comparison = Comparison(table(), draws=300)
    learner = Kind("TD3", "all")
    pairs = [(BEST, IDLE), (learner, IDLE)]
    gains = [comparison.gain(*pair, "test").value for pair in pairs]
    assert comparison.mean_gain(pairs, "test").value == pytest.approx(np.mean(gains))


def test_a_day_on_which_the_optimum_is_beaten_is_named():
    frame = table()
    assert Comparison(frame).days_beaten() == []
    frame.loc[frame["policy"].eq("TD3") & frame["date"].eq("2020-09-03"), "reward"] += 20
    assert Comparison(frame).days_beaten() == ["2020-09-03"]


def test_other_days_are_not_compared():
    frame = table()
    with pytest.raises(InputError, match="TD3"):
        Comparison(frame.drop(frame.index[frame["policy"].eq("TD3")][0]))
    with pytest.raises(InputError, match="PPO"):
        Comparison(frame).block(Kind("PPO", "all"), "test", "reward")


def test_results_have_a_row_for_everything_and_become_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    monkeypatch.delenv(paths.RUN, raising=False)
    results = Comparison(table(), draws=50).results()
    assert len(results) == 3 * 2 * 4
    comparisons.write_results(results, "rl_adn", "Policies.")
    text = (tmp_path / "scratch/paper/tables/rl_adn.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == ["Do nothing", "TD3", "Optimum"]
    assert "50" in lines[1]
    plt.close(comparisons.captured_values(results))


def test_printed_bound_is_found_and_a_ratio_is_not():
    reward = np.linspace(3, 12, 32)
    bound = 100 * np.abs(1 - 1.7 / reward)
    fit = fit_printed_bound(reward, bound)
    assert fit.constant == pytest.approx(1.7, abs=1e-4)
    assert fit.largest_points < 0.01
    assert fit_printed_bound(reward, 100 * reward / 15).rms_points > 5


def test_figures_of_a_training_and_of_a_day():
    rng = np.random.default_rng(0)
    curve = pd.DataFrame(
        [
            (primary, seed, episode, *rng.normal(size=3))
            for primary in ("1 month", "all")
            for seed in (0, 1)
            for episode in (10, 20, 30)
        ],
        columns=["primary", "seed", "episode", "reward", "profit", "penalty"],
    )
    fig = policies.training_curves(curve, "TD3", ("1 month", "all"))
    assert len(fig.axes) == 3
    plt.close(fig)
    feeder = small_feeder(days=made_up_days(1))
    rules = {"Do nothing": DoNothing(), "Price threshold": PriceThreshold(30, 50)}
    runs = {name: rollout(rule, feeder) for name, rule in rules.items()}
    fig = policies.dispatch_day(runs, feeder, node=6)
    soc = fig.axes[2].get_lines()[1].get_ydata()
    np.testing.assert_allclose(soc, runs["Price threshold"].soc[0, :, 1])
    plt.close(fig)
