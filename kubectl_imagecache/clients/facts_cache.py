"""Answers of registries kept on disk: by digest only, for such an answer never changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubectl_imagecache.core.contents import ImageFacts, Layer

VERSION = 1
"""Of an entry's form; another one is ignored."""
MAX_ENTRY = 1 << 20
"""Bytes of an entry that are read at the most."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


class FactsCache:
    """A folder of small files, one an answer; safe for processes that run at the same time.

    What can't be written is not kept, and what can't be read is asked again: a cache is never why a command fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> FactsCache:
        """Under XDG_CACHE_HOME (by its specification ~/.cache if that is unset or not absolute)."""
        named = Path(env.get("XDG_CACHE_HOME") or "")
        base = named if named.is_absolute() else Path(env.get("HOME") or Path.home()) / ".cache"
        return cls(base / "kubectl-imagecache" / "facts")

    def get(self, digest: str, platform: str) -> ImageFacts | None:
        """What is known of the image with DIGEST on PLATFORM; None if nothing that can be trusted."""
        try:
            with self._file(digest, platform).open("rb") as file:
                data = file.read(MAX_ENTRY + 1)
            return _from_entry(json.loads(data), digest, platform) if len(data) <= MAX_ENTRY else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def put(self, digest: str, platform: str, facts: ImageFacts) -> None:
        """Keep FACTS, which were asked for by DIGEST (not by tag) and PLATFORM."""
        file = self._file(digest, platform)
        data = json.dumps(_entry(digest, platform, facts), separators=(",", ":")).encode()
        if len(data) > MAX_ENTRY:
            return
        with suppress(OSError):
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes it with mode 0600; a reader sees the old entry or the whole new one.
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(data)
                Path(name).replace(file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _file(self, digest: str, platform: str) -> Path:
        # Neither digest nor platform is trusted as a file name.
        return self._folder / (hashlib.sha256(f"{digest} {platform}".encode()).hexdigest() + ".json")


def _entry(digest: str, platform: str, facts: ImageFacts) -> dict[str, Any]:
    return {
        "version": VERSION,
        "asked": digest,
        "platform": platform,
        "is": facts.platform,
        "digests": sorted(facts.digests),
        "layers": [[layer.chain_id, layer.compressed, layer.unpacked] for layer in facts.layers],
    }


def _from_entry(entry: Any, digest: str, platform: str) -> ImageFacts | None:
    """Raises ValueError, TypeError or KeyError on a damaged entry."""
    if entry["version"] != VERSION or entry["asked"] != digest or entry["platform"] != platform:
        return None
    layers = tuple(Layer(_digest(chain), _size(packed), _size(unpacked)) for chain, packed, unpacked in entry["layers"])
    digests = frozenset(_digest(one) for one in entry["digests"])
    if digest not in digests or not isinstance(entry["is"], str):
        return None
    return ImageFacts(digests, layers, entry["is"])


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("not a digest")
    return value


def _size(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise ValueError("not a size")
    return value
