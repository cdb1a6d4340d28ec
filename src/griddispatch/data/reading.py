"""Read one CSV of the format described in `griddispatch.data.series`: check, place, fill.

The checks go through the whole file before any error is raised, so that one error names everything
that is wrong. A cell that is wrong is a problem; a cell that is empty is a gap, to be filled.
"""

import difflib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from griddispatch.errors import InputError

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

LOAD, PV, REACTIVE = "active_power_node_", "renewable_active_power_node_", "reactive_power_node_"
TIME, PRICE = "date_time", "price"
DAY = pd.Timedelta("1D")

_NODE_COLUMN = re.compile(f"({LOAD}|{PV}|{REACTIVE})([1-9][0-9]*)")
_EMPTY = ["", "nan", "NaN", "NA"]
_MOST_LINES = 20


@dataclass(frozen=True, eq=False)
class Table:
    """A clean file: index [T] (UTC, regular), nodes, one array [T] per column, the repairs."""

    index: pd.DatetimeIndex
    nodes: tuple[int, ...]
    columns: dict[str, Array]
    repairs: pd.DataFrame


class _Grid(NamedTuple):
    """The time step, the longest gap that is filled, and that gap in steps."""

    step: pd.Timedelta
    max_gap: str
    most: int


class _Problems:
    """Everything that is wrong in one file, for one error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []

    def add(self, what: str, row: object = None, column: str | None = None) -> None:
        """Note one problem; `row` is the line number in the file, the header being 1."""
        place = [self.path.name]
        place += [] if row is None else [f"row {row}"]
        place += [] if column is None else [f"column {column}"]
        self.lines.append(f"{', '.join(place)}: {what}")

    def raise_all(self) -> None:
        """Raise InputError with every problem noted, the first 20 of them in words."""
        if not self.lines:
            return
        shown = self.lines[:_MOST_LINES]
        if len(self.lines) > len(shown):
            shown.append(f"and {len(self.lines) - len(shown)} more")
        count = f"{len(self.lines)} problem{'s' if len(self.lines) > 1 else ''}"
        raise InputError("\n  ".join([f"{self.path} has {count}:", *shown]))


def read_table(path: Path, step: str, max_gap: str) -> Table:
    """Read, check and repair one file; see `griddispatch.data.series.Series.read`."""
    grid = _grid(step, max_gap)
    problems = _Problems(path)
    header, lines = _read_lines(path, problems)
    nodes, names = _classify(header, problems)
    if not lines or not names:
        problems.raise_all()
    rows = np.fromiter(lines, dtype=np.int64, count=len(lines))
    text = _parse(header, lines, names)
    values = np.stack([_numbers(text[name], rows, name, problems) for name in names], axis=1)
    placed = _stamps(text[TIME], rows, grid, problems) if TIME in header else None
    if placed is None:  # a position in the file is no time, so nothing can be filled
        _check_gaps(values, rows, names, grid, problems)
        problems.raise_all()
        raise AssertionError("a file without a time axis has a problem")
    stamps, moved = placed
    index = pd.date_range(stamps[0], stamps[-1], freq=grid.step, name=TIME)
    at = index.get_indexer(stamps)
    table, origin = np.full((len(index), len(names)), np.nan), np.zeros(len(index), np.int64)
    table[at], origin[at] = values, rows
    _check_gaps(table, origin, names, grid, problems)
    problems.raise_all()
    repairs = _fill(table, origin, names, at[moved], index)
    return Table(index, nodes, dict(zip(names, table.T, strict=True)), repairs)


def _grid(step: str, max_gap: str) -> _Grid:
    """Check the two durations."""
    try:
        size, gap = pd.Timedelta(step), pd.Timedelta(max_gap)
    except ValueError as error:
        raise InputError(
            f"step {step!r} or max_gap {max_gap!r} is no duration; write it as 15min or 1h"
        ) from error
    if not size > pd.Timedelta(0) or DAY % size != pd.Timedelta(0):
        raise InputError(f"step {step!r} does not divide a day; take for example 15min or 1h")
    if not gap >= pd.Timedelta(0):
        raise InputError(f"max_gap {max_gap!r} is no length of time; take 0h to fill nothing")
    return _Grid(size, max_gap, gap // size)


def _read_lines(path: Path, problems: _Problems) -> tuple[list[str], dict[int, str]]:
    """Return the header's names, and by line number the lines with as many fields as the header."""
    try:
        # No field of the format holds a comma, so quotes carry nothing (R writes them).
        text = path.read_text(encoding="utf-8-sig").rstrip().replace('"', "")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; save the file as CSV in UTF-8") from error
    if not text:
        raise InputError(f"{path} is empty; it needs a header line and one line per time step")
    lines = text.split("\n")
    if "," not in lines[0] and ";" in lines[0]:
        raise InputError(f"{path} separates its fields by semicolons; save it with commas")
    header = [name.strip() for name in lines[0].split(",")]
    fields = {number: line.count(",") + 1 for number, line in enumerate(lines, start=1)}
    for number, found in fields.items():
        if found != len(header):
            problems.add(
                f"the line has {found} fields, the header has {len(header)}; complete or delete it",
                number,
            )
    if len(lines) == 1:
        problems.add("there is no line under the header; add one line per time step")
    whole = {n: line for n, line in enumerate(lines, start=1) if fields[n] == len(header)}
    whole.pop(1, None)
    return header, whole


