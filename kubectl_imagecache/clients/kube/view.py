"""All folds together, combined into the one view that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kubectl_imagecache.clients.kube.events import EventFold
from kubectl_imagecache.clients.kube.nodes import NodeFold
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.kube.pods import PodFold
from kubectl_imagecache.clients.kube.selectors import Selector, parse_selector
from kubectl_imagecache.clients.kube.templates import KINDS, TemplateFold
from kubectl_imagecache.core.views import Gap, KubeView


@dataclass(slots=True)
class Folds:
    """One fold of each kind; a list that begins again replaces its own."""

    scope: Scope
    selector: Selector
    pods: PodFold
    nodes: NodeFold
    events: EventFold
    templates: dict[str, TemplateFold]
    """By kind."""
    read: set[str] = field(default_factory=set)
    """Kinds of which something, be it an empty list, was read: `pods`, `nodes`, `events`, `templates`."""

    @classmethod
    def begin(cls, scope: Scope) -> Folds:
        """Empty folds; raise BadUsage if SCOPE's selector is malformed."""
        selector = parse_selector(scope.selector)
        return cls(
            scope,
            selector,
            PodFold(scope, selector),
            NodeFold(),
            EventFold(scope),
            {kind: TemplateFold(kind, scope, selector) for kind in KINDS.values()},
        )


def combine(folds: Folds, gaps: Iterable[Gap]) -> KubeView:
    """What FOLDS tell together; without nodes all demand goes under the empty pool name.

    A kind of which not all could be read tells nothing: half a demand would look like a whole one.
    """
    folds = _whole(folds)
    pool_of = folds.nodes.pools() if "nodes" in folds.read else None
    own_gaps = [*folds.pods.gaps(), *folds.nodes.gaps(), *folds.events.gaps()]
    for fold in folds.templates.values():
        own_gaps += fold.gaps()
    templates = sorted((one for fold in folds.templates.values() for one in fold.found), key=lambda one: one.template)
    return KubeView(
        nodes=tuple(sorted(folds.nodes.facts.values(), key=lambda one: one.name)),
        shapes=folds.nodes.sorted_shapes(),
        demands=folds.pods.demands(pool_of),
        unplaced=(*folds.pods.unplaced(pool_of), *templates),
        sizes={**folds.events.sizes, **folds.nodes.sizes},
        pulls=folds.events.sorted_pulls(),
        gaps=(*gaps, *own_gaps),
    )


def _whole(folds: Folds) -> Folds:
    empty = Folds.begin(folds.scope)
    return replace(
        folds,
        pods=folds.pods if "pods" in folds.read else empty.pods,
        nodes=folds.nodes if "nodes" in folds.read else empty.nodes,
        events=folds.events if "events" in folds.read else empty.events,
    )
