"""Look, before a run, at what would make it fail late: ``make reproduce`` begins with this.

params.yaml and dvc.yaml are checked as a whole, the project folder must be writable and have room,
and no other run may be at work in it. DVC writes its lock files in place, so a run that was killed
at the wrong moment can leave one cut off, on which every later run would stop: such a file is
mended here, and a line says so. So is what DVC would not notice: an object of its cache, or a file
of data/, whose content is no longer what was written (a failing disk, a copy that broke off).
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from griddispatch.errors import InputError
from griddispatch.pipeline import config, paths, stages
from griddispatch.pipeline.cells import STORE

LOCK = "dvc.lock"
KEPT = "build/runs/dvc.lock"  # dvc.lock as it was when the last stage began
_BUSY = ".dvc/tmp/rwlock"
_CACHE = ".dvc/cache/files/md5"

# Less room than this ends a run before it begins, in bytes: the lock files and one stage need it.
ROOM = 100e6


def check(root: Path) -> list[str]:
    """Check that the pipeline can run in the folder `root`; return what was mended.

    Raises
    ------
    InputError
        params.yaml or dvc.yaml is wrong, the folder cannot be written, the disk is full, another
        run is at work, or a lock file is damaged beyond mending.
    """
    config.read(root)
    room(root)
    _sweep(root)
    return [*_mend_busy(root), *_mend_lock(root), *_mend_cache(root), *_mend_data(root)]


def room(root: Path) -> None:
    """Raise InputError unless files can be made in the project folder and there is room for them.

    Whether a folder is writable is found by writing, because an administrator may pass permissions
    but not a read-only disk.
    """
    probe = root / "build" / f".probe-{os.getpid()}"
    with paths.writing(probe):
        try:
            probe.parent.mkdir(exist_ok=True)
            probe.write_bytes(b"0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    free = shutil.disk_usage(root).free
    if free < ROOM:
        raise InputError(
            f"the disk of {root} has only {free / 1e6:.1f} MB free, and a stage needs "
            f"{ROOM / 1e6:.0f} MB; free some space and run it again: finished stages and cells "
            "are kept"
        )


def keep_lock(root: Path) -> None:
    """Keep a copy of dvc.lock, if it is whole; the runner does this when a stage begins."""
    lock, kept = root / LOCK, root / KEPT
    if not lock.is_file():
        kept.unlink(missing_ok=True)  # a new begin: what it will not have is not lost
        return
    content = lock.read_bytes()
    if _has_all(root, content):
        partial = kept.with_name(f".{kept.name}.{os.getpid()}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(kept)
        finally:
            partial.unlink(missing_ok=True)


def is_whole(content: bytes) -> bool:
    """Return whether a dvc.lock was written to its end, as far as it can tell itself."""
    return _recorded(content) is not None


def _recorded(content: bytes) -> set[str] | None:
    """Return the stages of a dvc.lock; None if it breaks off within one."""
    if not content.endswith(b"\n"):
        return None
    try:
        found = yaml.load(content, Loader=yaml.CSafeLoader)["stages"]
        return set(found) if all({"cmd", "outs"} <= set(one) for one in found.values()) else None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None


def _has_all(root: Path, content: bytes) -> bool:
    """Return whether a dvc.lock is whole and has every stage of dvc.yaml that the kept copy has.

    Without the copy, a cut between two stages cannot be seen.
    """
    found, kept = _recorded(content), root / KEPT
    if found is None:
        return False
    known = _recorded(kept.read_bytes()) if kept.is_file() else None
    return not ((known or set()) & set(stages.load(root))) - found


def _mend_lock(root: Path) -> Iterator[str]:
    """Put the kept copy in the place of a damaged dvc.lock."""
    lock, kept = root / LOCK, root / KEPT
    if not lock.is_file():
        kept.unlink(missing_ok=True)
        return
    content = lock.read_bytes()
    if _has_all(root, content):
        return
    if not kept.is_file() or not is_whole(kept.read_bytes()):
        raise InputError(
            f"{lock} is damaged, as when DVC is ended while it writes; take the committed one: "
            "git checkout dvc.lock"
        )
    shutil.copyfile(kept, lock)
    yield f"{LOCK} was damaged; it is again as it was when the last stage began"


def _mend_cache(root: Path) -> Iterator[str]:
    """Remove objects of DVC's cache that are not what their names say: they are made again."""
    for file in sorted((root / _CACHE).glob("??/*")):
        if not re.fullmatch(r"[0-9a-f]{30}(\.dir)?", file.name):
            continue
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != file.parent.name + file.name[:30]:
            file.unlink()
            yield f"{file.relative_to(root)} was damaged; it is removed and made again"


def _sweep(root: Path) -> None:
    """Remove what killed processes had half written beside finished cells."""
    for file in (root / STORE).glob("*/*"):
        number = file.suffix.removeprefix(".")
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            file.unlink(missing_ok=True)


def _mend_data(root: Path) -> Iterator[str]:
    """Remove outputs under data/ that are not what their stage wrote: DVC may not look again."""
    for stage in stages.load(root).values():
        for out in stage.outs:
            if out.startswith("data/") and paths.is_damaged(root, out, stage):
                remove(root / out)
                yield f"{out} was damaged or edited; it is removed and made again"


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mend_busy(root: Path) -> Iterator[str]:
    """Remove DVC's note of who uses which file, unless a run that it names is still at work."""
    file = root / _BUSY
    if not file.is_file():
        return
    try:
        holders = set(_holders(json.loads(file.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError):
        holders = set()
    else:
        if not holders:
            return
    if at_work := sorted(pid for pid in holders if _is_dvc(pid)):
        raise InputError(
            f"another run is at work in {root} (process {at_work[0]}); wait until it has ended, "
            "or end it"
        )
    file.unlink()
    yield f"{_BUSY} was left by a run that was killed; it is removed"


def _holders(content: dict[str, Any]) -> Iterator[int]:
    """Yield the processes that DVC's note names; readers of a file are a list, a writer is one."""
    for entries in (*content.get("read", {}).values(), *content.get("write", {}).values()):
        for entry in entries if isinstance(entries, list) else [entries]:
            yield int(entry["pid"])


def _is_dvc(pid: int) -> bool:
    """Return whether the process runs DVC; after a restart of the machine its number is reused."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(Path(word).name == "dvc" for word in process.cmdline())
    except psutil.Error:
        return False


def main() -> int:
    """Check the project folder; return 0, or 1 after one line on stderr that says what is wrong."""
    try:
        for line in check(paths.root()):
            print(line, flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
