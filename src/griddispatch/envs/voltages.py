"""The power flow inside the environment: voltages of a step, and those without any battery.

Rows are grouped by the topology that their day is played on, and every group is one batch. Where
the loads of a network depend on the voltage, only the loads do: batteries and PV sit behind
inverters, which hold their power.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from griddispatch.data.series import Days
from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.grid.newton import newton_net
from griddispatch.grid.power_flow import Backend, PowerFlow, solve

IDLE_TOL = 1e-8  # p.u.


class Voltages:
    """Voltages of D days on one or more topologies.

    Parameters
    ----------
    networks
        K topologies; the days d with d // (D / K) = k are played on topology k.
    days
        Loads, PV and reactive loads.
    at
        [M] columns of the nodes with a battery.
    backend, tol
        Of the power flow. The voltages without batteries come from the fast backends even for
        "pandapower": to 1e-8 p.u. they are the same, and there is one for every step of every day.

    Raises
    ------
    InputError
        A network cannot carry the load of a day, or the backend does not model a network.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        days: Days,
        at: Tensor,
        backend: Backend,
        tol: float,
        dtype: torch.dtype,
    ) -> None:
        self.networks, self.days, self.at = networks, days, at
        self.backend, self.tol = backend, tol
        self.device, self.dtype = at.device, dtype
        self.topology = torch.arange(len(networks), device=at.device).repeat_interleave(
            len(days) // len(networks)
        )
        self.net_load = self._tensor(days.net_load)  # [D, S, N] kW
        self._reactive = self._tensor(days.reactive) if days.reactive.any() else None
        self._plain = [network.is_constant_power for network in networks]
        if not all(self._plain):
            self._load, self._inverters = self._tensor(days.load), self._tensor(-days.pv)
        if backend == "pandapower":
            for network in networks:
                newton_net(network)
        self.idle = self._idle()  # [D, S, N] complex p.u., no battery in use
        self._slack_rows = [
            torch.as_tensor(n.y_bus[n.slack], device=self.device).to(self.idle) for n in networks
        ]

    def loaded(self, day: Tensor, t: Tensor, power_kw: Tensor) -> Tensor:
        """[B, N] complex voltages in p.u. with the batteries at powers [B, M] in kW.

        Raises
        ------
        InputError
            A power is not a number, or the power flow of a row has no solution.
        """
        voltage = self._by_topology(self._solve, day, t, power_kw)
        failed = voltage[:, 0].isnan()
        if bool(failed.any()):
            row = int(failed.nonzero()[0])
            if not bool(power_kw[row].isfinite().all()):
                raise InputError(f"the action or the soc of episode {row} is not a number")
            raise self._no_solution(int(day[row]), int(t[row]))
        return voltage

    def import_kw(self, day: Tensor, voltage: Tensor) -> Tensor:
        """[B] active power that the network takes at the slack node, its own load left out."""
        return self._by_topology(self._import_kw, day, voltage)

    # -- one topology ---------------------------------------------------------------------

    def _solve(self, k: int, day: Tensor, t: Tensor, power_kw: Tensor) -> Tensor:
        """[B, N] voltages on topology k, NaN in a row without a solution."""
        if self._plain[k]:
            load, inverters = self.net_load[day, t].index_add_(1, self.at, power_kw), None
        else:
            load = self._load[day, t]
            inverters = self._inverters[day, t].index_add_(1, self.at, power_kw)
        flow = solve(
            self.networks[k],
            load,
            None if self._reactive is None else self._reactive[day, t],
            constant_kw=inverters,
            backend=self.backend,
            tol=self.tol,
            v_init=self.idle[day, t],
            device=self.device,
            dtype=self.dtype,
        )
        return flow.voltage

    def _import_kw(self, k: int, _: Tensor, voltage: Tensor) -> Tensor:
        network = self.networks[k]
        current = voltage @ self._slack_rows[k]
        at_slack = voltage[:, network.slack] * current.conj()
        return at_slack.real * network.base_kva

    def _idle_of(self, k: int, days: Tensor) -> PowerFlow:
        def rows(table: Tensor) -> Tensor:
            return table[days].flatten(0, 1)

        return solve(  # in float64, because float32 cannot hold a voltage to 1e-8
            self.networks[k],
            rows(self.net_load if self._plain[k] else self._load),
            None if self._reactive is None else rows(self._reactive),
            constant_kw=None if self._plain[k] else rows(self._inverters),
            backend="auto" if self.backend == "pandapower" else self.backend,
            tol=min(self.tol, IDLE_TOL),
            device=self.device,
            dtype=torch.float64,
        )

    # -- all of them ----------------------------------------------------------------------

    def _by_topology(self, act: Callable[..., Tensor], day: Tensor, *rest: Tensor) -> Tensor:
        """[B, ...] of act(k, day, *rest), which is called with the rows of each topology k."""
        if len(self.networks) == 1:
            return act(0, day, *rest)
        here = self.topology[day]
        rows = {k: (here == k).nonzero()[:, 0] for k in here.unique().tolist() or [0]}
        parts = [act(k, day[at], *(x[at] for x in rest)) for k, at in rows.items()]
        return torch.cat(parts)[torch.cat(list(rows.values())).argsort()]

    def _idle(self) -> Tensor:
        steps = self.net_load.shape[1]
        parts = []
        for k in range(len(self.networks)):
            days = (self.topology == k).nonzero()[:, 0]
            flow = self._idle_of(k, days)
            if not bool(flow.converged.all()):
                row = int((~flow.converged).nonzero()[0])
                raise self._no_solution(int(days[row // steps]), row % steps)
            parts.append(flow.voltage)
        return torch.cat(parts).to(self.dtype.to_complex()).view(self.net_load.shape)

    def _tensor(self, x: object) -> Tensor:
        return torch.as_tensor(x, device=self.device, dtype=self.dtype)

    def _no_solution(self, day: int, t: int) -> InputError:
        total = float(self.net_load[day, t].sum())
        network = self.networks[int(self.topology[day])]
        return InputError(
            f"no power-flow solution on {self.days.dates[day]}, step {t} (net load {total:.0f} "
            f"kW): network {network.name} cannot carry it; reduce the load or the batteries"
        )
