"""MADDPG: actors that act alone, critics that see all of them; K seeds at once.

Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive environments" (2017), in
the order of its algorithm 1, for agents i = 1 .. N (here supply and load):

1. each agent acts with noise on what it observes, a_i = mu_i(o_i, eps), and all is remembered;
2. target values,  y_i = r_i + gamma Q_i'(s', a_1', .., a_N') with a_j' = mu_j'(o_j');
3. critics,        minimise (Q_i(s, a_1, .., a_N) - y_i)^2;
4. actors,         maximise Q_i(s, a_1, .., mu_i(o_i), .., a_N) over the own action only;
5. the targets follow by tau.

`independent` critics see their own agent's action alone: N learners of DDPG in one world, each of
which takes the others for a part of its surroundings that drifts.

In step 4 the paper takes the actions of the others from the memory, so that an actor answers what
they did on average since then, noise included (`others="memory"`). `"current"` takes what their
actors do now. In the game an action is a mixed strategy: a softmax of the network's answer, where
the noise enters before the softmax so that it stays a distribution.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from griddispatch.agents.maddpg_config import PRESETS, PRINTED, MADDPGConfig
from griddispatch.envs.supply_load_game import SIDES, SupplyLoadGame
from griddispatch.errors import InputError
from griddispatch.learning.memory import Memory
from griddispatch.learning.networks import StackedMLP, Streams, soft_update
from griddispatch.learning.steps import cosine, descend, regression_error, set_lr
from griddispatch.learning.training import Progress, check_seeds

__all__ = [
    "INDEPENDENT",
    "MADDPG",
    "NAME",
    "PRESETS",
    "PRINTED",
    "Batch",
    "CentralisedCritic",
    "GameTraining",
    "MADDPGConfig",
    "train",
]

NAME = "MADDPG"
INDEPENDENT = "Independent DDPG"

Float = NDArray[np.float64]


class CentralisedCritic(nn.Module):
    """Q_i(s, a_1, .., a_N) of K seeds.

    Parameters
    ----------
    state
        Width of s.
    actions
        Width of each agent's action.
    hidden
        Widths of the layers.
    streams
        Initial weights.
    sees
        Places of the agents whose actions it sees; all by default.
    """

    def __init__(
        self,
        state: int,
        actions: Sequence[int],
        hidden: Sequence[int],
        streams: Streams,
        sees: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.sees = tuple(range(len(actions)) if sees is None else sees)
        width = state + sum(actions[i] for i in self.sees)
        self.network = StackedMLP((width, *hidden, 1), streams, "silu")

    def forward(self, state: Tensor, actions: Sequence[Tensor]) -> Tensor:
        """[K, B, 1] for a state [K, B, n] and every agent's action [K, B, n_i]."""
        return self.network(torch.cat([state, *(actions[i] for i in self.sees)], 2))


@dataclass(frozen=True)
class Batch:
    """Remembered transitions of N agents: tensors [K, B, n]; one entry per agent where listed."""

    state: Tensor
    seen: list[Tensor]
    actions: list[Tensor]
    rewards: list[Tensor]
    after: Tensor
    seen_after: list[Tensor]


