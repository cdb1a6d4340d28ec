"""Marks of this project and the word on each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.reporting.marks import sentence, word

NUMBER = st.floats(-10, 10)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"holds": True}, "yes"),
        ({"holds": False, "value": 3.0, "reach": 2.0}, "no"),
        ({"holds": True, "value": 9.0, "low": 7.8, "high": 10.4, "reach": 10.0}, "open"),
        ({"holds": False, "value": 0.3, "low": -0.1, "high": 0.7}, "open"),
        ({"holds": True, "value": 0.3, "low": 0.0, "high": 0.7}, "yes"),  # a mark on the end
    ],
)
def test_a_mark_is_open_where_the_interval_has_both_sides(mark, said):
    assert word(mark) == said


@given(st.booleans(), NUMBER, st.floats(0, 5), NUMBER)
def test_the_word_is_that_of_the_stage_or_open(holds, low, width, reach):
    said = word({"holds": holds, "low": low, "high": low + width, "reach": reach})
    assert said in ("open", "yes" if holds else "no")
    assert (said == "open") == (low < reach < low + width)


def test_all_marks_in_a_sentence():
    assert sentence({"a": {"holds": True}, "b": {"holds": False}}) == "a: **yes**; b: **no**"
