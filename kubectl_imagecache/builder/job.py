"""The job that a client hands to the VM: which images go where, and how each registry is reached."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kubectl_imagecache.builder.failures import BAD_JOB, BuildFailed, printable
from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.references import ImageRef, parse

VERSION = 1
"""Of the JSON form; a VM refuses another one."""
AUTH_KINDS = ("none", "google", "secret", "file")
_PLATFORM = re.compile(r"[a-z0-9_]+/[a-z0-9_]+(?:/[a-z0-9_.]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_SECRET = re.compile(r"projects/[^/\s]+/secrets/[A-Za-z0-9_-]+/versions/[A-Za-z0-9_-]+")
_MAX_IMAGES = 5000


@dataclass(frozen=True, slots=True)
class JobImage:
    """One container image to put on the disk."""

    reference: ImageRef
    """As the pods name it; what `images.metadata` will say."""
    digest: str
    """What the reference meant when the plan was made: an index's or a manifest's digest."""
    platform: str = "linux/amd64"
    """OS/ARCHITECTURE[/VARIANT]."""


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """How one registry is reached; never holds a secret, only where the VM finds it."""

    host: str
    """As references spell it: `us-docker.pkg.dev`, `docker.io`."""
    auth: str = "none"
    """`none`; `google`: the VM's service account; `secret`: `source` names a Secret Manager version;
    `file`: `source` is a file on the VM. A secret's text is USER:PASSWORD, or a bearer token alone."""
    source: str = ""
    """`projects/P/secrets/S/versions/V`, or an absolute path."""
    endpoint: str = ""
    """A mirror's URL, `http://127.0.0.1:5000`; empty is https://HOST. Plain http only to loopback."""


@dataclass(frozen=True, slots=True)
class Target:
    """The disk to fill: either a block device, or a folder where an ext4 is mounted already."""

    device: str = ""
    """`/dev/disk/by-id/google-cache`; it is formatted."""
    folder: str = ""
    """Must be empty but for lost+found."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What no image may exceed; 0 is no limit of the plan's own."""

    unpacked_bytes: int = 0
    """All layers together. The disk's size bounds each layer in any case."""
    entries: int = 20_000_000
    """Files, directories and links of one layer."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the VM is told."""

    images: tuple[JobImage, ...]
    target: Target
    build: str = ""
    """The build's name, for the record and the log."""
    plan: str = ""
    """Hash of the plan."""
    builder: str = ""
    """Program and version, for the record."""
    registries: tuple[RegistryAccess, ...] = ()
    """Those not named here are reached over https without credentials."""
    limits: Limits = field(default_factory=Limits)
    checksums: bool = True
    """Whether `snapshots.metadata` has its third column."""
    verify: bool = False
    """Whether the finished disk is read back and compared with its checksums, once it is unmounted."""
    workers: int = 0
    """Layers at once; 0 lets the VM choose."""

    def access(self, host: str) -> RegistryAccess:
        """How HOST is reached."""
        return next((r for r in self.registries if r.host == host), RegistryAccess(host))


def encode(job: Job) -> str:
    """JOB as JSON, in one line."""
    document = asdict(job)
    for image, planned in zip(document["images"], job.images, strict=True):
        image["reference"] = str(planned.reference)
    return json.dumps({"version": VERSION, **document}, separators=(",", ":"))


def decode(text: str | bytes) -> Job:
    """Read a job; raises BuildFailed(BAD_JOB) for anything that isn't one."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        job = _job(document)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UserError) as error:
        raise BuildFailed(BAD_JOB, f"the job can't be read: {printable(str(error))}") from error
    _check(job)
    return job


def _job(document: Mapping[str, Any]) -> Job:
    known = set(Job.__dataclass_fields__) | {"version"}
    if unknown := set(document) - known:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    images = tuple(
        JobImage(parse(str(i["reference"])), str(i["digest"]), str(i.get("platform", "linux/amd64")))
        for i in document["images"]
    )
    return Job(
        images,
        Target(**document["target"]),
        build=str(document.get("build", "")),
        plan=str(document.get("plan", "")),
        builder=str(document.get("builder", "")),
        registries=tuple(RegistryAccess(**r) for r in document.get("registries", ())),
        limits=Limits(**document.get("limits", {})),
        checksums=bool(document.get("checksums", True)),
        verify=bool(document.get("verify", False)),
        workers=int(document.get("workers", 0)),
    )


def _check(job: Job) -> None:
    if not 0 < len(job.images) <= _MAX_IMAGES:
        raise BuildFailed(BAD_JOB, f"the job has {len(job.images)} images, expected 1 to {_MAX_IMAGES}")
    if bool(job.target.device) == bool(job.target.folder):
        raise BuildFailed(BAD_JOB, "the job should name either a device or a folder")
    for image in job.images:
        if not _DIGEST.fullmatch(image.digest):
            raise BuildFailed(BAD_JOB, f"{image.reference} is not pinned to a digest")
        if not _PLATFORM.fullmatch(image.platform):
            raise BuildFailed(BAD_JOB, f"{image.platform!r} of {image.reference} is not a platform")
    for access in job.registries:
        if access.auth not in AUTH_KINDS:
            raise BuildFailed(BAD_JOB, f"unknown way to authenticate at {access.host}: {access.auth!r}")
        if access.auth == "secret" and not _SECRET.fullmatch(access.source):
            raise BuildFailed(BAD_JOB, f"the secret of {access.host} should be projects/P/secrets/S/versions/V")
        if access.auth == "file" and not access.source.startswith("/"):
            raise BuildFailed(BAD_JOB, f"the secret file of {access.host} should be an absolute path")
