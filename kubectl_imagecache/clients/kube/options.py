"""What the user may say about the cluster to read and the pods that count."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Namespaces that Kubernetes and GKE fill themselves
# (https://cloud.google.com/kubernetes-engine/docs/concepts/namespaces and the names seen on clusters).
SYSTEM_NAMESPACES = frozenset(
    {
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "gmp-system",
        "gmp-public",
        "config-management-system",
        "config-management-monitoring",
        "resource-group-system",
        "gatekeeper-system",
        "istio-system",
        "asm-system",
        "anthos-identity-service",
        "cnrm-system",
        "configconnector-operator-system",
        "binauthz-system",
    }
)
"""Namespaces of the platform itself, by name."""
SYSTEM_PREFIXES = ("gke-", "gke_", "gmp-")
"""Beginnings of the names of further such namespaces (gke-managed-system, gke-gmp-system, …)."""


@dataclass(frozen=True, slots=True)
class KubeOptions:
    """kubectl's flags that choose a cluster and who asks it; empty is kubectl's default."""

    context: str = ""
    kubeconfig: str = ""
    cluster: str = ""
    user: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    as_uid: str = ""
    request_timeout_s: float | None = None
    """Seconds for one request, connecting included; None is our own limit (60), 0 is none."""
    server: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pods count."""

    namespaces: tuple[str, ...] = ()
    """Empty is all; one that is named here counts even if it is a system namespace."""
    selector: str = ""
    """kubectl's label selector for pods (and for the pod labels of workload templates)."""
    system: bool = False
    """Count system namespaces too."""
    templates: bool = False
    """Read workload templates that run nothing now."""
    events: bool = True
    """Read `Pulled` events."""

    def counts(self, namespace: str) -> bool:
        """Whether pods of NAMESPACE count."""
        if self.namespaces:
            return namespace in self.namespaces
        return self.system or not is_system(namespace)


def is_system(namespace: str) -> bool:
    """Whether NAMESPACE belongs to Kubernetes or GKE itself."""
    return namespace in SYSTEM_NAMESPACES or namespace.startswith(SYSTEM_PREFIXES)


def parse_timeout(text: str) -> float:
    """Read kubectl's --request-timeout as seconds: `0`, plain seconds, or a Go duration; else raise ValueError."""
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    from kubectl_imagecache.core.pulls import parse_duration

    seconds = parse_duration(text) / 1e9
    if seconds < 0:
        raise ValueError(f"a time-out can't be negative: {text}")
    return seconds
