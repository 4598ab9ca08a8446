from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, Layer, short_digest
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.plan import (
    AbsentImage,
    BuildPlan,
    Change,
    Output,
    PlannedImage,
    RegistryLogin,
    Room,
    Vm,
    Wanted,
    arrange,
    check_labels,
    check_name,
    content_hash,
    disk_image_name,
    size_gb,
)
from kubectl_imagecache.core.plan_json import document_of, from_json, to_json
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.prices import Prices, cost, with_prices
from kubectl_imagecache.core.references import parse
from tests.core.factories import cached, contents, digest
from tests.schemas import follow

GIB = 2**30
ROOM = Room(headroom=1.0)


def wanted(ref: str, seed: str | None = None, *, layers: dict[str, int] | None = None, nodes: int = 1) -> Wanted:
    """LAYERS: unpacked GiB by letter; compressed is half of it."""
    made = tuple(Layer(digest(k), size * GIB // 2, size * GIB) for k, size in (layers or {"base": 1}).items())
    of = digest(seed or ref)
    return Wanted(parse(ref), of, ImageFacts(frozenset({of, digest(f"manifest of {of}")}), made, "linux/amd64"), nodes)


def plan_of(*images: Wanted, present: Contents | None = None, room: Room = ROOM, **more: object) -> BuildPlan:
    found, absent, size = arrange(images, present, room)
    output = Output(DiskImageRef("a-project", "cache-1"), "family", (("team", "ml"),), "eu")
    vm = Vm("a-project", "europe-west4-a", tags=("nat",))
    plan = BuildPlan(found, absent, "amd64", size, output, vm, "pool", 3, (RegistryLogin("docker.io"),))
    return replace(plan, **more)  # type: ignore[arg-type]


def changes(plan: BuildPlan) -> dict[str, Change]:
    everything: list[PlannedImage | AbsentImage] = [*plan.images, *plan.absent]
    return {a.ref.familiar: a.change for a in everything}


def test_images_are_kept_added_moved_and_dropped() -> None:
    held = contents(cached("a:1"), cached("b:1", "old b"), cached("gone:1"))
    plan = plan_of(wanted("a:1"), wanted("b:1", "new b"), wanted("c:1"), present=held)
    assert changes(plan) == {"a:1": Change.KEPT, "b:1": Change.MOVED, "c:1": Change.NEW, "gone:1": Change.DROPPED}
    moved = next(image for image in plan.images if image.change is Change.MOVED)
    assert (moved.was, moved.digest) == (digest("old b"), digest("new b"))


def test_an_image_is_kept_if_the_compact_record_shows_the_beginning_of_its_digest() -> None:
    held = contents(CachedImage(parse("a:1"), short_digest(digest("a:1"))))
    assert changes(plan_of(wanted("a:1"), present=held)) == {"a:1": Change.KEPT}


def test_what_does_not_fit_is_left_out_and_said() -> None:
    small, large = wanted("small:1", layers={"s": 2}, nodes=9), wanted("large:1", layers={"l": 40})
    plan = plan_of(small, large, room=Room(1.0, max_disk_gb=20))
    assert changes(plan) == {"small:1": Change.NEW, "large:1": Change.LEFT_OUT}
    assert [(a.why, a.compressed) for a in plan.absent] == [("no room on 20 GiB", 20 * GIB)]


def test_layers_that_images_share_count_once_in_the_size() -> None:
    one, two = wanted("one:1", layers={"base": 20, "x": 1}), wanted("two:1", layers={"base": 20, "y": 1})
    assert plan_of(one, two).disk_size_gb == size_gb((Layer("", None, 22 * GIB),), 1.0) == 24


def test_nothing_wanted_or_nothing_that_fits_is_refused() -> None:
    with pytest.raises(BadUsage, match="nothing to put"):
        arrange([], None, ROOM)
    with pytest.raises(BadUsage, match="no image fits on a disk of 10 GiB") as caught:
        arrange([wanted("a:1", layers={"a": 40})], None, Room(1.0, disk_gb=10))
    assert caught.value.hint == "the smallest needs 42 GiB"


def test_the_hash_tells_contents_and_not_where_they_are_built() -> None:
    plan = plan_of(wanted("a:1"), wanted("b:1"))
    elsewhere = replace(plan, vm=replace(plan.vm, zone="us-east1-b"), output=replace(plan.output, family="other"))
    turned = content_hash(tuple(reversed(plan.images)), "amd64", plan.disk_size_gb, True)
    assert plan.hash == elsewhere.hash == turned
    assert plan.build != elsewhere.build
    assert plan.hash != replace(plan, disk_size_gb=99).hash
    assert plan.hash != plan_of(wanted("a:1", "moved"), wanted("b:1")).hash


def test_a_plan_comes_back_as_it_was_saved_and_follows_its_schema() -> None:
    held = contents(cached("b:1", "old b"), cached("gone:1", size=5))
    plan = plan_of(wanted("a:1"), wanted("b:1", "new b"), present=held, prices=Prices(vm_hour=1.5))
    follow("build-plan-v1", document_of(plan))
    assert from_json(to_json(plan), "plan.json") == plan


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "Other"}, "is no build plan: its kind is not BuildPlan"),
        ({"apiVersion": "imagecache/v2"}, "is no build plan: its apiVersion is not imagecache/v1"),
        ({"extra": 1}, "is no build plan: unknown fields extra"),
        ({"diskSizeGb": 99}, "was changed: its hash is not that of its images"),
        ({"diskSizeGb": True}, "is no build plan: a number from 1 to 65536"),
        ({"rateBytesPerSecond": 0}, "is no build plan: a rate below 1"),
        ({"images": []}, "is no build plan: it has no images"),
        ({"arch": "s390x"}, "is no build plan: unknown architecture"),
        ({"vm": {}}, "is no build plan: fields missing or unknown"),
        ({"output": {"diskImage": "x"}}, "is no build plan: "),
    ],
)
def test_a_plan_that_is_not_exactly_one_is_refused(change: dict[str, object], why: str) -> None:
    document = document_of(plan_of(wanted("a:1"))) | change
    with pytest.raises(BadUsage) as caught:
        from_json(json.dumps(document), "plan.json")
    assert caught.value.message.startswith(f"plan.json {why}")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"kind": "BuildPlan"}', "[" * 100_000])
