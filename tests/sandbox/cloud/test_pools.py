from __future__ import annotations

from typing import Any

import pytest

from kubectl_imagecache.sandbox.cloud.nodes import PLAIN, RESTRICTED
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from tests.sandbox.cloud.factories import CACHE_IMAGE, LAYERS, PROJECT, ZONE, CloudSandbox, pool

REGIONAL = "locations/us-central1/clusters"
ZONAL = f"zones/{ZONE}/clusters"
POOLS = "locations/us-central1/clusters/demo/nodePools"


def create(sandbox: CloudSandbox, wanted: dict[str, Any]) -> dict[str, Any]:
    status, operation = sandbox.gke("POST", POOLS, {"nodePool": wanted})
    assert status == 200, operation
    found: dict[str, Any] = operation
    return found


def operation(sandbox: CloudSandbox, begun: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.gke("GET", f"locations/us-central1/operations/{begun['name']}")[1]
    return found


def state(sandbox: CloudSandbox, name: str = "web") -> str:
    return str(sandbox.gke("GET", f"{POOLS}/{name}")[1]["status"])


def test_pool_is_provisioning_until_its_nodes_are_there_and_then_running(sandbox: CloudSandbox) -> None:
    begun = create(sandbox, pool(nodes=2))
    seen = [(operation(sandbox, begun)["status"], state(sandbox), len(sandbox.nodes.nodes))]
    for seconds in (3, 55, 10):
        sandbox.advance(seconds)
        seen.append((operation(sandbox, begun)["status"], state(sandbox), len(sandbox.nodes.nodes)))

    assert seen == [
        ("PENDING", "PROVISIONING", 0),
        ("RUNNING", "PROVISIONING", 0),
        ("RUNNING", "PROVISIONING", 2),
        ("DONE", "RUNNING", 2),
    ]
    assert "error" not in operation(sandbox, begun)


def test_nodes_hold_the_layers_of_their_cache_disk_and_stream(sandbox: CloudSandbox) -> None:
    create(sandbox, pool())
    sandbox.advance(90)

    assert list(sandbox.nodes.caches.values()) == [NodeCache(LAYERS, streaming=True)]


def test_disk_without_the_cache_mode_caches_nothing_and_shows_no_label(sandbox: CloudSandbox) -> None:
    plain = pool(secondaryBootDisks=[{"diskImage": CACHE_IMAGE}])
    sandbox.cloud.add_pool("demo", plain)

    (node,) = sandbox.nodes.nodes.values()
    assert list(sandbox.nodes.caches.values()) == [NodeCache(frozenset(), streaming=True)]
    assert [key for key in node["metadata"]["labels"] if "secondary-boot-disk" in key] == []


def test_missing_disk_image_is_accepted_and_leaves_the_pool_in_error(sandbox: CloudSandbox) -> None:
    begun = create(sandbox, pool(image="global/images/nope"))
    sandbox.advance(90)

    ended = operation(sandbox, begun)
    assert (ended["status"], ended["error"]["code"], state(sandbox)) == ("DONE", 5, "ERROR")
    assert ended["error"]["message"].endswith(
        f"creation failed: The resource 'projects/{PROJECT}/global/images/nope' was not found"
    )
    assert sandbox.gke("GET", f"{POOLS}/web")[1]["statusMessage"] == ended["error"]["message"]
    assert sandbox.nodes.nodes == {}


def test_second_operation_is_refused_while_one_is_under_way(sandbox: CloudSandbox) -> None:
    begun = create(sandbox, pool())

    status, body = sandbox.gke("POST", POOLS, {"nodePool": pool("other")})

    message = f"Cluster is running incompatible operation {begun['name']}."
    assert (status, body["error"]["status"], body["error"]["message"]) == (400, "FAILED_PRECONDITION", message)
    sandbox.advance(90)
    create(sandbox, pool("other"))


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", f"{POOLS}/nope", None, (404, "NOT_FOUND", f"projects/{PROJECT}/{POOLS}/nope")),
        ("DELETE", f"{POOLS}/nope", None, (404, "NOT_FOUND", f"projects/{PROJECT}/{POOLS}/nope")),
        ("GET", f"{REGIONAL}/x", None, (404, "NOT_FOUND", f"projects/{PROJECT}/{REGIONAL}/x")),
        ("GET", f"{ZONAL}/x", None, (404, "NOT_FOUND", f"projects/{PROJECT}/{ZONAL}/x")),
        ("POST", POOLS, {"nodePool": pool("kept")}, (409, "ALREADY_EXISTS", f"projects/{PROJECT}/{POOLS}/kept")),
        ("POST", POOLS, {"nodePool": pool("Bad")}, (400, "INVALID_ARGUMENT", "Bad")),
        ("POST", POOLS, {"nodePool": pool("n" * 41)}, (400, "INVALID_ARGUMENT", "n" * 41)),
        ("POST", POOLS, {"nodePool": pool(machineType="z9-standard-4")}, (400, "INVALID_ARGUMENT", "z9-standard-4")),
        ("POST", POOLS, {"nodePool": pool() | {"version": "1.2.3-gke.4"}}, (400, "INVALID_ARGUMENT", "1.2.3-gke.4")),
        ("POST", POOLS, {"nodePool": pool() | {"locations": ["us-east1-b"]}}, (400, "INVALID_ARGUMENT", "us-east1-b")),
    ],
)  # fmt: skip
def test_refusals_are_worded_as_gke_does(
    sandbox: CloudSandbox, method: str, path: str, body: Any, expected: tuple[int, str, str]
) -> None:
    sandbox.cloud.add_pool("demo", pool("kept"))

    status, answer = sandbox.gke(method, path, body)

    assert (status, answer["error"]["status"]) == expected[:2]
    assert expected[2] in answer["error"]["message"]


