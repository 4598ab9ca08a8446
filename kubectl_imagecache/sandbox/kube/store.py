"""The objects, their versions, the indexes over them and the history of their changes."""

from __future__ import annotations

import bisect
import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kubectl_imagecache.sandbox.clock import VirtualClock
from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj
from kubectl_imagecache.sandbox.kube.quantities import Requests, pod_requests
from kubectl_imagecache.sandbox.kube.status import ApiError

Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name; the order of lists."""

HISTORY = 20_000
"""Changes that a watch can go back; older ones are answered with 410, as after etcd's compaction."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What scheduler, evictions and selectors ask of every pod, without parsing it."""

    node: str = ""
    phase: str = ""
    requests: Requests = ()
    ready: bool = False
    terminating: bool = False


_NO_POD = PodFacts()


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in one version; never changed, only replaced."""

    key: Key
    """Its place in lists."""
    version: int
    labels: Mapping[str, str]
    owners: tuple[str, ...]
    """UIDs in ownerReferences, the controller's first."""
    pod: PodFacts
    body: bytes | Callable[[], bytes]
    """JSON without apiVersion and kind, or what makes it."""

    @property
    def namespace(self) -> str:
        """Empty for cluster-wide kinds."""
        return self.key[0]

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.key[1]

    @property
    def raw(self) -> bytes:
        """The JSON as items of a list have it: without apiVersion and kind."""
        return self.body if isinstance(self.body, bytes) else self.body()

    def whole(self, kind: Kind) -> bytes:
        """The JSON with apiVersion and kind."""
        return b'{"kind":"%s","apiVersion":"%s",%s' % (kind.kind.encode(), kind.api_version.encode(), self.raw[1:])

    def at(self, version: int) -> Entry:
        """The same object under another version, as the news of its end carries it."""
        return replace(self, version=version, body=_restamped(self.raw, str(self.version), version))

    def parsed(self, kind: Kind) -> Obj:
        """The object as fresh dicts that the caller may change."""
        obj: Obj = json.loads(self.raw)
        return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the history."""

    version: int
    table: str
    old: Entry | None
    new: Entry | None
    """None: deleted; `old` then carries the version of the deletion."""


class Table:
    """The objects of one kind, with indexes."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.keys: list[Key] = []
        self.by_node: dict[str, dict[Key, None]] = {}
        self.unbound: dict[Key, None] = {}
        self.by_labels: dict[str, dict[frozenset[tuple[str, str]], dict[Key, None]]] = {}

    def set(self, entry: Entry, old: Entry | None) -> None:
        """Insert or replace."""
        if old is None:
            bisect.insort(self.keys, entry.key)
        self.entries[entry.key] = entry
        self.index(entry, old)

    def index(self, entry: Entry, old: Entry | None) -> None:
        """Keep the indexes right for an entry that has been set."""
        if entry.pod is _NO_POD:
            return
        if old is not None and (old.pod.node != entry.pod.node or old.labels != entry.labels):
            self._unindex(old)
        elif old is not None:
            return
        if entry.pod.node:
            self.by_node.setdefault(entry.pod.node, {})[entry.key] = None
        else:
            self.unbound[entry.key] = None
        alike = self.by_labels.setdefault(entry.namespace, {}).setdefault(frozenset(entry.labels.items()), {})
        alike[entry.key] = None

    def drop(self, entry: Entry) -> None:
        """Remove."""
        del self.entries[entry.key]
        del self.keys[bisect.bisect_left(self.keys, entry.key)]
        self._unindex(entry)

    def _unindex(self, entry: Entry) -> None:
        if entry.pod is _NO_POD:
            return
        groups = self.by_labels.get(entry.namespace, {})
        alike = groups.get(frozenset(entry.labels.items()), {})
        alike.pop(entry.key, None)
        if not alike:
            groups.pop(frozenset(entry.labels.items()), None)
        self.unbound.pop(entry.key, None)
        if entry.pod.node:
            bound = self.by_node.get(entry.pod.node, {})
            bound.pop(entry.key, None)
            if not bound:
                self.by_node.pop(entry.pod.node, None)


