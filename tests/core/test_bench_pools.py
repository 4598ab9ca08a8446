from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from kubectl_imagecache.core.bench import BenchNode, BenchPlan, MadePool
from kubectl_imagecache.core.bench_cost import bench_cost
from kubectl_imagecache.core.bench_pools import (
    Difference,
    PoolFacts,
    differences,
    facts_from_nodes,
    facts_of,
    made_pools,
    pool_json,
    pool_names,
    run_id,
    runs_of,
    with_nodes,
)
from kubectl_imagecache.core.pools import DiskImageRef, Taint

NOW = datetime(2026, 1, 15, 9, 0, tzinfo=timezone.utc)
DISK = DiskImageRef("acme", "models-1")
RAW: dict[str, Any] = {
    "name": "web",
    "version": "1.32.9-gke.1",
    "status": "RUNNING",
    "etag": "x",
    "selfLink": "https://x",
    "initialNodeCount": 9,
    "locations": ["z-b", "z-a"],
    "autoscaling": {"enabled": True, "maxNodeCount": 5},
    "instanceGroupUrls": ["https://x/g"],
    "management": {"autoRepair": True, "upgradeOptions": {}},
    "networkConfig": {"podRange": "pods", "podIpv4CidrBlock": "10.0.0.0/14", "podIpv4RangeUtilization": 0.5},
    "config": {
        "machineType": "n2-standard-8",
        "diskType": "pd-balanced",
        "diskSizeGb": 100,
        "effectiveCgroupMode": "V2",
        "kubeletConfig": {"maxParallelImagePulls": 4},
        "ephemeralStorageLocalSsdConfig": {"localSsdCount": 2},
        "gcfsConfig": {"enabled": True},
        "secondaryBootDisks": [{"diskImage": "global/images/old", "mode": "CONTAINER_IMAGE_CACHE"}],
        "resourceLabels": {"team": "ml", "imagecache-roll-from": "old"},
        "taints": [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}],
        "futureField": {"kept": True},
    },
}
FACTS = PoolFacts("web", "n2-standard-8", "pd-balanced", 100, 0, ("z-a",))


def test_the_facts_of_a_pool_are_told_by_gke() -> None:
    assert facts_of(RAW, "acme") == PoolFacts(
        "web",
        "n2-standard-8",
        "pd-balanced",
        100,
        2,
        ("z-a", "z-b"),
        4,
        "1.32.9-gke.1",
        True,
        "projects/acme/global/images/old",
        True,
        10,
        (Taint("gpu", "yes", "NoSchedule"),),
    )


def test_the_newer_spelling_of_boot_disks_and_the_clusters_default_of_streaming_are_understood() -> None:
    raw = {"name": "p", "config": {"bootDisk": {"diskType": "hyperdisk-balanced", "sizeGb": "200"}}}
    found = facts_of(raw, "acme", streaming_default=True)
    assert (found.disk_type, found.disk_gb, found.streaming) == ("hyperdisk-balanced", 200, True)
    assert facts_of({"name": "p"}, "acme") == PoolFacts("p", streaming=False, autoscaled=False)


def test_a_gpu_pool_without_nodes_will_have_its_taint() -> None:
    assert facts_of({"name": "p", "config": {"accelerators": [{"acceleratorCount": "1"}]}}, "acme").taints == (
        Taint("nvidia.com/gpu", "present", "NoSchedule"),
    )


def test_nodes_add_their_taints_but_not_those_of_a_passing_condition() -> None:
    found = (Taint("x", "1", "NoSchedule"), Taint("node.kubernetes.io/not-ready", "", "NoExecute"))
    nodes = [BenchNode("n", "web", taints=found), BenchNode("m", "web", taints=(Taint("x", "1", "NoSchedule"),))]
    assert with_nodes(FACTS, nodes).taints == (Taint("x", "1", "NoSchedule"),)


def test_where_gke_cannot_be_asked_labels_tell() -> None:
    disk = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-models-1"
    labels = {
        "node.kubernetes.io/instance-type": "n2-standard-8",
        "cloud.google.com/gke-boot-disk": "pd-ssd",
        "topology.kubernetes.io/zone": "z-a",
        "cloud.google.com/gke-image-streaming": "true",
        disk: "CONTAINER_IMAGE_CACHE.acme",
    }
    assert facts_from_nodes("web", [BenchNode("n", "web", labels=labels)]) == PoolFacts(
        "web", "n2-standard-8", "pd-ssd", zones=("z-a",), streaming=True, cache_disk=str(DISK), known_from="nodes"
    )


