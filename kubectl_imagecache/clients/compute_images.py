"""A project's disk images, what in Compute is made of them, and their deprecation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.compute import ROLE, disk_image_of
from kubectl_imagecache.clients.compute_build import STORAGE_ADMIN, BuildCompute, Operation
from kubectl_imagecache.clients.gke import disk_image_ref
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.core.disk_gc import DEPRECATED_LABEL, DiskImageUse, UserKind
from kubectl_imagecache.core.errors import AlreadyExists, BadAnswer, NotFound, Unavailable
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef

_EMPTY = "NO_RESULTS_ON_PAGE"
"""The warning of a zone or region that has nothing."""
_FAMILY = re.compile(
    r"(?:https?://[^/]+/)?(?:compute/[a-z0-9]+/)?"
    r"(?:projects/([a-z0-9.:-]+)/)?(?:global/images/)?family/([a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
)


class DiskImages:
    """The disk images of one project; every method raises NotPermitted, Unauthenticated, Unavailable, BadAnswer."""

    def __init__(self, http: GoogleHttp, project: str) -> None:
        self._http, self.project = http, project
        self.compute = BuildCompute(http, project)

    def all(self) -> list[DiskImage]:
        """Every disk image of the project."""
        path = f"{self._project()}/global/images"
        return [disk_image_of(item, self.project) for item in self._listed(path, "compute.images.list")]

    def disks(self) -> Iterator[DiskImageUse]:
        """The disks, of all zones and regions, that were made of a disk image."""
        for scope in self._listed(f"{self._project()}/aggregated/disks", "compute.disks.list"):
            for disk in scope.get("disks") or ():
                if source := str(disk.get("sourceImage") or ""):
                    yield self._use(source, UserKind.DISK, disk, str(disk.get("sourceImageId") or ""))

    def templates(self) -> Iterator[DiskImageUse]:
        """The instance templates, global and regional ones, that name a disk image or a family."""
        for scope in self._listed(f"{self._project()}/aggregated/instanceTemplates", "compute.instanceTemplates.list"):
            for template in scope.get("instanceTemplates") or ():
                for disk in (template.get("properties") or {}).get("disks") or ():
                    if source := str((disk.get("initializeParams") or {}).get("sourceImage") or ""):
                        yield self._use(source, UserKind.TEMPLATE, template)

    def deprecate(self, ref: DiskImageRef, replacement: DiskImageRef | None) -> Operation:
        """Begin to mark a disk image as DEPRECATED: it can still be used, and Compute warns of it."""
        body = {"state": "DEPRECATED"} | ({"replacement": str(replacement)} if replacement else {})
        path = f"{self._path(ref)}/deprecate"
        return self.compute.do("POST", path, body, "compute.images.deprecate", STORAGE_ADMIN)

    def restore(self, ref: DiskImageRef) -> Operation:
        """Begin to take a deprecation back."""
        path = f"{self._path(ref)}/deprecate"
        return self.compute.do("POST", path, {"state": "ACTIVE"}, "compute.images.deprecate", STORAGE_ADMIN)

    def stamp(self, image: DiskImage, since: datetime | None) -> Operation:
        """Begin to note on IMAGE since when it is deprecated (None: take the note away).

        Raises AlreadyExists if IMAGE has been changed or made again since it was read.
        """
        document = self._current(image)
        labels = {k: str(v) for k, v in (document.get("labels") or {}).items() if k != DEPRECATED_LABEL}
        if since is not None:
            labels[DEPRECATED_LABEL] = str(int(since.astimezone(timezone.utc).timestamp()))
        body = {"labels": labels, "labelFingerprint": document.get("labelFingerprint") or ""}
        path = f"{self._path(image.ref)}/setLabels"
        return self.compute.do("POST", path, body, "compute.images.setLabels", STORAGE_ADMIN)

    def delete(self, image: DiskImage) -> Operation | None:
        """Begin to delete IMAGE; None if it is gone. Raises AlreadyExists if it was made again since it was read."""
        return self.compute.delete_image(image.ref) if self.unchanged(image) else None

    def unchanged(self, image: DiskImage) -> bool:
        """Whether IMAGE is still there; raises AlreadyExists if it was changed or made again since it was read."""
        try:
            self._current(image)
        except NotFound:
            return False
        return True

    def _current(self, image: DiskImage) -> Mapping[str, Any]:
        path = self._path(image.ref)
        answer = self._http.get(Api.COMPUTE, path, permission="compute.images.get", on=str(image.ref), role=ROLE)
        now = disk_image_of(answer.body, self.project, answer.host)
        if now.id != image.id or now.state is not image.state:
            raise AlreadyExists(f"{image.ref} has changed meanwhile", "run it again: it looks anew")
        document: dict[str, Any] = msgspec.json.decode(answer.body)
        return document

    def _use(self, source: str, kind: UserKind, item: Mapping[str, Any], image_id: str = "") -> DiskImageUse:
        name = str(item.get("name") or "")
        if family := _FAMILY.fullmatch(source.strip("/")):
            ref = DiskImageRef(family[1] or self.project, family[2])
            return DiskImageUse(ref, kind, name, image_id, by_family=True)
        return DiskImageUse(disk_image_ref(source, self.project), kind, name, image_id)

    def _listed(self, path: str, permission: str) -> Iterator[dict[str, Any]]:
        for item in self.compute.listed(path, "", permission, ROLE):
            if not isinstance(item, dict):
                raise BadAnswer(f"{path} lists something that makes no sense here")
            code = str((item.get("warning") or {}).get("code") or _EMPTY)
            if code != _EMPTY:
                raise Unavailable(f"Compute can't list all of {path} now: {code}", "try again later")
            yield item

    def _project(self) -> str:
        return f"projects/{quote(self.project, safe=':')}"

    def _path(self, ref: DiskImageRef) -> str:
        return f"projects/{quote(ref.project, safe=':')}/global/images/{quote(ref.name, safe='')}"
