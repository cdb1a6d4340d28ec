"""DDPG: deep deterministic policy gradient, K seeds at once.

Lillicrap et al., "Continuous control with deep reinforcement learning" (2016), in the order of its
algorithm 1:

1. act with exploration noise, a = mu(o) + eps, and store (s, a, r, s') in the replay memory;
2. target value,               y = r + gamma * Q'(s', mu'(o'));
3. critic,                     minimise (Q(s, a) - y)^2, or its Huber version;
4. actor,                      maximise Q(s, mu(o));
5. the targets follow by tau.

The noise is normal, as in the authors' code of RL-ADN, instead of an Ornstein-Uhlenbeck process;
held for some steps (`noise_hold`) it is correlated in time as that one is. Presets: see `td3`.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from griddispatch.agents import off_policy
from griddispatch.agents.learning import Actor
from griddispatch.agents.off_policy import Batch, OffPolicyConfig, View, q_value
from griddispatch.envs.feeder import Feeder
from griddispatch.learning.networks import HeldNoise, StackedMLP, Streams, soft_update
from griddispatch.learning.steps import descend, regression_error
from griddispatch.learning.training import Progress, Training

NAME = "DDPG"


@dataclass(frozen=True)
class DDPGConfig(OffPolicyConfig):
    """Settings of DDPG; the defaults are the preset `tuned`."""

    noise: float = 0.4
    """Standard deviation of exploration noise at the start, for actions in [-1, 1]."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""


PRESETS = {
    "tuned": DDPGConfig(),
    "paper": DDPGConfig(**off_policy.PRINTED, noise=0.05, noise_end=0.05),
}


class DDPG:
    """Networks of K agents, and the steps 1 to 5 of the algorithm."""

    def __init__(self, config: DDPGConfig, feeder: Feeder, seeds: list[int]) -> None:
        c, weights = config, Streams(seeds, "weights", feeder.device)
        actions = feeder.n_actions
        self.view = View(feeder, len(seeds), c)
        self.config = config
        self.actor = StackedMLP((self.view.n_actor, *c.hidden, actions), weights, output=torch.tanh)
        self.critic = StackedMLP((self.view.n_critic, *c.hidden, 1), weights)
        self.target_actor, self.target_critic = deepcopy(self.actor), deepcopy(self.critic)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=c.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=c.lr, fused=True)
        self.optimisers = [self.actor_optimiser, self.critic_optimiser]
        self.noise = Streams(seeds, "noise", feeder.device)
        self.held = HeldNoise(self.noise, c.noise_hold)

    def explore(self, seen: Tensor, t: int, part: float) -> Tensor:
        """Step 1: [K, E, M] actions with noise."""
        c = self.config
        action = self.actor(seen)
        sigma = c.noise + (c.noise_end - c.noise) * part
        return (action + sigma * self.held.at(t, *action.shape[1:])).clamp(-1, 1)

    def update(self, batch: Batch) -> None:
        """Steps 2 to 5."""
        c = self.config
        # 2. target value; after the last step of a day there is nothing to come
        with torch.no_grad():
            next_action = self.target_actor(batch.after.actor)
            future = q_value(self.target_critic, batch.after, next_action)
            y = batch.reward + c.gamma * batch.going * future
        # 3. critic
        value = q_value(self.critic, batch.now, batch.action)
        descend(regression_error(value, y, c.huber), self.critic_optimiser, c.gradient_clip)
        # 4. actor
        value = q_value(self.critic, batch.now, self.actor(batch.now.actor))
        descend(-value, self.actor_optimiser, c.gradient_clip)
        # 5. targets
        soft_update(self.target_actor, self.actor, c.tau)
        soft_update(self.target_critic, self.critic, c.tau)


def train(
    feeder: Feeder,
    config: DDPGConfig,
    seeds: list[int],
    validation: Feeder | None = None,
    records: int = 20,
    progress: Progress = lambda line: None,
) -> Training[Actor]:
    """Train one agent per seed on the days of `feeder`.

    Parameters
    ----------
    feeder
        Training days; its observation is what the actor sees.
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
    learner = DDPG(config, feeder, seeds)
    return off_policy.train(learner, seeds, validation, records, progress)
