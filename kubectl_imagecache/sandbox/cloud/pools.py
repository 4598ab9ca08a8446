"""Node pools of GKE: their lives, step by step, and the calls that begin them."""

from __future__ import annotations

import re
from typing import Any

from kubectl_imagecache.sandbox.cloud import gke_operations, groups
from kubectl_imagecache.sandbox.cloud.catalogue import check_quota, disk_metric, machine_type
from kubectl_imagecache.sandbox.cloud.enums import named
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.gke_operations import Steps, begin, check_free, spelled
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import GKE_URL, Json, State, fingerprint

ROUTES = Routes()

_CLUSTER = "projects/{project}/locations/{location}/clusters/{cluster}"
_POOL = _CLUSTER + "/nodePools/{pool}"

_UPDATES = (
    *("labels", "taints", "tags", "resourceLabels", "machineType", "diskType", "diskSizeGb", "bootDisk", "imageType"),
    *("gcfsConfig", "gvnic", "fastSocket", "accelerators", "workloadMetadataConfig", "linuxNodeConfig"),
    "kubeletConfig",
    *("loggingConfig", "containerdConfig", "confidentialNodes", "resourceManagerTags", "maxRunDuration"),
)
"""What UpdateNodePool may change in a pool's config; secondary boot disks are not among them."""

_GVISOR = "sandbox.gke.io/runtime"
_OUTPUT_ONLY = ("status", "statusMessage", "conditions", "instanceGroupUrls", "selfLink", "updateInfo", "etag")
"""What a client may send back of what it has read, to no effect."""


def cluster_at(state: State, path: str) -> Json:
    """The cluster at PATH; raise GKE's 404."""
    found = state.find(path)
    if found is None:
        raise ApiError(404, f"Not found: {spelled(path)}.")
    return found


def pool_at(state: State, path: str) -> Json:
    """The node pool at PATH; raise GKE's 404 for it or its cluster."""
    cluster_at(state, path.partition("/nodePools/")[0])
    return cluster_at(state, path)


def complete(state: State, cluster_path: str, asked: Json) -> Json:
    """The pool that ASKED describes, with GKE's defaults; raise ApiError 400 or 409 for what GKE refuses."""
    cluster = cluster_at(state, cluster_path)
    pool: Json = named(asked)
    name = str(pool.get("name", ""))
    path = f"{cluster_path}/nodePools/{name}"
    _check(state, cluster, path, pool)
    config: Json = {
        "machineType": "e2-medium",
        "diskSizeGb": 100,
        "diskType": "pd-balanced",
        "imageType": "COS_CONTAINERD",
        "oauthScopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "serviceAccount": "default",
        "metadata": {"disable-legacy-endpoints": "true"},
        "shieldedInstanceConfig": {"enableIntegrityMonitoring": True},
    }
    usual: Json = {
        "initialNodeCount": 0,
        "version": cluster["currentMasterVersion"],
        "locations": cluster["locations"],
        "management": {"autoUpgrade": True, "autoRepair": True},
        "maxPodsConstraint": {"maxPodsPerNode": "110"},
        "upgradeSettings": {"maxSurge": 1, "strategy": "SURGE"},
        "networkConfig": {
            "podIpv4CidrBlock": cluster.get("clusterIpv4Cidr", ""),
            "podRange": f"gke-{cluster['name']}-pods",
        },
    }
    # An empty list or text is what a client sends for "not given".
    given = {key: value for key, value in pool.items() if value not in ("", [], None)}
    sent = {key: value for key, value in pool.get("config", {}).items() if value not in ("", [], None)}
    made: Json = usual | given | {"config": config | sent, "podIpv4CidrSize": 24, "etag": fingerprint(state.new_id())}
    made["config"]["effectiveCgroupMode"] = "EFFECTIVE_CGROUP_MODE_V2"
    made["config"]["imageType"] = str(made["config"]["imageType"]).upper()
    if made["config"].get("sandboxConfig"):
        taint = {"key": _GVISOR, "value": "gvisor", "effect": "NO_SCHEDULE"}
        made["config"]["taints"] = [*made["config"].get("taints", []), taint]
        made["config"]["labels"] = {**made["config"].get("labels", {}), _GVISOR: "gvisor"}
    made["selfLink"] = GKE_URL + spelled(path)
    return made


