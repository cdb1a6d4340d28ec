"""The pathwise learner: its gradient is that of the day's return, and it learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from feeders import chain, made_up_days, small_feeder, synthetic_days

from griddispatch.agents import pathwise
from griddispatch.assets.storage import Storage
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import observe
from griddispatch.evaluation.rollout import evaluate
from griddispatch.grid.power_flow import Backend
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.learning.training import Training

SHORT = replace(
    pathwise.PRESETS["tuned"], hidden=(16, 16), updates=12, environments=8, paired_days=20
)


def parameters(training: Training, agent: int) -> dict[str, torch.Tensor]:
    return training.policies[agent].saved["parameters"]


def violating_feeder(end_soc: Any = "free", settlement: Any = "battery") -> Feeder:
    """Eight steps a day, and loads so high that the batteries' nodes are below 0.95 p.u."""
    days = synthetic_days((1, 2, 3, 4, 5, 6), 3, total_kw=2000.0, reactive=0.3)
    storage = Storage(nodes=(3, 6), power_kw=80.0, eta_charge=0.95, eta_discharge=0.9)
    return small_feeder(
        days=days,
        storage=storage,
        backend="dense",
        tol=1e-10,
        end_soc=end_soc,
        settlement=settlement,
    )


@pytest.mark.parametrize("settlement", ["battery", "import"])
@pytest.mark.parametrize("end_soc", ["free", "initial"])
def test_the_gradient_of_the_days_return_is_that_of_finite_differences(end_soc, settlement):
    feeder = violating_feeder(end_soc, settlement)
    assert (feeder.idle_penalty > 0).any()
    g = torch.Generator().manual_seed(0)
    plan = 2 * torch.rand(3, feeder.steps, 2, generator=g, dtype=torch.float64) - 1

    def returns(actions: torch.Tensor) -> torch.Tensor:
        given = iter(actions.unbind(1))
        every, taken = pathwise.play(feeder, feeder.reset(), lambda seen: next(given))
        return feeder.step(every, taken)[1].view(3, -1).sum(1)

    plan.requires_grad_()
    (exact,) = torch.autograd.grad(returns(plan).sum(), plan)
    h = 1e-6
    with torch.no_grad():
        for t in range(feeder.steps):
            for m in range(2):
                move = torch.zeros_like(plan)
                move[:, t, m] = h
                slope = (returns(plan + move) - returns(plan - move)) / (2 * h)
                torch.testing.assert_close(exact[:, t, m], slope, rtol=1e-4, atol=1e-4)
    assert (exact != 0).any()


def test_played_days_are_those_of_the_environment():
    feeder = small_feeder(observation=observe("history"), end_soc="initial")
    actor = StackedMLP((feeder.n_observations, 8, 2), Streams([0]), "tanh", torch.tanh)
    with torch.no_grad():
        every, actions = pathwise.play(feeder, feeder.reset(), lambda seen: actor(seen[None])[0])
        _, reward, _ = feeder.step(every, actions)
        state, returned = feeder.reset(), torch.zeros(len(feeder.days), dtype=torch.float64)
        for _ in range(feeder.steps):
            state, paid, _ = feeder.step(state, actor(feeder.observe(state)[None])[0])
            returned += paid
    torch.testing.assert_close(reward.view(len(feeder.days), -1).sum(1), returned)


@pytest.mark.parametrize("backend", ["sweep", "dense"])
def test_it_learns_whatever_the_backend_of_the_feeder(backend: Backend):
    feeder = small_feeder(observation=observe("history"), backend=backend)
    validation = feeder.on(made_up_days(4, seed=1))
    training = pathwise.train(feeder, SHORT, [0, 1], validation, records=10)
    idle = -validation.idle_penalty.sum(1).mean()
    score = training.curve.groupby("seed")["validation"]
    assert (score.max() > score.first() + 1).all()
    assert (score.max() > float(idle) + 5).all()
    assert feeder.backend == backend
    assert training.updates == SHORT.updates


def test_the_best_policy_on_validation_days_is_returned():
    feeder = small_feeder(observation=observe("now"))
    validation = feeder.on(made_up_days(4, seed=1))
    training = pathwise.train(
        feeder, replace(SHORT, updates=6, lr=0.3, lr_end=0.3), [3], validation
    )
    reached = evaluate({"Pathwise": training.policies[0]}, validation)["reward"].mean()
    assert reached == pytest.approx(training.curve["validation"].max(), rel=1e-6)


def test_the_same_seed_gives_the_same_bytes():
    feeder = small_feeder(observation=observe("history"))
    few = replace(SHORT, updates=2)
    first, again = (pathwise.train(feeder, few, [0, 1], feeder) for _ in range(2))
    assert first.curve.equals(again.curve)
    for k in range(2):
        for name, p in parameters(first, k).items():
            assert torch.equal(p, parameters(again, k)[name])
            assert not torch.equal(p, parameters(first, 1 - k)[name])


def test_a_seed_does_not_depend_on_its_neighbours():
    feeder = small_feeder(observation=observe("history"))
    few = replace(SHORT, updates=2)
    alone = pathwise.train(feeder, few, [5])
    beside = pathwise.train(feeder, few, [4, 5, 6])
    for name, p in parameters(alone, 0).items():
        torch.testing.assert_close(parameters(beside, 1)[name], p, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("networks", [1, 2])
def test_paired_days_have_prices_of_one_day_and_loads_of_another(networks: int):
    days = made_up_days(4)
    feeder = small_feeder(days=days).on(days, [chain(6, ohm=ohm) for ohm in (1.2, 1.0)[:networks]])
    paired = pathwise.training_days(feeder, 30)
    assert len(paired.days) == 30 * networks
    assert paired.scale is feeder.scale
    made = paired.days
    for name in ("load", "price"):
        np.testing.assert_array_equal(getattr(made, name)[:4], getattr(days, name))

    def origin(values: Any, known: Any) -> list[int]:
        return [int(np.flatnonzero([np.array_equal(v, k) for k in known])[0]) for v in values]

    priced, loaded = origin(made.price, days.price), origin(made.load, days.load)
    assert origin(made.price_before, days.price_before) == priced
    assert set(zip(priced, loaded, strict=True)) > {(d, d) for d in range(4)}


def test_more_days_than_asked_for_stay_as_they_are():
    feeder = small_feeder()
    kept = pathwise.training_days(feeder, 3).days
    assert len(kept) == len(feeder.days)
    np.testing.assert_array_equal(kept.net_load, feeder.days.net_load)


def test_training_sees_no_other_day_than_those_of_its_feeder():
    """A feeder whose other days are poisoned trains to the same bytes."""
    days, poisoned = made_up_days(6), made_up_days(6)
    poisoned.load[4:] = 1e3
    poisoned.price[4:] = 1e6
    few = replace(SHORT, updates=2)
    a, b = (
        pathwise.train(small_feeder(days=d.select(d.dates[:4]), observation=observe()), few, [0])
        for d in (days, poisoned)
    )
    assert a.curve.equals(b.curve)
