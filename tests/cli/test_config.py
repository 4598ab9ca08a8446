from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.cli import quantities
from kubectl_imagecache.cli.config import NAME, Settings, find, load
from kubectl_imagecache.core.errors import BadUsage, NotFound


def written(folder: Path, text: str) -> Path:
    file = folder / NAME
    file.write_text(text, encoding="utf-8")
    return file


def test_every_setting_is_read(tmp_path: Path) -> None:
    text = """
min-coverage: 90%
min-size: 100Mi
ignore: ["*/pause:*", "docker.io/library/busybox*"]
rate: 40MiB/s
system: true
include-templates: false
"""
    assert load(written(tmp_path, text)) == Settings(
        0.9, 100 * 2**20, ("*/pause:*", "docker.io/library/busybox*"), 40.0 * 2**20, True, False
    )


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, "# later\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rate: 1\nmin-coverge: 90%\n", "line 2: unknown setting 'min-coverge'", "did you mean min-coverage?"),
        ("zzz: 1\n", "line 1: unknown setting 'zzz'", "there are min-coverage, min-size"),
        ("min-size: big\n", "line 1: min-size: 'big' is no size", ""),
        ("min-coverage: 120%\n", "line 1: min-coverage: '120%' is no share", ""),
        ("rate: [1]\n", "line 1: rate: write one value", ""),
        ("rate: true\n", "line 1: rate: write one value", ""),
        ("system: 1\n", "line 1: system: write true or false", ""),
        ("ignore: {a: b}\n", "line 1: ignore: write a pattern or a list of patterns", ""),
        ("rate: 1\nrate: 2\n", "line 2: 'rate' is set twice", ""),
        ("- a\n", "line 1: not a mapping of settings", "write lines such as"),
        ("a: [\n", "line 2: expected the node content", ""),
        ("rate: !!python/object:os.system x\n", "line 1: could not determine a constructor", ""),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, text: str, message: str, hint: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(BadUsage) as caught:
        load(file)
    assert caught.value.message.startswith(f"{file}, {message}")
    assert caught.value.hint.startswith(hint)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        load(tmp_path / "nowhere.yaml")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="longer than 64 KiB"):
        load(written(tmp_path, "#" * 70_000))


def test_the_working_folder_comes_before_the_git_root(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find(inner) is None
    root = written(tmp_path, "")
    assert find(inner) == root
    own = written(inner, "")
    assert find(inner) == own


def test_a_folder_above_that_is_no_git_root_is_not_looked_at(tmp_path: Path) -> None:
    inner = tmp_path / "repo" / "a"
    inner.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    written(tmp_path, "")
    assert find(inner) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("100Mi", 100 * 2**20),
        ("2GiB", 2 * 2**30),
        ("50MB", 50 * 10**6),
        ("1.5 gi", 3 * 2**29),
        ("0", 0),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert quantities.size(text) == size


@pytest.mark.parametrize(("text", "share"), [("90%", 0.9), ("0.9", 0.9), ("100%", 1.0), ("1", 1.0), ("0", 0.0)])
def test_shares_are_per_cent_or_fractions(text: str, share: float) -> None:
    assert quantities.share(text) == pytest.approx(share)


def test_rates_are_sizes_a_second_and_never_nothing() -> None:
    assert quantities.rate("40MiB/s") == quantities.rate("40Mi") == 40 * 2**20
    with pytest.raises(ValueError, match="no rate"):
        quantities.rate("0")


@given(st.text(max_size=20), st.sampled_from([quantities.size, quantities.rate, quantities.share]))
def test_any_text_is_a_quantity_or_a_value_error(text: str, read: object) -> None:
    assert callable(read)
    try:
        assert read(text) >= 0
    except ValueError as error:
        assert "\n" not in str(error)
