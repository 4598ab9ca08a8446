"""A cluster in a few lines of plain data, on which steps of a roll are taken, with losses and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from random import Random

from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll import (
    CORDONED,
    OFF,
    UNREADY,
    Blocked,
    Cordon,
    Create,
    Delete,
    Done,
    Evict,
    Mark,
    Origin,
    RollNode,
    RollPlan,
    RollPod,
    RollPool,
    RollView,
    Scale,
    Scaling,
    Step,
    Stop,
    Uncordon,
)
from kubectl_imagecache.core.roll_decide import decide, goes_back

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

    def view(self, blocked: dict[str, Blocked]) -> RollView:
        new = next((pool for pool in self.pools.values() if pool.origin), None)
        return RollView(
            self.now,
            self.pools.get("web"),
            new,
            tuple(self.nodes.values()),
            tuple(self.pods.values()),
            (),
            {uid: held for uid, held in blocked.items() if uid in self.pods},
        )

    def fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def add_nodes(self, pool: RollPool) -> None:
        for _ in range(pool.size):
            name = self.fresh()
            self.nodes[name] = RollNode(name, pool.name, disks=frozenset(pool.disks))

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
        for name, pool in list(self.pools.items()):
            if pool.status == "PROVISIONING":
                self.pools[name] = replace(pool, status="ERROR" if self.broken_pool else "RUNNING")
                if not self.broken_pool:
                    self.add_nodes(pool)
            elif pool.status == "STOPPING" and self.random.random() < 0.5:
                self._remove(name)
        if "web" in self.pools and self.pools["web"].scaling.enabled and self.random.random() < 0.1:
            self.add_nodes(replace(self.pools["web"], size=1))

    def _remove(self, pool: str) -> None:
        del self.pools[pool]
        gone = {name for name, node in self.nodes.items() if node.pool == pool}
        self.lost_pods += [str(p) for p in self.pods.values() if p.node in gone and not p.stays]
        self.nodes = {name: node for name, node in self.nodes.items() if name not in gone}
        self.pods = {uid: pod for uid, pod in self.pods.items() if pod.node not in gone}

    def take(self, step: Step, plan: RollPlan, blocked: dict[str, Blocked], most: int) -> None:
        """Take STEP, but at most MOST of its single calls: then the process dies."""
        if most < 1:
            return
        if isinstance(step, Create):
            old = self.pools["web"]
            origin = Origin("web", "gke-c-web-1-grp", old.scaling, self.now, old.size)
            self.pools["web-r2"] = replace(old, name="web-r2", status="PROVISIONING", disks=(NEW,), origin=origin)
        elif isinstance(step, Scale):
            self.pools[step.pool] = replace(self.pools[step.pool], scaling=step.to)
        elif isinstance(step, Delete):
            self.pools[step.pool] = replace(self.pools[step.pool], status="STOPPING")
        elif isinstance(step, Evict):
            for pod in step.pods[:most]:
                self._evict(pod, blocked)
        elif isinstance(step, Cordon | Uncordon | Mark):
            for name in step.nodes[:most]:
                self._patch(name, step)
        self.most_pools = max(self.most_pools, len(self.pools))

    def _patch(self, name: str, step: Cordon | Uncordon | Mark) -> None:
        node, now = self.nodes[name], self.now.isoformat()
        if isinstance(step, Cordon):
            marks = {**node.marks, CORDONED: now, UNREADY: ",".join(step.unready.get(name, ()))}
            self.nodes[name] = replace(node, cordoned=True, marks=marks)
        elif isinstance(step, Mark):
            self.nodes[name] = replace(node, marks={**node.marks, step.mark: now})
        else:
            self.nodes[name] = replace(node, cordoned=False, marks={})

    def _evict(self, pod: RollPod, blocked: dict[str, Blocked]) -> None:
        if pod.uid not in self.pods:
            return
        owner = pod.owner_uid
        if pod.ready and self.ready(owner) - 1 < self.budgets.get(owner, 0):
            blocked[pod.uid] = Blocked("budget", self.now, self.now + timedelta(seconds=5))
            return
        self.pods[pod.uid] = replace(pod, leaving=True, ready=False)
        if self.ready(owner) < self.budgets.get(owner, 0) and pod.ready:
            self.below_budget.append(owner)


def run(cluster: Cluster, plan: RollPlan, crash_at: int, calls: int = 0) -> tuple[Step | None, RollPlan]:
    """Roll until the end, or until the process dies within the step number CRASH_AT (-1: never) after CALLS calls."""
    blocked: dict[str, Blocked] = {}
    plan = replace(plan, began=cluster.now)
    for number in range(3000):
        view = cluster.view(blocked)
        plan = replace(plan, back=goes_back(plan, view))
        step = decide(plan, view)
        if isinstance(step, Done | Stop):
            return step, plan
        if number == crash_at:
            cluster.take(step, plan, blocked, calls)
            cluster.pass_time(5)
            return None, plan
        cluster.take(step, plan, blocked, 1000)
        cluster.pass_time(5)
    raise AssertionError(f"no end: {step}")


def build(seed: int, nodes: int, owners: dict[str, tuple[int, int]], autoscaled: bool) -> Cluster:
    """NODES nodes, and for each owner its replicas and the least of its budget."""
    random = Random(seed)
    limits = Scaling(True, 1, 5) if autoscaled else OFF
    cluster = Cluster(random, limits, {owner: least for owner, (_, least) in owners.items()})
    pool = RollPool("web", "RUNNING", (OLD,), limits, nodes)
    cluster.pools["web"] = pool
    cluster.add_nodes(pool)
    for name in list(cluster.nodes):
        cluster.add_pod("agent", name)
    for owner, (replicas, _) in owners.items():
        for _ in range(replicas if nodes else 0):
            cluster.add_pod(owner, random.choice(list(cluster.nodes)))
    return cluster