def test_deleted_pool_takes_nodes_instances_and_disks_with_it(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool(nodes=2))
    names = set(sandbox.nodes.nodes)

    assert sandbox.gke("DELETE", f"{POOLS}/web")[0] == 200
    assert state(sandbox) == "STOPPING"
    sandbox.advance(60)

    assert set(sandbox.nodes.gone) == names
    assert sandbox.gke("GET", POOLS) == (200, {})
    for kind in ("instances", "disks", "instanceGroupManagers"):
        assert "items" not in sandbox.compute("GET", f"zones/{ZONE}/{kind}")[1]


def test_size_is_for_each_zone_and_the_group_tells_it(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool() | {"locations": [ZONE, "us-central1-b"]})

    sandbox.gke("POST", f"{POOLS}/web:setSize", {"nodeCount": 3})
    sandbox.advance(90)
    grown = len(sandbox.nodes.nodes)
    sandbox.gke("POST", f"{POOLS}/web:setSize", {"nodeCount": 0})
    sandbox.advance(120)

    urls = sandbox.gke("GET", f"{POOLS}/web")[1]["instanceGroupUrls"]
    sizes = [sandbox.compute("GET", url.partition(f"{PROJECT}/")[2])[1]["targetSize"] for url in urls]
    assert (grown, len(sandbox.nodes.nodes), sizes) == (6, 0, [0, 0])


def test_autoscaling_and_management_are_set(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool() | {"autoscaling": {"enabled": True, "minNodeCount": 1, "maxNodeCount": 5}})

    sandbox.gke("POST", f"{POOLS}/web:setAutoscaling", {"autoscaling": {"enabled": False}})
    sandbox.advance(30)
    sandbox.gke("POST", f"{POOLS}/web:setManagement", {"management": {"autoRepair": True}})
    sandbox.advance(30)

    found = sandbox.gke("GET", f"{POOLS}/web")[1]
    assert (found["autoscaling"], found["management"]) == ({}, {"autoRepair": True})


def test_upgrade_replaces_every_node(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool(nodes=2))
    before = set(sandbox.nodes.nodes)

    sandbox.gke("PUT", f"{POOLS}/web", {"nodeVersion": "1.33.4-gke.1350000"})
    sandbox.advance(300)

    versions = {node["status"]["nodeInfo"]["kubeletVersion"] for node in sandbox.nodes.nodes.values()}
    assert (state(sandbox), versions, before & set(sandbox.nodes.nodes)) == ("RUNNING", {"v1.33.4-gke.1350000"}, set())


