"""Bring stages up to date, several at once: ``make reproduce``.

``dvc repro`` runs one stage after the other. While a notebook imports, draws and renders, or waits
for its last cell, the other processors are idle. Here, stages that do not need each other run
beside each other, each by its own ``dvc repro --single-item``, and share the processors; the stage
at the head of the longest way through the rest begins first, and one that nothing is left to run
beside has all processors to itself. Results do not depend on it.

DVC lets several runs share a project as long as no two write the same file, and locks it for the
moments in which it reads or writes its own records; a run that meets this lock waits for it. One
that meets a file in use has not begun its stage, and is started again.

A signal to this process alone ends everything that it started.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from griddispatch.errors import InputError
from griddispatch.pipeline import config, executors, paths, preflight, stages
from griddispatch.pipeline.stages import Stage

# Without the option a finished stage counts as failed if another run holds the lock for 3 seconds.
_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")

# What DVC says before a stage begins, when another run uses a file of it for the moment.
_BUSY = re.compile(r"is busy, it is being blocked by")
_PAUSE = 0.5  # seconds before another try
_TRIES = 60

# More stages at once would want more memory, and there are hardly more that do not need each other.
_AT_ONCE = 4

_PATIENCE = 10.0  # seconds in which a stage that is told to end removes what it has half written


class ScheduleError(RuntimeError):
    """A stage failed; those that do not need it may have run."""


@dataclass(frozen=True)
class Done:
    """How one stage ended."""

    name: str
    code: int
    seconds: float


def needs(declared: Mapping[str, Stage]) -> dict[str, set[str]]:
    """Stage -> the stages that write what it reads: a file, or any part of a folder."""
    writers: dict[str, set[str]] = defaultdict(set)  # an output, or a folder of outputs
    outs: dict[str, str] = {}
    for stage in declared.values():
        for out in map(_plain, stage.outs):
            outs[out] = stage.name
            for folder in (out, *_above(out)):
                writers[folder].add(stage.name)
    found: dict[str, set[str]] = {}
    for stage in declared.values():
        read: set[str] = set()
        for dep in map(_plain, stage.deps):
            read |= writers.get(dep, set()) | {outs[name] for name in _above(dep) if name in outs}
        found[stage.name] = read - {stage.name}
    return found


def _plain(name: str) -> str:
    return name.rstrip("/")


def _above(name: str) -> list[str]:
    """Return the folders that hold a path."""
    return [str(folder) for folder in PurePosixPath(name).parents]


def needed_by(before: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Stage -> the stages that need it: `needs` the other way round."""
    return {name: [other for other, own in before.items() if name in own] for name in before}


def reach(edges: Mapping[str, Iterable[str]], begin: Iterable[str]) -> set[str]:
    """Return `begin` and all that can be reached from it along the edges."""
    found: set[str] = set()
    ahead = list(begin)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += edges[name]
    return found


def longest_way(declared: Mapping[str, Stage]) -> dict[str, float]:
    """Stage -> minutes of the longest way from its begin to the end of the pipeline."""
    after = needed_by(needs(declared))
    ways: dict[str, float] = {}

    def way(name: str) -> float:
        if name not in ways:
            ways[name] = declared[name].minutes + max(map(way, after[name]), default=0.0)
        return ways[name]

    return {name: way(name) for name in declared}


