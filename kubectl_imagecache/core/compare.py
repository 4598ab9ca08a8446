"""Used images against a disk's contents: which are cached, partly cached, moved or missing."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, Layer, add_known
from kubectl_imagecache.core.demand import Demand, ImageUse
from kubectl_imagecache.core.reasons import ImageMissing, NewTag, Reason, TagMoved
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import Match, Policy, UseMatch


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of images besides their names."""

    facts: Mapping[str, ImageFacts] = field(default_factory=dict)
    """By every digest they go by, and by normalised reference where a tag was looked up."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Compressed bytes by digest and by normalised reference."""

    def of_use(self, use: ImageUse) -> ImageFacts | None:
        """A registry's facts of a used image."""
        return self.facts.get(use.digest or use.ref.digest or str(use.ref))

    def of_cached(self, image: CachedImage) -> ImageFacts | None:
        """A registry's facts of a cached image."""
        return next((self.facts[d] for d in (image.digest, *image.other_digests) if d in self.facts), None)

    def size(self, ref: ImageRef, digests: Iterable[str]) -> int | None:
        """Compressed bytes of the image that DIGESTS mean and REF names; None is unknown."""
        # A tag may mean something else by now, so facts of it speak only for what has no digest yet.
        for key in tuple(digests) or (str(ref),):
            if key in self.facts and self.facts[key].compressed is not None:
                return self.facts[key].compressed
            if key in self.sizes:
                return self.sizes[key]
        return self.sizes.get(str(ref))


def compare(
    demand: Demand, contents: Contents | None, known: Known, policy: Policy
) -> tuple[tuple[UseMatch, ...], tuple[CachedImage, ...]]:
    """Every use of DEMAND matched against CONTENTS, and the cached images that nothing here uses.

    With CONTENTS None every match is UNKNOWN and nothing is called unused.
    """
    if contents is None:
        return tuple(_unknown(use, known, policy) for use in demand.uses), ()
    layers = _layers_on_disk(contents, known)
    matches = tuple(_match(use, contents, layers, known, policy) for use in demand.uses)
    touched = {match.cached for match in matches if match.cached is not None}
    unused = tuple(i for i in contents.images if i not in touched and not _ignored(i.ref, i.compressed, policy))
    return matches, unused


def digests_of(use: ImageUse, known: Known) -> frozenset[str]:
    """Every digest known to mean the used image; empty if it was named by a tag only and never pulled."""
    named = frozenset(d for d in (use.digest, use.ref.digest) if d)
    facts = known.of_use(use)
    return named | facts.digests if facts is not None else named


def needs_registry(use: ImageUse, contents: Contents) -> bool:
    """Whether only a registry can tell if USE is on the disk: its digest isn't there, yet the same name is.

    A node may name an image by its platform manifest's or config's digest where the disk's record has the index's.
    """
    digests = [d for d in (use.digest, use.ref.digest) if d]
    return bool(digests) and not any(i.holds(digests) for i in contents.images) and bool(_same_name(use.ref, contents))


def _match(use: ImageUse, contents: Contents, on_disk: frozenset[str], known: Known, policy: Policy) -> UseMatch:
    digests = digests_of(use, known)
    cached = _find(use, digests, contents)
    size = known.size(use.ref, digests)
    if size is None and cached is not None:
        size = cached.compressed
    if _ignored(use.ref, size, policy):
        return UseMatch(use, Match.IGNORED, cached, size)
    if cached is not None:
        return UseMatch(use, Match.CACHED, cached, size, bytes_cached=size)
    nearest = _nearest(use.ref, contents)
    facts = known.of_use(use)
    layers = facts.layers if facts is not None else ()
    present = tuple(layer for layer in layers if layer.chain_id in on_disk)
    whole = bool(layers) and len(present) == len(layers)
    match = Match.CACHED if whole else Match.PARTLY if present else Match.MISSING
    counted = bool(layers) and bool(on_disk)
    return UseMatch(
        use,
        match,
        nearest,
        size,
        layers_cached=len(present) if counted else None,
        layers=len(layers) if counted else None,
        bytes_cached=add_known(layer.compressed for layer in present) if counted else None,
        layer_list=layers,
        cached_chain_ids=frozenset(layer.chain_id for layer in present),
        reason=None if whole else _reason(use, nearest, contents, size),
    )


def _unknown(use: ImageUse, known: Known, policy: Policy) -> UseMatch:
    size = known.size(use.ref, digests_of(use, known))
    return UseMatch(use, Match.IGNORED if _ignored(use.ref, size, policy) else Match.UNKNOWN, None, size)


def _find(use: ImageUse, digests: frozenset[str], contents: Contents) -> CachedImage | None:
    if digests:
        # The same image may be cached under several names: prefer the one that is used.
        holding = [image for image in contents.images if image.holds(digests)]
        return min(
            holding, key=lambda image: (image.ref.name != use.ref.name, image.ref.tag != use.ref.tag), default=None
        )
    # Not pulled yet and named by a tag: nothing says that the tag has moved.
    return next((i for i in contents.images if i.ref.name == use.ref.name and i.ref.tag == use.ref.tag), None)


def _same_name(ref: ImageRef, contents: Contents) -> tuple[CachedImage, ...]:
    return tuple(image for image in contents.images if image.ref.name == ref.name)


def _nearest(ref: ImageRef, contents: Contents) -> CachedImage | None:
    same = _same_name(ref, contents)
    return next((i for i in same if i.ref.tag == ref.tag), same[-1] if same else None)


def _reason(use: ImageUse, nearest: CachedImage | None, contents: Contents, size: int | None) -> Reason:
    if nearest is None:
        return ImageMissing(use.ref, size, use.nodes, use.pods)
    if use.ref.tag and nearest.ref.tag == use.ref.tag:
        return TagMoved(use.ref, nearest.digest, use.digest or use.ref.digest, size, use.nodes, use.pods)
    versions = tuple(sorted({i.ref.tag or i.digest for i in _same_name(use.ref, contents)}))
    return NewTag(use.ref, versions, size, use.nodes, use.pods)


def _layers_on_disk(contents: Contents, known: Known) -> frozenset[str]:
    return frozenset(layer.chain_id for image in contents.images for layer in layers_of(image, known))


def layers_of(image: CachedImage, known: Known) -> tuple[Layer, ...]:
    """A cached image's layers from its record, else from the registry's facts; empty is unknown."""
    if image.layers:
        return image.layers
    facts = known.of_cached(image)
    return facts.layers if facts is not None else ()


def _ignored(ref: ImageRef, size: int | None, policy: Policy) -> bool:
    if size is not None and size < policy.min_size:
        return True
    names = (str(ref), ref.familiar, ref.name)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in policy.ignore for name in names)
