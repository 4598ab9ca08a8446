"""`roll`: observe, decide, take one step, and observe again, until the pool runs on its new disk image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kubectl_imagecache.clients.gke_roll import Operation, RollGke, roll_pool
from kubectl_imagecache.clients.kube.roll import RollKube
from kubectl_imagecache.core import roll_pool as names
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Busy, NotFound, Unavailable, UserError
from kubectl_imagecache.core.roll import (
    CORDONED,
    POOL_LABEL,
    UNREADY,
    Action,
    Blocked,
    Cordon,
    Create,
    Delete,
    Done,
    Evict,
    Mark,
    Pin,
    Repin,
    RollEvent,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Scale,
    Stop,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_decide import decide, goes_back
from kubectl_imagecache.usecases.roll_lock import Lock

PATIENCE = 12
"""Failures in a row that are waited out before a run gives up."""
REPEATS = 3
"""How often a GKE operation of one kind may fail in a run."""
SLICE_S = 5.0
"""Longest sleep between two looks at Ctrl-C."""
_ASK_AGAIN_S = 5.0
_BY_TEMPLATE = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "Job"})


class Stopped(UserError):
    """The roll can't go on by itself; a second run can."""

    exit_code = 5


class Interrupted(UserError):
    """The user asked to stop; everything is as the last whole step left it."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Tools:
    """What a roll works with."""

    kube: RollKube
    gke: RollGke
    clock: Clock
    lock: Lock
    say: Callable[[RollEvent], None]
    interrupted: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Run:
    """What one run remembers: none of it is needed to go on after a crash."""

    blocked: dict[str, Blocked] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    """Operations that ended in an error, by kind and pool."""
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    """GKE's JSON of all pools, as last read."""


def roll(tools: Tools, plan: RollPlan) -> Done:
    """Roll PLAN's pool to its end, or back; the lock must be held.

    Raises Stopped (with how to go on), Interrupted, and what the clients raise for what waiting does not mend.
    """
    plan, run, trouble = replace(plan, began=tools.clock.now()), Run(), 0
    while True:
        _check_interrupted(tools, plan)
        tools.lock.renew()
        try:
            view = _observe(tools, plan, run)
            plan = replace(plan, back=goes_back(plan, view))
            step = decide(plan, view)
            tools.say(_event(plan, view, step))
            if isinstance(step, Done):
                return step
            if isinstance(step, Stop):
                raise Stopped(step.why, step.hint)
            if isinstance(step, Wait):
                pause(tools, step.seconds)
            else:
                act(tools, plan, view, run, step)
            trouble = 0
        except (Busy, Unavailable) as error:
            # Whether an unanswered call was done shows in what is there: so look again, never send again.
            trouble += 1
            if trouble >= PATIENCE:
                raise
            tools.say(RollEvent(tools.clock.now(), None, note=error.message))
            pause(tools, min(30.0, 2.0 * trouble))


def observe(tools: Tools, plan: RollPlan) -> RollView:
    """What is there now, for --status and before a roll; raises what the clients raise."""
    return _observe(tools, plan, Run())


def pause(tools: Tools, seconds: float) -> None:
    """Let SECONDS pass, less if the user interrupts, and keep the lock meanwhile."""
    while seconds > 0 and not tools.interrupted():
        tools.clock.sleep(min(seconds, SLICE_S))
        seconds -= SLICE_S
        tools.lock.renew()


def _check_interrupted(tools: Tools, plan: RollPlan) -> None:
    if tools.interrupted():
        raise Interrupted(
            f"stopped between two steps of the roll of {plan.pool}: nothing is half done",
            f"go on with: roll {plan.pool}{' --rollback' if plan.back else ''}, "
            f"go back with: roll {plan.pool} --rollback, see with: roll {plan.pool} --status",
        )


def _observe(tools: Tools, plan: RollPlan, run: Run) -> RollView:
    project = tools.gke.target.project
    run.pools = {str(pool.get("name")): pool for pool in tools.gke.cluster().get("nodePools") or ()}
    found = names.successors(run.pools, plan.pool)
    if len(found) > 1:
        raise Stopped(
            f"several pools say that they replace {plan.pool}: {', '.join(found)}", "delete the one that is not wanted"
        )
    raw_old, raw_new = run.pools.get(plan.pool), run.pools[found[0]] if found else None
    old = roll_pool(raw_old, 0, project) if raw_old is not None else None
    new = roll_pool(raw_new, 0, project) if raw_new is not None else None
    nodes = [node for pool in (old, new) if pool is not None for node in tools.kube.nodes(pool.name)]
    if old is None or new is None:
        return RollView(tools.clock.now(), old, new, tuple(nodes))
    if not any(CORDONED in node.marks for node in nodes if node.pool == old.name):
        new = replace(new, size=sum(tools.gke.sizes(raw_new or {})))
    pods = tools.kube.pods()
    pins = _pins(tools, plan, RollView(tools.clock.now(), old, new, tuple(nodes)), pods)
    alive = {pod.uid for pod in pods}
    run.blocked = {uid: held for uid, held in run.blocked.items() if uid in alive}
    return RollView(tools.clock.now(), old, new, tuple(nodes), tuple(pods), pins, dict(run.blocked))


