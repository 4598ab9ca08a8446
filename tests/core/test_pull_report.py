from __future__ import annotations

import itertools
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.pull_findings import (
    DiskMissed,
    Failing,
    FasterBy,
    FirstDiskSlow,
    FirstSlower,
    MostTime,
    QueueLonger,
    SlowNode,
    SlowStart,
    StillPulling,
)
from kubectl_imagecache.core.pull_ledger import ImagePull, Ledger, OpenPull, Trouble
from kubectl_imagecache.core.pull_methods import Method, Sureness, Turn, judge
from kubectl_imagecache.core.pull_records import LayersRecord, Record
from kubectl_imagecache.core.pull_report import Origin, PullReport, decide
from kubectl_imagecache.core.pull_starts import StartTime
from kubectl_imagecache.core.pull_stats import By, MethodCount, Spread, spread
from tests.core.pull_factories import DISK, IMAGE, SIZE, event, ledger, node, pod, present, pulled

NOW = datetime.fromtimestamp(5000, timezone.utc)
ORIGIN = Origin("projects/p/locations/l/clusters/c", "ctx", "live", NOW)
SMALL = "docker.io/library/redis:7"


def report(*records: Record, by: By = By.POOL, pools: tuple[str, ...] = (), since: float | None = None) -> PullReport:
    return decide(ledger(records, since), ORIGIN, by, pools)


def methods(*records: Record) -> list[tuple[Method, Sureness, Turn]]:
    return [(one.method, one.sure, one.turn) for one in judge(ledger(records))]


def test_pull_and_queue_are_told_apart_to_the_microsecond() -> None:
    found = ledger([pulled("1.536908032s", "3.5s", at=7.0)])
    assert found.pulls == [ImagePull(IMAGE, "n1", "default/web-1", "main", 7.0, 1.536908032, 1.963092, SIZE)]


def test_an_old_kubelets_time_says_nothing_of_the_queue() -> None:
    found = ledger([event("Pulled", f'Successfully pulled image "{IMAGE}" in 4.5s')])
    assert (found.pulls[0].seconds, found.pulls[0].queue_s) == (4.5, None)


def test_the_same_event_read_twice_is_one_pull() -> None:
    once = pulled()
    assert len(ledger([once, once]).pulls) == 1


def test_a_repeated_event_counts_as_often_as_it_says() -> None:
    found = ledger([present(uid="u", count=2), present(uid="u", count=5), present(uid="u", count=5)])
    assert [pull.count for pull in found.pulls] == [5]


def test_images_are_normalised_and_odd_ones_kept_as_they_are() -> None:
    found = ledger([pulled(image="redis:7"), pulled(image="No Reference!")])
    assert [pull.image for pull in found.pulls] == [SMALL, "No Reference!"]


def test_unknown_words_are_counted_with_a_sample() -> None:
    found = report(event("Pulled", "Image x was there all along", count=3))
    assert (found.unknown, found.unknown_samples) == (3, ("Pulled: Image x was there all along",))


def test_failures_and_back_offs_are_gathered_with_the_latest_reason() -> None:
    found = report(
        node(),
        event("Failed", 'Failed to pull image "a/b:1": timeout', at=10.0),
        event("Failed", 'Failed to pull image "a/b:1": not found', at=20.0),
        event("BackOff", 'Back-off pulling image "a/b:1"', at=30.0, count=7),
        event("Failed", "Error: ErrImagePull"),
    )
    name = "docker.io/a/b:1"
    assert found.troubles == (Trouble(name, "n1", 2, 7, 0, "not found", 30.0, "plain"),)
    assert found.findings == (Failing(name, 1, 2, 7, 0, "not found"),)
    assert (found.groups[0].key, found.groups[0].failed, found.groups[0].back_offs) == ("plain", 2, 7)


def test_other_namespaces_do_not_count_but_events_about_nodes_do() -> None:
    made = Ledger(counts=lambda namespace: namespace == "mine")
    made.add(event("Pulled", f'Container image "{IMAGE}" already present on machine', namespace="other"))
    made.add(event("ImageStreaming", f"Image {IMAGE} is backed by image streaming.", node="n1", namespace="default"))
    assert (made.pulls, made.streamed) == ([], {(IMAGE, "n1")})


