"""The best policy of a situation, and those whose intervals reach it, by what is in results/."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from griddispatch.errors import InputError
from griddispatch.evaluation.selectors import (
    Found,
    Results,
    Selector,
    build,
    inside,
    matches,
    to_selector,
)


@dataclass(frozen=True)
class Use:
    """A situation and the rows among which the best policy for it is looked for."""

    system: str
    when: str
    """The situation, in words."""
    rows: Selector
    """Their value, low and high."""
    name: Sequence[str]
    """Columns that name a policy."""
    best: str
    """Which value is best: "largest" or "smallest"."""
    metric: str
    """What the value is, with its unit."""
    without: Mapping[str, Any] = field(default_factory=dict)
    """Rows to leave out, by column: bounds, and what nobody would run."""
    paired: Selector | None = None
    """Paired differences, columns first and second; with a low above zero the first is better."""


def to_use(content: Any, system: str, place: str) -> Use:
    """A situation from its map in `paper/claims.yaml`; InputError where it is not one."""
    if not isinstance(content, Mapping):
        raise InputError(f"{place}: {content!r} is no map; write when, rows, name, best and metric")
    made = {"system": system, **content}
    if "rows" in made:
        made["rows"] = to_selector(made["rows"], f"{place}, rows")
    if "paired" in made:
        made["paired"] = to_selector(made["paired"], f"{place}, paired")
    use: Use = build(Use, made, place)
    if use.best not in ("largest", "smallest") or not (use.rows.low and use.rows.high):
        raise InputError(f"{place}: best is largest or smallest, and rows name low and high")
    return use


def best(use: Use, results: Results) -> dict[str, Any]:
    """The policy with the best mean in a situation, and those that may be as good.

    Returns
    -------
    line
        system, when, policy, metric, value, low, high; and also, the policies whose intervals
        overlap that of the best one, without those that are clearly worse in a paired difference.
        Where there is none, one that is named may be clearly worse: policies play the same days,
        so that a paired difference is sharper than two intervals.

    Raises
    ------
    InputError
        No row is left.
    """
    place = f"what to use, {use.when}"
    rows = [
        row
        for row in results.rows(use.rows, place)
        if not any(matches(inside(row, c, place), wanted) for c, wanted in use.without.items())
    ]
    if not rows:
        raise InputError(f"{place}: all rows are left out; correct without")
    found = [(_named(row, use.name, place), results.number(row, use.rows, place)) for row in rows]
    sign = 1 if use.best == "largest" else -1
    found.sort(key=lambda pair: -sign * pair[1].value)
    name, top = found[0]
    worse = _beaten_by(name, use, results, place)
    also = [who for who, it in found[1:] if who not in worse and _reaches(it, top, sign)]
    interval = {"value": top.value, "low": top.low, "high": top.high}
    line = {"system": use.system, "when": use.when, "policy": name, "metric": use.metric}
    return {**line, **interval, "also": "; ".join(also)}


def _named(row: Mapping[str, Any], columns: Sequence[str], place: str) -> str:
    parts = (str(inside(row, column, place)) for column in columns)
    return ", ".join(part for part in parts if part)


def _beaten_by(name: str, use: Use, results: Results, place: str) -> set[str]:
    """Policies than which the named one is clearly better in a paired difference."""
    if use.paired is None:
        return set()
    rows = [
        row for row in results.rows(use.paired, place) if str(inside(row, "first", place)) == name
    ]
    clear = (row for row in rows if (results.number(row, use.paired, place).low or 0) > 0)
    return {str(inside(row, "second", place)) for row in clear}


def _reaches(other: Found, top: Found, sign: int) -> bool:
    """Whether the better end of one interval reaches the worse end of the best one."""
    ends = [(it.low, it.high)[:: 1 if sign > 0 else -1] for it in (other, top)]
    (_, better), (worse, _) = ends
    return better is not None and worse is not None and sign * better >= sign * worse
