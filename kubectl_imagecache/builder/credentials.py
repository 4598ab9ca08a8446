"""Finds the credentials of each registry on the VM, and keeps them from everyone else."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kubectl_imagecache.builder.failures import REGISTRY, BuildFailed
from kubectl_imagecache.builder.job import RegistryAccess

METADATA_HOST = "metadata.google.internal"
_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_SECRET_MANAGER = "https://secretmanager.googleapis.com/"
_GOOGLE = re.compile(r"(?:[a-z0-9-]+\.)?pkg\.dev|(?:[a-z0-9-]+\.)?gcr\.io")
_BEARER = re.compile(r"[!-~]+")
_MARGIN_S = 60.0
_TIMEOUT_S = 30.0
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """What to show a registry; its repr says nothing."""

    user: str
    """Empty if `password` is a bearer token."""
    password: str

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def is_google(host: str) -> bool:
    """Whether HOST is a registry of Google's, the only ones that may see the VM's token."""
    return _GOOGLE.fullmatch(host) is not None


def is_loopback(url: str) -> bool:
    """Whether URL stays on this machine."""
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "::1", "localhost")


class Credentials:
    """One registry's login, fetched when asked for, and anew before it expires."""

    def __init__(self, access: RegistryAccess, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._monotonic = monotonic
        self._login: Login | None = None
        self._until_s = 0.0
        if access.auth == "google":
            leaves = access.endpoint and not is_loopback(access.endpoint)
            if not is_google(access.host) or leaves:
                where = access.endpoint or access.host
                raise BuildFailed(
                    REGISTRY,
                    f"the VM's Google token is not sent to {where}",
                    "it is for *.pkg.dev, gcr.io and *.gcr.io alone; name a secret for this registry",
                )

    def login(self) -> Login | None:
        """The login, or None for an open registry; raises BuildFailed if it can't be had."""
        if self._access.auth == "none":
            return None
        if self._login is None or self._monotonic() >= self._until_s:
            self._login, lifetime_s = self._fetch()
            self._until_s = self._monotonic() + lifetime_s - _MARGIN_S
        return self._login

    def forget(self) -> None:
        """Fetch the login anew next time: the registry refused it."""
        self._login = None

    def secrets(self) -> list[str]:
        """What must not appear in any message."""
        return [] if self._login is None else [self._login.password, self._login.basic.removeprefix("Basic ")]

    def _fetch(self) -> tuple[Login, float]:
        if self._access.auth == "google":
            token, lifetime_s = _google_token()
            return Login("oauth2accesstoken", token), lifetime_s
        if self._access.auth == "file":
            try:
                text = Path(self._access.source).read_text()
            except OSError as error:
                raise BuildFailed(
                    REGISTRY, f"the login for {self._access.host} can't be read: {error.strerror}"
                ) from error
        else:
            text = _secret(self._access.source)
        user, colon, password = text.strip().partition(":")
        if not colon and not _BEARER.fullmatch(user):
            raise BuildFailed(
                REGISTRY, f"the login for {self._access.host} is neither USER:PASSWORD nor a token", "look at its text"
            )
        return (Login(user, password) if colon else Login("", user)), float("inf")


def _google_token() -> tuple[str, float]:
    host = os.environ.get("GCE_METADATA_HOST", METADATA_HOST)
    answer = _get_json(f"http://{host}{_TOKEN_PATH}", {"Metadata-Flavor": "Google"}, "the metadata server")
    token, lifetime = answer.get("access_token"), answer.get("expires_in", 0)
    if not isinstance(token, str) or not isinstance(lifetime, (int, float)):
        raise BuildFailed(REGISTRY, "the metadata server gave no token", "give the VM a service account")
    return token, float(lifetime)


def _secret(name: str) -> str:
    base = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", _SECRET_MANAGER)
    token, _ = _google_token()
    answer = _get_json(f"{base.rstrip('/')}/v1/{name}:access", {"Authorization": f"Bearer {token}"}, "Secret Manager")
    payload = answer.get("payload")
    data = payload.get("data") if isinstance(payload, dict) else None
    try:
        return base64.b64decode(data if isinstance(data, str) else "?", validate=True).decode()
    except ValueError as error:
        raise BuildFailed(REGISTRY, f"Secret Manager gave no text for {name}") from error


def _get_json(url: str, headers: dict[str, str], whom: str) -> dict[str, object]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", parts.path, headers=headers)
        response = connection.getresponse()
        body = response.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise BuildFailed(REGISTRY, f"{whom} can't be reached: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        hint = "the VM's service account needs secretmanager.versions.access" if response.status == 403 else ""
        raise BuildFailed(REGISTRY, f"{whom} answered {response.status} {response.reason}", hint)
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise BuildFailed(REGISTRY, f"{whom} gave an answer that is not JSON") from error
    return answer if isinstance(answer, dict) else {}
