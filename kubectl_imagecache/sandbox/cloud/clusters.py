"""Clusters of GKE, and what GKE offers in a location."""

from __future__ import annotations

from typing import Any

from kubectl_imagecache.sandbox.cloud import groups, pools, rules
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.cloud.gke_operations import Steps, begin, check_free, spelled
from kubectl_imagecache.sandbox.cloud.links import region_of
from kubectl_imagecache.sandbox.cloud.pools import cluster_at
from kubectl_imagecache.sandbox.cloud.resources import test_permissions
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import GKE_URL, Json, State, fingerprint

ROUTES = Routes()

_LOCATION = "projects/{project}/locations/{location}"
_CLUSTER = _LOCATION + "/clusters/{cluster}"


def complete(state: State, name: str, location: str, fields: Json) -> Json:
    """A RUNNING cluster called NAME in LOCATION (zone or region), with FIELDS of its REST JSON over GKE's defaults."""
    path = f"projects/{state.project}/locations/{location}/clusters/{name}"
    zones = sorted(state.collection(f"projects/{state.project}/zones"))
    regional = [zone for zone in zones if zone.startswith(f"{location}-")][:3]
    if not regional and location not in zones:
        raise ApiError(400, f'Location "{location}" does not exist.')
    version = fields.get("currentMasterVersion") or state.versions[2]
    usual: Json = {
        "name": name,
        "location": location,
        "zone": location,
        "locations": regional or [location],
        "selfLink": GKE_URL + spelled(path),
        "id": fingerprint(path) * 5,
        "createTime": state.now().isoformat(timespec="seconds"),
        "status": "RUNNING",
        "currentMasterVersion": version,
        "currentNodeVersion": version,
        "initialClusterVersion": version,
        "endpoint": "203.0.113.10",
        "network": "default",
        "subnetwork": "default",
        "networkConfig": {
            "network": f"projects/{state.project}/global/networks/default",
            "subnetwork": f"projects/{state.project}/regions/{region_of(location)}/subnetworks/default",
        },
        "masterAuth": {},
        "clusterIpv4Cidr": "10.4.0.0/14",
        "servicesIpv4Cidr": "34.118.224.0/20",
        "loggingService": "logging.googleapis.com/kubernetes",
        "monitoringService": "monitoring.googleapis.com/kubernetes",
        "labelFingerprint": fingerprint({}),
        "releaseChannel": {"channel": "REGULAR"},
        "shieldedNodes": {"enabled": True},
        "etag": fingerprint(name),
    }
    return usual | {key: value for key, value in fields.items() if value not in ("", [], None)}


def shown(state: State, path: str, cluster: Json) -> Json:
    """CLUSTER as GKE tells it, with its pools."""
    found = list(state.collection(f"{path}/nodePools").values())
    urls = [url for pool in found for url in pool.get("instanceGroupUrls", [])]
    count = sum(len(groups.members(state, group)) for pool in found for group in groups.of_pool(state, pool))
    told = cluster | {"nodePools": found, "instanceGroupUrls": urls, "currentNodeCount": count}
    return {key: value for key, value in told.items() if value not in ([], 0)}


@ROUTES.add("GET", _LOCATION + "/clusters", "container.clusters.list")
def _list(state: State, call: Call) -> Json:
    found = [
        shown(state, f"{path}/{cluster['name']}", cluster)
        for path, clusters in sorted(state.collections.items())
        if path.startswith(f"projects/{call['project']}/locations/") and path.endswith("/clusters")
        for cluster in clusters.values()
        if call["location"] in ("-", cluster["location"])
    ]
    return {"clusters": found} if found else {}


@ROUTES.add("GET", _CLUSTER, "container.clusters.get")
def _get(state: State, call: Call) -> Json:
    return shown(state, call.path, cluster_at(state, call.path))


@ROUTES.add("POST", _LOCATION + "/clusters", "container.clusters.create")
def _create(state: State, call: Call) -> Json:
    asked: Json = dict(call.body.get("cluster", {}))
    wanted = asked.pop("nodePools", None) or [
        {
            "name": "default-pool",
            "initialNodeCount": asked.pop("initialNodeCount", 0) or 3,
            "config": asked.pop("nodeConfig", {}),
        }
    ]
    path = f"{call.path}/{asked.get('name', '')}"
    if state.find(path) is not None:
        raise ApiError(409, f"Already exists: {spelled(path)}.")
    cluster = complete(state, str(asked.get("name", "")), call["location"], asked) | {"status": "PROVISIONING"}
    state.collection(call.path)[cluster["name"]] = cluster
    try:
        made = [pools.complete(state, path, pool) for pool in wanted]
    except ApiError:
        state.drop(path)
        raise
    for pool in made:
        pools.place(state, path, pool, "PROVISIONING")
    return begin(state, path, "CREATE_CLUSTER", path, _bring_up(state, path, cluster, made))


def _bring_up(state: State, path: str, cluster: Json, made: list[Json]) -> Steps:
    try:
        yield state.timing.cluster_s
        for pool in made:
            yield from pools.fill(state, path, pool, int(pool["initialNodeCount"]))
            pool["status"] = "RUNNING"
    except ApiError as error:
        cluster.update(status="ERROR", statusMessage=error.message)
        raise
    cluster["status"] = "RUNNING"


@ROUTES.add("DELETE", _CLUSTER, "container.clusters.delete")
def _delete(state: State, call: Call) -> Json:
    cluster = cluster_at(state, call.path)
    check_free(state, call.path)
    cluster["status"] = "STOPPING"
    return begin(state, call.path, "DELETE_CLUSTER", call.path, _tear_down(state, call.path))


def _tear_down(state: State, path: str) -> Steps:
    for pool in list(state.collection(f"{path}/nodePools").values()):
        yield from pools.dissolve(state, path, pool)
    yield state.timing.gke_settle_s
    state.drop(path)


@ROUTES.add("GET", _LOCATION + "/serverConfig", "container.clusters.list")
def _server_config(state: State, call: Call) -> Json:
    channels: dict[str, Any] = {"RAPID": state.versions[0], "REGULAR": state.versions[2], "STABLE": state.versions[-2]}
    return {
        "defaultClusterVersion": state.versions[2],
        "validNodeVersions": state.versions,
        "validMasterVersions": state.versions,
        "defaultImageType": "COS_CONTAINERD",
        "validImageTypes": ["COS_CONTAINERD", "UBUNTU_CONTAINERD"],
        "channels": [
            {"channel": channel, "defaultVersion": version, "validVersions": state.versions}
            for channel, version in channels.items()
        ],
    }


# gcloud asks whether image streaming's API is on.
ROUTES.extend(rules.ROUTES)
ROUTES.extend(pools.ROUTES)
ROUTES.add("POST", "projects/{project}:testIamPermissions")(test_permissions)
