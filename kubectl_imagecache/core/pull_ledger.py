"""Folds records into image pulls, troubles and evidence: one compact entry a pull, nothing kept of what isn't one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.kubelet_words import Said, Word, understand
from kubectl_imagecache.core.pull_records import EventRecord, LayersRecord, NodeRecord, PodRecord, Record
from kubectl_imagecache.core.pulls import PulledMessage, usual_pull
from kubectl_imagecache.core.references import parse

_MOST_SAMPLES = 5
_OTHER, _PULLING = Word.OTHER, Word.PULLING  # Looking a member up takes longer than what is then done with it.
_USUAL = Said(Word.PULLED)


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
    _began: dict[int, tuple[str, str, str, str, float | None]] = field(default_factory=dict)
    """Image, node, namespace, pod and moment of each container's latest pull to begin, by hash of namespace, pod and
    container."""
    _counts: dict[int, int] = field(default_factory=dict)
    """By hash of the event's uid: its count as last seen (events of interest only)."""
    _places: dict[int, int] = field(default_factory=dict)
    """By hash of the uid of a PRESENT event: its index in `pulls`, so that a greater count replaces it."""
    _images: dict[str, str] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Keep what matters of RECORD; False if nothing of it is new."""
        match record:
            case EventRecord() as e:
                where = e.node, e.namespace, e.object_name, e.container
                return self.hear(e.uid, e.reason, e.message, *where, e.first, e.last, e.count)
            case NodeRecord():
                self.nodes[record.name] = record
            case PodRecord():
                if self.counts(record.namespace):
                    self.pods[f"{record.namespace}/{record.name}"] = record
            case LayersRecord():
                key = (self.image(record.image), sys.intern(record.node))
                known = self.layers.get(key)
                if known is not None and (record == known or (record.at or 0) < (known.at or 0)):
                    return False
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
        ended: dict[int, float] = {}
        for pull in self.pulls:
            key = hash((*pull.pod.split("/", 1), pull.container))
            ended[key] = max(ended.get(key, 0.0), math.inf if pull.ended is None else pull.ended)
        begun = [
            OpenPull(self.image(image), node, f"{namespace}/{pod}", began)
            for key, (image, node, namespace, pod, began) in self._began.items()
            if key not in ended or (began or 0.0) > ended[key]
        ]
        found = [pull for pull in begun if (pull.image, pull.node) not in self.troubles]
        return tuple(sorted(found, key=lambda pull: (pull.began or 0.0, pull.pod)))

    def keep_nodes(self, names: Collection[str]) -> None:
        """Forget all pulls and troubles of other nodes than NAMES."""
        self.pulls = [pull for pull in self.pulls if pull.node in names]
        self.troubles = {key: trouble for key, trouble in self.troubles.items() if trouble.node in names}
        self._began = {key: members for key, members in self._began.items() if members[1] in names}
        self._places.clear()  # Indices into the old list.

    def hear(
        self,
        uid: str,
        reason: str,
        message: str,
        node: str,
        namespace: str,
        name: str,
        container: str,
        first: float | None,
        last: float | None,
        count: int,
    ) -> bool:
        """As `add` of an EventRecord with these members, but makes none: that saves a fifth of the time."""
        usual = usual_pull(message) if reason == "Pulled" else None
        said = understand(reason, message) if usual is None else _USUAL
        if said.word is _OTHER:
            return False
        at = first if last is None else last
        key = hash(uid or (namespace, name, message, at))
        before = self._counts.get(key, 0)
        if count <= before:
            return False
        self._counts[key] = count
        if not before:
            self.events += 1
        if first is not None and (self.oldest is None or first < self.oldest):
            self.oldest = first
        if not self.counts(namespace) and not _about_node(said):
            return True
        if usual is not None:
            image, seconds, waiting_s, size = usual
            image = self._images.get(image) or self.image(image)
            pod, queue_s = f"{namespace}/{name}", _queue(waiting_s, seconds)
            self.pulls.append(ImagePull(image, sys.intern(node), pod, container, at, seconds, queue_s, size, 1))
        elif said.word is _PULLING:
            place = hash((namespace, name, container))
            latest = self._began.get(place)
            if latest is None or (at or 0.0) >= (latest[4] or 0.0):
                self._began[place] = said.image, sys.intern(node), sys.intern(namespace), name, at
        else:
            event = EventRecord(uid, reason, message, sys.intern(node), namespace, name, container, first, last, count)
            self._rarer(event, said, key, count - before, at)
        return True

    def _rarer(self, event: EventRecord, said: Said, key: int, more: int, at: float | None) -> None:
        image, word = self.image(said.image), said.word
        if said.pulled is not None:
            self._pulled(event, said.pulled, key, image, at)
        elif word is Word.STREAMED:
            self.streamed.add((image, event.node or sys.intern(event.object_name)))
        elif word is Word.DISK_CACHED:
            self.disk_cached.add((image, event.node or sys.intern(event.object_name)))
        elif word is Word.UNKNOWN:
            self.unknown += more
            if len(self.unknown_samples) < _MOST_SAMPLES:
                self.unknown_samples.append(f"{event.reason}: {event.message[:200]}")
        elif self.counts_at(at):
            self._trouble(image, event.node, said, more, at)

    def _pulled(self, event: EventRecord, told: PulledMessage, key: int, image: str, at: float | None) -> None:
        seconds, queue_s, count = told.seconds, None, 1
        if seconds is None:
            count = event.count
        elif told.waiting_told and told.waiting_s is not None:
            queue_s = _queue(told.waiting_s, seconds)
        pod = f"{event.namespace}/{event.object_name}"
        pull = ImagePull(image, event.node, pod, event.container, at, seconds, queue_s, told.size, count)
        if seconds is None and (place := self._places.setdefault(key, len(self.pulls))) < len(self.pulls):
            self.pulls[place] = pull
        else:
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


def _queue(waiting_s: float, seconds: float) -> float:
    """The wait alone, to the microsecond."""
    # Five times as fast as round(…, 6).
    return round((waiting_s - seconds) * 1e6) / 1e6 if waiting_s > seconds else 0.0


def _about_node(said: Said) -> bool:
    """GKE's events about images on a node lie in the default namespace, whoever uses the image."""
    return said.word in (Word.STREAMED, Word.DISK_CACHED)
