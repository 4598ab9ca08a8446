from __future__ import annotations

from kubectl_imagecache.render.names import namer, refs_of
from tests.render.factories import TRITON, digest, ref, stale


def test_a_name_is_as_short_as_it_may_be() -> None:
    first, second = ref("a.io/team/app/web:1"), ref("b.io/other/web:1")
    name = namer([first, second, ref(TRITON)])
    assert (name(first), name(second), name(ref(TRITON))) == ("app/web:1", "other/web:1", "triton:24.08")


def test_a_repository_that_is_another_ones_ending_is_written_in_full() -> None:
    inner, outer = ref("docker.io/library/web:1"), ref("a.io/library/web:1")
    name = namer([inner, outer])
    assert (name(inner), name(outer)) == ("docker.io/library/web:1", "a.io/library/web:1")


def test_the_digest_shows_only_where_it_is_needed() -> None:
    one, two = ref("a.io/web:1").at(digest("1")), ref("a.io/web:1").at(digest("2"))
    untagged, pinned = ref(f"a.io/app@{digest('3')}"), ref("a.io/db:5").at(digest("4"))
    name = namer([one, two, untagged, pinned])
    assert name(one) == f"web:1@{digest('1')[7:19]}"
    assert name(untagged) == f"app@{digest('3')[7:19]}"
    assert name(pinned) == "db:5"


def test_every_reference_of_a_report_is_known_to_its_namer() -> None:
    found = {item.familiar.rpartition("/")[2] for item in refs_of([stale()])}
    assert found == {"vllm-server:0.6.3", "vllm-server:0.6.2", "triton:24.08", "envoy:v1.31", "python:3.12"}
