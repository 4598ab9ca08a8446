"""Thousands of like pods whose JSON is made when it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.kube.store import Entry, PodFacts, pod_facts

_MARKS = ("@@NAME@@", "@@NODE@@", "@@UID@@", "@@VERSION@@", "@@IP@@")


def bulk_entries(pod: Obj, placements: Iterable[tuple[str, str]], version: int) -> list[Entry]:
    """Entries of pods like POD, one for each (name, node).

    Name, node, UID, version and pod IP are filled in; wherever POD itself says `@@NAME@@`, `@@NODE@@` or `@@IP@@`
    the same values go. All share POD's namespace, labels, owners and requests.
    """
    pieces, slots = _compile(pod)
    facts = pod_facts(pod)
    metadata = pod["metadata"]
    labels = dict(metadata.get("labels") or {})
    owners = tuple(owner["uid"] for owner in metadata.get("ownerReferences") or ())
    by_node: dict[str, PodFacts] = {}
    entries = []
    for name, node in placements:
        on_node = by_node.get(node)
        if on_node is None:
            on_node = by_node[node] = PodFacts(node, facts.phase, facts.requests, facts.ready)
        body = _Body(pieces, slots, name, on_node.node, version)
        entries.append(Entry((metadata["namespace"], name), version, labels, owners, on_node, body))
    return entries


class _Body:
    __slots__ = ("name", "node", "pieces", "slots", "version")

    def __init__(self, pieces: tuple[bytes, ...], slots: tuple[int, ...], name: str, node: str, version: int) -> None:
        self.pieces, self.slots, self.name, self.node, self.version = pieces, slots, name, node, version

    def __call__(self) -> bytes:
        digest = hashlib.blake2b(self.name.encode(), digest_size=16).digest()
        bits = digest.hex()
        values = (
            self.name.encode(),
            self.node.encode(),
            f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}".encode(),
            str(self.version).encode(),
            b"10.%d.%d.%d" % (digest[0], digest[1], digest[2]),
        )
        parts = [self.pieces[0]]
        for slot, piece in zip(self.slots, self.pieces[1:], strict=True):
            parts.append(values[slot])
            parts.append(piece)
        return b"".join(parts)


def _compile(pod: Obj) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    metadata: dict[str, Any] = {
        **pod["metadata"],
        "name": "@@NAME@@",
        "uid": "@@UID@@",
        "resourceVersion": "@@VERSION@@",
    }
    status = {"phase": "Running", "podIP": "@@IP@@", "podIPs": [{"ip": "@@IP@@"}], **(pod.get("status") or {})}
    whole = {"metadata": metadata, "spec": {**pod["spec"], "nodeName": "@@NODE@@"}, "status": status}
    text = json.dumps(whole, separators=(",", ":"))
    pieces: list[bytes] = []
    slots: list[int] = []
    while True:
        found = [(text.index(mark), i) for i, mark in enumerate(_MARKS) if mark in text]
        if not found:
            return (*pieces, text.encode()), tuple(slots)
        at, slot = min(found)
        pieces.append(text[:at].encode())
        slots.append(slot)
        text = text[at + len(_MARKS[slot]) :]
