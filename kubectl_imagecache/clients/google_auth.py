"""Who we are to Google: an access token from where the user's other tools have theirs.

Where a token comes from, the first that applies:
1. CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true: nowhere, requests are anonymous.
2. CLOUDSDK_AUTH_ACCESS_TOKEN_FILE: the file's text, as gcloud does.
3. Application Default Credentials in a file: GOOGLE_APPLICATION_CREDENTIALS, or gcloud's well-known place.
4. The metadata server, on Google's machines and in GKE pods.
5. `gcloud auth print-access-token`: many who use kubectl on GKE have only run `gcloud auth login`.

google.auth.default() is not used: it may wait seconds for a metadata server that isn't there, or run gcloud to learn
a project that nobody asked for. Tokens live in memory only.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.http import Http
from kubectl_imagecache.core.errors import BadAnswer, Unauthenticated, UserError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN_HINT = "run `gcloud auth application-default login`, or `gcloud auth login`"
GCLOUD_TIMEOUT_S = 30
EARLY_S = 60.0
"""A token is renewed this long before it expires."""
TOKEN = re.compile(r"[\x21-\x7e]+")
"""What may stand in a header."""
PRODUCT_NAME = Path("/sys/class/dmi/id/product_name")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A short-lived OAuth 2 token."""

    value: str = field(repr=False)
    expires_at: float | None = None
    """Seconds since the epoch; None is unknown."""
    quota_project: str = ""
    """Whose quota is used (x-goog-user-project); empty if not set."""


Source = Callable[[], AccessToken]
"""Makes a new token; raises Unauthenticated."""


class GoogleAuth:
    """Keeps one token and renews it; safe to share between threads."""

    def __init__(self, source: Source | None, now: Callable[[], float] = time.time) -> None:
        """SOURCE None is anonymous."""
        self._source, self._now = source, now
        self._lock = threading.Lock()
        self._token: AccessToken | None = None
        self._failed: UserError | None = None

    def token(self, instead_of: AccessToken | None = None) -> AccessToken | None:
        """The token, None if anonymous; a new one if the present one is INSTEAD_OF (it was refused) or runs out.

        Raises Unauthenticated; a failure is remembered, so that many calls don't each wait for it.
        """
        if self._source is None:
            return None
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if self._token is None or self._token == instead_of or self._runs_out(self._token):
                try:
                    self._token = self._source()
                except UserError as error:
                    self._failed = error
                    raise
            return self._token

    def _runs_out(self, token: AccessToken) -> bool:
        return token.expires_at is not None and token.expires_at - EARLY_S < self._now()


