"""A cluster written to a folder, in the formats of kubectl and gcloud, with nothing but what status reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.lists import Unreadable, decode_page
from kubectl_imagecache.clients.kube.templates import KINDS
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pools import DiskImage, DiskState, Pool
from kubectl_imagecache.core.views import CloudView

README = "README.txt"
TITLE = "kubectl-imagecache bundle"
_RECORD_LIMIT = 1 << 20
_ARCHITECTURES = {"amd64": "X86_64", "arm64": "ARM64"}
_SHAPES: dict[str, tuple[str, str, Any]] = {
    "pods": ("v1", "Pod", wire.Pod),
    "nodes": ("v1", "Node", wire.Node),
    "events": ("v1", "Event", wire.Event),
    **{
        resource: ("batch/v1" if kind in ("Job", "CronJob") else "apps/v1", kind, wire.Workload)
        for resource, kind in KINDS.items()
    },
}
_ABOUT = f"""{TITLE}
Read it with: kubectl imagecache status --from THIS_FOLDER
The files have the formats of `kubectl get … -A -o json`, `gcloud container clusters describe --format=json` and
`gcloud compute images list --format=json`, reduced to the fields that status reads. Left out is all else: environment
variables, commands and arguments of containers, annotations, secrets, certificates, addresses.
A disk image that did not exist is listed with the status MISSING, which gcloud never prints. A contents record that
lay in Cloud Storage is packed into the description, without its layers.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle is made of."""

    pages: Mapping[str, Iterable[bytes]]
    """Resource (`pods`, `nodes`, `events`, `deployments`, …) to the pages of its list, as the API server sent them."""
    target: ClusterTarget | None
    cloud: CloudView


def write(folder: Path, parts: Parts) -> None:
    """Write PARTS to FOLDER: whole, or not at all; an older bundle there is replaced.

    Raises BadUsage for a folder that holds anything else, or that can't be written; BadAnswer for a broken page.
    """
    folder = folder.resolve()
    _check(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            _fill(new, parts)
            _swap(new, folder)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    except OSError as error:
        raise BadUsage(f"{folder} can't be written: {error.strerror}") from error


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadUsage(f"{folder} is a file", "--save takes a folder")
    if folder.is_dir() and any(folder.iterdir()):
        readme = folder / README
        if not readme.is_file() or not readme.read_bytes().startswith(TITLE.encode()):
            raise BadUsage(f"{folder} is not empty and not a bundle", "name a new folder")


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-old-"))
    folder.rename(old / "bundle")
    try:
        new.rename(folder)
    except OSError:
        (old / "bundle").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, parts: Parts) -> None:
    (folder / README).write_text(_ABOUT, encoding="utf-8")
    for resource, pages in parts.pages.items():
        _write_list(folder / f"{resource}.json", resource, pages)
    if parts.target is not None and parts.cloud.pools is not None:
        _write_json(folder / "cluster.json", cluster_document(parts.target, parts.cloud.pools))
    images = {image.ref: image for image in (*parts.cloud.newest.values(), *parts.cloud.disk_images.values())}
    _write_json(folder / "images.json", [image_document(images[ref]) for ref in sorted(images)])


def _write_list(file: Path, resource: str, pages: Iterable[bytes]) -> None:
    """As kubectl prints a list, an object a line; page by page, for it may be large."""
    api_version, kind, shape = _SHAPES[resource]
    head = b'{"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": ['
    encoder = msgspec.json.Encoder()
    with file.open("wb") as out:
        out.write(head)
        separator = b"\n"
        for page in pages:
            for item in decode_page(page, shape, resource, Unreadable()).items:
                if resource == "events" and item.reason != "Pulled":
                    continue
                fields = {"apiVersion": api_version, "kind": kind, **_known(item)}
                out.write(separator + encoder.encode(fields))
                separator = b",\n"
        out.write(b"\n]}\n")


def _known(value: Any) -> Any:
    """VALUE as JSON's types, without the fields that are null."""
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, attribute)) for attribute, name in _fields(type(value)))
        return _known(dict(fields))
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value) if bytes(value) else None
    if isinstance(value, dict):
        known = ((key, _known(inner)) for key, inner in value.items())
        return {key: inner for key, inner in known if inner is not None}
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return value


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Attributes and their names in JSON."""
    return tuple((field.name, field.encode_name) for field in msgspec.structs.fields(shape))


def _write_json(file: Path, document: Any) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def cluster_document(target: ClusterTarget, pools: Iterable[Pool]) -> dict[str, Any]:
    """A cluster as `gcloud container clusters describe --format=json` prints it, with what POOLS know."""
    place = f"projects/{target.project}/locations/{target.location}/clusters/{target.name}"
    return {
        "name": target.name,
        "location": target.location,
        "selfLink": f"https://container.googleapis.com/v1/{place}",
        "nodePools": [_pool_document(pool) for pool in pools],
    }


def _pool_document(pool: Pool) -> dict[str, Any]:
    config: dict[str, Any] = {"machineType": pool.machine_type, "imageType": pool.image_type}
    if pool.disks:
        config["secondaryBootDisks"] = [{"diskImage": str(d.image), "mode": d.mode.value} for d in pool.disks]
    if pool.image_streaming is not None:
        config["gcfsConfig"] = {"enabled": pool.image_streaming}
    return {
        "name": pool.name,
        "config": config,
        "status": pool.status,
        "version": pool.version,
        "autoscaling": {"autoprovisioned": pool.autoprovisioned},
    }


def image_document(image: DiskImage) -> dict[str, Any]:
    """A disk image as `gcloud compute images list --format=json` prints it, with what IMAGE knows."""
    deprecated = image.state in (DiskState.DEPRECATED, DiskState.OBSOLETE, DiskState.DELETED)
    document: dict[str, Any] = {
        "kind": "compute#image",
        "id": image.id,
        "name": image.ref.name,
        "selfLink": f"https://www.googleapis.com/compute/v1/{image.ref}",
        "status": "READY" if deprecated else image.state.value,
        "creationTimestamp": image.created.isoformat(timespec="milliseconds") if image.created else None,
        "diskSizeGb": _decimal(image.size_gb),
        "archiveSizeBytes": _decimal(image.archive_bytes),
        "architecture": _ARCHITECTURES.get(image.arch),
        "family": image.family or None,
        "labels": dict(image.labels) or None,
        "description": _description(image) or None,
    }
    if deprecated:
        document["deprecated"] = {"state": image.state.value, "replacement": image.replacement or None}
    cleaned: dict[str, Any] = _known(document)
    return cleaned


def _description(image: DiskImage) -> str:
    if isinstance(image.contents, Contents) and isinstance(record.unpack(image.description), record.RecordLink):
        headline = image.description.partition("\n")[0]
        return record.pack(image.contents, headline, _RECORD_LIMIT).description
    return image.description


def _decimal(number: int | None) -> str | None:
    # JSON of Google's APIs writes 64-bit numbers as text.
    return None if number is None else str(number)
