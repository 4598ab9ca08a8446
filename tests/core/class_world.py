"""A cluster with a ComputeClass in a few lines of plain data, on which steps of its roll are taken, with crashes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.class_roll import ClassView, changed, decide, goes_back
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    Allow,
    Blocked,
    ClassStep,
    Cordon,
    Done,
    EditClass,
    Evict,
    Mark,
    RollNode,
    RollPlan,
    RollPod,
    Step,
    Stop,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_marks import CORDONED, UNREADY

START = datetime(2026, 1, 15, 9, tzinfo=timezone.utc)
OLD, NEW = DiskImageRef("p", "cache-1"), DiskImageRef("p", "cache-2")
CACHE = "CONTAINER_IMAGE_CACHE"


def rule(*disks: str) -> dict[str, Any]:
    found = [{"diskImageName": name, "mode": CACHE} for name in disks]
    return {"machineFamily": "n2"} | ({"storage": {"secondaryBootDisks": found}} if found else {})


@dataclass(slots=True)
class World:
    """A class, its nodes and pods, an autoscaler; the autoscaler makes a node for a pod that finds no room."""

    random: Random
    budgets: dict[str, int]
    """Owner -> Ready pods that must stay."""
    found: dict[str, Any]
    spec: dict[str, Any]
    """The class's, at first."""
    nodes: dict[str, RollNode] = field(default_factory=dict)
    pods: dict[str, RollPod] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    now: datetime = START
    count: int = 0
    below_budget: list[str] = field(default_factory=list)
    refused: bool = False
    """A node was not made because no allowlist names its disk image."""
    meddled: list[str] = field(default_factory=list)
    """Nodes with the class's present disk that were cordoned."""

    def view(self, blocked: dict[str, Blocked]) -> ClassView:
        allowlists = ({"spec": {"allowedResourcePatterns": list(self.patterns)}},)
        return ClassView(
            self.now,
            "models",
            copy.deepcopy(self.found),
            "p",
            tuple(self.nodes.values()),
            tuple(self.pods.values()),
            (),
            allowlists,
            {uid: held for uid, held in blocked.items() if uid in self.pods},
        )

    def fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def disks(self) -> frozenset[DiskImageRef]:
        """Those that new nodes get."""
        return frozenset(classes.cache_disks(classes.rules(self.found)[0], "p"))

    def meddle(self, what: str) -> None:
        """Somebody else, or bad luck: `revert` the rules, `forget` the note, `repair` a node, `sicken` a pod."""
        if what == "revert":
            self.found["spec"] = copy.deepcopy(self.spec)
        elif what == "forget":
            self.found["metadata"].pop("annotations", None)
        elif what == "repair" and self.nodes:
            name = self.random.choice(list(self.nodes))
            self.nodes[name] = replace(self.nodes[name], cordoned=False, marks={})
        elif what == "sicken" and self.pods:
            uid = self.random.choice(list(self.pods))
            self.pods[uid] = replace(self.pods[uid], ready=False, trouble="CrashLoopBackOff")

    def heal(self) -> None:
        """Mend the cause of all trouble."""
        self.pods = {uid: replace(pod, trouble="") for uid, pod in self.pods.items()}

    def add_node(self) -> None:
        disks = self.disks()
        if not all(classes.allowed(disk, ({"spec": {"allowedResourcePatterns": self.patterns}},)) for disk in disks):
            self.refused = True
            return
        name = self.fresh()
        self.nodes[name] = RollNode(name, "nap", disks=disks, created=self.now)

    def add_pod(self, owner: str, node: str = "", ready: bool = False) -> None:
        name = self.fresh()
        self.pods[name] = RollPod("ns", name, name, node, "ReplicaSet", owner, self.now, ready, selects_class="models")

    def ready(self, owner: str) -> int:
        return sum(pod.ready and not pod.leaving for pod in self.pods.values() if pod.owner_uid == owner)

    def pass_time(self, seconds: float) -> None:
        """Controllers, scheduler, kubelets and autoscaler do their work, one move at a time."""
        self.now += timedelta(seconds=seconds)
        for uid in [uid for uid, pod in self.pods.items() if pod.leaving and self.random.random() < 0.6]:
            self.add_pod(self.pods.pop(uid).owner_uid)
        for uid, pod in list(self.pods.items()):
            room = [
                node.name
                for node in self.nodes.values()
                if not node.cordoned and sum(p.node == node.name for p in self.pods.values()) < 2
            ]
            if not pod.node and room:
                self.pods[uid] = replace(pod, node=self.random.choice(room))
            elif not pod.node:
                self.add_node()
            elif not pod.ready and not pod.trouble and self.random.random() < 0.7:
                self.pods[uid] = replace(pod, ready=True)
        for name in [name for name in self.nodes if not any(pod.node == name for pod in self.pods.values())]:
            if self.random.random() < 0.5:
                del self.nodes[name]

    def take(self, step: Step | ClassStep, blocked: dict[str, Blocked], most: int) -> None:
        """Take STEP, but die after MOST of its calls."""
        if isinstance(step, EditClass) and most:
            edit = changed(self.view({}), step)
            self.found["metadata"] = {**self.found["metadata"], "annotations": edit["metadata"]["annotations"]}
            self.found["spec"] = {**self.found["spec"], **edit.get("spec", {})}
        elif isinstance(step, Allow) and most:
            self.patterns += [classes.exactly(disk) for disk in step.disks]
        elif isinstance(step, Cordon | Uncordon | Mark):
            for name in [name for name in step.nodes if name in self.nodes][:most]:
                node = self.nodes[name]
                if isinstance(step, Cordon) and node.disks and node.disks <= self.disks():
                    self.meddled.append(name)
                self.nodes[name] = self._marked(step, node)
        elif isinstance(step, Evict):
            for pod in step.pods[:most]:
                self._evict(pod, blocked)

    def _marked(self, step: Cordon | Uncordon | Mark, node: RollNode) -> RollNode:
        now = self.now.isoformat()
        if isinstance(step, Uncordon):
            return replace(node, cordoned=False, marks={})
        if isinstance(step, Mark):
            return replace(node, marks={**node.marks, step.mark: now, **step.also.get(node.name, {})})
        unready = ",".join(step.unready.get(node.name, ()))
        return replace(node, cordoned=True, marks={CORDONED: now, **({UNREADY: unready} if unready else {})})

    def _evict(self, pod: RollPod, blocked: dict[str, Blocked]) -> None:
        here = self.pods.get(pod.uid)
        if here is None or here.leaving:
            return
        least = self.budgets.get(pod.owner_uid, 0)
        if here.ready and self.ready(pod.owner_uid) - 1 < least:
            blocked[pod.uid] = Blocked("budget", self.now, self.now + timedelta(seconds=5))
            return
        self.pods[pod.uid] = replace(here, leaving=True, ready=False)
        if here.ready and self.ready(pod.owner_uid) < least:
            self.below_budget.append(pod.owner_uid)


