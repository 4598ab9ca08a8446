"""A small HTTP client: bounded, timed out, repeated by one policy, its failures told as UserErrors."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from kubectl_imagecache.clients.retry import (
    DEFAULT,
    ONCE,
    REAL,
    RETRIED_STATUSES,
    Pace,
    Policy,
    TryAgain,
    repeat,
    retry_after,
)
from kubectl_imagecache.core.errors import BadAnswer, Unavailable

if TYPE_CHECKING:
    import urllib3

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
REPEATABLE = frozenset({"GET", "HEAD"})
MAX_REDIRECTS = 5
CHUNK = 1 << 16
MIB = 1 << 20
USER_AGENT = "kubectl-imagecache"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes = field(repr=False)
    host: str
    """Who answered, `HOST[:PORT]`, for messages."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may cost."""

    connect_s: float = 5.0
    read_s: float = 30.0
    """Between two pieces of the answer, and for the whole of it."""
    max_bytes: int = 32 * MIB
    """Of the decoded body; a longer one is refused."""


class Http:
    """Connections that are kept, and the way every request is made over them."""

    def __init__(
        self,
        limits: Limits = Limits(),
        policy: Policy = DEFAULT,
        pace: Pace = REAL,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """ENV tells proxies (HTTPS_PROXY, HTTP_PROXY, NO_PROXY, lower case too); none by default."""
        self._limits, self._policy, self._pace = limits, policy, pace
        self._env = env or {}
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, max_bytes: int = 0, follow: bool = False
    ) -> Answer:
        """GET URL; any status that `retry` doesn't call passing is an answer.

        FOLLOW follows redirects, without Authorization to another origin; MAX_BYTES narrows the limit of the body.

        Raises Unavailable (unreachable, too slow, kept failing) or BadAnswer (too long, a forbidden redirect).
        """
        return self.send("GET", url, headers, max_bytes=max_bytes, follow=follow)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        max_bytes: int = 0,
        follow: bool = False,
        passing: Callable[[Answer], bool] = lambda answer: False,
        repeatable: bool = False,
    ) -> Answer:
        """Send a request; only GET, HEAD and what is REPEATABLE are repeated.

        PASSING tells further answers that may not come again.

        See `get` for the rest.
        """
        policy = self._policy if repeatable or method in REPEATABLE else ONCE
        sent = {"User-Agent": USER_AGENT, **(headers or {})}
        for _ in range(MAX_REDIRECTS + 1):
            target = url
            once = partial(self._once, method, target, sent, body, max_bytes, passing)
            answer = repeat(once, policy, self._pace)
            location = answer.headers.get("location")
            if not follow or answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            try:
                url = urljoin(url, location)
            except ValueError:
                raise BadAnswer(f"{answer.host} redirects to a malformed address") from None
            sent = _headers_for(target, url, sent)
        raise BadAnswer(f"{host_of(url)} redirects in circles")

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        max_bytes: int,
        passing: Callable[[Answer], bool],
    ) -> Answer:
        import urllib3
        from urllib3.exceptions import HTTPError, NewConnectionError, SSLError

        host = host_of(url)
        deadline = self._pace.monotonic() + self._limits.read_s
        timeout = urllib3.Timeout(connect=self._limits.connect_s, read=self._limits.read_s)
        options: dict[str, Any] = {
            "retries": False,
            "preload_content": False,
            "timeout": timeout,
            "enforce_content_length": True,
        }
        try:
            response = self._pool(url).urlopen(method, url, body=body, headers=headers, redirect=False, **options)
            try:
                content = self._read(response, host, deadline, max_bytes or self._limits.max_bytes)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (SSLError, NewConnectionError) as error:  # no such host, or nobody listens: that doesn't pass in seconds
            raise Unavailable(f"{host} {_trouble(error)}", _hint(error)) from error
        except (HTTPError, OSError) as error:
            raise TryAgain(Unavailable(f"{host} {_trouble(error)}", _hint(error))) from error
        lower = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status, lower, content, host)
        if response.status in RETRIED_STATUSES or passing(answer):
            said = f"{response.status} {response.reason or ''}".rstrip()
            failed = Unavailable(f"{host} answers {said}", "try again later")
            raise TryAgain(failed, retry_after(lower.get("retry-after")))
        return answer

    def _read(self, response: urllib3.BaseHTTPResponse, host: str, deadline: float, max_bytes: int) -> bytes:
        # read1 returns what has arrived, so that a server that drips bytes can't stretch one read for ever.
        read: Callable[[int], bytes] = getattr(response, "read1", response.read)
        parts: list[bytes] = []
        length = 0
        while chunk := read(CHUNK):
            length += len(chunk)
            if length > max_bytes:
                raise BadAnswer(f"{host} sends more than the {max_bytes} bytes that make sense here")
            if self._pace.monotonic() > deadline:
                raise TryAgain(Unavailable(f"{host} was still sending after {self._limits.read_s:g} s"))
            parts.append(chunk)
        return b"".join(parts)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._env)
        if proxy not in self._pools:
            self._pools[proxy] = _new_pool(proxy)
        return self._pools[proxy]


