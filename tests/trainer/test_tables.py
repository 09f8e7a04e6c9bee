"""What a cell shows, and that tables become text without losing anything."""

import io
import math

import pytest

from edge_xray.operating_point import Estimate
from edge_xray_trainer.delivery import plain
from edge_xray_trainer.tables import Table, cell_text, markdown, print_tables


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Estimate(0.98765, 0.9, 1.0), "0.988 (0.900 to 1.000)"),
        (Estimate(-0.0001, -0.2, 0.1), "0.000 (-0.200 to 0.100)"),
        (Estimate(math.nan, 0.0, 1.0), "–"),
        (Estimate(0.5, math.nan, math.nan), "0.500"),
        (None, "–"),
        (math.nan, "–"),
        (5216, "5,216"),
        (6.23123, "6.231"),
        ("a|b", "a|b"),
    ],
)
def test_cells(cell, text):
    assert cell_text(cell) == text


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table("t", ("a", "b"), ((1,),))


def test_markdown_escapes_and_aligns():
    text = markdown(Table("T", ("name", "films"), (("a|b", 3),), "note"))
    assert text == "## T\n\n| name | films |\n| --- | --: |\n| a\\|b | 3 |\n\nnote\n"


def test_terminal_takes_brackets_for_what_they_are():
    stream = io.StringIO()
    print_tables([Table("T [bold]", ("name",), (("[red]x",),), "n [/]")], stream)
    assert all(text in stream.getvalue() for text in ("T [bold]", "[red]x", "n [/]"))


def test_plain_data_has_no_nan():
    assert plain({"a": math.nan, "b": (Estimate(0.5, 0.0, 1.0),)}) == {
        "a": None,
        "b": [{"value": 0.5, "low": 0.0, "high": 1.0}],
    }
