"""The site: what is laid out, from what, and what a reader meets in a browser."""

import base64
import html.parser
import json
import os
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import nbformat
import pytest
import yaml
from browser import PATIENCE, chromium, complaints
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from griddispatch.errors import InputError
from griddispatch.pipeline import site, site_api, site_pages, stages
from griddispatch.pipeline.site_links import Links
from griddispatch.pipeline.site_provenance import Project

ROOT = Path(__file__).resolve().parents[1]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DRAWN, JUDGED = "notebooks/01_draw.ipynb", "notebooks/02_judge.ipynb"
COLUMNS = "No.,System,Claim,Where,Test,Published,Asked,Here,Unit,Verdict,Reason"
CLAIMS = f"""{COLUMNS}
1,Lamp,It shines.,Text,Measured.,1,≥ 1,2.0,lux,holds,—
2,Lamp,It is cheap.,Text,"Asked, twice.",3,≤ 3,4 [3; 5],EUR,does not hold,It costs 4 | 5.
1,Stove,It heats.,Fig. 1,Felt.,—,> 0,7,K,holds,—
"""
FILES = {
    "README.md": "# Lamp\n\nSee [the drawing](notebooks/01_draw.ipynb), "
    "[code](src/griddispatch/lamp.py),\n[sizes](params.yaml), "
    "[figures](figures/) and ![a line](figures/01_line.png).\n\n"
    "```\n[not a link](nowhere.md)\n```\n",
    "params.yaml": "profile: reduced\ndraw:\n  seeds: {smoke: 1, reduced: 5, paper: 9}\n",
    "paper/paper.pdf": "%PDF-1.4\n",
    "paper/tables/claims.csv": CLAIMS,
    "paper/tables/claims.md": "Claims.\n\n| No. |\n| --- |\n| 1 |\n",
    "paper/tables/lamp_costs.md": "What lamps cost.\n\n"
    "| Lamp | EUR |\n| --- | ---: |\n| red | 4.0 |\n",
    "paper/tables/lamp_costs.csv": "Lamp,EUR\nred,4.0\n",
    "docs/index.md": "# Lamps\n\nRead [the paper](../paper/paper.pdf) and "
    "[the drawing](../notebooks/01_draw.ipynb).\n\n"
    "```{include} made/verdicts.md\n```\n\nThen [the costs](../paper/tables/lamp_costs.md).\n\n"
    "```{toctree}\nclaims\ntables\nfigures\nproject/readme\napi/index\n```\n\n"
    "```{toctree}\n:glob:\nnotebooks/*\nguide/*\n```\n",
    "docs/guide/words.md": "# Words\n\nA *chandelier* is a [large lamp](../../README.md); "
    "the sum is $\\sum_i \\big( x_i \\big)$.\n",
    "src/griddispatch/__init__.py": '"""Lamps."""\n',
    "src/griddispatch/lamp.py": '''"""Lamps that shine.

Like this:

    lamp = Lamp(3)
"""

from dataclasses import dataclass


@dataclass
class Lamp:
    """A lamp."""

    power: float
    """Its power (W)."""

    @property
    def bright(self) -> bool:
        """Whether it is bright."""
        return self.power > 2


def shine(lamp: Lamp, *, hours: float = 1.0) -> float:
    """Return the energy.

    Parameters
    ----------
    lamp
        What shines.
    hours
        How long.

    Raises
    ------
    ValueError
        It is broken.
    """
    return lamp.power * hours


def _hidden() -> None:
    """Not for readers."""
''',
}
STAGES = {
    "draw": {
        "cmd": f"python -m griddispatch.pipeline.notebook {DRAWN}",
        "deps": [DRAWN, "data/raw/lamps", "src/griddispatch/lamp.py"],
        "params": ["profile", "draw"],
        "outs": [
            "build/stages/draw.json",
            "results/draw.json",
            "figures/01_line.png",
            "figures/01_line.svg",
        ],
    },
    "judge": {
        "cmd": f"python -m griddispatch.pipeline.notebook {JUDGED}",
        "deps": [JUDGED, "results/draw.json"],
        "outs": [f"paper/tables/{name}" for name in ("claims.csv", "claims.md", "lamp_costs.md")],
    },
}


def notebook(title: str, cells: list[str], parameters: str) -> nbformat.NotebookNode:
    """Return a notebook as it is committed."""
    v4 = nbformat.v4
    first = v4.new_markdown_cell(f"# {title}\n\n**Question.** What is it?", id="question")
    tagged = v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]})
    rest = [v4.new_code_cell(cell, id=f"cell-{i}") for i, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=[first, tagged, *rest], metadata=metadata)


