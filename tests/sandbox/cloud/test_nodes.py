from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubectl_imagecache.sandbox.cloud.catalogue import MachineType, machine_type
from kubectl_imagecache.sandbox.cloud.enums import named
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED, Placement, node
from tests.sandbox.cloud.factories import CloudSandbox, pool

PLACEMENT = Placement(
    "n-1", "sandbox-project", "demo", "us-central1-a", "42", "10.132.0.2", 300, "2026-01-15T09:00:00Z"
)
STANDARD = MachineType("e2-standard-4", 4, 16384, "amd64")


def made(machine: MachineType = STANDARD, streaming: bool = True, **config: Any) -> dict[str, Any]:
    return node(pool(**config) | {"version": "1.32.9-gke.1130000"}, PLACEMENT, machine, streaming)


def test_node_reads_as_gkes_do() -> None:
    found = made(labels={"team": "web"}, taints=[{"key": "gpu", "value": "yes", "effect": "NO_EXECUTE"}])

    labels = found["metadata"]["labels"]
    assert {key: labels[key] for key in labels if "gke" in key or key in ("team", "kubernetes.io/hostname")} == {
        f"{RESTRICTED}/gke-secondary-boot-disk-cache-1": "CONTAINER_IMAGE_CACHE.sandbox-project",
        "cloud.google.com/gke-boot-disk": "pd-balanced",
        "cloud.google.com/gke-container-runtime": "containerd",
        "cloud.google.com/gke-cpu-scaling-level": "4",
        "cloud.google.com/gke-image-streaming": "true",
        "cloud.google.com/gke-logging-variant": "DEFAULT",
        "cloud.google.com/gke-max-pods-per-node": "110",
        "cloud.google.com/gke-memory-gb-scaling-level": "16",
        "cloud.google.com/gke-nodepool": "web",
        "cloud.google.com/gke-os-distribution": "cos",
        "cloud.google.com/gke-provisioning": "standard",
        "cloud.google.com/gke-stack-type": "IPV4",
        "topology.gke.io/zone": "us-central1-a",
        "kubernetes.io/hostname": "n-1",
        "team": "web",
    }  # fmt: skip
    assert found["spec"] == {
        "podCIDR": "10.5.44.0/24",
        "podCIDRs": ["10.5.44.0/24"],
        "providerID": "gce://sandbox-project/us-central1-a/n-1",
        "taints": [{"key": "gpu", "value": "yes", "effect": "NoExecute"}],
    }
    info = found["status"]["nodeInfo"]
    assert (info["kubeletVersion"], info["containerRuntimeVersion"]) == ("v1.32.9-gke.1130000", "containerd://1.7.24")
    assert found["status"]["allocatable"]["cpu"] == "3920m"
    assert found["status"]["conditions"][-1]["status"] == "True"


def test_disk_image_name_too_long_for_a_label_shows_none() -> None:
    labels = [made(secondaryBootDisks=[{"diskImage": f"global/images/{'i' * length}", "mode": "CONTAINER_IMAGE_CACHE"}])
              ["metadata"]["labels"] for length in (39, 40)]  # fmt: skip

    assert [any("secondary-boot-disk" in key for key in found) for found in labels] == [True, False]


def test_arm_nodes_are_labelled_and_tainted() -> None:
    arm = machine_type("t2a-standard-4")
    assert arm is not None
    found = made(arm)

    taint = {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"}
    assert (found["metadata"]["labels"]["kubernetes.io/arch"], found["spec"]["taints"]) == ("arm64", [taint])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("e2-medium", (2, 4096, "amd64")),
        ("n2-highmem-8", (8, 65536, "amd64")),
        ("c4a-standard-2", (2, 8192, "arm64")),
        ("n2-custom-6-10240", (6, 10240, "amd64")),
        ("n1-standard-7", None),
        ("x1-standard-4", None),
    ],
)
def test_machine_types_have_their_size(name: str, expected: tuple[int, int, str] | None) -> None:
    found = machine_type(name)
    assert (found and (found.cpus, found.memory_mb, found.arch)) == expected


def test_enum_numbers_become_names_and_other_numbers_stay() -> None:
    def config(mode: object, effect: object) -> dict[str, Any]:
        return {"secondaryBootDisks": [{"mode": mode}], "taints": [{"effect": effect}], "spot": True}

    sent = {"initialNodeCount": 1, "config": config(1, 3)}
    assert named(sent) == {"initialNodeCount": 1, "config": config("CONTAINER_IMAGE_CACHE", "NO_EXECUTE")}


def test_same_calls_make_the_same_names(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool(nodes=2))

    assert list(sandbox.nodes.nodes) == ["gke-demo-web-52a18508-cpcd", "gke-demo-web-52a18508-xplt"]


def test_the_first_cache_disk_of_a_disk_image_in_a_zone_keeps_its_node_longer(sandbox: CloudSandbox) -> None:
    cloud = sandbox.cloud
    cloud.state.timing = replace(cloud.state.timing, kubelet_s=20.0, first_disk_s=30.0)
    cloud.add_image({"name": "cache-2"})
    zones = ["us-central1-a", "us-central1-b"]
    cloud.add_pool("demo", pool("web") | {"locations": zones})
    cloud.grow_pool("demo", "web", 2)
    cloud.add_pool("demo", pool("again"))
    cloud.add_pool("demo", pool("other", image="global/images/cache-2"))
    cloud.add_pool("demo", pool("plain", secondaryBootDisks=[]))

    assert list(sandbox.nodes.kubelet_s.values()) == [50.0, 50.0, 20.0, 20.0, 20.0, 50.0, 20.0]
