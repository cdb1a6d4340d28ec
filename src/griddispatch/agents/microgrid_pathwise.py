"""Risk-averse dispatch of the microgrid by gradients through the simulator (method C).

Costs are differentiable in the powers of battery and CHP, but not in the CHP's status: that is a
yes or no. With q(tau | day) the probability of starting the CHP at tau, or never, and C(day, tau)
the cost of that day, the objective of Rockafellar and Uryasev (2000) is

    J = E_day sum_tau q(tau | day) f(C(day, tau)) + w eta
    f(C) = (1 - w) C + w / (1 - alpha) (C - eta)+

eta is the alpha-quantile of the policy's own recent costs, which minimises J over eta. The gradient
in the powers is exact. There are two ways to learn when to start:

- "enumerated": now and then every tau is played on a batch of days: in each start hour a copy of
  every day in which the CHP is off is started, and both go on. A second network, the judge, learns
  from the last surveys by regression what starting now saves, f(waiting and then doing as it says)
  - f(starting now): policy iteration with rollouts (Lagoudakis and Parr, 2003). The powers are
  trained on days whose start is drawn from the judge's savings, softened by a temperature, and on a
  share of days whose start is drawn blindly.
- "sampled": the policy's third number is the logit of the probability. Several siblings of each day
  draw their tau; the score function has the mean of the other siblings as its baseline (Kool et
  al., "Buy 4 REINFORCE samples, get a baseline for free", 2019).

The greedy policy starts where that saves something, or is more probable than not. At w = 0 it is
risk-neutral. Following the gradient of J in q over every tau, without a judge, was tried and
dropped: the probabilities saturate within 50 updates, and every day is then treated alike.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from griddispatch.agents.microgrid_policy import MicrogridActor, PolicyConfig, StackedPolicy, clone
from griddispatch.agents.microgrid_rules import Numbers
from griddispatch.agents.microgrid_starts import (
    EveryStart,
    Sampled,
    branch_weights,
    play_every_start,
    play_sampled,
    quantile,
    saving_of,
    true_saving,
)
from griddispatch.agents.microgrid_training import Recorder
from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.errors import InputError
from griddispatch.learning.networks import StackedMLP, Streams
from griddispatch.learning.steps import cosine, descend, set_lr
from griddispatch.learning.training import Progress, Training, check_seeds


@dataclass(frozen=True)
class PathwiseConfig:
    """Settings of a training.

    Raises
    ------
    InputError
        A value is out of range, or the policy has no start hours.
    """

    start: Literal["enumerated", "sampled"] = "enumerated"
    """How it is learned when to start."""
    weight: float = 0.3
    """w, the weight of the CVaR (lambda)."""
    alpha: float = 0.95
    """Confidence of the CVaR."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Network, and the hours in which it may start the CHP."""
    updates: int = 200
    """Steps of Adam."""
    days: int = 128
    """Days per update and agent, drawn anew each time."""
    temperature: float = 5.0
    """EUR of saving at which a start is drawn e times as often as none."""
    blind: float = 0.2
    """Share of days whose start is drawn blindly."""
    survey_every: int = 10
    """Updates between two surveys."""
    survey_days: int = 256
    """Days of a survey."""
    surveys: int = 8
    """How many of the last surveys the judge learns from, and eta is the quantile of."""
    judge_updates: int = 8
    """Steps of the judge per update."""
    judge_days: int = 128
    """Surveyed days in each of them."""
    lr_judge: float = 5e-3
    """Learning rate of the judge, which decays in proportion to `lr`."""
    siblings: int = 8
    """Copies of each day with "sampled", which are counted among the days."""
    lr: float = 1e-2
    """Learning rate at the start; it decays to `lr_end` along a cosine."""
    lr_end: float = 3e-4
    """Learning rate at the end."""
    gradient_clip: float = 30.0
    """Largest norm of an agent's gradient, in EUR."""
    teacher: Numbers | None = None
    """Net-load rule that is imitated first (by the judge not); None: random weights."""
    clone_updates: int = 1500
    """Steps of that imitation."""

    def __post_init__(self) -> None:
        counts = (
            self.updates,
            self.days,
            self.siblings,
            self.survey_every,
            self.survey_days,
            self.surveys,
            self.judge_days,
        )
        if min(counts) < 1 or not 0 <= self.weight <= 1 or not 0 < self.alpha < 1:
            raise InputError(
                "pathwise: needs updates, days, siblings, survey_every, survey_days, surveys and "
                "judge_days of 1 or more, weight in [0, 1] and alpha in (0, 1); they are "
                f"{counts}, {self.weight}, {self.alpha}"
            )
        if self.start not in ("enumerated", "sampled") or self.policy.start_hours is None:
            raise InputError(
                f"pathwise: start {self.start!r} must be 'enumerated' or 'sampled', and the policy "
                "needs start_hours"
            )
        if self.start == "sampled" and (self.siblings < 2 or self.days % self.siblings):
            raise InputError(
                f"pathwise: siblings is {self.siblings}; give 2 or more, a divisor of days "
                f"({self.days})"
            )


PRESETS = {
    "enumerated": PathwiseConfig(),
    "sampled": PathwiseConfig(start="sampled"),
}