def executed(committed: nbformat.NotebookNode, **parameters: object) -> nbformat.NotebookNode:
    """Return a notebook as the pipeline leaves it."""
    made = nbformat.from_dict(json.loads(nbformat.writes(committed)))
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    tags = {"tags": ["injected-parameters"]}
    made.cells.insert(2, nbformat.v4.new_code_cell(lines, id="injected", metadata=tags))
    printed = nbformat.v4.new_output("stream", name="stdout", text="the filament glows\n")
    made.cells[-1].outputs = [printed]
    made.metadata["papermill"] = {
        "parameters": parameters,
        "exception": None,
        "start_time": "2026-01-01T00:00:00",
        "end_time": "2026-01-01T00:01:00",
    }
    return made


def write(root: Path, name: str, content: str | bytes | nbformat.NotebookNode) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else nbformat.writes(content))


def made_up(root: Path) -> Path:
    """Write a small project: two notebooks, of which one is executed, a figure, a table, claims."""
    for name, text in FILES.items():
        write(root, name, text)
    write(root, "dvc.yaml", yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    drawing = notebook("1 · The drawing", ["print('hello')"], "seeds = 2\nwidth = 0.5")
    write(root, DRAWN, drawing)
    write(root, f"build/{DRAWN}", executed(drawing, seeds=5))
    write(root, JUDGED, notebook("2 · The verdict", ["1 + 1"], "draws = 10"))
    write(root, "figures/01_line.png", PIXEL)
    write(root, "figures/01_line.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    write(root, "build/runs/draw.json", '{"wall_seconds": 151.2, "peak_memory_mb": 1}')
    shutil.copy(ROOT / "docs/conf.py", root / "docs/conf.py")
    for folder in ("_static", "_templates"):
        shutil.copytree(ROOT / "docs" / folder, root / "docs" / folder)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return made_up(tmp_path / "project")


def laid_out(project: Path) -> tuple[Path, dict[str, str]]:
    """Lay the pages out; return their folder, and the notebooks without outputs."""
    source = project / "laid out"
    source.mkdir()
    return source, site.assemble(Project.read(project), source)


def text(folder: Path, page: str) -> str:
    return (folder / page).read_text(encoding="utf-8")


def test_an_executed_notebook_keeps_its_outputs_and_says_what_made_it(project: Path) -> None:
    source, without = laid_out(project)
    page = text(source, DRAWN)
    made_by = nbformat.reads(page, as_version=4).cells[1].source
    assert DRAWN not in without
    assert "the filament glows" in page
    assert "Stage `draw` · profile `reduced` · `seeds = 5` · ran in 2:31 min" in made_by
    assert "| `width` | `0.5` |" in made_by  # the notebook's default, where params.yaml is silent
    assert "**Inputs.** `data/raw/lamps`\n" in made_by  # its own code is no input
    assert "`results/draw.json`" in made_by
    assert "[`figures/01_line.png`](#figure-01_line)" in made_by
    assert "2026-01-01" not in page  # no time of day: the same tree gives the same bytes


def unfinished(made: nbformat.NotebookNode) -> None:
    made.metadata.papermill.end_time = None


def failed(made: nbformat.NotebookNode) -> None:
    made.metadata.papermill.exception = True


def smaller(made: nbformat.NotebookNode) -> None:
    made.metadata.papermill.parameters = {"seeds": 1}


def edited(made: nbformat.NotebookNode) -> None:
    made.cells[-1].source = "print('old')"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (unfinished, "did not come to the end"),
        (failed, "did not come to the end"),
        (smaller, "was executed with other parameters"),
        (edited, "has changed since it was executed"),
    ],
)
def test_a_notebook_that_is_out_of_date_is_shown_without_outputs(
    project: Path, change: Callable[[nbformat.NotebookNode], None], reason: str
) -> None:
    file = project / "build" / DRAWN
    made = nbformat.read(file, as_version=4)
    change(made)
    nbformat.write(made, file)
    source, without = laid_out(project)
    assert reason in without[DRAWN]
    page = text(source, DRAWN)
    assert reason in page
    assert "make reproduce" in page
    assert "the filament glows" not in page
    assert "ran in" not in page


def test_a_notebook_that_was_never_executed_is_shown_with_a_note(project: Path) -> None:
    source, without = laid_out(project)
    assert "has not been executed" in without[JUDGED]
    assert "has not been executed" in text(source, JUDGED)


