"""Where pods that don't run yet may run: nodeSelector, required node affinity and taints, as the scheduler has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kubectl_imagecache.core.demand import Constraints, Demand, ImageUse, MatchExpression, Toleration, Unplaced
from kubectl_imagecache.core.pools import NodeShape, Pool, Taint
from kubectl_imagecache.core.references import ImageRef

_REPELLING = ("NoSchedule", "NoExecute")


def place(
    demands: Mapping[str, Demand], unplaced: Iterable[Unplaced], shapes: Sequence[NodeShape]
) -> dict[str, Demand]:
    """DEMANDS, with the pods and templates that are bound to no node added to each pool where they may run.

    A pod that waits for a tag which already runs in the pool is taken to mean what runs there.
    """
    waiting: dict[tuple[str, ImageRef], tuple[int, int]] = {}
    for group in unplaced:
        for pool in pools_for(group.constraints, shapes):
            for ref in group.images:
                pods, templates = waiting.get((pool, ref), (0, 0))
                waiting[pool, ref] = (pods + group.pods, templates + bool(group.template))
    uses = {pool: {(use.ref, use.digest): use for use in demand.uses} for pool, demand in demands.items()}
    for (pool, ref), (pods, templates) in waiting.items():
        here = uses.setdefault(pool, {})
        running = [use for (known, _), use in here.items() if known == ref]
        use = running[-1] if running else ImageUse(ref)
        here[use.ref, use.digest] = replace(
            use, pods=use.pods + pods, waiting=use.waiting + pods, templates=use.templates + templates
        )
    return {pool: Demand(pool, tuple(here[key] for key in sorted(here))) for pool, here in uses.items()}


def pools_for(constraints: Constraints, shapes: Iterable[NodeShape]) -> frozenset[str]:
    """Names of the pools with a node of one of SHAPES where such a pod may be scheduled.

    A pod that fits several pools may land on any of them, so it counts for each.
    """
    return frozenset(shape.pool for shape in shapes if fits(constraints, shape))


def fits(constraints: Constraints, shape: NodeShape) -> bool:
    """Whether a pod with CONSTRAINTS may be scheduled on a node of SHAPE."""
    if not constraints.node_selector <= shape.labels:
        return False
    if not all(_tolerated(taint, constraints.tolerations) for taint in shape.taints if taint.effect in _REPELLING):
        return False
    if not constraints.affinity:
        return True
    labels = dict(shape.labels)
    # Terms are ORed; a term without expressions matches nothing (core/v1 NodeSelectorTerm).
    return any(term and all(_matches(labels, expression) for expression in term) for term in constraints.affinity)


def shape_of(pool: Pool) -> NodeShape:
    """What a node of POOL will look like, for a pool that has none now."""
    labels = {"cloud.google.com/gke-nodepool": pool.name}
    for label, value in (
        ("kubernetes.io/arch", pool.arch),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", pool.machine_type),
    ):
        if value:
            labels[label] = value
    return NodeShape(pool.name, pool.node_labels | frozenset(labels.items()), pool.node_taints)


def _tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return any(
        (not t.effect or t.effect == taint.effect)
        and (
            (t.operator == "Exists" and t.key in ("", taint.key))
            or (t.operator in ("", "Equal") and t.key == taint.key and t.value == taint.value)
        )
        for t in tolerations
    )


def _matches(labels: Mapping[str, str], expression: MatchExpression) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                have, want = int(value or ""), int(expression.values[0])
            except (ValueError, IndexError):
                return False
            return have > want if expression.operator == "Gt" else have < want
        case _:
            return False
