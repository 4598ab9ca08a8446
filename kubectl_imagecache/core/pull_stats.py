"""Pulls counted and summed up by pool, image, method or node."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from kubectl_imagecache.core.pull_ledger import Trouble
from kubectl_imagecache.core.pull_methods import Judged, Method, Sureness, Turn
from kubectl_imagecache.core.pull_starts import StartTime


class By(Enum):
    """What pulls are grouped by."""

    POOL = "pool"
    IMAGE = "image"
    METHOD = "method"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Spread:
    """How some times spread, in seconds."""

    count: int
    p50: float
    p90: float
    most: float


@dataclass(frozen=True, slots=True)
class MethodCount:
    """Pulls by one method."""

    method: Method
    pulls: int
    observed: int
    """Of `pulls`: those whose method was observed; the others' is inferred."""


@dataclass(frozen=True, slots=True)
class StartSpread:
    """Where the starts of a group's pods spend their time: medians, seconds."""

    pods: int
    provision_s: float | None
    """Of the pods that waited for their node; None if there are none."""
    pull_s: float
    start_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """One row."""

    key: str
    """Name of the pool, image, method or node; empty for nodes that are gone, whose pool is not known."""
    pulls: int
    """Something was pulled; by its node's own store it doesn't count here."""
    present: int
    """Uses of an image that its node had already."""
    nodes: int
    """Nodes that pulled."""
    seconds: Spread | None
    """Of the pulls, without the wait in the queue where the kubelet tells it apart; None without pulls."""
    first: Spread | None
    """Of those that were the first of their image on any node of the pool."""
    later: Spread | None
    """Of those on further nodes."""
    queue: Spread | None
    """Waits in the kubelet's queue; None where no kubelet tells."""
    size: int
    """Bytes of the images pulled (compressed, whole), where known."""
    sized: int
    """Pulls whose size is known."""
    rate: float | None
    """`size` by the seconds of the same pulls, bytes/s: of a cache disk this is what it is worth, not what it reads."""
    methods: tuple[MethodCount, ...]
    """Most frequent first, the node's own store among them."""
    failed: int
    """Attempts that ended badly."""
    back_offs: int
    refused: int
    starts: StartSpread | None


def spread(seconds: Sequence[float]) -> Spread | None:
    """Median, 90th percentile (both interpolated linearly between the nearest ranks) and greatest of SECONDS."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Spread(len(ordered), _quantile(ordered, 0.5), _quantile(ordered, 0.9), ordered[-1])


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    value = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    return round(min(max(value, ordered[below]), ordered[above]), 6)


@dataclass(slots=True)
class _Sum:
    """What is gathered of one group."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    first: array[float] = field(default_factory=lambda: array("d"))
    later: array[float] = field(default_factory=lambda: array("d"))
    queue: array[float] = field(default_factory=lambda: array("d"))
    nodes: set[str] = field(default_factory=set)
    present: int = 0
    size: int = 0
    sized: int = 0
    sized_s: float = 0.0
    methods: Counter[tuple[Method, Sureness]] = field(default_factory=Counter)
    failed: int = 0
    back_offs: int = 0
    refused: int = 0
    starts: list[StartTime] = field(default_factory=list)

    def add(self, one: Judged) -> None:
        pull = one.pull
        self.methods[one.method, one.sure] += pull.count
        if one.method is Method.NODE_STORE or pull.seconds is None:
            self.present += pull.count
            return
        self.seconds.append(pull.seconds)
        self.nodes.add(pull.node)
        if one.turn is not Turn.AGAIN:
            (self.first if one.turn is Turn.FIRST else self.later).append(pull.seconds)
        if pull.queue_s is not None:
            self.queue.append(pull.queue_s)
        if pull.size is not None:
            self.size += pull.size
            self.sized += 1
            self.sized_s += pull.seconds

    def trouble(self, trouble: Trouble) -> None:
        self.failed += trouble.failed
        self.back_offs += trouble.back_offs
        self.refused += trouble.refused


def groups(
    judged: Iterable[Judged], troubles: Iterable[Trouble], starts: Iterable[StartTime], by: By
) -> tuple[Group, ...]:
    """A row for each key of BY, the one with the longest time spent pulling first."""
    sums: dict[str, _Sum] = {}
    for one in judged:
        sums.setdefault(_key(one, by), _Sum()).add(one)
    for start in starts:
        key = {By.POOL: start.pool, By.IMAGE: start.image, By.METHOD: start.method.value, By.NODE: start.node}[by]
        sums.setdefault(key, _Sum()).starts.append(start)
    if by is not By.METHOD:  # A pull that failed came by no method.
        for trouble in troubles:
            key = {By.POOL: trouble.pool, By.IMAGE: trouble.image, By.NODE: trouble.node}[by]
            sums.setdefault(key, _Sum()).trouble(trouble)
    ordered = sorted(sums.items(), key=lambda item: (-sum(item[1].seconds), item[0]))
    return tuple(_group(key, found) for key, found in ordered)


def _key(one: Judged, by: By) -> str:
    match by:
        case By.POOL:
            return one.pool
        case By.IMAGE:
            return one.pull.image
        case By.NODE:
            return one.pull.node
        case By.METHOD:
            return one.method.value


def _group(key: str, found: _Sum) -> Group:
    by_method: Counter[Method] = Counter()
    for (method, _), count in found.methods.items():
        by_method[method] += count
    return Group(
        key=key,
        pulls=len(found.seconds),
        present=found.present,
        nodes=len(found.nodes),
        seconds=spread(found.seconds),
        first=spread(found.first),
        later=spread(found.later),
        queue=spread(found.queue),
        size=found.size,
        sized=found.sized,
        rate=found.size / found.sized_s if found.sized and found.sized_s else None,
        methods=tuple(
            MethodCount(method, count, found.methods[method, Sureness.OBSERVED])
            for method, count in sorted(by_method.items(), key=lambda item: (-item[1], item[0].value))
        ),
        failed=found.failed,
        back_offs=found.back_offs,
        refused=found.refused,
        starts=start_spread(found.starts),
    )


def start_spread(starts: Sequence[StartTime]) -> StartSpread | None:
    """The medians of STARTS; None of nothing."""
    pulls, rests = spread([s.pull_s for s in starts]), spread([s.start_s for s in starts])
    if pulls is None or rests is None:
        return None
    provisions = spread(list(chain.from_iterable([] if s.provision_s is None else [s.provision_s] for s in starts)))
    return StartSpread(len(starts), provisions.p50 if provisions else None, pulls.p50, rests.p50)
