"""Where the time from a node's creation to a pod's readiness went: provision, pull, start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubectl_imagecache.core.pool_disks import first_disk_nodes
from kubectl_imagecache.core.pull_ledger import Ledger
from kubectl_imagecache.core.pull_methods import Judged, Method, Turn
from kubectl_imagecache.core.pull_records import NodeRecord, PodRecord

LONGEST_BOOT_S = 1800.0
"""A node that becomes Ready later than this after its creation has been down meanwhile: nothing follows from it."""
SOON_S = 120.0
"""A pod placed later than this after its node was Ready did not wait for that node."""


@dataclass(frozen=True, slots=True)
class StartTime:
    """One pod's way to readiness."""

    pod: str
    """`NAMESPACE/NAME`."""
    node: str
    pool: str
    image: str
    """Of its longest pull."""
    method: Method
    """Of its longest pull."""
    turn: Turn
    """Of its longest pull."""
    provision_s: float | None
    """From the node's creation until the pod was placed there; None if the pod did not wait for this node."""
    pull_s: float
    """All of its pulls, the waits in the kubelet's queue included: a pod's images are pulled one after another."""
    start_s: float
    """The rest from being placed to Ready: volumes, sandbox, init containers, the program's own start."""
    first_disk: bool | None
    """Whether its node's cache disk was the first of the disk image in the zone (slower to create); None: no such."""

    @property
    def placed_s(self) -> float:
        """Seconds from being placed to Ready."""
        return self.pull_s + self.start_s


def start_times(ledger: Ledger, judged: Iterable[Judged]) -> Iterator[StartTime]:
    """The start of each pod that pulled something, is Ready, and has never restarted; by pod name."""
    of_pod: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if one.pull.seconds is not None and one.pull.pod in ledger.pods:
            of_pod[one.pull.pod].append(one)
    firsts = first_disk_nodes(ledger.nodes.values())
    for name in sorted(of_pod):
        found = _start(ledger.pods[name], of_pod[name], ledger.nodes, firsts)
        if found is not None:
            yield found


def _start(
    pod: PodRecord, pulls: list[Judged], nodes: Mapping[str, NodeRecord], firsts: frozenset[str]
) -> StartTime | None:
    if pod.scheduled is None or pod.ready is None or pod.restarts or pod.ready < pod.scheduled:
        return None
    node = nodes.get(pod.node)
    # A pod of the same name may have lived before (StatefulSets): its pulls are not this one's.
    own = [p for p in pulls if p.pull.node == pod.node and (p.pull.ended is None or p.pull.ended >= pod.scheduled - 1)]
    if not own:
        return None
    longest = max(own, key=lambda one: one.pull.seconds or 0.0)
    pull_s = sum((one.pull.seconds or 0.0) + (one.pull.queue_s or 0.0) for one in own)
    placed_s = pod.ready - pod.scheduled
    return StartTime(
        f"{pod.namespace}/{pod.name}",
        pod.node,
        node.pool if node else "",
        longest.pull.image,
        longest.method,
        longest.turn,
        _provision(pod, node),
        round(min(pull_s, placed_s), 6),
        round(max(0.0, placed_s - pull_s), 6),
        None if node is None or not node.cache_disks else node.name in firsts,
    )


def _provision(pod: PodRecord, node: NodeRecord | None) -> float | None:
    if node is None or node.created is None or node.ready is None or pod.created is None or pod.scheduled is None:
        return None
    waited = pod.created <= node.ready and pod.scheduled <= node.ready + SOON_S
    if not waited or node.ready - node.created > LONGEST_BOOT_S:
        return None
    return max(0.0, pod.scheduled - node.created)
