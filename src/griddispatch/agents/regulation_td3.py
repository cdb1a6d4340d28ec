"""Monolithic TD3 for frequency regulation: the policy of `regulation_monolithic`, off-policy.

Fujimoto et al., "Addressing function approximation error in actor-critic methods" (2018), in the
order of its algorithm 1; `td3` has the same steps on days of a feeder.

1. Act with exploration noise in E hours, and store (s, z, r, s') in the replay memory;
2. target action with clipped noise,  z' = mu'(s') + clip(eps', -c, c);
3. target value,                      y = r + gamma min(Q1'(s', z'), Q2'(s', z'));
4. critics,                           minimise Huber's error of Q_i(s, z) - y;
5. every second update the actor,     maximise Q1(s, mu(s)), and let the targets follow by tau.

The last decision of an hour is not stored: regulation goes on behind it, but is not simulated.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import torch

from griddispatch.agents.regulation_monolithic import (
    Monolithic,
    MonolithicPolicy,
    MonolithicPolicyConfig,
)
from griddispatch.agents.regulation_networks import Draws, whitening
from griddispatch.agents.regulation_training import (
    AHEAD,
    Recorder,
    carry_out,
    fined,
    next_hours,
    signal_ahead,
)
from griddispatch.envs.regulation import Regulation
from griddispatch.errors import InputError
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import StackedMLP, Streams, soft_update
from griddispatch.learning.steps import cosine, descend, regression_error, set_lr
from griddispatch.learning.training import Progress, Training, check_seeds

NAME = "Monolithic TD3"


@dataclass(frozen=True)
class TD3Config:
    """Settings of TD3 on a monolithic policy.

    Raises
    ------
    InputError
        A value is out of range.
    """

    policy: MonolithicPolicyConfig = field(
        default_factory=lambda: MonolithicPolicyConfig(bounded=True)
    )
    """Size of the policy, and what its actions mean."""
    critic: tuple[int, ...] = (96, 96)
    """Widths of the critics."""
    rounds: int = 200
    """Windows that are played, with updates in between."""
    window: int = 30
    """Decisions of a window."""
    hours: int = 64
    """Hours side by side per agent."""
    updates_per_step: int = 1
    """Critic updates per decision of all hours."""
    warmup: int = 4
    """Windows before the first update."""
    batch: int = 256
    """Decisions per update and agent."""
    replay: int = 100_000
    """Decisions kept per agent."""
    lr: float = 2e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    gamma: float = 0.9
    """Discount per decision, below 1."""
    tau: float = 0.01
    """Share of the online networks that the targets take over when they are updated."""
    noise: float = 0.25
    """Standard deviation of exploration at the start, for actions in [-1, 1]."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""
    target_noise: float = 0.1
    """Standard deviation of the noise on the target action."""
    target_clip: float = 0.3
    """Largest noise on the target action."""
    policy_delay: int = 2
    """Critic updates per update of the actor and the targets."""
    penalty: float = 1.0
    """As of `regulation_ppo.PPOConfig`."""
    reward_unit: float = 0.02
    """Typical reward; the critics count in it."""
    gradient_clip: float | None = 1.0
    """Largest norm of an agent's gradient; None: no limit."""
    keep_best: bool = True
    """Whether the policy that did best on validation hours is returned instead of the last one."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.window, self.hours, self.batch, self.policy_delay)
        if min(counts) < 1 or self.replay < self.hours or not 0 <= self.gamma < 1:
            raise InputError(
                "TD3: rounds, window, hours, batch and policy_delay must be positive, replay not "
                "less than hours, and 0 <= gamma < 1; they are "
                f"{', '.join(map(str, counts))}, {self.replay}, {self.gamma}"
            )


PRESETS = {
    "absolute": TD3Config(policy=MonolithicPolicyConfig("absolute", bounded=True)),
    "increments": TD3Config(),
}


class TD3:
    """Networks of K agents, and the steps 2 to 5 of the algorithm."""

    def __init__(self, config: TD3Config, env: Regulation, seeds: list[int]) -> None:
        c, critics = config, Streams(seeds, "critic")
        self.config, self.updates = c, 0
        self.actor = MonolithicPolicy(c.policy, env.n_actions, whitening(env), seeds)
        n = self.actor.linear.shape[1]
        self.critics = torch.nn.ModuleList(
            StackedMLP((n + AHEAD + env.n_actions, *c.critic, 1), critics, "silu") for _ in range(2)
        ).to(env.dtype)
        self.target_actor, self.target_critics = deepcopy(self.actor), deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=c.lr, foreach=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=c.lr, foreach=True)
        self.optimisers = [self.actor_optimiser, self.critic_optimiser]
        self.memory = Memory(
            len(seeds), c.replay, (n + AHEAD, env.n_actions, 1, n + AHEAD), env.start
        )
        self.pick, self.draws = Streams(seeds, "replay"), Draws(seeds, 2)

    def update(self) -> None:
        """Steps 2 to 5."""
        c = self.config
        seen, z, reward, after = self.memory.sample(c.batch, self.pick)
        with torch.no_grad():
            # 2. target action with clipped noise
            eps = (c.target_noise * self.draws.normal(z)).clamp(-c.target_clip, c.target_clip)
            next_z = (self.target_actor.mean(after[..., :-AHEAD]) + eps).clamp(-1, 1)
            # 3. target value
            future = torch.minimum(*(q(torch.cat([after, next_z], 2)) for q in self.target_critics))
            y = reward + c.gamma * future
        # 4. critics
        values = torch.stack([q(torch.cat([seen, z], 2)) for q in self.critics])
        error = regression_error(values, y.expand_as(values), 1.0)
        descend(error, self.critic_optimiser, c.gradient_clip)
        # 5. actor and targets
        self.updates += 1
        if self.updates % c.policy_delay == 0:
            now = self.actor.mean(seen[..., :-AHEAD])
            value = self.critics[0](torch.cat([seen, now], 2))
            descend(-value, self.actor_optimiser, c.gradient_clip)
            soft_update(self.target_actor, self.actor, c.tau)
            soft_update(self.target_critics, self.critics, c.tau)


def train(
    env: Regulation,
    config: TD3Config,
    seeds: list[int],
    validation: Regulation | None = None,
    *,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[Monolithic]:
    """Train one agent per seed with TD3; parameters as of `deltanet.train_pathwise`.

    Raises
    ------
    InputError
        There is no seed.
    """
    check_seeds(seeds)
    c, K, learner = config, len(seeds), TD3(config, env, seeds)
    start, draws = Streams(seeds, "start"), Draws(seeds)
    every, unit = max(1, c.rounds // records), c.reward_unit / (1 - c.gamma)
    recorder = Recorder(env, validation, learner.actor, seeds, every, c.keep_best, progress)
    state, before = None, None
    for done in range(c.rounds):
        part = max(0.0, (done - c.warmup) / max(1, c.rounds - c.warmup))
        set_lr(learner.optimisers, cosine(c.lr, c.lr_end, part))
        noise = c.noise + (c.noise_end - c.noise) * part
        for _ in range(c.window):
            # 1. act, and store what the last decision led to
            if state is None or state.t == env.steps:
                state, before = next_hours(env, state, start, c.hours), None
            with torch.no_grad():
                choice = learner.actor.decide(env, state, noise, draws)
                seen = torch.cat([choice.seen, signal_ahead(env, state, K)], 2)
                if before is not None:
                    learner.memory.add(*before, seen)
                state, reward, outcome = carry_out(env, state, choice.setpoint, choice.limits)
                paid = fined(env, reward, outcome, c.penalty).view(K, -1, 1) / unit
            before = (seen, choice.y.clamp(-1, 1), paid)
            recorder.add(reward, outcome)
            if done >= c.warmup:
                for _ in range(c.updates_per_step):
                    learner.update()
        recorder.end_update(done + 1, done + 1 == c.rounds)
    return recorder.training(learner.updates)