def at_once(workers: int) -> int:
    """Return how many stages may run at the same time, for a number of workers."""
    return min(workers, max(2, min(_AT_ONCE, workers // 2)))


def share(name: str, left: Iterable[str], before: Mapping[str, set[str]], workers: int) -> int:
    """Return the workers of a stage that begins while others are left, running or waiting.

    They are divided among the stages that may run at once: fewer at the end, where most of what is
    left needs this one. All together keep to the number: each that still runs was counted when this
    one's turn was still to come, and this one counts it.

    Parameters
    ----------
    name
        The stage.
    left
        All that have not ended, with or without this one.
    before
        Stage -> those that it needs, as `needs` returns it.
    workers
        Processes in all.
    """
    beside = 1 + len(set(left) - reach(needed_by(before), [name]))
    return workers // min(at_once(workers), beside)


def elapsed(
    declared: Mapping[str, Stage], seconds: Mapping[str, Callable[[int], float]], workers: int
) -> float:
    """Return how long `reproduce` takes for stages of so many seconds with a number of workers."""
    way, before = longest_way(declared), needs(declared)
    waiting = sorted(seconds, key=lambda name: -way[name])
    running: dict[str, float] = {}  # stage -> when it ends
    jobs = at_once(workers)
    now = 0.0
    while waiting or running:
        left = {*waiting, *running}
        for name in [name for name in waiting if not before[name] & left][: jobs - len(running)]:
            waiting.remove(name)
            running[name] = now + seconds[name](share(name, left, before, workers))
        ended = min(running, key=lambda name: running[name])
        now = running.pop(ended)
    return now


def reproduce(
    root: Path, workers: int, environment: Mapping[str, str], names: Iterable[str] | None = None
) -> list[Done]:
    """Bring stages up to date, several at once; return how long each took.

    After a failure no further stage is started, and those that run are waited for. After an
    interruption they are ended, with all processes that they have started.

    Parameters
    ----------
    root
        The project folder.
    workers
        Processes in all; divided among the stages that run at once.
    environment
        Environment variables of the stages.
    names
        The stages; None: every one. What they need and is not among them must be up to date.

    Raises
    ------
    ScheduleError
        A stage failed; the message names it.
    """
    declared = stages.load(root)
    chosen = set(declared) if names is None else set(names)
    way, before = longest_way(declared), needs(declared)
    waiting = sorted(chosen, key=lambda name: -way[name])
    jobs = at_once(workers)
    finished: list[Done] = []
    running: set[Future[Done]] = set()
    failed: list[Done] = []
    stopped = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                left = chosen - {done.name for done in finished}
                ready = [name for name in waiting if not before[name] & left]
                for name in ready[: 0 if failed else jobs - len(running)]:
                    waiting.remove(name)
                    each = share(name, left, before, workers)
                    surroundings = {**environment, executors.WORKERS: str(each)}
                    running.add(pool.submit(_run, root, name, surroundings, stopped))
                if not running:
                    break
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    done = future.result()
                    (failed if done.code else finished).append(done)
        except BaseException:
            stopped.set()
            _end(running)
            raise
    if failed:
        told = ", ".join(f"{done.name} (exit code {done.code})" for done in failed)
        raise ScheduleError(f"failed: {told}; not started: {', '.join(waiting) or 'none'}")
    return finished


def _end(running: Iterable[Future[Done]]) -> None:
    """End every process below this one; one that does not obey is killed after `_PATIENCE`."""
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + _PATIENCE
    while True:
        # Looked for again and again: a process may just have been started. Told once: a second
        # signal would fall into the tidying up after the first.
        for process in set(psutil.Process().children(recursive=True)) - told:
            told.add(process)
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(told, timeout=0.2)
        if not alive and all(future.done() for future in running):
            return
        if time.monotonic() > deadline:
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def _run(root: Path, name: str, environment: Mapping[str, str], stopped: threading.Event) -> Done:
    """Run one stage, again and again while another run of DVC uses one of its files."""
    started = time.monotonic()
    command = [*_DVC, "repro", "--single-item", name]
    code = 1
    for _ in range(_TRIES):
        if stopped.is_set():
            break
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
        stopped.wait(_PAUSE)
    return Done(name, code, time.monotonic() - started)


def stale(root: Path, names: Iterable[str]) -> set[str]:
    """Return the stages among `names` that DVC would run, and those that need one of them.

    Raises
    ------
    ScheduleError
        DVC cannot tell.
    """
    # Of all: for stages by their names, DVC reads the project again for each.
    command = [*_DVC, "status", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScheduleError(f"dvc status failed:\n{done.stderr.strip()}")
    after = needed_by(needs(stages.load(root)))
    return reach(after, json.loads(done.stdout)) & set(names)


def main(arguments: list[str]) -> int:
    """Bring the named stages, or all, up to date, with what they need."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 0
    try:
        root = paths.root()
        os.chdir(root)
        declared = stages.load(root)
        if unknown := [name for name in arguments if name not in declared]:
            raise InputError(f"no stage {unknown[0]!r}; the stages are {', '.join(declared)}")
        wanted = reach(needs(declared), arguments or declared)
        content = config.read(root)
        asked = config.run_options(content, content["profile"])["workers"]
        workers = executors.processes(None if executors.WORKERS in os.environ else asked)
        todo = stale(root, wanted)
        kept = f"{len(wanted) - len(todo)} of {len(wanted)} stages are up to date"
        print(f"{kept}; to run: {', '.join(n for n in declared if n in todo) or 'none'}")
        reproduce(root, workers, os.environ, todo)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ScheduleError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130  # the stages say that they were interrupted
    if code:
        preflight.main()  # says so if the disk is full, and mends what DVC has left cut off
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
