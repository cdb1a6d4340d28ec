"""What every learner shares: the paid reward, the start of an episode, the record of a training.

Two changes of the reward are offered to learners; neither changes which policy is best.

- The penalty that no battery can be blamed for, `feeder.idle_penalty`, is given back. It depends
  on no action.
- Stored energy gets a value: with potential Phi(s) = mean training price * stored energy the reward
  becomes r + Phi(s') - Phi(s), and Phi = 0 after the last step (Ng et al., 1999, "Policy invariance
  under reward transformations"). Selling at the mean price is then worth nothing, and a charge is
  judged at once instead of hours later.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from griddispatch.assets.storage import energy_kwh
from griddispatch.envs.feeder import Feeder, Outcome, State
from griddispatch.learning.networks import Snapshot, StackedMLP, Streams, keep_best
from griddispatch.learning.training import Progress, Training


class Policy(Protocol):
    """What `evaluate` can run: actions in [-1, 1] for a batch of states."""

    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] actions at the states [B]."""
        ...


@dataclass(frozen=True)
class Actor:
    """A trained deterministic policy: the actor network of one agent, on the CPU.

    A batch of states at test time is too small for a graphics processor to be worth its while.
    """

    network: StackedMLP

    @classmethod
    def load(cls, saved: dict[str, Any]) -> "Actor":
        """The policy that `saved` was made of."""
        parameters = saved["parameters"]
        weights = [p for name, p in parameters.items() if name.startswith("weights")]
        sizes = (*(w.shape[1] for w in weights), weights[-1].shape[2])
        network = StackedMLP(sizes, Streams([0]), saved["activation"], torch.tanh)
        network.load_state_dict(parameters)
        return cls(network)

    @property
    def saved(self) -> dict[str, Any]:
        """What `load` takes: tensors, and the name of the activation."""
        return {"activation": self.network.activation, "parameters": self.network.agent(0)}

    @torch.no_grad()
    def act(self, feeder: Feeder, state: State) -> Tensor:
        """[B, M] actions at the states [B]."""
        return self.network(feeder.observe(state).cpu()[None])[0]


def stored_values(feeder: Feeder, state: State) -> Tensor:
    """[B, M] Phi of each battery in EUR: energy above its lower limit at the mean training price.

    After the day it is 0.
    """
    k = feeder.storage.limits(state.soc)
    energy = (state.soc - k.soc_min) * k.capacity_kwh * k.eta_discharge
    return energy * feeder.scale.price_mean / 1000 * (state.t < feeder.steps)[:, None]


def stored_value(feeder: Feeder, state: State) -> Tensor:
    """[B] Phi in EUR of all batteries together."""
    return stored_values(feeder, state).sum(-1)


def shaped_reward(feeder: Feeder, outcome: Outcome, after: State, reward: Tensor) -> Tensor:
    """[B] reward with the idle penalty given back and stored energy valued; see the module."""
    before = outcome.state
    idle = feeder.idle_penalty[before.day, before.t]
    return reward + idle + stored_value(feeder, after) - stored_value(feeder, before)


def battery_rewards(
    feeder: Feeder, outcome: Outcome, after: State, paid: Tensor, shaping: bool
) -> Tensor:
    """[B, M] what each battery answers for: `paid` [B] without the trades of the others, in EUR.

    A trade is a battery's profit and, with `shaping`, the change in the value of what it stores.
    The paid reward minus those of the others keeps everything that the battery has a part in.
    """
    energy = energy_kwh(outcome.power_kw, feeder.hours)
    trade = -outcome.price[:, None] / 1000 * energy
    if shaping:
        trade = trade + stored_values(feeder, after) - stored_values(feeder, outcome.state)
    return paid[:, None] - trade.sum(1, keepdim=True) + trade


def random_start(feeder: Feeder, streams: Streams, episodes: int, random_soc: bool) -> State:
    """Start of K * `episodes` days, drawn agent by agent; initial or uniformly random SOC."""
    day = streams.integers(len(feeder.days), episodes).flatten()
    if not random_soc:
        return feeder.reset(day)
    k = feeder.storage.limits(feeder.price)
    u = streams.uniform(episodes, feeder.n_actions).flatten(0, 1).to(feeder.price)
    return feeder.reset(day, k.soc_min + u * (k.soc_max - k.soc_min))