def run(world: World, plan: RollPlan, crash_at: int, calls: int = 0) -> Step | ClassStep | None:
    """Roll until the end, or until the process dies within the step number CRASH_AT (-1: never) after CALLS calls."""
    blocked: dict[str, Blocked] = {}
    plan = replace(plan, began=world.now)
    for number in range(2000):
        view = world.view(blocked)
        plan = replace(plan, back=goes_back(plan, view))
        step = decide(plan, view)
        if isinstance(step, Done | Stop):
            return step
        world.take(step, blocked, calls if number == crash_at else 1000)
        # Windows are days apart.
        world.pass_time(max(5, step.seconds) if isinstance(step, Wait) else 5)
        if number == crash_at:
            return None
    raise AssertionError(f"no end: {step}")


def build(seed: int, owners: dict[str, tuple[int, int]], cached: bool) -> World:
    """For each owner its replicas and the least of its budget; CACHED: the class has a cache disk already."""
    rules = [rule(OLD.name) if cached else rule()]
    found: dict[str, Any] = {"metadata": {"name": "models"}, "spec": {"priorities": rules}}
    budgets = {owner: least for owner, (_, least) in owners.items()}
    world = World(
        Random(seed),
        budgets,
        found,
        copy.deepcopy(found["spec"]),
        patterns=[classes.exactly(OLD)],
        now=START - timedelta(hours=1),
    )
    for owner, (replicas, _) in owners.items():
        for _ in range(replicas):
            world.add_pod(owner)
    for _ in range(60):
        world.pass_time(30)
    world.now = START
    return world
