"""How much of a pool's demand its cache disk covers, and what a cold start loses by the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.pulls import Pull
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.report import Basis, ColdStart, Coverage, Match, Share, UseMatch

_COUNTED = (Match.CACHED, Match.PARTLY, Match.MISSING)


def coverage(matches: Iterable[UseMatch]) -> Coverage | None:
    """Coverage by images, bytes and pulls; None if nothing was compared."""
    counted = [match for match in matches if match.match in _COUNTED]
    if not counted:
        return None
    cached = [match for match in counted if match.match is Match.CACHED]
    sized = [(match, match.compressed) for match in counted if match.compressed is not None]
    return Coverage(
        images=Share(len(cached), len(counted)),
        bytes=Share(sum(_cached_bytes(match, size) for match, size in sized), sum(size for _, size in sized)),
        pulls=Share(sum(match.use.pulls for match in cached), sum(match.use.pulls for match in counted)),
        unknown_sizes=len(counted) - len(sized),
    )


def ratio(covered: Coverage) -> float:
    """The figure that a threshold is held against: by bytes, or by images where a size is unknown."""
    by_bytes = covered.bytes.ratio
    if covered.unknown_sizes or by_bytes is None:
        return covered.images.ratio or 0.0
    return by_bytes


def cold_start(matches: Iterable[UseMatch], nodes: int, measured: Mapping[str, float], rate: float) -> ColdStart | None:
    """Seconds that a fresh node loses to pulls, over MATCHES that aren't cached; None if there are none.

    NODES is the pool's number of nodes: an image that runs on a few of them is pulled by a new one only so often.
    MEASURED has seconds of a pull by reference (see `measured_pulls`); RATE is bytes/s for the rest.
    """
    seconds, bases, unknown, lost = 0.0, set[Basis](), 0, False
    for match in matches:
        if match.match in (Match.CACHED, Match.IGNORED):
            continue
        lost = True
        chance = min(1.0, max(match.use.nodes, 1) / max(nodes, 1))
        missing = None if match.compressed is None else match.compressed - (match.bytes_cached or 0)
        if str(match.use.ref) in measured:
            seconds += chance * measured[str(match.use.ref)]
            bases.add(Basis.MEASURED)
        elif missing is not None:
            seconds += chance * missing / rate
            bases.add(Basis.ESTIMATED)
        else:
            unknown += 1
    if not lost:
        return None
    return ColdStart(
        seconds, bases.pop() if len(bases) == 1 else Basis.MIXED if bases else Basis.ESTIMATED, rate, unknown
    )


def measured_pulls(pulls: Iterable[Pull], pool_of: Mapping[str, str], pool: str) -> dict[str, float]:
    """Median seconds of a pull by normalised reference, by POOL's own nodes; POOL_OF maps nodes to pools.

    Pulls elsewhere say little: another pool may have another cache disk, or image streaming.
    """
    seen: dict[str, list[float]] = {}
    for pull in pulls:
        if pool_of.get(pull.node) != pool:
            continue
        try:
            seen.setdefault(str(parse(pull.image)), []).append(pull.seconds)
        except BadUsage:
            continue  # clients.kube has counted and reported it
    return {ref: median(seconds) for ref, seconds in seen.items()}


def _cached_bytes(match: UseMatch, size: int) -> int:
    return size if match.match is Match.CACHED else min(match.bytes_cached or 0, size)
