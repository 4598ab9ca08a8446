"""Sizes, rates and shares as people write them in flags and in .imagecache.yaml."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE | re.ASCII)
_MAX_SIZE = 2**60


def size(text: str) -> int:
    """Bytes of `100Mi`, `2GiB`, `50MB`, `1024`; raise ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write 100Mi, 2GiB or 50MB")
    found = round(float(match[1]) * _UNITS[(match[2] or "").lower()])
    if found > _MAX_SIZE:
        raise ValueError(f"{text!r} is more than any disk holds")
    return found


def rate(text: str) -> float:
    """Bytes/s of `40MiB/s`, `40Mi`, `300MB/s`; raise ValueError for anything else or zero."""
    try:
        found = size(text.strip().removesuffix("/s"))
    except ValueError:
        found = 0
    if not found:
        raise ValueError(f"{text!r} is no rate; write 40MiB/s or 300MB/s")
    return float(found)


def share(text: str) -> float:
    """0.0 to 1.0 of `90%` or `0.9`; raise ValueError for anything else."""
    stripped = text.strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", stripped, re.ASCII)
    found = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= found <= 1:
        raise ValueError(f"{text!r} is no share; write 90% or 0.9")
    return found


def span(text: str) -> float:
    """Seconds of `7d`, `2w`, `25h`, `1h30m`, `3600`; raise ValueError for anything else, or more than ten years."""
    from kubectl_imagecache.core.pulls import parse_duration

    days = re.fullmatch(r"(\d{1,5})([dw])", text.strip(), re.ASCII)
    if days:
        seconds = float(days[1]) * (7 if days[2] == "w" else 1) * 86_400
    else:
        seconds = float(text) if text.isascii() and text.isdecimal() else parse_duration(text) / 1e9
    if not 0 <= seconds <= 10 * 365 * 86_400:
        raise ValueError(f"{text!r} is not between 0 and ten years")
    return seconds
