"""What a pool runs or will run: image by image, with pods, nodes and pulls."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.core.references import ImageRef


@dataclass(frozen=True, slots=True)
class ImageUse:
    """One container image in use on one pool: a reference and what it meant where it was pulled."""

    ref: ImageRef
    """As the pod names it, normalised."""
    digest: str = ""
    """From `imageID` (index, manifest or config digest); empty if no node has pulled it yet."""
    pods: int = 0
    """Pods on the pool's nodes that use it, Pending ones that are placed here included."""
    nodes: int = 0
    """Nodes of the pool where such a pod is bound."""
    pulls: int = 0
    """Nodes of the pool that have pulled it (`imageID` known)."""
    waiting: int = 0
    """Of `pods`: those not yet bound to a node."""
    templates: int = 0
    """Workload templates that would use it but run nothing now."""


@dataclass(frozen=True, slots=True)
class Demand:
    """All that one pool runs or will run; sorted by reference and digest, one use for each pair."""

    pool: str
    uses: tuple[ImageUse, ...] = ()


@dataclass(frozen=True, slots=True)
class MatchExpression:
    """One term of a node selector (core/v1 NodeSelectorRequirement)."""

    key: str
    operator: str
    """In, NotIn, Exists, DoesNotExist, Gt, Lt."""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Toleration:
    """A pod's toleration (core/v1)."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What decides where a pod may run: nodeSelector, required node affinity, tolerations."""

    node_selector: frozenset[tuple[str, str]] = frozenset()
    affinity: tuple[tuple[MatchExpression, ...], ...] = ()
    """Terms are ORed, expressions within a term ANDed; no terms means no constraint."""
    tolerations: frozenset[Toleration] = frozenset()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Pods (or a workload template) bound to no node, that want these images."""

    constraints: Constraints
    images: tuple[ImageRef, ...]
    pods: int
    """Pending pods; 0 for a template that runs nothing."""
    template: str = ""
    """`Deployment default/web` for a template; empty for Pending pods."""
