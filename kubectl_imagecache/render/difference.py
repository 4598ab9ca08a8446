"""What separates a pool's cache disk from what the pool uses, as lines to add, drop, change or keep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kubectl_imagecache.core.contents import CachedImage
from kubectl_imagecache.core.reasons import NewTag, TagMoved
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import Match, PoolStatus, UseMatch


class ChangeKind(Enum):
    """What a line of a diff says."""

    ADD = "add"
    """Used, not on the disk."""
    CHANGE = "change"
    """On the disk under another tag or digest, which nothing uses any more."""
    DROP = "drop"
    """On the disk, unused."""
    KEEP = "keep"
    """Used and on the disk."""
    IGNORE = "ignore"
    """Left out by --ignore or --min-size."""
    UNKNOWN = "unknown"
    """Whether it is on the disk can't be told."""


SIGNS = {
    ChangeKind.ADD: "+",
    ChangeKind.CHANGE: "~",
    ChangeKind.DROP: "-",
    ChangeKind.KEEP: "=",
    ChangeKind.IGNORE: "!",
    ChangeKind.UNKNOWN: "?",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a pool's diff."""

    pool: str
    kind: ChangeKind
    ref: ImageRef
    """The used image; for DROP the one on the disk."""
    old: str = ""
    """Tag or digest on the disk; empty if it isn't there."""
    new: str = ""
    """Tag or digest in use; empty for DROP."""
    compressed: int | None = None
    """Bytes of the whole image; None is unknown."""
    missing: int | None = None
    """Compressed bytes that a fresh node would pull; None is unknown."""
    match: UseMatch | None = None
    """None for DROP."""


def changes(status: PoolStatus) -> tuple[Change, ...]:
    """The pool's changes: add, change, drop, unknown, keep, ignore; each kind by reference.

    None for a pool without a cache disk: there is nothing to compare with.
    """
    if not status.pool.cache_disks:
        return ()
    kept = {match.cached for match in status.uses if match.match is Match.CACHED}
    found = [_of_use(status.pool.name, match, kept) for match in status.uses]
    found.extend(
        Change(status.pool.name, ChangeKind.DROP, image.ref, image.ref.tag or image.digest, "", image.compressed, 0)
        for image in status.unused
    )
    order = list(ChangeKind)
    return tuple(sorted(found, key=lambda change: (order.index(change.kind), change.ref, change.new)))


def _of_use(pool: str, match: UseMatch, kept: set[CachedImage | None]) -> Change:
    use = match.use
    new = use.ref.tag or use.digest or use.ref.digest
    if match.match is Match.CACHED:
        return Change(pool, ChangeKind.KEEP, use.ref, new, new, match.compressed, 0, match)
    if match.match is Match.IGNORED:
        return Change(pool, ChangeKind.IGNORE, use.ref, "", new, match.compressed, None, match)
    if match.match is Match.UNKNOWN:
        return Change(pool, ChangeKind.UNKNOWN, use.ref, "", new, match.compressed, None, match)
    missing = None if match.compressed is None else match.compressed - (match.bytes_cached or 0)
    if isinstance(match.reason, TagMoved):
        return Change(
            pool, ChangeKind.CHANGE, use.ref, match.reason.old, match.reason.new, match.compressed, missing, match
        )
    if isinstance(match.reason, NewTag) and match.cached is not None and match.cached not in kept:
        old = match.cached.ref.tag or match.cached.digest
        return Change(pool, ChangeKind.CHANGE, use.ref, old, new, match.compressed, missing, match)
    return Change(pool, ChangeKind.ADD, use.ref, "", new, match.compressed, missing, match)
