from __future__ import annotations

from kubectl_imagecache.core.compare import Known, compare
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.coverage import coverage
from kubectl_imagecache.core.demand import ImageUse
from kubectl_imagecache.core.pools import DiskImageRef, DiskState
from kubectl_imagecache.core.reasons import (
    DiskImageDeprecated,
    DiskImageUnusable,
    ImageStreamingOff,
    NewerInFamily,
    NoRecord,
    Reason,
    RecordUnreadable,
)
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.report import Policy, Suggestion
from kubectl_imagecache.core.suggest import disk_size_gb, suggest
from kubectl_imagecache.core.verdict import image_reasons, verdict
from tests.core.factories import DISK, cached, contents, demand, digest, layer_list, pool, use

GB = 10**9


def suggestion(
    held: Contents | None, *uses: ImageUse, other: tuple[Reason, ...] = (), known: Known | None = None
) -> Suggestion | None:
    known = known or Known(sizes={u.digest: 2 * GB for u in uses})
    matches, unused = compare(demand(*uses), held, known, Policy())
    found = verdict(pool(), [*image_reasons(matches, unused), *other], coverage(matches), Policy())
    return suggest(pool(), found, matches, unused, known)


def test_a_fresh_pool_needs_nothing() -> None:
    assert suggestion(contents(cached("a:v1")), use("a:v1")) is None


def test_a_rebuild_says_what_it_adds_drops_and_keeps() -> None:
    held = contents(cached("a:v1"), cached("b:v1"), cached("old:v1"), cached("c:v1", "old"))
    found = suggestion(held, use("a:v1"), use("b:v2"), use("c:v1", "new"), use("d:v1"))
    assert found is not None
    assert found.argv == ("rebuild", "pool")
    assert found.adds == (parse("b:v2"), parse("c:v1"), parse("d:v1"))
    assert found.drops == (parse("b:v1"), parse("old:v1"))
    assert found.keeps == 1
    assert found.disk_size_gb == disk_size_gb([], [2 * GB] * 4) == 20


def test_the_size_is_unknown_if_one_image_is() -> None:
    found = suggestion(contents(), use("a:v1"), use("b:v1"), known=Known(sizes={digest("a:v1"): GB}))
    assert found is not None
    assert found.disk_size_gb is None


def test_a_shared_layer_counts_once_and_no_disk_is_below_ten() -> None:
    assert disk_size_gb([*layer_list("abc"), *layer_list("abd")], []) == 10
    big = disk_size_gb([], [20 * GB])
    assert disk_size_gb([*layer_list("abc")], [20 * GB]) == disk_size_gb(
        [*layer_list("abc"), *layer_list("abc")], [20 * GB]
    )
    assert big == 49


def test_an_unknown_disk_image_is_read_first() -> None:
    found = suggestion(None, use("a:v1"), other=(NoRecord(DISK),))
    assert found is not None
    assert found.argv == ("inspect", "projects/p/global/images/cache-1", "--adopt")


def test_what_breaks_the_pool_comes_before_its_contents() -> None:
    found = suggestion(contents(), use("a:v1"), other=(ImageStreamingOff(),))
    assert found is not None
    assert found.argv == ()
    assert "--enable-image-streaming" in found.advice


def test_a_missing_disk_image_is_built_again() -> None:
    found = suggestion(None, use("a:v1"), other=(DiskImageUnusable(DISK, DiskState.MISSING),))
    assert found is not None
    assert found.argv == ("rebuild", "pool")
    assert found.adds == (parse("a:v1"),)


def test_a_newer_or_a_named_disk_image_is_rolled_to() -> None:
    newer = NewerInFamily(DISK, DiskImageRef("p", "cache-2"), "f")
    found = suggestion(contents(cached("a:v1")), use("a:v1"), other=(newer,))
    assert found == Suggestion(("roll", "pool", "--disk-image", "projects/p/global/images/cache-2"))
    named = DiskImageDeprecated(DISK, "projects/p/global/images/cache-3")
    found = suggestion(contents(cached("a:v1")), use("a:v1"), other=(named,))
    assert found == Suggestion(("roll", "pool", "--disk-image", "projects/p/global/images/cache-3"))


def test_a_record_of_the_future_wants_a_newer_program() -> None:
    found = suggestion(None, use("a:v1"), other=(RecordUnreadable(DISK, "written by a newer version", newer=True),))
    assert found == Suggestion((), "update this program: a newer version wrote the record")
