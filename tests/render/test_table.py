from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.render.table import Column, Table, cell, lay_out, number
from kubectl_imagecache.render.text import width

COLUMNS = (
    Column("NAME", "name", least=6),
    Column("COUNT", "count", right=True),
    Column("MORE", "more", drop=1),
    Column("EXTRA", "extra", wide=True),
    Column("WHY", "why", least=8),
)


def table(*rows: tuple[str, int, str, str, str]) -> Table:
    return Table(COLUMNS, tuple((cell(a), number(b), cell(c), cell(d), cell(e)) for a, b, c, d, e in rows))


ROW = ("a-pool-of-nodes", 7, "something more", "only in wide", "a reason in many words")


def show(cells: int | None, *, wide: bool = False, headers: bool = True, colour: bool = False) -> list[str]:
    return lay_out(table(ROW), cells, wide=wide, headers=headers, colour=colour)


def test_without_a_limit_columns_stand_at_their_width() -> None:
    assert show(None) == [
        "NAME              COUNT   MORE             WHY",
        "a-pool-of-nodes       7   something more   a reason in many words",
    ]


def test_wide_shows_every_column() -> None:
    assert "EXTRA" in show(None, wide=True)[0] and "only in wide" in show(None, wide=True)[1]


def test_first_columns_shrink_then_they_go() -> None:
    assert show(50) == [
        "NAME         COUNT  MORE            WHY",
        "a-pool-of-…      7  something more  a reason in m…",
    ]
    assert show(30) == ["NAME       COUNT  WHY", "a-pool-o…      7  a reason in…"]


def test_no_headers_leaves_only_rows() -> None:
    assert show(None, headers=False) == ["a-pool-of-nodes   7   something more   a reason in many words"]


def test_colour_does_not_move_columns() -> None:
    plain, coloured = show(60)[0], show(60, colour=True)[0]
    assert "\x1b[" in coloured and coloured.replace("\x1b[1m", "").replace("\x1b[0m", "") == plain


@given(
    st.lists(
        st.tuples(st.text(max_size=50), st.integers(0, 10**6), st.text(max_size=30), st.text(), st.text(max_size=200)),
        max_size=5,
    ),
    st.integers(24, 200),
)
def test_no_line_is_wider_than_the_terminal_nor_holds_a_control(
    rows: list[tuple[str, int, str, str, str]], cells: int
) -> None:
    for line in lay_out(table(*rows), cells, wide=False, headers=True, colour=False):
        assert width(line) <= cells
        assert line.isprintable()
