"""A roll in words: its checklist, its steps as lines, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kubectl_imagecache.core.roll import (
    Allow,
    Canary,
    ClassStep,
    Cordon,
    Create,
    Delete,
    Done,
    EditClass,
    Evict,
    Force,
    Forget,
    Grow,
    Mark,
    Remove,
    Repin,
    RollView,
    Scale,
    Step,
    Stop,
    Sweep,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_checks import Check
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.core.roll_marks import BACK, CORDONED, DRAINING, MOVED, SCALING, SOAKING
from kubectl_imagecache.render.text import count, cut, neutral, wrapped

_MARKS = {
    DRAINING: "empty {}",
    MOVED: "note whose pods came late to {}",
    SOAKING: "begin to soak: {}",
    BACK: "turn back: mark {}",
    SCALING: "note the autoscaling limits on {}",
}
_BAR = 24
MOST = 4
"""Names in one line."""


def checks_text(checks: Sequence[Check], cells: int | None = None) -> str:
    """The checklist for a screen of CELLS (None: no screen), what is meant beneath each check."""
    lines: list[str] = []
    for check in checks:
        lines += wrapped(neutral(check.text), f"{check.result.value:<7} {check.name + ':':<24} ", " " * 33, cells)
        # What can be pasted stays in one line.
        lines += [f"{'':<8}{neutral(detail)}" for detail in check.details]
    return "".join(f"{line}\n" for line in lines)


def checks_json(checks: Sequence[Check]) -> str:
    """The checklist as one event."""
    found = [{"name": c.name, "result": c.result.value, "text": c.text, "details": list(c.details)} for c in checks]
    return json.dumps({"kind": "preflight", "checks": found}) + "\n"


def words(step: Step | ClassStep) -> str:
    """What STEP does, in a few words."""
    if isinstance(step, EditClass):
        disk = step.disk.name if step.disk else "the cache disk that it had"
        return f"give ComputeClass {step.name} {disk}"
    if isinstance(step, Allow):
        return f"allow {_some([disk.name for disk in step.disks])} in the GCPResourceAllowlist"
    if isinstance(step, Create):
        return "create the new pool"
    if isinstance(step, Scale):
        to = step.to
        limits = f"{to.least}-{to.most} a zone" if to.most else f"{to.total_least}-{to.total_most} in all"
        return f"set autoscaling of {step.pool} to {limits}" if to.enabled else f"turn autoscaling of {step.pool} off"
    if isinstance(step, Mark):
        return _MARKS.get(step.mark, "mark {}").format(_some(step.nodes))
    if isinstance(step, Cordon):
        return f"cordon {_some(step.nodes)}"
    if isinstance(step, Uncordon):
        return f"uncordon {_some(step.nodes)}"
    if isinstance(step, Forget):
        return f"take our marks from {_some(step.nodes)}"
    if isinstance(step, Repin):
        return f"let {_some([str(pin) for pin in step.pins])} select {step.pool}"
    if isinstance(step, Evict):
        return f"evict {_some([str(pod) for pod in step.pods])}"
    if isinstance(step, Force):
        return f"DELETE, past their budgets, {_some([str(pod) for pod in step.pods])}"
    if isinstance(step, Grow):
        return f"grow {step.pool} to {step.per_zone} nodes a zone"
    if isinstance(step, Remove):
        return f"delete the emptied {_some(step.nodes)}"
    if isinstance(step, Canary):
        return f"run a pod of {step.image} on {step.node}"
    if isinstance(step, Sweep):
        return f"take away what ran on {_some(sorted(step.marks))} to measure"
    if isinstance(step, Delete):
        return f"delete {step.pool}"
    if isinstance(step, Wait):
        return f"wait: {step.why}"
    return step.why if isinstance(step, Stop) else step.what


def event_line(event: RollEvent) -> str:
    """An event as a line with its time."""
    what = _happens(event)
    left = f" ({event.pods_left} pods to move)" if event.pods_left and isinstance(event.step, Evict | Wait) else ""
    return neutral(f"{event.at:%H:%M:%S}  {what}{left}")


def _happens(event: RollEvent) -> str:
    if event.step is not None:
        return words(event.step)
    return f"{'note' if event.aside else 'try again'}: {event.note}"


def live_lines(event: RollEvent, most: int, cells: int) -> list[str]:
    """What is going on, in lines of at most CELLS: the step, and how many of the MOST pods have moved."""
    what = _happens(event)
    lines = [cut(neutral(f"{event.at:%H:%M:%S}  {what}"), cells)]
    pools = [f"{pool} {count(number, 'node')}" for pool, number in event.nodes.items()]
    if most and pools:
        share = (most - event.pods_left) / most
        bar = "#" * int(share * _BAR)
        lines.append(cut(f"          [{bar:.<{_BAR}}] {most - event.pods_left:,} of {count(most, 'pod')} moved", cells))
    if pools:
        lines.append(cut(neutral(f"          {' -> '.join(pools[:MOST])}"), cells))
    return lines


def standing(event: RollEvent) -> str:
    """How far the roll was at EVENT."""
    pools = ", ".join(f"{pool} {count(number, 'node')}" for pool, number in event.nodes.items())
    return f"{count(event.pods_left, 'pod')} to move, {pools}"


def event_json(event: RollEvent) -> str:
    """An event as a line of JSON."""
    kind = type(event.step).__name__.lower() if event.step is not None else "note" if event.aside else "retry"
    found: dict[str, Any] = {
        "kind": kind,
        "at": event.at.isoformat(),
        "text": words(event.step) if event.step is not None else event.note,
        "podsLeft": event.pods_left,
        "nodes": dict(event.nodes),
    }
    return json.dumps(found) + "\n"


def status_lines(view: RollView, step: Step | ClassStep, back: bool) -> list[tuple[str, str]]:
    """Where a roll stands, as names and values."""
    lines: list[tuple[str, str]] = []
    for role, pool in (("old pool", view.old), ("new pool", view.new)):
        if pool is None:
            lines.append((role, "none"))
            continue
        nodes = [node for node in view.nodes if node.pool == pool.name]
        on = {node.name for node in nodes}
        ready, shut = sum(node.ready for node in nodes), sum(node.cordoned for node in nodes)
        counts = f"{len(nodes)} nodes, {ready} Ready, {shut} cordoned"
        if view.old is not None and view.new is not None:  # Else pods were not looked at.
            counts += f", {sum(1 for pod in view.pods if pod.node in on and not pod.stays)} pods"
        disks = ", ".join(disk.name for disk in pool.disks) or "no cache disk"
        lines.append((role, f"{pool.name}: {pool.status}, {disks}, {counts}"))
    origin = view.new.origin if view.new else None
    if origin is not None:
        lines.append(("begun", origin.started.isoformat()))
        if origin.surge:
            lines.append(("batches", f"{origin.surge} nodes at a time, {origin.nodes} in all"))
    begun = any(CORDONED in node.marks for node in view.nodes)
    lines.append(("direction", "back" if back else "forward" if begun or origin else "not begun"))
    lines.append(("next", words(step)))
    return lines


def status_text(lines: Sequence[tuple[str, str]]) -> str:
    """Where a roll stands, to read."""
    return "".join(neutral(f"{name + ':':<11} {value}") + "\n" for name, value in lines)


def status_json(lines: Sequence[tuple[str, str]]) -> str:
    """Where a roll stands, as one JSON object."""
    return json.dumps({"kind": "status", **{name.replace(" ", "_"): value for name, value in lines}}) + "\n"


def done_json(done: Done) -> str:
    """The end, as an event."""
    return json.dumps({"kind": "end", "text": done.what, "back": done.back}) + "\n"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST])
    return shown if len(names) <= MOST else f"{shown} and {len(names) - MOST} more"
