"""One Kubernetes cluster, asked for what its pods use and its nodes have."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

from kubectl_imagecache.clients.kube import wire
from kubectl_imagecache.clients.kube.events import EventFold
from kubectl_imagecache.clients.kube.kubeconfig import choose, find_files, merge
from kubectl_imagecache.clients.kube.lists import Unreadable, fold_reader, read_list, spooled
from kubectl_imagecache.clients.kube.login import IN_CLUSTER_FOLDER, Login, log_in, log_in_from_pod
from kubectl_imagecache.clients.kube.nodes import NodeFold
from kubectl_imagecache.clients.kube.options import KubeOptions, Scope
from kubectl_imagecache.clients.kube.pods import PodFold
from kubectl_imagecache.clients.kube.templates import KINDS, TemplateFold
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.clients.kube.view import Folds, combine
from kubectl_imagecache.clients.kube.wire import Item
from kubectl_imagecache.core.clock import Clock, SystemClock
from kubectl_imagecache.core.errors import BadUsage, NotFound, NotPermitted, Unauthenticated, UserError
from kubectl_imagecache.core.views import Gap, KubeView

_ROOTS = {"nodes": "/api/v1", "pods": "/api/v1", "events": "/api/v1"} | {
    resource: "/apis/batch/v1" if resource.endswith("jobs") else "/apis/apps/v1" for resource in KINDS
}
_VITAL = {"nodes", "pods"}
"""Without both of them there is nothing to say."""
_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, slots=True)
class Kube:
    """A connection to one cluster."""

    context: str
    """The kubeconfig context's name; empty within a cluster."""
    server: str
    """The API server's URL."""
    namespace: str
    """The context's default namespace."""
    transport: Transport

    @classmethod
    def connect(
        cls,
        options: KubeOptions,
        env: Mapping[str, str] = os.environ,
        home: Path | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        pod_folder: Path = IN_CLUSTER_FOLDER,
    ) -> Kube:
        """Load the kubeconfig (or, without one, the pod's service account); nothing is sent to the server yet.

        Raises NotFound for a missing file, context, cluster or user; BadAnswer (file and line) for broken YAML;
        Unauthenticated for a failing exec plugin; UserError for what else can't be used.
        """
        clock = clock or SystemClock()
        files = find_files(options, env, home or Path.home())
        if not files and env.get(_SERVICE_HOST):
            login = log_in_from_pod(env, pod_folder)
            transport = _transport(login, {}, options, clock, chance)
            return cls("", login.server, _pod_namespace(pod_folder), transport)
        if not files and not options.server:
            raise NotFound(
                "there is no kubeconfig: neither $KUBECONFIG nor ~/.kube/config names a file that exists",
                "gcloud container clusters get-credentials CLUSTER --location LOCATION, or --kubeconfig FILE",
            )
        choice = choose(merge(files), options)
        login = log_in(choice, clock, env)
        transport = _transport(login, choice.user, options, clock, chance)
        return cls(choice.context, transport.server, choice.namespace, transport)

    def view(self, scope: Scope) -> KubeView:
        """Read nodes, pods, events and templates side by side, and fold them.

        What may not be read becomes a gap: events and templates on any error, nodes or pods if only one of them is
        forbidden. Raises NotPermitted if both are, BadUsage for a malformed selector, and what Transport.get raises.
        """
        folds = Folds.begin(scope)
        stop = Event()
        reader = replace(self, transport=replace(self.transport, stop=stop))
        reads: dict[str, Callable[[], list[Gap]]] = {
            "nodes": partial(reader._nodes, folds),
            "pods": partial(reader._pods, folds),
        }
        if scope.events:
            reads["events"] = partial(reader._events, folds)
        if scope.templates:
            reads["templates"] = partial(reader._templates, folds)
        futures = {what: _started(read) for what, read in reads.items()}
        try:
            gaps = _outcomes(futures, folds)
        finally:
            stop.set()  # Whatever is still being read is not needed any more.
        return combine(folds, gaps)

    def json_pages(self, resource: str) -> Iterator[bytes]:
        """The whole list of RESOURCE (`pods`, `nodes`, `events`, `deployments`, …) of all namespaces, page by page, as
        the server sent it. Raises BadUsage for another resource, and what Transport.get raises.
        """
        if resource not in _ROOTS:
            raise BadUsage(f"can't save {resource!r}", f"one of {', '.join(_ROOTS)}")
        return spooled(self.transport, f"{_ROOTS[resource]}/{resource}", resource)

    def _nodes(self, folds: Folds) -> list[Gap]:
        def begin() -> Callable[[wire.Node], None]:
            folds.nodes = NodeFold()
            return folds.nodes.add

        return self._read("nodes", (), {}, wire.Node, begin)

    def _pods(self, folds: Folds) -> list[Gap]:
        def begin() -> Callable[[wire.Pod], None]:
            folds.pods = PodFold(folds.scope, folds.selector)
            return folds.pods.add

        query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
        if folds.scope.selector:
            query["labelSelector"] = folds.scope.selector
        return self._read("pods", folds.scope.namespaces, query, wire.Pod, begin)

    def _events(self, folds: Folds) -> list[Gap]:
        def begin() -> Callable[[wire.Event], None]:
            folds.events = EventFold(folds.scope)
            return folds.events.add

        return self._read("events", folds.scope.namespaces, {"fieldSelector": "reason=Pulled"}, wire.Event, begin)

    def _templates(self, folds: Folds) -> list[Gap]:
        gaps: list[Gap] = []
        for resource, kind in KINDS.items():

            def begin(kind: str = kind) -> Callable[[wire.Workload], None]:
                fold = folds.templates[kind] = TemplateFold(kind, folds.scope, folds.selector)
                return fold.add

            try:
                gaps += self._read(resource, folds.scope.namespaces, {}, wire.Workload, begin)
            except Unauthenticated:
                raise
            except UserError as error:
                folds.templates.pop(kind, None)
                gaps.append(_gap(resource, error))
        return gaps

    def _read(
        self,
        resource: str,
        namespaces: tuple[str, ...],
        query: Mapping[str, str],
        item: type[Item],
        begin: Callable[[], Callable[[Item], None]],
    ) -> list[Gap]:
        """Feed all of RESOURCE to what BEGIN makes anew each time the list begins again."""
        unreadable = Unreadable()

        def reader() -> Callable[[bytes], str]:
            unreadable.clear()
            return fold_reader(item, resource, begin(), unreadable)

        root = _ROOTS[resource]
        paths = [f"{root}/namespaces/{quote(name, safe='')}/{resource}" for name in dict.fromkeys(namespaces)]
        read_list(self.transport, paths or [f"{root}/{resource}"], query, resource, reader)
        return unreadable.gaps(resource)


