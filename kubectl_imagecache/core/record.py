"""Contents records: how a disk image says what it holds, in full on the disk, compactly in its description."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from kubectl_imagecache.core.contents import (
    DIGEST_PREFIX_HEX,
    CachedImage,
    Contents,
    Layer,
    UnreadableRecord,
)
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import parse

SCHEMA = 1
"""Version of both forms; a reader refuses a higher one."""
DESCRIPTION_LIMIT = 2000
"""Bytes; Compute documents 2048 for a disk image's description, some room is left to its owner."""
MAX_JSON = 16 * 1024 * 1024
"""Bytes of a full record that are read at the most."""
MAX_IMAGES = 5000
MAX_LAYERS = 500
_MAX_TEXT = 1024 * 1024
_PREFIX_BYTES = DIGEST_PREFIX_HEX // 2
_PACKED = re.compile(r"^imagecache:(\d{1,4}):([A-Za-z0-9+/=]*)\s*$", re.MULTILINE)
_LINK = re.compile(r"^imagecache-url:(\d{1,4}):(gs://[^\s]{1,1024}) sha256:([0-9a-f]{64})\s*$", re.MULTILINE)
_FULL_DIGEST = re.compile(r"sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")
_MIB = 1024 * 1024
# Part of the format: what references often hold, for deflate to point at; the likeliest last, where it costs least.
_COMMON = (
    b"-server\n-service\n-worker\n-gateway\n-cuda12-devel-ubuntu22.04-runtime-alpine-slim-bookworm\n"
    b"registry.k8s.io/\nquay.io/\nghcr.io/\nnvcr.io/nvidia/\nlinux/arm64\t1\n"
    b"asia-southeast1-docker.pkg.dev/\nasia-docker.pkg.dev/\neurope-west4-docker.pkg.dev/\neurope-docker.pkg.dev/\n"
    b"us-central1-docker.pkg.dev/\nus-docker.pkg.dev/\neu.gcr.io/\ngcr.io/\ndocker.io/library/\n"
    b":latest\n:v0.1.0\n:v2.0.0\n:v1.0.0\nkubectl-imagecache 0.1.0\tlinux/amd64\t1\n"
)


@dataclass(frozen=True, slots=True)
class RecordLink:
    """The description's word that the full record lies in Cloud Storage."""

    url: str
    """gs://BUCKET/OBJECT"""
    sha256: str
    """Of the record's bytes, hex."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A description, ready for the disk image."""

    description: str
    left_out: tuple[CachedImage, ...] = ()
    """Images that found no room, the smallest ones."""


def labels(contents: Contents, *, build: str, arch: str) -> dict[str, str]:
    """The disk image's labels: at most 63 characters of [a-z0-9_-] each, so a SHA-256 in hex is cut to 40 digits."""
    found = {"imagecache-schema": str(SCHEMA), "imagecache-build": build, "imagecache-arch": arch}
    if contents.plan:
        found["imagecache-plan"] = contents.plan[:40]
    return found


def pack(contents: Contents, headline: str, limit: int = DESCRIPTION_LIMIT) -> Packed:
    """HEADLINE and the compact record within LIMIT bytes: with sizes if they fit, and with as many images as do.

    Raises BadUsage if not even one image fits.
    """
    for with_sizes in (True, False):
        text = _description(contents, headline, with_sizes)
        if len(text.encode()) <= limit:
            return Packed(text)
    by_size = sorted(contents.images, key=lambda image: (image.compressed or 0, str(image.ref)))
    for count in range(1, len(by_size)):
        left = set(by_size[:count])
        kept = tuple(image for image in contents.images if image not in left)
        text = _description(replace(contents, images=kept, complete=False), headline, with_sizes=False)
        if len(text.encode()) <= limit:
            return Packed(text, tuple(by_size[:count]))
    raise BadUsage(f"the contents record doesn't fit in {limit} bytes", "shorten the description's first line")


def link(headline: str, url: str, sha256: str) -> str:
    """The description of a disk image whose full record lies at URL (gs://…), with its SHA-256 in hex."""
    return f"{headline}\nimagecache-url:{SCHEMA}:{url} sha256:{sha256}\n"