def _check(state: State, cluster: Json, path: str, pool: Json) -> None:
    name = str(pool.get("name", ""))
    if not re.fullmatch(r"[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?", name):
        raise ApiError(
            400, f'Invalid value for field "node_pool.name": "{name}" (must be 1-40 characters, lower-case).'
        )
    if state.find(path) is not None:
        raise ApiError(409, f"Already exists: {spelled(path)}.")
    _check_limits(pool.get("autoscaling") or {})
    config = pool.get("config", {})
    if any(taint.get("key") == _GVISOR for taint in config.get("taints") or ()):
        raise ApiError(400, f'Node taints with key "{_GVISOR}" are managed by GKE and must not be manually specified.')
    kind = config.get("machineType") or "e2-medium"
    if machine_type(kind) is None:
        raise ApiError(400, f'Machine type with name "{kind}" does not exist in zone "{cluster["locations"][0]}".')
    version = pool.get("version", "")
    if version and version not in ("-", "latest", cluster["currentMasterVersion"], *state.versions):
        raise ApiError(400, f'Node version "{version}" is unsupported.')
    region = cluster["location"] if cluster["location"][-1].isdigit() else cluster["location"].rpartition("-")[0]
    for zone in pool.get("locations", []):
        if zone not in state.collection(f"projects/{state.project}/zones") or not zone.startswith(f"{region}-"):
            raise ApiError(400, f'Location "{zone}" is not in region "{region}" of the cluster.')


def _check_limits(autoscaling: Json) -> None:
    """Raise ApiError 400 for limits that GKE refuses: the least above the most, or of both kinds."""
    if not autoscaling.get("enabled"):
        return
    a_zone, in_all = (
        [int(autoscaling.get(name) or 0) for name in names]
        for names in (("minNodeCount", "maxNodeCount"), ("totalMinNodeCount", "totalMaxNodeCount"))
    )
    if a_zone[0] > a_zone[1] or in_all[0] > in_all[1]:
        raise ApiError(400, "Autoscaling: the minimum number of nodes must not be above the maximum.")
    if any(a_zone) and any(in_all):
        raise ApiError(400, "Autoscaling: limits a zone and in total exclude each other.")


def place(state: State, cluster_path: str, pool: Json, status: str, label_prefix: str = RESTRICTED) -> None:
    """Put POOL, without nodes, into its cluster."""
    cluster = cluster_at(state, cluster_path)
    state.label_prefixes[f"{cluster_path}/nodePools/{pool['name']}"] = label_prefix
    pool["status"] = status
    made = [groups.create(state, cluster["name"], pool, zone) for zone in pool["locations"]]
    pool["instanceGroupUrls"] = [group["selfLink"] for group in made]
    state.collection(f"{cluster_path}/nodePools")[pool["name"]] = pool


def fill(state: State, cluster_path: str, pool: Json, per_zone: int) -> Steps:
    """Bring every zone of POOL to PER_ZONE nodes, the newest going first where there are too many.

    Raise ApiError for a node that can't be made.
    """
    cluster = cluster_at(state, cluster_path)
    prefix = state.label_prefixes.get(f"{cluster_path}/nodePools/{pool['name']}", RESTRICTED)
    found = groups.of_pool(state, pool)
    for group in found:
        groups.count(state, group, per_zone)
    missing = sum(max(0, per_zone - groups.size(state, group)) for group in found)
    if missing:
        yield state.timing.node_ready_s
        _check_quota(state, cluster, pool, missing)
    for number in range(per_zone):
        for group in found:
            if groups.size(state, group) <= number:
                groups.add_member(state, cluster, pool, group, prefix)
                yield state.timing.node_stagger_s
    for group in found:
        for instance in groups.members(state, group)[per_zone:][::-1]:
            yield state.timing.node_gone_s
            groups.remove_member(state, group, instance)


