"""Ages as `kubectl get` shows them."""

from __future__ import annotations

from datetime import datetime, timezone


def human_duration(seconds: float) -> str:
    """An age as kubectl writes it: `45s`, `5m30s`, `3h12m`, `2d4h`, `12d`."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    if s < 0:
        return "0s"
    if s < 120:
        return f"{s}s"
    minutes = s // 60
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = s // 3600
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y"


def age(stamp: str | None, now: datetime) -> str:
    """How long ago a time of the API was; `<unknown>` without one."""
    if not stamp:
        return "<unknown>"
    return human_duration((now - moment(stamp)).total_seconds())


def moment(stamp: str) -> datetime:
    """A time of the API."""
    return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
