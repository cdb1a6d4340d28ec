"""Run the pipeline again and compare every published number: ``make verify``.

The pipeline runs in a clone outside the project, from which all published files are removed first.
What it makes is compared with the published files, each number by its own kind (see
paper/verify.yaml), and told per figure and table of the paper. The project itself gets only a
report, ``build/verify/report.md``. An interrupted run goes on where it stopped.

    python -m griddispatch.pipeline.verify                     the smallest size
    python -m griddispatch.pipeline.verify --profile reduced   the published size: all numbers
    python -m griddispatch.pipeline.verify --made FOLDER       compare with a run that is there
    python -m griddispatch.pipeline.verify --record            keep the values of a smoke run
"""

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from griddispatch.errors import InputError
from griddispatch.pipeline import (
    config,
    paths,
    smoke,
    stages,
    verify_paper,
    verify_reference,
    verify_report,
    verify_tolerances,
)
from griddispatch.pipeline.records import write_json
from griddispatch.pipeline.verify_files import compare_sheets, compare_times, read_sheet
from griddispatch.pipeline.verify_outcome import OTHER_SIZE, Outcome, settle
from griddispatch.pipeline.verify_report import Report
from griddispatch.pipeline.verify_tables import compare_pictures, compare_tables
from griddispatch.pipeline.verify_tolerances import MADE, PICTURE, TABLE, TIME, Rules

FOLDER = "build/verify"
REPORT = f"{FOLDER}/report.md"
_PUBLISHED = ("results", "figures", "paper/tables")
_PAPER = "paper/paper.pdf"


def published(root: Path) -> dict[str, str]:
    """Return the published files of a project, each with the stage that makes it, or ''."""
    made = {out: stage.name for stage in stages.load(root).values() for out in stage.outs}
    found = {name: stage for name, stage in made.items() if _is_published(name)}
    for folder in _PUBLISHED:
        for file in stages.files(root / folder):
            name = file.relative_to(root).as_posix()
            if not file.name.startswith("."):
                found.setdefault(name, made.get(name, ""))
    return dict(sorted(found.items()))


def verify(project: Path, made: Path, profile: str, *, reference: Path | None = None) -> Report:
    """Compare the published files of `project` with those of the run in `made`.

    Parameters
    ----------
    project
        Folder with the published files, dvc.yaml, paper/ and params.yaml.
    made
        Folder in which the pipeline has run.
    profile
        The profile of that run. If it is that of params.yaml, every number is compared; otherwise
        those that do not depend on the size.
    reference
        Project whose reference of a smoke run is compared as well.

    Raises
    ------
    InputError
        A published file has no kind, or a file cannot be read.
    """
    rules = verify_tolerances.read(project)
    files = published(project)
    rules.check(files)
    same_size = profile == config_profile(project)
    outcomes: dict[str, Outcome] = {}
    for name, stage in files.items():
        if rules.of(name).whole not in (TABLE, PICTURE):
            outcomes[name] = _compare(project, made, name, stage, rules, same_size=same_size)
    for name, stage in files.items():
        if name not in outcomes:
            behind = [o for n, o in outcomes.items() if files[n] == stage and n.startswith("res")]
            same = same_size and all(outcome.unchanged for outcome in behind)
            outcomes[name] = _compare_shown(project, made, name, rules, same_size, same_data=same)
    for stage in set(files.values()) - {""}:
        settle([outcome for name, outcome in outcomes.items() if files[name] == stage])
    if reference is not None:
        found = verify_reference.compare(reference, made, files, rules)
        outcomes[verify_reference.FILE] = found
    try:
        floats = verify_paper.floats(project)
    except InputError:  # a number that the paper needs is missing; the run has compiled it
        floats = verify_paper.floats(made)
    return Report(profile, same_size, floats, files, dict(sorted(outcomes.items())))


def config_profile(project: Path) -> str:
    """Return the profile of params.yaml: that of the published numbers."""
    return str(config.read(project)["profile"])


def _is_published(name: str) -> bool:
    return name == _PAPER or stages.covers(_PUBLISHED, name)


def _compare(
    project: Path, made: Path, name: str, stage: str, rules: Rules, *, same_size: bool
) -> Outcome:
    """Compare a file of numbers, or look that a file is there."""
    outcome, rule = Outcome(name), rules.of(name)
    if _absent(outcome, project, made if stage else project, name):
        return outcome
    if rule.whole == MADE:
        outcome.note = "made again, not compared"
        return outcome
    if not stage:
        outcome.note = "made by no stage"
    first = read_sheet(project / name, rule)
    second = read_sheet(made / name, rule) if stage else first
    if rule.whole == TIME:
        outcome.note = outcome.note or "measured times: there, and numbers"
        compare_times(outcome, first, second, same_size=same_size)
        return outcome
    return compare_sheets(name, first, second, rule, rules.tolerances, same_size=same_size)


