"""Compare one published file with the same file made again."""

import csv
import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from griddispatch.errors import InputError
from griddispatch.pipeline.verify_outcome import (
    OTHER_SIZE,
    Outcome,
    Pair,
    compare_widths,
    distance,
    half_width,
    is_number,
    shown,
)
from griddispatch.pipeline.verify_tables import words
from griddispatch.pipeline.verify_tolerances import (
    EXACT,
    LEARNED,
    LONE,
    ROUNDING,
    TIME,
    WORDS,
    Rule,
    Tolerance,
)

_USUAL = ("mean", "value", "points")  # columns to which the columns low and high belong
# How the columns of the interval of any other column end. A plain pair may be a range; then one
# marked ci is the interval.
_ENDS = ((" low", " high"), ("_ci_low", "_ci_high"), ("_low", "_high"))
_LAST_DIGIT = 1e-5  # of a number of six significant digits, at most, as a share of it


class Value(NamedTuple):
    """One cell of a CSV file or one leaf of a JSON file."""

    row: str
    name: str
    value: Any
    ends: Pair | None
    sample: tuple[str, ...]
    cluster: str


class Sheet(NamedTuple):
    """The content of a file: its columns or top keys, and its values by place."""

    header: tuple[str, ...]
    values: dict[str, Value]
    sets: dict[str, set[str]]


