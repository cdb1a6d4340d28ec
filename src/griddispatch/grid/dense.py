"""Dense fixed point in torch: any topology, any device, gradients.

Scenarios stand side by side: a chunk of B scenarios is a matrix [2n, B], the real parts of the n
node quantities above the imaginary ones. One real matrix product then does the work of a complex
one, and every elementwise step runs over contiguous memory. Per iteration

    drop = Z i          one matrix product
    V = V_0 - drop      and at once the largest move and the new currents i = conj(S(V) / V)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from griddispatch.grid import dense_cpu

if TYPE_CHECKING:
    from griddispatch.grid.network import Network

CELLS = {"cpu": 2**16, "cuda": 2**23}  # nodes x scenarios of a chunk: within the cache on a CPU
SINGLE_PRECISION = 3  # first iterations of a float64 solve: there, float32 loses nothing


def dense(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor | None,
    v_init: Tensor | None,
    tol: float,
    max_iter: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve all rows; see `griddispatch.grid.power_flow.solve` for shapes and meaning."""
    p = p_kw.to(device, dtype)
    q = None if q_kvar is None else q_kvar.to(device, dtype)
    start = None if v_init is None else v_init.to(device, dtype.to_complex())
    voltage, converged, iterations = _FixedPoint.apply(network, p, q, start, tol, max_iter)
    return voltage, converged, iterations


