"""Resources that follow a regulation signal: response, limits, cost. One home for their physics.

Signs: a positive power is given to the grid (discharging), a negative one is taken. A generator's
power counts from its base point. The power of an EV fleet is its whole power, net charging
included; what is planned of it is the schedule of the hour (`ev_fleet.Envelope`).

A set-point a is given every 4 s. With dt = 2 s, dead time d, lag T and ramp rho the output follows

    x' = x + clip((dt / T) (a - x), +-rho dt),   p(t) = x(t - d)

A pure delay and a lag may change places, so x, the output ahead of its dead time, is known as soon
as the set-point is given, and p is read from the x of the past. The energy e of a storage is kept
ahead of its dead time in the same way,

    e' = e - (dt / 3600) max(x' / eta_d, eta_c x')    [MWh]

All limits are limits of the set-point, and all are in `Fleet.feasible_interval`:

- the power band, of an EV fleet that of the moment at which the set-point works;
- |a - x| <= rho T. A set-point farther away saturates the ramp; one within keeps the clip above
  from ever binding, so the response is linear;
- storage: after the set-point has worked for 4 s, the set-point zero keeps the energy within its
  limits for ever. For T > dt the energy of the decaying output is taken into account. An EV fleet
  answers within dt and its envelope moves no faster than the fleet can follow, so there it is
  enough that the energy lies inside the envelope 4 s later.

Since the state at which a set-point begins to work is known exactly and always was made safe by the
set-point before it, the interval is never empty.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from griddispatch.assets.ev_fleet import Vehicles
from griddispatch.assets.regulation_resources import (
    STEP_S,
    Battery,
    EVFleet,
    Generator,
    Resource,
    Storage,
)
from griddispatch.errors import InputError


class Window(NamedTuple):
    """Limits at the time a set-point works: power in MW, energy in MWh at the end of its 4 s.

    low, high [..., R] of all resources, empty, full [..., S] of the storages.
    """

    low: Tensor
    high: Tensor
    empty: Tensor
    full: Tensor


class Constants(NamedTuple):
    """Parameters of a fleet as tensors, [R] of all resources or [S] of the storages.

    follow = min(1, dt / T); reach = rho T in MW; drain, carry [4, S] are explained in
    `Fleet.setpoint_for`.
    """

    power: Tensor
    follow: Tensor
    reach: Tensor
    cost: Tensor
    wear: Tensor
    given: Tensor  # MWh inside per MW given for a step
    taken: Tensor  # MWh inside per MW taken for a step
    drain: Tensor
    carry: Tensor


@dataclass(frozen=True)
class Fleet:
    """R resources: first the generators, then the S storages.

    Raises
    ------
    InputError
        Two resources share a name, a generator stands behind a storage, or there is no storage.
    """

    resources: tuple[Resource, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", tuple(self.resources))
        if len(set(self.names)) < len(self.names):
            raise InputError(f"fleet: the names {', '.join(self.names)} must differ")
        stores = [not isinstance(r, Generator) for r in self.resources]
        if stores != sorted(stores) or not any(stores):
            raise InputError("fleet: name the generators first, then at least one storage")

    def __len__(self) -> int:
        return len(self.resources)

    @property
    def names(self) -> tuple[str, ...]:
        """R names."""
        return tuple(r.name for r in self.resources)

    @property
    def storages(self) -> tuple[Storage, ...]:
        """The S resources with an energy limit."""
        return tuple(r for r in self.resources if not isinstance(r, Generator))

    @property
    def generators(self) -> tuple[Generator, ...]:
        """The others."""
        return tuple(r for r in self.resources if isinstance(r, Generator))

    @property
    def dead_steps(self) -> tuple[int, ...]:
        """R dead times in simulation steps."""
        return tuple(round(r.dead_s / STEP_S) for r in self.resources)

    def changed(self, name: str, **values: float) -> "Fleet":
        """The same fleet with other values of one resource, such as its dead time.

        Raises
        ------
        InputError
            There is no resource of this name, or a value is out of range.
        """
        if name not in self.names:
            raise InputError(f"fleet: no resource {name!r}; there are {', '.join(self.names)}")
        return Fleet(
            tuple(replace(r, **values) if r.name == name else r for r in self.resources)  # type: ignore[arg-type]
        )

    def constants(self, like: Tensor) -> Constants:
        """Parameters with the dtype and device of `like`."""
        return _constants(self, like.dtype, like.device)

    def respond(self, output: Tensor, setpoint: Tensor) -> Tensor:
        """[..., 2, R] output after each of the two steps that a feasible set-point is held.

        Both arguments are [..., R] in MW; `output` is ahead of the dead time.
        """
        follow = self.constants(output).follow
        first = torch.lerp(output, setpoint, follow)
        return torch.stack([first, torch.lerp(first, setpoint, follow)], -2)

    def drawn_mwh(self, power: Tensor) -> Tensor:
        """[..., S] energy that leaves the storages at powers [..., 2, S] in two steps."""
        k = self.constants(power)
        return (power.clamp(min=0) * k.given + power.clamp(max=0) * k.taken).sum(-2)

    def setpoint_for(self, room: Tensor, output: Tensor) -> Tensor:
        """[..., S] the set-point that draws `room` MWh [..., S] in all, until the output is zero.

        The set-point works for two steps, then zero follows. Energy drawn is f = max(x / eta_d,
        eta_c x) per step, the larger of two lines, so its sum over the steps is the largest of four
        lines in the set-point a, drain_m a + carry_m x, and all of them rise: the answer is the
        smallest of the four solutions.
        """
        k = self.constants(output)
        solutions = (room[..., None, :] - k.carry * output[..., None, :]) / k.drain
        return solutions.amin(-2)

    def feasible_interval(
        self, output: Tensor, energy: Tensor, window: Window
    ) -> tuple[Tensor, Tensor]:
        """Lowest and highest set-point of every resource; see the module's text.

        Parameters
        ----------
        output
            [..., R] MW, ahead of the dead time.
        energy
            [..., S] MWh, likewise.
        window
            Limits at the time the set-point works.

        Returns
        -------
        low, high
            [..., R] MW, low <= high.
        """
        k, first = self.constants(output), len(self) - energy.shape[-1]
        low = torch.maximum(window.low, output - k.reach)
        high = torch.minimum(window.high, output + k.reach)
        stored = output[..., None, first:]
        room = energy[..., None, :] - torch.stack([window.full, window.empty], -2)
        least, most = self.setpoint_for(room, stored).unbind(-2)
        low = torch.cat([low[..., :first], torch.maximum(low[..., first:], least)], -1)
        high = torch.cat([high[..., :first], torch.minimum(high[..., first:], most)], -1)
        return low, torch.maximum(low, high)  # low > high is rounding only


@lru_cache(maxsize=64)
def _constants(fleet: Fleet, dtype: torch.dtype, device: torch.device) -> Constants:
    def tensor(rows: list[float]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    follow = tensor([min(1.0, STEP_S / r.lag_s) for r in fleet.resources])
    ramp = [r.ramp_mw_per_s if isinstance(r, Generator) else inf for r in fleet.resources]
    hours = STEP_S / 3600
    given = tensor([hours / r.eta_discharge for r in fleet.storages])
    taken = tensor([hours * r.eta_charge for r in fleet.storages])
    f = follow[len(fleet.generators) :]
    lines = []
    for one in (given, taken):  # the energy per MW of the first step, and of the second and later
        for two in (given / f, taken / f):
            drain = one * f + two * (1 - (1 - f) ** 2)
            lines.append((drain, one * (1 - f) + two * (1 - f) ** 2))
    made = Constants(
        power=tensor([r.power_mw for r in fleet.resources]),
        follow=follow,
        reach=tensor(ramp) * STEP_S / follow,
        cost=tensor([r.cost for r in fleet.resources]),
        wear=tensor([r.wear for r in fleet.storages]),
        given=given,
        taken=taken,
        drain=torch.stack([d for d, _ in lines]),
        carry=torch.stack([c for _, c in lines]),
    )
    return Constants(*(value.to(device, dtype) for value in made))


def preset(name: str = "hard") -> Fleet:
    """A fleet of thermal, hydro, LNG, EV and BESS: "hard", "easy" or "ev_stress".

    "hard": the battery's energy and the plants' delays bind. "easy": the battery has ten times the
    energy. "ev_stress": as "hard", by day with few vehicles and a twentieth of the energy envelope.

    Raises
    ------
    InputError
        There is no such preset.
    """
    if name not in ("hard", "easy", "ev_stress"):
        raise InputError(f"no preset {name!r}; take hard, easy or ev_stress")
    thermal = Generator("thermal", 600, 30, ramp=2, dead_s=20, lag_s=10, cost=3)
    hydro = Generator("hydro", 300, 25, ramp=20, dead_s=8, lag_s=8, cost=1.5)
    lng = Generator("LNG", 390, 30, ramp=6, dead_s=12, lag_s=10, cost=4)
    ev, bess = EVFleet("EV", Vehicles()), Battery("BESS", power_mw=10, energy_mwh=1)
    if name == "easy":
        hydro = Generator("hydro", 300, 40, ramp=100, dead_s=4, lag_s=5, cost=1.5)
        lng = Generator("LNG", 390, 30, ramp=6, dead_s=10, lag_s=8, cost=4)
        bess = Battery("BESS", power_mw=20, energy_mwh=10)
    if name == "ev_stress":
        ev = EVFleet("EV", Vehicles(start_hour=(9.0, 16.0), tightness=0.05))
    return Fleet((thermal, hydro, lng, ev, bess))