def read_sheet(file: Path, rule: Rule) -> Sheet:
    """Read a CSV or JSON file.

    Raises
    ------
    InputError
        It cannot be read, or its rows are not told apart by the columns of the rule.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return _csv(file, text, rule) if file.suffix == ".csv" else _json(text)
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} cannot be read: {error}") from error


def compare_sheets(
    name: str,
    published: Sheet,
    made: Sheet,
    rule: Rule,
    tolerances: Mapping[str, Tolerance],
    *,
    same_size: bool = True,
) -> Outcome:
    """Compare two versions of a CSV or JSON file.

    Parameters
    ----------
    name
        The file, for the report.
    published, made
        The two versions.
    rule
        The kinds of its numbers.
    tolerances
        By name.
    same_size
        Whether both come from the same profile of the pipeline; otherwise only what does not
        depend on the size is compared.
    """
    outcome = Outcome(name)
    if lost := set(published.header) ^ set(made.header):
        where = dict.fromkeys(set(published.header) & lost, "only in the published file")
        told = [f"{part} is {where.get(part, 'only in the made file')}" for part in sorted(lost)]
        outcome.problems.append(f"columns or keys differ: {'; '.join(told)}")
    for column in rule.fixed:
        held, holds = (sheet.sets.get(column, set()) for sheet in (published, made))
        if held != holds:
            only = (sorted(held - holds), sorted(holds - held))
            outcome.differs(column, only[0], only[1], "its values do not depend on the size")
    first: Mapping[str, Value] = published.values
    second: Mapping[str, Value] = made.values
    if not same_size:
        first, second = (_of_any_size(version, rule) for version in (first, second))
        if rule.any_size == "rows":
            first = {place: value for place, value in first.items() if place in second}
        if not second and not first:
            outcome.note = f"{OTHER_SIZE}: only columns and keys are compared"
        elif rule.any_size != "all":
            outcome.note = f"{OTHER_SIZE}: compared where it does not matter"
    _compare_rows(outcome, first, second)
    judge = _Judge(rule, tolerances, first, second)
    for place in first:
        if place in second:
            judge.compare(outcome, place)
    return outcome


def compare_times(outcome: Outcome, published: Sheet, made: Sheet, *, same_size: bool) -> None:
    """Look that measured times are there, and finite; a run of another size measures others."""
    if outcome.file.endswith(".csv") and published.header != made.header:
        outcome.differs("columns", published.header, made.header, "has to be equal")
    if same_size:
        _compare_rows(outcome, published.values, made.values)
    for place, value in published.values.items():
        if _is_wrong(value.value):
            outcome.problems.append(f"{place}: published {shown(value.value)} is no finite number")
    for place, value in made.values.items():
        old = published.values.get(place) if same_size else None
        lost = old is not None and is_number(old.value) and not is_number(value.value)
        if lost or _is_wrong(value.value):
            outcome.problems.append(f"{place}: made {shown(value.value)} is no finite number")


def _is_wrong(value: Any) -> bool:
    return is_number(value) and not math.isfinite(value)


def _of_any_size(values: Mapping[str, Value], rule: Rule) -> Mapping[str, Value]:
    """Return the values that do not depend on the size of the pipeline."""
    return {place: value for place, value in values.items() if rule.is_any_size(value.name)}


def _compare_rows(
    outcome: Outcome, first: Mapping[str, Value], second: Mapping[str, Value]
) -> None:
    """Note rows and leaves that only one version has."""
    rows = [{value.row: None for value in version.values()} for version in (first, second)]
    for row in rows[0]:
        if row not in rows[1]:
            outcome.problems.append(f"{row}: is missing in what was made")
    for row in rows[1]:
        if row not in rows[0]:
            outcome.problems.append(f"{row}: is not among what is published")


class _Judge:
    """Decides whether the values of one file agree."""

    def __init__(
        self,
        rule: Rule,
        tolerances: Mapping[str, Tolerance],
        first: Mapping[str, Value],
        second: Mapping[str, Value],
    ) -> None:
        self.rule, self.tolerances = rule, tolerances
        self.versions = (first, second)
        self.kind = functools.cache(rule.kind)
        self.groups: dict[tuple[tuple[str, ...], str], float] = {}

    def compare(self, outcome: Outcome, place: str) -> None:
        """Compare the two values of one place."""
        old, new = (version[place] for version in self.versions)
        a, b, kind = old.value, new.value, self.kind(old.name)
        outcome.compared += 1
        if any(isinstance(v, float) and math.isnan(v) for v in (a, b)):
            outcome.differs(place, a, b, "NaN is no number")
        elif kind == TIME:
            outcome.same += 1  # a time is never the same: that it is there is all that counts
            if not all(is_number(v) and math.isfinite(v) for v in (a, b)):
                outcome.differs(place, a, b, "a measured time is a finite number")
        elif kind == WORDS:
            outcome.same += a == b
            if words(str(a)) != words(str(b)):
                outcome.differs(place, a, b, "has other words")
        elif kind == EXACT or not (is_number(a) and is_number(b)):
            outcome.same += a == b
            if a != b:
                outcome.differs(place, a, b, "has to be equal")
        elif kind.startswith(LEARNED):
            self._learned(outcome, place, old, new, kind)
        else:
            outcome.same += a == b
            if not self.tolerances[kind].agree(a, b):
                outcome.differs(place, a, b, f"more apart than the tolerance {kind!r}")

    def _learned(self, outcome: Outcome, place: str, old: Value, new: Value, kind: str) -> None:
        """Compare two learned numbers."""
        a, b = old.value, new.value
        outcome.learned += a != 0 or b != 0
        outcome.same += a == b
        for version, one in (("published", old), ("made", new)):
            if one.ends and not one.ends[0] <= one.value <= one.ends[1]:
                told = f"{place}: {version} {shown(one.value)} is outside its own interval"
                outcome.problems.append(told)
                return
        if self.tolerances[ROUNDING].agree(a, b):
            return
        if old.ends and new.ends:
            unit = _LAST_DIGIT * max(map(abs, (*old.ends, *new.ends)))
            width = compare_widths(outcome, place, old.ends, new.ends, unit)
            far = distance(a, b, half_width(old.ends) + half_width(new.ends))
            far = max(far, width)
        else:
            far = self._distance(old)
        if math.isnan(far):
            name = kind.partition(" ")[2] or LONE
            far = 0.0 if self.tolerances[name].agree(a, b) else math.inf
        outcome.changed(place, a, b, far)

    def _distance(self, value: Value) -> float:
        """Return how far apart the means of a value's sample are; NaN if there is no sample."""
        key = (value.sample, value.name)
        if not self.rule.pool:
            return math.nan
        if key not in self.groups:
            (a, wide), (b, other) = (_mean_and_half_width(own, key) for own in self.versions)
            self.groups[key] = distance(a, b, wide + other)
        return self.groups[key]