def test_a_notebook_without_a_stage_is_shown_as_one_to_run_by_hand(project: Path) -> None:
    write(project, "notebooks/03_play.ipynb", notebook("3 · Play", ["1"], "x = 1"))
    source, without = laid_out(project)
    assert without["notebooks/03_play.ipynb"] == "no stage runs it"
    assert "`make lab` opens it" in text(source, "notebooks/03_play.ipynb")


def test_a_page_has_one_title(project: Path) -> None:
    committed = nbformat.read(project / JUDGED, as_version=4)
    for level, name in enumerate(("Part", "Section"), start=1):
        heading = nbformat.v4.new_markdown_cell(f"{'#' * level} {name}\n\nText.", id=name.lower())
        committed.cells.append(heading)
    nbformat.write(committed, project / JUDGED)
    shown = nbformat.reads(text(laid_out(project)[0], JUDGED), as_version=4)
    assert [cell.source.split("\n")[0] for cell in shown.cells[-2:]] == ["## Part", "### Section"]
    assert shown.cells[0].source.startswith("# 2 · The verdict")


def test_a_panel_that_needs_a_kernel_becomes_a_hint(project: Path) -> None:
    file = project / "build" / DRAWN
    made = nbformat.read(file, as_version=4)
    panel = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox()"}
    made.cells[-1].outputs = [nbformat.v4.new_output("display_data", panel)]
    nbformat.write(made, file)
    page = text(laid_out(project)[0], DRAWN)
    assert "VBox" not in page
    assert "make lab" in page


def test_a_figure_names_notebook_stage_parameters_and_seeds(project: Path) -> None:
    gallery = text(laid_out(project)[0], "figures.md")
    caption = next(line for line in gallery.splitlines() if line.startswith("**Line**"))
    assert "[Notebook](notebooks/01_draw.ipynb)" in caption
    assert "[stage `draw`](#stage-draw)" in caption
    assert "[parameters](#stage-draw)" in caption
    assert "`seeds = 5`" in caption
    assert "(files/figures/01_line.svg)" in caption


def test_a_table_keeps_its_cells_and_names_its_stage(project: Path) -> None:
    source, _ = laid_out(project)
    page = text(source, "tables/lamp_costs.md")
    assert "What lamps cost." in page
    assert "| red | 4.0 |" in page
    assert "[stage `judge`](#stage-judge)" in page
    assert "[CSV](../files/paper/tables/lamp_costs.csv)" in page
    assert "(tables/lamp_costs.md)" in text(source, "tables.md")


def test_verdicts_are_counted_by_system(project: Path) -> None:
    source, _ = laid_out(project)
    counts = text(source, "made/verdicts.md").splitlines()
    assert counts[-3:] == ["| Lamp | 1 | 1 |", "| Stove | 1 | 0 |", "| **All** | **2** | **1** |"]
    claims = text(source, "claims.md")
    assert "[does not hold]{.gd-badge .gd-fails}" in claims
    assert "It costs 4 \\| 5." in claims  # a bar would end the cell


def test_claims_about_times_stand_apart(project: Path) -> None:
    rows = site_pages.claims_rows(Project.read(project))
    columns = ",".join(site_pages._AS_CLAIMS)
    line = "7,Lamps,It is *fast*.,Median of three.,2,≤ 2,1.5,ms,holds,—"
    write(project, site_pages.TIMES, f"{columns}\n{line}\n")
    declared = yaml.safe_load((project / "dvc.yaml").read_text())
    declared["stages"]["judge"]["outs"].append(site_pages.TIMES)
    write(project, "dvc.yaml", yaml.safe_dump(declared, sort_keys=False))
    assert site_pages.claims_rows(Project.read(project)) == rows
    page = (laid_out(project)[0] / "claims.md").read_text()
    before, _, times = page.partition("## Measured times")
    assert "fast" not in before
    assert "| 7 | Lamps: It is \\*fast\\*.<br>" in times


def test_links_of_the_readme_lead_to_pages_of_the_site(project: Path) -> None:
    source, _ = laid_out(project)
    page = text(source, "project/readme.md")
    assert "[the drawing](../notebooks/01_draw.ipynb)" in page
    assert "[code](#api-griddispatch.lamp)" in page
    assert "[sizes](../files/params.yaml)" in page
    assert "[figures](../figures.md)" in page
    assert "![a line](../files/figures/01_line.png)" in page
    assert "[not a link](nowhere.md)" in page  # it is code
    assert (source / "files/params.yaml").read_text() == FILES["params.yaml"]
    assert "[the costs](tables/lamp_costs.md)" in text(source, "index.md")
    assert "[large lamp](../project/readme.md)" in text(source, "guide/words.md")


