"""What a stranger reads first: links that resolve, commands that exist, terms with a home."""

import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import griddispatch

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs/guide"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
# A folder of somebody's machine; "/path/to/python" and "/scratch/$USER" are none.
OF_A_MACHINE = re.compile(r"(?<![\w.~-])(/(home|root|Users|work|tmp)/\w|[A-Z]:\\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Its text without comments, which are for writers."""
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def prose_of(page: Path) -> str:
    """Its text without blocks of code, in which brackets are no links and # no heading."""
    return FENCE.sub("", text_of(page))


def code_of(page: Path) -> list[str]:
    """Lines of its blocks of code, and what stands between backticks."""
    blocks = [found.group(0) for found in FENCE.finditer(text_of(page))]
    return [line for block in blocks for line in block.splitlines()[1:-1]] + re.findall(
        r"`([^`\n]+)`", prose_of(page)
    )


def anchors_of(page: Path) -> set[str]:
    """Anchors of its headings, as GitHub and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = next(n for n in range(99) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def broken(page: Path) -> list[str]:
    """Its relative links that lead nowhere."""
    wrong = []
    for link in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors_of(target)):
            wrong.append(link)
    return wrong


def named_targets(page: Path) -> set[str]:
    """Targets of `make` that it names in code."""
    lines = [re.match(r"\s*(?:\$ )?make +(?:-C \S+ +)?([a-z][a-z-]*)", x) for x in code_of(page)]
    return {found.group(1) for found in lines if found}


TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.MULTILINE))
HELPED = dict(re.findall(r"^([a-z][a-z-]*):(?!=).*?## (.+)$", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
class TestEveryPage:
    def test_links_lead_somewhere(self, page: Path) -> None:
        assert broken(page) == []

    def test_its_commands_exist(self, page: Path) -> None:
        assert named_targets(page) <= TARGETS

    def test_it_knows_no_machine(self, page: Path) -> None:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if OF_A_MACHINE.search(line)] == []


def test_a_wrong_link_an_unknown_target_and_a_path_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c!\n[fine](#a-b-c) [gone](#d) [away](gone.md) [web](https://example.org)\n"
        "`make nonsense`, make it, <!-- [not](looked-at.md) -->\n```\n[no](link)\nmake other\n```\n"
    )
    assert anchors_of(page) == {"a-b-c"}
    assert named_targets(page) == {"nonsense", "other"}
    assert [link for link in broken(page) if link != "#a-b-c"] == ["#d", "gone.md"]
    assert OF_A_MACHINE.search("see /home/me/file")
    assert not OF_A_MACHINE.search("make PYTHON=/path/to/python3.11, results/home/x")


def test_the_readme_leads_to_every_notebook_and_every_page_of_the_guide() -> None:
    readme = text_of(ROOT / "README.md")
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks == set(re.findall(r"\(notebooks/([\w.]+\.ipynb)\)", readme))
    linked = {link for page in PAGES for link in LINK.findall(text_of(page))}
    for page in GUIDE.glob("*.md"):
        assert any(link.partition("#")[0].endswith(page.name) for link in linked), page.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_every_target_has_a_line_of_help_and_is_no_file() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == set(HELPED) == TARGETS
    assert not [target for target in TARGETS if (ROOT / target).is_file()]


def test_make_help_shows_every_target_in_one_line() -> None:
    done = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("  make ")]
    assert [line.split()[1] for line in lines] == list(HELPED)
    assert [line.split(maxsplit=2)[2] for line in lines] == list(HELPED.values())
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "##" not in done.stdout


def test_every_pinned_package_takes_the_python_that_setup_asks_for() -> None:
    (oldest,) = set(re.findall(r"3\.11\.\d+", MAKEFILE))
    (checked,) = re.findall(r"not \((\d+), (\d+), (\d+)\) <= sys\.version_info", MAKEFILE)
    assert ".".join(checked) == oldest
    assert f"{oldest} or later" in text_of(ROOT / "README.md")
    pinned = {
        Requirement(line).name.lower().replace("_", "-")
        for name in re.findall(r"requirements[\w-]*\.lock", MAKEFILE)
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if line and line[0] not in "#-"
    }
    refused = {
        name: asked
        for package in distributions()
        if (name := str(package.name).lower().replace("_", "-")) in pinned
        and (asked := package.metadata.get("Requires-Python"))
        and oldest not in SpecifierSet(asked)
    }
    assert refused == {}


TERM = re.compile(r"- \*\*(?P<term>[^*]+)\.\*\* (?P<text>.+) Home: (?P<home>.*\]\(.+\).*)")


def test_the_glossary_is_sorted_and_every_term_has_a_home() -> None:
    lines = (GUIDE / "glossary.md").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line.startswith("- ")]
    found = [TERM.fullmatch(line) for line in entries]
    assert [line for line, match in zip(entries, found, strict=True) if not match] == []
    terms = [match["term"] for match in found if match]
    assert terms == sorted(terms, key=str.casefold)
    assert len({term.casefold() for term in terms}) == len(terms) > 0


def test_every_line_of_the_checklist_has_an_answer_and_evidence() -> None:
    text = (GUIDE / "checklist.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| |", "| Question", "| Badge"))
    ]
    assert rows
    for row in rows:
        answer, evidence = row[-2:]
        assert answer in ("Yes", "Partly", "No", "Does not apply"), row
        assert answer != "Yes" or "](" in evidence or "`make " in evidence, row


def citation() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def test_the_citation_is_valid_and_of_this_version() -> None:
    found = citation()
    required = {"cff-version", "message", "title", "authors"}
    assert required <= set(found)
    known = {"type", "abstract", "version", "license", "keywords", "references", "doi"}
    assert set(found) <= required | known | {"date-released", "repository-code", "url"}
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in ("software", "dataset")
    assert found["version"] == griddispatch.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found["license"] == project["license"]
    assert found["authors"] == project["authors"]


def test_the_sources_are_cited_as_in_the_paper() -> None:
    bibliography = (ROOT / "paper/references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([\w-]+),", bibliography, re.MULTILINE))
    page = (GUIDE / "cite.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bibtex\n(.*?)```", page, re.DOTALL)
    (own,) = [block for block in blocks if "{griddispatch," in block]
    assert f"{{{griddispatch.__version__}}}" in own
    assert str(citation()["title"]) in own
    sources = [block for block in blocks if block != own]
    assert sources
    for block in sources:
        assert block in bibliography
    named = set(re.findall(r"`([a-z]+[\w-]*\d\w*)`", page))
    assert named <= keys
    assert "hou2025rladn" in named
    for reference in citation()["references"]:
        assert f"doi     = {{{reference['doi']}}}" in bibliography
