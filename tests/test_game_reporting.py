"""Figures and tables of the supply-load game."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from drawings import lines
from test_supply_load_game import mixtures, small

from griddispatch.agents.maddpg import GameTraining
from griddispatch.envs.supply_load_game import published
from griddispatch.errors import InputError
from griddispatch.evaluation.exploitability import gains, high_price, over_training
from griddispatch.optimization.game_equilibrium import equilibria, matrices, mixed_equilibria
from griddispatch.pipeline import paths
from griddispatch.reporting import game as reporting

pytestmark = pytest.mark.usefixtures("drawing_project")


@cache
def training():
    """Three seeds, two records; nobody learned anything."""
    p, q = mixtures(2, 3, 2), mixtures(2, 3, 2, seed=1)
    return GameTraining((0, 1, 2), np.array([0, 10]), p, q, 10)


@cache
def known():
    return equilibria(small(), starts=3)


def chosen():
    return type(known()[0])(*(np.stack(x) for x in zip(*[[p[0] for p in e] for e in known()])))


def test_exploitability_is_drawn_with_a_line_per_seed_and_their_median_on_a_log_axis():
    curve = over_training(small(), training())
    ax = reporting.draw_exploitability({"MADDPG": curve}).axes[0]
    assert ax.get_yscale() == "log"
    unnamed = [line for line in ax.get_lines() if str(line.get_label()).startswith("_")]
    assert len(unnamed) == 3
    table = curve.pivot(index="round", columns="seed", values="exploitability")
    assert np.allclose(lines(ax)["MADDPG"].get_ydata(), table.median(axis=1))
    assert set(lines(ax)["aim"].get_ydata()) == {reporting.REACH}


def test_no_curve_is_no_figure():
    with pytest.raises(InputError, match="one or more curves"):
        reporting.draw_exploitability({})


def test_the_high_price_is_drawn_with_every_equilibrium_and_the_printed_corner():
    game = small()
    corner = np.array([0.2, 0.9])
    frame = high_price(game, training())
    ax = reporting.draw_high_price({"MADDPG": frame}, known(), chosen(), corner).axes[0]
    drawn = lines(ax)
    assert np.allclose(drawn["MADDPG"].get_ydata(), frame["mean"])
    assert np.allclose(drawn["as printed, corner"].get_ydata(), corner)
    dots = np.concatenate([e.supply[:, 0] for e in known()])
    assert np.allclose(drawn["every equilibrium"].get_ydata(), dots)
    assert np.allclose(drawn["its logit branch"].get_ydata(), chosen().supply[:, 0])


def test_the_table_of_strategies_holds_what_was_measured():
    frame = reporting.strategies(small(), training(), chosen())
    reached = training().supply[-1][..., 0]
    assert np.allclose(frame["learned"], reached.mean(0))
    assert np.allclose(frame["difference"], np.abs(reached - chosen().supply[:, 0]).max(0))
    left = gains(small(), training().supply[-1], training().load[-1]).exploitability
    assert np.allclose(frame["exploitability"], left.mean(0))
    assert (frame["worst"] >= frame["exploitability"]).all()
    reporting.write_strategies(frame, "game", "The game.")
    written = pd.read_csv(paths.read("paper/tables/game.csv"))
    assert written["Period"].tolist() == [1, 2]
    assert list(written)[1] == "MADDPG"


def test_the_equilibria_of_the_printed_game_are_listed_with_their_exploitability():
    game = published()
    supply, load = (x[0] for x in matrices(game))
    found = {f"{i}": one for i, one in enumerate(mixed_equilibria(supply, load))}
    frame = reporting.known_equilibria(game, found).set_index("strategies")
    pure = frame["p_high"].isin([0.0, 1.0])
    assert pure.sum() == 2
    assert np.allclose(frame.loc[pure, "exploitability"], 0, atol=1e-12)
    # requests that are drawn one by one are not all at one price: the mixed one is none any more
    assert frame.loc[~pure, "exploitability"].item() > 0.01
