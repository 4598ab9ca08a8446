from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients import bundle
from kubectl_imagecache.clients.bundle_writer import README, Parts, image_document, write
from kubectl_imagecache.clients.compute import disk_image_of
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import CachedImage, Contents, short_digest
from kubectl_imagecache.core.errors import BadUsage, NotFound
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskMode, DiskState, Pool, SecondaryDisk
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.views import CloudView, Gap
from tests.clients.factories import strings_in

SCOPE = Scope()
DIGEST = "sha256:" + "ab" * 32
A = DiskImageRef("p", "disk-a")
LABEL = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-disk-a"

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "n1",
        "creationTimestamp": "2026-01-15T08:00:00Z",
        "labels": {"cloud.google.com/gke-nodepool": "gpu", LABEL: "CONTAINER_IMAGE_CACHE.p"},
    },
    "status": {"nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.31.2-gke.1"}},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "annotations": {"note": "s3cret-note"}},
    "spec": {
        "nodeName": "n1",
        "containers": [
            {
                "name": "c",
                "image": "nginx:1.27",
                "env": [{"name": "PASSWORD", "value": "s3cret-env"}],
                "args": ["--token=s3cret-arg"],
                "command": ["s3cret-command"],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "containerStatuses": [{"name": "c", "imageID": f"docker.io/library/nginx@{DIGEST}"}],
    },
}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e1", "namespace": "default"},
    "reason": "Pulled",
    "message": 'Successfully pulled image "nginx:1.27" in 4.5s (5s including waiting). Image size: 1000 bytes.',
    "source": {"host": "n1"},
    "lastTimestamp": "2026-01-15T08:30:00Z",
}
OTHER_EVENT = {**EVENT, "reason": "Failed", "message": "s3cret-message"}
CLUSTER = {
    "name": "prod",
    "location": "europe-west4",
    "selfLink": "https://container.googleapis.com/v1/projects/p/locations/europe-west4/clusters/prod",
    "masterAuth": {"clusterCaCertificate": "s3cret-ca"},
    "nodePools": [
        {
            "name": "gpu",
            "config": {
                "machineType": "n2-standard-4",
                "imageType": "COS_CONTAINERD",
                "gcfsConfig": {"enabled": True},
                "secondaryBootDisks": [{"diskImage": "global/images/disk-a", "mode": "CONTAINER_IMAGE_CACHE"}],
            },
            "status": "RUNNING",
            "version": "1.31.2-gke.1354000",
        }
    ],
}


def image(name: str, **fields: Any) -> dict[str, Any]:
    link = f"https://www.googleapis.com/compute/v1/projects/p/global/images/{name}"
    return {"kind": "compute#image", "name": name, "selfLink": link, "status": "READY", **fields}


IMAGES = [
    image("disk-a", family="f", creationTimestamp="2026-01-01T00:00:00.000-08:00", diskSizeGb="10"),
    image("disk-b", family="f", creationTimestamp="2026-01-02T00:00:00.000-08:00"),
    image("disk-c", family="f", creationTimestamp="2026-01-03T00:00:00.000-08:00", deprecated={"state": "DEPRECATED"}),
    image("other", family="g", creationTimestamp="2026-01-02T00:00:00.000-08:00"),
]


def listing(*items: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": list(items)}


def folder(tmp_path: Path, **documents: Any) -> Path:
    place = tmp_path / "bundle"
    place.mkdir()
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document, indent=4)
        (place / f"{name}.json").write_text(text, encoding="utf-8")
    return place


def test_files_are_known_by_what_they_contain(tmp_path: Path) -> None:
    place = folder(tmp_path, x1=IMAGES, x2=CLUSTER, x3=listing(POD, NODE, EVENT))
    kube, cloud = bundle.read(place, SCOPE)
    assert [(node.name, node.pool, node.cache_disks) for node in kube.nodes] == [("n1", "gpu", (A,))]
    (use,) = kube.demands["gpu"].uses
    assert (str(use.ref), use.digest, use.pods) == ("docker.io/library/nginx:1.27", DIGEST, 1)
    assert [(pull.image, pull.seconds, pull.size) for pull in kube.pulls] == [("nginx:1.27", 4.5, 1000)]
    assert kube.gaps == ()
    assert cloud.pools == (
        Pool(
            "gpu",
            (SecondaryDisk(A, DiskMode.CACHE),),
            "europe-west4",
            "RUNNING",
            "1.31.2-gke.1354000",
            "COS_CONTAINERD",
            "n2-standard-4",
            True,
            "amd64",
            cluster="projects/p/locations/europe-west4/clusters/prod",
        ),
    )
    assert list(cloud.disk_images) == [A]
    assert {key: found.ref.name for key, found in cloud.newest.items()} == {("p", "f"): "disk-b"}
    assert cloud.gaps == ()


