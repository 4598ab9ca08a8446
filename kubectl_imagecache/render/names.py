"""Short names for container images that stay unambiguous within one report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import PoolStatus
from kubectl_imagecache.render.text import hexes, neutral

Namer = Callable[[ImageRef], str]


def namer(refs: Iterable[ImageRef]) -> Namer:
    """A function from reference to its shortest name that no other of REFS could mean.

    `us-docker.pkg.dev/ml/serving/vllm:0.6.3` is `vllm:0.6.3`, or `serving/vllm:0.6.3` where another repository ends
    in `vllm` too. A digest is shown (12 hex digits) where there is no tag, or where one tag has several digests.
    """
    known = set(refs)
    repositories = {ref.name for ref in known}
    owners: dict[str, set[str]] = defaultdict(set)
    for repository in repositories:
        for suffix in _suffixes(repository):
            owners[suffix].add(repository)
    digests: dict[tuple[str, str], set[str]] = defaultdict(set)
    for ref in known:
        digests[ref.name, ref.tag].add(ref.digest)

    def name(ref: ImageRef) -> str:
        short = next((s for s in _suffixes(ref.name) if owners.get(s, {ref.name}) == {ref.name}), ref.name)
        text = short + (f":{ref.tag}" if ref.tag else "")
        if ref.digest and (not ref.tag or len(digests[ref.name, ref.tag]) > 1):
            text += f"@{hexes(ref.digest)}"
        return neutral(text)

    return name


def refs_of(pools: Iterable[PoolStatus]) -> Iterator[ImageRef]:
    """Every reference that a report on POOLS can mention."""
    for status in pools:
        for match in status.uses:
            yield match.use.ref
            if match.cached:
                yield match.cached.ref
        for image in (*status.unused, *(status.contents.images if status.contents else ())):
            yield image.ref
        for reason in status.verdict.reasons:
            ref = getattr(reason, "ref", None)
            if isinstance(ref, ImageRef):
                yield ref
        if status.suggestion:
            yield from status.suggestion.adds
            yield from status.suggestion.drops


def _suffixes(repository: str) -> Iterator[str]:
    parts = repository.split("/")
    for taken in range(1, len(parts) + 1):
        yield "/".join(parts[-taken:])
