"""The ways a roll can go, each with how it begins in a sandbox and what must be there at its end, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.roll import Done, Evict, Remove, RollPlan
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.core.surge import Surge
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.usecases.class_roll import roll_class
from kubectl_imagecache.usecases.roll import roll
from kubectl_imagecache.usecases.roll_tools import Interrupted, Tools
from tests.usecases.class_stage import NAME, class_note, class_stage, class_state, class_tools
from tests.usecases.roll_stage import NEW, OLD, SCALING, stage, state_of, tools

TIMEOUT_S = 0.6
"""For one answer, real time: shorter than what a slow server takes in tests."""
Roll = Callable[[Tools, RollPlan], Done]


@dataclass(frozen=True, slots=True)
class Way:
    """One way."""

    begin: Callable[[Sandbox, Path], Callable[[], Done]]
    """Set the stage, and go as far as is taken for granted; what it returns is the rest of the roll."""
    end: Done
    state: Callable[[Sandbox], dict[str, Any]]
    final: dict[str, Any]
    """What STATE is at the end."""


def _pool(plan: RollPlan, turns: type | None, sandbox: Sandbox, home: Path) -> Callable[[], Done]:
    """The roll of PLAN; TURNS: it goes back once it has taken such a step (Done: from its end)."""
    stage(sandbox, nodes=2 if plan.surge else 1)
    mine = tools(sandbox, [], home, timeout_s=TIMEOUT_S)
    return _rest(mine, plan, roll, turns)


def _class(turns: type | None, sandbox: Sandbox, home: Path) -> Callable[[], Done]:
    class_stage(sandbox, replicas=1)
    able = class_tools(sandbox, home, TIMEOUT_S)
    plan = RollPlan(f"class.{NAME}", NEW)
    return _rest(able.tools, plan, lambda mine, way: roll_class(replace(able, tools=mine), way), turns)


def _rest(mine: Tools, plan: RollPlan, run: Roll, turns: type | None) -> Callable[[], Done]:
    if turns is None:
        return lambda: run(mine, plan)
    seen: list[RollEvent] = []
    halted = replace(mine, say=seen.append, interrupted=lambda: any(isinstance(one.step, turns) for one in seen[:-1]))
    with pytest.raises(Interrupted) if turns is not Done else nullcontext():
        run(halted, plan)
    return lambda: run(mine, RollPlan(plan.pool, back=True))


def _pools(sandbox: Sandbox) -> dict[str, Any]:
    nodes = [node for node in sandbox.kube.objects("Node") if "-web-" in node["metadata"]["name"]]
    marked = sum("kubectl-imagecache/" in str(node["metadata"].get("annotations")) for node in nodes)
    return {**state_of(sandbox), "nodes": len(nodes), "marked": marked}


def _classes(sandbox: Sandbox) -> dict[str, Any]:
    return {**class_state(sandbox), **class_note(sandbox)}


def _pool_end(name: str, disk: str, nodes: int) -> dict[str, Any]:
    pools = {name: ("RUNNING", SCALING, disk)}
    return {"pools": pools, "pods": {name: 3}, "cordoned": [], "nodes": nodes, "marked": 0}


def _class_end(disk: str, back: bool) -> dict[str, Any]:
    said = {"to": [disk], "back": back, "allowed": [f"projects/{NEW.project}/global/images/{NEW.name}"]}
    return {"class": [[disk]], "nodes": [disk], "pods": 1, "cordoned": 0, "marks": 0, **said}


THERE, BATCHES = RollPlan("web", NEW), RollPlan("web", NEW, surge=Surge(1))
ROLLED, AS_IT_WAS = Done("web is replaced by web-r2"), Done("web is as it was", back=True)
_HAS = f"ComputeClass {NAME} has {{}}, and so have its nodes"
CLASS_ROLLED, CLASS_AS_IT_WAS = Done(_HAS.format(NEW.name)), Done(_HAS.format(OLD.name), back=True)
WAYS = {
    "pool": Way(partial(_pool, THERE, None), ROLLED, _pools, _pool_end("web-r2", str(NEW), 1)),
    "pool-back": Way(partial(_pool, THERE, Evict), AS_IT_WAS, _pools, _pool_end("web", str(OLD), 1)),
    "batches": Way(partial(_pool, BATCHES, None), ROLLED, _pools, _pool_end("web-r2", str(NEW), 2)),
    "batches-back": Way(partial(_pool, BATCHES, Remove), AS_IT_WAS, _pools, _pool_end("web", str(OLD), 2)),
    "class": Way(partial(_class, None), CLASS_ROLLED, _classes, _class_end(NEW.name, back=False)),
    "class-back": Way(partial(_class, Done), CLASS_AS_IT_WAS, _classes, _class_end(OLD.name, back=True)),
    "class-turned": Way(partial(_class, Evict), CLASS_AS_IT_WAS, _classes, _class_end(OLD.name, back=True)),
}