def _check_quota(state: State, cluster: Json, pool: Json, nodes: int) -> None:
    config = pool["config"]
    machine = machine_type(config["machineType"])
    needed = {"CPUS": float(nodes * machine.cpus if machine else 0), "INSTANCES": float(nodes)}
    metric = disk_metric(config["diskType"])
    needed[metric] = float(nodes * int(config["diskSizeGb"]))
    check_quota(state, state.project, str(cluster["locations"][0]), needed)


def _marking(pool: Json, failed: str, steps: Steps) -> Steps:
    """STEPS, and the status FAILED for POOL if they end with an error."""
    try:
        yield from steps
    except ApiError as error:
        pool.update(status=failed, statusMessage=error.message)
        raise


def _provision(state: State, cluster_path: str, pool: Json) -> Steps:
    yield from fill(state, cluster_path, pool, int(pool.get("initialNodeCount", 0)))
    yield state.timing.gke_settle_s
    pool["status"] = "RUNNING"


def dissolve(state: State, cluster_path: str, pool: Json) -> Steps:
    """Take all nodes of POOL, its groups, and itself away; budgets of pods are not honoured, as on GKE."""
    pool["status"] = "STOPPING"
    for group in groups.of_pool(state, pool):
        groups.count(state, group, 0)
        for instance in groups.members(state, group):
            yield state.timing.node_gone_s
            groups.remove_member(state, group, instance)
        groups.dissolve(state, group)
    yield state.timing.gke_settle_s
    state.drop(f"{cluster_path}/nodePools/{pool['name']}")


def _resize(state: State, cluster_path: str, pool: Json, per_zone: int) -> Steps:
    yield from fill(state, cluster_path, pool, per_zone)
    yield state.timing.gke_settle_s
    pool["status"] = "RUNNING"


def _renew(state: State, cluster_path: str, pool: Json) -> Steps:
    cluster = cluster_at(state, cluster_path)
    prefix = state.label_prefixes.get(f"{cluster_path}/nodePools/{pool['name']}", RESTRICTED)
    for group in groups.of_pool(state, pool):
        for instance in groups.members(state, group):
            yield state.timing.node_ready_s
            groups.add_member(state, cluster, pool, group, prefix)
            yield state.timing.node_gone_s
            groups.remove_member(state, group, instance)
    pool["status"] = "RUNNING"


def _settle(state: State, pool: Json, **changes: Any) -> Steps:
    yield state.timing.gke_settle_s
    pool.update(changes, etag=fingerprint(state.new_id()))


@ROUTES.add("GET", _CLUSTER + "/nodePools", "container.clusters.get")
def _list(state: State, call: Call) -> Json:
    cluster_at(state, call.path.removesuffix("/nodePools"))
    found = list(state.collection(call.path).values())
    return {"nodePools": found} if found else {}


@ROUTES.add("GET", _POOL, "container.clusters.get")
def _get(state: State, call: Call) -> Json:
    return pool_at(state, call.path)


@ROUTES.add("POST", _CLUSTER + "/nodePools", "container.clusters.update")
def _create(state: State, call: Call) -> Json:
    cluster_path = call.path.removesuffix("/nodePools")
    asked = {key: value for key, value in call.body.get("nodePool", {}).items() if key not in _OUTPUT_ONLY}
    pool = complete(state, cluster_path, asked)
    check_free(state, cluster_path)
    place(state, cluster_path, pool, "PROVISIONING")
    path = f"{call.path}/{pool['name']}"
    steps = _marking(pool, "ERROR", _provision(state, cluster_path, pool))
    return begin(state, cluster_path, "CREATE_NODE_POOL", path, steps)


