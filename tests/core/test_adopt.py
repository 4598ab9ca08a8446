from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core import record
from kubectl_imagecache.core.adopt import Adoption, Described, adoption
from kubectl_imagecache.core.contents import Contents, short_digest
from kubectl_imagecache.core.errors import BadUsage
from tests.core.factories import cached, contents

HELD = contents(cached("gcr.io/p/app:v1", size=5_000_000), cached("docker.io/library/web:2"))
THEIRS = {"team": "ml", "imagecache-build": "somebody"}


def describe(description: str, **labels: str) -> Described:
    return Described("17", description, THEIRS | labels, "f")


def applied(found: Described, change: Adoption) -> Described:
    return Described(
        found.image_id,
        found.description if change.description is None else change.description,
        found.labels if change.labels is None else change.labels,
        "g",
    )


def recorded(description: str) -> set[tuple[str, str]]:
    found = record.unpack(description)
    assert isinstance(found, Contents)
    return {(str(image.ref), image.digest) for image in found.images}


WANTED = {(str(image.ref), short_digest(image.digest)) for image in HELD.images}


@given(st.text(max_size=300))
def test_the_owners_words_and_labels_stay_and_a_second_time_changes_nothing(words: str) -> None:
    if "imagecache" in words:
        return
    found = describe(words)
    change = adoption(found, HELD, "amd64", rewrite=False)
    assert change.description is not None
    assert change.description.startswith(words.rstrip("\n"))
    assert recorded(change.description) == WANTED
    assert change.labels == THEIRS | {"imagecache-schema": "1", "imagecache-arch": "amd64"}
    assert adoption(applied(found, change), HELD, "amd64", rewrite=False).nothing
    assert adoption(applied(found, change), HELD, "amd64", rewrite=True).nothing


def test_an_empty_description_gets_a_line_for_people() -> None:
    change = adoption(describe(""), HELD, "arm64", rewrite=False)
    assert change.description is not None
    assert change.description.startswith("2 container images for GKE nodes (arm64).\nimagecache:1:")


def test_a_damaged_or_untrue_record_is_replaced_and_a_true_one_is_left() -> None:
    damaged = adoption(describe("Ours.\nimagecache:1:bm90IGEgcmVjb3Jk\n"), HELD, "amd64", rewrite=False)
    assert damaged.description is not None
    assert damaged.description.startswith("Ours.\nimagecache:1:")
    assert recorded(damaged.description) == WANTED
    other = record.pack(contents(cached("gcr.io/p/other:v1")), "One image.").description
    assert adoption(describe(other), HELD, "amd64", rewrite=False).description is None
    rewritten = adoption(describe(other), HELD, "amd64", rewrite=True).description
    assert rewritten is not None
    assert (rewritten.splitlines()[0], recorded(rewritten)) == ("One image.", WANTED)
    newer = describe("One.\nimagecache:7:AAAA\n")
    assert adoption(newer, HELD, "amd64", rewrite=True).description is None


def test_where_the_owners_words_leave_no_room_that_is_said() -> None:
    with pytest.raises(BadUsage, match="description of 1990 bytes leaves no room"):
        adoption(describe("x" * 1990), HELD, "amd64", rewrite=False)
    many = contents(*(cached(f"gcr.io/p/{'x' * 50}{n}:v1", size=n) for n in range(200)))
    change = adoption(describe("x" * 1000), many, "amd64", rewrite=False)
    assert change.description is not None
    assert len(change.description.encode()) <= record.DESCRIPTION_LIMIT
    assert change.left_out
