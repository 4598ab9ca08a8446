"""What Google offers everywhere: regions, zones, machine types, disk types, networks, public images."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field, not_found
from kubectl_imagecache.sandbox.cloud.links import region_of, short
from kubectl_imagecache.sandbox.cloud.listing import page
from kubectl_imagecache.sandbox.cloud.resources import aggregator, existing, serve, test_permissions
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State, fingerprint

REGIONS = {
    "us-central1": "abcf",
    "us-east1": "bcd",
    "us-west1": "abc",
    "europe-west1": "bcd",
    "europe-west4": "abc",
    "asia-east1": "abc",
}
"""Region -> the letters of its zones."""

DISK_TYPES = {"pd-standard": 65536, "pd-balanced": 65536, "pd-ssd": 65536, "hyperdisk-balanced": 65536}
"""Disk type -> the largest disk, GiB."""

PUBLIC_PROJECTS = ("debian-cloud", "cos-cloud", "ubuntu-os-cloud")

PUBLIC_IMAGES = (
    ("debian-12-bookworm-v20260114", "debian-12", "debian-cloud"),
    ("debian-12-bookworm-arm64-v20260114", "debian-12-arm64", "debian-cloud"),
    ("debian-11-bullseye-v20251209", "debian-11", "debian-cloud"),
    ("cos-117-18613-75-4", "cos-117-lts", "cos-cloud"),
    ("ubuntu-2204-jammy-v20260112", "ubuntu-2204-lts", "ubuntu-os-cloud"),
)
"""Name, family, project."""

QUOTAS = {
    "CPUS": 50_000.0,
    "INSTANCES": 10_000.0,
    "DISKS_TOTAL_GB": 1e6,
    "SSD_TOTAL_GB": 1e6,
    "HDB_TOTAL_GB": 1e6,
    "IN_USE_ADDRESSES": 575.0,
}
"""Metric -> limit in each region."""

_GIB_PER_CPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
_SHARED = {
    "e2-micro": (2, 1024),
    "e2-small": (2, 2048),
    "e2-medium": (2, 4096),
    "f1-micro": (1, 614),
    "g1-small": (1, 1740),
}
_FAMILIES = ("e2", "n1", "n2", "n2d", "n4", "t2d", "c2", "c3", "c3d", "c4", "t2a", "c4a", "m1")
_SIZES = (1, 2, 4, 8, 16, 32, 48, 64, 96)

ROUTES = Routes()


@dataclass(frozen=True, slots=True)
class MachineType:
    """The size of a machine."""

    name: str
    cpus: int
    memory_mb: int
    """MiB."""
    arch: str
    """`amd64` or `arm64`, as Kubernetes says it."""


def machine_type(name: str) -> MachineType | None:
    """The machine type called NAME, predefined or custom; None if there is none."""
    if name in _SHARED:
        return MachineType(name, *_SHARED[name], "amd64")
    found = re.fullmatch(r"(?:(\w+)-)?custom-(\d+)-(\d+)", name)
    if found:
        return MachineType(name, int(found[2]), int(found[3]), "amd64")
    found = re.fullmatch(r"(\w+)-(standard|highmem|highcpu)-(\d+)", name)
    if not found or found[1] not in _FAMILIES or int(found[3]) not in _SIZES:
        return None
    cpus = int(found[3])
    arch = "arm64" if found[1] in ("t2a", "c4a") else "amd64"
    return MachineType(name, cpus, int(cpus * 1024 * _GIB_PER_CPU[found[2]]), arch)


def furnish(state: State, project: str) -> None:
    """Put regions, zones, types and the default network into PROJECT."""
    base = f"projects/{project}"
    for region, letters in REGIONS.items():
        zones = [f"{region}-{letter}" for letter in letters]
        state.collection(f"{base}/regions")[region] = _region(state, base, region, zones)
        state.collection(f"{base}/regions/{region}/subnetworks")["default"] = _subnetwork(state, base, region)
        for zone in zones:
            state.collection(f"{base}/zones")[zone] = _zone(state, base, region, zone)
            for name, most in DISK_TYPES.items():
                state.collection(f"{base}/zones/{zone}/diskTypes")[name] = _disk_type(state, base, zone, name, most)
    state.collection(f"{base}/global/networks")["default"] = {
        "kind": "compute#network",
        "id": state.new_id(),
        "creationTimestamp": state.compute_time(),
        "name": "default",
        "description": "Default network for the project",
        "selfLink": f"{COMPUTE_URL}{base}/global/networks/default",
        "autoCreateSubnetworks": True,
        "routingConfig": {"routingMode": "REGIONAL"},
        "subnetworks": [f"{COMPUTE_URL}{base}/regions/{region}/subnetworks/default" for region in REGIONS],
    }
    state.collection("projects")[project] = _project(state, project)


def _project(state: State, project: str) -> Json:
    number = state.project_number if project == state.project else ""
    return {
        "kind": "compute#project",
        "id": state.new_id(),
        "creationTimestamp": state.compute_time(),
        "name": project,
        "selfLink": f"{COMPUTE_URL}projects/{project}",
        "defaultServiceAccount": f"{number}-compute@developer.gserviceaccount.com",
        "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint([])},
        "defaultNetworkTier": "PREMIUM",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
    }


def _region(state: State, base: str, region: str, zones: list[str]) -> Json:
    return {
        "kind": "compute#region",
        "id": state.new_id(),
        "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
        "name": region,
        "description": region,
        "status": "UP",
        "zones": [f"{COMPUTE_URL}{base}/zones/{zone}" for zone in zones],
        "selfLink": f"{COMPUTE_URL}{base}/regions/{region}",
    }


def _zone(state: State, base: str, region: str, zone: str) -> Json:
    return {
        "kind": "compute#zone",
        "id": state.new_id(),
        "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
        "name": zone,
        "description": zone,
        "status": "UP",
        "region": f"{COMPUTE_URL}{base}/regions/{region}",
        "selfLink": f"{COMPUTE_URL}{base}/zones/{zone}",
        "availableCpuPlatforms": ["Intel Broadwell", "Intel Ice Lake", "AMD Milan"],
    }


def _disk_type(state: State, base: str, zone: str, name: str, most: int) -> Json:
    return {
        "kind": "compute#diskType",
        "id": state.new_id(),
        "name": name,
        "description": name,
        "validDiskSize": f"10GB-{most}GB",
        "defaultDiskSizeGb": "100",
        "zone": f"{COMPUTE_URL}{base}/zones/{zone}",
        "selfLink": f"{COMPUTE_URL}{base}/zones/{zone}/diskTypes/{name}",
    }


def _subnetwork(state: State, base: str, region: str) -> Json:
    return {
        "kind": "compute#subnetwork",
        "id": state.new_id(),
        "creationTimestamp": state.compute_time(),
        "name": "default",
        "network": f"{COMPUTE_URL}{base}/global/networks/default",
        "region": f"{COMPUTE_URL}{base}/regions/{region}",
        "ipCidrRange": f"10.{128 + 2 * list(REGIONS).index(region)}.0.0/20",
        "gatewayAddress": f"10.{128 + 2 * list(REGIONS).index(region)}.0.1",
        "privateIpGoogleAccess": True,
        "purpose": "PRIVATE",
        "fingerprint": fingerprint(region),
        "selfLink": f"{COMPUTE_URL}{base}/regions/{region}/subnetworks/default",
    }


def check_zone(state: State, project: str, zone: str) -> None:
    """Raise Compute's 404 for an unknown project and 400 for an unknown zone."""
    if project not in state.collection("projects"):
        raise not_found(f"projects/{project}")
    if zone not in state.collection(f"projects/{project}/zones"):
        raise invalid_field("zone", zone, "Unknown zone.")


