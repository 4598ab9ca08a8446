"""Workloads whose templates select a node pool or its cache disk."""

from __future__ import annotations

from dataclasses import dataclass


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


def rollout(pin: Pin) -> str:
    """What changing PIN's template does to its pods: their controller replaces them and asks no budget."""
    if pin.kind == "DaemonSet":
        return "; all its pods leave the old nodes at once"
    if not pin.down:
        return ""
    return f"; its rollout takes down {pin.down} of {pin.replicas} pods at a time, past any budget"
