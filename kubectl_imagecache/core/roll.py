"""What a roll is made of: the two pools, their nodes and pods as they are now, and the steps that can be taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kubectl_imagecache.core.pins import Pin
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.surge import Surge
from kubectl_imagecache.core.windows import Window

_REVISIONS = ("pod-template-hash", "rollouts-pod-template-hash")
"""Pod labels by which Deployments, and Rollouts of Argo's, tell their ReplicaSets apart."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """A pool's autoscaling limits."""

    enabled: bool = False
    least: int = 0
    """minNodeCount, a zone."""
    most: int = 0
    """maxNodeCount, a zone."""
    total_least: int = 0
    """totalMinNodeCount."""
    total_most: int = 0
    """totalMaxNodeCount."""
    policy: str = ""
    """locationPolicy: BALANCED, ANY; empty is GKE's default."""


OFF = Scaling()


@dataclass(frozen=True, slots=True)
class Origin:
    """What the new pool's resource labels say: set in the call that creates it, and never changed."""

    pool: str
    """The pool that it replaces."""
    group: str
    """One of that pool's instance groups: its name tells the pool from a later one of the same name."""
    scaling: Scaling
    """That pool's limits before the roll."""
    started: datetime
    nodes: int
    """How many it was created with; in batches: how many that pool had."""
    surge: int = 0
    """In batches of so many nodes; 0: all at once."""


@dataclass(frozen=True, slots=True)
class RollPool:
    """A node pool as far as a roll looks at it."""

    name: str
    status: str
    """GKE's: PROVISIONING, RUNNING, RUNNING_WITH_ERROR, RECONCILING, STOPPING, ERROR."""
    disks: tuple[DiskImageRef, ...] = ()
    """In mode CONTAINER_IMAGE_CACHE."""
    scaling: Scaling = OFF
    size: int = 0
    """Nodes that its instance groups want."""
    sizes: tuple[int, ...] = ()
    """The same, zone by zone."""
    zones: int = 1
    message: str = ""
    """GKE's statusMessage."""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class RollNode:
    """A node of one of the two pools."""

    name: str
    pool: str
    ready: bool = True
    cordoned: bool = False
    """spec.unschedulable."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Those of its annotations that are ours."""
    disks: frozenset[DiskImageRef] = frozenset()
    """From its cache-disk labels."""
    zone: str = ""
    created: datetime | None = None
    arch: str = ""
    """amd64, arm64; empty is unknown."""


