from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from kubectl_imagecache.core.contents import UnreadableRecord
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskMode, DiskState, NodeFacts, Pool
from kubectl_imagecache.core.reasons import (
    DemandUnknown,
    DiskImageDeprecated,
    DiskImageNotRead,
    DiskImageRecreated,
    DiskImageUnusable,
    ImageMissing,
    ImageStreamingOff,
    NameTooLong,
    NewerInFamily,
    NodeImageUnsupported,
    NodesWithoutDisk,
    NoRecord,
    NotACache,
    PartlyCached,
    Reason,
    RecordIncomplete,
    RecordUnreadable,
    Unused,
    VersionTooOld,
    WrongArchitecture,
)
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.report import Coverage, Match, Policy, Share, State, UseMatch
from kubectl_imagecache.core.verdict import demand_reasons, disk_reasons, image_reasons, pool_reasons, verdict
from tests.core.factories import DISK, NOW, cached, contents, disk_image, node, pool, use

FULL = Coverage(Share(1, 1), Share(9, 9), Share(1, 1))
HALF = Coverage(Share(1, 2), Share(5, 10), Share(1, 2))
MISSING = ImageMissing(parse("a:v1"), 5, 1, 1)
KNOWN = disk_image(held=contents(cached("a:v1")))


def on_pool(made: Pool, *nodes: NodeFacts) -> list[Reason]:
    return list(pool_reasons(made, nodes))


def on_disk(image: DiskImage | None, *nodes: NodeFacts, newest: DiskImage | None = None) -> list[Reason]:
    families = {(DISK.project, "f"): newest} if newest else {}
    return list(disk_reasons(pool().disks[0], image, families, pool(), nodes or (node(),)))


def test_a_pool_without_a_disk_is_none_whatever_else() -> None:
    assert verdict(pool(mode=None), [], None, Policy()).state is State.NONE


def test_nothing_wrong_is_fresh() -> None:
    assert on_pool(pool(), node()) == []
    assert on_disk(KNOWN) == []
    assert verdict(pool(), [], FULL, Policy()).state is State.FRESH


def test_the_weightiest_reason_decides_and_comes_first() -> None:
    unused, unknown, broken = Unused(parse("b:v1"), 5), NoRecord(DISK), ImageStreamingOff()
    every: list[Reason] = [unused, MISSING, unknown, broken]
    found = verdict(pool(), every, HALF, Policy())
    assert found.state is State.BROKEN
    assert found.reasons == (broken, unknown, MISSING, unused)
    assert verdict(pool(), [unused, MISSING, unknown], HALF, Policy()).state is State.UNKNOWN
    assert verdict(pool(), [unused, MISSING], HALF, Policy()).state is State.STALE
    assert verdict(pool(), [unused], FULL, Policy()).state is State.FRESH


def test_missing_images_above_the_threshold_are_said_but_not_stale() -> None:
    found = verdict(pool(), [MISSING], HALF, Policy(min_coverage=0.5))
    assert (found.state, found.reasons) == (State.FRESH, (MISSING,))
    assert verdict(pool(), [MISSING], HALF, Policy(min_coverage=0.51)).state is State.STALE


def test_the_threshold_excuses_no_other_reason() -> None:
    reasons: list[Reason] = [MISSING, DiskImageDeprecated(DISK, "")]
    assert verdict(pool(), reasons, HALF, Policy(min_coverage=0.1)).state is State.STALE


def test_a_disk_without_the_mode_caches_nothing() -> None:
    assert on_pool(pool(mode=DiskMode.DATA, streaming=False), node()) == [NotACache(DISK)]


def test_image_streaming_must_be_on_where_it_is_known() -> None:
    assert on_pool(pool(streaming=False), node()) == [ImageStreamingOff()]
    assert on_pool(pool(streaming=None), node()) == []


@pytest.mark.parametrize(
    ("image_type", "version", "expected"),
    [
        ("COS_CONTAINERD", "1.28.3-gke.1067000", []),
        ("COS_CONTAINERD", "1.28.3-gke.1066999", [VersionTooOld("1.28.3-gke.1066999", "1.28.3-gke.1067000")]),
        ("COS_CONTAINERD", "1.27.16-gke.2000000", [VersionTooOld("1.27.16-gke.2000000", "1.28.3-gke.1067000")]),
        ("UBUNTU_CONTAINERD", "1.35.0-gke.1403000", []),
        ("UBUNTU_CONTAINERD", "1.34.9-gke.9", [VersionTooOld("1.34.9-gke.9", "1.35.0-gke.1403000")]),
        ("WINDOWS_LTSC_CONTAINERD", "1.35.0-gke.1", [NodeImageUnsupported("WINDOWS_LTSC_CONTAINERD")]),
        ("", "1.20.0-gke.1", []),
    ],
)
def test_node_image_and_version_must_know_cache_disks(image_type: str, version: str, expected: list[Reason]) -> None:
    assert on_pool(pool(image_type=image_type, version=version), node()) == expected


