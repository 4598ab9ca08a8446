"""The HTTP face: paths to kinds and verbs, bodies to objects, errors to Statuses."""

from __future__ import annotations

import json
import logging
from typing import Any

from kubectl_imagecache.sandbox.http import Request, Response, World
from kubectl_imagecache.sandbox.kube import discovery, eviction, ownership, protobuf, watch
from kubectl_imagecache.sandbox.kube.access import USER, Access
from kubectl_imagecache.sandbox.kube.kinds import ACCESS_REVIEW, LEASE, PATCH_OPTIONS, POD, Kind, Obj
from kubectl_imagecache.sandbox.kube.listing import Pages, form, listed, select, selection, shown
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.patches import json_patch, merge_patch, strategic_patch
from kubectl_imagecache.sandbox.kube.paths import Target, is_built_in, target_of, verb_of
from kubectl_imagecache.sandbox.kube.status import (
    ApiError,
    forbidden,
    invalid,
    no_such_path,
    not_found,
    success,
)
from kubectl_imagecache.sandbox.kube.store import Entry, stamp

_log = logging.getLogger(__name__)

_HEALTH = ("/healthz", "/readyz", "/livez")


class Api:
    """Answers requests from the store, and writes through Objects."""

    def __init__(self, world: World, objects: Objects, access: Access, size: eviction.Size) -> None:
        self.world = world
        self.store = objects.store
        self.objects = objects
        self.kinds = objects.kinds
        self.size = size
        self.access = access
        self.pages = Pages(self.store)

    def handle(self, request: Request) -> Response:
        """One answer for one request; a bug in here becomes a 500."""
        try:
            return self._answer(request)
        except ApiError as error:
            return error.response()
        except Exception as error:  # noqa: BLE001 (whatever it is, the client gets a 500 and the log the traceback)
            _log.exception("%s %s", request.method, request.path)
            return ApiError(500, f"Internal error occurred: {type(error).__name__}: {error}").response()

    def _answer(self, request: Request) -> Response:
        if request.path.rstrip("/") in _HEALTH:
            return Response(body=b"ok", content_type="text/plain; charset=utf-8")
        if request.method == "GET":
            found = discovery.answer(request, self.kinds)
            if found is not None:
                return found
        target = target_of(request.path, self.kinds)
        if target is None:
            if is_built_in(request.path):
                raise no_such_path()
            return Response(404, b"404 page not found\n", content_type="text/plain; charset=utf-8")
        verb = verb_of(request, target)
        self._check_access(request, target, verb)
        if target.kind is ACCESS_REVIEW:
            return _json(self.access.review(_body(request), _user(request)), 201)
        if verb not in target.kind.verbs:
            raise ApiError(405, "the server does not allow this method on the requested resource")
        if target.subresource:
            return self._subresource(request, target, verb)
        if verb == "watch":
            return self._watch(request, target)
        if verb == "list":
            return self._list(request, target)
        if verb == "deletecollection":
            return self._delete_collection(request, target)
        if verb == "create":
            return self._create(request, target)
        if verb == "patch":
            return self._patch(request, target)
        if verb == "update" and target.kind is LEASE and self.store.get(LEASE, target.namespace, target.name) is None:
            return self._create(request, target)  # Leases are among the few kinds that an update makes.
        entry = self._entry(target)
        if verb == "get":
            return Response(body=shown(target.kind, entry, form(request), self.store.clock.now()))
        if verb == "update":
            return self._update(request, target, entry)
        return self._delete(request, target, entry)

    def _check_access(self, request: Request, target: Target, verb: str) -> None:
        resource = target.kind.plural + (f"/{target.subresource}" if target.subresource else "")
        user = _user(request)
        if target.kind is ACCESS_REVIEW:
            return
        if not self.access.allowed(verb, target.kind.group, resource, target.namespace, user):
            raise forbidden(target.kind, target.name, user, verb, target.namespace, target.subresource)

    def _entry(self, target: Target) -> Entry:
        entry = self.store.get(target.kind, target.namespace, target.name)
        if entry is None:
            raise not_found(target.kind, target.name)
        return entry

    def _list(self, request: Request, target: Target) -> Response:
        if target.kind.table == "events":
            self.objects.forget_old_events()
        page = self.pages.page(target.kind, target.namespace, request.query)
        return Response(body=listed(target.kind, page, form(request), self.store.clock.now()))

    def _watch(self, request: Request, target: Target) -> Response:
        query, kind = request.query, target.kind
        asked = query.get("resourceVersion", "")
        send_initial = query.get("sendInitialEvents") == "true"
        initial: tuple[Entry, ...] = ()
        since = self.store.version
        if asked in ("", "0") or send_initial:
            initial = tuple(select(self.store, kind, target.namespace, query, target.name))
        else:
            if not asked.isdecimal():
                raise ApiError(400, f'invalid resource version "{asked}"')
            since = int(asked)
        how = form(request)
        wanted = watch.Watch(
            kind,
            selection(kind, target.namespace, query, target.name),
            lambda entry: shown(kind, entry, how, self.store.clock.now()),
            initial,
            since,
            bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
            initial_bookmark=send_initial,
            timeout_s=float(query["timeoutSeconds"]) if query.get("timeoutSeconds") else None,
        )
        return Response(stream=watch.stream(self.world, self.store, wanted))

    def _create(self, request: Request, target: Target) -> Response:
        kind, obj = target.kind, _body(request)
        _check_body(kind, obj, target.namespace)
        if request.query.get("fieldValidation") == "Strict":
            _check_fields(kind, obj)
        manager = request.query.get("fieldManager") or "unknown"
        ownership.track(kind, None, obj, manager, stamp(self.store.clock.now()))
        made = self.objects.create(kind, obj, dry_run=_dry(request))
        return self._shown(request, kind, made, 201)

    def _update(self, request: Request, target: Target, entry: Entry) -> Response:
        obj = _body(request)
        _check_body(target.kind, obj, target.namespace)
        if target.kind is LEASE and not obj["metadata"].get("resourceVersion"):
            why = "Invalid value: 0: must be specified for an update"
            raise invalid(LEASE, target.name, "metadata.resourceVersion", why)
        return self._write(request, target, entry, obj)

    def _write(self, request: Request, target: Target, entry: Entry, obj: Obj) -> Response:
        kind = target.kind
        if not target.subresource:
            manager = request.query.get("fieldManager") or "unknown"
            ownership.track(kind, entry.parsed(kind), obj, manager, stamp(self.store.clock.now()))
        new = self.objects.update(kind, entry, obj, subresource=target.subresource, dry_run=_dry(request))
        return self._shown(request, kind, new, 200)

    def _patch(self, request: Request, target: Target) -> Response:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if content_type == "application/apply-patch+yaml":
            return self._apply(request, target)
        entry = self._entry(target)
        obj = _patched(target.kind, entry.parsed(target.kind), content_type, _json_body(request))
        return self._write(request, target, entry, obj)

    def _apply(self, request: Request, target: Target) -> Response:
        kind, config = target.kind, _json_body(request)
        manager = request.query.get("fieldManager", "")
        if not manager:
            why = "Required value: is required for apply patch"
            raise invalid(PATCH_OPTIONS, "", "fieldManager", why, "FieldValueRequired")
        if not isinstance(config, dict):
            raise ApiError(400, "the apply configuration is not an object")
        config.setdefault("metadata", {}).setdefault("name", target.name)
        _check_body(kind, config, target.namespace)
        entry = self.store.get(kind, target.namespace, target.name)
        current = entry.parsed(kind) if entry else None
        force = request.query.get("force") == "true"
        obj = ownership.apply(kind, current, config, manager, force, stamp(self.store.clock.now()))
        if entry is None:
            self._check_access(request, target, "create")
            obj["metadata"] = {**config["metadata"], **obj["metadata"]}
            return self._shown(request, kind, self.objects.create(kind, obj, dry_run=_dry(request)), 201)
        new = self.objects.update(kind, entry, obj, subresource=target.subresource, dry_run=_dry(request))
        return self._shown(request, kind, new, 200)

    def _delete(self, request: Request, target: Target, entry: Entry) -> Response:
        kind = target.kind
        left = self.objects.delete(kind, entry, _delete_options(request))
        if self.store.get(kind, target.namespace, target.name) is None and kind is not POD:
            return _json(success(kind, target.name, left["metadata"]["uid"]))
        return self._shown(request, kind, left, 200)

    def _delete_collection(self, request: Request, target: Target) -> Response:
        kind = target.kind
        entries = select(self.store, kind, target.namespace, request.query)
        options = _delete_options(request)
        for entry in entries:
            self.objects.delete(kind, entry, options)
        items = [json.loads(entry.raw) for entry in entries]
        metadata = {"resourceVersion": str(self.store.version)}
        return _json({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items})

    def _subresource(self, request: Request, target: Target, verb: str) -> Response:
        if target.subresource not in target.kind.subresources:
            raise no_such_path()
        entry = self._entry(target)
        if target.subresource == "eviction" and verb == "create":
            return _json(eviction.evict(self.objects, entry, _body(request), self.size), 201)
        if target.subresource == "binding" and verb == "create":
            return self._bind(request, entry)
        if target.subresource == "log" and verb == "get":
            return _log_of(entry)
        if target.subresource == "scale":
            return self._scale(request, target, entry, verb)
        if target.subresource in ("status", "finalize"):
            if verb == "get":
                return Response(body=entry.whole(target.kind))
            if verb == "update":
                return self._update(request, target, entry)
            if verb == "patch":
                return self._patch(request, target)
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _bind(self, request: Request, entry: Entry) -> Response:
        pod = entry.parsed(POD)
        if entry.pod.node:
            raise ApiError(409, f'pod {entry.name} is already assigned to node "{entry.pod.node}"')
        pod["spec"]["nodeName"] = (_body(request).get("target") or {}).get("name", "")
        self.store.put(POD, pod)
        return _json(success(code=201), 201)

    def _scale(self, request: Request, target: Target, entry: Entry, verb: str) -> Response:
        kind, obj = target.kind, entry.parsed(target.kind)
        scale = _scale_of(obj)
        if verb == "get":
            return _json(scale)
        if verb == "update":
            wanted = _body(request)
        else:
            content_type = request.headers.get("content-type", "").partition(";")[0].strip()
            wanted = _patched(kind, scale, content_type, _json_body(request))
        version = wanted.get("metadata", {}).get("resourceVersion")
        obj["metadata"]["resourceVersion"] = version or obj["metadata"]["resourceVersion"]
        obj["spec"]["replicas"] = int(wanted.get("spec", {}).get("replicas", 0))
        return _json(_scale_of(self.objects.update(kind, entry, obj, dry_run=_dry(request))))

    def _shown(self, request: Request, kind: Kind, obj: Obj, status: int) -> Response:
        entry = self.store.get(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        how = form(request)
        if entry is not None and (how.table or how.partial or kind.group == "events.k8s.io"):
            return Response(status, shown(kind, entry, how, self.store.clock.now()))
        return _json({**obj, "apiVersion": kind.api_version, "kind": kind.kind}, status)


def _user(request: Request) -> str:
    return request.headers.get("impersonate-user") or USER


def _dry(request: Request) -> bool:
    return request.query.get("dryRun") == "All"


def _body(request: Request) -> Obj:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type == "application/vnd.kubernetes.protobuf":
        return protobuf.decode(request.body)
    if content_type not in ("", "application/json"):
        message = (
            "the body of the request was in an unknown format - accepted media types include: "
            f"application/json, not {content_type}"
        )
        raise ApiError(415, message)
    data = _json_body(request)
    if not isinstance(data, dict):
        raise ApiError(400, "the object provided is unrecognized: not a JSON object")
    return data


def _json_body(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise ApiError(400, f"the object provided is unrecognized (must be JSON): {error}") from error


def _delete_options(request: Request) -> Obj:
    options = _body(request) if request.body else {}
    query = request.query
    if "gracePeriodSeconds" in query:
        options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    if "propagationPolicy" in query:
        options["propagationPolicy"] = query["propagationPolicy"]
    if _dry(request):
        options["dryRun"] = ["All"]
    return options


def _check_body(kind: Kind, obj: Obj, namespace: str) -> None:
    said = (obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind)
    if said != (kind.api_version, kind.kind):
        message = f"{said[1]} in version {said[0]!r} cannot be handled as a {kind.kind}: expected {kind.api_version}"
        raise ApiError(400, message)
    metadata = obj.setdefault("metadata", {})
    if kind.namespaced and not metadata.get("namespace"):
        metadata["namespace"] = namespace
    if kind.namespaced and metadata["namespace"] != namespace:
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise ApiError(400, message)


def _check_fields(kind: Kind, obj: Obj) -> None:
    """Refuse unknown fields, as far as they are known here: those beside `spec` of kinds that have just that."""
    if kind.custom or not kind.subresources:
        return
    unknown = sorted(set(obj) - {"apiVersion", "kind", "metadata", "spec", "status"})
    if unknown:
        fields = ", ".join(f'unknown field "{name}"' for name in unknown)
        what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        raise ApiError(400, f"{what}: strict decoding error: {fields}")


def _patched(kind: Kind, obj: Obj, content_type: str, patch: Any) -> Obj:
    if content_type == "application/json-patch+json" and isinstance(patch, list):
        patched: Obj = json_patch(obj, patch)
        return patched
    if content_type == "application/merge-patch+json" and isinstance(patch, dict):
        merged: Obj = merge_patch(obj, patch)
        return merged
    if content_type == "application/strategic-merge-patch+json" and isinstance(patch, dict) and not kind.custom:
        return strategic_patch(obj, patch)
    if not isinstance(patch, dict | list):
        raise ApiError(400, "the patch is neither an object nor a list")
    raise ApiError(415, "415: Unsupported Media Type")


def _scale_of(obj: Obj) -> Obj:
    metadata = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


def _log_of(entry: Entry) -> Response:
    pod = entry.parsed(POD)
    container = pod["spec"]["containers"][0]["name"]
    if entry.pod.phase == "Pending":
        message = f'container "{container}" in pod "{entry.name}" is waiting to start: ContainerCreating'
        raise ApiError(400, message)
    return Response(content_type="text/plain")


def _json(obj: Obj, status: int = 200) -> Response:
    return Response(status, json.dumps(obj, separators=(",", ":")).encode())
