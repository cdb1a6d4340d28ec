"""Variants of the task: reactive and voltage-dependent loads, reconfigured feeders, other networks.

All are plain functions from networks and days to networks and days; `Feeder` and `load_feeder`
offer them as options.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np

from griddispatch.data.series import Days
from griddispatch.errors import InputError
from griddispatch.grid.network import Network

ZipShares = tuple[float, float, float]


def with_power_factor(days: Days, power_factor: float) -> Days:
    """Give every load the reactive power of a lagging power factor; PV and batteries have none.

    Raises
    ------
    InputError
        The power factor is not in (0, 1], or the days have reactive loads of their own.
    """
    if not 0 < power_factor <= 1:
        raise InputError(f"power_factor is {power_factor}; it must lie in (0, 1]")
    reactive = days.load * (sqrt(1 - power_factor**2) / power_factor)
    if days.reactive.any() and not np.array_equal(days.reactive, reactive):
        raise InputError(
            f"the days have reactive loads of their own, which power_factor={power_factor} would "
            "replace; leave it out, or set the reactive loads to zero"
        )
    return replace(days, reactive=reactive)


def with_zip_loads(network: Network, shares: ZipShares) -> Network:
    """The network with one ZIP mix (power, current, impedance) at all nodes, itself if it has it.

    Raises
    ------
    InputError
        The mix is not three shares that add up to 1.
    """
    mix = np.array([network.zip_p, network.zip_q])
    if mix.shape[-1:] == np.shape(shares) and bool((mix == shares).all()):
        return network
    return network.replace_loads(shares)


def check_topologies(networks: Sequence[Network]) -> tuple[Network, ...]:
    """The networks, if they have the same nodes and the same slack node.

    Raises
    ------
    InputError
        They do not, or there is none.
    """
    if not networks:
        raise InputError("there is no network; give at least one")
    first = networks[0]
    for other in networks[1:]:
        same = np.array_equal(first.nodes, other.nodes) and first.slack == other.slack
        if not same:
            raise InputError(
                f"networks {first.name} and {other.name} differ in their nodes or in the slack "
                "node; topologies are the same nodes joined by other lines"
            )
    return tuple(networks)


def repeated(days: Days, times: int) -> Days:
    """The same days once per topology: day d under topology k stands at k * D + d."""
    if times == 1:
        return days
    assert days.price_before is not None
    return replace(
        days,
        dates=days.dates * times,
        load=np.concatenate([days.load] * times),
        pv=np.concatenate([days.pv] * times),
        reactive=np.concatenate([days.reactive] * times),
        price=np.concatenate([days.price] * times),
        price_before=np.concatenate([days.price_before] * times),
    )


def spread(days: Days, network: Network, scale: float = 1.0) -> Days:
    """Days for a network that has no series of its own, from those of another feeder.

    The load nodes of the days are dealt out to those of the network in turn, and round again until
    both have been used up: a node that is dealt to several is shared equally among them. The
    whole load, PV and reactive load of every step stay what they were, times `scale`. The first
    node of the days, the slack node of the published series, goes to the network's slack node.

    Raises
    ------
    InputError
        The scale is not positive.
    """
    if not 0 < scale < np.inf:
        raise InputError(f"scale is {scale}; it must be positive")
    sources, targets = len(days.nodes) - 1, network.n_nodes - 1
    turn = np.arange(max(sources, targets))
    weight = np.zeros((len(days.nodes), network.n_nodes))
    weight[1 + turn % sources, network.demand[turn % targets]] = 1.0
    weight[0, network.slack] = 1.0
    weight *= scale / weight.sum(1, keepdims=True)
    return replace(
        days,
        nodes=tuple(int(n) for n in network.nodes),
        load=days.load @ weight,
        pv=days.pv @ weight,
        reactive=days.reactive @ weight,
    )
