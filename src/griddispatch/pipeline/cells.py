"""Independent cells of one stage, over all processors; a finished cell is never computed twice.

    curves = run_cells(train_one, [{"seed": s} for s in range(10)], label="train_td3")

Each cell is one call of a function in a worker process with one thread, on this machine or on a
cluster, as `executors` says. A finished cell is kept in ``build/cells/<label>/`` under a key made
of the function, its arguments, the source files that the function imports and the pinned versions,
so that an interrupted stage goes on where it stopped, and an edit of the code computes again what
it concerns.

How long each cell took is kept with it, and noted for the stage that runs (`durations`).
"""

import hashlib
import os
import pickle
import re
import reprlib
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
import psutil
from joblib.hashing import NumpyHasher

import griddispatch
from griddispatch.errors import InputError
from griddispatch.pipeline import durations, executors, imports, paths

STORE = "build/cells"

# The clock of a process and that of a file system agree only roughly, in seconds.
_CLOCKS = 2.0
# Progress lines come no closer than this, in seconds.
_QUIET = 2.0


class CellError(RuntimeError):
    """Cells failed. The others are finished and kept."""


def run_cells(
    function: Callable[..., Any],
    cells: Sequence[Mapping[str, Any]],
    *,
    label: str,
    store: str | Path | None = STORE,
    workers: int | None = None,
) -> list[Any]:
    """Call ``function(**cell)`` for each cell and return the results in the order of the cells.

    Parameters
    ----------
    function
        A function of a module. (With ``store=None`` it may be defined in a notebook.)
    cells
        The keyword arguments of each call: numbers, texts, arrays, tensors, dataclasses of these,
        and functions of a module, whose code then counts as well.
    label
        Name of the set of cells in progress lines and in the store: letters, digits, _ and -.
    store
        Folder for finished cells, relative to the project folder; None keeps nothing.
    workers
        Number of processes. Default: the variable GRIDDISPATCH_WORKERS, or one per processor. A
        running cluster (`executors`) has the workers that it has.

    Raises
    ------
    InputError
        The label, the number of workers, the function or an argument is of no use here, or the
        cluster is: it cannot be reached, or a worker of it has other code.
    CellError
        At least one cell failed; the message names its arguments.
    """
    if not re.fullmatch(r"[\w-]+", label):
        raise InputError(f"label {label!r}: use letters, digits, _ and - only")
    code: list[Callable[..., Any]] = [function]
    code += (v for cell in cells for v in cell.values() if isinstance(v, FunctionType))
    keep = None if store is None else _Store.open(code, paths.root() / store / label, label)
    files = [keep.file(cell) if keep else None for cell in cells]
    found = {i: _load(file) for i, file in enumerate(files) if file is not None and file.exists()}
    kept = {index: finished for index, finished in found.items() if finished is not None}
    seconds = {index: finished[0] for index, finished in kept.items()}
    results = {index: finished[1] for index, finished in kept.items()}
    todo = [index for index in range(len(cells)) if index not in results]
    if results:
        print(f"{label}: {len(results)} of {len(cells)} cells were finished before", flush=True)
    failures: dict[int, str] = {}
    progress = _Progress(label, len(cells), len(results))
    try:
        modules = {one.__module__ for one in code}
        with executors.executor(len(todo), executors.processes(workers), modules) as executor:
            futures = {executor.submit(_call, function, cells[i]): i for i in todo}
            for future in as_completed(futures):
                index = futures.pop(future)  # lets go of its result
                try:
                    result, failure, took = future.result()
                except executors.CellLostError as error:
                    failure = str(error)
                if failure:
                    failures[index] = failure
                else:
                    results[index], seconds[index] = pickle.loads(result), took
                    if keep:
                        keep.save(files[index], result, took)
                progress.finished()
    except executors.WorkersLostError as error:
        raise CellError(f"{label}: {error}") from error
    if failures:
        raise CellError(_report(label, cells, failures))
    durations.note(label, progress.spent(), [seconds[index] for index in range(len(cells))])
    return [results[index] for index in range(len(cells))]


def _call(function: Callable[..., Any], cell: Mapping[str, Any]) -> tuple[bytes, str, float]:
    """Run one cell in a worker.

    Returns
    -------
    The pickled result, or nothing; the traceback of the failure, or nothing; the seconds it took.
    """
    started = time.perf_counter()
    if "torch" in sys.modules:  # loaded with the module of the function, if at all
        sys.modules["torch"].set_num_threads(1)
    try:
        return cloudpickle.dumps(function(**cell)), "", time.perf_counter() - started
    except Exception:
        return b"", traceback.format_exc(), time.perf_counter() - started


