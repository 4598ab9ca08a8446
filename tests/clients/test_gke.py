from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.gke import Gke, arch_of_machine, cluster_of, disk_image_ref
from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.target import ClusterSummary, ClusterTarget
from kubectl_imagecache.core.errors import BadAnswer, NotFound, NotPermitted
from kubectl_imagecache.core.pools import DiskImageRef, DiskMode, Pool, SecondaryDisk, Taint
from kubectl_imagecache.sandbox.http import Response
from tests.clients.factories import json_response, quick_http, served

CLUSTER = "projects/my-project/locations/europe-west4/clusters/prod"
TARGET = ClusterTarget("my-project", "europe-west4", "prod", "from a test")


def gke(url: str) -> Gke:
    return Gke(GoogleHttp(quick_http(), GoogleAuth(None), dict.fromkeys(Api, f"{url}/v1/")))


def cluster(*pools: dict[str, Any], **more: Any) -> dict[str, Any]:
    link = "https://container.googleapis.com/v1/projects/my-project/locations/europe-west4/clusters/prod"
    return {"name": "prod", "location": "europe-west4", "selfLink": link, "nodePools": list(pools), **more}


def node_pool(name: str = "gpu", **config: Any) -> dict[str, Any]:
    return {"name": name, "config": config, "status": "RUNNING", "version": "1.31.2-gke.1354000"}


def disks(*pairs: tuple[str, str | None]) -> list[dict[str, str]]:
    return [{"diskImage": image} | ({"mode": mode} if mode else {}) for image, mode in pairs]


def test_a_pool_is_read_whole_by_one_request() -> None:
    pool = node_pool(
        machineType="t2a-standard-4",
        imageType="COS_CONTAINERD",
        gcfsConfig={"enabled": True},
        secondaryBootDisks=disks(("global/images/models-1", "CONTAINER_IMAGE_CACHE")),
    )
    pool["autoscaling"] = {"enabled": True, "autoprovisioned": True}
    with served(lambda _: json_response(cluster(pool))) as server:
        pools = gke(server.url).pools(TARGET)
    assert server.paths == ["/v1/projects/my-project/locations/europe-west4/clusters/prod"]
    assert pools == (
        Pool(
            name="gpu",
            disks=(SecondaryDisk(DiskImageRef("my-project", "models-1"), DiskMode.CACHE),),
            location="europe-west4",
            status="RUNNING",
            version="1.31.2-gke.1354000",
            image_type="COS_CONTAINERD",
            machine_type="t2a-standard-4",
            image_streaming=True,
            arch="arm64",
            autoprovisioned=True,
            cluster=CLUSTER,
        ),
    )


def test_a_disk_without_a_mode_or_with_an_unknown_one_caches_nothing() -> None:
    pool = node_pool(
        secondaryBootDisks=disks(
            ("global/images/a", None), ("global/images/b", "MODE_UNSPECIFIED"), ("global/images/c", "SOMETHING_NEW")
        )
    )
    (read,) = cluster_of(json.dumps(cluster(pool)).encode(), "GKE").pools
    assert [disk.mode for disk in read.disks] == [DiskMode.DATA] * 3


@pytest.mark.parametrize(
    ("own", "default", "streaming"),
    [
        (None, None, False),
        (None, True, True),
        ({"enabled": True}, None, True),
        ({"enabled": True}, False, True),
        # proto3's JSON leaves false out.
        ({}, True, False),
        ({"enabled": False}, True, False),
    ],
)
def test_image_streaming_is_the_pools_own_or_the_clusters(
    own: dict[str, bool] | None, default: bool | None, streaming: bool
) -> None:
    pool = node_pool(gcfsConfig=own)
    defaults = {} if default is None else {"gcfsConfig": {"enabled": default}}
    (read,) = cluster_of(cluster(pool, nodePoolDefaults={"nodeConfigDefaults": defaults}), "GKE").pools
    assert read.image_streaming is streaming


