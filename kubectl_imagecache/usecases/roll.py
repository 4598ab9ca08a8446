"""`roll`: observe, decide, take one step, and observe again, until the pool runs on its new disk image."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from kubectl_imagecache.core.errors import Busy, Unavailable
from kubectl_imagecache.core.roll import Done, Evict, Mark, RollPlan, RollPool, RollView, Step, Stop, Wait
from kubectl_imagecache.core.roll_decide import decide, goes_back
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.core.roll_gate import bystanders
from kubectl_imagecache.usecases.roll_act import act
from kubectl_imagecache.usecases.roll_observe import look
from kubectl_imagecache.usecases.roll_tools import Interrupted, Run, Stopped, Tools, pause, rest

PATIENCE = 12
"""Failures in a row that are waited out before a run gives up."""
QUICK = (Wait, Mark, Evict)
"""Steps for which a view that is moments old will do: they can be taken twice, and the API server guards budgets."""


def roll(tools: Tools, plan: RollPlan) -> Done:
    """Roll PLAN's pool to its end, or back; the lock must be held.

    Raises Stopped (with how to go on), Interrupted, and what the clients raise for what waiting does not mend.
    """
    plan, run, trouble, busy = replace(plan, began=tools.clock.now()), Run(), 0, tools.clock.now()
    while True:
        _check_interrupted(tools, plan)
        try:
            tools.lock.renew()
            thinks = time.thread_time()
            plan, view, step = _next(tools, plan, run)
            tools.say(_event(plan, view, step))
            _tell_bystanders(tools, plan, view, run)
            thought_s = time.thread_time() - thinks
            if isinstance(step, Done):
                return step
            if isinstance(step, Stop):
                raise Stopped(step.why, step.hint)
            if isinstance(step, Wait):
                rest(tools, step.seconds, thought_s)
            else:
                act(tools, plan, view, run, step)
            trouble, busy = 0, tools.clock.now()
        except (Busy, Unavailable) as error:
            # Whether an unanswered call was done shows in what is there: so look again, never send again.
            trouble += 1
            # GKE's other operations, an upgrade of another pool, say, take their time.
            late = (tools.clock.now() - busy).total_seconds() > plan.ready_timeout_s
            if trouble >= PATIENCE and (late or not isinstance(error, Busy)):
                raise
            run.read = None
            tools.say(RollEvent(tools.clock.now(), None, note=error.message))
            pause(tools, min(30.0, 2.0 * trouble))


def observe(tools: Tools, plan: RollPlan) -> RollView:
    """What is there now, for --status and before a roll; raises what the clients raise."""
    return look(tools, plan, Run(), fresh=True)


def _next(tools: Tools, plan: RollPlan, run: Run) -> tuple[RollPlan, RollView, Step]:
    """The next step and what it was decided from: for a step that matters, the server's own lists of this moment."""
    for fresh in (False, True):
        view = look(tools, plan, run, fresh)
        plan = replace(plan, back=goes_back(plan, view))
        step = decide(plan, view)
        if fresh or isinstance(step, QUICK):
            break
    run.waiting = (run.waiting or view.now) if isinstance(step, Wait) and step.limited else None
    return plan, view, step


def _tell_bystanders(tools: Tools, plan: RollPlan, view: RollView, run: Run) -> None:
    """Say once of each controller that a pod of its is not well, and that the roll goes on all the same."""
    source, target = _ends(plan, view)
    if not plan.gate or source is None or target is None:
        return
    for pod, why in bystanders(plan, view, source, target):
        if pod.family not in run.told:
            run.told.add(pod.family)
            tools.say(RollEvent(view.now, None, note=f"{pod}, which the roll has not moved, {why}", aside=True))


def _ends(plan: RollPlan, view: RollView) -> tuple[RollPool | None, RollPool | None]:
    """From where pods move, and where to."""
    return (view.new, view.old) if plan.back else (view.old, view.new)


def _check_interrupted(tools: Tools, plan: RollPlan) -> None:
    if tools.interrupted():
        raise Interrupted(
            f"stopped between two steps of the roll of {plan.pool}: nothing is half done",
            "run the same command again to go on, or --rollback to go back",
        )


def _event(plan: RollPlan, view: RollView, step: Any) -> RollEvent:
    source, target = _ends(plan, view)
    counts = {pool.name: 0 for pool in (source, target) if pool is not None}
    for node in view.nodes:
        counts[node.pool] = counts.get(node.pool, 0) + 1
    names_of = {node.name for node in view.nodes if source is not None and node.pool == source.name}
    left = sum(1 for pod in view.pods if pod.node in names_of and not pod.stays)
    return RollEvent(view.now, step, left, counts)
