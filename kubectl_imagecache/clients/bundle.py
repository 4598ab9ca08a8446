"""A cluster in a folder: what kubectl and gcloud printed, read instead of asking them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kubectl_imagecache.clients.compute import disk_image_of
from kubectl_imagecache.clients.gke import ClusterDocument, cluster_of
from kubectl_imagecache.clients.kube.documents import check_document, fold_documents
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.target import WHAT
from kubectl_imagecache.core.errors import BadAnswer, BadUsage, NotFound
from kubectl_imagecache.core.pools import DiskImage, DiskState
from kubectl_imagecache.core.views import CloudView, Gap, KubeView

COMMANDS = {
    "Kubernetes": "kubectl get pods,nodes,events -A -o json > kubernetes.json",
    "cluster": "gcloud container clusters describe NAME --location L --format=json > cluster.json",
    "images": "gcloud compute images list --format=json > images.json",
}
"""What makes each part of a bundle."""
_KUBERNETES = ("pods", "nodes", "events")


class _Shape(msgspec.Struct, rename="camel"):
    """The fields by which a document is known."""

    kind: str | None = None
    api_version: str | None = None
    items: list[_Kind] | None = None
    node_pools: msgspec.Raw = msgspec.Raw()
    self_link: str | None = None


class _Kind(msgspec.Struct):
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the parts are; Kubernetes' documents stay on disk, for they may be large."""

    kubernetes: tuple[tuple[Path, str], ...]
    """With what each holds: `pods`, `nodes`, `events`; empty for a mixture, or for workloads."""
    clusters: tuple[ClusterDocument, ...]
    images: tuple[DiskImage, ...] | None
    """None: no file lists disk images."""


def read(folder: Path, scope: Scope, cluster: str = "") -> tuple[KubeView, CloudView]:
    """What the *.json files of FOLDER tell, recognised by what they contain; CLUSTER names one of several.

    A part that is missing becomes a Gap with the command that makes it. Raises BadUsage for a folder without anything
    usable, a file that isn't JSON (with its line), or several clusters; NotFound if CLUSTER isn't among them.
    """
    found = _look(folder)
    pods, nodes, events, others = (_documents(found, what) for what in (*_KUBERNETES, ""))
    kube = fold_documents(pods, nodes, events, others, scope)
    chosen = _cluster(found.clusters, cluster, folder)
    gaps = [] if chosen else [Gap(WHAT, f"no file in {folder} describes the cluster", COMMANDS["cluster"])]
    pools = chosen.pools if chosen else None
    named = {disk.image for pool in pools or () for disk in pool.disks}
    named.update(ref for node in kube.nodes for ref in node.cache_disks)
    listed = {image.ref: image for image in found.images or ()}
    if found.images is None and named:
        gaps.append(Gap("disk images", f"no file in {folder} lists them", COMMANDS["images"]))
    elif absent := sorted(named - set(listed)):
        # A list may be narrowed, or of another project: not being on it is no proof that a disk image is gone.
        gaps += [Gap(str(ref), f"no file in {folder} tells of it", COMMANDS["images"]) for ref in absent]
    images = {ref: listed[ref] for ref in sorted(named) if ref in listed}
    families = {(ref.project, image.family) for ref, image in images.items() if image.family}
    return kube, CloudView(pools, images, _newest(listed.values(), families), tuple(gaps))


def _look(folder: Path) -> _Found:
    if not folder.is_dir():
        raise BadUsage(f"{folder} is not a folder", "--from takes a folder of *.json files, as --save writes them")
    kubernetes: list[tuple[Path, str]] = []
    clusters: list[ClusterDocument] = []
    images: list[DiskImage] | None = None
    for file in sorted(folder.glob("*.json")):
        data = _text(file)
        try:
            check_document(data, str(file))
            elements = _elements(data)
            for element in elements:
                shape = _shape(element)
                if _is_cluster(shape):
                    clusters.append(cluster_of(element, str(file)))
                elif shape.kind == "compute#image" or "/global/images/" in (shape.self_link or ""):
                    images = [*(images or []), disk_image_of(element, source=str(file))]
                elif shape.api_version:
                    kubernetes.append((file, _holds(shape, file)))
        except BadAnswer as error:
            raise BadUsage(error.message, error.hint) from error
        if not elements and "image" in file.stem:
            images = images or []
    if not kubernetes and not clusters and images is None:
        raise BadUsage(
            f"{folder} holds nothing usable", f"looked for *.json files made by: {'; '.join(COMMANDS.values())}"
        )
    return _Found(tuple(kubernetes), tuple(clusters), tuple(images) if images is not None else None)


def _documents(found: _Found, what: str) -> Iterator[bytes]:
    for file, holds in found.kubernetes:
        if holds == what:
            yield _text(file)


def _text(file: Path) -> bytes:
    """FILE as UTF-8; PowerShell's `>` writes UTF-16."""
    try:
        data = file.read_bytes()
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16").encode()
    except OSError as error:
        raise BadUsage(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadUsage(f"{file} is neither UTF-8 nor UTF-16") from error
    return data.removeprefix(b"\xef\xbb\xbf")


def _elements(data: bytes) -> list[bytes]:
    if not data.lstrip().startswith(b"["):
        return [data]
    return [bytes(raw) for raw in msgspec.json.decode(data, type=list[msgspec.Raw])]


def _shape(element: bytes) -> _Shape:
    try:
        return msgspec.json.decode(element, type=_Shape)
    except msgspec.ValidationError:
        # Some other tool's file, or no object at all.
        return _Shape()


def _is_cluster(shape: _Shape) -> bool:
    return not shape.api_version and (bytes(shape.node_pools) != b"" or "/clusters/" in (shape.self_link or ""))


def _holds(shape: _Shape, file: Path) -> str:
    kinds = {item.kind for item in shape.items or ()} or {(shape.kind or "").removesuffix("List")}
    whats = {f"{(kind or '').lower()}s" for kind in kinds}
    if shape.kind == "List" and not shape.items:
        # An empty list says nothing of its kind; its file's name may.
        whats = {file.stem}
    return next(iter(whats)) if len(whats) == 1 and whats <= set(_KUBERNETES) else ""


def _cluster(clusters: tuple[ClusterDocument, ...], name: str, folder: Path) -> ClusterDocument | None:
    fitting = [document for document in clusters if name in ("", document.target.name)]
    if len(fitting) > 1:
        names = ", ".join(sorted(str(document.target) for document in fitting))
        raise BadUsage(f"{folder} holds several clusters: {names}", "name one with --cluster-name")
    if not fitting and clusters:
        near = difflib.get_close_matches(name, [document.target.name for document in clusters], 1)
        raise NotFound(f"{folder} holds no cluster {name}", f"did you mean {near[0]}?" if near else "")
    return fitting[0] if fitting else None


def _newest(images: Iterable[DiskImage], families: set[tuple[str, str]]) -> dict[tuple[str, str], DiskImage]:
    """As Compute's getFromFamily: by (project, family), the last created that is READY and not deprecated."""
    newest: dict[tuple[str, str], DiskImage] = {}
    for image in images:
        key = (image.ref.project, image.family)
        if key in families and image.state is DiskState.READY and image.created is not None:
            best = newest.get(key)
            if best is None or best.created is None or image.created > best.created:
                newest[key] = image
    return newest
