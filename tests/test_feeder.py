"""The feeder environment: physics, money, observations, and no memory between steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
import torch
from feeders import chain, synthetic_days
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from griddispatch.assets.storage import Storage
from griddispatch.data.series import Days
from griddispatch.envs.feeder import Feeder, Outcome, State, voltage_penalty
from griddispatch.envs.observations import Scale
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import solve

NETWORK = chain()
NODES = (1, 2, 3, 4, 5)
BATTERIES = Storage(nodes=(3, 5))
seeds = st.integers(0, 2**31)


def make(days: Days | None = None, storage: Storage = BATTERIES, **options: Any) -> Feeder:
    """Make the feeder of most tests: 5 nodes, 2 batteries, loads that violate the voltage band."""
    if days is None:
        days = synthetic_days(NODES, total_kw=6000)
    return Feeder(NETWORK, storage, days, **options)


def actions(feeder: Feeder, state: State, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(state.soc.shape, generator=random, dtype=feeder.dtype) - 1


def states(feeder: Feeder, seed: int = 0, count: int = 16) -> State:
    """Return states anywhere: any day, any step, any state of charge."""
    random = torch.Generator().manual_seed(seed)
    k = feeder.storage.limits(feeder.price)
    share = torch.rand(count, feeder.n_actions, generator=random, dtype=feeder.dtype)
    return State(
        day=torch.randint(len(feeder.days), (count,), generator=random),
        t=torch.randint(feeder.steps, (count,), generator=random),
        soc=k.soc_min + share * (k.soc_max - k.soc_min),
    )


# -- money ----------------------------------------------------------------------------------


def test_profit_is_price_times_energy() -> None:
    days = synthetic_days(NODES, hours=0.25)
    feeder = make(replace(days, price=np.full_like(days.price, 40.0)))
    start = feeder.reset()
    charge, discharge = torch.full_like(start.soc, 0.5), torch.full_like(start.soc, -0.5)
    _, _, bought = feeder.step(start, charge)
    _, _, sold = feeder.step(start, discharge)
    # 2 batteries at 25 kW for a quarter of an hour are 12.5 kWh, at 0.04 EUR/kWh.
    assert bought.profit.tolist() == pytest.approx([-0.5] * 3)
    assert sold.profit.tolist() == pytest.approx([0.5] * 3)


@pytest.mark.parametrize("hours", [0.25, 0.5, 1.0, 3.0])
def test_the_length_of_a_step_is_counted_everywhere(hours: float) -> None:
    feeder = make(synthetic_days(NODES, hours=hours))
    start = feeder.reset()
    state, _, outcome = feeder.step(start, torch.full_like(start.soc, 0.2))
    assert feeder.steps == round(24 / hours)
    energy = 10.0 * hours  # kWh per battery
    expected = -feeder.price[:, 0] / 1000 * 2 * energy
    torch.testing.assert_close(outcome.profit, expected)
    torch.testing.assert_close(state.soc, start.soc + energy / 300)


@given(seeds)
def test_charging_at_a_positive_price_costs_and_discharging_earns(seed: int) -> None:
    feeder = make()
    state = states(feeder, seed)
    action = actions(feeder, state, seed).abs()
    _, _, bought = feeder.step(state, action)
    _, _, sold = feeder.step(state, -action)
    assert bool((bought.power_kw >= 0).all())
    assert bool((sold.power_kw <= 0).all())
    assert bool((bought.profit <= 0).all())
    assert bool((sold.profit >= 0).all())
    used = bought.power_kw.sum(1) > 1e-9
    assert bool((bought.profit[used] < 0).all())


@given(seeds, st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1))
def test_the_reward_never_rises_with_the_weight_of_a_cost(
    seed: int, sigma: float, more: float, wear: float
) -> None:
    low = make(sigma=sigma)
    state = states(low, seed)
    action = actions(low, state, seed)
    _, reward, outcome = low.step(state, action)
    _, with_more, _ = make(sigma=sigma + more).step(state, action)
    assert bool((with_more <= reward + 1e-9).all())
    worn = make(storage=replace(BATTERIES, wear_eur_per_kwh=wear), sigma=sigma)
    _, with_wear, _ = worn.step(state, action)
    assert bool((with_wear <= reward + 1e-9).all())
    dear = make(replace(low.days, price=low.days.price + more), sigma=sigma)
    _, with_price, _ = dear.step(state, action)
    buys = outcome.power_kw.sum(1) >= 0
    assert bool((with_price[buys] <= reward[buys] + 1e-9).all())
    assert bool((with_price[~buys] >= reward[~buys] - 1e-9).all())


def test_the_reward_is_profit_minus_penalty_minus_wear() -> None:
    feeder = make(storage=replace(BATTERIES, wear_eur_per_kwh=0.1))
    state = states(feeder)
    _, reward, outcome = feeder.step(state, actions(feeder, state))
    assert bool((outcome.penalty > 0).any())
    assert bool((outcome.wear > 0).all())
    torch.testing.assert_close(reward, outcome.profit - outcome.penalty - outcome.wear)


def test_the_penalty_is_sigma_times_the_excess_over_the_band() -> None:
    magnitude = torch.tensor([[0.94, 1.0, 1.07], [0.95, 1.05, 1.0]], dtype=torch.float64)
    assert voltage_penalty(magnitude, 400.0).tolist() == pytest.approx([400 * 0.03, 0])


def test_the_idle_penalty_is_that_of_zero_power() -> None:
    for scope in ("battery", "all"):
        feeder = make(voltage_scope=scope)
        state = states(feeder)
        _, _, outcome = feeder.step(state, torch.zeros_like(state.soc))
        idle = feeder.idle_penalty[state.day, state.t]
        assert float(idle.max()) > 1
        torch.testing.assert_close(outcome.penalty, idle, rtol=0, atol=1e-4)
        assert not bool(outcome.power_kw.any())


# -- physics --------------------------------------------------------------------------------


def pandapower(network: Network, p_kw: Tensor, q_kvar: Tensor) -> tuple[np.ndarray, float]:
    """Return voltage magnitudes [N] and the import in kW, by Newton-Raphson."""
    net = network.to_pandapower()
    net.load["p_mw"], net.load["q_mvar"] = p_kw.numpy() / 1000, q_kvar.numpy() / 1000
    pp.runpp(net, tolerance_mva=1e-12, numba=False)
    return net.res_bus["vm_pu"].to_numpy(), float(net.res_ext_grid["p_mw"].iloc[0] * 1000)


@pytest.mark.parametrize("reactive", [0.0, 0.3])
def test_voltages_and_import_are_those_of_pandapower(reactive: float) -> None:
    feeder = make(synthetic_days(NODES, total_kw=4000, reactive=reactive), voltage_scope="all")
    state = states(feeder, count=4)
    _, _, outcome = feeder.step(state, actions(feeder, state))
    base, at = NETWORK.base_kva, feeder.at
    for row in range(4):
        day, t = int(state.day[row]), int(state.t[row])
        load = feeder.net_load[day, t].clone()
        load[at] += outcome.power_kw[row]
        reactive_load = torch.as_tensor(feeder.days.reactive[day, t])
        magnitude, imported = pandapower(NETWORK, load, reactive_load)
        np.testing.assert_allclose(outcome.magnitude[row].numpy(), magnitude, rtol=0, atol=1e-6)

        v = solve(NETWORK, load[None], reactive_load[None], tol=1e-10).voltage[0].numpy()
        current = NETWORK.y_bus @ v
        losses = float((v * current.conj()).real.sum()) * base
        ours = float((v[0] * current[0].conj()).real) * base + float(load[0])
        assert losses > 1
        assert ours == pytest.approx(float(load.sum()) + losses, abs=1e-3)
        assert imported == pytest.approx(ours, abs=1e-3)


def test_reactive_loads_lower_the_voltage() -> None:
    without, with_ = (make(synthetic_days(NODES, reactive=q), voltage_scope="all") for q in (0, 1))
    slack = int(NETWORK.slack)
    lower = with_.idle_voltage.abs() - without.idle_voltage.abs()
    assert bool((np.delete(lower.numpy(), slack, axis=2) < 0).all())


def test_charging_lowers_and_discharging_raises_the_voltage_at_the_battery() -> None:
    feeder = make()
    state = states(feeder)
    state = state._replace(soc=torch.full_like(state.soc, 0.5))
    low, idle, high = (
        feeder.step(state, torch.full_like(state.soc, a))[2].magnitude for a in (1.0, 0.0, -1.0)
    )
    assert bool((low < idle).all())
    assert bool((idle < high).all())


@pytest.mark.parametrize("scope", ["battery", "all"])
def test_sweep_and_dense_give_the_same_rewards(scope: str) -> None:
    sweep, dense = (make(voltage_scope=scope, backend=b) for b in ("sweep", "dense"))
    state = states(sweep)
    action = actions(sweep, state)
    after, reward, outcome = sweep.step(state, action)
    dense_after, dense_reward, dense_outcome = dense.step(state, action)
    assert float(outcome.penalty.max()) > 1
    torch.testing.assert_close(outcome.magnitude, dense_outcome.magnitude, rtol=0, atol=1e-7)
    torch.testing.assert_close(reward, dense_reward, rtol=0, atol=1e-4)
    assert torch.equal(after.soc, dense_after.soc)


def test_gradients_of_the_reward_are_finite_differences() -> None:
    storage = replace(BATTERIES, eta_charge=0.9, eta_discharge=0.8, wear_eur_per_kwh=0.02)
    feeder = make(storage=storage, tol=1e-11, backend="auto")
    state = states(feeder, count=6)
    state = state._replace(soc=torch.full_like(state.soc, 0.5))
    action = 0.8 * actions(feeder, state)
    action.requires_grad_()
    after, reward, outcome = feeder.step(state, action)
    assert bool((outcome.penalty > 1).any())
    (gradient,) = torch.autograd.grad(reward.sum() + after.soc.sum(), action)

    reference = make(storage=storage, tol=1e-11, backend="sweep")
    step = 1e-5
    for battery in range(2):
        shift = torch.zeros_like(action)
        shift[:, battery] = step
        values = []
        for sign in (1, -1):
            after, reward, _ = reference.step(state, action.detach() + sign * shift)
            values.append(reward + after.soc.sum(1))
        difference = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close(gradient[:, battery], difference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["sweep", "dense"])
def test_single_precision_gives_nearly_the_same(backend: str) -> None:
    double = make(backend=backend)
    single = make(backend=backend, dtype=torch.float32)
    state = states(double)
    action = actions(double, state)
    _, reward, _ = double.step(state, action)
    after, single_reward, _ = single.step(state._replace(soc=state.soc.float()), action.float())
    assert single_reward.dtype == after.soc.dtype == torch.float32
    torch.testing.assert_close(single_reward.double(), reward, rtol=0, atol=1e-2)


@pytest.mark.parametrize("nodes", [25, 34, 69, 123])
def test_every_published_network_plays_whole_days(raw_data: Path, nodes: int) -> None:
    network = Network.read(raw_data / f"Nodes_{nodes}.csv", raw_data / f"Lines_{nodes}.csv")
    days = synthetic_days(tuple(int(n) for n in network.nodes), total_kw=500)
    storage = Storage(nodes=(3, nodes))
    sweep, dense = (Feeder(network, storage, days, backend=b) for b in ("sweep", "dense"))
    state = sweep.reset()
    for t in range(sweep.steps):
        action = actions(sweep, state, seed=t)
        _, reference, _ = dense.step(state, action)
        state, reward, outcome = sweep.step(state, action)
        torch.testing.assert_close(reward, reference, rtol=0, atol=1e-4)
        assert bool((outcome.magnitude < 1.1).all() & (outcome.magnitude > 0.5).all())
    assert sweep.observe(state).shape == (3, nodes + 4)


# -- episodes -------------------------------------------------------------------------------


# A matrix product rounds otherwise for another number of rows; a sweep does not.
@pytest.mark.parametrize(("backend", "rounding"), [("sweep", 0.0), ("dense", 1e-5)])
def test_a_batch_is_its_single_episodes(backend: str, rounding: float) -> None:
    feeder = make(backend=backend)
    state = states(feeder, count=7)
    action = actions(feeder, state)
    after, reward, outcome = feeder.step(state, action)
    observation = feeder.observe(state)
    for row in range(7):
        one = State(*(part[row : row + 1] for part in state))
        one_after, one_reward, one_outcome = feeder.step(one, action[row : row + 1])
        assert torch.equal(one_after.soc[0], after.soc[row])
        torch.testing.assert_close(one_reward[0], reward[row], rtol=0, atol=rounding)
        seen, expected = one_outcome.magnitude[0], outcome.magnitude[row]
        torch.testing.assert_close(seen, expected, rtol=0, atol=rounding)
        assert torch.equal(feeder.observe(one)[0], observation[row])


def test_a_step_changes_nothing_and_remembers_nothing() -> None:
    feeder = make()
    state, other = states(feeder, seed=1), states(feeder, seed=2)
    action = actions(feeder, state)
    kept = [part.clone() for part in (*state, action, feeder.net_load, feeder.idle_voltage)]
    first = feeder.step(state, action)
    saw = feeder.observe(state)
    feeder.step(other, actions(feeder, other))
    feeder.step(*[first[0]._replace(t=state.t), action])
    second = feeder.step(state, action)
    for now, before in zip(
        (*state, action, feeder.net_load, feeder.idle_voltage), kept, strict=True
    ):
        assert torch.equal(now, before)
    results = [(*after, reward, *outcome[1:]) for after, reward, outcome in (first, second)]
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(feeder.observe(state), saw)


def test_reset_plays_every_day_from_the_initial_charge() -> None:
    feeder = make()
    state = feeder.reset()
    assert state.day.tolist() == [0, 1, 2]
    assert state.t.tolist() == [0, 0, 0]
    assert state.soc.tolist() == [[0.4, 0.4]] * 3
    chosen = feeder.reset(torch.tensor([2, 2]), torch.tensor([[0.3, 0.5], [0.2, 0.8]]))
    assert chosen.day.tolist() == [2, 2]
    expected = torch.tensor([[0.3, 0.5], [0.2, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(chosen.soc, expected, rtol=0, atol=1e-7)
    k = feeder.storage.limits(feeder.price)
    assert bool((chosen.soc >= k.soc_min).all() & (chosen.soc <= k.soc_max).all())


@given(seeds)
def test_with_a_fixed_end_every_day_ends_at_the_initial_charge(seed: int) -> None:
    feeder = make(end_soc="initial", storage=replace(BATTERIES, eta_charge=0.9, power_kw=20))
    state = feeder.reset()
    for t in range(feeder.steps):
        state, _, _ = feeder.step(state, actions(feeder, state, seed + t))
    torch.testing.assert_close(state.soc, torch.full_like(state.soc, 0.4), rtol=0, atol=1e-12)


def test_with_a_free_end_the_charge_stays_where_the_actions_bring_it() -> None:
    feeder = make()
    state = feeder.reset()
    for _ in range(feeder.steps):
        state, _, _ = feeder.step(state, torch.ones_like(state.soc))
    torch.testing.assert_close(state.soc, torch.full_like(state.soc, 0.8))


def test_actions_beyond_one_saturate() -> None:
    feeder = make()
    state = feeder.reset()
    _, _, much = feeder.step(state, torch.full_like(state.soc, 7.0))
    _, _, one = feeder.step(state, torch.ones_like(state.soc))
    assert torch.equal(much.power_kw, one.power_kw)
    assert float(much.power_kw.max()) <= 50


# -- what the agent sees --------------------------------------------------------------------


@given(st.integers(0, 2), st.integers(0, 7), st.integers(0, 4))
def test_the_observation_of_node_i_is_node_i(day: int, t: int, column: int) -> None:
    feeder = make()
    load = feeder.days.load.copy()
    load[day, t, column] += 5.0
    changed = make(replace(feeder.days, load=load), scale=feeder.scale)
    everywhere = State(
        day=torch.arange(3).repeat_interleave(9),
        t=torch.arange(9).repeat(3),
        soc=torch.full((27, 2), 0.4, dtype=torch.float64),
    )
    moved = (changed.observe(everywhere) - feeder.observe(everywhere)).nonzero().tolist()
    assert moved == [[9 * day + t, column]]


def test_the_paper_observation_is_loads_price_time_and_charge() -> None:
    feeder = make()
    state = State(torch.tensor([1]), torch.tensor([3]), torch.tensor([[0.2, 0.65]]).double())
    seen = feeder.observe(state)[0].double()
    net = feeder.days.net_load
    spread = net.reshape(-1, 5).std(0, ddof=1)
    loads = (net[1, 3] - net.reshape(-1, 5).mean(0)) / spread
    price = (feeder.days.price[1, 3] - feeder.days.price.mean()) / feeder.days.price.std(ddof=1)
    expected = torch.tensor([*loads, price, 3 / 8, -1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)
    assert feeder.n_observations == len(expected)


def test_after_the_day_nothing_of_another_day_is_seen() -> None:
    feeder = make()
    over = feeder.observe(feeder.reset()._replace(t=torch.full((3,), 8)))
    assert not bool(over[:, :6].any())
    assert over[:, 6].tolist() == [1, 1, 1]


def test_other_days_are_seen_on_the_same_scale() -> None:
    feeder = make(sigma=123.0, end_soc="initial", voltage_scope="all", tol=1e-9)
    other = feeder.on(synthetic_days(NODES, seed=5))
    assert other.scale is feeder.scale
    kept = ("sigma", "end_soc", "voltage_scope", "tol", "backend", "observation", "reward", "dtype")
    for name in kept:
        assert getattr(other, name) == getattr(feeder, name)
    assert len(other.days) == 3
    assert not torch.equal(other.price, feeder.price)


def test_a_load_that_never_changes_is_scaled_by_one() -> None:
    days = synthetic_days(NODES)
    still = replace(days, load=np.ones_like(days.load), pv=np.zeros_like(days.pv))
    assert Scale.of(still).load_std.tolist() == [1] * 5


def price_and_charge(feeder: Feeder, state: State) -> Tensor:
    return torch.cat([feeder.price[state.day, state.t][:, None], state.soc], 1).float()


def only_money(outcome: Outcome) -> Tensor:
    return outcome.profit


def test_observation_and_reward_are_plain_functions_of_the_user() -> None:
    feeder = make(observation=price_and_charge, reward=only_money)
    state = states(feeder)
    assert feeder.n_observations == 3
    assert torch.equal(feeder.observe(state), price_and_charge(feeder, state))
    _, reward, outcome = feeder.step(state, actions(feeder, state))
    assert torch.equal(reward, outcome.profit)
    assert torch.equal(outcome.state.soc, state.soc)
    _, printed, _ = make().step(state, actions(feeder, state))
    assert not torch.equal(reward, printed)


# -- errors ---------------------------------------------------------------------------------


def test_a_load_without_solution_is_named_by_day_and_step() -> None:
    days = synthetic_days(NODES)
    load = days.load.copy()
    load[1, 6] *= 1e4
    with pytest.raises(InputError, match=r"2030-01-02, step 6 .* cannot carry it"):
        make(replace(days, load=load))


def test_a_battery_that_breaks_the_feeder_is_named_by_day_and_step() -> None:
    feeder = make(storage=replace(BATTERIES, power_kw=1e6, capacity_kwh=1e9))
    state = feeder.reset()._replace(t=torch.tensor([1, 2, 3]))
    action = torch.zeros_like(state.soc)
    action[2] = 1.0
    with pytest.raises(InputError, match=r"2030-01-03, step 3 .* cannot carry it"):
        feeder.step(state, action)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"storage": Storage(nodes=(3, 9))}, "no node 9"),
        ({"storage": Storage(nodes=(1,))}, "node 1, the slack node"),
        ({"voltage_scope": "some"}, "voltage_scope is 'some'"),
        ({"end_soc": "same"}, "end_soc is 'same'"),
        ({"backend": "gauss"}, "'gauss'"),
        ({"days": synthetic_days((1, 2, 3))}, "5 nodes, the days have 3"),
        ({"days": synthetic_days((1, 2, 3, 5, 4))}, "another order"),
        ({"days": synthetic_days(NODES, 0)}, "no days"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make(**options)


def test_a_wrong_action_is_one_clear_error() -> None:
    feeder = make()
    state = feeder.reset()
    for shape in ((3,), (3, 1), (2, 2), (3, 2, 1)):
        with pytest.raises(InputError, match=r"this feeder needs \(3, 2\)"):
            feeder.step(state, torch.zeros(shape))
    action = torch.zeros(3, 2)
    action[1, 0] = torch.nan
    with pytest.raises(InputError, match="episode 1 is not a number"):
        feeder.step(state, action)
    with pytest.raises(InputError, match="over after 8 steps"):
        feeder.step(state._replace(t=torch.tensor([0, 8, 0])), torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("day", "soc", "said"),
    [
        ([3], None, r"outside 0 \.\. 2"),
        ([-1], None, r"outside 0 \.\. 2"),
        ([0], [[0.4]], r"soc has shape \(1, 1\)"),
        ([0], [[0.4, 0.9]], "outside soc_min"),
        ([0], [[0.1, 0.4]], "outside soc_min"),
        ([0], [[0.4, float("nan")]], "outside soc_min"),
    ],
)
def test_a_wrong_start_is_one_clear_error(
    day: list[int], soc: list[list[float]] | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make().reset(torch.tensor(day), None if soc is None else torch.tensor(soc))


def test_settlement_by_import_pays_for_the_losses_as_well() -> None:
    """Against pandapower: the change of the external grid's power, not that of the batteries."""
    network, days = chain(), synthetic_days((1, 2, 3, 4, 5))
    storage = Storage(nodes=(3, 5))
    feeder = Feeder(network, storage, days, settlement="import")
    state = feeder.reset()
    _, _, outcome = feeder.step(state, torch.full((3, 2), 0.8, dtype=torch.float64))
    net = network.to_pandapower()
    for day in range(3):
        imports = []
        for power in (np.zeros(2), outcome.power_kw[day].numpy()):
            load = days.net_load[day, 0].copy()
            load[[2, 4]] += power
            net.load["p_mw"], net.load["q_mvar"] = load / 1e3, 0.0
            pp.runpp(net, tolerance_mva=1e-10)
            imports.append(1e3 * net.res_ext_grid["p_mw"].sum())
        expected = imports[1] - imports[0]
        assert float(outcome.traded_kw[day]) == pytest.approx(expected, abs=1e-2)
        assert float(outcome.traded_kw[day]) > float(outcome.power_kw[day].sum())


def test_settlement_by_import_is_nothing_without_batteries_at_work() -> None:
    feeder = Feeder(
        chain(), Storage(nodes=(3, 5)), synthetic_days((1, 2, 3, 4, 5)), settlement="import"
    )
    _, _, outcome = feeder.step(feeder.reset(), torch.zeros(3, 2, dtype=torch.float64))
    assert outcome.traded_kw.abs().max() < 1e-2
    with pytest.raises(InputError, match="settlement"):
        make(settlement="mine")
