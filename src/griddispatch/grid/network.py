"""A distribution network in per unit: nodes, branches, slack, and its admittance matrix.

Conventions used by everything that follows

- nodes are columns: the column of a node is its place in `Network.nodes`, its number is
  what the file or pandapower calls it;
- the slack node has a known voltage; every other node has a load (positive = consumption);
- impedances in ohm are divided by `base_kv**2 * 1000 / base_kva`, powers in kW by `base_kva`;
- a branch is a pi-model with an ideal transformer of complex ratio `tap` at its `from` end
  (the MATPOWER convention), so lines are branches with tap 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Network:
    """A network with one slack node, all quantities per unit unless a unit is named.

    Raises
    ------
    InputError
        A node has no path to the slack node.
    """

    name: str
    """What figures and errors call it."""
    nodes: Int
    """[N] node numbers, one per column of every power and voltage array."""
    slack: int
    """Column of the slack node."""
    from_bus: Int
    """[E] columns of the `from` ends of the branches in service."""
    to_bus: Int
    """[E] columns of their `to` ends."""
    r: Float
    """[E] series resistance."""
    x: Float
    """[E] series reactance."""
    b: Float
    """[E] total charging susceptance."""
    tap: Complex
    """[E] complex transformer ratio at the `from` end."""
    shunt: Complex
    """[N] shunt admittance."""
    zip_p: Float
    """[N, 3] shares of constant power, constant current and constant impedance of P."""
    zip_q: Float
    """[N, 3] the same of Q."""
    load_kw: Float
    """[N] the active loads that the file states (the nominal case), 0 where it has none."""
    load_kvar: Float
    """[N] the reactive ones."""
    base_kva: float = 1000.0
    """Base of the per-unit powers, three-phase."""
    base_kv: float = 11.0
    """Base of the per-unit voltages, phase to phase."""
    v_slack: complex = 1.0 + 0.0j
    """Voltage of the slack node."""
    _columns: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", {int(n): i for i, n in enumerate(self.nodes)})
        lost = np.delete(self.nodes, self._depth_first[0]).tolist()
        if lost:
            raise InputError(
                f"network {self.name}: node(s) {_some(lost)} have no path to the slack node "
                f"{int(self.nodes[self.slack])}; add the missing branch or remove the node"
            )

    # -- construction ---------------------------------------------------------------------

    @classmethod
    def read(
        cls,
        nodes_csv: Path | str,
        lines_csv: Path | str,
        *,
        name: str | None = None,
        base_kv: float = 11.0,
        base_kva: float = 1000.0,
        v_slack: complex = 1.0,
    ) -> Network:
        """Read a network from two tables.

        `nodes_csv` has NODES (number), Tb (1 = slack, 0 = load) and optionally PD, QD (kW, kvar)
        and Pct, Ict, Zct (ZIP shares). `lines_csv` has FROM, TO, R, X (ohm), B (siemens), STATUS
        (1 = in service) and TAP (ratio).

        Raises
        ------
        InputError
            A missing file or column, a value that is not a number or out of its range, a repeated
            node, a branch to a node that does not exist, no or several slack nodes, an island.
        """
        from griddispatch.grid.from_csv import network_fields

        if not (base_kv > 0 and base_kva > 0 and abs(v_slack) > 0):
            raise InputError(
                f"base_kv, base_kva and v_slack must be positive; they are {base_kv:g}, "
                f"{base_kva:g}, {v_slack}"
            )
        return cls(
            name=name or Path(nodes_csv).stem,
            base_kva=base_kva,
            base_kv=base_kv,
            v_slack=complex(v_slack),
            **network_fields(nodes_csv, lines_csv, base_kv, base_kva),
        )

    @classmethod
    def from_pandapower(cls, net: Any, name: str | None = None) -> Network:
        """Take any balanced pandapower net with one external grid: meshes, transformers, shunts.

        pandapower's own conversion gives branches, taps and shunts, so both programs see the
        same pi-models. Buses joined by a closed switch become one node, named by the lowest
        of their indices; out-of-service buses are left out. Static generators count as
        negative constant-power load.

        Raises
        ------
        InputError
            No or several external grids, a voltage-controlled generator, or an element that is
            not a linear pi-model with a fixed power.
        """
        from griddispatch.grid.from_pandapower import network_fields

        return cls(**network_fields(net, name))

    def replace_loads(
        self, zip_p: Iterable[float], zip_q: Iterable[float] | None = None
    ) -> Network:
        """The same network with one ZIP mix (power, current, impedance shares) at every node.

        Raises
        ------
        InputError
            A mix is not three shares that add up to 1.
        """
        mix_p = tuple(float(share) for share in zip_p)
        mix_q = mix_p if zip_q is None else tuple(float(share) for share in zip_q)
        for mix in (mix_p, mix_q):
            if len(mix) != 3 or not abs(sum(mix) - 1) < 1e-6:
                raise InputError(f"a ZIP mix is three shares that add up to 1, not {mix}")
        shares = {
            "zip_p": np.tile(mix_p, (self.n_nodes, 1)),
            "zip_q": np.tile(mix_q, (self.n_nodes, 1)),
        }
        return Network(**{**self._fields(), **shares})

    def reconfigured(
        self, *, open: Iterable[tuple[int, int]], close: Iterable[tuple[int, int, float, float]]
    ) -> Network:
        """The same nodes joined by other lines: some opened, tie lines closed, still a tree.

        Parameters
        ----------
        open
            Lines to take out, by the numbers of their two nodes in either order.
        close
            Tie lines to put in: the numbers of their two nodes, R and X in ohm; no charging.

        Raises
        ------
        InputError
            There is no such line or node, a tie joins a node to itself or has no impedance, or
            the result has a loop or an island.
        """
        from griddispatch.grid.reconfiguration import reconfigured_fields

        switched = reconfigured_fields(self, list(open), list(close))
        network = Network(**{**self._fields(), **switched})
        _ = network.tree  # where there is a loop, this is an error
        return network

    def _fields(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k in Network.__match_args__}

    def __reduce__(self) -> tuple[Any, ...]:  # cached matrices do not travel between processes
        return _rebuild, (self._fields(),)

    # -- what it is -----------------------------------------------------------------------

    @property
    def n_nodes(self) -> int:
        """Number of nodes, the slack node included."""
        return len(self.nodes)

    def position(self, number: int) -> int:
        """Column of the node with this number.

        Raises
        ------
        InputError
            There is no such node.
        """
        try:
            return self._columns[int(number)]
        except KeyError:
            known = f"{int(self.nodes.min())} to {int(self.nodes.max())}"
            raise InputError(
                f"network {self.name} has no node {number}; its nodes are {known}"
            ) from None

    @property
    def is_radial(self) -> bool:
        """Whether the branches form a tree: every node has a path, so their number tells."""
        return len(self.from_bus) == self.n_nodes - 1

    @property
    def is_constant_power(self) -> bool:
        """Whether no load depends on its voltage."""
        return bool((self.zip_p[:, 0] == 1).all() and (self.zip_q[:, 0] == 1).all())

    @cached_property
    def y_bus(self) -> Complex:
        """[N, N] bus admittance matrix, Y V = I with currents flowing into the network."""
        y = np.zeros((self.n_nodes, self.n_nodes), np.complex128)
        series = 1.0 / (self.r + 1j * self.x)
        charging = series + 0.5j * self.b
        f, t = self.from_bus, self.to_bus
        np.add.at(y, (f, f), charging / np.abs(self.tap) ** 2)
        np.add.at(y, (t, t), charging)
        np.add.at(y, (f, t), -series / np.conj(self.tap))
        np.add.at(y, (t, f), -series / self.tap)
        y[np.diag_indices(self.n_nodes)] += self.shunt
        return y

    @cached_property
    def demand(self) -> Int:
        """[N - 1] columns of the nodes other than the slack node."""
        return np.delete(np.arange(self.n_nodes), self.slack)

    @cached_property
    def impedance(self) -> Complex:
        """[N - 1, N - 1] Z = Y_dd^-1, the impedance seen by the load nodes."""
        inverse = np.linalg.inv(self.y_bus[np.ix_(self.demand, self.demand)])
        return inverse.astype(np.complex128)

    @cached_property
    def no_load_voltage(self) -> Complex:
        """[N] voltages without any load, V_0 = -Y_dd^-1 Y_ds V_s, slack included."""
        v = np.full(self.n_nodes, self.v_slack, np.complex128)
        v[self.demand] = -self.impedance @ self.y_bus[self.demand, self.slack] * self.v_slack
        return v

    @cached_property
    def tree(self) -> tuple[Int, Int, Complex]:
        """Depth-first order from the slack node, for sweeps: parents first, chains unbroken.

        Returns
        -------
        order, parent, z
            [N] columns, the slack first; [N] parents as places in that order (-1 for the slack);
            [N] series impedance of the branch to the parent.

        Raises
        ------
        InputError
            The network has a loop.
        """
        if not self.is_radial:
            raise InputError(
                f"network {self.name} has {len(self.from_bus)} branches for {self.n_nodes} nodes, "
                "so it has a loop where a tree is needed; open a branch (STATUS 0) or use the "
                "dense backend"
            )
        order, parent, branch = self._depth_first
        z = np.zeros(self.n_nodes, np.complex128)
        z[1:] = (self.r + 1j * self.x)[branch[1:]]
        return order, parent, z

    @cached_property
    def _depth_first(self) -> tuple[Int, Int, Int]:
        neighbours: list[list[tuple[int, int]]] = [[] for _ in range(self.n_nodes)]
        for e, (f, t) in enumerate(zip(self.from_bus, self.to_bus, strict=True)):
            neighbours[f].append((int(t), e))
            neighbours[t].append((int(f), e))
        place: dict[int, int] = {}
        parent, branch = [], []
        stack = [(self.slack, -1, -1)]
        while stack:
            i, above, e = stack.pop()
            if i not in place:
                place[i] = len(place)
                parent.append(above)
                branch.append(e)
                stack.extend((j, place[i], e) for j, e in reversed(neighbours[i]))
        return np.array(list(place)), np.array(parent), np.array(branch)

    def to_pandapower(self) -> Any:
        """The same network as a pandapower net: lines, and one load per node in node order.

        The loads are the nominal ones; write `net.load["p_mw"]` and `["q_mvar"]` for others.

        Raises
        ------
        InputError
            Taps, shunts or voltage-dependent loads, which lines cannot carry.
        """
        from griddispatch.grid.from_pandapower import line_net

        return line_net(self)


def _rebuild(fields: dict[str, Any]) -> Network:
    return Network(**fields)


def _some(items: list[int]) -> str:
    head = ", ".join(map(str, items[:5]))
    return head if len(items) <= 5 else f"{head} and {len(items) - 5} more"