def test_separate_files_say_the_same(tmp_path: Path) -> None:
    together = folder(tmp_path, a=listing(POD, NODE, EVENT), cluster=CLUSTER, images=IMAGES)
    (tmp_path / "b").mkdir()
    apart = folder(tmp_path / "b", p=listing(POD), n=listing(NODE), e=listing(EVENT), clusters=[CLUSTER], images=IMAGES)
    assert bundle.read(together, SCOPE) == bundle.read(apart, SCOPE)


def test_what_is_not_there_is_a_gap_with_the_command_that_makes_it(tmp_path: Path) -> None:
    place = folder(tmp_path, nodes=listing(NODE))
    kube, cloud = bundle.read(place, SCOPE)
    assert sorted(gap.what for gap in kube.gaps) == ["events", "pods"]
    assert cloud.pools is None
    assert cloud.gaps == (
        Gap("GKE node pools", f"no file in {place} describes the cluster", bundle.COMMANDS["cluster"]),
        Gap("disk images", f"no file in {place} lists them", bundle.COMMANDS["images"]),
    )


def test_a_disk_image_that_no_file_lists_is_not_called_missing(tmp_path: Path) -> None:
    place = folder(tmp_path, a=listing(POD, NODE, EVENT), cluster=CLUSTER, images=IMAGES[1:])
    _, cloud = bundle.read(place, SCOPE)
    assert cloud.disk_images == {}
    assert cloud.gaps == (Gap(str(A), f"no file in {place} tells of it", bundle.COMMANDS["images"]),)


def test_an_empty_list_counts_by_its_files_name(tmp_path: Path) -> None:
    place = folder(tmp_path, pods=listing(), nodes=listing(NODE), events=listing(), cluster=CLUSTER, images=[])
    kube, cloud = bundle.read(place, SCOPE)
    assert kube.gaps == ()
    assert [gap.what for gap in cloud.gaps] == [str(A)]


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n "kind": "List",\n oops\n}', 3), ('{"kind":\n"Li', 2), ("", 1), ("[1,\n2,\n\n]]", 4), ('{"a": NaN}', 1)],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    place = folder(tmp_path, nodes=listing(NODE), broken=text)
    with pytest.raises(BadUsage) as caught:
        bundle.read(place, SCOPE)
    assert f"{place}/broken.json, line {line}" in caught.value.message


@pytest.mark.parametrize("odd", [{"name": "c", "nodePools": [{}]}, [image("disk-a", diskSizeGb="many")]])
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, odd: Any) -> None:
    place = folder(tmp_path, nodes=listing(NODE), odd=odd)
    with pytest.raises(BadUsage, match=r"bundle/odd\.json"):
        bundle.read(place, SCOPE)


def test_a_folder_without_anything_usable_says_what_was_looked_for(tmp_path: Path) -> None:
    place = folder(tmp_path, package={"name": "x", "version": "1"}, array=[1, 2], text='"x"')
    with pytest.raises(BadUsage) as caught:
        bundle.read(place, SCOPE)
    assert caught.value.message == f"{place} holds nothing usable"
    assert "kubectl get pods,nodes,events -A -o json" in caught.value.hint
    with pytest.raises(BadUsage, match="is not a folder"):
        bundle.read(tmp_path / "nowhere", SCOPE)


def test_one_of_several_clusters_is_named(tmp_path: Path) -> None:
    dev = {**CLUSTER, "name": "dev", "nodePools": []}
    place = folder(tmp_path, clusters=[CLUSTER, dev])
    with pytest.raises(BadUsage, match="holds several clusters: dev in europe-west4, prod in europe-west4"):
        bundle.read(place, SCOPE)
    assert bundle.read(place, SCOPE, "dev")[1].pools == ()
    with pytest.raises(NotFound) as caught:
        bundle.read(place, SCOPE, "prdo")
    assert caught.value.hint == "did you mean prod?"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_powershell_writes_is_read(tmp_path: Path, encoding: str) -> None:
    place = folder(tmp_path)
    (place / "nodes.json").write_text(json.dumps(listing(NODE)), encoding=encoding)
    assert [node.name for node in bundle.read(place, SCOPE)[0].nodes] == ["n1"]


TARGET = ClusterTarget("p", "europe-west4", "prod", "t")


def page(kind: str, *items: dict[str, Any]) -> bytes:
    """As the API server sends it: the items' kinds are left out."""
    bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": {}, "items": bare}).encode()


