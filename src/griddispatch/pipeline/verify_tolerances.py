"""What counts as the same number: the kinds of published values, read from paper/verify.yaml.

Every published file has one rule, every column of a CSV and every path of a JSON file one kind:

exact
    Counts, names, dates, settings, verdicts: the same text.
numerical, under the name of a tolerance of the file
    What follows from the data without chance: the same up to rounding or a solver's tolerance.
learned
    What depends on training or sampling. The same agents are trained wherever the arithmetic is
    the same; where it is not, two values agree if they differ by no more than the sum of the half
    widths of their 95 % intervals; without an interval, within the tolerance ``lone``, or within
    another that is named ("learned share").
time
    Measured times: there, and finite numbers.
words
    A sentence with learned numbers in it: the same words. Its numbers are compared elsewhere.
"""

import fnmatch
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from griddispatch.errors import InputError

FILE = "paper/verify.yaml"
EXACT, LEARNED, TIME, WORDS = "exact", "learned", "time", "words"
BUILT_IN = (EXACT, LEARNED, TIME, WORDS)
ROUNDING = "rounding"  # the tolerance within which a learned number has not changed
LONE = "lone"  # the tolerance of a learned number that has no interval beside it
# Files that are compared as a whole.
TABLE, PICTURE, MADE = "table", "picture", "made"
WHOLE = (TABLE, PICTURE, MADE, TIME)
_FIELDS = {"as", "kinds", "rows", "pool", "interval", "fixed", "any_size"}


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may lie apart."""

    relative: float = 0.0
    """Share of the larger of both sizes."""
    absolute: float = 0.0
    """In the unit of the number."""
    factor: float = 1.0
    """Ratio of the larger to the smaller size; for errors, of which only the order counts."""

    def agree(self, first: float, second: float) -> bool:
        """Return whether two numbers are the same; NaN never is, infinities are if equal."""
        if first == second:
            return True
        if not (math.isfinite(first) and math.isfinite(second)):
            return False
        size = max(abs(first), abs(second))
        if abs(first - second) <= max(self.relative * size, self.absolute):
            return True
        smaller = min(abs(first), abs(second))
        return first * second > 0 and size <= self.factor * smaller


@dataclass(frozen=True)
class Rule:
    """How one published file is compared."""

    pattern: str
    """The file, or all files that match this pattern."""
    whole: str = ""
    """One of `WHOLE` if the file is compared as a whole, else empty."""
    kinds: tuple[tuple[str, str], ...] = ()
    """Pattern of a column or a dotted path, and its kind; the first that matches counts."""
    rows: tuple[str, ...] = ()
    """Columns of a CSV that tell its rows apart; without them rows are told apart by place."""
    pool: tuple[str, ...] = ()
    """Of `rows`, those over which learned values are averaged, seeds last, before comparison."""
    interval: str = ""
    """The column to which the columns low and high belong, if it is not the usual one."""
    fixed: tuple[str, ...] = ()
    """Columns that hold the same set of values at every size."""
    any_size: str | tuple[str, ...] = ()
    """What holds the same values at every size: "all", "rows" (each row made is one of the
    published ones) or patterns of columns or paths."""

    def kind(self, name: str) -> str:
        """Return the kind of a column or a path.

        Raises
        ------
        InputError
            It has none.
        """
        for pattern, kind in self.kinds:
            if fnmatch.fnmatchcase(name, pattern):
                return kind
        raise InputError(f"{FILE}: {self.pattern} gives {name!r} no kind; add a line for it")

    def is_any_size(self, name: str) -> bool:
        """Return whether a column or a path holds the same at every size of the pipeline."""
        if isinstance(self.any_size, str):
            return True
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.any_size)


@dataclass(frozen=True)
class Rules:
    """The content of paper/verify.yaml."""

    tolerances: Mapping[str, Tolerance]
    rules: tuple[Rule, ...]

    def of(self, file: str) -> Rule:
        """Return the rule of a published file.

        Raises
        ------
        InputError
            No rule fits it, or two do and none of them names it in full.
        """
        named = [rule for rule in self.rules if rule.pattern == file]
        found = named or [r for r in self.rules if fnmatch.fnmatchcase(file, r.pattern)]
        if len(found) != 1:
            said = " and ".join(rule.pattern for rule in found)
            problem = f"fits {said}; make one of them narrower" if said else "has no kind; add one"
            raise InputError(f"{FILE}: the published file {file} {problem}")
        return found[0]

    def check(self, files: Iterable[str]) -> None:
        """Raise InputError unless every file has one rule and every rule a file."""
        used = {self.of(file).pattern for file in files}
        if idle := [rule.pattern for rule in self.rules if rule.pattern not in used]:
            raise InputError(f"{FILE}: {', '.join(idle)} fits no published file; take it out")


def read(root: Path) -> Rules:
    """Read paper/verify.yaml.

    Raises
    ------
    InputError
        It cannot be read, or an entry has an unknown field or kind.
    """
    file = root / FILE
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or set(content) != {"tolerances", "files"}:
        raise InputError(f"{file} needs exactly the sections 'tolerances' and 'files'")
    tolerances = {name: _tolerance(name, entry) for name, entry in content["tolerances"].items()}
    if absent := [name for name in (ROUNDING, LONE) if name not in tolerances]:
        raise InputError(f"{FILE}: tolerances has no {absent[0]!r}; learned numbers need it")
    plain = tolerances.keys() - {LONE}  # a learned number without an interval is a learned one
    known = {*BUILT_IN, *plain, *(f"{LEARNED} {name}" for name in plain)}
    return Rules(tolerances, tuple(_rule(p, e, known) for p, e in content["files"].items()))


def _tolerance(name: str, entry: Any) -> Tolerance:
    try:
        return Tolerance(**{field: float(value) for field, value in entry.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{FILE}: tolerance {name} is {entry!r}; write numbers under relative, absolute, factor"
        ) from error


def _rule(pattern: str, entry: Any, known: set[str]) -> Rule:
    """Return the rule of an entry: a word for the whole file, or a map."""
    if isinstance(entry, str):
        entry = {"as": entry} if entry in WHOLE else {"kinds": {"*": entry}}
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise InputError(
            f"{FILE}: {pattern} is {entry!r}; write one kind, or fields of {sorted(_FIELDS)}"
        )
    whole, kinds = entry.get("as", ""), entry.get("kinds", {})
    if whole and whole not in WHOLE:
        raise InputError(f"{FILE}: {pattern} is compared as {whole!r}; write one of {WHOLE}")
    if bad := [kind for kind in kinds.values() if kind not in known]:
        raise InputError(f"{FILE}: {pattern} has the kind {bad[0]!r}; known are {sorted(known)}")
    listed = {name: tuple(entry.get(name, ())) for name in ("rows", "pool", "fixed")}
    sizes = entry.get("any_size", ())
    if isinstance(sizes, str) and sizes not in ("all", "rows"):
        raise InputError(f"{FILE}: {pattern}: any_size is {sizes!r}; write all, rows or a list")
    return Rule(
        pattern,
        whole=whole,
        kinds=tuple((str(name), kind) for name, kind in kinds.items()),
        interval=entry.get("interval", ""),
        any_size=sizes if isinstance(sizes, str) else tuple(sizes),
        **listed,
    )
