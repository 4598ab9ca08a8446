"""Looks, before anything is made, for all that would stop a temporary VM half-way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.clients.compute_preflight import MachineType, Surroundings
from kubectl_imagecache.clients.http import is_loopback
from kubectl_imagecache.core.build_requests import BOOT_DISK_GB, boot_image, network_path, subnet_path
from kubectl_imagecache.core.errors import BadUsage, NotPermitted, UserError
from kubectl_imagecache.core.plan import BuildPlan
from kubectl_imagecache.core.vm_wish import VmWish
from kubectl_imagecache.usecases.plan import is_google

DISK_METRICS = {
    "pd-standard": "DISKS_TOTAL_GB",
    "pd-balanced": "SSD_TOTAL_GB",
    "pd-ssd": "SSD_TOTAL_GB",
    "hyperdisk-balanced": "HDB_TOTAL_GB",
}
"""Regional quota by disk type, where it is known: https://cloud.google.com/compute/resource-usage, and Compute's own
refusals (`Quota 'HDB_TOTAL_GB' exceeded`)."""
_ID = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


Look = Callable[[], list[UserError | str]]
"""Looks for one kind of obstacle: problems, and warnings as texts."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found."""

    problems: tuple[UserError, ...]
    """Each would stop the work."""
    warnings: tuple[str, ...]
    """May matter, or could not be looked at."""


def check_project(around: Surroundings, project: str) -> None:
    """Raise BadUsage with the right id if PROJECT is a number or a display name, or doesn't exist."""
    if project.isdecimal():
        found = around.project_id()
        hint = f"its id is {found}: --project {found}" if found else "see gcloud projects list"
        raise BadUsage(f"{project} is a project number, not an id", hint)
    if not _ID.fullmatch(project):
        guess = re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-")
        raise BadUsage(f"{project!r} is no project id", f"perhaps {guess}; `gcloud projects list` shows ids and names")
    if around.project_id() is None:
        raise BadUsage(f"there is no project {project}", "see gcloud projects list")


def preflight(around: Surroundings, wish: VmWish, more: Sequence[Look] = ()) -> Findings:
    """All problems and warnings of WISH at once, looked for side by side, by MORE too.

    Raises Unauthenticated and Unavailable.
    """
    checks: list[Look] = [
        lambda: list(_permissions(around, wish)),
        lambda: list(_machine_and_quota(around, wish)),
        lambda: list(_network(around, wish)),
        lambda: list(_boot_image(around, wish)),
        *more,
    ]
    with ThreadPoolExecutor(len(checks), "preflight") as threads:
        found = [item for items in threads.map(lambda check: _told(check), checks) for item in items]
    return Findings(
        tuple(item for item in found if isinstance(item, UserError)),
        tuple(item for item in found if isinstance(item, str)),
    )


def _told(check: Callable[[], list[UserError | str]]) -> list[UserError | str]:
    try:
        return check()
    except NotPermitted as error:
        # What can't be looked at may still be allowed to be made.
        return [f"not checked beforehand: {error.message}"]


def _permissions(around: Surroundings, wish: VmWish) -> Iterator[UserError | str]:
    for grant in wish.grants:
        try:
            missing = sorted(set(grant.permissions) - around.held(grant.permissions))
        except UserError as error:
            yield f"permissions were not checked beforehand: {error.message}"
            return
        if missing:
            yield NotPermitted(", ".join(missing), f"projects/{wish.vm.project}", grant.role)


def _machine_and_quota(around: Surroundings, wish: VmWish) -> Iterator[UserError | str]:
    vm = wish.vm
    if not around.has_zone(vm.zone):
        yield BadUsage(f"there is no zone {vm.zone}", "see gcloud compute zones list")
        return
    machine = around.machine_type(vm.zone, vm.machine_type)
    if machine is None:
        yield BadUsage(f"{vm.zone} has no machine type {vm.machine_type}", "take another --machine-type or --zone")
    elif machine.arch and machine.arch != wish.arch:
        yield BadUsage(
            f"{vm.machine_type} is an {machine.arch} machine, the images are for {wish.arch}",
            "take an arm64 machine type such as t2a-standard-4 or c4a-standard-4" if wish.arch == "arm64" else "",
        )
    if not around.has_disk_type(vm.zone, vm.disk_type):
        yield BadUsage(f"{vm.zone} has no disk type {vm.disk_type}", "see gcloud compute disk-types list")
    yield from _quota(around, wish, machine)


def _quota(around: Surroundings, wish: VmWish, machine: MachineType | None) -> Iterator[UserError]:
    boot = "hyperdisk-balanced" if wish.vm.disk_type.startswith("hyperdisk") else "pd-balanced"
    needed = {"INSTANCES": 1.0, "CPUS": float(machine.cpus if machine else 0)}
    for kind, size in ((boot, BOOT_DISK_GB), (wish.vm.disk_type, wish.disk_size_gb)):
        if metric := DISK_METRICS.get(kind, ""):
            needed[metric] = needed.get(metric, 0.0) + size
    if wish.vm.external_ip:
        needed["IN_USE_ADDRESSES"] = 1.0
    quotas = around.quotas(wish.vm.region)
    for metric, amount in needed.items():
        quota = quotas.get(metric)
        if quota is not None and quota.usage + amount > quota.limit:
            left = max(quota.limit - quota.usage, 0)
            yield UserError(
                f"the quota {metric} in {wish.vm.region} has {left:g} left, {amount:g} are needed",
                "ask for more, or take another region with --zone",
            )


def _network(around: Surroundings, wish: VmWish) -> Iterator[UserError | str]:
    vm = wish.vm
    subnet = subnet_path(vm)
    shared = bool(subnet) and subnet.split("/")[1] != vm.project
    if not shared and not around.has_network(network_path(vm)):
        yield BadUsage(f"there is no network {network_path(vm)}", "name one with --network")
    outside = sorted(r.host for r in wish.registries if not is_google(urlsplit(r.endpoint).hostname or r.host))
    for host in [host for host in outside if is_loopback(f"//{host}")]:
        yield f"{host} is for the VM a registry on itself: only a sandbox's VM is this machine"
        outside.remove(host)
    if vm.external_ip:
        if subnet and around.private_google_access(subnet) is None:
            yield BadUsage(f"there is no subnet {subnet}", "name one with --subnet")
        return
    if outside:
        yield (
            f"the VM has no external IP: {', '.join(outside)} can be reached only if the network has Cloud NAT"
            " (or use --external-ip)"
        )
    if not subnet and vm.network == "default":
        subnet = f"projects/{vm.project}/regions/{vm.region}/subnetworks/default"
    access = around.private_google_access(subnet) if subnet else True
    if access is None:
        yield BadUsage(f"there is no subnet {subnet}", "name one with --subnet")
    elif not access and len(outside) < len(wish.registries):
        yield f"{subnet} has no Private Google Access: Google's registries can be reached only through Cloud NAT"


def _boot_image(around: Surroundings, wish: VmWish) -> Iterator[UserError | str]:
    boot = boot_image(wish.vm, wish.arch)
    if not around.has_image(boot):
        yield BadUsage(f"there is no boot image {boot}", "name one with --boot-image")


def name_is_free(compute: BuildCompute, plan: BuildPlan) -> list[UserError | str]:
    """A problem if the name of PLAN's disk image is taken; raises what BuildCompute raises."""
    present = compute.image(plan.output.ref)
    if present is None or present.build == plan.build:
        return []
    return [BadUsage(f"there is a disk image {plan.output.ref.name} already", "take another name with --image-name")]
