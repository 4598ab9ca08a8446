"""Managed instance groups of node pools, and the instances and disks of their nodes."""

from __future__ import annotations

from functools import partial

from kubectl_imagecache.sandbox.cloud import disks, machines, templates
from kubectl_imagecache.sandbox.cloud.catalogue import machine_type
from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field
from kubectl_imagecache.sandbox.cloud.instances import machine_fields
from kubectl_imagecache.sandbox.cloud.links import region_of, short, zone_of
from kubectl_imagecache.sandbox.cloud.nodes import Placement, cache_disks, node, secondary_disks
from kubectl_imagecache.sandbox.cloud.operations import start
from kubectl_imagecache.sandbox.cloud.resources import existing, label, new, pause, put, serve
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State, fingerprint
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache

ROUTES = Routes()

_BASE = "projects/{project}/zones/{zone}/instanceGroupManagers"
_SOURCE = "projects/cos-cloud/global/images/cos-117-18613-75-4"


def create(state: State, cluster: str, pool: Json, zone: str) -> Json:
    """An empty group for POOL in ZONE, in place."""
    stem = f"gke-{cluster[:20]}-{pool['name'][:20]}-{state.hex(8)}".replace("--", "-")
    base = f"projects/{state.project}/zones/{zone}"
    group = new(state, "instanceGroupManager", f"{base}/instanceGroupManagers/{stem}-grp")
    template = templates.of_pool(state, stem, pool)["selfLink"]
    group.update(
        zone=COMPUTE_URL + base,
        baseInstanceName=stem,
        instanceTemplate=template,
        instanceGroup=f"{COMPUTE_URL}{base}/instanceGroups/{stem}-grp",
        targetSize=0,
        fingerprint=fingerprint(stem),
        versions=[{"instanceTemplate": template, "targetSize": {"calculated": 0}}],
        updatePolicy={"type": "OPPORTUNISTIC", "minimalAction": "REPLACE"},
    )
    count(state, group, 0)
    put(state, group)
    return group


def count(state: State, group: Json, target: int) -> None:
    """Set how many instances GROUP wants, and what it is doing about it."""
    group["targetSize"] = target
    group["versions"][0]["targetSize"]["calculated"] = target
    there = size(state, group)
    busy = {"creating": max(0, target - there), "deleting": max(0, there - target), "none": min(there, target)}
    others = ("abandoning", "creatingWithoutRetries", "recreating", "refreshing", "restarting", "verifying")
    group["currentActions"] = dict.fromkeys(others, 0) | busy
    group["status"] = {"isStable": there == target, "versionTarget": {"isReached": there == target}}


def dissolve(state: State, group: Json) -> None:
    """Forget GROUP, which is empty, and its template."""
    for link in (group["selfLink"], group["instanceTemplate"]):
        state.drop(str(link).removeprefix(COMPUTE_URL))


def size(state: State, group: Json) -> int:
    """How many instances GROUP has."""
    return len(state.members.get(group["baseInstanceName"], {}))


def members(state: State, group: Json) -> list[Json]:
    """The instances of GROUP, oldest first."""
    return list(state.members.get(group["baseInstanceName"], {}).values())


