"""Reading: selections, pages, and the forms in which objects are shown."""

from __future__ import annotations

import base64
import bisect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubectl_imagecache.sandbox.http import Request
from kubectl_imagecache.sandbox.kube import tables
from kubectl_imagecache.sandbox.kube.defaults import to_new_event
from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj
from kubectl_imagecache.sandbox.kube.selectors import FieldTest, field_value, parse_fields, parse_labels
from kubectl_imagecache.sandbox.kube.status import EXPIRED_CONTINUE, ApiError
from kubectl_imagecache.sandbox.kube.store import Entry, Key, Store

_SNAPSHOTS = 16
"""Paged lists that can be under way at once; the oldest expires first."""
_SNAPSHOT_AGE = timedelta(minutes=5)
"""etcd's compaction interval on GKE: how long a continue token is good for, in virtual time."""

Selection = Callable[[Entry], bool]


def selection(kind: Kind, namespace: str, query: Mapping[str, str], name: str = "") -> Selection:
    """Whether an entry belongs to a list or watch; raise ApiError 400 for a bad selector."""
    labels = parse_labels(query.get("labelSelector", ""))
    fields = parse_fields(query.get("fieldSelector", ""), kind.kind)
    if name:
        fields.append(("metadata.name", True, name))
    known = _QUICK if kind.table == "pods" else _QUICK_ALL
    quick = [test for test in fields if test[0] in known]
    slow = [test for test in fields if test[0] not in known]

    def wanted(entry: Entry) -> bool:
        if namespace and entry.namespace != namespace:
            return False
        if not all((known[path](entry) == value) is equal for path, equal, value in quick):
            return False
        if not all(test(entry.labels) for test in labels):
            return False
        return not slow or _fields_match(entry.parsed(kind), slow)

    return wanted


# What an entry tells without being parsed.
_QUICK_ALL: Mapping[str, Callable[[Entry], str]] = {
    "metadata.name": lambda e: e.name,
    "metadata.namespace": lambda e: e.namespace,
}
_QUICK: Mapping[str, Callable[[Entry], str]] = {
    **_QUICK_ALL,
    "spec.nodeName": lambda e: e.pod.node,
    "status.phase": lambda e: e.pod.phase,
}


def _fields_match(obj: Obj, tests: list[FieldTest]) -> bool:
    return all((field_value(obj, path) == value) is equal for path, equal, value in tests)


def select(store: Store, kind: Kind, namespace: str, query: Mapping[str, str], name: str = "") -> list[Entry]:
    """The entries that a list shows, in order."""
    wanted = selection(kind, namespace, query, name)
    plain = not (query.get("labelSelector") or query.get("fieldSelector") or name)
    if plain:
        return store.entries(kind, namespace)
    node = _node_asked(kind, query)
    if node:
        return sorted((e for e in store.pods_on(kind, node) if wanted(e)), key=lambda e: e.key)
    return [entry for entry in store.entries(kind, namespace) if wanted(entry)]


def _node_asked(kind: Kind, query: Mapping[str, str]) -> str:
    if kind.table != "pods":
        return ""
    tests = parse_fields(query.get("fieldSelector", ""), kind.kind)
    return next((value for path, equal, value in tests if path == "spec.nodeName" and equal), "")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    entries: list[Entry]
    version: int
    more: str = ""
    """Continue token; empty at the end."""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    entries: list[Entry]
    keys: list[Key]
    made: datetime


