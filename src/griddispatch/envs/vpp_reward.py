"""What deviations and comfort cost, and the displayed reward, in [-3000, 0] per day.

    R = sum_t -3000 / 12 min(1, cost_t / cap)

Published, cap is the 99th percentile of the costs of a period. It clips just what a shift adds: the
worst periods. Learners are trained on the cost itself; R is shown with a fixed cap
(`Plant.display_cap`), beside the share of periods that it clips.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from griddispatch.assets.vpp import Plant
from griddispatch.data.vpp_demand import PERIODS
from griddispatch.errors import InputError

Float = NDArray[np.float64]

LOWEST = -3000.0  # per day
_QUANTILE = 0.99


def deviations(
    plant: Plant, reserve_kw: Tensor, shortage_kw: Tensor, surplus_kw: Tensor
) -> dict[str, Tensor]:
    """Costs [B] of fast reserve (up positive), shortage and surplus, all in kW for one hour."""
    up, down = reserve_kw.clamp(min=0), (-reserve_kw).clamp(min=0)
    return {
        "reserve": plant.reserve_up * up + plant.reserve_down * down,
        "shortage": plant.shortage * shortage_kw,
        "surplus": plant.surplus * surplus_kw,
    }


def comfort(plant: Plant, base: Tensor, adjustment: Tensor, shifted_kwh: Tensor | None) -> Tensor:
    """[B] cost of a relative adjustment of the load; shifted_kwh of the day, if this is its end."""
    beyond = (adjustment.abs() - plant.comfort_free).clamp(min=0)
    cost = plant.discomfort * adjustment.square() + plant.comfort_cost * base * beyond
    return cost if shifted_kwh is None else cost + plant.shed_cost * (-shifted_kwh).clamp(min=0)


def displayed(cost: ArrayLike, cap: float) -> Float:
    """[...] reward of a period for its cost [...] in currency; it lies in [-250, 0].

    Raises
    ------
    InputError
        The cap is not positive.
    """
    return np.asarray(LOWEST / PERIODS * np.clip(_over(cost, cap), 0, 1))


def clipped(cost: ArrayLike, cap: float) -> NDArray[np.bool_]:
    """[...] whether the displayed reward hides a part of the cost [...] of a period.

    Raises
    ------
    InputError
        The cap is not positive.
    """
    return np.asarray(_over(cost, cap) > 1)


def published_cap(cost: ArrayLike) -> float:
    """c_99, the 99th percentile of costs of periods.

    Raises
    ------
    InputError
        There is no cost.
    """
    costs = np.asarray(cost, dtype=np.float64)
    if not costs.size:
        raise InputError("published cap: give the cost of at least one period")
    return float(np.quantile(costs, _QUANTILE))


def _over(cost: ArrayLike, cap: float) -> Float:
    if not cap > 0:
        raise InputError(f"the cap of the displayed reward is {cap}; give a positive cost")
    return np.asarray(cost, dtype=np.float64) / cap
