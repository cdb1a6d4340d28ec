"""Start times of the microgrid's CHP in training: all of them played, or one drawn per day.

Both leave the gradient in the powers of battery and CHP intact; `microgrid_pathwise` uses them.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from griddispatch.agents.microgrid_policy import StackedPolicy, start_steps
from griddispatch.envs.microgrid import Microgrid, State
from griddispatch.learning.networks import Streams


class EveryStart(NamedTuple):
    """E days of K agents, each with every one of H start times; branch 0: never.

    cost [K, 1 + H, E] in EUR; what the judge is shown in each start hour, [K, H, E, .].
    """

    cost: Tensor
    shown: Tensor


def play_every_start(env: Microgrid, policy: StackedPolicy, state: State) -> EveryStart:
    """Play every start time of the days of `state`, [K * E] at step 0, and none."""
    agents = len(policy.eta)
    days = len(state.day) // agents
    starts = start_steps(env, policy.config)
    total = torch.zeros_like(state.energy_kwh)
    shown = []
    while state.t < env.steps:
        seen = policy.seen(env, state, total)
        answer = policy.actor(seen).tanh()
        if state.t in starts:
            shown.append(torch.cat([seen, answer[..., :2]], 2)[:, :days].detach())
            state = State(
                day=_fork(state.day, agents, days),
                t=state.t,
                energy_kwh=_fork(state.energy_kwh, agents, days),
                battery_kw=_fork(state.battery_kw, agents, days),
                chp_kw=_fork(state.chp_kw, agents, days),
                on=_fork(state.on, agents, days),
                held=_fork(state.held, agents, days),
            )
            total = _fork(total, agents, days)
            answer = torch.cat([answer, answer[:, :days]], 1)
        on = torch.ones_like(answer[..., 2]).index_fill(1, torch.arange(days), -1)
        answer = torch.cat([answer[..., :2], on[..., None]], 2)
        state, reward, _ = env.step(state, policy.setpoint(env, state, answer))
        total = total - reward
    return EveryStart(total.view(agents, -1, days), torch.stack(shown, 1))


def _fork(x: Tensor, agents: int, days: int) -> Tensor:
    """Rows [K * B] with the first `days` of each agent once more behind its others."""
    rows = x.view(agents, -1)
    return torch.cat([rows, rows[:, :days]], 1).flatten()


def saving_of(policy: StackedPolicy, shown: Tensor) -> Tensor:
    """[K, ...] what the judge says a start saves, in units of the policy's scale.

    It is shown [K, ..., .].
    """
    off, on = policy.value(shown.flatten(1, -2)).unbind(2)
    return (on - off).view(shown.shape[:-1])


def branch_weights(start: Tensor) -> Tensor:
    """[K, 1 + H, E] probability of each branch, for those [K, H, E] of a start while off."""
    stay = torch.cumprod(1 - start, 1)
    before = torch.cat([torch.ones_like(stay[:, :1]), stay[:, :-1]], 1)
    return torch.cat([stay[:, -1:], before * start], 1)


def true_saving(f: Tensor, start: Tensor) -> Tensor:
    """[K, H, E] f of waiting, and then starting where `start` says so, less f of starting now."""
    wait, found = f[:, 0], []
    for h in reversed(range(start.shape[1])):
        now = f[:, h + 1]
        found.append(wait - now)
        wait = torch.where(start[:, h], now, wait)
    return torch.stack(found[::-1], 1)


class Sampled(NamedTuple):
    """Days of K agents: cost [K, B] in EUR, log of the probability of what was drawn [K, B]."""

    cost: Tensor
    log_q: Tensor


def play_sampled(
    env: Microgrid,
    policy: StackedPolicy,
    state: State,
    dice: Streams,
    temperature: float,
    blind: float = 0.0,
) -> Sampled:
    """Play days of [K * B] rows at step 0, each with a start time that is drawn.

    The logit is the saving that the judge sees over the temperature in EUR; without a judge, the
    third number of the actor. On a share `blind` of days every start time, and none, is as likely.
    """
    agents = len(policy.eta)
    starts = sorted(start_steps(env, policy.config))
    width = len(state.day) // agents
    chosen = dice.integers(len(starts) + 1, width)
    led = dice.uniform(width) < blind
    total = torch.zeros_like(state.energy_kwh)
    log_q = total.view(agents, -1)
    while state.t < env.steps:
        seen = policy.seen(env, state, total)
        answer = policy.actor(seen)
        logit, status = answer[..., 2], torch.full_like(answer[..., 2], -1)
        answer = answer[..., :2].tanh()
        if state.t in starts:
            if policy.judge is not None:
                shown = torch.cat([seen, answer], 2).detach()
                logit = saving_of(policy, shown).detach() * (policy.config.scale / temperature)
            start = dice.uniform(width) < logit.sigmoid()
            start = torch.where(led, chosen == starts.index(state.t), start)
            status = torch.where(start, 1.0, -1.0)
            off = ~state.on.view(agents, -1)
            log_q = log_q + off * logsigmoid(status * logit)
        setpoint = policy.setpoint(env, state, torch.cat([answer, status[..., None]], 2))
        state, reward, _ = env.step(state, setpoint)
        total = total - reward
    return Sampled(total.view(agents, -1), log_q)


def quantile(cost: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """[K] alpha-quantile of costs [K, N] with weights [K, N]."""
    ordered, at = cost.sort(1)
    share = weight.gather(1, at).cumsum(1)
    place = (share < alpha * share[:, -1:]).sum(1, keepdim=True).clamp(max=cost.shape[1] - 1)
    return ordered.gather(1, place)[:, 0]
