"""Pods folded into counters: which image runs on which node, how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.images import Images
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.kube.selectors import Selector
from kubectl_imagecache.core.demand import Constraints, Demand, ImageUse, MatchExpression, Toleration, Unplaced
from kubectl_imagecache.core.pools import POOL_LABEL
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.views import Gap

_NODE_NAME = "metadata.name"
_NO_LABELS: dict[str, str] = {}


@dataclass(slots=True)
class PodFold:
    """What is kept of all pods read so far: counters by image and node, and groups of unbound pods.

    Completed pods (Succeeded, Failed) are left out: they want nothing any more. Their pulls did happen, but a pod
    status doesn't say on how many nodes the image still lies.
    """

    scope: Scope
    selector: Selector = ()
    images: Images = field(default_factory=Images)
    nodes: dict[str, int] = field(default_factory=dict)
    """Node name to its index."""
    uses: dict[tuple[ImageRef, str], int] = field(default_factory=dict)
    """(Reference, digest) to its index in `keys` and `counts`."""
    keys: list[tuple[ImageRef, str]] = field(default_factory=list)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    """(Image text, imageID text) to the same index; -1 for what is no reference."""
    counts: list[dict[int, int]] = field(default_factory=list)
    """For each use: node index to number of pods."""
    waiting: Counter[tuple[Constraints, tuple[ImageRef, ...]]] = field(default_factory=Counter)

    def add(self, pod: wire.Pod) -> None:
        """Count POD, if it is in scope and not completed."""
        meta, spec, status = pod.metadata, pod.spec, pod.status
        if meta is None or spec is None or not self.scope.counts(meta.namespace or ""):
            return
        if status is not None and status.phase in ("Succeeded", "Failed"):
            return
        if self.selector and not all(term.matches(meta.labels or _NO_LABELS) for term in self.selector):
            return
        used = self._used(spec, status)
        if not used:
            return
        if spec.node_name:
            node = self.nodes.setdefault(spec.node_name, len(self.nodes))
            for use in used:
                count = self.counts[use]
                count[node] = count.get(node, 0) + 1
        else:
            self.waiting[constraints_of(spec), tuple(sorted({self.keys[use][0] for use in used}))] += 1

    def _used(self, spec: wire.PodSpec, status: wire.PodStatus | None) -> set[int]:
        ids = image_ids(status) if status is not None else {}
        used = {self._use(image, ids.get(name, "")) for name, image in named_images(spec)}
        used.discard(-1)
        if len(used) > 1 and len(ids) < len(used):
            # Two containers of one image, one of which is yet to start: the pod uses what the other pulled.
            pulled = {self.keys[use][0] for use in used if self.keys[use][1]}
            used = {use for use in used if self.keys[use][1] or self.keys[use][0] not in pulled}
        return used

    def _use(self, image: str, image_id: str) -> int:
        use = self.seen.get((image, image_id))
        if use is None or use < 0:
            ref = self.images.ref(image)
            if ref is None:
                use = -1
            else:
                key = (ref, self.images.digest(image_id))
                use = self.uses.setdefault(key, len(self.keys))
                if use == len(self.keys):
                    self.keys.append(key)
                    self.counts.append({})
            if len(image) + len(image_id) < 2048:
                self.seen[image, image_id] = use
        return use

    def demands(self, pool_of: Mapping[str, str] | None) -> dict[str, Demand]:
        """The bound pods by pool, POOL_OF telling each node's; None: not known, all go under the empty name."""
        pools = [pool_of.get(name, "") if pool_of is not None else "" for name in self.nodes]
        uses: dict[str, list[ImageUse]] = {}
        for (ref, digest), count in zip(self.keys, self.counts, strict=True):
            pods: Counter[str] = Counter()
            nodes: Counter[str] = Counter()
            for node, number in count.items():
                pods[pools[node]] += number
                nodes[pools[node]] += 1
            for pool in pods:
                if pool or pool_of is None:
                    use = ImageUse(ref, digest, pods[pool], nodes[pool], pulls=nodes[pool] if digest else 0)
                    uses.setdefault(pool, []).append(use)
        return {
            pool: Demand(pool, tuple(sorted(of_pool, key=lambda use: (use.ref, use.digest))))
            for pool, of_pool in sorted(uses.items())
        }

    def unplaced(self, pool_of: Mapping[str, str] | None) -> list[Unplaced]:
        """The unbound pods, equal ones together, in a stable order."""
        groups: Counter[tuple[Constraints, tuple[ImageRef, ...]]] = Counter()
        for (constraints, images), pods in self.waiting.items():
            groups[at_pools(constraints, pool_of or {}), images] += pods
        found = [Unplaced(constraints, images, pods) for (constraints, images), pods in groups.items()]
        return sorted(found, key=lambda one: (one.images, repr(one.constraints.affinity), -one.pods))

    def gaps(self) -> list[Gap]:
        """What could not be read."""
        return self.images.gaps("pods")


def named_images(spec: wire.PodSpec) -> Iterable[tuple[str, str]]:
    """(Container name, image text) of everything that SPEC pulls; an image volume has the empty name."""
    for containers in (spec.containers, spec.init_containers, spec.ephemeral_containers):
        for container in containers or ():
            if container.image:
                yield container.name or "", container.image
    for volume in spec.volumes or ():
        if volume.image is not None and volume.image.reference:
            yield "", volume.image.reference


def image_ids(status: wire.PodStatus) -> dict[str, str]:
    """The imageID of each container that has one, by container name (names are unique within a pod)."""
    ids: dict[str, str] = {}
    groups = (status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses)
    for statuses in groups:
        for container in statuses or ():
            if container.name and container.image_id:
                ids[container.name] = container.image_id
    return ids


def constraints_of(spec: wire.PodSpec) -> Constraints:
    """What decides where a pod of SPEC may run."""
    terms: list[tuple[MatchExpression, ...]] = []
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required if affinity else None
    for term in (required.node_selector_terms if required else None) or ():
        expressions = [*(term.match_expressions or ()), *(term.match_fields or ())]
        if expressions:  # An empty term matches no node; terms are ORed, so it adds nothing.
            terms.append(tuple(_expression(one) for one in expressions))
    tolerations = frozenset(
        Toleration(one.key or "", one.operator or "Equal", one.value or "", one.effect or "")
        for one in spec.tolerations or ()
    )
    return Constraints(frozenset((spec.node_selector or {}).items()), tuple(terms), tolerations)


def _expression(one: wire.Expression) -> MatchExpression:
    return MatchExpression(one.key or "", one.operator or "", tuple(one.values or ()))


def at_pools(constraints: Constraints, pool_of: Mapping[str, str]) -> Constraints:
    """CONSTRAINTS with node names (a DaemonSet's pods are bound so) turned into the pools of those nodes."""
    if not any(one.key == _NODE_NAME for term in constraints.affinity for one in term):
        return constraints
    affinity = tuple(tuple(_at_pool(one, pool_of) for one in term) for term in constraints.affinity)
    return Constraints(constraints.node_selector, affinity, constraints.tolerations)


def _at_pool(one: MatchExpression, pool_of: Mapping[str, str]) -> MatchExpression:
    if one.key != _NODE_NAME or one.operator != "In":
        return one
    return MatchExpression(POOL_LABEL, "In", tuple(sorted({pool_of.get(name, "") for name in one.values})))
