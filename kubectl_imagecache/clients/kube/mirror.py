"""What a list shows, kept up to date: read once, then changed by a watch, and read anew where that broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from kubectl_imagecache.clients.kube.lists import Unreadable, decode_page, decoder_of, read_list
from kubectl_imagecache.clients.kube.transport import Expired, Transport
from kubectl_imagecache.clients.kube.watch import IDLE_S, WATCH_S, Change
from kubectl_imagecache.clients.kube.wire import Object, Wire
from kubectl_imagecache.core.errors import BadAnswer, UserError

LATE_S = 30.0
"""Real seconds after which a watch that still isn't where it should be is given up, and the list is read."""


Item = TypeVar("Item", bound=Object)
Value = TypeVar("Value")


class _BookmarkMeta(Wire):
    resource_version: str | None = None


class _Bookmark(Wire):
    metadata: _BookmarkMeta | None = None


# Threads must not be the first to use a type (clients/kube/wire.py).
for _shape in (Change, _Bookmark):
    msgspec.json.Decoder(_shape)


class Mirror(Generic[Item, Value]):
    """The objects of one list as values, by namespace and name; read by one thread, changed by that of a watch.

    It never knows less than the last list; if the watch breaks, the next read lists again. ITEM must be prepared
    (clients/kube/wire.py). CHANGED is set when a value changes.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        query: Mapping[str, str],
        item: type[Item],
        turn: Callable[[Item], Value],
        changed: threading.Event,
    ) -> None:
        self._transport, self._path, self._query = transport, path, dict(query)
        self._item, self._turn, self._changed = item, turn, changed
        self._what = path.rpartition("/")[2]
        self._lock = threading.Condition()
        self._values: dict[tuple[str, str], tuple[int, Value]] = {}
        self._version = 0
        self._number = 0
        """Of the list: a watch that began with an earlier one has nothing more to say."""
        self._live = False

    def read(self, reached: int = 0) -> list[Value]:
        """The values, not older than version REACHED; raises as whole_list does."""
        with self._lock:
            self._lock.wait_for(lambda: not self._live or self._version >= reached, LATE_S)
            live = self._live and self._version >= reached
        if not live:
            self._list()
        with self._lock:
            return [value for _, value in self._values.values()]

    def learn(self, item: Item) -> None:
        """Take in what the server answered to a change of ours, before the watch tells of it."""
        with self._lock:
            if _key(item) in self._values:
                self._put(item)

    def amend(self, namespace: str, name: str, change: Callable[[Value], Value]) -> None:
        """Change a value as the server is known to have done; nothing if there is none."""
        with self._lock:
            found = self._values.get((namespace, name))
            if found is not None:
                self._values[namespace, name] = (found[0], change(found[1]))

    def close(self) -> None:
        """Let the watch end with its next line."""
        with self._lock:
            self._number, self._live = self._number + 1, False

    def _list(self) -> None:
        items, version = whole_list(self._transport, self._path, self._query, self._item)
        with self._lock:
            self._values = {_key(item): (_version(item), self._turn(item)) for item in items}
            self._version, self._number, self._live = int(version or 0), self._number + 1, bool(version)
            number = self._number
        if version:
            threading.Thread(target=self._follow, args=(number, version), daemon=True, name=f"watch-{number}").start()

    def _follow(self, number: int, version: str) -> None:
        """Take in changes from VERSION on, until one may have been missed."""
        told = True
        query = {**self._query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        try:
            while told:  # A watch that ends in good order goes on from where it was; but not one that says nothing.
                told = False
                query["resourceVersion"] = version
                for line in self._transport.lines(self._path, query, self._what, IDLE_S):
                    version, told = self._take(number, line), True
        except (Expired, UserError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # Whatever it was shows when the list is read again.
        finally:
            with self._lock:
                if number == self._number:
                    self._live = False
                    self._lock.notify_all()

    def _take(self, number: int, line: bytes) -> str:
        """Take in one line; its version. Raises Expired if the watch can't go on."""
        change: Change = decoder_of(Change).decode(line)
        if change.type == "BOOKMARK":
            mark: _Bookmark = decoder_of(_Bookmark).decode(change.object)
            version = (mark.metadata.resource_version if mark.metadata else None) or ""
        elif change.type in ("ADDED", "MODIFIED", "DELETED"):
            item: Item = decoder_of(self._item).decode(change.object)
            version = item.metadata.resource_version or ""
        else:
            raise Expired
        with self._lock:
            if number != self._number or not version.isdecimal():
                raise Expired
            if change.type == "DELETED":
                if self._values.pop(_key(item), None) is not None:
                    self._changed.set()
            elif change.type != "BOOKMARK":
                self._put(item)
            self._version = int(version)
            self._lock.notify_all()
        return version

    def _put(self, item: Item) -> None:
        before, version = self._values.get(_key(item)), _version(item)
        if before is not None and version < before[0]:
            return
        value = self._turn(item)
        self._values[_key(item)] = (version, value)
        if before is None or before[1] != value:
            self._changed.set()


def whole_list(transport: Transport, path: str, query: Mapping[str, str], item: type[Item]) -> tuple[list[Item], str]:
    """All items of a list, and its resourceVersion.

    Raises BadAnswer if one item can't be read, for what is not known could matter, and what Transport.get raises.
    """
    items: list[Item] = []
    version, what = "", path.rpartition("/")[2]
    unreadable = Unreadable()

    def begin() -> Callable[[bytes], str]:
        items.clear()
        unreadable.clear()
        return read

    def read(body: bytes) -> str:
        nonlocal version
        page = decode_page(body, item, what, unreadable)
        items.extend(page.items)
        version = page.version
        return page.next

    read_list(transport, [path], query, what, begin)
    if unreadable.count:
        raise BadAnswer(f"{unreadable.count} of the {what} can't be read: {unreadable.why}")
    return items, version if version.isdecimal() else ""


def _key(item: Object) -> tuple[str, str]:
    return item.metadata.namespace or "", item.metadata.name


def _version(item: Object) -> int:
    # Numbers that grow: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    text = item.metadata.resource_version or ""
    return int(text) if text.isdecimal() else 0
