"""The real gcloud against the sandbox."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.cloud.factories import CACHE_IMAGE, PROJECT, ZONE, CloudSandbox, gcloud, pool, running

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on PATH")

IN_CLUSTER = ("--cluster=demo", "--location=us-central1")
IN_ZONE = f"--zone={ZONE}"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gcloud's folder, kept for all tests: it compiles and caches much on its first run."""
    return tmp_path_factory.mktemp("gcloud")


@pytest.fixture
def busy() -> Iterator[CloudSandbox]:
    """Time runs: gcloud polls."""
    with running(speed=300) as found:
        yield found


def read(sandbox: CloudSandbox, home: Path, *words: str) -> Any:
    """What gcloud prints as JSON."""
    done = gcloud(sandbox, home, *words, "--format=json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_gcloud_shows_clusters_and_pools(busy: CloudSandbox, home: Path) -> None:
    busy.cloud.add_pool("demo", pool(nodes=2))

    table = gcloud(busy, home, "container", "clusters", "list").stdout.splitlines()
    cluster = read(busy, home, "container", "clusters", "describe", "demo", "--location=us-central1")
    pools = read(busy, home, "container", "node-pools", "list", *IN_CLUSTER)

    assert table[0].split() == [
        *("NAME", "LOCATION", "MASTER_VERSION", "MASTER_IP"),
        *("MACHINE_TYPE", "NODE_VERSION", "NUM_NODES", "STATUS"),
    ]
    assert table[1].split()[-3:] == ["1.32.9-gke.1130000", "2", "RUNNING"]
    assert (cluster["nodePools"], pools[0]["config"]["secondaryBootDisks"]) == (
        pools,
        [{"diskImage": CACHE_IMAGE, "mode": "CONTAINER_IMAGE_CACHE"}],
    )


def test_gcloud_creates_describes_and_deletes_a_pool(busy: CloudSandbox, home: Path) -> None:
    disk = f"--secondary-boot-disk=disk-image={CACHE_IMAGE},mode=CONTAINER_IMAGE_CACHE"
    words = (
        "container",
        "node-pools",
        "create",
        "fast",
        *IN_CLUSTER,
        "--num-nodes=1",
        "--enable-image-streaming",
        disk,
    )
    made = gcloud(busy, home, *words)
    again = gcloud(busy, home, *words)
    shown = read(busy, home, "container", "node-pools", "describe", "fast", *IN_CLUSTER)
    deleted = gcloud(busy, home, "container", "node-pools", "delete", "fast", *IN_CLUSTER)

    assert made.returncode == 0, made.stderr
    assert (again.returncode, "Already exists" in again.stderr) == (1, True)
    assert (shown["status"], shown["config"]["gcfsConfig"], len(shown["locations"])) == (
        "RUNNING",
        {"enabled": True},
        3,
    )
    assert (deleted.returncode, "Deleted" in deleted.stderr) == (0, True)
    assert (busy.nodes.nodes, len(busy.nodes.gone)) == ({}, 3)


def test_gcloud_tells_why_a_pool_with_a_bad_disk_image_failed(busy: CloudSandbox, home: Path) -> None:
    disk = "--secondary-boot-disk=disk-image=global/images/nope,mode=CONTAINER_IMAGE_CACHE"
    made = gcloud(busy, home, "container", "node-pools", "create", "bad", *IN_CLUSTER, "--enable-image-streaming", disk)

    reason = f"The resource 'projects/{PROJECT}/global/images/nope' was not found"
    assert (made.returncode, reason in made.stderr) == (1, True)


def test_gcloud_makes_labels_deprecates_and_deletes_an_image(busy: CloudSandbox, home: Path) -> None:
    disk = gcloud(busy, home, "compute", "disks", "create", "d1", IN_ZONE, "--image=cache-1", "--type=pd-ssd")
    words = (
        "--source-disk=d1",
        f"--source-disk-zone={ZONE}",
        "--family=cache",
        "--labels=a=b",
        "--description=by hand",
    )
    made = gcloud(busy, home, "compute", "images", "create", "cache-2", *words)
    labelled = gcloud(busy, home, "compute", "images", "add-labels", "cache-2", "--labels=c=d")
    newest = read(busy, home, "compute", "images", "describe-from-family", "cache")
    deprecated = gcloud(
        busy, home, "compute", "images", "deprecate", "cache-2", "--state=DEPRECATED", "--replacement=cache-1"
    )
    shown = read(busy, home, "compute", "images", "describe", "cache-2")
    deleted = gcloud(busy, home, "compute", "images", "delete", "cache-2")
    listed = read(busy, home, "compute", "images", "list", "--no-standard-images", "--filter=family=cache")

    assert [done.stderr for done in (disk, made, labelled, deprecated, deleted) if done.returncode] == []
    assert (newest["name"], newest["labels"], newest["description"]) == ("cache-2", {"a": "b", "c": "d"}, "by hand")
    assert shown["deprecated"]["state"] == "DEPRECATED"
    assert [image["name"] for image in listed] == ["cache-1"]


def test_gcloud_lists_public_images_in_a_batch(busy: CloudSandbox, home: Path) -> None:
    listed = read(busy, home, "compute", "images", "list")

    projects = {image["selfLink"].partition("projects/")[2].partition("/")[0] for image in listed}
    assert projects == {PROJECT, "debian-cloud", "cos-cloud", "ubuntu-os-cloud"}


def test_gcloud_runs_an_instance_and_reads_its_serial_port(busy: CloudSandbox, home: Path) -> None:
    busy.cloud.on_boot(lambda machine: machine.write_serial(f"hello from {machine.metadata('who')}\n"))
    words = (
        "--image-family=debian-12",
        "--image-project=debian-cloud",
        "--metadata=who=me",
        "--create-disk=name=d2,size=20,auto-delete=no",
    )
    made = gcloud(busy, home, "compute", "instances", "create", "vm1", IN_ZONE, *words)
    output = gcloud(busy, home, "compute", "instances", "get-serial-port-output", "vm1", IN_ZONE)
    shown = read(busy, home, "compute", "instances", "list", "--filter=name=vm1")
    groups = gcloud(busy, home, "compute", "instance-groups", "managed", "list")
    deleted = gcloud(busy, home, "compute", "instances", "delete", "vm1", IN_ZONE)
    disks = read(busy, home, "compute", "disks", "list")
    missing = gcloud(busy, home, "compute", "instances", "describe", "vm1", IN_ZONE)

    assert [done.stderr for done in (made, output, groups, deleted) if done.returncode] == []
    assert output.stdout.startswith("hello from me\n")
    assert [(vm["name"], vm["status"], len(vm["disks"])) for vm in shown] == [("vm1", "RUNNING", 2)]
    assert [disk["name"] for disk in disks] == ["d2"]
    assert f"The resource 'projects/{PROJECT}/zones/{ZONE}/instances/vm1' was not found" in missing.stderr
