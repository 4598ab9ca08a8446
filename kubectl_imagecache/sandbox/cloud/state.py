"""What the sandbox's cloud holds, shared by the handlers of all its APIs."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

from kubectl_imagecache.core.contents import CachedImage, Contents
from kubectl_imagecache.sandbox.cloud.errors import ApiError
from kubectl_imagecache.sandbox.http import World
from kubectl_imagecache.sandbox.kube.node_cache import NodeCache

Json = dict[str, Any]

COMPUTE_URL = "https://www.googleapis.com/compute/v1/"
GKE_URL = "https://container.googleapis.com/v1/"

NODE_VERSIONS = (
    "1.33.5-gke.1201000",
    "1.33.4-gke.1350000",
    "1.32.9-gke.1130000",
    "1.32.8-gke.1134000",
    "1.31.13-gke.1139000",
    "1.30.14-gke.1286000",
)

_PACIFIC = timezone(timedelta(hours=-8))


class NodeSink(Protocol):
    """The cluster that nodes of node pools join and leave."""

    def add_node(self, node: Json, cache: NodeCache, kubelet_s: float = 0.0) -> None:
        """Take a node, a core/v1 Node in JSON, with what its disks hold; Ready at once or after KUBELET_S."""

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods go with it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, virtual seconds."""

    gke_pending_s: float = 2.0
    """From the call until an operation of GKE is RUNNING."""
    node_ready_s: float = 55.0
    """From the request for an instance until its node is Ready, or registers if `kubelet_s` is not 0."""
    kubelet_s: float = 0.0
    """From a node's registering until it is Ready."""
    first_disk_s: float = 0.0
    """So much later yet with the first cache disk of a disk image in the zone."""
    node_stagger_s: float = 1.0
    """Between two nodes of one zone."""
    node_gone_s: float = 8.0
    """From a node's deletion until its instance is gone."""
    gke_settle_s: float = 5.0
    """From the last node until the operation is DONE."""
    cluster_s: float = 240.0
    compute_s: float = 4.0
    """Small operations of Compute: labels, metadata, disks, deletions."""
    image_s: float = 60.0
    """An image made from a disk."""
    boot_s: float = 12.0
    """From the insert of an instance until it is RUNNING and its start-up script begins."""
    stop_s: float = 10.0


@dataclass(slots=True)
class OrderedFailure:
    """An operation to come that will end with an error."""

    kind: str
    """Operation type, `insert` or `CREATE_NODE_POOL`; empty is any."""
    target: str
    """What the target's path ends with; empty is any."""
    error: ApiError
    times: int = 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a disk or a disk image holds."""

    chain_ids: frozenset[str] = frozenset()
    """Of its layers."""
    listed: tuple[CachedImage, ...] = ()
    """The container images that its `images.metadata` names."""
    record: Contents | None = None
    """Its `imagecache.json`; None as Google's builder leaves it."""
    file: Path | None = None
    """Its very bytes, never written to again; None where they are only told of."""


EMPTY = Held()
"""An unformatted disk."""


