"""Run stages that do not need each other at the same time, each by its own ``dvc repro``.

``dvc repro`` runs one stage after the other. That is right where each stage fills every processor
with its cells, and wasteful where stages are short, as in the smoke profile: there most of a
stage is one thread that imports, draws and renders. DVC lets several runs share a project as long
as no two write the same file, and locks it for the moments in which it reads or writes its own
records; a run that meets this lock is started again.
"""

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import joblib

from griddispatch.pipeline import stages
from griddispatch.pipeline.executors import WORKERS
from griddispatch.pipeline.stages import Stage

# What DVC says when another run holds its lock, or a file of the stage, for the moment.
_BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
_PAUSE = 0.5  # seconds before another try
_TRIES = 60


class ScheduleError(RuntimeError):
    """A stage failed; those that do not need it may have run."""


@dataclass(frozen=True)
class Done:
    """How one stage ended."""

    name: str
    code: int
    seconds: float


def needs(declared: Mapping[str, Stage]) -> dict[str, set[str]]:
    """Stage -> the stages that write what it reads."""
    writers = {out: stage.name for stage in declared.values() for out in stage.outs}
    found: dict[str, set[str]] = {}
    for stage in declared.values():
        read = {
            name
            for dep in stage.deps
            for out, name in writers.items()
            if name != stage.name and (stages.covers((out,), dep) or stages.covers((dep,), out))
        }
        found[stage.name] = read
    return found


def reproduce(root: Path, jobs: int, environment: Mapping[str, str]) -> list[Done]:
    """Bring every stage up to date, at most `jobs` at once; return how long each took.

    The processors are divided among the jobs. After a failure no further stage is started, and
    those that run are waited for.

    Raises
    ------
    ScheduleError
        A stage failed; the message names it.
    """
    waiting = needs(stages.load(root))
    workers = max(joblib.cpu_count() // jobs, 1)
    surroundings = {WORKERS: str(workers), **environment}
    finished: list[Done] = []
    running: set[Future[Done]] = set()
    failed: list[Done] = []
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            over = {done.name for done in finished}
            ready = [name for name, before in waiting.items() if before <= over]
            for name in ready[: 0 if failed else jobs - len(running)]:
                del waiting[name]
                running.add(pool.submit(_run, root, name, surroundings))
            if not running:
                break
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                done = future.result()
                (failed if done.code else finished).append(done)
    if failed:
        names = ", ".join(f"{done.name} (exit code {done.code})" for done in failed)
        raise ScheduleError(f"failed: {names}; not started: {', '.join(waiting) or 'none'}")
    return finished


def _run(root: Path, name: str, environment: Mapping[str, str]) -> Done:
    """Run one stage, again and again while another run of DVC is in the way."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", name]
    code = 1
    for _ in range(_TRIES):
        busy = False
        with subprocess.Popen(
            command,
            cwd=root,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                busy = busy or bool(_BUSY.search(line))
                print(line, end="", flush=True)
        code = process.returncode
        if code == 0 or not busy:
            break
        time.sleep(_PAUSE)
    return Done(name, code, time.monotonic() - started)