def _machine_json(project: str, zone: str, machine: MachineType) -> Json:
    path = f"projects/{project}/zones/{zone}/machineTypes/{machine.name}"
    return {
        "kind": "compute#machineType",
        "id": str(sum(machine.name.encode()) * 1009),
        "name": machine.name,
        "description": f"{machine.cpus} vCPUs, {machine.memory_mb / 1024:g} GB RAM",
        "guestCpus": machine.cpus,
        "memoryMb": machine.memory_mb,
        "architecture": "ARM64" if machine.arch == "arm64" else "X86_64",
        "isSharedCpu": machine.name in _SHARED,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": zone,
        "selfLink": COMPUTE_URL + path,
    }


def _machine_names() -> list[str]:
    sized = [f"{family}-{kind}-{size}" for family in _FAMILIES for kind in _GIB_PER_CPU for size in _SIZES]
    return sorted([*_SHARED, *sized])


@ROUTES.add("GET", "projects/{project}/zones/{zone}/machineTypes", "compute.machineTypes.list")
def _machine_types(state: State, call: Call) -> Json:
    check_zone(state, call["project"], call["zone"])
    found = [machine for name in _machine_names() if (machine := machine_type(name))]
    items, token = page([_machine_json(call["project"], call["zone"], machine) for machine in found], call.query)
    listed: Json = {"kind": "compute#machineTypeList", "id": call.path, "items": items}
    return listed | ({"nextPageToken": token} if token else {})


