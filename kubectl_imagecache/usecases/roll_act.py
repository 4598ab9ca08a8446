"""The one step that a roll takes now: what it asks of GKE and of Kubernetes, and how it follows what was begun."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kubectl_imagecache.clients.gke_roll import Operation, node_taints
from kubectl_imagecache.clients.kube.roll import Evicted
from kubectl_imagecache.core import canary
from kubectl_imagecache.core import roll_pool as names
from kubectl_imagecache.core.errors import NotFound, UserError
from kubectl_imagecache.core.roll import (
    OFF,
    Action,
    Blocked,
    Canary,
    Cordon,
    Create,
    Delete,
    Evict,
    Force,
    Forget,
    Grow,
    Mark,
    Remove,
    Repin,
    RollPlan,
    RollPod,
    RollView,
    Scale,
    Sweep,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.core.roll_look import AGAIN
from kubectl_imagecache.core.roll_marks import CANARY, CORDONED, MARKS, PROVEN, REMOVING, SCALING, TRYING, UNREADY
from kubectl_imagecache.core.surge import first_batch, whole_size
from kubectl_imagecache.usecases.roll_canary import Cage, measure, sweep
from kubectl_imagecache.usecases.roll_tools import Run, Stopped, Tools, each, pause

REPEATS = 3
"""How often a GKE operation of one kind may fail in a run, and a node be asked to go in vain."""
POLL_S, POLL_MOST_S, POLL_SHARE = 2.0, 10.0, 0.02
"""Between two looks at a GKE operation: a share of the time that it has taken, from 2 to 10 s."""
ASK_AGAIN_S = 5.0
"""Between two evictions of a pod that a budget keeps, unless the server names a longer time."""


def act(tools: Tools, plan: RollPlan, view: RollView, run: Run, step: Action) -> None:
    """Take STEP; raises Busy and Unavailable where a new look is due, Locked, and what else the clients raise."""
    # A laptop that slept since the last look may find that others have rolled on meanwhile.
    tools.lock.renew()
    now = view.now.isoformat()
    if isinstance(step, Create):
        _follow(tools, run, step, tools.gke.create(_successor(tools, plan, run, view.now)))
    elif isinstance(step, Scale):
        _follow(tools, run, step, tools.gke.set_scaling(step.pool, step.to))
    elif isinstance(step, Delete):
        _follow(tools, run, step, tools.gke.delete(step.pool))
    elif isinstance(step, Grow):
        _follow(tools, run, step, tools.gke.set_size(step.pool, step.per_zone))
    elif isinstance(step, Remove):
        _remove(tools, view, run, step)
    elif isinstance(step, Cordon):
        unready, limits = step.unready, names.packed(step.scaling) if step.scaling != OFF else None

        def cordon(node: str) -> None:
            because = ",".join(unready.get(node, ())) or None
            marks: dict[str, str | None] = {CORDONED: now, UNREADY: because, SCALING: limits}
            tools.kube.patch_node(node, marks, unschedulable=True)

        each(tools, cordon, step.nodes)
    elif isinstance(step, Mark):
        _write(tools, {node: {step.mark: now, **step.also.get(node, {})} for node in step.nodes})
    elif isinstance(step, Uncordon):
        each(tools, tools.kube.release, step.nodes)
    elif isinstance(step, Forget):
        nothing = dict.fromkeys(MARKS)
        each(tools, lambda node: tools.kube.patch_node(node, nothing), step.nodes)
    elif isinstance(step, Repin):
        _write(tools, step.also)
        for pin in step.pins if not tools.interrupted() else ():
            tools.kube.repin(pin, step.pool, step.disk)
    elif isinstance(step, Force):
        each(tools, tools.kube.delete_pod, step.pods)
    elif isinstance(step, Evict):
        _evict(tools, run, step)
    else:
        _keep_canary(tools, plan, view, run, step)


def _write(tools: Tools, marks: Mapping[str, Mapping[str, str]]) -> None:
    each(tools, lambda node: tools.kube.patch_node(node, marks[node]), marks)


def _remove(tools: Tools, view: RollView, run: Run, step: Remove) -> None:
    for node in step.nodes:
        key = f"remove {node}"
        if run.failed.get(key, 0) >= REPEATS:
            why = f"{node} of {step.pool} is still there after {REPEATS} requests to delete it"
            raise Stopped(why, f"see why with: gcloud compute instance-groups managed list-errors; {AGAIN}")
        run.failed[key] = run.failed.get(key, 0) + 1
    # First the mark: who comes after a crash must not let pods onto a node that goes.
    mark = {REMOVING: view.now.isoformat()}
    _write(tools, {**step.also, **dict.fromkeys(step.nodes, mark)})
    if tools.interrupted():
        return
    run.read = None
    tools.gke.remove(run.pools[step.pool], {node.name: node.zone for node in view.nodes if node.name in step.nodes})


def _keep_canary(tools: Tools, plan: RollPlan, view: RollView, run: Run, step: Canary | Sweep) -> None:
    if tools.probes is None or view.new is None:
        raise UserError("no canary can be run here", "leave --canary out")
    cage = Cage(tools.probes, tools.clock, lambda seconds: pause(tools, seconds), tools.interrupted)
    if isinstance(step, Sweep):
        sweep(cage, plan.pool)
        for node, mark in step.marks.items() if not tools.interrupted() else ():
            tools.kube.patch_node(node, {CANARY: mark or None})
        return
    tools.kube.patch_node(step.node, {CANARY: f"{TRYING} {step.image}"})
    taints = node_taints(run.pools[view.new.name])
    found = measure(cage, canary.spec(plan.pool, view.new.name, step.node, step.image, taints))
    why = canary.trouble(found, plan.canary_limit_s) if found is not None else "interrupted"
    if not why:
        tools.kube.patch_node(step.node, {CANARY: f"{PROVEN} {step.image}"})
        return
    sweep(cage, plan.pool)
    if found is not None:
        raise Stopped(f"the canary of {step.image} on {step.node}: {why}", f"the old pool is untouched: {AGAIN}")


def _successor(tools: Tools, plan: RollPlan, run: Run, now: datetime) -> dict[str, Any]:
    old = run.pools[plan.pool]
    if plan.disk is None:
        raise Stopped(f"no disk image is named for {plan.pool}", "name it with --disk-image")
    if not names.groups_of(old):
        raise Stopped(f"GKE names no instance groups of {plan.pool}", "wait until it is RUNNING, and try again")
    sizes, zones = tools.gke.sizes(old), len(old.get("locations") or ()) or 1
    per_zone, batches = whole_size(plan.size, sizes), None
    if plan.surge is not None:
        per_zone = first_batch(plan.surge, sum(sizes), zones)
        batches = (sum(sizes), max(1, per_zone) * zones)
    name = names.successor(plan.pool, run.pools)
    return names.clone(old, name, plan.disk, per_zone, tools.gke.versions(), now, batches)


def _follow(tools: Tools, run: Run, step: Create | Scale | Grow | Delete, operation: Operation) -> None:
    """Wait for OPERATION's end; what it did is seen by the next observation, so a lost one is no harm."""
    run.read, began = None, tools.clock.now()
    while not operation.done and operation.name:
        if tools.interrupted():
            return
        tools.lock.renew()
        now = tools.clock.now()
        tools.say(RollEvent(now, Wait(f"GKE is at it ({operation.name})")))
        taken_s = (now - began).total_seconds()
        pause(tools, min(POLL_MOST_S, max(POLL_S, POLL_SHARE * taken_s)))
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
    refused: dict[tuple[str, bool], Evicted] = {}

    def ask(pod: RollPod) -> tuple[RollPod, Evicted]:
        # A budget keeps a healthy pod, and may let its unhealthy sibling go (unhealthyPodEvictionPolicy).
        sibling = refused.get((pod.owner_uid, pod.ready))
        if sibling is not None:
            return pod, sibling
        answer = tools.kube.evict(pod)
        if not answer.done and pod.owner_uid:
            refused[pod.owner_uid, pod.ready] = answer
        return pod, answer

    answers = each(tools, ask, step.pods)
    now = tools.clock.now()
    for pod, answer in answers:
        before = run.blocked.pop(pod.uid, None)
        if not answer.done:
            again = now + timedelta(seconds=max(ASK_AGAIN_S, answer.wait_s or 0.0))
            run.blocked[pod.uid] = Blocked(answer.why, before.since if before else now, again)
