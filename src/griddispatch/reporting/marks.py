"""Marks that this project has set itself, each with a word on whether it is met."""

from collections.abc import Mapping
from typing import Any

Mark = Mapping[str, Any]


def mark(holds: bool, **numbers: float) -> dict[str, Any]:
    """Make a mark: whether the number meets it, and the numbers by their names in `word`."""
    return {"holds": bool(holds), **{name: float(number) for name, number in numbers.items()}}


def word(mark: Mark) -> str:
    """Say whether a number meets its mark.

    Parameters
    ----------
    mark
        holds, as the stage judges its number; reach, the mark, or zero where there is none; and,
        if it has an interval, low and high.

    Returns
    -------
    word
        "open" where the interval has values on both sides of the mark; else "yes" or "no".
    """
    low, at, high = (float(mark.get(key, 0)) for key in ("low", "reach", "high"))
    return "open" if low < at < high else "yes" if mark["holds"] else "no"


def sentence(marks: Mapping[str, Mark]) -> str:
    """All marks with their words, as Markdown."""
    return "; ".join(f"{name}: **{word(mark)}**" for name, mark in marks.items())
