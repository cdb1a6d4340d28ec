"""Plant of the multi-energy microgrid: CHP, battery, boiler, grid connection. Physics and limits.

Powers are means over a step, in kW. Battery power p > 0 charges, p < 0 discharges.

CHP with status u (0 or 1), v = 1 in the step of a start, w = 1 in that of a stop:

    minimum u <= p <= power u
    p - p_before <= ramp u_before + start v,     p_before - p <= ramp u + stop w
    heat = ratio p,   fuel = p / eta,   at least min_up steps on, min_down steps off

The published plant has no start and stop ramps of its own. With a ramp of 5 kW per step and a
minimum of 10 kW it can then never start; `preset("as_published")` keeps that.

Battery: e' = e + dt (eta_c max(p, 0) + min(p, 0) / eta_d) in kWh within its limits. The ramp limits
rises of charging and of discharging, max(p, 0) <= max(p_before, 0) + ramp and likewise below zero:
p = 0 is always allowed, so the limits of the energy can always be kept. The published ramp,
|p - p_before| <= ramp (`ramp_both`), can force a full battery to charge; energy goes first then.

Voltage: the grid is a Thevenin source of 1 p.u. behind a resistance, V = 1 - r P / 100 kW with P
the import. The frequency is that of the grid; a single bus that is tied to it has none of its own.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from griddispatch.data.microgrid import LOAD_KW
from griddispatch.errors import InputError

VOLTAGE_BAND = (0.95, 1.05)
VOLTAGE_BASE_KW = 100.0
_LEAST_LOAD_KW = LOAD_KW[0]
_ROUNDING_KW = 1e-4  # a power this far above the stop ramp is the rounding of float32


def _check_numbers(part: "CHP | Battery | Plant", name: str) -> None:
    """Raise InputError for the first number that is negative or not finite."""
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            raise InputError(f"{name}: {field.name} is {value}; give a finite number, 0 or more")


class Interval(NamedTuple):
    """Lowest and highest value of a set-point in kW, [B] each."""

    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class CHP:
    """Combined heat and power unit.

    Attributes
    ----------
    minimum_kw, power_kw
        Electric power when on.
    ramp_kw, start_kw, stop_kw
        Largest change per step when on; largest power in the first step after a start and in the
        last before a stop.
    heat_ratio, eta
        kW of heat per kW of electric power; electric efficiency.
    min_up, min_down
        Steps.
    start_eur
        Cost of a start.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    minimum_kw: float = 10.0
    power_kw: float = 80.0
    ramp_kw: float = 5.0
    start_kw: float = 10.0
    stop_kw: float = 10.0
    heat_ratio: float = 1.2
    eta: float = 0.35
    min_up: int = 2
    min_down: int = 2
    start_eur: float = 50.0

    def __post_init__(self) -> None:
        _check_numbers(self, "chp")
        if not 0 < self.minimum_kw <= self.power_kw or not 0 < self.eta <= 1:
            raise InputError(
                "chp: needs 0 < minimum_kw <= power_kw and eta in (0, 1]; they are "
                f"{self.minimum_kw}, {self.power_kw}, {self.eta}"
            )
        if not (self.ramp_kw > 0 and self.min_up >= 1 and self.min_down >= 1):
            raise InputError(
                "chp: needs ramp_kw > 0 and min_up, min_down >= 1; they are "
                f"{self.ramp_kw}, {self.min_up}, {self.min_down}"
            )

    def may_switch(self, power: Tensor, on: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the unit may be off, and whether it may be on, in the coming step: [B] bool each.

        One of the two is always true. power [B] is that of the step before in kW, on [B] its
        status (bool), held [B] for how many steps the status has been held.
        """
        stop = (held >= self.min_up) & (power <= self.stop_kw + _ROUNDING_KW)
        start = held >= self.min_down
        if self.start_kw < self.minimum_kw:
            start = torch.zeros_like(start)
        return ~on | stop, on | start

    def interval(self, power: Tensor, on: Tensor, on_next: Tensor) -> Interval:
        """[B] kW in the coming step, for an allowed status `on_next` (bool)."""
        low = torch.where(on, (power - self.ramp_kw).clamp(min=self.minimum_kw), self.minimum_kw)
        high = torch.where(on, (power + self.ramp_kw).clamp(max=self.power_kw), self.start_kw)
        return Interval(low * on_next, high * on_next)


@dataclass(frozen=True)
class Battery:
    """Battery of the microgrid.

    Attributes
    ----------
    power_kw, energy_kwh
        Rated power at the terminals, energy between SOC 0 and 1.
    soc_min, soc_max, soc_initial
        Limits of the state of charge, and its start.
    eta_charge, eta_discharge
        Efficiencies, in (0, 1].
    ramp_kw, ramp_both
        Largest rise of |p| per step; whether falls are limited as well, as published.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    power_kw: float = 50.0
    energy_kwh: float = 100.0
    soc_min: float = 0.1
    soc_max: float = 0.9
    soc_initial: float = 0.5
    eta_charge: float = 0.95
    eta_discharge: float = 0.95
    ramp_kw: float = 10.0
    ramp_both: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self, "battery")
        if not 0 <= self.soc_min <= self.soc_initial <= self.soc_max <= 1:
            raise InputError(
                "battery: needs 0 <= soc_min <= soc_initial <= soc_max <= 1; they are "
                f"{self.soc_min}, {self.soc_initial}, {self.soc_max}"
            )
        if not (self.power_kw > 0 and self.energy_kwh > 0 and self.ramp_kw > 0):
            raise InputError(
                "battery: power_kw, energy_kwh and ramp_kw must be positive; they are "
                f"{self.power_kw}, {self.energy_kwh}, {self.ramp_kw}"
            )
        if not (0 < self.eta_charge <= 1 and 0 < self.eta_discharge <= 1):
            raise InputError(
                "battery: efficiencies must lie in (0, 1]; they are "
                f"{self.eta_charge}, {self.eta_discharge}"
            )

    def interval(self, energy: Tensor, power: Tensor, hours: float) -> Interval:
        """[B] kW in the coming step of `hours`, after power [B] kW and with energy [B] kWh."""
        if self.ramp_both:
            low, high = power - self.ramp_kw, power + self.ramp_kw
        else:
            low, high = power.clamp(max=0) - self.ramp_kw, power.clamp(min=0) + self.ramp_kw
        room = (self.soc_max * self.energy_kwh - energy).clamp(min=0)
        stock = (energy - self.soc_min * self.energy_kwh).clamp(min=0)
        most = (room / (self.eta_charge * hours)).clamp(max=self.power_kw)
        least = -(stock * (self.eta_discharge / hours)).clamp(max=self.power_kw)
        return Interval(
            torch.minimum(torch.maximum(low, least), most),
            torch.maximum(torch.minimum(high, most), least),
        )

    def after(self, energy: Tensor, power: Tensor, hours: float) -> Tensor:
        """[B] kWh after a step of `hours` with power [B] kW."""
        gained = self.eta_charge * power.clamp(min=0) + power.clamp(max=0) / self.eta_discharge
        return energy + hours * gained


