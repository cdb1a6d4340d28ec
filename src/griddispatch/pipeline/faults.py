"""Kill ``make reproduce`` at random moments: it goes on, and ends with the same bytes.

The pipeline runs at its smallest size in two clones: once undisturbed, and once killed with all
its processes again and again, at moments that lie all over the undisturbed run. After each kill it
is started again with nothing in between. No process may go on in the background, no output may be
half-written, and in the end every published file must have the same bytes, measured times aside.

    python -m griddispatch.pipeline.faults                   ten kills, in two clones
    python -m griddispatch.pipeline.faults --clone FOLDER    FOLDER is the undisturbed one
    python -m griddispatch.pipeline.faults --stages fetch data_preparation --kills 2

The project itself gets only a report, ``build/faults/report.md`` and ``.csv``.
"""

import argparse
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from griddispatch.errors import InputError
from griddispatch.pipeline import faults_report, paths, preflight, sidecar, smoke, stages
from griddispatch.pipeline.cells import STORE
from griddispatch.pipeline.faults_report import Blow, Report
from griddispatch.pipeline.faults_run import Attempt

SIGNALS = ("KILL", "TERM", "INT")
MIXED = ("KILL", "TERM", "KILL", "INT", "KILL")


@dataclass(frozen=True)
class Plan:
    """When to kill: so many seconds after a stage began, by which signal."""

    moment: float
    """Seconds from the beginning of the undisturbed run."""
    stage: str
    after: float
    signal: str


def timeline(clone: Path) -> list[tuple[str, float]]:
    """Return the stages that ran in a clone, in their order, and the seconds each took.

    The time between a stage and the next one, in which DVC works, belongs to the former.

    Raises
    ------
    InputError
        No stage has run there.
    """
    found = [sidecar.last_run(clone, name) for name in stages.load(clone)]
    runs = sorted((r for r in found if r is not None), key=lambda record: record["started"])
    if not runs:
        raise InputError(f"no stage has run in {clone}; name the folder of a finished run")
    begun = [datetime.fromisoformat(run["started"]).timestamp() for run in runs]
    between = [later - earlier for earlier, later in itertools.pairwise(begun)]
    # A pause of the run that was no work of DVC counts for little.
    spans = [min(gap, run["wall_seconds"] + 10) for gap, run in zip(between, runs, strict=False)]
    return list(zip((r["stage"] for r in runs), [*spans, runs[-1]["wall_seconds"]], strict=True))


def plan(spans: Sequence[tuple[str, float]], kills: int, seed: int, signals: str) -> list[Plan]:
    """Draw one moment from each of `kills` equal parts of the undisturbed run."""
    rng = random.Random(seed)
    total = sum(seconds for _, seconds in spans)
    names = list(MIXED if signals == "mixed" else (signals,)) * kills
    names = names[:kills]
    rng.shuffle(names)
    plans = []
    for part, name in enumerate(names):
        moment = rest = (part + rng.random()) * total / kills
        for stage, seconds in spans:
            if rest <= seconds or stage == spans[-1][0]:
                plans.append(Plan(moment, stage, rest, name))
                break
            rest -= seconds
    return plans


def disturbed(clone: Path, first: Path, plans: Sequence[Plan], only: Sequence[str]) -> Report:
    """Run the pipeline in `clone`, kill it as planned, compare with the finished run in `first`."""
    spans = timeline(first)
    order, total = [stage for stage, _ in spans], sum(seconds for _, seconds in spans)
    report = Report(clone, total, len(plans))
    for number, aim in enumerate(plans, start=1):
        attempt = Attempt(clone, only)
        try:
            there = attempt.wait_for(order[order.index(aim.stage) :], aim.after)
            if not there and attempt.wait() != 0:
                raise smoke.SmokeError(_failed(report, attempt))
            if not there:
                _say(f"the run was over before kill {number}")
                break
            ended = attempt.end(aim.signal)
        finally:
            attempt.close()
        _taken_up(report, attempt)
        report.blows.append(_look(clone, aim, ended, contents(clone, order)))
        left = (total - aim.moment + 15 * (len(plans) - number + 1)) / 60
        _say(f"kill {number} of {len(plans)} ({aim.signal}): {ended[0]}; about {left:.0f} min left")
    attempt = Attempt(clone, only)
    try:
        if attempt.wait() != 0:
            raise smoke.SmokeError(_failed(report, attempt))
    finally:
        attempt.close()
    _taken_up(report, attempt)
    report.close(contents(first, order), contents(clone, order))
    if not only:
        smoke.check(clone)
    report.staged = len(_files(clone / paths.STAGING))
    report.cells = (len(_cells(first)), len(_cells(clone)))
    return report


