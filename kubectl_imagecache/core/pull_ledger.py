"""Folds records into image pulls, troubles and evidence: one compact entry a pull, nothing kept of what isn't one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.kubelet_words import Said, Word, understand
from kubectl_imagecache.core.pull_records import EventRecord, LayersRecord, NodeRecord, PodRecord, Record
from kubectl_imagecache.core.pulls import PulledMessage
from kubectl_imagecache.core.references import parse

_MOST_SAMPLES = 5
_OTHER, _PULLING = Word.OTHER, Word.PULLING  # Looking a member up takes longer than what is then done with it.


@dataclass(slots=True)  # Not frozen: see EventRecord.
class ImagePull:
    """One pull, or one finding that nothing had to be pulled; never changed."""

    image: str
    """Normalised; as the kubelet names it if that is no reference."""
    node: str
    pod: str
    """`NAMESPACE/NAME`."""
    container: str
    ended: float | None
    """Epoch seconds; None is unknown."""
    seconds: float | None
    """Time of the pull, as finely as the kubelet tells; None: the image was there already. Where `queue_s` is None it
    includes the wait in the kubelet's queue."""
    queue_s: float | None
    """Wait in the kubelet's queue before it; None: the kubelet (before 1.27) doesn't tell it apart, or no pull."""
    size: int | None
    """Compressed bytes of the whole image, where the kubelet tells (1.30 and newer)."""
    count: int = 1
    """How often; more than 1 only where the image was there already."""


@dataclass(frozen=True, slots=True)
class OpenPull:
    """A pull that began and of whose end nothing is known."""

    image: str
    node: str
    pod: str
    began: float | None
    """Epoch seconds; None is unknown."""


@dataclass(slots=True)
class Trouble:
    """Failed attempts to get one image on one node."""

    image: str
    node: str
    failed: int = 0
    """Pulls that ended badly."""
    back_offs: int = 0
    """Times that the kubelet put a further attempt off."""
    refused: int = 0
    """Pull policy Never without the image, or no valid reference."""
    why: str = ""
    """The latest words of the runtime, one line; empty if there are none."""
    last: float | None = None
    """Epoch seconds."""
    pool: str = ""
    """The node's; empty if it is unknown."""


