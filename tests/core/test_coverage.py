from __future__ import annotations

import pytest

from kubectl_imagecache.core.coverage import cold_start, coverage, measured_pulls, ratio
from kubectl_imagecache.core.pulls import Pull
from kubectl_imagecache.core.report import Basis, ColdStart, Coverage, Match, Share, UseMatch
from tests.core.factories import NOW, use


def a_match(
    match: Match, size: int | None = None, *, nodes: int = 1, have: int | None = None, ref: str = "a:v1"
) -> UseMatch:
    return UseMatch(use(ref, nodes=nodes), match, compressed=size, bytes_cached=have)


def test_coverage_counts_images_bytes_and_pulls() -> None:
    found = coverage(
        [
            a_match(Match.CACHED, 100, nodes=4),
            a_match(Match.PARTLY, 200, nodes=1, have=50),
            a_match(Match.MISSING, None, nodes=5),
            a_match(Match.IGNORED, 999),
            a_match(Match.UNKNOWN, 999),
        ]
    )
    assert found == Coverage(Share(1, 3), Share(150, 300), Share(4, 10), unknown_sizes=1)


def test_nothing_compared_has_no_coverage() -> None:
    assert coverage([a_match(Match.UNKNOWN, 5), a_match(Match.IGNORED, 5)]) is None


def test_a_missing_image_of_unknown_size_is_not_hidden_by_bytes() -> None:
    found = coverage([a_match(Match.CACHED, 100), a_match(Match.MISSING, None)])
    assert found is not None
    assert found.bytes.ratio == 1.0
    assert ratio(found) == 0.5


def test_a_cold_start_weighs_images_by_the_nodes_that_run_them() -> None:
    matches = [a_match(Match.MISSING, 100, nodes=1), a_match(Match.MISSING, 100, nodes=4, ref="b:v1")]
    assert cold_start(matches, 4, {}, 10.0) == ColdStart(12.5, Basis.ESTIMATED, 10.0)


def test_measured_pulls_are_believed_before_sizes() -> None:
    matches = [a_match(Match.MISSING, 100, ref="a:v1"), a_match(Match.PARTLY, 100, have=40, ref="b:v1")]
    measured = {"docker.io/library/a:v1": 33.0}
    assert cold_start(matches, 1, measured, 10.0) == ColdStart(39.0, Basis.MIXED, 10.0)
    assert cold_start(matches[:1], 1, measured, 10.0) == ColdStart(33.0, Basis.MEASURED, 10.0)


def test_what_has_neither_pull_nor_size_is_said() -> None:
    assert cold_start([a_match(Match.MISSING)], 1, {}, 10.0) == ColdStart(0.0, Basis.ESTIMATED, 10.0, 1)


def test_a_covered_pool_loses_nothing() -> None:
    assert cold_start([a_match(Match.CACHED, 100)], 1, {}, 10.0) is None


def test_only_the_pools_own_pulls_are_measured() -> None:
    def pull(node: str, seconds: float, image: str = "a:v1") -> Pull:
        return Pull(image, seconds, seconds, None, node, NOW)

    pulls = [pull("n1", 10), pull("n2", 30), pull("n3", 20), pull("other", 500), pull("n1", 9, "NOT A REF")]
    nodes = {"n1": "pool", "n2": "pool", "n3": "pool", "other": "else"}
    assert measured_pulls(pulls, nodes, "pool") == {"docker.io/library/a:v1": pytest.approx(20.0)}