def test_events_about_the_image_on_the_node_are_observations() -> None:
    streamed = event("ImageStreaming", f"Image {IMAGE} is backed by image streaming.")
    cached = event("SecondaryDiskCachin", f"Image {IMAGE} is backed by secondary disk cache.")
    assert methods(node(), pulled(), streamed) == [(Method.STREAMING, Sureness.OBSERVED, Turn.FIRST)]
    assert methods(node(), pulled(), streamed, cached) == [(Method.CACHE_DISK, Sureness.OBSERVED, Turn.FIRST)]


@pytest.mark.parametrize(
    ("layers", "disk", "streaming", "method"),
    [
        (27, 27, 0, Method.CACHE_DISK),
        (27, 20, 7, Method.CACHE_DISK),
        (27, 7, 20, Method.STREAMING),
        (27, 3, 4, Method.REGISTRY),
        (4, 2, 2, Method.STREAMING),
    ],
)
def test_the_snapshotters_log_decides_by_most_layers(layers: int, disk: int, streaming: int, method: Method) -> None:
    line = LayersRecord(IMAGE, "n1", 5.0, layers, disk, streaming)
    assert methods(node(disk=True, streaming=True), pulled(), line) == [(method, Sureness.OBSERVED, Turn.FIRST)]


@pytest.mark.parametrize(
    ("labels", "seconds", "image", "method"),
    [
        ({}, "0.2s", IMAGE, Method.REGISTRY),
        ({"streaming": True}, "53s", IMAGE, Method.STREAMING),
        ({"streaming": True}, "0.4s", IMAGE, Method.STREAMING),
        ({"streaming": True}, "0.4s", SMALL, Method.REGISTRY),
        ({"streaming": True, "disk": True}, "0.4s", SMALL, Method.CACHE_DISK),
        ({"streaming": True, "disk": True}, "2s", IMAGE, Method.CACHE_DISK),
        ({"streaming": True, "disk": True}, "43s", IMAGE, Method.STREAMING),
        ({"streaming": True, "disk": True}, "43s", SMALL, Method.REGISTRY),
    ],
)
def test_without_observations_labels_time_and_size_decide(
    labels: dict[str, bool], seconds: str, image: str, method: Method
) -> None:
    on = node(disk=labels.get("disk", False), streaming=labels.get("streaming", False))
    assert methods(on, pulled(seconds, image=image)) == [(method, Sureness.INFERRED, Turn.FIRST)]


def test_first_later_and_repeated_pulls_are_told_apart() -> None:
    found = methods(
        node("n1"),
        node("n2"),
        node("n3", "other"),
        pulled("40s", node="n2", at=2.0),
        pulled("55s", node="n1", at=1.0),
        pulled("0.3s", node="n1", at=3.0),
        pulled("40s", node="n3", at=4.0),
        present(node="n2", at=5.0),
        pulled("41s", node="n2", at=6.0),
    )
    inferred = Sureness.INFERRED
    assert found == [
        (Method.REGISTRY, inferred, Turn.FIRST),
        (Method.REGISTRY, inferred, Turn.LATER),
        (Method.NODE_STORE, inferred, Turn.AGAIN),
        (Method.REGISTRY, inferred, Turn.FIRST),
        (Method.NODE_STORE, Sureness.OBSERVED, Turn.AGAIN),
        (Method.REGISTRY, inferred, Turn.AGAIN),
    ]


def test_what_is_too_old_does_not_count_but_is_remembered() -> None:
    found = report(node("n1"), node("n2"), pulled(node="n1", at=10.0), pulled(node="n2", at=100.0), since=50.0)
    assert [(one.pull.node, one.turn) for one in found.pulls] == [("n2", Turn.LATER)]


