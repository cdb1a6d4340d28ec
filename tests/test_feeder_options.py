"""Options of the task: solver, reactive and ZIP loads, batteries, topologies, other networks."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pandapower.networks as pn
import pytest
import torch
from feeders import chain, synthetic_days
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network
from torch import Tensor

from griddispatch.agents.learning import random_start
from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days
from griddispatch.envs.feeder import Feeder, State
from griddispatch.envs.gym_feeder import FeederEnv, FeederVectorEnv
from griddispatch.envs.observations import joined, load_table, price_now
from griddispatch.envs.variants import spread
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import Backend, solve
from griddispatch.learning.networks import Streams

NODES = (1, 2, 3, 4, 5)
NETWORK = chain()
BATTERIES = Storage(nodes=(3, 5))
MIX = (0.3, 0.3, 0.4)
# The chain 1-2-3-4-5 with its end hung to node 2 instead, and with node 3 hung to node 1.
OTHERS = (
    NETWORK.reconfigured(open=[(4, 5)], close=[(2, 5, 0.8, 0.6)]),
    NETWORK.reconfigured(open=[(3, 2)], close=[(1, 3, 0.4, 0.3)]),
)
TOPOLOGIES = (NETWORK, *OTHERS)
seeds = st.integers(0, 2**31)


def make(
    network: Network | tuple[Network, ...] = NETWORK,
    days: Days | None = None,
    storage: Storage = BATTERIES,
    **options: Any,
) -> Feeder:
    """Make a feeder of 5 nodes and 2 batteries with loads that violate the voltage band."""
    days = synthetic_days(NODES, total_kw=6000) if days is None else days
    return Feeder(network, storage, days, **options)


def states(feeder: Feeder, seed: int = 0, count: int = 12) -> tuple[State, Tensor]:
    """Return states anywhere, and actions."""
    random = torch.Generator().manual_seed(seed)
    state = State(
        day=torch.randint(len(feeder.days), (count,), generator=random),
        t=torch.randint(feeder.steps, (count,), generator=random),
        soc=0.3 + 0.4 * torch.rand(count, feeder.n_actions, generator=random, dtype=feeder.dtype),
    )
    return state, 2 * torch.rand(state.soc.shape, generator=random, dtype=feeder.dtype) - 1


def drawn_kw(network: Network, voltage: np.ndarray) -> np.ndarray:
    """Return the power [B, N] in kVA that every node draws at these voltages."""
    return -voltage * np.conj(voltage @ network.y_bus.T) * network.base_kva


# -- the solver -----------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "as printed": {},
    "all nodes, by import, fixed end": {
        "voltage_scope": "all",
        "settlement": "import",
        "end_soc": "initial",
    },
    "reactive and ZIP loads": {"power_factor": 0.9, "zip_shares": MIX},
    "topologies": {"network": TOPOLOGIES},
}


@pytest.mark.parametrize("case", CASES)
def test_pandapower_gives_the_observations_and_rewards_of_the_fast_backends(case: str) -> None:
    fast: tuple[Backend, ...] = ("dense",) if "ZIP" in case else ("sweep", "dense")
    newton = make(backend="pandapower", tol=1e-10, **CASES[case])
    others = [make(backend=b, tol=1e-10, **CASES[case]) for b in fast]
    day = torch.arange(1, len(newton.days), 3)  # one day, on each of the topologies
    states = [feeder.reset(day) for feeder in (newton, *others)]
    random = torch.Generator().manual_seed(0)
    penalty = 0.0
    for _ in range(newton.steps):
        action = 2 * torch.rand(states[0].soc.shape, generator=random, dtype=torch.float64) - 1
        states[0], expected, outcome = newton.step(states[0], action)
        penalty = max(penalty, float(outcome.penalty.max()))
        for k, feeder in enumerate(others, start=1):
            states[k], reward, _ = feeder.step(states[k], action)
            torch.testing.assert_close(reward, expected, rtol=0, atol=1e-6)
            seen = feeder.observe(states[k])
            torch.testing.assert_close(seen, newton.observe(states[0]), rtol=0, atol=1e-6)
    assert penalty > 1


def test_at_the_default_tolerance_the_voltages_agree_to_it() -> None:
    newton, sweep = make(backend="pandapower"), make(backend="sweep")
    state, action = states(sweep)
    ours, reference = (f.step(state, action)[2].magnitude for f in (sweep, newton))
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-6)


def test_a_network_that_pandapower_cannot_have_is_refused_at_once() -> None:
    tapped = Network(**NETWORK._fields() | {"tap": np.array([0.98, 1, 1, 1], np.complex128)})
    assert make(tapped).backend == "auto"
    with pytest.raises(InputError, match="has transformer taps"):
        make(tapped, backend="pandapower")


def test_a_step_without_solution_is_named_with_every_backend() -> None:
    storage = replace(BATTERIES, power_kw=1e6, capacity_kwh=1e9)
    for backend in ("sweep", "dense", "pandapower"):
        feeder = make(storage=storage, backend=backend)
        action = torch.tensor([[0.0, 0], [0, 0], [1, 0]])
        with pytest.raises(InputError, match=r"2030-01-03, step 0 .* cannot carry it"):
            feeder.step(feeder.reset(), action)


# -- reactive power -------------------------------------------------------------------------


@given(st.floats(0.5, 1.0))
def test_a_power_factor_is_that_of_the_load_alone(power_factor: float) -> None:
    feeder = make(power_factor=power_factor)
    load, reactive = feeder.days.load, feeder.days.reactive
    np.testing.assert_allclose(load / np.hypot(load, reactive), power_factor, rtol=1e-12)
    assert (reactive >= 0).all()
    voltage = feeder.idle_voltage.flatten(0, 1).numpy()
    drawn = drawn_kw(NETWORK, voltage)[:, 1:]
    expected = (feeder.days.net_load + 1j * reactive).reshape(-1, 5)[:, 1:]
    np.testing.assert_allclose(drawn, expected, atol=1e-2)


def test_power_factor_one_is_no_reactive_power() -> None:
    assert torch.equal(make(power_factor=1.0).idle_voltage, make().idle_voltage)
    lower = make(power_factor=0.9).idle_voltage.abs() < make().idle_voltage.abs()
    assert bool(lower[..., 1:].all())


def test_the_copy_for_other_days_has_the_same_power_factor() -> None:
    feeder = make(power_factor=0.9, zip_shares=MIX)
    fresh = synthetic_days(NODES, seed=9)
    other, one = feeder.on(fresh), feeder.on(feeder.days.select(["2030-01-02"]))
    assert (other.power_factor, other.zip_shares) == (0.9, MIX)
    np.testing.assert_allclose(other.days.reactive, fresh.load * np.tan(np.arccos(0.9)))
    assert one.network is feeder.network
    torch.testing.assert_close(one.idle_voltage[0], feeder.idle_voltage[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, -0.9, 1.1, float("nan")])
def test_a_power_factor_out_of_range_is_one_clear_error(value: float) -> None:
    with pytest.raises(InputError, match=r"power_factor is .*; it must lie in \(0, 1\]"):
        make(power_factor=value)


def test_reactive_loads_on_record_are_not_replaced() -> None:
    with pytest.raises(InputError, match="reactive loads of their own"):
        make(days=synthetic_days(NODES, reactive=0.2), power_factor=0.9)


# -- voltage-dependent loads ----------------------------------------------------------------


def test_only_the_loads_depend_on_the_voltage_not_pv_and_batteries() -> None:
    large = replace(BATTERIES, power_kw=500, capacity_kwh=5000)
    feeder = make(storage=large, zip_shares=MIX, voltage_scope="all", tol=1e-11)
    state, action = states(feeder)
    _, _, outcome = feeder.step(state, action)
    size = outcome.magnitude.numpy()
    day, t = state.day.numpy(), state.t.numpy()
    load, pv = feeder.days.load[day, t], feeder.days.pv[day, t]
    expected = load * (MIX[0] + MIX[1] * size + MIX[2] * size**2) - pv
    expected[:, [2, 4]] += outcome.power_kw.numpy()
    idle = feeder.idle_voltage[state.day, state.t].abs().numpy()
    assert np.abs(size - idle).max() > 5e-3
    voltage = solve(NETWORK, expected, tol=1e-12).voltage.numpy()
    np.testing.assert_allclose(np.abs(voltage), size, atol=1e-9)


def test_shares_that_a_network_has_are_those_of_the_option() -> None:
    feeder, other = make(zip_shares=MIX), make(NETWORK.replace_loads(MIX))
    assert torch.equal(feeder.idle_voltage, other.idle_voltage)
    assert make(zip_shares=(1, 0, 0)).network is NETWORK
    with pytest.raises(InputError, match="three shares that add up to 1"):
        make(zip_shares=(0.5, 0.5, 0.5))
    with pytest.raises(InputError, match="voltage-dependent loads, which the sweep"):
        make(zip_shares=MIX, backend="sweep")


def test_a_load_that_falls_with_the_voltage_holds_it_up() -> None:
    low = make().idle_voltage.abs()[..., 1:]
    assert bool((low < 1).all())
    assert bool((make(zip_shares=(0, 0, 1)).idle_voltage.abs()[..., 1:] > low).all())


# -- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"power_factor": 0.9}, {"zip_shares": MIX}, {"network": TOPOLOGIES}]
)
def test_every_option_is_differentiable(options: dict[str, Any]) -> None:
    days = synthetic_days(NODES, total_kw=9000)
    feeder = make(days=days, voltage_scope="all", tol=1e-11, backend="dense", **options)
    state, action = states(feeder, count=6)
    action = 0.8 * action.requires_grad_()
    _, reward, outcome = feeder.step(state, action)
    assert bool((outcome.penalty > 1).any())
    (gradient,) = torch.autograd.grad(reward.sum(), action)
    for battery in range(2):
        shift = torch.zeros_like(gradient)
        shift[:, battery] = 1e-5
        with torch.no_grad():
            up, down = (feeder.step(state, action + s * shift)[1] for s in (1, -1))
        difference = (up - down) / 2e-5
        torch.testing.assert_close(gradient[:, battery], difference, rtol=1e-4, atol=1e-4)


# -- batteries ------------------------------------------------------------------------------


@given(seeds)
def test_batteries_of_several_sizes_keep_their_books(seed: int) -> None:
    storage = Storage(
        nodes=(2, 3, 5),
        power_kw=(20.0, 50.0, 80.0),
        capacity_kwh=(100.0, 300.0, 900.0),
        soc_initial=(0.3, 0.5, 0.7),
        eta_charge=(1.0, 0.95, 0.9),
        eta_discharge=(0.9, 1.0, 0.85),
        wear_eur_per_kwh=(0.0, 0.01, 0.03),
    )
    feeder = make(storage=storage, days=synthetic_days(NODES), end_soc="initial")
    state = feeder.reset()
    stored = torch.zeros_like(state.soc)
    random = torch.Generator().manual_seed(seed)
    for _ in range(feeder.steps):
        action = 2 * torch.rand(state.soc.shape, generator=random, dtype=torch.float64) - 1
        state, reward, outcome = feeder.step(state, action)
        power = outcome.power_kw
        assert bool((power.abs() <= torch.tensor(storage.power_kw).double() + 1e-9).all())
        charge, discharge = torch.tensor([storage.eta_charge, storage.eta_discharge]).double()
        stored += 3.0 * (power.clamp(min=0) * charge + power.clamp(max=0) / discharge)
        wear = 3.0 * (power.abs() @ torch.tensor(storage.wear_eur_per_kwh, dtype=torch.float64))
        torch.testing.assert_close(outcome.wear, wear)
        torch.testing.assert_close(reward, outcome.profit - outcome.penalty - wear)
    torch.testing.assert_close(stored, torch.zeros_like(stored), rtol=0, atol=1e-3)
    expected = torch.tensor([storage.soc_initial] * 3, dtype=torch.float64)
    torch.testing.assert_close(state.soc, expected, rtol=0, atol=1e-9)


# -- topologies -----------------------------------------------------------------------------


def topology_table(feeder: Feeder) -> Tensor:
    """[D, S + 1, K] one where the day is played on this topology: a table as a user writes it."""
    which = torch.nn.functional.one_hot(feeder.topology, len(feeder.networks))
    return which[:, None].expand(-1, feeder.steps + 1, -1)


@pytest.mark.parametrize("settlement", ["battery", "import"])
@pytest.mark.parametrize("zip_shares", [None, MIX])
def test_a_batch_over_topologies_is_each_of_them_alone(
    settlement: str, zip_shares: tuple[float, float, float] | None
) -> None:
    options: dict[str, Any] = {"settlement": settlement, "zip_shares": zip_shares, "tol": 1e-11}
    feeder = make(TOPOLOGIES, **options)
    state, action = states(feeder, count=30)
    _, reward, outcome = feeder.step(state, action)
    which = state.day // 3
    assert feeder.topology.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for k, network in enumerate(TOPOLOGIES):
        alone = make(network, **options)
        rows = (which == k).nonzero()[:, 0]
        part = State(state.day[rows] - 3 * k, state.t[rows], state.soc[rows])
        _, expected, known = alone.step(part, action[rows])
        assert len(rows) > 3
        torch.testing.assert_close(reward[rows], expected, rtol=0, atol=1e-7)
        torch.testing.assert_close(outcome.traded_kw[rows], known.traded_kw, rtol=0, atol=1e-6)
        mine, idle = feeder.idle_voltage[3 * k : 3 * k + 3], alone.idle_voltage
        torch.testing.assert_close(mine, idle, rtol=0, atol=1e-9)
        torch.testing.assert_close(feeder.idle_penalty[3 * k : 3 * k + 3], alone.idle_penalty)
    assert not torch.allclose(feeder.idle_voltage[:3], feeder.idle_voltage[3:6], atol=1e-3)


def test_every_day_is_played_on_every_topology() -> None:
    days = synthetic_days(NODES, total_kw=6000)
    feeder = make(TOPOLOGIES, days)
    assert feeder.reset().day.tolist() == list(range(9))
    assert feeder.days.dates == days.dates * 3
    np.testing.assert_array_equal(feeder.days.price_before, np.concatenate([days.price_before] * 3))
    assert feeder.scale.price_std == make(days=days).scale.price_std
    drawn = random_start(feeder, Streams([0]), 200, random_soc=True)
    assert sorted(set(feeder.topology[drawn.day].tolist())) == [0, 1, 2]


def test_another_feeder_can_have_one_of_the_topologies() -> None:
    feeder = make(TOPOLOGIES, sigma=7.0)
    days = synthetic_days(NODES, seed=5)
    both, one = feeder.on(days), feeder.on(days, feeder.networks[2])
    assert (len(both.days), len(one.days)) == (9, 3)
    assert one.network is TOPOLOGIES[2]
    assert one.sigma == both.sigma == 7.0
    assert one.scale is feeder.scale
    torch.testing.assert_close(one.idle_voltage, both.idle_voltage[6:], rtol=0, atol=1e-9)
    with pytest.raises(InputError, match=r"3 topologies; take one .* feeder.on\(days"):
        _ = feeder.network


def test_a_batch_may_be_empty() -> None:
    for network in (NETWORK, TOPOLOGIES):
        feeder = make(network)
        nobody = feeder.reset(torch.zeros(0, dtype=torch.int64))
        _, reward, outcome = feeder.step(nobody, torch.zeros_like(nobody.soc))
        assert (len(reward), outcome.magnitude.shape) == (0, (0, 2))


def test_a_learner_can_be_shown_the_topology() -> None:
    feeder = make(TOPOLOGIES, observation=joined(load_table, price_now, topology_table))
    seen = feeder.observe(feeder.reset())
    assert seen.shape == (9, 5 + 1 + 3 + 2)
    assert seen[:, 6:9].argmax(1).tolist() == feeder.topology.tolist()


def test_a_load_without_solution_names_the_topology() -> None:
    days = synthetic_days(NODES)
    load = days.load.copy()
    load[1, 6, 4] = 2e4  # only the long way to node 5 is too weak for it
    strong = NETWORK.reconfigured(open=[(4, 5)], close=[(1, 5, 1e-4, 1e-4)])
    assert len(make((strong, strong), replace(days, load=load)).days) == 6
    with pytest.raises(InputError, match=r"2030-01-02, step 6 .*2-5 closed cannot carry it"):
        make((strong, OTHERS[0]), replace(days, load=load))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ((), "no network; give at least one"),
        ((NETWORK, chain(6)), "differ in their nodes or in the slack node"),
        ((NETWORK, replace(NETWORK, slack=2)), "differ in their nodes or in the slack node"),
    ],
)
def test_networks_that_are_no_topologies_are_one_clear_error(
    network: tuple[Network, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make(network)


# -- reconfiguration ------------------------------------------------------------------------


@settings(max_examples=25)
@given(seeds, st.integers(0, 6))
def test_a_line_opened_and_closed_again_changes_nothing(seed: int, line: int) -> None:
    network = random_network(seed, 8, charging=False)
    a, b = (int(network.nodes[end[line]]) for end in (network.to_bus, network.from_bus))
    ohm = network.base_kv**2 * 1e3 / network.base_kva
    again = network.reconfigured(
        open=[(a, b)], close=[(a, b, network.r[line] * ohm, network.x[line] * ohm)]
    )
    np.testing.assert_allclose(again.y_bus, network.y_bus, rtol=1e-12)
    assert again.is_radial
    assert again.name == f"{network.name}, {a}-{b} open, {a}-{b} closed"


@pytest.mark.parametrize(
    ("open", "close", "said"),
    [
        ([], [(2, 5, 1, 1)], "so it has a loop"),
        ([(3, 4)], [], r"node\(s\) 4, 5 have no path to the slack node"),
        ([(3, 4)], [(2, 3, 1, 1)], "have no path to the slack node"),
        ([(2, 5)], [], "has no line 2-5 that could be opened"),
        ([(2, 9)], [], "no node 9"),
        ([(4, 5)], [(2, 7, 1, 1)], "no node 7"),
        ([(4, 5)], [(5, 5, 1, 1)], "it needs two nodes"),
        ([(4, 5)], [(2, 5, 0, 0)], "an impedance that is not zero"),
        ([(4, 5)], [(2, 5, -1, 1)], "R not negative"),
        ([(4, 5)], [(2, 5, 1, float("nan"))], "an impedance"),
    ],
)
def test_a_wrong_switching_is_one_clear_error(open: Any, close: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        NETWORK.reconfigured(open=open, close=close)


# -- other networks -------------------------------------------------------------------------


@settings(max_examples=30)
@given(seeds, st.integers(2, 9), st.integers(2, 9), st.floats(0.1, 10))
def test_spread_days_keep_the_load_of_every_step(
    seed: int, sources: int, targets: int, scale: float
) -> None:
    days = synthetic_days(tuple(range(1, sources + 1)), reactive=0.3, seed=seed)
    network = random_network(seed, targets)
    other = spread(days, network, scale)
    assert other.nodes == tuple(network.nodes.tolist())
    assert (other.dates, other.step_hours) == (days.dates, days.step_hours)
    assert other.price is days.price
    slack = network.slack
    for field in ("load", "pv", "reactive"):
        before, after = getattr(days, field), getattr(other, field)
        np.testing.assert_allclose(after[..., slack], scale * before[..., 0])
        np.testing.assert_allclose(after.sum(2), scale * before.sum(2))
    assert (other.load > 0).all()


def test_spread_days_stay_themselves_on_their_own_network() -> None:
    days = synthetic_days(NODES)
    np.testing.assert_array_equal(spread(days, NETWORK).net_load, days.net_load)
    with pytest.raises(InputError, match="scale is 0"):
        spread(days, NETWORK, 0)


def test_a_network_of_pandapower_plays_the_days_of_another() -> None:
    network = Network.from_pandapower(pn.case33bw())
    days = spread(synthetic_days(NODES, total_kw=3000), network)
    storage = Storage(nodes=(17, 32))
    tied = network.reconfigured(open=[(6, 7)], close=[(7, 20, 2.0, 2.0)])  # a tie of the case
    feeder = Feeder((network, tied), storage, days, voltage_scope="all")
    state, action = states(feeder)
    _, reward, outcome = feeder.step(state, action)
    assert bool(reward.isfinite().all())
    assert bool((outcome.magnitude > 0.85).all())


# -- Gymnasium ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"power_factor": 0.9},
        {"zip_shares": MIX},
        {"network": TOPOLOGIES},
        {"backend": "pandapower"},
        {"end_soc": "initial", "storage": Storage((3, 5), eta_charge=0.9, wear_eur_per_kwh=0.01)},
    ],
)
def test_gymnasium_plays_every_option(options: dict[str, Any]) -> None:
    feeder = make(days=synthetic_days(NODES, total_kw=3000), **options)
    check_env(gymnasium.make("griddispatch/Feeder-v0", feeder=feeder).unwrapped)
    envs = FeederVectorEnv(2, feeder)
    envs.reset(seed=0)
    assert np.isfinite(envs.step(envs.action_space.sample())[1]).all()


def test_gymnasium_draws_the_topology_or_takes_the_one_asked_for() -> None:
    feeder = make(TOPOLOGIES)
    env = FeederEnv(feeder)
    env.reset(seed=0)
    drawn = [env.reset()[1] for _ in range(60)]
    assert {(info["topology"], info["date"]) for info in drawn} == {
        (k, date) for k in range(3) for date in feeder.days.dates
    }
    _, info = env.reset(options={"date": "2030-01-02", "topology": 2})
    assert (info["date"], info["topology"]) == ("2030-01-02", 2)
    observation, reward, *_ = env.step(np.array([0.5, -0.5]))
    alone = FeederEnv(make(OTHERS[1], scale=feeder.scale))
    alone.reset(options={"date": "2030-01-02"})
    again, expected, *_ = alone.step(np.array([0.5, -0.5]))
    np.testing.assert_array_equal(observation, again)
    assert reward == pytest.approx(expected, abs=1e-6)
    fixed = {env.reset(options={"topology": 1})[1]["topology"] for _ in range(9)}
    assert fixed == {1}
    envs = FeederVectorEnv(3, feeder)
    _, info = envs.reset(options={"topology": [2, 0, 1], "date": "2030-01-03"})
    assert info["topology"].tolist() == [2, 0, 1]
    assert info["date"].tolist() == ["2030-01-03"] * 3
    assert (
        len({envs.reset(options={"date": "2030-01-03"})[1]["topology"][0] for _ in range(30)}) == 3
    )


@pytest.mark.parametrize("topology", [3, -1, "1", 0.5, [0, 1]])
def test_a_wrong_topology_is_one_clear_error(topology: Any) -> None:
    with pytest.raises(InputError, match="give a number from 0 to 2 for all 3 episodes"):
        FeederVectorEnv(3, make(TOPOLOGIES)).reset(options={"topology": topology})
