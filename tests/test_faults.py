"""Faults: kills at any moment, a full or closed disk, damaged files; what is told, what is kept."""

import errno
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_cells import scaled
from test_pipeline import ROOT, Project

from griddispatch.errors import InputError
from griddispatch.pipeline import (
    cells,
    faults,
    faults_report,
    paths,
    preflight,
    records,
    runner,
    stages,
)
from griddispatch.pipeline.faults_report import MEASURED, UNREADABLE, Blow, Report
from griddispatch.pipeline.verify_tolerances import MADE, TIME, Rule, Rules

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# A stage that hangs at its first start with half of its output written; a kill falls into that.
HANG = """import time
starts = Path('starts-{0}')
first = not starts.exists()
starts.touch()
if first: time.sleep(20)
"""


def real(folder: Path) -> Project:
    """Return a project of two stages that DVC runs with the code of this checkout."""
    project = Project(folder)
    shutil.rmtree(project.root / "src")
    (project.root / "src").symlink_to(ROOT / "src")
    code = "out = paths.write('data/big.txt')\nout.write_text('half')\n" + HANG.format("first")
    project.module("first", code + "out.write_text('7' * 9)", [], ["data/big.txt"])
    code = "paths.write('results/n.json').write_text(paths.read('data/big.txt').read_text())\n"
    code += HANG.format("second")
    code += "paths.write('results/timings/n.json').write_text(str(time.time()))"
    outs = [{f"results/{name}.json": {"cache": False}} for name in ("n", "timings/n")]
    project.module("second", code, ["data/big.txt"], outs)
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc/config").write_text(
        "[core]\n    analytics = false\n    no_scm = true\n[cache]\n    type = copy\n"
    )
    project.write()
    return project


