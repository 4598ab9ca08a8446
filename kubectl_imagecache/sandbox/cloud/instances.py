"""Instances of Compute: insert, stop, start, delete, their disks, metadata and output."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubectl_imagecache.sandbox.cloud import disks, machines
from kubectl_imagecache.sandbox.cloud.catalogue import check_quota, check_zone, disk_metric, machine_type
from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field, not_found
from kubectl_imagecache.sandbox.cloud.links import region_of, resolve, short
from kubectl_imagecache.sandbox.cloud.operations import start
from kubectl_imagecache.sandbox.cloud.resources import existing, label, new, pause, put, require_fingerprint, serve
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, SerialPort, State, fingerprint

ROUTES = Routes()

_BASE = "projects/{project}/zones/{zone}/instances"
_COPIED = ("description", "canIpForward", "minCpuPlatform", "shieldedInstanceConfig", "confidentialInstanceConfig")
_VALUE_BYTES = 262_144
_METADATA_BYTES = 524_288


@ROUTES.add("POST", _BASE, "compute.instances.create")
def _insert(state: State, call: Call) -> Json:
    project, zone = call["project"], call["zone"]
    check_zone(state, project, zone)
    path = f"{call.path}/{call.body.get('name', '')}"
    instance = new(state, "instance", path) | machine_fields(state, project, zone, call.body)
    instance["networkInterfaces"] = [
        _nic(state, project, zone, nic, index) for index, nic in enumerate(call.body.get("networkInterfaces") or [{}])
    ]
    label(instance, call.body.get("labels"))
    fresh = _disks(state, instance, path, call.body.get("disks") or [])
    return start(state, call, "insert", path, _begin(state, instance, path, fresh))


def machine_fields(state: State, project: str, zone: str, wanted: Json) -> Json:
    """The fields of an instance that say what machine it is, from those of WANTED; raise 404 for an unknown type."""
    base = f"projects/{project}/zones/{zone}"
    name = short(str(wanted.get("machineType", "")))
    if machine_type(name) is None:
        raise not_found(f"{base}/machineTypes/{name}")
    tags = {"items": list(wanted.get("tags", {}).get("items", []))}
    if not tags["items"]:
        del tags["items"]
    metadata = _metadata(wanted.get("metadata", {}).get("items", []))
    fields: Json = {
        "zone": COMPUTE_URL + base,
        "machineType": f"{COMPUTE_URL}{base}/machineTypes/{name}",
        "status": "PROVISIONING",
        "cpuPlatform": "Intel Broadwell",
        "tags": tags | {"fingerprint": fingerprint(tags)},
        "metadata": metadata,
        "serviceAccounts": wanted.get("serviceAccounts", []),
        "scheduling": {"onHostMaintenance": "MIGRATE", "automaticRestart": True, "provisioningModel": "STANDARD"}
        | wanted.get("scheduling", {}),
        "deletionProtection": False,
        "startRestricted": False,
        "fingerprint": state.hex(12),
    }
    return fields | {key: wanted[key] for key in _COPIED if key in wanted}


def _metadata(items: list[Json]) -> Json:
    sizes = [len(str(item.get("value", "")).encode()) for item in items]
    for number, size in enumerate(sizes):
        if size > _VALUE_BYTES:
            raise _too_large(f"metadata.items[{number}].value", _VALUE_BYTES, size)
    if sum(sizes) > _METADATA_BYTES:
        raise _too_large("metadata", _METADATA_BYTES, sum(sizes))
    kept = [{"key": item["key"], "value": item.get("value", "")} for item in items]
    return {"kind": "compute#metadata", "fingerprint": fingerprint(kept)} | ({"items": kept} if kept else {})


def _too_large(field: str, most: int, size: int) -> ApiError:
    message = f"Value for field '{field}' is too large: maximum size {most} character(s); actual size {size}."
    return ApiError(413, message, reason="fieldSizeTooLarge")


def _nic(state: State, project: str, zone: str, wanted: Json, index: int) -> Json:
    region = region_of(zone)
    network = resolve(wanted.get("network") or "default", project, "global/networks")
    subnetwork = resolve(wanted.get("subnetwork") or "default", project, f"regions/{region}/subnetworks")
    existing(state, network)
    existing(state, subnetwork)
    nic: Json = {
        "kind": "compute#networkInterface",
        "name": f"nic{index}",
        "network": COMPUTE_URL + network,
        "subnetwork": COMPUTE_URL + subnetwork,
        "networkIP": f"10.128.{state.rng.randrange(256)}.{state.rng.randrange(2, 250)}",
        "fingerprint": state.hex(12),
        "stackType": "IPV4_ONLY",
    }
    if wanted.get("accessConfigs"):
        address = f"203.0.113.{state.rng.randrange(2, 250)}"
        usual = {
            "kind": "compute#accessConfig",
            "type": "ONE_TO_ONE_NAT",
            "name": "external-nat",
            "networkTier": "PREMIUM",
        }
        nic["accessConfigs"] = [usual | config | {"natIP": address} for config in wanted["accessConfigs"]]
    return nic


def _disks(state: State, instance: Json, path: str, wanted: list[Json]) -> list[Json]:
    """Fill the instance's `disks`; return those that are to be made with it."""
    if not any(disk.get("boot") for disk in wanted):
        raise ApiError(400, "Invalid value for field 'resource.disks': ''. A boot disk must be specified.")
    machine = machine_type(short(instance["machineType"]))
    project, zone = path.split("/")[1], path.split("/")[3]
    needed = {"CPUS": float(machine.cpus if machine else 0), "INSTANCES": 1.0}
    fresh: list[Json] = []
    instance["disks"] = []
    for index, entry in enumerate(wanted):
        if entry.get("source"):
            disk = existing(state, resolve(entry["source"], project, f"zones/{zone}/disks"))
        else:
            disk = _new_disk(state, instance, entry, index)
            fresh.append(disk)
            metric = disk_metric(disk["type"])
            needed[metric] = needed.get(metric, 0.0) + float(disk["sizeGb"])
        instance["disks"].append(machines.attached(state, instance, entry, disk, index))
    check_quota(state, project, zone, needed)
    return fresh


