"""What DDPG, TD3 and SAC share: settings, collecting experience, the schedule of a training.

The three algorithms differ in how they explore and in one update; both are methods of a `Learner`,
in a file of its own each. Everything around them is here, once:

    for each round of days:
        start every environment at a random day (and state of charge)
        for each step of the day:
            act with exploration, store the transitions in the replay memory
            draw batches and update, once the memory has been warmed up
        record the return, and the greedy policy's on validation days
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from griddispatch.agents.learning import Actor, Recorder, random_start, shaped_reward
from griddispatch.agents.replay import Replay
from griddispatch.envs.feeder import Feeder, State
from griddispatch.envs.observations import price_ahead
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.learning.steps import cosine, set_lr
from griddispatch.learning.training import Progress, Training


@dataclass(frozen=True)
class OffPolicyConfig:
    """Settings that the three algorithms share; the defaults are those of the preset `tuned`."""

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
    """Share of the online networks that the targets take over when they are updated."""
    noise_hold: int = 4
    """Steps for which an exploration noise is held: prices change every fourth step."""
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


PRINTED: dict[str, Any] = {
    "hidden": (256, 256, 256),
    "episodes": 1_000,
    "environments": 1,
    "updates_per_step": 1,
    "warmup_episodes": 10,
    "batch": 512,
    "replay": 400_000,
    "lr": 6e-4,
    "lr_end": 6e-4,
    "gamma": 0.995,
    "tau": 0.005,
    "noise_hold": 1,
    "shaping": False,
    "random_soc": False,
    "privileged_critic": False,
    "huber": None,
    "gradient_clip": None,
    "keep_best": False,
}
"""The shared settings of the presets `paper`: Table 2 of the RL-ADN paper, and the authors' code
for what it does not print."""


class Seen(NamedTuple):
    """What actor and critics see [K, B, .] of B states of each of K agents."""

    actor: Tensor
    critic: Tensor


class Batch(NamedTuple):
    """Transitions of K agents, drawn from their replay memories.

    Before and after the step; the action taken [K, B, M]; the reward [K, B, 1]; going [K, B, 1],
    False where the day was over afterwards.
    """

    now: Seen
    action: Tensor
    reward: Tensor
    after: Seen
    going: Tensor


class View:
    """What K agents see of the states of a feeder.

    Parameters
    ----------
    feeder
        Its observation is what the actor sees.
    agents
        K.
    config
        Says whether the critics see more, and what.
    """

    def __init__(self, feeder: Feeder, agents: int, config: OffPolicyConfig) -> None:
        self.feeder, self.agents, self.config = feeder, agents, config
        first = torch.zeros(agents, dtype=torch.int64, device=feeder.device)
        one_each = self(feeder.reset(first))
        self.n_actor = one_each.actor.shape[2]
        self.n_critic = one_each.critic.shape[2] + feeder.n_actions

    def __call__(self, state: State) -> Seen:
        """What is seen of K * B states."""
        seen = self.feeder.observe(state)
        more = seen
        if self.config.privileged_critic:
            more = torch.cat([seen, self.feeder.lookup(price_ahead, state).float()], 1)
        return Seen(self._by_agent(seen), self._by_agent(more))

    def draw(self, replay: Replay, size: int, streams: Streams) -> Batch:
        """A batch of `size` transitions per agent."""
        drawn = replay.sample(size, streams)
        going = drawn.after.t < self.feeder.steps
        return Batch(
            now=self(drawn.state),
            action=self._by_agent(drawn.action),
            reward=self._by_agent(drawn.reward[:, None]),
            after=self(drawn.after),
            going=self._by_agent(going[:, None]),
        )

    def _by_agent(self, x: Tensor) -> Tensor:
        """[K * B, n] as [K, B, n]."""
        return x.view(self.agents, -1, x.shape[1])


class Learner(Protocol):
    """What an algorithm is to the loop `train`."""

    view: View
    actor: StackedMLP
    noise: Streams

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """All of them have one learning rate."""
        ...

    def explore(self, seen: Tensor, t: int, part: float) -> Tensor:
        """[K, E, M] actions for what is seen [K, E, .] at step t; `part` of the training is over.

        Steps are asked for in their order, from 0.
        """
        ...

    def update(self, batch: Batch) -> None:
        """Change all networks once."""
        ...


def q_value(critic: torch.nn.Module, seen: Seen, action: Tensor) -> Tensor:
    """[K, B, 1] what `critic` makes of the actions [K, B, M]."""
    return critic(torch.cat([seen.critic, action], 2))


def train(
    learner: Learner,
    seeds: list[int],
    validation: Feeder | None,
    records: int,
    progress: Progress,
) -> Training[Actor]:
    """Train `learner`, one agent per seed, on the days of its feeder.

    The other parameters are those of the algorithms' own `train`.
    """
    view = learner.view
    feeder, c = view.feeder, view.config
    start, pick = (Streams(seeds, name, feeder.device) for name in ("start", "replay"))
    replay = Replay(view.agents, c.replay, feeder.n_actions, feeder.device)
    rounds = max(1, round(c.episodes / c.environments))
    warmup = math.ceil(c.warmup_episodes / c.environments)
    updates = 0
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
    for done in range(rounds):
        part = max(0.0, (done - warmup) / max(1, rounds - warmup))
        set_lr(learner.optimisers, cosine(c.lr, c.lr_end, part))
        state = random_start(feeder, start, c.environments, c.random_soc)
        for t in range(feeder.steps):
            if done < warmup:
                action = 2 * learner.noise.uniform(c.environments, feeder.n_actions) - 1
            else:
                with torch.no_grad():
                    action = learner.explore(view(state).actor, t, part)
            action = action.flatten(0, 1)
            after, reward, outcome = feeder.step(state, action)
            paid = shaped_reward(feeder, outcome, after, reward) if c.shaping else reward
            replay.add(state, action, paid, after)
            recorder.add(reward, outcome)
            state = after
            if done >= warmup:
                for _ in range(c.updates_per_step):
                    learner.update(view.draw(replay, c.batch, pick))
                    updates += 1
        recorder.end_round(done + 1)
    return recorder.training(updates, replay.bytes)
