"""Read, check and repair one file of loads, PV and prices; cut it into days.

The file format
---------------
A comma-separated UTF-8 file with one header line and one line per time step, in time order:

``date_time``
    Start of the step, ISO 8601. A stamp with an offset is converted to UTC; one without is UTC.
``active_power_node_i``
    Load of node i in kW, for each node i = 1, 2, ... (the slack node too). It may be negative.
``renewable_active_power_node_i``
    PV power of node i in kW: for all nodes or for none (then it is zero).
``reactive_power_node_i``
    Reactive load of node i in kvar: for all nodes or for none (then it is zero).
``price``
    Energy price in EUR/MWh.

What is repaired, cell by cell and on record in ``Series.repairs``: a stamp off the time grid is
floored to it; a missing stamp is inserted; an empty cell is filled by linear interpolation in time,
up to ``max_gap`` in a row. Whatever else is wrong is an error, and one error names all of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.offsets import Tick

from griddispatch.data.reading import DAY, LOAD, PRICE, PV, REACTIVE, TIME, Array, read_table
from griddispatch.errors import InputError

_FIELDS = ("load", "pv", "reactive", "price", "price_before")


class Slot(NamedTuple):
    """One time step: stamp (UTC), load, pv [N] in kW, reactive [N] in kvar, price in EUR/MWh."""

    stamp: pd.Timestamp
    load: Array
    pv: Array
    reactive: Array
    price: float


@dataclass(frozen=True, eq=False)
class Days:
    """D whole days of S steps at N nodes: measured, or generated.

    load, pv [D, S, N] in kW; reactive [D, S, N] in kvar; price [D, S] in EUR/MWh; step_hours in h.
    price_before [D, S] are the prices of the 24 hours before each day, which a participant of the
    market knows; where none are on record, the day's first price stands in for them.

    Raises
    ------
    InputError
        An array has another shape, or a value in it is not finite.
    """

    dates: tuple[str, ...]
    nodes: tuple[int, ...]
    load: Array
    pv: Array
    reactive: Array
    price: Array
    step_hours: float
    price_before: Array | None = None

    def __post_init__(self) -> None:
        shape = (len(self.dates), round(24 / self.step_hours), len(self.nodes))
        _require(self, shape, "days")
        if self.price_before is None:
            held = np.repeat(self.price[:, :1], shape[1], axis=1)
            object.__setattr__(self, "price_before", held)

    def __len__(self) -> int:
        """Return the number of days D."""
        return len(self.dates)

    @property
    def net_load(self) -> Array:
        """Load minus PV [D, S, N], kW."""
        return self.load - self.pv

    def select(self, dates: Iterable[str]) -> "Days":
        """Return the given days, in the given order; a date may stand more than once.

        Raises
        ------
        InputError
            A date is not among these days.
        """
        wanted = (dates,) if isinstance(dates, str) else tuple(dates)
        at = {date: position for position, date in enumerate(self.dates)}
        for date in wanted:
            if date not in at:
                raise InputError(f"no day {date!r} among these days; they are {_range(self.dates)}")
        rows = np.array([at[date] for date in wanted], dtype=np.intp)
        days = _cut(self, wanted, rows, self.step_hours)
        assert self.price_before is not None
        return replace(days, price_before=self.price_before[rows])

    def joined(self, other: "Days") -> "Days":
        """Return these days followed by the other ones.

        Raises
        ------
        InputError
            Nodes or time steps differ, or a date is among both.
        """
        for field in ("nodes", "step_hours"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise InputError(f"days with other {field} cannot be joined: {mine} and {theirs}")
        twice = sorted(set(self.dates) & set(other.dates))
        if twice:
            raise InputError(f"{twice[0]!r} and {len(twice) - 1} more dates are among both days")
        return Days(
            dates=self.dates + other.dates,
            nodes=self.nodes,
            step_hours=self.step_hours,
            **{
                name: np.concatenate([getattr(self, name), getattr(other, name)])
                for name in _FIELDS
            },
        )

    def save(self, path: Path | str) -> None:
        """Write a compressed npz in single precision: seven digits, more than a meter has.

        The path ends in .npz; the same days give the same bytes.
        """
        arrays = {name: getattr(self, name).astype(np.float32) for name in _FIELDS}
        np.savez_compressed(
            path,
            dates=np.array(self.dates),
            nodes=np.array(self.nodes),
            step_hours=np.array(self.step_hours),
            **arrays,
        )

    @classmethod
    def read(cls, path: Path | str) -> "Days":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(
                dates=tuple(str(date) for date in file["dates"]),
                nodes=tuple(int(node) for node in file["nodes"]),
                step_hours=float(file["step_hours"]),
                **{name: file[name].astype(np.float64) for name in _FIELDS},
            )


@dataclass(frozen=True, eq=False)
class Series:
    """One clean file: T regular steps at N nodes, no value missing.

    index: start of each step, UTC, with its frequency; nodes: ascending; load, pv [T, N] in kW;
    reactive [T, N] in kvar; price [T] in EUR/MWh. repairs has one line per repaired cell: row (line
    of the file, header = 1; NA for an inserted stamp), stamp (as repaired), column, problem,
    value (what was put in; NaN for a stamp).
    """

    name: str
    index: pd.DatetimeIndex
    nodes: tuple[int, ...]
    load: Array
    pv: Array
    reactive: Array
    price: Array
    repairs: pd.DataFrame

    def __post_init__(self) -> None:
        _tick(self.index)
        _require(self, (len(self.index), len(self.nodes)), self.name)

    @classmethod
    def read(cls, path: Path | str, step: str = "15min", max_gap: str = "1h") -> "Series":
        """Read and repair a file of the format above.

        Parameters
        ----------
        path
            The CSV file; its stem becomes the name.
        step
            Time step; a whole number of them makes a day.
        max_gap
            Longest run of missing values that is interpolated.

        Raises
        ------
        InputError
            With everything that is wrong in the file: row, column, and how to mend it.
        """
        path = Path(path)
        table = read_table(path, step, max_gap)

        def block(kind: str) -> Array:
            zero = np.zeros(len(table.index))
            columns = [table.columns.get(f"{kind}{node}", zero) for node in table.nodes]
            return np.stack(columns, axis=1)

        return cls(
            name=path.stem,
            index=table.index,
            nodes=table.nodes,
            load=block(LOAD),
            pv=block(PV),
            reactive=block(REACTIVE),
            price=table.columns[PRICE].copy(),
            repairs=table.repairs,
        )

    def to_csv(self, path: Path | str) -> None:
        """Write the format above; reading it back gives the same values and no repairs."""
        blocks = {LOAD: self.load, PV: self.pv, REACTIVE: self.reactive}
        if not self.reactive.any():
            del blocks[REACTIVE]
        frames = [
            pd.DataFrame(values, self.index, [f"{kind}{node}" for node in self.nodes])
            for kind, values in blocks.items()
        ]
        frames.append(pd.DataFrame({PRICE: self.price}, self.index))
        pd.concat(frames, axis=1).to_csv(path, index_label=TIME, lineterminator="\n")

    @property
    def step(self) -> pd.Timedelta:
        """The time step."""
        return pd.Timedelta(_tick(self.index))

    @cached_property
    def dates(self) -> tuple[str, ...]:
        """The complete UTC days, "YYYY-MM-DD"."""
        end = (self.index[-1] + self.step).floor("D")
        days = pd.date_range(self.index[0].ceil("D"), end, freq="D", inclusive="left")
        return tuple(days.strftime("%Y-%m-%d"))

    def slot(self, stamp: str | pd.Timestamp) -> Slot:
        """Return one time step, e.g. ``slot("2020-09-03 12:15")``; no offset means UTC.

        Raises
        ------
        InputError
            The stamp cannot be read, or is not a step of this series.
        """
        try:
            when = pd.to_datetime(stamp, utc=True)
        except (ValueError, TypeError) as error:
            raise InputError(f"{stamp!r} is no time; write it as 2020-09-03 12:15") from error
        if when not in self.index:
            raise InputError(
                f"{self.name} has no step at {stamp}; its steps of {self.step} run from "
                f"{self.index[0]} to {self.index[-1]}"
            )
        k = self.index.get_loc(when)
        return Slot(when, self.load[k], self.pv[k], self.reactive[k], float(self.price[k]))

    def days(self, dates: Iterable[str]) -> Days:
        """Return complete UTC days as arrays [D, S, N], in the given order.

        Raises
        ------
        InputError
            A date is not a complete day of this series.
        """
        wanted = (dates,) if isinstance(dates, str) else tuple(dates)
        steps = DAY // self.step
        for date in wanted:
            if date not in self.dates:
                held = int((self.index.strftime("%Y-%m-%d") == date).sum())
                raise InputError(
                    f"{self.name} has no complete day {date!r} ({held} of {steps} steps); its "
                    f"complete days are {_range(self.dates)}"
                )
        midnights = pd.DatetimeIndex(wanted, tz="UTC")
        first = ((midnights - self.index[0]) // self.step).to_numpy(dtype=np.intp)
        rows = first[:, None] + np.arange(steps)
        days = _cut(self, wanted, rows, self.step / pd.Timedelta("1h"))
        before = np.where(rows - steps >= 0, rows - steps, first[:, None])
        return replace(days, price_before=self.price[before])


def _cut(
    data: Series | Days, dates: tuple[str, ...], rows: npt.NDArray[np.intp], step_hours: float
) -> Days:
    """Take rows of the first axis: steps of a series as [D, S], or days as [D]."""
    return Days(
        dates=dates,
        nodes=data.nodes,
        load=data.load[rows],
        pv=data.pv[rows],
        reactive=data.reactive[rows],
        price=data.price[rows],
        step_hours=step_hours,
    )


def _tick(index: pd.DatetimeIndex) -> Tick:
    """Return the frequency of a regular index in UTC."""
    if not isinstance(index.freq, Tick) or str(index.tz) != "UTC":
        raise InputError("the index is not regular or not in UTC; give it a freq and tz='UTC'")
    return index.freq


def _require(data: Series | Days, shape: tuple[int, ...], name: str) -> None:
    """Raise InputError unless the blocks have this shape (the price without nodes), all finite."""
    for field in ("load", "pv", "reactive", "price"):
        values = getattr(data, field)
        expected = shape[:-1] if field == "price" else shape
        if values.shape != expected:
            raise InputError(f"{name}: {field} has shape {values.shape}, expected {expected}")
        if not np.isfinite(values).all():
            raise InputError(f"{name}: {field} holds a value that is not finite; repair it first")


def _range(dates: tuple[str, ...]) -> str:
    """Say in words which dates there are."""
    return f"{len(dates)} from {min(dates)} to {max(dates)}" if dates else "none"