class Learner:
    """Policies of K agents, and one update of them."""

    def __init__(self, config: PathwiseConfig, env: Microgrid, seeds: list[int]) -> None:
        c, self.config, self.env, self.agents = config, config, env, len(seeds)
        n, judge = env.n_observations, None
        if c.start == "enumerated":
            sizes = (n + c.policy.sees_cost + 2, *c.policy.hidden, 2)
            judge = StackedMLP(sizes, Streams(seeds, "judge"), c.policy.activation)
            self.judge_optimiser = torch.optim.Adam(judge.parameters(), lr=c.lr_judge)
        self.policy = StackedPolicy(c.policy, n, Streams(seeds, "weights"), judge)
        self.policy.standardise(env)
        if c.teacher is not None:
            clone(self.policy, env, c.teacher, seeds, c.clone_updates)
        self.optimiser = torch.optim.Adam(self.policy.actor.parameters(), lr=c.lr)
        self.pick, self.dice = Streams(seeds, "days"), Streams(seeds, "dice")
        self.surveys: deque[EveryStart] = deque(maxlen=c.surveys)
        self.costs: deque[Tensor] = deque(maxlen=c.surveys)
        self.updates = 0

    def update(self) -> None:
        """Follow the gradient of J on a batch of days; survey and teach the judge before."""
        c = self.config
        if c.start == "enumerated":
            if self.updates % c.survey_every == 0:
                self.survey()
            self.teach_judge()
        loss = self.loss_of_drawn_days()
        descend(loss[:, None, None], self.optimiser, c.gradient_clip)
        self.updates += 1

    def loss_of_drawn_days(self) -> Tensor:
        """[K] f, whose gradient in the powers, and if sampled in the start, is that of J."""
        c = self.config
        if c.start == "enumerated":
            day = self.pick.integers(len(self.env.days), c.days)
            state = self.env.reset(day.flatten())
            return self.f(self.play(state).cost).mean(1)
        day = self.pick.integers(len(self.env.days), c.days // c.siblings)
        state = self.env.reset(day.repeat_interleave(c.siblings, 1).flatten())
        played = self.play(state)
        self.costs.append(played.cost.detach())
        self.policy.eta.copy_(torch.cat(list(self.costs), 1).quantile(c.alpha, 1))
        f = self.f(played.cost)
        by_day = f.detach().view(self.agents, -1, c.siblings)
        others = (by_day.sum(2, keepdim=True) - by_day) / (c.siblings - 1)
        return (f + (by_day - others).flatten(1) * played.log_q).mean(1)

    def play(self, state: State) -> Sampled:
        """Days with drawn start times, in training."""
        c = self.config
        blind = c.blind if c.start == "enumerated" else 0.0
        return play_sampled(self.env, self.policy, state, self.dice, c.temperature, blind)

    def f(self, cost: Tensor) -> Tensor:
        """[K, ...] f of costs [K, ...] in EUR; see the module."""
        w, alpha = self.config.weight, self.config.alpha
        eta = self.policy.eta.view(-1, *[1] * (cost.ndim - 1))
        return (1 - w) * cost + w / (1 - alpha) * (cost - eta).clamp(min=0)

    @torch.no_grad()
    def survey(self) -> None:
        """Play every start time on a batch of days, and move eta."""
        day = self.pick.integers(len(self.env.days), self.config.survey_days)
        self.surveys.append(play_every_start(self.env, self.policy, self.env.reset(day.flatten())))
        cost, shown = self.surveyed()
        weight = branch_weights((saving_of(self.policy, shown) > 0).float())
        self.policy.eta.copy_(quantile(cost.flatten(1), weight.flatten(1), self.config.alpha))

    def surveyed(self) -> tuple[Tensor, Tensor]:
        """Cost [K, 1 + H, N] and what was shown [K, H, N, .] of all surveys in the memory."""
        cost = torch.cat([s.cost for s in self.surveys], 2)
        return cost, torch.cat([s.shown for s in self.surveys], 2)

    def teach_judge(self) -> None:
        """Regression on surveyed days; what waiting leads to is judged by the present judge."""
        c, (cost, shown) = self.config, self.surveyed()
        which = torch.arange(self.agents)[:, None]
        f = self.f(cost)
        for _ in range(c.judge_updates):
            at = self.dice.integers(cost.shape[2], c.judge_days)
            some = shown.transpose(1, 2)[which, at].transpose(1, 2)
            said = saving_of(self.policy, some)
            true = true_saving(f.transpose(1, 2)[which, at].transpose(1, 2), said.detach() > 0)
            error = (said - true / c.policy.scale).square().flatten(1)
            descend(error[..., None], self.judge_optimiser, None)


def train(
    env: Microgrid,
    config: PathwiseConfig,
    seeds: list[int],
    validation: Microgrid | None = None,
    *,
    records: int = 10,
    progress: Progress = lambda line: None,
) -> Training[MicrogridActor]:
    """Train one agent per seed.

    Parameters
    ----------
    env
        Training days.
    config
        Settings; see `PRESETS`.
    seeds
        One agent each. An agent's result does not depend on the others.
    validation
        Days on which the policies are tried and the best one is chosen; None: the training days.
    records
        Points on the curve, besides the start.
    progress
        Called with one line at each record.

    Raises
    ------
    InputError
        The seeds are none, negative or twice the same.
    """
    check_seeds(seeds)
    learner = Learner(config, env, seeds)
    recorder = Recorder(
        learner.policy, seeds, validation or env, config.weight, config.alpha, progress
    )
    every = max(1, config.updates // records)
    recorder.record(0, 0)
    for done in range(1, config.updates + 1):
        part = (done - 1) / config.updates
        rate = cosine(config.lr, config.lr_end, part)
        set_lr([learner.optimiser], rate)
        if config.start == "enumerated":
            set_lr([learner.judge_optimiser], config.lr_judge * rate / config.lr)
        learner.update()
        if done % every == 0 or done == config.updates:
            recorder.record(done, done * config.days)
    return recorder.training(config.updates)
