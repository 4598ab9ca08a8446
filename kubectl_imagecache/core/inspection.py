"""What a disk image holds, put together from its disk or its record and from what registries say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from kubectl_imagecache.core.contents import CachedImage, Contents, ImageFacts, Layer, UnreadableRecord, short_digest
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.pools import DiskImage
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.core.survey import ListedImage, Survey

Asked = tuple[ImageRef, str]
"""A reference and a platform (`linux/amd64`), as registries are asked."""
Facts = Mapping[Asked, ImageFacts | UserError]
_PLATFORMS = ("linux/amd64", "linux/arm64")
_CONFIG_ROW = "sha256:"


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One container image of a disk image."""

    image: CachedImage
    on_disk: int | None = None
    """How many of its layers are on the disk; None is unknown."""
    why: str = ""
    """Why its layers are unknown; empty if they are known."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that is known of what a disk image holds."""

    disk_image: DiskImage
    images: tuple[InspectedImage, ...]
    """By reference."""
    survey: Survey | None = None
    """None: the disk was not read, all this is from the record on the disk image."""
    built: datetime | None = None
    builder: str = ""
    plan: str = ""
    complete: bool = True
    """False: it is known to hold more than `images`."""
    findings: tuple[str, ...] = ()
    """What is wrong, a line each."""
    notes: tuple[str, ...] = ()

    @property
    def contents(self) -> Contents:
        """The same, as a record has it: without images of which layers are missing."""
        whole = tuple(i.image for i in self.images if i.on_disk is None or i.on_disk == len(i.image.layers))
        complete = self.complete and len(whole) == len(self.images)
        return Contents(whole, self.built, self.builder, self.plan, complete)


def asked_of_record(image: DiskImage) -> tuple[Asked, ...]:
    """What registries are to be asked about a disk image with a record: images of which it has no layers."""
    if not isinstance(image.contents, Contents):
        return ()
    return tuple((i.ref, i.platform or f"linux/{image.arch or 'amd64'}") for i in image.contents.images if not i.layers)


def asked_of_survey(survey: Survey, image: DiskImage) -> tuple[Asked, ...]:
    """What registries are to be asked about a disk that was read: all, unless the disk has a full record itself."""
    if survey.record is not None:
        return ()
    rows = {row.reference: row for row in survey.images}
    pinned = [(ref.at(row.digest)) for row in rows.values() if (ref := _ref(row)) is not None]
    return tuple((ref, platform) for ref in pinned for platform in _platforms(image))


def from_record(image: DiskImage, facts: Facts) -> Inspection:
    """What IMAGE's own record says; raise UserError if it has none that can be read."""
    contents = image.contents
    if not isinstance(contents, Contents):
        why = f": {contents.why}" if isinstance(contents, UnreadableRecord) else ""
        raise BadUsage(f"{image.ref} has no record that can be read{why}")
    images = []
    for held in contents.images:
        if held.layers:
            images.append(InspectedImage(held))
            continue
        known = facts.get((held.ref, held.platform or f"linux/{image.arch or 'amd64'}"))
        if isinstance(known, ImageFacts) and held.holds(known.digests):
            images.append(InspectedImage(_with_facts(held, known, {})))
        elif isinstance(known, ImageFacts):
            images.append(InspectedImage(held, why="the tag has moved since"))
        else:
            images.append(InspectedImage(held, why=known.message if known else "not asked for"))
    ordered = tuple(sorted(images, key=lambda i: i.image.ref))
    return Inspection(image, ordered, None, contents.built, contents.builder, contents.plan, contents.complete)


def from_survey(survey: Survey, image: DiskImage, facts: Facts, reader: str) -> Inspection:
    """What a reading of IMAGE's disk found; READER is this program, named where nobody knows who built it."""
    sizes = {layer.chain_id: layer.unpacked for layer in survey.layers}
    full = survey.record
    if full is not None:
        images = [InspectedImage(i, sum(x.chain_id in sizes for x in i.layers)) for i in full.images]
    else:
        images = [found for row in survey.images if (found := _inspected(row, survey, image, facts, sizes))]
    images.sort(key=lambda i: i.image.ref)
    odd = [row.reference for row in survey.images if not row.reference.startswith(_CONFIG_ROW) and _ref(row) is None]
    return Inspection(
        image,
        tuple(images),
        survey,
        full.built if full else image.created,
        full.builder if full else f"read by {reader}",
        full.plan if full else "",
        not odd,
        (*survey.findings, *_missing(images)),
        (*survey.notes, *(f"{name[:200]} is no image reference" for name in odd), *_of_nobody(images, sizes)),
    )


