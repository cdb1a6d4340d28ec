"""What a verification found, in words: a table per figure and table of the paper, and per file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from griddispatch.pipeline.verify_outcome import OTHER_SIZE, Outcome
from griddispatch.pipeline.verify_paper import Float

SHOWN = 8  # differences of one file that are listed; the others are counted
UNCHANGED, AGREES, MADE, DIFFERS = "unchanged", "agrees", "made", "DIFFERS"
_MEANING = {
    UNCHANGED: "every compared number is the same to the last digit",
    AGREES: "every compared number is the same within the tolerance of its kind",
    MADE: "made again; not or only in part to compare (measured times, another size)",
    DIFFERS: "a real difference",
}


@dataclass(frozen=True)
class Report:
    """The outcome of a verification."""

    profile: str
    """Profile of the run."""
    same_size: bool
    """Whether the published numbers are of this profile."""
    floats: Sequence[Float]
    """Figures and tables of the paper."""
    files: Mapping[str, str]
    """Published files, with their stages."""
    outcomes: Mapping[str, Outcome]
    """By file."""

    @property
    def failed(self) -> bool:
        """Whether anything differs."""
        return any(outcome.problems for outcome in self.outcomes.values())

    @property
    def compared(self) -> int:
        """How many numbers and words were compared."""
        return sum(outcome.compared for outcome in self.outcomes.values())


def status(outcomes: Iterable[Outcome]) -> str:
    """Return the worst that was found in some files."""
    own = list(outcomes)
    if any(outcome.problems for outcome in own):
        return DIFFERS
    if not any(o.compared for o in own) or any(o.note.startswith(OTHER_SIZE) for o in own):
        return MADE
    return UNCHANGED if all(outcome.unchanged for outcome in own) else AGREES


def told(report: Report, place: str) -> str:
    """Return what is printed at the end of a run; `place` is where the report lies."""
    lines = [
        f"  {name:<10} {label:<22} {compared:>6} compared  {found}"
        for name, label, _, compared, found in _floats(report)
    ]
    for outcome in report.outcomes.values():
        lines += [f"  {outcome.file}: {line}" for line in _problems(outcome)]
    lines.append(_total(report))
    lines.append(f"verify: {'FAILED' if report.failed else 'passed'}; report: {place}")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    size = "the published size" if report.same_size else "another size than the published numbers"
    lines = ["# Verification", "", f"Profile `{report.profile}`: {size}. {_total(report)}", ""]
    lines += [f"- *{word}*: {meaning}" for word, meaning in _MEANING.items()]
    lines += ["", "## Figures and tables of the paper", ""]
    lines += _table(("", "Label", "Carried by", "Compared", "Found"), _floats(report))
    lines += ["", "## Files", ""]
    rows = [
        (
            f"`{o.file}`",
            report.files.get(o.file, "") or "none",
            str(o.compared),
            str(o.compared - o.same),
            status([o]) + (f" ({o.note})" if o.note else ""),
        )
        for o in report.outcomes.values()
        if o.compared or o.problems
    ]
    lines += _table(("File", "Stage", "Compared", "Changed", "Found"), rows)
    rest = [o for o in report.outcomes.values() if not (o.compared or o.problems)]
    for note in dict.fromkeys(outcome.note for outcome in rest):
        names = [f"`{outcome.file}`" for outcome in rest if outcome.note == note]
        lines += ["", f"{len(names)} files, {note or 'nothing to compare'}: {', '.join(names)}"]
    if report.failed:
        lines += ["", "## Differences", ""]
        for outcome in report.outcomes.values():
            lines += [f"- `{outcome.file}`: {line}" for line in _problems(outcome)]
    if agreeing := [o for o in report.outcomes.values() if o.apart]:
        lines += ["", "## Learned values that changed and agree", ""]
        lines += [f"- `{o.file}`: {len(o.apart)}, the first {o.apart[0]}" for o in agreeing]
    return "\n".join([*lines, ""])


def _floats(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Return name, label, files, count of compared values and status of every figure and table."""
    rows = []
    for one in report.floats:
        own = [report.outcomes[file] for file in one.files if file in report.outcomes]
        files = ", ".join(f"`{file}`" for file in one.files)
        compared = sum(outcome.compared for outcome in own)
        rows.append((one.name, one.label, files, str(compared), status(own)))
    return rows


def _problems(outcome: Outcome) -> list[str]:
    more = len(outcome.problems) - SHOWN
    return outcome.problems[:SHOWN] + ([f"... and {more} more differences"] if more > 0 else [])


def _total(report: Report) -> str:
    files = [outcome for outcome in report.outcomes.values() if outcome.compared]
    changed = sum(outcome.compared - outcome.same for outcome in files)
    seen = len(report.outcomes)
    return (
        f"Of {seen} files, {len(files)} were compared: {report.compared} numbers and words, "
        f"of which {changed} changed."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
