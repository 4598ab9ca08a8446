"""Kinds of node pools of which a second one cannot be had, or not as easily as of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubectl_imagecache.core.roll import RollPlan
from kubectl_imagecache.core.roll_checks import Check, Result


def kinds(pool: Mapping[str, Any], plan: RollPlan, extra: int) -> Iterator[Check]:
    """What is special about POOL, in GKE's JSON, of which PLAN wants EXTRA nodes more."""
    config, placement = pool.get("config") or {}, pool.get("placementPolicy") or {}
    if (pool.get("queuedProvisioning") or {}).get("enabled"):
        # https://cloud.google.com/kubernetes-engine/docs/how-to/provisioningrequest
        text = "nodes come with ProvisioningRequests and go with their jobs: none can be made for pods to move to"
        mend = "create a pool with the disk image beside it, and let the next requests have that"
        yield Check("queued", Result.REFUSE, text, (mend,))
    topology = placement.get("tpuTopology")
    if topology and plan.surge is not None:
        # https://cloud.google.com/kubernetes-engine/docs/concepts/tpus: a multi-host slice is made and deleted as one.
        mend = "leave --strategy rolling out, or move its jobs yourself"
        yield Check("tpu-slice", Result.REFUSE, f"a TPU slice of {topology} is one: it goes in no batches", (mend,))
    elif topology:
        yield Check("tpu-slice", Result.WARN, f"a second TPU slice of {topology} is needed, and its jobs begin again")
    reservation = config.get("reservationAffinity") or {}
    if reservation.get("consumeReservationType") == "SPECIFIC_RESERVATION":
        names = ", ".join(map(str, reservation.get("values") or ())) or "a reservation"
        yield Check("reservation", Result.WARN, f"{names} must have room for {extra} more nodes: it is not looked into")
    if config.get("soleTenantConfig") or config.get("nodeGroup"):
        yield Check(
            "sole-tenant", Result.WARN, f"its sole-tenant nodes must have room for {extra} more: not looked into"
        )
