"""What a roll sees: pools, their nodes and pods, as they are now or as they were moments ago."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kubectl_imagecache.clients.gke_roll import roll_pool
from kubectl_imagecache.core import roll_pool as names
from kubectl_imagecache.core.errors import NotFound, Unavailable
from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.roll import RollNode, RollPlan, RollPod, RollPool, RollView
from kubectl_imagecache.core.roll_decide import goes_back
from kubectl_imagecache.core.roll_marks import CORDONED
from kubectl_imagecache.usecases.roll_tools import Run, Stopped, Tools

POOLS_S = 5.0
"""How old what GKE said of its pools may be where what is moments old will do: its API takes few calls a minute."""
_BY_TEMPLATE = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "Job"})


def look(tools: Tools, plan: RollPlan, run: Run, fresh: bool) -> RollView:
    """What is there now; unless FRESH it is moments old, and says nothing of pins. Raises what the clients raise."""
    if fresh or run.read is None or tools.clock.now() - run.read > timedelta(seconds=POOLS_S):
        run.pools = {str(pool.get("name")): pool for pool in tools.gke.cluster().get("nodePools") or ()}
        run.sizes, run.read = {}, tools.clock.now()
    raw_old, raw_new = _both(plan, run.pools)
    project = tools.gke.target.project
    old = roll_pool(raw_old, 0, project) if raw_old is not None else None
    new = roll_pool(raw_new, 0, project) if raw_new is not None else None
    nodes, pods = _nodes_and_pods(tools, old, new, fresh)
    if old is None or new is None:
        return RollView(tools.clock.now(), old, new, nodes, waiting=run.waiting)
    in_batches = new.origin is not None and new.origin.surge > 0
    if in_batches or not any(CORDONED in node.marks for node in nodes if node.pool == old.name):
        new = _sized(tools, run, new)
    if in_batches:
        old = _sized(tools, run, old)
    view = RollView(tools.clock.now(), old, new, nodes, pods, waiting=run.waiting)
    alive = {pod.uid for pod in pods}
    run.blocked = {uid: held for uid, held in run.blocked.items() if uid in alive}
    return replace(view, pins=_pins(tools, plan, view) if fresh else (), blocked=dict(run.blocked))


def no_pool(name: str, cluster: Mapping[str, Any]) -> NotFound:
    """For a pool NAME that CLUSTER, GKE's JSON, does not have."""
    known = ", ".join(str(pool.get("name")) for pool in cluster.get("nodePools") or ())
    return NotFound(f"there is no node pool {name}", f"there are {known or 'none at all'}")


def _sized(tools: Tools, run: Run, pool: RollPool) -> RollPool:
    if pool.status == "STOPPING":
        return pool  # Its groups go one by one.
    if pool.name not in run.sizes:
        try:
            run.sizes[pool.name] = tools.gke.sizes(run.pools[pool.name])
        except NotFound as error:
            raise Unavailable(f"{pool.name} has begun to go: {error.message}", "it is looked at again") from error
    sizes = run.sizes[pool.name]
    return replace(pool, size=sum(sizes), sizes=sizes)


def _both(plan: RollPlan, pools: dict[str, dict[str, Any]]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The pool and its successor in GKE's JSON."""
    found = names.successors(pools, plan.pool)
    if len(found) > 1:
        raise Stopped(
            f"several pools say that they replace {plan.pool}: {', '.join(found)}", "delete the one that is not wanted"
        )
    return pools.get(plan.pool), pools[found[0]] if found else None


def _nodes_and_pods(
    tools: Tools, old: RollPool | None, new: RollPool | None, fresh: bool
) -> tuple[tuple[RollNode, ...], tuple[RollPod, ...]]:
    pools = [pool.name for pool in (old, new) if pool is not None]
    if fresh or len(pools) < 2:
        nodes = tuple(node for pool in pools for node in tools.kube.nodes(pool))
        return nodes, tuple(tools.kube.pods()) if len(pools) == 2 else ()
    found, pods = tools.kube.seen(f"{POOL_LABEL} in ({','.join(pools)})")
    return tuple(found), tuple(pods)


def _pins(tools: Tools, plan: RollPlan, view: RollView) -> tuple[Pin, ...]:
    """Pins are mended before the first cordon, so once all is cordoned there is nothing to look for."""
    assert view.old is not None and view.new is not None
    source = view.new if goes_back(plan, view) else view.old
    nodes = {node.name: node for node in view.nodes if node.pool == source.name}
    if nodes and all(node.cordoned for node in nodes.values()):
        return ()
    return tuple(tools.kube.pins() + untold_pins(view.pods, nodes, source))


def untold_pins(pods: Iterable[RollPod], nodes: dict[str, RollNode], source: RollPool) -> list[Pin]:
    """Pods on NODES that select SOURCE by name and whose controllers are of kinds whose templates aren't read."""
    return [
        Pin(pod.owner_kind or "Pod", pod.namespace, pod.name, POOL_LABEL, source.name, "nodeSelector of the pod")
        for pod in pods
        if pod.node in nodes and pod.selects_pool == source.name and not pod.stays
        if pod.owner_kind and pod.owner_kind not in _BY_TEMPLATE
    ]