def test_ordered_failure_ends_the_operation_and_leaves_a_partial_pool(sandbox: CloudSandbox) -> None:
    sandbox.cloud.fail_operation(
        "CREATE_NODE_POOL", code=503, status="RESOURCE_EXHAUSTED", reason="GCE_STOCKOUT", message="Out of machines."
    )
    begun = create(sandbox, pool())
    sandbox.advance(90)

    assert operation(sandbox, begun)["error"] == {"code": 8, "message": "Out of machines."}
    assert state(sandbox) == "ERROR"
    sandbox.gke("DELETE", f"{POOLS}/web")
    sandbox.advance(60)
    create(sandbox, pool())
    sandbox.advance(90)
    assert state(sandbox) == "RUNNING"


def test_cancelled_operation_aborts_and_ends(sandbox: CloudSandbox) -> None:
    begun = create(sandbox, pool())
    sandbox.advance(5)
    path = f"locations/us-central1/operations/{begun['name']}"

    assert sandbox.gke("POST", f"{path}:cancel", {}) == (200, {})
    assert operation(sandbox, begun)["status"] == "ABORTING"
    sandbox.advance(90)

    assert operation(sandbox, begun)["error"] == {"code": 1, "message": "Operation was aborted."}
    assert sandbox.gke("POST", f"{path}:cancel", {})[0] == 400


def test_quota_is_counted_when_a_pool_grows(sandbox: CloudSandbox) -> None:
    sandbox.cloud.limit("CPUS", 10)
    begun = create(sandbox, pool(nodes=3))
    sandbox.advance(90)

    message = "Quota 'CPUS' exceeded.  Limit: 10 in region us-central1."
    assert operation(sandbox, begun)["error"]["message"] == message


@pytest.mark.parametrize("prefix", [RESTRICTED, PLAIN])
def test_cache_disk_label_has_either_spelling(sandbox: CloudSandbox, prefix: str) -> None:
    sandbox.cloud.add_pool("demo", pool(nodes=2), label_prefix=prefix, unlabelled=1)

    labels = [node["metadata"]["labels"] for node in sandbox.nodes.nodes.values()]
    key = f"{prefix}/gke-secondary-boot-disk-cache-1"
    assert [found.get(key) for found in labels] == [None, f"CONTAINER_IMAGE_CACHE.{PROJECT}"]


def test_instance_of_a_node_tells_its_cache_disk(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool())
    (name,) = sandbox.nodes.nodes

    instance = sandbox.compute("GET", f"zones/{ZONE}/instances/{name}")[1]
    disk = sandbox.compute("GET", f"zones/{ZONE}/disks/{name}-1")[1]
    image = sandbox.compute("GET", "global/images/cache-1")[1]
    assert [entry["deviceName"] for entry in instance["disks"]] == ["persistent-disk-0", "gke-cache-1-disk"]
    assert (disk["sourceImage"], disk["sourceImageId"]) == (image["selfLink"], image["id"])


def test_template_of_a_pool_names_its_disk_image_and_goes_with_the_pool(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool())

    scopes = sandbox.compute("GET", "aggregated/instanceTemplates")[1]["items"]
    (template,) = scopes["global"]["instanceTemplates"]
    sources = [disk["initializeParams"]["sourceImage"] for disk in template["properties"]["disks"]]
    assert sources[1] == sandbox.compute("GET", "global/images/cache-1")[1]["selfLink"]
    assert sandbox.compute("GET", f"global/instanceTemplates/{template['name']}") == (200, template)

    sandbox.gke("DELETE", f"{POOLS}/web")
    sandbox.advance(60)
    assert "items" not in sandbox.compute("GET", "global/instanceTemplates")[1]


