"""What a build asks of Compute: its VM, the VM's serial port, and the disk image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.http import Answer
from kubectl_imagecache.clients.storage import Storage
from kubectl_imagecache.core.adopt import Described
from kubectl_imagecache.core.build import PENDING, VERIFIED, BuildVm, BuiltImage, ImageState, VmState
from kubectl_imagecache.core.build_requests import DEVICE, PLAN_KEY, image_body, reader_body, vm_body
from kubectl_imagecache.core.errors import BadAnswer, NotFound, Unavailable
from kubectl_imagecache.core.plan import BuildPlan
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.reading import ReadPlan

ADMIN = "roles/compute.instanceAdmin.v1"
STORAGE_ADMIN = "roles/compute.storageAdmin"
_T = TypeVar("_T")
_PAGES = 1000
_VM_STATES = {
    "PROVISIONING": VmState.STARTING,
    "STAGING": VmState.STARTING,
    "REPAIRING": VmState.STARTING,
    "RUNNING": VmState.RUNNING,
    "PENDING_STOP": VmState.STOPPING,
    "STOPPING": VmState.STOPPING,
    "DEPROVISIONING": VmState.STOPPING,
    "SUSPENDING": VmState.STOPPING,
    "SUSPENDED": VmState.STOPPED,
    "STOPPED": VmState.STOPPED,
    "TERMINATED": VmState.STOPPED,
}


class _Item(msgspec.Struct):
    key: str
    value: str = ""


class _Metadata(msgspec.Struct):
    items: list[_Item] = []


class _Attached(msgspec.Struct, rename="camel"):
    source: str = ""
    device_name: str = ""


class _Instance(msgspec.Struct, rename="camel"):
    name: str
    zone: str
    status: str
    labels: dict[str, str] = {}
    label_fingerprint: str = ""
    disks: list[_Attached] = []
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    creation_timestamp: str = ""


class _Deprecated(msgspec.Struct):
    state: str = "ACTIVE"


class _Image(msgspec.Struct, rename="camel"):
    name: str
    status: str
    deprecated: _Deprecated | None = None
    id: str = ""
    description: str = ""
    labels: dict[str, str] = {}
    label_fingerprint: str = ""
    family: str = ""
    creation_timestamp: str = ""


class _Disk(msgspec.Struct, rename="camel"):
    name: str
    zone: str
    size_gb: str = "0"
    labels: dict[str, str] = {}
    users: list[str] = []
    creation_timestamp: str = ""


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


class _Operation(msgspec.Struct, rename="camel"):
    name: str
    status: str
    zone: str = ""
    error: _Errors | None = None


class _Serial(msgspec.Struct):
    contents: str = ""
    start: str = "0"
    next: str = "0"


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _kind in (_Instance, _Image, _Disk, _Operation, _Serial):
    msgspec.json.Decoder(_kind)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of Compute."""

    path: str
    """`projects/P/zones/Z/operations/O`."""
    done: bool
    code: str = ""
    """Of its failure: `ZONE_RESOURCE_POOL_EXHAUSTED`; empty if it went well or still runs."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SerialText:
    """A piece of what a VM wrote to its first serial port."""

    text: str
    start: int
    """Offset of its first byte: beyond the one asked for if text was lost."""
    next: int


@dataclass(frozen=True, slots=True)
class BuildDisk:
    """A disk with a build's label."""

    name: str
    zone: str
    size_gb: int
    build: str
    used: bool
    created: str


