"""Persistent disks of Compute."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_imagecache.sandbox.cloud.catalogue import DISK_TYPES, check_quota, check_zone, disk_metric
from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field, not_found
from kubectl_imagecache.sandbox.cloud.images import usable
from kubectl_imagecache.sandbox.cloud.links import resolve, short, zone_of
from kubectl_imagecache.sandbox.cloud.operations import start
from kubectl_imagecache.sandbox.cloud.resources import existing, label, new, pause, put, serve
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State

ROUTES = Routes()

_BASE = "projects/{project}/zones/{zone}/disks"


def prepare(state: State, path: str, wanted: Json) -> Json:
    """A disk at PATH as WANTED (`sizeGb`, `type`, `sourceImage`, `labels`, `description`), not yet in place.

    Raise ApiError for a bad name or size, an unknown type or image. Quotas are the caller's to check.
    """
    project, zone = path.split("/")[1], zone_of(path)
    check_zone(state, project, zone)
    kind = short(str(wanted.get("type") or "pd-standard"))
    type_path = resolve(kind, project, f"zones/{zone}/diskTypes")
    if kind not in DISK_TYPES:
        raise not_found(type_path)
    disk = new(state, "disk", path)
    least = 10
    if wanted.get("sourceImage"):
        image = usable(state, wanted["sourceImage"], project)
        least = int(image["diskSizeGb"])
        disk.update(sourceImage=image["selfLink"], sourceImageId=image["id"])
        disk.update({key: image[key] for key in ("architecture", "licenses", "guestOsFeatures") if key in image})
    size = int(wanted.get("sizeGb") or (least if "sourceImage" in disk else 500))
    if size < least and "sourceImage" in disk:
        why = f"Requested disk size cannot be smaller than the image size ({least} GB)"
        raise invalid_field("resource.sizeGb", size, why)
    disk.update(
        sizeGb=str(size),
        type=COMPUTE_URL + type_path,
        status="CREATING",
        zone=f"{COMPUTE_URL}projects/{project}/zones/{zone}",
        physicalBlockSizeBytes="4096",
    )
    if wanted.get("description"):
        disk["description"] = wanted["description"]
    label(disk, wanted.get("labels"))
    return disk


def place(state: State, disk: Json) -> None:
    """Put DISK in place, READY, with what its image holds."""
    put(state, disk)
    disk["status"] = "READY"
    image = str(disk.get("sourceImage", "")).removeprefix(COMPUTE_URL)
    state.held[str(disk["selfLink"]).removeprefix(COMPUTE_URL)] = state.holds(image)


def use(state: State, disk: Json, instance: Json) -> None:
    """Note on DISK that INSTANCE has it attached."""
    disk["users"] = [*disk.get("users", []), instance["selfLink"]]
    disk["lastAttachTimestamp"] = state.compute_time()


def release(state: State, disk: Json, instance: Json) -> None:
    """Note on DISK that INSTANCE no longer has it."""
    users = [user for user in disk.get("users", []) if user != instance["selfLink"]]
    if users:
        disk["users"] = users
    else:
        disk.pop("users", None)
    disk["lastDetachTimestamp"] = state.compute_time()


@ROUTES.add("POST", _BASE, "compute.disks.create")
def _insert(state: State, call: Call) -> Json:
    path = f"{call.path}/{call.body.get('name', '')}"
    source = call.body.get("sourceImage") or call.query.get("sourceImage")
    disk = prepare(state, path, call.body | ({"sourceImage": source} if source else {}))
    check_quota(state, call["project"], call["zone"], {disk_metric(disk["type"]): float(disk["sizeGb"])})

    def steps() -> Iterator[float]:
        put(state, disk)
        yield state.timing.compute_s
        place(state, disk)

    return start(state, call, "insert", path, steps())


@ROUTES.add("DELETE", _BASE + "/{name}", "compute.disks.delete")
def _delete(state: State, call: Call) -> Json:
    disk = existing(state, call.path)
    if disk.get("users"):
        user = str(disk["users"][0]).removeprefix(COMPUTE_URL)
        message = f"The disk resource '{call.path}' is already being used by '{user}'"
        raise ApiError(400, message, reason="resourceInUseByAnotherResource")

    def steps() -> Iterator[float]:
        disk["status"] = "DELETING"
        yield state.timing.compute_s
        state.drop(call.path)

    return start(state, call, "delete", call.path, steps())


@ROUTES.add("POST", _BASE + "/{name}/resize", "compute.disks.update")
def _resize(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/resize")
    disk = existing(state, path)
    size = int(call.body.get("sizeGb") or 0)
    if size <= int(disk["sizeGb"]):
        why = f"New disk size '{size}' must be larger than existing size '{disk['sizeGb']}'."
        raise invalid_field("sizeGb", size, why)
    disk["sizeGb"] = str(size)
    return start(state, call, "resizeDisk", path, pause(state.timing.compute_s))


serve(ROUTES, "zones/{zone}", "disks", "disk")
