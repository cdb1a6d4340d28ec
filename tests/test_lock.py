"""One source of truth for versions: the lock files, complete, and the same for pip and conda."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def pins(name: str) -> dict[str, str]:
    """Return package -> version of a lock file; every line must be ``package==version``."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): pinned for package, pinned in found}


SYSTEMS = pins("requirements-systems.lock")
TOOLS = pins("requirements-tools.lock")
LOCK = pins("requirements.lock") | SYSTEMS | TOOLS
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def needed(package: str) -> Iterator[Requirement]:
    """Yield what an installed package needs on this machine."""
    for line in distribution(package).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


@pytest.mark.parametrize(
    "name", [f"requirements{part}.lock" for part in ("", "-systems", "-tools", "-peers")]
)
def test_every_line_is_an_exact_pin_in_order(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in packages)
    names = [canonicalize_name(line.split("==")[0]) for line in packages]
    assert names == sorted(set(names))


def test_direct_dependencies_are_pinned_within_their_ranges() -> None:
    extras = PROJECT["optional-dependencies"]
    direct = [*PROJECT["dependencies"], *extras["dev"], *extras["sb3"], *extras["systems"]]
    direct += extras["tools"]
    for requirement in map(Requirement, direct):
        assert Version(LOCK[canonicalize_name(requirement.name)]) in requirement.specifier


def test_no_package_is_pinned_twice() -> None:
    first = pins("requirements.lock")
    assert len(LOCK) == len(first) + len(SYSTEMS) + len(TOOLS)


def test_the_peers_have_a_lock_that_does_not_contradict_the_first() -> None:
    peers = pins("requirements-peers.lock")
    asked = map(Requirement, PROJECT["optional-dependencies"]["peers"])
    assert all(Version(peers[requirement.name]) in requirement.specifier for requirement in asked)
    assert not peers.keys() & LOCK.keys()


def test_the_lock_is_complete() -> None:
    # torch is left out: its build with CUDA brings packages which its build without does not know.
    for package in LOCK.keys() - {"torch"}:
        for requirement in needed(package):
            pinned = LOCK.get(canonicalize_name(requirement.name))
            assert pinned, f"{package} needs {requirement}, which is not pinned"
            assert Version(pinned) in requirement.specifier


def test_the_tests_run_with_what_is_pinned() -> None:
    for package, pinned in LOCK.items():
        try:
            installed = version(package).partition("+")[0]
        except PackageNotFoundError:
            installed = "not installed"
        assert installed == pinned, f"{package} is {installed}, the lock says {pinned}"


def test_conda_users_get_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *others, last = environment["dependencies"]
    locks = [f"-r requirements{part}.lock" for part in ("", "-systems", "-tools")]
    assert last == {"pip": [*locks, "-e ."]}
    assert others == ["python=3.11", "pip", "git", "make"]
    assert PROJECT["requires-python"] == ">=3.11.5,<3.12"
