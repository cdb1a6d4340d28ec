"""Pages of the site that are computed: the gallery of figures, the tables, and the claims."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from griddispatch.errors import InputError
from griddispatch.pipeline.site_links import Links
from griddispatch.pipeline.site_notebooks import seeds, small_line
from griddispatch.pipeline.site_provenance import Project
from griddispatch.pipeline.stages import Stage

FIGURES, TABLES, CLAIMS = "figures.md", "tables.md", "claims.md"
"""Pages of the laid-out tree."""

CLAIMS_TABLE = "paper/tables/claims.csv"
"""The table of claims with their verdicts."""

TIMES = "results/timings/claims.csv"
"""The claims about measured times, which differ from run to run."""

_TABLES = "paper/tables"
# Column of the claims about times -> its name in the table of all others.
_AS_CLAIMS = {
    "number": "No.",
    "system": "System",
    "claim": "Claim",
    "test": "Test",
    "published_text": "Published",
    "asked": "Asked",
    "ours_text": "Here",
    "unit": "Unit",
    "verdict": "Verdict",
    "reason": "Reason",
}
# A table of results needs the room of the page's own contents.
_WIDE = "---\nhide-toc: true\n---\n\n"
_CLAIMS_HEAD = (
    "| No. | Claim, and how it is tested | Published | Here | Verdict |",
    "| ---: | --- | --- | --- | --- |",
)
# Verdict -> class of its badge; every other verdict is an open one.
_BADGE = {"holds": "gd-holds", "does not hold": "gd-fails"}
# Names as their sources write them.
_WRITTEN = {
    "rl adn": "RL-ADN:",
    "tft mpc": "TFT-MPC:",
    "cvar td3": "CVaR-TD3:",
    "dromarl": "DROMARL:",
    "deltanet": "DeltaNet:",
    "soc": "state of charge",
}


def figure_label(name: str) -> str:
    """Return the label of a figure's place in the gallery."""
    return f"figure-{PurePosixPath(name).stem}"


def table_page(name: str) -> str:
    """Return the page of a table."""
    stem = PurePosixPath(name).stem
    return CLAIMS if name.startswith(f"{_TABLES}/claims.") else f"tables/{stem}.md"


def title(name: str) -> str:
    """Return the title of a figure or a table: its name in words."""
    words = PurePosixPath(name).stem.lstrip("0123456789_").replace("_", " ")
    for plain, written in _WRITTEN.items():
        words = re.sub(rf"\b{plain}\b", written, words)
    return (words[:1].upper() + words[1:]).rstrip(":")


def figures(project: Project, links: Links) -> str:
    """Return the gallery: every figure with what made it, grouped by notebook.

    Raises
    ------
    InputError
        A figure that dvc.yaml names is missing.
    """
    text = ["# Figures", ""]
    text += ["Every figure of every notebook, with the stage that drew it. A click enlarges."]
    for stage in project.notebooks:
        names = project.made(stage, "figures", ".png")
        if not names:
            continue
        text += [
            "",
            f"## {project.headings[stage.name]}",
            "",
            _made_by(project, stage, links, FIGURES),
        ]
        text += ["", "::::{container} gd-gallery"]
        for name in names:
            text += _figure(project, stage, name, links)
        text += ["::::"]
    return "\n".join(text) + "\n"


def tables(project: Project, links: Links) -> dict[str, str]:
    """Return the page of each table, and the one that lists them.

    Raises
    ------
    InputError
        A table that dvc.yaml names is missing or empty.
    """
    pages, entries = {}, []
    for stage in project.stages.values():
        for name in project.made(stage, _TABLES, ".md"):
            page = table_page(name)
            if page == CLAIMS:
                continue
            caption, _, body = project.text(name).strip().partition("\n")
            if not body.strip():
                raise InputError(f"{name} has no table; make it anew with: dvc repro {stage.name}")
            made_by = _made_by(project, stage, links, page)
            files = _files(project, name, links, page)
            wide = f":::{{container}} gd-table\n\n{body.strip()}\n\n:::"
            text = [f"# {title(name)}", caption, made_by, files, wide]
            pages[page] = _WIDE + "\n\n".join(text) + "\n"
            entries.append((project.headings[stage.name], page, title(name), caption))
    return {TABLES: _list_of_tables(entries), **pages}


def claims(project: Project, rows: Sequence[dict[str, str]], links: Links) -> str:
    """Return the page of the claims: how many hold, and each with its verdict.

    Parameters
    ----------
    project
        The stages and what they made.
    rows
        The table of claims, see `claims_rows`.
    links
        What the files of the project are on the site.
    """
    stage = _claims_stage(project)
    text = [
        "# Claims of the five sources",
        "",
        "Each checkable claim, what was published, what holds here, and why. Intervals are "
        "95 %. A claim that does not hold is a finding, not a failure of the run.",
        "",
        _made_by(project, stage, links, CLAIMS),
        "",
        _files(project, CLAIMS_TABLE, links, CLAIMS),
        "",
        verdicts(rows),
    ]
    for system, group in groupby(rows, key=lambda row: row["System"]):
        text += ["", f"## {system}", "", ":::{container} gd-claims", ""]
        text += [*_CLAIMS_HEAD, *map(_claim, group), "", ":::"]
    if times := time_claims(project):
        text += ["", "## Measured times", ""]
        text += ["They differ from run to run and count in no table above.", ""]
        text += [":::{container} gd-claims", "", *_CLAIMS_HEAD]
        text += [*(_claim({**row, "Claim": f"{row['System']}: {row['Claim']}"}) for row in times)]
        text += ["", ":::"]
    return "\n".join(text) + "\n"


