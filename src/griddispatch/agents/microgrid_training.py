"""The record of a training on the microgrid: its curve, and its best policies."""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.microgrid_policy import MicrogridActor, StackedPolicy
from griddispatch.envs.microgrid import Microgrid
from griddispatch.learning.networks import Snapshot, keep_best
from griddispatch.learning.training import Progress, Training
from griddispatch.risk_measures import cvar, risk_objective


class Greedy(NamedTuple):
    """[K, D] cost in EUR and violations of K greedy policies on D days."""

    cost: Tensor
    violations: Tensor


@torch.no_grad()
def greedy(env: Microgrid, policy: StackedPolicy) -> Greedy:
    """Let K policies play all days of an environment."""
    agents = len(policy.eta)
    state = env.reset(torch.arange(len(env.days), device=env.device).repeat(agents))
    total = torch.zeros_like(state.energy_kwh)
    broken = torch.zeros_like(total)
    while state.t < env.steps:
        answer = policy(policy.seen(env, state, total))
        state, reward, outcome = env.step(state, policy.setpoint(env, state, answer))
        total, broken = total - reward, broken + outcome.violations
    return Greedy(total.view(agents, -1), broken.view(agents, -1))


@dataclass
class Recorder:
    """Keeps the curve and, by J on validation days, the best policies of K agents.

    The curve has the columns seed, update, episodes (per agent, so far), seconds; and of the greedy
    policy on validation days mean, cvar and objective J in EUR/day, violations per day.

    Attributes
    ----------
    policy, seeds
        What is trained.
    validation
        Days on which the greedy policies are tried.
    weight
        Of the CVaR in J by which the best policy is chosen.
    alpha
        Its confidence.
    progress
        Called with one line at each record.
    """

    policy: StackedPolicy
    seeds: Sequence[int]
    validation: Microgrid
    weight: float
    alpha: float
    progress: Progress
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.best: Snapshot | None = None

    def record(self, update: int, episodes: int) -> None:
        """Write a record; `update` updates and `episodes` days per agent are done."""
        tried = greedy(self.validation, self.policy)
        costs = tried.cost.double().cpu().numpy()
        objective = risk_objective(costs, self.weight, self.alpha)
        tails = cvar(costs, self.alpha)
        self.best = keep_best(self.best, -torch.as_tensor(objective), self.policy)
        seconds = time.perf_counter() - self.started
        for k, seed in enumerate(self.seeds):
            self.rows.append(
                {
                    "seed": seed,
                    "update": update,
                    "episodes": episodes,
                    "seconds": seconds,
                    "mean": float(costs[k].mean()),
                    "cvar": float(tails[k]),
                    "objective": float(objective[k]),
                    "violations": float(tried.violations[k].mean()),
                }
            )
        self.progress(
            f"update {update}: validation J {objective.mean():.1f}, mean {costs.mean():.1f}, "
            f"CVaR {tails.mean():.1f} EUR/day"
        )

    def training(self, updates: int, memory_bytes: int = 0) -> Training[MicrogridActor]:
        """The result, with the best policies."""
        policy = deepcopy(self.policy)
        if self.best is not None:
            policy.load_state_dict(self.best.parameters)
        return Training(
            [policy.agent(k) for k in range(len(self.seeds))],
            pd.DataFrame(self.rows),
            time.perf_counter() - self.started,
            updates,
            memory_bytes,
        )