def test_clusters_are_listed_for_one_location_and_for_all(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_cluster("zonal", "europe-west1-b")
    sandbox.cloud.add_pool("demo", pool(nodes=2))

    everywhere = sandbox.gke("GET", "locations/-/clusters")[1]["clusters"]
    here = sandbox.gke("GET", "zones/europe-west1-b/clusters")[1]["clusters"]
    assert [(c["name"], c["location"], c.get("currentNodeCount")) for c in everywhere] == [
        ("zonal", "europe-west1-b", None),
        ("demo", "us-central1", 2),
    ]
    assert [c["selfLink"] for c in here] == [
        f"https://container.googleapis.com/v1/projects/{PROJECT}/zones/europe-west1-b/clusters/zonal"
    ]


def test_cluster_is_made_with_a_pool_and_deleted_with_it(sandbox: CloudSandbox) -> None:
    status, begun = sandbox.gke(
        "POST", "locations/us-central1-b/clusters", {"cluster": {"name": "new", "initialNodeCount": 1}}
    )
    assert status == 200, begun
    sandbox.advance(600)
    made = sandbox.gke("GET", "locations/us-central1-b/clusters/new")[1]
    assert (made["status"], made["currentNodeCount"], made["nodePools"][0]["status"]) == ("RUNNING", 1, "RUNNING")

    sandbox.gke("DELETE", "locations/us-central1-b/clusters/new")
    sandbox.advance(600)
    assert sandbox.gke("GET", "locations/us-central1-b/clusters/new")[0] == 404
    assert sandbox.nodes.nodes == {}


def test_node_whose_instance_is_deleted_is_replaced(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool(nodes=2))
    first, second = sandbox.nodes.nodes

    sandbox.finish(sandbox.compute("DELETE", f"zones/{ZONE}/instances/{first}"))
    left = list(sandbox.nodes.nodes)
    sandbox.advance(60)

    assert left == [second]
    assert (len(sandbox.nodes.nodes), sandbox.nodes.gone) == (2, [first])


def test_replacement_fails_when_the_disk_image_is_gone(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool())
    sandbox.cloud.remove_image("cache-1")

    (name,) = sandbox.nodes.nodes
    sandbox.finish(sandbox.compute("DELETE", f"zones/{ZONE}/instances/{name}"))
    sandbox.advance(60)

    assert (state(sandbox), sandbox.nodes.nodes) == ("RUNNING_WITH_ERROR", {})


def test_pool_read_from_gke_can_be_sent_back_as_another(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool() | {"status": "ERROR", "statusMessage": "It broke."})
    read = sandbox.gke("GET", f"{POOLS}/web")[1]

    create(sandbox, read | {"name": "next"})
    sandbox.advance(90)

    made = sandbox.gke("GET", f"{POOLS}/next")[1]
    assert (read["status"], made["status"], "statusMessage" in made) == ("ERROR", "RUNNING", False)
    assert made["config"] == read["config"]


def test_cluster_with_a_bad_pool_is_not_begun(sandbox: CloudSandbox) -> None:
    wanted = {"name": "new", "nodePools": [pool("Bad")]}

    assert sandbox.gke("POST", "locations/us-central1-b/clusters", {"cluster": wanted})[0] == 400
    assert sandbox.gke("GET", "locations/us-central1-b/clusters/new")[0] == 404


@pytest.mark.parametrize(
    "limits",
    [
        {"enabled": True, "minNodeCount": 6, "maxNodeCount": 5},
        {"enabled": True, "totalMinNodeCount": 6, "totalMaxNodeCount": 5},
        {"enabled": True, "maxNodeCount": 5, "totalMaxNodeCount": 9},
    ],
)
def test_limits_that_exclude_each_other_are_refused(sandbox: CloudSandbox, limits: dict[str, Any]) -> None:
    sandbox.cloud.add_pool("demo", pool())
    assert sandbox.gke("POST", f"{POOLS}/web:setAutoscaling", {"autoscaling": limits})[0] == 400
    assert sandbox.gke("POST", POOLS, {"nodePool": pool() | {"name": "two", "autoscaling": limits}})[0] == 400


def test_gvisor_nodes_get_their_taint_from_gke_and_from_nobody_else(sandbox: CloudSandbox) -> None:
    sandboxed = pool(sandboxConfig={"type": "GVISOR"})
    sandbox.cloud.add_pool("demo", sandboxed)
    found = sandbox.gke("GET", f"{POOLS}/web")[1]["config"]
    assert [taint["key"] for taint in found["taints"]] == ["sandbox.gke.io/runtime"]
    assert found["labels"]["sandbox.gke.io/runtime"] == "gvisor"
    given = pool(sandboxConfig={"type": "GVISOR"}, taints=found["taints"]) | {"name": "two"}
    status, said = sandbox.gke("POST", POOLS, {"nodePool": given})
    assert (status, "managed by GKE and must not be manually specified" in str(said)) == (400, True)
