"""Why a build on the VM failed, in kinds that the client at the other end can tell apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kubectl_imagecache.core.errors import UserError

NO_SPACE = "no-space"
BAD_DIGEST = "bad-digest"
REGISTRY = "registry"
WRONG_ARCHITECTURE = "wrong-architecture"
BAD_LAYER = "bad-layer"
TOO_LARGE = "too-large"
NO_TOOL = "no-tool"
BAD_JOB = "bad-job"
DISK = "disk"
MISMATCH = "mismatch"
STOPPED = "stopped"
CRASHED = "crashed"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class BuildFailed(UserError):
    """A build or a verification ended without a usable disk."""

    def __init__(self, kind: str, message: str, hint: str = "", needed: int | None = None) -> None:
        super().__init__(message, hint)
        self.kind = kind
        """One of this module's constants."""
        self.needed = needed
        """Bytes that the disk should have, if it was too small; None is unknown."""

    def __reduce__(self) -> tuple[type[BuildFailed], tuple[str, str, str, int | None]]:
        return BuildFailed, (self.kind, self.message, self.hint, self.needed)


def printable(text: str, secrets: Iterable[str] = (), limit: int = 300) -> str:
    """TEXT from outside as one line without control characters or SECRETS, at most LIMIT characters."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
