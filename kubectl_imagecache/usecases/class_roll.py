"""`roll --compute-class`: observe, decide, take one step, and observe again, until a class's nodes have its disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubectl_imagecache.clients.kube.classes import ClassKube
from kubectl_imagecache.core import class_roll as core
from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.core.errors import Busy, Unavailable
from kubectl_imagecache.core.roll import Action, Allow, ClassStep, Done, EditClass, RollPlan, Step, Stop, Wait
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.usecases.roll import PATIENCE, QUICK
from kubectl_imagecache.usecases.roll_act import act
from kubectl_imagecache.usecases.roll_tools import Interrupted, Run, Stopped, Tools, pause, rest


@dataclass(frozen=True, slots=True)
class ClassTools:
    """What the roll of a ComputeClass works with."""

    tools: Tools
    classes: ClassKube
    name: str
    """The class."""
    project: str
    """The cluster's."""


def roll_class(able: ClassTools, plan: RollPlan) -> Done:
    """Roll the class to its end, or back; the lock must be held.

    Raises Stopped (with how to go on), Interrupted, FieldConflict, and what the clients raise.
    """
    tools = able.tools
    plan, run, trouble = replace(plan, began=tools.clock.now()), Run(), 0
    while True:
        if tools.interrupted():
            raise Interrupted(
                f"stopped between two steps of the roll of ComputeClass {able.name}: nothing is half done",
                "run the same command again to go on, or --rollback to go back",
            )
        try:
            tools.lock.renew()
            plan, view, step = _next(able, plan, run)
            tools.say(_event(view, step))
            if isinstance(step, Done):
                return step
            if isinstance(step, Stop):
                raise Stopped(step.why, step.hint)
            _take(able, plan, view, run, step)
            trouble = 0
        except (Busy, Unavailable) as error:
            # Whether an unanswered call was done shows in what is there: so look again, never send again.
            trouble += 1
            if trouble >= PATIENCE:
                raise
            tools.say(RollEvent(tools.clock.now(), None, note=error.message))
            pause(tools, min(30.0, 2.0 * trouble))


def _next(able: ClassTools, plan: RollPlan, run: Run) -> tuple[RollPlan, core.ClassView, Step | ClassStep]:
    """The next step and what it was decided from: for a step that matters, the server's own lists of this moment."""
    for fresh in (False, True):
        view = _look(able, run, fresh)
        plan = replace(plan, back=core.goes_back(plan, view))
        step = core.decide(plan, view)
        if fresh or isinstance(step, QUICK):
            break
    return plan, view, step


def _take(able: ClassTools, plan: RollPlan, view: core.ClassView, run: Run, step: Wait | Action | ClassStep) -> None:
    if isinstance(step, Wait):
        rest(able.tools, step.seconds)
        return
    able.tools.lock.renew()
    if isinstance(step, EditClass):
        able.classes.apply_class(core.changed(view, step))
    elif isinstance(step, Allow):
        able.classes.allow(step.disks, view.allowlists or ())
    else:
        act(able.tools, plan, core.split(plan, view)[0], run, step)


def observe_class(able: ClassTools) -> core.ClassView:
    """What is there now, for --status and before a roll; raises what the clients raise."""
    return _look(able, Run(), fresh=True)


def _look(able: ClassTools, run: Run, fresh: bool) -> core.ClassView:
    """What is there now; unless FRESH, nodes and pods are moments old, and nothing is said of pins."""
    kube = able.tools.kube
    found, allowlists = able.classes.compute_class(able.name), able.classes.allowlists()
    if fresh:
        nodes, pods = able.classes.nodes(able.name), kube.pods()
    else:
        nodes, pods = kube.seen(f"{CLASS_LABEL}={able.name}")
    alive = {pod.uid for pod in pods}
    run.blocked = {uid: held for uid, held in run.blocked.items() if uid in alive}
    view = core.ClassView(
        now=able.tools.clock.now(),
        name=able.name,
        found=found,
        project=able.project,
        nodes=tuple(nodes),
        pods=tuple(pods),
        allowlists=allowlists,
        blocked=dict(run.blocked),
    )
    # Pins are mended before the first cordon, so once all is cordoned there is nothing to look for.
    open_nodes = found is not None and any(not node.cordoned for node in core.old_nodes(view))
    return replace(view, pins=tuple(kube.pins())) if fresh and open_nodes else view


def _event(view: core.ClassView, step: Step | ClassStep) -> RollEvent:
    going = {node.name for node in core.old_nodes(view)}
    left = sum(1 for pod in view.pods if pod.node in going and not pod.stays)
    counts = {"old": len(going), "new": len(view.nodes) - len(going)}
    return RollEvent(view.now, step, left, counts)