def _classify(header: list[str], problems: _Problems) -> tuple[tuple[int, ...], list[str]]:
    """Return the nodes, ascending, and the value columns that are known, in their order."""
    matches = [match for name in header if (match := _NODE_COLUMN.fullmatch(name))]
    nodes = sorted({int(match[2]) for match in matches})
    kinds = {LOAD} | {match[1] for match in matches}
    required = [TIME, *(f"{kind}{node}" for kind in sorted(kinds) for node in nodes or [1]), PRICE]
    known = {*required, *(match[0] for match in matches)}
    for column, name in enumerate(header, start=1):
        if name not in known:
            numbers = re.findall("[1-9][0-9]*", name)
            likely = {f"{kind}{node}" for kind in (LOAD, PV, REACTIVE) for node in numbers} | known
            closest = difflib.get_close_matches(name, sorted(likely), n=1, cutoff=0.0)[0]
            problems.add(
                f"unknown column number {column}; the closest known name is {closest}, "
                "rename or delete the column",
                1,
                repr(name),
            )
        elif name in header[: column - 1]:
            problems.add("the column stands twice; delete one of them", 1, name)
    for name in required:
        if name not in header:
            problems.add("the column is missing; add it or mend its name", 1, name)
    return tuple(nodes), [name for name in dict.fromkeys(header) if name in known - {TIME}]


def _parse(header: list[str], lines: dict[int, str], names: list[str]) -> pd.DataFrame:
    """Return the stamps as text; a value column as numbers, or as text if a cell is no number."""
    names = [name for name in (TIME, *names) if name in header]
    place = {header.index(name): name for name in names}
    frame = pd.read_csv(
        io.StringIO("\n".join(lines.values())),
        header=None,
        names=list(range(len(header))),
        usecols=list(place),
        dtype={column: str for column, name in place.items() if name == TIME},
        keep_default_na=False,
        na_values=_EMPTY,
        skip_blank_lines=False,
        float_precision="round_trip",
        low_memory=False,
    )
    return frame.rename(columns=place)


def _numbers(cells: pd.Series, rows: Rows, name: str, problems: _Problems) -> Array:
    """Return a column as floats, NaN where a cell is empty; a wrong cell is noted and set to 0."""
    if cells.dtype in (np.float64, np.int64):
        values = cells.to_numpy(dtype=np.float64, copy=True)
    else:
        values = pd.to_numeric(cells.astype(str), errors="coerce").to_numpy(np.float64, copy=True)
    wrong = np.isinf(values) | (np.isnan(values) & cells.notna().to_numpy())
    for k in np.flatnonzero(wrong):
        problems.add(
            f"'{cells.iloc[k]}' is no finite number; write a number or leave the cell empty",
            rows[k],
            name,
        )
    values[wrong] = 0.0
    return values


