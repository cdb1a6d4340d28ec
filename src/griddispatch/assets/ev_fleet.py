"""A fleet of electric vehicles as one virtual battery.

Each vehicle is connected from its arrival to its departure, can take or give its rated power, and
must leave with a wanted state of charge, or as near to it as full power brings it. From these
sessions follow, for each vehicle, the lowest and the highest energy that it may hold at a time

    highest = min(full, arrival + eta_c P (t - t_arrival))
    lowest  = max(empty, arrival - P (t - t_arrival) / eta_d, wanted - eta_c P (t_departure - t))

and, summed over the vehicles, the power envelope and the energy envelope of the fleet (Hao et al.,
"Aggregate flexibility of thermostatically controlled loads", IEEE Trans. Power Syst. 30, 2015, for
the idea of a virtual battery). Energy is counted from the arrival of a vehicle on and stays where
it was when the vehicle leaves, so the envelope has no jumps.

The envelope is an outer approximation. Every dispatch that suits all vehicles lies inside it, but
a dispatch inside it need not be divisible among the vehicles: the sum forgets which vehicle is
full. It proves nothing about a single vehicle.

Sessions: arrival N(17.6, 3.4 h) and departure N(8.9, 3.2 h), figures in common use for private cars
after the National Household Travel Survey of the USA; the rest are choices of this project.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from griddispatch.errors import InputError

Float = NDArray[np.float64]

_SHORTEST, _LONGEST = 1.0, 23.0  # hours of a session


@dataclass(frozen=True)
class Vehicles:
    """A fleet with a battery each, all of one type.

    Attributes
    ----------
    count
        Number of vehicles.
    power_kw, battery_kwh
        Rated power of the connection, both ways, and energy of one battery.
    soc_min, soc_max
        Limits of the state of charge of each vehicle.
    soc_arrival
        Ends of the uniform distribution of the state of charge at arrival.
    soc_departure
        What a vehicle wants at its departure.
    eta_charge, eta_discharge
        Efficiencies, in (0, 1].
    start_hour
        Between which hours of the day an episode begins; beyond 24 is the next morning.
    tightness
        Factor of the width of the energy envelope; 1 is the envelope of the sessions.

    Raises
    ------
    InputError
        A value lies outside its range.
    """

    count: int = 1000
    power_kw: float = 7.0
    battery_kwh: float = 60.0
    soc_min: float = 0.2
    soc_max: float = 0.95
    soc_arrival: tuple[float, float] = (0.4, 0.8)
    soc_departure: float = 0.8
    eta_charge: float = 0.95
    eta_discharge: float = 0.95
    start_hour: tuple[float, float] = (20.0, 29.0)
    tightness: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1 or not (0 < self.power_kw < inf and 0 < self.battery_kwh < inf):
            raise InputError(
                "vehicles: count, power_kw and battery_kwh must be positive; they are "
                f"{self.count}, {self.power_kw}, {self.battery_kwh}"
            )
        first, last = self.soc_arrival
        if not 0 <= self.soc_min <= first <= last <= self.soc_max <= 1:
            raise InputError(
                "vehicles: needs 0 <= soc_min <= soc_arrival <= soc_max <= 1; they are "
                f"{self.soc_min}, {self.soc_arrival}, {self.soc_max}"
            )
        if not self.soc_min <= self.soc_departure <= self.soc_max:
            raise InputError(
                f"vehicles: soc_departure {self.soc_departure} lies outside soc_min .. soc_max"
            )
        if not (0 < self.eta_charge <= 1 and 0 < self.eta_discharge <= 1):
            raise InputError(
                "vehicles: efficiencies must lie in (0, 1]; they are "
                f"{self.eta_charge}, {self.eta_discharge}"
            )
        if not (0 <= self.start_hour[0] <= self.start_hour[1] < 36 and 0 < self.tightness <= 1):
            raise InputError(
                "vehicles: needs 0 <= start_hour < 36 in rising order and tightness in (0, 1]; "
                f"they are {self.start_hour}, {self.tightness}"
            )


class Envelope(NamedTuple):
    """Power and energy limits of a fleet over an hour and some minutes, for H hours.

    power_mw [H, m] is the power of the vehicles that are connected in a whole minute: the fleet may
    give or take that much. low_mwh and high_mwh [H, m + 1] bound the energy at the minutes; between
    them they run straight. start_mwh [H] is the energy at the start. schedule_mw [H] is the net
    charging that is planned for the hour, as a (mostly negative) power: it keeps the place of the
    energy within the envelope.
    """

    power_mw: Float
    low_mwh: Float
    high_mwh: Float
    start_mwh: Float
    schedule_mw: Float


def draw_envelopes(
    vehicles: Vehicles, hours: int, seed: tuple[int, ...], *, minutes: int = 62
) -> Envelope:
    """Envelopes of H fleets, each drawn anew, at random times of the day.

    Hour h depends on `seed` and h only. The energy starts at a random place in the middle 40 % of
    the envelope. `minutes` is at least 60.
    """
    rows = [_one(vehicles, np.random.default_rng((*seed, h)), minutes) for h in range(hours)]
    return Envelope(*(np.stack(column) for column in zip(*rows, strict=True)))


def _one(v: Vehicles, rng: np.random.Generator, minutes: int) -> tuple[Float, ...]:
    arrival = rng.normal(17.6, 3.4, v.count)
    stay = rng.normal(8.9, 3.2, v.count) + 24 - arrival
    stay = stay.clip(_SHORTEST, _LONGEST)
    energy = rng.uniform(*v.soc_arrival, v.count) * v.battery_kwh
    start = rng.uniform(*v.start_hour)
    place = rng.uniform(0.3, 0.7)
    # Whole minutes from the start of the hour on. A session also began a day before and a day
    # later; no vehicle is connected twice, since a session is shorter than a day.
    days = 24.0 * np.arange(-1, 2)[:, None]
    begin = np.ceil((arrival + days - start) * 60).ravel()
    end = np.floor((arrival + stay + days - start) * 60).ravel()
    energy = np.tile(energy, 3)
    now = (end > 0) & (begin < minutes) & (end > begin)
    begin, end, energy = begin[now, None], end[now, None], energy[now, None]

    power = v.power_kw / 60  # kWh in a minute
    full, empty = v.soc_max * v.battery_kwh, v.soc_min * v.battery_kwh
    reached = energy + v.eta_charge * power * (end - begin)
    wanted = np.minimum(v.soc_departure * v.battery_kwh, reached)
    minute = np.arange(minutes + 1.0)
    since = (np.minimum(minute, end) - begin).clip(0)
    left = (end - np.maximum(minute, begin)).clip(0)
    high = np.minimum(full, energy + v.eta_charge * power * since) - energy
    low = np.maximum(empty, energy - power / v.eta_discharge * since)
    low = np.maximum(low, wanted - v.eta_charge * power * left) - energy
    connected = (begin <= minute[:-1]) & (minute[1:] <= end)

    power_mw = v.power_kw / 1000 * connected.sum(0)
    low_mwh, high_mwh = low.sum(0) / 1000, high.sum(0) / 1000
    middle = low_mwh + place * (high_mwh - low_mwh)
    low_mwh = middle + v.tightness * (low_mwh - middle)
    high_mwh = middle + v.tightness * (high_mwh - middle)
    rise = middle[60] - middle[0]
    schedule = -rise / v.eta_charge if rise > 0 else -rise * v.eta_discharge
    most = power_mw.min()
    return power_mw, low_mwh, high_mwh, middle[0], np.clip(schedule, -most, most)
