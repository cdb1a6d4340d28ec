"""Value at risk and conditional value at risk of a sample of costs, and what was published."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]

ALPHA = 0.95  # confidence of VaR and CVaR
_ROUNDING = 1e-9  # 0.95 * 20 must count as 19


def value_at_risk(costs: ArrayLike, alpha: float = ALPHA) -> Float:
    """[...] the alpha-quantile of n equally likely costs [..., n]: the ceil(alpha n)-th smallest.

    Raises
    ------
    InputError
        There is no cost, one is not finite, or alpha lies outside (0, 1).
    """
    x = _sorted_costs(costs, alpha)
    return np.asarray(x[..., _rank(x, alpha)])


def cvar(costs: ArrayLike, alpha: float = ALPHA) -> Float:
    """[...] the mean of the worst 1 - alpha of n equally likely costs [..., n].

    Rockafellar and Uryasev, "Conditional value-at-risk for general loss distributions", 2002:
    CVaR = VaR + E[(C - VaR)+] / (1 - alpha), which counts the cost at the VaR in part where
    (1 - alpha) n is no whole number. It is coherent for every n.

    Raises
    ------
    InputError
        As of `value_at_risk`.
    """
    x = _sorted_costs(costs, alpha)
    rank = _rank(x, alpha)
    beyond = x[..., rank:] - x[..., rank, None]
    return np.asarray(x[..., rank] + beyond.sum(-1) / ((1 - alpha) * x.shape[-1]))


def published_cvar(costs: ArrayLike, alpha: float = ALPHA) -> Float:
    """[...] what the published index makes of costs [..., n]: the mean from ceil((1 - alpha) n) on.

    In ascending order that leaves out the best 5 % and averages the other 95 %: about
    phi(z) / alpha = 0.108 for N(0, 1), where the CVaR is phi(z) / (1 - alpha) = 2.063.

    Raises
    ------
    InputError
        As of `value_at_risk`.
    """
    x = _sorted_costs(costs, alpha)
    first = int(np.ceil((1 - alpha) * x.shape[-1] - _ROUNDING))
    return np.asarray(x[..., min(first, x.shape[-1] - 1) :].mean(-1))


def risk_objective(costs: ArrayLike, weight: float, alpha: float = ALPHA) -> Float:
    """[...] J = (1 - weight) E + weight CVaR, that is E + weight (CVaR - E), of costs [..., n].

    Raises
    ------
    InputError
        As of `value_at_risk`, or the weight lies outside [0, 1].
    """
    if not 0 <= weight <= 1:
        raise InputError(f"the weight of the CVaR is {weight}; give 0 .. 1")
    x = np.asarray(costs, dtype=np.float64)
    return np.asarray((1 - weight) * x.mean(-1) + weight * cvar(x, alpha))


def _sorted_costs(costs: ArrayLike, alpha: float) -> Float:
    x = np.asarray(costs, dtype=np.float64)
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; give a confidence between 0 and 1, such as {ALPHA}")
    if x.ndim == 0 or not x.shape[-1] or not np.isfinite(x).all():
        raise InputError("costs: give at least one, all of them finite numbers")
    return np.sort(x, axis=-1)


def _rank(x: Float, alpha: float) -> int:
    """Place of the VaR among costs in ascending order, from 0 on."""
    return max(int(np.ceil(alpha * x.shape[-1] - _ROUNDING)) - 1, 0)
