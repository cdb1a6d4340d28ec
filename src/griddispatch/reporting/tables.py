"""One table, formatted once, written for three readers: CSV, LaTeX and Markdown.

    write_table(
        frame,
        "table3",
        "Profit and voltage penalty per day.",
        {
            "policy": Column("Policy"),
            "profit": Column("Profit", "EUR/day", interval=("profit_low", "profit_high")),
        },
    )

writes `paper/tables/table3.csv`, `.tex` (booktabs) and `.md`; its cells read `9.81 [9.42, 10.20]`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from griddispatch.errors import InputError
from griddispatch.pipeline import paths

MISSING = "\N{EM DASH}"
MINUS = "\N{MINUS SIGN}"

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "[": "{[}",  # at the start of a row it would be an option of the line break before it
    "]": "{]}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    MINUS: "$-$",
    MISSING: "---",
    "\N{EN DASH}": "--",
    "\N{MICRO SIGN}": r"\textmu{}",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}
_MARKDOWN = {c: f"\\{c}" for c in "\\|*_`[]<>#~$"}


@dataclass(frozen=True)
class Column:
    """How one column of a frame is printed."""

    title: str
    """Head of the column, without the unit."""
    unit: str = ""
    """Unit of the values as they are printed; it stands in the head, not in the cells."""
    digits: int | None = None
    """Digits after the point. None: so that the typical half-width of the interval has two
    significant digits, or the typical value three where there is no interval."""
    interval: tuple[str, str] | None = None
    """Columns of the frame with the lower and the upper end of the interval."""
    scale: float = 1.0
    """Factor from the frame's unit to the printed one."""

    @property
    def head(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def write_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    columns: Mapping[str, Column],
    folder: Path | str = "paper/tables",
) -> Path:
    """Write a table as `<name>.csv`, `<name>.tex` and `<name>.md`; return the path of the CSV.

    Parameters
    ----------
    frame
        One row per line of the table, in the order to be printed, values unrounded.
    name
        Name of the files, without an ending; also the LaTeX label `tab:<name>`.
    caption
        Plain text; special characters are escaped.
    columns
        The columns to print, in order, keyed by their name in `frame`.
    folder
        A folder of the project, or an absolute path. Tables of measured times go to
        `results/timings`, because they differ from run to run.

    Raises
    ------
    InputError
        A column of `columns` or of one of its intervals is not in the frame.
    """
    head = [column.head for column in columns.values()]
    body = format_cells(frame, columns, name).to_numpy().tolist()
    numeric = [_is_number(frame[key]) for key in columns]
    content = {
        "csv": _as_csv(head, body),
        "tex": _as_latex(head, body, numeric, name, caption),
        "md": _as_markdown(head, body, numeric, caption),
    }
    files = {ending: _file(folder, f"{name}.{ending}") for ending in content}
    for ending, text in content.items():
        files[ending].write_text(text, encoding="utf-8", newline="\n")
    return files["csv"]


def format_cells(
    frame: pd.DataFrame, columns: Mapping[str, Column], name: str = "table"
) -> pd.DataFrame:
    """The cells as text, one column per entry of `columns`; see `write_table`."""
    for key, column in columns.items():
        for needed in (key, *(column.interval or ())):
            if needed not in frame:
                raise InputError(
                    f"table {name}: the frame has no column {needed!r}; it has "
                    f"{', '.join(map(str, frame.columns))}"
                )
    cells = {key: _format_column(frame, key, column) for key, column in columns.items()}
    return pd.DataFrame(cells, index=frame.index)


def _file(folder: Path | str, name: str) -> Path:
    if not Path(folder).is_absolute():
        return paths.write(f"{folder}/{name}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / name


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _format_column(frame: pd.DataFrame, key: str, column: Column) -> list[str]:
    if pd.api.types.is_bool_dtype(frame[key]):
        return ["yes" if v else "no" for v in frame[key]]
    if not _is_number(frame[key]):
        return [MISSING if pd.isna(v) or v == "" else str(v) for v in frame[key]]
    value = frame[key].astype("float64") * column.scale
    if column.interval is None:
        digits = _digits(value, significant=3) if column.digits is None else column.digits
        return [format_number(v, digits) for v in value]
    low, high = (frame[end].astype("float64") * column.scale for end in column.interval)
    if column.digits is not None:
        digits = column.digits
    elif (high > low).any():
        digits = _digits((high - low) / 2, significant=2)
    else:
        digits = _digits(value, significant=3)
    return [_with_interval(*cell, digits) for cell in zip(value, low, high, strict=True)]


def _with_interval(value: float, low: float, high: float, digits: int) -> str:
    text = format_number(value, digits)
    if text == MISSING or math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{format_number(low, digits)}, {format_number(high, digits)}]"


def format_number(value: float, digits: int) -> str:
    """A number with a fixed number of digits, a true minus sign, and no minus before zero."""
    if math.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def _digits(values: pd.Series, significant: int) -> int:
    """Digits after the point that give the median of |values| > 0 its significant digits."""
    size = values.abs()
    size = size[(size > 0) & (size < math.inf)]
    if size.empty:
        return 0
    return min(max(significant - 1 - math.floor(math.log10(size.median())), 0), 8)


def _as_csv(head: list[str], body: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *body])
    return text.getvalue()


def _as_latex(
    head: list[str], body: list[list[str]], numeric: list[bool], name: str, caption: str
) -> str:
    """A table in the style of booktabs, a package that the document has to load."""
    rows = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *body)]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in numeric)}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _as_markdown(head: list[str], body: list[list[str]], numeric: list[bool], caption: str) -> str:
    rule = ["---:" if n else "---" for n in numeric]
    rows = [
        [escape_markdown(c) for c in head],
        rule,
        *([escape_markdown(c) for c in r] for r in body),
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([escape_markdown(caption), "", *lines]) + "\n"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands here, on one line."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands here, on one line."""
    return "".join(_MARKDOWN.get(c, c) for c in " ".join(text.split()))
