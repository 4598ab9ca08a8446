"""What Compute Engine says about disk images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.gke import Gke, disk_image_ref
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.storage import Storage
from kubectl_imagecache.clients.target import WHAT, ClusterTarget
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents, UnreadableRecord
from kubectl_imagecache.core.disk_gc import DEPRECATED_LABEL
from kubectl_imagecache.core.errors import BadAnswer, NotFound, NotPermitted, UserError
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskState, Pool
from kubectl_imagecache.core.views import CloudView, Gap

_K = TypeVar("_K")
_V = TypeVar("_V")
ROLE = "roles/compute.viewer"
SIDE_BY_SIDE = 8
"""Requests at a time."""
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z0-9.:-]+")
_ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}
_STATES = {
    "READY": DiskState.READY,
    "PENDING": DiskState.PENDING,
    "FAILED": DiskState.FAILED,
    "DELETING": DiskState.DELETED,
    "MISSING": DiskState.MISSING,  # only bundles write it
}


class _Deprecated(msgspec.Struct):
    state: str | None = None
    deprecated: str | None = None
    replacement: str | None = None


class _Image(msgspec.Struct, rename="camel"):
    name: str
    self_link: str | None = None
    id: str | int | None = None
    status: str | None = None
    deprecated: _Deprecated | None = None
    creation_timestamp: str | None = None
    disk_size_gb: str | int | None = None
    archive_size_bytes: str | int | None = None
    architecture: str | None = None
    family: str | None = None
    labels: dict[str, str] | None = None
    description: str | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
msgspec.json.Decoder(_Image)


class Compute:
    """Compute Engine's API, read only."""

    def __init__(self, http: GoogleHttp) -> None:
        self._http = http

    def disk_image(self, ref: DiskImageRef) -> DiskImage:
        """The disk image as it is now, its contents record read; state MISSING if there is none.

        Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer. A record in Cloud Storage that can't be read is no
        error: `contents` then says why.
        """
        if not _NAME.fullmatch(ref.name) or not _PROJECT.fullmatch(ref.project):
            return DiskImage(ref, DiskState.MISSING)
        path = f"projects/{quote(ref.project, safe=':')}/global/images/{ref.name}"
        try:
            answer = self._http.get(Api.COMPUTE, path, permission="compute.images.get", on=str(ref), role=ROLE)
        except NotFound:
            return DiskImage(ref, DiskState.MISSING)
        image = _disk_image(_decode(answer.body, answer.host), ref, answer.host)
        return self._with_contents(image)

    def newest(self, project: str, family: str) -> DiskImage | None:
        """The newest READY disk image of FAMILY that isn't deprecated, None if none; a contents link is not followed.

        Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer.
        """
        on = f"projects/{project}/global/images/family/{family}"
        path = f"projects/{quote(project, safe=':')}/global/images/family/{quote(family, safe='')}"
        try:
            answer = self._http.get(Api.COMPUTE, path, permission="compute.images.getFromFamily", on=on, role=ROLE)
        except NotFound:
            return None
        document = _decode(answer.body, answer.host)
        image = _disk_image(document, disk_image_ref(document.self_link or document.name, project), answer.host)
        return image if image.state is DiskState.READY else None

    def _with_contents(self, image: DiskImage) -> DiskImage:
        link = record.unpack(image.description)
        if not isinstance(link, record.RecordLink):
            return image
        return replace(image, contents=self._linked(link))

    def _linked(self, link: record.RecordLink) -> Contents | UnreadableRecord:
        try:
            return record.linked(link, Storage(self._http).get(link.url, record.MAX_JSON))
        except ValueError:
            return UnreadableRecord(f"its address is not that of an object: {link.url}")
        except UserError as error:
            return UnreadableRecord(f"{link.url} can't be read: {error.message}")


def disk_image_of(
    document: bytes | dict[str, Any], project: str = "", source: str = "the list of disk images"
) -> DiskImage:
    """A disk image from one element of `gcloud compute images list --format=json`; links are not followed.

    PROJECT stands in for a missing selfLink, SOURCE names the document in errors. Raises BadAnswer.
    """
    image = _decode(document, source)
    return _disk_image(image, disk_image_ref(image.self_link or image.name, project), source)