def add_member(state: State, cluster: Json, pool: Json, group: Json, label_prefix: str) -> None:
    """Make an instance of GROUP with its disks, and let its Ready node join the cluster.

    Raise ApiError 404 or 400 for a secondary disk image that is missing or not READY.
    """
    taken = state.members.get(group["baseInstanceName"], {})
    name = f"{group['baseInstanceName']}-{state.suffix(4)}"
    while name in taken:
        name = f"{group['baseInstanceName']}-{state.suffix(4)}"
    try:
        path = _instance(state, cluster, pool, group, name)
    except ApiError as error:
        raise ApiError(
            error.code, f"Instance '{name}' creation failed: {error.message}", reason=error.reason
        ) from error
    instance = existing(state, path)
    machine = machine_type(short(instance["machineType"]))
    assert machine is not None
    placement = Placement(
        name=instance["name"],
        project=state.project,
        cluster=cluster["name"],
        zone=zone_of(path),
        instance_id=instance["id"],
        address=instance["networkInterfaces"][0]["networkIP"],
        index=len(state.boots),
        created=state.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    state.boots[path] = 1
    images = cache_disks(pool, state.project)
    held = frozenset[str]().union(*(state.holds(image).chain_ids for image in images))
    streaming = streams(cluster, pool)
    joining = node(pool, placement, machine, streaming, label_prefix)
    state.nodes.add_node(joining, NodeCache(held, streaming), _kubelet_s(state, images, placement.zone))
    count(state, group, int(group["targetSize"]))


def _kubelet_s(state: State, images: list[str], zone: str) -> float:
    """Seconds from a node's registering until it is Ready; its cache disks, made of IMAGES, count as made in ZONE."""
    made = {(image, zone) for image in images}
    first = bool(made - state.disks_made)
    state.disks_made |= made
    return state.timing.kubelet_s + (state.timing.first_disk_s if first else 0.0)


def streams(cluster: Json, pool: Json) -> bool:
    """Whether image streaming is on for POOL, by itself or by the cluster's default."""
    default = cluster.get("nodePoolDefaults", {}).get("nodeConfigDefaults", {}).get("gcfsConfig", {})
    return bool(pool.get("config", {}).get("gcfsConfig", default).get("enabled", False))


def _instance(state: State, cluster: Json, pool: Json, group: Json, name: str) -> str:
    config = pool.get("config", {})
    base = str(group["zone"]).removeprefix(COMPUTE_URL)
    zone = short(base)
    path = f"{base}/instances/{name}"
    instance = new(state, "instance", path) | machine_fields(state, state.project, zone, _wanted(cluster, pool))
    index = len(state.boots)
    instance.update(
        status="RUNNING",
        lastStartTimestamp=state.compute_time(),
        networkInterfaces=[
            {
                "kind": "compute#networkInterface",
                "name": "nic0",
                "network": f"{COMPUTE_URL}projects/{state.project}/global/networks/default",
                "subnetwork": f"{COMPUTE_URL}projects/{state.project}/regions/{region_of(zone)}/subnetworks/default",
                "networkIP": f"10.132.{index // 250}.{2 + index % 250}",
                "fingerprint": state.hex(12),
            }
        ],
    )
    label(
        instance,
        {"goog-gke-node": "", "goog-k8s-cluster-name": cluster["name"], "goog-k8s-node-pool-name": pool["name"]},
    )
    boot: Json = {"sizeGb": config.get("diskSizeGb", 100), "type": config.get("diskType", "pd-balanced")}
    made = [(disks.prepare(state, f"{base}/disks/{name}", boot), "persistent-disk-0")]
    for number, (image, _) in enumerate(secondary_disks(pool, state.project)):
        wanted = {"type": boot["type"], "sourceImage": image}
        disk = disks.prepare(state, f"{base}/disks/{name}-{number + 1}", wanted)
        made.append((disk, f"gke-{short(image)}-disk"))
    put(state, instance)
    state.members.setdefault(group["baseInstanceName"], {})[name] = instance
    instance["disks"] = []
    for number, (disk, device) in enumerate(made):
        entry = {"deviceName": device, "boot": number == 0, "autoDelete": True}
        instance["disks"].append(machines.attached(state, instance, entry, disk, number))
        disks.place(state, disk)
        disks.use(state, disk, instance)
    return path


def _wanted(cluster: Json, pool: Json) -> Json:
    config = pool.get("config", {})
    account = config.get("serviceAccount", "default")
    return {
        "machineType": config.get("machineType", "e2-medium"),
        "tags": {"items": [f"gke-{cluster['name']}-node", *config.get("tags", [])]},
        "metadata": {"items": [{"key": "cluster-name", "value": cluster["name"]}]},
        "serviceAccounts": [{"email": account, "scopes": config.get("oauthScopes", [])}],
        "scheduling": {"preemptible": bool(config.get("preemptible") or config.get("spot"))},
    }


def remove_member(state: State, group: Json, instance: Json) -> None:
    """Take the instance, its disks and its node away, and don't replace it."""
    count(state, group, min(int(group["targetSize"]), size(state, group) - 1))
    machines.take_away(state, str(instance["selfLink"]).removeprefix(COMPUTE_URL))
    count(state, group, int(group["targetSize"]))


def heal(state: State, instance: Json) -> None:
    """Take the node of INSTANCE, which is gone, out of the cluster; its group makes another one if it wants as many."""
    if "goog-gke-node" not in instance.get("labels", {}):
        return
    state.nodes.remove_node(instance["name"])
    group = state.find(f"{str(instance['zone']).removeprefix(COMPUTE_URL)}/instanceGroupManagers/{_stem(instance)}-grp")
    if group is None or size(state, group) >= int(group["targetSize"]):
        return
    count(state, group, int(group["targetSize"]))
    state.world.clock.call_later(state.timing.node_ready_s, lambda: _replace(state, group))


def _stem(instance: Json) -> str:
    return str(instance["name"]).rpartition("-")[0]


def _replace(state: State, group: Json) -> None:
    for path, pools in list(state.collections.items()):
        for pool in pools.values() if path.endswith("/nodePools") else ():
            if group["selfLink"] in pool["instanceGroupUrls"] and size(state, group) < int(group["targetSize"]):
                cluster = existing(state, path.removesuffix("/nodePools"))
                try:
                    add_member(state, cluster, pool, group, state.label_prefixes[f"{path}/{pool['name']}"])
                except ApiError as error:
                    pool.update(status="RUNNING_WITH_ERROR", statusMessage=error.message)


def of_pool(state: State, pool: Json) -> list[Json]:
    """The groups of POOL that are there."""
    paths = [str(url).removeprefix(COMPUTE_URL) for url in pool.get("instanceGroupUrls", [])]
    return [group for path in paths if (group := state.find(path))]


@ROUTES.add("POST", _BASE + "/{name}/listManagedInstances", "compute.instanceGroupManagers.get")
def _list_managed(state: State, call: Call) -> Json:
    group = existing(state, call.path.removesuffix("/listManagedInstances"))
    found = [
        {
            "instance": instance["selfLink"],
            "id": instance["id"],
            "name": instance["name"],
            "instanceStatus": instance["status"],
            "currentAction": "NONE",
        }
        for instance in members(state, group)
    ]
    return {"managedInstances": found} if found else {}


@ROUTES.add("POST", _BASE + "/{name}/deleteInstances", "compute.instanceGroupManagers.update")
def _delete_instances(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/deleteInstances")
    group = existing(state, path)
    there, leaving = {one["name"]: one for one in members(state, group)}, state.leaving
    wanted = [short(str(url)) for url in call.body.get("instances", [])]
    strange = [name for name in wanted if name not in there or name in leaving]
    if strange and not call.body.get("skipInstancesOnValidationError"):
        message = f"The instance '{strange[0]}' is not a member of '{path}', or is being deleted already."
        raise invalid_field("instances", strange[0], message)
    chosen = [name for name in wanted if name in there and name not in leaving]
    leaving.update(chosen)
    count(state, group, int(group["targetSize"]) - len(chosen))
    for name in chosen:
        state.world.clock.call_later(state.timing.node_gone_s, partial(_gone, state, group, there[name]))
    # It is over once the deletions have begun.
    return start(state, call, "compute.instanceGroupManagers.deleteInstances", path, pause(state.timing.compute_s))


def _gone(state: State, group: Json, instance: Json) -> None:
    state.leaving.discard(instance["name"])
    machines.take_away(state, str(instance["selfLink"]).removeprefix(COMPUTE_URL))
    count(state, group, int(group["targetSize"]))


@ROUTES.add("POST", _BASE + "/{name}/resize", "compute.instanceGroupManagers.update")
def _resize(state: State, call: Call) -> Json:
    raise ApiError(400, "Managed instance groups of GKE node pools are resized through GKE.", reason="invalid")


serve(ROUTES, "zones/{zone}", "instanceGroupManagers", "instanceGroupManager", read_only=True)
