"""The client on the sandbox's cluster, judged by what the real kubectl prints of the same cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_imagecache.clients.kube import Scope, fold_documents
from kubectl_imagecache.core.contents import Layer
from kubectl_imagecache.core.errors import NotPermitted
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.kube.access import Refusal
from kubectl_imagecache.sandbox.kube.cluster import KubeCluster
from kubectl_imagecache.sandbox.kube.images import ImageInfo
from tests.clients.kube.factories import DISK, container, node, sha, workload
from tests.clients.kube.server import connect, kubeconfig

EVERYTHING = Scope(system=True, templates=True)


class Shelf:
    """A registry that has every image: 40 MB, one layer, a digest that follows from the tag."""

    def resolve(self, ref: str, arch: str) -> ImageInfo | None:
        letter = "abcdef"[len(parse(ref).tag) % 6]
        return ImageInfo(sha(letter), (Layer(sha(letter), compressed=40_000_000, unpacked=90_000_000),))


@dataclass(frozen=True)
class Sandbox:
    cluster: KubeCluster
    world: World
    config: Path

    def kubectl(self, *arguments: str) -> bytes:
        command = ["kubectl", "--kubeconfig", str(self.config), *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """Three nodes in two pools that run a Deployment, and things that run nothing."""
    world = World()
    cluster = KubeCluster(world, Shelf())
    cluster.add_node(node("n1", labels={DISK + "models": "CONTAINER_IMAGE_CACHE.proj"}))
    cluster.add_node(node("n2"))
    cluster.add_node(node("n3", pool="cpu"))
    for item in (
        workload("Deployment", "eu.gcr.io/p/web:1.0", name="web", replicas=5, selector={"matchLabels": {"app": "web"}}),
        workload("Deployment", "eu.gcr.io/p/off:1.0", name="off", replicas=0, selector={"matchLabels": {"app": "off"}}),
        workload("CronJob", "eu.gcr.io/p/nightly:1.0", name="nightly", schedule="0 3 * * *"),
    ):
        version = "batch/v1" if item["kind"] == "CronJob" else "apps/v1"
        cluster.create({"apiVersion": version, **item})
    stuck = {"nodeSelector": {"gpu": "h100"}, "containers": [container("eu.gcr.io/p/stuck:1.0")]}
    cluster.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stuck", "namespace": "shop"}, "spec": stuck}
    )
    service = Service("kube", world, cluster.handle, cluster.error)
    service.start()
    with world.lock:
        world.clock.advance(300)
    yield Sandbox(cluster, world, kubeconfig(tmp_path, service.url))
    service.stop()


def test_the_view_is_what_kubectl_prints_folded(sandbox: Sandbox) -> None:
    view = connect(sandbox.config).view(EVERYTHING)
    mixed = sandbox.kubectl("get", "pods,nodes,events", "-A", "-o", "json")
    kinds = "deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs"
    templates = sandbox.kubectl("get", kinds, "-A", "-o", "json")
    assert view == fold_documents([mixed], [], [], [templates], EVERYTHING)


def test_the_deployments_pods_and_pulls_are_seen(sandbox: Sandbox) -> None:
    view = connect(sandbox.config).view(EVERYTHING)
    web = [use for demand in view.demands.values() for use in demand.uses]
    assert {(str(use.ref), use.digest) for use in web} == {("eu.gcr.io/p/web:1.0", sha("d"))}
    assert sum(use.pods for use in web) == 5
    # Two pods that start together on a node both wait for one pull, and both tell of it.
    assert len({pull.node for pull in view.pulls}) == sum(use.pulls for use in web)
    assert view.sizes[sha("d")] == 40_000_000
    assert [(one.template or "Pending", str(one.images[0])) for one in view.unplaced] == [
        ("Pending", "eu.gcr.io/p/stuck:1.0"),
        ("CronJob shop/nightly", "eu.gcr.io/p/nightly:1.0"),
        ("Deployment shop/off", "eu.gcr.io/p/off:1.0"),
    ]
    assert view.gaps == ()


def test_saved_pages_fold_to_the_same_view(sandbox: Sandbox) -> None:
    kube = connect(sandbox.config)
    pods, nodes, events, crons, deployments = (
        list(kube.json_pages(resource)) for resource in ("pods", "nodes", "events", "cronjobs", "deployments")
    )
    assert fold_documents(pods, nodes, events, crons + deployments, EVERYTHING) == kube.view(EVERYTHING)


def test_a_refusal_is_told_with_its_rule(sandbox: Sandbox) -> None:
    sandbox.cluster.access.refusals.append(Refusal(verb="list", resource="events"))
    kube = connect(sandbox.config)
    assert [gap.what for gap in kube.view(Scope()).gaps] == ["events"]
    sandbox.cluster.access.refusals.append(Refusal(verb="list"))
    with pytest.raises(NotPermitted, match="not permitted: list nodes"):
        kube.view(Scope())
