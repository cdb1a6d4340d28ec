"""PPO: proximal policy optimisation, K seeds at once.

Schulman et al., "Proximal policy optimization algorithms" (2017), in the order of its algorithm 1,
with the advantages of Schulman et al., "High-dimensional continuous control using generalized
advantage estimation" (2016):

1. act for E whole days,      u = mu(o) + sigma * eps;
2. advantages,                A_t = sum_l (gamma * lambda)^l * delta_{t+l},
   with                       delta_t = r_t + gamma * V(s_{t+1}) - V(s_t);
3. take from each advantage the mean of the day's siblings at that step, and normalise;
4. actor, some epochs,        maximise min(ratio * A, clip(ratio, 1 - c, 1 + c) * A),
   with                       ratio = pi(u | o) / pi_old(u | o);
5. critic, the same batches,  minimise the error of V(s_t) against A_t + V_old(s_t).

Two presets. `paper` is Table 2 of the RL-ADN paper, with state, reward and gamma as printed; what
it does not print is taken from the authors' code as a fact: clip 0.2, entropy weight 0.01, eight
epochs, one learnt sigma per battery that starts at 1, noise inside the tanh, the linear-tailed
error of the critic. `tuned` keeps the algorithm and adds what a short horizon with known physics
allows; each such choice is a field below, with its reason, and all of them were made on validation
days.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from griddispatch.agents.learning import (
    Actor,
    Recorder,
    battery_rewards,
    random_start,
    shaped_reward,
)
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import joined, price_ahead
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams, clip_per_agent
from griddispatch.learning.steps import cosine, set_lr
from griddispatch.learning.training import Progress, Training

NAME = "PPO"


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults are the preset `tuned`."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of actor and critic."""
    episodes: int = 7_680
    """Days of experience per agent."""
    environments: int = 128
    """Days in parallel per agent: what is rolled out between two changes of the policy."""
    siblings: int = 8
    """Copies of a day that are rolled out side by side, each from its own state of charge. Their
    mean advantage at a step says how good the hour is, not the action, and is taken away. 1: no."""
    epochs: int = 4
    """Passes over the days of one rollout."""
    batch: int = 1_536
    """Steps per update and agent."""
    lr: float = 5e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    gamma: float = 1.0
    """Discount per step. A day has 96 steps and the time is in the state: no discount is needed."""
    gae_lambda: float = 0.95
    """How far an advantage looks ahead before it trusts the critic."""
    clip: float = 0.2
    """Change of an action's probability from which on there is nothing more to gain."""
    noise: float = 0.5
    """Standard deviation sigma at the start, for actions in [-1, 1]."""
    noise_end: float | None = 0.3
    """The same at the end; linear in between. None: learnt, one number per battery. With less noise
    at the end the policy fits the training days as well, and others less."""
    noise_hold: int = 4
    """Steps for which eps is held: prices change every fourth step, and noise that is new at every
    step averages out in the state of charge. The ratio takes each step by itself, an approximation
    (Raffin et al., "Smooth exploration for robotic reinforcement learning", 2022)."""
    noise_inside: bool = False
    """Whether the action is tanh(mu + sigma * eps), not tanh(mu) + sigma * eps."""
    entropy: float = 0.0
    """Weight of the policy's entropy; it only matters if sigma is learnt."""
    per_battery: bool = True
    """Whether each battery has its own ratio, and its own advantage without the trades of the
    others, which are noise to it (`battery_rewards`). The penalty is shared by all."""
    shaping: bool = True
    """Whether the learner is paid the shaped reward (see `learning`)."""
    random_soc: bool = True
    """Whether training days start at a random state of charge; evaluation uses the printed one."""
    privileged_critic: bool = True
    """Whether the critic also sees the prices of the rest of the day. The actor never does: the
    critic exists only in training (asymmetric actor-critic, Pinto et al., 2018)."""
    huber: float = 0.3
    """Critic error in EUR from which on it counts linearly instead of squared: a few steps with a
    large voltage penalty must not outweigh the many that decide about cents."""
    weight_decay: float = 0.1
    """Pull of the actor's parameters to zero (AdamW, Loshchilov and Hutter, 2019). A hundred days
    are few: without it the policy earns as much on the training days, and less on others."""
    gradient_clip: float | None = 1.0
    """Largest norm of an agent's gradient; None: no limit."""
    keep_best: bool = True
    """Whether the policy that did best on validation days is returned instead of the last one."""