class Recorder:
    """What a training leaves behind: its curve, its best policies, its lines of progress.

    The curve has the columns seed, episode, and per episode reward, profit and penalty in EUR (what
    the environment pays, not what the learner is paid), averaged over the episodes since the last
    record; validation is the mean reward of the greedy policy on validation days.

    Parameters
    ----------
    actor
        The network that is being trained; its first `feeder.n_actions` outputs, through tanh, are
        the greedy policy.
    feeder, seeds
        Training days, and the seed of each agent.
    rounds, environments
        Number of rounds of the training, and days per agent in each.
    validation
        Days on which the greedy policy is tried at each record; None: it is not.
    records
        Points on the curve.
    keep_best
        Whether the policy that did best on the validation days is returned, not the last one.
    progress
        Called with one line at each record.
    """

    def __init__(
        self,
        actor: StackedMLP,
        feeder: Feeder,
        seeds: Sequence[int],
        *,
        rounds: int,
        environments: int,
        validation: Feeder | None,
        records: int,
        keep_best: bool,
        progress: Progress,
    ) -> None:
        self.actor, self.seeds, self.n_actions = actor, list(seeds), feeder.n_actions
        self.rounds, self.environments = rounds, environments
        self.validation, self.keep_best, self.progress = validation, keep_best, progress
        self.per_record = max(1, rounds // records)
        self.started = time.perf_counter()
        self.best: Snapshot | None = None
        self.rows: list[dict[str, float]] = []
        self._forget()

    def _forget(self) -> None:
        self._sums = torch.zeros(3, len(self.seeds), dtype=torch.float64, device="cpu")
        self._episodes = 0

    def add(self, reward: Tensor, outcome: Outcome) -> None:
        """Count what one step of K * E environments brought."""
        parts = torch.stack([reward, outcome.profit, outcome.penalty]).detach().double()
        self._sums += parts.view(3, len(self.seeds), -1).sum(2).cpu()

    def end_round(self, done: int) -> None:
        """Count one round of days; write a record if one is due. `done` rounds are over."""
        self._episodes += self.environments
        if done % self.per_record and done != self.rounds:
            return
        score = None
        if self.validation is not None:
            score = greedy_return(self.validation, self._greedy(), len(self.seeds))
            if self.keep_best:
                self.best = keep_best(self.best, score, self.actor)
        mean = self._sums / self._episodes
        for k, seed in enumerate(self.seeds):
            self.rows.append(
                {
                    "seed": seed,
                    "episode": done * self.environments,
                    "reward": float(mean[0, k]),
                    "profit": float(mean[1, k]),
                    "penalty": float(mean[2, k]),
                    "validation": float("nan") if score is None else float(score[k]),
                }
            )
        self._forget()
        days, of = done * self.environments, self.rounds * self.environments
        shown = "" if score is None else f", validation {score.mean():.2f} EUR/day"
        self.progress(f"day {days} of {of}{shown}")

    def training(self, updates: int, memory_bytes: int = 0) -> Training[Actor]:
        """The result, with the best or the last policies."""
        if self.best is not None:
            self.actor.load_state_dict(self.best.parameters)
        greedy = self._greedy()
        policies = [
            Actor.load({"activation": greedy.activation, "parameters": greedy.agent(k)})
            for k in range(len(self.seeds))
        ]
        seconds = time.perf_counter() - self.started
        return Training(policies, pd.DataFrame(self.rows), seconds, updates, memory_bytes)

    def _greedy(self) -> StackedMLP:
        return self.actor.head(self.n_actions, torch.tanh)


@torch.no_grad()
def greedy_return(feeder: Feeder, actor: StackedMLP, agents: int) -> Tensor:
    """[K] mean reward in EUR per day of K greedy actors on all days of `feeder`."""
    state = feeder.reset(torch.arange(len(feeder.days), device=feeder.device).repeat(agents))
    total = torch.zeros_like(feeder.price[state.day, state.t])
    for _ in range(feeder.steps):
        seen = feeder.observe(state)
        action = actor(seen.view(agents, -1, seen.shape[1])).flatten(0, 1)
        state, reward, _ = feeder.step(state, action)
        total += reward
    return total.view(agents, -1).mean(1)
