"""JupyterLab in a real browser: notebooks run from the first cell to the last, the panel answers.

By default three notebooks are driven; the marker `laboratory_all` holds the others, which take
longer (`make lab-test`). All of it happens in a copy of the project, on a server that is started
as `make lab` starts it, with no settings of the user.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import PATIENCE, chromium
from playwright.sync_api import Browser, Page, expect

from griddispatch.data.series import Series
from griddispatch.pipeline import smoke

ROOT = Path(__file__).resolve().parents[1]
PANEL = "17_dispatch_panel"
QUICK = ("01_data_preparation", "04_optimal_dispatch")
OTHERS = sorted(
    path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in (*QUICK, PANEL)
)
ALL = [
    *QUICK,
    PANEL,
    *(pytest.param(name, marks=pytest.mark.laboratory_all) for name in OTHERS),
]

# Seconds. Generous: a machine may be busy, and what never ends still ends as a failure.
STARTED, EXECUTED, EXECUTED_ALL = 240, 300, 1800
AT_ONCE = 3.0  # the quickest of some changes of the panel, as seen in the browser

# What notebooks need of the project beside data; nothing that is made by running.
FOLDERS = ("src", "notebooks", "results", "figures", "paper")
FILES = ("dvc.yaml", "params.yaml")

TOKEN = "laboratory"

# Panels that are saved one by one, beside the figure of all of them, which is shown.
APART = "14_panel_"

# Every prompt has a number, or a cell has failed.
ENDED = """() => {
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
    const prompts = cells.map(c => c.querySelector('.jp-InputPrompt')?.textContent ?? '');
    const failed = document.querySelector('[data-mime-type="application/vnd.jupyter.error"]');
    return cells.length > 0 && (failed !== null || prompts.every(p => /\\[\\d+\\]/.test(p)));
}"""
PIXELS = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return [...digest].join(' ');
}"""


