"""What a roll asks of a Kubernetes cluster, and every change that it makes there."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from kubectl_imagecache.clients.http import segment
from kubectl_imagecache.clients.kube.lists import decoder_of
from kubectl_imagecache.clients.kube.mirror import Mirror, whole_list
from kubectl_imagecache.clients.kube.refusal import words_of
from kubectl_imagecache.clients.kube.roll_wire import (
    KINDS,
    Budget,
    Node,
    PersistentVolume,
    Pod,
    Workload,
    node_of,
    pins_of,
    pod_of,
    volume_of,
)
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.clients.kube.wire import parse_time
from kubectl_imagecache.core.errors import BadAnswer, Busy, NotFound, NotPermitted, Unavailable
from kubectl_imagecache.core.pins import Pin, patch_of
from kubectl_imagecache.core.pools import POOL_LABEL, DiskImageRef
from kubectl_imagecache.core.roll import RollNode, RollPod
from kubectl_imagecache.core.roll_marks import MARKS
from kubectl_imagecache.core.roll_room import Volume

MERGE = "application/merge-patch+json"
JSON = "application/json"
NAMESPACE = "default"
"""Of the Lease by which two rolls of one pool keep apart."""
_NODES, _PODS = "/api/v1/nodes", "/api/v1/pods"
_LIVING = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
_TWO_BUDGETS = "more than one PodDisruptionBudget"
_UNSETTLED_BUDGET = "poddisruptionbudget"
"""Of the words of a 403 that is about a budget's status, not about permission."""
_ANOTHER_POD = re.compile(r"UID in (the )?precondition")
"""https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/registry/core/pod/storage/eviction.go"""
_ROOTS = {kind: (f"{root}/namespaces", resource) for resource, (kind, root) in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Evicted:
    """What the Eviction API said."""

    done: bool
    """False: a budget keeps the pod."""
    why: str = ""
    wait_s: float | None = None
    """The server's Retry-After."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds the Lease."""

    who: str
    since: datetime | None
    renewed: datetime | None
    version: str
    """resourceVersion; empty: there is no Lease yet."""


class RollKube:
    """The calls of Kubernetes that a roll needs.

    Those that change something are patch_node, repin, evict, delete_pod and hold; they, and no others, may be called
    by several threads at once.
    """

    def __init__(self, transport: Transport, reached: Callable[[], int] = lambda: 0) -> None:
        """REACHED is LiveClock's."""
        self._transport, self._reached = transport, reached
        self.changed = threading.Event()
        """Set when something that `seen` shows has changed since."""
        self._selector = ""
        self._nodes: Mirror[Node, RollNode] | None = None
        self._pods: Mirror[Pod, RollPod] | None = None

    def nodes(self, pool: str) -> list[RollNode]:
        """The nodes of POOL, by name; raises what Transport.get raises."""
        nodes, _ = whole_list(self._transport, _NODES, {"labelSelector": f"{POOL_LABEL}={pool}"}, Node)
        return sorted(map(node_of, nodes), key=_name)

    def pods(self) -> list[RollPod]:
        """All pods that have not ended; raises what Transport.get raises."""
        return [pod_of(pod) for pod in whole_list(self._transport, _PODS, _LIVING, Pod)[0]]

    def seen(self, selector: str) -> tuple[list[RollNode], list[RollPod]]:
        """The nodes that SELECTOR selects, by name, and all living pods, as watches tell them: moments old, and cheap.

        Raises as `nodes` does, at the first time or after a watch broke.
        """
        self.changed.clear()
        if self._nodes is None or self._selector != selector:
            if self._nodes is not None:
                self._nodes.close()
            query = {"labelSelector": selector}
            self._nodes = Mirror(self._transport, _NODES, query, Node, node_of, self.changed)
            self._selector = selector
        if self._pods is None:
            self._pods = Mirror(self._transport, _PODS, _LIVING, Pod, pod_of, self.changed)
        reached = self._reached()
        return sorted(self._nodes.read(reached), key=_name), self._pods.read(reached)

    def pins(self) -> list[Pin]:
        """Every workload that selects a pool or a cache disk; raises what Transport.get raises."""
        found: list[Pin] = []
        for resource, (kind, root) in KINDS.items():
            for workload in whole_list(self._transport, f"{root}/{resource}", {}, Workload)[0]:
                found += pins_of(workload, kind)
        return found

    def budgets(self) -> list[Budget]:
        """Every PodDisruptionBudget; raises what Transport.get raises."""
        return whole_list(self._transport, "/apis/policy/v1/poddisruptionbudgets", {}, Budget)[0]

    def volumes(self) -> list[Volume]:
        """Every PersistentVolume that a claim is bound to; raises what Transport.get raises."""
        found = whole_list(self._transport, "/api/v1/persistentvolumes", {}, PersistentVolume)[0]
        return [volume for one in found if (volume := volume_of(one)) is not None]

    def patch_node(self, name: str, marks: Mapping[str, str | None], unschedulable: bool | None = None) -> None:
        """Set (None: remove) annotations of a node and, in the same patch, its cordon; a node that is gone is no error.

        Raises NotPermitted, Unauthenticated, Unavailable, Busy, BadAnswer.
        """
        patch: dict[str, Any] = {"metadata": {"annotations": dict(marks)}}
        if unschedulable is not None:
            patch["spec"] = {"unschedulable": True if unschedulable else None}
        found = self._send("PATCH", f"{_NODES}/{segment(name)}", patch, f"patch nodes {name}", MERGE, gone=True)
        if self._nodes is not None:
            try:
                self._nodes.learn(decoder_of(Node).decode(found))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return  # An answer cut short, or that the node is gone: the watch tells.

    def release(self, name: str) -> None:
        """Uncordon a node and take all our marks away; raises as patch_node does."""
        self.patch_node(name, dict.fromkeys(MARKS), unschedulable=False)

    def repin(self, pin: Pin, pool: str, disk: DiskImageRef | None) -> None:
        """Let PIN's workload select POOL, or the label of DISK (None: no disk's); raises as patch_node does."""
        root, resource = _ROOTS[pin.kind]
        path = f"{root}/{segment(pin.namespace)}/{resource}/{segment(pin.name)}"
        what = f"patch {resource} {pin.namespace}/{pin.name}"
        self._send("PATCH", path, patch_of(pin, pool, disk), what, MERGE, gone=True)

    def evict(self, pod: RollPod) -> Evicted:
        """Ask for POD's eviction, of this very pod and no namesake; one that is gone counts as evicted.

        Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }
        path = f"/api/v1/namespaces/{segment(pod.namespace)}/pods/{segment(pod.name)}/eviction"
        what = f"create pods/eviction {pod}"
        try:
            status, content, wait_s = self._transport.send("POST", path, json.dumps(body).encode(), JSON, what)
        except Unavailable as error:
            if _TWO_BUDGETS not in error.message:
                raise
            return Evicted(False, error.message)  # 500, and so for good: only the budgets' owner can mend it.
        if status == 429:
            return Evicted(False, words_of(content), wait_s)
        words = words_of(content)
        if status == 409 and not _ANOTHER_POD.search(words):
            return Evicted(False, words, 0.0)  # Others changed the budget or the pod meanwhile: nothing was evicted.
        if status == 403 and _UNSETTLED_BUDGET in words:
            return Evicted(False, words)
        if status not in (404, 409):  # 409: the name is another pod's by now.
            self._check(status, content, what)
        if self._pods is not None:
            # A later look must not ask for it again, however late the watch tells of it.
            gone = pod.uid
            self._pods.amend(pod.namespace, pod.name, lambda p: replace(p, leaving=True) if p.uid == gone else p)
        return Evicted(True)

    def delete_pod(self, pod: RollPod) -> None:
        """Delete POD, this very one, with its grace period and past its budgets; one that is gone is no error.

        Raises NotPermitted, Unauthenticated, Unavailable, BadAnswer.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        path = f"/api/v1/namespaces/{segment(pod.namespace)}/pods/{segment(pod.name)}"
        status, content, _ = self._transport.send("DELETE", path, json.dumps(body).encode(), JSON, f"delete pods {pod}")
        if status not in (202, 404, 409):  # 409: the name is another pod's by now.
            self._check(status, content, f"delete pods {pod}")

    def told_time(self) -> datetime | None:
        """The server's time, to the second, when it last answered; None if it did not say."""
        try:
            return parsedate_to_datetime(self._transport.date)
        except (ValueError, TypeError):
            return None

    def holder(self, pool: str) -> Hold:
        """Who rolls POOL; raises what Transport.get raises."""
        try:
            found = json.loads(self._transport.get(_lease_path(pool), {}, "leases"))
            spec, meta = found.get("spec") or {}, found["metadata"]
            since, renewed = (parse_time(spec.get(key)) for key in ("acquireTime", "renewTime"))
            return Hold(str(spec.get("holderIdentity") or ""), since, renewed, str(meta["resourceVersion"]))
        except NotFound:
            return Hold("", None, None, "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"the Lease of the roll of {pool} can't be read: {error}") from error

    def hold(self, pool: str, hold: Hold, lasts_s: float) -> Hold:
        """Write the Lease, if it is still of HOLD's version; the new one.

        Raises Busy if somebody else wrote it in between, and as patch_node does.
        """
        spec: dict[str, Any] = {"holderIdentity": hold.who, "leaseDurationSeconds": int(lasts_s)}
        for key, moment in (("acquireTime", hold.since), ("renewTime", hold.renewed)):
            if moment is not None:
                spec[key] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        meta = {"name": _lease_name(pool), "namespace": NAMESPACE}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        if hold.version:
            meta["resourceVersion"] = hold.version
            written = self._send("PUT", _lease_path(pool), lease, "update leases", JSON)
        else:
            written = self._send("POST", _lease_path(pool).rpartition("/")[0], lease, "create leases", JSON)
        try:
            return replace(hold, version=str(json.loads(written)["metadata"]["resourceVersion"]))
        except (ValueError, KeyError, TypeError) as error:
            # An answer cut short: whether it is ours is read again.
            raise Unavailable(f"the Lease of the roll of {pool} was answered without sense: {error}") from error

    def _send(
        self, method: str, path: str, body: Mapping[str, Any], what: str, content_type: str, gone: bool = False
    ) -> bytes:
        status, content, _ = self._transport.send(method, path, json.dumps(body).encode(), content_type, what)
        if not (gone and status == 404):
            self._check(status, content, what)
        return content

    def _check(self, status: int, content: bytes, what: str) -> None:
        if status in (200, 201):
            return
        if status == 403:
            raise NotPermitted(
                what, f"the cluster at {self._transport.address}", "the ClusterRole in docs/rbac/roll.yaml"
            )
        if status in (409, 429):
            raise Busy(f"{what}: {words_of(content)}", "it is asked again")
        if status == 404:
            raise NotFound(f"{what}: {words_of(content)}")
        raise BadAnswer(f"the Kubernetes API at {self._transport.address} refuses: {what}: {words_of(content)}")


def _name(node: RollNode) -> str:
    return node.name


def _lease_name(pool: str) -> str:
    return f"imagecache-roll-{pool}"


def _lease_path(pool: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{segment(_lease_name(pool))}"
