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
field below, with its reason, and all of them were made on validation days.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from griddispatch.agents.learning import (
    Progress,
    Recorder,
    Training,
    cosine,
    random_start,
    set_lr,
    shaped_reward,
)
from griddispatch.agents.networks import StackedMLP, Streams, clip_per_agent, soft_update
from griddispatch.agents.replay import Replay
from griddispatch.envs.feeder import Feeder, State
from griddispatch.envs.observations import joined, price_ahead


@dataclass(frozen=True)
class TD3Config:
    """Settings of TD3; the defaults are the preset `tuned`."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of actor and critics."""
    episodes: int = 1_600
    """Days of experience per agent."""
    environments: int = 64
    """Days in parallel per agent; a vector step takes one step of each."""
    updates_per_step: int = 2
    """Critic updates per vector step."""
    warmup_episodes: int = 64
    """Days of uniformly random actions before the first update."""
    batch: int = 256
    """Transitions per update and agent."""
    replay: int = 400_000
    """Transitions kept per agent (Table 2: 4e5)."""
    lr: float = 3e-3
    """Learning rate of Adam at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 1e-4
    """Learning rate at the end."""
    gamma: float = 1.0
    """Discount per step. A day has 96 steps and the time is in the state: no discount is needed."""
    tau: float = 0.03
    """Share of the online networks that the targets take over per actor update."""
    policy_delay: int = 2
    """Critic updates per actor update."""
    noise: float = 0.4
    """Standard deviation of exploration noise at the start, for actions in [-1, 1]."""
    noise_end: float = 0.05
    """The same at the end; linear in between."""
    noise_hold: int = 4
    """Steps for which a noise value is held: prices change every fourth step."""
    target_noise: float = 0.1
    """Standard deviation of the noise on the target action."""
    target_clip: float = 0.3
    """Largest noise on the target action."""
    shaping: bool = True
    """Whether the learner is paid the shaped reward (see `learning`)."""
    random_soc: bool = True
    """Whether training days start at a random state of charge; evaluation uses the printed one."""
    privileged_critic: bool = True
    """Whether the critics also see the prices of the rest of the day. The actor never does: the
    critics exist only in training (asymmetric actor-critic, Pinto et al., 2018)."""
    huber: float | None = 0.3
    """Critic error in EUR from which on it counts linearly instead of squared: a few steps with a
    large voltage penalty must not outweigh the many that decide about cents. None: squared."""
    gradient_clip: float | None = 10.0
    """Largest norm of an agent's gradient; None: no limit."""
    keep_best: bool = True
    """Whether the policy that did best on validation days is returned instead of the last one."""


PRESETS = {
    "tuned": TD3Config(),
    "paper": TD3Config(
        hidden=(256, 256, 256),
        episodes=1_000,
        environments=1,
        updates_per_step=1,
        warmup_episodes=10,
        batch=512,
        lr=6e-4,
        lr_end=6e-4,
        gamma=0.995,
        tau=0.005,
        noise=0.05,
        noise_end=0.05,
        noise_hold=1,
        target_noise=0.1,
        target_clip=0.5,
        shaping=False,
        random_soc=False,
        privileged_critic=False,
        huber=None,
        gradient_clip=None,
        keep_best=False,
    ),
}