def object_name(disk_image: str, sha256: str) -> str:
    """The last part of the address under which a build stores the full record of DISK_IMAGE."""
    return f"{disk_image}-{sha256[:12]}.json"


def own_link(disk_image: str, description: str) -> RecordLink | None:
    """Where DISK_IMAGE's full record lies, if it is named as builds name it; None if it lies nowhere else.

    A description is input from outside: by a link to any other object, it could have that deleted in its stead.
    """
    found = unpack(description)
    if not isinstance(found, RecordLink):
        return None
    folder, _, name = found.url.rpartition("/")
    return found if name == object_name(disk_image, found.sha256) and folder != "gs:/" else None


def linked(found: RecordLink, body: bytes) -> Contents | UnreadableRecord:
    """BODY, which lies where the link says, as a record, if it is what was stored there."""
    if hashlib.sha256(body).hexdigest() != found.sha256:
        return UnreadableRecord(f"{found.url} is not what was recorded: its SHA-256 differs")
    return from_json(body)


def unpack(description: str) -> Contents | RecordLink | UnreadableRecord | None:
    """Read a disk image's description; None if it holds no record at all."""
    found = _LINK.search(description)
    if found is not None:
        version, url, sha256 = found.groups()
        return _newer(int(version)) or RecordLink(url, sha256)
    found = _PACKED.search(description)
    if found is None:
        return UnreadableRecord("the record in its description is damaged") if "\nimagecache" in description else None
    version, encoded = found.groups()
    return _newer(int(version)) or _guarded(lambda: _unpack(base64.b64decode(encoded, validate=True)))


