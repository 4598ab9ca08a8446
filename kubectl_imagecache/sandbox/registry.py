"""The distribution API for every registry host at once, as `/HOST/v2/…` on one port."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from kubectl_imagecache.sandbox.catalog import Catalog, Manifest
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response, World

TOKEN_LIFETIME_S = 300
# docker.io is a name, not a host: clients go to registry-1.docker.io (distribution/reference).
HOST_ALIASES = {"registry-1.docker.io": "docker.io", "index.docker.io": "docker.io"}

_CODES = {
    400: ("UNSUPPORTED", "the operation is unsupported"),
    401: ("UNAUTHORIZED", "authentication required"),
    403: ("DENIED", "requested access to the resource is denied"),
    404: ("NAME_UNKNOWN", "repository name not known to registry"),
    405: ("UNSUPPORTED", "the operation is unsupported"),
    416: ("BLOB_UPLOAD_INVALID", "the requested range is not satisfiable"),
    429: ("TOOMANYREQUESTS", "You have reached your pull rate limit."),
    503: ("UNAVAILABLE", "service unavailable"),
}
_OPERATION = re.compile(r"(?P<name>.+)/(?:(?P<kind>manifests|blobs)/(?P<what>[^/]+)|(?P<tags>tags/list))")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may pull what.

    A key is a host or a `host/repository` prefix; the longest match counts, and no match means open to all.
    """

    anonymous_token: frozenset[str] = frozenset()
    """Open, but only with a token that anybody gets, as docker.io is."""
    passwords: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Private: a token is given for this user and password."""
    denied: frozenset[str] = frozenset()
    """Private: a token that nobody here can get opens it."""


class Registry:
    """Serves a catalog. Tokens are good for one repository and for a while."""

    def __init__(self, world: World, catalog: Catalog, access: Access = Access()) -> None:
        self._world = world
        self._catalog = catalog
        self._access = access
        self._tokens: dict[str, tuple[str, datetime]] = {}

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        _, host, *rest = request.path.split("/", 2)
        host, path = HOST_ALIASES.get(host, host), rest[0] if rest else ""
        if path == "token":
            return self._token(request, host)
        if request.method not in ("GET", "HEAD"):
            return _failure(405)
        if path.rstrip("/") == "v2":
            return self._base(request, host)
        operation = _OPERATION.fullmatch(path.removeprefix("v2/"))
        if not path.startswith("v2/") or operation is None:
            return _failure(404)
        name = f"{host}/{operation['name']}"
        if self._rule(name) != "open" and not self._authorised(request, name):
            return self._challenge(request, host, operation["name"])
        if operation["tags"]:
            return self._tags(name, request)
        if operation["kind"] == "manifests":
            return self._manifest(name, operation["what"], request)
        return self._blob(name, operation["what"], request)

    def error(self, fault: Fault) -> Response:
        """An ordered fault in the distribution API's words."""
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return _failure(fault.status, fault.reason, fault.message, headers)

    def _rule(self, name: str) -> str:
        rules = (
            *((key, "denied") for key in self._access.denied),
            *((key, "password") for key in self._access.passwords),
            *((key, "anonymous") for key in self._access.anonymous_token),
        )
        return max(
            ((len(key), rule) for key, rule in rules if name == key or name.startswith(f"{key}/")), default=(0, "open")
        )[1]

    def _base(self, request: Request, host: str) -> Response:
        if self._rule(host) != "open" and not self._authorised(request, host, any_repository=True):
            return self._challenge(request, host, "")
        return Response(body=b"{}", headers=_VERSION)

    def _authorised(self, request: Request, name: str, any_repository: bool = False) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        granted, until = self._tokens.get(token, ("", self._world.clock.now()))
        matches = granted == name or (any_repository and granted.startswith(f"{name}/"))
        return scheme.lower() == "bearer" and matches and until > self._world.clock.now()

    def _challenge(self, request: Request, host: str, repository: str) -> Response:
        challenge = f'Bearer realm="http://{request.host}/{host}/token",service="{host}"'
        if repository:
            challenge += f',scope="repository:{repository}:pull"'
        return _failure(401, headers={"WWW-Authenticate": challenge})

    def _token(self, request: Request, host: str) -> Response:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"))) if request.method == "POST" else {}
        scope = form.get("scope") or request.query.get("scope", "")
        repository = scope.removeprefix("repository:").rpartition(":")[0]
        name = f"{host}/{repository}"
        rule = self._rule(name)
        wanted = next((self._access.passwords[key] for key in _prefixes(name) if key in self._access.passwords), None)
        if rule == "denied" or (rule == "password" and _credentials(request, form) != wanted):
            return _failure(403 if rule == "denied" else 401)
        token = hashlib.sha256(f"{name}/{len(self._tokens)}".encode()).hexdigest()
        now = self._world.clock.now()
        self._tokens[token] = name, now + timedelta(seconds=TOKEN_LIFETIME_S)
        issued = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"token": token, "access_token": token, "expires_in": TOKEN_LIFETIME_S, "issued_at": issued}
        return Response(body=json.dumps(answer).encode())

    def _tags(self, name: str, request: Request) -> Response:
        tags = self._catalog.tags(name)
        if tags is None:
            return _failure(404)
        repository = name.partition("/")[2]
        left = [tag for tag in tags if tag > request.query.get("last", "")]
        size = request.query.get("n", "")
        page = left[: int(size)] if size.isdecimal() else left
        headers = dict(_VERSION)
        if len(page) < len(left):
            last = page[-1] if page else request.query.get("last", "")
            host = name.partition("/")[0]
            headers["Link"] = f'</{host}/v2/{repository}/tags/list?n={size}&last={last}>; rel="next"'
        return Response(body=json.dumps({"name": repository, "tags": page}).encode(), headers=headers)

    def _manifest(self, name: str, reference: str, request: Request) -> Response:
        manifest = self._catalog.manifest(name, reference)
        if manifest is None:
            if self._catalog.tags(name) is None:
                return _failure(404)
            return _failure(404, "MANIFEST_UNKNOWN", f"manifest unknown: {reference}")
        if not _accepts(request, manifest):
            what = "index" if "index" in manifest.media_type else "manifest"
            message = f"OCI {what} found, but accept header does not support it"
            return _failure(404, "MANIFEST_UNKNOWN", message)
        headers = {**_VERSION, "Docker-Content-Digest": manifest.digest, "ETag": f'"{manifest.digest}"'}
        return Response(body=manifest.body, content_type=manifest.media_type, headers=headers)

    def _blob(self, name: str, digest: str, request: Request) -> Response:
        blob = self._catalog.blob(name, digest)
        if blob is None:
            return _failure(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {**_VERSION, "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        if blob.data is None:
            if request.method == "HEAD":
                headers["Content-Length"] = str(blob.size)
                return Response(content_type="application/octet-stream", headers=headers)
            message = f"the sandbox declares this layer ({blob.size} bytes) but has no bytes for it"
            return _failure(404, "BLOB_UNKNOWN", message)
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked is None:
            return Response(body=blob.data, content_type="application/octet-stream", headers=headers)
        first, last = int(asked[1]), min(int(asked[2] or blob.size), blob.size - 1)
        if first > last:
            return _failure(416, headers={"Content-Range": f"bytes */{blob.size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
        return Response(206, blob.data[first : last + 1], "application/octet-stream", headers)


_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


def _accepts(request: Request, manifest: Manifest) -> bool:
    accept = request.headers.get("accept", "")
    types = {part.split(";")[0].strip() for part in accept.split(",")}
    return not accept or bool(types & {manifest.media_type, "*/*", "application/*"})


def _prefixes(name: str) -> list[str]:
    """NAME and its parents, longest first."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _credentials(request: Request, form: Mapping[str, str]) -> tuple[str, str] | None:
    if "password" in form:
        return form.get("username", ""), form["password"]
    scheme, _, packed = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def _failure(status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None) -> Response:
    usual_code, usual_message = _CODES.get(status, ("UNKNOWN", "unknown error"))
    errors = [{"code": code or usual_code, "message": message or usual_message}]
    return Response(status, json.dumps({"errors": errors}).encode(), headers={**_VERSION, **(headers or {})})
