"""What a run that was killed again and again has left, beside an undisturbed one."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from griddispatch.errors import InputError
from griddispatch.pipeline import stages, verify_tolerances
from griddispatch.pipeline.verify_tolerances import MADE, TIME, Rules

FOLDER = "build/faults"
MEASURED = "measured"  # the content of a file that holds only measured times, or is drawn from some
UNREADABLE = "unreadable"
SLOW = 10.0  # seconds in which every process of a killed run must be gone
_COMPARED = ("results", "figures", "paper", "data")


@dataclass
class Blow:
    """One kill, and what was there after it."""

    moment: float
    """Planned moment, in seconds from the beginning of the undisturbed run."""
    signal: str
    place: str
    """Where in the pipeline it fell."""
    alive: int
    """Processes that went on in the background and had to be ended one by one."""
    seconds: float
    """Time from the signal until the last of its processes was gone."""
    cells: int
    """Finished cells in the store."""
    staged: int
    """Files in the staging folders, which no other stage can see."""
    lock_whole: bool
    """Whether dvc.lock was written to its end."""
    seen: dict[str, str] = field(default_factory=dict)
    """The outputs that were there, each with its content; see `content`."""
    taken_up: int = 0
    """Finished cells that the next start did not compute again."""
    half_written: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The kills, and the comparison at the end."""

    clone: Path
    seconds: float
    """Duration of the undisturbed run."""
    planned: int
    """Number of kills asked for; a run may be over before the last of them."""
    blows: list[Blow] = field(default_factory=list)
    compared: int = 0
    """Files of the undisturbed run that were compared byte by byte."""
    measured: list[str] = field(default_factory=list)
    """Files that hold measured times and cannot be compared."""
    different: list[str] = field(default_factory=list)
    staged: int = 0
    """Files left in the staging folders at the end."""
    cells: tuple[int, int] = (0, 0)
    """Finished cells of the undisturbed run and of this one."""

    def close(self, undisturbed: Mapping[str, str], made: Mapping[str, str]) -> None:
        """Compare the outputs of both finished runs, and those seen at each kill with them."""
        for name in sorted({*undisturbed, *made}):
            if not stages.covers(_COMPARED, name):
                continue
            first, second = undisturbed.get(name), made.get(name)
            if first == second == MEASURED:
                self.measured.append(name)
                continue
            self.compared += 1
            if first != second or second == UNREADABLE:
                self.different.append(name)
        for blow in self.blows:
            for name, seen in blow.seen.items():
                whole = seen in (undisturbed.get(name), made.get(name), MEASURED)
                if seen == UNREADABLE or (stages.covers(_COMPARED, name) and not whole):
                    blow.half_written.append(name)

    def problems(self) -> list[str]:
        """Return what is not as it must be."""
        found = []
        for number, blow in enumerate(self.blows, start=1):
            if blow.alive:
                found.append(f"kill {number}: {blow.alive} processes went on")
            elif blow.seconds > SLOW:
                found.append(f"kill {number}: the last process was gone after {blow.seconds:.0f} s")
            if blow.half_written:
                found.append(f"kill {number}: half-written: {', '.join(blow.half_written)}")
        found += [f"{name} is another than in the undisturbed run" for name in self.different]
        if self.staged:
            found.append(f"{self.staged} files are left in the staging folders")
        if self.cells[0] != self.cells[1]:
            found.append(f"{self.cells[1]} finished cells are kept, {self.cells[0]} if undisturbed")
        return found


def rules_of(clone: Path) -> Rules:
    """Return the kinds of the published files; without paper/verify.yaml there are none."""
    if not (clone / verify_tolerances.FILE).is_file():
        return Rules({}, ())
    return verify_tolerances.read(clone)


def content(file: Path, name: str, rules: Rules) -> str:
    """Return the digest of what must be the same in every run of the pipeline.

    Columns of a CSV with measured times are left out. A file with nothing else is `MEASURED`, and
    so is what is drawn or printed from one; a file that breaks off is `UNREADABLE`.
    """
    data = file.read_bytes()
    try:
        kind = rules.of(name if file.suffix != ".png" else f"{name[:-4]}.svg")
    except InputError:  # a file that is not published
        kind = verify_tolerances.Rule(name)
    measured = "timings" in name.split("/") or kind.whole in (TIME, MADE)
    try:
        if file.suffix == ".json":
            json.loads(data)
        if file.suffix == ".csv" and (measured or TIME in dict(kind.kinds).values()):
            times = [column for column in _columns(data) if measured or kind.kind(column) == TIME]
            data = pd.read_csv(file, dtype=str).drop(columns=times).to_csv().encode()
    except (ValueError, csv.Error):
        return UNREADABLE
    return MEASURED if measured else hashlib.sha256(data).hexdigest()


def _columns(data: bytes) -> list[str]:
    """Return the columns of a CSV; refuse one whose last line has fewer."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8")), strict=True))
    if not rows or any(len(row) != len(rows[0]) for row in rows) or not data.endswith(b"\n"):
        raise ValueError("the table breaks off")
    return rows[0]


def table(report: Report) -> pd.DataFrame:
    """Return one row per kill."""
    return pd.DataFrame(
        {
            "kill": number,
            "moment_s": round(blow.moment, 1),
            "signal": blow.signal,
            "stage": blow.place,
            "processes_left": blow.alive,
            "gone_after_s": round(blow.seconds, 1),
            "staged_files": blow.staged,
            "dvc_lock": "whole" if blow.lock_whole else "cut off, mended",
            "outputs_there": len(blow.seen),
            "half_written": len(blow.half_written),
            "cells_kept": blow.cells,
            "cells_taken_up": blow.taken_up,
        }
        for number, blow in enumerate(report.blows, start=1)
    )


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    rows = table(report).astype(str)
    head = [name.replace("_", " ") for name in rows.columns]
    lines = ["# Killed at random moments", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows.itertuples(index=False)]
    lines += [
        "",
        f"{len(report.blows)} of {report.planned} planned kills fell before the run was over; "
        f"undisturbed it took {report.seconds / 60:.1f} minutes. {report.compared} files of "
        f"results/, figures/, paper/ and data/ were compared, {len(report.different)} differ; "
        f"{len(report.measured)} more hold measured times. Finished cells: {report.cells[1]} "
        f"({report.cells[0]} in the undisturbed run).",
        "",
    ]
    problems = report.problems()
    lines += [f"- {problem}" for problem in problems] or [
        "Everything is as in the undisturbed run."
    ]
    return "\n".join(lines) + "\n"


def write(report: Report, root: Path) -> Path:
    """Write both forms of the report below `root` and return the path of the first."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    table(report).to_csv(folder / "report.csv", index=False, lineterminator="\n")
    return folder / "report.md"
