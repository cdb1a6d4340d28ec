"""Split the 34-node series by date into test, stress, training and validation days.

The rules are fixed before any training and look at nothing but the date:

- test: September 2020, 30 days; the voltages are almost never violated in them.
- stress: every seventh day from 2020-10-01 on to the end of 2020, 14 days (all of them Thursdays),
  in the season in which the violations lie.
- training: three nested primary sets, none of which holds a test or a stress day: "1 month" is
  October 2020 (26 days), "3 months" is October to December 2020 (78 days), "all" is every other day
  of the series (125 days).
- validation: every sixth calendar day from 2020-07-20 on, where it is a training day. Six and seven
  have no common divisor, so these days pass through the weekdays (a Thursday is rare: from October
  on they are stress days). The rule does not depend on the primary set: a validation day of a
  smaller set is a validation day of each larger one.

Test and stress days never serve to choose anything.
"""

from collections.abc import Callable
from datetime import date, timedelta

from griddispatch.data.series import Series
from griddispatch.errors import InputError

PRIMARY = ("1 month", "3 months", "all")

_TEST_MONTH = (2020, 9)
_STRESS = frozenset(date(2020, 10, 1) + timedelta(weeks=week) for week in range(14))
_MONTHS = {"1 month": {(2020, 10)}, "3 months": {(2020, 10), (2020, 11), (2020, 12)}}
_VALIDATION_FIRST, _VALIDATION_STEP = date(2020, 7, 20), 6


def test_days(series: Series) -> tuple[str, ...]:
    """Return the test dates; InputError if the series holds none of them."""
    return _pick(series, "test", _is_test)


def stress_days(series: Series) -> tuple[str, ...]:
    """Return the stress dates; InputError if the series holds none of them."""
    return _pick(series, "stress", lambda day: day in _STRESS)


def training_days(series: Series, primary: str) -> tuple[str, ...]:
    """Return the dates of a primary set, validation days among them.

    Raises
    ------
    InputError
        `primary` is not one of `PRIMARY`, or the series holds no day of that set.
    """
    return _pick(series, f"{primary!r} training", _in_primary(primary))


def validation_days(series: Series, primary: str) -> tuple[str, ...]:
    """Return the training dates that are kept for choices; errors as in `training_days`."""
    inside = _in_primary(primary)
    name = f"{primary!r} validation"
    return _pick(series, name, lambda day: inside(day) and _is_validation(day))


def fit_days(series: Series, primary: str) -> tuple[str, ...]:
    """Return the training dates that an agent may learn from; errors as in `training_days`."""
    inside = _in_primary(primary)
    return _pick(series, f"{primary!r} fit", lambda day: inside(day) and not _is_validation(day))


def _is_test(day: date) -> bool:
    return (day.year, day.month) == _TEST_MONTH


def _is_validation(day: date) -> bool:
    return (day - _VALIDATION_FIRST).days % _VALIDATION_STEP == 0


def _in_primary(primary: str) -> Callable[[date], bool]:
    """Return the rule of a primary set: the right month, and neither a test nor a stress day."""
    if primary not in PRIMARY:
        raise InputError(f"no primary set {primary!r}; take one of {', '.join(PRIMARY)}")
    months = _MONTHS.get(primary)

    def inside(day: date) -> bool:
        right_month = months is None or (day.year, day.month) in months
        return right_month and not _is_test(day) and day not in _STRESS

    return inside


def _pick(series: Series, name: str, rule: Callable[[date], bool]) -> tuple[str, ...]:
    """Return the complete days of the series that follow a rule, in order."""
    picked = tuple(day for day in series.dates if rule(date.fromisoformat(day)))
    if not picked:
        raise InputError(
            f"{series.name} holds no {name} day; the split is made for the 34-node series "
            "(2020-07-17 to 2021-01-01), choose dates from `series.dates` instead"
        )
    return picked
