"""What an event tells of an image and its pull: every kubelet's words since 1.24, classified."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from kubectl_imagecache.core.pulls import MAX_MESSAGE, PulledMessage, parse_pulled


class Word(Enum):
    """What one event says."""

    PULLING = "pulling"
    """A pull begins (it may still wait in the kubelet's queue)."""
    PULLED = "pulled"
    """A pull has ended well."""
    PRESENT = "present"
    """The image was on the node already."""
    FAILED = "failed"
    """A pull has ended badly."""
    BACK_OFF = "back-off"
    """The kubelet waits before it tries a failed pull again."""
    NEVER = "never"
    """The image isn't there, or may not be used, and the pod forbids the pull (pull policy Never)."""
    INVALID = "invalid"
    """The image can't be looked at: not a reference, or the runtime refuses."""
    STREAMED = "streamed"
    """GKE: the node reads the image by image streaming."""
    DISK_CACHED = "disk-cached"
    """GKE: the node has the image on its cache disk."""
    OTHER = "other"
    """Not about images."""
    UNKNOWN = "unknown"
    """About an image, but in words that no known kubelet uses."""


@dataclass(slots=True, unsafe_hash=True)  # Not frozen: made by the hundred thousand, which freezing makes slow.
class Said:
    """One event's message, understood; never changed."""

    word: Word
    image: str = ""
    """As the kubelet names it; empty if the event names none."""
    pulled: PulledMessage | None = None
    """Of PULLED and PRESENT."""
    why: str = ""
    """Of FAILED, BACK_OFF, INVALID: the runtime's own words, one line, at most 300 characters."""


# The kubelet's words: pkg/kubelet/images/image_manager.go; 1.35 and newer put the container before the message.
_PREFIX = r"(?:spec\.[A-Za-z]+\{[^}]*\}: )?"
_QUOTED = r'"(?P<image>[^"\\]*(?:\\.[^"\\]*)*)"'
_WHY_MOST = 300
_PULLED, _PRESENT = Word.PULLED, Word.PRESENT  # Looking a member up costs more than making a Said.


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(_PREFIX + pattern, re.ASCII | re.DOTALL)


_PULLING = _words(rf"Pulling image {_QUOTED}\.?")
_FAILED = _words(rf"Failed to pull image {_QUOTED}(?:: (?P<why>.*))?")
_BACK_OFF = _words(rf"Back-off pulling image {_QUOTED}(?:: (?P<why>.*))?")
_NEVER = _words(
    rf"(?:Container i|I)mage {_QUOTED} is (?:not present with pull policy of Never|present with pull policy of Never"
    r" but .*).*"
)
_INVALID = _words(rf"Failed to (?:apply default image tag|inspect image) {_QUOTED}(?:: (?P<why>.*))?")
# `Error: ErrImagePull` and the like follow an event that tells more; other such errors, and restarts, are a container's
# own, though its name may be `image` (and 1.35 puts it in front).
_ECHO = _words(r"(?:Error: |Back-off restarting failed container ).*")
_STREAMED = re.compile(r"Image `?(?P<image>[^\s`\"]+)`? is backed by image streaming\.?.*", re.ASCII | re.DOTALL)
# Nobody could confirm GKE's exact words for cache disks: docs/facts.md.
_DISK = re.compile(r"Image [`\"]?(?P<image>[^\s`\"]+)[`\"]? .*secondary (?:boot )?disk.*", re.ASCII | re.DOTALL | re.I)
_DISK_REASON = re.compile(r"secondary(?:boot)?disk", re.I)
REASONS = frozenset(
    {
        "Pulled",
        "Pulling",
        "Failed",
        "BackOff",
        "ErrImageNeverPull",
        "InspectFailed",
        "ImageStreaming",
    }
)
"""Reasons that may be about an image; besides these every reason that speaks of a secondary disk."""
_NOT_IMAGES = frozenset({"Failed", "BackOff"})
"""Reasons that the kubelet also uses for what has nothing to do with images."""


@lru_cache(maxsize=1024)
def may_matter(reason: str) -> bool:
    """Whether an event with this REASON may be about an image: a cheap look before anything else is read."""
    return reason in REASONS or _DISK_REASON.search(reason[:100]) is not None


def understand(reason: str, message: str) -> Said:
    """What an event with this REASON and MESSAGE says; whatever an image reason says in unknown words is UNKNOWN."""
    if reason != "Pulled":
        return _understand(reason, message[: MAX_MESSAGE + 1])
    told = parse_pulled(message)
    if told is None:
        return Said(Word.UNKNOWN)
    return Said(_PRESENT if told.seconds is None else _PULLED, told.image, told)


@lru_cache(maxsize=4096)  # A deployment's pods all say the same; only the times of pulls differ.
def _understand(reason: str, message: str) -> Said:
    match reason:
        case "Pulling":
            return _said(_PULLING, Word.PULLING, message) or Said(Word.UNKNOWN)
        case "Failed" | "BackOff" | "ErrImageNeverPull" | "InspectFailed":
            return _trouble(reason, message)
        case "ImageStreaming":
            return _said(_STREAMED, Word.STREAMED, message) or _disk(message) or Said(Word.UNKNOWN)
    if may_matter(reason):
        return _disk(message) or Said(Word.UNKNOWN)
    return Said(Word.OTHER)


def _trouble(reason: str, message: str) -> Said:
    for pattern, word in (
        (_FAILED, Word.FAILED),
        (_BACK_OFF, Word.BACK_OFF),
        (_NEVER, Word.NEVER),
        (_INVALID, Word.INVALID),
    ):
        if (said := _said(pattern, word, message)) is not None:
            return said
    if reason in _NOT_IMAGES and (_ECHO.fullmatch(message) or not re.search(r"\bimage\b", message, re.I)):
        return Said(Word.OTHER)
    return Said(Word.UNKNOWN)


def _disk(message: str) -> Said | None:
    return _said(_DISK, Word.DISK_CACHED, message)


def _said(pattern: re.Pattern[str], word: Word, message: str) -> Said | None:
    match = pattern.fullmatch(message)
    if match is None:
        return None
    why = match.groupdict().get("why") or ""
    image = match["image"]
    return Said(word, re.sub(r"\\(.)", r"\1", image) if "\\" in image else image, why=_one_line(why))


def _one_line(text: str) -> str:
    text = " ".join(text[: 4 * _WHY_MOST].split())
    return text if len(text) <= _WHY_MOST else text[: _WHY_MOST - 1] + "…"
