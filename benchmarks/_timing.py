"""What every benchmark says about its machine, and how it measures: contenders take turns."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "numba", "torch", "pandapower", "gymnasium")


def machine(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | int | float]:
    """Describe processor, cores that this process may use, load, and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def interleaved(
    contenders: Mapping[str, Callable[[], int]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Measure the speed of contenders that take turns, so that a busy moment hits all of them.

    Parameters
    ----------
    contenders
        Each call does some work and returns how many units it did.
    rounds
        How often each has its turn, after one that is not counted (compilers, caches).
    clock
        What tells the seconds. `time.process_time` counts those that this process computes, which
        other processes on the machine do not change.

    Returns
    -------
    speeds
        Units per second of each contender in each round.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            begin = clock()
            units = work()
            if turn:
                speeds[name].append(units / (clock() - begin))
    return speeds


def _processor() -> str:
    """Name the processor: Linux tells it only here."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