class MADDPG:
    """Networks of N agents and K seeds, and the steps 1 to 5 of the algorithm.

    Parameters
    ----------
    config
        Settings.
    state
        Width of s, which the critics see.
    observations, actions
        Widths of what each agent sees and does.
    seeds
        One team of agents each.
    output
        From an actor's last layer to its action, such as a softmax or `torch.tanh`.
    bonus
        What an agent is paid for its own action [K, B, n_i] beside the rewards, [K, B, 1]. It is
        known and is not left to the critics, as the entropy in SAC.
    """

    def __init__(
        self,
        config: MADDPGConfig,
        state: int,
        observations: Sequence[int],
        actions: Sequence[int],
        seeds: Sequence[int],
        output: Callable[[Tensor], Tensor],
        bonus: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        c, weights = config, Streams(seeds, "weights")
        self.config, self.output, self.bonus = c, output, bonus
        self.actors = nn.ModuleList(
            StackedMLP((n, *c.hidden, m), weights, "silu")
            for n, m in zip(observations, actions, strict=True)
        )
        self.critics = nn.ModuleList(
            CentralisedCritic(state, actions, c.critic, weights, [i] if c.independent else None)
            for i in range(len(actions))
        )
        self.target_actors, self.target_critics = deepcopy(self.actors), deepcopy(self.critics)
        self.actor_optimisers = [
            torch.optim.Adam(a.parameters(), lr=c.lr, fused=True) for a in self.actors
        ]
        self.critic_optimisers = [
            torch.optim.Adam(q.parameters(), lr=c.lr, fused=True) for q in self.critics
        ]
        self.noise = Streams(seeds, "noise")

    @torch.no_grad()
    def act(self, seen: Sequence[Tensor], sigma: float = 0.0) -> list[Tensor]:
        """Step 1: every agent's action [K, B, n_i], noise of spread sigma before `output`."""
        answers = [actor(o) for actor, o in zip(self.actors, seen, strict=True)]
        if sigma > 0:
            answers = [a + sigma * self.noise.normal(*a.shape[1:]) for a in answers]
        return [self.output(a) for a in answers]

    def learning_rate(self, critic: float) -> None:
        """Set the critics' learning rate, and the actors' as a share of it."""
        set_lr(self.critic_optimisers, critic)
        set_lr(self.actor_optimisers, self.config.actor_share * critic)

    def update(self, batch: Batch) -> None:
        """Steps 2 to 5 for every agent."""
        c = self.config
        targets = self._target_values(batch)
        now = [self.output(actor(o)) for actor, o in zip(self.actors, batch.seen, strict=True)]
        for i, critic in enumerate(self.critics):
            # 3. critic
            error = regression_error(critic(batch.state, batch.actions), targets[i], None)
            descend(error, self.critic_optimisers[i], c.gradient_clip)
            # 4. actor: the own action follows its network, those of the others are given
            given = batch.actions if c.others == "memory" else [a.detach() for a in now]
            chosen = [now[j] if j == i else a for j, a in enumerate(given)]
            value = self._with_bonus(critic(batch.state, chosen), now[i])
            descend(-value, self.actor_optimisers[i], c.gradient_clip)
        # 5. targets
        soft_update(self.target_actors, self.actors, c.tau)
        soft_update(self.target_critics, self.critics, c.tau)

    def _with_bonus(self, value: Tensor, action: Tensor) -> Tensor:
        return value if self.bonus is None else value + self.bonus(action)

    @torch.no_grad()
    def _target_values(self, batch: Batch) -> list[Tensor]:
        """Step 2: y_i [K, B, 1]."""
        if self.config.gamma == 0:
            return batch.rewards
        pairs = zip(self.target_actors, batch.seen_after, strict=True)
        following = [self.output(actor(o)) for actor, o in pairs]
        values = (critic(batch.after, following) for critic in self.target_critics)
        future = [self._with_bonus(v, a) for v, a in zip(values, following, strict=True)]
        gamma = self.config.gamma
        return [r + gamma * v for r, v in zip(batch.rewards, future, strict=True)]


@dataclass(frozen=True)
class GameTraining:
    """Result of training K teams on a game of T periods.

    Attributes
    ----------
    seeds
        K.
    rounds
        [R] rounds after which strategies were recorded; the first is 0, before any learning.
    supply, load
        [R, K, T, J] their strategies, without noise.
    updates
        Number of updates.
    """

    seeds: tuple[int, ...]
    rounds: NDArray[np.int64]
    supply: Float
    load: Float
    updates: int


def train(
    game: SupplyLoadGame,
    config: MADDPGConfig,
    seeds: Sequence[int],
    *,
    records: int = 20,
    progress: Progress = lambda line: None,
) -> GameTraining:
    """Train one team of supply and load per seed on a game, from payoffs of drawn requests.

    Both sides see the period's features; the payoffs of all periods stand on one scale.

    Parameters
    ----------
    game
        The game; a round plays all its periods on each day.
    config
        Settings, see `PRESETS`.
    seeds
        One team each. A team's random numbers depend on its seed only.
    records
        Recorded strategies after the first.
    progress
        Called with one line at each record.

    Raises
    ------
    InputError
        There is no seed or no record.
    """
    check_seeds(seeds)
    if records < 1:
        raise InputError(f"MADDPG: records is {records}; take 1 or more")
    c, K, T, J = config, len(seeds), game.periods, len(game.prices)
    features = torch.as_tensor(2 * game.features - 1, dtype=torch.float32)
    n = features.shape[1]
    learner = MADDPG(c, n, [n, n], [J, J], seeds, _softmax, partial(_entropy, tau=game.tau))
    memory = Memory(K, c.memory, (n, J, J, 1, 1, n), features)
    requests, pick = Streams(seeds, "requests"), Streams(seeds, "replay")
    period = features.expand(K, c.days, T, n)
    flat = period.flatten(1, 2)
    following = period.roll(-1, 2).flatten(1, 2)
    at = np.unique(np.linspace(0, c.rounds, records + 1).round().astype(np.int64))
    kept: list[list[Tensor]] = []
    updates = 0
    for done in range(c.rounds + 1):
        if done in at:
            kept.append(learner.act([features.expand(K, T, n)] * len(SIDES)))
            progress(f"round {done} of {c.rounds}")
        if done == c.rounds:
            break
        part = done / c.rounds
        learner.learning_rate(cosine(c.lr, c.lr_end, part))
        actions = learner.act([flat, flat], c.noise + (c.noise_end - c.noise) * part)
        rewards = _play(game, actions, requests, (K, c.days, T, J), c.repeats)
        memory.add(flat, *actions, *rewards, following)
        if done >= c.warmup:
            state, p, q, supply, load, after = memory.sample(c.batch, pick)
            learner.update(Batch(state, [state] * 2, [p, q], [supply, load], after, [after] * 2))
            updates += 1
    reached = (torch.stack(side).numpy().astype(np.float64) for side in zip(*kept, strict=True))
    supply_reached, load_reached = reached
    return GameTraining(tuple(seeds), at, supply_reached, load_reached, updates)


def _softmax(answer: Tensor) -> Tensor:
    return answer.softmax(-1)


def _entropy(action: Tensor, tau: float) -> Tensor:
    """[K, B, 1] tau H of strategies [K, B, J]."""
    return tau * torch.special.entr(action).sum(-1, keepdim=True)


def _play(
    game: SupplyLoadGame,
    actions: list[Tensor],
    requests: Streams,
    shape: tuple[int, ...],
    repeats: int,
) -> list[Tensor]:
    """[K, B, 1] payoffs of both sides, without the bonus: means over draws of the requests."""
    p, q = (a.numpy().astype(np.float64).reshape(shape)[:, None] for a in actions)
    uniform = requests.uniform(repeats, *shape[1:3], int(game.requests.max())).numpy()
    paid = game.realised(p, q, game.draw(q, uniform))
    means = (torch.as_tensor(x.mean(1), dtype=torch.float32) for x in paid)
    return [x.reshape(shape[0], -1, 1) for x in means]
