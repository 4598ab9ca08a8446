"""What stands out among pulls: typed findings with their figures, worded in render."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kubectl_imagecache.core.pull_ledger import Ledger, OpenPull
from kubectl_imagecache.core.pull_methods import Judged, Method, Turn
from kubectl_imagecache.core.pull_starts import StartTime
from kubectl_imagecache.core.pull_stats import spread

WORTH_S = 5.0
"""Differences below this many seconds are not worth a sentence."""
_MOST_OF_A_KIND = 3
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class MostTime:
    """One image takes up much of all the time spent pulling on a pool."""

    pool: str
    image: str
    pulls: int
    p50_s: float
    share: float
    """Of the pool's time spent pulling, 0.0 to 1.0."""


@dataclass(frozen=True, slots=True)
class DiskMissed:
    """Nodes with a cache disk fetched an image all the same."""

    pool: str
    image: str
    pulls: int
    p50_s: float
    method: Method


@dataclass(frozen=True, slots=True)
class FasterBy:
    """The same image came by two ways."""

    image: str
    fast: Method
    fast_s: float
    """Median."""
    slow: Method
    slow_s: float
    """Median."""


@dataclass(frozen=True, slots=True)
class FirstSlower:
    """The first pull of an image on a pool took far longer than those on its further nodes."""

    pool: str
    image: str
    method: Method
    first_s: float
    later_s: float
    """Median."""


@dataclass(frozen=True, slots=True)
class QueueLonger:
    """Pulls wait in the kubelet's queue for longer than they take."""

    pool: str
    queue_s: float
    """Median of the waits of those that waited."""
    pull_s: float
    """Median of the pulls."""
    waited: int
    """Pulls that waited."""
    pulls: int


@dataclass(frozen=True, slots=True)
class SlowNode:
    """One node took far longer than others of its pool for the same image by the same way."""

    node: str
    pool: str
    image: str
    seconds: float
    usual_s: float
    """Median of the others."""


@dataclass(frozen=True, slots=True)
class SlowStart:
    """An image that is pulled fast by one way starts more slowly than by another: the gain is less than it seems."""

    image: str
    method: Method
    start_s: float
    """Median from pulled to Ready."""
    pull_s: float
    """Median."""
    other: Method
    other_start_s: float
    other_pull_s: float


@dataclass(frozen=True, slots=True)
class FirstDiskSlow:
    """Nodes with the first cache disk of a disk image in their zone took longer to be there."""

    pool: str
    first_s: float
    """Median from the node's creation until a pod was placed."""
    other_s: float


@dataclass(frozen=True, slots=True)
class Failing:
    """An image can't be had."""

    image: str
    nodes: int
    failed: int
    back_offs: int
    refused: int
    why: str


@dataclass(frozen=True, slots=True)
class StillPulling:
    """Pulls that began and have not ended."""

    pulls: int
    longest: OpenPull
    seconds: float | None
    """Since the longest of them began."""


Finding = (
    MostTime
    | DiskMissed
    | FasterBy
    | FirstSlower
    | QueueLonger
    | SlowNode
    | SlowStart
    | FirstDiskSlow
    | Failing
    | StillPulling
)


def findings(judged: Sequence[Judged], starts: Sequence[StartTime], ledger: Ledger, now: float) -> tuple[Finding, ...]:
    """What stands out, weightiest kind first, at most three of a kind; NOW in epoch seconds."""
    real = [one for one in judged if one.method is not Method.NODE_STORE]
    found: list[Finding] = []
    for kind in (
        _failing(ledger),
        _still_pulling(ledger, now),
        _disk_missed(real, ledger),
        _most_time(real),
        _faster_by(real),
        _first_slower(real),
        _queue_longer(real),
        _slow_nodes(real),
        _slow_starts(starts),
        _first_disks(starts),
    ):
        found += list(kind)[:_MOST_OF_A_KIND]
    return tuple(found)


def _by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def _seconds(pulls: Iterable[Judged]) -> list[float]:
    return [one.pull.seconds or 0.0 for one in pulls]


def _median(seconds: Sequence[float]) -> float:
    found = spread(seconds)
    return found.p50 if found else 0.0


def _failing(ledger: Ledger) -> Iterator[Finding]:
    by_image = _by(ledger.troubles.values(), lambda trouble: trouble.image)
    for image, troubles in sorted(by_image.items(), key=lambda item: (-sum(t.failed for t in item[1]), item[0])):
        latest = max(troubles, key=lambda trouble: (bool(trouble.why), trouble.last or 0.0))
        yield Failing(
            image,
            len({trouble.node for trouble in troubles}),
            sum(trouble.failed for trouble in troubles),
            sum(trouble.back_offs for trouble in troubles),
            sum(trouble.refused for trouble in troubles),
            latest.why,
        )


def _still_pulling(ledger: Ledger, now: float) -> Iterator[Finding]:
    running = ledger.open_pulls()
    if running:
        began = running[0].began
        yield StillPulling(len(running), running[0], None if began is None else max(0.0, now - began))


