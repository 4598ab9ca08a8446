"""What a temporary VM will need, whatever it is for: what is looked at before one is made."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.core.permissions import ADOPT, BUILD, READ, Grant
from kubectl_imagecache.core.plan import BuildPlan, RegistryLogin, Vm
from kubectl_imagecache.core.reading import ReadPlan


@dataclass(frozen=True, slots=True)
class VmWish:
    """A VM that is to be made."""

    name: str
    vm: Vm
    arch: str
    """`amd64` or `arm64`."""
    disk_size_gb: int
    """GiB of the disk beside its boot disk."""
    grants: tuple[Grant, ...]
    """What the caller needs on the project."""
    registries: tuple[RegistryLogin, ...] = ()
    """Those that the VM will pull from."""
    storage_location: str = ""
    """Of the disk image that is made of its disk; empty: Compute's choice, or there is none."""

    @property
    def has_account(self) -> bool:
        """Whether it runs as a service account."""
        return bool(self.vm.service_account or {r.auth for r in self.registries} & {"google", "secret"})


def builder(plan: BuildPlan) -> VmWish:
    """The VM that builds as PLAN says."""
    return VmWish(
        plan.build, plan.vm, plan.arch, plan.disk_size_gb, (BUILD,), plan.registries, plan.output.storage_location
    )


def reader(plan: ReadPlan, disk_size_gb: int, adopt: bool) -> VmWish:
    """The VM that reads as PLAN says a disk image of DISK_SIZE_GB, to ADOPT it or not: no registry, no account."""
    return VmWish(plan.name, plan.vm, plan.arch, disk_size_gb, (READ, ADOPT) if adopt else (READ,))