PRESETS = {
    "tuned": PPOConfig(),
    "paper": PPOConfig(
        hidden=(256, 256, 256),
        episodes=1_000,
        environments=43,  # the least number of whole days that fills a batch of 4096
        siblings=1,
        epochs=8,
        batch=4096,
        lr=6e-4,
        lr_end=6e-4,
        gamma=0.995,
        gae_lambda=0.99,
        clip=0.2,
        noise=1.0,
        noise_end=None,
        noise_hold=1,
        noise_inside=True,
        entropy=0.01,
        per_battery=False,
        shaping=False,
        random_soc=False,
        privileged_critic=False,
        huber=1.0,
        weight_decay=0.0,
        gradient_clip=None,
        keep_best=False,
    ),
}


def advantages(reward: Tensor, value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantages [K, S, ...] of whole days (Schulman et al., 2016, eq. 16).

    Parameters
    ----------
    reward, value
        [K, S, ...] in EUR: what step t paid, and V before it. After step S - 1 nothing comes.
    gamma, gae_lambda
        Discount, and weight of the steps further ahead: 0 trusts the critic after one step, 1
        trusts it not at all.
    """
    after = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    delta = reward + gamma * after - value
    found = torch.empty_like(delta)
    ahead = torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        ahead = delta[:, t] + gamma * gae_lambda * ahead
        found[:, t] = ahead
    return found


def less_siblings(advantage: Tensor, siblings: int) -> Tensor:
    """Advantages [K, S, E, ...] minus their mean over the copies of a day at the same step.

    The copies of a day stand side by side among the E. They act independently, so the mean is a
    baseline but for an action's own share in it, 1 / `siblings`, which is a common factor.
    """
    if siblings == 1:
        return advantage
    copies = advantage.unflatten(2, (-1, siblings))
    return (copies - copies.mean(3, keepdim=True)).flatten(2, 3)


def clipped_objective(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Eq. 7 of PPO per sample: flat where a step has moved far enough in its favour."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


class Samples(NamedTuple):
    """Steps [K, B, .] of a rollout: what actor and critic see, and what was tried.

    old is the log-probability that u had; advantage and target are in EUR, the former normalised.
    """

    seen: Tensor
    all_seen: Tensor
    u: Tensor
    old: Tensor
    advantage: Tensor
    target: Tensor


class PPO:
    """Networks of K agents, and the steps 1 to 5 of the algorithm."""

    def __init__(self, config: PPOConfig, feeder: Feeder, seeds: list[int]) -> None:
        c, device = config, feeder.device
        self.config, self.feeder, self.agents = c, feeder, len(seeds)
        self.start, self.noise, self.order = (
            Streams(seeds, name, device) for name in ("start", "noise", "order")
        )
        self.critic_view = joined(price_ahead) if c.privileged_critic else None
        n_seen, n_act = feeder.n_observations, feeder.n_actions
        one = feeder.reset(torch.zeros(1, dtype=torch.int64, device=device))
        n_critic = n_seen + (self.critic_view(feeder, one).shape[1] if self.critic_view else 0)
        weights = Streams(seeds, "weights", device)
        self.actor = StackedMLP((n_seen, *c.hidden, n_act), weights)
        self.critic = StackedMLP((n_critic, *c.hidden, n_act if c.per_battery else 1), weights)
        log_std = torch.full((self.agents, 1, n_act), math.log(c.noise), device=device)
        self.log_std = torch.nn.Parameter(log_std)
        self.actor_parameters = list(self.actor.parameters())
        self.critic_parameters = list(self.critic.parameters())
        if c.noise_end is None:
            self.actor_parameters.append(self.log_std)
        self.actor_optimiser = torch.optim.AdamW(
            self.actor_parameters, lr=c.lr, weight_decay=c.weight_decay, fused=True
        )
        self.critic_optimiser = torch.optim.Adam(self.critic_parameters, lr=c.lr, fused=True)

    def mean(self, seen: Tensor) -> Tensor:
        """[K, B, M] centre of u; u is the action, or what the action is the tanh of."""
        return self.actor(seen) if self.config.noise_inside else self.actor(seen).tanh()

    def log_probability(self, seen: Tensor, u: Tensor) -> Tensor:
        """[K, B, M] battery by battery, or [K, B, 1] of all actions; a constant is left out."""
        each = -0.5 * ((u - self.mean(seen)) / self.log_std.exp()).square() - self.log_std
        return each if self.config.per_battery else each.sum(2, keepdim=True)

    @torch.no_grad()
    def roll_out(self, recorder: Recorder | None = None) -> Samples:
        """Steps 1 to 3: act for whole days, and judge every action."""
        c, feeder, K = self.config, self.feeder, self.agents
        # 1. act; siblings share the day of the first of them
        state = random_start(feeder, self.start, c.environments, c.random_soc)
        day = state.day.view(-1, c.siblings)[:, :1].expand(-1, c.siblings).flatten()
        state = state._replace(day=day)
        rows: list[tuple[Tensor, ...]] = []
        for t in range(feeder.steps):
            seen = all_seen = feeder.observe(state)
            if self.critic_view is not None:
                all_seen = torch.cat([seen, self.critic_view(feeder, state)], 1)
            if t % c.noise_hold == 0:
                held = self.noise.normal(c.environments, feeder.n_actions)
            u = self.mean(seen.view(K, c.environments, -1)) + self.log_std.exp() * held
            action = (u.tanh() if c.noise_inside else u.clamp(-1, 1)).flatten(0, 1)
            after, reward, outcome = feeder.step(state, action)
            paid = shaped_reward(feeder, outcome, after, reward) if c.shaping else reward
            answered = paid[:, None]
            if c.per_battery:
                answered = battery_rewards(feeder, outcome, after, paid, c.shaping)
            rows.append((seen, all_seen, u.flatten(0, 1), answered.float()))
            if recorder is not None:
                recorder.add(reward, outcome)
            state = after
        seen, all_seen, u, earned = (  # [K, S * E, .]
            torch.stack([x.view(K, c.environments, -1) for x in column], 1).flatten(1, 2)
            for column in zip(*rows, strict=True)
        )
        # 2. advantages
        value, by_step = self.critic(all_seen), (feeder.steps, c.environments)
        advantage = advantages(
            earned.unflatten(1, by_step), value.unflatten(1, by_step), c.gamma, c.gae_lambda
        )
        target = value + advantage.flatten(1, 2)
        # 3. less the siblings' mean; every agent by its own spread
        advantage = less_siblings(advantage, c.siblings).flatten(1, 2)
        advantage -= advantage.mean((1, 2), keepdim=True)
        advantage /= advantage.std((1, 2), keepdim=True).clamp(min=1e-8)
        return Samples(seen, all_seen, u, self.log_probability(seen, u), advantage, target)

    def batches(self, samples: Samples) -> Iterator[Samples]:
        """One pass over the samples in batches, each agent in an order of its own."""
        count, size = samples.u.shape[1], self.config.batch
        first = count * torch.arange(self.agents, device=self.order.device)[:, None]
        shuffled = first + self.order.uniform(count).argsort(1)
        rows = [x.flatten(0, 1) for x in samples]
        full = max(1, count // size)
        for at in shuffled[:, : full * size].chunk(full, 1):
            pick = at.flatten()  # `index_select` is faster than indexing by agent and row
            yield Samples(*(x.index_select(0, pick).unflatten(0, at.shape) for x in rows))

    def update(self, batch: Samples) -> None:
        """Steps 4 and 5; the sum over agents keeps each agent's gradient its own."""
        c = self.config
        # 4. actor
        log_ratio = self.log_probability(batch.seen, batch.u) - batch.old
        gain = clipped_objective(log_ratio, batch.advantage, c.clip).mean((1, 2))
        gain = gain + c.entropy * self.log_std.sum((1, 2))
        self.actor_optimiser.zero_grad()
        (-gain.sum()).backward()
        clip_per_agent(self.actor_parameters, c.gradient_clip)
        self.actor_optimiser.step()
        # 5. critic
        error = smooth_l1_loss(
            self.critic(batch.all_seen), batch.target, reduction="none", beta=c.huber
        )
        self.critic_optimiser.zero_grad()
        error.mean((1, 2)).sum().backward()
        clip_per_agent(self.critic_parameters, c.gradient_clip)
        self.critic_optimiser.step()


def train(
    feeder: Feeder,
    config: PPOConfig,
    seeds: list[int],
    validation: Feeder | None = None,
    records: int = 20,
    progress: Progress = lambda line: None,
) -> Training[Actor]:
    """Train one agent per seed on the days of `feeder`.

    The parameters are those of `td3.train`.

    Raises
    ------
    InputError
        The days in parallel cannot be divided into siblings.
    """
    c = config
    if c.environments % c.siblings:
        raise InputError(
            f"environments is {c.environments}, siblings is {c.siblings}; make environments a "
            "multiple of siblings"
        )
    learner = PPO(c, feeder, seeds)
    rounds = max(1, round(c.episodes / c.environments))
    updates = memory = 0
    recorder = Recorder(
        learner.actor,
        feeder,
        seeds,
        rounds=rounds,
        environments=c.environments,
        validation=validation,
        records=records,
        keep_best=c.keep_best,
        progress=progress,
    )
    for episode in range(rounds):
        part = episode / rounds
        set_lr([learner.actor_optimiser, learner.critic_optimiser], cosine(c.lr, c.lr_end, part))
        if c.noise_end is not None:
            learner.log_std.data.fill_(math.log(c.noise + (c.noise_end - c.noise) * part))
        samples = learner.roll_out(recorder)
        memory = sum(x.numel() * x.element_size() for x in samples)
        for _ in range(c.epochs):
            for batch in learner.batches(samples):
                learner.update(batch)
                updates += 1
        recorder.end_round(episode + 1)
    return recorder.training(updates, memory)
