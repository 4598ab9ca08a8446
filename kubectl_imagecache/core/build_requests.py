"""The bodies that a build sends to Compute: the VM with its disks, and the disk image."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.plan import BuildPlan, Vm
from kubectl_imagecache.core.plan_json import from_json, to_json
from kubectl_imagecache.core.reading import ReadPlan

DEVICE = "imagecache"
"""Device name of the cache disk; on the VM it is /dev/disk/by-id/google-imagecache."""
BOOT_DISK_GB = 10
PLAN_KEY = "imagecache-plan"
"""Metadata item with the packed plan."""
_LIMIT = 256 * 1024
_UNPACKED_LIMIT = 32 * 1024 * 1024
_COS = re.compile(r"(?:^|/)cos-")
"""In a path: the project cos-cloud, or a family or an image of its."""
_FAMILIES = {"amd64": "debian-12", "arm64": "debian-12-arm64"}
_ARCHITECTURES = {"amd64": "X86_64", "arm64": "ARM64"}
_CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_READ_STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"


def pack_plan(plan: BuildPlan) -> str:
    """PLAN as a metadata value, so that anyone can go on with the build; raise BadUsage if it is too long."""
    text = base64.b64encode(zlib.compress(to_json(plan).encode(), 9)).decode()
    if len(text) > _LIMIT:
        raise BadUsage("the plan doesn't fit into the VM's metadata", "split it into several disk images")
    return text


def unpack_plan(text: str, source: str) -> BuildPlan:
    """Read a packed plan; raise BadUsage, naming SOURCE."""
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), _UNPACKED_LIMIT)
        if not inflate.eof:
            raise ValueError("it is cut short or too long")
    except (ValueError, zlib.error) as error:
        raise BadUsage(f"the plan in the metadata of {source} can't be read", f"rebuild --abort {source}") from error
    return from_json(data, source)


def boot_image(vm: Vm, arch: str) -> str:
    """The VM's boot image: by default a family, never a dated one that ages.

    Raises BadUsage for Container-Optimized OS: it has neither Python nor a package manager, and its toolbox is a
    container to be pulled first (https://cloud.google.com/container-optimized-os/docs/how-to/toolbox).
    """
    if _COS.search(vm.boot_image):
        raise BadUsage(
            f"the builder is a Python program, which the boot image {vm.boot_image} can't run",
            "leave --boot-image out for the newest Debian 12, or name an image with Python 3.10 and e2fsprogs",
        )
    return vm.boot_image or f"projects/debian-cloud/global/images/family/{_FAMILIES[arch]}"


def network_path(vm: Vm) -> str:
    """`projects/P/global/networks/N`."""
    return vm.network if "/" in vm.network else f"projects/{vm.project}/global/networks/{vm.network}"


def subnet_path(vm: Vm) -> str:
    """`projects/P/regions/R/subnetworks/S`; empty if the network is to choose."""
    if not vm.subnet or "/" in vm.subnet:
        return vm.subnet
    return f"projects/{vm.project}/regions/{vm.region}/subnetworks/{vm.subnet}"


def build_labels(plan: BuildPlan) -> dict[str, str]:
    """What tells the VM and its disks from others."""
    return {"imagecache-build": plan.build, "imagecache-plan": plan.hash}


def vm_body(plan: BuildPlan, script: str) -> dict[str, Any]:
    """The request for the builder VM, which deletes itself with its disks after the plan's time limit."""
    body = _temporary(plan.vm, plan.build, build_labels(plan), script)
    body["description"] = f"Builds the disk image {plan.output.ref.name}"
    body["disks"] = [_disk(plan, boot=True), _disk(plan, boot=False)]
    body["metadata"]["items"].append({"key": PLAN_KEY, "value": pack_plan(plan)})
    body["serviceAccounts"] = _accounts(plan)
    return body


def reader_body(plan: ReadPlan, script: str) -> dict[str, Any]:
    """The request for a VM that reads a disk image, from a disk of its own that it can't write to; as short-lived."""
    labels = {"imagecache-build": plan.build}
    body = _temporary(plan.vm, plan.name, labels, script)
    body["description"] = f"Reads the disk image {plan.image.name}"
    disk = {
        "diskName": f"{plan.name}-cache",
        "diskType": f"zones/{plan.vm.zone}/diskTypes/{plan.vm.disk_type}",
        "sourceImage": str(plan.image),
        "labels": labels,
    }
    body["disks"] = [
        _attached(plan.vm, _boot_disk(plan.vm, plan.name, plan.arch, labels), boot=True),
        _attached(plan.vm, disk, boot=False) | {"mode": "READ_ONLY"},
    ]
    # It needs no registry and no API: no account, so that nothing on a disk from elsewhere could ever use one.
    body["serviceAccounts"] = []
    return body


def _temporary(vm: Vm, name: str, labels: dict[str, str], script: str) -> dict[str, Any]:
    """What every VM of ours has, whatever it does: a script, a name, an end."""
    body: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{vm.zone}/machineTypes/{vm.machine_type}",
        "labels": labels,
        "networkInterfaces": [_interface(vm)],
        "metadata": {
            "items": [
                {"key": "startup-script", "value": script},
                {"key": "block-project-ssh-keys", "value": "TRUE"},
            ]
        },
        "scheduling": {
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE" if vm.spot else "MIGRATE",
            "provisioningModel": "SPOT" if vm.spot else "STANDARD",
            "maxRunDuration": {"seconds": str(vm.timeout_s)},
            "instanceTerminationAction": "DELETE",
        },
        "shieldedInstanceConfig": {"enableSecureBoot": True, "enableVtpm": True, "enableIntegrityMonitoring": True},
    }
    if vm.tags:
        body["tags"] = {"items": list(vm.tags)}
    return body


