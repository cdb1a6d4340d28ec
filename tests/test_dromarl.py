"""Learners of the virtual power plant: switches, robust targets, feasibility, reproducibility."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from griddispatch.agents import dromarl, dromarl_critics
from griddispatch.agents.dromarl import PRESETS, DROMARLConfig, train
from griddispatch.agents.dromarl_config import TEST_RANGE, training_days
from griddispatch.agents.dromarl_critics import Batch, left_after, moved, pattern_targets, target
from griddispatch.agents.dromarl_networks import SIGHT, Dispatchers, Forecast, Player, allowed
from griddispatch.agents.dromarl_recourse import Expected, Recourse, all_patterns
from griddispatch.agents.dromarl_training import Days, Foreseen, greedy
from griddispatch.assets.vpp import preset
from griddispatch.data.vpp_demand import BASE_KW, draw_days
from griddispatch.envs import vpp_observation as seen
from griddispatch.envs.vpp import Action, VirtualPowerPlant
from griddispatch.errors import InputError
from griddispatch.forecasting.demand_models import Linear
from griddispatch.learning.networks import Streams
from griddispatch.learning.training import Training

SHORT: dict[str, Any] = {
    "rounds": 3,
    "warmup": 1,
    "environments": 4,
    "batch": 16,
    "updates_per_step": 1,
    "hidden": (16,),
    "critic": (16,),
    "imagined_days": 8,
}


@pytest.fixture(scope="module")
def env() -> VirtualPowerPlant:
    return VirtualPowerPlant(preset(), draw_days(24, 0, "train"), p_high=[0.3] * 6 + [0.7] * 6)


@pytest.fixture(scope="module")
def world(env: VirtualPowerPlant) -> Linear:
    return Linear(env.days.relative, 2)


def short(name: str = "DROMARL", **changes: Any) -> DROMARLConfig:
    return replace(PRESETS[name], **{**SHORT, **changes})


def parameters(player: Player) -> Tensor:
    return torch.cat([p.flatten() for p in player.saved["parameters"].values()])


def learner_with_memory(
    env: VirtualPowerPlant, config: DROMARLConfig, world: Linear | None, monkeypatch: Any
) -> dromarl.Learner:
    made: list[dromarl.Learner] = []

    class Kept(dromarl.Learner):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(dromarl, "Learner", Kept)
    train(env, config, [3, 5], world=world, records=1)
    return made[0]


# -- the plant's own costs ----------------------------------------------------------------


def test_the_table_of_recourse_is_what_the_environment_pays(env: VirtualPowerPlant) -> None:
    recourse, state = Recourse(env.plant, 1000.0), env.reset()
    rng = torch.Generator().manual_seed(0)
    bits = (torch.rand(len(state.day), 7, generator=rng) < 0.6).float()
    delta = torch.tensor([-2.0, 0.0, 3.0])
    _, reward, out = env.outcome_at(state, Action(bits, torch.zeros(len(bits))), delta)
    starts = out.starts.view(reward.shape) / 1000
    index = recourse.index(bits)[:, None].expand_as(reward)
    found = recourse.cost(index, out.demand_kw.view(reward.shape))
    # Linear between points .05 kW apart: less than .05 kW of shortage at 1000 per kWh off.
    assert torch.allclose(found + starts, -reward / 1000, atol=0.015)
    assert torch.equal(recourse.patterns[recourse.index(bits)], bits)


def test_the_expected_cost_of_a_sure_demand_is_its_cost_and_never_falls_with_the_spread(
    env: VirtualPowerPlant,
) -> None:
    recourse = Recourse(env.plant, 1000.0)
    expected, demand = Expected(recourse), torch.tensor([22.5, 41.0, 50.0])
    every = torch.arange(128).expand(3, -1)
    period = torch.zeros(3, dtype=torch.int64)
    sure = expected(period, demand, torch.zeros(3))
    assert torch.allclose(sure, recourse.cost(every, demand[:, None].expand(-1, 128)), atol=1e-4)
    all_on = sure.shape[1] - 1
    # The plant's cost is convex in the demand, so noise costs something.
    assert (
        expected(period, demand, torch.full((3,), 3.0))[:, all_on] >= sure[:, all_on] - 1e-3
    ).all()


def test_the_expected_worst_case_is_the_dearest_of_the_moved_demands(
    env: VirtualPowerPlant,
) -> None:
    recourse = Recourse(env.plant, 1000.0)
    period, demand = torch.tensor([0, 6]), torch.tensor([14.0, 30.0])
    found = Expected(recourse, 0.2)(period, demand, torch.zeros(2))
    shares = 0.2 * torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    base = torch.as_tensor(BASE_KW, dtype=torch.float32)[period]
    moved_kw = (demand[:, None] + base[:, None] * shares)[:, None].expand(-1, 128, -1)
    every = torch.arange(128)[None, :, None].expand_as(moved_kw)
    assert torch.allclose(found, recourse.cost(every, moved_kw).amax(-1), atol=1e-4)


# -- feasibility --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MADDPG", "DROMARL", "enumerated"])
def test_trained_policies_break_no_minimum_time_and_answer_hard_statuses(
    env: VirtualPowerPlant, world: Linear, name: str
) -> None:
    player = train(env, short(name), [1], world=world, records=1).policies[0]
    state = env.reset()
    while state.t < env.steps:
        action = player.act(env, state)
        assert set(action.commit.unique().tolist()) <= {0.0, 1.0}
        assert action.load.abs().max() <= 1
        state, _, outcome = env.step(state, action)
        assert int(outcome.violations.sum()) == 0


def test_what_is_allowed_and_what_follows_are_as_in_the_environment(
    env: VirtualPowerPlant,
) -> None:
    rng, state = torch.Generator().manual_seed(1), env.reset()
    while state.t < env.steps:
        sight = torch.nn.functional.pad(env.observe(state), (0, SIGHT - seen.OBSERVATIONS))
        wish = (torch.rand(len(state.day), 7, generator=rng) < 0.5).float()
        bits = allowed(sight, wish)
        assert torch.equal(bits, env.allowed(state, wish))
        left = left_after(sight[None], bits[None, :, None], env.least)[0, :, 0]
        state, _, _ = env.step(state, Action(bits, torch.zeros(len(bits))))
        assert torch.allclose(left, env.observe(state)[:, seen.LOCKED])


def test_enumerated_values_bar_exactly_what_minimum_times_forbid(env: VirtualPowerPlant) -> None:
    made = Dispatchers(short("enumerated"), env.plant, Streams([0]))
    state = env.reset()
    on = torch.ones(len(state.day), 7)
    state, _, _ = env.step(state, Action(on, torch.zeros(len(on))))
    sight = torch.nn.functional.pad(env.observe(state), (0, 2))[None]
    values = made.values(sight, torch.zeros(1, len(on)))[0]
    must_on, _ = env.must(state)
    patterns = all_patterns(7)
    broken = (must_on[:, None] & (patterns[None] < 0.5)).any(-1)
    assert torch.equal(values.isinf(), broken)
    assert bool(broken.any())
    assert not bool(broken.all())


# -- switches -----------------------------------------------------------------------------


def test_a_radius_of_zero_is_no_robustness_in_bytes(env: VirtualPowerPlant, world: Linear) -> None:
    plain = train(env, short(robust="none"), [4], world=world, records=1).policies[0]
    for form in ("worst case", "Lipschitz"):
        config = short(robust=form, rho=0.0)
        zero = train(env, config, [4], world=world, records=1).policies[0]
        assert torch.equal(parameters(plain), parameters(zero))


ABLATIONS = (
    "no world model",
    "no robust critic",
    "no inertia",
    "no uncertainty",
    "GP-literal",
    "one-sided",
    "Lipschitz",
    "MADDPG",
    "independent DDPG",
)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_switch_changes_what_is_learned(
    env: VirtualPowerPlant, world: Linear, name: str
) -> None:
    changed = train(env, short(name), [4], world=world, records=1).policies[0]
    assert not torch.equal(parameters(full_player(env, world)), parameters(changed))


FULL: dict[int, Player] = {}


def full_player(env: VirtualPowerPlant, world: Linear) -> Player:
    if id(env) not in FULL:
        FULL[id(env)] = train(env, short(), [4], world=world, records=1).policies[0]
    return FULL[id(env)]


def test_the_supply_side_sees_the_forecast_only_if_it_is_uncertainty_aware(
    env: VirtualPowerPlant,
) -> None:
    sight = torch.rand(1, 5, SIGHT)
    other = sight.clone()
    other[..., seen.OBSERVATIONS :] += 0.3
    for uncertainty in (True, False):
        made = Dispatchers(short(uncertainty=uncertainty), env.plant, Streams([0]))
        assert torch.equal(made.logits(sight), made.logits(other)) is not uncertainty


def test_an_inertia_aware_load_action_lies_between_the_last_one_and_a_new_one(
    env: VirtualPowerPlant,
) -> None:
    made = Dispatchers(short(), env.plant, Streams([0]))
    with torch.no_grad():
        made.load.biases[-1].copy_(torch.tensor([[[0.5, 30.0]]]))
    sight = torch.rand(1, 6, SIGHT)
    assert torch.allclose(made.load_action(sight), sight[..., seen.LOAD], atol=1e-5)
    with torch.no_grad():
        made.load.biases[-1].copy_(torch.tensor([[[20.0, -30.0]]]))
    assert torch.allclose(made.load_action(sight), torch.ones(1, 6), atol=1e-5)
    assert ((made.inertia(sight) >= 0) & (made.inertia(sight) <= 1)).all()


def test_critics_of_one_side_do_not_see_the_other(env: VirtualPowerPlant) -> None:
    alone = dromarl.Learner(short("independent DDPG"), env, [0])
    sight, load = torch.rand(1, 4, SIGHT), torch.zeros(1, 4)
    off, on = torch.zeros(1, 4, 7), torch.ones(1, 4, 7)
    supply, shifting = alone.critics[0], alone.critics[2]
    assert torch.equal(supply(sight, off, load), supply(sight, off, load + 0.5))
    assert not torch.equal(supply(sight, off, load), supply(sight, on, load))
    assert torch.equal(shifting(sight, off, load), shifting(sight, on, load))
    both = dromarl.Learner(short("MADDPG"), env, [0]).critics[0]
    assert not torch.equal(both(sight, off, load), both(sight, off, load + 0.5))


def test_the_replay_holds_the_last_load_action(
    env: VirtualPowerPlant, world: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = learner_with_memory(env, short(), world, monkeypatch)
    rows = kept.memory.rows[:, : kept.memory.size]
    sight, _, load, _, _, after, _, going = rows.split(kept.widths, 2)
    assert torch.equal(after[..., seen.LOAD], load[..., 0])
    begun = sight[..., seen.PERIOD.start] > 0
    assert (sight[..., seen.LOAD][begun] == 0).all()
    assert load.abs().max() > 0
    assert torch.equal(going[..., 0] == 0, sight[..., seen.PERIOD.stop - 1] > 0)


def test_domain_randomisation_is_trained_on_the_range_of_the_test() -> None:
    config = PRESETS["domain randomisation"]
    assert config.shifts == TEST_RANGE
    assert config.robust == "none"
    mixed, plain = training_days(config, 180, 0), training_days(PRESETS["DROMARL"], 180, 0)
    assert len(mixed) == len(plain) == 180
    assert mixed.demand_kw.mean() > 1.05 * plain.demand_kw.mean()
    with pytest.raises(InputError, match="5 training days for 18 shifts"):
        training_days(config, 5, 0)


def test_imagined_days_are_mixed_in_at_their_share(env: VirtualPowerPlant, world: Linear) -> None:
    days = Days(env, short(imagined=0.5), world)
    assert len(days.env.days) == len(env.days) + SHORT["imagined_days"]
    drawn = days.draw(Streams([0]), 2000)
    share = (drawn >= len(env.days)).double().mean()
    assert abs(float(share) - 0.5) < 0.05
    assert int(Days(env, short(imagined=0.0), world).draw(Streams([0]), 500).max()) < len(env.days)


# -- robust targets -----------------------------------------------------------------------


def batch_of(learner: dromarl.Learner) -> Batch:
    return learner.drawn()


def test_the_worst_case_is_never_above_the_nominal_target(
    env: VirtualPowerPlant, world: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = learner_with_memory(env, short(), world, monkeypatch)
    batch, noise = batch_of(kept), torch.zeros(2, 16)

    def of(**changes: Any) -> Tensor:
        config = replace(kept.config, **changes)
        given = (list(kept.targets[:2]), kept.followers, kept.recourse, batch, noise)
        return target(config, *given)

    nominal = of(robust="none")
    for changes in ({}, {"carried": False}, {"robust": "Lipschitz"}):
        worst = of(**changes)
        assert (worst <= nominal + 1e-5).all()
        assert (worst < nominal - 1e-3).any()


def test_enumerated_worst_cases_are_never_above_the_nominal_ones(
    env: VirtualPowerPlant, world: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = learner_with_memory(env, short("enumerated"), world, monkeypatch)
    batch = batch_of(kept)
    chosen = kept.recourse.index(batch.bits)[..., None]

    def of(config: DROMARLConfig) -> tuple[Tensor, Tensor]:
        return pattern_targets(config, kept.followers, batch, chosen, kept.least)

    robust, _ = of(kept.config)
    plain, _ = of(kept.plain)
    assert (robust <= plain + 1e-5).all()
    assert (robust < plain - 1e-3).any()


def test_a_day_that_is_over_is_worth_its_last_reward(
    env: VirtualPowerPlant, world: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = learner_with_memory(env, short("enumerated", robust="none"), world, monkeypatch)
    batch = batch_of(kept)._replace(going=torch.zeros(2, 16))
    chosen = kept.recourse.index(batch.bits)[..., None]
    for y in pattern_targets(kept.config, kept.followers, batch, chosen, kept.least):
        assert torch.allclose(y[..., 0], batch.reward, atol=1e-4)


def test_a_moved_demand_moves_what_is_seen_of_it(
    env: VirtualPowerPlant, world: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = learner_with_memory(env, short(rho=0.2), world, monkeypatch)
    batch = batch_of(kept)
    demand, after = moved(kept.config, batch)
    t = batch.sight[..., seen.PERIOD].argmax(-1)
    base = torch.as_tensor(BASE_KW, dtype=torch.float32)[t]
    assert torch.allclose(demand[..., 4] - batch.demand, 0.2 * base, atol=1e-4)
    column = (seen.DEMAND.start + t)[..., None]
    change = after[:, :, 4].gather(2, column) - batch.after.gather(2, column)
    assert torch.allclose(change, torch.full_like(change, 0.2), atol=1e-5)
    assert torch.equal(after[:, :, 0, : seen.OBSERVATIONS], batch.after[..., : seen.OBSERVATIONS])


def test_a_flat_critic_pays_no_one_sided_penalty_but_the_literal_one() -> None:
    sight = torch.rand(1, 5, SIGHT, requires_grad=True)
    flat = 0.01 * sight.sum(-1)
    for form, least, most in (("one-sided", 0.0, 0.0), ("GP-literal", 0.09, 0.1)):
        found = dromarl_critics.penalty(short(robust=form, penalty=0.1), flat, sight)
        assert ((found >= least) & (found <= most)).all()
    steep = 10 * sight.sum(-1)
    assert (dromarl_critics.penalty(short(robust="one-sided"), steep, sight) > 1).all()


# -- forecasts, records, seeds ------------------------------------------------------------


def test_the_forecasts_of_training_are_those_of_play_without_control(
    env: VirtualPowerPlant, world: Linear
) -> None:
    table, state = Foreseen(env, world, (0.0, 0.1)), env.reset()
    forecast = Forecast(world)
    while state.t < env.steps:
        told = forecast.at(state)
        told[:, 0] += env.response[state.t]
        assert torch.allclose(told, table.ahead[state.t], atol=1e-4)
        if state.t:
            assert torch.allclose(table.near[state.t - 1, :, :2], told, atol=1e-4)
        action = Action(torch.ones(len(state.day), 7), torch.zeros(len(state.day)))
        state, _, _ = env.step(state, action)
    assert (table.near[:-1, :, 2] > table.near[:-1, :, 0]).all()


def test_a_world_model_must_be_asked_for_periods_in_order(
    env: VirtualPowerPlant, world: Linear
) -> None:
    player = full_player(env, world)
    state = env.reset()
    later, _, _ = env.step(state, player.act(env, state))
    with pytest.raises(InputError, match="in order"):
        Player(player.dispatchers, world).act(env, later)


@pytest.mark.parametrize("name", ["DROMARL", "enumerated"])
def test_same_seed_gives_same_bytes_whatever_stands_beside_it(
    env: VirtualPowerPlant, world: Linear, name: str
) -> None:
    def run(seeds: list[int]) -> Training[Player]:
        return train(env, short(name, rounds=2), seeds, world=world, records=1)

    first, again = run([7, 8]), run([7, 8])
    assert torch.equal(parameters(first.policies[1]), parameters(again.policies[1]))
    assert first.curve.drop(columns="seconds").equals(again.curve.drop(columns="seconds"))
    alone = run([8]).policies[0]
    assert torch.allclose(parameters(alone), parameters(first.policies[1]), atol=1e-4)


@pytest.mark.parametrize("name", ["DROMARL", "enumerated", "MADDPG"])
def test_a_policy_survives_saving(env: VirtualPowerPlant, world: Linear, name: str) -> None:
    player = train(env, short(name), [2], world=world, records=1).policies[0]
    loaded = Player.load(player.saved, env.plant, world)
    assert torch.equal(greedy(env, player).cost, greedy(env, loaded).cost)


def test_the_curve_has_a_row_per_seed_and_record(env: VirtualPowerPlant, world: Linear) -> None:
    done = train(env, short(), [1, 2], world=world, records=3)
    assert list(done.curve["seed"]) == [1, 2] * 4
    # The first round is random play.
    assert list(done.curve["update"]) == [0, 0, 0, 0, 12, 12, 24, 24]
    assert done.curve["loss"].notna().sum() == 4
    final = greedy(env, done.policies[0]).cost.mean()
    assert done.curve.iloc[-2]["mean"] == pytest.approx(float(final), rel=1e-4)


@pytest.mark.parametrize(("name", "rounds"), [("MADDPG", 20), ("enumerated", 8)])
def test_a_short_training_lowers_the_cost(
    env: VirtualPowerPlant, world: Linear, name: str, rounds: int
) -> None:
    sizes = {"environments": 16, "batch": 64, "hidden": (32,), "critic": (32,), "lr": 4e-3}
    config = short(
        name, uncertainty=False, robust="none", rounds=rounds, updates_per_step=2, **sizes
    )
    done = train(env, config, [0], world=world, records=1)
    means = np.array(done.curve["mean"])
    assert means[-1] < 0.9 * means[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: short(rho=1.0), "0 <= rho < 1"),
        (lambda: short(robust="best case"), "robust is 'best case'"),
        (lambda: short(rounds=0), "must be positive"),
        (lambda: short(imagined=1.0), "imagined < 1"),
        (lambda: short("enumerated", robust="Lipschitz"), "enumerated commitments need"),
    ],
)
def test_settings_out_of_range_are_refused(change: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        change()


def test_a_missing_world_model_or_recourse_is_named(env: VirtualPowerPlant) -> None:
    with pytest.raises(InputError, match="give one as world="):
        train(env, short(), [0])
    published = VirtualPowerPlant(preset("as_published"), env.days)
    with pytest.raises(InputError, match="this plant has none"):
        train(published, short("MADDPG"), [0])
