"""By which way each image came to its node, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from kubectl_imagecache.core.pull_ledger import ImagePull, Ledger
from kubectl_imagecache.core.pull_records import LayersRecord, NodeRecord

DISK_MOST_S = 1.0
"""A pull from a cache disk fetches the manifest and unpacks nothing: it stays under this, whatever the size."""
DISK_RATE = 500_000_000
"""Bytes/s that no registry pull on a node reaches, unpacking included; a longer pull so fast came from a disk."""


class Method(Enum):
    """The ways in which an image comes to a node."""

    CACHE_DISK = "cache disk"
    STREAMING = "image streaming"
    REGISTRY = "registry"
    NODE_STORE = "node's own store"
    """It was there already, from an earlier pull."""


class Sureness(Enum):
    """Where the method is known from."""

    OBSERVED = "observed"
    """An event or a log line about this image on this node says so."""
    INFERRED = "inferred"
    """From the node's labels, the time and the size."""


class Turn(Enum):
    """Which pull of an image it is, among those seen."""

    FIRST = "first"
    """The first of this image on any node of the pool: nothing on the way has it yet."""
    LATER = "later"
    """The first on its node, but another node of the pool had it before."""
    AGAIN = "again"
    """The node had it before."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One pull with its method and its turn."""

    pull: ImagePull
    pool: str
    """Empty if the node is gone and so its pool unknown."""
    method: Method
    sure: Sureness
    turn: Turn
    layers: LayersRecord | None = None
    """The snapshotter's word on it, where it was read."""


def judge(ledger: Ledger) -> Iterator[Judged]:
    """Each pull of LEDGER in the order of time, judged one by one so that nothing is kept twice."""
    ledger.pulls.sort(key=lambda pull: (pull.ended or 0.0, pull.node, pull.image))
    on_node: set[tuple[str, str]] = set()
    in_pool: set[tuple[str, str]] = set()
    for pull in ledger.pulls:
        node = ledger.nodes.get(pull.node)
        pool = node.pool if node else ""
        turn = _turn((pull.image, pull.node) in on_node, (pull.image, pool) in in_pool, pull)
        method, sure = _method(pull, node, turn, ledger)
        on_node.add((pull.image, pull.node))
        in_pool.add((pull.image, pool))
        yield Judged(pull, pool, method, sure, turn, ledger.layers.get((pull.image, pull.node)))


def _turn(on_node: bool, in_pool: bool, pull: ImagePull) -> Turn:
    if on_node or pull.seconds is None:
        return Turn.AGAIN
    return Turn.LATER if in_pool else Turn.FIRST


def _method(pull: ImagePull, node: NodeRecord | None, turn: Turn, ledger: Ledger) -> tuple[Method, Sureness]:
    if pull.seconds is None:
        return Method.NODE_STORE, Sureness.OBSERVED
    if turn is Turn.AGAIN and _nothing_fetched(pull):
        return Method.NODE_STORE, Sureness.INFERRED
    key = (pull.image, pull.node)
    if (line := ledger.layers.get(key)) is not None and line.layers:
        return _by_layers(line), Sureness.OBSERVED
    if key in ledger.disk_cached:
        return Method.CACHE_DISK, Sureness.OBSERVED
    if key in ledger.streamed:
        return Method.STREAMING, Sureness.OBSERVED
    return _by_node(pull, node), Sureness.INFERRED


def _by_layers(line: LayersRecord) -> Method:
    """The way by which most layers come; ties go to the slower way, which decides the time."""
    rest = line.layers - line.by_disk - line.by_streaming
    most = max(rest, line.by_streaming, line.by_disk)
    if rest == most:
        return Method.REGISTRY
    return Method.STREAMING if line.by_streaming == most else Method.CACHE_DISK


def _by_node(pull: ImagePull, node: NodeRecord | None) -> Method:
    """What the node's labels, the time and the size speak for."""
    if node is None:
        return Method.REGISTRY
    if node.cache_disks and _nothing_fetched(pull):
        return Method.CACHE_DISK
    return Method.STREAMING if node.image_streaming and _may_stream(pull.image) else Method.REGISTRY


def _nothing_fetched(pull: ImagePull) -> bool:
    seconds = pull.seconds or 0.0
    return seconds < DISK_MOST_S or (pull.size is not None and pull.size > DISK_RATE * seconds)


def _may_stream(image: str) -> bool:
    # Image streaming takes images of Artifact Registry (gcr.io is served by it):
    # https://cloud.google.com/kubernetes-engine/docs/how-to/image-streaming, "Requirements".
    host = image.partition("/")[0]
    return host.endswith(("-docker.pkg.dev", "gcr.io"))
