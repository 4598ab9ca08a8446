"""ComputeClasses and GCPResourceAllowlists: read, and changed by server-side apply under a field manager of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from kubectl_imagecache.clients.http import segment
from kubectl_imagecache.clients.kube.mirror import whole_list
from kubectl_imagecache.clients.kube.refusal import causes_of, words_of
from kubectl_imagecache.clients.kube.roll_wire import Node, node_of
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.core.class_roll import MANAGER
from kubectl_imagecache.core.compute_class import ALLOWLIST_API, API, CLASS_LABEL, exactly, patterns
from kubectl_imagecache.core.errors import BadAnswer, Busy, FieldConflict, NotFound, NotPermitted
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import RollNode

Json = dict[str, Any]
CLASSES, ALLOWLISTS = f"/apis/{API}/computeclasses", f"/apis/{ALLOWLIST_API}/gcpresourceallowlists"
_APPLY = "application/apply-patch+yaml"
# https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts
_OWNER = re.compile(r'conflict with "([^"]*)"')


class ClassKube:
    """The calls of Kubernetes that only the roll of a ComputeClass needs; apply_class and allow change something."""

    def __init__(self, transport: Transport, force: bool = False) -> None:
        """FORCE takes fields over that other managers own."""
        self._transport, self._force = transport, force

    def compute_class(self, name: str) -> Json | None:
        """A ComputeClass; None if there is none of that NAME. Raises what Transport.get raises but for NotFound."""
        try:
            return _object(self._transport.get(f"{CLASSES}/{segment(name)}", {}, "computeclasses"), name)
        except NotFound:
            return None

    def nodes(self, name: str) -> list[RollNode]:
        """The nodes of the ComputeClass NAME, by name; raises what Transport.get raises."""
        nodes, _ = whole_list(self._transport, "/api/v1/nodes", {"labelSelector": f"{CLASS_LABEL}={name}"}, Node)
        return sorted(map(node_of, nodes), key=lambda node: node.name)

    def allowlists(self) -> tuple[Json, ...] | None:
        """All GCPResourceAllowlists; None if the cluster has no such kind. Raises what Transport.get raises."""
        try:
            found = _object(self._transport.get(ALLOWLISTS, {}, "gcpresourceallowlists"), "gcpresourceallowlists")
        except NotFound:
            return None
        return tuple(item for item in found.get("items") or () if isinstance(item, dict))

    def apply_class(self, config: Mapping[str, Any]) -> None:
        """Apply to a ComputeClass what CONFIG says, and no more.

        Raises FieldConflict if another manager owns some of it, NotPermitted, Unauthenticated, Unavailable, Busy,
        BadAnswer.
        """
        self._apply(CLASSES, config, "computeclasses")

    def allow(self, disks: tuple[DiskImageRef, ...], there: Iterable[Mapping[str, Any]]) -> None:
        """Let our GCPResourceAllowlist, among those THERE, name DISKS besides what it has; raises as apply_class."""
        kept = [text for one in there if one.get("metadata", {}).get("name") == MANAGER for text in patterns(one)]
        wanted = [*kept, *(exactly(disk) for disk in disks if exactly(disk) not in kept)]
        config = {
            "apiVersion": ALLOWLIST_API,
            "kind": "GCPResourceAllowlist",
            "metadata": {"name": MANAGER},
            "spec": {"allowedResourcePatterns": wanted},
        }
        self._apply(ALLOWLISTS, config, "gcpresourceallowlists")

    def _apply(self, root: str, config: Mapping[str, Any], resource: str) -> None:
        name = str(config["metadata"]["name"])
        query = urlencode({"fieldManager": MANAGER, "force": "true" if self._force else "false"})
        what = f"patch {resource} {name}"
        body = json.dumps(config).encode()
        status, content, _ = self._transport.send("PATCH", f"{root}/{segment(name)}?{query}", body, _APPLY, what)
        if status in (200, 201):
            return
        if status == 403:
            raise NotPermitted(
                what, f"the cluster at {self._transport.address}", "the ClusterRole in docs/rbac/roll-class.yaml"
            )
        words, owners = words_of(content), _owners(content)
        if status == 409 and owners:
            raise FieldConflict(
                f"{', '.join(owners)} keeps what this would change in {resource} {name}",
                "commit there what --emit computeclass prints, or take it over with --force-conflicts",
            )
        if status in (409, 429):
            raise Busy(f"{what}: {words}", "it is asked again")
        if status == 404:
            raise NotFound(f"{what}: {words}")
        raise BadAnswer(f"the Kubernetes API at {self._transport.address} refuses: {what}: {words}")


def _owners(content: bytes) -> list[str]:
    """The field managers that a Status says are in the way."""
    owners = [match[1] for cause in causes_of(content) if (match := _OWNER.match(cause))]
    return list(dict.fromkeys(owners))


def _object(content: bytes, name: str) -> Json:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{name} is answered with something that is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadAnswer(f"{name} is answered with {type(found).__name__} where an object belongs")
    return found
