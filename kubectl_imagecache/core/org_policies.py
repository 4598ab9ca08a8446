"""What an organization's policies let a temporary VM do, as far as their words tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.vm_wish import VmWish

EXTERNAL_IP = "compute.vmExternalIpAccess"
TRUSTED_IMAGES = "compute.trustedImageProjects"
LOCATIONS = "gcp.resourceLocations"
WITHOUT_CMEK = "gcp.restrictNonCmekServices"
# Groups of a continent or a region tell by their names what is in them; others, such as in:eu-locations, don't.
_OF_A_PLACE = re.compile(
    r"in:(?:africa|asia|australia|europe|me|northamerica|southamerica|us|[a-z]+-[a-z]+\d+(?:-[a-z])?)-locations"
)
_ASK = "ask who manages the organization's policies"


@dataclass(frozen=True, slots=True)
class Policy:
    """A list constraint's effective policy."""

    allow_all: bool = False
    deny_all: bool = False
    allowed: frozenset[str] = frozenset()
    """As written, with their prefixes: `is:`, `under:`, `in:`."""
    denied: frozenset[str] = frozenset()

    def permits(self, *names: str) -> bool | None:
        """Whether a thing called by NAMES (each means it) is permitted; None where groups of values leave it open."""
        plain = {name for text in names for name in (text, f"is:{text}")}
        if self.deny_all or plain & self.denied:
            return False
        if self.allow_all or plain & self.allowed:
            return None if _groups(self.denied) else True
        if self.allowed:
            return None if _groups(self.allowed) else False
        return None if _groups(self.denied) else True

    def permits_place(self, place: str) -> bool | None:
        """As `permits`, of a zone, region or multi-region; groups such as `in:us-locations` are read by their names."""
        region = place.rpartition("-")[0] if place.count("-") > 1 else place
        names = {place, region, region.partition("-")[0]}
        mine = frozenset(f"in:{name}-locations" for name in names)
        if self.denied & mine:
            return False
        others = frozenset(v for v in self.allowed | self.denied if _OF_A_PLACE.fullmatch(v)) - mine
        if self.allowed and not self.allowed - others:
            return False
        rest = Policy(self.allow_all, self.deny_all, self.allowed - others, self.denied - others)
        return rest.permits(place, region, *mine)


def needed(wish: VmWish) -> list[str]:
    """The constraints that may stand in the way of WISH."""
    found = [TRUSTED_IMAGES, LOCATIONS]
    found += [EXTERNAL_IP] if wish.vm.external_ip else []
    return found + ([] if wish.vm.kms_key else [WITHOUT_CMEK])


def against(wish: VmWish, boot_image: str, constraint: str, policy: Policy) -> Iterator[UserError | str]:
    """What POLICY of CONSTRAINT has against WISH, whose VM boots from BOOT_IMAGE (a path): problems and warnings."""
    if constraint == EXTERNAL_IP:
        name = f"projects/{wish.vm.project}/zones/{wish.vm.zone}/instances/{wish.name}"
        verdict = policy.permits(name, f"under:projects/{wish.vm.project}")
        yield from _told(verdict, constraint, "an external IP of the VM", "leave --external-ip out: Cloud NAT may do")
    elif constraint == TRUSTED_IMAGES:
        project = "/".join(boot_image.split("/")[:2])
        yield from _told(
            policy.permits(project), constraint, f"a boot image of {project}", "name one with --boot-image"
        )
    elif constraint == WITHOUT_CMEK:
        verdict = policy.permits("compute.googleapis.com")
        yield from _told(verdict, constraint, "disks without a key of your own", "name one with --kms-key")
    else:
        for place in filter(None, (wish.vm.zone, wish.storage_location)):
            flag = "--zone" if place == wish.vm.zone else "--storage-location"
            yield from _told(policy.permits_place(place), constraint, f"resources in {place}", f"take another {flag}")


def _told(verdict: bool | None, constraint: str, what: str, hint: str) -> Iterator[UserError | str]:
    if verdict is False:
        yield UserError(f"the organization's policy {constraint} forbids {what}", f"{hint}, or {_ASK}")
    elif verdict is None:
        yield f"the organization's policy {constraint} may forbid {what}: it names groups that can't be looked into"


def _groups(values: Iterable[str]) -> bool:
    return any(value.startswith(("in:", "under:")) for value in values)
