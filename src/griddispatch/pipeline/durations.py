"""How long the cells of a stage take, and how long the stage would take with more workers.

A stage is a serial part (its notebook: reading, tables, figures) and sets of cells, which `cells`
runs over all processors. From the seconds of each cell follows the time with any number of workers,
as long as one cell beside others takes as long as alone.
"""

import heapq
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from griddispatch.pipeline import paths

FILE = "cells.jsonl"


def note(label: str, elapsed: float, seconds: Sequence[float]) -> None:
    """Note the seconds of a set of cells for the running stage; without a stage, do nothing.

    Parameters
    ----------
    label
        Name of the set.
    elapsed
        Seconds that this run spent on the set; cells that were finished before take none.
    seconds
        Of each cell, in the order in which they are begun.
    """
    stage = os.environ.get(paths.RUN)
    if stage is None:
        return
    line = {"label": label, "elapsed": round(elapsed, 2), "seconds": [round(s, 2) for s in seconds]}
    file = paths.root() / paths.STAGING / stage / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with paths.writing(file), file.open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(line) + "\n")


def noted(staging: Path) -> list[dict[str, Any]]:
    """Return what was noted for the stage whose staging folder this is."""
    file = staging / FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def with_workers(record: Mapping[str, Any], workers: int) -> float:
    """Return the seconds that a recorded run would take from its beginning with so many workers.

    Parameters
    ----------
    record
        Of a stage's last run, as `sidecar.last_run` returns it.
    workers
        Number of processes.
    """
    sets = record.get("cells", [])
    serial = record["wall_seconds"] - sum(one["elapsed"] for one in sets)
    return float(serial + sum(makespan(one["seconds"], workers) for one in sets))


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last cell ends, if a worker that is free takes the next one in order."""
    free = [0.0] * workers
    for own in seconds:
        heapq.heapreplace(free, free[0] + own)
    return max(free)