class Store:
    """All tables, one counter of versions, one history."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.version = 1000
        self.random = random.Random(f"names-{seed}")
        self.history: deque[Change] = deque(maxlen=HISTORY)
        self.compacted = self.version
        """Watches can't begin before this version."""
        self.listeners: list[Callable[[Change], None]] = []
        self._tables: dict[str, Table] = {}
        self._owned: dict[str, dict[tuple[str, Key], None]] = {}
        self._views: dict[tuple[str, Key], tuple[int, Obj]] = {}

    def table(self, kind: Kind) -> Table:
        """The kind's objects."""
        return self._tables.setdefault(kind.table, Table())

    def get(self, kind: Kind, namespace: str, name: str) -> Entry | None:
        """One object, or None."""
        return self.table(kind).entries.get((namespace if kind.namespaced else "", name))

    def entries(self, kind: Kind, namespace: str = "") -> list[Entry]:
        """All, or a namespace's, in the order of lists."""
        table = self.table(kind)
        keys = table.keys
        if namespace and kind.namespaced:
            keys = keys[bisect.bisect_left(keys, (namespace, "")) : bisect.bisect_left(keys, (namespace + "\0", ""))]
        entries = table.entries
        return [entries[key] for key in keys]

    def pods_on(self, kind: Kind, node: str) -> list[Entry]:
        """The pods bound to a node."""
        table = self.table(kind)
        return [table.entries[key] for key in table.by_node.get(node, ())]

    def pods_labelled(self, kind: Kind, namespace: str, test: Callable[[Mapping[str, str]], bool]) -> list[Entry]:
        """A namespace's pods whose labels pass; asks once for pods with the same labels."""
        table = self.table(kind)
        groups = table.by_labels.get(namespace, {})
        return [table.entries[key] for labels, keys in groups.items() if test(dict(labels)) for key in keys]

    def owned(self, uid: str) -> list[tuple[str, Key]]:
        """Table and key of the objects that have an owner reference to UID."""
        return list(self._owned.get(uid, ()))

    def entry_in(self, table: str, key: Key) -> Entry | None:
        """One object by its table's name."""
        found = self._tables.get(table)
        return found.entries.get(key) if found else None

    def view(self, kind: Kind, entry: Entry) -> Obj:
        """An object to look at, parsed once a version; callers must not change it."""
        place = (kind.table, entry.key)
        found = self._views.get(place)
        if found is None or found[0] != entry.version:
            found = self._views[place] = (entry.version, entry.parsed(kind))
        return found[1]

    def put(self, kind: Kind, obj: Obj) -> Entry:
        """Store OBJ under a new version; writing what is there already changes nothing."""
        metadata = obj["metadata"]
        old = self.get(kind, metadata.get("namespace", ""), metadata["name"])
        before = str(old.version) if old is not None else "0"
        metadata["resourceVersion"] = before
        body = _dump(obj)
        if old is not None and body == old.body:
            return old
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        entry = _entry(kind, obj, self.version, _restamped(body, before, self.version))
        self.set(kind, entry, old)
        self._record(Change(self.version, kind.table, old, entry))
        return entry

    def set(self, kind: Kind, entry: Entry, old: Entry | None) -> None:
        """Place an entry, without history."""
        self.table(kind).set(entry, old)
        self._index_owners(kind, entry, old)

    def extend(self, kind: Kind, entries: list[Entry]) -> None:
        """Place many new entries at once, without history: watches older than now must begin anew."""
        table = self.table(kind)
        for entry in entries:
            table.entries[entry.key] = entry
            table.index(entry, None)
            self._index_owners(kind, entry, None)
        table.keys = sorted(table.entries)
        self.history.clear()
        self.compacted = self.version

    def remove(self, kind: Kind, namespace: str, name: str) -> Entry | None:
        """Delete; the answer is the object's last state, under the deletion's version."""
        old = self.get(kind, namespace, name)
        if old is None:
            return None
        self.table(kind).drop(old)
        self._views.pop((kind.table, old.key), None)
        for uid in old.owners:
            self._owned.get(uid, {}).pop((kind.table, old.key), None)
        self.version += 1
        last = old.at(self.version)
        self._record(Change(self.version, kind.table, last, None))
        return last

    def compact(self) -> None:
        """Forget the history: watches and lists that began before now get 410."""
        self.history.clear()
        self.compacted = self.version

    def changes_since(self, version: int) -> list[Change]:
        """The changes after VERSION; raise ApiError 410 if some are forgotten."""
        if version < self.compacted:
            raise ApiError(410, f"too old resource version: {version} ({self.compacted})")
        found: list[Change] = []
        for change in reversed(self.history):
            if change.version <= version:
                break
            found.append(change)
        found.reverse()
        return found

    def uid(self) -> str:
        """A new UID, the same for the same seed and order."""
        bits = f"{self.random.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"

    def suffix(self, length: int = 5) -> str:
        """A random end of a name, in Kubernetes' alphabet."""
        return "".join(self.random.choices("bcdfghjklmnpqrstvwxz2456789", k=length))

    def _index_owners(self, kind: Kind, entry: Entry, old: Entry | None) -> None:
        if old is not None and old.owners != entry.owners:
            for uid in old.owners:
                self._owned.get(uid, {}).pop((kind.table, old.key), None)
        for uid in entry.owners:
            self._owned.setdefault(uid, {})[(kind.table, entry.key)] = None

    def _record(self, change: Change) -> None:
        if len(self.history) == HISTORY:
            self.compacted = self.history[0].version
        self.history.append(change)
        for listener in self.listeners:
            listener(change)


def stamp(at: datetime) -> str:
    """A time as the API writes it."""
    return at.isoformat()[:19] + "Z"


def condition(obj: Obj, kind: str) -> Obj:
    """A status condition by its type; empty if there is none."""
    found: Obj = next((c for c in obj.get("status", {}).get("conditions") or () if c.get("type") == kind), {})
    return found


# Plain ASCII, so that bytes can be joined and cut anywhere without care for encodings.
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def _dump(obj: Obj) -> bytes:
    """JSON without apiVersion and kind, metadata first."""
    body = {"metadata": obj["metadata"]}
    body |= {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    return _ENCODE(body).encode()


def _restamped(body: bytes, before: str, version: int) -> bytes:
    """The JSON under a new version: the first one in it, as metadata comes first, is the object's own."""
    return body.replace(b'"resourceVersion":"%s"' % before.encode(), b'"resourceVersion":"%d"' % version, 1)


def _entry(kind: Kind, obj: Obj, version: int, body: bytes | Callable[[], bytes]) -> Entry:
    metadata: dict[str, Any] = obj["metadata"]
    return Entry(
        (metadata.get("namespace", "") if kind.namespaced else "", metadata["name"]),
        version,
        metadata.get("labels") or {},
        tuple(o["uid"] for o in sorted(metadata.get("ownerReferences") or (), key=lambda o: not o.get("controller"))),
        pod_facts(obj) if kind.table == "pods" else _NO_POD,
        body,
    )


def pod_facts(pod: Obj) -> PodFacts:
    """A pod's facts for the indexes."""
    spec = pod.get("spec", {})
    return PodFacts(
        spec.get("nodeName", ""),
        pod.get("status", {}).get("phase", "Pending"),
        pod_requests(spec),
        condition(pod, "Ready").get("status") == "True",
        "deletionTimestamp" in pod["metadata"],
    )
