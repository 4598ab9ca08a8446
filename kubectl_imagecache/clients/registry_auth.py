"""How requests to a container registry prove who they come from: anonymous, Bearer, Basic."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from kubectl_imagecache.clients.docker_config import DockerConfig, Found, Login
from kubectl_imagecache.clients.google_auth import TOKEN, GoogleAuth
from kubectl_imagecache.clients.http import Answer, Http, host_of, is_loopback, split
from kubectl_imagecache.core.errors import BadAnswer, Unauthenticated, UserError

GOOGLE_HOST = re.compile(r"(?:[a-z0-9-]+\.)*pkg\.dev|(?:[a-z0-9-]+\.)?gcr\.io")
"""Artifact Registry and Container Registry; only these may see a Google token."""
TOKEN_LIFETIME_S = 60.0
"""What a token without expires_in is good for (distribution's token specification)."""
EARLY_S = 5.0
_PARAMETER = re.compile(r'\s*([A-Za-z_][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*,?')
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+|$)(?!=)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry is reached."""

    host: str
    """Its name in references: `docker.io`."""
    base: str
    """`https://registry-1.docker.io`, or a mirror's URL; `/v2/…` follows."""


@dataclass(frozen=True, slots=True)
class _Header:
    value: str = field(repr=False)
    expires_at: float | None


class RegistryAuth:
    """Answers registries' challenges, and keeps the answers in memory; safe to share between threads."""

    def __init__(
        self, http: Http, docker: DockerConfig, google: GoogleAuth | None, now: Callable[[], float] = time.time
    ) -> None:
        self._http, self._docker, self._google, self._now = http, docker, google, now
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._headers: dict[tuple[str, str], _Header] = {}
        self._logins: dict[str, Found] = {}

    def header(self, place: Place, repository: str) -> str:
        """The Authorization header that worked before; empty if none did or it runs out."""
        kept = self._headers.get((place.base, repository))
        if kept is None or (kept.expires_at is not None and kept.expires_at - EARLY_S < self._now()):
            return ""
        return kept.value

    def answer(self, place: Place, repository: str, refused: Answer, used: str) -> str:
        """The Authorization header that the 401 REFUSED asks for, to pull REPOSITORY; USED is the one that was refused.

        Raises Unauthenticated (no credentials, or refused ones), BadAnswer (a challenge that must not be answered).
        """
        key = (place.base, repository)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            kept = self.header(place, repository)
            if kept and kept != used:
                return kept
            made = self._made(place, repository, refused.headers.get("www-authenticate", ""))
            self._headers[key] = made
            return made.value

    def note(self, place: Place) -> str:
        """What might explain missing credentials: a helper that isn't installed; empty if nothing."""
        found = self._logins.get(place.host)
        return found.note if found else ""

    def _made(self, place: Place, repository: str, challenge: str) -> _Header:
        challenges = parse_challenges(challenge)
        if "bearer" in challenges:
            return self._bearer(place, repository, challenges["bearer"])
        if "basic" in challenges:
            login = self._login(place)
            if login is None or not login.user:
                raise Unauthenticated(f"{place.host} wants a user and a password", self._hint(place))
            return _Header(_basic(login), None)
        raise BadAnswer(f"{place.host} asks for credentials in a way that is not known: {challenge[:80]!r}")

    def _login(self, place: Place) -> Login | None:
        """Docker's login; a Google token for Google's hosts, if docker has none; None is anonymous."""
        # A mirror on this machine plays the host; any other mirror must have a login of its own.
        host = place.host if is_loopback(place.base) or not _is_mirror(place) else host_of(place.base)
        with self._lock:
            known = self._logins.get(place.host)
        if known is None:
            known = self._docker.login(host)
            with self._lock:
                self._logins[place.host] = known
        if known.login is not None or self._google is None or not GOOGLE_HOST.fullmatch(host):
            return known.login
        try:
            token = self._google.token()
        except UserError as error:
            # Many Google repositories are public: go on without, and say it only if that fails.
            with self._lock:
                self._logins[place.host] = Found(None, error.message)
            return None
        return Login("oauth2accesstoken", token.value) if token else None

    def _bearer(self, place: Place, repository: str, challenge: Mapping[str, str]) -> _Header:
        realm = challenge.get("realm", "")
        self._check_realm(place, realm)
        login = self._login(place)
        if login is not None and login.registry_token:
            return _Header(f"Bearer {_checked(login.registry_token, place)}", None)
        if login is not None and not may_see(login, place, realm):
            login = None
        # Our own scope, never the registry's: no more than pulling this one repository.
        query = {"service": challenge.get("service", ""), "scope": f"repository:{repository}:pull"}
        if login is not None and login.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "client_id": "kubectl-imagecache",
            }
            content_type = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._http.send("POST", realm, content_type, urlencode(form).encode(), max_bytes=1 << 20)
        else:
            url = f"{realm}{'&' if split(realm).query else '?'}{urlencode(query)}"
            headers = {"Authorization": _basic(login)} if login is not None else {}
            answer = self._http.get(url, headers, max_bytes=1 << 20)
        if answer.status != 200:
            who = "the credentials" if login is not None else "anonymous pulls"
            raise Unauthenticated(f"{place.host} refuses {who} for {repository}", self._hint(place))
        return self._from_token(answer, place)

    def _from_token(self, answer: Answer, place: Place) -> _Header:
        try:
            document = json.loads(answer.body)
            token = document.get("token") or document.get("access_token")
            lifetime = float(document.get("expires_in") or TOKEN_LIFETIME_S)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadAnswer(f"{answer.host} gives no token for {place.host}") from error
        return _Header(f"Bearer {_checked(token, place)}", self._now() + lifetime)

    def _check_realm(self, place: Place, realm: str) -> None:
        parts = split(realm)
        local = is_loopback(realm) and is_loopback(place.base)
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise BadAnswer(f"{place.host} sends us for a token to {host_of(realm) or 'nowhere'}, which is not https")

    def _hint(self, place: Place) -> str:
        note = self.note(place)
        if note:
            return note
        if GOOGLE_HOST.fullmatch(place.host):
            return f"the least role: roles/artifactregistry.reader; or run `gcloud auth configure-docker {place.host}`"
        return f"run `docker login {place.host}`, or check the repository's name"


def parse_challenges(header: str) -> dict[str, dict[str, str]]:
    """WWW-Authenticate's challenges, lower-case scheme to parameters (RFC 9110, 11.6.1); nonsense is skipped."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    position = 0
    while position < len(header):
        if parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            current.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
            position = parameter.end()
        elif scheme := _SCHEME.match(header, position):
            current = found.setdefault(scheme[1].lower(), {})
            position = scheme.end()
        else:
            position += 1
    return found


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _checked(token: object, place: Place) -> str:
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise BadAnswer(f"the token for {place.host} can't be one")
    return token


def may_see(login: Login, place: Place, realm: str) -> bool:
    """Whether the token server REALM may see LOGIN: what is Google's goes to Google's hosts (and this machine) only."""
    if login.user != "oauth2accesstoken" and not GOOGLE_HOST.fullmatch(place.host):
        return True
    return is_loopback(realm) or GOOGLE_HOST.fullmatch((split(realm).hostname or "").lower()) is not None


def _is_mirror(place: Place) -> bool:
    return host_of(place.base) not in (place.host, f"registry-1.{place.host}")