@dataclass(slots=True)
class Ledger:
    """Everything read so far; records may come in any order, and more than once."""

    counts: Callable[[str], bool] = lambda namespace: True
    """Whether pods of a namespace count."""
    since: float | None = None
    """Epoch seconds; what ended before doesn't count, but pulls are kept: a later one may follow on them. None: all."""
    events: int = 0
    """Events about images, repeated ones counted once."""
    pulls: list[ImagePull] = field(default_factory=list)
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    """By image and node."""
    streamed: set[tuple[str, str]] = field(default_factory=set)
    """(image, node) that GKE says to be backed by image streaming."""
    disk_cached: set[tuple[str, str]] = field(default_factory=set)
    """(image, node) that GKE says to be on the cache disk."""
    layers: dict[tuple[str, str], LayersRecord] = field(default_factory=dict)
    """By (image, node): the snapshotter's latest line."""
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    pods: dict[str, PodRecord] = field(default_factory=dict)
    """By `NAMESPACE/NAME`."""
    unknown: int = 0
    """Events about images in words that are not known."""
    unknown_samples: list[str] = field(default_factory=list)
    """The first few of these messages."""
    oldest: float | None = None
    """Epoch seconds of the oldest event read: before it nothing is known."""
    _began: dict[int, tuple[str, str, str, float | None]] = field(default_factory=dict)
    """What an OpenPull is made of, by hash of pod and container."""
    _counts: dict[int, int] = field(default_factory=dict)
    """By hash of the event's uid: its count as last seen (events of interest only)."""
    _places: dict[int, int] = field(default_factory=dict)
    """By hash of the uid of a PRESENT event: its index in `pulls`, so that a greater count replaces it."""
    _images: dict[str, str] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Keep what matters of RECORD; False if nothing of it is new."""
        match record:
            case EventRecord():
                return self._event(record)
            case NodeRecord():
                self.nodes[record.name] = record
            case PodRecord():
                if self.counts(record.namespace):
                    self.pods[f"{record.namespace}/{record.name}"] = record
            case LayersRecord():
                key = (self.image(record.image), sys.intern(record.node))
                if key not in self.layers or (record.at or 0) >= (self.layers[key].at or 0):
                    self.layers[key] = record
        return True

    def image(self, text: str) -> str:
        """TEXT normalised, each distinct one kept once; TEXT itself if it is no reference."""
        known = self._images.get(text)
        if known is None:
            try:
                known = str(parse(text))
            except BadUsage:
                known = text
            self._images[text] = known
        return known

    def counts_at(self, at: float | None) -> bool:
        """Whether what happened AT (epoch seconds) is recent enough to count; what has no time is."""
        return self.since is None or at is None or at >= self.since

    def open_pulls(self) -> tuple[OpenPull, ...]:
        """Pulls that began and neither ended nor failed, oldest first."""
        ended = {hash((pull.pod, pull.container)) for pull in self.pulls}
        begun = [OpenPull(*members) for key, members in self._began.items() if key not in ended]
        found = [pull for pull in begun if (pull.image, pull.node) not in self.troubles]
        return tuple(sorted(found, key=lambda pull: (pull.began or 0.0, pull.pod)))

    def keep_nodes(self, names: Collection[str]) -> None:
        """Forget all pulls and troubles of other nodes than NAMES."""
        self.pulls = [pull for pull in self.pulls if pull.node in names]
        self.troubles = {key: trouble for key, trouble in self.troubles.items() if trouble.node in names}
        self._began = {key: members for key, members in self._began.items() if members[1] in names}
        self._places.clear()  # Indices into the old list.

    def _event(self, event: EventRecord) -> bool:
        said = understand(event.reason, event.message)
        if said.word is _OTHER:
            return False
        at = event.last if event.last is not None else event.first
        key = hash(event.uid or (event.namespace, event.object_name, event.message, at))
        before = self._counts.get(key, 0)
        if event.count <= before:
            return False
        self._counts[key] = event.count
        if not before:
            self.events += 1
        if event.first is not None and (self.oldest is None or event.first < self.oldest):
            self.oldest = event.first
        if self.counts(event.namespace) or _about_node(said):
            self._keep(event, said, key, event.count - before, at)
        return True

    def _keep(self, event: EventRecord, said: Said, key: int, more: int, at: float | None) -> None:
        image = self._images.get(said.image) or self.image(said.image)
        node = sys.intern(event.node)
        word = said.word
        if said.pulled is not None:
            self._pulled(event, said.pulled, key, image, node, at)
        elif word is _PULLING:
            pod = sys.intern(f"{event.namespace}/{event.object_name}")
            self._began[hash((pod, event.container))] = image, node, pod, event.first or at
        elif word is Word.STREAMED:
            self.streamed.add((image, node or sys.intern(event.object_name)))
        elif word is Word.DISK_CACHED:
            self.disk_cached.add((image, node or sys.intern(event.object_name)))
        elif word is Word.UNKNOWN:
            self.unknown += more
            if len(self.unknown_samples) < _MOST_SAMPLES:
                self.unknown_samples.append(f"{event.reason}: {event.message[:200]}")
        elif self.counts_at(at):
            self._trouble(image, node, said, more, at)

    def _pulled(
        self, event: EventRecord, told: PulledMessage, key: int, image: str, node: str, at: float | None
    ) -> None:
        seconds, waiting_s, queue_s = told.seconds, told.waiting_s, None
        if told.waiting_told and seconds is not None and waiting_s is not None:
            queue_s = round(waiting_s - seconds, 6) if waiting_s > seconds else 0.0
        pod = sys.intern(f"{event.namespace}/{event.object_name}")
        count = 1 if seconds is not None else event.count
        pull = ImagePull(image, node, pod, event.container, at, seconds, queue_s, told.size, count)
        if seconds is None and (place := self._places.setdefault(key, len(self.pulls))) < len(self.pulls):
            self.pulls[place] = pull
            return
        self.pulls.append(pull)

    def _trouble(self, image: str, node: str, said: Said, more: int, at: float | None) -> None:
        trouble = self.troubles.get((image, node))
        if trouble is None:
            trouble = self.troubles[image, node] = Trouble(image, node)
        if said.word is Word.FAILED:
            trouble.failed += more
        elif said.word is Word.BACK_OFF:
            trouble.back_offs += more
        else:
            trouble.refused += more
        if said.why and (trouble.last is None or at is None or at >= trouble.last or not trouble.why):
            trouble.why = said.why
        if at is not None:
            trouble.last = at if trouble.last is None else max(trouble.last, at)


def _about_node(said: Said) -> bool:
    """GKE's events about images on a node lie in the default namespace, whoever uses the image."""
    return said.word in (Word.STREAMED, Word.DISK_CACHED)