def _pins(tools: Tools, plan: RollPlan, view: RollView, pods: list[RollPod]) -> tuple[Pin, ...]:
    """Pins are mended before the first cordon, so once all is cordoned there is nothing to look for."""
    assert view.old is not None and view.new is not None
    source = view.new if goes_back(plan, view) else view.old
    nodes = {node.name: node for node in view.nodes if node.pool == source.name}
    if nodes and all(node.cordoned for node in nodes.values()):
        return ()
    return tuple(tools.kube.pins() + untold_pins(pods, nodes, source))


def untold_pins(pods: list[RollPod], nodes: dict[str, RollNode], source: RollPool) -> list[Pin]:
    """Pods on NODES that select SOURCE by name and whose controllers are of kinds whose templates aren't read."""
    return [
        Pin(pod.owner_kind or "Pod", pod.namespace, pod.name, POOL_LABEL, source.name, "nodeSelector of the pod")
        for pod in pods
        if pod.node in nodes and pod.selects_pool == source.name and not pod.stays
        if pod.owner_kind and pod.owner_kind not in _BY_TEMPLATE
    ]


def act(tools: Tools, plan: RollPlan, view: RollView, run: Run, step: Action) -> None:
    """Take STEP; raises Busy and Unavailable where a new look is due, and what else the clients raise."""
    now = view.now.isoformat()
    if isinstance(step, Create):
        _follow(tools, run, step, tools.gke.create(_successor(tools, plan, run, view.now)))
    elif isinstance(step, Scale):
        _follow(tools, run, step, tools.gke.set_scaling(step.pool, step.to))
    elif isinstance(step, Delete):
        _follow(tools, run, step, tools.gke.delete(step.pool))
    elif isinstance(step, Cordon):
        for node in step.nodes:
            marks: dict[str, str | None] = {CORDONED: now, UNREADY: ",".join(step.unready.get(node, ())) or None}
            tools.kube.patch_node(node, marks, unschedulable=True)
    elif isinstance(step, Mark):
        for node in step.nodes:
            tools.kube.patch_node(node, {step.mark: now})
    elif isinstance(step, Uncordon):
        for node in step.nodes:
            tools.kube.release(node)
    elif isinstance(step, Repin):
        for pin in step.pins:
            tools.kube.repin(pin, step.pool, step.disk)
    else:
        _evict(tools, run, step)


def _successor(tools: Tools, plan: RollPlan, run: Run, now: datetime) -> dict[str, Any]:
    old = run.pools[plan.pool]
    if plan.disk is None:
        raise Stopped(f"no disk image is named for {plan.pool}", "name it with --disk-image")
    if not names.groups_of(old):
        raise Stopped(f"GKE names no instance groups of {plan.pool}", "wait until it is RUNNING, and try again")
    per_zone = max(tools.gke.sizes(old), default=0)
    name = names.successor(plan.pool, run.pools)
    return names.clone(old, name, plan.disk, per_zone, tools.gke.versions(), now)


def _follow(tools: Tools, run: Run, step: Create | Scale | Delete, operation: Operation) -> None:
    """Wait for OPERATION's end; what it did is seen by the next observation, so a lost one is no harm."""
    while not operation.done and operation.name:
        if tools.interrupted():
            return
        pause(tools, SLICE_S)
        try:
            operation = tools.gke.operation(operation.name)
        except NotFound:
            return
    if operation.error:
        key = repr(step)
        run.failed[key] = run.failed.get(key, 0) + 1
        tools.say(RollEvent(tools.clock.now(), None, note=f"GKE: {operation.error}"))
        if run.failed[key] >= REPEATS:
            raise Stopped(f"GKE failed {REPEATS} times: {operation.error}", "mend that, and run the same command again")


def _evict(tools: Tools, run: Run, step: Evict) -> None:
    """Ask for each pod; once a budget kept one, its siblings are not asked for in the same pass."""
    refused: dict[str, Blocked] = {}
    for pod in step.pods:
        if tools.interrupted():
            return
        held = refused.get(pod.owner_uid) if pod.owner_uid else None
        if held is None:
            answer = tools.kube.evict(pod)
            if answer.done:
                run.blocked.pop(pod.uid, None)
                continue
            now = tools.clock.now()
            wait_s = max(_ASK_AGAIN_S, answer.wait_s or 0.0)
            held = refused[pod.owner_uid] = Blocked(answer.why, now, now + timedelta(seconds=wait_s))
        before = run.blocked.get(pod.uid)
        run.blocked[pod.uid] = replace(held, since=before.since if before else held.since)
    pause(tools, 1.0)


def _event(plan: RollPlan, view: RollView, step: Any) -> RollEvent:
    source = view.new if plan.back else view.old
    counts: dict[str, int] = {}
    for node in view.nodes:
        counts[node.pool] = counts.get(node.pool, 0) + 1
    names_of = {node.name for node in view.nodes if source is not None and node.pool == source.name}
    left = sum(1 for pod in view.pods if pod.node in names_of and not pod.stays)
    return RollEvent(view.now, step, left, counts)
