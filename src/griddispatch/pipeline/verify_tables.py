"""Compare the tables and drawings of the paper with those made again."""

import math
import re
from collections.abc import Iterator, Mapping

from griddispatch.pipeline.verify_outcome import Outcome, compare_widths, distance, half_width
from griddispatch.pipeline.verify_tolerances import LONE, Tolerance

_NUMBER = re.compile(r"(?<![\w.#-])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w#])")
_INTERVAL = re.compile(rf"({_NUMBER.pattern}) \[({_NUMBER.pattern}), ({_NUMBER.pattern})\]")
_PLAIN = {"\u2212": "-", "$-$": "-", "{[}": "[", "{]}": "]", r"\[": "[", r"\]": "]"}
# Of a drawing: names that are drawn by lot, and numbers that are no places, but an appearance.
_NAME = re.compile(r'\bhref="#[^"]*"|url\(#[^)]*\)|\bid="[^"]*"')
_APPEARANCE = re.compile(r'((?:opacity|stroke-width)(?:: ?|="))(?=[\d.])')
_HALF_A_POINT = Tolerance(absolute=0.5)  # of a picture: nobody sees it


def compare_tables(
    name: str, published: str, made: str, tolerances: Mapping[str, Tolerance], *, same_data: bool
) -> Outcome:
    """Compare two versions of a table of the paper: its words, its numbers, their intervals.

    Parameters
    ----------
    name
        The file, for the report.
    published, made
        The text of both versions (CSV, Markdown or LaTeX).
    tolerances
        By name.
    same_data
        Whether the numbers behind the table are unchanged: then it has to be unchanged, too.
        Otherwise its last printed digit may differ by one.
    """
    outcome = Outcome(name)
    first, second = (_plain(text).splitlines() for text in (published, made))
    if len(first) != len(second):
        outcome.differs("lines", len(first), len(second), "has other rows")
    for number, (old, new) in enumerate(zip(first, second, strict=False), 1):
        place = f"line {number}"
        if words(old) != words(new):
            outcome.differs(place, old[:60], new[:60], "other words, or a number that is none")
            continue
        if same_data and old != new:
            outcome.differs(place, old[:60], new[:60], "changed, although its data did not")
        for a, b in zip(_printed(old), _printed(new), strict=True):
            outcome.compared += 1
            outcome.same += a == b
            outcome.learned += float(a[0]) != 0 or float(b[0]) != 0
            if a != b and not same_data:
                _compare_printed(outcome, place, a, b, tolerances[LONE])
    return outcome


def compare_pictures(name: str, published: str, made: str, *, same_data: bool) -> Outcome:
    """Compare two versions of an SVG drawing, if the numbers behind it are unchanged."""
    outcome = Outcome(name)
    if not same_data:
        outcome.note = "its data changed: made again, not compared"
        return outcome
    first, second = (_APPEARANCE.sub(r"\1#", _NAME.sub("", t)) for t in (published, made))
    outcome.compared = 1
    outcome.same = int(first == second)
    if outcome.same:
        return outcome
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        outcome.problems.append("shows something else, although its data did not change")
        return outcome
    numbers = zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
    if moved := sum(not _HALF_A_POINT.agree(float(a), float(b)) for a, b in numbers):
        outcome.problems.append(f"{moved} points moved, although its data did not change")
    else:
        outcome.same = 1
    return outcome


def _compare_printed(
    outcome: Outcome, place: str, a: tuple[str, ...], b: tuple[str, ...], lone: Tolerance
) -> None:
    """Compare two printed numbers, or two numbers with their intervals."""
    unit = max(10.0 ** -len(part.partition(".")[2]) for part in (a[0], b[0]))
    (x, *ends), (y, *others) = ([float(part) for part in parts] for parts in (a, b))
    if all(abs(p - q) <= 1.01 * unit for p, q in zip((x, *ends), (y, *others), strict=True)):
        return
    if ends:
        old, new = (ends[0], ends[1]), (others[0], others[1])
        far = distance(x, y, half_width(old) + half_width(new))
        outcome.changed(place, a[0], b[0], max(far, compare_widths(outcome, place, old, new, unit)))
    else:
        outcome.changed(place, a[0], b[0], 0.0 if lone.agree(x, y) else math.inf)


def words(text: str) -> str:
    """Return a text without its numbers."""
    return _NUMBER.sub("#", _plain(text))


def _plain(text: str) -> str:
    """Return the text of a table with the same signs in every format."""
    for sign, plain in _PLAIN.items():
        text = text.replace(sign, plain)
    return text


def _printed(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the numbers of a line, each with the two ends of its interval if it has one."""
    start = 0
    for found in _INTERVAL.finditer(line):
        yield from ((number,) for number in _NUMBER.findall(line[start : found.start()]))
        yield found.groups()
        start = found.end()
    yield from ((number,) for number in _NUMBER.findall(line[start:]))
