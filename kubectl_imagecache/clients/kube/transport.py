"""Requests to one API server: credentials, time-outs, retries, and errors in the user's words."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlencode, urlsplit

from kubectl_imagecache.clients.retry import DEFAULT, RETRIED_STATUSES, Pace, Policy, TryAgain, repeat, retry_after
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import BadAnswer, NotFound, NotPermitted, Unauthenticated, Unavailable, UserError

if TYPE_CHECKING:
    import urllib3

DEFAULT_TIMEOUT_S = 60.0
"""Longest wait for the next bytes of an answer where the user sets no --request-timeout."""
CONNECT_TIMEOUT_S = 10.0
CHUNK = 65536
MAX_REFUSAL = 65536
"""Bytes read of an answer that refuses."""
MAX_LINE = 8_000_000
"""Bytes of the longest line of a watch: more than etcd lets any object have."""


class Credentials(Protocol):
    """Who asks: what is put into each request, and how it is renewed."""

    def headers(self) -> Mapping[str, str]:
        """Headers that authenticate one request."""
        ...

    def renew(self) -> bool:
        """Get new credentials after a 401; False if there is nothing to renew."""
        ...


class Expired(Exception):
    """A continue token is too old (410): the list must begin again."""


class Stopped(Exception):
    """Another read failed for good, so this one is not needed any more."""


@dataclass(slots=True)
class Transport:
    """One API server."""

    server: str
    """URL without a trailing slash."""
    pool: urllib3.PoolManager
    credentials: Credentials
    clock: Clock
    random: Callable[[], float]
    timeout_s: float | None = None
    """As in KubeOptions.request_timeout_s."""
    impersonate: tuple[tuple[str, str], ...] = ()
    """Impersonate-* headers; a name may come more than once."""
    policy: Policy = DEFAULT
    date: str = ""
    """What the server's last answer said of its time (HTTP's Date)."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when no answer is wanted any more."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        """The server as it may be shown: without user, password or query."""
        return shown_address(self.server)

    def get(self, path: str, query: Mapping[str, str], what: str, accept: str = "application/json") -> bytes:
        """The body of PATH?QUERY; WHAT names the resource in errors (`pods`).

        Raises Expired on 410, NotPermitted on 403, NotFound on 404, Unauthenticated on 401 after one renewal,
        Unavailable if the server can't be reached, is too slow or keeps failing.
        """
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        pace = Pace(
            lambda: self.clock.now().timestamp(), self.clock.sleep, lambda low, high: low + (high - low) * self.random()
        )
        return repeat(lambda: self._attempt(url, path, what, accept), self.policy, pace)

    def send(
        self, method: str, path: str, body: bytes, content_type: str, what: str
    ) -> tuple[int, bytes, float | None]:
        """Change something, by one request that is never repeated: (status, body, Retry-After in seconds).

        Raises Unauthenticated on 401 after one renewal, Unavailable where it is not known whether it was done.
        """
        for renewed in (False, True):
            answer = self._once(f"{self.server}{path}", "application/json", method, body, content_type)
            status, content, wait_s, trouble = answer
            if status == 401 and not renewed and self._renew():
                continue
            if status == 401:
                raise Unauthenticated(f"the Kubernetes API at {self.address} rejects the credentials", _LOGIN)
            if status == 0 or (status in RETRIED_STATUSES and status != 429):
                trouble = f"{trouble}: {said}" if (said := _status_message(content)) else trouble
                raise Unavailable(f"the Kubernetes API at {self.address} does not answer for {what}: {trouble}", _LATER)
            return status, content, wait_s
        raise AssertionError("the second try ends in one of the above")

    def _attempt(self, url: str, path: str, what: str, accept: str) -> bytes:
        """One try, two with renewed credentials; raises TryAgain for what may pass."""
        for renewed in (False, True):
            if self.stop.is_set():
                raise Stopped
            status, body, wait_s, trouble = self._once(url, accept)
            if status == 200:
                return body
            if status == 401 and not renewed and self._renew():
                continue
            if status in RETRIED_STATUSES or status == 0:
                text = f"the Kubernetes API at {self.address} does not answer for {what}: {trouble}"
                raise TryAgain(Unavailable(text, _LATER), wait_s)
            raise self._refusal(status, body, path, what)
        raise AssertionError("the second try ends in one of the above")

    def lines(self, path: str, query: Mapping[str, str], what: str, idle_s: float) -> Iterator[bytes]:
        """The lines of PATH?QUERY as they come (a watch), until the server ends them; the caller begins again.

        Raises Expired on 410, what `get` raises for other refusals, and Unavailable if the server can't be reached,
        breaks off, or sends nothing for IDLE_S seconds.
        """
        import urllib3
        from urllib3 import exceptions

        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=idle_s)
        options: Any = {"timeout": timeout, "retries": False, "redirect": False, "preload_content": False}
        try:
            answer = self.pool.request("GET", url, headers=self._headers("application/json"), **options)
            if answer.status == 401 and self._renew():
                answer.release_conn()
                answer = self.pool.request("GET", url, headers=self._headers("application/json"), **options)
            try:
                if answer.status in RETRIED_STATUSES:
                    trouble = f"does not answer for {what}: HTTP {answer.status}"
                    raise Unavailable(f"the Kubernetes API at {self.address} {trouble}", _LATER)
                if answer.status != 200:
                    raise self._refusal(answer.status, answer.read(MAX_REFUSAL, decode_content=True), path, what)
                yield from _split_lines(answer.stream(CHUNK, decode_content=True), what)
            finally:
                answer.close()
        except (exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _headers(self, accept: str) -> Any:
        from urllib3._collections import HTTPHeaderDict  # Public only since urllib3 2.

        headers: Any = HTTPHeaderDict({"Accept": accept, "User-Agent": "kubectl-imagecache"})
        for name, value in (*self._authenticate().items(), *self.impersonate):
            headers.add(name, value)
        return headers

    def _once(
        self, url: str, accept: str, method: str = "GET", body: bytes | None = None, content_type: str = ""
    ) -> tuple[int, bytes, float | None, str]:
        """(Status, body, Retry-After in seconds, what went wrong); status 0: the answer broke off."""
        from urllib3 import exceptions

        headers = self._headers(accept)
        if content_type:
            headers["Content-Type"] = content_type
        if not _is_local(self.server):
            headers["Accept-Encoding"] = "gzip"
        try:
            answer = self.pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=self._timeout(),
                retries=False,
                redirect=False,
                enforce_content_length=True,
            )
        # NewConnectionError (refused, no such host) is a ConnectTimeoutError to urllib3, so it comes first.
        except (exceptions.SSLError, exceptions.NewConnectionError, exceptions.ProxyError) as error:
            raise self._unreachable(error) from error
        except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError) as error:
            within = CONNECT_TIMEOUT_S if isinstance(error, exceptions.ConnectTimeoutError) else DEFAULT_TIMEOUT_S
            within = self.timeout_s or within
            raise Unavailable(
                f"the Kubernetes API at {self.address} is too slow: nothing came within {within:g} s", _SLOW
            ) from error
        except exceptions.DecodeError as error:
            raise BadAnswer(f"{self.address} sent a body that can't be decompressed") from error
        except exceptions.HTTPError as error:
            return 0, b"", None, f"the connection broke ({_short(error)})"
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        self.date = answer.headers.get("Date") or ""
        return answer.status, answer.data, retry_after(answer.headers.get("Retry-After")), f"HTTP {answer.status}"

    def _authenticate(self) -> Mapping[str, str]:
        with self._lock:
            return self.credentials.headers()

    def _renew(self) -> bool:
        with self._lock:
            return self.credentials.renew()

    def _timeout(self) -> urllib3.Timeout:
        import urllib3

        if self.timeout_s is None:
            return urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=DEFAULT_TIMEOUT_S)
        if self.timeout_s <= 0:
            return urllib3.Timeout()
        return urllib3.Timeout(total=self.timeout_s)

    def _unreachable(self, error: Exception) -> Unavailable:
        words = _short(error)
        hint = "check the VPN, the proxy and the cluster's authorized networks, or choose another --context"
        if "wrong version number" in words:
            hint = "the server does not speak TLS there: should its address begin with http: instead?"
        elif "certificate" in words.lower():
            hint = "the certificate does not fit the kubeconfig's certificate-authority or the server's name"
        return Unavailable(f"can't reach the Kubernetes API at {self.address}: {words}", hint)

    def _refusal(self, status: int, body: bytes, path: str, what: str) -> UserError | Expired:
        if status == 410:
            return Expired()
        words = _status_message(body) or f"HTTP {status}"
        # Where anonymous requests are allowed in, missing credentials come out as a refusal of this user.
        if status == 401 or (status == 403 and '"system:anonymous"' in words):
            return Unauthenticated(f"the Kubernetes API at {self.address} rejects the credentials", _LOGIN)
        if status == 403:
            namespace = unquote(path.partition("/namespaces/")[2].partition("/")[0])
            where = f"namespace {namespace} of " if namespace else ""
            role = least_rule(what, "Role" if namespace else "ClusterRole")
            return NotPermitted(f"list {what}", f"{where}the cluster at {self.address}", role)
        if status == 404:
            return NotFound(f"the Kubernetes API at {self.address} has no {what}: {words}")
        return BadAnswer(f"the Kubernetes API at {self.address} refuses to list {what}: {words}")


