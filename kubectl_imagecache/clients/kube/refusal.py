"""What a Kubernetes API server says when it refuses."""

from __future__ import annotations

import json

LONGEST = 300
"""Characters kept of it."""


def words_of(content: bytes) -> str:
    """The message of a Status, its causes after it, on one line; `no reason given` for anything else."""
    try:
        status = json.loads(content)
        causes = [str(cause.get("message")) for cause in (status.get("details") or {}).get("causes") or ()]
        words = ". ".join([str(status.get("message") or ""), *causes])
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "no reason given"
    return " ".join(words.split())[:LONGEST] or "no reason given"
