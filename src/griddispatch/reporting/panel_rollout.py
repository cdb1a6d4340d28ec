"""A day played fast enough for a panel: one power flow for all of its steps."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from griddispatch.agents.learning import Policy
from griddispatch.envs.feeder import Feeder, State
from griddispatch.evaluation.rollout import Rollout


@torch.no_grad()
def played(policy: Policy, feeder: Feeder) -> Rollout:
    """Play every day of `feeder` once, as `rollout` does, with one power flow for all steps.

    No policy sees a voltage, so the states of charge come first and the voltages afterwards.
    """
    days, steps = len(feeder.days), feeder.steps
    state, visited, actions = feeder.reset(), [], []
    for _ in range(steps):
        visited.append(state)
        actions.append(policy.act(feeder, state))
        power = feeder.power(state, actions[-1])
        soc = feeder.storage.step(state.soc, power, feeder.hours)
        state = State(state.day, state.t + 1, soc)
    every = State(*(torch.cat(part) for part in zip(*visited, strict=True)))
    _, reward, outcome = feeder.step(every, torch.cat(actions))

    def by_day(part: Tensor) -> Tensor:
        return part.unflatten(0, (steps, days)).transpose(0, 1)

    return Rollout(
        power_kw=by_day(outcome.power_kw),
        soc=torch.stack([*(s.soc for s in visited), state.soc], 1),
        magnitude=by_day(outcome.magnitude),
        reward=by_day(reward),
        profit=by_day(outcome.profit),
        penalty=by_day(outcome.penalty),
        wear=by_day(outcome.wear),
    )


def voltages(everywhere: Feeder, run: Rollout) -> NDArray[np.float64]:
    """[S, N] voltages of all nodes in p.u. under the powers of a run of one day."""
    steps = torch.arange(everywhere.steps)
    state = State(torch.zeros_like(steps), steps, run.soc[0, :-1])
    action = run.power_kw[0] / everywhere.storage.limits(everywhere.price).power_kw
    return everywhere.step(state, action)[2].magnitude.numpy()