def claims_rows(project: Project) -> list[dict[str, str]]:
    """Read the table of claims.

    Raises
    ------
    InputError
        It is missing or lacks a column.
    """
    stage = _claims_stage(project)
    needed = {"No.", "System", "Claim", "Test", "Published", "Asked", "Here", "Unit", "Verdict"}
    file = project.root / CLAIMS_TABLE
    if not file.is_file():
        raise InputError(f"{CLAIMS_TABLE} is missing; make it with: dvc repro {stage.name}")
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if absent := sorted((needed | {"Reason"}) - set(rows[0] if rows else ())):
        raise InputError(
            f"{CLAIMS_TABLE} lacks the columns {', '.join(absent)}; "
            f"make it anew with: dvc repro {stage.name}"
        )
    return rows


def time_claims(project: Project) -> list[dict[str, str]]:
    """Read the claims about measured times, with the columns of the table of claims."""
    if project.maker(TIMES) is None:
        return []
    rows = csv.DictReader(project.text(TIMES).splitlines())
    return [{name: row[column] for column, name in _AS_CLAIMS.items()} for row in rows]


def verdicts(rows: Sequence[dict[str, str]]) -> str:
    """Return a table that counts the verdicts of each system."""
    kinds = [*_BADGE, *sorted({row["Verdict"] for row in rows} - set(_BADGE))]
    systems = list(dict.fromkeys(row["System"] for row in rows))
    count = Counter((row["System"], row["Verdict"]) for row in rows)
    total = Counter(row["Verdict"] for row in rows)
    lines = [f"| System | {' | '.join(_badge(kind) for kind in kinds)} |"]
    lines += ["| --- |" + " ---: |" * len(kinds)]
    lines += [_row([s, *(str(count[s, kind]) for kind in kinds)]) for s in systems]
    lines += [_row(["**All**", *(f"**{total[kind]}**" for kind in kinds)])]
    return "\n".join(lines)


def _claims_stage(project: Project) -> Stage:
    stage = project.maker(CLAIMS_TABLE)
    if stage is None:
        raise InputError(f"dvc.yaml: no stage makes {CLAIMS_TABLE}; declare it among its outs")
    return stage


def _claim(row: dict[str, str]) -> str:
    unit = "" if row["Unit"] in ("", "—") else f" {row['Unit']}"
    published = row["Published"] if row["Published"] == "—" else row["Published"] + unit
    asked = "" if row["Asked"] in ("", "—") else f"asked: {row['Asked']}{unit}"
    reason = "" if row["Reason"] in ("", "—") else row["Reason"]
    cells = [
        row["No."],
        _two(row["Claim"], row["Test"]),
        _two(published, asked),
        _escaped(row["Here"] + unit),
        _badge(row["Verdict"]) + (f"<br>{_small(reason)}" if reason else ""),
    ]
    return _row(cells)


def _two(first: str, second: str) -> str:
    """Return a cell of two lines, the second in small print."""
    return _escaped(first) + (f"<br>{_small(second)}" if second else "")


def _small(text: str) -> str:
    return f"[{_escaped(text)}]{{.gd-small}}"


def _badge(verdict: str) -> str:
    return f"[{_escaped(verdict)}]{{.gd-badge .{_BADGE.get(verdict, 'gd-open')}}}"


def _escaped(text: str) -> str:
    """Return plain text in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|$~{}" else c for c in text)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(project: Project, stage: Stage, name: str, links: Links) -> list[str]:
    """Return one figure of the gallery, with links to what made it."""
    vector = name.removesuffix(".png") + ".svg"
    files = f" · [SVG]({links.copy(vector, FIGURES)})" if vector in stage.outs else ""
    made = project.provenances[stage.name]
    drawn = f"[Notebook]({links.to(stage.target, FIGURES)})"
    label = f"#stage-{stage.name}"
    return [
        f"({figure_label(name)})=",
        f":::{{figure}} {links.copy(name, FIGURES)}",
        f":alt: {title(name)}, from {project.headings[stage.name]}",
        f":target: _images/{PurePosixPath(name).name}",
        ":loading: lazy",
        "",
        f"**{title(name)}**<br>{drawn} · [stage `{stage.name}`]({label}) · "
        f"[parameters]({label}) · {seeds(made)}{files}",
        ":::",
        "",
    ]


def _made_by(project: Project, stage: Stage, links: Links, page: str) -> str:
    """Return the line that says what made the figures or the table of a page."""
    made = project.provenances[stage.name]
    shown = f"[{project.headings[stage.name]}]({links.to(stage.target, page)})"
    label = f"#stage-{stage.name}"
    line = [f"Made by {shown}", f"[stage `{stage.name}`]({label})", f"profile `{made.profile}`"]
    return small_line([*line, f"[parameters]({label})", seeds(made)])


def _files(project: Project, name: str, links: Links, page: str) -> str:
    """Return links to the same table for other programs."""
    stem = str(PurePosixPath(name).with_suffix(""))
    others = [e for e in (".csv", ".tex", ".md") if (project.root / (stem + e)).is_file()]
    shown = [f"[{e[1:].upper()}]({links.copy(stem + e, page)})" for e in others]
    return small_line(["The same as " + ", ".join(shown)])


def _list_of_tables(entries: Sequence[tuple[str, str, str, str]]) -> str:
    text = ["# Tables", "", f"The verdicts on all claims stand on [their own page]({CLAIMS})."]
    for made_by, group in groupby(entries, key=lambda entry: entry[0]):
        text += ["", f"## {made_by}", ""]
        text += [f"- [{name}]({page}). {caption}" for _, page, name, caption in group]
    listed = "\n".join(page for _, page, _, _ in entries)
    return "\n".join(text) + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