def image_body(plan: BuildPlan, disk: str, description: str, labels: dict[str, str]) -> dict[str, Any]:
    """The request for the disk image of DISK (a URL); without the family, which is set once the image is READY."""
    body: dict[str, Any] = {
        "name": plan.output.ref.name,
        "sourceDisk": disk,
        "description": description,
        "labels": dict(plan.output.labels) | labels,
        "architecture": _ARCHITECTURES[plan.arch],
    }
    if plan.output.storage_location:
        body["storageLocations"] = [plan.output.storage_location]
    if plan.vm.kms_key:
        body["imageEncryptionKey"] = {"kmsKeyName": plan.vm.kms_key}
    return body


def _disk(plan: BuildPlan, boot: bool) -> dict[str, Any]:
    vm = plan.vm
    if boot:
        return _attached(vm, _boot_disk(vm, plan.build, plan.arch, build_labels(plan)), boot=True)
    fresh = {
        "diskName": f"{plan.build}-cache",
        "diskType": f"zones/{vm.zone}/diskTypes/{vm.disk_type}",
        "diskSizeGb": str(plan.disk_size_gb),
        "labels": build_labels(plan),
    }
    return _attached(vm, fresh, boot=False)


def _boot_disk(vm: Vm, name: str, arch: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "diskName": name,
        "diskType": f"zones/{vm.zone}/diskTypes/{_boot_disk_type(vm)}",
        "diskSizeGb": str(BOOT_DISK_GB),
        "labels": labels,
        "sourceImage": boot_image(vm, arch),
    }


def _attached(vm: Vm, fresh: dict[str, Any], boot: bool) -> dict[str, Any]:
    disk: dict[str, Any] = {"boot": boot, "autoDelete": True, "initializeParams": fresh}
    if not boot:
        disk["deviceName"] = DEVICE
    if vm.kms_key:
        disk["diskEncryptionKey"] = {"kmsKeyName": vm.kms_key}
    return disk


def _boot_disk_type(vm: Vm) -> str:
    # Machines that take hyperdisks only take no persistent disk to boot from.
    return "hyperdisk-balanced" if vm.disk_type.startswith("hyperdisk") else "pd-balanced"


def _interface(vm: Vm) -> dict[str, Any]:
    interface: dict[str, Any] = {"network": network_path(vm)}
    if subnet := subnet_path(vm):
        interface["subnetwork"] = subnet
        if subnet.split("/")[1] != vm.project:
            del interface["network"]  # a shared VPC's subnet names its network
    if vm.external_ip:
        interface["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "external-nat"}]
    return interface


def _accounts(plan: BuildPlan) -> list[dict[str, Any]]:
    kinds = {login.auth for login in plan.registries}
    if not plan.vm.service_account and not kinds & {"google", "secret"}:
        return []
    # Secret Manager knows no narrower scope; what the account may do, IAM says.
    broad = bool(plan.vm.service_account) or "secret" in kinds
    return [{"email": plan.vm.service_account or "default", "scopes": [_CLOUD_PLATFORM if broad else _READ_STORAGE]}]
