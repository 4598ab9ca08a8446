from __future__ import annotations

import typing
from pathlib import Path

import pytest

from kubectl_imagecache.core import reasons as why
from kubectl_imagecache.core.reasons import Reason
from kubectl_imagecache.render.names import namer
from kubectl_imagecache.render.words import Words, readme_table, words
from tests.render.factories import TRITON, VLLM, digest, disk_ref, reason_of_each_kind, ref

NAME = namer([ref(VLLM), ref(TRITON)])
README = Path(__file__).parents[2] / "README.md"


def test_the_factory_makes_every_reason_there_is() -> None:
    assert [type(reason) for reason in reason_of_each_kind()] == list(typing.get_args(Reason))


@pytest.mark.parametrize("reason", reason_of_each_kind(), ids=lambda reason: reason.code)
def test_every_reason_has_a_clause_and_one_sentence(reason: Reason) -> None:
    found = words(reason, NAME)
    assert found.short and len(found.short) <= 45
    assert found.sentence.endswith(".")
    image = getattr(reason, "ref", None)
    assert found.sentence.startswith(NAME(image)) if image else found.sentence[0].isupper() or found.sentence[0] == "1"


def test_a_type_without_words_is_an_error_and_no_empty_text() -> None:
    with pytest.raises(TypeError, match="no words for str"):
        words("no reason", NAME)  # type: ignore[arg-type]


def test_words_name_the_image_the_size_and_who_is_hit() -> None:
    assert words(why.NewTag(ref(VLLM), ("0.6.1", digest("x")), 8 * 1024**3, 4, 12), NAME) == Words(
        "new tag: vllm-server:0.6.3",
        "vllm-server:0.6.3 (8.00 GiB) is not on the disk, which holds 0.6.1, 2d711642b726; 12 pods on 4 nodes use it.",
    )
    assert words(why.TagMoved(ref(VLLM), digest("x"), digest("y"), None, 1, 1), NAME).sentence == (
        "vllm-server:0.6.3 (size unknown) has moved: the disk holds 2d711642b726, 1 pod on 1 node uses a1fce4363854."
    )


def test_waiting_pods_and_idle_templates_are_told_from_running_pods() -> None:
    assert "2 pods not yet on a node use it" in words(why.ImageMissing(ref(), 1, 0, 2), NAME).sentence
    assert "workload templates that run nothing now use it" in words(why.ImageMissing(ref(), 1, 0, 0), NAME).sentence


def test_hostile_names_lose_their_escapes() -> None:
    evil = disk_ref("x\x1b[2J\u202e")
    for reason in (why.NoRecord(evil), why.NotACache(evil), why.NameTooLong(evil, 39)):
        assert words(reason, NAME).sentence.isprintable()
    assert words(why.RecordUnreadable(disk_ref(), "\x07bell"), NAME).sentence.isprintable()


def test_the_readme_table_has_a_line_for_every_reason() -> None:
    lines = readme_table().splitlines()
    assert len(lines) == 2 + len(typing.get_args(Reason))
    assert lines[2] == "| `image-missing` | STALE | A used image of which the disk holds no version. |"
    assert all(line.count(" | ") == 2 for line in lines[2:])


def test_the_readme_holds_the_table_as_it_is_made() -> None:
    assert readme_table() in README.read_text(encoding="utf-8")
