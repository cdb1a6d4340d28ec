"""Newton-Raphson power flow of pandapower, row by row: the reference, and the paper's slow backend.

One pandapower net per network, whose loads are overwritten for every row. Every row is one plain
`runpp`, as a user of pandapower writes it: it converts the whole net each time, which takes most of
its time (its option `recycle` would save some of that).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from griddispatch.errors import InputError

if TYPE_CHECKING:
    from griddispatch.grid.network import Network

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_NETS: WeakKeyDictionary[Network, Any] = WeakKeyDictionary()  # as long as the network lives


def newton(
    network: Network,
    p_kw: Float,
    q_kvar: Float | None,
    v_init: Complex | None,
    tol: float,
    max_iter: int,
) -> tuple[Complex, NDArray[np.bool_], NDArray[np.int64]]:
    """Solve all rows; see `griddispatch.grid.power_flow.solve` for shapes and meaning.

    Raises
    ------
    InputError
        The network has taps, or loads that pandapower refuses.
    """
    net = newton_net(network)
    rows = len(p_kw)
    voltage = np.full(p_kw.shape, complex(np.nan, np.nan))
    converged = np.zeros(rows, np.bool_)
    iterations = np.zeros(rows, np.int64)
    given = [x for x in (p_kw, q_kvar, v_init) if x is not None]
    sound = np.all([np.isfinite(x).all(1) for x in given], axis=0)
    for row in np.flatnonzero(sound):
        q = np.zeros(network.n_nodes) if q_kvar is None else q_kvar[row]
        start = None if v_init is None else v_init[row]
        converged[row] = _run(net, p_kw[row], q, start, tol * network.base_kva / 1e3, max_iter)
        iterations[row] = net._ppc["iterations"] if converged[row] else max_iter
        if converged[row]:
            voltage[row] = _voltages(net)
    return voltage, converged, iterations


def newton_net(network: Network) -> Any:
    """The pandapower net of a network, built once: its lines, shunts and ZIP loads.

    Raises
    ------
    InputError
        The network has taps, or a negative share of constant power.
    """
    if network not in _NETS:
        _NETS[network] = _build(network)
    return _NETS[network]


def _build(network: Network) -> Any:
    import pandapower as pp

    if (network.tap != 1).any():
        raise InputError(
            f"network {network.name} has transformer taps, which this pandapower net of lines "
            "does not model; use backend='dense'"
        )
    if min(network.zip_p[:, 0].min(), network.zip_q[:, 0].min()) < 0:
        raise InputError(
            f"network {network.name} has a negative share of constant power, which pandapower "
            "does not take; use backend='dense'"
        )
    plain = np.tile((1.0, 0.0, 0.0), (network.n_nodes, 1))
    nothing = np.zeros_like(network.shunt)
    net = replace(network, zip_p=plain, zip_q=plain, shunt=nothing).to_pandapower()
    for kind, shares in (("p", network.zip_p), ("q", network.zip_q)):
        net.load[f"const_i_{kind}_percent"] = 100 * shares[:, 1]
        net.load[f"const_z_{kind}_percent"] = 100 * shares[:, 2]
    for column in np.flatnonzero(network.shunt):
        power = np.conj(network.shunt[column]) * network.base_kva / 1e3  # at 1 p.u.
        pp.create_shunt(net, column, p_mw=power.real, q_mvar=power.imag)
    return net


def _run(
    net: Any, p_kw: Float, q_kvar: Float, start: Complex | None, tolerance_mva: float, max_iter: int
) -> bool:
    """Whether it converged; the result stands in the net."""
    import pandapower as pp

    net.load["p_mw"], net.load["q_mvar"] = p_kw / 1e3, q_kvar / 1e3
    begin: dict[str, Any] = {"init": "flat"}
    if start is not None:
        begin = {"init_vm_pu": np.abs(start), "init_va_degree": np.rad2deg(np.angle(start))}
    with warnings.catch_warnings():  # of a row that runs away; it is marked as failed
        warnings.simplefilter("ignore")
        try:
            pp.runpp(
                net,
                tolerance_mva=tolerance_mva,
                max_iteration=max_iter,
                calculate_voltage_angles=True,
                **begin,
            )
        except pp.LoadflowNotConverged:
            return False
    return True


def _voltages(net: Any) -> Complex:
    """[N] complex voltages of a solved net."""
    angle = np.deg2rad(net.res_bus["va_degree"].to_numpy())
    return np.asarray(net.res_bus["vm_pu"].to_numpy() * np.exp(1j * angle))
