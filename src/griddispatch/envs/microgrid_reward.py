"""The published reward of the microgrid, with each of its defects behind a switch.

    reward = -cost - w violations - 0.1 |P_battery| / P_max - lambda (CVaR - mean) of past costs

- "inverted" index: the mean of the ascending costs from ceil((1 - alpha) n) on, which is that of
  the best 95 % left out and the rest kept; "fixed": the mean of the worst 5 %.
- The costs are those of past steps. What is past does not depend on the action, so the penalty
  shifts every action's reward by the same amount: its gradient is zero, whichever index is taken.
  `with_present` puts the present cost among them; the action then counts by about
  lambda (1 / (0.05 n) - 1 / n) where it is among the worst, and by -lambda / n elsewhere.
- The cost of the preset "as_published" is billed without the length of a step (`Plant`).
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from griddispatch.envs.microgrid import Outcome
from griddispatch.errors import InputError

Index = Literal["inverted", "fixed"]

_ROUNDING = 1e-9  # 0.05 * 1000 must count as 50


def tail_mean(costs: Tensor, alpha: float, index: Index) -> Tensor:
    """[...] mean of the ascending costs [..., n] from the index on."""
    n = costs.shape[-1]
    share = 1 - alpha if index == "inverted" else alpha
    first = min(ceil(share * n - _ROUNDING), n - 1)
    return costs.sort(-1).values[..., first:].mean(-1)


@dataclass(frozen=True)
class PublishedReward:
    """The published reward as a function of an outcome and of past costs.

    Attributes
    ----------
    risk_weight, alpha
        lambda, and the confidence of the CVaR.
    index
        "inverted" as published, or "fixed".
    with_present
        Whether the cost of the present step is among the costs of the penalty.
    violation_weight, battery_weight
        w, and the factor of |P_battery| / P_max.
    battery_kw
        P_max.

    Raises
    ------
    InputError
        A number is out of range, or the index is unknown.
    """

    risk_weight: float = 0.3
    alpha: float = 0.95
    index: Index = "inverted"
    with_present: bool = False
    violation_weight: float = 1.0
    battery_weight: float = 0.1
    battery_kw: float = 50.0

    def __post_init__(self) -> None:
        if self.index not in ("inverted", "fixed"):
            raise InputError(f"index {self.index!r} must be 'inverted' or 'fixed'")
        weights = (self.risk_weight, self.violation_weight, self.battery_weight)
        if not 0 < self.alpha < 1 or min(weights) < 0 or not self.battery_kw > 0:
            raise InputError(
                "published reward: needs alpha in (0, 1), weights not negative and battery_kw > 0; "
                f"they are {self.alpha}, {weights}, {self.battery_kw}"
            )

    def __call__(self, outcome: Outcome, past: Tensor) -> Tensor:
        """[B] reward in EUR.

        Parameters
        ----------
        outcome
            Of a step of B episodes.
        past
            [B, n] costs of n steps before; with n = 0 there is no penalty yet.
        """
        cost = outcome.cost
        reward = (
            -cost
            - self.violation_weight * outcome.violations
            - self.battery_weight * outcome.setpoint[:, 0].abs() / self.battery_kw
        )
        known = torch.cat([past, cost[:, None]], 1) if self.with_present else past
        if not known.shape[1]:
            return reward
        return reward - self.risk_weight * (
            tail_mean(known, self.alpha, self.index) - known.mean(1)
        )