def disagreements(inspection: Inspection) -> list[str]:
    """Where the record on the disk image says something else than its disk, a line each; none if there is no record."""
    recorded = inspection.disk_image.contents
    if isinstance(recorded, UnreadableRecord):
        return [f"the record on the disk image can't be used: {recorded.why}"]
    if recorded is None or inspection.survey is None:
        return []
    on_disk = {str(i.image.ref): i.image for i in inspection.images}
    told = {str(i.ref): i for i in recorded.images}
    found = [f"the record on the disk image names {name}, the disk does not" for name in sorted(told.keys() - on_disk)]
    found += [
        f"the record on the disk image has {name} as {told[name].digest[:19]}, the disk as {on_disk[name].digest[:19]}"
        for name in sorted(told.keys() & on_disk.keys())
        if short_digest(told[name].digest) != short_digest(on_disk[name].digest)
    ]
    if recorded.complete:
        found += [f"the disk holds {name}, its record does not say so" for name in sorted(on_disk.keys() - told.keys())]
    return found


def _platforms(image: DiskImage) -> tuple[str, ...]:
    return (f"linux/{image.arch}",) if image.arch else _PLATFORMS


def _ref(row: ListedImage) -> ImageRef | None:
    """The row's reference as records have it; None for a config's row and for what is no reference."""
    if row.reference.startswith(_CONFIG_ROW):
        return None
    try:
        ref = parse(row.reference)
    except BadUsage:
        return None
    return replace(ref, digest="") if ref.tag else ref


def _inspected(
    row: ListedImage, survey: Survey, image: DiskImage, facts: Facts, sizes: Mapping[str, int]
) -> InspectedImage | None:
    ref = _ref(row)
    if ref is None:
        return None
    # containerd's CRI plugin lists an image a second time, under the digest of its config.
    configs = {r.reference for r in survey.images if r.digest == row.digest and r.reference.startswith(_CONFIG_ROW)}
    answers = {platform: facts.get((ref.at(row.digest), platform)) for platform in _platforms(image)}
    known = {platform: f for platform, f in answers.items() if isinstance(f, ImageFacts)}
    if not known:
        refused = next((a.message for a in answers.values() if isinstance(a, UserError)), "the registry was not asked")
        listed = row.platforms if "," not in row.platforms and row.platforms in _PLATFORMS else ""
        platform = f"linux/{image.arch}" if image.arch else listed
        return InspectedImage(
            CachedImage(ref, row.digest, frozenset(configs) - {row.digest}, row.bytes, (), platform), why=refused
        )
    best = max(known, key=lambda platform: _share(known[platform], sizes))
    bare = CachedImage(ref, row.digest, frozenset(configs) - {row.digest}, None, (), best)
    whole = _with_facts(bare, known[best], sizes)
    return InspectedImage(whole, sum(layer.chain_id in sizes for layer in whole.layers))


def _share(facts: ImageFacts, sizes: Mapping[str, int]) -> float:
    return sum(layer.chain_id in sizes for layer in facts.layers) / max(len(facts.layers), 1)


def _with_facts(image: CachedImage, facts: ImageFacts, sizes: Mapping[str, int]) -> CachedImage:
    layers = tuple(Layer(x.chain_id, x.compressed, sizes.get(x.chain_id, x.unpacked)) for x in facts.layers)
    others = (facts.digests | image.other_digests) - {image.digest}
    return replace(
        image,
        other_digests=frozenset(d for d in others if short_digest(d) != image.digest),
        compressed=facts.compressed if facts.compressed is not None else image.compressed,
        layers=layers,
        platform=facts.platform or image.platform,
    )


def _missing(images: Iterable[InspectedImage]) -> Iterator[str]:
    for found in images:
        whole = len(found.image.layers)
        if found.on_disk is not None and found.on_disk < whole:
            yield f"{found.image.ref}: {whole - found.on_disk} of its {whole} layers are not on the disk"


def _of_nobody(images: Iterable[InspectedImage], sizes: Mapping[str, int]) -> Iterator[str]:
    found = list(images)
    if any(i.why for i in found) or not found:
        return
    spare = sizes.keys() - {layer.chain_id for i in found for layer in i.image.layers}
    if spare:
        yield f"{len(spare)} layers on the disk belong to none of its images"
