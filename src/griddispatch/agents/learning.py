"""What every learner shares: the paid reward, the start of an episode, the record of a training.

Two changes of the reward are offered to learners; neither changes which policy is best.

- The penalty that no battery can be blamed for, `feeder.idle_penalty`, is given back. It depends
  on no action.
- Stored energy gets a value: with potential Phi(s) = mean training price * stored energy the reward
  becomes r + Phi(s') - Phi(s), and Phi = 0 after the last step (Ng et al., 1999, "Policy invariance
  under reward transformations"). Selling at the mean price is then worth nothing, and a charge is
  judged at once instead of hours later.
"""

from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.networks import StackedMLP, Streams
from griddispatch.envs.feeder import Feeder, Outcome, State


class Policy(Protocol):
    """What `evaluate` can run: actions in [-1, 1] for a batch of states."""

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] actions at the states [B]."""
        ...


@dataclass(frozen=True)
class Actor:
    """A trained deterministic policy: the actor network of one agent."""

    network: StackedMLP

    @classmethod
    def load(cls, parameters: dict[str, Tensor]) -> "Actor":
        """The policy whose parameters `StackedMLP.agent` gave."""
        weights = [p for name, p in parameters.items() if name.startswith("weights")]
        sizes = (*(w.shape[1] for w in weights), weights[-1].shape[2])
        network = StackedMLP(sizes, Streams([0]), output=torch.tanh)
        network.load_state_dict(parameters)
        return cls(network)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What `load` takes."""
        return self.network.agent(0)

    @torch.no_grad()
    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] actions at the states [B]."""
        return self.network(feeder.observe(state)[None])[0]


@dataclass
class Training:
    """Result of training K agents.

    Attributes
    ----------
    policies
        One per seed, in the order of the seeds.
    curve
        Tidy record: seed, episode, and per episode the reward, profit and penalty in EUR (what the
        environment pays, not what the learner is paid), averaged over the episodes since the last
        record; validation is the mean reward of the greedy policy on validation days.
    """

    policies: list[Actor]
    curve: pd.DataFrame
    seconds: float = 0.0
    updates: int = 0
    memory_bytes: int = 0


def stored_value(feeder: Feeder, state: State) -> Tensor:
    """[B] Phi in EUR: energy above the lower limit at the mean training price; 0 after the day."""
    k = feeder.storage.limits(state.soc)
    energy = ((state.soc - k.soc_min) * k.capacity_kwh * k.eta_discharge).sum(-1)
    return energy * feeder.scale.price_mean / 1000 * (state.t < feeder.steps)


def shaped_reward(feeder: Feeder, outcome: Outcome, after: State, reward: Tensor) -> Tensor:
    """[B] reward with the idle penalty given back and stored energy valued; see the module."""
    before = outcome.state
    idle = feeder.idle_penalty[before.day, before.t]
    return reward + idle + stored_value(feeder, after) - stored_value(feeder, before)


def random_start(feeder: Feeder, streams: Streams, episodes: int, random_soc: bool) -> State:
    """Start of K * `episodes` days, drawn agent by agent; initial or uniformly random SOC."""
    day = streams.integers(len(feeder.days), episodes).flatten()
    if not random_soc:
        return feeder.reset(day)
    k = feeder.storage.limits(feeder.price)
    u = streams.uniform(episodes, feeder.n_actions).flatten(0, 1).to(feeder.price)
    return feeder.reset(day, k.soc_min + u * (k.soc_max - k.soc_min))


@dataclass
class Meter:
    """Sums of reward, profit and penalty [K] over the episodes since the last record."""

    agents: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sums = torch.zeros(3, self.agents, dtype=torch.float64)
        self._episodes = 0

    def add(self, reward: Tensor, outcome: Outcome) -> None:
        """Add one step of K * E environments."""
        parts = torch.stack([reward, outcome.profit, outcome.penalty]).double()
        self._sums += parts.view(3, self.agents, -1).sum(2).cpu()

    def finish(self, episodes: int) -> None:
        """Count `episodes` finished days per agent."""
        self._episodes += episodes

    def record(self, seeds: list[int], episode: int, validation: Tensor | None) -> None:
        """Write one row per agent and start again."""
        mean = self._sums / max(1, self._episodes)
        for k, seed in enumerate(seeds):
            self.rows.append(
                {
                    "seed": seed,
                    "episode": episode,
                    "reward": float(mean[0, k]),
                    "profit": float(mean[1, k]),
                    "penalty": float(mean[2, k]),
                    "validation": float("nan") if validation is None else float(validation[k]),
                }
            )
        self.__post_init__()

    @property
    def curve(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.DataFrame(self.rows)


@torch.no_grad()
def greedy_return(feeder: Feeder, actor: StackedMLP, agents: int) -> Tensor:
    """[K] mean reward in EUR per day of K greedy actors on all days of `feeder`."""
    state = feeder.reset(torch.arange(len(feeder.days)).repeat(agents))
    total = torch.zeros(len(state.day), dtype=feeder.dtype)
    for _ in range(feeder.steps):
        seen = feeder.observe(state)
        action = actor(seen.view(agents, -1, seen.shape[1])).flatten(0, 1)
        state, reward, _ = feeder.step(state, action)
        total += reward
    return total.view(agents, -1).mean(1)
