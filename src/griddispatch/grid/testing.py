"""Asserts about voltages for tests: they say where two results differ, not only that they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from griddispatch.grid.network import Network
from griddispatch.grid.power_flow import PowerFlow


def assert_same_voltages(
    a: PowerFlow | ArrayLike,
    b: PowerFlow | ArrayLike,
    atol: float = 1e-6,
    *,
    network: Network | None = None,
) -> None:
    """Assert that two results have the same voltages in the same scenarios.

    A scenario that failed (NaN) in both is the same; one that failed in one only is not.

    Parameters
    ----------
    a, b
        Results of `solve`, or arrays or tensors [B, N]: complex voltages or magnitudes, both of
        the same kind, in p.u.
    atol
        Largest allowed |a - b|, in p.u.
    network
        Where the node numbers of the message come from; without it, it names columns.

    Raises
    ------
    AssertionError
        It names the scenario and the node that differ most, both values and how many differ.
    """
    left, right = _array(a), _array(b)
    if left.shape != right.shape:
        raise AssertionError(f"voltages of shape {left.shape} against {right.shape}")
    lost_left, lost_right = (np.asarray(np.isnan(v).any(axis=1)) for v in (left, right))
    one_sided = np.flatnonzero(lost_left != lost_right)
    if one_sided.size:
        row = one_sided[0]
        where = ("second", "first") if lost_left[row] else ("first", "second")
        raise AssertionError(
            f"scenario {row} has voltages in the {where[0]} result and failed in the {where[1]}; "
            f"so do {one_sided.size} of {len(left)} scenarios"
        )
    gap = np.where(lost_left[:, None], 0.0, np.abs(left - right))
    if gap.size == 0 or gap.max() <= atol:
        return
    row, column = (int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    node = f"column {column}" if network is None else f"node {network.nodes[column]}"
    raise AssertionError(
        f"scenario {row}, {node}: {left[row, column]:.9g} against {right[row, column]:.9g} p.u., "
        f"{gap[row, column]:.2e} apart where {atol:.2e} is allowed; "
        f"{int((gap > atol).any(axis=1).sum())} of {len(left)} scenarios differ"
    )


def _array(voltages: PowerFlow | ArrayLike) -> NDArray[np.complex128] | NDArray[np.float64]:
    if isinstance(voltages, PowerFlow):
        voltages = voltages.voltage
    if hasattr(voltages, "detach"):
        voltages = voltages.detach().cpu().numpy()
    return np.atleast_2d(np.asarray(voltages))
