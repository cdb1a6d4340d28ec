"""Judged rows as arrays, and days and seeds that are drawn jointly."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.errors import InputError
from griddispatch.evaluation import paired


def made_up(values, unit="day", **key):
    """Rows with the column value [seeds, units] of one key."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    seed, at = np.indices(values.shape)
    columns = {"seed": seed.ravel(), unit: at.ravel(), "value": values.ravel()}
    return pd.DataFrame({"policy": "a"} | key | columns, index=range(values.size))


def test_rows_are_those_of_a_key():
    table = pd.concat([made_up([1.0, 2.0], weight=w) for w in (0.0, 0.3)], ignore_index=True)
    assert list(paired.rows(table, policy="a", weight=0.3).index) == [2, 3]
    assert len(paired.rows(table, policy="a")) == 4
    with pytest.raises(InputError, match="no rows of policy a, weight 1 in the table"):
        paired.rows(table, policy="a", weight=1)


@pytest.mark.parametrize("unit", ["day", "hour"])
def test_a_block_wants_each_unit_of_each_seed_once(unit):
    table = made_up([[1.0, 2.0], [3.0, 4.0]], unit)
    shuffled = table.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(paired.block(shuffled, "value", unit), [[1, 2], [3, 4]])
    with pytest.raises(InputError, match=f"a: the same {unit} stands twice"):
        paired.block(pd.concat([table, table]), "value", unit)
    with pytest.raises(InputError, match=f"a: seeds with different {unit}s"):
        paired.block(table.iloc[1:], "value", unit)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 40))
def test_a_draw_holds_as_many_days_and_seeds_as_there_are(days, seeds, draws):
    blocks = [np.zeros((seeds, days)), np.zeros((1, days))]
    drawn = paired.draw(blocks, pd.Series(np.arange(days)), draws)
    assert drawn.counts.shape == (draws + 1, days)
    assert (drawn.counts.sum(1) == days).all()
    assert (drawn.counts[0] == 1).all()
    assert set(drawn.seeds) == {1, seeds}
    assert drawn.seeds[seeds].shape == (draws + 1, seeds)
    assert drawn.seeds[seeds][0].tolist() == list(range(seeds))


def test_seeds_are_averaged_as_they_are_drawn():
    drawn = paired.draw([np.zeros((3, 5))], pd.Series(range(5)), draws=60)
    by_seed = np.random.default_rng(0).random((2, 61, 3))
    found = drawn.over_seeds(by_seed)
    assert found.shape == (2, 61)
    pick = drawn.seeds[3][7]
    assert found[1, 7] == pytest.approx(by_seed[1, 7, pick].mean())
    np.testing.assert_allclose(found[:, 0], by_seed[:, 0].mean(-1))
    np.testing.assert_array_equal(drawn.over_seeds(by_seed[1]), found[1])


def test_a_drawn_mean_varies_as_much_as_theory_says():
    # Days are drawn with replacement: the variance of their mean is that of the days over n.
    x = np.random.default_rng(1).normal(10, 2, 50)
    drawn = paired.draw([x[None]], pd.Series(range(50)), draws=4000)
    means = drawn.counts @ x / 50
    assert means[0] == pytest.approx(x.mean())
    assert means[1:].std() == pytest.approx(x.std() / np.sqrt(50), rel=0.05)
    low, high = paired.interval(means)[1:]
    assert high - low == pytest.approx(2 * 1.96 * x.std() / np.sqrt(50), rel=0.06)


def test_days_that_differ_cannot_be_drawn_together():
    with pytest.raises(InputError, match="different days"):
        paired.draw([np.zeros((1, 2)), np.zeros((1, 3))], pd.Series([0, 1, 2]))
    with pytest.raises(InputError, match="different days"):  # as many, but not the same ones
        paired.draw([np.zeros((1, 2)), np.zeros((1, 2))], pd.Series([0, 1, 1, 2]))


def test_what_lies_below_a_bound_is_named_once():
    table = pd.concat([made_up([0.2, 0.3, 0.1], "hour"), made_up([0.3, 0.3, 0.1], "hour")])
    bound = pd.Series([0.2, 0.31])
    assert paired.below_bound(table, "value", bound, 1e-3, "hour") == [1]
    assert paired.below_bound(table, "value", bound, 0.02, "hour") == []
