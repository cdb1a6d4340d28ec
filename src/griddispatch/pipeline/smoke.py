"""Run the whole pipeline at its smallest size, from a fresh clone: ``make smoke``.

The clone holds what a commit of the working tree would hold: every tracked file as it is now and
every new file that git does not ignore, so also the published outputs. It has no cache and no
records of earlier stages, so each stage must run; afterwards every declared output must be there
and nothing may be left to do.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from griddispatch.errors import InputError
from griddispatch.pipeline import executors, paths, schedule, sidecar, stages

# Variables that would lead git, DVC or the package back into the checkout.
_FOREIGN = re.compile(r"GIT_|DVC_ROOT|DVC_STAGE|PYTHONPATH$|GRIDDISPATCH_RUN$|GRIDDISPATCH_ROOT$")


class SmokeError(RuntimeError):
    """The pipeline did not run through in the clone."""


def main() -> int:
    """Clone, run, check; remove the clone after a success, keep and name it after a failure."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The space is on purpose: everything must work in such a folder.
    folder = Path(tempfile.mkdtemp(prefix="griddispatch smoke "))
    clone = folder / "clone"
    try:
        fill(paths.root(), clone)
        set_profile(clone / "params.yaml", "smoke")
        print(f"smoke run in {clone}", flush=True)
        reproduce(clone)
        check(clone)
    except (InputError, SmokeError, subprocess.SubprocessError) as error:
        print(f"smoke run failed: {error}\nIt is kept in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; the clone is kept in {folder}", file=sys.stderr)
        return 130
    shutil.rmtree(folder)
    print(f"smoke run: every stage ran, in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def fill(checkout: Path, clone: Path) -> None:
    """Clone `checkout` and bring in what is not committed: edited, new and deleted files.

    The clone has no dvc.lock: no stage of another checkout is up to date here, and DVC would read
    and write the records of all of them with each of its own.
    """
    _git(checkout, "clone", "--quiet", str(checkout), str(clone))
    listed = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in set(_git(clone, "ls-files", "-z").split("\0")) - {""}:
        (clone / name).unlink(missing_ok=True)
    for name in set(_git(checkout, *listed).split("\0")) - {""}:
        source, target = checkout / name, clone / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    (clone / "dvc.lock").unlink(missing_ok=True)


def set_profile(params: Path, profile: str) -> None:
    """Write `profile` into params.yaml and leave every other line as it is.

    Raises
    ------
    InputError
        The file has no line that sets the profile.
    """
    text, count = re.subn(
        r"^profile:.*$", f"profile: {profile}", params.read_text(encoding="utf-8"), flags=re.M
    )
    if count != 1:
        raise InputError(f"{params} has {count} lines 'profile: NAME'; write exactly one")
    params.write_text(text, encoding="utf-8")


def reproduce(clone: Path) -> None:
    """Run every stage in the clone, with the clone's own code."""
    where = "import griddispatch; print(griddispatch.__file__)"
    imported = _python(clone, "-c", where, capture=True).strip()
    if not Path(imported).resolve().is_relative_to(clone.resolve()):
        raise SmokeError(f"the clone would run the code of {imported}")
    _python(clone, "-m", "griddispatch.pipeline.preflight")
    try:
        done = schedule.reproduce(clone, executors.processes(None), environment(clone))
    except schedule.ScheduleError as error:
        raise SmokeError(str(error)) from error
    took = (f"{one.name} {one.seconds:.0f} s" for one in sorted(done, key=lambda d: -d.seconds))
    print(f"stages, several at once: {', '.join(took)}", flush=True)


def check(clone: Path) -> None:
    """Raise SmokeError unless each stage ran, wrote all it declares, and nothing is left to do."""
    for stage in stages.load(clone).values():
        if sidecar.last_run(clone, stage.name) is None:
            raise SmokeError(f"stage {stage.name} did not run, although the clone is fresh")
        if absent := [out for out in stage.outs if not (clone / out).exists()]:
            raise SmokeError(f"stage {stage.name} left no {', '.join(absent)}")
    status = _python(clone, "-m", "dvc", "status", "--json", capture=True).strip()
    if status != "{}":
        raise SmokeError(f"after the run DVC still finds work to do: {status}")


def environment(clone: Path) -> dict[str, str]:
    """Return the environment in which the clone runs its own code with this Python."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    search = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": search, "PYTHONPATH": str(clone / "src")}


def _python(clone: Path, *arguments: str, capture: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=clone,
        env=environment(clone),
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SmokeError(f"'python {' '.join(arguments)}' ended with exit code {done.returncode}")
    return done.stdout or ""


def _git(folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SmokeError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
