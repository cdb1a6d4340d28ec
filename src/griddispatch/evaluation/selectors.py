"""Selectors: where a number stands in results/, written as data instead of code.

A selector is a map

    file: results/x.csv           a CSV file, or a JSON file
    rows: gains                   JSON only: the list of records, or map of records, that is meant
    where: {scope: test}          rows whose columns have these values; a list means any of them, a
                                  star at the end of a text any ending
    take: largest                 of several rows; without it there must be one
    value: mean                   column, or dotted key of a JSON file; beside it low, high, holds
    by: network                   with per or minus: each row is combined with the row where this
                                  column is the same
    per: {...}, minus: {...}      a selector to divide by, or to subtract
    scale: 100                    factor of the result

Of a map of records, the name of each is its column "key".
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from griddispatch.errors import InputError

TAKES: dict[str, Callable[[list[float]], float]] = {
    "smallest": min,
    "largest": max,
    "mean": lambda values: math.fsum(values) / len(values),
}
Row = Mapping[str, Any]


class Range(NamedTuple):
    """A number, as (x, x), or all numbers from `low` to `high`."""

    low: float
    high: float


class Found(NamedTuple):
    """What a selector finds: a value, its interval, and a verdict where the stage has kept one."""

    value: float
    low: float | None = None
    high: float | None = None
    holds: bool | None = None


@dataclass(frozen=True)
class Selector:
    """Where a number stands; see the top of this module."""

    file: str
    value: str
    rows: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    take: str = ""
    low: str = ""
    high: str = ""
    holds: str = ""
    by: str = ""
    per: "Selector | None" = None
    minus: "Selector | None" = None
    scale: float = 1.0

    def files(self) -> Iterator[str]:
        """Every file that is read."""
        yield self.file
        for other in (self.per, self.minus):
            if other is not None:
                yield from other.files()


def to_bound(content: Any, place: str) -> Range | Selector:
    """A number, a pair, or a selector, as `paper/claims.yaml` gives a bound."""
    return to_selector(content, place) if isinstance(content, dict) else to_range(content, place)


def to_range(content: Any, place: str) -> Range:
    """A number or a pair of numbers as a range."""
    pair = content if isinstance(content, list) else [content, content]
    numbers = [float(x) for x in pair if _is_number(x)]
    if len(pair) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
        raise InputError(f"{place} is {content!r}; write a number, or two in rising order")
    return Range(*numbers)


def to_selector(content: Any, place: str) -> Selector:
    """A selector from its map; InputError for an unknown or missing key."""
    made = dict(content) if isinstance(content, dict) else {}
    for key in ("per", "minus"):
        if key in made:
            made[key] = to_selector(made[key], f"{place}, {key}")
    selector: Selector = build(Selector, made, place)
    if selector.take and selector.take not in TAKES:
        raise InputError(f"{place}: take is {selector.take!r}; write one of {', '.join(TAKES)}")
    if selector.low and (selector.take or selector.per or selector.minus):
        raise InputError(f"{place}: low beside take, per or minus is no interval of it; drop one")
    if bool(selector.low) != bool(selector.high):
        raise InputError(f"{place}: low and high go together; give both or none")
    if selector.by and not (selector.per or selector.minus):
        raise InputError(f"{place}: by is only for per and minus; drop it, or add one of them")
    return selector


def build(kind: Any, content: Mapping[str, Any], place: str) -> Any:
    """A dataclass from a map whose keys are its fields, some of which have defaults."""
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    check_keys(content, needed, {f.name for f in fields(kind)}, place)
    return kind(**content)


def check_keys(content: Any, needed: set[str], known: set[str], place: str) -> None:
    """Raise InputError unless a map has all needed keys and no unknown one."""
    if not isinstance(content, Mapping):
        raise InputError(f"{place} is no map; write the keys {', '.join(sorted(needed))}")
    if missing := sorted(needed - set(content)):
        raise InputError(f"{place}: the key {missing[0]!r} is missing; add it")
    if unknown := sorted(set(content) - needed - known):
        raise InputError(
            f"{place}: the key {unknown[0]!r} is unknown; known are "
            f"{', '.join(sorted((needed | known) - {'system'}))}"
        )


class Results:
    """The files that claims point to, each read once.

    Parameters
    ----------
    find
        The path of a file of the project, such as `pipeline.paths.read`.
    """

    def __init__(self, find: Callable[[str], Path]) -> None:
        self._find = find
        self._read: dict[str, Any] = {}

    def content(self, name: str) -> Any:
        """Rows of a CSV file as texts, or what a JSON file holds."""
        if name not in self._read:
            text = self._find(name).read_text(encoding="utf-8")
            rows = name.endswith(".csv")
            self._read[name] = list(csv.DictReader(text.splitlines())) if rows else json.loads(text)
        return self._read[name]

    def rows(self, selector: Selector, place: str) -> list[Row]:
        """The rows that a selector means, in the order of the file.

        Raises
        ------
        InputError
            A column or key does not exist, or no row has these values.
        """
        found = self.content(selector.file)
        place = f"{place}: {selector.file}"
        if selector.rows:
            found = inside(found, selector.rows, place)
            if isinstance(found, dict):
                found = [{"key": key, **record} for key, record in found.items()]
        rows = found if isinstance(found, list) else [found]
        for column, wanted in selector.where.items():
            rows = [row for row in rows if matches(inside(row, column, place), wanted)]
        if not rows:
            asked = ", ".join(f"{k} = {v!r}" for k, v in selector.where.items())
            raise InputError(f"{place} has no row with {asked}; correct where, or run its stage")
        return rows

    def look_up(self, selector: Selector, place: str) -> Found:
        """The number that a selector means, with its interval where it names one.

        Raises
        ------
        InputError
            A file, row, column or key does not exist, several rows are left and `take` is not
            given, or a cell holds no number.
        """
        rows = self.rows(selector, place)
        if not selector.take and len(rows) > 1:
            raise InputError(
                f"{place}: {selector.file} has {len(rows)} such rows; narrow where, or add take"
            )
        at = f"{place}: {selector.file}"
        values = [
            _number(inside(row, selector.value, at), f"{at}, {selector.value}") for row in rows
        ]
        if selector.by:
            names = [str(inside(row, selector.by, at)) for row in rows]
            values = [
                self._combined(selector, value, {selector.by: name}, place)
                for value, name in zip(values, names, strict=True)
            ]
        value = TAKES[selector.take or "smallest"](values)
        if not selector.by:
            value = self._combined(selector, value, {}, place)
        found = self.number(rows[0], selector, place) if len(rows) == 1 else Found(value)
        return found._replace(value=selector.scale * value)

    def number(self, row: Row, selector: Selector, place: str) -> Found:
        """Value, interval and kept verdict of one row."""
        at = f"{place}: {selector.file}"
        value, *ends = (
            selector.scale * _number(inside(row, key, at), f"{at}, {key}")
            for key in (selector.value, selector.low, selector.high)
            if key
        )
        low, high = sorted(ends) if len(ends) == 2 else (None, None)
        holds = inside(row, selector.holds, at) if selector.holds else None
        if holds not in (True, False, None):
            raise InputError(f"{at}, {selector.holds} is {holds!r}; choose a key that is yes or no")
        return Found(value, low, high, holds)

    def _combined(
        self, selector: Selector, value: float, same: Mapping[str, str], place: str
    ) -> float:
        """A value divided by, or less, that of the other selector where columns are the same."""
        for key, operate in (("per", lambda a, b: a / b), ("minus", lambda a, b: a - b)):
            other: Selector | None = getattr(selector, key)
            if other is None:
                continue
            narrowed = Selector(**{**vars(other), "where": {**other.where, **same}})
            second = self.look_up(narrowed, f"{place}, {key}").value
            if key == "per" and second == 0:
                raise InputError(
                    f"{place}, {key}: {other.file}, {other.value} is 0; choose another"
                )
            value = operate(value, second)
        return value

    def range_of(self, bound: Range | Selector | None, place: str) -> Range | None:
        """A bound as numbers; a JSON key may hold a pair."""
        if not isinstance(bound, Selector):
            return bound
        if bound.file.endswith(".json") and not bound.rows:
            held = inside(self.content(bound.file), bound.value, f"{place}: {bound.file}")
            if isinstance(held, list):
                return to_range(held, place)
        value = self.look_up(bound, place).value
        return Range(value, value)


def inside(content: Any, key: str, place: str) -> Any:
    """A column of a row, or what stands under a dotted key."""
    if isinstance(content, Mapping) and key in content:
        return content[key]
    for part in key.split("."):
        if isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, Mapping) and part in content:
            content = content[part]
        else:
            known = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no keys"
            raise InputError(f"{place} has no {key!r}; there is {known}")
    return content


def matches(cell: Any, wanted: Any) -> bool:
    """Whether a cell is a value, or one of a list; numbers are compared as numbers."""
    if isinstance(wanted, list):
        return any(matches(cell, one) for one in wanted)
    if _is_number(wanted):
        try:
            return float(cell) == wanted
        except ValueError:
            return False
    text = str(wanted)
    return str(cell).startswith(text[:-1]) if text.endswith("*") else str(cell) == text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(cell: Any, place: str) -> float:
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place} is {cell!r} where a number is needed; choose another key")
    return value