def _report(label: str, cells: Sequence[Mapping[str, Any]], failures: Mapping[int, str]) -> str:
    short = reprlib.Repr()
    short.maxother = short.maxstring = 60
    lines = [f"{label}: {len(failures)} of {len(cells)} cells failed; the others are kept"]
    for index in sorted(failures):
        last = failures[index].strip().splitlines()[-1]
        given = (f"{name}={short.repr(value)}" for name, value in cells[index].items())
        arguments = " ".join(", ".join(given).split())
        lines.append(f"  cell {index + 1} ({arguments}): {last}")
    return "\n".join([*lines, "The first in full:", failures[min(failures)].rstrip()])


# The store -------------------------------------------------------------------------------------

# A file of the store: sha256 of the rest; seconds that the cell took; pickled result.
_DIGEST, _SECONDS = 32, struct.Struct("<d")


@dataclass(frozen=True)
class _Store:
    """Finished cells of one function under one version of its code."""

    folder: Path
    function: str
    """Module and name of the function."""
    sources: frozenset[Path]
    """Every file whose change makes finished cells invalid."""
    version: str
    """Digest of these files."""

    @classmethod
    def open(cls, code: Sequence[Callable[..., Any]], folder: Path, label: str) -> "_Store":
        """Store of the first function of `code`; the others are called by it."""
        names = [f"{f.__module__}.{getattr(f, '__qualname__', '?')}" for f in code]
        found = [getattr(sys.modules.get(f.__module__), "__file__", None) for f in code]
        for name, file in zip(names, found, strict=True):
            if file is None or "<" in name or name.startswith("__main__"):
                raise InputError(
                    f"{label}: finished cells of {name} cannot be recognised, because it is no "
                    "plain function of a module; move it into src/griddispatch or pass store=None"
                )
        own = {Path(file).resolve() for file in found if file is not None}
        package = Path(griddispatch.__file__).resolve().parents[1]
        needed = imports.closure([file.read_text(encoding="utf-8") for file in own], package)
        lock = paths.root() / "requirements.lock"
        sources = frozenset({*own, *needed, *([lock] if lock.exists() else [])})
        return cls(folder, names[0], sources, imports.digest(sources))

    def file(self, cell: Mapping[str, Any]) -> Path:
        """Return the file that holds a finished cell."""
        arguments = _Hasher(hash_name="sha1").hash(dict(cell))
        key = hashlib.sha256(f"{self.function}\0{arguments}\0{self.version}".encode()).hexdigest()
        return self.folder / f"{key[:32]}.pickle"

    def save(self, file: Path | None, result: bytes, seconds: float) -> None:
        """Keep a finished cell, unless its code may be another than that on the disk."""
        assert file is not None
        started = psutil.Process().create_time() + _CLOCKS
        edited = [source for source in self.sources if source.stat().st_mtime > started]
        if edited or imports.digest(self.sources) != self.version:
            print(f"a finished cell is not kept: {_names(edited)} was edited during the run")
            return
        partial = file.with_suffix(f".{os.getpid()}")
        content = _SECONDS.pack(seconds) + result
        with paths.writing(file):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                partial.write_bytes(hashlib.sha256(content).digest() + content)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)


def _load(file: Path) -> tuple[float, Any] | None:
    """Return the seconds and the result of a finished cell, None if its file is damaged."""
    stored = file.read_bytes()
    content = stored[_DIGEST:]
    if hashlib.sha256(content).digest() == stored[:_DIGEST] and len(content) > _SECONDS.size:
        return _SECONDS.unpack_from(content)[0], pickle.loads(content[_SECONDS.size :])
    print(f"{file.name} is damaged; its cell is computed again", flush=True)
    return None


def _names(files: Sequence[Path]) -> str:
    return ", ".join(sorted(file.name for file in files)) or "a source file"


class _Hasher(NumpyHasher):
    """joblib's hash by value, for tensors as well; no hash for code that has no stable name."""

    def save(self, obj: Any) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor):
            obj = ("tensor", str(obj.device), obj.detach().cpu().numpy())
        if isinstance(obj, (FunctionType, type)) and obj.__module__ == "__main__":
            raise InputError(
                f"{obj.__qualname__} is defined in the notebook, so a finished cell that takes it "
                "cannot be recognised; move it into src/griddispatch or pass store=None"
            )
        super().save(obj)


class _Progress:
    """Plain lines: how many cells are finished, how long it took, how long it will take."""

    def __init__(self, label: str, total: int, before: int) -> None:
        self.label, self.total, self.done, self.before = label, total, before, before
        self.started = self.printed = time.monotonic()

    def finished(self) -> None:
        """Count one more finished cell, and print a line unless one was printed just now."""
        self.done += 1
        now = time.monotonic()
        if self.done < self.total and now - self.printed < _QUIET:
            return
        self.printed = now
        spent = self.spent()
        left = spent / (self.done - self.before) * (self.total - self.done)
        print(
            f"{self.label}: {self.done} of {self.total} cells finished, "
            f"{_clock(spent)} elapsed, about {_clock(left)} left",
            flush=True,
        )

    def spent(self) -> float:
        """Return the seconds since the cells were begun."""
        return time.monotonic() - self.started


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
