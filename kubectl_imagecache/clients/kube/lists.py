"""Lists read page by page: continue tokens, their expiry, and items of the wrong shape."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic

import msgspec

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.transport import Expired, Transport
from kubectl_imagecache.clients.kube.wire import Item
from kubectl_imagecache.core.errors import BadAnswer, Unavailable
from kubectl_imagecache.core.views import Gap

PAGE = 500
"""Objects asked for at once: kubectl's own chunk size."""
RESTARTS = 3
"""How often a list begins again after its continue token expired; then it is asked for unpaged."""
MOST_PAGES = 100_000
"""More pages than any cluster has: a server that never ends its list is stopped here."""


@dataclass(slots=True)
class Unreadable:
    """Items that don't have the shape of their kind."""

    count: int = 0
    why: str = ""
    """Of the first."""

    def add(self, why: str) -> None:
        """Count one more."""
        self.count += 1
        self.why = self.why or why

    def clear(self) -> None:
        """Begin again."""
        self.count, self.why = 0, ""

    def gaps(self, what: str) -> list[Gap]:
        """What is not known because of them."""
        return [Gap(f"{self.count} of the {what}", f"not in the shape of their kind: {self.why}")] if self.count else []


@cache
def decoder_of(shape: Any) -> msgspec.json.Decoder[Any]:
    """The decoder for SHAPE, made once."""
    return msgspec.json.Decoder(shape)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One decoded page."""

    items: list[Item]
    next: str
    """The continue token; empty at the end."""
    version: str = ""
    """The list's resourceVersion, the same on all its pages."""


def decode_page(body: bytes, item: type[Item], what: str, unreadable: Unreadable) -> Page[Item]:
    """Decode one page of ITEMs; those of the wrong shape are counted in UNREADABLE.

    Raises BadAnswer if the page as a whole can't be read.
    """
    try:
        page = decoder_of(wire.Page[item]).decode(body)  # type: ignore[valid-type] # made at run time
        meta = page.metadata or wire.ListMeta()
        return Page(page.items or [], meta.next or "", meta.resource_version or "")
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the list of {what} is not JSON: {error}", "is there a proxy in between?") from error
    try:
        raw = decoder_of(wire.RawList).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"not a list of {what}: {error}") from error
    meta = raw.metadata or wire.ListMeta()
    return Page(decode_items(raw.items or [], item, unreadable), meta.next or "", meta.resource_version or "")


def decode_items(raws: list[msgspec.Raw], item: type[Item], unreadable: Unreadable) -> list[Item]:
    """Those of RAWS that are ITEMs."""
    decoder = decoder_of(item)
    found: list[Item] = []
    for raw in raws:
        try:
            found.append(decoder.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            unreadable.add(str(error)[:200])
    return found


def read_list(
    transport: Transport,
    paths: Sequence[str],
    query: Mapping[str, str],
    what: str,
    begin: Callable[[], Callable[[bytes], str]],
) -> None:
    """Read all lists of PATHS: BEGIN makes a reader, which takes each page's body and returns its continue token.

    When a token expired all begins again with a new reader, so that nothing counts twice; after RESTARTS of these the
    lists are asked for unpaged. Raises Unavailable if even that expires, BadAnswer if a list never ends.
    """
    for attempt in range(RESTARTS + 2):
        try:
            read = begin()
            for path in paths:
                _walk(transport, path, {**query, "limit": str(PAGE)} if attempt <= RESTARTS else query, what, read)
            return
        except Expired:
            continue
    raise Unavailable(f"the list of {what} expires faster than it can be read", "try again later")


def _walk(transport: Transport, path: str, query: Mapping[str, str], what: str, read: Callable[[bytes], str]) -> None:
    token = ""
    for _ in range(MOST_PAGES):
        last, token = token, read(transport.get(path, {**query, "continue": token} if token else query, what))
        if not token:
            return
        if token == last:
            break
    raise BadAnswer(f"the list of {what} never ends: its continue token does not move on")


def fold_reader(
    item: type[Item], what: str, add: Callable[[Item], None], unreadable: Unreadable
) -> Callable[[bytes], str]:
    """A reader that feeds each ITEM of a page to ADD."""

    def read(body: bytes) -> str:
        page = decode_page(body, item, what, unreadable)
        for one in page.items:
            add(one)
        return page.next

    return read


def spooled(transport: Transport, path: str, what: str) -> Iterator[bytes]:
    """The pages of a list as they came, undecoded; kept in a nameless temporary file until the list is complete."""
    with tempfile.TemporaryFile() as spool:
        lengths: list[int] = []

        def begin() -> Callable[[bytes], str]:
            spool.seek(0)
            spool.truncate()
            lengths.clear()
            return read

        def read(body: bytes) -> str:
            try:
                head = decoder_of(wire.RawList).decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"not a list of {what}: {error}") from error
            spool.write(body)
            lengths.append(len(body))
            return (head.metadata.next if head.metadata else None) or ""

        read_list(transport, [path], {}, what, begin)
        spool.seek(0)
        for length in lengths:
            yield spool.read(length)
