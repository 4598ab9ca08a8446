"""Workloads whose templates select a node pool or its cache disk."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.core.pools import POOL_LABEL, DiskImageRef


@dataclass(frozen=True, slots=True)
class Pin:
    """A workload whose template selects a pool by its name or its disk's label: elsewhere its pods stay Pending."""

    kind: str
    """Deployment, StatefulSet, CronJob, …"""
    namespace: str
    name: str
    key: str
    """The node label."""
    value: str
    by: str = "nodeSelector"
    """`nodeSelector` or `affinity`: only the former is mended by a patch of one field."""
    down: int | None = None
    """How many of its pods the rollout of a new template takes down at a time; None: a new one rolls nothing out."""
    replicas: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def mendable(self) -> bool:
        """Whether --repin can change it."""
        return self.by == "nodeSelector" and self.kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob")


def patch_of(pin: Pin, pool: str, disk: DiskImageRef | None) -> dict[str, Any]:
    """The merge patch by which PIN's workload selects POOL, or the label of DISK (None: no disk's)."""
    if pin.key == POOL_LABEL:
        selector: dict[str, str | None] = {pin.key: pool}
    else:
        selector = {pin.key: None}
        if disk is not None:
            head = pin.key.partition("gke-secondary-boot-disk-")[0]
            selector[f"{head}gke-secondary-boot-disk-{disk.name}"] = f"CONTAINER_IMAGE_CACHE.{disk.project}"
    patch = {"spec": {"template": {"spec": {"nodeSelector": selector}}}}
    return {"spec": {"jobTemplate": patch}} if pin.kind == "CronJob" else patch


def command_of(pin: Pin, patch: dict[str, Any]) -> str:
    """The kubectl command that applies PATCH to PIN's workload."""
    words = ("patch", pin.kind.lower(), pin.name, "--namespace", pin.namespace, "--type", "merge", "--patch")
    return f"kubectl {shlex.join((*words, json.dumps(patch)))}"


def rollout(pin: Pin) -> str:
    """What changing PIN's template does to its pods: their controller replaces them and asks no budget."""
    if pin.kind == "DaemonSet":
        return "; all its pods leave the old nodes at once"
    if not pin.down:
        return ""
    return f"; its rollout takes down {pin.down} of {pin.replicas} pods at a time, past any budget"
