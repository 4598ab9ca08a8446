from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.disk_gc import (
    DEPRECATED_LABEL,
    DiskImageUse,
    GcAction,
    GcPolicy,
    UserKind,
    Why,
    decide_gc,
    replacements,
    without_family,
)
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskState
from kubectl_imagecache.core.views import Gap

NOW = datetime(2026, 1, 15, 9, tzinfo=timezone.utc)
DAY = timedelta(days=1)
ONE = GcPolicy(keep=1)


def ref(name: str) -> DiskImageRef:
    return DiskImageRef("p", name)


def disk_image(name: str, age_days: float, state: DiskState = DiskState.READY, **more: object) -> DiskImage:
    built = DiskImage(
        ref(name),
        state,
        id=f"id-{name}",
        created=NOW - DAY * age_days,
        family="web",
        labels={"imagecache-build": "imagecache-0123456789ab"},
    )
    return replace(built, **more)  # type: ignore[arg-type]


def deprecated(name: str, age_days: float, since_days: float | None) -> DiskImage:
    since = None if since_days is None else NOW - DAY * since_days
    labels = {"imagecache-build": "b"} | ({DEPRECATED_LABEL: str(int(since.timestamp()))} if since else {})
    return disk_image(name, age_days, DiskState.DEPRECATED, deprecated_at=since, labels=labels)


def use(name: str, kind: UserKind = UserKind.POOL, **more: object) -> DiskImageUse:
    return replace(DiskImageUse(ref(name), kind, "c/web"), **more)  # type: ignore[arg-type]


def told(
    images: list[DiskImage], uses: list[DiskImageUse], policy: GcPolicy = ONE, gaps: tuple[Gap, ...] = ()
) -> dict[str, tuple[str, str]]:
    found = decide_gc(images, uses, gaps, policy, NOW)
    return {d.image.ref.name: (d.action.value, d.why.value) for d in found}


def test_the_newest_stay_the_used_stay_and_the_rest_is_deprecated_first() -> None:
    images = [disk_image("a", 1), disk_image("b", 9), disk_image("c", 20), disk_image("d", 30)]
    assert told(images, [use("c")], GcPolicy(keep=2)) == {
        "a": ("keep", "newest"),
        "b": ("keep", "newest"),
        "c": ("keep", "used"),
        "d": ("deprecate", "unused"),
    }


def test_a_deprecated_disk_image_is_deleted_only_when_its_grace_is_over() -> None:
    images = [disk_image("a", 1), deprecated("b", 9, 6.9), deprecated("c", 20, 7)]
    assert told(images, []) == {"a": ("keep", "newest"), "b": ("keep", "in-grace"), "c": ("delete", "grace-over")}


def test_a_deprecation_of_unknown_age_begins_its_grace_now() -> None:
    assert told([disk_image("a", 1), deprecated("b", 9, None)], [])["b"] == ("deprecate", "unused")


def test_what_gc_deprecated_and_is_used_again_is_restored_but_not_what_its_owner_did() -> None:
    theirs = disk_image("b", 9, DiskState.DEPRECATED, deprecated_at=NOW - DAY * 30)
    images = [disk_image("a", 1), theirs, deprecated("c", 20, 30)]
    assert told(images, [use("b"), use("c")]) == {
        "a": ("keep", "newest"),
        "b": ("keep", "used"),
        "c": ("restore", "used"),
    }


def test_without_all_users_read_nothing_is_touched() -> None:
    images = [disk_image("a", 1), disk_image("b", 9), deprecated("c", 20, 30)]
    found = told(images, [], gaps=(Gap("ComputeClasses of cluster c", "not permitted"),))
    assert found == {"a": ("keep", "newest"), "b": ("keep", "users-unread"), "c": ("keep", "users-unread")}


def test_a_family_that_strangers_build_into_must_be_named() -> None:
    images = [disk_image("a", 1), disk_image("b", 9, labels={})]
    assert told(images, []) == {}
    named = GcPolicy(keep=1, families=frozenset({"web"}))
    assert told(images, [], named) == {"a": ("keep", "newest"), "b": ("deprecate", "unused")}


