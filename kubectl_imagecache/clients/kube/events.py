"""`Pulled` events folded into pulls."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.images import Images
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.core.pulls import Pull, parse_pulled
from kubectl_imagecache.core.views import Gap


@dataclass(slots=True)
class EventFold:
    """The pulls that all events read so far tell of."""

    scope: Scope
    images: Images = field(default_factory=Images)
    pulls: list[Pull] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes by digest, or by normalised reference where the kubelet named only a tag; the latest read."""
    unknown: int = 0
    """Events whose words are not known."""
    words: dict[str, str] = field(default_factory=dict)

    def add(self, event: wire.Event) -> None:
        """Keep EVENT's pull, if it tells of one in scope."""
        if event.reason != "Pulled" or not event.message:
            return
        namespace = (event.metadata.namespace if event.metadata else None) or ""
        if not self.scope.counts(namespace):
            return
        told = parse_pulled(event.message)
        if told is None:
            self.unknown += 1
            return
        if told.seconds is None or told.waiting_s is None:
            return
        node = (event.source.host if event.source else None) or event.reporting_instance or ""
        self.pulls.append(
            Pull(
                self.words.setdefault(told.image, told.image),
                told.seconds,
                told.waiting_s,
                told.size,
                self.words.setdefault(node, node),
                _when(event),
            )
        )
        if told.size and (ref := self.images.ref(told.image)) is not None:
            self.sizes[ref.digest or str(ref)] = told.size

    def sorted_pulls(self) -> tuple[Pull, ...]:
        """The pulls, oldest first; those without a time come before all others."""
        return tuple(sorted(self.pulls, key=lambda one: (one.at.timestamp() if one.at else 0.0, one.node, one.image)))

    def gaps(self) -> list[Gap]:
        """What could not be read."""
        if not self.unknown:
            return []
        plural = "s" if self.unknown > 1 else ""
        return [Gap(f"{self.unknown} Pulled event{plural}", "the kubelet's words are not known to this version")]


def _when(event: wire.Event) -> datetime | None:
    meta = event.metadata or wire.Meta()
    for text in (event.last_timestamp, event.event_time, event.first_timestamp, meta.creation_timestamp):
        if text and (when := wire.parse_time(text)) is not None:
            return when
    return None
