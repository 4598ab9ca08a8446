"""Google's own Python clients against the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1, container_v1

from kubectl_imagecache.sandbox.cloud import Held
from tests.sandbox.cloud.factories import CACHE_IMAGE, LAYERS, PROJECT, ZONE, CloudSandbox, pool

CLUSTER = f"projects/{PROJECT}/locations/us-central1/clusters/demo"


def anonymous() -> Any:
    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def gke(sandbox: CloudSandbox) -> container_v1.ClusterManagerClient:
    return container_v1.ClusterManagerClient(
        transport="rest", credentials=anonymous(), client_options=ClientOptions(api_endpoint=sandbox.gke_url)
    )


def test_container_client_creates_reads_changes_and_deletes_a_pool(sandbox: CloudSandbox) -> None:
    client = gke(sandbox)
    disk = container_v1.SecondaryBootDisk(
        disk_image=CACHE_IMAGE, mode=container_v1.SecondaryBootDisk.Mode.CONTAINER_IMAGE_CACHE
    )
    wanted = container_v1.NodePool(
        name="made",
        initial_node_count=1,
        locations=[ZONE],
        config=container_v1.NodeConfig(
            machine_type="e2-standard-4",
            gcfs_config=container_v1.GcfsConfig(enabled=True),
            secondary_boot_disks=[disk],
            taints=[container_v1.NodeTaint(key="a", value="b", effect=container_v1.NodeTaint.Effect.NO_SCHEDULE)],
        ),
    )
    begun = client.create_node_pool(request={"parent": CLUSTER, "node_pool": wanted})
    # Over REST the client knows only the code: FAILED_PRECONDITION comes as its BadRequest.
    with pytest.raises(exceptions.BadRequest, match="Cluster is running incompatible operation"):
        client.set_node_pool_size(request={"name": f"{CLUSTER}/nodePools/made", "node_count": 2})
    sandbox.advance(90)

    place = f"projects/{PROJECT}/locations/us-central1/operations/{begun.name}"
    ended = client.get_operation(request={"name": place})
    made = client.get_node_pool(request={"name": f"{CLUSTER}/nodePools/made"})
    assert ended.status == container_v1.Operation.Status.DONE
    assert (made.status, list(made.config.secondary_boot_disks)) == (container_v1.NodePool.Status.RUNNING, [disk])
    assert next(iter(sandbox.nodes.nodes.values()))["spec"]["taints"][0]["effect"] == "NoSchedule"

    client.delete_node_pool(request={"name": f"{CLUSTER}/nodePools/made"})
    sandbox.advance(90)
    assert list(client.list_node_pools(request={"parent": CLUSTER}).node_pools) == []
    with pytest.raises(exceptions.NotFound, match="Not found: projects/"):
        client.get_node_pool(request={"name": f"{CLUSTER}/nodePools/made"})


def test_container_client_lists_clusters_and_versions(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_pool("demo", pool())
    client = gke(sandbox)

    (found,) = client.list_clusters(request={"parent": f"projects/{PROJECT}/locations/-"}).clusters
    offered = client.get_server_config(request={"name": f"projects/{PROJECT}/locations/us-central1"})
    assert (found.name, found.current_node_count, found.node_pools[0].name) == ("demo", 1, "web")
    assert found.current_master_version in offered.valid_node_versions


def test_compute_clients_build_an_image_on_a_vm(sandbox: CloudSandbox) -> None:
    sandbox.cloud.on_boot(lambda machine: machine.write_disk("cache", Held(frozenset({"sha256:cc"}))))
    options: dict[str, Any] = {
        "credentials": anonymous(),
        "client_options": ClientOptions(api_endpoint=sandbox.compute_url),
    }
    instances, images = compute_v1.InstancesClient(**options), compute_v1.ImagesClient(**options)
    zone_operations, operations = (
        compute_v1.ZoneOperationsClient(**options),
        compute_v1.GlobalOperationsClient(**options),
    )
    boot = compute_v1.AttachedDiskInitializeParams(source_image="projects/debian-cloud/global/images/family/debian-12")
    cache = compute_v1.AttachedDiskInitializeParams(disk_name="cache", disk_size_gb=20, source_image=CACHE_IMAGE)
    instance = compute_v1.Instance(
        name="builder",
        machine_type=f"zones/{ZONE}/machineTypes/e2-standard-4",
        disks=[
            compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=boot),
            compute_v1.AttachedDisk(device_name="cache", initialize_params=cache),
        ],
        network_interfaces=[compute_v1.NetworkInterface(network="global/networks/default")],
        scheduling=compute_v1.Scheduling(
            max_run_duration=compute_v1.Duration(seconds=3600), instance_termination_action="DELETE"
        ),
    )

    begun = instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=instance)
    done = zone_operations.wait(project=PROJECT, zone=ZONE, operation=begun.name)
    running_vm = instances.get(project=PROJECT, zone=ZONE, instance="builder")
    gone = instances.delete_unary(project=PROJECT, zone=ZONE, instance="builder")
    zone_operations.wait(project=PROJECT, zone=ZONE, operation=gone.name)
    image = compute_v1.Image(name="cache-2", source_disk=f"zones/{ZONE}/disks/cache", family="cache")
    made = images.insert_unary(project=PROJECT, image_resource=image)
    operations.wait(project=PROJECT, operation=made.name)

    assert (done.status, running_vm.status) == (compute_v1.Operation.Status.DONE, "RUNNING")
    assert images.get_from_family(project=PROJECT, family="cache").name == "cache-2"
    assert sandbox.cloud.contents(f"projects/{PROJECT}/global/images/cache-2") == {"sha256:cc"} != LAYERS
    with pytest.raises(exceptions.NotFound, match="was not found"):
        images.get(project=PROJECT, image="nope")


def test_compute_client_pages_through_images(sandbox: CloudSandbox) -> None:
    for number in range(5):
        sandbox.cloud.add_image({"name": f"more-{number}"})
    client = compute_v1.ImagesClient(
        credentials=anonymous(), client_options=ClientOptions(api_endpoint=sandbox.compute_url)
    )

    found = client.list(request={"project": PROJECT, "max_results": 2, "filter": "name:more"})

    assert [image.name for image in found] == [f"more-{number}" for number in range(5)]
