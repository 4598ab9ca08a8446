"""What a Kubernetes API server says when it refuses."""

from __future__ import annotations

import json

LONGEST = 300
"""Characters kept of it."""


def words_of(content: bytes) -> str:
    """The message of a Status, its causes after it, on one line; `no reason given` for anything else."""
    message, causes = _status(content)
    return " ".join(". ".join([message, *causes]).split())[:LONGEST] or "no reason given"


def causes_of(content: bytes) -> list[str]:
    """The messages of a Status's causes; none of anything else."""
    return _status(content)[1]


def _status(content: bytes) -> tuple[str, list[str]]:
    try:
        status = json.loads(content)
        causes = [str(cause.get("message")) for cause in (status.get("details") or {}).get("causes") or ()]
        return str(status.get("message") or ""), causes
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "", []
