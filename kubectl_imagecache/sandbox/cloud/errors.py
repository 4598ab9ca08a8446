"""Errors as Google's APIs word them, for GKE and for Compute."""

from __future__ import annotations

import json
from typing import Any

from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Response

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc's word for each HTTP code."""

REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "alreadyExists",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "internalError",
    501: "notImplemented",
    503: "backendError",
    504: "deadlineExceeded",
}
"""The older `errors[].reason` word for each HTTP code."""

MESSAGES = {
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    409: "Requested entity already exists",
    412: "Precondition check failed.",
    429: "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
    504: "Deadline exceeded",
}

RPC_CODES = {"CANCELLED": 1, "INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7,
             "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "INTERNAL": 13, "UNAVAILABLE": 14}  # fmt: skip
"""The numbers of google.rpc.Code that a failed GKE operation carries."""


class ApiError(Exception):
    """A call or an operation that the sandbox refuses."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """HTTP code."""
        self.message = message
        self.status = status or STATUSES.get(code, "UNKNOWN")
        """google.rpc's word."""
        self.reason = reason or REASONS.get(code, "unknown")
        """Compute's word: `notFound`, or for a failed operation its error code: `QUOTA_EXCEEDED`."""
        self.details = details or []


def not_found(path: str) -> ApiError:
    """Compute's 404 for PATH (`projects/p/global/images/x`)."""
    return ApiError(404, f"The resource '{path}' was not found")


def already_exists(path: str) -> ApiError:
    """Compute's 409 for PATH."""
    return ApiError(409, f"The resource '{path}' already exists")


def invalid_field(field: str, value: object, why: str) -> ApiError:
    """Compute's 400 for a bad field of a request."""
    return ApiError(400, f"Invalid value for field '{field}': '{value}'. {why}")


def response(error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """The HTTP answer that tells ERROR."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "errors": [{"message": error.message, "domain": "global", "reason": error.reason}],
        "status": error.status,
    }
    if error.details:
        body["details"] = error.details
    return Response(error.code, json.dumps({"error": body}).encode(), "application/json; charset=UTF-8", headers or {})


def fault_response(fault: Fault) -> Response:
    """The HTTP answer for an ordered status; its reason may be google.rpc's word or Compute's."""
    rpc_word = fault.reason if fault.reason.isupper() else ""
    error = ApiError(
        fault.status,
        fault.message or MESSAGES.get(fault.status, "Unknown Error."),
        status=rpc_word,
        reason=_camel(rpc_word) if rpc_word else fault.reason,
    )
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return response(error, headers)


def _camel(word: str) -> str:
    head, *rest = word.lower().split("_")
    return head + "".join(part.title() for part in rest)
