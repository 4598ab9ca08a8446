"""The API's errors, as metav1.Status objects in the real server's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Response
from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)

_FAULT_MESSAGES = {
    400: "the server rejected our request for an unknown reason",
    403: 'forbidden: User "sandbox-user" cannot access this resource',
    404: "the server could not find the requested resource",
    409: (
        "Operation cannot be fulfilled on the object: the object has been modified; "
        "please apply your changes to the latest version and try again"
    ),
    401: "Unauthorized",
    410: EXPIRED_CONTINUE,
    429: "Too many requests, please try again later.",
    500: "Internal error occurred: etcdserver: request timed out",
    503: "the server is currently unable to handle the request",
}


class ApiError(Exception):
    """A request that is answered with a Status."""

    def __init__(
        self,
        code: int,
        message: str,
        reason: str | None = "",
        details: Obj | None = None,
        *,
        retry_after_s: int | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": continue_token} if continue_token else {},
            "status": "Failure",
            "message": message,
        }
        if reason is not None:
            self.status["reason"] = reason or REASONS.get(code, "")
        details = dict(details or {})
        if retry_after_s is not None:
            details["retryAfterSeconds"] = retry_after_s
        if details:
            self.status["details"] = details
        self.status["code"] = code
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The answer."""
        headers: Mapping[str, str] = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return Response(self.status["code"], json.dumps(self.status).encode(), headers=headers)


def success(kind: Kind | None = None, name: str = "", uid: str = "", code: int = 0) -> Obj:
    """A Status for something done that leaves no object to show."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if kind is not None:
        status["details"] = _details(kind, name) | {"uid": uid}
    if code:
        status["code"] = code
    return status


def not_found(kind: Kind, name: str) -> ApiError:
    """404 for an object."""
    return ApiError(404, f'{kind.resource} "{name}" not found', details=_details(kind, name))


def no_such_path() -> ApiError:
    """404 for a path in a group that is served."""
    return ApiError(404, "the server could not find the requested resource", details={})


def already_exists(kind: Kind, name: str) -> ApiError:
    """409 for a create."""
    return ApiError(409, f'{kind.resource} "{name}" already exists', "AlreadyExists", _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """409 for an update of an old version."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return ApiError(
        409, f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}', details=_details(kind, name)
    )


def unmet(kind: Kind, name: str, field: str, asked: str, found: str, since: str) -> ApiError:
    """409 for a deletion whose precondition on FIELD does not hold, because of what happened SINCE."""
    group = {"group": kind.group} if kind.group else {}
    what = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    why = f"the {field} in the precondition ({asked}) does not match the {field} in record ({found}). {since}"
    message = f'Operation cannot be fulfilled on {what} "{name}": {why}'
    return ApiError(409, message, details={"name": name, **group, "kind": kind.kind})


def invalid(kind: Kind, name: str, field: str, message: str, reason: str = "FieldValueInvalid") -> ApiError:
    """422 for one bad field."""
    causes = [{"reason": reason, "message": message, "field": field}]
    about = {"name": name, "group": kind.group}
    details = {key: value for key, value in about.items() if value} | {"kind": kind.kind, "causes": causes}
    group = f".{kind.group}" if kind.group else ""
    return ApiError(422, f'{kind.kind}{group} "{name}" is invalid: {field}: {message}', details=details)


def forbidden(kind: Kind, name: str, user: str, verb: str, namespace: str, subresource: str) -> ApiError:
    """403 in RBAC's words."""
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    subject = f'{kind.resource} "{name}" is' if name else f"{kind.resource} is"
    text = f'{subject} forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    return ApiError(403, text, details=_details(kind, name))


def for_fault(fault: Fault) -> Response:
    """The answer for an ordered fault."""
    message = fault.message or _FAULT_MESSAGES.get(fault.status) or f"sandbox: ordered fault {fault.status}"
    return ApiError(fault.status, message, fault.reason, retry_after_s=fault.retry_after_s).response()


def _details(kind: Kind, name: str) -> Obj:
    details = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    return details | {"kind": kind.plural}
