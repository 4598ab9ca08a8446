from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core.bench import BenchNode, BenchPlan, Sample
from kubectl_imagecache.core.bench_pools import PoolFacts
from kubectl_imagecache.core.bench_report import BenchReport, Skipped, Stat, pull_report, report, stat
from kubectl_imagecache.core.probe import Found, Outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness, Turn
from kubectl_imagecache.core.pull_report import Origin

ORIGIN = Origin("c", "ctx", "live", datetime(2026, 1, 15, tzinfo=timezone.utc))
PLAN = BenchPlan("docker.io/library/nginx:1", ("plain", "cached"), nodes=3)
FACTS = (PoolFacts("plain"), PoolFacts("cached"))


def pull(pool: str, attempt: int, seconds: float, method: Method, **more: object) -> Sample:
    outcome = Outcome(
        Found.PULLED, f"{pool}-{attempt}", seconds, 0.0, 2_000_000_000, seconds + 1, method, Sureness.OBSERVED
    )
    return Sample(pool, attempt, outcome, **more)  # type: ignore[arg-type] # the factory of a test


PLAIN = tuple(pull("plain", n, s, Method.REGISTRY) for n, s in enumerate((55.0, 42.0, 44.0)))
CACHED = tuple(pull("cached", n, s, Method.CACHE_DISK) for n, s in enumerate((0.5, 0.4, 0.4)))


def reported(*samples: Sample, having: tuple[BenchNode, ...] = ()) -> BenchReport:
    return report(ORIGIN, PLAN, "lab", "r1", FACTS, samples, having=having)


def test_first_and_later_pulls_have_their_spread_and_their_ratio_to_the_registry() -> None:
    plain, cached = reported(*PLAIN, *CACHED).pools
    assert (plain.method, plain.sure, plain.pulls, plain.size) == (
        Method.REGISTRY,
        Sureness.OBSERVED,
        3,
        2_000_000_000,
    )
    assert plain.first == Stat(1, 55.0, 55.0, 55.0, 55.0, 55.0)
    assert plain.later == Stat(2, 43.0, 42.0, 42.5, 43.5, 44.0)
    assert plain.running_later == Stat(2, 44.0, 43.0, 43.5, 44.5, 45.0)
    assert (plain.ratio_first, plain.ratio_later) == (1.0, 1.0)
    assert (cached.ratio_first, cached.ratio_later) == (110.0, 107.5)
    assert cached.ratio_running == pytest.approx(44.0 / 1.4, abs=1e-3)


def test_without_a_registry_there_is_nothing_to_compare_with() -> None:
    found = reported(*CACHED)
    assert (found.baseline, found.pools[1].ratio_later) == ("", None)
    assert (found.pools[0].method, found.pools[0].later, found.pools[0].sure) == (None, None, None)


def test_what_measured_nothing_is_told_and_not_counted() -> None:
    there = Sample("plain", 0, Outcome(Found.PRESENT, "plain-9"))
    failed = Sample("plain", 1, Outcome(Found.FAILED, "plain-8", why="no such image"))
    known = BenchNode("plain-7", "plain", has_image=True)
    plain = reported(there, failed, having=(known, BenchNode("plain-9", "plain", has_image=True))).pools[0]
    assert plain.pulls == 0
    assert plain.skipped == (
        Skipped("plain-7", Found.PRESENT, "its status names the image"),
        Skipped("plain-9", Found.PRESENT, ""),
        Skipped("plain-8", Found.FAILED, "no such image"),
    )


def test_the_way_is_that_of_later_pulls() -> None:
    # GKE may need the first pull itself to get an image ready for streaming.
    first, later = pull("plain", 0, 53.0, Method.REGISTRY), pull("plain", 1, 0.5, Method.STREAMING)
    assert reported(first, later).pools[0].method is Method.STREAMING


def test_relatives_and_retries_are_counted() -> None:
    retried = Sample("plain", 1, Outcome(Found.PULLED, "n", 3.0, failures=1, method=Method.REGISTRY))
    plain = reported(pull("plain", 0, 40.0, Method.REGISTRY, kin=True), retried).pools[0]
    assert (plain.kin, plain.retried) == (1, 1)


def test_plots_are_made_of_the_pulls_that_count() -> None:
    found = pull_report(reported(*PLAIN, Sample("plain", 9, Outcome(Found.PRESENT, "n")), *CACHED))
    assert [(one.pool, one.pull.seconds, one.turn) for one in found.pulls][:2] == [
        ("plain", 55.0, Turn.FIRST),
        ("plain", 42.0, Turn.LATER),
    ]
    assert [(group.key, group.pulls) for group in found.groups] == [("plain", 3), ("cached", 3)]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_spread_is_in_order(values: list[float]) -> None:
    found = stat(values)
    assert found is not None
    assert found.count == len(values)
    assert min(values) == found.least <= found.most == max(values)
    assert found.low <= found.median <= found.high


def test_nothing_has_no_spread() -> None:
    assert stat([None]) is None
