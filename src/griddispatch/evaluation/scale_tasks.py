"""One task on networks of any size: the published one, carried over by four rules.

Networks of different size ask the same of their batteries:

- days: every node with a load has the profile of one of the published load nodes, dealt out in
  turn, times its own nominal load (networks that state none: all nodes the same);
- load: one factor for all nodes takes the lowest voltage of the training days to the one that the
  published feeder has in them;
- batteries: their rated power is the same share of the mean load as published, and their number
  grows with the root of the number of nodes;
- places: evenly among the half of the nodes that is electrically farther from the slack node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from griddispatch.assets.storage import Storage
from griddispatch.data import splits
from griddispatch.data.series import Days, Series
from griddispatch.envs.feeder import Feeder
from griddispatch.envs.observations import observe
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.synthetic import load_factor


@dataclass(frozen=True)
class Reference:
    """What the published feeder asks of its batteries; see the module's text."""

    nodes: int
    batteries: int
    lowest_voltage: float
    """In p.u., without batteries, in the training days."""
    power_share: float
    """Rated power of all batteries over the mean load of the training days."""
    hours: float
    """Capacity of a battery over its rated power."""

    @classmethod
    def of(cls, feeder: Feeder) -> "Reference":
        """That of a feeder on its training days."""
        limits = feeder.storage.limits(feeder.price)
        rated = float(limits.power_kw.sum())
        return cls(
            nodes=feeder.network.n_nodes,
            batteries=feeder.n_actions,
            lowest_voltage=float(feeder.idle_voltage.abs().min()),
            power_share=rated / float(feeder.days.load.sum(2).mean()),
            hours=float(limits.capacity_kwh.sum()) / rated,
        )


class Task(NamedTuple):
    """One network as an environment on days to learn from, to choose by and to test on."""

    learning: Feeder
    validation: Feeder
    test: Feeder


def cigre_mv() -> Network:
    """The European medium-voltage benchmark of CIGRE task force C6.04.02, its 20 kV side.

    Both feeders start at one busbar with a fixed voltage of 1 p.u., in place of the two
    transformers. The switches are open, as they come: a tree, with three lines that end at one.
    """
    import pandapower as pp
    from pandapower.networks import create_cigre_network_mv

    net = create_cigre_network_mv()
    first, second = (int(bus) for bus in net.trafo["lv_bus"])
    net.trafo["in_service"] = False
    net.bus.loc[net.ext_grid["bus"], "in_service"] = False
    net.ext_grid["bus"], net.ext_grid["vm_pu"] = first, 1.0
    pp.create_switch(net, first, second, et="b", closed=True)
    return Network.from_pandapower(net, "CIGRE MV")


def spaced(dates: Sequence[str], count: int) -> list[str]:
    """At most `count` of the dates: the middle ones of as many equal parts.

    Raises
    ------
    InputError
        The count is not positive.
    """
    if count < 1:
        raise InputError(f"{count} days are wanted; take at least one")
    taken = min(count, len(dates))
    return [dates[int((k + 0.5) * len(dates) / taken)] for k in range(taken)]


def dealt(days: Days, network: Network, fit: Days) -> Days:
    """Days of a network from those of the published feeder; see the module's text.

    `fit` are published days, whose mean loads divide the profiles. The mean load of all nodes
    together, the slack node left out, is that of the published feeder in them.
    """
    nominal = network.load_kw[network.demand]
    share = nominal if nominal.any() else np.ones(len(nominal))
    mean = fit.load.mean((0, 1))[1:]  # the first is the slack node
    turn = np.arange(len(share))
    weight = np.zeros((len(days.nodes), network.n_nodes))
    source = turn % len(mean)
    weight[1 + source, network.demand] = mean.sum() * share / share.sum() / mean[source]
    numbers = tuple(int(n) for n in network.nodes)
    loads = {name: getattr(days, name) @ weight for name in ("load", "pv", "reactive")}
    return replace(days, nodes=numbers, **loads)


def make_task(
    network: Network,
    series: Series,
    reference: Reference | None,
    training_days: int,
    test_days: int,
) -> Task:
    """The task on a network, on so many days to learn from, to choose by and to test on.

    Parameters
    ----------
    network
        A tree.
    series
        The published series; its stress days are the test days.
    reference
        What is asked of the batteries; None leaves the published loads and batteries as they are.
    training_days, test_days
        Numbers of days, spread evenly over those of the split; there are as many validation days
        as test days.

    Raises
    ------
    InputError
        A number of days is not positive, or the network cannot be loaded as the reference.
    """
    split = (
        spaced(splits.fit_days(series, "all"), training_days),
        spaced(splits.validation_days(series, "all"), test_days),
        spaced(splits.stress_days(series), test_days),
    )
    days = [series.days(dates) for dates in split]
    storage = Storage()
    if reference is not None:
        days = [dealt(part, network, days[0]) for part in days]
        net = days[0].net_load.reshape(-1, network.n_nodes)
        factor = load_factor(network, net, np.zeros_like(net), reference.lowest_voltage)
        days = [
            replace(d, load=factor * d.load, pv=factor * d.pv, reactive=factor * d.reactive)
            for d in days
        ]
        storage = _batteries(network, float(days[0].load.sum(2).mean()), reference)
    learning = Feeder(network, storage, days[0], observation=observe("history"))
    return Task(learning, learning.on(days[1]), learning.on(days[2]))


def _batteries(network: Network, mean_kw: float, reference: Reference) -> Storage:
    growth = np.sqrt(network.n_nodes / reference.nodes)
    count = min(max(1, round(reference.batteries * growth)), len(network.demand))
    order, parent, z = network.tree
    distance = np.zeros(network.n_nodes)  # in ohm p.u., along the tree
    for place in range(1, network.n_nodes):
        distance[place] = distance[parent[place]] + abs(z[place])
    far = order[np.argsort(-distance, kind="stable")][: max(count, network.n_nodes // 2)]
    chosen = far[(np.arange(count) * len(far) / count).astype(np.int64)]
    power = reference.power_share * mean_kw / count
    nodes = tuple(sorted(int(network.nodes[column]) for column in chosen))
    return Storage(nodes, power_kw=power, capacity_kwh=reference.hours * power)
