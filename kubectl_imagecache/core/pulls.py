"""Image pulls as the kubelet tells them in events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