def cloud_view(
    gke: Gke | None, compute: Compute | None, target: ClusterTarget | Gap, extra: Iterable[DiskImageRef] = ()
) -> CloudView:
    """Pools, every disk image that they or EXTRA name, and the newest of those images' families, side by side.

    GKE None: the pools are not asked for, and that is no gap.
    EXTRA (disk images that node labels name) is iterated after the pools' own disk images were asked for, and may
    block. What fails becomes a Gap.
    """
    gaps: list[Gap] = []
    pools: tuple[Pool, ...] | None = None
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="google") as threads:
        if gke is not None and isinstance(target, Gap):
            gaps.append(target)
        elif gke is not None and isinstance(target, ClusterTarget):
            try:
                pools = gke.pools(target)
            except UserError as error:
                gaps.append(Gap(WHAT, error.message, error.hint))
        asked: dict[DiskImageRef, Future[DiskImage]] = {}
        named = (disk.image for pool in pools or () for disk in pool.disks)
        for refs in (named, extra):
            for ref in refs:
                if compute is not None and ref not in asked:
                    asked[ref] = threads.submit(compute.disk_image, ref)
        images, image_gaps = _gather({ref: (ref.project, str(ref), future) for ref, future in asked.items()})
        families = {(ref.project, image.family) for ref, image in images.items() if image.family}
        wanted = {key: threads.submit(compute.newest, *key) for key in sorted(families)} if compute else {}
        newest, newest_gaps = _gather(
            {key: (key[0], f"disk image family {key[1]} of project {key[0]}", future) for key, future in wanted.items()}
        )
    known = {key: image for key, image in newest.items() if image is not None}
    return CloudView(pools, images, known, (*gaps, *image_gaps, *newest_gaps))


def _gather(futures: dict[_K, tuple[str, str, Future[_V]]]) -> tuple[dict[_K, _V], list[Gap]]:
    """Results by key, and what failed: by project where the same reason holds for several, else by its own name."""
    results: dict[_K, _V] = {}
    failed: dict[tuple[str, str, str], list[str]] = {}
    for key, (project, what, future) in futures.items():
        try:
            results[key] = future.result()
        except NotPermitted as error:
            # One permission on a project, whatever the disk image.
            reason = f"not permitted: {error.permission} on projects/{project}"
            failed.setdefault((project, reason, error.hint), []).append(what)
        except UserError as error:
            failed.setdefault((project, error.message, error.hint), []).append(what)
    gaps = [
        Gap(whats[0] if len(whats) == 1 else f"{len(whats)} disk images of project {project}", why, hint)
        for (project, why, hint), whats in failed.items()
    ]
    return results, gaps


def _decode(document: bytes | dict[str, Any], source: str) -> _Image:
    try:
        if isinstance(document, bytes):
            return msgspec.json.decode(document, type=_Image)
        return msgspec.convert(document, _Image)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"{source} gives something that is not a disk image: {error}") from error


def _disk_image(image: _Image, ref: DiskImageRef, source: str) -> DiskImage:
    labels = image.labels or {}
    description = image.description or ""
    deprecated = image.deprecated or _Deprecated()
    try:
        return DiskImage(
            ref=ref,
            state=_state(image.status or "READY", deprecated.state or "ACTIVE"),
            id=str(image.id or ""),
            created=_time(image.creation_timestamp),
            size_gb=_int(image.disk_size_gb),
            archive_bytes=_int(image.archive_size_bytes),
            arch=_ARCHITECTURES.get(image.architecture or "", ""),
            family=image.family or "",
            labels=labels,
            description=description,
            replacement=str(disk_image_ref(deprecated.replacement, ref.project)) if deprecated.replacement else "",
            deprecated_at=_since(deprecated, labels),
            contents=_contents(description, labels),
        )
    except (ValueError, OverflowError) as error:
        raise BadAnswer(f"what {source} says about {ref} makes no sense: {error}") from error


def _contents(description: str, labels: dict[str, str]) -> Contents | UnreadableRecord | None:
    found = record.unpack(description)
    if isinstance(found, record.RecordLink):
        return UnreadableRecord(f"it is in {found.url}, which was not read")
    if isinstance(found, Contents) and not found.plan:
        # The compact record leaves the plan's hash to the label.
        return replace(found, plan=labels.get("imagecache-plan", ""))
    return found


def _state(status: str, deprecated: str) -> DiskState:
    state = _STATES.get(status)
    if state is None:
        raise ValueError(f"status {status!r}")
    if state is not DiskState.READY or deprecated == "ACTIVE":
        return state
    if deprecated not in ("DEPRECATED", "OBSOLETE", "DELETED"):
        raise ValueError(f"deprecation state {deprecated!r}")
    return DiskState[deprecated]


def _since(deprecated: _Deprecated, labels: dict[str, str]) -> datetime | None:
    if (deprecated.state or "ACTIVE") == "ACTIVE":
        return None
    stamp = labels.get(DEPRECATED_LABEL, "")
    if re.fullmatch(r"[0-9]{1,11}", stamp):
        return datetime.fromtimestamp(int(stamp), timezone.utc)
    # Whoever deprecates may give a time, which Compute keeps and does not check:
    # https://cloud.google.com/compute/docs/reference/rest/v1/images/deprecate
    return _time(deprecated.deprecated)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def _int(number: str | int | None) -> int | None:
    if number is None or number == "":
        return None
    value = int(number)
    if not 0 <= value < 1 << 63:
        raise ValueError(f"size {number}")
    return value
