"""What a bench is made of, and what it does next: on each pool one probe after the other, each on a fresh node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pools import DiskImageRef, Taint
from kubectl_imagecache.core.probe import EVENT_LATE_S, NO_COMMAND, Found, Outcome, Probe
from kubectl_imagecache.core.pull_methods import Sureness, Turn
from kubectl_imagecache.core.references import ImageRef, parse

PINNED = "kubectl-imagecache/node"
"""Annotation of a probe: the node that it is pinned to."""
PLACE_S = 90.0
"""How long a probe that is pinned to a node may wait for room there before another node is taken."""
SETTLE_S = 3.0
"""How long after a pull its node may still tell by which way it came."""
MOST_FAILURES = 2
"""Probes that may fail on a pool before it is given up."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What the user wants."""

    image: str
    pools: tuple[str, ...]
    nodes: int = 2
    """Fresh nodes of each pool in a round: the first and later ones."""
    repeat: int = 1
    """Rounds."""
    scale_up: bool = False
    """Let the autoscaler bring nodes where there are no fresh ones."""
    timeout_s: float = 1800.0
    """For one probe, from its creation to its pull's end."""
    command: tuple[str, ...] = NO_COMMAND
    """What probes start; empty: the image's own."""
    service_account: str = ""
    make_pools: bool = False
    """The pools are made for this bench, and deleted after it."""
    like: str = ""
    """Of make_pools: the pool whose configuration they get."""
    disk_image: DiskImageRef | None = None
    """Of make_pools: the cache disk's."""

    @property
    def wanted(self) -> int:
        """Pulls to be measured on each pool."""
        return self.nodes * self.repeat


