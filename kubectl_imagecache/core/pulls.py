"""Image pulls as the kubelet tells them in events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull of a container image by one node."""

    image: str
    """As the kubelet names it (normalise with references.parse, which may refuse it)."""
    seconds: float
    """Time of the pull itself, without the wait in the kubelet's queue."""
    waiting_s: float
    """Pull and queue together; the same as `seconds` where the kubelet doesn't tell."""
    size: int | None
    """Bytes, where the kubelet tells (1.30 and newer)."""
    node: str
    at: datetime | None


@dataclass(slots=True, unsafe_hash=True)  # Not frozen: made by the hundred thousand, which freezing makes slow.
class PulledMessage:
    """What one `Pulled` event says, before it is known where and when it happened; never changed."""

    image: str
    """As the kubelet names it."""
    seconds: float | None
    """Time of the pull itself; None if the image was there already."""
    waiting_s: float | None
    """Pull and queue together; None if the image was there already."""
    size: int | None = None
    """Bytes, where the kubelet tells."""
    waiting_told: bool = False
    """Whether the kubelet told the queue apart (1.27 and newer); if not, `seconds` includes it."""

    @property
    def present(self) -> bool:
        """Whether the image was on the node already, so that nothing was pulled."""
        return self.seconds is None


# Go's time.Duration.String and ParseDuration: https://pkg.go.dev/time#ParseDuration (micro may be U+00B5 or U+03BC).
_UNIT_NS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ns": 1,
}
_PART = r"(?:[0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19})(?:ms|us|µs|μs|ns|h|m|s)"
_DURATION = rf"[+-]?(?:0|(?:{_PART})+)"
_WHOLE_DURATION = re.compile(_DURATION, re.ASCII)
_PARTS = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ms|us|µs|μs|ns|h|m|s)", re.ASCII)
_QUOTED = r'"(?P<image>[^"\\]*(?:\\.[^"\\]*)*)"'
# The kubelet's words, pkg/kubelet/images/image_manager.go, minor versions 1.24 to 1.36.
_PREFIX = r"(?:spec\.[A-Za-z]+\{[^}]*\}: )?"
_PULLED = re.compile(
    rf"{_PREFIX}Successfully pulled image {_QUOTED} in (?P<pull>{_DURATION})"
    rf"(?: \((?P<wait>{_DURATION}) including waiting\))?\.?(?: Image size: (?P<size>[0-9]{{1,19}}) bytes\.?)?",
    re.ASCII,
)
# What kubelets since 1.30 say of nearly every pull of less than a minute: half the time of the pattern above. At most
# nine decimals, so that the float is the same as nanoseconds by a thousand million.
_SHORT = r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s"
_USUAL = re.compile(
    rf'{_PREFIX}Successfully pulled image "([^"\\]+)" in {_SHORT} \({_SHORT} including waiting\)\.'
    r" Image size: ([0-9]{1,19}) bytes\.",
    re.ASCII,
)
_PRESENT = re.compile(rf"{_PREFIX}(?:Container i|I)mage {_QUOTED} already present on machine\b.*", re.ASCII | re.DOTALL)
MAX_MESSAGE = 8192
"""Longest event message that is read, in characters (the API server allows 1,024)."""


def parse_duration(text: str) -> int:
    """Read a Go duration (`1m2.3s`, `850ms`) as nanoseconds; raise ValueError if it isn't one.

    Digits below a nanosecond are cut off, as Go does.
    """
    if not _WHOLE_DURATION.fullmatch(text):
        raise ValueError(f"not a duration: {text[:60]!r}")
    return _nanoseconds(text)


def _nanoseconds(text: str) -> int:
    """TEXT is known to be a duration."""
    total = 0
    for whole, fraction, unit in _PARTS.findall(text):
        scale = _UNIT_NS[unit]
        total += int(whole or 0) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    return -total if text.startswith("-") else total


def usual_pull(message: str) -> tuple[str, float, float, int] | None:
    """Image, seconds, seconds with the wait, and bytes, if MESSAGE is in the words that kubelets since 1.30 use most.

    None says nothing: parse_pulled knows all words.
    """
    match = _USUAL.fullmatch(message)
    if match is None:
        return None
    image, pull, wait, size = match.groups()
    return image, float(pull), float(wait), int(size)


def parse_pulled(message: str) -> PulledMessage | None:
    """Read the message of a `Pulled` event of any kubelet since 1.24; None if its words are not known."""
    if len(message) > MAX_MESSAGE:
        return None
    if "already present" in message and (told := _present(message)) is not None:
        return told
    if (usual := usual_pull(message)) is not None:
        return PulledMessage(*usual, True)
    if match := _PULLED.fullmatch(message):
        image, pull, wait, size = match.groups()
        seconds = _nanoseconds(pull) / 1e9
        waiting = _nanoseconds(wait) / 1e9 if wait else seconds
        return PulledMessage(_unquote(image), seconds, waiting, int(size) if size else None, bool(wait))
    return None


@lru_cache(maxsize=4096)  # A deployment's pods all say the same.
def _present(message: str) -> PulledMessage | None:
    match = _PRESENT.fullmatch(message)
    return PulledMessage(_unquote(match["image"]), None, None) if match else None


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
