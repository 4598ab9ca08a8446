"""A cluster in a few lines of plain data, on which steps of a roll are taken, with losses and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from random import Random

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    OFF,
    Blocked,
    Canary,
    Cordon,
    Create,
    Delete,
    Done,
    Evict,
    Force,
    Forget,
    Grow,
    Mark,
    Origin,
    Remove,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Scale,
    Scaling,
    Step,
    Stop,
    Sweep,
    Uncordon,
    Wait,
)
from kubectl_imagecache.core.roll_decide import decide, goes_back
from kubectl_imagecache.core.roll_marks import CANARY, CORDONED, PROVEN, REMOVING, SCALING, TRYING, UNREADY
from kubectl_imagecache.core.roll_pool import held, packed
from kubectl_imagecache.core.surge import first_batch

START = datetime(2026, 1, 15, 9, tzinfo=timezone.utc)
OLD, NEW = DiskImageRef("p", "cache-1"), DiskImageRef("p", "cache-2")


@dataclass(slots=True)
class Cluster:
    """Pools, nodes and pods; each controller has a number of replicas and a least number that its budget wants."""

    random: Random
    limits: Scaling
    budgets: dict[str, int]
    """Owner -> Ready pods that must stay."""
    pods: dict[str, RollPod] = field(default_factory=dict)
    nodes: dict[str, RollNode] = field(default_factory=dict)
    pools: dict[str, RollPool] = field(default_factory=dict)
    now: datetime = START
    count: int = 0
    broken_pool: bool = False
    """The new pool fails."""
    lost_pods: list[str] = field(default_factory=list)
    """Workload pods that went down with a pool: there must be none."""
    below_budget: list[str] = field(default_factory=list)
    most_pools: int = 1
    dying: dict[str, bool] = field(default_factory=dict)
    """Nodes of which the deletion was asked for."""
    zones: int = 1
    most_nodes: int = 0
    fewest_open: int = 10**6
    """Ready nodes that took pods, at the worst."""
    canaries: set[str] = field(default_factory=set)
    """Nodes with a pod that measures a pull."""
    slow_canary: bool = False
    forced: set[str] = field(default_factory=set)
    """Pods deleted past their budgets."""

    def view(self, blocked: dict[str, Blocked], waiting: datetime | None = None) -> RollView:
        new = next((pool for pool in self.pools.values() if pool.origin), None)
        return RollView(
            self.now,
            self.pools.get("web"),
            new,
            tuple(self.nodes.values()),
            tuple(self.pods.values()),
            (),
            {uid: held for uid, held in blocked.items() if uid in self.pods},
            waiting,
        )

    def fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def add_nodes(self, pool: RollPool) -> None:
        """As many as POOL wants and are not there."""
        for zone, wanted in enumerate(pool.sizes):
            there = sum(node.pool == pool.name and node.zone == f"z{zone}" for node in self.nodes.values())
            for _ in range(wanted - there):
                name = self.fresh()
                self.nodes[name] = RollNode(name, pool.name, disks=frozenset(pool.disks), zone=f"z{zone}")

    def add_pod(self, owner: str, node: str, ready: bool = True) -> None:
        name = self.fresh()
        kind = "DaemonSet" if owner == "agent" else "ReplicaSet"
        self.pods[name] = RollPod("ns", name, name, node, kind, owner, self.now, ready)

    def ready(self, owner: str) -> int:
        return sum(p.ready and not p.leaving for p in self.pods.values() if p.owner_uid == owner)

    def pass_time(self, seconds: float) -> None:
        """Controllers, scheduler and kubelets do their work, one move at a time."""
        self.now += timedelta(seconds=seconds)
        for uid in [uid for uid, pod in self.pods.items() if pod.leaving and self.random.random() < 0.6]:
            owner = self.pods.pop(uid).owner_uid
            self.add_pod(owner, "", ready=False)
        room = [node.name for node in self.nodes.values() if not node.cordoned and node.ready]
        for uid, pod in list(self.pods.items()):
            if not pod.node and room:
                self.pods[uid] = replace(pod, node=self.random.choice(room))
            elif pod.node and not pod.ready and self.random.random() < 0.7:
                self.pods[uid] = replace(pod, ready=True)
        for name, node in list(self.nodes.items()):
            since = node.marks.get(REMOVING)
            if since and self.dying.get(name) and self.random.random() < 0.4:
                self._take_node(name)
        for name, pool in list(self.pools.items()):
            if pool.status == "RECONCILING" and self.random.random() < 0.5:
                self.pools[name] = replace(pool, status="RUNNING")
                self.add_nodes(pool)
            elif pool.status == "PROVISIONING":
                self.pools[name] = replace(pool, status="ERROR" if self.broken_pool else "RUNNING")
                if not self.broken_pool:
                    self.add_nodes(pool)
            elif pool.status == "STOPPING" and self.random.random() < 0.5:
                self._remove(name)
        old = self.pools.get("web")
        if old and old.scaling.enabled and old.status == "RUNNING" and self.random.random() < 0.1:
            self.pools["web"] = self.sized(old, (old.sizes[0] + 1, *old.sizes[1:]))
            self.add_nodes(self.pools["web"])
        self.most_nodes = max(self.most_nodes, len(self.nodes))

    @staticmethod
    def sized(pool: RollPool, sizes: tuple[int, ...]) -> RollPool:
        return replace(pool, sizes=sizes, size=sum(sizes))

    def open_nodes(self) -> int:
        return sum(node.ready and not node.cordoned for node in self.nodes.values())

    def _take_node(self, name: str) -> None:
        node = self.nodes.pop(name)
        self.lost_pods += [str(p) for p in self.pods.values() if p.node == name and not p.stays]
        self.pods = {uid: pod for uid, pod in self.pods.items() if pod.node != name}
        self.canaries.discard(name)
        self.dying.pop(name, None)
        pool = self.pools[node.pool]
        zone = int(node.zone[1:])
        sizes = tuple(size - (number == zone) for number, size in enumerate(pool.sizes))
        self.pools[node.pool] = self.sized(pool, sizes)

    def lose_new_pool(self) -> None:
        """Somebody deletes the new pool by hand; its pods are made again."""
        if "web-r2" not in self.pools or "web" not in self.pools:
            return
        gone = [pod for pod in self.pods.values() if self._pool_of(pod) == "web-r2"]
        self.pods = {pod.uid: pod for pod in self.pods.values() if pod not in gone}
        for pod in gone:
            if not pod.stays:
                self.add_pod(pod.owner_uid, "", ready=False)
        self._remove("web-r2")

    def _pool_of(self, pod: RollPod) -> str:
        return self.nodes[pod.node].pool if pod.node in self.nodes else ""

    def _remove(self, pool: str) -> None:
        del self.pools[pool]
        gone = {name for name, node in self.nodes.items() if node.pool == pool}
        self.canaries -= gone
        self.lost_pods += [str(p) for p in self.pods.values() if p.node in gone and not p.stays]
        self.nodes = {name: node for name, node in self.nodes.items() if name not in gone}
        self.pods = {uid: pod for uid, pod in self.pods.items() if pod.node not in gone}

    def take(self, step: Step, plan: RollPlan, blocked: dict[str, Blocked], most: int) -> None:
        """Take STEP, but at most MOST of its single calls: then the process dies."""
        if most < 1:
            return
        if isinstance(step, Create):
            self._create(plan)
        elif isinstance(step, Scale):
            self.pools[step.pool] = replace(self.pools[step.pool], scaling=step.to)
        elif isinstance(step, Delete):
            self.pools[step.pool] = replace(self.pools[step.pool], status="STOPPING")
        elif isinstance(step, Evict):
            for pod in step.pods[:most]:
                self._evict(pod, blocked)
        elif isinstance(step, Force):
            for pod in step.pods[:most]:
                if pod.uid in self.pods:
                    self.forced.add(pod.uid)
                    self.pods[pod.uid] = replace(pod, leaving=True, ready=False)
        elif isinstance(step, Grow):
            pool = self.pools[step.pool]
            sizes = (step.per_zone,) * self.zones
            assert all(now <= then for now, then in zip(pool.sizes, sizes, strict=True)), "a zone would lose nodes"
            assert not pool.scaling.enabled
            self.pools[step.pool] = replace(self.sized(pool, sizes), status="RECONCILING")
        elif isinstance(step, Remove):
            for name, marks in step.also.items():
                for mark, value in marks.items():
                    self._note(name, mark, value)
            for name in step.nodes[:most]:
                self._note(name, REMOVING, self.now.isoformat())
            if most > len(step.nodes):
                self.dying |= dict.fromkeys(step.nodes, True)
        elif isinstance(step, Canary):
            self._note(step.node, CANARY, f"{TRYING} {step.image}")
            if most > 1:
                self.canaries.add(step.node)
            if most > 2 and not self.slow_canary:
                self._note(step.node, CANARY, f"{PROVEN} {step.image}")
            if most > 2 and self.slow_canary:
                self.canaries.clear()
        elif isinstance(step, Sweep):
            self.canaries.clear()
            for name, mark in list(step.marks.items())[: most - 1]:
                self._note(name, CANARY, mark)
        elif isinstance(step, Forget):
            for name in step.nodes[:most]:
                self.nodes[name] = replace(self.nodes[name], marks={})
        elif isinstance(step, Cordon | Uncordon | Mark):
            for name in step.nodes[:most]:
                self._patch(name, step)
        self.most_pools = max(self.most_pools, len(self.pools))
        if len(self.pools) > 1:
            self.fewest_open = min(self.fewest_open, self.open_nodes())

    def _create(self, plan: RollPlan) -> None:
        old = self.pools["web"]
        per_zone, nodes, surge = max(old.sizes), max(old.sizes) * self.zones, 0
        if plan.surge is not None:
            per_zone, nodes = first_batch(plan.surge, old.size, self.zones), old.size
            surge = max(1, per_zone) * self.zones
        origin = Origin("web", "gke-c-web-1-grp", old.scaling, self.now, nodes, surge)
        made = replace(old, name="web-r2", status="PROVISIONING", disks=(NEW,), origin=origin)
        made = replace(made, scaling=held(origin, self.zones))
        self.pools["web-r2"] = self.sized(made, (per_zone,) * self.zones)

    def _note(self, name: str, mark: str, value: str) -> None:
        node = self.nodes.get(name)
        if node is not None:
            marks = {key: text for key, text in {**node.marks, mark: value}.items() if text}
            self.nodes[name] = replace(node, marks=marks)

    def _patch(self, name: str, step: Cordon | Uncordon | Mark) -> None:
        node, now = self.nodes[name], self.now.isoformat()
        if isinstance(step, Cordon):
            marks = {**node.marks, CORDONED: now, UNREADY: ",".join(step.unready.get(name, ()))}
            if step.scaling != OFF:
                marks[SCALING] = packed(step.scaling)
            self.nodes[name] = replace(node, cordoned=True, marks=marks)
        elif isinstance(step, Mark):
            self.nodes[name] = replace(node, marks={**node.marks, step.mark: now, **step.also.get(name, {})})
        else:
            self.nodes[name] = replace(node, cordoned=False, marks={})

    def _evict(self, pod: RollPod, blocked: dict[str, Blocked]) -> None:
        if pod.uid not in self.pods:
            return
        owner = pod.owner_uid
        if pod.ready and self.ready(owner) - 1 < self.budgets.get(owner, 0):
            since = blocked[pod.uid].since if pod.uid in blocked else self.now
            blocked[pod.uid] = Blocked("budget", since, self.now + timedelta(seconds=5))
            return
        self.pods[pod.uid] = replace(pod, leaving=True, ready=False)
        if self.ready(owner) < self.budgets.get(owner, 0) and pod.ready:
            self.below_budget.append(owner)


def run(cluster: Cluster, plan: RollPlan, crash_at: int, calls: int = 0) -> tuple[Step | None, RollPlan]:
    """Roll until the end, or until the process dies within the step number CRASH_AT (-1: never) after CALLS calls."""
    blocked: dict[str, Blocked] = {}
    plan, waiting = replace(plan, began=cluster.now), None
    for number in range(3000):
        view = cluster.view(blocked, waiting)
        plan = replace(plan, back=goes_back(plan, view))
        step = decide(plan, view)
        waiting = (waiting or cluster.now) if isinstance(step, Wait) and step.limited else None
        if isinstance(step, Done | Stop):
            return step, plan
        if number == crash_at:
            cluster.take(step, plan, blocked, calls)
            cluster.pass_time(5)
            return None, plan
        cluster.take(step, plan, blocked, 1000)
        if isinstance(step, Canary) and cluster.slow_canary:
            return Stop("the canary is slow", "go back"), plan
        # Windows are days apart.
        cluster.pass_time(max(5, step.seconds) if isinstance(step, Wait) else 5)
    raise AssertionError(f"no end: {step}")


def build(seed: int, sizes: tuple[int, ...], owners: dict[str, tuple[int, int]], autoscaled: bool) -> Cluster:
    """SIZES nodes, zone by zone, and for each owner its replicas and the least of its budget."""
    random = Random(seed)
    limits = Scaling(True, 1, 5) if autoscaled else OFF
    cluster = Cluster(random, limits, {owner: least for owner, (_, least) in owners.items()}, zones=len(sizes))
    pool = cluster.sized(RollPool("web", "RUNNING", (OLD,), limits, zones=len(sizes)), sizes)
    cluster.pools["web"] = pool
    cluster.add_nodes(pool)
    for name in list(cluster.nodes):
        cluster.add_pod("agent", name)
    for owner, (replicas, _) in owners.items():
        for _ in range(replicas if sum(sizes) else 0):
            cluster.add_pod(owner, random.choice(list(cluster.nodes)))
    return cluster
