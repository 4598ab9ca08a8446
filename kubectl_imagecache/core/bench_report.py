"""What a bench has found out: each pool's times, with their spread, and how they compare to the registry's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kubectl_imagecache.core.bench import BenchNode, BenchPlan, Sample, counted, given_up, turn
from kubectl_imagecache.core.bench_pools import Difference, PoolFacts, differences
from kubectl_imagecache.core.probe import Found
from kubectl_imagecache.core.pull_ledger import ImagePull
from kubectl_imagecache.core.pull_methods import Judged, Method, Sureness, Turn
from kubectl_imagecache.core.pull_report import Origin, PullReport
from kubectl_imagecache.core.pull_stats import By, groups
from kubectl_imagecache.core.views import Gap


@dataclass(frozen=True, slots=True)
class Stat:
    """How some times spread, in seconds."""

    count: int
    median: float
    least: float
    low: float
    """The lower quartile."""
    high: float
    """The upper quartile."""
    most: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A probe that measured nothing."""

    node: str
    found: Found
    why: str


@dataclass(frozen=True, slots=True)
class PoolResult:
    """One pool's row."""

    facts: PoolFacts
    method: Method | None
    """By which most of its pulls came; None without pulls."""
    sure: Sureness | None
    """OBSERVED if it was for all of them."""
    wanted: int
    pulls: int
    first: Stat | None
    """Of the pull: the pool's very first one."""
    later: Stat | None
    """Of all others."""
    running_first: Stat | None
    """From placing to start, in whole seconds."""
    running_later: Stat | None
    size: int | None
    """Compressed bytes of the image, where the kubelet tells."""
    kin: int
    """Pulls on nodes that had another image of the repository, so that common layers were there."""
    retried: int
    """Pulls before which others failed: their times are those of the last try."""
    skipped: tuple[Skipped, ...] = ()
    given_up: str = ""
    """Why it was given up; empty if it wasn't."""
    ratio_first: float | None = None
    """The registry's time by this pool's; above 1 is faster than the registry."""
    ratio_later: float | None = None
    ratio_running: float | None = None
    """Of the medians of running_later, or running_first where there are no later ones."""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The whole answer."""

    origin: Origin
    plan: BenchPlan
    namespace: str
    run: str
    pools: tuple[PoolResult, ...]
    baseline: str
    """The pool that the ratios are to; empty: none pulled from the registry."""
    differences: tuple[Difference, ...]
    samples: tuple[Sample, ...]
    gaps: tuple[Gap, ...] = ()
    ended: str = ""
    """Why it ended before its end; empty if it didn't."""


def stat(values: Iterable[float | None]) -> Stat | None:
    """The spread of the VALUES that are known; None of nothing."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    low, median, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    return Stat(len(ordered), median, ordered[0], low, high, ordered[-1])


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    value = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    return round(min(max(value, ordered[below]), ordered[above]), 6)


def report(
    origin: Origin,
    plan: BenchPlan,
    namespace: str,
    run: str,
    facts: Sequence[PoolFacts],
    samples: Sequence[Sample],
    gaps: Sequence[Gap] = (),
    ended: str = "",
    having: Iterable[BenchNode] = (),
) -> BenchReport:
    """Sum SAMPLES up, a row for each of FACTS; HAVING are nodes that said beforehand that they have the image."""
    had = tuple(having)
    rows = [_result(plan, pool, samples, had) for pool in facts]
    base = next((row for row in rows if row.method is Method.REGISTRY and row.pulls), None)
    return BenchReport(
        origin=origin,
        plan=plan,
        namespace=namespace,
        run=run,
        pools=tuple(_compared(row, base) for row in rows),
        baseline=base.facts.name if base else "",
        differences=differences(facts),
        samples=tuple(samples),
        gaps=tuple(gaps),
        ended=ended,
    )


def _result(plan: BenchPlan, facts: PoolFacts, samples: Sequence[Sample], had: Sequence[BenchNode]) -> PoolResult:
    tried = {one.outcome.node for one in samples}
    known = [node.name for node in had if node.pool == facts.name and node.name not in tried]
    pulls = counted(samples, facts.name)
    first = [one for one in pulls if turn(samples, one) is Turn.FIRST]
    later = [one for one in pulls if turn(samples, one) is not Turn.FIRST]
    methods = Counter(one.outcome.method for one in later or first if one.outcome.method is not None)
    sure = all(one.outcome.sure is Sureness.OBSERVED for one in pulls)
    return PoolResult(
        facts=facts,
        method=methods.most_common(1)[0][0] if methods else None,
        sure=(Sureness.OBSERVED if sure else Sureness.INFERRED) if pulls else None,
        wanted=plan.wanted,
        pulls=len(pulls),
        first=stat(one.outcome.seconds for one in first),
        later=stat(one.outcome.seconds for one in later),
        running_first=stat(one.outcome.running_s for one in first),
        running_later=stat(one.outcome.running_s for one in later),
        size=next((one.outcome.size for one in pulls if one.outcome.size is not None), None),
        kin=sum(one.kin for one in pulls),
        retried=sum(one.outcome.failures > 0 for one in pulls),
        skipped=(
            *(Skipped(name, Found.PRESENT, "its status names the image") for name in known),
            *(
                Skipped(one.outcome.node, one.outcome.found, one.outcome.why)
                for one in samples
                if one.pool == facts.name and not one.measured
            ),
        ),
        given_up=given_up(plan, samples, facts.name),
    )


def _compared(row: PoolResult, base: PoolResult | None) -> PoolResult:
    if base is None:
        return row
    mine, theirs = row.running_later or row.running_first, base.running_later or base.running_first
    return replace(
        row,
        ratio_first=_ratio(base.first, row.first),
        ratio_later=_ratio(base.later, row.later),
        ratio_running=_ratio(theirs, mine),
    )


def _ratio(base: Stat | None, mine: Stat | None) -> float | None:
    if base is None or mine is None or mine.median <= 0:
        return None
    return round(base.median / mine.median, 3)


def pull_report(found: BenchReport) -> PullReport:
    """The pulls that count, as `pulls` has them: for its plots and its page."""
    judged = tuple(
        Judged(
            ImagePull(
                found.plan.image,
                one.outcome.node,
                f"{found.namespace}/{one.pool}-{one.attempt}",
                "probe",
                one.outcome.ended,
                one.outcome.seconds,
                one.outcome.queue_s,
                one.outcome.size,
            ),
            one.pool,
            one.outcome.method,
            one.outcome.sure,
            turn(found.samples, one),
        )
        for one in found.samples
        if one.measured and one.outcome.method is not None and one.outcome.sure is not None
    )
    return PullReport(
        origin=found.origin,
        since=None,
        oldest=min((one.pull.ended for one in judged if one.pull.ended is not None), default=None),
        events=len(judged),
        by=By.POOL,
        groups=groups(judged, (), (), By.POOL),
        pulls=judged,
        starts=(),
        troubles=(),
        findings=(),
        gaps=found.gaps,
    )
