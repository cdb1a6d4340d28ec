"""Voltages of a batch of scenarios: one function, three backends, one meaning.

`solve` finds V with V_d = V_0 - Z (conj(S(V_d)) / conj(V_d)), where d are the nodes with a load,
Z = Y_dd^-1 and V_0 = -Y_dd^-1 Y_ds V_s: the fixed point ("Laurent") power flow of Giraldo et al.,
"A fixed-point current injection power flow for electric distribution systems using Laurent
series" (2022). S(V) = P (p + i |V| + z |V|^2) + j Q (...) covers voltage-dependent loads; taps,
shunts and meshes are in Y.

- `dense` iterates that equation with one matrix product for a whole chunk of the batch
  (`griddispatch.grid.dense`): any topology, any device, differentiable with respect to P and Q.
- `sweep` walks the tree instead (`griddispatch.grid.sweep`): N operations per iteration, not N^2.
- `pandapower` runs the Newton-Raphson of that program for one row after the other
  (`griddispatch.grid.newton`): thousands of times slower, to compare with.

The first two stop a row as soon as max_n |V_n - V_n_before| < tol, the third as soon as no power is
off by tol p.u. A row that does not get there is left as NaN, marked, with no effect on any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from griddispatch.errors import InputError
from griddispatch.grid.dense import dense
from griddispatch.grid.network import Network
from griddispatch.grid.newton import newton
from griddispatch.grid.sweep import sweep

Backend = Literal["auto", "dense", "sweep", "pandapower"]


@dataclass(frozen=True)
class PowerFlow:
    """Result of `solve` for B scenarios and N nodes."""

    voltage: Tensor
    """[B, N] complex p.u., the slack node included; NaN in a row that failed."""
    converged: Tensor
    """[B] bool."""
    iterations: Tensor
    """[B] iterations used; 0 for a row whose input was not finite."""

    @property
    def magnitude(self) -> Tensor:
        """[B, N] voltage magnitude in p.u."""
        return self.voltage.abs()


def solve(
    network: Network,
    p_kw: Tensor | np.ndarray,
    q_kvar: Tensor | np.ndarray | None = None,
    *,
    constant_kw: Tensor | np.ndarray | None = None,
    backend: Backend = "auto",
    tol: float = 1e-6,
    max_iter: int = 100,
    v_init: Tensor | np.ndarray | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float64,
) -> PowerFlow:
    """Voltages of every scenario.

    Parameters
    ----------
    network
        The feeder; `network.nodes` gives the meaning of the columns.
    p_kw
        [B, N] active consumption in kW, negative where a node feeds in. The slack node's column
        belongs to the import and does not change any voltage.
    q_kvar
        [B, N] reactive consumption in kvar; None is zero and costs nothing.
    constant_kw
        [B, N] active consumption in kW beside `p_kw` that no voltage changes, whatever the ZIP
        shares of the network are: inverters of batteries and PV.
    backend
        "sweep" (trees, CPU, no gradient), "dense" (everything), "pandapower" (no taps, no
        gradient), or "auto": the sweep where it can serve, else dense.
    tol
        A row stops when no voltage moved by `tol` p.u. or more; with pandapower when no power is
        off by `tol` p.u. or more.
    max_iter
        A row that has not stopped by then has failed.
    v_init
        [B, N] complex start; by default the no-load voltages. The slack column is not used.
    device, dtype
        Where and in which real precision the dense backend works. The others work on the CPU in
        float64 and convert their results.

    Raises
    ------
    InputError
        A wrong shape, a tolerance or a number of iterations that is not positive, an unknown
        backend or precision, a network or a gradient that the backend does not model.
    """
    p = torch.as_tensor(p_kw, device=device)
    q, v, constant = (
        None if x is None else torch.as_tensor(x, device=device)
        for x in (q_kvar, v_init, constant_kw)
    )
    for name, value in (("p_kw", p), ("q_kvar", q), ("constant_kw", constant), ("v_init", v)):
        if value is not None and (value.ndim != 2 or value.shape[1] != network.n_nodes):
            raise InputError(
                f"{name} has shape {tuple(value.shape)}; network {network.name} needs "
                f"[scenarios, {network.n_nodes}], one column per node, the slack included"
            )
        if value is not None and len(value) != len(p):
            raise InputError(f"{name} has {len(value)} rows for {len(p)} rows of p_kw")
    if not tol > 0 or max_iter < 1:
        raise InputError(f"tol and max_iter must be positive; they are {tol} and {max_iter}")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype is {dtype}; the power flow works in float32 and float64 only")
    target = p.device
    if constant is not None and not network.is_constant_power:
        return _beside_zip_loads(network, p, q, constant, v, backend, tol, max_iter, target, dtype)
    if constant is not None:
        p = p + constant
    grad = torch.is_grad_enabled() and (p.requires_grad or (q is not None and q.requires_grad))
    if backend == "auto":
        plain = network.is_radial and network.is_constant_power and bool((network.tap == 1).all())
        backend = "sweep" if plain and not grad and target.type == "cpu" else "dense"
    if backend == "dense":
        return PowerFlow(*dense(network, p, q, v, tol, max_iter, target, dtype))
    if backend not in ("sweep", "pandapower"):
        raise InputError(
            f"unknown power-flow backend {backend!r}; there are 'auto', 'dense', 'sweep', "
            "'pandapower'"
        )
    if grad:
        name = "the sweep" if backend == "sweep" else backend
        raise InputError(
            f"{name} has no gradients; use backend='dense', or torch.no_grad() if none is wanted"
        )
    return _in_numpy(backend, network, p, q, v, tol, max_iter, target, dtype)


def _in_numpy(
    backend: Literal["sweep", "pandapower"],
    network: Network,
    p: Tensor,
    q: Tensor | None,
    v: Tensor | None,
    tol: float,
    max_iter: int,
    device: torch.device,
    dtype: torch.dtype,
) -> PowerFlow:
    def array(x: Tensor | None, kind: torch.dtype) -> Any:
        return None if x is None else x.detach().to("cpu", kind).contiguous().numpy()

    given = array(p, torch.float64), array(q, torch.float64), array(v, torch.complex128)
    if backend == "sweep":
        result = sweep(network, *given, tol, max_iter, torch.get_num_threads())
    else:
        result = newton(network, *given, tol, max_iter)
    voltage, converged, iterations = (torch.from_numpy(x).to(device) for x in result)
    return PowerFlow(voltage.to(dtype.to_complex()), converged, iterations)


def _beside_zip_loads(
    network: Network,
    p: Tensor,
    q: Tensor | None,
    constant: Tensor,
    v: Tensor | None,
    backend: Backend,
    tol: float,
    max_iter: int,
    device: torch.device,
    dtype: torch.dtype,
) -> PowerFlow:
    """Solve in rounds, with the constant power divided by the ZIP factor of the last voltages.

    At a solution that load times its factor is the constant power again. The factor hardly depends
    on the power, so three or four rounds do. A row keeps the voltages of its own last round.
    """
    p, constant = p.to(device, dtype), constant.to(device, dtype)
    shares = torch.as_tensor(network.zip_p).to(p)
    start = torch.as_tensor(network.no_load_voltage) if v is None else v
    voltage = start.to(device, dtype.to_complex()).expand(len(p), -1)
    waiting = torch.ones(len(p), dtype=torch.bool, device=device)
    iterations = torch.zeros(len(p), dtype=torch.int64, device=device)
    options: dict[str, Any] = {"backend": backend, "tol": tol, "max_iter": max_iter}
    options |= {"device": device, "dtype": dtype}
    for _ in range(max_iter):
        magnitude = voltage.abs()
        factor = shares[:, 0] + shares[:, 1] * magnitude + shares[:, 2] * magnitude**2
        factor = torch.where(factor.isnan(), 1.0, factor)  # a failed row must not spoil gradients
        flow = solve(network, p + constant / factor, q, v_init=voltage.detach(), **options)
        move = (flow.voltage - voltage).abs().amax(1)
        voltage = torch.where(waiting[:, None], flow.voltage, voltage)
        iterations += flow.iterations * waiting
        waiting = waiting & (move >= tol)  # a failed row has NaN: it stops, too
        if not bool(waiting.any()):
            break
    converged = ~waiting & ~voltage[:, network.slack].isnan()
    return PowerFlow(voltage.masked_fill(~converged[:, None], torch.nan), converged, iterations)