def _started(read: Callable[[], list[Gap]]) -> Future[list[Gap]]:
    """READ, begun in a thread of its own; one that hangs in a read does not keep the process from ending."""
    future: Future[list[Gap]] = Future()

    def run() -> None:
        try:
            future.set_result(read())
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that asks for the result
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _outcomes(futures: Mapping[str, Future[list[Gap]]], folds: Folds) -> list[Gap]:
    """The gaps of all reads; raise the error that leaves nothing to say."""
    gaps: list[Gap] = []
    failed: dict[str, UserError] = {}
    for what, future in futures.items():
        try:
            gaps += future.result()
            folds.read.add(what)
        except UserError as error:
            if isinstance(error, Unauthenticated) or (what in _VITAL and not isinstance(error, NotPermitted)):
                raise
            failed[what] = error
            gaps.append(_gap(what, error))
    if failed.keys() >= _VITAL:
        raise failed["nodes"]
    return gaps


def _gap(what: str, error: UserError) -> Gap:
    return Gap(what, error.message, error.hint)


def _transport(
    login: Login, user: Mapping[str, Any], options: KubeOptions, clock: Clock, chance: Callable[[], float]
) -> Transport:
    return Transport(
        server=login.server,
        pool=login.pool,
        credentials=login.credentials,
        clock=clock,
        random=chance,
        timeout_s=options.request_timeout_s,
        impersonate=impersonation(user, options),
    )


def impersonation(user: Mapping[str, Any], options: KubeOptions) -> tuple[tuple[str, str], ...]:
    """The Impersonate-* headers that the flags ask for, or else the kubeconfig's user; BadUsage as kubectl has it."""
    name = options.as_user or str(user.get("as") or "")
    groups = options.as_groups or tuple(map(str, user.get("as-groups") or ()))
    uid = options.as_uid or str(user.get("as-uid") or "")
    if (groups or uid) and not name:
        raise BadUsage("--as-group and --as-uid need --as", "say which user to impersonate: --as NAME")
    headers = [("Impersonate-User", name)] if name else []
    headers += [("Impersonate-Group", group) for group in groups]
    headers += [("Impersonate-Uid", uid)] if uid else []
    extra = user.get("as-user-extra")
    if name and isinstance(extra, dict) and not options.as_user:
        for key, values in extra.items():
            headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values or ()]
    if any(not text.isascii() or not text.isprintable() for _, text in headers):
        raise BadUsage("names to impersonate can hold printable ASCII characters only")
    return tuple(headers)


def _pod_namespace(folder: Path) -> str:
    try:
        return (folder / "namespace").read_text().strip() or "default"
    except OSError:
        return "default"
