"""Switching of a distribution feeder: some lines opened, tie lines closed, still a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from griddispatch.errors import InputError

if TYPE_CHECKING:
    from griddispatch.grid.network import Network

Line = tuple[int, int]
Tie = tuple[int, int, float, float]  # node numbers of its ends, R and X in ohm


def reconfigured_fields(
    network: Network, opened: Sequence[Line], closed: Sequence[Tie]
) -> dict[str, Any]:
    """Fields of `Network` after switching (see `Network.reconfigured` for meaning and errors)."""
    kept = _kept(network, opened)
    for a, b, r, x in closed:
        if a == b or not (0 <= r < np.inf and abs(x) < np.inf and (r or x)):
            raise InputError(
                f"the tie line {a}-{b} has R {r} and X {x} ohm; it needs two nodes and an "
                "impedance that is not zero, R not negative"
            )
    z_base = network.base_kv**2 * 1e3 / network.base_kva
    start = np.array([network.position(tie[0]) for tie in closed], dtype=np.int64)
    end = np.array([network.position(tie[1]) for tie in closed], dtype=np.int64)
    switched = [f"{a}-{b} open" for a, b in opened] + [f"{t[0]}-{t[1]} closed" for t in closed]
    return {
        "name": ", ".join([network.name, *switched]),
        "from_bus": np.append(network.from_bus[kept], start),
        "to_bus": np.append(network.to_bus[kept], end),
        "r": np.append(network.r[kept], [tie[2] / z_base for tie in closed]),
        "x": np.append(network.x[kept], [tie[3] / z_base for tie in closed]),
        "b": np.append(network.b[kept], np.zeros(len(closed))),
        "tap": np.append(network.tap[kept], np.ones(len(closed))),
    }


def _kept(network: Network, opened: Sequence[Line]) -> np.ndarray:
    """[E] which branches are not opened."""
    ends = list(zip(network.from_bus.tolist(), network.to_bus.tolist(), strict=True))
    kept = np.ones(len(ends), np.bool_)
    for a, b in opened:
        pair = {network.position(a), network.position(b)}
        found = [k for k, line in enumerate(ends) if set(line) == pair]
        if not found:
            raise InputError(f"network {network.name} has no line {a}-{b} that could be opened")
        kept[found] = False
    return kept
