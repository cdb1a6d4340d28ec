"""TD3: twin delayed deep deterministic policy gradient, K seeds at once.

Fujimoto et al., "Addressing function approximation error in actor-critic methods" (2018), in the
order of its algorithm 1:

1. act with exploration noise, a = mu(o) + eps, and store (s, a, r, s') in the replay memory;
2. target action with clipped noise,  a' = mu'(o') + clip(eps', -c, c);
3. target value,                      y = r + gamma * min(Q1'(s', a'), Q2'(s', a'));
4. critics,                           minimise (Q_i(s, a) - y)^2, or its Huber version;
5. every second update the actor,     maximise Q1(s, mu(o)), and let the targets follow by tau.

Two presets. `paper` is Table 2 of the RL-ADN paper, with state, reward and gamma as printed; what
it does not print (networks, noise, tau) is taken from the authors' code as a fact. `tuned`
keeps the algorithm and adds what a short horizon with known physics allows; each such choice is a
field of the config, with its reason, and all of them were made on validation days.
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

NAME = "TD3"


@dataclass(frozen=True)
class TD3Config(OffPolicyConfig):
    """Settings of TD3; the defaults are the preset `tuned`."""

    noise: float = 0.4
    """Standard deviation of exploration noise at the start, for actions in [-1, 1]."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""
    target_noise: float = 0.1
    """Standard deviation of the noise on the target action."""
    target_clip: float = 0.3
    """Largest noise on the target action."""
    policy_delay: int = 2
    """Critic updates per update of the actor and the targets."""


PRESETS = {
    "tuned": TD3Config(),
    "paper": TD3Config(
        **off_policy.PRINTED,
        noise=0.05,
        noise_end=0.05,
        target_noise=0.1,
        target_clip=0.5,
    ),
}


class TD3:
    """Networks of K agents, and the steps 1 to 5 of the algorithm."""

    def __init__(self, config: TD3Config, feeder: Feeder, seeds: list[int]) -> None:
        c, weights = config, Streams(seeds, "weights", feeder.device)
        actions = feeder.n_actions
        self.view = View(feeder, len(seeds), c)
        self.config, self.updates = config, 0
        self.actor = StackedMLP((self.view.n_actor, *c.hidden, actions), weights, output=torch.tanh)
        self.critics = torch.nn.ModuleList(
            StackedMLP((self.view.n_critic, *c.hidden, 1), weights) for _ in range(2)
        )
        self.target_actor, self.target_critics = deepcopy(self.actor), deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=c.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=c.lr, fused=True)
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
        with torch.no_grad():
            # 2. target action with clipped noise
            eps = c.target_noise * self.noise.normal(*batch.action.shape[1:])
            eps = eps.clamp(-c.target_clip, c.target_clip)
            next_action = (self.target_actor(batch.after.actor) + eps).clamp(-1, 1)
            # 3. target value; after the last step of a day there is nothing to come
            future = torch.minimum(
                *(q_value(q, batch.after, next_action) for q in self.target_critics)
            )
            y = batch.reward + c.gamma * batch.going * future
        # 4. critics
        values = torch.stack([q_value(q, batch.now, batch.action) for q in self.critics])
        error = regression_error(values, y.expand_as(values), c.huber)
        descend(error, self.critic_optimiser, c.gradient_clip)
        # 5. actor and targets
        self.updates += 1
        if self.updates % c.policy_delay == 0:
            value = q_value(self.critics[0], batch.now, self.actor(batch.now.actor))
            descend(-value, self.actor_optimiser, c.gradient_clip)
            soft_update(self.target_actor, self.actor, c.tau)
            soft_update(self.target_critics, self.critics, c.tau)


def train(
    feeder: Feeder,
    config: TD3Config,
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
    learner = TD3(config, feeder, seeds)
    return off_policy.train(learner, seeds, validation, records, progress)