def family(namespace: str, owner_kind: str, owner: str) -> str:
    """What pods of one OWNER (a ReplicaSet's: of what rolls it out) have in common, short enough for an annotation."""
    return hashlib.sha256(f"{namespace}/{owner_kind}/{owner}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class RollPod:
    """A pod on one of those nodes, or on none yet."""

    namespace: str
    name: str
    uid: str
    node: str
    """Empty: not scheduled."""
    owner_kind: str = ""
    """Of the controller; empty is a pod that nobody makes again."""
    owner_uid: str = ""
    created: datetime | None = None
    ready: bool = True
    leaving: bool = False
    """It has a deletionTimestamp."""
    finished: bool = False
    """Succeeded or Failed."""
    mirror: bool = False
    probe: bool = False
    """One of ours, that only measures a pull."""
    trouble: str = ""
    """CrashLoopBackOff, ImagePullBackOff, …: a container's reason for waiting that does not pass by itself."""
    empty_dir: bool = False
    local: bool = False
    """A hostPath volume or a local one."""
    guarded: bool = False
    """cluster-autoscaler.kubernetes.io/safe-to-evict is "false"."""
    selects_pool: str = ""
    """nodeSelector's pool; empty if none."""
    selects_class: str = ""
    """nodeSelector's ComputeClass; empty if none."""
    claims: tuple[str, ...] = ()
    """Names of its PersistentVolumeClaims."""
    labels: Mapping[str, str] = field(default_factory=dict)
    owner_name: str = ""
    grace_s: float = 30.0
    """terminationGracePeriodSeconds."""
    held_by: tuple[str, ...] = ()
    """Finalizers: without their owners' doing it never goes."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def family(self) -> str:
        """What this pod shares with the one that replaces it, also after its Deployment's next rollout."""
        revision = next((self.labels[key] for key in _REVISIONS if key in self.labels), "")
        owner = self.owner_name or self.owner_uid
        if self.owner_kind == "ReplicaSet":
            # It is called after what rolls it out: web-5d4f8c7b9 is of web.
            owner = owner.removesuffix(f"-{revision}")
        return family(self.namespace, self.owner_kind, owner)

    @property
    def stays(self) -> bool:
        """Whether it comes and goes with its node: evicting it makes no sense."""
        return self.mirror or self.probe or self.owner_kind == "DaemonSet" or self.finished


@dataclass(frozen=True, slots=True)
class Blocked:
    """A pod that a budget keeps."""

    why: str
    """The API server's words, with the budget's name."""
    since: datetime
    again: datetime
    """When to ask next."""


@dataclass(frozen=True, slots=True)
class RollPlan:
    """What the user wants."""

    pool: str
    disk: DiskImageRef | None = None
    """None: as the roll that is under way has it."""
    back: bool = False
    repin: bool = False
    max_unavailable: int = 1
    """Old nodes that are being emptied at one time."""
    drain_timeout_s: float = 3600.0
    """For one node, counted anew by each run."""
    ready_timeout_s: float = 1800.0
    """For the new pool and its nodes."""
    gate: bool = True
    """Wait for replacements to be Ready."""
    gate_timeout_s: float = 900.0
    """For one replacement."""
    soak_s: float = 0.0
    keep_old: bool = False
    allow: frozenset[str] = frozenset()
    """Names of preflight checks whose refusal the user overrules."""
    began: datetime | None = None
    """When this run began; None: no time-out counts."""
    not_after: datetime | None = None
    """No step is begun from then on."""
    windows: tuple[Window, ...] = ()
    """No step is begun outside of them; none: there is no such limit."""
    surge: Surge | None = None
    """Make the new pool, and empty the old one, in batches of so many nodes; None: all at once."""
    size: Surge | None = None
    """The new pool's nodes, of all at once; None: as many as the old one has."""
    canary: str = ""
    """The image of which a pod must start fast on a new node before the old pool is touched; empty: none."""
    canary_limit_s: float = 5.0
    """Its pull may take that long."""
    force_after_s: float | None = None
    """How long a budget may keep a pod before it is deleted past it, counted anew by each run; None: for ever."""


@dataclass(frozen=True, slots=True)
class RollView:
    """Everything that a decision is made from."""

    now: datetime
    old: RollPool | None
    new: RollPool | None
    nodes: tuple[RollNode, ...] = ()
    pods: tuple[RollPod, ...] = ()
    pins: tuple[Pin, ...] = ()
    """To either pool."""
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    """By the pod's UID: what this run's evictions were answered."""
    waiting: datetime | None = None
    """Since when this run has done nothing but wait for pools or nodes; None: it has not."""
    forgets: bool = False
    """Nodes go by themselves, and with them what their marks say of moved pods: none is told from another."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the new pool."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Set a pool's autoscaling."""

    pool: str
    to: Scaling


@dataclass(frozen=True, slots=True)
class Mark:
    """Write one of our annotations, the present as its value."""

    nodes: tuple[str, ...]
    mark: str
    also: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Node -> what else is written there, or what in its stead."""


@dataclass(frozen=True, slots=True)
class Cordon:
    """Let no new pods onto these nodes."""

    nodes: tuple[str, ...]
    unready: Mapping[str, tuple[str, ...]]
    """Node -> families of pods there that aren't Ready."""
    scaling: Scaling = OFF
    """The pool's limits before the roll."""


@dataclass(frozen=True, slots=True)
class Uncordon:
    """Undo Cordon, and Forget."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Take all our marks away from these nodes."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repin:
    """Let workloads select the other pool."""

    pins: tuple[Pin, ...]
    pool: str
    """The name to select."""
    disk: DiskImageRef | None
    """The disk label to select, where they select by it."""
    also: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """As in Mark, before anything else."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Ask the Eviction API for these pods."""

    pods: tuple[RollPod, ...]


@dataclass(frozen=True, slots=True)
class Force:
    """Delete these pods, with their grace period, whatever their budgets say."""

    pods: tuple[RollPod, ...]


@dataclass(frozen=True, slots=True)
class Grow:
    """Set a pool's size to more than it is."""

    pool: str
    per_zone: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete these emptied nodes, so that their pool is smaller by as many."""

    nodes: tuple[str, ...]
    pool: str
    also: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """As in Mark, before anything else."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Run a pod of an image on a node, and measure its pull."""

    node: str
    image: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Take what is left of canaries away, and say so on their nodes."""

    marks: Mapping[str, str]
    """Node -> what its mark is from then on; empty: it has none."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a pool."""

    pool: str


@dataclass(frozen=True, slots=True)
class EditClass:
    """Change the cache disk of a ComputeClass, and note on it when, and what was there before."""

    name: str
    disk: DiskImageRef | None
    """None: put back what was there before the last change."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Let a GCPResourceAllowlist of ours name these disk images, too."""

    disks: tuple[DiskImageRef, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now."""

    why: str
    seconds: float = 5.0
    limited: bool = False
    """It counts against the time in which pools and nodes have to be ready."""


@dataclass(frozen=True, slots=True)
class Done:
    """The roll is at its end."""

    what: str
    back: bool = False
    """It ended where it began."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The roll can't go on by itself; a second run can."""

    why: str
    hint: str


Action = (
    Create | Scale | Mark | Cordon | Uncordon | Forget | Repin | Evict | Force | Grow | Remove | Canary | Sweep | Delete
)
Step = Action | Wait | Done | Stop
ClassStep = EditClass | Allow
"""What only the roll of a ComputeClass does."""
