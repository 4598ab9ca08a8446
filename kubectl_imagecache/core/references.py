"""References to container images, parsed and normalised as container runtimes do it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubectl_imagecache.core.errors import BadUsage

# The grammar of github.com/distribution/reference (the one that docker, containerd and the kubelet use).
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = rf"{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<name>{_DOMAIN}/{_PATH}|{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_HEX64 = re.compile(r"[0-9a-f]{64}")
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

MAX_LENGTH = 4096
"""Longest text that is tried as a reference, in characters; more is refused unread."""


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """A container image's name, always normalised: `nginx` is `docker.io/library/nginx:latest`."""

    registry: str
    """Host, with the port if one is given: `us-docker.pkg.dev`, `localhost:5000`."""
    repository: str
    """Path within the registry: `my-project/models/llama`."""
    tag: str = ""
    """Empty only if there is a digest and no tag was written."""
    digest: str = ""
    """`sha256:…`, or empty."""

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """As people write it: without `docker.io/library/` or `docker.io/`."""
        text = str(self)
        for prefix in ("docker.io/library/", "docker.io/"):
            if text.startswith(prefix):
                return text.removeprefix(prefix)
        return text

    def at(self, digest: str) -> ImageRef:
        """The same reference, pinned to DIGEST."""
        return ImageRef(self.registry, self.repository, self.tag, digest)


def parse(text: str) -> ImageRef:
    """Parse TEXT as a reference; raise BadUsage with the reason if it isn't one."""
    if len(text) > MAX_LENGTH:
        raise BadUsage(f"not an image reference: {text[:60]!r}… has {len(text)} characters")
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise BadUsage(f"not an image reference: {text!r}", _why(text))
    name, tag, digest = match["name"], match["tag"] or "", match["digest"] or ""
    if _HEX64.fullmatch(name):
        raise BadUsage(
            f"not an image reference: {text!r}", "64 hex digits alone are an image ID; write repository@sha256:…"
        )
    registry, repository = _split(name)
    if not re.fullmatch(_PATH, repository) or len(repository) > 255:
        raise BadUsage(f"not an image reference: {text!r}", _why(text))
    if digest:
        algorithm, _, hexes = digest.partition(":")
        if _DIGEST_LENGTHS.get(algorithm) != len(hexes) or hexes != hexes.lower():
            raise BadUsage(
                f"not an image reference: {text!r}", "the digest should be sha256: and 64 lower-case hex digits"
            )
    if not tag and not digest:
        tag = "latest"
    return ImageRef(registry, repository, tag, digest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    registry, repository = (first, rest) if is_host else ("docker.io", name)
    if registry == "index.docker.io":
        registry = "docker.io"
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _why(text: str) -> str:
    if not text.strip():
        return "it is empty"
    if text != text.strip() or any(c.isspace() for c in text):
        return "it contains white space"
    if "://" in text:
        return "leave out the scheme (https://)"
    if text != text.lower() and "/" not in text.partition(":")[0]:
        return "repository names are lower-case"
    return "expected [HOST[:PORT]/]PATH[:TAG][@sha256:HEX], lower-case"


def digest_of_image_id(image_id: str) -> str:
    """The digest in a pod status' `imageID`, whatever its shape; empty if the image isn't pulled yet.

    Shapes seen: `repo@sha256:…`, `docker-pullable://repo@sha256:…`, `docker://sha256:…`, `sha256:…` (a config
    digest) and the empty string.
    """
    _, _, tail = image_id.rpartition("@")
    tail = tail.rpartition("://")[2]
    algorithm, _, hexes = tail.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    return tail if length == len(hexes) and re.fullmatch(r"[0-9a-f]+", hexes) else ""
