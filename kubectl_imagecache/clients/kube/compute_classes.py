"""Which disk images the ComputeClasses of a cluster name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kubectl_imagecache.clients.gke import disk_image_ref
from kubectl_imagecache.clients.kube.lists import read_list
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.core.disk_gc import DiskImageUse, UserKind
from kubectl_imagecache.core.errors import BadAnswer, NotFound

_PATH = "/apis/cloud.google.com/v1/computeclasses"


def compute_class_uses(transport: Transport, cluster: str, project: str) -> list[DiskImageUse]:
    """The disk images that ComputeClasses of CLUSTER name; PROJECT (the cluster's) is meant where they name none.

    None where the cluster knows no ComputeClasses. Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer.
    """
    found: list[DiskImageUse] = []

    def begin() -> Callable[[bytes], str]:
        found.clear()
        return read

    def read(body: bytes) -> str:
        try:
            page = msgspec.json.decode(body, type=dict[str, Any])
            for item in page.get("items") or ():
                name = f"{cluster}/{item['metadata']['name']}"
                for disk in _disks(item.get("spec")):
                    ref = disk_image_ref(str(disk["diskImageName"]), str(disk.get("project") or project))
                    found.append(DiskImageUse(ref, UserKind.CLASS, name))
            return str((page.get("metadata") or {}).get("continue") or "")
        except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"the ComputeClasses of {cluster} are not in the shape of their kind: {error!r}") from error

    try:
        read_list(transport, [_PATH], {}, "computeclasses.cloud.google.com", begin)
    except NotFound:
        return []
    return found


def _disks(value: object) -> Iterator[dict[str, Any]]:
    """Every entry of a `secondaryBootDisks`, wherever in a class it stands: priorities have them, defaults may."""
    if isinstance(value, list):
        for item in value:
            yield from _disks(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "secondaryBootDisks" and isinstance(inner, list):
                yield from inner
            else:
                yield from _disks(inner)