def test_a_group_sums_up_its_pulls() -> None:
    (group,) = report(
        node("n1"),
        node("n2"),
        pulled("55s", "57s", node="n1", pod="a", at=1.0),
        pulled("43s", node="n2", pod="b", at=2.0),
        pulled("1s", image=SMALL, size=None, node="n2", pod="b", at=3.0),
        present(node="n1", pod="c", at=4.0, count=3),
    ).groups
    assert (group.key, group.pulls, group.present, group.nodes) == ("plain", 3, 3, 2)
    assert group.seconds == Spread(3, 43.0, 52.6, 55.0)
    assert (group.first, group.later) == (Spread(2, 28.0, 49.6, 55.0), Spread(1, 43.0, 43.0, 43.0))
    assert group.queue == Spread(3, 0.0, 1.6, 2.0)
    assert (group.size, group.sized, group.rate) == (2 * SIZE, 2, 2 * SIZE / 98)
    assert group.methods == (MethodCount(Method.NODE_STORE, 3, 3), MethodCount(Method.REGISTRY, 3, 0))


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        (By.POOL, ["plain", ""]),
        (By.NODE, ["n1", "gone"]),
        (By.IMAGE, [IMAGE, SMALL]),
        (By.METHOD, ["registry"]),
    ],
)
def test_rows_are_what_was_asked_for_the_longest_first(by: By, keys: list[str]) -> None:
    found = report(node(), pulled("9s"), pulled("3s", image="redis:7", node="gone"), by=by)
    assert [group.key for group in found.groups] == keys


def test_a_pool_is_picked_out() -> None:
    found = report(node("n1", "a"), node("n2", "b"), pulled(node="n1"), pulled(node="n2"), pools=("b",))
    assert [one.pull.node for one in found.pulls] == ["n2"]


def test_a_start_is_split_into_provision_pull_and_the_rest() -> None:
    found = report(
        node("n1", "cached", disk=True, created=100.0, ready=130.0),
        pod(created=90.0, scheduled=131.0, ready=180.0),
        pulled("40s", "42s", at=175.0),
        pulled("1s", image=SMALL, at=176.0),
    )
    assert found.starts == (
        StartTime(
            "default/web-1", "n1", "cached", IMAGE, Method.REGISTRY, Turn.FIRST, 31.0, 43.0, 6.0, True
        ),
    )  # fmt: skip
    starts = found.groups[0].starts
    assert starts is not None and (starts.pods, starts.provision_s, starts.pull_s, starts.start_s) == (1, 31, 43, 6)


@pytest.mark.parametrize(
    ("created", "scheduled"),
    [
        (140.0, 141.0),  # Came when the node was Ready.
        (90.0, 400.0),  # Did not go to this node when it was Ready.
    ],
)
def test_a_pod_that_did_not_wait_for_its_node_has_no_provision(created: float, scheduled: float) -> None:
    late = pod(created=created, scheduled=scheduled, ready=450.0)
    found = report(node(created=100.0, ready=130.0), late, pulled("1s", at=449.0))
    assert [start.provision_s for start in found.starts] == [None]


def test_restarted_pods_and_their_namesakes_tell_nothing_of_a_start() -> None:
    restarted = report(node(), pod(created=1.0, scheduled=2.0, ready=9.0, restarts=1), pulled("1s", at=5.0))
    namesake = report(node(), pod(created=100.0, scheduled=101.0, ready=103.0), pulled("1s", at=5.0))
    assert (restarted.starts, namesake.starts) == ((), ())


def test_a_pull_that_never_ended_is_said() -> None:
    found = report(
        event("Pulling", f'Pulling image "{IMAGE}"', pod="stuck", at=4000.0),
        event("Pulling", f'Pulling image "{IMAGE}"', pod="done", at=10.0),
        pulled("1s", pod="done", at=11.0),
    )
    assert found.findings == (StillPulling(1, OpenPull(IMAGE, "n1", "default/stuck", 4000.0), 1000.0),)


def test_an_image_that_comes_by_two_ways_is_compared() -> None:
    found = report(
        node("n1"), node("n2", "cached", disk=True), pulled("44s", node="n1"), pulled("0.4s", node="n2")
    ).findings  # fmt: skip
    assert found == (FasterBy(IMAGE, Method.CACHE_DISK, 0.4, Method.REGISTRY, 44.0),)