def to_json(contents: Contents) -> str:
    """The full record, `/imagecache.json` on the disk (schemas/contents-v1.json)."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "built": _iso(contents.built),
            "builder": contents.builder,
            "plan": contents.plan,
            "images": [
                {
                    "reference": str(image.ref),
                    "digest": image.digest,
                    "otherDigests": sorted(image.other_digests),
                    "platform": image.platform,
                    "compressedBytes": image.compressed,
                    "layers": [
                        {
                            "chainID": layer.chain_id,
                            "compressedBytes": layer.compressed,
                            "unpackedBytes": layer.unpacked,
                        }
                        for layer in image.layers
                    ],
                }
                for image in contents.images
            ],
        },
        indent=1,
    )


def from_json(data: bytes) -> Contents | UnreadableRecord:
    """Read a full record, trusting nothing in it."""
    if len(data) > MAX_JSON:
        return UnreadableRecord(f"the record has more than {MAX_JSON // _MIB} MiB")
    return _guarded(lambda: _contents(json.loads(data)))


def _guarded(read: Callable[[], Contents | UnreadableRecord]) -> Contents | UnreadableRecord:
    try:
        return read()
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, zlib.error, BadUsage) as error:
        # binascii.Error, UnicodeDecodeError and JSONDecodeError are ValueErrors.
        detail = error.message if isinstance(error, BadUsage) else str(error) or type(error).__name__
        return UnreadableRecord(f"the record is damaged ({detail[:120]})")


def _newer(version: int) -> UnreadableRecord | None:
    return (
        UnreadableRecord(f"written by a newer version (record {version}, this reads {SCHEMA})", newer=True)
        if version > SCHEMA
        else None
    )


def _description(contents: Contents, headline: str, with_sizes: bool) -> str:
    packed = base64.b64encode(_pack(contents, with_sizes)).decode()
    return f"{' '.join(headline.split())}\nimagecache:{SCHEMA}:{packed}\n"


def _pack(contents: Contents, with_sizes: bool) -> bytes:
    """Deflated text (a head line, then REFERENCE[TAB MiB] a line), its length before it, digest prefixes after it.

    The plan's hash is not in it: the disk image's label has that.
    """
    images = sorted(contents.images, key=lambda image: str(image.ref))
    platform = images[0].platform if images else ""
    built = str(int(contents.built.timestamp())) if contents.built else ""
    lines = ["\t".join((built, contents.builder, platform, "1" if contents.complete else "0"))]
    for image in images:
        size = f"\t{_mib(image.compressed)}" if with_sizes and image.compressed is not None else ""
        lines.append(f"{image.ref}{size}")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_COMMON)
    text = deflate.compress("\n".join(lines).encode()) + deflate.flush()
    prefixes = b"".join(bytes.fromhex(image.digest.partition(":")[2][:DIGEST_PREFIX_HEX]) for image in images)
    return len(text).to_bytes(3, "big") + text + prefixes


def _unpack(data: bytes) -> Contents:
    length = int.from_bytes(data[:3], "big")
    inflate = zlib.decompressobj(-15, zdict=_COMMON)
    text = inflate.decompress(data[3 : 3 + length], _MAX_TEXT)
    if inflate.unconsumed_tail or not inflate.eof:
        raise ValueError("its text is cut short or too long")
    head, *lines = text.decode().split("\n")
    prefixes = data[3 + length :]
    if len(lines) > MAX_IMAGES or len(prefixes) != _PREFIX_BYTES * len(lines):
        raise ValueError("the numbers of references and digests differ")
    built, builder, platform, complete = head.split("\t")
    images = []
    for index, line in enumerate(lines):
        reference, _, size = line.partition("\t")
        digest = "sha256:" + prefixes[index * _PREFIX_BYTES : (index + 1) * _PREFIX_BYTES].hex()
        images.append(CachedImage(parse(reference), digest, frozenset(), _from_mib(size), (), platform))
    at = datetime.fromtimestamp(int(built), timezone.utc) if built else None
    return Contents(tuple(images), at, builder, complete=complete == "1")


def _mib(size: int) -> str:
    """In MiB with two decimals at most: three significant digits are enough for people, and cheap to store."""
    mib = size / _MIB
    return f"{mib:.0f}" if mib >= 100 else f"{mib:.3g}"


def _from_mib(text: str) -> int | None:
    if not text:
        return None
    size = round(float(text) * _MIB)
    if not 0 <= size < 1 << 50:
        raise ValueError(f"impossible size {text}")
    return size


def _contents(data: Any) -> Contents | UnreadableRecord:
    if not isinstance(data, Mapping):
        raise ValueError("not an object")
    version = data["schema"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("no schema version")
    newer = _newer(version)
    if newer is not None:
        return newer
    images = _list(data["images"], MAX_IMAGES)
    built = data.get("built")
    at = datetime.fromisoformat(built.replace("Z", "+00:00")).astimezone(timezone.utc) if built else None
    return Contents(tuple(_image(image) for image in images), at, _text(data.get("builder")), _text(data.get("plan")))


def _image(data: Any) -> CachedImage:
    return CachedImage(
        parse(_text(data["reference"])),
        _digest(data["digest"]),
        frozenset(_digest(digest) for digest in _list(data.get("otherDigests") or [], 8)),
        _size(data.get("compressedBytes")),
        tuple(
            Layer(_digest(layer["chainID"]), _size(layer.get("compressedBytes")), _size(layer.get("unpackedBytes")))
            for layer in _list(data.get("layers") or [], MAX_LAYERS)
        ),
        _text(data.get("platform")),
    )


def _list(data: Any, limit: int) -> list[Any]:
    if not isinstance(data, list) or len(data) > limit:
        raise ValueError(f"a list of at most {limit} was expected")
    return data


def _text(data: Any) -> str:
    if data is None:
        return ""
    if not isinstance(data, str) or len(data) > 4096:
        raise ValueError("a short text was expected")
    return data


def _digest(data: Any) -> str:
    if not isinstance(data, str) or not _FULL_DIGEST.fullmatch(data):
        raise ValueError(f"not a digest: {str(data)[:80]}")
    return data


def _size(data: Any) -> int | None:
    if data is None:
        return None
    if not isinstance(data, int) or isinstance(data, bool) or not 0 <= data < 1 << 50:
        raise ValueError(f"not a size: {str(data)[:40]}")
    return data


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
