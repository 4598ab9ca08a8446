"""Reads tar archives from a stream: ustar, PAX and GNU entries as Go's archive/tar (and so containerd) reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from kubectl_imagecache.builder.failures import BAD_LAYER, BuildFailed
from kubectl_imagecache.builder.stream import ByteStream

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
GLOBAL_HEADER = b"g"
_GNU_SPARSE = b"S"
_HEADER_ONLY = frozenset((HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO))
_MAX_EXTENSION = 1024 * 1024  # Go's bound for PAX records, long names and sparse maps
_ZEROS = bytes(BLOCK)
_XATTR = b"SCHILY.xattr."
_TIME = re.compile(rb"(-?)(\d+)(?:\.(\d*))?")
_MAX_NS = (1 << 63) - 1


@dataclass(slots=True)
class Entry:
    """One member of an archive; its body is read through the TarReader."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    """Bytes of the file, once unpacked (of a sparse one: with its holes)."""
    mtime_ns: int
    atime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes]
    sparse: list[tuple[int, int]] | None
    """(offset, length) of the data; None for a file without holes."""


_Pax = dict[bytes, bytes]

bad = partial(BuildFailed, BAD_LAYER)


class TarReader:
    """Walks the entries of one archive, in order, once."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._left = 0
        """Bytes of the present entry's body that lie ahead in the stream."""
        self._padding = 0

    def next(self) -> Entry | None:
        """The next entry, or None at the archive's end; raises BuildFailed(BAD_LAYER) if it is damaged."""
        pax: _Pax = {}
        sparse_keys: list[tuple[bytes, bytes]] = []
        long_name = long_link = b""
        while True:
            header = self._header()
            if header is None:
                return None
            kind = header[156:157]
            if kind == b"x":
                pax, sparse_keys = _pax_records(self._extension(header))
            elif kind == b"L":
                long_name = self._extension(header).partition(b"\0")[0]
            elif kind == b"K":
                long_link = self._extension(header).partition(b"\0")[0]
            else:
                break
        entry = _entry(header, pax)
        if long_name:
            entry.name = long_name
        if long_link:
            entry.link = long_link
        self._begin_body(entry, header, pax, sparse_keys)
        return entry

    def body(self) -> Iterator[memoryview]:
        """The stored bytes of the present entry, in order (of a sparse file: its data without the holes)."""
        while self._left:
            for view in self._stream.views(self._left):
                self._left -= len(view)
                yield view
            if self._left:
                raise bad("the layer's archive ends within a file")

    def whole(self) -> bytes:
        """All the stored bytes of the present entry at once: the fast way for small files."""
        data = self._stream.read(self._left)
        if len(data) != self._left:
            raise bad("the layer's archive ends within a file")
        self._left = 0
        return data

    def stored(self, count: int) -> Iterator[memoryview]:
        """The next COUNT stored bytes of the present entry."""
        if count > self._left:
            raise bad("a sparse file's map goes past its data")
        for view in self._stream.views(count):
            self._left -= len(view)
            count -= len(view)
            yield view
        if count:
            raise bad("the layer's archive ends within a file")

    def _header(self) -> bytes | None:
        if self._left or self._padding:
            ahead = self._left + self._padding
            if self._stream.skip(ahead) != ahead and self._left:
                raise bad("the layer's archive ends within a file")
            self._left = self._padding = 0
        header = self._stream.read(BLOCK)
        if not header:
            return None
        if len(header) != BLOCK:
            raise bad("the layer's archive ends within a header")
        if header == _ZEROS:
            following = self._stream.read(BLOCK)
            if following in (b"", _ZEROS):
                return None
            raise bad("the layer's archive has a zero block between its headers")
        if sum(header) - sum(header[148:156]) + 8 * 32 != _number(header[148:156]):
            raise bad("the layer's archive has a header with a wrong checksum")
        return header

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        if not 0 <= size <= _MAX_EXTENSION:
            raise bad(f"the layer's archive has an extended header of {size} bytes")
        data = self._stream.read(size)
        if len(data) != size:
            raise bad("the layer's archive ends within an extended header")
        self._stream.skip(-size % BLOCK)
        return data

    def _begin_body(self, entry: Entry, header: bytes, pax: _Pax, keys: list[tuple[bytes, bytes]]) -> None:
        stored = 0 if entry.type in _HEADER_ONLY else entry.size
        if stored < 0:
            raise bad("the layer's archive has a file of negative size")
        self._left, self._padding = stored, -stored % BLOCK
        if entry.type in _HEADER_ONLY:
            entry.size = 0
        elif entry.type == _GNU_SPARSE:
            entry.type = REGULAR
            entry.size = _number(header[483:495])
            entry.sparse = _checked(self._old_sparse_map(header), entry.size, stored)
        elif b"GNU.sparse.major" in pax or b"GNU.sparse.map" in pax or keys:
            self._pax_sparse(entry, pax, keys)

    def _old_sparse_map(self, header: bytes) -> list[tuple[int, int]]:
        found = _sparse_fields(header[386:482])
        more = header[482]
        while more:
            block = self._stream.read(BLOCK)
            if len(block) != BLOCK or len(found) * 24 > _MAX_EXTENSION:
                raise bad("a sparse file's map is damaged")
            found += _sparse_fields(block[:504])
            more = block[504]
        return found

    def _pax_sparse(self, entry: Entry, pax: _Pax, keys: list[tuple[bytes, bytes]]) -> None:
        """The three forms that GNU tar has written: 0.0 (repeated keys), 0.1 (one key), 1.0 (in the body)."""
        if name := pax.get(b"GNU.sparse.name"):
            entry.name = name
        size = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
        if size is not None:
            entry.size = _decimal(size)
        if pax.get(b"GNU.sparse.major") == b"1":
            pairs = self._map_in_body()
        elif b"GNU.sparse.map" in pax:
            pairs = _pairs([_decimal(n) for n in pax[b"GNU.sparse.map"].split(b",")])
        else:
            pairs = _pairs([_decimal(value) for _, value in keys])
        entry.sparse = _checked(pairs, entry.size, self._left)

    def _map_in_body(self) -> list[tuple[int, int]]:
        text = b""
        wanted: int | None = None
        while wanted is None or text.count(b"\n") < wanted:
            if len(text) > _MAX_EXTENSION:
                raise bad("a sparse file's map is too long")
            text += b"".join(self.stored(min(BLOCK, self._left)) if self._left else ())
            if not self._left and text.count(b"\n") < (wanted or 1):
                raise bad("a sparse file's map is cut short")
            if wanted is None and b"\n" in text:
                wanted = 1 + 2 * _decimal(text.partition(b"\n")[0])
        return _pairs([_decimal(n) for n in text.split(b"\n")[1:wanted]])


