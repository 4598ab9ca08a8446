from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, short_digest
from kubectl_imagecache.core.demand import Constraints, Demand, Unplaced
from kubectl_imagecache.core.errors import NotFound, Unavailable, UserError
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, NodeShape
from kubectl_imagecache.core.reasons import DemandUnknown, DiskImageNotRead, TagMoved
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.core.report import Match, PoolStatus, State, StatusReport
from kubectl_imagecache.core.views import CloudView, Gap, KubeView
from kubectl_imagecache.usecases.status import Options, Sources, status
from tests.core.factories import DISK, MIB, NOW, cached, contents, digest, disk_image, facts, node, pool, use

APP = "gcr.io/p/app:v1"
POOL = pool()


class StoppedClock:
    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a status waits for nothing")


@dataclass
class Registries:
    answers: Mapping[str, ImageFacts | UserError]
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, wanted: Sequence[tuple[ImageRef, str]]) -> dict[tuple[ImageRef, str], ImageFacts | UserError]:
        self.asked += [(str(ref), platform) for ref, platform in wanted]
        return {key: self.answers.get(str(key[0]), NotFound(f"no {key[0]}")) for key in wanted}


def ask(
    kube: KubeView,
    cloud: CloudView,
    *,
    registry: Registries | None = None,
    more: Mapping[DiskImageRef, DiskImage] | None = None,
    options: Options | None = None,
) -> StatusReport:
    def disk_images(refs: Iterable[DiskImageRef]) -> CloudView:
        return CloudView(None, {ref: (more or {})[ref] for ref in refs if ref in (more or {})})

    sources = Sources(lambda: kube, lambda: cloud, disk_images, registry, StoppedClock(), lambda: "cluster", "context")
    return status(sources, options or Options(), lambda line: None)


def one(report: StatusReport) -> PoolStatus:
    (found,) = report.pools
    return found


def holding(*images: CachedImage) -> CloudView:
    return CloudView((POOL,), {DISK: disk_image(held=contents(*images))})


def running(*uses: str, seed: str | None = None) -> KubeView:
    return KubeView((node(),), demands={"pool": Demand("pool", tuple(use(ref, seed) for ref in uses))})


def test_a_pool_that_runs_what_its_disk_holds_is_fresh() -> None:
    found = one(ask(running(APP), holding(cached(APP))))
    assert (found.verdict.state, found.verdict.reasons, found.suggestion, found.nodes) == (State.FRESH, (), None, 1)


def test_the_same_image_under_another_digest_is_settled_by_the_registry() -> None:
    registry = Registries({f"{APP}@{digest('manifest')}": facts(digest("index"), digest("manifest"), layers="ab")})
    found = one(ask(running(APP, seed="manifest"), holding(cached(APP, "index")), registry=registry))
    assert found.verdict.state is State.FRESH
    assert registry.asked == [(f"{APP}@{digest('manifest')}", "linux/amd64")]


def test_a_config_digest_is_looked_up_by_its_tag() -> None:
    registry = Registries({APP: facts(digest("index"), digest("config"))})
    found = one(ask(running(APP, seed="config"), holding(cached(APP, "index")), registry=registry))
    assert found.verdict.state is State.FRESH
    assert [ref for ref, _ in registry.asked] == [f"{APP}@{digest('config')}", APP]


def test_a_moved_tag_is_not_taken_for_what_it_means_now() -> None:
    registry = Registries({APP: facts(digest("newest"))})
    found = one(ask(running(APP, seed="running"), holding(cached(APP, "old")), registry=registry))
    assert found.verdict.reasons == (TagMoved(parse(APP), digest("old"), digest("running"), None, 1, 1),)


def test_a_registry_that_fails_leaves_a_gap_and_a_verdict_by_digest() -> None:
    registry = Registries({f"{APP}@{digest('new')}": Unavailable("gcr.io does not answer")})
    report = ask(running(APP, seed="new"), holding(cached(APP, "old")), registry=registry)
    assert one(report).verdict.state is State.STALE
    assert report.gaps == (Gap(f"container images {APP}@{digest('new')}", "gcr.io does not answer"),)


def test_the_registry_is_left_alone_when_no_verdict_needs_it() -> None:
    registry = Registries({})
    ask(running(APP, "gcr.io/p/other:v1"), holding(cached(APP)), registry=registry)
    assert registry.asked == []


