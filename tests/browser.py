"""A headless Chromium for tests: of the site, and of JupyterLab.

A test module makes its own fixture of it, so that the browser lives as long as the module needs:

    @pytest.fixture(scope="module")
    def browser():
        with chromium() as started:
            yield started

Where no Chromium is installed the tests are skipped, with that reason; any other failure to start
one is an error.
"""

import contextlib
import shutil
from collections.abc import Iterator

import playwright.sync_api
import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
"""Names under which Chromium is installed, in the order in which they are tried."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""What makes it run in a container, and keeps it off the network."""

PATIENCE = 120_000
"""Milliseconds for which a page may wait (``page.set_default_timeout``): machines can be busy."""


def program() -> str:
    """Return the path of Chromium; skip the test that asks where none is installed."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no Chromium is installed (none of {', '.join(PROGRAMS)} is on the path)")


@contextlib.contextmanager
def chromium() -> Iterator[playwright.sync_api.Browser]:
    """Start Chromium, hand it over, and close it."""
    path = program()
    with playwright.sync_api.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


def complaints(page: playwright.sync_api.Page) -> list[str]:
    """Return a list that fills with errors of a page: printed, thrown, or of files it lacks."""
    said: list[str] = []

    def printed(message: playwright.sync_api.ConsoleMessage) -> None:
        if message.type == "error":
            said.append(message.text)

    def not_loaded(request: playwright.sync_api.Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the reader went on to another page
            said.append(f"{request.url}: {request.failure}")

    page.on("console", printed)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", not_loaded)
    return said
