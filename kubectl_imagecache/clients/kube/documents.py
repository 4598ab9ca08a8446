"""Files that `kubectl get … -o json` printed, folded as the API's own lists are."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.lists import Unreadable, decoder_of
from kubectl_imagecache.clients.kube.options import Scope
from kubectl_imagecache.clients.kube.templates import KINDS
from kubectl_imagecache.clients.kube.view import Folds, combine
from kubectl_imagecache.core.errors import BadAnswer
from kubectl_imagecache.core.views import Gap, KubeView

_KINDS = {"Pod": "pods", "Node": "nodes", "Event": "events"} | dict.fromkeys(KINDS.values(), "templates")


def fold_documents(
    pods: Iterable[bytes],
    nodes: Iterable[bytes],
    events: Iterable[bytes],
    templates: Iterable[bytes],
    scope: Scope,
) -> KubeView:
    """Fold JSON documents: lists (`List` with mixed kinds, `PodList`, …) or single objects, wherever each kind lies.

    What an argument has no document for becomes a gap (templates and events only if SCOPE asks for them). Raises
    BadAnswer with line and column for broken JSON, BadUsage for a malformed selector.
    """
    folds = Folds.begin(scope)
    gaps: list[Gap] = []
    for what, documents in (("pods", pods), ("nodes", nodes), ("events", events), ("templates", templates)):
        unreadable = Unreadable()
        for document in documents:
            check_document(document, what)
            _fold(document, "" if what == "templates" else what, folds, unreadable)
        gaps += unreadable.gaps(what)
    wanted = {"pods": True, "nodes": True, "events": scope.events, "templates": scope.templates}
    for what, asked in wanted.items():
        if asked and what not in folds.read:
            gaps.append(Gap(what, "none of the files holds them", f"kubectl get {_kubectl_names(what)} -A -o json"))
    return combine(folds, gaps)


def check_document(document: bytes, name: str) -> None:
    """Raise BadAnswer with NAME, line and column unless DOCUMENT is JSON."""
    try:
        decoder_of(msgspec.Raw).decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(
            f"{name}{_place(document, str(error))}: not JSON: {error}", "was the file cut short?"
        ) from error


def _place(document: bytes, words: str) -> str:
    _, found, tail = words.rpartition("(byte ")
    at = int(tail.rstrip(")")) if found and tail.rstrip(")").isdigit() else len(document)
    line = document.count(b"\n", 0, at) + 1
    column = at - document.rfind(b"\n", 0, at)
    return f", line {line}, column {column}"


def _kubectl_names(what: str) -> str:
    return ",".join(KINDS) if what == "templates" else what


def _fold(document: bytes, what: str, folds: Folds, unreadable: Unreadable) -> None:
    try:
        head = decoder_of(wire.RawList).decode(document)
    except msgspec.DecodeError as error:
        unreadable.add(str(error)[:200])
        return
    kind = head.kind or ""
    single = head.items is None and not kind.endswith("List")
    by_list = kind.removesuffix("List") if kind != "List" else ""
    if not single and (by_list in _KINDS or what):
        folds.read.add(_KINDS.get(by_list, what))
    for raw in [msgspec.Raw(document)] if single else head.items or []:
        try:
            own = decoder_of(wire.Kind).decode(raw).kind or by_list
            _fold_one(raw, own, what, folds)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            unreadable.add(str(error)[:200])


def _fold_one(raw: msgspec.Raw, kind: str, what: str, folds: Folds) -> None:
    what = _KINDS.get(kind, what if not kind else "")
    if what == "pods":
        folds.pods.add(decoder_of(wire.Pod).decode(raw))
    elif what == "nodes":
        folds.nodes.add(decoder_of(wire.Node).decode(raw))
    elif what == "events" and folds.scope.events:
        folds.events.add(decoder_of(wire.Event).decode(raw))
    elif kind in folds.templates and folds.scope.templates:
        folds.templates[kind].add(decoder_of(wire.Workload).decode(raw))
    if what:
        folds.read.add(what)