def _change(state: State, call: Call, verb: str = "") -> tuple[str, str, Json]:
    """The paths of the cluster and the pool that a call changes, and the pool; raise 404, or 400 while it is busy."""
    path = call.path.removesuffix(f":{verb}") if verb else call.path
    pool = pool_at(state, path)
    cluster_path = path.partition("/nodePools/")[0]
    check_free(state, cluster_path)
    return cluster_path, path, pool


@ROUTES.add("DELETE", _POOL, "container.clusters.update")
def _delete(state: State, call: Call) -> Json:
    cluster_path, path, pool = _change(state, call)
    steps = _marking(pool, "ERROR", dissolve(state, cluster_path, pool))
    pool["status"] = "STOPPING"
    return begin(state, cluster_path, "DELETE_NODE_POOL", path, steps)


@ROUTES.add("POST", _POOL + ":setSize", "container.clusters.update")
def _set_size(state: State, call: Call) -> Json:
    cluster_path, path, pool = _change(state, call, "setSize")
    size = call.body.get("nodeCount", 0)
    if not isinstance(size, int) or size < 0:
        raise ApiError(400, f'Invalid value for field "node_count": "{size}".')
    pool["status"] = "RECONCILING"
    steps = _marking(pool, "RUNNING_WITH_ERROR", _resize(state, cluster_path, pool, size))
    return begin(state, cluster_path, "SET_NODE_POOL_SIZE", path, steps)


@ROUTES.add("POST", _POOL + ":setAutoscaling", "container.clusters.update")
def _set_autoscaling(state: State, call: Call) -> Json:
    cluster_path, path, pool = _change(state, call, "setAutoscaling")
    wanted = named({"autoscaling": call.body.get("autoscaling", {})})["autoscaling"]
    _check_limits(wanted)
    steps = _settle(state, pool, autoscaling={"enabled": False} | wanted if wanted.get("enabled") else {})
    return begin(state, cluster_path, "SET_NODE_POOL_SIZE", path, steps)


@ROUTES.add("POST", _POOL + ":setManagement", "container.clusters.update")
def _set_management(state: State, call: Call) -> Json:
    cluster_path, path, pool = _change(state, call, "setManagement")
    steps = _settle(state, pool, management=call.body.get("management", {}))
    return begin(state, cluster_path, "SET_NODE_POOL_MANAGEMENT", path, steps)


@ROUTES.add("PUT", _POOL, "container.clusters.update")
def _update(state: State, call: Call) -> Json:
    cluster_path, path, pool = _change(state, call)
    body: Json = named(call.body)
    if body.get("etag") and body["etag"] != pool["etag"]:
        raise ApiError(409, "The etag does not match the node pool's current one.", status="ABORTED", reason="aborted")
    changes = {key: body[key] for key in _UPDATES if body.get(key)}
    for wrapped in ("labels", "taints", "tags", "resourceLabels"):
        if wrapped in changes:
            changes[wrapped] = changes[wrapped].get(wrapped, {} if "abels" in wrapped else [])
    pool["config"] = pool["config"] | changes
    pool.update({key: body[key] for key in ("upgradeSettings", "nodeDrainConfig") if body.get(key)})
    version = body.get("nodeVersion", "")
    if version and version not in ("-", "latest") and version not in state.versions:
        raise ApiError(400, f'Node version "{version}" is unsupported.')
    pool["etag"] = fingerprint(state.new_id())
    if version:
        pool["version"] = (
            cluster_at(state, cluster_path)["currentMasterVersion"] if version in ("-", "latest") else version
        )
    if not changes and not version:
        return begin(state, cluster_path, "UPDATE_CLUSTER", path, _settle(state, pool))
    pool["status"] = "RECONCILING"
    steps = _marking(pool, "RUNNING_WITH_ERROR", _renew(state, cluster_path, pool))
    return begin(state, cluster_path, "UPGRADE_NODES", path, steps)


ROUTES.extend(gke_operations.ROUTES)
