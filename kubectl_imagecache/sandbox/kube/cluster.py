"""The sandbox's Kubernetes cluster: API, store and moving parts in one piece."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response, World
from kubectl_imagecache.sandbox.kube import status
from kubectl_imagecache.sandbox.kube.access import Access
from kubectl_imagecache.sandbox.kube.api import Api
from kubectl_imagecache.sandbox.kube.bulk import bulk_entries
from kubectl_imagecache.sandbox.kube.controllers import Controllers
from kubectl_imagecache.sandbox.kube.images import ImageSource
from kubectl_imagecache.sandbox.kube.kinds import CRD, NAMESPACE, NODE, POD, Kinds, gke_crds
from kubectl_imagecache.sandbox.kube.kubelet import Kubelets
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache
from kubectl_imagecache.sandbox.kube.node_images import BANDWIDTH, Pulls
from kubectl_imagecache.sandbox.kube.nodes import Nodes
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.scheduler import Scheduler
from kubectl_imagecache.sandbox.kube.store import Change, Store

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class KubeCluster:
    """Serve with `Service("kube", world, cluster.handle, cluster.error)`; time moves by the world's clock."""

    def __init__(self, world: World, images: ImageSource, *, seed: int = 0, bandwidth: float = BANDWIDTH) -> None:
        """BANDWIDTH is in compressed bytes a second."""
        self._world = world
        self.access = Access(objects=self.objects)
        """Refusals to order, for 403s, and whom RBAC is to hold."""
        self._kinds = Kinds()
        self._store = Store(world.clock, seed)
        self._objects = Objects(self._store, self._kinds, seed)
        self._nodes = Nodes(self._objects, seed)
        self._pulls = Pulls(images, bandwidth, seed)
        self._scheduler = Scheduler(self._objects)
        self._kubelets = Kubelets(self._objects, self._pulls, seed)
        self._controllers = Controllers(self._objects, self._scheduler)
        self._api = Api(world, self._objects, self.access, self._controllers.size)
        self._store.listeners += [
            self._scheduler.note,
            self._kubelets.note,
            self._controllers.note,
            self._nodes.note,
            self._notify,
        ]
        for name in _NAMESPACES:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for crd in gke_crds():
            self._objects.create(CRD, crd)

    @property
    def version(self) -> int:
        """The resourceVersion of the newest change."""
        return self._store.version

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call LISTENER with every change of an object, under the world's lock."""
        self._store.listeners.append(listener)

    def handle(self, request: Request) -> Response:
        """Answer one request; the caller holds the world's lock."""
        return self._api.handle(request)

    def error(self, fault: Fault) -> Response:
        """A metav1.Status for an ordered fault."""
        return status.for_fault(fault)

    def add_node(
        self,
        node: dict[str, Any],
        cache: NodeCache = NodeCache(),  # noqa: B008 (frozen)
        kubelet_s: float = 0.0,
    ) -> None:
        """Register a node; it becomes Ready after KUBELET_S.

        If that is 0, it is Ready at once where its status says so, and after a seeded boot time where not.
        """
        with self._world.lock:
            self._pulls.set_cache(node["metadata"]["name"], cache)
            self._nodes.add(copy.deepcopy(node), kubelet_s)

    def remove_node(self, name: str) -> None:
        """Take a node away; its pods go, and their controllers make new ones. Unknown names are ignored."""
        with self._world.lock:
            self._objects.remove(NODE, "", name)

    def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Store an object of any kind, its namespace too if there is none; what the server made of it is returned.

        Raise ApiError as the HTTP API would answer, ValueError for an unknown kind.
        """
        with self._world.lock:
            kind = self._kinds.of(obj)
            if kind is None:
                raise ValueError(f"unknown kind {obj.get('apiVersion')}/{obj.get('kind')}")
            obj = copy.deepcopy(obj)
            if kind.namespaced:
                namespace = obj.setdefault("metadata", {}).setdefault("namespace", "default")
                if self._store.get(NAMESPACE, "", namespace) is None:
                    self._objects.create(NAMESPACE, {"metadata": {"name": namespace}})
            if kind is NODE:
                self.add_node(obj)
                entry = self._store.get(NODE, "", obj["metadata"]["name"])
                return entry.parsed(NODE) if entry else obj
            return {"apiVersion": kind.api_version, "kind": kind.kind, **self._objects.create(kind, obj)}

    def objects(self, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """All objects of a kind (`Pod`, `pods`, `deployments`), or a namespace's, in the order of lists."""
        with self._world.lock:
            found = self._kinds.named(kind)
            return [entry.parsed(found) for entry in self._store.entries(found, namespace or "")]

    def add_bulk_pods(self, pod: dict[str, Any], placements: Iterable[tuple[str, str]]) -> int:
        """Add running pods like POD, one for each (name, node), and return how many.

        Their JSON is made when asked for, so that a hundred thousand take tens of megabytes. POD gives namespace,
        labels, spec, status and owners; see bulk.bulk_entries for what is filled in.
        """
        with self._world.lock:
            made = self._objects.prepare_bulk(pod)
            entries = bulk_entries(made, placements, self._store.version + 1)
            self._store.version += 1
            self._store.extend(POD, entries)
            return len(entries)

    def expire_continue_tokens(self) -> None:
        """Answer 410 to the next page of every list under way, as after etcd's compaction."""
        with self._world.lock:
            self._api.pages.expire()

    def compact(self) -> None:
        """Forget the history: watches from before now get 410, and so do lists under way."""
        with self._world.lock:
            self._store.compact()
            self._api.pages.expire()

    def _notify(self, change: Change) -> None:
        with self._world.changed:
            self._world.changed.notify_all()