def test_pools_that_differ_only_in_the_way_are_alike() -> None:
    others = [replace(FACTS, name="b", streaming=True), replace(FACTS, name="c", cache_disk=str(DISK), version="1.33")]
    assert differences([FACTS, *others]) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"machine_type": "e2-medium"}, Difference("machine type", (("web", "n2-standard-8"), ("b", "e2-medium")))),
        ({"disk_type": "pd-ssd"}, Difference("boot disk type", (("web", "pd-balanced"), ("b", "pd-ssd")))),
        ({"disk_gb": 200}, Difference("boot disk size", (("web", "100 GB"), ("b", "200 GB")))),
        ({"zones": ("z-b",)}, Difference("zones", (("web", "z-a"), ("b", "z-b")))),
        ({"local_ssds": 1}, Difference("local SSDs", (("web", "0"), ("b", "1")))),
        ({"parallel_pulls": 5}, Difference("parallel pulls", (("web", "GKE's default"), ("b", "5")))),
    ],
)
def test_pools_that_differ_in_what_decides_a_pulls_time_are_told(change: dict[str, Any], expected: Difference) -> None:
    assert differences([FACTS, replace(FACTS, name="b", **change)]) == (expected,)


def test_what_is_not_known_differs_from_nothing() -> None:
    unknown = PoolFacts("b", known_from="nodes")
    assert differences([FACTS, unknown]) == ()


PLAN = BenchPlan("nginx", (), nodes=2, repeat=2, make_pools=True, like="web", disk_image=DISK)


def test_a_pool_that_is_made_is_like_its_model_but_for_the_way_its_size_and_its_labels() -> None:
    made = {name: pool_json(PLAN, "0a1b2c", name, RAW, "lab", NOW) for name in pool_names("0a1b2c")}
    registry, streaming, disk = made.values()
    assert registry == {
        "name": "imagecache-bench-0a1b2c-registry",
        "initialNodeCount": 4,
        "locations": ["z-a"],
        "management": {"autoRepair": True},
        "networkConfig": {"podRange": "pods", "createPodRange": False},
        "config": {
            "machineType": "n2-standard-8",
            "diskType": "pd-balanced",
            "diskSizeGb": 100,
            "kubeletConfig": {"maxParallelImagePulls": 4},
            "ephemeralStorageLocalSsdConfig": {"localSsdCount": 2},
            "gcfsConfig": {"enabled": False},
            "resourceLabels": {
                "team": "ml",
                "imagecache-bench-run": "0a1b2c",
                "imagecache-bench-namespace": "lab",
                "imagecache-bench-expires": "1768467600",
            },
            "taints": [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}],
            "futureField": {"kept": True},
        },
    }
    assert "secondaryBootDisks" not in streaming["config"]
    assert disk["config"]["secondaryBootDisks"] == [{"diskImage": str(DISK), "mode": "CONTAINER_IMAGE_CACHE"}]
    assert [pool["config"]["gcfsConfig"]["enabled"] for pool in (streaming, disk)] == [True, True]
    assert all(len(name) <= 40 for name in made)
    assert RAW["config"]["secondaryBootDisks"][0]["diskImage"] == "global/images/old"


def test_the_pools_of_a_run_are_found_by_their_labels_and_others_left_alone() -> None:
    mine = pool_json(PLAN, "0a1b2c", "imagecache-bench-0a1b2c-disk", RAW, "lab", NOW)
    theirs = pool_json(PLAN, "ffffff", "imagecache-bench-ffffff-disk", RAW, "dev", NOW)
    odd = {
        "name": "x",
        "config": {"resourceLabels": {"imagecache-bench-run": "../..", "imagecache-bench-expires": "1"}},
    }
    every = [RAW, {**mine, "status": "ERROR", "statusMessage": "no"}, theirs, odd]
    assert made_pools(every, "0a1b2c") == (MadePool("imagecache-bench-0a1b2c-disk", "ERROR", "no"),)
    assert runs_of(every) == {"0a1b2c": ("lab", NOW.timestamp()), "ffffff": ("dev", NOW.timestamp())}


def test_a_runs_id_is_its_makers_and_its_moments() -> None:
    assert run_id("a@b/1", NOW) == run_id("a@b/1", NOW) != run_id("a@b/2", NOW)
    assert len(run_id("a@b/1", NOW)) == 6


def test_what_pools_cost_is_told_from_their_machines_and_the_time_they_take() -> None:
    found = bench_cost(PLAN, 3, 8, 32.0, 100)
    assert (found.pools, found.nodes, round(found.hours, 2)) == (3, 12, 0.75)
    assert found.dollars == pytest.approx(12 * 0.75 * (8 * 0.0316 + 32 * 0.0042 + 100 * 0.10 / 730))
    assert bench_cost(PLAN, 3, 0, 0.0, 100).dollars is None