def train(
    feeder: Feeder,
    config: TD3Config,
    seeds: list[int],
    validation: Feeder | None = None,
    records: int = 20,
    progress: Progress = lambda line: None,
) -> Training:
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
    agents, steps, c = len(seeds), feeder.steps, config
    start, noise, pick = (Streams(seeds, name) for name in ("start", "noise", "replay"))

    critic_view = joined(price_ahead) if c.privileged_critic else None
    n_seen, n_act = feeder.n_observations, feeder.n_actions
    one = feeder.reset(torch.zeros(1, dtype=torch.int64))
    n_critic = n_seen + n_act + (critic_view(feeder, one).shape[1] if critic_view else 0)
    weights = Streams(seeds, "weights")
    actor = StackedMLP((n_seen, *c.hidden, n_act), weights, output=torch.tanh)
    critics = torch.nn.ModuleList(StackedMLP((n_critic, *c.hidden, 1), weights) for _ in range(2))
    target_actor = StackedMLP((n_seen, *c.hidden, n_act), weights, output=torch.tanh)
    target_critics = torch.nn.ModuleList(
        StackedMLP((n_critic, *c.hidden, 1), weights) for _ in range(2)
    )
    target_actor.load_state_dict(actor.state_dict())
    target_critics.load_state_dict(critics.state_dict())
    critic_parameters, actor_parameters = list(critics.parameters()), list(actor.parameters())
    critic_optimiser = torch.optim.Adam(critic_parameters, lr=c.lr, foreach=True)
    actor_optimiser = torch.optim.Adam(actor_parameters, lr=c.lr, foreach=True)

    def view(state: State) -> tuple[Tensor, Tensor]:
        """What the actor and what the critics see of K * B states: [K, B, .] each."""
        seen = feeder.observe(state)
        all_seen = seen if critic_view is None else torch.cat([seen, critic_view(feeder, state)], 1)
        return seen.view(agents, -1, n_seen), all_seen.view(agents, -1, all_seen.shape[1])

    def critic_loss(value: Tensor, y: Tensor) -> Tensor:
        """Error of each transition, not yet averaged."""
        if c.huber is None:
            return mse_loss(value, y, reduction="none")
        return smooth_l1_loss(value, y, beta=c.huber, reduction="none")

    replay = Replay(agents, c.replay, n_act)
    rounds = max(1, round(c.episodes / c.environments))
    warmup = math.ceil(c.warmup_episodes / c.environments)
    updates = 0
    recorder = Recorder(
        actor,
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
        part = max(0.0, (episode - warmup) / max(1, rounds - warmup))
        sigma = c.noise + (c.noise_end - c.noise) * part
        set_lr([critic_optimiser, actor_optimiser], cosine(c.lr, c.lr_end, part))

        state = random_start(feeder, start, c.environments, c.random_soc)
        for t in range(steps):
            # 1. act and store
            if episode < warmup:
                action = 2 * noise.uniform(c.environments, n_act) - 1
            else:
                with torch.no_grad():
                    action = actor(view(state)[0])
                if t % c.noise_hold == 0:
                    held = noise.normal(c.environments, n_act)
                action = (action + sigma * held).clamp(-1, 1)
            action = action.flatten(0, 1)
            after, reward, outcome = feeder.step(state, action)
            paid = shaped_reward(feeder, outcome, after, reward) if c.shaping else reward
            replay.add(state, action, paid, after)
            recorder.add(reward, outcome)
            state = after
            if episode < warmup:
                continue

            for _ in range(c.updates_per_step):
                drawn = replay.sample(c.batch, pick)
                seen, all_seen = view(drawn.state)
                seen_after, all_after = view(drawn.after)
                taken = drawn.action.view(agents, c.batch, n_act)
                with torch.no_grad():
                    # 2. target action with clipped noise
                    eps = (c.target_noise * noise.normal(c.batch, n_act)).clamp(
                        -c.target_clip, c.target_clip
                    )
                    next_action = (target_actor(seen_after) + eps).clamp(-1, 1)
                    # 3. target value; after the last step of a day there is nothing to come
                    pair = torch.cat([all_after, next_action], 2)
                    future = torch.minimum(target_critics[0](pair), target_critics[1](pair))
                    going = (drawn.after.t < steps).view(agents, c.batch, 1)
                    y = drawn.reward.view(agents, c.batch, 1) + c.gamma * going * future
                # 4. critics; the sum over agents keeps each agent's gradient its own
                pair = torch.cat([all_seen, taken], 2)
                errors = torch.stack([critic_loss(q(pair), y) for q in critics])
                critic_optimiser.zero_grad()
                errors.mean(2).sum().backward()
                clip_per_agent(critic_parameters, c.gradient_clip)
                critic_optimiser.step()
                updates += 1
                # 5. actor and targets
                if updates % c.policy_delay == 0:
                    value = critics[0](torch.cat([all_seen, actor(seen)], 2))
                    actor_optimiser.zero_grad()
                    (-value.mean((1, 2)).sum()).backward()
                    clip_per_agent(actor_parameters, c.gradient_clip)
                    actor_optimiser.step()
                    soft_update(target_actor, actor, c.tau)
                    soft_update(target_critics, critics, c.tau)
        recorder.end_round(episode + 1)
    return recorder.training(updates, replay.bytes)