def test_what_is_no_json_object_is_no_plan(text: str) -> None:
    with pytest.raises(BadUsage, match="is no build plan"):
        from_json(text, "plan.json")


def test_hostile_names_in_a_plan_are_refused() -> None:
    document = document_of(plan_of(wanted("a:1")))
    for zone in ("a;reboot", "$(id)", "a b", "\x1b[31m"):
        bad = document | {"vm": document["vm"] | {"zone": zone}}
        with pytest.raises(BadUsage, match="has characters that no name has"):
            from_json(json.dumps(bad), "plan.json")


@given(st.text(max_size=80), st.integers(0, 99))
def test_names_by_rule_are_always_legal(base: str, taken: int) -> None:
    name = disk_image_name(base, digest("x")[7:47], taken)
    assert check_name(name) == name


def test_a_name_that_a_node_label_can_not_hold_is_refused_with_the_reason() -> None:
    with pytest.raises(BadUsage) as caught:
        check_name("a" * 40)
    assert caught.value.hint == "GKE puts it into a node label, whose name has at most 63"
    with pytest.raises(BadUsage, match="not a disk image name"):
        check_name("Under_score")


def test_labels_are_checked_and_ours_are_ours() -> None:
    assert check_labels({"b": "2", "a": "1"}) == (("a", "1"), ("b", "2"))
    for labels in ({"A": "1"}, {"a": "é"}, {"a": "x" * 64}, {"imagecache-plan": "x"}, {f"l{n}": "" for n in range(51)}):
        with pytest.raises(BadUsage):
            check_labels(labels)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1), st.integers(10, 120))
def test_the_disk_is_never_larger_than_the_limit_and_holds_what_is_planned(sizes: dict[str, int], most: int) -> None:
    images = [wanted(f"{name}:1", layers={name: size, "base": 3}) for name, size in sizes.items()]
    try:
        plan = plan_of(*images, room=Room(1.1, max_disk_gb=most))
    except BadUsage:
        assert all(size_gb(image.facts.layers, 1.1) > most for image in images)
        return
    assert 10 <= plan.disk_size_gb <= most
    assert set(changes(plan)) == {image.ref.familiar for image in images}
    assert sum(layer.unpacked or 0 for layer in plan.layers.values()) <= plan.disk_size_gb * GIB


def test_prices_are_stated_and_can_be_told() -> None:
    prices = with_prices(Prices(), ["vm-hour=3600", "node-disk-gib-month=1"])
    found = cost(prices, compressed=GIB, rate=GIB / 20, disk_gb=50, nodes=4)
    assert round(found.build) == 200
    assert (found.image_month, found.nodes_month) == (0.05, 200)
    for text in ("vm-hour", "vm-hour=x", "vm-hour=-1", "vm-hour=nan", "other=1"):
        with pytest.raises(BadUsage, match="not a price"):
            with_prices(Prices(), [text])