def remove(name: str) -> Callable[[Path], None]:
    return lambda project: (project / name).unlink()


def replace(name: str, content: str) -> Callable[[Path], None]:
    return lambda project: write(project, name, content)


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (
            remove("figures/01_line.png"),
            r"figures/01_line.png is missing; make it with: dvc repro draw",
        ),
        (
            remove("paper/tables/lamp_costs.md"),
            r"lamp_costs.md is missing; make it with: dvc repro judge",
        ),
        (
            replace("paper/tables/lamp_costs.md", "What lamps cost.\n"),
            r"lamp_costs.md has no table; make it anew with: dvc repro judge",
        ),
        (
            remove("paper/tables/claims.csv"),
            r"claims.csv is missing; make it with: dvc repro judge",
        ),
        (
            replace("paper/tables/claims.csv", CLAIMS.replace("Verdict", "Opinion")),
            r"claims.csv lacks the columns Verdict; make it anew with: dvc repro judge",
        ),
        (
            replace(f"build/{DRAWN}", "<<<<<<< half"),
            r"build/notebooks/01_draw.ipynb cannot be read .*; delete it and run: dvc repro draw",
        ),
        (replace(f"build/{DRAWN}", "[]"), r"build/notebooks/01_draw.ipynb cannot be read"),
        (replace(DRAWN, "half"), r"notebooks/01_draw.ipynb cannot be read as a notebook"),
        (
            replace("README.md", "[gone](docs/gone.md)"),
            r"README.md links to docs/gone.md, which is no file of the project; mend it",
        ),
        (remove("docs/index.md"), r"docs/index.md is missing; restore it with git"),
        (replace("docs/words.md", "# Words"), r"two texts are named words.md; rename one"),
        (remove("docs/conf.py"), r"docs/conf.py cannot be read"),
        (replace("src/griddispatch/lamp.py", "def"), r"lamp.py cannot be read as Python"),
    ],
)
def test_a_slip_is_named_with_its_file_and_its_mend(
    project: Path, slip: Callable[[Path], None], message: str
) -> None:
    slip(project)
    with pytest.raises(InputError, match=message):
        laid_out(project)


def test_the_program_prints_one_clear_line_and_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
    (project / "figures/01_line.png").unlink()
    assert site.main() == 1
    said = capsys.readouterr().err
    assert said == "error: figures/01_line.png is missing; make it with: dvc repro draw\n"
    assert not (project / "build/site").exists()
    assert not (project / "build/staging/site").exists()


@given(st.text(alphabet="ab `~\n!{}#-", max_size=60))
def test_a_text_without_links_is_not_changed(text: str) -> None:
    links = Links(Path("/nowhere"), Path("/nowhere"), {})
    assert links.rewritten(text, "docs/a.md", "guide/a.md") == text


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)


@given(target=NAMES, file=NAMES, page=NAMES, place=NAMES)
def test_a_link_leads_to_the_page_of_its_target(
    target: str, file: str, page: str, place: str
) -> None:
    links = Links(Path("/nowhere"), Path("/nowhere"), {f"{target}.md": f"{place}.md"})
    written = os.path.relpath(f"{target}.md", PurePosixPath(f"{file}.md").parent)
    found = links.rewritten(f"[x]({written}#y)", f"{file}.md", f"{page}.md")
    led = found.removeprefix("[x](").removesuffix("#y)")
    assert os.path.normpath(PurePosixPath(f"{page}.md").parent / led) == f"{place}.md"


def test_the_api_shows_what_is_public_with_its_docstring(project: Path) -> None:
    pages, places = site_api.pages(project)
    page = pages["api/griddispatch.rst"]
    assert places["src/griddispatch/lamp.py"] == "#api-griddispatch.lamp"
    assert (
        ".. py:function:: shine(lamp: ~griddispatch.lamp.Lamp, *, hours: float=1.0) -> float"
        in page
    )
    assert ":param hours: How long." in page
    assert ":raises ValueError: It is broken." in page
    assert ".. py:property:: bright" in page
    assert "Its power (W)." in page
    assert "::\n\n    lamp = Lamp(3)" in page  # an example is code
    assert "_hidden" not in page


