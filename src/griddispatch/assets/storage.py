"""A battery: the power it can take next, and the state of charge after taking it.

One home for the physics of storage. The environment, the rules, the optimum and the tests all use
these functions, and `energy_kwh` is the only place where a power becomes an energy.

Signs: a positive power charges the battery (it is a load on the feeder), a negative one
discharges it. Powers are measured at the grid side, the state of charge inside.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from griddispatch.assets.limits import within
from griddispatch.errors import InputError


def energy_kwh(power_kw: Tensor, hours: float) -> Tensor:
    """Energy of a constant power over a time: kW times h."""
    return power_kw * hours


class Limits(NamedTuple):
    """Parameters of M batteries as tensors [M]; units as in `Storage`."""

    power_kw: Tensor
    capacity_kwh: Tensor
    soc_min: Tensor
    soc_max: Tensor
    soc_initial: Tensor
    eta_charge: Tensor
    eta_discharge: Tensor
    wear_eur_per_kwh: Tensor


@dataclass(frozen=True)
class Storage:
    """Batteries at some nodes of a feeder.

    Every parameter but `nodes` is one number for all batteries, or one per battery.

    Attributes
    ----------
    nodes
        Node numbers of the M batteries.
    power_kw
        Largest charging and discharging power, at the grid side.
    capacity_kwh
        Energy between SOC 0 and SOC 1.
    soc_min, soc_max, soc_initial
        Limits of the state of charge and its value at the start of a day.
    eta_charge, eta_discharge
        Efficiency of either direction, in (0, 1].
    wear_eur_per_kwh
        Degradation cost per kWh that passes the terminals, either way.

    Raises
    ------
    InputError
        A parameter has the wrong length or lies outside its range.
    """

    nodes: tuple[int, ...] = (12, 16, 27, 34)
    power_kw: float | tuple[float, ...] = 50.0
    capacity_kwh: float | tuple[float, ...] = 300.0
    soc_min: float | tuple[float, ...] = 0.2
    soc_max: float | tuple[float, ...] = 0.8
    soc_initial: float | tuple[float, ...] = 0.4
    eta_charge: float | tuple[float, ...] = 1.0
    eta_discharge: float | tuple[float, ...] = 1.0
    wear_eur_per_kwh: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):  # a list or an array becomes a tuple, so that a Storage hashes
            value = getattr(self, field.name)
            if np.ndim(value) or field.name == "nodes":
                object.__setattr__(self, field.name, tuple(np.atleast_1d(value).tolist()))
        if not self.nodes or len(set(self.nodes)) != len(self.nodes):
            raise InputError(f"storage nodes {self.nodes}: give at least one, and each only once")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) != len(self):
                raise InputError(
                    f"storage {field.name} has {len(value)} values for {len(self)} batteries; "
                    "give one for all or one for each"
                )
        for node, row in zip(self.nodes, zip(*self._rows(), strict=True), strict=True):
            power, capacity, low, high, start, charge, discharge, wear = row
            if not (0 < power < inf and 0 < capacity < inf and 0 <= wear < inf):
                raise InputError(
                    f"battery at node {node}: power and capacity must be positive, wear not "
                    f"negative, all finite; they are {power}, {capacity}, {wear}"
                )
            if not 0 <= low <= start <= high <= 1 or low == high:
                raise InputError(
                    f"battery at node {node}: needs 0 <= soc_min <= soc_initial <= soc_max <= 1 "
                    f"and soc_min < soc_max; they are {low}, {start}, {high}"
                )
            if not (0 < charge <= 1 and 0 < discharge <= 1):
                raise InputError(
                    f"battery at node {node}: efficiencies must lie in (0, 1]; "
                    f"they are {charge}, {discharge}"
                )

    def __len__(self) -> int:
        return len(self.nodes)

    def _rows(self) -> list[tuple[float, ...]]:
        values = [getattr(self, field.name) for field in fields(self)[1:]]
        return [v if isinstance(v, tuple) else (float(v),) * len(self) for v in values]

    def limits(self, like: Tensor) -> Limits:
        """Parameters as tensors with the dtype and device of `like`."""
        return _limits(self, like.dtype, like.device)

    def feasible_interval(
        self,
        soc: Tensor,
        hours: float,
        *,
        end_soc: Tensor | None = None,
        hours_after: Tensor | float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Lowest and highest power that keep the state of charge within its limits.

        Parameters
        ----------
        soc
            [..., M] state of charge at the start of the step.
        hours
            Length of the step.
        end_soc, hours_after
            If given, the interval also keeps the state of charge from which `end_soc` can be
            reached in the `hours_after` that remain after this step.

        Returns
        -------
        low, high
            [..., M] kW, low <= 0 <= high unless `end_soc` forces a direction.
        """
        k = self.limits(soc)
        floor, ceiling = k.soc_min, k.soc_max
        if end_soc is not None:
            rise = k.eta_charge * k.power_kw * hours_after / k.capacity_kwh
            fall = k.power_kw / k.eta_discharge * hours_after / k.capacity_kwh
            floor = torch.maximum(floor, end_soc - rise)
            ceiling = torch.minimum(ceiling, end_soc + fall)
        low = self.power_for(soc, floor, hours)
        high = self.power_for(soc, ceiling, hours)
        return low.clamp(-k.power_kw, k.power_kw), high.clamp(-k.power_kw, k.power_kw)

    def power_for(self, soc: Tensor, target: Tensor, hours: float) -> Tensor:
        """[..., M] constant power in kW that moves the state of charge to `target` in `hours`."""
        k = self.limits(soc)
        inside = (target - soc) * k.capacity_kwh / hours
        return torch.where(inside > 0, inside / k.eta_charge, inside * k.eta_discharge)

    def step(self, soc: Tensor, power_kw: Tensor, hours: float) -> Tensor:
        """[..., M] state of charge after `hours` at a power inside the feasible interval."""
        k = self.limits(soc)
        inside = power_kw.clamp(min=0) * k.eta_charge + power_kw.clamp(max=0) / k.eta_discharge
        after = soc + energy_kwh(inside, hours) / k.capacity_kwh
        # Rounding only: the power is feasible.
        return within(after, k.soc_min, k.soc_max)

    def wear_eur(self, power_kw: Tensor, hours: float) -> Tensor:
        """[...] degradation cost of a step, summed over the batteries."""
        wear = self.limits(power_kw).wear_eur_per_kwh
        return (energy_kwh(power_kw.abs(), hours) * wear).sum(-1)


@lru_cache(maxsize=64)
def _limits(storage: Storage, dtype: torch.dtype, device: torch.device) -> Limits:
    return Limits(*(torch.tensor(row, dtype=dtype, device=device) for row in storage._rows()))
