"""Measure what image pulls cost, and by which way the images came."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import NotFound, UserError
from kubectl_imagecache.core.pull_ledger import Ledger
from kubectl_imagecache.core.pull_records import LayersRecord, Record
from kubectl_imagecache.core.pull_report import EVENT_LIFE_S, Origin, PullReport, decide
from kubectl_imagecache.core.pull_stats import By
from kubectl_imagecache.core.views import Gap

if TYPE_CHECKING:
    from kubectl_imagecache.clients.kube.client import Kube

Logs = Callable[[datetime, Callable[[LayersRecord], object]], tuple[int, bool]]
"""Reads what the snapshotters logged since a moment: (lines understood, whether all were read)."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pulls are told from: a cluster, or a recording of one."""

    kube: Kube | None
    """None: only the recording."""
    recording: Path | None
    """Read before anything else; None: there is none."""
    logs: Logs | None
    """Cloud Logging; None: not to be asked."""
    clock: Clock
    cluster: str
    context: str
    source: str = "live"


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked."""

    counts: Callable[[str], bool]
    """Whether pods of a namespace count."""
    pools: tuple[str, ...] = ()
    """Names; empty is all."""
    namespaces: tuple[str, ...] = ()
    """Whose events are read; empty is all."""
    by: By = By.POOL
    since_s: float | None = None
    """Seconds; what ended longer ago doesn't count. None: everything that is there."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How events are followed."""

    file: Path
    """The recording; one that exists is carried on."""
    until: Callable[[], float | None]
    """Seconds left; None: until it is interrupted."""
    heard: Callable[[Record], None]
    """Told of each record that is new."""


def pulls(sources: Sources, options: Options, say: Callable[[str], None], watch: Watch | None = None) -> PullReport:
    """Read (or follow) all that tells of pulls, then judge and sum up; SAY takes lines of progress.

    Raises NotFound for a pool that doesn't exist, UserError where there is nothing to read from, and what reading the
    cluster raises. An interrupt ends a WATCH, not the report on it.
    """
    now = sources.clock.now()
    since = None if options.since_s is None else now.timestamp() - options.since_s
    ledger = Ledger(counts=options.counts, since=since)
    cluster, context = sources.cluster, sources.context
    gaps: list[Gap] = []
    if sources.recording is not None:
        from kubectl_imagecache.clients import recording

        say(f"reading {sources.recording}")
        head, gaps = recording.read(sources.recording, ledger.add)
        cluster, context = cluster or head.cluster, context or head.context
    if sources.kube is not None and watch is not None:
        gaps += _follow(sources, sources.kube, ledger, options, watch, say)
    elif sources.kube is not None:
        from kubectl_imagecache.clients.kube.pull_feed import read_all

        say("reading events, nodes and pods")
        gaps += read_all(sources.kube, options.namespaces, ledger.add, _has_pull(ledger), ledger.hear)
    if sources.logs is not None and watch is None:
        say("reading the snapshotters' log")
        gaps += _read_logs(sources.logs, ledger, ledger.add, now)
    _check_pools(ledger, options.pools)
    if sources.recording is None and watch is None:
        gaps += _gone(options.since_s)
    gaps += _unknown(ledger)
    origin = Origin(cluster, context, sources.source, sources.clock.now())
    return decide(ledger, origin, options.by, options.pools, gaps)


def _has_pull(ledger: Ledger) -> Callable[[str], bool]:
    """Whether a pod has pulled; the set is made when it is first asked for, after the events are read."""
    pods: set[str] = set()

    def has_pull(pod: str) -> bool:
        if not pods:
            pods.update(pull.pod for pull in ledger.pulls if pull.seconds is not None)
        return pod in pods

    return has_pull


def _follow(
    sources: Sources, kube: Kube, ledger: Ledger, options: Options, watch: Watch, say: Callable[[str], None]
) -> list[Gap]:
    from kubectl_imagecache.clients import recording
    from kubectl_imagecache.clients.kube.pull_feed import read_nodes
    from kubectl_imagecache.clients.kube.watch import Following

    gaps: list[Gap] = []
    if watch.file.exists() and watch.file.stat().st_size:
        say(f"reading {watch.file}")
        gaps += recording.read(watch.file, ledger.add)[1]
    head = recording.Head(
        recording.KIND,
        recording.API_VERSION,
        sources.cluster,
        sources.context,
        sources.clock.now().timestamp(),
    )
    recorder = recording.Recorder(watch.file, head)

    def add(record: Record) -> None:
        if ledger.add(record):
            recorder.add(record)
            watch.heard(record)

    try:
        gaps += read_nodes(kube, add)
        say("following events; Ctrl-C ends it")
        namespace = options.namespaces[0] if options.namespaces else ""
        try:
            Following(kube, namespace, add, gaps.append).run(watch.until)
        except KeyboardInterrupt:
            say("reading nodes and pods once more")
        except UserError as error:
            gaps.append(Gap("events since the watch broke off", error.message, error.hint))
        gaps += _read_the_rest(kube, options, add, ledger)
        if sources.logs is not None:
            gaps += _read_logs(sources.logs, ledger, add, sources.clock.now())
    finally:
        recorder.close()
    return gaps


def _read_the_rest(kube: Kube, options: Options, add: Callable[[Record], None], ledger: Ledger) -> list[Gap]:
    """Nodes that came, pods that got Ready and events that came while the watch was down."""
    from kubectl_imagecache.clients.kube.pull_feed import read_all

    try:
        return read_all(kube, options.namespaces, add, _has_pull(ledger))
    except UserError as error:
        return [Gap("nodes and pods at the end of the watch", error.message, error.hint)]


def _read_logs(logs: Logs, ledger: Ledger, add: Callable[[Record], object], now: datetime) -> list[Gap]:
    moments = [moment for moment in (ledger.since, ledger.oldest) if moment is not None]
    begin = datetime.fromtimestamp(min(moments), timezone.utc) if moments else now - timedelta(seconds=EVENT_LIFE_S)
    try:
        found, complete = logs(begin, add)
    except UserError as error:
        return [Gap("the snapshotters' log", error.message, error.hint)]
    if not found:
        why = "Cloud Logging has no lines of it: image streaming is off, or the project excludes this log"
        return [Gap("the snapshotters' log", why, "look at the exclusion filters of the _Default sink")]
    return [] if complete else [Gap("the snapshotters' log", "only its first part was read", "narrow it with --since")]


def _check_pools(ledger: Ledger, names: Sequence[str]) -> None:
    known = sorted({node.pool for node in ledger.nodes.values() if node.pool})
    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are nodes of {', '.join(known) or 'no pool'}"
            raise NotFound(f"no node of a pool {name!r} is known", hint)


def _gone(since_s: float | None) -> list[Gap]:
    if since_s is None or since_s <= EVENT_LIFE_S:
        return []
    hint = "pulls --watch FILE keeps them, pulls --from FILE reads them again"
    return [Gap("events older than an hour", "API servers drop them (kube-apiserver --event-ttl)", hint)]


def _unknown(ledger: Ledger) -> list[Gap]:
    if not ledger.unknown:
        return []
    events = "event" if ledger.unknown == 1 else "events"
    sample = ledger.unknown_samples[0] if ledger.unknown_samples else ""
    return [Gap(f"{ledger.unknown} {events} about images", f"words that this version does not know: {sample}")]