def contents(clone: Path, order: Sequence[str]) -> dict[str, str]:
    """Return the content of every file that the stages named in `order` have written so far."""
    declared, rules = stages.load(clone), faults_report.rules_of(clone)
    found = {}
    for out in (clone / out for name in order for out in declared[name].outs):
        for file in _files(out) if out.is_dir() else [out] if out.is_file() else []:
            name = file.relative_to(clone).as_posix()
            found[name] = faults_report.content(file, name, rules)
    return found


def _look(clone: Path, aim: Plan, ended: tuple[str, int, float], seen: dict[str, str]) -> Blow:
    """Return what a kill has left; `ended` is what `Attempt.end` returned."""
    lock = clone / preflight.LOCK
    return Blow(
        aim.moment,
        aim.signal,
        *ended,
        cells=len(_cells(clone)),
        staged=len(_files(clone / paths.STAGING)),
        lock_whole=not lock.exists() or preflight.is_whole(lock.read_bytes()),
        seen=seen,
    )


def _taken_up(report: Report, attempt: Attempt) -> None:
    """Note at the last kill with how many finished cells the run went on."""
    if report.blows:
        report.blows[-1].taken_up = attempt.kept()


def _failed(report: Report, attempt: Attempt) -> str:
    """Say that a run did not go on after a kill, and how it ended."""
    end = "\n    ".join(attempt.lines[-12:])
    return f"after {len(report.blows)} kills the run does not go on; it ended with\n    {end}"


def _cells(clone: Path) -> list[Path]:
    return [file for file in _files(clone / STORE) if file.suffix == ".pickle"]


def _files(folder: Path) -> list[Path]:
    return sorted(stages.files(folder))


def _say(text: str) -> None:
    print(f"faults: {text}", flush=True)


# ---------------------------------------------------------------- the clones


def prepare(root: Path, clone: Path) -> None:
    """Make a clone at the smallest size, without any output."""
    smoke.fill(root, clone)
    smoke.set_profile(clone / "params.yaml", "smoke")
    for out in (out for stage in stages.load(clone).values() for out in stage.outs):
        preflight.remove(clone / out)


def _check_same_sources(clone: Path, first: Path) -> None:
    """Raise InputError unless both clones hold the same code, parameters and inputs."""
    declared = stages.load(clone).values()
    made = [out for stage in declared for out in stage.outs]
    names = {d for stage in declared for d in stage.deps if not stages.covers(made, d)}
    for name in sorted({*names, "params.yaml", "dvc.yaml"}):
        if stages.digest(clone / name) != stages.digest(first / name):
            raise InputError(
                f"--clone {first} has another {name} than this project at profile smoke; run "
                "without --clone"
            )


def _undisturbed(root: Path, folder: Path, only: Sequence[str]) -> Path:
    """Make the undisturbed run and return its clone."""
    clone = folder / "undisturbed"
    prepare(root, clone)
    _say(f"the undisturbed run of {len(stages.load(clone))} stages, in {clone}")
    attempt = Attempt(clone, only)
    try:
        if attempt.wait() != 0:
            raise smoke.SmokeError(_failed(Report(clone, 0.0, 0), attempt))
    finally:
        attempt.close()
    return clone


def main(arguments: Sequence[str] | None = None) -> int:
    """Run twice, kill, compare, report; return 0 if every byte is the same, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m griddispatch.pipeline.faults", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--signal", choices=(*SIGNALS, "mixed"), default="mixed")
    parser.add_argument("--stages", nargs="+", default=[], help="only these and what they need")
    parser.add_argument("--clone", type=Path, help="folder of a finished run at profile smoke")
    chosen = parser.parse_args(arguments)
    if chosen.kills < 1:
        parser.error(f"--kills is {chosen.kills}; write 1 or more")
    # A shell starts what is in the background deaf to SIGINT, and so would be what is killed here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The space is on purpose: everything must work in such a folder.
    folder = Path(tempfile.mkdtemp(prefix="griddispatch faults "))
    try:
        root = paths.root()
        first = chosen.clone or _undisturbed(root, folder, chosen.stages)
        clone = folder / "killed"
        prepare(root, clone)
        _check_same_sources(clone, first)
        plans = plan(timeline(first), chosen.kills, chosen.seed, chosen.signal)
        _say(f"the killed run, in {clone}")
        report = disturbed(clone, first, plans, chosen.stages)
        target = faults_report.write(report, root)
    except (InputError, smoke.SmokeError, subprocess.SubprocessError) as error:
        print(f"faults: {error}\nThe clones are kept in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; the clones are kept in {folder}", file=sys.stderr)
        return 130
    print(faults_report.markdown(report))
    _say(f"the report is {target.relative_to(root).as_posix()}")
    if report.problems():
        print(f"faults: the clones are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
