"""The document of `pulls -o json`, kind PullReport; schemas/pull-report.json describes it."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from kubectl_imagecache.core.pull_findings import Finding
from kubectl_imagecache.core.pull_ledger import OpenPull, Trouble
from kubectl_imagecache.core.pull_methods import Judged
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_starts import StartTime
from kubectl_imagecache.core.pull_stats import Group, Spread
from kubectl_imagecache.render.documents import API_VERSION, Document, time
from kubectl_imagecache.render.pull_words import ImageName, sentence


def pull_document(report: PullReport, name: ImageName) -> Document:
    """REPORT as a plain dictionary; times in seconds to the microsecond."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PullReport",
        "cluster": report.origin.cluster,
        "context": report.origin.context,
        "source": report.origin.source,
        "observedAt": time(report.origin.observed_at),
        "since": moment(report.since),
        "oldestEvent": moment(report.oldest),
        "events": report.events,
        "by": report.by.value,
        "groups": [_group(group) for group in report.groups],
        "pulls": [_pull(one) for one in report.pulls],
        "starts": [_start(one) for one in report.starts],
        "troubles": [_trouble(one) for one in report.troubles],
        "findings": [_finding(one, name) for one in report.findings],
        "unknownEvents": report.unknown,
        "unknownSamples": list(report.unknown_samples),
        "gaps": [{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in report.gaps],
    }


def moment(epoch: float | None) -> str | None:
    """Epoch seconds as Kubernetes writes times; None if unknown, or beyond what a calendar holds."""
    if epoch is None or not 0 <= epoch < 253_402_300_800:  # The year 10,000.
        return None
    return time(datetime.fromtimestamp(epoch, timezone.utc))


def _spread(spread: Spread | None) -> Document | None:
    if spread is None:
        return None
    return {"count": spread.count, "p50": spread.p50, "p90": spread.p90, "max": round(spread.most, 6)}


def _group(group: Group) -> Document:
    starts = group.starts
    return {
        "name": group.key,
        "pulls": group.pulls,
        "present": group.present,
        "nodes": group.nodes,
        "seconds": _spread(group.seconds),
        "firstSeconds": _spread(group.first),
        "laterSeconds": _spread(group.later),
        "queueSeconds": _spread(group.queue),
        "bytes": group.size if group.sized else None,
        "sizedPulls": group.sized,
        "rateBytesPerSecond": round(group.rate, 3) if group.rate else None,
        "methods": [{"method": m.method.value, "pulls": m.pulls, "observed": m.observed} for m in group.methods],
        "failed": group.failed,
        "backOffs": group.back_offs,
        "refused": group.refused,
        "starts": starts
        and {
            "pods": starts.pods,
            "provisionSeconds": starts.provision_s,
            "pullSeconds": starts.pull_s,
            "startSeconds": starts.start_s,
        },
    }


def _pull(one: Judged) -> Document:
    pull, layers = one.pull, one.layers
    return {
        "image": pull.image,
        "pool": one.pool,
        "node": pull.node,
        "pod": pull.pod,
        "container": pull.container,
        "endedAt": moment(pull.ended),
        "seconds": None if pull.seconds is None else round(pull.seconds, 6),
        "queueSeconds": pull.queue_s,
        "bytes": pull.size,
        "count": pull.count,
        "method": one.method.value,
        "methodKnown": one.sure.value,
        "turn": one.turn.value,
        "layers": layers and {"all": layers.layers, "disk": layers.by_disk, "streaming": layers.by_streaming},
    }


def _start(one: StartTime) -> Document:
    return {
        "pod": one.pod,
        "node": one.node,
        "pool": one.pool,
        "image": one.image,
        "method": one.method.value,
        "turn": one.turn.value,
        "provisionSeconds": one.provision_s,
        "pullSeconds": round(one.pull_s, 6),
        "startSeconds": one.start_s,
        "firstDiskInZone": one.first_disk,
    }


def _trouble(one: Trouble) -> Document:
    return {
        "image": one.image,
        "node": one.node,
        "failed": one.failed,
        "backOffs": one.back_offs,
        "refused": one.refused,
        "lastReason": one.why,
        "lastAt": moment(one.last),
    }


def _finding(finding: Finding, name: ImageName) -> Document:
    document: Document = {"kind": type(finding).__name__, "message": sentence(finding, name)}
    for field in dataclasses.fields(finding):
        document[_camel(field.name)] = _plain(getattr(finding, field.name))
    return document


def _camel(name: str) -> str:
    name = re.sub(r"_s$", "_seconds", name)
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, OpenPull):
        return {"image": value.image, "node": value.node, "pod": value.pod, "beganAt": moment(value.began)}
    return round(value, 6) if isinstance(value, float) else value
