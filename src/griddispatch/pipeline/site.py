"""The site: ``python -m griddispatch.pipeline.site`` makes ``build/site`` from what there is.

Executed notebooks, figures, tables, claims, the texts of ``docs/`` and the API are laid out as one
tree of pages in ``build/staging/site``. Sphinx makes the site from it, and every warning is an
error. The finished site takes the place of the last one at once, so that ``build/site`` is never
half written. Nothing is executed, no result is changed, and the same tree gives the same bytes.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from griddispatch import __version__
from griddispatch.errors import InputError
from griddispatch.pipeline import paths, sidecar, site_api, site_notebooks, site_pages
from griddispatch.pipeline.runner import ENVIRONMENT
from griddispatch.pipeline.site_links import Links
from griddispatch.pipeline.site_provenance import Project

SITE = "build/site"
"""Where the finished site lies."""

_WORK = f"{paths.STAGING}/site"
_DOCS = "docs"
# Folders of docs/ that Sphinx reads as they are.
_PLAIN = ("_static", "_templates")
# Texts at the top of the project that are pages.
_TEXTS = {"README.md": "project/readme.md", "CONTRIBUTING.md": "project/contributing.md"}


class SiteError(RuntimeError):
    """Sphinx found fault with the pages; the message holds what it said."""


@dataclass(frozen=True)
class Site:
    """What was made."""

    folder: Path
    """The site."""
    pages: int
    """Number of its pages."""
    figures: int
    """Number of figures in the gallery."""
    without_outputs: dict[str, str]
    """Notebooks that are shown without outputs, and why."""
    left_out: list[str]
    """Figures that no stage makes, so that nothing can be said about them."""


def build(root: Path) -> Site:
    """Lay out the pages of the project, make the site and move it into place.

    Parameters
    ----------
    root
        The project folder.

    Returns
    -------
    What was made.

    Raises
    ------
    InputError
        A file is missing or cannot be read, or a link leads nowhere.
    SiteError
        Sphinx found fault with a page.
    """
    work = root / _WORK
    shutil.rmtree(work, ignore_errors=True)
    source, made = work / "source", work / "html"
    source.mkdir(parents=True)
    try:
        project = Project.read(root)
        without = assemble(project, source)
        _sphinx(source, made, work / "doctrees")
        _publish(made, root / SITE, work / "last")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = sorted(f"figures/{file.name}" for file in (root / "figures").glob("*.png"))
    pages = len(list((root / SITE).rglob("*.html")))
    left_out = [name for name in figures if project.maker(name) is None]
    return Site(root / SITE, pages, len(figures) - len(left_out), without, left_out)


def assemble(project: Project, source: Path) -> dict[str, str]:
    """Lay out every page in the empty folder `source`.

    Parameters
    ----------
    project
        The stages of the project and what they made.
    source
        Where Sphinx will read.

    Returns
    -------
    The notebooks that are shown without outputs, and why.

    Raises
    ------
    InputError
        A file is missing or cannot be read, or a link leads nowhere.
    """
    root = project.root
    api, places = site_api.pages(root)
    rows = site_pages.claims_rows(project)
    texts = _texts(root)
    links = Links(root, source, {**_computed_pages(project), **texts, **places})
    for page, text in {
        **api,
        site_pages.FIGURES: site_pages.figures(project, links),
        **site_pages.tables(project, links),
        site_pages.CLAIMS: site_pages.claims(project, rows, links),
        "made/verdicts.md": site_pages.verdicts(rows) + "\n",
    }.items():
        _write(source / page, text)
    for file, page in texts.items():
        _write(source / page, links.rewritten(project.text(file), file, page))
    without = {}
    runs = {stage.target: project.provenances[stage.name] for stage in project.notebooks}
    for file in _notebooks(project):
        notebook, reason = site_notebooks.page(root, file, runs.get(file), links)
        _write(source / file, notebook)
        if reason:
            without[file] = reason
    _settings(project, source)
    return without


def _notebooks(project: Project) -> list[str]:
    """Return the notebooks: those of stages, and others that lie beside them."""
    beside = (project.root / "notebooks").glob("*.ipynb")
    found = {file.relative_to(project.root).as_posix() for file in beside}
    return sorted(found | {stage.target for stage in project.notebooks})


def _computed_pages(project: Project) -> dict[str, str]:
    """Return the pages and places of notebooks, figures and tables."""
    pages = {file: file for file in _notebooks(project)}
    for stage in project.stages.values():
        for name in stage.outs:
            if name.startswith("figures/"):
                pages[name] = f"#{site_pages.figure_label(name)}"
            if name.startswith("paper/tables/"):
                pages[name] = site_pages.table_page(name)
    return {**pages, "figures": site_pages.FIGURES, "paper/tables": site_pages.TABLES}


def _texts(root: Path) -> dict[str, str]:
    """Return the pages of the project's own texts: docs/index.md, docs/**.md, README and so on."""
    docs = root / _DOCS
    pages = {file: page for file, page in _TEXTS.items() if (root / file).is_file()}
    for file in sorted(docs.rglob("*.md")):
        name = file.relative_to(docs)
        if name.parts[0] not in _PLAIN:
            page = "index.md" if name.as_posix() == "index.md" else f"guide/{name.name}"
            if page in pages.values():
                raise InputError(f"docs: two texts are named {name.name}; rename one")
            pages[f"{_DOCS}/{name.as_posix()}"] = page
    if f"{_DOCS}/index.md" not in pages:
        raise InputError(f"{_DOCS}/index.md is missing; restore it with git")
    return pages


def _settings(project: Project, source: Path) -> None:
    """Lay out what Sphinx needs beside the pages."""
    root = project.root
    for name in _PLAIN:
        if (root / _DOCS / name).is_dir():
            shutil.copytree(root / _DOCS / name, source / name)
    _write(source / "conf.py", project.text(f"{_DOCS}/conf.py"))
    made = {"version": __version__, "commit": _commit(root)}
    _write(source / "site.json", json.dumps(made, sort_keys=True))


def _commit(root: Path) -> str | None:
    """Return the commit of the project folder, marked if files differ from it; None without git."""
    git = ("git", "-C", str(root))
    known = sidecar.output(*git, "rev-parse", "--short=10", "HEAD")
    changed = sidecar.output(*git, "status", "--porcelain")
    if known is None or changed is None:
        return None
    return f"{known} with changes" if changed else known


def _sphinx(source: Path, made: Path, doctrees: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-b", "html", "--fail-on-warning", "--quiet"]
    done = subprocess.run(
        [*command, "--doctree-dir", str(doctrees), str(source), str(made)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.replace(f"{source}{os.sep}", "").strip()
        raise SiteError(f"Sphinx found fault with the pages of the site; mend these:\n{said}")


def _publish(made: Path, place: Path, last: Path) -> None:
    """Put the finished site in the place of the last one."""
    (made / ".buildinfo").unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(last)
    try:
        made.rename(place)
    except OSError:
        if last.exists():
            last.rename(place)
        raise


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main() -> int:
    """Make the site and say what it holds."""
    try:
        made = build(paths.root())
    except (InputError, SiteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, reason in made.without_outputs.items():
        print(f"{name} is shown without outputs: {reason}")
    for name in made.left_out:
        print(f"{name} is left out: no stage of dvc.yaml makes it")
    print(f"{SITE}: {made.pages} pages, {made.figures} figures; open {SITE}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