class BuildCompute:
    """Compute, as far as builds need it, in one project."""

    def __init__(self, http: GoogleHttp, project: str) -> None:
        self._http, self.project = http, project

    def storage(self) -> Storage:
        """Cloud Storage, with the same credentials."""
        return Storage(self._http)

    def vm(self, zone: str, name: str) -> BuildVm | None:
        """The builder VM; None if there is none. Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer."""
        path = self._zonal(zone, f"instances/{name}")
        answer = self._get(path, "compute.instances.get", ADMIN)
        return None if answer is None else _vm(_decode(answer, _Instance))

    def serial(self, zone: str, name: str, start: int) -> SerialText:
        """What the VM wrote from byte START on; raises NotFound once it is gone, and what `vm` raises."""
        path = self._zonal(zone, f"instances/{name}")
        answer = self._http.get(
            Api.COMPUTE,
            f"{path}/serialPort?port=1&start={start}",
            permission="compute.instances.getSerialPortOutput",
            on=path,
            role=ADMIN,
        )
        found = _decode(answer, _Serial)
        return SerialText(found.contents, int(found.start or 0), int(found.next or 0))

    def create_vm(self, plan: BuildPlan, script: str) -> Operation:
        """Begin to make the VM; raises AlreadyExists, UserError for a quota, and what `vm` raises."""
        path = self._zonal(plan.vm.zone, "instances")
        return self.do("POST", path, vm_body(plan, script), "compute.instances.create", ADMIN)

    def create_reader(self, plan: ReadPlan, script: str) -> Operation:
        """Begin to make a VM that reads a disk image; raises what `create_vm` raises."""
        path = self._zonal(plan.vm.zone, "instances")
        return self.do("POST", path, reader_body(plan, script), "compute.instances.create", ADMIN)

    def label_vm(self, vm: BuildVm, key: str, value: str) -> Operation:
        """Set one label; raises AlreadyExists if others were set meanwhile, and what `vm` raises."""
        body = {"labels": dict(vm.labels) | {key: value}, "labelFingerprint": vm.label_fingerprint}
        path = self._zonal(vm.zone, f"instances/{vm.name}/setLabels")
        return self.do("POST", path, body, "compute.instances.setLabels", ADMIN)

    def stop_vm(self, vm: BuildVm) -> Operation:
        """Begin to stop the VM; its file systems are unmounted by its own shutdown."""
        return self.do("POST", self._zonal(vm.zone, f"instances/{vm.name}/stop"), {}, "compute.instances.stop", ADMIN)

    def delete_vm(self, vm: BuildVm) -> Operation | None:
        """Begin to delete the VM with its disks; None if it is gone already."""
        return self._delete(self._zonal(vm.zone, f"instances/{vm.name}"), "compute.instances.delete", ADMIN)

    def image(self, ref: DiskImageRef) -> BuiltImage | None:
        """The disk image; None if there is none. Raises what `vm` raises."""
        answer = self._get(_image_path(ref), "compute.images.get", STORAGE_ADMIN)
        return None if answer is None else _image(_decode(answer, _Image), ref.project)

    def create_image(self, plan: BuildPlan, disk: str, description: str, labels: dict[str, str]) -> Operation:
        """Begin to make the disk image of DISK; raises AlreadyExists, and what `vm` raises."""
        path = f"projects/{quote(plan.output.ref.project, safe=':')}/global/images"
        return self.do(
            "POST", path, image_body(plan, disk, description, labels), "compute.images.create", STORAGE_ADMIN
        )

    def set_family(self, ref: DiskImageRef, family: str) -> Operation:
        """Put a disk image into FAMILY."""
        return self.do("PATCH", _image_path(ref), {"family": family}, "compute.images.update", STORAGE_ADMIN)

    def described(self, ref: DiskImageRef) -> Described:
        """What the disk image says of itself; raises NotFound and what `vm` raises."""
        path = _image_path(ref)
        answer = self._http.get(Api.COMPUTE, path, permission="compute.images.get", on=path, role=STORAGE_ADMIN)
        found = _decode(answer, _Image)
        return Described(found.id, found.description, found.labels, found.label_fingerprint)

    def describe_image(self, ref: DiskImageRef, description: str) -> Operation:
        """Replace the disk image's description; raises what `vm` raises."""
        return self.do("PATCH", _image_path(ref), {"description": description}, "compute.images.update", STORAGE_ADMIN)

    def label_image(self, ref: DiskImageRef, labels: Mapping[str, str], fingerprint: str) -> Operation:
        """Replace the disk image's labels; raises AlreadyExists if they were set meanwhile, and what `vm` raises."""
        body = {"labels": dict(labels), "labelFingerprint": fingerprint}
        return self.do("POST", f"{_image_path(ref)}/setLabels", body, "compute.images.setLabels", STORAGE_ADMIN)

    def delete_image(self, ref: DiskImageRef) -> Operation | None:
        """Begin to delete a disk image; None if it is gone already."""
        return self._delete(_image_path(ref), "compute.images.delete", STORAGE_ADMIN)

    def delete_disk(self, disk: BuildDisk) -> Operation | None:
        """Begin to delete a disk; None if it is gone already."""
        return self._delete(self._zonal(disk.zone, f"disks/{disk.name}"), "compute.disks.delete", STORAGE_ADMIN)

    def operation(self, operation: Operation) -> Operation:
        """OPERATION as it is now; one that Compute has forgotten is done."""
        permission = "compute.zoneOperations.get" if "/zones/" in operation.path else "compute.globalOperations.get"
        answer = self._get(operation.path, permission, ADMIN)
        return Operation(operation.path, True) if answer is None else self._operation(answer)

    def vms(self, build: str = "") -> list[BuildVm]:
        """The builder VMs of all zones, or of one BUILD."""
        return [_vm(item) for item in self._everywhere("instances", _of(build), _Instance, "compute.instances.list")]

    def vms_of_plan(self, hash_: str) -> list[BuildVm]:
        """The builder VMs of all zones that build the plan with that hash."""
        found = self._everywhere("instances", f"imagecache-plan={hash_}", _Instance, "compute.instances.list")
        return [_vm(item) for item in found if item.name == item.labels.get("imagecache-build")]

    def disks(self, build: str = "") -> list[BuildDisk]:
        """The disks of builds in all zones, or of one BUILD."""
        found = self._everywhere("disks", _of(build), _Disk, "compute.disks.list")
        return [
            BuildDisk(
                d.name,
                d.zone.rpartition("/")[2],
                int(d.size_gb),
                d.labels.get("imagecache-build", ""),
                bool(d.users),
                d.creation_timestamp,
            )
            for d in found
        ]

    def images(self, label: str, value: str = "") -> list[BuiltImage]:
        """The project's disk images with LABEL, or with that VALUE of it."""
        path = f"{self._project()}/global/images"
        found = self.listed(path, f"labels.{label}={value}" if value else f"labels.{label}:*", "compute.images.list")
        return [_image(msgspec.convert(item, _Image), self.project) for item in found]

    def _everywhere(self, collection: str, label: str, kind: type[_T], permission: str) -> list[_T]:
        found = self.listed(f"{self._project()}/aggregated/{collection}", f"labels.{label}", permission)
        scopes = (item for scope in found for item in scope.get(collection) or ())
        return [msgspec.convert(item, kind) for item in scopes]

    def listed(self, path: str, test: str, permission: str, role: str = ADMIN) -> Iterator[dict[str, Any]]:
        """Everything in the collection at PATH that TEST (Compute's filter; empty: all) lets through, page by page."""
        token = ""
        for _ in range(_PAGES):
            query = f"?filter={quote(test)}" + (f"&pageToken={quote(token)}" if token else "")
            answer = self._http.get(Api.COMPUTE, path + query, permission=permission, on=path, role=role)
            page = _decode(answer, dict[str, Any])
            if page.get("unreachables"):
                raise Unavailable(f"Compute can't list all of {path} now", "try again later")
            items = page.get("items") or ()
            yield from items.values() if isinstance(items, dict) else items
            token = str(page.get("nextPageToken") or "")
            if not token:
                return
        raise BadAnswer(f"{path} has more than {_PAGES} pages")

    def _get(self, path: str, permission: str, role: str) -> Answer | None:
        try:
            return self._http.get(Api.COMPUTE, path, permission=permission, on=path, role=role)
        except NotFound:
            return None

    def do(self, method: str, path: str, body: object, permission: str, role: str) -> Operation:
        """Begin a change that may be repeated; raises AlreadyExists, and what `vm` raises."""
        answer = self._http.send(method, Api.COMPUTE, path, body, permission=permission, on=path, role=role)
        return self._operation(answer)

    def _delete(self, path: str, permission: str, role: str) -> Operation | None:
        try:
            return self.do("DELETE", path, None, permission, role)
        except NotFound:
            return None

    def _operation(self, answer: Answer) -> Operation:
        found = _decode(answer, _Operation)
        scope = f"zones/{found.zone.rpartition('/')[2]}" if found.zone else "global"
        errors = found.error.errors if found.error else []
        first = errors[0] if errors else _Error()
        code = (first.code or "UNKNOWN") if errors else ""
        path = f"{self._project()}/{scope}/operations/{quote(found.name, safe='')}"
        return Operation(path, found.status == "DONE", code, (first.message.splitlines() or [""])[0][:300])

    def _project(self) -> str:
        return f"projects/{quote(self.project, safe=':')}"

    def _zonal(self, zone: str, rest: str) -> str:
        return f"{self._project()}/zones/{quote(zone, safe='')}/{rest}"


