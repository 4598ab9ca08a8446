"""Requests to Google's APIs: where each lives, with the token only where it belongs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from kubectl_imagecache.clients import google_auth
from kubectl_imagecache.clients.google_auth import LOGIN_HINT, AccessToken, GoogleAuth
from kubectl_imagecache.clients.http import Answer, Http, is_loopback, split
from kubectl_imagecache.core.errors import (
    AlreadyExists,
    BadAnswer,
    Busy,
    NotFound,
    NotPermitted,
    Unauthenticated,
    UserError,
)

_RATE_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})


class Api(Enum):
    """An API of Google's: gcloud's name for it, its place, the path that every place ends with."""

    CONTAINER = ("CONTAINER", "https://container.googleapis.com", "/v1/")
    COMPUTE = ("COMPUTE", "https://compute.googleapis.com", "/compute/v1/")
    STORAGE = ("STORAGE", "https://storage.googleapis.com", "/storage/v1/")
    UPLOAD = ("STORAGE", "https://storage.googleapis.com", "/upload/storage/v1/")
    PROJECTS = ("CLOUDRESOURCEMANAGER", "https://cloudresourcemanager.googleapis.com", "/v1/")
    SERVICE_USAGE = ("SERVICEUSAGE", "https://serviceusage.googleapis.com", "/v1/")
    IAM = ("IAM", "https://iam.googleapis.com", "/v1/")
    ORG_POLICY = ("ORGPOLICY", "https://orgpolicy.googleapis.com", "/v2/")
    SECRETS = ("SECRETMANAGER", "https://secretmanager.googleapis.com", "/v1/")
    LOGGING = ("LOGGING", "https://logging.googleapis.com", "/v2/")


class GoogleHttp:
    """Calls of Google's APIs, with credentials; their errors told as UserErrors."""

    def __init__(self, http: Http, auth: GoogleAuth, places: Mapping[Api, str]) -> None:
        """PLACES: base URLs, each ending in `/`."""
        self._http, self._auth, self._places = http, auth, places

    @classmethod
    def from_env(cls, env: Mapping[str, str], http: Http | None = None, auth: GoogleAuth | None = None) -> GoogleHttp:
        """As ENV says: gcloud's endpoint overrides and, without AUTH, the credentials of `google_auth`."""
        http = http or Http(env=env)
        return cls(http, auth or google_auth.from_env(env, http), places(env))

    def get(self, api: Api, path: str, *, permission: str, on: str, role: str, max_bytes: int = 0) -> Answer:
        """GET PATH (already quoted, relative to the API's place); a 200.

        Raises NotFound (404), NotPermitted (403: PERMISSION on ON, which ROLE grants), Unauthenticated (401, after one
        new token; or no credentials), UserError (an API that is off), BadAnswer and Unavailable.
        """
        return self._call("GET", self._places[api] + path, None, max_bytes, (permission, on, role))

    def send(
        self, method: str, api: Api, path: str, body: object = None, *, permission: str, on: str, role: str
    ) -> Answer:
        """Send BODY as JSON with METHOD; a 200. Only for calls that may be repeated: they are, when an answer is lost.

        Raises AlreadyExists (409, or 412 for an old fingerprint) and what `get` raises.
        """
        data = b"" if body is None else json.dumps(body).encode()
        return self._call(method, self._places[api] + path, data, 0, (permission, on, role))

    def post(self, api: Api, path: str, content: bytes, *, permission: str, on: str, role: str) -> Answer:
        """POST CONTENT as it is, which may be repeated; a 200. Raises as `send` does."""
        return self._call("POST", self._places[api] + path, content, 0, (permission, on, role))

    def ask(self, api: Api, path: str, question: bytes, *, permission: str, on: str, role: str) -> Answer:
        """POST the JSON QUESTION to PATH, which only reads; a 200. Raises as `get` does."""
        return self._call("POST", self._places[api] + path, question, 0, (permission, on, role))

    def change(
        self, api: Api, method: str, path: str, body: Mapping[str, Any], *, permission: str, on: str, role: str
    ) -> Answer:
        """Change something, by one request that is never repeated; a 200.

        Raises Busy where it can be asked again later (an operation runs, the object has changed or is there already),
        Unavailable where it is not known whether it was done, and otherwise as `get` does.
        """
        content = json.dumps(body).encode() if body else None
        return self._call(method, self._places[api] + path, content, 0, (permission, on, role), busy=True)

    def _call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        max_bytes: int,
        asked: tuple[str, str, str],
        busy: bool = False,
    ) -> Answer:
        """A 200, else an error; with BUSY it is sent but once, and what may pass is Busy."""
        answer, token = self._once(method, url, body, None, max_bytes, not busy)
        if answer.status == 401 and token is not None:
            answer, token = self._once(method, url, body, token, max_bytes, not busy)
        if answer.status in (200, 204):  # Cloud Storage says 204 of what it has deleted.
            return answer
        if busy and (answer.status in (409, 412) or b"FAILED_PRECONDITION" in answer.body):
            raise Busy(f"{asked[1]}: {_google_error(answer.body)[0]}", "it is asked again")
        raise _refusal(answer, token, *asked)

    def _once(
        self,
        method: str,
        url: str,
        body: bytes | None,
        refused: AccessToken | None,
        max_bytes: int,
        repeatable: bool,
    ) -> tuple[Answer, AccessToken | None]:
        token = self._auth.token(instead_of=refused) if may_have_token(url) else None
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.value}"
            if token.quota_project:
                headers["X-Goog-User-Project"] = token.quota_project
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = self._http.send(
            method, url, headers, body, max_bytes=max_bytes, passing=_too_fast, repeatable=repeatable
        )
        return answer, token


