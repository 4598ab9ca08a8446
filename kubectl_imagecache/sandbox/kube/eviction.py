"""The eviction subresource: a deletion that PodDisruptionBudgets may refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kubectl_imagecache.sandbox.kube.kinds import PDB, POD, Obj
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.selectors import label_selector
from kubectl_imagecache.sandbox.kube.status import ApiError, success
from kubectl_imagecache.sandbox.kube.store import Entry, Store

_MOST_DISRUPTED = 2000
"""MaxDisruptedPodSize of the real server's eviction.go."""
Size = Callable[[str], int]
"""How many pods the controller with a UID should have."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a budget counts."""

    expected: int
    """Pods that there should be, by their controllers."""
    desired: int
    """Healthy pods that must stay."""
    healthy: int
    """Ready pods that aren't being deleted."""

    @property
    def allowed(self) -> int:
        """Disruptions allowed now."""
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


def health(store: Store, pdb: Obj, size: Size) -> Health:
    """A budget's counts now; SIZE tells how many pods a controller should have."""
    matches = label_selector(pdb["spec"].get("selector"))
    pods = store.pods_labelled(POD, pdb["metadata"]["namespace"], matches)
    pods = [e for e in pods if e.pod.phase not in ("Succeeded", "Failed")]
    healthy = sum(1 for e in pods if e.pod.ready and not e.pod.terminating)
    owners = {uid for e in pods for uid in e.owners[:1]}
    bare = sum(1 for e in pods if not e.owners)
    expected = bare + sum(size(uid) for uid in owners)
    spec = pdb["spec"]
    if "maxUnavailable" in spec:
        desired = max(0, expected - _scaled(spec["maxUnavailable"], expected))
    else:
        least = spec.get("minAvailable", 1)
        if not isinstance(least, str):
            # With a plain number the disruption controller counts the pods that are, not those that should be.
            expected = len(pods)
        desired = _scaled(least, expected)
    return Health(expected, desired, healthy)


def _scaled(value: int | str, total: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * total / 100)
    return int(value)


def evict(objects: Objects, entry: Entry, eviction: Obj, size: Size) -> Obj:
    """Evict a pod and return the Status of success; raise ApiError 429 if a budget forbids it, 500 if two match."""
    if (eviction.get("metadata") or {}).get("name") != entry.name:
        raise ApiError(400, "name in URL does not match name in Eviction object")
    options = eviction.get("deleteOptions") or {}
    if _needs_budget(entry):
        _spend(objects, entry, size, dry_run=bool(options.get("dryRun")))
    objects.delete(POD, entry, options)
    return success(code=201)


def _needs_budget(entry: Entry) -> bool:
    return entry.pod.phase not in ("Succeeded", "Failed", "Pending") and not entry.pod.terminating


def _spend(objects: Objects, entry: Entry, size: Size, dry_run: bool) -> None:
    store = objects.store
    budgets = [store.view(PDB, e) for e in store.entries(PDB, entry.namespace)]
    budgets = [pdb for pdb in budgets if label_selector(pdb["spec"].get("selector"))(entry.labels)]
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, message, reason=None)
    if not budgets:
        return
    pdb = budgets[0]
    if len((pdb.get("status") or {}).get("disruptedPods") or ()) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise ApiError(403, f'poddisruptionbudget.policy "{pdb["metadata"]["name"]}" is forbidden: {why}')
    counts = health(store, pdb, size)
    if not entry.pod.ready:
        policy = pdb["spec"].get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
        if policy == "AlwaysAllow" or (counts.healthy >= counts.desired and counts.desired > 0):
            return
    if counts.allowed <= 0:
        name = pdb["metadata"]["name"]
        cause = f"The disruption budget {name} needs {counts.desired} healthy pods and has {counts.healthy} currently"
        details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
        raise ApiError(429, "Cannot evict pod as it would violate the pod's disruption budget.", details=details)
    if not dry_run:
        store.put(
            PDB,
            {
                **pdb,
                "metadata": dict(pdb["metadata"]),
                "status": {**pdb.get("status", {}), "disruptionsAllowed": counts.allowed - 1},
            },
        )
