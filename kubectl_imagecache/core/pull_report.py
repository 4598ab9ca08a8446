"""What `pulls` has found out: plain data for render."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from kubectl_imagecache.core.pull_findings import Finding, findings
from kubectl_imagecache.core.pull_ledger import Ledger, Trouble
from kubectl_imagecache.core.pull_methods import Judged, judge
from kubectl_imagecache.core.pull_starts import StartTime, start_times
from kubectl_imagecache.core.pull_stats import By, Group, groups
from kubectl_imagecache.core.report import StatusReport
from kubectl_imagecache.core.uncollected import uncollected
from kubectl_imagecache.core.views import Gap

EVENT_LIFE_S = 3600.0
"""How long API servers keep events unless told otherwise (kube-apiserver --event-ttl)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the records come from."""

    cluster: str
    """`projects/P/locations/L/clusters/C`, or the API server where that is unknown."""
    context: str
    """kubeconfig context; empty when read from a file."""
    source: str
    """`live`, `sandbox SCENARIO`, or `recording FILE`."""
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class PullReport:
    """The whole answer."""

    origin: Origin
    since: float | None
    """Epoch seconds; what ended before was left out. None: everything that is there."""
    oldest: float | None
    """Epoch seconds of the oldest event; None without events."""
    events: int
    """Events about images that were read."""
    by: By
    groups: tuple[Group, ...]
    pulls: tuple[Judged, ...]
    """In the order of time."""
    starts: tuple[StartTime, ...]
    troubles: tuple[Trouble, ...]
    findings: tuple[Finding, ...]
    unknown: int = 0
    """Events about images whose words are not known."""
    unknown_samples: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    status: StatusReport | None = None
    """The pools' coverage, if that was asked for too."""


def decide(ledger: Ledger, origin: Origin, by: By, pools: Collection[str] = (), gaps: Iterable[Gap] = ()) -> PullReport:
    """Judge and sum up all that LEDGER holds of the nodes of POOLS (empty: of all nodes)."""
    with uncollected():
        return _decide(ledger, origin, by, pools, tuple(gaps))


def _decide(ledger: Ledger, origin: Origin, by: By, pools: Collection[str], gaps: tuple[Gap, ...]) -> PullReport:
    if pools:
        ledger.keep_nodes({name for name, node in ledger.nodes.items() if node.pool in pools})
    judged = tuple(one for one in judge(ledger) if ledger.counts_at(one.pull.ended))
    starts = tuple(start_times(ledger, judged))
    troubles = tuple(sorted(ledger.troubles.values(), key=lambda one: (one.image, one.node)))
    for trouble in troubles:
        node = ledger.nodes.get(trouble.node)
        trouble.pool = node.pool if node else ""
    return PullReport(
        origin=origin,
        since=ledger.since,
        oldest=ledger.oldest,
        events=ledger.events,
        by=by,
        groups=groups(judged, troubles, starts, by),
        pulls=judged,
        starts=starts,
        troubles=troubles,
        findings=findings(judged, starts, ledger, origin.observed_at.timestamp()),
        unknown=ledger.unknown,
        unknown_samples=tuple(ledger.unknown_samples),
        gaps=gaps,
    )
