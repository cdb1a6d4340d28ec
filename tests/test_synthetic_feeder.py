"""Synthetic feeders: trees whose conductors and voltages are as their text says."""

import numpy as np
import pandapower as pp
import pytest
import torch
from feeders import chain
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.errors import InputError
from griddispatch.grid import synthetic
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve
from griddispatch.grid.synthetic import LINES, load_factor, synthetic_feeder


def nominal(network: Network, backend: str = "sweep", tol: float = 1e-12) -> torch.Tensor:
    """Voltages [N] at the loads that the network states."""
    loads = network.load_kw[None], network.load_kvar[None]
    flow = solve(network, *loads, backend=backend, tol=tol)  # type: ignore[arg-type]
    assert bool(flow.converged.all())
    return flow.voltage[0]


@settings(max_examples=12, deadline=None)
@given(nodes=st.integers(2, 60), seed=st.integers(0, 2**16), lowest=st.floats(0.9, 0.98))
def test_every_feeder_is_a_tree_at_the_asked_voltage(nodes: int, seed: int, lowest: float) -> None:
    feeder = synthetic_feeder(nodes, seed, lowest_voltage=lowest)
    assert feeder.is_radial
    assert feeder.n_nodes == nodes
    assert feeder.load_kw[0] == 0
    assert (feeder.load_kw[1:] > 0).all()
    assert feeder.load_kw.sum() == pytest.approx(6000, rel=0.05)
    magnitude = nominal(feeder).abs()
    assert float(magnitude.min()) == pytest.approx(lowest, abs=1e-9)
    assert float(magnitude.max()) < 1.01


@settings(max_examples=12, deadline=None)
@given(nodes=st.integers(2, 60), seed=st.integers(0, 2**16))
def test_no_line_carries_more_than_its_rating(nodes: int, seed: int) -> None:
    feeder = synthetic_feeder(nodes, seed)
    v = nominal(feeder).numpy()
    current = (v[feeder.from_bus] - v[feeder.to_bus]) / (feeder.r + 1j * feeder.x)
    ampere = np.abs(current) * feeder.base_kva / (np.sqrt(3) * feeder.base_kv)
    kind = {round(line.r / line.x, 9): 1e3 * line.rated for line in LINES}
    rated = np.array([kind[round(r / x, 9)] for r, x in zip(feeder.r, feeder.x, strict=True)])
    assert (ampere < rated).all()
    # A line is no thicker than the one that supplies it.
    order, parent, _ = feeder.tree
    above = {int(order[i]): int(order[parent[i]]) for i in range(1, nodes)}
    into = {int(to): k for k, to in enumerate(feeder.to_bus)}
    for node, k in into.items():
        if above[node] in into:
            assert rated[k] <= rated[into[above[node]]]


@pytest.mark.parametrize("backend", ["dense", "sweep"])
def test_voltages_are_those_of_newton_raphson(backend: str) -> None:
    for seed in (0, 1):
        feeder = synthetic_feeder(45, seed)
        gap = nominal(feeder, backend) - nominal(feeder, "pandapower", 1e-10)
        assert float(gap.abs().max()) < 1e-8


def test_a_seed_is_a_feeder() -> None:
    one, same, other = (synthetic_feeder(30, seed) for seed in (3, 3, 4))
    for name in ("from_bus", "r", "x", "b", "load_kw"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.load_kw, other.load_kw)


def test_larger_feeders_branch_and_reach_deeper() -> None:
    small, large = (synthetic.grown_tree(n, np.random.default_rng(0)) for n in (50, 2000))
    for parent in (small, large):
        ends = len(parent) - len(np.unique(parent[1:]))
        assert 0.1 < ends / len(parent) < 0.35
        assert (parent[1:] < np.arange(1, len(parent))).all()
    assert np.count_nonzero(large == 0) == 1, "one line leaves the slack node"


def test_load_beyond_a_node_is_the_sum_of_its_subtree() -> None:
    parent = np.array([-1, 0, 1, 1, 3, 0])
    load = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0])
    assert synthetic.beyond(parent, load).tolist() == [31, 15, 2, 12, 8, 16]


def test_conductors_are_standard_types() -> None:
    table = pp.std_types.available_std_types(pp.create_empty_network(), "line")
    columns = ["r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "max_i_ka"]
    for line in LINES:
        assert table.loc[line.name, columns].tolist() == list(line[1:])
    assert [line.rated for line in LINES] == sorted(line.rated for line in LINES)


def test_a_load_factor_takes_the_worst_row_to_the_voltage() -> None:
    network = chain(4, ohm=1.0)
    p = np.array([[0.0, 10.0, 20.0, 30.0], [0.0, 300.0, 10.0, 5.0]])
    for lowest in (0.97, 0.8):
        factor = load_factor(network, p, 0.2 * p, lowest)
        flow = solve(network, factor * p, factor * 0.2 * p, tol=1e-12)
        assert float(flow.magnitude.min()) == pytest.approx(lowest, abs=1e-9)


def test_wrong_sizes_are_errors_that_name_them() -> None:
    with pytest.raises(InputError, match=r"1 node\(s\)"):
        synthetic_feeder(1)
    with pytest.raises(InputError, match="lowest_voltage is 1"):
        synthetic_feeder(5, lowest_voltage=1.0)
    with pytest.raises(InputError, match="load_mw is -1"):
        synthetic_feeder(5, load_mw=-1.0)
    with pytest.raises(InputError, match="reduce load_mw"):
        synthetic_feeder(5, load_mw=50.0)
    network, p = chain(3), np.array([[0.0, -10.0, -5.0]])
    with pytest.raises(InputError, match="no multiple of these loads"):
        load_factor(network, p, 0 * p, 0.95)
