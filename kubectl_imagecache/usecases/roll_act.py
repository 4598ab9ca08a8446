"""The one step that a roll takes now: what it asks of GKE and of Kubernetes, and how it follows what was begun."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from kubectl_imagecache.clients.gke_roll import Operation
from kubectl_imagecache.clients.kube.roll import Evicted
from kubectl_imagecache.core import roll_pool as names
from kubectl_imagecache.core.errors import NotFound
from kubectl_imagecache.core.roll import (
    CORDONED,
    UNREADY,
    Action,
    Blocked,
    Cordon,
    Create,
    Delete,
    Evict,
    Mark,
    Repin,
    RollEvent,
    RollPlan,
    RollPod,
    RollView,
    Scale,
    Uncordon,
)
from kubectl_imagecache.usecases.roll_tools import Run, Stopped, Tools, each, pause

REPEATS = 3
"""How often a GKE operation of one kind may fail in a run."""
POLL_S = 2.0
"""Between two looks at a GKE operation."""
ASK_AGAIN_S = 5.0
"""Between two evictions of a pod that a budget keeps, unless the server names a longer time."""


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
        unready = step.unready

        def cordon(node: str) -> None:
            marks: dict[str, str | None] = {CORDONED: now, UNREADY: ",".join(unready.get(node, ())) or None}
            tools.kube.patch_node(node, marks, unschedulable=True)

        each(tools, cordon, step.nodes)
    elif isinstance(step, Mark):
        marks = {step.mark: now}
        each(tools, lambda node: tools.kube.patch_node(node, marks), step.nodes)
    elif isinstance(step, Uncordon):
        each(tools, tools.kube.release, step.nodes)
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
    run.read = None
    while not operation.done and operation.name:
        if tools.interrupted():
            return
        pause(tools, POLL_S)
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
    refused: dict[str, Evicted] = {}

    def ask(pod: RollPod) -> tuple[RollPod, Evicted]:
        sibling = refused.get(pod.owner_uid)
        if sibling is not None:
            return pod, sibling
        answer = tools.kube.evict(pod)
        if not answer.done and pod.owner_uid:
            refused[pod.owner_uid] = answer
        return pod, answer

    for pod, answer in each(tools, ask, step.pods):
        before = run.blocked.pop(pod.uid, None)
        if not answer.done:
            now = tools.clock.now()
            again = now + timedelta(seconds=max(ASK_AGAIN_S, answer.wait_s or 0.0))
            run.blocked[pod.uid] = Blocked(answer.why, before.since if before else now, again)
