"""What documents fold to: pods, nodes, events and templates as kubectl prints them."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_imagecache.clients.kube import Scope, check_document, fold_documents, wire
from kubectl_imagecache.clients.kube.lists import Unreadable, decode_page
from kubectl_imagecache.core.demand import (
    Constraints,
    Demand,
    ImageUse,
    MatchExpression,
    Toleration,
    Unplaced,
)
from kubectl_imagecache.core.errors import BadAnswer
from kubectl_imagecache.core.pools import DiskImageRef, NodeFacts, NodeShape, Taint
from kubectl_imagecache.core.pulls import Pull
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.views import Gap, KubeView
from tests.clients.kube.factories import DISK, POOL, RESTRICTED_DISK, event, listing, node, pod, sha, workload

SLIM = Scope(events=False)


def fold(*items: Any, scope: Scope = SLIM) -> KubeView:
    """ITEMS as one mixed List; nodes n1 and n2 of pool gpu and n3 of pool cpu are there as well."""
    nodes = [node("n1"), node("n2"), node("n3", pool="cpu")]
    return fold_documents([listing(*items, *nodes)], [], [], [], scope)


def uses(*items: Any, pool: str = "gpu", scope: Scope = SLIM) -> list[ImageUse]:
    return list(fold(*items, scope=scope).demands.get(pool, Demand(pool)).uses)


def use(image: str, digest: str = "", pods: int = 1, nodes: int = 1, pulls: int | None = None) -> ImageUse:
    pulled = (nodes if digest else 0) if pulls is None else pulls
    return ImageUse(parse(image), digest, pods, nodes, pulled)


def test_pods_are_counted_by_pool_image_and_digest() -> None:
    a, b = f"docker.io/library/redis@{sha('a')}", f"docker.io/library/redis@{sha('b')}"
    view = fold(
        pod("redis:7", node="n1", ids=[a]),
        pod("docker.io/library/redis:7", node="n1", ids=[a]),
        pod("redis:7", node="n2", ids=[a]),
        pod("redis:7", node="n2", ids=[b]),
        pod("redis:7", node="n2"),
        pod("redis:7", node="n3", ids=[a]),
    )
    assert view.demands == {
        "cpu": Demand("cpu", (use("redis:7", sha("a")),)),
        "gpu": Demand("gpu", (use("redis:7"), use("redis:7", sha("a"), 3, 2), use("redis:7", sha("b")))),
    }


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"docker.io/library/redis@{sha('a')}", sha("a")),
        (f"docker-pullable://redis@{sha('a')}", sha("a")),
        (f"docker://{sha('a')}", sha("a")),
        (sha("a"), sha("a")),
        ("", ""),
        ("redis", ""),
    ],
)
def test_every_shape_of_an_image_id_is_understood(image_id: str, digest: str) -> None:
    assert uses(pod("redis:7", node="n1", ids=[image_id])) == [use("redis:7", digest)]


def test_init_containers_ephemeral_containers_and_image_volumes_count() -> None:
    extra: dict[str, Any] = {
        "initContainers": [{"name": "sidecar", "image": "envoy:1", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "debug", "image": "busybox:1"}],
        "volumes": [{"name": "model", "image": {"reference": "models/llama:3"}}, {"name": "tmp", "emptyDir": {}}],
    }
    one = pod("app:1", node="n1", **extra)
    one["status"]["initContainerStatuses"] = [{"name": "sidecar", "imageID": f"envoy@{sha('e')}"}]
    one["status"]["ephemeralContainerStatuses"] = [{"name": "debug", "imageID": f"busybox@{sha('b')}"}]
    assert uses(one) == [use("app:1"), use("busybox:1", sha("b")), use("envoy:1", sha("e")), use("models/llama:3")]


def test_a_pod_counts_once_however_many_of_its_containers_use_the_image() -> None:
    assert uses(pod("app:1", "app:1", node="n1", ids=[sha("a"), sha("a")])) == [use("app:1", sha("a"))]


def test_a_container_yet_to_start_shares_what_its_neighbour_has_pulled() -> None:
    assert uses(pod("app:1", "app:1", node="n1", ids=[sha("a")])) == [use("app:1", sha("a"))]


def test_completed_pods_are_left_out() -> None:
    assert uses(pod("a:1", node="n1", phase="Succeeded"), pod("a:1", node="n1", phase="Failed")) == []


def test_a_bound_pending_pod_counts_on_its_node() -> None:
    assert uses(pod("a:1", node="n1", phase="Pending")) == [use("a:1")]


def test_system_namespaces_count_only_when_asked_for() -> None:
    pods = [pod("a:1", node="n1", namespace=name) for name in ("kube-system", "gke-managed-cim", "gmp-system", "shop")]
    assert [one.pods for one in uses(*pods)] == [1]
    assert [one.pods for one in uses(*pods, scope=Scope(system=True, events=False))] == [4]
    assert [one.pods for one in uses(*pods, scope=Scope(namespaces=("kube-system",), events=False))] == [1]


def test_a_selector_narrows_pods_from_files() -> None:
    pods = [pod("a:1", node="n1", labels={"app": "web"}), pod("b:1", node="n1", labels={"app": "db"}), pod("c:1")]
    assert uses(*pods, scope=Scope(selector="app in (web, x)", events=False)) == [use("a:1")]


def test_names_that_are_no_references_become_a_gap() -> None:
    view = fold(pod("a:1", "UPPER CASE", node="n1"), pod("UPPER CASE", node="n1"))
    assert list(view.demands["gpu"].uses) == [use("a:1")]
    assert view.gaps == (Gap("2 image names of pods", "not an image reference: 'UPPER CASE'"),)


def test_unbound_pods_are_grouped_by_what_they_want() -> None:
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
                    {},
                ]
            }
        }
    }
    spec: dict[str, Any] = {
        "nodeSelector": {"gpu": "true"},
        "affinity": affinity,
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    view = fold(pod("a:1", "b:1", **spec), pod("b:1", "a:1", **spec), pod("a:1"))
    wanted = Constraints(
        frozenset({("gpu", "true")}),
        ((MatchExpression("zone", "In", ("a", "b")),),),
        frozenset({Toleration("gpu", "Exists")}),
    )
    images = (parse("a:1"), parse("b:1"))
    assert view.unplaced == (Unplaced(Constraints(), (parse("a:1"),), 1), Unplaced(wanted, images, 2))
    assert view.demands == {}


def test_an_unbound_daemonset_pod_wants_the_pool_of_its_node() -> None:
    def for_node(name: str) -> dict[str, Any]:
        field = {"key": "metadata.name", "operator": "In", "values": [name]}
        terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        return pod("a:1", affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})

    gpu = Constraints(affinity=((MatchExpression(POOL, "In", ("gpu",)),),))
    assert fold(for_node("n1"), for_node("n2")).unplaced == (Unplaced(gpu, (parse("a:1"),), 2),)


def test_nodes_are_told_by_their_labels() -> None:
    labels = {
        RESTRICTED_DISK + "models": "CONTAINER_IMAGE_CACHE.proj",
        DISK + "models": "CONTAINER_IMAGE_CACHE.proj",
        DISK + "extra": "CONTAINER_IMAGE_CACHE.other",
        DISK + "data": "MODE_UNSPECIFIED.proj",
        "cloud.google.com/gke-image-streaming": "true",
        "cloud.google.com/gke-os-distribution": "cos",
    }
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule", "timeAdded": None}
    view = fold_documents([], [listing(node("n9", labels=labels, taints=[taint], ready="Unknown"))], [], [], SLIM)
    assert view.nodes == (
        NodeFacts(
            name="n9",
            pool="gpu",
            created=datetime(2026, 1, 15, 8, tzinfo=timezone.utc),
            arch="amd64",
            ready=False,
            image_streaming=True,
            cache_disks=(DiskImageRef("other", "extra"), DiskImageRef("proj", "models")),
            kubelet_version="v1.31.2-gke.1354000",
            os="cos",
        ),
    )
    shape = frozenset((labels | {POOL: "gpu", "kubernetes.io/arch": "amd64"}).items())
    assert view.shapes == (NodeShape("gpu", shape, frozenset({Taint("gpu", "yes", "NoSchedule")})),)


def test_like_nodes_make_one_shape() -> None:
    assert [(shape.pool, len(shape.labels)) for shape in fold().shapes] == [("cpu", 2), ("gpu", 2)]


def test_sizes_are_told_by_digest_and_by_tag() -> None:
    images = [
        ([f"docker.io/library/redis@{sha('a')}", "redis:7"], 30),
        (["gcr.io/p/app:1"], 50),
        (["<none>@<none>", "<none>:<none>"], 70),
        (["gcr.io/p/zero:1"], 0),
    ]
    bigger = node("n2", images=[(["gcr.io/p/app:1"], 51)])
    view = fold_documents([], [listing(node("n1", images=images), bigger)], [], [], SLIM)
    assert view.sizes == {sha("a"): 30, "docker.io/library/redis:7": 30, "gcr.io/p/app:1": 51}
    assert view.gaps[0].what == "pods"


def test_pulls_come_from_events_oldest_first() -> None:
    late = event('Successfully pulled image "a:1" in 2s (3s including waiting). Image size: 7 bytes.', node="n2")
    early = event('Successfully pulled image "b:1" in 850ms', at="2026-01-15T08:59:00Z")
    present = event('Container image "a:1" already present on machine')
    other = event("Someone pulled something")
    system = event('Successfully pulled image "c:1" in 2s', namespace="kube-system")
    view = fold(late, early, present, other, system, scope=Scope())
    assert view.pulls == (
        Pull("b:1", 0.85, 0.85, None, "n1", datetime(2026, 1, 15, 8, 59, tzinfo=timezone.utc)),
        Pull("a:1", 2.0, 3.0, 7, "n2", datetime(2026, 1, 15, 9, tzinfo=timezone.utc)),
    )
    assert view.sizes == {"docker.io/library/a:1": 7}
    assert Gap("1 Pulled event", "the kubelet's words are not known to this version") in view.gaps


def test_an_event_without_source_tells_its_node_by_the_reporting_instance() -> None:
    one = event('Successfully pulled image "a:1" in 2s')
    one |= {
        "source": None,
        "reportingInstance": "n7",
        "lastTimestamp": None,
        "eventTime": "2026-01-15T09:00:00.250000Z",
    }
    at = datetime(2026, 1, 15, 9, 0, 0, 250000, tzinfo=timezone.utc)
    assert fold(one, scope=Scope()).pulls == (Pull("a:1", 2.0, 2.0, None, "n7", at),)


@pytest.mark.parametrize(
    ("item", "counts"),
    [
        (workload("Deployment", replicas=0), True),
        (workload("Deployment", replicas=1), False),
        (workload("Deployment"), False),
        (workload("StatefulSet", replicas=0), True),
        (workload("ReplicaSet", replicas=0), True),
        (workload("ReplicaSet", replicas=0, owners=[{"kind": "Deployment", "controller": True}]), False),
        (workload("DaemonSet", status={"desiredNumberScheduled": 0}), True),
        (workload("DaemonSet", status={"desiredNumberScheduled": 3}), False),
        (workload("Job", suspend=True), True),
        (workload("Job", parallelism=0), True),
        (workload("Job", suspend=False), False),
        (workload("Job", suspend=True, status={"conditions": [{"type": "Failed", "status": "True"}]}), False),
        (workload("Job", suspend=True, status={"active": 0}), True),
        (workload("CronJob"), True),
        (workload("CronJob", suspend=True, status={"active": []}), True),
        (workload("CronJob", status={"active": [{"name": "w-1"}]}), False),
    ],
)
def test_templates_count_while_they_run_nothing(item: dict[str, Any], counts: bool) -> None:
    found = fold_documents([], [], [], [listing(item)], Scope(templates=True, events=False)).unplaced
    expected = Unplaced(Constraints(), (parse("eu.gcr.io/p/app:1"),), 0, f"{item['kind']} shop/w")
    assert found == ((expected,) if counts else ())


def test_a_template_that_asks_for_devices_tolerates_their_taint() -> None:
    item = workload("Deployment", replicas=0)
    (container,) = item["spec"]["template"]["spec"]["containers"]
    container["resources"] = {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi", "hugepages.kubernetes.io/x": "1"}}
    (found,) = fold(item, scope=Scope(templates=True, events=False)).unplaced
    assert found.constraints.tolerations == {Toleration("nvidia.com/gpu", "Exists", "", "NoSchedule")}
    container["resources"] = {"limits": "none"}
    (found,) = fold(item, scope=Scope(templates=True, events=False)).unplaced
    assert found.constraints.tolerations == frozenset()


def test_templates_are_left_out_unless_asked_for() -> None:
    assert fold(workload("CronJob")).unplaced == ()


def test_the_selector_looks_at_a_templates_pod_labels() -> None:
    items = [workload("CronJob", name="a"), workload("CronJob", name="b")]
    scope = Scope(templates=True, events=False, selector="app!=a")
    assert [one.template for one in fold(*items, scope=scope).unplaced] == ["CronJob shop/b"]


def test_single_objects_and_typed_lists_work_as_well() -> None:
    bare = pod("a:1", node="n1")
    del bare["kind"]
    documents = [listing(bare, kind="PodList"), json.dumps(pod("b:1", node="n1")).encode()]
    view = fold_documents(documents, [json.dumps(node("n1")).encode()], [], [], SLIM)
    assert list(view.demands["gpu"].uses) == [use("a:1"), use("b:1")]
    assert view.gaps == ()


def test_what_no_file_holds_is_a_gap_with_the_command_that_makes_it() -> None:
    view = fold_documents([listing(pod("a:1", node="n1"))], [], [], [], Scope())
    assert [(gap.what, gap.hint) for gap in view.gaps] == [
        ("nodes", "kubectl get nodes -A -o json"),
        ("events", "kubectl get events -A -o json"),
    ]
    assert list(view.demands) == [""]


def test_broken_json_is_told_with_line_and_column() -> None:
    with pytest.raises(BadAnswer, match=r"pods\.json, line 3, column 11: not JSON"):
        check_document(b'{\n "kind": "List",\n "items": oops}', "pods.json")


def test_a_file_that_was_cut_short_is_told() -> None:
    with pytest.raises(BadAnswer, match=r"cut\.json, line 1, column 12"):
        check_document(b'{"items": [', "cut.json")


def test_items_of_the_wrong_shape_are_counted_and_skipped() -> None:
    view = fold(pod("a:1", node="n1"), {"kind": "Pod", "spec": 5}, {"kind": "Secret", "data": 5}, None, 7, ["x"])
    assert list(view.demands["gpu"].uses) == [use("a:1")]
    assert [gap.what for gap in view.gaps] == ["4 of the pods"]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good object of any kind in which one or two places were replaced by junk."""
    item: Any = draw(
        st.sampled_from(
            [
                pod("a:1", "b", node="n1", ids=[sha("a"), ""], tolerations=[{"key": "k"}], volumes=[{"image": {}}]),
                pod("a:1", nodeSelector={"a": "b"}, affinity={"nodeAffinity": {}}),
                node(
                    "n5", labels={DISK + "x": "CONTAINER_IMAGE_CACHE.p"}, images=[(["a:1"], 5)], taints=[{"key": "k"}]
                ),
                event('Successfully pulled image "a:1" in 2s'),
                workload("Deployment", replicas=0),
                workload("CronJob"),
            ]
        )
    )
    item = json.loads(json.dumps(item))
    for _ in range(draw(st.integers(1, 2))):
        at = item
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], (dict, list)) and at[key] and draw(st.integers(0, 3)):
                at = at[key]
                continue
            at[key] = draw(JUNK)
            break
    return item


@settings(max_examples=300, deadline=None)
@given(st.lists(damaged() | JUNK, max_size=4))
def test_whatever_a_cluster_says_the_good_pod_is_counted(items: list[Any]) -> None:
    good = pod("good/one:1", node="n-good")
    scope = Scope(templates=True)
    view = fold_documents([listing(*items, good, node("n-good", pool="good"))], [], [], [], scope)
    assert view.demands["good"].uses == (use("good/one:1"),)


@settings(max_examples=200, deadline=None)
@given(st.lists(damaged() | JUNK, max_size=4), st.sampled_from([wire.Pod, wire.Node, wire.Event, wire.Workload]))
def test_whatever_a_page_holds_its_good_items_are_kept(items: list[Any], shape: type[wire.Pod]) -> None:
    unreadable = Unreadable()
    body = listing(*items, {"metadata": {"name": "the last"}}, token="more")
    page = decode_page(body, shape, "things", unreadable)
    assert (page.items[-1].metadata, page.next) == (wire.Meta(name="the last"), "more")
    assert len(page.items) + unreadable.count == len(items) + 1
