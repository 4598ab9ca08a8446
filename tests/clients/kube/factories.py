"""Kubernetes objects as the API prints them, as small as a test needs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

POOL = "cloud.google.com/gke-nodepool"
DISK = "cloud.google.com/gke-secondary-boot-disk-"
RESTRICTED_DISK = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-"
Json = dict[str, Any]


def sha(letter: str) -> str:
    return f"sha256:{letter * 64}"


def container(image: str, name: str = "main") -> Json:
    return {"name": name, "image": image}


def status_of(image_id: str, name: str = "main") -> Json:
    return {"name": name, "image": "resolved/by-the-runtime:1", "imageID": image_id}


def pod(
    *images: str,
    node: str = "",
    namespace: str = "shop",
    name: str = "web",
    ids: Sequence[str] = (),
    phase: str = "Running",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A pod whose IDS are the imageIDs of its containers in order; those without one aren't pulled yet."""
    names = [f"c{index}" for index in range(len(images))]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": list(map(container, images, names)), **({"nodeName": node} if node else {}), **spec},
        "status": {"phase": phase, "containerStatuses": [status_of(i, n) for i, n in zip(ids, names, strict=False)]},
    }


def node(
    name: str = "n1",
    pool: str = "gpu",
    labels: dict[str, str] | None = None,
    images: Sequence[tuple[Sequence[str], int]] = (),
    taints: Sequence[Json] = (),
    ready: str = "True",
) -> Json:
    own = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64"} | ({POOL: pool} if pool else {})
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": own | (labels or {}), "creationTimestamp": "2026-01-15T08:00:00Z"},
        "spec": {"taints": list(taints)},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "images": [{"names": list(names), "sizeBytes": size} for names, size in images],
            "nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.31.2-gke.1354000"},
        },
    }


def event(message: str, node: str = "n1", namespace: str = "shop", at: str = "2026-01-15T09:00:00Z") -> Json:
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": "web.17", "namespace": namespace},
        "reason": "Pulled",
        "message": message,
        "source": {"component": "kubelet", "host": node},
        "lastTimestamp": at,
    }


def workload(kind: str, image: str = "eu.gcr.io/p/app:1", name: str = "w", **fields: Any) -> Json:
    """A workload; FIELDS go into its spec, but `status` and `owners` beside it."""
    status, owners = fields.pop("status", {}), fields.pop("owners", [])
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container(image)]}}
    spec = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    meta = {"name": name, "namespace": "shop", "ownerReferences": owners}
    return {"kind": kind, "metadata": meta, "spec": spec | fields, "status": status}


def listing(*items: Any, kind: str = "List", token: str = "") -> bytes:
    return json.dumps({"kind": kind, "apiVersion": "v1", "metadata": {"continue": token}, "items": items}).encode()
