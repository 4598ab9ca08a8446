"""The document of `bench -o json`, kind BenchReport; schemas/bench-report.json describes it."""

from __future__ import annotations

from kubectl_imagecache.core.bench import Sample, turn
from kubectl_imagecache.core.bench_pools import PoolFacts
from kubectl_imagecache.core.bench_report import BenchReport, PoolResult, Stat
from kubectl_imagecache.core.probe import NO_COMMAND
from kubectl_imagecache.render.documents import API_VERSION, Document, time
from kubectl_imagecache.render.pull_document import moment


def bench_document(report: BenchReport) -> Document:
    """REPORT as a plain dictionary; times in seconds."""
    plan = report.plan
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchReport",
        "cluster": report.origin.cluster,
        "context": report.origin.context,
        "source": report.origin.source,
        "observedAt": time(report.origin.observed_at),
        "run": report.run,
        "namespace": report.namespace,
        "image": plan.image,
        "nodesPerRound": plan.nodes,
        "rounds": plan.repeat,
        "scaleUp": plan.scale_up,
        "imageRun": plan.command != NO_COMMAND,
        "baseline": report.baseline or None,
        "endedEarly": report.ended or None,
        "pools": [_pool(pool) for pool in report.pools],
        "differences": [
            {"what": one.what, "values": [{"pool": pool, "value": value} for pool, value in one.values]}
            for one in report.differences
        ],
        "samples": [_sample(report, sample) for sample in report.samples],
        "gaps": [{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in report.gaps],
    }


def _pool(pool: PoolResult) -> Document:
    return {
        "name": pool.facts.name,
        "method": pool.method and pool.method.value,
        "methodKnown": pool.sure and pool.sure.value,
        "wanted": pool.wanted,
        "pulls": pool.pulls,
        "firstSeconds": _stat(pool.first),
        "laterSeconds": _stat(pool.later),
        "runningFirstSeconds": _stat(pool.running_first),
        "runningLaterSeconds": _stat(pool.running_later),
        "ratioFirst": pool.ratio_first,
        "ratioLater": pool.ratio_later,
        "ratioRunning": pool.ratio_running,
        "bytes": pool.size,
        "nodesWithRelatedImage": pool.kin,
        "pullsAfterFailures": pool.retried,
        "skipped": [{"node": one.node, "outcome": one.found.value, "why": one.why} for one in pool.skipped],
        "givenUp": pool.given_up or None,
        "facts": _facts(pool.facts),
    }


def _stat(stat: Stat | None) -> Document | None:
    if stat is None:
        return None
    return {
        "count": stat.count,
        "median": stat.median,
        "min": round(stat.least, 6),
        "lowerQuartile": stat.low,
        "upperQuartile": stat.high,
        "max": round(stat.most, 6),
    }


def _facts(facts: PoolFacts) -> Document:
    return {
        "knownFrom": facts.known_from,
        "machineType": facts.machine_type or None,
        "bootDiskType": facts.disk_type or None,
        "bootDiskGb": facts.disk_gb or None,
        "localSsds": facts.local_ssds,
        "zones": list(facts.zones),
        "parallelPulls": facts.parallel_pulls,
        "version": facts.version or None,
        "imageStreaming": facts.streaming,
        "cacheDiskImage": facts.cache_disk or None,
    }


def _sample(report: BenchReport, sample: Sample) -> Document:
    found = sample.outcome
    return {
        "pool": sample.pool,
        "attempt": sample.attempt,
        "node": found.node or None,
        "outcome": found.found.value,
        "turn": turn(report.samples, sample).value if sample.measured else None,
        "pulledSeconds": found.seconds,
        "queueSeconds": found.queue_s,
        "runningSeconds": found.running_s,
        "bytes": found.size,
        "method": found.method and found.method.value,
        "methodKnown": found.sure and found.sure.value,
        "failures": found.failures,
        "endedAt": moment(found.ended),
        "why": found.why or None,
    }
