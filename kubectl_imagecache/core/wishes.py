"""Which images a new disk should hold, before their references are pinned."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import Match, PoolStatus


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for, beside what the pool uses."""

    images: tuple[ImageRef, ...] = ()
    """Added in any case."""
    keep: tuple[str, ...] = ()
    """Patterns of cached images that stay although nothing uses them now."""
    drop: tuple[str, ...] = ()
    """Patterns of used images that are not to be on the disk."""


def wanted(pool: PoolStatus | None, wishes: Wishes) -> dict[ImageRef, int]:
    """References to put on the disk, each with its cold starts (nodes that run it, at least 1).

    A pool's use counts unless it is ignored by the policy. Raises BadUsage if a pattern to drop takes away what
    --image asks for.
    """
    found: dict[ImageRef, int] = {}
    for match in pool.uses if pool else ():
        if match.match is not Match.IGNORED and not _matches(match.use.ref, wishes.drop):
            found[match.use.ref] = found.get(match.use.ref, 0) + max(match.use.nodes, 1)
    for image in pool.contents.images if pool and pool.contents else ():
        if _matches(image.ref, wishes.keep) and not any(_same(image.ref, ref) for ref in found):
            found[image.ref] = 1
    for ref in wishes.images:
        if _matches(ref, wishes.drop):
            raise BadUsage(f"--drop takes {ref.familiar} away, which --image asks for")
        found.setdefault(ref, 1)
    return found


def references(documents: Iterable[object], namespace: str = "") -> list[str]:
    """The container images that Kubernetes manifests name (pods, and whatever has a pod template), each once.

    With NAMESPACE only objects of that one, or without any.
    """
    found: dict[str, None] = {}
    for document in documents:
        for item in _items(document):
            metadata = item.get("metadata")
            where = str(metadata.get("namespace") or "") if isinstance(metadata, Mapping) else ""
            if not namespace or where in ("", namespace):
                found.update(dict.fromkeys(_images(item)))
    return list(found)


def _items(document: object) -> Iterable[Mapping[str, object]]:
    if not isinstance(document, Mapping):
        return
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        for item in items:
            yield from _items(item)
    else:
        yield document


def _images(value: object) -> Iterable[str]:
    if isinstance(value, list):
        for item in value:
            yield from _images(item)
    if not isinstance(value, Mapping):
        return
    for key in ("initContainers", "containers"):
        for container in value.get(key) or () if isinstance(value.get(key), list) else ():
            if isinstance(container, Mapping) and isinstance(container.get("image"), str):
                yield container["image"]
    for key, inner in value.items():
        if key not in ("initContainers", "containers"):
            yield from _images(inner)


def _matches(ref: ImageRef, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, p) for p in patterns for name in (str(ref), ref.familiar, ref.name))


def _same(one: ImageRef, other: ImageRef) -> bool:
    return one.name == other.name and one.tag == other.tag