@dataclass(frozen=True, slots=True)
class BenchNode:
    """A node as far as a bench looks at it."""

    name: str
    pool: str
    usable: bool = True
    """Ready, and new pods may come."""
    has_image: bool = False
    """status.images names it. It holds 50 images at most, so that False proves nothing."""
    has_kin: bool = False
    """status.images names another image of the same repository: their common layers need no pull."""
    taints: tuple[Taint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What one probe found out."""

    pool: str
    attempt: int
    """Counts the pool's probes from 0, those that measured nothing included."""
    outcome: Outcome
    kin: bool = False
    """The node had another image of the repository."""

    @property
    def measured(self) -> bool:
        """Whether it is a pull that counts."""
        return self.outcome.found is Found.PULLED


@dataclass(frozen=True, slots=True)
class Seen:
    """A probe with what it has come to; ages are by this process's own watch, for clocks of machines differ."""

    probe: Probe
    outcome: Outcome
    age_s: float
    """Since it was first seen."""
    over_s: float = 0.0
    """Since it was first seen to be over."""


@dataclass(frozen=True, slots=True)
class MadePool:
    """A pool that was made for a bench, as GKE shows it."""

    name: str
    status: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class BenchView:
    """Everything that a decision is made from."""

    nodes: tuple[BenchNode, ...] = ()
    """Of the plan's pools."""
    probes: tuple[Seen, ...] = ()
    """Those of this run that are there."""
    samples: tuple[Sample, ...] = ()
    """Written down on the run's owner, in the order of their pools and attempts."""
    made: tuple[MadePool, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Make a probe."""

    pool: str
    attempt: int
    node: str
    """Empty: on a node that is not there yet."""
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """Write a sample down; its probe has done its work."""

    sample: Sample


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a probe whose sample is written down, or that is none of the plan's."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class CreatePool:
    """Make one of the bench's own pools."""

    pool: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now."""

    why: str
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Finish:
    """All that can be measured is."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The bench can't go on."""

    why: str
    hint: str


Step = Start | Record | Remove | CreatePool | Wait | Finish | GiveUp


def same_wish(one: BenchPlan, other: BenchPlan) -> bool:
    """Whether ONE asks for what OTHER asks for; the names of pools that are made are the run's, not the user's."""
    if one.make_pools and other.make_pools:
        return replace(one, pools=()) == replace(other, pools=())
    return one == other


def probe_name(run: str, pool: int, attempt: int) -> str:
    """The name of a probe's pod: RUN, the pool's place in the plan, the attempt."""
    return f"imagecache-bench-{run}-{pool}-{attempt}"


def slot_of(name: str, run: str) -> tuple[int, int] | None:
    """(Pool's place, attempt) of a probe's name; None if it is no probe of RUN."""
    head, _, tail = name.rpartition(f"imagecache-bench-{run}-")
    pool, _, attempt = tail.partition("-")
    if head or not (pool.isdecimal() and attempt.isdecimal() and pool.isascii() and attempt.isascii()):
        return None
    return int(pool), int(attempt)


def decide(plan: BenchPlan, run: str, view: BenchView) -> Step:
    """The next step: one pull at a time, so that none slows another down."""
    known = {(sample.pool, sample.attempt) for sample in view.samples}
    for seen in view.probes:
        probe, slot = seen.probe, slot_of(seen.probe.name, run)
        if slot is None or slot[0] >= len(plan.pools) or (plan.pools[slot[0]], slot[1]) in known:
            return Remove(probe) if not probe.leaving else Wait(f"pod {probe.name} goes")
        return _watch(plan, view, seen, plan.pools[slot[0]], slot[1])
    pool = _next_pool(plan, view)
    if pool is None:
        return Finish()
    return _make(plan, view) or _start(plan, view, pool)


def counted(samples: Sequence[Sample], pool: str) -> list[Sample]:
    """POOL's pulls that count, in the order in which they were made."""
    return [sample for sample in samples if sample.pool == pool and sample.measured]


def turn(samples: Sequence[Sample], sample: Sample) -> Turn:
    """Whether SAMPLE is its pool's first pull: only that one finds nothing of the image anywhere on the way."""
    first = min((one.attempt for one in counted(samples, sample.pool)), default=sample.attempt)
    return Turn.FIRST if sample.attempt == first else Turn.LATER


def fresh_nodes(plan: BenchPlan, view: BenchView, pool: str) -> list[BenchNode]:
    """POOL's nodes that may not have the image yet, those without a relative of it first."""
    used = {sample.outcome.node for sample in view.samples if sample.pool == pool}
    found = [n for n in view.nodes if n.pool == pool and n.usable and not n.has_image and n.name not in used]
    return sorted(found, key=lambda node: (node.has_kin, node.name))


def _watch(plan: BenchPlan, view: BenchView, seen: Seen, pool: str, attempt: int) -> Step:
    probe, found = seen.probe, seen.outcome
    kin = next((node.has_kin for node in view.nodes if node.name == probe.node), False)
    if found.over:
        if not _settled(seen):
            return Wait(f"{pool}: pulled on {probe.node}, starting")
        return Record(Sample(pool, attempt, found, kin))
    pinned = probe.annotations.get(PINNED, "")
    limit = PLACE_S if pinned and not probe.node else plan.timeout_s
    if seen.age_s > limit:
        words = found.why or ("it is still being pulled" if probe.node else "no node has room")
        why = f"nothing came of it in {limit:.0f} s: {words}"
        end = Found.FAILED if probe.node else Found.UNPLACED
        return Record(Sample(pool, attempt, Outcome(end, probe.node or pinned, why=why)))
    what = f"{pool}: {'pulling on ' + probe.node if probe.node else 'waiting for a node'}"
    # Nothing is measured by this program's own clock, so it looks in the more rarely the longer it takes.
    return Wait(f"{what} ({found.why})" if found.why else what, min(15.0, max(1.0, seen.age_s / 8)))


def _settled(seen: Seen) -> bool:
    """Whether a probe that is over has told all: its container's start, and the way of its pull."""
    found = seen.outcome
    if found.found is not Found.PULLED or seen.over_s >= EVENT_LATE_S:
        return True
    return found.running_s is not None and (found.sure is Sureness.OBSERVED or seen.over_s >= SETTLE_S)


def _next_pool(plan: BenchPlan, view: BenchView) -> str | None:
    """The pool with the fewest pulls so far among those that want more and can have more; None if none does."""
    open_pools = [pool for pool in plan.pools if not over(plan, view, pool)]
    return min(open_pools, key=lambda pool: len(counted(view.samples, pool)), default=None)


def over(plan: BenchPlan, view: BenchView, pool: str) -> bool:
    """Whether nothing more is to be measured on POOL."""
    if len(counted(view.samples, pool)) >= plan.wanted or given_up(plan, view.samples, pool):
        return True
    if plan.scale_up or (plan.make_pools and not _ready(plan, view, pool)):
        return False
    return not fresh_nodes(plan, view, pool)


def given_up(plan: BenchPlan, samples: Sequence[Sample], pool: str) -> str:
    """Why POOL is given up; empty if it isn't."""
    failed = [one.outcome for one in samples if one.pool == pool and one.outcome.found is Found.FAILED]
    # A node that never comes won't come for the next probe either.
    absent = [one.outcome for one in samples if one.pool == pool and _never_placed(one)]
    if len(failed) >= MOST_FAILURES:
        return failed[-1].why or "its probes failed"
    if not absent and sum(one.pool == pool for one in samples) >= 3 * (plan.wanted + 1):
        return "too many probes measured nothing"
    return absent[-1].why if absent else ""


def _never_placed(sample: Sample) -> bool:
    return sample.outcome.found is Found.UNPLACED and not sample.outcome.node


def _ready(plan: BenchPlan, view: BenchView, pool: str) -> bool:
    """Whether a pool that the bench makes has all of its nodes."""
    there = [node for node in view.nodes if node.pool == pool and node.usable]
    return len(there) >= plan.wanted


def _make(plan: BenchPlan, view: BenchView) -> Step | None:
    """The step towards the bench's own pools; None once they are all there, or if there are none."""
    if not plan.make_pools:
        return None
    made = {pool.name: pool for pool in view.made}
    for name in plan.pools:
        found = made.get(name)
        if found is None:
            return CreatePool(name)
        if found.status in ("ERROR", "RUNNING_WITH_ERROR", "STOPPING"):
            words = f": {found.message}" if found.message else ""
            return GiveUp(f"pool {name} is in {found.status}{words}", "take another --like or --disk-image")
        if found.status != "RUNNING":
            return Wait(f"pool {name} is {found.status.lower()}", 5.0)
    for name in plan.pools:
        if not _ready(plan, view, name):
            return Wait(f"nodes of {name} are not Ready yet", 5.0)
    return None


def _start(plan: BenchPlan, view: BenchView, pool: str) -> Step:
    attempt = max((one.attempt + 1 for one in view.samples if one.pool == pool), default=0)
    fresh = fresh_nodes(plan, view, pool)
    if fresh:
        return Start(pool, attempt, fresh[0].name)
    present = tuple(sorted(node.name for node in view.nodes if node.pool == pool))
    return Start(pool, attempt, "", present)


def held(names: Iterable[str], image: ImageRef) -> tuple[bool, bool]:
    """Whether NAMES (of a node's status.images) name IMAGE, and whether they name another one of its repository."""
    has, kin = False, False
    for name in names:
        try:
            ref = parse(name)
        except BadUsage:
            continue
        if ref.name != image.name:
            continue
        same = ref.digest == image.digest if image.digest else ref.tag == image.tag and not ref.digest
        has, kin = has or same, True
    return has, kin and not has
