"""A survey as numbered, checksummed pieces that fit through a serial port, and back."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import CachedImage, Contents, Layer, UnreadableRecord
from kubectl_imagecache.core.errors import BadAnswer
from kubectl_imagecache.core.survey import ListedImage, Survey, SurveyedLayer

VERSION = 1
EVENT = "survey"
"""Name of the events that carry the pieces."""
PIECE = 3000
"""Characters of a piece: a line that the kernel's own messages seldom cut."""
MOST_PIECES = 300
"""Of a survey: a serial port keeps its last 1 MiB, and a whole round of them must fit in."""
_MOST_BYTES = 64 * 2**20
_MOST_LINES = 20_000
_HEX = frozenset("0123456789abcdef")


def pieces(survey: Survey) -> list[dict[str, Any]]:
    """The fields of one event each: the piece's number, how many there are, a hash of the whole and a CRC of the piece.

    Raises ValueError if there are more than MOST_PIECES.
    """
    packed = zlib.compress(json.dumps(_document(survey), separators=(",", ":")).encode(), 9)
    text = base64.b64encode(packed).decode()
    cut = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    if len(cut) > MOST_PIECES:
        raise ValueError(f"the disk holds too much to report: {len(cut)} pieces, {MOST_PIECES} are possible")
    whole = _hash(text)
    return [
        {"piece": number, "of": len(cut), "whole": whole, "crc": zlib.crc32(data.encode()), "data": data}
        for number, data in enumerate(cut)
    ]


@dataclass(slots=True)
class Pieces:
    """Collects pieces, in any order and however often they come, until they make a survey."""

    _found: dict[tuple[str, int], dict[int, str]] = field(default_factory=dict)

    def take(self, fields: Mapping[str, Any]) -> None:
        """Take one event's FIELDS; damaged ones are dropped, as they come again."""
        number, of, whole, crc, data = (fields.get(key) for key in ("piece", "of", "whole", "crc", "data"))
        if not (isinstance(number, int) and isinstance(of, int) and 0 <= number < of <= MOST_PIECES):
            return
        if isinstance(whole, str) and isinstance(data, str) and zlib.crc32(data.encode()) == crc:
            self._found.setdefault((whole, of), {})[number] = data

    @property
    def missing(self) -> int:
        """Pieces that are still wanted; 1 before the first has come."""
        return min((of - len(found) for (_, of), found in self._found.items()), default=1)

    def survey(self) -> Survey | None:
        """The survey once it is whole; raises BadAnswer if it makes no sense."""
        for (whole, of), found in self._found.items():
            text = "".join(found[number] for number in sorted(found))
            if len(found) == of and _hash(text) == whole:
                return _read(text)
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _document(survey: Survey) -> dict[str, Any]:
    held = survey.record.images if survey.record else ()
    chains = sorted({x.chain_id for x in survey.layers} | {x.chain_id for image in held for x in image.layers})
    at = {chain_id: index for index, chain_id in enumerate(chains)}
    return {
        "version": VERSION,
        # Without their names the hashes that repeat compress to nothing, the others to half.
        "chains": [chain_id.removeprefix("sha256:") for chain_id in chains],
        "images": [[i.reference, i.digest, i.size, i.platforms] for i in survey.images],
        "layers": [[at[x.chain_id], x.folder, x.unpacked, x.stored, x.files] for x in survey.layers],
        "record": None if survey.record is None else _record(survey.record, at),
        "findings": survey.findings,
        "notes": survey.notes,
        "contents": survey.contents,
        "checked": survey.checked,
        "partition": survey.partition,
        "bytes": survey.bytes,
        "used": survey.used,
    }


def _record(contents: Contents, at: Mapping[str, int]) -> dict[str, Any]:
    document = json.loads(record.to_json(contents))
    for image in document["images"]:
        image["layers"] = [
            [at[layer["chainID"]], layer["compressedBytes"], layer["unpackedBytes"]] for layer in image["layers"]
        ]
    return dict(document)


def _read(text: str) -> Survey:
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if not inflate.eof:
            raise ValueError("it is cut short or too long")
        document = json.loads(data)
        if document["version"] != VERSION:
            raise ValueError(f"its version is {str(document['version'])[:20]}")
        return _survey(document)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, zlib.error) as error:
        raise BadAnswer(f"the VM's report makes no sense: {str(error)[:120]}", "run it again") from error


def _survey(document: Mapping[str, Any]) -> Survey:
    chains = [_chain(text) for text in _list(document["chains"])]
    return Survey(
        tuple(ListedImage(*(_text(cell) for cell in row)) for row in _list(document["images"])),
        tuple(
            SurveyedLayer(chains[_size(at)], _text(folder), _size(unpacked), _size(stored), _size(files))
            for at, folder, unpacked, stored, files in _list(document["layers"])
        ),
        _contents(document["record"], chains),
        tuple(_text(line) for line in _list(document["findings"])),
        tuple(_text(line) for line in _list(document["notes"])),
        document["contents"] is True,
        _size(document["checked"]),
        document["partition"] is True,
        _size(document["bytes"]),
        _size(document["used"]),
    )


def _contents(document: Any, chains: list[str]) -> Contents | None:
    if document is None:
        return None
    bare = {**document, "images": [{**image, "layers": []} for image in _list(document["images"])]}
    found = record.from_json(json.dumps(bare).encode())
    if isinstance(found, UnreadableRecord):
        raise ValueError(found.why)
    layers = [
        tuple(Layer(chains[_size(at)], _optional(compressed), _optional(unpacked)) for at, compressed, unpacked in rows)
        for rows in (_list(image["layers"]) for image in document["images"])
    ]
    images = tuple(
        CachedImage(i.ref, i.digest, i.other_digests, i.compressed, x, i.platform)
        for i, x in zip(found.images, layers, strict=True)
    )
    return Contents(images, found.built, found.builder, found.plan, found.complete)


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list) or len(data) > _MOST_LINES:
        raise ValueError(f"a list of at most {_MOST_LINES} was expected")
    return data


def _text(data: Any) -> str:
    if not isinstance(data, str) or len(data) > 4096:
        raise ValueError("a short text was expected")
    return data


def _size(data: Any) -> int:
    if not isinstance(data, int) or isinstance(data, bool) or not 0 <= data < 1 << 60:
        raise ValueError(f"not a size: {str(data)[:40]}")
    return data


def _optional(data: Any) -> int | None:
    return None if data is None else _size(data)


def _chain(data: Any) -> str:
    if not isinstance(data, str) or len(data) != 64 or not _HEX.issuperset(data):
        raise ValueError("not a chain ID")
    return f"sha256:{data}"
