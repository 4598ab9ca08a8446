"""Disk images of Compute."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_imagecache.sandbox.cloud.errors import ApiError, invalid_field, not_found
from kubectl_imagecache.sandbox.cloud.links import check_name, resolve, short
from kubectl_imagecache.sandbox.cloud.operations import start
from kubectl_imagecache.sandbox.cloud.resources import existing, label, new, pause, put, require_fingerprint, serve
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State

ROUTES = Routes()

_BASE = "projects/{project}/global/images"
_COPIED = ("description", "family", "licenses", "guestOsFeatures", "architecture", "storageLocations", "labels")


def complete(state: State, image: Json) -> Json:
    """IMAGE, as a scenario names it, with what every image has."""
    project = str(image.get("selfLink", "")).partition("projects/")[2].partition("/")[0] or state.project
    path = f"projects/{project}/global/images/{image['name']}"
    usual: Json = {
        "sourceType": "RAW",
        "status": "READY",
        "diskSizeGb": "10",
        "archiveSizeBytes": "1073741824",
        "architecture": "X86_64",
        "storageLocations": ["us"],
    }
    found = usual | new(state, "image", path) | image | {"selfLink": COMPUTE_URL + path}
    label(found, image.get("labels"))
    return found


def image_at(state: State, link: str, project: str) -> tuple[str, Json]:
    """The path and the image that LINK names, through its family if it names one; raise 404."""
    path = resolve(link, project, "global/images")
    if "/imageFamilyViews/" in path:
        # What gcloud sends for --image-family: the family as a zone sees it.
        path = f"projects/{path.split('/')[1]}/global/images/family/{short(path)}"
    if "/images/family/" in path:
        image = _newest(state, path)
        return str(image["selfLink"]).removeprefix(COMPUTE_URL), image
    return path, existing(state, path)


def usable(state: State, link: str, project: str) -> Json:
    """The image that LINK names; raise 404 if it is missing and 400 if it isn't READY or is obsolete."""
    path, image = image_at(state, link, project)
    if image["status"] != "READY":
        raise ApiError(400, f"The resource '{path}' is not ready", reason="resourceNotReady")
    if image.get("deprecated", {}).get("state") in ("OBSOLETE", "DELETED"):
        raise ApiError(400, f"The resource '{path}' is obsolete and cannot be used", reason="invalid")
    return image


def _newest(state: State, path: str) -> Json:
    collection, _, family = path.partition("/family/")
    members = [
        image
        for image in state.collection(collection).values()
        if image.get("family") == family and image.get("deprecated", {}).get("state", "ACTIVE") == "ACTIVE"
    ]
    if not members:
        raise not_found(path)
    return max(members, key=lambda image: (str(image["creationTimestamp"]), int(image["id"])))


@ROUTES.add("GET", _BASE + "/family/{family}", "compute.images.getFromFamily")
def _from_family(state: State, call: Call) -> Json:
    return _newest(state, call.path)


@ROUTES.add("GET", "projects/{project}/zones/{zone}/imageFamilyViews/{family}", "compute.images.getFromFamily")
def _family_view(state: State, call: Call) -> Json:
    return {"image": _newest(state, f"projects/{call['project']}/global/images/family/{call['family']}")}


@ROUTES.add("POST", _BASE, "compute.images.create")
def _insert(state: State, call: Call) -> Json:
    body = call.body
    path = f"{call.path}/{check_name(str(body.get('name', '')))}"
    if len(str(body.get("description", ""))) > 2048:
        raise invalid_field("resource.description", body["description"], "Must be at most 2048 characters long.")
    source_path, size_gb, about = _source(state, call)
    image = new(state, "image", path) | about
    image.update({key: body[key] for key in _COPIED if key in body})
    image.setdefault("architecture", "X86_64")
    image.setdefault("storageLocations", ["us"])
    image.update(sourceType="RAW", status="PENDING", diskSizeGb=str(body.get("diskSizeGb") or size_gb))
    label(image, body.get("labels"))
    return start(state, call, "insert", path, _make(state, image, path, source_path))


def _source(state: State, call: Call) -> tuple[str, str, Json]:
    body = call.body
    if body.get("sourceDisk"):
        path = resolve(body["sourceDisk"], call["project"], "zones/-/disks")
        disk = existing(state, path)
        forced = call.query.get("forceCreate") == "true"
        users = [user for user in disk.get("users", []) if not forced and _writes(state, user, path)]
        if users:
            user = str(users[0]).removeprefix(COMPUTE_URL)
            message = f"The disk resource '{path}' is already being used by '{user}'"
            raise ApiError(400, message, reason="resourceInUseByAnotherResource")
        about = {"sourceDisk": disk["selfLink"], "sourceDiskId": disk["id"]}
        return path, disk["sizeGb"], about | {key: disk[key] for key in ("licenses", "architecture") if key in disk}
    if body.get("sourceImage"):
        path, source = image_at(state, body["sourceImage"], call["project"])
        return path, source["diskSizeGb"], {"sourceImage": source["selfLink"], "sourceImageId": source["id"]}
    raise ApiError(400, "Invalid value for field 'resource': ''. A source must be specified.")


def _writes(state: State, user: str, disk_path: str) -> bool:
    instance = state.find(user.removeprefix(COMPUTE_URL)) or {}
    return instance.get("status") not in ("TERMINATED", None) and any(
        disk["source"] == COMPUTE_URL + disk_path and disk["mode"] == "READ_WRITE" for disk in instance["disks"]
    )


def _make(state: State, image: Json, path: str, source: str) -> Iterator[float]:
    put(state, image)
    state.held[path] = state.holds(source)
    yield state.timing.image_s
    # Compute bills the compressed archive: about half of what is on the disk.
    image.update(status="READY", archiveSizeBytes=str(int(image["diskSizeGb"]) * 2**29))


@ROUTES.add("PATCH", _BASE + "/{name}", "compute.images.update")
def _patch(state: State, call: Call) -> Json:
    image = existing(state, call.path)
    if "labels" in call.body:
        require_fingerprint(call.body.get("labelFingerprint"), image["labelFingerprint"], "labels")
        label(image, call.body["labels"])
    for key in ("description", "family", "deprecated"):
        if key in call.body:
            image[key] = call.body[key]
    return start(state, call, "patch", call.path, pause(state.timing.compute_s))


@ROUTES.add("POST", _BASE + "/{name}/deprecate", "compute.images.deprecate")
def _deprecate(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/deprecate")
    image = existing(state, path)
    if call.body.get("state") in (None, "ACTIVE"):
        image.pop("deprecated", None)
    else:
        image["deprecated"] = dict(call.body)
    return start(state, call, "deprecate", path, pause(state.timing.compute_s))


@ROUTES.add("DELETE", _BASE + "/{name}", "compute.images.delete")
def _delete(state: State, call: Call) -> Json:
    image = existing(state, call.path)

    def steps() -> Iterator[float]:
        image["status"] = "DELETING"
        yield state.timing.compute_s
        state.drop(call.path)

    return start(state, call, "delete", call.path, steps())


serve(ROUTES, "global", "images", "image")
