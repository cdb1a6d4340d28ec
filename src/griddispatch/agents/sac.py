"""SAC: soft actor-critic with automatic temperature, K seeds at once.

Haarnoja et al., "Soft actor-critic algorithms and applications" (2018), in the order of its
algorithm 1. The policy is a normal distribution squashed by tanh, a = tanh(m(o) + s(o) * eps):

1. act by the policy, and store (s, a, r, s') in the replay memory;
2. target value,       y = r + gamma * (min(Q1'(s', a'), Q2'(s', a')) - alpha * log pi(a'|o')),
                       with a' drawn from the policy at o';
3. critics,            minimise (Q_i(s, a) - y)^2, or its Huber version;
4. actor,              minimise alpha * log pi(a|o) - min(Q1(s, a), Q2(s, a)), a drawn anew;
5. temperature alpha,  so that the entropy of the policy goes to its target;
6. the target critics follow by tau.

The greedy policy, which is returned, is tanh(m(o)). Presets: see `td3`.
"""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from griddispatch.agents import off_policy
from griddispatch.agents.learning import Actor
from griddispatch.agents.off_policy import Batch, OffPolicyConfig, View, q_value
from griddispatch.envs.feeder import Feeder
from griddispatch.learning.networks import HeldNoise, StackedMLP, Streams, soft_update
from griddispatch.learning.steps import descend, regression_error
from griddispatch.learning.training import Progress, Training

NAME = "SAC"


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Settings of SAC; the defaults are the preset `tuned`."""

    temperature: float = 0.003
    """Alpha at the start, in EUR per nat. A step is worth cents: at 1 the entropy would be all
    that counts."""
    entropy: float = -1.0
    """Target entropy per battery in nats at the start (-1 in the paper of SAC)."""
    entropy_end: float = -3.0
    """The same at the end; linear in between. The best policy is nearly certain: it trades at full
    power in some hours and rests in others."""


PRESETS = {
    "tuned": SACConfig(),
    "paper": SACConfig(**off_policy.PRINTED, temperature=1.0, entropy=-1.0, entropy_end=-1.0),
}

LOG_SPREAD = (-5.0, 2.0)  # limits of log s(o)


class SAC:
    """Networks of K agents, and the steps 1 to 6 of the algorithm."""

    def __init__(self, config: SACConfig, feeder: Feeder, seeds: list[int]) -> None:
        c, weights = config, Streams(seeds, "weights", feeder.device)
        actions = feeder.n_actions
        self.view = View(feeder, len(seeds), c)
        self.config, self.entropy = config, c.entropy * actions
        self.actor = StackedMLP((self.view.n_actor, *c.hidden, 2 * actions), weights)
        self.critics = torch.nn.ModuleList(
            StackedMLP((self.view.n_critic, *c.hidden, 1), weights) for _ in range(2)
        )
        self.target_critics = deepcopy(self.critics)
        log_alpha = torch.full((len(seeds), 1, 1), math.log(c.temperature), device=feeder.device)
        self.log_alpha = torch.nn.Parameter(log_alpha)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=c.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=c.lr, fused=True)
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=c.lr, fused=True)
        self.optimisers = [self.actor_optimiser, self.critic_optimiser, self.alpha_optimiser]
        self.noise = Streams(seeds, "noise", feeder.device)
        self.held = HeldNoise(self.noise, c.noise_hold)

    def policy(self, seen: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """[K, B, M] actions and [K, B, 1] their log density, of standard normal `eps`."""
        mean, log_spread = self.actor(seen).chunk(2, -1)
        log_spread = log_spread.clamp(*LOG_SPREAD)
        x = mean + log_spread.exp() * eps
        # log N(x) - log(1 - tanh(x)^2), the second written so that it cannot overflow
        log_density = -0.5 * eps.square() - log_spread - 0.5 * math.log(2 * math.pi)
        log_density = log_density - 2 * (math.log(2) - x - softplus(-2 * x))
        return torch.tanh(x), log_density.sum(-1, keepdim=True)

    def explore(self, seen: Tensor, t: int, part: float) -> Tensor:
        """Step 1: [K, E, M] actions drawn from the policy."""
        c = self.config
        actions = self.actor.biases[-1].shape[-1] // 2
        self.entropy = actions * (c.entropy + (c.entropy_end - c.entropy) * part)
        return self.policy(seen, self.held.at(t, seen.shape[1], actions))[0]

    def update(self, batch: Batch) -> None:
        """Steps 2 to 6."""
        c, shape = self.config, batch.action.shape[1:]
        alpha = self.log_alpha.detach().exp()
        # 2. target value; after the last step of a day there is nothing to come
        with torch.no_grad():
            next_action, log_density = self.policy(batch.after.actor, self.noise.normal(*shape))
            future = torch.minimum(
                *(q_value(q, batch.after, next_action) for q in self.target_critics)
            )
            y = batch.reward + c.gamma * batch.going * (future - alpha * log_density)
        # 3. critics
        values = torch.stack([q_value(q, batch.now, batch.action) for q in self.critics])
        error = regression_error(values, y.expand_as(values), c.huber)
        descend(error, self.critic_optimiser, c.gradient_clip)
        # 4. actor
        action, log_density = self.policy(batch.now.actor, self.noise.normal(*shape))
        value = torch.minimum(*(q_value(q, batch.now, action) for q in self.critics))
        descend(alpha * log_density - value, self.actor_optimiser, c.gradient_clip)
        # 5. temperature
        surprise = (log_density + self.entropy).detach()
        descend(-self.log_alpha * surprise, self.alpha_optimiser, None)
        # 6. targets
        soft_update(self.target_critics, self.critics, c.tau)


def train(
    feeder: Feeder,
    config: SACConfig,
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
    learner = SAC(config, feeder, seeds)
    return off_policy.train(learner, seeds, validation, records, progress)