@dataclass(slots=True)
class State:
    """Everything but routes: handlers are functions of this."""

    world: World
    nodes: NodeSink
    project: str
    project_number: str
    timing: Timing = field(default_factory=Timing)
    collections: dict[str, dict[str, Json]] = field(default_factory=dict)
    """`projects/p/zones/z/disks` -> name -> resource."""
    held: dict[str, Held] = field(default_factory=dict)
    """Path of a disk or image -> what is on it."""
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    no_buckets: set[str] = field(default_factory=set)
    """Buckets that don't exist; every other does."""
    denied: set[str] = field(default_factory=set)
    """Permissions that the caller lacks."""
    asked: set[str] = field(default_factory=set)
    """Permissions that calls have needed."""
    apis_off: set[str] = field(default_factory=set)
    """APIs that are not enabled: `secretmanager.googleapis.com`."""
    no_accounts: set[str] = field(default_factory=set)
    """Emails of service accounts that don't exist; every other does."""
    policies: dict[str, list[Json]] = field(default_factory=dict)
    """Organization policies: constraint -> the rules of the effective policy."""
    quotas: dict[str, float] = field(default_factory=dict)
    """Limits that differ from the usual: metric -> limit, in every region."""
    failures: list[OrderedFailure] = field(default_factory=list)
    boot_hooks: list[Callable[..., None]] = field(default_factory=list)
    serial: dict[tuple[str, int], SerialPort] = field(default_factory=dict)
    guest_attributes: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    on_gone: list[Callable[[State, Json], None]] = field(default_factory=list)
    """Told of every instance that is taken away."""
    members: dict[str, dict[str, Json]] = field(default_factory=dict)
    """baseInstanceName of a managed instance group -> its instances by name."""
    leaving: set[str] = field(default_factory=set)
    """Names of instances that their group was told to delete."""
    disks_made: set[tuple[str, str]] = field(default_factory=set)
    """(disk image, zone) of every cache disk that was made."""
    boots: dict[str, int] = field(default_factory=dict)
    """Instance path -> how often it has booted; what was scheduled for an earlier boot doesn't run."""
    busy: dict[str, str] = field(default_factory=dict)
    """Cluster's path -> the name of the GKE operation under way in it."""
    label_prefixes: dict[str, str] = field(default_factory=dict)
    """Node pool's path -> the spelling of the cache disk's label on its nodes; empty leaves it out."""
    versions: list[str] = field(default_factory=lambda: list(NODE_VERSIONS))
    """Node versions that GKE offers, newest first."""
    requests: dict[str, Json] = field(default_factory=dict)
    """requestId -> the operation that it began."""
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(4711_000_000_000_000_001, 7919))

    def collection(self, path: str) -> dict[str, Json]:
        """The resources directly under PATH, by name; writable."""
        return self.collections.setdefault(path, {})

    def find(self, path: str) -> Json | None:
        """The resource at PATH, or None."""
        parent, _, name = path.rpartition("/")
        return self.collections.get(parent, {}).get(name)

    def drop(self, path: str) -> None:
        """Forget the resource at PATH and its contents."""
        parent, _, name = path.rpartition("/")
        self.collections.get(parent, {}).pop(name, None)
        self.held.pop(path, None)

    def holds(self, path: str) -> Held:
        """What is on the disk or image at PATH."""
        return self.held.get(path, EMPTY)

    def new_id(self) -> str:
        """A decimal id, as Compute numbers resources; never given twice."""
        return str(next(self._ids))

    def suffix(self, length: int) -> str:
        """Random characters for a name, repeatable by seed."""
        return "".join(self.rng.choices("bcdfghjklmnpqrstvwxz2456789", k=length))

    def hex(self, length: int) -> str:
        """Random hexadecimal characters, repeatable by seed."""
        return "".join(self.rng.choices("0123456789abcdef", k=length))

    def now(self) -> datetime:
        """The virtual present."""
        return self.world.clock.now()

    def compute_time(self) -> str:
        """The present as Compute writes it, in Pacific time."""
        return self.now().astimezone(_PACIFIC).isoformat(timespec="milliseconds")

    def gke_time(self) -> str:
        """The present as GKE writes it in operations."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def ordered_failure(self, kind: str, target: str) -> ApiError | None:
        """The error that an operation of KIND on TARGET was ordered to end with; counts it."""
        for failure in self.failures:
            if failure.times and failure.kind in ("", kind) and target.endswith(failure.target):
                failure.times -= 1
                return failure.error
        return None


@dataclass(slots=True)
class SerialPort:
    """The output of one port, of which the last MiB is kept."""

    text: bytes = b""
    first: int = 0
    """Offset of the first byte kept."""

    def write(self, data: bytes) -> None:
        """Append DATA and forget what is older than 1 MiB."""
        self.text += data
        surplus = len(self.text) - 1_048_576
        if surplus > 0:
            self.text, self.first = self.text[surplus:], self.first + surplus

    def read(self, start: int, limit: int = 1_048_576) -> tuple[bytes, int]:
        """What is there from START, and where it really starts: later than asked if text was lost."""
        begin = max(start, self.first)
        return self.text[begin - self.first :][:limit], begin


def fingerprint(value: object) -> str:
    """A short hash of VALUE, as Compute guards labels and metadata with."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest[:8]).decode()


def run(state: State, steps: Iterator[float], done: Callable[[ApiError | None], None]) -> None:
    """Take STEPS, each of which yields the virtual seconds until the next, then tell DONE how it ended."""

    def step() -> None:
        try:
            seconds = next(steps)
        except StopIteration:
            done(None)
        except ApiError as error:
            done(error)
        else:
            state.world.clock.call_later(seconds, step)

    step()
