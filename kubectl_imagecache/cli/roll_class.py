"""`roll --compute-class`: the flags' meaning for a ComputeClass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from kubectl_imagecache.cli.roll import Choice, fits, warn_of_force, work
from kubectl_imagecache.cli.roll_progress import Reporter
from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.clients.kube.classes import ClassKube
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.core.class_roll import decide, goes_back, split
from kubectl_imagecache.core.errors import BadUsage, NotFound
from kubectl_imagecache.core.roll import Done, RollPlan
from kubectl_imagecache.render.emit_yaml import rolled_class
from kubectl_imagecache.render.roll import status_json, status_lines, status_text
from kubectl_imagecache.usecases.class_preflight import preflight_class
from kubectl_imagecache.usecases.class_roll import ClassTools, observe_class, roll_class
from kubectl_imagecache.usecases.roll_tools import Tools


def run_class(
    tools: Tools, transport: Transport, compute: Compute, plan: RollPlan, choice: Choice, reporter: Reporter
) -> int:
    """Do with the ComputeClass what CHOICE says; the exit code. Raises what the use cases raise."""
    classes = ClassKube(transport, choice.force_conflicts)
    able = ClassTools(tools, classes, choice.compute_class, tools.gke.target.project)
    if choice.emit:
        return _emit(able, plan, choice.emit)
    if choice.show:
        return _show(able, plan, choice)
    view = observe_class(able)
    back = goes_back(plan, view)
    checked = choice.dry_run or (plan.disk is not None and not back)
    if checked and not fits(preflight_class(able, compute, plan, choice.force_conflicts), choice):
        return 5
    if choice.dry_run:
        return 0
    warn_of_force(plan)
    where = "back to the former disk image of" if back else "off the old nodes of"
    question = f"Move all pods {where} ComputeClass {able.name} now?"
    # What is urgent is not for the next window.
    urgent = replace(plan, back=True, disk=None, windows=(), not_after=None)

    def run(way: RollPlan) -> Callable[[Tools], Done]:
        return lambda held: roll_class(replace(able, tools=held), way)

    return work(tools, choice, reporter, question, run(plan), None if back else run(urgent))


def _emit(able: ClassTools, plan: RollPlan, form: str) -> int:
    if form != "computeclass":
        raise BadUsage("a ComputeClass can be printed as a ComputeClass alone", "add --emit computeclass")
    if plan.disk is None:
        raise BadUsage("no disk image is named", "name it with --disk-image")
    found = able.classes.compute_class(able.name)
    if found is None:
        raise NotFound(f"there is no ComputeClass {able.name}", "see them with: kubectl get computeclasses")
    sys.stdout.write(rolled_class(found, plan.disk))
    return 0


def _show(able: ClassTools, plan: RollPlan, choice: Choice) -> int:
    view = observe_class(able)
    if view.found is None:
        raise NotFound(f"there is no ComputeClass {able.name}", "see them with: kubectl get computeclasses")
    back = goes_back(plan, view)
    step = decide(replace(plan, back=back), view)
    lines = status_lines(split(plan, view)[0], step, back)
    sys.stdout.write(status_json(lines) if choice.json else status_text(lines))
    return 0
