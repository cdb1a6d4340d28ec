"""The study of the power flow: loads at the limit, errors, and the nose against its formula."""

import numpy as np
import pytest
import torch
from feeders import chain
from networks import random_loads, random_network

from griddispatch.errors import InputError
from griddispatch.evaluation import power_flow_study as study
from griddispatch.grid.power_flow import solve


def test_equal_load_takes_the_lowest_voltage_to_the_limit() -> None:
    network = chain(6, ohm=1.0)
    mean = study.equal_load(network)
    loads = np.full((1, 6), mean), np.full((1, 6), study.Q_TO_P * mean)
    assert float(solve(network, *loads).magnitude.min()) == pytest.approx(0.95, abs=1e-5)
    p, q = study.heavy_loads(network, 500, seed=3)
    assert (p[:, 0] == 0).all()
    assert p[:, 1:].mean() == pytest.approx(mean, rel=0.05)
    assert q[:, 1:].max() <= 2 * study.Q_TO_P * mean


def test_newton_is_the_same_power_flow_and_nan_where_it_fails() -> None:
    network = random_network(11, 6)
    p, q = random_loads(network, 3)
    p[1] = 1e6
    found = study.Newton(network).voltage(p, q)
    assert np.isnan(found[1]).all()
    flow = solve(network, p, q, tol=1e-10)
    error = study.error_percent(flow.voltage, found)
    assert error[[0, 2]].max() < 1e-6
    report = study.accuracy(flow, error[[0, 2]])
    assert report["failed"] == 1
    assert report["max_error_percent"] == error[[0, 2]].max()


@pytest.mark.parametrize("backend", ["sweep", "dense", "pandapower"])
def test_two_nodes_collapse_where_the_formula_says(backend: str) -> None:
    """S_max = V^2 / (2 (|z| + r cos(phi) + x sin(phi))), the nose of a line with one load."""
    network = chain(2, ohm=1.0)
    p, q = np.array([0.0, 100.0]), np.array([0.0, 30.0])
    s, z = 100 + 30j, complex(network.r[0], network.x[0])
    most = network.base_kva / (2 * (abs(z) + (z.conjugate() * s / abs(s)).real))
    program = study.Newton(network) if backend == "pandapower" else backend
    assert study.collapse(network, p, q, program) == pytest.approx(most / abs(s), rel=1e-3)
    curve = study.loading(network, p, q, most / abs(s), points=20)
    assert curve["factor"].is_monotonic_increasing
    assert curve["v_min"].is_monotonic_decreasing
    assert curve["v_min"].notna().all()
    assert curve["iterations"].iloc[-1] > 50


def test_a_load_beyond_the_nose_is_an_error() -> None:
    network = chain(2, ohm=1.0)
    with pytest.raises(InputError, match="cannot carry the load to begin with"):
        study.collapse(network, np.array([0.0, 1e6]), np.zeros(2), "sweep")


def test_times_have_a_row_for_every_program() -> None:
    torch.set_num_threads(1)
    one, many = (study.times(chain(6), batch, 1) for batch in (1, 64))
    assert one["backend"].tolist() == ["Dense", "Sweep", "pandapower"]
    assert many["backend"].tolist() == ["Dense", "Sweep"]
    assert (many[["power_flow_us", "env_step_us"]] > 0).all(axis=None)
    assert (one[["power_flow_us", "env_step_us"]] > 0).all(axis=None)