PROJECTS = st.from_regex(r"(?:[a-z]{2,8}\.[a-z]{2,3}:)?[a-z][a-z0-9-]{4,20}[a-z0-9]|[1-9][0-9]{5,12}", fullmatch=True)
NAMES = st.from_regex(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(PROJECTS, NAMES, PROJECTS)
def test_every_spelling_means_the_same_disk_image(project: str, name: str, own: str) -> None:
    path = f"projects/{project}/global/images/{name}"
    for spelling in (
        path,
        f"/{path}",
        f"compute/v1/{path}",
        f"https://www.googleapis.com/compute/v1/{path}",
        f"https://compute.googleapis.com/compute/v1/{path}",
        f"http://127.0.0.1:8080/compute/v1/{path}",
    ):
        assert disk_image_ref(spelling, own) == DiskImageRef(project, name)
    assert disk_image_ref(f"global/images/{name}", own) == DiskImageRef(own, name)
    assert disk_image_ref(name, own) == DiskImageRef(own, name)


@given(st.text())
def test_no_spelling_fails(spelling: str) -> None:
    assert disk_image_ref(spelling, "p").project


@pytest.mark.parametrize(
    ("machine", "arch"),
    [
        ("n2-standard-4", "amd64"),
        ("a3-highgpu-8g", "amd64"),
        ("custom-4-8192", "amd64"),
        ("t2d-standard-1", "amd64"),
        ("c4-standard-4", "amd64"),
        ("t2a-standard-4", "arm64"),
        ("c4a-highmem-8-lssd", "arm64"),
        ("n4a-standard-2", "arm64"),
        ("a4x-highgpu-4g", "arm64"),
        ("", ""),
    ],
)
def test_the_architecture_follows_from_the_machine_family(machine: str, arch: str) -> None:
    assert arch_of_machine(machine) == arch


def test_what_new_nodes_will_carry_is_read_in_kubernetes_words() -> None:
    taints = [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}, {"key": "spot", "effect": "PREFER_NO_SCHEDULE"}]
    (pool,) = cluster_of(cluster(node_pool(labels={"team": "ml"}, taints=taints)), "GKE").pools
    assert pool.node_labels == {("team", "ml")}
    assert pool.node_taints == {Taint("gpu", "yes", "NoSchedule"), Taint("spot", "", "PreferNoSchedule")}


def test_nulls_and_unknown_fields_are_tolerated() -> None:
    document = cluster({"name": "p", "config": None, "new": 1}, nodePoolDefaults=None, masterAuth={"x": []})
    assert cluster_of(document, "GKE").pools == (
        Pool("p", location="europe-west4", image_streaming=False, cluster=CLUSTER),
    )
    assert cluster_of({"name": "c", "nodePools": None}, "GKE").pools == ()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"name": 1}', b'{"name": "c", "nodePools": [1]}', b"\xff"])
def test_what_is_no_cluster_is_refused(body: bytes) -> None:
    with served(lambda _: Response(body=body)) as server, pytest.raises(BadAnswer, match="not a GKE cluster"):
        gke(server.url).pools(TARGET)


def test_a_missing_cluster_says_which_and_how_it_was_guessed() -> None:
    with served(lambda _: json_response({"error": {"message": "Not found"}}, 404)) as server:
        cloud = gke(server.url)
        with pytest.raises(NotFound) as caught:
            cloud.pools(TARGET)
    assert caught.value.message == "no GKE cluster prod in europe-west4 of project my-project (from a test)"


def test_a_refusal_names_the_permission_and_the_role() -> None:
    with served(lambda _: json_response({"error": {"message": "no"}}, 403)) as server:
        with pytest.raises(NotPermitted) as caught:
            gke(server.url).pools(TARGET)
        with pytest.raises(NotPermitted, match=r"container\.clusters\.list on projects/my-project"):
            gke(server.url).clusters("my-project")
    assert (caught.value.permission, caught.value.role) == ("container.clusters.get", "roles/container.clusterViewer")


def test_names_from_flags_stay_within_their_path_segment() -> None:
    with served(lambda _: json_response({}, 404)) as server, pytest.raises(NotFound):
        gke(server.url).pools(ClusterTarget("../../evil", "l?x=1", "c#d", "t"))
    (call,) = server.world.calls
    assert call.target == "/v1/projects/..%2F..%2Fevil/locations/l%3Fx%3D1/clusters/c%23d"


def test_clusters_are_listed_with_all_addresses_of_their_api_servers() -> None:
    one = cluster(
        endpoint="34.1.2.3",
        privateClusterConfig={"publicEndpoint": "34.1.2.3", "privateEndpoint": "10.0.0.2"},
        controlPlaneEndpointsConfig={"dnsEndpointConfig": {"endpoint": "GKE-abc-123.europe-west4.gke.goog"}},
    )
    old = {"name": "old", "zone": "us-central1-a", "endpoint": "35.0.0.1"}
    with served(lambda _: json_response({"clusters": [one, old]})) as server:
        found = gke(server.url).clusters("my-project")
    assert server.paths == ["/v1/projects/my-project/locations/-/clusters"]
    assert found == (
        ClusterSummary(
            "my-project",
            "europe-west4",
            "prod",
            frozenset({"34.1.2.3", "10.0.0.2", "gke-abc-123.europe-west4.gke.goog"}),
        ),
        ClusterSummary("my-project", "us-central1-a", "old", frozenset({"35.0.0.1"})),
    )
