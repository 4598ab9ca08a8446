"""A bench's plan and samples as text, which lies on the run's owner in the cluster: all that a second run needs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from kubectl_imagecache.core.bench import BenchPlan, Sample
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.probe import Found, Outcome
from kubectl_imagecache.core.pull_methods import Method, Sureness

MOST = 16_384
"""Characters of one text that are read: what is longer is not ours."""


def plan_text(plan: BenchPlan) -> str:
    """PLAN as JSON."""
    return json.dumps({key: value for key, value in asdict(plan).items() if value is not None}, sort_keys=True)


def plan_of(text: str) -> BenchPlan | None:
    """The plan that TEXT tells; None if it tells none (another version's, or somebody's hand)."""
    try:
        found = _loads(text)
        disk = found.pop("disk_image", None)
        pools, command = (tuple(map(str, found.pop(key))) for key in ("pools", "command"))
        plan = BenchPlan(**found, pools=pools, command=command, disk_image=DiskImageRef(**disk) if disk else None)
        return plan if plan_text(plan) == json.dumps(_loads(text), sort_keys=True) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def sample_text(sample: Sample) -> str:
    """SAMPLE as JSON."""
    found = sample.outcome
    outcome = {
        **asdict(found),
        "found": found.found.value,
        "method": found.method and found.method.value,
        "sure": found.sure and found.sure.value,
        "why": found.why[:300],
    }
    body = {"pool": sample.pool, "attempt": sample.attempt, "kin": sample.kin, "outcome": outcome}
    return json.dumps(body, sort_keys=True)


def sample_of(text: str) -> Sample | None:
    """The sample that TEXT tells; None if it tells none."""
    try:
        body = _loads(text)
        told = body["outcome"]
        outcome = Outcome(
            found=Found(told["found"]),
            node=str(told["node"]),
            seconds=_time(told["seconds"]),
            queue_s=_time(told["queue_s"]),
            size=None if told["size"] is None else max(0, int(told["size"])),
            running_s=_time(told["running_s"]),
            method=None if told["method"] is None else Method(told["method"]),
            sure=None if told["sure"] is None else Sureness(told["sure"]),
            failures=int(told["failures"]),
            ended=_time(told["ended"]),
            why=str(told["why"]),
        )
        if outcome.found is Found.PULLED and outcome.seconds is None:
            return None
        return Sample(str(body["pool"]), int(body["attempt"]), outcome, bool(body["kin"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _loads(text: str) -> dict[str, Any]:
    if len(text) > MOST:
        raise ValueError("too long")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _time(value: object) -> float | None:
    if value is None:
        return None
    seconds = float(value)  # type: ignore[arg-type] # whatever it is, what is no number raises
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a time")
    return seconds