@ROUTES.add("GET", "projects/{project}/zones/{zone}/machineTypes/{name}", "compute.machineTypes.get")
def _machine_type(state: State, call: Call) -> Json:
    check_zone(state, call["project"], call["zone"])
    machine = machine_type(call["name"])
    if machine is None:
        raise not_found(call.path)
    return _machine_json(call["project"], call["zone"], machine)


@ROUTES.add("GET", "projects/{project}", "compute.projects.get")
def _get_project(state: State, call: Call) -> Json:
    return existing(state, call.path) | {"quotas": []}


@ROUTES.add("GET", "projects/{project}/regions/{region}", "compute.regions.get")
def _get_region(state: State, call: Call) -> Json:
    region = existing(state, call.path)
    used = quota_usage(state, call["project"], call["region"])
    limits = QUOTAS | state.quotas
    return region | {
        "quotas": [{"metric": metric, "limit": limits[metric], "usage": used[metric]} for metric in QUOTAS]
    }


def quota_usage(state: State, project: str, region: str) -> dict[str, float]:
    """What is in use in REGION: metric -> amount."""
    used = dict.fromkeys(QUOTAS, 0.0)
    for zone in (f"{region}-{letter}" for letter in REGIONS.get(region, "")):
        for instance in state.collection(f"projects/{project}/zones/{zone}/instances").values():
            if instance["status"] in ("PROVISIONING", "STAGING", "RUNNING"):
                machine = machine_type(short(instance["machineType"]))
                used["CPUS"] += machine.cpus if machine else 0
                used["INSTANCES"] += 1
                used["IN_USE_ADDRESSES"] += sum("accessConfigs" in nic for nic in instance["networkInterfaces"])
        for disk in state.collection(f"projects/{project}/zones/{zone}/disks").values():
            used[disk_metric(disk["type"])] += float(disk["sizeGb"])
    return used


def disk_metric(disk_type: str) -> str:
    """The quota that disks of DISK_TYPE (name or link) count against."""
    kind = short(disk_type)
    if kind == "hyperdisk-balanced":
        return "HDB_TOTAL_GB"
    return "DISKS_TOTAL_GB" if kind == "pd-standard" else "SSD_TOTAL_GB"


def check_quota(state: State, project: str, zone: str, wanted: dict[str, float]) -> None:
    """Raise ApiError 403 if WANTED (metric -> amount) is more than is left in ZONE's region."""
    region = region_of(zone)
    used, limits = quota_usage(state, project, region), QUOTAS | state.quotas
    for metric, amount in wanted.items():
        if used[metric] + amount > limits[metric]:
            message = f"Quota '{metric}' exceeded.  Limit: {limits[metric]} in region {region}."
            raise ApiError(403, message, reason="quotaExceeded")


serve(ROUTES, "", "zones", "zone", read_only=True)
serve(ROUTES, "", "regions", "region", read_only=True)
serve(ROUTES, "zones/{zone}", "diskTypes", "diskType", read_only=True)
serve(ROUTES, "global", "networks", "network", read_only=True)
serve(ROUTES, "regions/{region}", "subnetworks", "subnetwork", read_only=True)
# gcloud asks for autoscalers beside every group; GKE's are not Compute's.
serve(ROUTES, "zones/{zone}", "autoscalers", "autoscaler", read_only=True)
serve(ROUTES, "regions/{region}", "autoscalers", "autoscaler", read_only=True)
ROUTES.add("GET", "projects/{project}/aggregated/operations", "compute.globalOperations.list")(
    aggregator("operations", "operation")
)
ROUTES.add("POST", "projects/{project}:testIamPermissions")(test_permissions)