@dataclass(frozen=True)
class Laboratory:
    """A copy of the project, and the address of the JupyterLab that serves it."""

    root: Path
    address: str

    def open(self, page: Page, name: str) -> None:
        """Open a notebook and wait for its kernel."""
        page.goto(f"{self.address}/lab/tree/notebooks/{name}.ipynb?reset&token={TOKEN}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=1000 * STARTED)
        # The notebook is on the page before its kernel is: a run would ask which kernel to take.
        idle = page.locator(".jp-StatusBar-TextItem, .jp-StatusBar-Item", has_text="| Idle")
        idle.first.wait_for(timeout=1000 * STARTED)

    def close_kernels(self) -> None:
        """End what the notebooks have left running."""
        for session in json.loads(_asked(f"{self.address}/api/sessions")):
            _asked(f"{self.address}/api/sessions/{session['id']}", "DELETE")


@pytest.fixture(scope="module")
def project(raw_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the data that notebooks 2 and up read."""
    root = tmp_path_factory.mktemp("laboratory") / "the project"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder)
    for file in FILES:
        shutil.copy(ROOT / file, root)
    data = root / "data"
    shutil.copytree(raw_data, data / "raw/rl_adn")
    for made in ("processed", "models"):
        if (ROOT / "data" / made).is_dir():
            shutil.copytree(ROOT / "data" / made, data / made)
    (data / "processed").mkdir(exist_ok=True)
    for nodes in (25, 34):  # as notebook 1 does
        clean = data / f"processed/feeder_{nodes}.csv"
        if not clean.is_file():
            Series.read(data / f"raw/rl_adn/{nodes}_node_time_series.csv").to_csv(clean)
    return root


@pytest.fixture(scope="module")
def laboratory(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """Start the server of `make lab` on a free port."""
    own = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [*_flags_of_make_lab(project), f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    address = f"http://127.0.0.1:{port}"
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=project, env=_environment(project, own), stdout=log, stderr=log
        )
        try:
            _wait(f"{address}/api", server, own / "log")
            yield Laboratory(project, address)
        finally:
            server.terminate()
            try:
                server.wait(timeout=STARTED)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                raise


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with contextlib.closing(browser.new_page(viewport={"width": 1400, "height": 1000})) as page:
        page.set_default_timeout(PATIENCE)
        yield page


def _flags_of_make_lab(project: Path) -> list[str]:
    """What the Makefile gives JupyterLab, with the copy as the folder."""
    recipe = re.search(r"^lab:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    flags = re.findall(r"--\S+?=(?:\"[^\"]*\"|\S+)", recipe[1])
    assert any("pre_save_hook" in flag for flag in flags)
    return [re.sub(r"=\".*\"$", f"={project}", flag) for flag in flags]


def _environment(project: Path, own: Path) -> dict[str, str]:
    """The copy's code, and folders of its own instead of the user's settings."""
    kept = {
        name: text for name, text in smoke.environment(project).items() if "JUPYTER" not in name
    }
    config = own / "config/labconfig"
    config.mkdir(parents=True)
    # No question about news: it would lie over the notebook.
    news = {"@jupyterlab/apputils-extension:announcements": True}
    (config / "page_config.json").write_text(json.dumps({"disabledExtensions": news}))
    # Every cell stays on the page, also those that are scrolled away.
    tracker = own / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text(json.dumps({"windowingMode": "none"}))
    return {
        **kept,
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "IPYTHONDIR": str(own / "ipython"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def _asked(address: str, method: str = "GET") -> bytes:
    """What the server says to a request of this test."""
    own = {"Authorization": f"token {TOKEN}"}
    request = urllib.request.Request(address, headers=own, method=method)
    with urllib.request.urlopen(request, timeout=STARTED) as answer:
        return bytes(answer.read())


def _wait(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + STARTED
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            _asked(address)
            return
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def run_all(page: Page, seconds: float) -> None:
    """Choose Run > Run All Cells, and wait for the last cell, or for one that fails."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    page.wait_for_function(ENDED, timeout=1000 * seconds)
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    assert not errors, errors[0]


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_runs_from_the_first_cell_to_the_last(
    laboratory: Laboratory, page: Page, name: str
) -> None:
    file = laboratory.root / f"notebooks/{name}.ipynb"
    committed, published = file.read_bytes(), _published(laboratory.root)
    laboratory.open(page, name)
    try:
        run_all(page, EXECUTED if name in (*QUICK, PANEL) else EXECUTED_ALL)
        files = (laboratory.root / "scratch/figures").glob(f"{name[:2]}_*.svg")
        drawn = [file for file in files if not file.stem.startswith(APART)]
        pictures = page.locator(".jp-Notebook .jp-RenderedImage img, .jp-Notebook img.widget-image")
        assert pictures.count() >= len(drawn)
        for picture in pictures.all():
            expect(picture).to_be_visible(timeout=PATIENCE)
            assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
        if name == PANEL:
            _the_panel_answers(page)
        _save(page, file)
    finally:
        laboratory.close_kernels()
    assert file.read_bytes() == committed, "saving a notebook that has run has changed it"
    assert _published(laboratory.root) == published, "a trial has touched a published result"


def _save(page: Page, file: Path) -> None:
    """Save the notebook as a user does, and wait until it is written."""
    before, end = file.stat().st_mtime_ns, time.monotonic() + STARTED
    page.locator(".jp-Notebook").press("Control+s")
    while file.stat().st_mtime_ns == before:
        assert time.monotonic() < end, "JupyterLab did not save the notebook"
        page.wait_for_timeout(100)


def _published(root: Path) -> dict[str, int]:
    """When each published file was written."""
    files = (f for top in ("results", "figures", "paper") for f in (root / top).rglob("*"))
    return {str(file): file.stat().st_mtime_ns for file in files if file.is_file()}


def _the_panel_answers(page: Page) -> None:
    """Change the policy, the day and the spread; each change gives another picture, soon."""
    picture = page.locator("img.griddispatch-picture")
    panel = page.locator(".widget-vbox", has=picture).first
    panel.scroll_into_view_if_needed()
    day = panel.locator(".widget-dropdown", has_text="day").locator("select")
    spread = panel.locator(".widget-slider", has_text="price spread")
    changes = {
        "policy": lambda: panel.get_by_role("button", name="Fixed schedule").click(),
        "day": lambda: day.select_option("2020-10-01, stress day"),
        "price spread": lambda: spread.locator(".noUi-handle").press("ArrowRight"),
        "policy again": lambda: panel.get_by_role("button", name="Optimum").click(),
    }
    seconds = {}
    for name, change in changes.items():
        source, pixels = picture.get_attribute("src"), picture.evaluate(PIXELS)
        started = time.perf_counter()
        change()
        expect(picture).not_to_have_attribute("src", source or "", timeout=1000 * STARTED)
        seconds[name] = time.perf_counter() - started
        assert picture.evaluate(PIXELS) != pixels, f"{name}: the picture is the same"
    print("the panel answers:", {name: round(s, 2) for name, s in seconds.items()})
    expect(spread.locator(".widget-readout")).to_have_text("1.1", timeout=PATIENCE)
    # The optimum's share of the optimum.
    expect(panel.get_by_text("100 %")).to_be_visible(timeout=PATIENCE)
    assert min(seconds.values()) < AT_ONCE, seconds
