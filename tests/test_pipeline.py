"""Stages through their real entry points: a stage succeeds as a whole or leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from griddispatch.pipeline import clean, notebook, processes, sidecar, smoke, summary

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-systems.lock", "requirements-tools.lock")

TOY = "from pathlib import Path\nfrom griddispatch.pipeline import paths\n"


class Project:
    """A small project in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a project"
        (self.root / "src/griddispatch").mkdir(parents=True)
        (self.root / "notebooks").mkdir()
        self.stages: dict[str, Any] = {}
        self.params: dict[str, Any] = {"profile": "smoke"}
        self.environment = smoke.environment(ROOT)

    def stage(
        self, target: str, deps: list[str], outs: list[Any], name: str = "toy", params: str = ""
    ) -> None:
        kind = "notebook" if target.endswith(".ipynb") else "module"
        self.stages[name] = {
            "cmd": f"python -m griddispatch.pipeline.{kind} {target}",
            "deps": deps,
            "outs": [*outs, f"build/stages/{name}.json"],
            **({"params": [params]} if params else {}),
        }

    def module(self, name: str, code: str, deps: list[str], outs: list[Any], **more: str) -> None:
        (self.root / f"{name}.py").write_text(TOY + code)
        self.stage(name, [f"{name}.py", *deps], outs, name, **more)

    def notebook(self, name: str, cells: list[str], outs: list[Any]) -> None:
        first, *rest = [new_code_cell(source, id=f"c{i}") for i, source in enumerate(cells)]
        first.metadata["tags"] = ["parameters"]
        title = new_markdown_cell("# Toy", id="title")
        content = clean.text(clean.cleaned(new_notebook(cells=[title, first, *rest])))
        (self.root / f"notebooks/{name}.ipynb").write_text(content)
        self.stage(f"notebooks/{name}.ipynb", [f"notebooks/{name}.ipynb"], outs, name, name)

    def write(self) -> None:
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": self.stages}))
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.params))

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.write()
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def run(self, stage: str) -> subprocess.CompletedProcess[str]:
        return self.python(*self.stages[stage]["cmd"].split()[1:])

    def files(self) -> list[str]:
        """Return the outputs that are there, staged ones included."""
        folders = ("results", "data", "build/staging", "build/stages")
        found = [file for folder in folders for file in (self.root / folder).rglob("*")]
        return sorted(f.relative_to(self.root).as_posix() for f in found if f.is_file())

    def json(self, name: str) -> Any:
        return json.loads((self.root / name).read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_notebook_stage_from_end_to_end(project: Project) -> None:
    project.notebook(
        "toy",
        [
            "count = 1\nrate = 0.5\nnames = ['a']\nfast = False",
            "import os, sys\nfrom griddispatch.pipeline.records import write_json",
            "print('working', flush=True); print('10%\\r20%')",
            "write_json('results/toy.json', [count, rate, names, fast, os.environ['TZ']])",
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        ],
        [{"results/toy.json": {"cache": False}}],
    )
    project.params["toy"] = {
        "count": {"smoke": 2, "reduced": 3, "paper": 4},
        "rate": 1,
        "names": ["b: 'c'"],
        "fast": True,
    }
    done = project.run("toy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[toy] working", "[toy] 20%"]
    assert project.files() == ["build/stages/toy.json", "results/toy.json"]
    assert project.json("results/toy.json") == [2, 1.0, ["b: 'c'"], True, "UTC"]
    manifest, record = project.json("build/stages/toy.json"), project.json("build/runs/toy.json")
    assert list(manifest["outputs"]) == ["results/toy.json"]
    assert (
        manifest["parameters"]
        == record["parameters"]
        == {
            "count": 2,
            "rate": 1.0,
            "names": ["b: 'c'"],
            "fast": True,
        }
    )
    assert record["wall_seconds"] > 0
    assert record["peak_memory_mb"] > 10
    assert "image/png" in (project.root / "build/notebooks/toy.html").read_text()
    assert "toy" in summary.summary(project.root)


def test_a_failing_notebook_leaves_nothing_half_written(project: Project) -> None:
    project.notebook(
        "toy",
        [
            "count = 1",
            "from griddispatch.pipeline import paths\nfrom pathlib import Path",
            "paths.write('results/a.json').write_text('1')\nPath('results').mkdir()",
            "Path('results/b.json').write_text('a direct write')",
            "1 / 0",
        ],
        [{"results/a.json": {"cache": False}}, {"results/b.json": {"cache": False}}],
    )
    done = project.run("toy")
    assert done.returncode == 1
    assert "error: notebooks/toy.ipynb failed in the cell 'c4':" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) < 15
    assert project.files() == []
    assert not (project.root / "build/notebooks/toy.html").exists()


def test_a_users_mistake_in_a_notebook_is_one_sentence(tmp_path: Path) -> None:
    cell = new_code_cell("x", id="read-it")
    cell.outputs = [nbformat.v4.new_output("error", ename="InputError", evalue="", traceback=[])]
    executed = tmp_path / "toy.ipynb"
    nbformat.write(new_notebook(cells=[cell]), executed)
    error = PapermillExecutionError(0, 1, "x", "InputError", "no file", ["Traceback", "1", "2"])
    first, second, third = notebook._explain(error, Path("toy.ipynb"), executed).splitlines()
    assert first == "toy.ipynb failed in the cell 'read-it':"
    assert second == "    InputError: no file"
    assert third.endswith(str(executed))