@dataclass(frozen=True)
class Plant:
    """The microgrid and its tariff.

    Attributes
    ----------
    chp, battery
        See there.
    boiler_kw, boiler_eta
        Heat of the gas boiler, and its efficiency.
    import_kw, export_kw
        Limits at the grid connection; `Day.import_kw` may lie below.
    thevenin
        Resistance r of the grid in p.u. at 100 kW.
    gas_eur, export_eur, lost_load_eur, lost_heat_eur
        EUR/kWh.
    end_value_eur
        EUR per kWh of battery energy above that at the start, at the end of the day.
    steps, step_hours
        Of an episode.
    billed_hours
        Hours by which powers are multiplied for the cost; `step_hours` in a correct bill.
    commitment
        Whether the third set-point is the CHP's status; the published one is the grid power, which
        the balance leaves no freedom.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    chp: CHP = CHP()
    battery: Battery = Battery()
    boiler_kw: float = 150.0
    boiler_eta: float = 0.9
    import_kw: float = 100.0
    export_kw: float = 80.0
    thevenin: float = 0.04
    gas_eur: float = 0.055
    export_eur: float = 0.08
    lost_load_eur: float = 3.0
    lost_heat_eur: float = 1.0
    end_value_eur: float = 0.12
    steps: int = 96
    step_hours: float = 0.25
    billed_hours: float = 0.25
    commitment: bool = True

    def __post_init__(self) -> None:
        _check_numbers(self, "plant")
        if not 0 < self.boiler_eta <= 1 or self.steps < 1 or not self.step_hours > 0:
            raise InputError(
                "plant: needs boiler_eta in (0, 1], steps >= 1 and step_hours > 0; they are "
                f"{self.boiler_eta}, {self.steps}, {self.step_hours}"
            )
        if self.chp.power_kw > self.export_kw + _LEAST_LOAD_KW:
            raise InputError(
                f"plant: the CHP's {self.chp.power_kw:g} kW must fit into export_kw "
                f"{self.export_kw:g} and a load of {_LEAST_LOAD_KW:g} kW"
            )


def preset(name: str = "rec") -> Plant:
    """A plant: "rec" (the default), "as_printed_prices" or "as_published".

    "rec": 96 x 15 min, gas at 0.055 EUR/kWh, so that running the CHP as a hedge costs something.
    "as_printed_prices": the same with gas at 0.05, the printed price. "as_published": 24 steps of
    15 min billed without dt, ramps without start and stop, no commitment, no start cost, nothing
    charged for lost load; its violations are only counted.

    Raises
    ------
    InputError
        There is no such preset.
    """
    rec = Plant()
    if name == "rec":
        return rec
    if name == "as_printed_prices":
        return replace(rec, gas_eur=0.05)
    if name == "as_published":
        return replace(
            rec,
            chp=CHP(start_kw=5.0, stop_kw=5.0, start_eur=0.0),
            battery=Battery(ramp_both=True),
            gas_eur=0.05,
            lost_load_eur=0.0,
            lost_heat_eur=0.0,
            end_value_eur=0.0,
            steps=24,
            billed_hours=1.0,
            commitment=False,
        )
    raise InputError(f"no preset {name!r}; take rec, as_printed_prices or as_published")