def places(env: Mapping[str, str]) -> dict[Api, str]:
    """The base URL of each API; CLOUDSDK_API_ENDPOINT_OVERRIDES_… may name another, with or without its path."""
    found: dict[Api, str] = {}
    for api in Api:
        name, host, path = api.value
        base = (env.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}") or host).rstrip("/")
        base = base.removesuffix("/storage/v1") if api is Api.UPLOAD else base
        # gcloud's override for GKE is the bare host, those for the others end in the API's path.
        found[api] = base + "/" if base.endswith(path.rstrip("/")) else base + path
    return found


def may_have_token(url: str) -> bool:
    """Whether a Google token may be sent to URL: https to googleapis.com, or this machine (an override)."""
    parts = split(url)
    host = parts.hostname or ""
    return is_loopback(url) or (
        parts.scheme == "https" and (host == "googleapis.com" or host.endswith(".googleapis.com"))
    )


def _refusal(answer: Answer, token: AccessToken | None, permission: str, on: str, role: str) -> UserError:
    message, reasons = _google_error(answer.body)
    said = f": {message}" if message else ""
    if answer.status == 401:
        text = "rejects the credentials" if token is not None else "wants credentials"
        return Unauthenticated(f"{answer.host} {text}", LOGIN_HINT)
    if answer.status == 403:
        if reasons & {"SERVICE_DISABLED", "accessNotConfigured"} or "has not been used in project" in message:
            api = next((a for a in Api if a.value[1].endswith(answer.host)), None)
            return UserError(
                f"an API is not enabled for {on}{said}",
                f"gcloud services enable {answer.host if api else 'SERVICE'} --project PROJECT",
            )
        if "quotaExceeded" in reasons:
            return UserError(f"a quota doesn't allow it{said}", "ask for more quota, or take another zone or type")
        return NotPermitted(permission, on, role)
    if answer.status in (409, 412):
        return AlreadyExists(f"{on} exists already or has changed{said}")
    if answer.status == 404:
        return NotFound(f"{on} does not exist{said}")
    return BadAnswer(f"{answer.host} answers {answer.status} for {on}{said}")


def _too_fast(answer: Answer) -> bool:
    """Compute says "too many requests" with 403 (https://cloud.google.com/compute/api-quota)."""
    return answer.status == 403 and bool(_google_error(answer.body)[1] & _RATE_LIMITS)


def _google_error(body: bytes) -> tuple[str, frozenset[str]]:
    """The first line of the message (at most 300 characters), and the reason words, of Google's error object."""
    try:
        error = json.loads(body)["error"]
        message = str(error.get("message", ""))
        entries = [*(error.get("details") or ()), *(error.get("errors") or ())]
        reasons = frozenset(str(entry.get("reason", "")) for entry in entries if isinstance(entry, dict))
    except (ValueError, TypeError, KeyError, AttributeError):
        return "", frozenset()
    return (message.splitlines() or [""])[0][:300], reasons