def test_the_api_has_every_module_of_the_library() -> None:
    _, places = site_api.pages(ROOT)
    package = ROOT / "src/griddispatch"
    modules = {
        file.relative_to(ROOT).as_posix()
        for file in stages.files(package)
        if file.suffix == ".py" and not file.stem.startswith("_")
    }
    assert modules <= set(places)


# ------------------------------------------------------------------ the finished site


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with its site."""
    root = made_up(tmp_path_factory.mktemp("site") / "project")
    made = site.build(root)
    assert made.folder == root / "build/site"
    assert (made.figures, list(made.without_outputs)) == (1, [JUDGED])
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in stages.files(folder)}


def test_a_fault_leaves_the_last_site_as_it_is_and_the_next_has_the_same_bytes(built: Path) -> None:
    before = contents(built / "build/site")
    words = built / "docs/guide/words.md"
    good = words.read_text()
    words.write_text(good + "\n[nowhere](#no-such-place)\n")
    with pytest.raises(site.SiteError, match=r"guide/words.md:5: .*no-such-place"):
        site.build(built)
    assert contents(built / "build/site") == before
    words.write_text(good)
    site.build(built)
    assert contents(built / "build/site") == before
    assert not (built / "build/staging/site").exists()


def test_a_site_that_cannot_be_moved_into_place_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, place, last = (tmp_path / name for name in ("made", "place", "last"))
    for folder in (made, place):
        folder.mkdir()
        (folder / "index.html").write_text(folder.name)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self == made:
            raise PermissionError
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        site._publish(made, place, last)
    assert (place / "index.html").read_text() == "place"


class Parsed(html.parser.HTMLParser):
    """What a page links to, what it shows, and which places it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def has(self, place: str) -> bool:
        return place in self.places

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name in ("id", "name") and value:
                self.places.add(value)


def test_no_link_or_picture_of_any_page_leads_nowhere(built: Path) -> None:
    folder = built / "build/site"
    pages = {file: Parsed(file) for file in sorted(folder.rglob("*.html"))}
    assert {folder / "index.html", folder / "notebooks/01_draw.html"} <= set(pages)
    broken, outside = [], set()
    for file, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                outside.add(parts.netloc or parts.scheme)
                continue
            target = Path(os.path.normpath(file.parent / urllib.parse.unquote(parts.path)))
            target = target if parts.path else file
            known = pages.get(target)
            if not target.is_file() or (parts.fragment and known and not known.has(parts.fragment)):
                broken.append(f"{file.relative_to(folder)}: {link}")
    assert not broken
    assert outside <= {"github.com", "www.w3.org"}  # the theme's own name; nothing is loaded


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, built: Path) -> Iterator[Page]:
    """A page of the browser at the index of the site, opened from its folder."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(PATIENCE)
    said = complaints(opened)
    opened.goto((built / "build/site/index.html").as_uri())
    yield opened
    opened.close()
    assert not said


def test_a_reader_goes_from_the_index_to_a_notebook(page: Page) -> None:
    assert page.inner_text("h1").startswith("Lamps")
    assert "does not hold" in page.inner_text("article")
    page.click("article >> text=the drawing")
    assert page.inner_text("h1").startswith("1 · The drawing")
    assert "the filament glows" in page.inner_text("article")
    assert not page.is_visible("text=data/raw/lamps")
    page.click("text=Parameters, inputs and outputs")
    assert page.is_visible("text=data/raw/lamps")
    assert "griddispatch" in page.inner_text("footer")


def test_a_search_finds_a_word_of_a_notebook_and_of_a_text(page: Page) -> None:
    for word, title in [("filament", "1 · The drawing"), ("chandelier", "Words")]:
        page.fill(".sidebar-search", word)
        page.press(".sidebar-search", "Enter")
        page.wait_for_selector("#search-results ul.search a")
        assert title in page.inner_text("#search-results ul.search")
    page.click("#search-results ul.search a")
    assert page.inner_text("h1").startswith("Words")
    assert page.locator("article math").count() == 1


def test_figures_are_drawn_and_lead_to_what_made_them(page: Page) -> None:
    page.click(".sidebar-tree >> text=Figures")
    picture = page.locator("article figure img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('article figure img').naturalWidth > 0")
    page.click("article figure >> text=stage draw")
    assert page.url.endswith("notebooks/01_draw.html#stage-draw")


def test_no_page_is_wider_than_a_telephone(page: Page, built: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for name in ("index", "claims", "figures", "tables/lamp_costs", "notebooks/01_draw"):
        page.goto((built / f"build/site/{name}.html").as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, name