class Pages:
    """Lists by pages, each from the state in which its first page was read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[tuple[str, ...], _Snapshot] = OrderedDict()

    def expire(self) -> None:
        """Make all continue tokens too old."""
        self._snapshots.clear()

    def page(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> Page:
        """The page that a list request asks for; raise ApiError 410 for a token that is too old."""
        limit = _number(query.get("limit", ""))
        token = query.get("continue", "")
        place = (kind.table, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if not token:
            entries = select(self._store, kind, namespace, query)
            if not limit or limit >= len(entries):
                return Page(entries, self._store.version)
            return self._cut(self._snapshot(entries), 0, limit, self._store.version, place)
        version, start = _read_token(token)
        if version < 0:
            snapshot = self._snapshot(select(self._store, kind, namespace, query))
            version = self._store.version
        else:
            snapshot = self._remembered((*place, str(version)), version, start)
        return self._cut(snapshot, bisect.bisect_right(snapshot.keys, start), limit, version, place)

    def _snapshot(self, entries: list[Entry]) -> _Snapshot:
        return _Snapshot(entries, [entry.key for entry in entries], self._store.clock.now())

    def _remembered(self, name: tuple[str, ...], version: int, start: Key) -> _Snapshot:
        found = self._snapshots.get(name)
        now = self._store.clock.now()
        if found is None or now - found.made > _SNAPSHOT_AGE or version < self._store.compacted:
            raise ApiError(410, EXPIRED_CONTINUE, "Expired", continue_token=_token(-1, start))
        self._snapshots.move_to_end(name)
        return found

    def _cut(self, snapshot: _Snapshot, begin: int, limit: int, version: int, place: tuple[str, ...]) -> Page:
        entries = snapshot.entries
        end = begin + limit if limit else len(entries)
        if end >= len(entries):
            return Page(entries[begin:], version)
        self._snapshots.setdefault((*place, str(version)), snapshot)
        if len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)
        # The real server can't count what a selector leaves out, and says nothing then.
        remaining = None if place[2] or place[3] else len(entries) - end
        return Page(entries[begin:end], version, _token(version, entries[end - 1].key), remaining)


def _token(version: int, last: Key) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{last[0]}/{last[1]}"})
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        data = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = data["start"].partition("/")
        return int(data["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(400, f"invalid continue token: continue key is not valid: {error}") from error


def _number(text: str) -> int:
    if not text:
        return 0
    try:
        return max(0, int(text))
    except ValueError as error:
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


@dataclass(frozen=True, slots=True)
class Form:
    """How the client wants objects: plain, as table rows, or metadata only."""

    table: bool = False
    partial: bool = False
    include: str = "Metadata"
    """What a table's rows carry: None, Metadata or Object."""


def form(request: Request) -> Form:
    """What the Accept header asks for."""
    first = request.headers.get("accept", "").split(",")[0]
    if "as=Table" in first:
        return Form(table=True, include=request.query.get("includeObject", "Metadata"))
    return Form(partial="as=PartialObjectMetadata" in first)


def whole(kind: Kind, entry: Entry) -> bytes:
    """An object's JSON with apiVersion and kind, as KIND shows it."""
    if kind.group == "events.k8s.io":
        return json.dumps(to_new_event(entry.parsed(kind)), separators=(",", ":")).encode()
    return entry.whole(kind)


def shown(kind: Kind, entry: Entry, how: Form, now: datetime) -> bytes:
    """One object in the wanted form."""
    if how.table:
        return table(kind, [entry], how, now, {"resourceVersion": str(entry.version)})
    if how.partial:
        return _partial(entry.parsed(kind))
    return whole(kind, entry)


def listed(kind: Kind, page: Page, how: Form, now: datetime) -> bytes:
    """A list's JSON in the wanted form."""
    metadata: Obj = {"resourceVersion": str(page.version)}
    if page.more:
        metadata["continue"] = page.more
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    if how.table:
        return table(kind, page.entries, how, now, metadata)
    if how.partial:
        items = [_partial(entry.parsed(kind)) for entry in page.entries]
        return _list_head("PartialObjectMetadataList", "meta.k8s.io/v1", metadata) + b",".join(items) + b"]}"
    if kind.custom or kind.group == "events.k8s.io":
        items = [whole(kind, entry) for entry in page.entries]
    else:
        items = [entry.raw for entry in page.entries]
    return _list_head(f"{kind.kind}List", kind.api_version, metadata) + b",".join(items) + b"]}"


def _list_head(name: str, api_version: str, metadata: Obj) -> bytes:
    head = {"kind": name, "apiVersion": api_version, "metadata": metadata}
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"items":['


def table(kind: Kind, entries: list[Entry], how: Form, now: datetime, metadata: Obj) -> bytes:
    """A meta.k8s.io/v1 Table."""
    rows = []
    for entry in entries:
        obj = entry.parsed(kind)
        row: Obj = {"cells": tables.cells(kind, obj, now)}
        if how.include == "Object":
            row["object"] = to_new_event(obj) if kind.group == "events.k8s.io" else obj
        elif how.include == "Metadata":
            row["object"] = _metadata_only(obj)
        rows.append(row)
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return json.dumps({**head, "columnDefinitions": tables.columns(kind), "rows": rows}).encode()


def _metadata_only(obj: Obj) -> Obj:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _partial(obj: Obj) -> bytes:
    return json.dumps(_metadata_only(obj), separators=(",", ":")).encode()
