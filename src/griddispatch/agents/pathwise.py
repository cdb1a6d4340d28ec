"""Pathwise policy gradient: backpropagation through the day, K seeds at once.

Prices and loads do not depend on what the batteries do, and storage and power flow are known
functions. So the return of a day, given the day, is a differentiable function of the actor's
weights, and its gradient needs neither a critic nor the likelihood of actions. This is the
pathwise estimator of Mohamed et al., "Monte Carlo gradient estimation in machine learning" (2020).
The randomness left to average over is the day and the initial state of charge:

1. draw days and initial states of charge;
2. play the days with the actor, a_t = tanh(mu(o_t)), keeping the graph of the states of charge;
3. settle them: the rewards r_t of all steps of all days, with one batched power flow;
4. ascend the gradient of the mean return, sum_t r_t, clipped, by Adam.

Voltages can wait until step 3, because no state depends on them. The gradient through the power
flow is exact, by the implicit function theorem (see `griddispatch.grid.dense`).

Where a battery is full, empty or at rated power, a little more or less of the action changes
nothing, and the gradient of that step with respect to its action is zero. The return is still
continuous and the gradient right almost everywhere: over many days and random initial states some
step is always inside the limits.

There is no preset `paper`: the RL-ADN paper has no such learner.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from griddispatch.agents.learning import Actor, Recorder, random_start
from griddispatch.data.series import Days
from griddispatch.envs.feeder import Feeder, State
from griddispatch.learning.networks import StackedMLP, Streams, clip_per_agent
from griddispatch.learning.steps import cosine, set_lr
from griddispatch.learning.training import Progress, Training

NAME = "Pathwise"


@dataclass(frozen=True)
class PathwiseConfig:
    """Settings; the defaults are the preset `tuned`."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the actor."""
    activation: str = "tanh"
    """Between its layers; see `networks.ACTIVATIONS`."""
    updates: int = 250
    """Gradient steps."""
    environments: int = 64
    """Days per agent and gradient step."""
    lr: float = 3e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    paired_days: int = 1_024
    """Training days are filled up to this number by pairing the prices of one day with the loads
    of another: what pays at given prices hardly depends on the day that the loads are from, so
    the few days on record serve many times over. 0: only the days themselves."""
    random_soc: bool = True
    """Whether training days start at a random state of charge; evaluation uses the printed one."""
    gradient_clip: float | None = 1.0
    """Largest norm of an agent's gradient; None: no limit."""
    keep_best: bool = True
    """Whether the policy that did best on validation days is returned instead of the last one."""


PRESETS = {"tuned": PathwiseConfig()}


def train(
    feeder: Feeder,
    config: PathwiseConfig,
    seeds: list[int],
    validation: Feeder | None = None,
    records: int = 20,
    progress: Progress = lambda line: None,
) -> Training[Actor]:
    """Train one agent per seed on the days of `feeder`.

    Parameters
    ----------
    feeder
        Training days; its observation is what the actor sees. Whatever its power-flow backend,
        training uses the dense one, which has gradients.
    config
        Settings, see `PRESETS`.
    seeds
        One agent each. An agent's random numbers depend on its seed only.
    validation
        Days on which the greedy policy is tried at each record; they choose the returned policy if
        `config.keep_best`.
    records
        Points on the training curve.
    progress
        Called with one line at each record.
    """
    agents, c = len(seeds), config
    start = Streams(seeds, "start", feeder.device)
    twin = training_days(feeder, c.paired_days)
    sizes = (feeder.n_observations, *c.hidden, feeder.n_actions)
    weights = Streams(seeds, "weights", feeder.device)
    actor = StackedMLP(sizes, weights, c.activation, torch.tanh)
    parameters = list(actor.parameters())
    optimiser = torch.optim.Adam(parameters, lr=c.lr, foreach=True)
    recorder = Recorder(
        actor,
        feeder,
        seeds,
        rounds=c.updates,
        environments=c.environments,
        validation=validation,
        records=records,
        keep_best=c.keep_best,
        progress=progress,
    )

    def act(seen: Tensor) -> Tensor:
        """[K * E, M] actions of K agents at observations [K * E, .], agent by agent."""
        return actor(seen.view(agents, -1, seen.shape[1])).flatten(0, 1)

    for update in range(c.updates):
        set_lr([optimiser], cosine(c.lr, c.lr_end, update / c.updates))
        # 1. draw days and initial states of charge
        state = random_start(twin, start, c.environments, c.random_soc)
        # 2. play the days
        every, actions = play(twin, state, act)
        # 3. settle them
        _, reward, outcome = twin.step(every, actions)
        recorder.add(reward, outcome)
        # 4. ascend the mean return; the sum over agents keeps each agent's gradient its own
        optimiser.zero_grad()
        (-reward.sum() / c.environments).backward()
        clip_per_agent(parameters, c.gradient_clip)
        optimiser.step()
        recorder.end_round(update + 1)
    return recorder.training(c.updates)


def play(feeder: Feeder, state: State, act: Callable[[Tensor], Tensor]) -> tuple[State, Tensor]:
    """Play whole days from B starts, without the power flow, keeping the graph of all gradients.

    Parameters
    ----------
    feeder, state
        The environment, and where the days start: t = 0 in all rows.
    act
        Actions [B, M] for observations [B, .].

    Returns
    -------
    states, actions
        All B * S of them, day by day and step by step, as `feeder.step` takes them.
    """
    visited, actions = [], []
    for _ in range(feeder.steps):
        visited.append(state)
        actions.append(act(feeder.observe(state)))
        power = feeder.power(state, actions[-1])
        soc = feeder.storage.step(state.soc, power, feeder.hours)
        state = State(state.day, state.t + 1, soc)
    every = State(*(torch.stack(part, 1).flatten(0, 1) for part in zip(*visited, strict=True)))
    return every, torch.stack(actions, 1).flatten(0, 1)


def training_days(feeder: Feeder, at_least: int) -> Feeder:
    """The same environment with gradients, on its days and on pairs of them.

    A pair has the prices of one day (and of the day before it) and the loads of another. The days
    themselves come first and are all kept; pairs are added until there are `at_least` days. They
    are drawn with a generator of their own, so that they are the same for every seed.
    """
    twin = copy.copy(feeder)
    twin.backend = "dense"  # the one that has gradients
    count = len(feeder.days) // len(feeder.networks)  # `on` plays them on each network again
    own = np.arange(count)
    drawn = np.random.default_rng(0).integers(count, size=(2, max(0, at_least - count)))
    priced, loaded = places = np.concatenate([np.stack([own, own]), drawn], axis=1)
    days, names = feeder.days, feeder.days.dates
    return twin.on(
        Days(
            dates=tuple(f"{names[i]}, loads of {names[j]}" for i, j in places.T.tolist()),
            nodes=days.nodes,
            load=days.load[loaded],
            pv=days.pv[loaded],
            reactive=days.reactive[loaded],
            price=days.price[priced],
            step_hours=days.step_hours,
            price_before=np.asarray(days.price_before)[priced],
        )
    )