class _FixedPoint(torch.autograd.Function):
    """x = v0 - Z i(x, p, q), solved without a graph; gradients by the implicit function theorem.

    With lambda the gradient with respect to x at the solution, the adjoint equation
    lambda = g - (di/dx)^T Z^T lambda is a fixed point with the same contraction as the power flow
    itself; then dL/dp = -(di/dp)^T Z^T lambda. Memory does not grow with the iterations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        network: Network,
        p: Tensor,
        q: Tensor | None,
        start: Tensor | None,
        tol: float,
        max_iter: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return voltage, converged, iterations as `PowerFlow` has them."""
        ctx.network, ctx.tol, ctx.max_iter = network, tol, max_iter
        rows = len(p)
        voltage = p.new_empty(p.shape, dtype=p.dtype.to_complex())
        converged = p.new_zeros(rows, dtype=torch.bool)
        iterations = p.new_full((rows,), max_iter, dtype=torch.int64)
        ctx.save_for_backward(voltage, p, q, converged)
        ctx.mark_non_differentiable(converged, iterations)

        # A row with a NaN or an infinity is solved as an unloaded one and struck out at the end:
        # it keeps its place, so that the arithmetic of every other row stays the same.
        given = [t for t in (p, q, start) if t is not None]
        sound = all(bool(torch.isfinite(t.sum())) for t in given)  # cheaper than cell by cell
        if not sound:
            finite = torch.stack([torch.isfinite(t).all(1) for t in given]).all(0)
            p = torch.where(finite[:, None], p, 0.0)
            q = None if q is None else torch.where(finite[:, None], q, 0.0)
            start = None if start is None else torch.where(finite[:, None], start, 1.0)
        chunk = max(64, CELLS.get(p.device.type, CELLS["cpu"]) // network.n_nodes)
        for lo in range(0, rows, chunk):
            part = slice(lo, lo + chunk)
            part_q = None if q is None else q[part]
            part_start = None if start is None else start[part]
            out = (voltage[part], converged[part], iterations[part])
            _solve_chunk(network, p[part], part_q, part_start, tol, max_iter, out)
        if not sound:
            converged &= finite
            iterations[~finite] = 0
        if not bool(converged.all()):
            voltage[~converged] = torch.nan
        return voltage, converged, iterations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of P and Q; a failed row has zeros, whatever comes in for it."""
        voltage, p, q, ok = ctx.saved_tensors
        net = _matrices(ctx.network, p.device, p.dtype)
        # A row that no gradient comes into gives none back: it is left out, which is exact.
        rows = (ok & (grads[0] != 0).any(1)).nonzero().squeeze(1)
        g, x = net.split(grads[0][rows]), net.split(voltage[rows]).requires_grad_()
        power = [net.pick(t[rows]).requires_grad_() for t in (p, q) if t is not None]
        with torch.enable_grad():
            current = _current(net, x, *power)
        adjoint = g
        enough = max(1e-3 * ctx.tol, 4 * torch.finfo(p.dtype).eps)
        for _ in range(ctx.max_iter if len(rows) else 0):
            (push,) = torch.autograd.grad(current, x, net.z.T @ adjoint, retain_graph=True)
            step = g - push - adjoint
            adjoint = adjoint + step
            if not step.abs().max() > enough * adjoint.abs().max():
                break
        out = []
        for d in torch.autograd.grad(current, power, -(net.z.T @ adjoint)):
            own = p.new_zeros(len(rows), p.shape[1]).index_copy_(1, net.demand, d.T * net.per_unit)
            out.append(torch.zeros_like(p).index_copy_(0, rows, own))
        return None, out[0], out[1] if q is not None else None, None, None, None


# -- one network in one precision on one device ---------------------------------------------


@dataclass(frozen=True)
class _Matrices:
    """The parts of the fixed point; n = N - 1 nodes with a load."""

    v0: Tensor  # [2n, 1] no-load voltage
    z: Tensor  # [2n, 2n]; z @ currents are the voltage drops
    first_p: Tensor  # [2n, n] voltage drop per unit of P at the no-load voltage
    first_q: Tensor  # [2n, n] the same for Q
    zip_p: Tensor | None  # [3, n, 1], None for constant power
    zip_q: Tensor | None
    demand: Tensor  # [n] columns of these nodes in [B, N]
    slack: int
    v_slack: complex
    per_unit: float  # 1 / kVA

    def pick(self, power: Tensor) -> Tensor:
        """[n, B] per unit from [B, N] kW or kvar."""
        own = power[:, 1:] if self.slack == 0 else power.index_select(1, self.demand)
        return own.T.contiguous() * self.per_unit

    def split(self, voltage: Tensor) -> Tensor:
        """[2n, B] from complex [B, N]."""
        v = voltage.index_select(1, self.demand).T
        return torch.cat([v.real, v.imag])

    def store(self, x: Tensor, columns: Tensor, rows: Tensor, voltage: Tensor) -> None:
        """Write columns of [2n, B] and the slack voltage into rows of complex [B, N]."""
        if x.device.type == "cpu":
            dense_cpu.store(
                x.numpy(),
                columns.numpy(),
                rows.numpy(),
                self.demand.numpy(),
                voltage.numpy(),
                self.slack,
                self.v_slack,
            )
            return
        x = x.index_select(1, columns).T
        n = len(self.demand)
        voltage[rows[:, None], self.demand] = torch.complex(x[:, :n], x[:, n:])
        voltage[rows, self.slack] = voltage.new_tensor(self.v_slack)


# A network's matrices live as long as the network itself.
_BUILT: WeakKeyDictionary[Network, dict[tuple[torch.device, torch.dtype], _Matrices]]
_BUILT = WeakKeyDictionary()


def _matrices(network: Network, device: torch.device, dtype: torch.dtype) -> _Matrices:
    """The network on `device` in `dtype`, built once."""
    built = _BUILT.setdefault(network, {})
    if (device, dtype) not in built:
        built[device, dtype] = _build(network, device, dtype)
    return built[device, dtype]


def _build(network: Network, device: torch.device, dtype: torch.dtype) -> _Matrices:
    z, v0 = network.impedance, network.no_load_voltage[network.demand]

    def tensor(x: np.ndarray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(x), device=device, dtype=dtype)

    def stacked(m: np.ndarray) -> Tensor:
        return tensor(np.concatenate([m.real, m.imag]))

    # At V_0 the current of one unit of P is 1 / conj(V_0), of Q it is -j / conj(V_0); a
    # constant-power start is good enough for voltage-dependent loads too.
    per_p, per_q = z / np.conj(v0), -1j * z / np.conj(v0)
    plain = network.is_constant_power
    return _Matrices(
        v0=stacked(v0[:, None]),
        z=tensor(np.block([[z.real, -z.imag], [z.imag, z.real]])),
        first_p=stacked(per_p),
        first_q=stacked(per_q),
        zip_p=None if plain else tensor(network.zip_p[network.demand].T[:, :, None]),
        zip_q=None if plain else tensor(network.zip_q[network.demand].T[:, :, None]),
        demand=torch.as_tensor(network.demand, device=device),
        slack=network.slack,
        v_slack=network.v_slack,
        per_unit=1.0 / network.base_kva,
    )


# -- the iteration --------------------------------------------------------------------------


def _solve_chunk(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor | None,
    start: Tensor | None,
    tol: float,
    max_iter: int,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Fixed point of one chunk, written into `out` = (voltage, converged, iterations).

    The first iterations are in float32, the ones that `tol` judges in full precision. Their number
    is fixed, not judged, so that no row depends on what else is in the batch.
    """
    voltage, converged, iterations = out
    net = _matrices(network, p_kw.device, p_kw.dtype)
    p, q = net.pick(p_kw), None if q_kvar is None else net.pick(q_kvar)
    x, current, used = _first_iterations(network, net, p, q, start, max_iter)
    rows = torch.arange(len(p_kw), device=p_kw.device)  # of the chunk, one per column of x
    waiting = torch.ones_like(rows, dtype=torch.bool)  # columns that have not stopped
    while used < max_iter:
        x, current, move = _advance(net, net.z @ current, p, q, x, current)
        used += 1
        stop = waiting & ~(move >= tol * tol)  # a NaN stops, too
        if not bool(stop.any()):
            continue
        waiting &= ~stop
        at = stop.nonzero().squeeze(1)
        net.store(x, at, rows[at], voltage)
        iterations[rows[at]] = used
        converged[rows[at]] = ~torch.isnan(move[at])
        left = waiting.nonzero().squeeze(1)
        if not len(left):
            return
        if 2 * len(left) <= len(waiting):  # go on with these alone
            rows, waiting = rows[left], waiting[left]
            x, current, p = (t.index_select(1, left) for t in (x, current, p))
            q = None if q is None else q.index_select(1, left)


def _first_iterations(
    network: Network,
    net: _Matrices,
    p: Tensor,
    q: Tensor | None,
    start: Tensor | None,
    max_iter: int,
) -> tuple[Tensor, Tensor, int]:
    """Voltages [2n, B], their currents, and how many iterations they took.

    From the no-load voltages the first iteration is linear in P and Q. A given start is taken to be
    near the solution: no iteration then. One of `max_iter` is always left for the judge.
    """
    full = p.dtype
    if start is not None or max_iter == 1:
        x = net.v0.expand(-1, p.shape[1]).contiguous() if start is None else net.split(start)
        return x, _current(net, x, p, q), 0
    singles = min(SINGLE_PRECISION, max_iter - 1) if full == torch.float64 else 1
    if full == torch.float64:
        net = _matrices(network, p.device, torch.float32)
        p, q = p.to(torch.float32), None if q is None else q.to(torch.float32)
    drop = net.first_p @ p
    if q is not None:
        drop += net.first_q @ q
    x, current, _ = _advance(net, drop, p, q, torch.empty_like(drop), torch.empty_like(drop))
    for _ in range(1, singles):
        x, current, _ = _advance(net, net.z @ current, p, q, x, current)
    return x.to(full), current.to(full), singles


def _advance(
    net: _Matrices, drop: Tensor, p: Tensor, q: Tensor | None, x: Tensor, current: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Voltages v0 - drop [2n, B], their currents, the square of each column's largest move [B].

    On a CPU with constant-power loads `x` and `current` are overwritten, in one pass.
    """
    n = len(p)
    if drop.device.type == "cpu" and net.zip_p is None:
        move = drop.new_zeros(drop.shape[1])
        dense_cpu.advance(
            drop.numpy(),
            net.v0.numpy(),
            p.numpy(),
            None if q is None else q.numpy(),
            x.numpy(),
            current.numpy(),
            move.numpy(),
        )
        return x, current, move
    new = net.v0 - drop
    step = (new - x).square_()
    return new, _current(net, new, p, q), (step[:n] + step[n:]).amax(0)


def _current(net: _Matrices, x: Tensor, p: Tensor, q: Tensor | None = None) -> Tensor:
    """[2n, B] load currents conj(S(V) / V) at voltages [2n, B]; p, q [n, B] per unit."""
    n = len(p)
    re, im = x[:n], x[n:]
    square = re * re + im * im
    if net.zip_p is not None and net.zip_q is not None:
        magnitude = square.sqrt()
        p = p * (net.zip_p[0] + net.zip_p[1] * magnitude + net.zip_p[2] * square)
        if q is not None:
            q = q * (net.zip_q[0] + net.zip_q[1] * magnitude + net.zip_q[2] * square)
    p = p / square
    if q is None:
        return torch.cat([p * re, p * im])
    q = q / square
    return torch.cat([p * re + q * im, p * im - q * re])
