"""Reference values of a smoke run: what its numbers are, without keeping its files.

    python -m griddispatch.pipeline.verify --record

The values of a smoke run are of another size than the published ones. So that they can be checked
as well, tests/reference/smoke.json holds the number of values and the mean of every column.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from griddispatch.errors import InputError
from griddispatch.pipeline import sidecar, stages
from griddispatch.pipeline.records import write_json
from griddispatch.pipeline.verify_files import read_sheet
from griddispatch.pipeline.verify_outcome import Outcome, is_number
from griddispatch.pipeline.verify_tolerances import (
    EXACT,
    LEARNED,
    LONE,
    ROUNDING,
    TIME,
    WORDS,
    Rules,
)

FILE = "tests/reference/smoke.json"


def record(root: Path, made: Path, files: Iterable[str], rules: Rules) -> Path:
    """Write the reference of the project `root` from the smoke run in `made`."""
    content = {"processors": processors(made), "files": _means(made, files, rules)}
    file = root / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_json(file, content)


def compare(root: Path, made: Path, files: Iterable[str], rules: Rules) -> Outcome:
    """Compare the smoke run in `made` with the reference of the project `root`.

    Raises
    ------
    InputError
        The reference cannot be read.
    """
    outcome = Outcome(FILE)
    if not (root / FILE).exists():
        outcome.note = "no reference yet; record it with --record"
        return outcome
    try:
        reference = json.loads((root / FILE).read_text(encoding="utf-8"))
        expected, known = reference["files"], reference["processors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{FILE} cannot be read: {error}; record it again") from error
    here = processors(made)
    if known != here:
        outcome.note = (
            f"made on {', '.join(here) or 'an unknown processor'}, recorded on "
            f"{', '.join(known) or 'an unknown one'}: learned values are not compared"
        )
    found = _means(made, files, rules)
    for file in sorted(expected.keys() | found.keys()):
        columns = (expected.get(file, {}), found.get(file, {}))
        _compare_file(outcome, file, columns[0], columns[1], rules, same_machine=known == here)
    return outcome


def processors(made: Path) -> list[str]:
    """Return the processors on which the stages of a run were made."""
    runs = (sidecar.last_run(made, name) for name in stages.load(made))
    return sorted({run["device"]["cpu"] for run in runs if run})


def _compare_file(
    outcome: Outcome,
    file: str,
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    rules: Rules,
    *,
    same_machine: bool,
) -> None:
    """Compare count and mean of every column of one file."""
    for name in sorted(expected.keys() | found.keys()):
        kind = name.rpartition(" (")[2].removesuffix(")").partition(" ")[0]
        if kind == LEARNED and not same_machine:
            continue
        place = f"{file}: mean of {name}"
        old, new = expected.get(name), found.get(name)
        outcome.compared += 1
        if old is None or new is None or old[0] != new[0]:
            counts = [column[0] if column else 0 for column in (old, new)]
            outcome.differs(place, counts[0], counts[1], "has another number of values")
            continue
        outcome.same += old == new
        tolerance = {EXACT: ROUNDING, LEARNED: LONE}.get(kind, kind)
        if not rules.tolerances[tolerance].agree(old[1], new[1]):
            outcome.differs(place, old[1], new[1], f"more apart than the tolerance {tolerance!r}")


def _means(made: Path, files: Iterable[str], rules: Rules) -> dict[str, dict[str, list[Any]]]:
    """Return how many finite numbers every column or top key has, and their mean, by file."""
    means = {}
    for file in files:
        rule = rules.of(file)
        if rule.whole or not (made / file).exists():
            continue
        columns: dict[str, list[float]] = {}
        for value in read_sheet(made / file, rule).values.values():
            kind = rule.kind(value.name)
            if kind not in (TIME, WORDS) and is_number(value.value) and math.isfinite(value.value):
                top = value.name if file.endswith(".csv") else value.name.partition(".")[0]
                columns.setdefault(f"{top} ({kind})", []).append(float(value.value))
        means[file] = {name: [len(own), math.fsum(own) / len(own)] for name, own in columns.items()}
    return means
