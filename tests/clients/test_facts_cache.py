from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.facts_cache import FactsCache
from kubectl_imagecache.core.contents import ImageFacts, Layer

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
FACTS = ImageFacts(frozenset({DIGEST, OTHER}), (Layer(OTHER, 10, None), Layer(DIGEST, None, 20)), "linux/amd64")


def only_file(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def test_what_was_put_is_got_by_digest_and_platform(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "a" / "facts")
    assert cache.get(DIGEST, "linux/amd64") is None
    cache.put(DIGEST, "linux/amd64", FACTS)
    assert cache.get(DIGEST, "linux/amd64") == FACTS
    assert cache.get(DIGEST, "linux/arm64") is None
    assert cache.get(OTHER, "linux/amd64") is None


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    FactsCache(tmp_path / "cache" / "facts").put(DIGEST, "linux/amd64", FACTS)
    file = only_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (file.parent, file.parent.parent)] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({"XDG_CACHE_HOME": "/x"}, "/x/kubectl-imagecache/facts"),
        ({"HOME": "/h"}, "/h/.cache/kubectl-imagecache/facts"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/kubectl-imagecache/facts"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/kubectl-imagecache/facts"),
    ],
)
def test_the_place_follows_the_xdg_specification(env: dict[str, str], place: str) -> None:
    assert FactsCache.from_env(env)._folder == Path(place)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"version": 2}',
        "x" * (1 << 21),
        json.dumps({"version": 1, "asked": DIGEST, "platform": "linux/amd64", "is": "x", "digests": [], "layers": []}),
        json.dumps(
            {"version": 1, "asked": DIGEST, "platform": "linux/amd64", "digests": ["x"], "layers": [], "is": ""}
        ),
        json.dumps(
            {
                "version": 1,
                "asked": DIGEST,
                "platform": "linux/amd64",
                "is": "x",
                "digests": [DIGEST],
                "layers": [[DIGEST, -1, None]],
            }
        ),
    ],
)
def test_a_damaged_entry_is_ignored_and_replaced(tmp_path: Path, text: str) -> None:
    cache = FactsCache(tmp_path)
    cache.put(DIGEST, "linux/amd64", FACTS)
    only_file(tmp_path).write_text(text, encoding="utf-8")
    assert cache.get(DIGEST, "linux/amd64") is None
    cache.put(DIGEST, "linux/amd64", FACTS)
    assert cache.get(DIGEST, "linux/amd64") == FACTS


@given(st.binary(max_size=300))
def test_no_bytes_break_a_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    cache = FactsCache(tmp_path_factory.getbasetemp() / "any")
    cache.put(DIGEST, "linux/amd64", FACTS)
    only_file(tmp_path_factory.getbasetemp() / "any").write_bytes(data)
    assert cache.get(DIGEST, "linux/amd64") is None


def test_an_entry_under_the_wrong_name_is_not_believed(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path)
    cache.put(DIGEST, "linux/amd64", FACTS)
    mine = only_file(tmp_path)
    cache.put(OTHER, "linux/amd64", FACTS)
    (others,) = (path for path in tmp_path.iterdir() if path != mine)
    others.write_bytes(mine.read_bytes())
    assert cache.get(OTHER, "linux/amd64") is None


def test_a_hostile_platform_is_no_path(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "in")
    cache.put(DIGEST, "../../../out", FACTS)
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "in"]


def test_a_place_that_can_not_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = FactsCache(tmp_path / "file" / "facts")
    cache.put(DIGEST, "linux/amd64", FACTS)
    assert cache.get(DIGEST, "linux/amd64") is None


def _hammer(folder: str, number: int) -> int:
    cache = FactsCache(Path(folder))
    torn = 0
    for turn in range(150):
        facts = ImageFacts(FACTS.digests, FACTS.layers * (number + turn % 40 + 1), "linux/amd64")
        cache.put(DIGEST, "linux/amd64", facts)
        read = cache.get(DIGEST, "linux/amd64")
        torn += read is None or read.layers[:2] != FACTS.layers
    return torn


def test_processes_that_write_the_same_entry_never_see_half_of_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        assert pool.starmap(_hammer, [(str(tmp_path), number) for number in range(4)]) == [0, 0, 0, 0]
    assert only_file(tmp_path).suffix == ".json"