def split(url: str) -> SplitResult:
    """URL's parts; a malformed one has none, so that it is no host's."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def segment(text: str) -> str:
    """TEXT as one segment of a URL's path, whatever is in it."""
    return quote(text, safe="")


def is_loopback(url: str) -> bool:
    """Whether URL names this machine: localhost, 127.0.0.1 or ::1."""
    return (split(url).hostname or "") in LOOPBACK


def host_of(url: str) -> str:
    """`HOST[:PORT]` of URL, without user and password."""
    return split(url).netloc.rpartition("@")[2]


def origin_of(url: str) -> tuple[str, str]:
    """Scheme and `HOST[:PORT]`, lower-case."""
    return split(url).scheme.lower(), host_of(url).lower()


def proxy_for(url: str, env: Mapping[str, str]) -> str:
    """The proxy that ENV names for URL; empty if none. This machine is never asked through one."""
    scheme, host = split(url).scheme, split(url).hostname or ""
    name = f"{scheme}_proxy"
    proxy = env.get(name) or env.get(name.upper()) or env.get("all_proxy") or env.get("ALL_PROXY") or ""
    if not proxy or host in LOOPBACK:
        return ""
    for part in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(","):
        suffix = part.strip().lstrip(".").lower()
        if suffix == "*" or (suffix and (host == suffix or host.endswith(f".{suffix}"))):
            return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _headers_for(before: str, after: str, headers: Mapping[str, str]) -> dict[str, str]:
    """What of HEADERS may go on to a redirect's target; raise BadAnswer for a target that must not be followed."""
    scheme, host = origin_of(after)
    if scheme != "https" and not (scheme == "http" and is_loopback(before) and is_loopback(after)):
        raise BadAnswer(f"{host_of(before)} redirects to {scheme}://{host}, which is not https")
    if (scheme, host) == origin_of(before):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")}


def _new_pool(proxy: str) -> urllib3.PoolManager:
    import urllib3

    paths = ssl.get_default_verify_paths()
    ca_certs = None
    if not paths.cafile and not (paths.capath and Path(paths.capath).is_dir()):
        # python.org's builds for macOS come without certificates.
        import certifi

        ca_certs = certifi.where()
    if not proxy:
        return urllib3.PoolManager(maxsize=8, ca_certs=ca_certs)
    user = split(proxy).netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
    bare = f"{split(proxy).scheme}://{host_of(proxy)}"
    return urllib3.ProxyManager(bare, maxsize=8, ca_certs=ca_certs, proxy_headers=headers)


def _trouble(error: Exception) -> str:
    from urllib3 import exceptions as errors

    if isinstance(error, errors.ProxyError):
        return "can't be reached through the proxy"
    if isinstance(error, errors.SSLError):
        return "can't be trusted: its certificate does not verify"
    if isinstance(error, getattr(errors, "NameResolutionError", ())):  # urllib3 1.26 has none
        return "has no address"
    if isinstance(error, errors.NewConnectionError):
        return "refuses connections" if "refused" in str(error) else "can't be reached"
    if isinstance(error, errors.ConnectTimeoutError):
        return "does not answer (no connection in time)"
    if isinstance(error, (errors.ReadTimeoutError, TimeoutError)):
        return "is too slow"
    if isinstance(error, errors.IncompleteRead) or "IncompleteRead" in str(error):
        return "ended its answer half-way"
    if isinstance(error, errors.LocationValueError):
        return "is not an address that can be asked"
    if isinstance(error, errors.DecodeError):
        return "sends a broken encoding"
    return "broke the connection"


def _hint(error: Exception) -> str:
    from urllib3.exceptions import SSLError

    if isinstance(error, SSLError):
        return "name your own certificate authority with SSL_CERT_FILE"
    return "check the network, VPN and proxy settings"
