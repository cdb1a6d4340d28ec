"""Between `Network` and pandapower, the reference program of every power-flow check."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from griddispatch.errors import InputError

if TYPE_CHECKING:
    from griddispatch.grid.network import Network

# Columns of MATPOWER's branch table, which pandapower keeps.
FROM, TO, R, X, B, TAP, SHIFT, STATUS = 0, 1, 2, 3, 4, 8, 9, 10


def network_fields(net: Any, name: str | None) -> dict[str, Any]:
    """Fields of `Network` for a pandapower net (see `Network.from_pandapower`)."""
    import pandapower as pp

    _refuse(net)
    idle = copy.deepcopy(net)
    for element in ("load", "sgen", "storage"):
        idle[element]["in_service"] = False
    # A flat start across a phase-shifting transformer can end in the solution V = 0; DC does not.
    pp.runpp(idle, calculate_voltage_angles=True, init="dc", numba=False)
    case = idle._ppc["internal"]
    lookup = np.asarray(idle._pd2ppc_lookups["bus"])

    live = np.flatnonzero(idle.res_bus["vm_pu"].notna().to_numpy())
    bus_index = idle.bus.index.to_numpy()[live]
    column = {int(b): int(lookup[b]) for b in bus_index}
    n = len(case["bus"])
    # Auxiliary nodes (the far end of a line behind an open switch) get numbers above all buses.
    nodes = np.arange(n) + int(idle.bus.index.max()) + 1
    for b in sorted(column, reverse=True):  # fused buses keep the lowest of their numbers
        nodes[column[b]] = b

    branch = case["branch"][case["branch"][:, STATUS].real == 1]
    ratio = np.where(branch[:, TAP] == 0, 1.0, branch[:, TAP]).real
    load = _loads(net, column, n)
    slack = int(case["ref"][0])
    fields: dict[str, Any] = {
        "name": name or net.name or "pandapower net",
        "nodes": nodes,
        "slack": slack,
        "from_bus": branch[:, FROM].real.astype(np.int64),
        "to_bus": branch[:, TO].real.astype(np.int64),
        "r": branch[:, R].real.copy(),
        "x": branch[:, X].real.copy(),
        "b": branch[:, B].real.copy(),
        "tap": ratio * np.exp(1j * np.deg2rad(branch[:, SHIFT].real)),
        "shunt": np.zeros(n, np.complex128),
        "base_kva": float(case["baseMVA"]) * 1e3,
        "base_kv": float(idle.bus.at[int(idle.ext_grid["bus"].iloc[0]), "vn_kv"]),
        "v_slack": complex(case["V"][slack]),
        **load,
    }
    return _with_shunts(fields, np.asarray(case["Ybus"].todense()), case["V"])


def _refuse(net: Any) -> None:
    if int(net.ext_grid["in_service"].sum()) != 1:
        raise InputError(
            f"pandapower net {net.name!r}: needs exactly one external grid in service, "
            f"has {int(net.ext_grid['in_service'].sum())}"
        )
    for table, what in (
        ("gen", "voltage-controlled generator"),
        ("xward", "extended ward"),
        ("ward", "ward"),
        ("dcline", "DC line"),
    ):
        if len(net[table]) and net[table]["in_service"].any():
            raise InputError(
                f"pandapower net {net.name!r}: a {what} is in service; replace it by static "
                "generators and loads, only those have a fixed power"
            )


def _loads(net: Any, column: dict[int, int], n: int) -> dict[str, Any]:
    """Loads and their ZIP shares per node; static generators and storages are constant power.

    pandapower itself gives every element of a bus the plain mean of the shares of its loads,
    whatever their size. The two differ where a bus has several elements with unequal shares.
    """
    kw, kvar = np.zeros((n, 3)), np.zeros((n, 3))
    for row in net.load[net.load["in_service"]].itertuples():
        if row.bus in column:
            z_p, i_p = row.const_z_p_percent / 100, row.const_i_p_percent / 100
            z_q, i_q = row.const_z_q_percent / 100, row.const_i_q_percent / 100
            at = column[row.bus]
            kw[at] += row.p_mw * row.scaling * 1e3 * np.array([1 - z_p - i_p, i_p, z_p])
            kvar[at] += row.q_mvar * row.scaling * 1e3 * np.array([1 - z_q - i_q, i_q, z_q])
    for table, sign in (("sgen", -1.0), ("storage", 1.0)):
        for row in net[table][net[table]["in_service"]].itertuples():
            if row.bus in column:
                kw[column[row.bus], 0] += sign * row.p_mw * row.scaling * 1e3
                kvar[column[row.bus], 0] += sign * row.q_mvar * row.scaling * 1e3
    return {
        "load_kw": kw.sum(1),
        "load_kvar": kvar.sum(1),
        "zip_p": _shares(kw),
        "zip_q": _shares(kvar),
    }


def _shares(power: np.ndarray) -> np.ndarray:
    total = power.sum(1, keepdims=True)
    share = np.tile([1.0, 0.0, 0.0], (len(power), 1))
    return np.where(total != 0, power / np.where(total == 0, 1.0, total), share)


def _with_shunts(fields: dict[str, Any], y_bus: np.ndarray, v_idle: np.ndarray) -> dict[str, Any]:
    """Put what branches do not carry (shunts, iron losses) on the nodes, then check the result."""
    from griddispatch.grid.network import Network

    plain = Network(**fields)
    rest = y_bus - plain.y_bus
    shunt = np.diag(rest).copy()
    np.fill_diagonal(rest, 0.0)
    if np.abs(rest).max(initial=0.0) > 1e-9 * np.abs(y_bus).max():
        i, j = np.unravel_index(np.abs(rest).argmax(), rest.shape)
        raise InputError(
            f"pandapower net {fields['name']!r}: the branch between nodes {plain.nodes[i]} and "
            f"{plain.nodes[j]} is not a symmetric pi-model; replace it by lines or transformers"
        )
    fields["shunt"] = np.where(np.abs(shunt) > 1e-12 * np.abs(y_bus).max(), shunt, 0.0)
    error = np.abs(Network(**fields).no_load_voltage - v_idle).max()
    if not error < 1e-7:
        raise InputError(
            f"pandapower net {fields['name']!r}: its no-load voltages are not those of its "
            f"admittance matrix (off by {error:.1e} p.u.); it has an element that is not linear"
        )
    return fields


def line_net(network: Network) -> Any:
    """A pandapower net of lines only, with a load at each node in the order of `nodes`."""
    import pandapower as pp

    if (network.tap != 1).any() or network.shunt.any() or not network.is_constant_power:
        raise InputError(
            f"network {network.name} has taps, shunts or voltage-dependent loads; "
            "only plain lines with constant-power loads can become a pandapower line net"
        )
    frequency = 50.0
    z_base = network.base_kv**2 * 1e3 / network.base_kva
    net = pp.create_empty_network(name=network.name, f_hz=frequency, sn_mva=network.base_kva / 1e3)
    pp.create_buses(net, network.n_nodes, vn_kv=network.base_kv)
    pp.create_ext_grid(
        net,
        network.slack,
        vm_pu=abs(network.v_slack),
        va_degree=float(np.degrees(np.angle(network.v_slack))),
    )
    pp.create_lines_from_parameters(
        net,
        network.from_bus,
        network.to_bus,
        length_km=1.0,
        r_ohm_per_km=network.r * z_base,
        x_ohm_per_km=network.x * z_base,
        c_nf_per_km=network.b / z_base / (2 * np.pi * frequency) * 1e9,
        max_i_ka=1e3,
    )
    pp.create_loads(
        net,
        np.arange(network.n_nodes),
        p_mw=network.load_kw / 1e3,
        q_mvar=network.load_kvar / 1e3,
    )
    return net