def _entry(header: bytes, pax: _Pax) -> Entry:
    name, kind = _text(header[0:100]), header[156:157]
    magic = header[257:265]
    major = minor = 0
    if magic[:6] == b"ustar\0" or magic == b"ustar  \0":
        if kind in (CHAR, BLOCK_DEVICE):
            major, minor = _number(header[329:337]), _number(header[337:345])
        prefix = _prefix(header, magic)
        if prefix:
            name = prefix + b"/" + name
    name = pax.get(b"path") or name
    if kind in (b"\0", b"0"):
        # Before POSIX a directory was a file whose name ends in a slash.
        kind = DIRECTORY if name.endswith(b"/") and kind == b"\0" else REGULAR
    mtime_ns = _time_ns(pax.get(b"mtime")) if pax.get(b"mtime") else _number(header[136:148]) * 10**9
    atime_ns = _time_ns(pax.get(b"atime")) if pax.get(b"atime") else 0
    mtime_ns = mtime_ns if 0 <= mtime_ns <= _MAX_NS else 0
    return Entry(
        name,
        kind,
        _number(header[100:108]) & 0o7777,
        _id(pax.get(b"uid"), header[108:116]),
        _id(pax.get(b"gid"), header[116:124]),
        _decimal(pax[b"size"]) if pax.get(b"size") else _number(header[124:136]),
        mtime_ns,
        max(mtime_ns, atime_ns) if atime_ns <= _MAX_NS else 0,
        pax.get(b"linkpath") or _text(header[157:257]),
        major,
        minor,
        {key[len(_XATTR) :]: value for key, value in pax.items() if key.startswith(_XATTR)} if pax else {},
        None,
    )


def _prefix(header: bytes, magic: bytes) -> bytes:
    if magic[:6] == b"ustar\0":
        star = header[508:512] == b"tar\0"
        return _text(header[345:476] if star else header[345:500])
    if header[345]:
        # GNU's times stand here, but Go before 1.8 wrote a prefix: what is no number is one, as Go reads it.
        try:
            _number(header[345:357])
            _number(header[357:369])
        except BuildFailed:
            prefix = _text(header[345:500])
            return prefix if prefix.isascii() else b""
    return b""


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits between spaces or NULs, none at all being 0, or base-256 if the first bit is set."""
    digits = field.strip(b" \0").partition(b"\0")[0]
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise bad("the layer's archive has a header with a damaged number") from None
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    if digits:
        raise bad("the layer's archive has a header with a damaged number")
    return 0


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise bad("the layer's archive has a damaged number in an extended header")
    return int(text)


def _id(record: bytes | None, field: bytes) -> int:
    number = _decimal(record) if record else _number(field)
    if not 0 <= number < 0xFFFFFFFF:
        raise bad(f"the layer's archive has a file whose owner is {number}")
    return number


def _time_ns(record: bytes | None) -> int:
    match = _TIME.fullmatch(record or b"")
    if match is None or len(match[2]) > 19:
        raise bad("the layer's archive has a damaged time in an extended header")
    nanoseconds = int(match[2]) * 10**9 + int(((match[3] or b"") + b"000000000")[:9])
    return -nanoseconds if match[1] else nanoseconds


def _pax_records(data: bytes) -> tuple[_Pax, list[tuple[bytes, bytes]]]:
    """The records, and apart the repeated ones of the first sparse form."""
    records: _Pax = {}
    sparse: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        if space < 0 or not data[at:space].isdigit():
            raise bad("the layer's archive has a damaged extended header")
        end = at + int(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 2 or data[end - 1 : end] != b"\n" or not equals or not key or b"\0" in key:
            raise bad("the layer's archive has a damaged extended header")
        if key in (b"path", b"linkpath", b"GNU.sparse.name") and b"\0" in value:
            raise bad("the layer's archive has a name with a NUL in it")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append((key, value))
        records[key] = value
        at = end
    return records, sparse


def _sparse_fields(data: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(data) - 23, 24):
        if not data[at]:
            break
        found.append((_number(data[at : at + 12]), _number(data[at + 12 : at + 24])))
    return found


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise bad("a sparse file's map is damaged")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _checked(pairs: list[tuple[int, int]], size: int, stored: int) -> list[tuple[int, int]]:
    end = 0
    for offset, length in pairs:
        if offset < end or length < 0:
            raise bad("a sparse file's map is not in order")
        end = offset + length
    if end > size or sum(length for _, length in pairs) > stored:
        raise bad("a sparse file's map goes past its end")
    return pairs