def from_env(env: Mapping[str, str], http: Http) -> GoogleAuth:
    """The credentials that ENV leads to; see the module. Nothing is read or run before a token is needed."""
    if env.get("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "").lower() in ("true", "1", "yes"):
        return GoogleAuth(None)
    found: list[Source] = []

    def source() -> AccessToken:
        if not found:
            found.append(_choose(env, http))
        return found[0]()

    return GoogleAuth(source)


def config_dir(env: Mapping[str, str]) -> Path:
    """gcloud's configuration folder."""
    named = env.get("CLOUDSDK_CONFIG")
    return Path(named) if named else Path(env.get("HOME") or Path.home()) / ".config" / "gcloud"


def _choose(env: Mapping[str, str], http: Http) -> Source:
    if token_file := env.get("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"):
        return lambda: _from_token_file(Path(token_file))
    named = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    path = Path(named) if named else config_dir(env) / "application_default_credentials.json"
    if named and not path.is_file():
        raise Unauthenticated(f"GOOGLE_APPLICATION_CREDENTIALS names {named}, which is not a file", LOGIN_HINT)
    if path.is_file():
        return _from_adc(path, http, env.get("GOOGLE_CLOUD_QUOTA_PROJECT", ""))
    if host := _metadata_host(env):
        return lambda: _from_metadata(host, http)
    gcloud = shutil.which("gcloud", path=env.get("PATH"))
    if gcloud is None:
        raise Unauthenticated("no Google credentials found", LOGIN_HINT)
    return lambda: _from_gcloud(gcloud, env)


def _from_token_file(path: Path) -> AccessToken:
    try:
        return _checked(path.read_text(encoding="utf-8"), f"{path} (CLOUDSDK_AUTH_ACCESS_TOKEN_FILE)")
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthenticated(f"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE names {path}, which can't be read") from error


def _from_adc(path: Path, http: Http, quota_project: str) -> Source:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        with warnings.catch_warnings():
            # It warns of files from strangers, and of gcloud's own client id; this file is the user's own.
            warnings.simplefilter("ignore")
            load: Any = google.auth.load_credentials_from_file
            credentials, _ = load(
                str(path), scopes=[SCOPE], quota_project_id=quota_project or None, request=_transport(http)
            )
    except (GoogleAuthError, OSError, ValueError, KeyError) as error:
        raise Unauthenticated(f"{path} holds no usable Google credentials", LOGIN_HINT) from error

    def renew() -> AccessToken:
        try:
            credentials.refresh(_transport(http))
        except (GoogleAuthError, OSError, ValueError) as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            # Not the library's text: it may quote the request.
            raise Unauthenticated(
                f"Google refuses the credentials in {path}, or they have expired", LOGIN_HINT
            ) from error
        expiry = credentials.expiry
        expires_at = (expiry - type(expiry)(1970, 1, 1)).total_seconds() if expiry is not None else None
        token = _checked(credentials.token or "", str(path))
        return AccessToken(token.value, expires_at, getattr(credentials, "quota_project_id", None) or "")

    return renew


def _transport(http: Http) -> Callable[..., Any]:
    """What google.auth calls for its own requests, made over our client so that one policy rules them all."""
    from google.auth.exceptions import TransportError

    def request(
        url: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> _TokenAnswer:
        content = body.encode() if isinstance(body, str) else body
        try:
            answer = http.send(method, url, headers, content, max_bytes=1 << 20)
        except UserError as error:
            refused: Any = TransportError
            raise refused(error.message) from error
        return _TokenAnswer(answer.status, answer.headers, answer.body)

    return request


@dataclass(frozen=True, slots=True)
class _TokenAnswer:
    """google.auth.transport.Response, by shape."""

    status: int
    headers: Mapping[str, str]
    data: bytes = field(repr=False)


def _metadata_host(env: Mapping[str, str]) -> str:
    if named := env.get("GCE_METADATA_HOST"):
        return named
    try:
        on_google = PRODUCT_NAME.read_text(encoding="ascii", errors="replace").startswith("Google")
    except OSError:
        on_google = False
    return "metadata.google.internal" if on_google or env.get("KUBERNETES_SERVICE_HOST") else ""


def _from_metadata(host: str, http: Http) -> AccessToken:
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    answer = http.get(url, {"Metadata-Flavor": "Google"}, max_bytes=1 << 20)
    if answer.status != 200:
        raise Unauthenticated(
            f"this machine has no service account (its metadata server answers {answer.status})", LOGIN_HINT
        )
    try:
        document = json.loads(answer.body)
        token, seconds = document["access_token"], float(document["expires_in"])
    except (ValueError, TypeError, KeyError) as error:
        raise BadAnswer(f"the metadata server {host} gives no token") from error
    return AccessToken(_checked(token, f"the metadata server {host}").value, time.time() + seconds)


def _from_gcloud(gcloud: str, env: Mapping[str, str]) -> AccessToken:
    command = [gcloud, "auth", "print-access-token", "--quiet"]
    try:
        done = subprocess.run(
            command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=GCLOUD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unauthenticated("`gcloud auth print-access-token` gave no token in time", LOGIN_HINT) from error
    if done.returncode != 0:
        raise Unauthenticated("no Google credentials found, and gcloud has no active account", LOGIN_HINT)
    return _checked(done.stdout.decode("utf-8", "replace"), "gcloud")


def _checked(text: object, where: str) -> AccessToken:
    if not isinstance(text, str) or not TOKEN.fullmatch(text.strip()):
        raise Unauthenticated(f"{where} holds no usable access token", LOGIN_HINT)
    return AccessToken(text.strip())
