"""From an HTTP request to a handler: templates of paths, permissions, JSON in and out."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kubectl_imagecache.sandbox.cloud.errors import ApiError, response
from kubectl_imagecache.sandbox.cloud.state import Json, State
from kubectl_imagecache.sandbox.http import Request, Response


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API, decoded."""

    params: Mapping[str, str]
    """The variable parts of the path."""
    query: Mapping[str, str]
    body: Json
    path: str
    """From `projects/` on, with the project's id even if its number was sent."""

    def __getitem__(self, name: str) -> str:
        return self.params[name]


Handler = Callable[[State, Call], Json]
Denied = Callable[[str, str], str]
"""How an API words a refusal: permission, path -> message."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of an API."""

    method: str
    template: str
    permission: str
    handler: Handler


@dataclass(slots=True)
class Routes:
    """The methods of one API, in the order in which they are tried."""

    routes: list[Route] = field(default_factory=list)

    def add(self, method: str, template: str, permission: str = "") -> Callable[[Handler], Handler]:
        """Register a handler for TEMPLATE, in which `{x}` stands for one part of the path."""

        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method, template, permission, handler))
            return handler

        return register

    def extend(self, other: Routes) -> None:
        """Take all of OTHER's methods."""
        self.routes.extend(other.routes)

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a call; raise ApiError 404 if there is none."""
        for route in self.routes:
            if route.method != method or route.template.count("/") != path.count("/"):
                continue
            if found := _pattern(route.template).fullmatch(path):
                return route, found.groupdict()
        raise ApiError(404, "Method not found.")


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Made when first needed: all of them together would be a good part of a small sandbox's start."""
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", template))


def answer(state: State, routes: Routes, request: Request, prefix: str, denied: Denied) -> Response:
    """Perform REQUEST on the API whose paths begin with PREFIX."""
    try:
        found = _call(state, routes, request, prefix, denied)
    except ApiError as error:
        return response(error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A body of the wrong shape, or a mistake of the sandbox or a boot hook: said, rather than a lost connection.
        return response(ApiError(500, f"Internal error encountered: {error!r}"))
    return Response(200, json.dumps(found).encode(), "application/json; charset=UTF-8")


def _call(state: State, routes: Routes, request: Request, prefix: str, denied: Denied) -> Json:
    if not request.path.startswith(prefix):
        raise ApiError(404, "Method not found.")
    path = request.path.removeprefix(prefix).strip("/")
    path = re.sub(rf"^projects/{state.project_number}(?=/|$|:)", f"projects/{state.project}", path)
    # A permission is checked before existence, as IAM does: who may not look learns nothing.
    route, params = routes.find(request.method, path)
    state.asked.add(route.permission)
    if route.permission in state.denied:
        raise ApiError(403, denied(route.permission, path))
    repeated = state.requests.get(request.query.get("requestId", ""))
    if repeated is not None:
        return repeated
    return route.handler(state, Call(params, request.query, _body(request), path))


def _body(request: Request) -> Json:
    if not request.body:
        return {}
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}", reason="parseError") from error
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received. Unexpected token.", reason="parseError")
    return body
