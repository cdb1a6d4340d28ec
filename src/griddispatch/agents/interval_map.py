"""The autoregressive interval map: set-points that keep all limits, whatever the policy says.

A target g is divided among the resources one after the other. With the feasible intervals [l_j,
h_j] of all resources and the set-points a_j of those that come before, resource i gets

    lo_i = max(l_i, g - sum_{j<i} a_j - sum_{j>i} h_j)
    hi_i = min(h_i, g - sum_{j<i} a_j - sum_{j>i} l_j)
    a_i  = lo_i + (hi_i - lo_i) y_i,   y_i in [0, 1] chosen by the policy

Proposition. If l <= h and sum l <= g <= sum h, then lo_i <= hi_i for all i, every a_i lies in
[l_i, h_i], and sum a = g. Proof: with r_i = g - sum_{j<i} a_j, the condition sum_{j>=i} l_j <= r_i
<= sum_{j>=i} h_j says that [lo_i, hi_i] is not empty, and a_i in [lo_i, hi_i] is exactly what makes
it hold for i + 1; the last interval is the single point r_N.

Two balances are offered.

- "setpoints": the proposition as it stands; set-points sum to g. What is delivered lags behind.
- "delivered": the last resource, which is fast, takes what is missing to g from the predicted
  output of the others, as far as its interval reaches. The others choose as above ("nested"), so
  that the set-points could sum to g, or each in its own [l_i, h_i]. The limits are kept all the
  same.

The idea of giving each component an interval in which the rest stays feasible is that of PASPO
(Winkel et al., "Autoregressive policy optimization for constrained allocation tasks", NeurIPS
2024), which knows neither ramps nor stored energy nor lags.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.assets.regulation_resources import SUBSTEPS
from griddispatch.envs.regulation import Regulation, State
from griddispatch.errors import InputError

Balance = Literal["delivered", "setpoints"]


class Division(NamedTuple):
    """One target being divided among R resources, in the order of the map.

    low, high [..., R] are the feasible intervals in that order, rest_low, rest_high [..., R] the
    sums over the resources that come after, target [...] the g of the balance, output [..., R] the
    predicted output.
    """

    low: Tensor
    high: Tensor
    rest_low: Tensor
    rest_high: Tensor
    target: Tensor
    output: Tensor


@dataclass(frozen=True)
class IntervalMap:
    """The map for a fleet of R resources.

    Attributes
    ----------
    order
        Places of the resources in the fleet, the first to choose first; slow to fast as a rule.
    balance, nested
        See the module's text; the balance "setpoints" is always nested.
    immediate
        Places of resources whose dead time is below 4 s: their set-point is their predicted output.

    Raises
    ------
    InputError
        The order is no permutation, or the balance is unknown.
    """

    order: tuple[int, ...]
    balance: Balance = "delivered"
    nested: bool = True
    immediate: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))) or not self.order:
            raise InputError(f"order {self.order} must name each resource once, from 0 on")
        if self.balance not in ("delivered", "setpoints"):
            raise InputError(f"balance {self.balance!r} must be 'delivered' or 'setpoints'")
        if self.balance == "setpoints" and not self.nested:
            raise InputError("the balance 'setpoints' holds only with nested intervals")

    @classmethod
    def of(
        cls,
        env: Regulation,
        balance: Balance = "delivered",
        *,
        nested: bool = True,
        order: tuple[int, ...] | None = None,
    ) -> "IntervalMap":
        """The map for an environment, in the order of its fleet unless another is given."""
        dead = env.believed.dead_steps
        immediate = tuple(i for i, d in enumerate(dead) if d < SUBSTEPS)
        return cls(order or tuple(range(env.n_actions)), balance, nested, immediate)

    def divide(self, low: Tensor, high: Tensor, target: Tensor, output: Tensor) -> Division:
        """Prepare a division.

        Parameters
        ----------
        low, high
            [..., R] feasible intervals in the order of the fleet.
        target
            [...] MW. With the balance "setpoints" it is put into [sum low, sum high].
        output
            [..., R] predicted output of the resources for the coming 4 s.
        """
        if self.order != tuple(range(len(self.order))):
            at = torch.tensor(self.order, device=low.device)
            low, high, output = (v.index_select(-1, at) for v in (low, high, output))
        below, above = low.sum(-1, keepdim=True), high.sum(-1, keepdim=True)
        if self.balance == "setpoints":
            target = within(target, below[..., 0], above[..., 0])
        rest_low, rest_high = below - low.cumsum(-1), above - high.cumsum(-1)
        return Division(low, high, rest_low, rest_high, target, output)

    def interval(
        self, i: int, division: Division, placed: Tensor | float, arriving: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """[...] lo_i and hi_i of the i-th resource in order; the last one's is a point.

        `placed` [...] is the sum of the set-points before, `arriving` [...] that of their predicted
        outputs (`output`); both are 0 for the first.
        """
        low, high = division.low[..., i], division.high[..., i]
        if i == len(self.order) - 1:
            sum_before = placed if self.balance == "setpoints" else arriving
            point = within(division.target - sum_before, low, high)
            return point, point
        if not self.nested:
            return low, high
        left = division.target - placed
        lo = torch.maximum(low, left - division.rest_high[..., i])
        hi = torch.minimum(high, left - division.rest_low[..., i])
        # A target beyond the reach of all, or the rounding of the sums: stay inside [low, high].
        lo = torch.minimum(lo, high)
        return lo, torch.maximum(hi, lo)

    def output(self, i: int, division: Division, setpoint: Tensor) -> Tensor:
        """[...] predicted output of the i-th resource in order, once it has its set-point [...]."""
        return setpoint if self.order[i] in self.immediate else division.output[..., i]

    def setpoints(self, division: Division, y: Tensor) -> Tensor:
        """[..., R] set-points in the order of the fleet for fractions y [..., R - 1] in [0, 1].

        Every set-point lies in its feasible interval exactly: `place` ends with a clamp.
        """
        last, chosen = len(self.order) - 1, []
        placed: Tensor | float = 0.0
        arriving: Tensor | float = 0.0
        for i in range(last + 1):
            lo, hi = self.interval(i, division, placed, arriving)
            chosen.append(place(lo, hi, y[..., i]) if i < last else lo)
            placed = placed + chosen[i]
            arriving = arriving + self.output(i, division, chosen[i])
        return self.in_fleet_order(chosen)

    def in_fleet_order(self, chosen: list[Tensor]) -> Tensor:
        """[..., R] the set-points [...] that were chosen in the order of the map."""
        places = sorted(range(len(self.order)), key=lambda i: self.order[i])
        return torch.stack([chosen[i] for i in places], -1)

    def act(self, env: Regulation, state: State, y: Tensor, delta: Tensor | float = 0.0) -> Tensor:
        """[B, R] set-points at a state for fractions y [B, R - 1] and a correction delta in MW."""
        low, high = env.feasible_interval(state)
        target = env.command[state.t].index_select(0, state.hour)[:, 0] + delta
        return self.setpoints(self.divide(low, high, target, env.delivered(state)), y)


def place(lo: Tensor, hi: Tensor, y: Tensor) -> Tensor:
    """The point at the fraction y of [lo, hi], never outside it in floating point."""
    return within(torch.lerp(lo, hi, y), lo, hi)
