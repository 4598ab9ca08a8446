"""Which cached images nobody has used for long enough, as far as recordings of pulls tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kubectl_imagecache.core.contents import CachedImage
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.kubelet_words import Said, Word
from kubectl_imagecache.core.references import ImageRef, parse

SLACK_S = 86_400.0
"""Between two recordings, and since the last one's last record, so much may be missing: a quiet day records nothing."""
_USES = frozenset({Word.PULLING, Word.PULLED, Word.PRESENT, Word.STREAMED, Word.DISK_CACHED})


@dataclass(slots=True)
class Recorded:
    """What one recording shows."""

    began: float
    """Epoch seconds, as are all times here."""
    until: float = 0.0
    """Of its last record."""
    seen: dict[str, float] = field(default_factory=dict)
    """Image, as the kubelet names it -> when it was last used."""

    def note(self, said: Said, at: float | None) -> None:
        """Take in one event's message, and when it was."""
        if at is None:
            return
        self.until = max(self.until, at)
        if said.word in _USES and said.image:
            self.seen[said.image] = max(at, self.seen.get(said.image, 0.0))


def kept(
    unused: Iterable[CachedImage], recordings: Iterable[Recorded], now: float, span_s: float
) -> tuple[list[CachedImage], bool]:
    """Those of UNUSED (by nothing now) that stay, and whether RECORDINGS go back SPAN_S without a hole.

    An image is let go only if they do, and show no use of it since then.
    """
    found = list(recordings)
    if not _covers(found, now - span_s, now):
        return list(unused), False
    recent = [
        ref for recording in found for text, at in recording.seen.items() if at >= now - span_s for ref in _ref(text)
    ]
    return [image for image in unused if any(_same(image, ref) for ref in recent)], True


def _covers(recordings: list[Recorded], since: float, now: float) -> bool:
    reached = since
    for recording in sorted(recordings, key=lambda one: one.began):
        if recording.began > reached + (SLACK_S if reached > since else 0.0):
            return False
        reached = max(reached, recording.until)
    return reached >= now - SLACK_S and reached > since


def _ref(text: str) -> list[ImageRef]:
    try:
        return [parse(text)]
    except BadUsage:
        return []


def _same(image: CachedImage, ref: ImageRef) -> bool:
    return (ref.name == image.ref.name and bool(ref.tag) and ref.tag == image.ref.tag) or (
        bool(ref.digest) and image.holds({ref.digest})
    )
