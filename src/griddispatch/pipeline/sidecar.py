"""The untracked record of a stage's last run: what was run, on what, and what it took."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from griddispatch.pipeline import stages

_PACKAGES = ("numpy", "pandas", "scipy", "torch", "numba", "pyomo", "casadi", "matplotlib", "dvc")


def path(root: Path, stage: str) -> Path:
    """Return where the record of a stage lies."""
    return root / "build/runs" / f"{stage}.json"


def last_run(root: Path, stage: str) -> dict[str, Any] | None:
    """Return the record of a stage's last run on this machine, if there is one."""
    file = path(root, stage)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def clock(seconds: float) -> str:
    """Return a time as minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def begun(root: Path, stage: stages.Stage, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be said of a run before it has begun to work."""
    sources = [*stage.deps, "params.yaml", "dvc.yaml", "requirements.lock"]
    status = output("git", "status", "--porcelain", "--", *sources)
    return {
        "stage": stage.name,
        "target": stage.target,
        "parameters": dict(parameters),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": output("git", "rev-parse", "HEAD"),
        "edited": None if status is None else sorted(line[3:] for line in status.splitlines()),
        "lock": stages.digest(root / "requirements.lock"),
        "versions": {"python": platform.python_version(), **_versions()},
        "device": {"cpu": _processor(), "cores": os.cpu_count(), "gpu": _gpus()},
    }


def _versions() -> dict[str, str]:
    installed = {dist.name.lower(): dist.version for dist in importlib.metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpus() -> list[str]:
    names = output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else []


def output(*command: str) -> str | None:
    """Return what a command prints; None if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")
