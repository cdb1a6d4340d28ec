"""Tables: one formatting for three files, escaped, and the same bytes every time."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.errors import InputError
from griddispatch.reporting.tables import (
    Column,
    escape_latex,
    escape_markdown,
    format_cells,
    format_number,
    write_table,
)

DASH, MINUS = "\N{EM DASH}", "\N{MINUS SIGN}"
COLUMNS = {
    "policy": Column("Policy"),
    "profit": Column("Profit", "EUR/day", interval=("low", "high")),
    "days": Column("Days", digits=0),
}


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "policy": ["TD3", "Yesterday's schedule", "A & B_1 100 %"],
            "profit": [9.8123, -0.123, np.nan],
            "low": [9.4, -0.3, np.nan],
            "high": [10.2, 0.1, np.nan],
            "days": [30, 30, 14],
        }
    )


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_a_cell_reads_mean_and_interval(frame, tmp_path):
    rows = read(write_table(frame, "t", "Caption.", COLUMNS, tmp_path))
    assert rows == [
        ["Policy", "Profit (EUR/day)", "Days"],
        ["TD3", "9.81 [9.40, 10.20]", "30"],
        ["Yesterday's schedule", f"{MINUS}0.12 [{MINUS}0.30, 0.10]", "30"],
        ["A & B_1 100 %", DASH, "14"],
    ]


def test_the_three_files_hold_the_same_cells(frame, tmp_path):
    path = write_table(frame, "t", "100 % of it.", COLUMNS, tmp_path)
    latex = path.with_suffix(".tex").read_text(encoding="utf-8")
    markdown = path.with_suffix(".md").read_text(encoding="utf-8")
    for row in read(path)[1:]:
        assert " & ".join(map(escape_latex, row)) + r" \\" in latex
        assert "| " + " | ".join(map(escape_markdown, row)) + " |" in markdown
    assert r"\caption{100 \% of it.}" in latex
    assert r"\label{tab:t}" in latex
    assert r"\begin{tabular}{lrr}" in latex
    assert markdown.startswith("100 % of it.\n\n| Policy |")


def test_the_bytes_are_stable_and_the_frame_is_not_changed(frame, tmp_path):
    before = frame.copy(deep=True)
    first = write_table(frame, "t", "c", COLUMNS, tmp_path / "a")
    again = write_table(frame[frame.columns[::-1]], "t", "c", COLUMNS, tmp_path / "b")
    pd.testing.assert_frame_equal(frame, before)
    for ending in (".csv", ".tex", ".md"):
        content = first.with_suffix(ending).read_bytes()
        assert content == again.with_suffix(ending).read_bytes()
        assert b"\r" not in content


def test_tables_go_to_the_paper_or_to_a_named_folder(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(tmp_path))
    here = tmp_path / "scratch"  # nothing runs as a stage here
    assert write_table(frame, "t", "c", COLUMNS) == here / "paper/tables/t.csv"
    timed = write_table(frame, "t", "c", COLUMNS, "results/timings")
    assert timed == here / "results/timings/t.csv"


@pytest.mark.parametrize(
    ("half_width", "cell"),
    [
        (0.4, "1.23 [0.83, 1.63]"),
        (4.0, "1.2 [" + MINUS + "2.8, 5.2]"),
        (400.0, f"1 [{MINUS}399, 401]"),
    ],
)
def test_digits_follow_the_width_of_the_interval(half_width, cell):
    frame = pd.DataFrame({"v": [1.2345], "a": [1.2345 - half_width], "b": [1.2345 + half_width]})
    assert format_cells(frame, {"v": Column("V", interval=("a", "b"))})["v"].tolist() == [cell]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([1234.5, 1.2], ["1234", "1"]),
        ([0.012345, 0.2], ["0.012", "0.200"]),
        ([0.0, 0.0], ["0", "0"]),
    ],
)
def test_without_an_interval_the_typical_value_has_three_digits(values, cells):
    frame = pd.DataFrame({"v": values})
    assert format_cells(frame, {"v": Column("V")})["v"].tolist() == cells


def test_units_are_scaled_on_the_way_to_the_page():
    frame = pd.DataFrame({"v": [0.0015], "a": [0.001], "b": [0.002]})
    column = Column("Time", "ms", digits=1, interval=("a", "b"), scale=1e3)
    assert column.head == "Time (ms)"
    assert format_cells(frame, {"v": column})["v"].tolist() == ["1.5 [1.0, 2.0]"]


def test_half_an_interval_is_no_interval():
    frame = pd.DataFrame({"v": [1.0], "a": [np.nan], "b": [2.0]})
    column = Column("V", digits=1, interval=("a", "b"))
    assert format_cells(frame, {"v": column})["v"].tolist() == ["1.0"]


def test_missing_text_is_a_dash_and_truth_is_a_word():
    frame = pd.DataFrame({"note": ["x", None, ""], "met": [True, False, True]})
    cells = format_cells(frame, {"note": Column("Note"), "met": Column("Met")})
    assert cells["note"].tolist() == ["x", DASH, DASH]
    assert cells["met"].tolist() == ["yes", "no", "yes"]


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_number_is_within_half_a_digit_and_zero_has_no_sign(value, digits):
    text = format_number(value, digits)
    back = float(text.replace(MINUS, "-"))
    assert abs(back - value) <= 0.5 * 10.0**-digits * (1 + 1e-9)
    assert back != 0 or MINUS not in text
    assert "-" not in text


@pytest.mark.parametrize("missing", ["policy", "high"])
def test_a_missing_column_is_named(frame, missing, tmp_path):
    with pytest.raises(InputError, match=f"table t: the frame has no column '{missing}'"):
        write_table(frame.drop(columns=missing), "t", "c", COLUMNS, tmp_path)
    assert not list(tmp_path.iterdir())


SPECIAL = r"50 % & $x_1 #2 {a} ~b^c \d [e] <f> " + f"{DASH}{MINUS}\N{MICRO SIGN}"


def test_latex_has_no_bare_special_character():
    escaped = escape_latex(SPECIAL)
    assert escaped == (
        r"50 \% \& \$x\_1 \#2 \{a\} \textasciitilde{}b\textasciicircum{}c \textbackslash{}d "
        r"{[}e{]} \textless{}f\textgreater{} ---$-$\textmu{}"
    )
    assert escaped.isascii()


def test_markdown_shows_special_characters_as_they_are():
    assert escape_markdown("a|b *c* _d_ `e` #") == r"a\|b \*c\* \_d\_ \`e\` \#"
    assert "\n" not in escape_markdown("two\nlines")
