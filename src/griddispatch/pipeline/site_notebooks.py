"""Notebooks as pages of the site: as they were executed, with a header that says by what.

An executed notebook is shown only if its texts and code are those of the committed one, its
parameters those in force, and its run came to the end. Otherwise the committed notebook is shown,
without outputs, with a note that says why and what to do.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from griddispatch.pipeline.notebook import EXECUTED
from griddispatch.pipeline.site_links import Links
from griddispatch.pipeline.site_provenance import Provenance, read_notebook

_BY_HAND = """\
:::{admonition} To be run by hand
:class: note
No stage runs this notebook, so that it is shown without outputs. `make lab` opens it.
:::
"""
_PANEL = "application/vnd.jupyter.widget-view+json"


def page(root: Path, file: str, made_by: Provenance | None, links: Links) -> tuple[str, str | None]:
    """Return a notebook as a page, and why it is shown without outputs (None: it is with them).

    Parameters
    ----------
    root
        The project folder.
    file
        Path of the notebook in the project.
    made_by
        The stage that runs it, if one does.
    links
        What the files of the project are on the site.

    Returns
    -------
    The notebook in its JSON form, and the reason.

    Raises
    ------
    InputError
        The committed or the executed notebook is none, or a link leads nowhere.
    """
    committed = read_notebook(root, file, "restore it with git")
    shown, reason = _shown_of(root, file, committed, made_by)
    shown.metadata = nbformat.from_dict({"kernelspec": committed.metadata.get("kernelspec", {})})
    for cell in shown.cells:
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.get("tags", [])})
        if cell.cell_type == "markdown":
            cell.source = links.rewritten(cell.source, file, file)
        if cell.cell_type == "code":
            cell.outputs = [_without_panel(output) for output in cell.outputs]
    _demote(shown.cells[1:])
    # It follows the first cell, which asks the question of the notebook and answers it.
    text = header(made_by, links, reason) if made_by else _BY_HAND
    shown.cells.insert(1, nbformat.v4.new_markdown_cell(text, id="made-by"))
    return str(nbformat.writes(shown, version=4)) + "\n", reason


def _shown_of(
    root: Path, file: str, committed: Any, made_by: Provenance | None
) -> tuple[Any, str | None]:
    """Return the executed notebook, or the committed one and why it is shown instead."""
    if made_by is None:
        return committed, "no stage runs it"
    name = f"{EXECUTED}/{Path(file).name}"
    if not (root / name).exists():
        return committed, "it has not been executed on this machine"
    executed = read_notebook(root, name, f"delete it and run: dvc repro {made_by.stage.name}")
    reason = _outdated(executed, committed, made_by)
    return (committed if reason else executed), reason


def header(made_by: Provenance, links: Links, reason: str | None) -> str:
    """Return the Markdown of what made a notebook: one line, and a table that can be opened."""
    stage, page = made_by.stage, made_by.stage.target
    line = [f"Stage `{stage.name}`", f"profile `{made_by.profile}`", seeds(made_by)]
    if made_by.minutes and not reason:
        line.append(f"ran in {made_by.minutes} min")
    rows = [f"| `{name}` | `{_shown(value)}` |" for name, value in made_by.parameters.items()]
    text = [f"(stage-{stage.name})=", small_line(line), ""]
    if reason:
        text += [
            ":::{admonition} Shown without outputs",
            ":class: warning",
            f"This notebook is shown as it is committed, because {reason}. "
            "`make reproduce` executes what is out of date; `make site` then shows the outputs.",
            ":::",
            "",
        ]
    text += ['<details class="gd-made"><summary>Parameters, inputs and outputs</summary>', ""]
    if rows:
        text += ["| Parameter | Value |", "| --- | --- |", *rows, ""]
    text += [f"**Inputs.** {_listed(made_by.inputs, links, page)}", ""]
    text += [f"**Outputs.** {_listed(made_by.outputs, links, page)}", ""]
    text += [f"**Run it alone.** `dvc repro {stage.name}`", "", "</details>"]
    return "\n".join(text)


def small_line(parts: Iterable[str]) -> str:
    """Return a paragraph in small print, its parts set apart."""
    return "{.gd-line}\n" + " · ".join(parts)


def seeds(made_by: Provenance) -> str:
    """Return the seeds of a stage in words."""
    if not made_by.seeds:
        return "no seed parameter"
    return ", ".join(f"`{name} = {_shown(value)}`" for name, value in made_by.seeds.items())


def _outdated(executed: Any, committed: Any, made_by: Provenance) -> str | None:
    """Return why an executed notebook is not of today; None if it is."""
    own = [cell for cell in executed.cells if not _is_injected(cell)]
    if [_content(cell) for cell in own] != [_content(cell) for cell in committed.cells]:
        return "its text or code has changed since it was executed"
    record = executed.metadata.get("papermill", {})
    if record.get("exception") or not record.get("end_time"):
        return "its last execution did not come to the end"
    if {**made_by.defaults, **record.get("parameters", {})} != dict(made_by.parameters):
        return "it was executed with other parameters than those in force"
    return None


def _is_injected(cell: Any) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", ())


def _content(cell: Any) -> tuple[str, str]:
    return cell.cell_type, cell.source.strip()


def _demote(cells: list[Any]) -> None:
    """Lower the headings below the title by one level, if one of them has the level of a title.

    A page has one title; the others would stand beside it in the list of pages.
    """
    texts = [cell for cell in cells if cell.cell_type == "markdown"]
    if any(re.search(r"^# ", cell.source, re.M) for cell in texts):
        for cell in texts:
            cell.source = re.sub(r"^(#{1,5} )", r"#\1", cell.source, flags=re.M)


def _without_panel(output: Any) -> Any:
    """Return an output; one that needs a running kernel as a hint at where to find it."""
    if _PANEL not in output.get("data", {}):
        return output
    hint = "*A panel of controls stands here. To use it, open this notebook with* `make lab`."
    return nbformat.v4.new_output("display_data", {"text/markdown": hint})


def _listed(names: Iterable[str], links: Links, page: str) -> str:
    """Return the names as a line of links; what cannot be linked (a folder) is named only."""
    shown = [links.named(name, page) for name in names]
    return ", ".join(shown) or "none"


def _shown(value: Any) -> str:
    """Return a value as it is written in Python, fit for a cell of a table."""
    return repr(value).replace("|", "\\|")
