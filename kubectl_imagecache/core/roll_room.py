"""Whether there is room for a roll's new nodes and for what moves there: nodes, pod addresses, volumes, budgets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.core.roll import RollPlan, RollPod
from kubectl_imagecache.core.roll_checks import Budget, Check, Result
from kubectl_imagecache.core.surge import first_batch, whole_size


@dataclass(frozen=True, slots=True)
class Volume:
    """A persistent volume that a pod's claim is bound to."""

    claim: str
    """NAMESPACE/NAME."""
    zones: frozenset[str] = frozenset()
    """Where alone it can be attached; empty: anywhere."""
    on_node: bool = False
    """It is on one node's own disks."""


@dataclass(frozen=True, slots=True)
class PodRange:
    """The addresses of pods, in nodes."""

    block: str
    nodes: int
    """For so many there is room in all."""
    taken: int | None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the checks look at."""

    sizes: tuple[int, ...] = ()
    """Nodes of the pool, zone by zone."""
    zones: frozenset[str] = frozenset()
    """Those of the new nodes."""
    autoscaled: bool = False
    volumes: tuple[Volume, ...] | None = ()
    """Of the claims of the pool's pods; None: could not be read."""
    pod_range: PodRange | None = None
    """None: not known."""

    def extra(self, plan: RollPlan) -> int:
        """How many more nodes than now there are at the worst."""
        zones = max(1, len(self.sizes))
        if plan.surge is None:
            return whole_size(plan.size, self.sizes) * zones
        return first_batch(plan.surge, sum(self.sizes), zones) * zones


def checks(plan: RollPlan, room: Room, pods: Iterable[RollPod], budgets: Iterable[Budget]) -> Iterable[Check]:
    """What ROOM says of PLAN, which moves PODS that BUDGETS guard."""
    moving = [pod for pod in pods if not pod.stays]
    yield from _nodes(plan, room)
    yield from _addresses(plan, room)
    yield from _volumes(room, moving)
    yield from _twice(plan, budgets)
    if plan.force_after_s is not None:
        yield Check("force-after", Result.WARN, forced(plan.force_after_s))


def forced(after_s: float) -> str:
    """What --force-after means, said loudly."""
    return f"pods that a budget keeps for longer than {after_s:g} s WILL BE DELETED past it"


def _nodes(plan: RollPlan, room: Room) -> Iterable[Check]:
    there, extra = sum(room.sizes), room.extra(plan)
    if plan.surge is None:
        if extra < there:
            more = "its autoscaler adds what is missing" if room.autoscaled else "nothing adds what is missing"
            yield Check("surge", Result.WARN, f"the new pool gets {extra} nodes, the old one has {there}: {more}")
        return
    zones = max(1, len(room.sizes))
    text = f"{extra} nodes at a time, {extra // zones} in every zone"
    if extra > plan.surge.of(there):
        yield Check("batches", Result.WARN, f"{text}: GKE sizes all zones alike, so no fewer than asked are possible")
    else:
        yield Check("batches", Result.OK, text)
    if len(set(room.sizes)) > 1:
        held = ", ".join(map(str, room.sizes))
        yield Check("zones", Result.WARN, f"the zones have {held} nodes: the new pool's will have the same number each")
    if room.autoscaled:
        yield Check("autoscaling", Result.WARN, "neither pool is scaled by an autoscaler until the roll has ended")


def _addresses(plan: RollPlan, room: Room) -> Iterable[Check]:
    found, extra = room.pod_range, room.extra(plan)
    if found is None or found.taken is None:
        yield Check("pod-addresses", Result.WARN, "whether the pods' address range has room is not known")
    elif found.taken + extra > found.nodes:
        text = f"{found.block} has pod addresses for {found.nodes} nodes: {found.taken} are there, {extra} are needed"
        yield Check("pod-addresses", Result.REFUSE, text, ("roll in smaller batches, or add a range to the cluster",))
    else:
        yield Check("pod-addresses", Result.OK, "the pods' address range has room for the new nodes")


def _volumes(room: Room, moving: list[RollPod]) -> Iterable[Check]:
    if room.volumes is None:
        yield Check("volumes", Result.WARN, "the persistent volumes could not be read")
        return
    users: dict[str, list[str]] = {}
    for pod in moving:
        for claim in pod.claims:
            users.setdefault(f"{pod.namespace}/{claim}", []).append(str(pod))
    mine = [volume for volume in room.volumes if volume.claim in users]
    lost = [volume for volume in mine if volume.zones and not volume.zones & room.zones]
    bound = [volume for volume in mine if volume.on_node]
    for found, text in ((bound, "are on a node's own disks"), (lost, "are in zones that have none of the new nodes")):
        if found:
            details = tuple(f"{volume.claim}: {', '.join(users[volume.claim])}" for volume in found)
            yield Check(
                "volumes", Result.REFUSE, f"{len(found)} volumes {text}: their pods would stay Pending", details
            )
    if mine and not bound and not lost:
        yield Check("volumes", Result.OK, f"{len(mine)} persistent volumes can follow their pods")


def _twice(plan: RollPlan, budgets: Iterable[Budget]) -> Iterable[Check]:
    by_pod: dict[str, list[str]] = {}
    for budget in budgets:
        for pod in budget.pods:
            by_pod.setdefault(pod, []).append(budget.name)
    found = tuple(f"{pod}: {', '.join(names)}" for pod, names in sorted(by_pod.items()) if len(names) > 1)
    if found:
        # https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works
        result = Result.REFUSE if plan.force_after_s is None else Result.WARN
        yield Check("double-budgets", result, "some pods have two budgets: Kubernetes evicts no such pod", found)


def pod_range(cluster: Mapping[str, Any], pool: Mapping[str, Any]) -> PodRange | None:
    """The pods' range of a pool of GKE's JSON; None where it isn't said."""
    network = pool.get("networkConfig") or {}
    block = str(network.get("podIpv4CidrBlock") or cluster.get("clusterIpv4Cidr") or "")
    a_node = int(pool.get("podIpv4CidrSize") or 0)
    try:
        whole = ipaddress.ip_network(block)
    except ValueError:
        return None
    if not whole.prefixlen <= a_node <= 32:
        return None
    nodes = 2 ** (a_node - whole.prefixlen)
    share, there = network.get("podIpv4RangeUtilization"), cluster.get("currentNodeCount")
    known = [round(float(share) * nodes)] if share is not None else []
    # Nodes of pools with ranges of their own are counted, too: rather too many than too few.
    known += [int(there)] if there is not None and not known else []
    return PodRange(str(whole), nodes, max(known, default=None))
