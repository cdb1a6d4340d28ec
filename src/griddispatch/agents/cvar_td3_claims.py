"""Three claims of the source, measured: time of an update, memory, and what its penalty can do.

The published penalty lambda (CVaR - mean) of past costs enters the reward. What it does to a policy
is the gradient of its sum over a day, through the simulator, in the policy's parameters:

- costs of the past as plain numbers, as in a replay memory: exactly zero, whichever index is taken;
- with the present cost among them: not zero, about lambda (1 / (0.05 n) - 1 / n) of a cost's own;
- the window moves through the day and its costs keep their gradient: not zero either. Later
  penalties do depend on earlier actions; a learner that stores rewards cannot see it, as neither
  its state nor its critic knows the window.
"""

from time import perf_counter
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from griddispatch.agents.cvar_td3 import TD3, bytes_each
from griddispatch.agents.cvar_td3_config import CVaRTD3Config
from griddispatch.agents.microgrid_policy import StackedPolicy
from griddispatch.envs.microgrid import ACTIONS, Microgrid
from griddispatch.envs.microgrid_observation import published_observation
from griddispatch.envs.microgrid_reward import Index, PublishedReward
from griddispatch.errors import InputError

Window = Literal["past", "present", "through"]


class Timing(NamedTuple):
    """Milliseconds of an update, and of a step of one day with its decision; on this machine."""

    update_ms: float
    step_ms: float


def milliseconds(env: Microgrid, config: CVaRTD3Config, repeats: int = 200) -> Timing:
    """Median over updates and steps of one agent, with as many threads as torch has now.

    Raises
    ------
    InputError
        repeats is below 1.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; give 1 or more")
    learner = TD3(config, env, [0])
    parts = [torch.rand(1, config.batch, width) for width in learner.memory.widths]
    learner.memory.add(*parts)
    updates, steps = [], []
    state = env.reset(torch.zeros(1, dtype=torch.int64))
    so_far = torch.zeros(1)
    for _ in range(repeats):
        start = perf_counter()
        learner.update()
        updates.append(perf_counter() - start)
        if state.t == env.steps:
            state = env.reset(torch.zeros(1, dtype=torch.int64))
        start = perf_counter()
        with torch.no_grad():
            answer = learner.policy(learner.policy.seen(env, state, so_far))
            state, _, _ = env.step(state, learner.policy.setpoint(env, state, answer))
        steps.append(perf_counter() - start)
    middle = repeats // 2
    return Timing(1000 * sorted(updates)[middle], 1000 * sorted(steps)[middle])


def memory_bytes(transitions: int, env: Microgrid, config: CVaRTD3Config) -> int:
    """Bytes of a replay memory of so many transitions; the source says 100 MB for a million."""
    return transitions * bytes_each(env, config)


def published_bytes(transitions: int, env: Microgrid) -> int:
    """The same of published transitions: state, action, reward, next state, end; all float32."""
    state = published_observation(env, env.reset()).shape[1]
    return 4 * transitions * (2 * state + ACTIONS + 2)


def penalty_gradient(
    env: Microgrid,
    policy: StackedPolicy,
    past: Tensor,
    *,
    window: Window = "past",
    index: Index = "fixed",
    weight: float = 0.3,
) -> float:
    """Norm of the gradient of the day's published penalties in the parameters of one policy.

    Parameters
    ----------
    env
        Every day of it is played once.
    policy
        K = 1.
    past
        [n] EUR, costs of n steps before the day.
    window
        Which costs the penalty of a step is of: the n "past" ones as plain numbers; these and the
        "present" one; the past ones with their gradient "through" the day. The window moves on.
    index, weight
        As of `PublishedReward`.

    Raises
    ------
    InputError
        There are no past costs, or the window is unknown.
    """
    if past.ndim != 1 or not len(past):
        raise InputError(f"past has shape {tuple(past.shape)}; give [n] costs, n of 1 or more")
    if window not in ("past", "present", "through"):
        raise InputError(f"window {window!r} must be 'past', 'present' or 'through'")
    present = window == "present"
    paid = PublishedReward(weight, index=index, with_present=present)
    unpenalised = PublishedReward(0.0, index=index, with_present=present)
    state = env.reset()
    known = past.to(env.dtype).expand(len(state.day), -1)
    so_far, total = torch.zeros_like(state.energy_kwh), torch.zeros((), dtype=env.dtype)
    while state.t < env.steps:
        answer = policy(policy.seen(env, state, so_far))
        state, reward, outcome = env.step(state, policy.setpoint(env, state, answer))
        total = total + (unpenalised(outcome, known) - paid(outcome, known)).mean()
        so_far = so_far - reward
        cost = outcome.cost if window == "through" else outcome.cost.detach()
        known = torch.cat([known, cost[:, None]], 1)[:, -len(past) :]
    found = torch.autograd.grad(total, list(policy.actor.parameters()))
    return float(torch.stack([g.square().sum() for g in found]).sum().sqrt())
