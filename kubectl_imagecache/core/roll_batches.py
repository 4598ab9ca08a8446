"""A roll in batches: as many nodes as --max-surge are made, as many are emptied and removed, and so on."""

from __future__ import annotations

from kubectl_imagecache.core.roll import (
    OFF,
    Grow,
    Origin,
    Remove,
    RollNode,
    RollPlan,
    RollPool,
    RollView,
    Scale,
    Step,
    Stop,
    Wait,
)
from kubectl_imagecache.core.roll_drain import cordon, move
from kubectl_imagecache.core.roll_gate import gate, handed_on
from kubectl_imagecache.core.roll_look import AGAIN, moment, nodes_of, wait_for, workload
from kubectl_imagecache.core.roll_marks import CORDONED, REMOVING, SCALING
from kubectl_imagecache.core.surge import a_zone

REMOVED_WITHIN_S = 300.0
"""An emptied node that is there for longer after its removal was asked for is asked for again."""


def batch(plan: RollPlan, view: RollView, source: RollPool, target: RollPool, origin: Origin) -> Step | None:
    """The next step in moving from SOURCE to TARGET in batches; None once SOURCE can be deleted.

    There are never more than ORIGIN's nodes and a batch, and never fewer open ones than ORIGIN's.
    """
    nodes = nodes_of(view, source)
    shut = [node for node in nodes if node.cordoned]
    held = {pod.node for pod in workload(view, source)}
    # What is left goes with its pool.
    last = len(shut) == len(nodes) and (target.size >= origin.nodes or target.scaling.enabled)
    empty = [node for node in shut if node.name not in held and not is_leaving(view, node)]
    # As long as the pods of an emptied node don't run elsewhere it may be wanted again, and their volumes hang on it.
    if empty and not last and not (plan.gate and gate(plan, view, source, target)):
        names = tuple(node.name for node in empty)
        stay = [node for node in nodes if node.name not in names]
        return Remove(names, source.name, {**handed_on(empty, nodes_of(view, target)), **_limits(empty, stay)})
    moving = move(plan, view, source, target, shut)
    if moving is not None or last:
        return moving
    if shut:
        return Wait(f"{len(shut)} emptied nodes of {source.name} are being deleted", 10)
    return _next_batch(plan, view, target, origin, nodes)


def _limits(going: list[RollNode], stay: list[RollNode]) -> dict[str, dict[str, str]]:
    """What one of STAY is to know of the pool's limits, which nodes that are GOING have written down."""
    said = next((node.marks[SCALING] for node in going if SCALING in node.marks), "")
    known = any(SCALING in node.marks for node in stay)
    # A node that others have cordoned is not ours to open again.
    heir = min((node.name for node in stay if not node.cordoned or CORDONED in node.marks), default="")
    return {heir: {SCALING: said}} if said and heir and not known else {}


def _next_batch(plan: RollPlan, view: RollView, target: RollPool, origin: Origin, left: list[RollNode]) -> Step | None:
    ready = sum(node.ready and not node.cordoned for node in nodes_of(view, target))
    room = len(left) + ready - origin.nodes
    size = _size(target, origin, len(left), stuck=room <= 0)
    if size is not None:
        # Between our look and our call an autoscaler could make the pool larger than what we ask for.
        return Scale(target.name, OFF) if target.scaling.enabled else Grow(target.name, size)
    if not left:
        return None
    if ready < target.size:
        return wait_for(plan, view, f"{ready} of {target.size} nodes of {target.name} are Ready")
    chosen = _choose(view, left, room)
    why = f"{len(left)} old and {ready} new nodes are no more than the {origin.nodes} that there were"
    return cordon(view, target, chosen) or Stop(f"{target.name} can't be made larger: {why}", AGAIN)


def _size(target: RollPool, origin: Origin, left: int, stuck: bool) -> int | None:
    """To how many nodes a zone TARGET is to grow now; None if it is not."""
    most = a_zone(origin.nodes, target.zones)
    wanted = min(most, (origin.nodes + origin.surge - left) // max(1, target.zones))
    largest = max(target.sizes, default=0)
    if stuck and target.size < origin.nodes:
        wanted = max(wanted, largest)
    # A zone that has more would lose nodes, whichever GKE picks, and the pods on them.
    return wanted if wanted >= largest and wanted * target.zones > target.size else None


def _choose(view: RollView, nodes: list[RollNode], count: int) -> list[RollNode]:
    """COUNT of NODES, always one of a zone that has most left, and there the one with the fewest pods."""
    pods: dict[str, int] = {}
    for pod in view.pods:
        pods[pod.node] = pods.get(pod.node, 0) + (not pod.stays)
    zones: dict[str, list[RollNode]] = {}
    for node in sorted(nodes, key=lambda one: (pods.get(one.name, 0), one.name), reverse=True):
        zones.setdefault(node.zone, []).append(node)
    chosen = []
    for _ in range(max(0, min(count, len(nodes)))):
        zone = max(zones, key=lambda name: (len(zones[name]), name))
        chosen.append(zones[zone].pop())
    return chosen


def is_leaving(view: RollView, node: RollNode) -> bool:
    """Whether NODE's deletion was asked for, lately."""
    since = moment(node.marks.get(REMOVING, ""))
    return since is not None and (view.now - since).total_seconds() < REMOVED_WITHIN_S