def test_a_template_that_names_the_family_uses_what_the_family_stands_for() -> None:
    images = [deprecated("newest", 1, 30), disk_image("a", 5), disk_image("b", 9)]
    found = decide_gc(images, [use("web", UserKind.TEMPLATE, by_family=True)], (), GcPolicy(keep=1), NOW)
    assert {d.image.ref.name: d.why for d in found} == {"newest": Why.NEWEST, "a": Why.USED, "b": Why.UNUSED}


def test_a_disk_made_of_a_disk_image_of_another_name_now_counts_by_its_id() -> None:
    images = [disk_image("a", 1), disk_image("b", 9)]
    assert told(images, [use("renamed", UserKind.DISK, image_id="id-b")])["b"] == ("keep", "used")


def test_unfinished_disk_images_are_not_gcs_to_judge() -> None:
    images = [disk_image("a", 1), disk_image("b", 9, DiskState.FAILED), disk_image("c", 20, DiskState.PENDING)]
    assert told(images, []) == {
        "a": ("keep", "newest"),
        "b": ("keep", "unfinished"),
        "c": ("keep", "unfinished"),
    }


def test_disk_images_without_a_family_are_left_alone() -> None:
    lonely = disk_image("lonely", 40, family="")
    assert told([lonely, disk_image("a", 1)], []) == {"a": ("keep", "newest")}
    assert without_family([lonely, disk_image("a", 1), disk_image("x", 3, family="", labels={})]) == [lonely]


def test_what_replaces_a_deprecated_disk_image_is_the_newest_usable_one() -> None:
    images = [deprecated("bad", 1, 1), disk_image("a", 5), disk_image("b", 9)]
    assert replacements(decide_gc(images, [], (), GcPolicy(keep=1), NOW)) == {"web": ref("a")}


SHELVES = st.lists(
    st.builds(
        lambda number, age, state, since, family, ours: disk_image(
            f"i{number}",
            age,
            state,
            family=family,
            deprecated_at=None if since is None or state is DiskState.READY else NOW - DAY * since,
            labels={"imagecache-build": "b"} | ({DEPRECATED_LABEL: "1"} if ours else {}),
        ),
        st.integers(0, 99),
        st.floats(0, 60),
        st.sampled_from(DiskState),
        st.none() | st.floats(-3, 60),
        st.sampled_from(["web", "batch", ""]),
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda image: image.ref,
)
USES = st.lists(
    st.builds(
        lambda number, kind, by_family, by_id: use(
            "gone" if by_id else ("web" if by_family else f"i{number}"),
            kind,
            by_family=by_family and not by_id,
            image_id=f"id-i{number}" if by_id else "",
        ),
        st.integers(0, 99),
        st.sampled_from(UserKind),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
)


@given(SHELVES, USES, st.integers(1, 4), st.floats(0, 20), st.booleans())
def test_whatever_there_is_nothing_used_or_new_or_fresh_is_ever_deleted(
    images: list[DiskImage], uses: list[DiskImageUse], keep: int, grace_days: float, unread: bool
) -> None:
    gaps = (Gap("x", "y"),) if unread else ()
    grace = DAY * grace_days
    decisions = decide_gc(images, uses, gaps, GcPolicy(keep, grace), NOW)
    names = {use.image for use in uses if not use.by_family}
    ids = {use.image_id for use in uses if use.image_id}
    for decision in decisions:
        image = decision.image
        family = [i for i in images if i.family == image.family]
        newer = [i for i in family if (i.created, i.ref.name) > (image.created, image.ref.name)]
        if decision.action in (GcAction.DELETE, GcAction.DEPRECATE):
            assert not unread
            assert image.ref not in names and image.id not in ids
            assert len(newer) >= keep
            usable = [i for i in newer if i.state is DiskState.READY]
            assert image.state is not DiskState.READY or len(usable) >= keep
        if decision.action is GcAction.DELETE:
            assert image.state is not DiskState.READY
            assert image.deprecated_at is not None and NOW - image.deprecated_at >= grace
        if decision.action is GcAction.RESTORE:
            assert image.state is DiskState.DEPRECATED and DEPRECATED_LABEL in image.labels
    # What a family stands for stays as it is.
    for family_name in {d.image.family for d in decisions}:
        before = [d for d in decisions if d.image.family == family_name and d.image.state is DiskState.READY]
        assert not before or before[0].action is GcAction.KEEP
    assert [d.image.ref for d in decisions if d.image.family == ""] == []