_LATER = "try again later"
_SLOW = "raise --request-timeout, or check the network"
_LOGIN = "log in again (on GKE: gcloud auth login), or check the user of this context in the kubeconfig"
_GROUPS = {
    "nodes": "",
    "pods": "",
    "events": "",
    "deployments": "apps",
    "statefulsets": "apps",
    "daemonsets": "apps",
    "replicasets": "apps",
    "jobs": "batch",
    "cronjobs": "batch",
}


def least_rule(resource: str, kind: str = "ClusterRole") -> str:
    """The smallest rule of a KIND (Role, ClusterRole) that lets one list RESOURCE."""
    group = _GROUPS.get(resource, "")
    return f'a {kind} with {{apiGroups: ["{group}"], resources: [{resource}], verbs: [get, list]}}'


def shown_address(url: str) -> str:
    """URL without user, password, path, query and fragment: fit for a message."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
        port = parts.port
    except ValueError:
        return "an unreadable address"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _split_lines(chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > MAX_LINE:
            raise BadAnswer(f"the watch of {what} sends a line that never ends")
    if rest.strip():
        yield rest


def _is_local(url: str) -> bool:
    # Decompressing costs more CPU than loopback costs time (BENCHMARKS.md); on a WAN it is the other way round.
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _status_message(body: bytes) -> str:
    import msgspec

    try:
        status: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    message = status.get("message") if isinstance(status, dict) else None
    return " ".join(message.split())[:300] if isinstance(message, str) else ""


def _short(error: Exception) -> str:
    """The gist of a network error, one line, without the object names and addresses that libraries put in."""
    words = str(error.args[-1] if error.args else error)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        words = cause.strerror
    if isinstance(words, str) and ": " in words and words.startswith(("<", "HTTP")):
        words = words.partition(": ")[2]
    words = re.sub(r" \(_ssl\.c:\d+\)$", "", words)  # A line of CPython's source says nothing to the user.
    return " ".join(words.split())[:200] or type(error).__name__