def parts(cloud: CloudView, **pages: Iterable[bytes]) -> Parts:
    return Parts(pages, TARGET, cloud)


def everything(tmp_path: Path) -> tuple[Parts, CloudView]:
    (tmp_path / "source").mkdir()
    source = folder(tmp_path / "source", a=listing(POD, NODE, EVENT), cluster=CLUSTER, images=IMAGES)
    _, cloud = bundle.read(source, SCOPE)
    pages = {
        "pods": [page("Pod"), page("Pod", POD)],
        "nodes": [page("Node", NODE)],
        "events": [page("Event", EVENT, OTHER_EVENT)],
    }
    return parts(cloud, **pages), cloud


def test_what_was_written_reads_the_same(tmp_path: Path) -> None:
    made, cloud = everything(tmp_path)
    write(tmp_path / "saved", made)
    kube, read = bundle.read(tmp_path / "saved", SCOPE)
    assert (read, read.gaps) == (cloud, ())
    assert kube == bundle.read(tmp_path / "source" / "bundle", SCOPE)[0]
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == [
        README,
        "cluster.json",
        "events.json",
        "images.json",
        "nodes.json",
        "pods.json",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "source"]


def test_no_secret_of_a_pod_or_a_cluster_is_written(tmp_path: Path) -> None:
    write(tmp_path / "saved", everything(tmp_path)[0])
    assert b"s3cret" not in strings_in(tmp_path / "saved")
    assert "environment\nvariables" in (tmp_path / "saved" / README).read_text()


def test_workloads_are_written_too(tmp_path: Path) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]}}
    job = {"metadata": {"name": "j", "namespace": "default"}, "spec": {"suspend": True, "template": template}}
    active = {"metadata": {"name": "k"}, "spec": {"parallelism": 1, "template": template}, "status": {"active": 1}}
    made = parts(CloudView(), nodes=[page("Node", NODE)], jobs=[page("Job", job, active)])
    write(tmp_path / "saved", made)
    (one, two) = json.loads((tmp_path / "saved" / "jobs.json").read_text())["items"]
    assert one == {"apiVersion": "batch/v1", "kind": "Job", **job}
    assert two["status"] == {"active": 1}
    kube, _ = bundle.read(tmp_path / "saved", Scope(templates=True))
    assert [unplaced.template for unplaced in kube.unplaced] == ["Job default/j"]


MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("state", list(DiskState))
def test_every_disk_image_survives_the_round_trip(state: DiskState) -> None:
    deprecated = state in (DiskState.DEPRECATED, DiskState.OBSOLETE)
    replacement = "projects/p/global/images/b" if deprecated else ""
    one = DiskImage(A, state, "1", MADE, 10, 5, "arm64", "f", {"a": "b"}, "text", replacement)
    assert disk_image_of(image_document(one)) == one
    assert disk_image_of(image_document(DiskImage(A, state))) == DiskImage(A, state)


def test_a_record_from_cloud_storage_travels_along() -> None:
    held = Contents((CachedImage(parse("nginx:1.27"), DIGEST, platform="linux/amd64"),), MADE, "b 1")
    text = record.link("Image cache", "gs://b/o", "0" * 64)
    found = disk_image_of(image_document(DiskImage(A, DiskState.READY, description=text, contents=held)))
    packed = CachedImage(parse("nginx:1.27"), short_digest(DIGEST), platform="linux/amd64")
    assert found.contents == Contents((packed,), MADE, "b 1")


def test_an_older_bundle_is_replaced_anything_else_is_not(tmp_path: Path) -> None:
    made, _ = everything(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    write(saved, made)
    (saved / "old.json").write_text("{}", encoding="utf-8")
    write(saved, made)
    assert not (saved / "old.json").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(BadUsage, match="is not empty and not a bundle"):
        write(mine, made)
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]
    with pytest.raises(BadUsage, match="is a file"):
        write(mine / "thesis.txt", made)


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def breaks() -> Iterable[bytes]:
        yield page("Pod", POD)
        raise RuntimeError("the network went away")

    write(tmp_path / "saved", everything(tmp_path)[0])
    before = strings_in(tmp_path)
    with pytest.raises(RuntimeError):
        write(tmp_path / "saved", parts(CloudView(), pods=breaks()))
    assert strings_in(tmp_path) == before


def test_the_real_kubectl_reads_what_is_written(tmp_path: Path) -> None:
    write(tmp_path / "saved", everything(tmp_path)[0])
    command = ["kubectl", "annotate", "--local", "-f", "saved/nodes.json", "a=b", "-o", "jsonpath={.metadata.name}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "n1"