def _new_disk(state: State, instance: Json, entry: Json, index: int) -> Json:
    asked = entry.get("initializeParams", {})
    name = asked.get("diskName") or (instance["name"] if entry.get("boot") else f"{instance['name']}-{index}")
    zone_path = str(instance["zone"]).removeprefix(COMPUTE_URL)
    wanted: Json = {
        "type": asked.get("diskType"),
        "sizeGb": asked.get("diskSizeGb") or entry.get("diskSizeGb"),
        "sourceImage": asked.get("sourceImage"),
        "labels": asked.get("labels"),
        "description": asked.get("description"),
    }
    return disks.prepare(state, f"{zone_path}/disks/{name}", wanted)


def _begin(state: State, instance: Json, path: str, fresh: list[Json]) -> Iterator[float]:
    put(state, instance)
    for disk in fresh:
        disks.place(state, disk)
    for entry in instance["disks"]:
        disks.use(state, existing(state, str(entry["source"]).removeprefix(COMPUTE_URL)), instance)
    yield from machines.bring_up(state, path)


@ROUTES.add("DELETE", _BASE + "/{name}", "compute.instances.delete")
def _delete(state: State, call: Call) -> Json:
    existing(state, call.path)
    return start(state, call, "delete", call.path, machines.remove(state, call.path))