def _mean_and_half_width(values: Mapping[str, Value], key: tuple[tuple[str, ...], str]) -> Pair:
    """Return the mean over the clusters (seeds) of a sample and its 95 % half width.

    With one seed the spread over days or hours takes the place of that over seeds; of one number
    the half width is NaN.
    """
    clusters: dict[str, list[float]] = {}
    for value in values.values():
        if (value.sample, value.name) == key and is_number(value.value):
            clusters.setdefault(value.cluster, []).append(float(value.value))
    several = len(clusters) > 1
    if several:
        drawn = [float(np.mean(own)) for own in clusters.values()]
    else:
        drawn = [number for own in clusters.values() for number in own]
    if len(drawn) < 2:
        return math.nan, math.nan
    quantile = stats.t.ppf(0.975, len(drawn) - 1)
    return float(np.mean(drawn)), float(quantile * np.std(drawn, ddof=1) / math.sqrt(len(drawn)))


# ---------------------------------------------------------------- reading


def _csv(file: Path, text: str, rule: Rule) -> Sheet:
    header, *lines = csv.reader(text.splitlines())
    values: dict[str, Value] = {}
    sets: dict[str, set[str]] = {column: set() for column in rule.fixed if column in header}
    seen: set[str] = set()
    if absent := [column for column in rule.rows if column not in header]:
        raise InputError(f"{file} has no column {absent[0]!r}, by which its rows are told apart")
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            problem = f"{len(cells)} cells under {len(header)} columns"
            raise InputError(f"{file}, line {number}: {problem}; make the file again")
        line = dict(zip(header, cells, strict=True))
        key = [f"{column} = {line[column]}" for column in rule.rows]
        row = ", ".join(key) or f"line {number}"
        if row in seen:
            raise InputError(f"{file} has two rows with {row}; name more columns under rows")
        seen.add(row)
        for column, held in sets.items():
            held.add(line[column])
        sample = tuple(line[column] for column in rule.rows if column not in rule.pool)
        cluster = line[rule.pool[-1]] if rule.pool else ""
        for column in header:
            if column not in rule.rows:
                ends = _ends(line, column, rule)
                value = Value(row, column, _number(line[column]), ends, sample, cluster)
                values[f"{row}: {column}"] = value
    return Sheet(tuple(header), values, sets)


def _json(text: str) -> Sheet:
    content = json.loads(text)
    values = {}
    for path, value, parent in _leaves(content, ""):
        ends = _ends(parent, path.rpartition(".")[2], None) if isinstance(parent, dict) else None
        values[path] = Value(path, path, value, ends, (), "")
    header = tuple(content) if isinstance(content, dict) else ()
    return Sheet(header, values, {})


def _leaves(content: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, value and parent of every leaf; an empty list or map is a leaf."""
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    for key, part in parts:
        place = f"{path}.{key}" if path else str(key)
        if isinstance(part, (dict, list)) and part:
            yield from _leaves(part, place)
        else:
            yield place, part, content


def _ends(line: Mapping[str, Any], column: str, rule: Rule | None) -> Pair | None:
    """Return the interval that belongs to a column X: low and high, or as `_ENDS` says.

    An end of an interval has that interval, too: it may move by as much as its middle.
    """
    usual = (rule.interval,) if rule and rule.interval else _USUAL
    names = [("low", "high")] if column in ("low", "high", *usual) else []
    for low, high in _ENDS:
        of = column.removesuffix(low).removesuffix(high)
        names.append((of + low, of + high))
    for pair in names:
        if all(name in line for name in pair):
            low, high = (_number(line[name]) for name in pair)
            return (low, high) if is_number(low) and is_number(high) else None
    return None


def _number(cell: Any) -> Any:
    """Return a cell as a number if it is one, as None if it is empty, else as it is."""
    if not isinstance(cell, str):
        return cell
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