def test_layers_are_compared_when_asked() -> None:
    registry = Registries(
        {
            f"{APP}@{digest('new')}": facts(digest("new"), layers="abc"),
            f"{APP}@{digest('old')}": facts(digest("old"), layers="abx"),
        }
    )
    kube = replace(running(APP, seed="new"), sizes={digest("old"): 5})
    short = CachedImage(parse(APP), short_digest(digest("old")))
    found = one(ask(kube, holding(short), registry=registry, options=Options(layers=True)))
    match = found.uses[0]
    assert (match.match, match.layers_cached, match.layers, match.bytes_cached) == (Match.PARTLY, 2, 3, 20 * MIB)


def test_without_google_the_nodes_tell_pools_and_disks() -> None:
    kube = running(APP)
    report = ask(kube, CloudView(None, gaps=(Gap("GKE node pools", "no credentials"),)))
    found = one(report)
    assert (found.pool.known_from, found.pool.cache_disks) == ("nodes", POOL.cache_disks)
    assert found.verdict.state is State.UNKNOWN
    assert found.verdict.reasons == (DiskImageNotRead(DISK),)
    assert report.gaps == (Gap("GKE node pools", "no credentials"),)


def test_a_disk_image_that_only_nodes_name_is_read_too() -> None:
    held = {DISK: disk_image(held=contents(cached(APP)))}
    assert one(ask(running(APP), CloudView(None), more=held)).verdict.state is State.FRESH


def test_pods_that_could_not_be_read_make_no_image_unused() -> None:
    kube = KubeView((node(),), gaps=(Gap("pods", "not permitted"),))
    found = one(ask(kube, holding(cached(APP))))
    assert (found.verdict.state, found.verdict.reasons, found.unused) == (State.UNKNOWN, (DemandUnknown(),), ())


def test_two_cache_disks_count_together_and_one_unknown_makes_all_unknown() -> None:
    second = DiskImageRef("p", "cache-2")
    both = replace(POOL, disks=(*POOL.disks, *pool(disk=second).disks))
    nodes = (replace(node(), cache_disks=(DISK, second)),)
    kube = replace(running(APP, "gcr.io/p/web:v1"), nodes=nodes)
    images = {
        DISK: disk_image(held=contents(cached(APP))),
        second: disk_image(ref=second, held=contents(cached("gcr.io/p/web:v1"))),
    }
    assert one(ask(kube, CloudView((both,), images))).verdict.state is State.FRESH
    images[second] = disk_image(ref=second)
    found = one(ask(kube, CloudView((both,), images)))
    assert (found.verdict.state, found.contents) == (State.UNKNOWN, None)


def test_templates_count_for_a_pool_that_is_scaled_to_zero() -> None:
    wants = Constraints(node_selector=frozenset({("cloud.google.com/gke-nodepool", "pool")}))
    kube = KubeView(unplaced=(Unplaced(wants, (parse(APP),), 0, "CronJob default/nightly"),))
    found = one(ask(kube, holding()))
    assert [(match.use.ref, match.use.templates) for match in found.uses] == [(parse(APP), 1)]
    assert found.verdict.state is State.STALE


def test_pools_are_narrowed_by_name_and_a_wrong_name_gets_the_nearest() -> None:
    cloud = CloudView((POOL, replace(POOL, name="gpu")), {DISK: disk_image(held=contents())})
    kube = KubeView(shapes=(NodeShape("pool", frozenset(), frozenset()),))
    assert [p.pool.name for p in ask(kube, cloud, options=Options(("gpu",))).pools] == ["gpu"]
    with pytest.raises(NotFound) as error:
        ask(kube, cloud, options=Options(("gpuu",)))
    assert (error.value.message, error.value.hint) == ("no node pool 'gpuu' in this cluster", "did you mean gpu?")


def test_a_context_and_a_cluster_that_do_not_match_are_noticed() -> None:
    kube = KubeView((replace(node(), pool="elsewhere"),))
    report = ask(kube, holding())
    assert [gap.what for gap in report.gaps] == ["the match of context and GKE cluster"]


def test_unreadable_contents_are_unknown() -> None:
    found = one(ask(running(APP), CloudView((POOL,), {DISK: disk_image()})))
    assert found.verdict.state is State.UNKNOWN
    assert isinstance(found.contents, Contents | None)
    assert found.suggestion is not None
    assert found.suggestion.argv[0] == "inspect"