WRITE = "paths.write('results/toy.json').write_text('1')\n"
OUT = [{"results/toy.json": {"cache": False}}]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (WRITE + "Path('input.txt').write_text('2')", "input.txt was edited while toy ran"),
        (WRITE + "raise SystemExit(3)", "toy ended with exit code 3"),
        ("", "toy did not write results/toy.json, which dvc.yaml lists among its outs"),
        (WRITE + "Path('input.txt').unlink()", "input.txt was edited while toy ran"),
    ],
)
def test_a_failed_stage_is_explained_and_discarded(
    project: Project, code: str, message: str
) -> None:
    (project.root / "input.txt").write_text("1")
    project.module("toy", code, ["input.txt"], OUT)
    done = project.run("toy")
    assert done.returncode == 1
    assert message in done.stderr
    assert project.files() == []


def test_a_stage_that_takes_too_long_is_ended_with_all_it_started(project: Project) -> None:
    # The grandchild holds the output open: the run only comes back when it has been ended, too.
    code = "import subprocess, sys\nprint('begun')\nsubprocess.run(['sleep', '60'])"
    project.module("toy", code, [], OUT)
    project.params["run"] = {"time_limit": 0.01}
    done = project.run("toy")
    assert done.returncode == 1
    assert "toy took longer than its time limit of 0.01 minutes" in done.stderr
    assert "[toy] begun" in done.stdout


def test_parameters_reach_a_module_as_options(project: Project) -> None:
    code = "import sys\nprint(sys.argv[1:])"
    project.module("toy", code, [], [])
    project.params["toy"] = {"wheel_path": "a b.whl", "none": None}
    assert project.run("toy").stdout == "[toy] ['--wheel-path=a b.whl']\n"


def test_an_ended_stage_leaves_nothing_behind(project: Project) -> None:
    code = WRITE + "import time\nPath('begun').touch()\ntime.sleep(60)"
    project.module("toy", code, [], OUT)
    project.write()
    command = [sys.executable, *project.stages["toy"]["cmd"].split()[1:]]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project.root, env=project.environment, **quiet) as process:
        deadline = time.monotonic() + 60
        while not (project.root / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert project.files() == ["build/staging/toy/results/toy.json"]
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith("interrupted")
    assert project.files() == []


def test_a_fresh_clone_runs_every_stage_and_then_nothing(project: Project, tmp_path: Path) -> None:
    copy = "paths.write('data/big.txt').write_text('7')"
    project.module("first", copy, [], ["data/big.txt"], params="profile")
    double = "n = 2 * int(paths.read('data/big.txt').read_text())\n"
    double += "paths.write('results/n.json').write_text(str(n))"
    project.module("second", double, ["data/big.txt"], [{"results/n.json": {"cache": False}}])
    project.write()
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (project.root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project.root / name)
    (project.root / "src/griddispatch/mark").touch()
    with (project.root / ".gitignore").open("a") as stream:
        stream.write("/data\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project.root)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert project.python("-m", "dvc", "repro").returncode == 0
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    tracked = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout
    assert "results/n.json" in tracked
    assert not any(line.startswith((".dvc/cache", "build", "data")) for line in tracked.split())

    clone = tmp_path / "clone"
    subprocess.run([*git, "clone", "--quiet", str(project.root), str(clone)], check=True)
    lock = (clone / "dvc.lock").read_bytes()
    project.root = clone
    out = project.python("-m", "dvc", "repro").stdout
    assert "Running stage 'first'" in out
    assert "Running stage 'second'" in out
    assert (clone / "dvc.lock").read_bytes() == lock
    assert "Running stage" not in project.python("-m", "dvc", "repro").stdout
    smoke.check(clone)
    (clone / "results/n.json").unlink()
    with pytest.raises(smoke.SmokeError, match="^stage second left no results/n.json$"):
        smoke.check(clone)
    sidecar.path(clone, "first").unlink()
    with pytest.raises(smoke.SmokeError, match="^stage first did not run"):
        smoke.check(clone)


def test_the_smoke_clone_holds_the_working_tree(tmp_path: Path) -> None:
    checkout = tmp_path / "check out"
    checkout.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(checkout)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for name in ("edited", "deleted", "same", "dvc.lock"):
        (checkout / name).write_text("1")
    (checkout / ".gitignore").write_text("ignored\n")
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    (checkout / "edited").write_text("2")
    (checkout / "deleted").unlink()
    (checkout / "ignored").touch()
    (checkout / "new folder").mkdir()
    (checkout / "new folder/new").touch()
    smoke.fill(checkout, tmp_path / "clone")
    names = {
        file.relative_to(tmp_path / "clone").as_posix()
        for file in (tmp_path / "clone").rglob("*")
        if file.is_file() and ".git" not in file.parts
    }
    assert names == {".gitignore", "edited", "same", "new folder/new"}
    assert (tmp_path / "clone/edited").read_text() == "2"


def test_the_smoke_profile_changes_one_line(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("# profile: x\nprofile: reduced  # the switch\ntoy: {profile: 1}\n")
    smoke.set_profile(file, "smoke")
    assert file.read_text() == "# profile: x\nprofile: smoke\ntoy: {profile: 1}\n"


def test_lines_come_whole_and_redrawn_ones_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = processes.Lines("x")
    for text in ("a", "b\r", "\nc\n 1%\r 2%\r", " 3%", "\n", "rest"):
        lines.write(text)
    lines.close()
    assert capsys.readouterr().out.splitlines() == ["[x] ab", "[x] c", "[x]  3%", "[x] rest"]


def test_saving_in_jupyterlab_leaves_no_trace(tmp_path: Path) -> None:
    cell = new_code_cell("x", id="a", execution_count=3, metadata={"tags": ["t"], "scrolled": True})
    cell.outputs = [nbformat.v4.new_output("stream", text="7")]
    dirty = new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "v": "3.11"}})
    model = {"type": "notebook", "content": json.loads(nbformat.writes(dirty))}
    clean.strip(model=model, path="a.ipynb", contents_manager=None)
    (saved,) = model["content"].cells
    assert (saved.outputs, saved.execution_count, saved.metadata) == ([], None, {"tags": ["t"]})
    file = tmp_path / "a.ipynb"
    nbformat.write(dirty, file)
    assert clean.main([str(file)]) == 0
    assert file.read_text() == clean.text(model["content"])