def _disk_missed(real: Sequence[Judged], ledger: Ledger) -> Iterator[Finding]:
    having = {name for name, node in ledger.nodes.items() if node.cache_disks}
    missed = _by(
        (one for one in real if one.pull.node in having and one.method is not Method.CACHE_DISK),
        lambda one: (one.pool, one.pull.image, one.method),
    )
    for (pool, image, method), pulls in sorted(missed.items(), key=lambda item: -sum(_seconds(item[1]))):
        seconds = _seconds(pulls)
        if sum(seconds) >= WORTH_S:
            yield DiskMissed(pool, image, len(pulls), _median(seconds), method)


def _most_time(real: Sequence[Judged]) -> Iterator[Finding]:
    for pool, pulls in sorted(_by(real, lambda one: one.pool).items(), key=lambda item: -sum(_seconds(item[1]))):
        total = sum(_seconds(pulls))
        images = _by(pulls, lambda one: one.pull.image)
        if len(images) < 2 or total < WORTH_S:
            continue
        image, most = max(images.items(), key=lambda item: (sum(_seconds(item[1])), item[0]))
        share = sum(_seconds(most)) / total
        if share >= 0.5:
            yield MostTime(pool, image, len(most), _median(_seconds(most)), share)


def _faster_by(real: Sequence[Judged]) -> Iterator[Finding]:
    compared: list[FasterBy] = []
    for image, pulls in _by(real, lambda one: one.pull.image).items():
        medians = sorted((_median(_seconds(ps)), m) for m, ps in _by(pulls, lambda one: one.method.value).items())
        if len(medians) > 1 and medians[-1][0] - medians[0][0] >= WORTH_S:
            (fast_s, fast), (slow_s, slow) = medians[0], medians[-1]
            compared.append(FasterBy(image, Method(fast), fast_s, Method(slow), slow_s))
    yield from sorted(compared, key=lambda one: (one.fast_s - one.slow_s, one.image))


def _first_slower(real: Sequence[Judged]) -> Iterator[Finding]:
    slower: list[FirstSlower] = []
    for (pool, image, method), pulls in _by(real, lambda one: (one.pool, one.pull.image, one.method)).items():
        first = _seconds(one for one in pulls if one.turn is Turn.FIRST)
        later = _seconds(one for one in pulls if one.turn is Turn.LATER)
        if first and later and first[0] - _median(later) >= WORTH_S and first[0] >= 1.2 * _median(later):
            slower.append(FirstSlower(pool, image, method, first[0], _median(later)))
    yield from sorted(slower, key=lambda one: (one.later_s - one.first_s, one.pool, one.image))


def _queue_longer(real: Sequence[Judged]) -> Iterator[Finding]:
    for pool, pulls in sorted(_by(real, lambda one: one.pool).items()):
        waits = [one.pull.queue_s for one in pulls if one.pull.queue_s is not None and one.pull.queue_s >= 0.5]
        queue_s, pull_s = _median(waits), _median(_seconds(pulls))
        if len(waits) >= 3 and queue_s >= WORTH_S and queue_s > pull_s:
            yield QueueLonger(pool, queue_s, pull_s, len(waits), len(pulls))


def _slow_nodes(real: Sequence[Judged]) -> Iterator[Finding]:
    slow: list[SlowNode] = []
    for (pool, image, _), pulls in _by(real, lambda one: (one.pool, one.pull.image, one.method)).items():
        # The first pull of all is slower for another reason.
        pulls = [one for one in pulls if one.turn is Turn.LATER]
        if len(pulls) < 4:
            continue
        worst = max(pulls, key=lambda one: one.pull.seconds or 0.0)
        usual = _median(_seconds(one for one in pulls if one is not worst))
        seconds = worst.pull.seconds or 0.0
        if seconds >= 3 * usual and seconds - usual >= WORTH_S:
            slow.append(SlowNode(worst.pull.node, pool, image, seconds, usual))
    yield from sorted(slow, key=lambda one: (one.usual_s - one.seconds, one.node))


def _slow_starts(starts: Sequence[StartTime]) -> Iterator[Finding]:
    for image, of_image in sorted(_by(starts, lambda one: one.image).items()):
        by_method = _by(of_image, lambda one: one.method)
        medians = sorted(
            (_median([s.pull_s for s in found]), _median([s.start_s for s in found]), method.value)
            for method, found in by_method.items()
        )
        if len(medians) < 2:
            continue
        (pull_s, start_s, fast), (other_pull_s, other_start_s, slow) = medians[0], medians[-1]
        if start_s - other_start_s >= WORTH_S and start_s >= 1.5 * other_start_s:
            yield SlowStart(image, Method(fast), start_s, pull_s, Method(slow), other_start_s, other_pull_s)


def _first_disks(starts: Sequence[StartTime]) -> Iterator[Finding]:
    for pool, of_pool in sorted(_by(starts, lambda one: one.pool).items()):
        first = [s.provision_s for s in of_pool if s.first_disk and s.provision_s is not None]
        other = [s.provision_s for s in of_pool if s.first_disk is False and s.provision_s is not None]
        if first and other and _median(first) - _median(other) >= WORTH_S:
            yield FirstDiskSlow(pool, _median(first), _median(other))
