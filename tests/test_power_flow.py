"""Power flow: sweep = dense = pandapower, whatever the network, the loads and the neighbours."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import complex_voltage, networks, newton_raphson, random_loads, random_network

from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import Backend, PowerFlow, solve
from griddispatch.grid.testing import assert_same_voltages

BACKENDS: tuple[Backend, ...] = ("sweep", "dense")
FEEDERS = (25, 34, 69, 123)
few = settings(max_examples=25)
fewer = settings(max_examples=10)  # where pandapower solves them
seeds = st.integers(0, 2**16)


@pytest.fixture(scope="module")
def feeders(raw_data: Path) -> dict[int, Network]:
    return {
        n: Network.read(raw_data / f"Nodes_{n}.csv", raw_data / f"Lines_{n}.csv") for n in FEEDERS
    }


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def failed(flow: PowerFlow, row: int) -> bool:
    """Whether a row is marked as failed, all NaN."""
    return not flow.converged[row] and bool(flow.voltage[row].isnan().all())


# -- the right answer -----------------------------------------------------------------------


@fewer
@given(networks(), seeds)
def test_sweep_dense_and_newton_raphson_agree_on_trees(network: Network, seed: int) -> None:
    p, q = random_loads(network, 2, seed)
    sweep, dense = (solve(network, p, q, backend=b, tol=1e-10) for b in BACKENDS)
    assert sweep.converged.all()
    assert_same_voltages(sweep, newton_raphson(network, p, q), 1e-8, network=network)
    assert_same_voltages(sweep, dense, 1e-9, network=network)


@fewer
@given(networks(meshed=True), seeds)
def test_dense_and_newton_raphson_agree_on_meshes(network: Network, seed: int) -> None:
    p, q = random_loads(network, 2, seed)
    dense = solve(network, p, q, tol=1e-10)  # "auto" must see the loop
    assert_same_voltages(dense, newton_raphson(network, p, q), 1e-8, network=network)


@pytest.mark.parametrize("count", FEEDERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_four_feeders(feeders: dict[int, Network], count: int, backend: Backend) -> None:
    network = feeders[count]
    p, q = random_loads(network, 3, count, drop=0.15)
    flow = solve(network, p, q, backend=backend)
    assert flow.converged.all()
    assert flow.magnitude.min() < 0.99
    assert_same_voltages(flow, newton_raphson(network, p, q), 1e-6, network=network)


def test_the_nominal_case_and_its_power_balance(feeders: dict[int, Network]) -> None:
    network = feeders[34]
    net = network.to_pandapower()
    pp.runpp(net, numba=False)
    flow = solve(network, network.load_kw[None], network.load_kvar[None], tol=1e-10)
    v = flow.voltage.numpy()[0]
    assert abs(v).min() == pytest.approx(net.res_bus["vm_pu"].min(), abs=1e-8)
    injected = v * np.conj(network.y_bus @ v) * network.base_kva
    at_slack = injected[network.slack] + network.load_kw[network.slack]
    assert at_slack.real == pytest.approx(1e3 * net.res_ext_grid["p_mw"].sum(), abs=1e-3)
    assert at_slack.imag == pytest.approx(1e3 * net.res_ext_grid["q_mvar"].sum(), abs=1e-3)
    losses = 1e3 * net.res_line["pl_mw"].sum()
    assert losses > 100
    assert at_slack.real == pytest.approx(network.load_kw.sum() + losses, abs=1e-3)


@few
@given(networks(meshed=True), seeds)
def test_every_node_draws_what_was_asked_for(network: Network, seed: int) -> None:
    p, q = random_loads(network, 3, seed)
    v = solve(network, p, q, tol=1e-12).voltage.numpy()
    drawn = -v * np.conj(v @ network.y_bus.T) * network.base_kva
    others = network.demand
    np.testing.assert_allclose(drawn[:, others], (p + 1j * q)[:, others], atol=1e-6)


def test_feeding_in_raises_the_voltage_and_the_load_of_the_slack_does_not_matter() -> None:
    network = random_network(5, 6, charging=False, v_slack=1.0 + 0j)
    p, q = np.zeros((3, 6)), np.zeros((3, 6))
    p[1, network.demand] = -500
    p[2, network.slack] = 1e5
    for backend in BACKENDS:
        high = solve(network, p, q, backend=backend).magnitude
        assert (high[1, network.demand] > 1.001).all()
        assert torch.equal(high[0], high[2])
        torch.testing.assert_close(high[0], torch.ones(6, dtype=torch.float64))


# -- elements that only the dense backend has -----------------------------------------------


def closed_ring() -> Any:
    net = pn.case33bw()
    net.line["in_service"] = True  # the five tie switches are lines out of service
    return net


def small_transformers() -> Any:
    """A tap off its middle, a vector group, a shifter in a ring, a shunt, all kinds of loads."""
    net = pp.create_empty_network("transformers")
    pp.create_buses(net, 2, vn_kv=20.0)
    pp.create_buses(net, 3, vn_kv=0.4)
    pp.create_ext_grid(net, 0, vm_pu=1.02, va_degree=10.0)
    pp.create_line(net, 0, 1, 3.0, "NA2XS2Y 1x95 RM/25 12/20 kV")
    pp.create_transformer(net, 1, 2, "0.4 MVA 20/0.4 kV", tap_pos=-2)
    for a, b in ((2, 3), (3, 4), (2, 4)):
        pp.create_line(net, a, b, 0.1, "NAYY 4x150 SE")
    shift = {"sn_mva": 0.4, "vk_percent": 4.0, "vkr_percent": 1.0, "pfe_kw": 1, "i0_percent": 0.5}
    pp.create_transformer_from_parameters(
        net, 2, 3, vn_hv_kv=0.4, vn_lv_kv=0.4, shift_degree=2.0, **shift
    )
    mixed = {"const_z_p_percent": 30, "const_i_p_percent": 20}
    mixed |= {"const_z_q_percent": 10, "const_i_q_percent": 60}
    # One element per bus where shares differ: pandapower takes their plain mean over a bus.
    pp.create_load(net, 3, 0.05, 0.02, **mixed)
    pp.create_load(net, 4, 0.03, 0.03, const_z_p_percent=100, const_z_q_percent=100, scaling=0.5)
    pp.create_load(net, 1, 0.05, 0.01)
    pp.create_load(net, 1, 0.02, 0.03, in_service=False)
    pp.create_sgen(net, 1, 0.04, -0.01)
    pp.create_storage(net, 2, 0.01, 0.1)
    pp.create_shunt(net, 4, q_mvar=-0.02, p_mw=0.001)
    return net


NETS = {
    "CIGRE MV": pn.create_cigre_network_mv,
    "CIGRE MV with PV and wind": lambda: pn.create_cigre_network_mv(with_der="pv_wind"),
    "CIGRE LV": pn.create_cigre_network_lv,
    "33 buses, ties closed": closed_ring,
    "Kerber, overhead": pn.create_kerber_landnetz_freileitung_1,
    "Kerber, village": pn.create_kerber_dorfnetz,
    "transformers": small_transformers,
}


@pytest.mark.parametrize("name", NETS)
def test_nets_of_pandapower(name: str) -> None:
    net = NETS[name]()
    pp.runpp(net, calculate_voltage_angles=True, numba=False, tolerance_mva=1e-9, init="dc")
    network = Network.from_pandapower(net)
    flow = solve(network, network.load_kw[None], network.load_kvar[None], tol=1e-10)
    assert flow.converged.all()
    expected = complex_voltage(net)
    own = [network.position(b) for b in net.bus.index if b in network._columns]
    there = [net.bus.index.get_loc(int(network.nodes[c])) for c in own]
    assert len(own) >= 0.8 * len(net.bus)
    assert np.ptp(abs(expected[there])) > 0.003
    assert_same_voltages(flow.voltage[:, own], expected[None, there], 1e-7)
    if not (network.is_radial and network.is_constant_power and (network.tap == 1).all()):
        with pytest.raises(InputError, match=f"network {network.name}"):
            solve(network, network.load_kw[None], backend="sweep")


@few
@given(
    st.tuples(*[st.floats(0, 1)] * 4).map(sorted),
    st.floats(-0.1, 0.1),
    st.floats(-0.5, 0.5),
    seeds,
)
def test_shares_taps_and_shunts_fulfil_the_equations(
    cuts: list[float], tap: float, angle: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shares = np.diff([0, *cuts[:2], 1]), np.diff([0, *cuts[2:], 1])
    network = random_network(seed, 6, extra_branches=2).replace_loads(*shares)
    ratio = 1 + rng.uniform(-1, 1, len(network.r)) * tap * np.exp(1j * angle)
    extra = {"tap": ratio, "shunt": rng.uniform(0, 0.05, 6) + 1j * rng.uniform(-0.1, 0.1, 6)}
    network = Network(**network._fields() | extra)
    p, q = random_loads(network, 2, seed, drop=0.05)
    flow = solve(network, p, q, tol=1e-12)
    v = flow.voltage.numpy()
    powers = abs(v)[..., None] ** np.arange(3)
    asked = p * (powers * network.zip_p).sum(-1) + 1j * q * (powers * network.zip_q).sum(-1)
    drawn = -v * np.conj(v @ network.y_bus.T) * network.base_kva
    np.testing.assert_allclose(drawn[:, network.demand], asked[:, network.demand], atol=1e-6)


# -- what must not matter -------------------------------------------------------------------


@few
@given(networks(), seeds)
def test_the_order_of_nodes_and_branches_does_not_matter(network: Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    new = rng.permutation(network.n_nodes)  # the node of column i moves to column new[i]
    old = np.argsort(new)
    edges = rng.permutation(len(network.r))
    turned = rng.random(len(edges)) < 0.5
    f, t = new[network.from_bus[edges]], new[network.to_bus[edges]]
    moved = {
        "nodes": network.nodes[old],
        "slack": int(new[network.slack]),
        "from_bus": np.where(turned, t, f),
        "to_bus": np.where(turned, f, t),
        **{name: getattr(network, name)[edges] for name in ("r", "x", "b")},
    }
    other = Network(**network._fields() | moved)
    p, q = random_loads(network, 2, seed)
    for backend in BACKENDS:
        here = solve(network, p, q, backend=backend, tol=1e-10)
        there = solve(other, p[:, old], q[:, old], backend=backend, tol=1e-10)
        assert_same_voltages(here, there.voltage[:, new], 1e-9, network=network)


BAD = {
    "NaN": lambda p, q, n: p.__setitem__(n, np.nan),
    "infinite": lambda p, q, n: p.__setitem__(n, -np.inf),
    "reactive NaN": lambda p, q, n: q.__setitem__(n, np.nan),
    "no solution": lambda p, q, n: p.__setitem__(n, 1e7),
    "overflow": lambda p, q, n: p.__setitem__(n, 1e300),
    "the largest number": lambda p, q, n: q.__setitem__(n, np.finfo(float).max),
}


@settings(max_examples=60)
@given(
    seeds,
    st.sampled_from(BACKENDS),
    st.dictionaries(st.integers(0, 149), st.sampled_from(sorted(BAD)), min_size=1, max_size=5),
    st.booleans(),
)
def test_a_bad_row_fails_and_changes_no_other(
    seed: int, backend: Backend, bad: dict[int, str], at_slack: bool
) -> None:
    network = random_network(seed, 5)
    p, q = random_loads(network, 150, seed)
    clean = solve(network, p, q, backend=backend)
    column = network.slack if at_slack else network.demand[seed % 4]
    for row, kind in bad.items():
        BAD[kind](p[row], q[row], column)
    flow = solve(network, p, q, backend=backend)
    for row, kind in bad.items():
        not_finite = not (np.isfinite(p[row]).all() and np.isfinite(q[row]).all())
        if at_slack and not not_finite:  # absurd, but of no effect on any voltage
            continue
        assert failed(flow, row), kind
        assert (flow.iterations[row] == 0) == not_finite, kind
    others = np.setdiff1d(np.arange(150), list(bad))
    assert flow.converged[others].all()
    assert torch.equal(flow.iterations[others], clean.iterations[others])
    gap = (flow.voltage[others] - clean.voltage[others]).abs().max()
    assert gap <= (0 if backend == "sweep" else 1e-12)


@given(seeds, st.integers(1, 200))
def test_the_size_of_the_batch_does_not_matter(seed: int, rows: int) -> None:
    network = random_network(seed, 4)
    p, q = random_loads(network, 200, seed)
    whole, part = solve(network, p, q), solve(network, p[:rows], q[:rows])
    assert torch.equal(whole.voltage[:rows], part.voltage)
    assert torch.equal(whole.iterations[:rows], part.iterations)
    dense = [solve(network, p[:k], q[:k], backend="dense").voltage for k in (200, rows)]
    assert_same_voltages(dense[0][:rows], dense[1], 1e-8)


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_does_not_matter() -> None:
    network = random_network(1, 9)
    p, q = random_loads(network, 1111)
    p[77] = np.nan
    two = [solve(network, p, q, backend=b) for b in BACKENDS]
    torch.set_num_threads(1)
    one = [solve(network, p, q, backend=b) for b in BACKENDS]
    assert two[0].voltage.numpy().tobytes() == one[0].voltage.numpy().tobytes()
    assert torch.equal(two[0].iterations, one[0].iterations)
    assert_same_voltages(two[1], one[1], 1e-8)


def test_arrays_tensors_and_whole_numbers_are_the_same() -> None:
    network = random_network(2, 5)
    p = np.arange(10).reshape(2, 5) * 10
    for backend in BACKENDS:
        expected = solve(network, p.astype(float), backend=backend).voltage
        for given_p in (p, torch.as_tensor(p), np.asfortranarray(p.astype(float)), p.tolist()):
            assert torch.equal(solve(network, given_p, backend=backend).voltage, expected)
        zero_q = solve(network, p, np.zeros((2, 5)), backend=backend).voltage
        assert_same_voltages(zero_q, expected, 1e-12 if backend == "sweep" else 1e-8)


def test_an_empty_batch() -> None:
    network = random_network(2, 5)
    for backend in BACKENDS:
        flow = solve(network, np.zeros((0, 5)), backend=backend)
        assert flow.voltage.shape == (0, 5)
        assert flow.converged.shape == flow.iterations.shape == (0,)


# -- stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tolerance_decides_when_a_row_stops(backend: Backend) -> None:
    network = random_network(3, 8)
    p, q = random_loads(network, 300, drop=0.2)
    exact = solve(network, p, q, backend=backend, tol=1e-14)
    before = torch.zeros(300)
    for tol in (1e-3, 1e-6, 1e-9):
        flow = solve(network, p, q, backend=backend, tol=tol)
        assert flow.converged.all()
        assert_same_voltages(flow, exact, tol)
        assert (flow.iterations >= before).all()
        assert flow.iterations.max() > before.max()
        before = flow.iterations


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_few_iterations_are_a_failure(backend: Backend) -> None:
    network = random_network(3, 8)
    p, q = random_loads(network, 4)
    needed = int(solve(network, p, q, backend=backend).iterations.max())
    for limit in range(1, needed + 1):
        flow = solve(network, p, q, backend=backend, max_iter=limit)
        assert bool(flow.converged.all()) == (limit >= needed)
        for row in np.flatnonzero(~flow.converged.numpy()):
            assert failed(flow, row)
            assert flow.iterations[row] == limit


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warm_start_saves_iterations(backend: Backend) -> None:
    network = random_network(4, 10)
    p, q = random_loads(network, 100, drop=0.3)
    cold = solve(network, p, q, backend=backend)
    warm = solve(network, p, q, backend=backend, v_init=cold.voltage)
    assert warm.converged.all()
    assert_same_voltages(warm, cold, 1e-6)
    assert (warm.iterations < cold.iterations).all()
    near = solve(network, 1.01 * p, q, backend=backend, v_init=cold.voltage)
    assert_same_voltages(near, solve(network, 1.01 * p, q, backend=backend), 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_start_fails_alone_and_that_of_the_slack_is_not_used(backend: Backend) -> None:
    network = random_network(4, 6)
    p, q = random_loads(network, 70)
    start = np.tile(network.no_load_voltage, (70, 1))
    start[:, network.slack] = 0.5
    start[66, network.demand[0]] = np.nan
    start[68, network.demand[0]] = 0.0
    flow = solve(network, p, q, backend=backend, v_init=start)
    assert failed(flow, 66)
    assert flow.iterations[66] == 0
    assert failed(flow, 68)
    good = np.setdiff1d(np.arange(70), [66, 68])
    expected = solve(network, p, q, backend=backend)
    assert_same_voltages(flow.voltage[good], expected.voltage[good], 1e-6, network=network)
    assert (flow.voltage[good, network.slack] == network.v_slack).all()


# -- pandapower as a backend ----------------------------------------------------------------


@settings(max_examples=6)
@given(networks(meshed=True), seeds, st.sampled_from([(1, 0, 0), (0, 1, 0), (0.2, 0.3, 0.5)]))
def test_pandapower_solves_the_same_equations(
    network: Network, seed: int, mix: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    shunt = 0.05 * (rng.uniform(0, 1, network.n_nodes) + 1j * rng.normal(size=network.n_nodes))
    case = Network(**network._fields() | {"shunt": shunt}).replace_loads(mix, mix[::-1])
    p, q = random_loads(case, 2, seed)
    dense = solve(case, p, q, tol=1e-11)
    newton = solve(case, p, q, backend="pandapower", tol=1e-9)
    assert_same_voltages(newton, dense, 1e-7, network=case)


def test_pandapower_marks_a_bad_row_and_changes_no_other() -> None:
    network = random_network(4, 5, v_slack=1.02 * np.exp(0.3j))
    p, q = random_loads(network, len(BAD) + 2)
    clean = solve(network, p, q, backend="pandapower")
    assert_same_voltages(clean, solve(network, p, q), 1e-6, network=network)
    for row, kind in enumerate(BAD):
        BAD[kind](p[row], q[row], network.demand[0])
    flow = solve(network, p, q, backend="pandapower")
    for row, kind in enumerate(BAD):
        not_finite = not (np.isfinite(p[row]).all() and np.isfinite(q[row]).all())
        assert failed(flow, row), kind
        assert (flow.iterations[row] == 0) == not_finite, kind
    assert torch.equal(flow.voltage[len(BAD) :], clean.voltage[len(BAD) :])
    assert torch.equal(flow.iterations[len(BAD) :], clean.iterations[len(BAD) :])


def test_pandapower_takes_start_limit_and_precision() -> None:
    network = random_network(3, 6)
    p, q = random_loads(network, 2)
    cold = solve(network, p, None, backend="pandapower")
    assert_same_voltages(cold, solve(network, p), 1e-6, network=network)
    warm = solve(network, p, None, backend="pandapower", v_init=cold.voltage)
    assert (warm.iterations < cold.iterations).all()
    assert not solve(network, p, q, backend="pandapower", max_iter=1).converged.any()
    single = solve(network, p, None, backend="pandapower", dtype=torch.float32)
    assert single.voltage.dtype == torch.complex64
    leaf = torch.as_tensor(p).requires_grad_()
    with pytest.raises(InputError, match="pandapower has no gradients; use backend='dense'"):
        solve(network, leaf, backend="pandapower")
    none = solve(network, p[:0], backend="pandapower")
    assert none.voltage.shape == (0, 6)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (random_network(0, 5, tap=np.full(4, 0.98 + 0j)), "has transformer taps"),
        (random_network(0, 5).replace_loads((-0.2, 0.6, 0.6)), "a negative share of constant"),
    ],
)
def test_what_pandapower_does_not_model(network: Network, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(network, np.zeros((1, 5)), backend="pandapower")


# -- constant power beside voltage-dependent loads ------------------------------------------


@few
@given(networks(meshed=True), seeds, st.sampled_from([(0, 1, 0), (0, 0, 1), (0.2, 0.3, 0.5)]))
def test_constant_power_stays_what_it_is(
    network: Network, seed: int, mix: tuple[float, float, float]
) -> None:
    case = network.replace_loads(mix, (0, 0, 1))
    (p, q), (constant, _) = random_loads(case, 3, seed), random_loads(case, 3, seed + 1)
    v = solve(case, p, q, constant_kw=constant, tol=1e-12).voltage.numpy()
    drawn = -v * np.conj(v @ case.y_bus.T) * case.base_kva
    size, others = np.abs(v), case.demand
    active = p * (mix[0] + mix[1] * size + mix[2] * size**2) + constant
    expected = active + 1j * q * size**2
    np.testing.assert_allclose(drawn[:, others], expected[:, others], atol=1e-6)


def test_beside_constant_power_loads_it_is_simply_added() -> None:
    network = random_network(2, 6)
    p, q = random_loads(network, 4)
    assert torch.equal(
        solve(network, p, q, constant_kw=2 * p).voltage, solve(network, p + 2 * p, q).voltage
    )


@pytest.mark.parametrize("backend", ["dense", "pandapower"])
def test_a_row_with_constant_power_does_not_depend_on_its_neighbours(backend: Backend) -> None:
    network = random_network(6, 5).replace_loads((0.2, 0.3, 0.5))
    p, q = random_loads(network, 5, drop=0.15)
    constant = p[::-1].copy()
    clean = solve(network, p, q, constant_kw=constant, backend=backend)
    assert_same_voltages(clean, solve(network, p, q, constant_kw=constant, tol=1e-12), 1e-6)
    constant[1], p[3] = np.nan, 1e7
    flow = solve(network, p, q, constant_kw=constant, backend=backend)
    assert flow.converged.tolist() == [True, False, True, False, True]
    assert failed(flow, 1)
    assert failed(flow, 3)
    gap = (flow.voltage[[0, 2, 4]] - clean.voltage[[0, 2, 4]]).abs().max()
    assert gap <= 1e-12
    assert not solve(network, p, q, constant_kw=p, backend=backend, max_iter=1).converged.any()


def test_gradients_of_constant_power() -> None:
    network = random_network(7, 5, extra_branches=1).replace_loads((0.3, 0.3, 0.4))
    p, q = random_loads(network, 3, drop=0.15)
    constant, load = torch.as_tensor(p[::-1].copy()), torch.as_tensor(p)

    def voltage(constant: torch.Tensor, load: torch.Tensor) -> torch.Tensor:
        return solve(network, load, q, constant_kw=constant, tol=1e-12).voltage

    arguments = constant.requires_grad_(), load.requires_grad_()
    options = {"eps": 1.0, "atol": 1e-9, "rtol": 1e-4, "fast_mode": True}
    assert torch.autograd.gradcheck(voltage, arguments, **options)
    bad = constant.detach().clone()
    bad[1] = 1e7
    grads = [
        torch.autograd.grad(voltage(leaf, load).abs().square().sum(), leaf)[0]
        for leaf in (constant, bad.requires_grad_())
    ]
    assert (grads[1][1] == 0).all()
    torch.testing.assert_close(grads[1][[0, 2]], grads[0][[0, 2]])


# -- precision, gradients, "auto" -----------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32(feeders: dict[int, Network], backend: Backend) -> None:
    for network in feeders.values():
        p, q = random_loads(network, 100, drop=0.2)
        single = solve(network, p, q, backend=backend, dtype=torch.float32)
        assert single.voltage.dtype == torch.complex64
        assert single.converged.all()
        assert_same_voltages(single, solve(network, p, q), 5e-6, network=network)


@pytest.mark.parametrize("mix", [(1, 0, 0), (0.3, 0.3, 0.4)])
@pytest.mark.parametrize("start", [False, True])
def test_gradients(mix: tuple[float, float, float], start: bool) -> None:
    network = random_network(7, 5, extra_branches=1).replace_loads(mix, mix[::-1])
    p, q = (torch.as_tensor(x).requires_grad_() for x in random_loads(network, 3, drop=0.3))
    v_init = torch.full((3, 5), 0.97 + 0.01j, dtype=torch.complex128) if start else None

    def voltage(p: torch.Tensor, q: torch.Tensor | None = None) -> torch.Tensor:
        return solve(network, p, q, tol=1e-13, v_init=v_init).voltage

    # kW are small against p.u.: a step of 1 kW, and the gradient is about 1e-5.
    options = {"eps": 1.0, "atol": 1e-9, "rtol": 1e-4}
    assert torch.autograd.gradcheck(voltage, (p, q), **options)
    assert torch.autograd.gradcheck(voltage, (p,), **options)


def test_a_failed_row_has_no_gradient_and_spoils_none() -> None:
    network = random_network(8, 6)
    p, q = random_loads(network, 5, drop=0.3)
    bad = p.copy()
    bad[1], bad[3] = np.nan, 1e7
    grads = []
    for given_p in (p, bad):
        leaf = torch.as_tensor(given_p).requires_grad_()
        flow = solve(network, leaf, q, backend="dense")
        flow.magnitude.square().sum().backward()  # NaN comes in for the failed rows
        grads.append(leaf.grad)
    assert (grads[1][[1, 3]] == 0).all()
    torch.testing.assert_close(grads[1][[0, 2, 4]], grads[0][[0, 2, 4]])
    assert grads[0].abs().max() > 0


def test_auto_takes_the_sweep_unless_it_cannot_serve() -> None:
    network = random_network(9, 6)
    p, q = random_loads(network, 30)
    assert torch.equal(solve(network, p, q).voltage, solve(network, p, q, backend="sweep").voltage)
    leaf = torch.as_tensor(p).requires_grad_()
    assert solve(network, leaf, q).voltage.requires_grad
    with torch.no_grad():
        assert torch.equal(solve(network, leaf, q).voltage, solve(network, p, q).voltage)
    with pytest.raises(InputError, match="the sweep has no gradients; use backend='dense'"):
        solve(network, leaf, q, backend="sweep")
    voltages = solve(network, leaf, q).magnitude.sum()
    (grad,) = torch.autograd.grad(voltages, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_kw": np.zeros(5)}, r"p_kw has shape \(5,\); .* needs \[scenarios, 5\]"),
        ({"p_kw": np.zeros((2, 4))}, r"p_kw has shape \(2, 4\)"),
        ({"q_kvar": np.zeros((2, 6))}, r"q_kvar has shape \(2, 6\)"),
        ({"q_kvar": np.zeros((3, 5))}, "q_kvar has 3 rows for 2 rows of p_kw"),
        ({"v_init": np.ones((1, 5))}, "v_init has 1 rows for 2 rows"),
        ({"backend": "fast"}, "unknown power-flow backend 'fast'"),
        ({"constant_kw": np.zeros((2, 4))}, r"constant_kw has shape \(2, 4\)"),
        ({"constant_kw": np.zeros((3, 5))}, "constant_kw has 3 rows for 2 rows of p_kw"),
        ({"tol": 0.0}, "tol and max_iter must be positive; they are 0.0 and 100"),
        ({"tol": float("nan")}, "tol and max_iter must be positive"),
        ({"max_iter": 0}, "tol and max_iter must be positive"),
        ({"dtype": torch.float16}, "float32 and float64 only"),
    ],
)
def test_each_wrong_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(random_network(0, 5), **{"p_kw": np.zeros((2, 5)), **arguments})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (random_network(0, 5, extra_branches=1), "so it has a loop where a tree is needed"),
        (random_network(0, 5).replace_loads((0, 1, 0)), "voltage-dependent loads"),
        (random_network(0, 5, tap=np.full(4, 0.98 + 0j)), "has transformer taps"),
    ],
)
def test_what_the_sweep_does_not_model(network: Network, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(network, np.zeros((1, 5)), backend="sweep")


def test_a_network_is_not_kept_alive_by_its_matrices() -> None:
    network = random_network(0, 5)
    for backend in BACKENDS:
        solve(network, np.zeros((1, 5)), backend=backend)
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


# -- assert_same_voltages -------------------------------------------------------------------


def test_the_assert_names_scenario_and_node() -> None:
    network = random_network(0, 5)
    a = np.ones((4, 5), np.complex128)
    b = a.copy()
    b[2, 3] += 2e-3j
    b[1, 0] += 1e-5
    assert_same_voltages(a, b, 1e-2)
    with pytest.raises(AssertionError, match=r"scenario 2, column 3: 1\+0j against 1\+0\.002j"):
        assert_same_voltages(a, b)
    text = rf"scenario 2, node {network.nodes[3]}: .* 2\.00e-03 apart where 1\.00e-03 is allowed; 1"
    with pytest.raises(AssertionError, match=text):
        assert_same_voltages(a, b, 1e-3, network=network)
    with pytest.raises(AssertionError, match="2 of 4 scenarios differ"):
        assert_same_voltages(a, b, 1e-6)
    b[0] = np.nan
    with pytest.raises(AssertionError, match="scenario 0 has voltages in the first result and fai"):
        assert_same_voltages(a, b, 1.0)
    a[0] = np.nan
    assert_same_voltages(a, b, 1.0)
    with pytest.raises(AssertionError, match=r"shape \(4, 5\) against \(3, 5\)"):
        assert_same_voltages(a, b[:3])