def make(*arguments: str, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-C", str(ROOT), *arguments], cwd=cwd, env=kept, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_lists_its_targets_from_any_folder(tmp_path: Path) -> None:
    shown = make(cwd=tmp_path)
    for target in ("reproduce", "test", "smoke", "lab", "help"):
        assert f"make {target} " in shown
    assert shown == make("help", cwd=tmp_path)


def test_make_test_and_ci_run_are_the_same(tmp_path: Path) -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert [line for line in lines if "make" in line] == ["exec make test"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    steps = make("--dry-run", "test", cwd=tmp_path)
    for step in ("ruff check", "ruff format --check", "mypy src", "pytest", "pipeline.smoke"):
        assert f"python -m {step}" in steps or f"python -m griddispatch.{step}" in steps


class Setup:
    """A folder in which ``make setup`` finds only programs that this class puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.root.mkdir()
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.log = folder / "log"
        for name in ("Makefile", *LOCKS, "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        for name in ("python3.11", "python3", "python"):
            self.program(self.programs / name, "exit 1")

    def program(self, file: Path, code: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{code}\n")
        file.chmod(0o755)

    def fake_python(self, file: Path) -> None:
        """Put a program there that is Python 3.11 and notes what it is told to do."""
        note = f'[ "$1" = -c ] || echo "$*" >> "{self.log}"\n'
        make = 'mkdir -p .venv/bin && cp "$0" .venv/bin/python'
        self.program(file, f'{note}[ "$2" != venv ] || ({make})')

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        command = ["make", "-C", str(self.root), "setup", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def steps(self) -> list[str]:
        return [
            line.rpartition("--disable-pip-version-check ")[2]
            for line in self.log.read_text().splitlines()
        ]


def test_without_python_3_11_there_is_one_sentence(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    done = setup.make()
    assert done.returncode != 0
    assert done.stderr.startswith("Python 3.11 is needed, and no python3.11, python3 or python is")
    assert not (setup.root / ".venv").exists()


@pytest.mark.parametrize("name", ["python3", "python", "own python"])
def test_python_3_11_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    setup = Setup(tmp_path)
    setup.fake_python(setup.programs / name)
    named = [f"PYTHON={setup.programs / name}"] if name == "own python" else []
    assert setup.make(*named).returncode == 0
    assert setup.steps()[0] == "-m venv --clear .venv"


def test_the_environment_is_made_once_and_follows_the_lock(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.fake_python(setup.programs / "python3.11")
    locked = " ".join(f"-r {name}" for name in LOCKS)
    install = [locked, "--no-index --no-deps --no-build-isolation -e ."]
    setup.make()
    assert setup.steps() == ["-m venv --clear .venv", *install]
    assert setup.make().stdout.count("Installing") == 0
    assert setup.steps() == []
    for name in LOCKS:
        with (setup.root / name).open("a") as lock:
            lock.write("zzz==1\n")
        setup.make()
        assert setup.steps() == install
    # An update that breaks off is seen, although the lock is then again that of the note before.
    python, lock = setup.root / ".venv/bin/python", setup.root / LOCKS[0]
    whole, before = python.read_text(), lock.read_text()
    setup.program(python, '[ "$1" = -c ]')
    lock.write_text(f"{before}yyy==1\n")
    assert setup.make().returncode != 0
    lock.write_text(before)
    setup.program(python, whole)
    setup.make()
    assert setup.steps() == install
    shutil.move(setup.root, tmp_path / "moved")
    setup.root = tmp_path / "moved"
    setup.make()
    assert setup.steps() == install