def _of(build: str) -> str:
    return f"imagecache-build={build}" if build else "imagecache-build:*"


def _image_path(ref: DiskImageRef) -> str:
    return f"projects/{quote(ref.project, safe=':')}/global/images/{quote(ref.name, safe='')}"


def _vm(found: _Instance) -> BuildVm:
    state = _VM_STATES.get(found.status)
    if state is None:
        raise BadAnswer(f"the VM {found.name} has the unknown status {found.status[:40]!r}")
    return BuildVm(
        found.name,
        found.zone.rpartition("/")[2],
        state,
        found.labels.get("imagecache-phase", ""),
        found.labels.get("imagecache-plan", ""),
        next((d.source for d in found.disks if d.device_name == DEVICE), ""),
        tuple(sorted(found.labels.items())),
        found.label_fingerprint,
        next((item.value for item in found.metadata.items if item.key == PLAN_KEY), ""),
        found.creation_timestamp,
    )


def _image(found: _Image, project: str) -> BuiltImage:
    if found.status not in ImageState.__members__:
        raise BadAnswer(f"the disk image {found.name} has the unknown status {found.status[:40]!r}")
    return BuiltImage(
        project,
        found.name,
        ImageState[found.status],
        found.labels.get("imagecache-build", ""),
        found.labels.get("imagecache-plan", ""),
        found.family,
        found.creation_timestamp,
        found.deprecated is not None and found.deprecated.state != "ACTIVE",
        found.id,
        found.labels.get(VERIFIED) == PENDING,
        found.description,
    )


def _decode(answer: Answer, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"{answer.host} gives something that makes no sense here: {error}") from error
