"""What the comparison of a file finds, and which changes of learned numbers chance explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

Pair = tuple[float, float]

OTHER_SIZE = "another size"  # how the note of a file begins that is compared in part
# A training that went another way changes most of the learned numbers of its stage. If less than
# this share changed, the trainings went the same way, and intervals excuse nothing.
LONE_SHARE = 0.1
# Two draws of one distribution lie more apart than the sum of their 95 % half widths in less than
# one of a hundred cases (normal, equal widths: |d| > 2.8 standard deviations, one in 180), and
# hardly ever more than twice as far. A stage has thousands of numbers: so many may.
CHANCE_SHARE, FAR = 0.01, 2.0
# The intervals of two trainings are of one order of width. One that is more than this many times as
# wide as the other is left to chance, too; one that is this many times wider again comes from
# another calculation.
WIDER = 5.0


@dataclass
class Outcome:
    """What the comparison of one file found."""

    file: str
    """Its name in the project."""
    compared: int = 0
    """Numbers and words that were compared."""
    same: int = 0
    """Of them, those that have not changed at all."""
    learned: int = 0
    """Of them, learned numbers that are not zero both times."""
    apart: list[str] = field(default_factory=list)
    """Learned numbers that changed, but agree within their intervals."""
    far: list[str] = field(default_factory=list)
    """Learned numbers that lie up to `FAR` times as far apart as their intervals allow."""
    problems: list[str] = field(default_factory=list)
    """Differences that nothing explains."""
    note: str = ""
    """What was not compared, and why."""

    @property
    def unchanged(self) -> bool:
        """Whether every compared number is the same to the last digit."""
        return not self.problems and self.same == self.compared

    def differs(self, place: str, published: Any, made: Any, why: str) -> None:
        """Note a difference."""
        self.problems.append(f"{place}: published {shown(published)}, made {shown(made)}: {why}")

    def changed(self, place: str, published: Any, made: Any, distance: float) -> None:
        """Note a learned number that changed by `distance` times what its intervals allow."""
        if distance <= FAR:
            noted = self.apart if distance <= 1 else self.far
            noted.append(f"{place}: published {shown(published)}, made {shown(made)}")
        else:
            self.differs(place, published, made, "more apart than their intervals explain")


def settle(outcomes: Sequence[Outcome]) -> None:
    """Judge the changed learned numbers of one stage together."""
    changed = sum(len(outcome.apart) + len(outcome.far) for outcome in outcomes)
    far = sum(len(outcome.far) for outcome in outcomes)
    learned = sum(outcome.learned for outcome in outcomes)
    for outcome in outcomes:
        if changed < LONE_SHARE * learned:
            why = f"only {changed} of {learned} learned numbers of its stage changed: no chance"
            outcome.problems += [f"{told}: {why}" for told in (*outcome.apart, *outcome.far)]
            outcome.apart.clear()
        elif far > CHANCE_SHARE * learned:
            why = f"{far} of {learned} learned numbers of its stage are outside their intervals"
            outcome.problems += [f"{told}: {why}" for told in outcome.far]
        else:
            outcome.apart += outcome.far
        outcome.far.clear()


def distance(published: float, made: float, half_widths: float) -> float:
    """Return a difference as a multiple of the sum of both half widths; NaN if that is NaN."""
    apart = abs(published - made)
    if half_widths == 0:
        return math.inf if apart else 0.0
    return apart / half_widths


def half_width(ends: Pair) -> float:
    """Return half the width of an interval."""
    return (ends[1] - ends[0]) / 2


def compare_widths(outcome: Outcome, place: str, published: Pair, made: Pair, unit: float) -> float:
    """Return a distance for two intervals, their ends known to `unit`, of which one is `WIDER`.

    Of an event that may not happen at all, a training may have no example and no width. Where there
    are two widths, `WIDER` times `WIDER` is noted as a problem.
    """
    narrow, wide = sorted(half_width(ends) for ends in (published, made))
    if wide - unit / 2 <= WIDER * (narrow + unit / 2):
        return 0.0
    if narrow > 0 and wide - unit / 2 > WIDER**2 * (narrow + unit / 2):
        told = (f"[{shown(ends[0])}, {shown(ends[1])}]" for ends in (published, made))
        why = f"one interval is more than {WIDER**2:g} times as wide as the other"
        outcome.problems.append(f"{place}: published {next(told)}, made {next(told)}: {why}")
    return FAR


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number, true and false aside."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """Return a value as it stands in a message."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