def _stamps(
    text: pd.Series, rows: Rows, grid: _Grid, problems: _Problems
) -> tuple[pd.DatetimeIndex, npt.NDArray[np.bool_]] | None:
    """Return the stamps on the grid (UTC) and which were moved, or None where they do not rise."""
    before = len(problems.lines)
    text = text.fillna("")
    read = pd.DatetimeIndex(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"))
    for k in np.flatnonzero(read.isna()):
        problems.add(
            f"{text.iloc[k]!r} is no stamp; write it as 2020-07-17 00:15:00+00:00", rows[k], TIME
        )
    good = np.asarray(read.notna())
    read, rows, written = read[good], rows[good], text.to_numpy()[good]
    stamps = read.floor(grid.step)
    steps = np.asarray((stamps[1:] - stamps[:-1]) // grid.step, dtype=np.int64)
    if (steps != 1).sum() > len(steps) / 2:
        problems.add(
            f"most lines do not come {grid.step} after the line before; "
            "sort the lines by time, or read the file with its own step",
            column=TIME,
        )
        return None
    for k in np.flatnonzero((steps < 1) | (steps - 1 > grid.most)):
        stamp = written[k + 1]
        if steps[k] == 0:
            what = f"{stamp} falls into the same step as the line before; delete one of the lines"
        elif steps[k] < 0:
            what = f"{stamp} is earlier than the line before; sort the lines by time"
        else:
            what = (
                f"{steps[k] - 1} steps are missing before {stamp}, more than max_gap = "
                f"{grid.max_gap}; add the lines or raise max_gap"
            )
        problems.add(what, rows[k + 1], TIME)
    return (stamps, stamps != read) if len(problems.lines) == before else None


def _check_gaps(
    values: Array, rows: Rows, names: list[str], grid: _Grid, problems: _Problems
) -> None:
    """Note the runs of empty cells that are too long or have no value on one side."""
    for name, column in zip(names, values.T, strict=True):
        edges = np.flatnonzero(np.diff(np.isnan(column), prepend=False, append=False))
        for start, stop in edges.reshape(-1, 2):
            row = rows[start:stop].max(initial=0)
            if start == 0 or stop == len(column):
                problems.add(
                    f"empty at the edge of the file ({stop - start} in a row); "
                    "give a value or delete the lines",
                    row,
                    name,
                )
            elif stop - start > grid.most:
                problems.add(
                    f"{stop - start} values in a row are missing, more than max_gap = "
                    f"{grid.max_gap}; give values or raise max_gap",
                    row,
                    name,
                )


def _fill(
    table: Array, rows: Rows, names: list[str], moved: Rows, index: pd.DatetimeIndex
) -> pd.DataFrame:
    """Interpolate the empty cells of `table` in place; return the repairs in the order of time."""
    empty = np.isnan(table)
    for k in np.flatnonzero(empty.any(axis=0)):
        gaps, known = np.flatnonzero(empty[:, k]), np.flatnonzero(~empty[:, k])
        table[gaps, k] = np.interp(gaps, known, table[known, k])
    at, column = np.nonzero(empty)
    position = np.concatenate([moved, at])
    repairs = pd.DataFrame(
        {
            "row": pd.array(rows[position], dtype="Int64"),
            "stamp": index[position],
            "column": [TIME] * len(moved) + [names[k] for k in column],
            "problem": ["stamp off the grid"] * len(moved)
            + np.where(rows[at] > 0, "empty cell", "missing stamp").tolist(),
            "value": np.concatenate([np.full(len(moved), np.nan), table[at, column]]),
        }
    )
    repairs["row"] = repairs["row"].mask(repairs["row"] == 0)
    return repairs.sort_values("stamp", kind="stable", ignore_index=True)
