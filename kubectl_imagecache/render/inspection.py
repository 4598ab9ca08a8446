"""The answers of `inspect` and `verify`: what a disk image holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubectl_imagecache.core.contents import Contents, UnreadableRecord
from kubectl_imagecache.core.inspection import InspectedImage, Inspection
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.render.documents import API_VERSION, Document, time
from kubectl_imagecache.render.screen import Screen
from kubectl_imagecache.render.table import Cell, Column, Table, cell
from kubectl_imagecache.render.text import count, gib, hexes, neutral, wrapped
from kubectl_imagecache.render.view import View

_COLUMNS = (
    Column("IMAGE", "image", least=24, keep_end=True),
    Column("DIGEST", "digest", drop=1),
    Column("PLATFORM", "platform", drop=2),
    Column("LAYERS", "layers", right=True),
    Column("ON DISK", "layers_on_disk", right=True, drop=3),
    Column("SIZE", "compressed_bytes", right=True),
    Column("UNPACKED", "unpacked_bytes", right=True, drop=4),
)
_FINDINGS = (Column("FINDING", "finding"),)


def inspection_view(inspection: Inspection) -> View:
    """INSPECTION in every form."""
    return View(
        document=_document(inspection, "DiskImageInspection"),
        items="images",
        table=Table(_COLUMNS, tuple(_row(found) for found in inspection.images)),
        names=tuple(f"image/{found.image.ref}" for found in inspection.images),
        notes=lambda screen: _notes(inspection, screen),
        empty=f"Nothing was found on {neutral(str(inspection.disk_image.ref))}.",
    )


def verification_view(inspection: Inspection, findings: Sequence[str]) -> View:
    """The verdict on a disk image that was read: FINDINGS, a line each, or that there are none."""
    document = _document(inspection, "DiskImageVerification")
    document["findings"] = [{"finding": finding} for finding in findings]
    document["good"] = not findings
    ref = neutral(str(inspection.disk_image.ref))
    return View(
        document=document,
        items="findings",
        table=Table(_FINDINGS, tuple((cell(finding),) for finding in findings)),
        names=(f"diskimage/{inspection.disk_image.ref.name}",),
        notes=lambda screen: ["", *_about(inspection, screen)],
        empty=f"Nothing is wrong with {ref}.",
    )


def _document(inspection: Inspection, kind: str) -> Document:
    image, survey = inspection.disk_image, inspection.survey
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "diskImage": str(image.ref),
        "id": image.id,
        "arch": image.arch,
        "createdAt": time(image.created),
        "record": _record(inspection),
        "source": "record" if survey is None else "disk",
        "builder": inspection.builder,
        "plan": inspection.plan,
        "builtAt": time(inspection.built),
        "complete": inspection.complete,
        "images": [_image(found) for found in inspection.images],
        "disk": None if survey is None else _disk(survey),
        "findings": list(inspection.findings),
        "notes": list(inspection.notes),
    }


def _record(inspection: Inspection) -> str:
    contents = inspection.disk_image.contents
    if isinstance(contents, Contents):
        return "readable"
    return "unreadable" if isinstance(contents, UnreadableRecord) else "none"


def _image(found: InspectedImage) -> dict[str, Any]:
    image = found.image
    return {
        "image": str(image.ref),
        "digest": image.digest,
        "otherDigests": sorted(image.other_digests),
        "platform": image.platform,
        "compressedBytes": image.compressed,
        "unpackedBytes": _unpacked(found),
        "layersOnDisk": found.on_disk,
        "layersUnknown": found.why,
        "layers": [
            {"chainId": x.chain_id, "compressedBytes": x.compressed, "unpackedBytes": x.unpacked} for x in image.layers
        ],
    }


def _disk(survey: Survey) -> dict[str, Any]:
    return {
        "partition": survey.partition,
        "bytes": survey.bytes,
        "usedBytes": survey.used,
        "filesRead": survey.contents,
        "layersChecked": survey.checked,
        "ownRecord": survey.record is not None,
        "layers": [
            {
                "chainId": x.chain_id,
                "folder": x.folder,
                "unpackedBytes": x.unpacked,
                "diskBytes": x.stored,
                "files": x.files,
            }
            for x in survey.layers
        ],
    }


def _unpacked(found: InspectedImage) -> int | None:
    sizes = [layer.unpacked for layer in found.image.layers]
    return None if not sizes or None in sizes else sum(size or 0 for size in sizes)


def _row(found: InspectedImage) -> tuple[Cell, ...]:
    image = found.image
    layers = len(image.layers) or None
    unpacked = _unpacked(found)
    missing = found.on_disk is not None and found.on_disk < len(image.layers)
    return (
        Cell(neutral(image.ref.familiar), str(image.ref)),
        Cell(hexes(image.digest), image.digest),
        cell(image.platform),
        Cell("-" if layers is None else str(layers), layers),
        Cell("-" if found.on_disk is None else str(found.on_disk), found.on_disk, "bad" if missing else ""),
        Cell("-" if image.compressed is None else gib(image.compressed), image.compressed),
        Cell("-" if unpacked is None else gib(unpacked), unpacked),
    )


def _notes(inspection: Inspection, screen: Screen) -> list[str]:
    lines = ["", *_about(inspection, screen)]
    for found in inspection.images:
        if found.why:
            text = f"{found.image.ref.familiar}: its layers are unknown: {found.why}"
            lines += wrapped(neutral(text), "", "  ", screen.cells)
    for finding in inspection.findings:
        lines += wrapped(f"Wrong: {neutral(finding)}", "", "  ", screen.cells)
    return lines


def _about(inspection: Inspection, screen: Screen) -> list[str]:
    survey = inspection.survey
    told = {
        "readable": "Its record says so; the disk was not read (--boot reads it).",
        "unreadable": "Its record can't be used.",
        "none": "It has no record.",
    }[_record(inspection)]
    if survey is not None:
        place = "its first partition" if survey.partition else "the whole disk"
        holds = f"{count(len(inspection.images), 'image')} in {count(len(survey.layers), 'layer')}"
        told = f"The disk holds {holds}; ext4 on {place}, {gib(survey.used)} of {gib(survey.bytes)} used."
        if survey.contents:
            told += f" {survey.checked} of {count(len(survey.layers), 'layer')} had checksums to compare with."
        told += {"readable": "", "unreadable": " The record on the disk image can't be used."}.get(
            _record(inspection), " The disk image has no record."
        )
    lines = wrapped(told, "", "  ", screen.cells)
    for note in inspection.notes:
        lines += wrapped(f"Note: {neutral(note)}", "", "  ", screen.cells)
    return lines
