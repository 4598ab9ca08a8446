from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.report import Share
from kubectl_imagecache.render.text import count, cut, duration, gib, hexes, neutral, percent, width, wrapped


@given(st.text(st.characters(), max_size=60))
def test_neutral_text_is_printable_whatever_it_was(text: str) -> None:
    assert neutral(text).isprintable()
    assert neutral(neutral(text)) == neutral(text)


@given(st.text(st.characters(), max_size=40), st.integers(1, 30), st.booleans())
def test_a_cut_text_fits(text: str, cells: int, keep_end: bool) -> None:
    assert width(cut(neutral(text), cells, keep_end=keep_end)) <= cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain-name", "plain-name"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\ud800", r"\ud800"),
        ("ünïcode 模型", "ünïcode 模型"),
    ],
)
def test_controls_and_bidi_become_visible(text: str, shown: str) -> None:
    assert neutral(text) == shown


def test_wide_characters_take_two_cells_and_accents_none() -> None:
    assert (width("模型"), width("e\u0301"), width("ab")) == (4, 1, 2)


def test_cutting_keeps_the_end_that_tells_most() -> None:
    assert cut("registry/very/long/name:tag", 12, keep_end=True) == "…ng/name:tag"
    assert cut("registry/very/long/name:tag", 12) == "registry/ve…"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, "size unknown"),
        (0, "0.00 GiB"),
        (1000, "<0.01 GiB"),
        (1024**3 * 5 // 2, "2.50 GiB"),
        (1024**3 * 12, "12.0 GiB"),
        (1024**3 * 500, "500 GiB"),
    ],
)
def test_sizes_are_gib(size: int | None, shown: str) -> None:
    assert gib(size) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (Share(0, 0), "-"),
        (Share(0, 9), "0%"),
        (Share(1, 1_000_000), "1%"),
        (Share(999_999, 1_000_000), "99%"),
        (Share(3, 3), "100%"),
        (Share(43, 100), "43%"),
    ],
)
def test_only_all_is_100_per_cent_and_only_nothing_is_0(share: Share, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_000, "3h20m"),
        (86_400, "24h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (8 * 86_400, "8d"),
        (729 * 86_400, "729d"),
        (800 * 86_400, "2y70d"),
        (3000 * 86_400, "8y"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_plurals_and_digests() -> None:
    assert (count(1, "pod"), count(2000, "pod")) == ("1 pod", "2,000 pods")
    assert (hexes("sha256:0123456789abcdef"), hexes("")) == ("0123456789ab", "-")


def test_wrapped_text_hangs_and_breaks_no_word() -> None:
    assert wrapped("a-long-command --with-flags and more words here", "- ", "  ", 40) == [
        "- a-long-command --with-flags and more",
        "  words here",
    ]
    assert wrapped("one line", "- ", "  ", None) == ["- one line"]
