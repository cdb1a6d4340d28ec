"""Run one stage so that it either succeeds as a whole or leaves nothing behind.

What a stage writes goes to a staging folder. Its dependencies are hashed before and after. Only if
the work succeeded, no dependency changed and every declared output is there, the outputs are moved
into place, together with a manifest (cached by DVC, see `Stage.manifest`) and an untracked sidecar
``build/runs/<stage>.json`` that says what was run, on what, and what it took.

A disk that is full or read-only ends the stage with one sentence, wherever it was noticed.
"""

import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from griddispatch.errors import InputError
from griddispatch.pipeline import config, durations, paths, preflight, sidecar, stages
from griddispatch.pipeline.executors import CLUSTER, ONE_THREAD, WORKERS
from griddispatch.pipeline.preflight import remove
from griddispatch.pipeline.processes import Watch
from griddispatch.pipeline.records import write_json
from griddispatch.pipeline.stages import Stage

# What makes a run repeatable: no threads, no hash seeds, no clock, nothing of the user's own.
ENVIRONMENT = {
    **ONE_THREAD,
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "SOURCE_DATE_EPOCH": "1767225600",  # 2026-01-01
    "TZ": "UTC",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "MPLBACKEND": "agg",
}

# Of a long traceback, the end says what happened.
TRACEBACK_LINES = 20

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# What libraries say of a full or closed disk, in a traceback or an exception of their own.
_DISK_WORDS = {
    "No space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,  # SQLite
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
}


class StageFailedError(RuntimeError):
    """The stage did not succeed; the message says why."""


@dataclass(frozen=True)
class Job:
    """What the work of a stage is given."""

    root: Path
    """The project folder."""
    stage: Stage
    """What is run."""
    parameters: Mapping[str, Any]
    """The section of params.yaml for the profile in force."""
    environment: Mapping[str, str]
    """Environment variables of the process that does the work."""


def run(target: str, work: Callable[[Job], None]) -> int:
    """Run the stage of a notebook or a module; return the exit code for the shell.

    Parameters
    ----------
    target
        Path of the notebook from the project folder, or name of the module.
    work
        Does the work; raises `StageFailedError` with the reason if it does not succeed.
    """
    for one in _SIGNALS:
        signal.signal(one, _interrupt)
    base = Path()
    try:
        base = paths.root()
        os.chdir(base)
        preflight.room(base)
        stage = stages.find(base, target)
        parameters, options = config.stage_parameters(base, stage)
        environment = {**os.environ, **ENVIRONMENT, paths.RUN: stage.name, paths.ROOT: str(base)}
        if options["workers"] is not None:
            environment.setdefault(WORKERS, str(options["workers"]))
        if options["cluster"] is not None:
            environment.setdefault(CLUSTER, options["cluster"])
        _run(Job(base, stage, parameters, environment), work, options["time_limit"])
    except (InputError, StageFailedError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        if (told := _disk(error, base)) is None:
            raise
        print(f"error: {told}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished cells are kept, so run it again to go on", file=sys.stderr)
        return 130
    return 0


def _run(job: Job, work: Callable[[Job], None], time_limit: float) -> None:
    """Do the work of a stage and publish its outputs; after a failure, remove them."""
    stage, root = job.stage, job.root
    staging = root / paths.STAGING / stage.name
    for leftover in (staging, root / stage.manifest):
        remove(leftover)
    preflight.keep_lock(root)
    record = sidecar.begun(root, stage, job.parameters)
    started = time.monotonic()
    before = _digests(root, stage.deps)
    there_before = {out for out in stage.outs if (root / out).exists()}
    try:
        if missing := [name for name, value in before.items() if value is None]:
            raise StageFailedError(f"{stage.name} needs {_list(missing)}: no such file or folder")
        with Watch(time_limit * 60) as watch:
            _work(job, work, watch)
        record |= {"cells": durations.noted(staging)}
        after = _digests(root, stage.deps)
        if edited := [name for name in stage.deps if before[name] != after[name]]:
            raise StageFailedError(
                f"{_list(edited)} was edited while {stage.name} ran, so its results belong to no "
                "version of the code; they are discarded, run it again"
            )
        _publish(root, stage, staging)
    except BaseException:
        for out in set(stage.outs) - there_before:
            remove(root / out)
        raise
    finally:
        remove(staging)
    record |= {"wall_seconds": round(time.monotonic() - started, 1)}
    record |= {"peak_memory_mb": round(watch.peak / 1e6)}
    write_json(_ready(sidecar.path(root, stage.name)), record)
    write_json(_ready(root / stage.manifest), _manifest(job), digits=17)


def _work(job: Job, work: Callable[[Job], None], watch: Watch) -> None:
    """Do the work, and tell a failure by the time limit or the disk from any other."""
    try:
        work(job)
    except Exception as failure:
        if watch.expired:
            raise StageFailedError(
                f"{job.stage.name} took longer than its time limit of {watch.seconds / 60:g} "
                "minutes; finished cells are kept, so raise run.time_limit in params.yaml and run "
                "it again"
            ) from failure
        if told := _disk(failure, job.root / paths.STAGING / job.stage.name):
            raise StageFailedError(told) from failure
        raise


def _disk(failure: BaseException, place: Path) -> str | None:
    """Return what to tell if a failure came from the disk; `place` is the folder written to."""
    for error in _chain(failure):
        if isinstance(error, OSError) and paths.is_disk_error(error):
            return paths.disk_error(error, Path(error.filename or place / "an output"))
        for words, number in _DISK_WORDS.items():
            if words in str(error):
                told = OSError(number, os.strerror(number))
                return paths.disk_error(told, place / "an output")
    return None


def _chain(failure: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those in whose handling it was raised."""
    error: BaseException | None = failure
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _publish(root: Path, stage: Stage, staging: Path) -> None:
    """Move the outputs into place, after a check that all of them are there."""
    outs = [out for out in stage.outs if out != stage.manifest]
    if absent := [o for o in outs if not (staging / o).exists() and not (root / o).exists()]:
        raise StageFailedError(
            f"{stage.name} did not write {_list(absent)}, which dvc.yaml lists among its outs; "
            "write it or take it off the list"
        )
    for out in outs:
        if (staging / out).exists():
            remove(root / out)
            shutil.move(staging / out, _ready(root / out))


def _manifest(job: Job) -> dict[str, Any]:
    """Return what the results depend on, and their digests; measured times are left out."""
    stage = job.stage
    outs = (out for out in stage.outs if out != stage.manifest and "timings" not in out.split("/"))
    digests = {out: stages.digest(job.root / out) for out in outs}
    parameters = dict(job.parameters) if stage.name in stage.params else {}
    return {"stage": stage.name, "parameters": parameters, "outputs": digests}


def _digests(root: Path, names: Iterable[str]) -> dict[str, str | None]:
    return {name: stages.digest(root / name) for name in names}


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _interrupt(*_: object) -> None:
    # Ctrl-C reaches a stage twice: at once, and from the schedule, which ends what it has started.
    # The second must not break off the tidying up.
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt
