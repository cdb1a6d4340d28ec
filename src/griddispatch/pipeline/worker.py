"""What runs beside a worker of a Dask cluster: one process for the cells of one run.

A thread of a Dask worker cannot be ended, shares its interpreter with the worker, and keeps the
code that was loaded first. So each thread hands its cells to a process of its own, through two
pipes. This process has the environment variables of the client's own workers, compares its code
with that of the client before it computes anything, and is killed as soon as nobody waits for it.
"""

import hashlib
import importlib.util
import os
import pickle
import platform
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import griddispatch
from griddispatch.pipeline import imports
from griddispatch.pipeline.executors import IDLE, end_with

# Between two looks whether the client is still there, in seconds.
_LOOK = 0.5
# How many differences of code a message names.
_NAMED = 5


@dataclass(frozen=True)
class Run:
    """What every process of one run must agree on."""

    name: str
    environment: Mapping[str, str]
    modules: tuple[str, ...]
    code: Mapping[str, str]
    """Digests of sources, and versions; see `code_of`."""


class ProcessLostError(RuntimeError):
    """The process in which a worker ran a cell died."""


_thread = threading.local()  # a worker may have several threads, each with a process of its own


def remote(run: Run, call: bytes) -> tuple[bool, Any]:
    """Run a pickled call in the process of this thread; return whether it could, and the result."""
    process = getattr(_thread, "process", None)
    if process is None or process.run != run.name or process.popen.poll() is not None:
        if process is not None:
            process.popen.kill()
        process = _thread.process = _Process(run)
    return process.answer(call)


class _Process:
    """A Python process beside a Dask worker that answers calls through pipes."""

    def __init__(self, run: Run) -> None:
        self.run = run.name
        found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.popen = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({os.getpid()})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **run.environment, **found},
        )
        self._send(run)

    def answer(self, call: bytes) -> tuple[bool, Any]:
        """Return what the process answers, or end it as soon as nobody waits for the answer."""
        import distributed

        worker = distributed.get_worker()
        answered = threading.Event()
        watch = partial(self._watch, worker, worker.get_current_task(), answered)
        threading.Thread(target=watch, daemon=True).start()
        try:
            self._send(call)
            return pickle.load(self.popen.stdout)  # type: ignore[arg-type]  # it is a pipe
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise ProcessLostError(
                f"exit code {self.popen.wait()} on {socket.gethostname()}"
            ) from error
        finally:
            answered.set()

    def _send(self, content: Any) -> None:
        assert self.popen.stdin is not None
        with suppress(OSError):  # it died; the missing answer says so
            pickle.dump(content, self.popen.stdin)
            self.popen.stdin.flush()

    def _watch(self, worker: Any, key: Any, answered: threading.Event) -> None:
        """Kill the process if its task is cancelled (the client left) or the worker closes."""
        while not answered.wait(_LOOK):
            task = worker.state.tasks.get(key)
            wanted = task is not None and task.state != "cancelled"
            if not wanted or worker.status.name in ("closing", "closed", "failed"):
                self.popen.kill()
                return


def serve(parent: int) -> None:
    """Answer the calls of a Dask worker, the process `parent`, until its pipe closes."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a cell prints goes to the log of the worker
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream
    end_with(parent)
    try:
        run = pickle.load(calls)
        refused = refusal(run)
        while True:
            idle = threading.Timer(IDLE, os._exit, [0])
            idle.daemon = True
            idle.start()
            call = pickle.load(calls)
            idle.cancel()
            pickle.dump(_outcome(refused, call), answers)
            answers.flush()
    except (EOFError, BrokenPipeError):
        return


def _outcome(refused: str, call: bytes) -> tuple[bool, Any]:
    if refused:
        return False, refused
    try:
        function, args, kwargs = pickle.loads(call)
    except Exception as error:
        return False, f"{socket.gethostname()} cannot load the code of a cell ({error})"
    return True, function(*args, **kwargs)


def refusal(run: Run) -> str:
    """Say in what this process differs from the client of a run; an empty text for nothing."""
    here = code_of(run.modules)
    wrong = [
        f"{name} is {here.get(name, 'missing')} instead of {run.code.get(name, 'missing')}"
        for name in sorted({*here, *run.code})
        if here.get(name) != run.code.get(name)
    ]
    if not wrong:
        return ""
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return (
        f"the worker on {socket.gethostname()} has other code than this machine: "
        f"{'; '.join(wrong[:_NAMED])}{more}; give it the same sources and packages "
        "(requirements*.lock) and run it again; finished cells are kept"
    )


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """Return what decides about the bytes of results: digests of sources, and versions.

    A function of a notebook travels with the cell, but may import anything of the package.
    """
    package = Path(griddispatch.__file__).parent
    own = {name: file for name in modules if (file := _file(name)) is not None}
    if "__main__" in modules:
        used = frozenset(package.rglob("*.py"))
    else:
        texts = [file.read_text(encoding="utf-8") for file in own.values()]
        used = imports.closure(texts, package.parent)
    own |= {file.relative_to(package.parent).as_posix(): file for file in used}
    code = {n: hashlib.sha256(f.read_bytes()).hexdigest()[:12] for n, f in own.items()}
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    needs = [n for n in metadata.requires("griddispatch") or () if not re.search("extra ==", n)]
    for name in ("distributed", *(re.split(r"[^\w.-]", need)[0] for need in needs)):
        versions[name] = _version(name)
    return {**code, **{f"{name} (version)": value for name, value in versions.items()}}


def _file(module: str) -> Path | None:
    """Return the source of a module other than the main one."""
    spec = None if module == "__main__" else importlib.util.find_spec(module)
    return None if spec is None or not spec.has_location else Path(str(spec.origin))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