@ROUTES.add("POST", _BASE + "/{name}/stop", "compute.instances.stop")
def _stop(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/stop")
    existing(state, path)
    return start(state, call, "stop", path, machines.halt(state, path))


@ROUTES.add("POST", _BASE + "/{name}/start", "compute.instances.start")
def _start(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/start")
    if existing(state, path)["status"] == "RUNNING":
        return start(state, call, "start", path, pause(state.timing.compute_s))
    return start(state, call, "start", path, machines.bring_up(state, path))


@ROUTES.add("POST", _BASE + "/{name}/attachDisk", "compute.instances.attachDisk")
def _attach(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/attachDisk")
    instance = existing(state, path)
    source = resolve(str(call.body.get("source", "")), call["project"], f"zones/{call['zone']}/disks")
    disk = existing(state, source)
    used = {entry["deviceName"] for entry in instance["disks"]}
    if call.body.get("deviceName") in used:
        raise invalid_field("disk.deviceName", call.body["deviceName"], "The device name is already in use.")
    index = max((int(entry["index"]) for entry in instance["disks"]), default=-1) + 1
    instance["disks"].append(machines.attached(state, instance, call.body, disk, index))
    disks.use(state, disk, instance)
    return start(state, call, "attachDisk", path, pause(state.timing.compute_s))


@ROUTES.add("POST", _BASE + "/{name}/detachDisk", "compute.instances.detachDisk")
def _detach(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/detachDisk")
    instance = existing(state, path)
    device = call.query.get("deviceName", "")
    entry = next((entry for entry in instance["disks"] if entry["deviceName"] == device), None)
    if entry is None:
        raise invalid_field("deviceName", device, "No attached disk found with device name")
    instance["disks"].remove(entry)
    disk = state.find(str(entry["source"]).removeprefix(COMPUTE_URL))
    if disk is not None:
        disks.release(state, disk, instance)
    return start(state, call, "detachDisk", path, pause(state.timing.compute_s))


@ROUTES.add("POST", _BASE + "/{name}/setMetadata", "compute.instances.setMetadata")
def _set_metadata(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/setMetadata")
    instance = existing(state, path)
    require_fingerprint(call.body.get("fingerprint"), instance["metadata"]["fingerprint"], "metadata")
    instance["metadata"] = _metadata(call.body.get("items", []))
    return start(state, call, "setMetadata", path, pause(state.timing.compute_s))


@ROUTES.add("GET", _BASE + "/{name}/serialPort", "compute.instances.getSerialPortOutput")
def _serial(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/serialPort")
    existing(state, path)
    port, begin = call.query.get("port") or "1", call.query.get("start") or "0"
    if port not in ("1", "2", "3", "4"):
        raise invalid_field("port", port, "Values must be within the range: [1, 4]")
    output = state.serial.get((path, int(port)), SerialPort())
    if not re.fullmatch(r"-?\d+", begin):
        raise invalid_field("start", begin, "Must be a number.")
    # A negative start counts from the end.
    offset = int(begin) if int(begin) >= 0 else output.first + len(output.text) + int(begin)
    data, first = output.read(offset)
    return {
        "kind": "compute#serialPortOutput",
        "selfLink": COMPUTE_URL + call.path,
        "contents": data.decode(errors="replace"),
        "start": str(first),
        "next": str(first + len(data)),
    }


@ROUTES.add("GET", _BASE + "/{name}/getGuestAttributes", "compute.instances.getGuestAttributes")
def _guest_attributes(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/getGuestAttributes")
    items = existing(state, path)["metadata"].get("items", [])
    if not any(item["key"] == "enable-guest-attributes" and item["value"].upper() == "TRUE" for item in items):
        raise ApiError(412, "Guest attributes endpoint access is disabled.")
    query = call.query.get("queryPath") or call.query.get("variableKey") or ""
    namespace, _, key = query.strip("/").partition("/")
    found = [
        {"namespace": space, "key": name, "value": value}
        for (space, name), value in sorted(state.guest_attributes.get(path, {}).items())
        if namespace in ("", space) and key in ("", name)
    ]
    if not found:
        raise ApiError(404, f"The resource '{query}' of type 'Guest Attribute' was not found.")
    about = {"kind": "compute#guestAttributes", "selfLink": COMPUTE_URL + call.path}
    return about | {"queryPath": query, "queryValue": {"items": found}}


serve(ROUTES, "zones/{zone}", "instances", "instance")