def test_what_a_cache_disk_lacks_is_said() -> None:
    found = report(node("n1", "cached", disk=True), pulled("40s", image="quay.io/a/b:1")).findings
    assert found == (DiskMissed("cached", "quay.io/a/b:1", 1, 40.0, Method.REGISTRY),)


def test_one_image_that_takes_most_of_the_time_is_said() -> None:
    found = report(node(), pulled("40s"), pulled("10s", image="redis:7", pod="r")).findings
    assert found == (MostTime("plain", IMAGE, 1, 40.0, 0.8),)


def test_a_slower_first_pull_is_said() -> None:
    nodes = [node(f"n{n}") for n in range(3)]
    pulls = [pulled(f"{55 - 10 * min(n, 1)}s", node=f"n{n}", at=float(n)) for n in range(3)]
    assert report(*nodes, *pulls).findings == (FirstSlower("plain", IMAGE, Method.REGISTRY, 55.0, 45.0),)


def test_a_queue_longer_than_the_pulls_is_said() -> None:
    images = [f"quay.io/a/b{n}:1" for n in range(4)]
    found = report(node(), *(pulled("2s", f"{2 + 10 * n}s", image=i, pod=i) for n, i in enumerate(images))).findings
    assert found == (QueueLonger("plain", 20.0, 2.0, 3, 4),)


def test_one_slow_node_is_said() -> None:
    nodes = [node(f"n{n}") for n in range(6)]
    pulls = [pulled("90s" if n == 4 else "10s", node=f"n{n}", at=float(n)) for n in range(6)]
    assert report(*nodes, *pulls).findings == (SlowNode("n4", "plain", IMAGE, 90.0, 10.0),)


def test_a_fast_pull_that_starts_slowly_is_said() -> None:
    found = report(
        node("n1", created=0.0, ready=1.0),
        node("n2", "streaming", streaming=True, created=0.0, ready=1.0),
        pulled("40s", node="n1", pod="a", at=140.0),
        pulled("0.5s", node="n2", pod="b", at=101.0),
        pod("a", on="n1", created=99.0, scheduled=100.0, ready=145.0),
        pod("b", on="n2", created=99.0, scheduled=100.0, ready=130.0),
    ).findings
    assert SlowStart(IMAGE, Method.STREAMING, 29.5, 0.5, Method.REGISTRY, 5.0, 40.0) in found


def test_the_first_disk_of_an_image_in_a_zone_is_told_apart() -> None:
    records: list[Record] = []
    for n, (created, ready) in enumerate([(0.0, 90.0), (100.0, 130.0), (200.0, 231.0)]):
        records.append(node(f"n{n}", "cached", disk=True, created=created, ready=ready))
        records.append(pod(f"p{n}", on=f"n{n}", created=created, scheduled=ready, ready=ready + 2))
        records.append(pulled("0.4s", node=f"n{n}", pod=f"p{n}", at=ready + 1))
    found = report(*records)
    assert [start.first_disk for start in found.starts] == [True, False, False]
    assert found.findings == (FirstDiskSlow("cached", 90.0, 30.5),)
    assert DISK.name == "models-2026-01"


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=60))
def test_a_spread_lies_within_its_values_and_in_order(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert min(values) - 1e-6 <= found.p50 <= found.p90 + 1e-6 <= found.most + 2e-6
    assert (found.count, found.most) == (len(values), max(values))


@given(st.permutations([pulled("55s", node="n1", at=1.0), pulled("43s", node="n2", at=2.0), node("n1"), node("n2")]))
def test_the_order_of_reading_does_not_matter(records: list[Record]) -> None:
    assert [(one.turn, one.pool) for one in judge(ledger(records))] == [(Turn.FIRST, "plain"), (Turn.LATER, "plain")]


def test_a_second_pull_of_a_container_is_open_although_the_first_one_ended() -> None:
    ended = event("Pulled", f'Successfully pulled image "{IMAGE}" in 2s', at=10.0)
    again = event("Pulling", f'Pulling image "{IMAGE}"', at=20.0)
    first = event("Pulling", f'Pulling image "{IMAGE}"', at=8.0)
    for order in itertools.permutations((first, ended, again)):
        assert [pull.began for pull in ledger(order).open_pulls()] == [20.0]
