"""The bodies that a build sends to Compute: the VM with its disks, and the disk image."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.plan import BuildPlan, Vm
from kubectl_imagecache.core.plan_json import from_json, to_json

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


def boot_image(plan: BuildPlan) -> str:
    """The VM's boot image: by default a family, never a dated one that ages.

    Raises BadUsage for Container-Optimized OS: it has neither Python nor a package manager, and its toolbox is a
    container to be pulled first (https://cloud.google.com/container-optimized-os/docs/how-to/toolbox).
    """
    if _COS.search(plan.vm.boot_image):
        raise BadUsage(
            f"the builder is a Python program, which the boot image {plan.vm.boot_image} can't run",
            "leave --boot-image out for the newest Debian 12, or name an image with Python 3.10 and e2fsprogs",
        )
    return plan.vm.boot_image or f"projects/debian-cloud/global/images/family/{_FAMILIES[plan.arch]}"


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
    vm = plan.vm
    body: dict[str, Any] = {
        "name": plan.build,
        "description": f"Builds the disk image {plan.output.ref.name}",
        "machineType": f"zones/{vm.zone}/machineTypes/{vm.machine_type}",
        "labels": build_labels(plan),
        "disks": [_disk(plan, boot=True), _disk(plan, boot=False)],
        "networkInterfaces": [_interface(vm)],
        "metadata": {
            "items": [
                {"key": "startup-script", "value": script},
                {"key": PLAN_KEY, "value": pack_plan(plan)},
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
        "serviceAccounts": _accounts(plan),
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
    fresh: dict[str, Any] = {
        "diskName": plan.build if boot else f"{plan.build}-cache",
        "diskType": f"zones/{vm.zone}/diskTypes/{_boot_disk_type(vm) if boot else vm.disk_type}",
        "diskSizeGb": str(BOOT_DISK_GB if boot else plan.disk_size_gb),
        "labels": build_labels(plan),
    }
    if boot:
        fresh["sourceImage"] = boot_image(plan)
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
