"""One start of the pipeline in a clone, which is killed with everything that it has started."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from griddispatch.pipeline import smoke

_PATIENCE = 60.0  # seconds after which what is left of an ended run is killed, process by process
_STAGE = re.compile(r"Running stage '([^']+)'")
_AT_WORK = re.compile(r"griddispatch\.pipeline\.(notebook|module)\b")
_KEPT = re.compile(r": (\d+) of \d+ cells were finished before")


@dataclass
class Attempt:
    """One start of the pipeline, with all the processes that it starts."""

    clone: Path
    only: Sequence[str]
    lines: list[str] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)
    """The stages that began, each with the time on the monotonic clock."""

    def __post_init__(self) -> None:
        kept = smoke.environment(self.clone).items()
        self.process = subprocess.Popen(
            command(self.clone, self.only),
            cwd=self.clone,
            env={n: v for n, v in kept if not n.startswith("MAKE")} | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))
                if found := _STAGE.search(line):
                    self.begun[found[1]] = time.monotonic()
                    print(f"faults: {found[1]} begins", flush=True)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait()
        self._reader.join(timeout=_PATIENCE)
        return code

    def wait_for(self, named: Sequence[str], after: float) -> bool:
        """Wait until `after` seconds from the beginning of the first stage named.

        A stage that was finished by an earlier attempt begins no more: then the next one counts.
        Returns False if the run is over before that.
        """
        reached = set(named)
        while self.process.poll() is None:
            times = [at for stage, at in list(self.begun.items()) if stage in reached]
            if times and time.monotonic() >= min(times) + after:
                return True
            time.sleep(0.05)
        return False

    def processes(self) -> list[psutil.Process]:
        """Return every process of this run that is there, kernels and workers included."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def place(self, processes: Sequence[psutil.Process]) -> str:
        """Say where in the pipeline the run is."""
        last = max(self.begun, key=lambda name: self.begun[name], default="")
        if not last:
            return "before the first stage"
        runs = any(_AT_WORK.search(_command(process)) for process in processes)
        return last if runs else f"DVC, after {last}"

    def end(self, name: str) -> tuple[str, int, float]:
        """Send a signal to the whole group.

        Returns where it fell, how many processes stayed, and the seconds until the last was gone.
        """
        processes = self.processes()
        place = self.place(processes)
        sent = time.monotonic()
        os.killpg(self.process.pid, getattr(signal, f"SIG{name}"))
        while (alive := [p for p in processes if _runs(p)]) and time.monotonic() < sent + _PATIENCE:
            self.process.poll()
            time.sleep(0.1)
        seconds = time.monotonic() - sent
        for process in alive:
            process.kill()
        self.wait()
        return place, len(alive), seconds

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes():
            process.kill()
        self.wait()

    def kept(self) -> int:
        """Return how many finished cells this attempt took up."""
        return sum(int(found[1]) for line in self.lines if (found := _KEPT.search(line)))


def command(clone: Path, only: Sequence[str]) -> list[str]:
    """Return the command that runs the pipeline: ``make reproduce`` without its set-up."""
    environment = smoke.environment(clone)
    if only:
        python = shlex.quote(sys.executable)
        package = f"{python} -m griddispatch.pipeline"
        run = f"{package}.preflight && exec {package}.schedule"
        return ["sh", "-c", f"{run} {shlex.join(only)}"]
    own = shlex.join(["env", *(f"{n}={environment[n]}" for n in ("PYTHONPATH", "PATH"))])
    return ["make", "-o", "setup", "reproduce", f"VENV={own}"]


def _runs(process: psutil.Process) -> bool:
    """Return whether a process runs; one that is over may wait for somebody to take note."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
