"""Columns; the expected texts are what Docker's command line 28 prints for the same values."""

from __future__ import annotations

import pytest

from orlop.cli.show.columns import align, ellipsis, width


def test_a_column_is_as_wide_as_its_widest_cell_and_three_spaces() -> None:
    assert align("NAME\tSIZE\nregistry.example.com/x\t1B\na\t22B\n") == (
        "NAME                     SIZE\nregistry.example.com/x   1B\na                        22B\n"
    )


def test_a_column_has_at_least_ten_characters() -> None:
    assert align("TAG\tIMAGE ID\tSIZE\n") == "TAG       IMAGE ID   SIZE\n"


def test_a_line_without_a_cell_ends_the_column() -> None:
    assert align("IMAGE\tCREATED\tCOMMENT\n8d541f1f5537\tAbout an hour ago\tmulti\n\nline\n\n<missing>\tN/A\tx\n") == (
        "IMAGE          CREATED             COMMENT\n"
        "8d541f1f5537   About an hour ago   multi\n"
        "\n"
        "line\n"
        "\n"
        "<missing>   N/A       x\n"
    )


def test_a_form_feed_ends_all_columns_and_a_vertical_tab_ends_a_cell() -> None:
    text = (
        "<missing>\t6 years ago\tform\ffeed vt\vtab cr\rx\t0B\t\n"
        "<missing>\tN/A\ttab here \x1b[31mred\x1b[0m bell\a \x9b31m\t1e+03kB\t\n"
    )
    assert align(text) == (
        "<missing>   6 years ago   form\n"
        "feed vt     tab cr\rx   0B                             \n"
        "<missing>   N/A       tab here \x1b[31mred\x1b[0m bell\a \x9b31m   1e+03kB   \n"
    )


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("plain", 5),
        ("é", 1),
        ("e\N{COMBINING ACUTE ACCENT}", 1),
        ("漢字", 4),
        ("ﾊﾝｶｸ", 4),
        ("①°±", 3),
        ("\x1b[0m", 3),
        ("a\N{SOFT HYPHEN}b", 2),
        ("\N{LINE SEPARATOR}\N{ZERO WIDTH SPACE}", 0),
        ("👨\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧", 2),
    ],
)
def test_the_width_is_what_a_terminal_shows(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("x" * 45, "x" * 45),
        ("x" * 46, "x" * 44 + "…"),
        ("é" * 44 + "a", "é" * 44 + "a"),
        ("é" * 44 + "ab", "é" * 44 + "…"),
        ("漢" * 22 + "x", "漢" * 22 + "x"),
        ("漢" * 22 + "xy", "漢" * 22 + "…"),
        ("漢" * 23, "漢" * 22 + "…"),
        ("x" + "漢" * 22, "x" + "漢" * 22),
        ("xy" + "漢" * 22, "xy" + "漢" * 21 + "…"),
        ("\x1b" * 10 + "x" * 40, "\x1b" * 10 + "x" * 34 + "…"),
        ("e\N{COMBINING ACUTE ACCENT}" * 30, "e\N{COMBINING ACUTE ACCENT}" * 22 + "…"),
    ],
)
def test_a_long_text_is_cut_to_45_columns(text: str, cut: str) -> None:
    assert ellipsis(text, 45) == cut