def _compare_shown(
    project: Path, made: Path, name: str, rules: Rules, same_size: bool, *, same_data: bool
) -> Outcome:
    """Compare a table or a drawing of the paper."""
    outcome = Outcome(name)
    if _absent(outcome, project, made, name):
        return outcome
    old, new = ((folder / name).read_text(encoding="utf-8") for folder in (project, made))
    if rules.of(name).whole == PICTURE and same_size:
        return compare_pictures(name, old, new, same_data=same_data)
    if same_size:
        return compare_tables(name, old, new, rules.tolerances, same_data=same_data)
    outcome.note = f"{OTHER_SIZE}: that it is there, and columns"
    heads = [text.partition("\n")[0] for text in (old, new)]
    # A table leaves out what has one value in all of its rows, and a smaller run has fewer rows.
    columns = iter(heads[0].split(","))
    if name.endswith(".csv") and not all(one in columns for one in heads[1].split(",")):
        outcome.differs("columns", heads[0], heads[1], "has to be equal, or a part")
    return outcome


def _absent(outcome: Outcome, project: Path, made: Path, name: str) -> bool:
    """Note that a file is missing or empty, and return whether it is."""
    for folder, what in ((project, "is not published"), (made, "was not made again")):
        if not (folder / name).is_file() or (folder / name).stat().st_size == 0:
            outcome.problems.append(f"{what}: there is no such file, or it is empty")
            return True
    return False


# ---------------------------------------------------------------- the run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, report; return 0 if everything agrees, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="make verify", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--profile", choices=config.PROFILES, default="smoke")
    parser.add_argument("--made", type=Path, help="a folder in which the pipeline has run")
    parser.add_argument("--record", action="store_true", help="keep the values of a smoke run")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _main(paths.root(), chosen.profile, chosen.made, record=chosen.record)
    except (InputError, smoke.SmokeError, subprocess.SubprocessError) as error:
        print(f"verify failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept, so run it again to go on", file=sys.stderr)
        return 130


def _main(root: Path, profile: str, made: Path | None, *, record: bool) -> int:
    if made is not None and not (made / "dvc.yaml").is_file():
        raise InputError(f"--made {made} holds no dvc.yaml; name a folder with a finished run")
    if record and profile != "smoke":
        raise InputError(f"--record keeps the values of a smoke run; profile is {profile!r}")
    rules = verify_tolerances.read(root)
    rules.check(published(root))  # before the run, which takes long
    note = root / FOLDER / f"{profile}.json"
    folder = None
    if made is None:
        folder = _prepare(root, profile, note)
        made = folder / "clone"
        print(f"running the profile {profile} in {made}", flush=True)
        smoke.reproduce(made)
        smoke.check(made)
    elif config_profile(made) != profile:
        raise InputError(f"{made} has the profile {config_profile(made)!r}, not {profile!r}")
    try:
        if record:
            file = verify_reference.record(root, made, published(root), rules)
            print(f"recorded {file.relative_to(root).as_posix()}")
        report = verify(root, made, profile, reference=root if profile == "smoke" else None)
        target = root / REPORT
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(verify_report.markdown(report), encoding="utf-8")
    except BaseException:
        if folder is not None:
            again = f"python -m griddispatch.pipeline.verify --profile {profile} --made '{made}'"
            print(f"the finished run is kept; compare it with: {again}", file=sys.stderr)
        raise
    print(verify_report.told(report, REPORT))
    if folder is not None:
        note.unlink()
    if report.failed:
        print(f"what was made is kept in {made}", file=sys.stderr)
    elif folder is not None:
        shutil.rmtree(folder)
    return int(report.failed)


def _prepare(root: Path, profile: str, note: Path) -> Path:
    """Return a folder with a clone without published files: that of an interrupted run, or new."""
    # The space is on purpose: everything must work in such a folder.
    folder = Path(tempfile.mkdtemp(prefix="griddispatch verify "))
    clone = folder / "clone"
    smoke.fill(root, clone)
    smoke.set_profile(clone / "params.yaml", profile)
    for name, stage in published(clone).items():
        if stage:
            (clone / name).unlink(missing_ok=True)
    key = _digest(clone)
    earlier = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if earlier.get("sources") == key and (Path(earlier["folder"]) / "clone").is_dir():
        shutil.rmtree(folder)
        print("going on with the interrupted run")
        return Path(earlier["folder"])
    if earlier:
        shutil.rmtree(earlier["folder"], ignore_errors=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"sources": key, "folder": str(folder)})
    return folder


def _digest(clone: Path) -> str:
    """Return a digest of all files of a fresh clone, git's own aside."""
    total = hashlib.sha256()
    for name, file in sorted(_own_files(clone)):
        total.update(f"{name}\0{stages.digest(file)}\n".encode())
    return total.hexdigest()


def _own_files(clone: Path) -> Iterator[tuple[str, Path]]:
    for file in stages.files(clone):
        name = file.relative_to(clone).as_posix()
        if not name.startswith(".git/"):
            yield name, file


if __name__ == "__main__":
    sys.exit(main())
