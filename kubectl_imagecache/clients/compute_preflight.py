"""What a project offers a build: permissions, quotas, networks, machine types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.core.errors import BadAnswer, NotFound

ROLE = "roles/compute.viewer"


@dataclass(frozen=True, slots=True)
class Quota:
    """A region's quota."""

    limit: float
    usage: float


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type of a zone."""

    cpus: int
    arch: str
    """`amd64`, `arm64`; empty is not stated."""


class Surroundings:
    """Reads what is there before anything is made; every method raises what GoogleHttp.get raises, but NotFound."""

    def __init__(self, http: GoogleHttp, project: str) -> None:
        self._http, self._project = http, project

    def project_id(self) -> str | None:
        """The project's id, whether it was named by id or number; None if there is none."""
        found = self._get(f"projects/{quote(self._project, safe=':')}", "compute.projects.get")
        return None if found is None else str(found.get("name") or "")

    def default_account(self) -> str:
        """The email of the project's own service account; raises NotFound if there is none."""
        found = self._get(f"projects/{quote(self._project, safe=':')}", "compute.projects.get") or {}
        if not found.get("defaultServiceAccount"):
            raise NotFound(f"the project {self._project} has no default service account")
        return str(found["defaultServiceAccount"])

    def held(self, permissions: Iterable[str]) -> frozenset[str]:
        """Those of PERMISSIONS that the caller has on the project."""
        project = f"projects/{quote(self._project, safe=':')}"
        answer = self._http.send(
            "POST",
            Api.PROJECTS,
            f"{project}:testIamPermissions",
            {"permissions": sorted(permissions)},
            permission="resourcemanager.projects.get",
            on=project,
            role="roles/browser",
        )
        return frozenset(str(p) for p in _decode(answer.body, project).get("permissions") or ())

    def has_zone(self, zone: str) -> bool:
        """Whether ZONE exists."""
        return self._in_project(f"zones/{quote(zone, safe='')}", "compute.zones.get") is not None

    def zones(self, region: str) -> list[str]:
        """The zones of REGION, none if it doesn't exist."""
        found = self._in_project(f"regions/{quote(region, safe='')}", "compute.regions.get") or {}
        return sorted(str(link).rpartition("/")[2] for link in found.get("zones") or ())

    def quotas(self, region: str) -> Mapping[str, Quota]:
        """REGION's quotas by metric."""
        found = self._in_project(f"regions/{quote(region, safe='')}", "compute.regions.get") or {}
        return {
            str(q.get("metric")): Quota(float(q.get("limit") or 0), float(q.get("usage") or 0))
            for q in found.get("quotas") or ()
        }

    def machine_type(self, zone: str, name: str) -> MachineType | None:
        """A machine type in ZONE; None if it isn't offered there."""
        path = f"zones/{quote(zone, safe='')}/machineTypes/{quote(name, safe='')}"
        found = self._in_project(path, "compute.machineTypes.get")
        if found is None:
            return None
        arch = {"X86_64": "amd64", "ARM64": "arm64"}.get(str(found.get("architecture")), "")
        return MachineType(int(found.get("guestCpus") or 0), arch)

    def has_disk_type(self, zone: str, name: str) -> bool:
        """Whether ZONE offers disks of type NAME."""
        path = f"zones/{quote(zone, safe='')}/diskTypes/{quote(name, safe='')}"
        return self._in_project(path, "compute.diskTypes.get") is not None

    def has_network(self, path: str) -> bool:
        """Whether the network at PATH (`projects/P/global/networks/N`) exists."""
        return self._get(quote(path, safe=":/"), "compute.networks.get") is not None

    def private_google_access(self, path: str) -> bool | None:
        """Whether the subnet at PATH reaches Google's APIs without external IPs; None if there is no such subnet."""
        found = self._get(quote(path, safe=":/"), "compute.subnetworks.get")
        return None if found is None else bool(found.get("privateIpGoogleAccess"))

    def has_image(self, path: str) -> bool:
        """Whether the disk image or family at PATH exists."""
        return self._get(quote(path, safe=":/"), "compute.images.get") is not None

    def _in_project(self, rest: str, permission: str) -> dict[str, Any] | None:
        return self._get(f"projects/{quote(self._project, safe=':')}/{rest}", permission)

    def _get(self, path: str, permission: str) -> dict[str, Any] | None:
        try:
            answer = self._http.get(Api.COMPUTE, path, permission=permission, on=path, role=ROLE)
        except NotFound:
            return None
        return _decode(answer.body, path)


def _decode(body: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"the answer about {what} makes no sense: {error}") from error
