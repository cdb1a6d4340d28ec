"""Resources that can follow a regulation signal, as numbers: plants, batteries, EV fleets.

What they do with a set-point is in `assets.regulation`.
"""

from dataclasses import dataclass
from math import inf

from griddispatch.assets.ev_fleet import Vehicles
from griddispatch.errors import InputError

STEP_S = 2.0  # of the simulation
SUBSTEPS = 2  # simulation steps that a set-point is held
DISPATCH_S = STEP_S * SUBSTEPS


@dataclass(frozen=True)
class Generator:
    """A power plant that moves around its base point.

    Attributes
    ----------
    name
        Of the resource.
    capacity_mw, band_mw
        Rated power, and how far the plant moves up and down for regulation.
    ramp
        Largest change of the output in % of the rated power per minute.
    dead_s, lag_s
        Dead time, a multiple of 2 s, and time constant of the response.
    cost
        $ per MW-mile: per MW that the set-point moves, up or down.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    name: str
    capacity_mw: float
    band_mw: float
    ramp: float
    dead_s: float
    lag_s: float
    cost: float

    def __post_init__(self) -> None:
        _check_response(self, STEP_S)
        if not 0 < self.band_mw <= self.capacity_mw < inf:
            raise InputError(
                f"{self.name}: needs 0 < band_mw <= capacity_mw; they are "
                f"{self.band_mw}, {self.capacity_mw}"
            )
        if not 0 < self.ramp < inf:
            raise InputError(f"{self.name}: ramp must be positive; it is {self.ramp} %/min")

    @property
    def power_mw(self) -> float:
        """Largest power either way."""
        return self.band_mw

    @property
    def ramp_mw_per_s(self) -> float:
        """Largest change of the output."""
        return self.ramp / 100 * self.capacity_mw / 60


@dataclass(frozen=True)
class Battery:
    """A battery storage system; it knows no ramp.

    Attributes
    ----------
    name, dead_s, lag_s, cost
        As of a `Generator`; the dead time is a multiple of 4 s.
    power_mw, energy_mwh
        Rated power at the grid side, energy between SOC 0 and 1.
    soc_min, soc_max
        Limits of the state of charge.
    soc_initial
        Ends of the uniform distribution of the state of charge at the start of an hour.
    eta_charge, eta_discharge
        Efficiencies, in (0, 1].
    wear
        Degradation in $ per MWh through the terminals, either way.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    name: str
    power_mw: float
    energy_mwh: float
    soc_min: float = 0.1
    soc_max: float = 0.9
    soc_initial: tuple[float, float] = (0.15, 0.85)
    eta_charge: float = 0.95
    eta_discharge: float = 0.95
    dead_s: float = 0.0
    lag_s: float = 1.0
    cost: float = 2.0
    wear: float = 15.0

    def __post_init__(self) -> None:
        _check_response(self, DISPATCH_S)
        first, last = self.soc_initial
        if not 0 <= self.soc_min <= first <= last <= self.soc_max <= 1:
            raise InputError(
                f"{self.name}: needs 0 <= soc_min <= soc_initial <= soc_max <= 1; they are "
                f"{self.soc_min}, {self.soc_initial}, {self.soc_max}"
            )
        if not (0 < self.power_mw < inf and 0 < self.energy_mwh < inf and 0 <= self.wear < inf):
            raise InputError(
                f"{self.name}: power_mw and energy_mwh must be positive, wear not negative; they "
                f"are {self.power_mw}, {self.energy_mwh}, {self.wear}"
            )
        if not (0 < self.eta_charge <= 1 and 0 < self.eta_discharge <= 1):
            raise InputError(
                f"{self.name}: efficiencies must lie in (0, 1]; they are "
                f"{self.eta_charge}, {self.eta_discharge}"
            )


@dataclass(frozen=True)
class EVFleet:
    """Electric vehicles as one virtual battery (`assets.ev_fleet`); it answers within 2 s.

    Attributes
    ----------
    name, dead_s, lag_s, cost, wear
        As of a `Battery`.
    vehicles
        Their number, type and sessions.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    name: str
    vehicles: Vehicles
    dead_s: float = 4.0
    lag_s: float = 2.0
    cost: float = 5.0
    wear: float = 0.0

    def __post_init__(self) -> None:
        _check_response(self, DISPATCH_S)
        if self.lag_s > STEP_S or not 0 <= self.wear < inf:
            raise InputError(
                f"{self.name}: needs lag_s <= {STEP_S:g} and wear not negative; they are "
                f"{self.lag_s}, {self.wear}. A moving envelope needs a response within a step"
            )

    @property
    def power_mw(self) -> float:
        """Power of all vehicles together."""
        return self.vehicles.count * self.vehicles.power_kw / 1000

    @property
    def eta_charge(self) -> float:
        """That of a vehicle."""
        return self.vehicles.eta_charge

    @property
    def eta_discharge(self) -> float:
        """That of a vehicle."""
        return self.vehicles.eta_discharge


Storage = Battery | EVFleet
Resource = Generator | Storage


def _check_response(resource: Resource, multiple_s: float) -> None:
    if resource.dead_s < 0 or resource.dead_s % multiple_s or not resource.dead_s < inf:
        raise InputError(
            f"{resource.name}: dead_s must be a multiple of {multiple_s:g} s and not negative; "
            f"it is {resource.dead_s}"
        )
    if not (0 < resource.lag_s < inf and 0 <= resource.cost < inf):
        raise InputError(
            f"{resource.name}: lag_s must be positive, cost not negative; they are "
            f"{resource.lag_s}, {resource.cost}"
        )
