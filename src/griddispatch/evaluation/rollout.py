"""Run policies on days: every policy on the same days, every figure from the same table."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from griddispatch.agents.learning import Policy
from griddispatch.assets.storage import energy_kwh
from griddispatch.envs.feeder import VOLTAGE_BAND, Feeder


@dataclass(frozen=True)
class Rollout:
    """One policy on all D days of a feeder.

    power_kw [D, S, M] (+ = charging), soc [D, S + 1, M], magnitude [D, S, K] in p.u. at the nodes
    in the voltage scope; reward, profit, penalty, wear [D, S] in EUR.
    """

    power_kw: Tensor
    soc: Tensor
    magnitude: Tensor
    reward: Tensor
    profit: Tensor
    penalty: Tensor
    wear: Tensor


@torch.no_grad()
def rollout(policy: Policy, feeder: Feeder) -> Rollout:
    """Play every day of `feeder` once from its initial state of charge."""
    state = feeder.reset()
    soc, steps = [state.soc], []
    for _ in range(feeder.steps):
        state, reward, outcome = feeder.step(state, policy.act(feeder, state))
        soc.append(state.soc)
        steps.append((reward, outcome))
    outcomes = [outcome for _, outcome in steps]
    return Rollout(
        power_kw=torch.stack([o.power_kw for o in outcomes], 1),
        soc=torch.stack(soc, 1),
        magnitude=torch.stack([o.magnitude for o in outcomes], 1),
        reward=torch.stack([reward for reward, _ in steps], 1),
        profit=torch.stack([o.profit for o in outcomes], 1),
        penalty=torch.stack([o.penalty for o in outcomes], 1),
        wear=torch.stack([o.wear for o in outcomes], 1),
    )


def evaluate(policies: Mapping[str, Policy], feeder: Feeder) -> pd.DataFrame:
    """One row per policy and day: what the day brought.

    Returns
    -------
    DataFrame
        policy, date; reward, profit, penalty, wear in EUR/day; charged and discharged in kWh at
        the grid side; soc_end, the mean state of charge at midnight; v_min and v_max in p.u.;
        violations, the number of node-steps outside the voltage band.
    """
    return pd.concat(
        [_table(name, rollout(policy, feeder), feeder) for name, policy in policies.items()],
        ignore_index=True,
    )


def _table(name: str, run: Rollout, feeder: Feeder) -> pd.DataFrame:
    energy = energy_kwh(run.power_kw, feeder.hours)
    outside = (run.magnitude - 1).abs() > VOLTAGE_BAND
    columns = {
        "reward": run.reward.sum(1),
        "profit": run.profit.sum(1),
        "penalty": run.penalty.sum(1),
        "wear": run.wear.sum(1),
        "charged": energy.clamp(min=0).sum((1, 2)),
        "discharged": -energy.clamp(max=0).sum((1, 2)),
        "soc_end": run.soc[:, -1].mean(1),
        "v_min": run.magnitude.amin((1, 2)),
        "v_max": run.magnitude.amax((1, 2)),
        "violations": outside.sum((1, 2)),
    }
    values = {key: value.cpu().numpy() for key, value in columns.items()}
    return pd.DataFrame({"policy": name, "date": feeder.days.dates, **values})
