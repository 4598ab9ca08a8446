"""What stands out among pulls, in one sentence each with its reason."""

from __future__ import annotations

from collections.abc import Callable

from kubectl_imagecache.core.pull_findings import (
    DiskMissed,
    Failing,
    FasterBy,
    Finding,
    FirstDiskSlow,
    FirstSlower,
    MostTime,
    QueueLonger,
    SlowNode,
    SlowStart,
    StillPulling,
)
from kubectl_imagecache.core.pull_methods import Method
from kubectl_imagecache.render.text import count, cut, neutral

ImageName = Callable[[str], str]
"""An image's short name; its argument is the reference as a string."""
_MOST_WHY = 160
_WAYS = {
    Method.CACHE_DISK: "from the cache disk",
    Method.STREAMING: "by image streaming",
    Method.REGISTRY: "from the registry",
    Method.NODE_STORE: "from the node's own store",
}


def seconds(value: float) -> str:
    """A time to three digits: `0.38s`, `43.2s`, `2m05s`, `1h10m`."""
    if value < 9.995:
        return f"{value:.2f}s"
    if value < 99.95:
        return f"{value:.1f}s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def times(slow: float, fast: float) -> str:
    """How many times as long: `118x`; empty if FAST is nothing."""
    ratio = slow / fast if fast > 0 else 0.0
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio else ""


def sentence(finding: Finding, name: ImageName) -> str:
    """FINDING in words."""
    if isinstance(finding, Failing | StillPulling):
        return _going_wrong(finding, name)
    if isinstance(finding, SlowNode | SlowStart | FirstDiskSlow | QueueLonger):
        return _elsewhere(finding, name)
    image = name(finding.image)
    if isinstance(finding, FasterBy):
        ratio = times(finding.slow_s, finding.fast_s)
        than = f"{ratio} as long {_WAYS[finding.slow]}" if ratio else f"longer {_WAYS[finding.slow]}"
        fast = f"{_WAYS[finding.fast]} ({seconds(finding.fast_s)})"
        return f"{image} takes {than} ({seconds(finding.slow_s)}) as {fast}, median against median."
    pool = _pool(finding.pool)
    if isinstance(finding, MostTime):
        share = f"{min(99, round(finding.share * 100))}%"
        pulls = f"{count(finding.pulls, 'pull')}, half of them longer than {seconds(finding.p50_s)}"
        return f"{image} takes {share} of all the time that pool {pool} spends pulling: {pulls}."
    if isinstance(finding, DiskMissed):
        pulls = f"{count(finding.pulls, 'pull')}, p50 {seconds(finding.p50_s)}"
        way = f"{image} came {_WAYS[finding.method]} ({pulls})"
        return f"Nodes of pool {pool} have a cache disk, but {way}: the disk does not hold all of it."
    took = f"{seconds(finding.first_s)}, those on further nodes {seconds(finding.later_s)}"
    return f"The first pull of {image} on pool {pool} {_WAYS[finding.method]} took {took}: {_first_why(finding)}."


def _first_why(finding: FirstSlower) -> str:
    if finding.method is Method.STREAMING:
        return "image streaming has to import an image before it can stream it"
    return "caches between registry and node were still empty"


def _elsewhere(finding: SlowNode | SlowStart | FirstDiskSlow | QueueLonger, name: ImageName) -> str:
    if isinstance(finding, QueueLonger):
        return (
            f"On pool {_pool(finding.pool)} {finding.waited} of {count(finding.pulls, 'pull')} waited "
            f"{seconds(finding.queue_s)} (p50) in the kubelet's queue, longer than a pull takes "
            f"({seconds(finding.pull_s)}): its nodes pull one image after another (maxParallelImagePulls)."
        )
    if isinstance(finding, SlowNode):
        return (
            f"Node {neutral(finding.node)} took {seconds(finding.seconds)} for {name(finding.image)}, other nodes "
            f"of pool {_pool(finding.pool)} {seconds(finding.usual_s)}: look at this node's disk and network."
        )
    if isinstance(finding, SlowStart):
        return (
            f"{name(finding.image)} pulled {_WAYS[finding.method]} is there sooner ({seconds(finding.pull_s)} "
            f"against {seconds(finding.other_pull_s)}) but takes longer from then to Ready: "
            f"{seconds(finding.start_s)} against {seconds(finding.other_start_s)} {_WAYS[finding.other]}."
        )
    return (
        f"On pool {_pool(finding.pool)} nodes with the first cache disk of its disk image in their zone took "
        f"{seconds(finding.first_s)} to take a pod, others {seconds(finding.other_s)}: Compute makes the first "
        "disk from an image more slowly."
    )


def _going_wrong(finding: Failing | StillPulling, name: ImageName) -> str:
    if isinstance(finding, StillPulling):
        since = "" if finding.seconds is None else f" for {seconds(finding.seconds)}"
        image, node = name(finding.longest.image), neutral(finding.longest.node) or "an unknown node"
        if finding.pulls == 1:
            return f"A pull has begun and not ended: {image} on {node}{since}."
        return f"{finding.pulls} pulls have begun and not ended, the longest {image} on {node}{since}."
    parts = [count(finding.failed, "failed pull")] if finding.failed else []
    parts += [count(finding.back_offs, "back-off")] if finding.back_offs else []
    parts += [f"refused {count(finding.refused, 'time')}"] if finding.refused else []
    why = f" The last reason: {cut(neutral(finding.why), _MOST_WHY)}" if finding.why else ""
    return f"{name(finding.image)} can't be had on {count(finding.nodes, 'node')}: {', '.join(parts)}.{why}"


def _pool(name: str) -> str:
    return neutral(name) or "(unknown)"
