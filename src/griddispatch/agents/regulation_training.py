"""What the learners of frequency regulation share: windows of play, the record of a training."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.regulation_networks import D, Policy
from griddispatch.assets.regulation_resources import SUBSTEPS
from griddispatch.envs.regulation import TOLERANCE, Outcome, Regulation, State
from griddispatch.learning.networks import Snapshot, Streams, keep_best
from griddispatch.learning.training import Progress, Training

AHEAD = 16  # decisions for which a critic sees the signal


def detached(state: State) -> State:
    """The same state without the graph that led to it."""
    return State(
        state.hour,
        state.t,
        state.line.detach(),
        state.setpoint.detach(),
        state.energy.detach(),
    )


def carry_out(
    env: Regulation, state: State, setpoint: Tensor, limits: tuple[Tensor, Tensor]
) -> tuple[State, Tensor, Outcome]:
    """`env.step`, with the limits that the policy has asked for if they are the true ones."""
    return env.step(state, setpoint, limits if env.believed is env.fleet else None)


def next_hours(
    env: Regulation, state: State | None, streams: Streams, hours: int, siblings: int = 1
) -> State:
    """Where play goes on: at the given state, or at new hours if there is none or it has ended.

    With `siblings`, each hour drawn stands that many times side by side.
    """
    if state is not None and state.t < env.steps:
        return state
    drawn = streams.integers(len(env.hours), hours // siblings).flatten()
    return env.reset(drawn.repeat_interleave(siblings))


def signal_ahead(env: Regulation, state: State, agents: int) -> Tensor:
    """[K, B, AHEAD] the signal in 4, 8 .. 64 s for the critics of K agents."""
    ahead = env.table(_signal_ahead)[state.t].index_select(0, state.hour)
    return ahead.view(agents, -1, AHEAD)


def _signal_ahead(env: Regulation) -> Tensor:
    """[T, H, AHEAD]; where the signal is not known any more, its last value."""
    last = env.signal.shape[1] - 1
    at = SUBSTEPS * torch.arange(env.steps)[:, None] + SUBSTEPS * torch.arange(1, AHEAD + 1)
    return env.signal[:, at.clamp(max=last)].transpose(0, 1)


def fined(env: Regulation, reward: Tensor, outcome: Outcome, penalty: float) -> Tensor:
    """[B] reward, less the penalty for what lay outside the limits.

    A MW outside costs `penalty` times what a MW of tracking error costs.
    """
    return reward - penalty / env.capacity_mw * outcome.excess.sum(1)


def violations(env: Regulation, outcome: Outcome) -> Tensor:
    """[B] share of set-points outside their intervals, as `judge` counts them."""
    return (outcome.excess > TOLERANCE * 2 * env.constants.power).to(env.dtype).mean(1)


@dataclass
class Recorder(Generic[D]):
    """Keeps the curve and the best policies of K agents.

    The curve has the columns seed, update, decisions (per agent, so far), seconds; objective J and
    violations (per 1000 set-points, before any clipping) of training since the last record;
    validation and validation_violations, the same of the greedy policy on validation hours.

    Attributes
    ----------
    env, validation
        Training hours; hours on which the greedy policies are tried at each record.
    policy
        What is trained.
    seeds
        One per agent.
    every
        Updates of the policy between two records.
    best
        Whether the policies that did best on validation hours are returned, not the last ones.
    progress
        Called with one line at each record.
    """

    env: Regulation
    validation: Regulation | None
    policy: Policy[D]
    seeds: Sequence[int]
    every: int
    best: bool
    progress: Progress
    rows: list[dict[str, float]] = field(default_factory=list)
    decisions: int = 0

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.snapshot: Snapshot | None = None
        self._forget()

    def _forget(self) -> None:
        self._sums = torch.zeros(2, len(self.seeds), dtype=torch.float64)
        self._steps = 0

    def add(self, reward: Tensor, outcome: Outcome) -> None:
        """Count a step [K * B]."""
        parts = torch.stack([reward.detach(), violations(self.env, outcome)])
        self._sums += parts.view(2, len(self.seeds), -1).mean(2).cpu()
        self._steps += 1
        self.decisions += len(reward) // len(self.seeds)

    def end_update(self, update: int, last: bool) -> None:
        """Write a record if one is due; `update` updates are done."""
        if update % self.every and not last:
            return
        score = torch.full((2, len(self.seeds)), torch.nan)
        if self.validation is not None:
            score = greedy_score(self.validation, self.policy, len(self.seeds))
            if self.best:
                self.snapshot = keep_best(self.snapshot, -score[0], self.policy)
        seen = self._sums / max(1, self._steps)
        for k, seed in enumerate(self.seeds):
            self.rows.append(
                {
                    "seed": seed,
                    "update": update,
                    "decisions": self.decisions,
                    "seconds": time.perf_counter() - self.started,
                    "objective": -float(seen[0, k]),
                    "violations": 1000 * float(seen[1, k]),
                    "validation": float(score[0, k]),
                    "validation_violations": float(score[1, k]),
                }
            )
        self._forget()
        self.progress(
            f"update {update}: J {-seen[0].mean():.4f}, validation {score[0].mean():.4f}, "
            f"{score[1].mean():.0f} violations in 1000"
        )

    def training(self, updates: int) -> Training[D]:
        """The result."""
        if self.snapshot is not None:
            self.policy.load_state_dict(self.snapshot.parameters)
        return Training(
            [self.policy.agent(k) for k in range(len(self.seeds))],
            pd.DataFrame(self.rows),
            time.perf_counter() - self.started,
            updates,
        )


@torch.no_grad()
def greedy_score(env: Regulation, policy: Policy[D], agents: int) -> Tensor:
    """[2, K] mean J, and violations per 1000, of K greedy policies on all hours of `env`."""
    state = env.reset(torch.arange(len(env.hours), device=env.device).repeat(agents))
    total = torch.zeros(2, len(state.hour), dtype=torch.float64)
    while state.t < env.steps:
        state, reward, outcome = env.step(state, policy.decide(env, state).setpoint)
        total += torch.stack([-reward, 1000 * violations(env, outcome)]).cpu()
    return total.view(2, agents, -1).mean(2) / env.steps