def mounted(project: Project, mount: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where `mount` has changed the disk of the project; then list what is there.

    The mount is seen by this command alone and ends with it.
    """
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*shell, "mount -t tmpfs none /mnt"], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a disk for a test")
    project.write()
    run = (
        '; cd "$1"; shift; code=0; "$@" || code=$?; find results build -type f 2> /dev/null || true'
    )
    return subprocess.run(
        [*shell, f"{mount}{run}; exit $code", "sh", str(project.root), *command],
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def disk(size: str) -> str:
    """Return the command that puts the project on a disk of its own."""
    copy = f'cp -a "$1" "$1.kept"; mount -t tmpfs -o size={size} none "$1"'
    return f'{copy}; cp -a "$1.kept/." "$1"'


# ---------------------------------------------------------------- kills


def test_a_killed_pipeline_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    project = real(tmp_path)
    clone = tmp_path / "killed"
    shutil.copytree(project.root, clone, symlinks=True)
    for name in ("first", "second"):
        (project.root / f"starts-{name}").touch()
    assert faults.Attempt(project.root, ["second"]).wait() == 0
    kill = faults.Plan(0.5, "first", 1.0, "KILL"), faults.Plan(3.0, "second", 1.0, "TERM")
    report = faults.disturbed(clone, project.root, kill, ["second"])
    assert report.problems() == []
    assert (report.compared, report.measured) == (2, ["results/timings/n.json"])
    killed, ended = report.blows
    assert killed.place == "first"
    assert 0 < killed.seconds <= faults_report.SLOW
    assert killed.seen == {}
    assert ended.place == "second"
    assert ended.staged == 0
    assert sorted(ended.seen) == ["build/stages/first.json", "data/big.txt"]
    assert "| 1 | 0.5 | KILL | " in faults_report.markdown(report)
    assert faults_report.write(report, tmp_path).with_suffix(".csv").exists()


@pytest.mark.parametrize("by", ["schedule", "make"])
def test_a_signal_to_one_process_ends_everything_that_it_started(tmp_path: Path, by: str) -> None:
    project = real(tmp_path)
    command = [sys.executable, "-m", "griddispatch.pipeline.schedule", "second"]
    if by == "make":
        own = shlex.join(f"{name}={project.environment[name]}" for name in ("PYTHONPATH", "PATH"))
        there = ["-f", str(ROOT / "Makefile"), "-o", "setup", "-o", ".git"]
        command = ["make", *there, "reproduce", "STAGE=second", f"VENV=env {own}"]
    kept = {n: v for n, v in project.environment.items() if not n.startswith("MAKE")}
    with subprocess.Popen(
        command, cwd=project.root, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 60
        while not (project.root / "starts-first").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert project.files() == ["build/staging/first/data/big.txt"]
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 3  # DVC, the stage, its module
        sent = time.monotonic()
        process.terminate()
        told = process.communicate(timeout=60)[0].decode()
        _, alive = psutil.wait_procs(started, timeout=0)
    assert alive == []
    assert time.monotonic() - sent < faults_report.SLOW  # the stage alone would go on for longer
    assert process.returncode == {"schedule": 130, "make": -signal.SIGTERM}[by], told
    assert "interrupted; finished cells are kept" in told
    assert project.files() == []
    assert project.python("-m", "griddispatch.pipeline.preflight").stdout == ""  # all is mended


def test_what_a_kill_must_not_leave_is_found(tmp_path: Path) -> None:
    report = Report(tmp_path, 60.0, 3)
    there = {"results/a.csv": "1", "data/b": "2", "results/timings/c.json": MEASURED}
    half = {"data/b": "other", "build/stages/x.json": UNREADABLE}
    for alive, after, seen in ((0, 9.0, there), (2, 60.0, half), (0, 11, there | {"data/b": "3"})):
        report.blows.append(Blow(1.0, "KILL", "x", alive, after, 0, 0, True, seen))
    report.close(there | {"paper/d.pdf": MEASURED}, there | {"data/b": "3", "paper/d.pdf": "4"})
    assert report.problems() == [
        "kill 2: 2 processes went on",
        "kill 2: half-written: data/b, build/stages/x.json",
        "kill 3: the last process was gone after 11 s",
        "data/b is another than in the undisturbed run",
        "paper/d.pdf is another than in the undisturbed run",
    ]
    assert (report.compared, report.measured) == (3, ["results/timings/c.json"])


@pytest.mark.parametrize(
    ("name", "first", "second", "same"),
    [
        ("results/a.csv", "x,seconds\n1,2\n", "x,seconds\n1,3\n", True),
        ("results/a.csv", "x,seconds\n1,2\n", "x,seconds\n2,2\n", False),
        ("results/b.csv", "x,seconds\n1,2\n", "x,seconds\n1,3\n", False),
        ("results/timings/a.json", "1", "2", True),
        ("figures/time.png", "1", "2", True),
        ("figures/price.png", "1", "2", False),
    ],
)
def test_only_measured_times_may_differ(
    tmp_path: Path, name: str, first: str, second: str, same: bool
) -> None:
    timed = Rule("results/a.csv", kinds=(("seconds", TIME), ("*", "exact")))
    rules = Rules({}, (timed, Rule("figures/time.svg", whole=MADE)))
    found = []
    for text in (first, second):
        file = tmp_path / Path(name).name
        file.write_text(text)
        found.append(faults_report.content(file, name, rules))
    assert (found[0] == found[1]) is same


@pytest.mark.parametrize(
    ("name", "text"),
    [("results/a.json", "[1, 2"), ("results/timings/a.csv", "x,y\n1"), ("results/a.json", "")],
)
def test_a_file_that_breaks_off_is_unreadable(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / Path(name).name
    file.write_text(text)
    assert faults_report.content(file, name, Rules({}, ())) == UNREADABLE


def test_the_moments_lie_all_over_the_run() -> None:
    spans = [("a", 10.0), ("b", 60.0), ("c", 30.0)]
    plans = faults.plan(spans, 10, 0, "mixed")
    assert [int(plan.moment // 10) for plan in plans] == list(range(10))
    assert [plan.stage for plan in plans] == ["a"] + ["b"] * 6 + ["c"] * 3
    assert all(0 <= plan.after <= dict(spans)[plan.stage] for plan in plans)
    assert sorted(plan.signal for plan in plans) == ["INT"] * 2 + ["KILL"] * 6 + ["TERM"] * 2
    assert plans == faults.plan(spans, 10, 0, "mixed") != faults.plan(spans, 10, 1, "mixed")


# ---------------------------------------------------------------- damaged files of DVC


def test_what_a_kill_leaves_of_dvc_is_mended_before_the_next_run(tmp_path: Path) -> None:
    project = real(tmp_path)
    root = project.root
    (root / "starts-first").touch()
    assert project.python("-m", "dvc", "repro", "first").returncode == 0
    assert (root / preflight.KEPT).exists() is False  # there was no dvc.lock when it began
    shutil.copy(root / preflight.LOCK, root / preflight.KEPT)
    (root / preflight.LOCK).write_bytes(b"")
    (root / ".dvc/tmp/rwlock").write_text('{"write": {"')
    (cached,) = [
        f for f in (root / ".dvc/cache").rglob("*") if f.is_file() and f.stat().st_size == 9
    ]
    cached.chmod(0o644)
    cached.write_text("888888888")
    cached.chmod(0o444)  # as DVC leaves it; then DVC does not look into it
    (root / "data/big.txt").unlink()
    told = project.python("-m", "griddispatch.pipeline.preflight")
    assert told.returncode == 0, told.stderr
    assert [line.partition(" was ")[0] for line in told.stdout.splitlines()] == [
        ".dvc/tmp/rwlock",
        "dvc.lock",
        cached.relative_to(root).as_posix(),
    ]
    assert project.python("-m", "dvc", "repro", "first").returncode == 0
    assert (root / "data/big.txt").read_text() == "7" * 9


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)
    project.module("toy", "", [], ["data/a.txt"])
    project.write()
    monkeypatch.setenv(paths.ROOT, str(project.root))
    monkeypatch.delenv(paths.RUN, raising=False)
    return project


LOCKED = "schema: '2.0'\nstages:\n  toy:\n    cmd: python\n    outs:\n    - path: a\n"


@pytest.mark.parametrize("length", [0, 20, len(LOCKED) - 10, len(LOCKED) - 1])
def test_a_lock_file_that_breaks_off_is_recognised(project: Project, length: int) -> None:
    lock = project.root / preflight.LOCK
    lock.write_text(LOCKED)
    preflight.keep_lock(project.root)
    assert preflight.check(project.root) == []
    lock.write_text(LOCKED[:length])
    preflight.keep_lock(project.root)  # a damaged one does not replace the copy
    assert len(preflight.check(project.root)) == 1
    assert lock.read_text() == LOCKED
    (project.root / preflight.KEPT).unlink()
    lock.write_text(LOCKED[:length])
    with pytest.raises(InputError, match="dvc.lock is damaged.* git checkout dvc.lock"):
        preflight.check(project.root)


def test_a_lock_file_that_has_lost_whole_stages_is_recognised(project: Project) -> None:
    project.module("other", "", [], ["data/b.txt"])
    project.write()
    lock, kept = project.root / preflight.LOCK, project.root / preflight.KEPT
    whole = LOCKED + LOCKED.partition("stages:\n")[2].replace("toy", "other")
    lock.write_text(whole)
    preflight.keep_lock(project.root)
    lock.write_text(LOCKED)  # cut at the end of a line, and of a stage
    preflight.keep_lock(project.root)
    assert len(preflight.check(project.root)) == 1
    assert lock.read_text() == whole
    # A stage that dvc.yaml has no longer is not lost, and without dvc.lock all begins anew.
    del project.stages["other"]
    project.write()
    lock.write_text(LOCKED)
    assert preflight.check(project.root) == []
    assert lock.read_text() == LOCKED
    lock.unlink()
    assert preflight.check(project.root) == []
    assert not kept.exists()


def test_a_run_at_work_is_told_from_one_that_was_killed(project: Project) -> None:
    file = project.root / ".dvc/tmp/rwlock"
    file.parent.mkdir(parents=True)
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, "dvc"], stdin=subprocess.PIPE) as process:
        note = {"read": {"x": [{"pid": process.pid, "cmd": "dvc repro"}]}}
        file.write_text(json.dumps(note))
        with pytest.raises(InputError, match=f"another run is at work .*process {process.pid}"):
            preflight.check(project.root)
        process.communicate()
    assert len(preflight.check(project.root)) == 1
    file.write_text(json.dumps({"write": {"x": {"pid": os.getpid(), "cmd": "dvc repro"}}}))
    assert len(preflight.check(project.root)) == 1  # the number is used again, by no DVC
    assert preflight.check(project.root) == []


def test_damaged_data_is_named_and_made_again(project: Project) -> None:
    data = project.root / "data/a.txt"
    data.parent.mkdir()
    data.write_text("whole")
    toy = stages.load(project.root)["toy"]
    manifest = project.root / toy.manifest
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"outputs": {"data/a.txt": stages.digest(data)}}))
    assert paths.read("data/a.txt") == data
    data.write_text("broken off")
    with pytest.raises(InputError, match=r"data/a.txt is damaged .* make it again with: make rep"):
        paths.read("data/a.txt")
    manifest.write_text("{")  # nothing is known then; DVC compares it with its own note
    assert paths.read("data/a.txt") == data
    manifest.write_text(json.dumps({"outputs": {"data/a.txt": "0"}}))
    assert preflight.check(project.root) == [
        "data/a.txt was damaged or edited; it is removed and made again"
    ]
    assert not data.exists()


def test_the_rest_of_a_killed_process_is_swept(project: Project) -> None:
    store = project.root / cells.STORE / "t"
    store.mkdir(parents=True)
    for name in ("a.pickle", f"b.{os.getpid()}", "c.999999999"):
        (store / name).touch()
    assert preflight.check(project.root) == []
    assert sorted(file.name for file in store.iterdir()) == ["a.pickle", f"b.{os.getpid()}"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("profile: smoke\n  x: [1\n", "params.yaml cannot be read: mapping values are not allowed"),
        ("profile: smoke\ntoys: {}\n", "section 'toys' is no stage; did you mean 'toy'?"),
    ],
)
def test_a_slip_in_params_yaml_is_told_before_the_first_stage(
    project: Project, params: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "params.yaml").write_text(params)
    assert preflight.main() == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert said in errors


# ---------------------------------------------------------------- the disk


def test_a_disk_that_fills_up_ends_the_stage_in_one_sentence(tmp_path: Path) -> None:
    project = Project(tmp_path)
    code = "with paths.write('results/toy.json').open('wb') as out:\n"
    code += "    for _ in range(130): out.write(bytes(1_000_000))"
    project.module("toy", code, [], [{"results/toy.json": {"cache": False}}])
    done = mounted(project, disk("120m"), *project.stages["toy"]["cmd"].split())
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the disk of ")
    assert "(0.0 MB free)" in line
    assert "free some space and run it again: finished stages and cells are kept" in line


def test_a_disk_without_room_ends_the_run_at_its_beginning(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.module("toy", "", [], [])
    done = mounted(project, disk("2m"), "python", "-m", "griddispatch.pipeline.preflight")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the disk of {project.root} has only ")
    assert " MB free, and a stage needs 100 MB; free some space" in line


@pytest.mark.parametrize("module", ["preflight", "module toy"])
def test_a_read_only_project_is_named_at_the_beginning(tmp_path: Path, module: str) -> None:
    project = Project(tmp_path)
    project.module("toy", "print('begun')", [], [])
    closed = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'
    command = f"python -m griddispatch.pipeline.{module}".split()
    done = mounted(project, closed, *command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {project.root} cannot be written (Read-only file system)")


# Where no disk can be mounted, the lowest call that writes is told to fail.


def test_records_are_written_whole_or_not_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = records.write_json("results/a.json", 1)

    def half(self: Path, text: str, encoding: str) -> int:
        self.write_bytes(text[:1].encode())
        raise FULL

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(InputError, match=r"^the disk of .* is full \(.* MB free\), so a.json is"):
        records.write_json("results/a.json", 2)
    assert [file.name for file in written.parent.iterdir()] == ["a.json"]
    assert written.read_bytes() == b"1\n"


def test_a_cell_that_finds_no_room_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    store = cells._Store.open([scaled], tmp_path / "t", "t")
    first, second = store.file({"x": 1.0}), store.file({"x": 2.0})
    store.save(first, pickle.dumps(1.0), 3.0)
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[:10])
        raise FULL

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="is full .* finished stages and cells are kept"):
        store.save(second, pickle.dumps(2.0), 3.0)
    assert [file.name for file in first.parent.iterdir()] == [first.name]
    assert cells._load(first) == (3.0, 1.0)


@pytest.mark.parametrize("left", [0, 10, 31, 32, 60])
def test_a_finished_cell_that_breaks_off_is_computed_again(tmp_path: Path, left: int) -> None:
    file = tmp_path / "a.pickle"
    file.write_bytes(bytes(range(left)))
    assert cells._load(file) is None


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("PytorchStreamWriter failed: [Errno 28] No space left on device"),
        RuntimeError("sqlite3.OperationalError: database or disk is full"),
        FULL,
    ],
)
def test_every_library_s_word_for_a_full_disk_is_known(failure: Exception, tmp_path: Path) -> None:
    later = ValueError("the notebook breaks off")
    later.__context__ = failure
    said = runner._disk(later, tmp_path / "build/x")
    assert said is not None
    assert said.startswith(f"the disk of {tmp_path} is full")
    assert runner._disk(ValueError("other"), tmp_path) is None


def test_an_error_that_is_not_the_disk_passes(tmp_path: Path) -> None:
    missing: Any = tmp_path / "no folder" / "a"
    with pytest.raises(FileNotFoundError), paths.writing(missing):
        missing.write_text("1")
