"""What the pipeline has made, how long it took, and how to look at it: the end of a run."""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from griddispatch.errors import InputError
from griddispatch.pipeline import config, durations, paths, schedule, sidecar, stages

# Heading -> the outputs under it: a folder, and the endings that count (the others are the same
# thing in another format).
_KINDS = {
    "Paper": ("paper", (".pdf",)),
    "Tables": ("paper/tables", (".csv", ".md")),
    "Figures": ("figures", (".svg",)),
    "Numbers": ("results", (".json", ".csv")),
}

# Numbers of workers for which the time of a run is worked out beside the measured one.
WORKERS = (1, 2, 4, 8)


def summary(root: Path) -> str:
    """Return the closing lines of a run: outputs by kind, minutes per stage, how to open them."""
    declared = stages.load(root)
    outputs = {out for stage in declared.values() for out in _files(root, stage)}
    lines = [""]
    for heading, (folder, endings) in _KINDS.items():
        shown = [o for o in outputs if o.startswith(f"{folder}/") and o.endswith(endings)]
        if folder == "paper":
            shown = [out for out in shown if out.count("/") == 1]
        lines += [f"{heading:<9}{out}" for out in _grouped(shown)]
    profile = config.read(root)["profile"]
    lines += ["", f"Minutes of each stage, profile {profile}; by its cells, with more workers"]
    heads = ["it took", *(f"{count} w." for count in WORKERS), "memory"]
    lines += [f"  {'':<24}" + "".join(f"{head:>9}" for head in heads)]
    records = {name: sidecar.last_run(root, name) for name in declared}
    lines += [f"  {name:<24}{_took(record)}" for name, record in records.items()]
    run = {name: record for name, record in records.items() if record is not None}
    lines += [f"  {'all, several at once':<24}{'':>9}{_in_all(declared, run)}"] if run else []
    return "\n".join([*lines, "", *_ways_to_look(root)])


def _files(root: Path, stage: stages.Stage) -> Iterator[str]:
    """Yield the files that a stage has made, also those within declared folders."""
    for out in stage.outs:
        path = root / out
        found = stages.files(path) if path.is_dir() else [path] if path.exists() else []
        yield from (file.relative_to(root).as_posix() for file in found)


def _grouped(names: list[str]) -> list[str]:
    """Return names in order, with the endings of one file joined: ``a.csv, .md``."""
    endings: dict[str, list[str]] = {}
    for name in sorted(names):
        stem, dot, ending = name.rpartition(".")
        endings.setdefault(stem, []).append(dot + ending)
    return [stem + ", ".join(found) for stem, found in endings.items()]


def _took(record: Mapping[str, Any] | None) -> str:
    """Return how long the stage took when it last ran here; its result may come from the cache."""
    if record is None:
        return "not run here"
    memory = record["peak_memory_mb"]  # 0: it was over before the first look at its memory
    alone = (durations.with_workers(record, count) for count in WORKERS)
    return _clocks(record["wall_seconds"], *alone) + (f"{memory:>6} MB" if memory else "")


def _in_all(declared: Mapping[str, stages.Stage], run: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how long all of them take by these seconds, as `schedule` runs them."""
    seconds = {name: partial(durations.with_workers, record) for name, record in run.items()}
    return _clocks(*(schedule.elapsed(declared, seconds, count) for count in WORKERS))


def _clocks(*seconds: float) -> str:
    return "".join(f"{sidecar.clock(one):>9}" for one in seconds)


def _ways_to_look(root: Path) -> Iterator[str]:
    if (root / "paper/paper.pdf").exists():
        yield "The paper:               paper/paper.pdf"
    yield "Notebooks as they ran:   build/notebooks/*.html   (any browser)"
    yield "Notebooks to work with:  make lab"


def main() -> int:
    """Print the summary."""
    try:
        print(summary(paths.root()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
