"""What `status`, `list` and `diff` have decided, pool by pool: plain data for render."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from kubectl_imagecache.core.contents import CachedImage, Contents, Layer
from kubectl_imagecache.core.demand import ImageUse
from kubectl_imagecache.core.pools import DiskImage, Pool
from kubectl_imagecache.core.reasons import Reason
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.views import Gap


class State(Enum):
    """The fixed words of a verdict."""

    NONE = "NONE"
    """The pool has no cache disk."""
    FRESH = "FRESH"
    STALE = "STALE"
    UNKNOWN = "UNKNOWN"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A pool's state with every reason that applies, weightiest first."""

    state: State
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, in whatever unit the field says."""

    part: int
    whole: int

    @property
    def ratio(self) -> float | None:
        """0.0 to 1.0; None of nothing."""
        return self.part / self.whole if self.whole else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what a pool uses its cache disk holds, three ways."""

    images: Share
    """Container images; one counts only if it is wholly cached."""
    bytes: Share
    """Compressed bytes of images whose size is known; cached layers of missing images count where known."""
    pulls: Share
    """Images weighted with the number of nodes that have pulled them."""
    unknown_sizes: int = 0
    """Images left out of `bytes`."""


class Basis(Enum):
    """Where an estimate comes from."""

    MEASURED = "measured"
    """From pulls seen in events."""
    ESTIMATED = "estimated"
    """From bytes and the stated rate."""
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds that a fresh node of the pool spends pulling what the cache disk lacks."""

    seconds: float
    """Sum over the images missing, each weighted with the share of the pool's nodes that run it."""
    basis: Basis
    rate: float
    """Bytes/s assumed for what wasn't measured."""
    unknown_sizes: int = 0
    """Missing images that are left out because neither a pull nor a size is known."""


class Match(Enum):
    """How a used image and the disk's contents compare."""

    CACHED = "cached"
    PARTLY = "partly"
    MISSING = "missing"
    UNKNOWN = "unknown"
    IGNORED = "ignored"
    """Left out by --ignore or --min-size."""


@dataclass(frozen=True, slots=True)
class UseMatch:
    """One used image, compared."""

    use: ImageUse
    match: Match
    cached: CachedImage | None = None
    """The image on the disk that it was compared with: the same, or the same repository's nearest; None if none."""
    compressed: int | None = None
    """Bytes of the whole image; None is unknown."""
    layers_cached: int | None = None
    """None: layers were not looked at."""
    layers: int | None = None
    bytes_cached: int | None = None
    """Compressed bytes of the cached layers; None is unknown."""
    layer_list: tuple[Layer, ...] = ()
    """The used image's layers from the base up; empty is unknown."""
    cached_chain_ids: frozenset[str] = frozenset()
    """Of `layer_list`: the chain IDs that are on the disk."""
    reason: Reason | None = None
    """The main reason if it isn't cached."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The one command that mends the pool's cache."""

    argv: tuple[str, ...]
    """Without the program: `("rebuild", "gpu-pool")`; empty if no command of ours mends it."""
    advice: str = ""
    """A clause for when no command of ours mends it, or to go with it."""
    adds: tuple[ImageRef, ...] = ()
    drops: tuple[ImageRef, ...] = ()
    keeps: int = 0
    disk_size_gb: int | None = None
    """GiB that the rebuilt disk needs, from unpacked sizes estimated by compressed ones; None is unknown."""
    disk_size_is_most: bool = False
    """Some images' layers aren't known: those that they share were counted for each."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Everything that is said about one pool."""

    pool: Pool
    nodes: int
    """Nodes that exist now; 0 for a pool scaled to zero."""
    verdict: Verdict
    disk_image: DiskImage | None = None
    """The first cache disk's (or, for a pool whose only disk is no cache, that one's); None if none or not read."""
    contents: Contents | None = None
    """Of all the pool's cache disks together; None is unknown."""
    uses: tuple[UseMatch, ...] = ()
    unused: tuple[CachedImage, ...] = ()
    coverage: Coverage | None = None
    """None if there is nothing to compare with, or the contents are unknown."""
    cold_start: ColdStart | None = None
    suggestion: Suggestion | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The whole answer."""

    cluster: str
    """`projects/P/locations/L/clusters/C`, or the API server where that is unknown."""
    context: str
    """kubeconfig context; empty when read from files."""
    observed_at: datetime
    pools: tuple[PoolStatus, ...]
    gaps: tuple[Gap, ...] = ()
    source: str = "live"
    """`live`, `sandbox SCENARIO`, or `files in DIR`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as stale; from flags, else `.imagecache.yaml`, else these defaults."""

    min_coverage: float = 1.0
    """A pool is FRESH while coverage by bytes (by images where no size is known) is at least this, 0.0 to 1.0."""
    min_size: int = 0
    """Images below this many compressed bytes are not counted; of unknown size they are."""
    ignore: tuple[str, ...] = ()
    """Shell patterns; an image is not counted if one matches its reference, full or as people write it."""
    rate: float = 2_000_000_000 / 55
    """Bytes/s of a registry pull, unpacking included: GKE's published example, a 2 GB image in 55 s."""
