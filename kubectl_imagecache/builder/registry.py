"""Reads manifests and blobs of one registry: challenges, redirects, retries, and blobs resumed where they broke off."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urljoin, urlsplit

from kubectl_imagecache.builder.credentials import Credentials, is_google, is_loopback
from kubectl_imagecache.builder.failures import BAD_DIGEST, REGISTRY, BuildFailed, printable
from kubectl_imagecache.builder.job import RegistryAccess

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST = 4 * 1024 * 1024
MAX_CONFIG = 8 * 1024 * 1024
CHUNK = 1024 * 1024
_ATTEMPTS = 6
_MISSING_ATTEMPTS = 3
_MAX_REDIRECTS = 5
_MAX_WAIT_S = 60.0
_TIMEOUT_S = 60.0
_TOKEN_LIFETIME_S = 60.0
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TOKEN = re.compile(r"[!-~]+")
_HUB = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Body:
    """A manifest or a config, its digest checked."""

    media_type: str
    data: bytes


class _Again(Exception):
    """This attempt failed, another may do better."""

    def __init__(self, why: str, wait_s: float | None = None, status: int = 0) -> None:
        super().__init__(why)
        self.wait_s = wait_s
        self.status = status


class Registry:
    """A client of one registry; one thread or process at a time."""

    def __init__(
        self,
        access: RegistryAccess,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._host = access.host
        self._base = access.endpoint.rstrip("/") or f"https://{_HUB.get(access.host, access.host)}"
        if not self._base.startswith("https://") and not is_loopback(self._base):
            raise BuildFailed(REGISTRY, f"{access.host} would be reached over plain http", "use an https:// endpoint")
        self._credentials = Credentials(access)
        self._google = access.auth == "google"
        self._sleep = sleep
        self._on_retry = on_retry
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._authorization: dict[str, tuple[str, float]] = {}

    def manifest(self, repository: str, digest: str) -> Body:
        """The manifest or index DIGEST, checked; raises BuildFailed(REGISTRY or BAD_DIGEST)."""
        return self._small(repository, f"manifests/{digest}", digest, MAX_MANIFEST)

    def config(self, repository: str, digest: str) -> Body:
        """The small blob DIGEST, checked; raises BuildFailed(REGISTRY or BAD_DIGEST)."""
        return self._small(repository, f"blobs/{digest}", digest, MAX_CONFIG)

    def blob(self, repository: str, digest: str, size: int) -> Iterator[bytes]:
        """The SIZE bytes of the blob DIGEST in pieces, NOT checked against the digest.

        A connection that breaks goes on where it broke, by Range. Raises BuildFailed(REGISTRY).
        """
        done, failures = 0, 0
        while done < size or (size == 0 and failures == 0):
            before = done
            try:
                for piece in self._blob_from(repository, digest, done, size):
                    done += len(piece)
                    yield piece
                if size == 0:
                    return
                if done < size:
                    raise _Again(f"the connection ended after {done} of {size} bytes")
            except (_Again, OSError, http.client.HTTPException) as error:
                failures = 1 if done > before else failures + 1
                self._give_up_or_wait(error, failures, f"blob {digest} of {self._host}/{repository}")

    def _small(self, repository: str, path: str, digest: str, limit: int) -> Body:
        failures = 0
        while True:
            try:
                with self._get(repository, path, {"Accept": ", ".join(MANIFEST_TYPES)}) as response:
                    data = response.read(limit + 1)
                if len(data) > limit:
                    raise BuildFailed(REGISTRY, f"{path} of {self._host}/{repository} has more than {limit} bytes")
                if not matches(digest, data):
                    raise _Again(f"its content does not have the digest {digest}", status=-1)
                return Body((response.getheader("Content-Type") or "").partition(";")[0].strip(), data)
            except (_Again, OSError, http.client.HTTPException) as error:
                failures += 1
                self._give_up_or_wait(error, failures, f"{path} of {self._host}/{repository}")

    def _give_up_or_wait(self, error: Exception, failures: int, what: str) -> None:
        self._close()
        status = error.status if isinstance(error, _Again) else 0
        words = printable(str(error) or type(error).__name__, self._secrets())
        if failures >= (_MISSING_ATTEMPTS if status in (404, -1) else _ATTEMPTS):
            kind = BAD_DIGEST if status == -1 else REGISTRY
            raise BuildFailed(kind, f"{what}: {words}", self._hint(status)) from None
        self._on_retry(f"{what}: {words}")
        wait_s = error.wait_s if isinstance(error, _Again) and error.wait_s is not None else 0.25 * 2**failures
        self._sleep(min(wait_s, _MAX_WAIT_S) * random.uniform(0.8, 1.2))

    def _hint(self, status: int) -> str:
        if status == 0 and not is_loopback(self._base):
            return "a VM without an external IP reaches only Google's registries, unless there is Cloud NAT"
        return ""

    def _blob_from(self, repository: str, digest: str, offset: int, size: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._get(repository, f"blobs/{digest}", headers) as response:
            skip = offset if response.status == 200 else 0
            while skip:
                piece = response.read(min(skip, CHUNK))
                if not piece:
                    raise _Again("the connection ended before the place to go on from")
                skip -= len(piece)
            left = size - offset
            while left:
                piece = response.read(min(left, CHUNK // 4))
                if not piece:
                    return
                left -= len(piece)
                yield piece

    def _get(self, repository: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """An answer of 200 or 206; raises _Again or BuildFailed for anything else."""
        scope = f"repository:{repository}:pull"
        url = f"{self._base}/v2/{repository}/{path}"
        for _ in range(2):
            extra = dict(headers)
            if (authorization := self._known(scope)) is not None:
                extra["Authorization"] = authorization
            response = self._follow(url, extra)
            if response.status != 401:
                break
            challenge = response.getheader("WWW-Authenticate") or ""
            response.read()
            if authorization is not None:
                self._authorization.pop(scope, None)
                self._credentials.forget()
            self._answer_challenge(scope, challenge)
        if response.status in (200, 206):
            return response
        self._refused(response, f"{self._host}/{repository}")
        raise AssertionError("unreachable")

    def _known(self, scope: str) -> str | None:
        authorization, until_s = self._authorization.get(scope, (None, 0.0))
        return authorization if time.monotonic() < until_s else None

    def _refused(self, response: http.client.HTTPResponse, what: str) -> None:
        words = self._words(response)
        if response.status in (401, 403):
            self._close()
            raise BuildFailed(
                REGISTRY,
                f"{what}: {words}",
                "the VM's account needs roles/artifactregistry.reader"
                if self._google
                else "name credentials for this registry, or check that the image exists",
            )
        if response.status in (404, 408, 416, 425, 429) or response.status >= 500:
            raise _Again(words, _retry_after_s(response.getheader("Retry-After") or ""), response.status)
        raise BuildFailed(REGISTRY, f"{what}: {words}")

    def _words(self, response: http.client.HTTPResponse) -> str:
        body = response.read(64 * 1024)
        self._close()
        try:
            errors = json.loads(body)["errors"]
            said = "; ".join(f"{e.get('code', '')}: {e.get('message', '')}" for e in errors[:3])
        except (ValueError, KeyError, TypeError, AttributeError):
            said = ""
        return printable(f"{response.status} {response.reason}" + (f" ({said})" if said else ""), self._secrets())

    def _answer_challenge(self, scope: str, challenge: str) -> None:
        scheme, _, rest = challenge.partition(" ")
        login = self._credentials.login()
        if scheme.lower() == "bearer":
            if login is not None and not login.user:
                self._authorization[scope] = (f"Bearer {login.password}", time.monotonic() + 3600)
                return
            self._authorization[scope] = self._token(scope, dict(_CHALLENGE.findall(rest)))
        elif login is not None and scheme.lower() == "basic":
            self._authorization[scope] = (login.basic, time.monotonic() + 300)

    def _token(self, scope: str, challenge: dict[str, str]) -> tuple[str, float]:
        """A bearer token from the realm that the registry names, and when to ask for a new one."""
        realm = urlsplit(challenge.get("realm", ""))
        login = self._credentials.login()
        if realm.scheme != "https" and not (is_loopback(realm.geturl()) and is_loopback(self._base)):
            raise BuildFailed(REGISTRY, f"{self._host} wants its token fetched over plain http")
        stays = is_loopback(realm.geturl()) and is_loopback(self._base)
        if self._google and not (is_google(realm.hostname or "") or stays):
            raise BuildFailed(
                REGISTRY, f"{self._host} wants the Google token sent to {printable(realm.hostname or '')}"
            )
        query = {"scope": challenge.get("scope") or scope}
        if "service" in challenge:
            query["service"] = challenge["service"]
        url = f"{realm.scheme}://{realm.netloc}{realm.path}?{urlencode(query)}"
        response = self._request(url, {"Authorization": login.basic} if login else {})
        if response.status != 200:
            self._refused(response, f"{self._host}, token")
        try:
            answer = json.loads(response.read(CHUNK))
            token = answer.get("token") or answer["access_token"]
            lifetime_s = float(answer.get("expires_in") or _TOKEN_LIFETIME_S)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BuildFailed(REGISTRY, f"{self._host}: the token server's answer can't be read") from error
        if not _TOKEN.fullmatch(str(token)):
            raise BuildFailed(REGISTRY, f"{self._host}: the token server gave what is no token")
        return f"Bearer {token}", time.monotonic() + max(lifetime_s * 0.9 - 5, 1.0)

    def _secrets(self) -> list[str]:
        known = [value.partition(" ")[2] for value, _ in self._authorization.values()]
        return [*known, *self._credentials.secrets()]

    def _follow(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        for _ in range(_MAX_REDIRECTS):
            response = self._request(url, headers)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            response.read(CHUNK)
            try:
                target = urljoin(url, response.getheader("Location") or "")
                old, new = urlsplit(url), urlsplit(target)
                _ = new.port
            except ValueError as error:
                raise BuildFailed(REGISTRY, f"{self._host} redirects to what is no address") from error
            if new.scheme != "https" and not (is_loopback(target) and is_loopback(self._base)):
                raise BuildFailed(REGISTRY, f"{self._host} redirects to plain http or no address at all")
            if (old.scheme, old.netloc) != (new.scheme, new.netloc):
                # Storage behind a registry gets a signed URL, never the registry's credentials.
                headers = {key: value for key, value in headers.items() if key != "Authorization"}
            url = target
        raise _Again("too many redirects")

    def _request(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        fresh = key not in self._connections
        if fresh:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connections[key] = kind(parts.netloc, timeout=_TIMEOUT_S)
        connection = self._connections[key]
        try:
            connection.request("GET", path, headers={"User-Agent": "kubectl-imagecache", **headers})
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._connections.pop(key).close()
            if fresh:
                raise
            return self._request(url, headers)  # an idle connection that the server had closed

    def _close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _retry_after_s(value: str) -> float | None:
    """The seconds that a Retry-After asks for, as a number or a date (RFC 9110, 10.2.3); None if it says neither."""
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def matches(digest: str, data: bytes) -> bool:
    """Whether DATA has DIGEST."""
    algorithm, _, hexes = digest.partition(":")
    return algorithm in ("sha256", "sha384", "sha512") and hashlib.new(algorithm, data).hexdigest() == hexes