def test_nodes_without_the_label_are_counted() -> None:
    some = on_pool(pool(), node("n1"), node("n2", disk=None), node("n3", disk=DiskImageRef("p", "old")))
    assert some == [NodesWithoutDisk(DISK, 2, 3)]
    assert verdict(pool(), some, None, Policy()).state is State.STALE
    assert verdict(pool(), on_pool(pool(), node(disk=None)), None, Policy()).state is State.BROKEN


def test_names_that_no_label_can_show_are_not_held_against_the_nodes() -> None:
    long = DiskImageRef("p", "x" * 40)
    assert on_pool(pool(disk=long), node(disk=None)) == [NameTooLong(long, 39)]
    assert on_pool(pool(disk=DiskImageRef("p", "x" * 39)), node(disk=DiskImageRef("p", "x" * 39))) == []
    assert on_pool(pool(disk=DiskImageRef("example.com:p", "x")), node(disk=None)) == []


@pytest.mark.parametrize("state", [s for s in DiskState if s not in (DiskState.READY, DiskState.DEPRECATED)])
def test_a_disk_image_that_cannot_be_cloned_breaks_the_cache(state: DiskState) -> None:
    assert DiskImageUnusable(DISK, state) in on_disk(replace(KNOWN, state=state))


def test_a_missing_disk_image_is_not_blamed_for_its_record() -> None:
    assert on_disk(disk_image(DiskState.MISSING)) == [DiskImageUnusable(DISK, DiskState.MISSING)]


def test_a_deprecated_disk_image_names_its_replacement() -> None:
    found = on_disk(replace(KNOWN, state=DiskState.DEPRECATED, replacement="projects/p/global/images/new"))
    assert found == [DiskImageDeprecated(DISK, "projects/p/global/images/new")]


def test_nodes_older_than_their_disk_image_show_that_it_was_made_again() -> None:
    older, younger = node("n1", created=NOW - timedelta(days=1)), node("n2", created=NOW + timedelta(days=1))
    assert on_disk(KNOWN, older, younger) == [DiskImageRecreated(DISK, NOW, 1, 2)]
    elsewhere = node("n1", created=NOW - timedelta(days=1), disk=None)
    assert on_disk(KNOWN, elsewhere) == []


def test_a_fraction_of_a_second_makes_no_node_older_than_its_disk_image() -> None:
    image = replace(KNOWN, created=NOW + timedelta(milliseconds=900))
    assert on_disk(image, node("n1", created=NOW)) == []


def test_a_family_is_followed_forwards_only() -> None:
    newer = disk_image(ref=DiskImageRef("p", "cache-2"), created=NOW + timedelta(days=1))
    older = disk_image(ref=DiskImageRef("p", "cache-0"), created=NOW - timedelta(days=1))
    ours = replace(KNOWN, family="f")
    assert on_disk(ours, newest=newer) == [NewerInFamily(DISK, newer.ref, "f")]
    assert on_disk(ours, newest=older) == []
    assert on_disk(ours, newest=ours) == []
    assert on_disk(KNOWN, newest=newer) == []


def test_the_architecture_is_that_of_the_disk_image_or_of_what_it_holds() -> None:
    assert on_disk(replace(KNOWN, arch="arm64")) == [WrongArchitecture(DISK, "arm64", "amd64")]
    arm = contents(replace(cached("a:v1"), platform="linux/arm64"))
    assert on_disk(disk_image(held=arm)) == [WrongArchitecture(DISK, "arm64", "amd64")]


def test_an_unknown_record_is_told_apart_from_an_unreadable_and_an_incomplete_one() -> None:
    assert on_disk(disk_image()) == [NoRecord(DISK)]
    assert on_disk(replace(disk_image(), contents=UnreadableRecord("w"))) == [RecordUnreadable(DISK, "w")]
    assert on_disk(disk_image(held=contents(complete=False))) == [RecordIncomplete(DISK)]
    assert on_disk(None) == [DiskImageNotRead(DISK)]


def test_demand_that_could_not_be_read_is_unknown() -> None:
    assert list(demand_reasons(pool(), False)) == [DemandUnknown()]
    assert list(demand_reasons(pool(), True)) == []
    assert list(demand_reasons(pool(mode=None), False)) == []


def test_partly_cached_comes_besides_the_reason() -> None:
    match = UseMatch(use("a:v1"), Match.PARTLY, None, 40, 2, 4, 20, reason=MISSING)
    assert list(image_reasons([match], [cached("b:v1", size=7)])) == [
        MISSING,
        PartlyCached(parse("a:v1"), 2, 4, 20, 40),
        Unused(parse("b:v1"), 7),
    ]
