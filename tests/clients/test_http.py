from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.http import Answer, Http, Limits, proxy_for
from kubectl_imagecache.clients.retry import Policy, TryAgain, repeat, retry_after
from kubectl_imagecache.core.errors import BadAnswer, Unavailable
from kubectl_imagecache.sandbox.http import Request, Response
from tests.clients.factories import Waits, quick_http, served


def echo(request: Request) -> Response:
    return Response(body=request.path.encode(), content_type="text/plain")


def test_an_answer_is_whole() -> None:
    with served(echo) as server:
        answer = quick_http().get(f"{server.url}/a")
    host = server.url.removeprefix("http://")
    assert answer == Answer(200, answer.headers, b"/a", host)
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 500},
        {"status": 429},
        {"kind": "reset"},
        {"kind": "truncate"},
    ],
)
def test_a_passing_failure_is_got_over(fault: dict[str, object]) -> None:
    with served(echo) as server:
        server.order(times=2, **fault)
        assert quick_http().get(f"{server.url}/long-enough-to-cut").body == b"/long-enough-to-cut"
    assert len(server.world.calls) == 3


def test_waits_grow_and_honour_retry_after() -> None:
    waits = Waits()
    with served(echo) as server:
        server.order(status=429, retry_after_s=3)
        server.order(status=503, times=2)
        quick_http(waits, attempts=5).get(f"{server.url}/a")
    assert waits.slept == [3.25, 0.5, 1.0]


def test_waiting_ends_when_the_time_is_up() -> None:
    waits = Waits()
    with served(echo) as server:
        server.order(status=503, retry_after_s=600, times=-1)
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ answers 503"):
            quick_http(waits).get(f"{server.url}/a")
    assert waits.slept == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 502}, "answers 502"),
        ({"kind": "reset"}, "broke the connection"),
        ({"kind": "truncate"}, "ended its answer half-way"),
    ],
)
def test_a_lasting_failure_names_the_host(fault: dict[str, object], words: str) -> None:
    with served(echo) as server:
        server.order(times=-1, **fault)
        with pytest.raises(Unavailable) as caught:
            quick_http().get(f"{server.url}/long-enough-to-cut?secret=1")
    assert words in caught.value.message
    assert caught.value.message.startswith("127.0.0.1:")
    assert "secret" not in caught.value.message


def test_nothing_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            quick_http().get(f"http://127.0.0.1:{port}/")
    assert caught.value.message == f"127.0.0.1:{port} refuses connections"


def test_a_slow_server_is_given_up() -> None:
    with served(echo) as server:
        server.order(kind="slow", seconds=0.5, times=-1)
        with pytest.raises(Unavailable, match="is too slow"):
            quick_http(limits=Limits(read_s=0.05), attempts=1).get(f"{server.url}/a")


def test_a_body_that_drips_for_ever_is_given_up() -> None:
    waits = Waits()

    def drip(_: Request) -> Response:
        def chunks() -> object:
            for _ in range(100):
                waits.now += 1.0
                yield b"x" * 10

        return Response(stream=chunks())  # type: ignore[arg-type]

    with served(drip) as server, pytest.raises(Unavailable, match="still sending after 5 s"):
        quick_http(waits, attempts=1).get(f"{server.url}/a")


def test_a_body_that_is_too_long_is_refused_once() -> None:
    with (
        served(lambda _: Response(body=b"x" * 5000)) as server,
        pytest.raises(BadAnswer, match="more than the 4096 bytes"),
    ):
        quick_http().get(f"{server.url}/a", max_bytes=4096)
    assert len(server.requests) == 1


def test_a_small_body_that_unpacks_to_a_large_one_is_refused() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    packed = Response(body=bomb, headers={"Content-Encoding": "gzip"})
    with served(lambda _: packed) as server, pytest.raises(BadAnswer, match="more than"):
        quick_http().get(f"{server.url}/a", max_bytes=100_000)


def test_a_post_is_not_repeated() -> None:
    with served(echo) as server:
        server.order(status=503)
        with pytest.raises(Unavailable):
            quick_http().send("POST", f"{server.url}/a", body=b"once")
    assert len(server.world.calls) == 1


def test_a_redirect_is_an_answer_unless_it_shall_be_followed() -> None:
    def handler(request: Request) -> Response:
        return Response(302, headers={"Location": "/there"}) if request.path == "/here" else echo(request)

    with served(handler) as server:
        assert quick_http().get(f"{server.url}/here").status == 302
        assert quick_http().get(f"{server.url}/here", follow=True).body == b"/there"


def test_a_redirect_keeps_authorization_only_at_home() -> None:
    with served(echo) as other:

        def handler(request: Request) -> Response:
            where = {"/home": "/end", "/away": f"{other.url}/end"}.get(request.path)
            return Response(307, headers={"Location": where}) if where else echo(request)

        with served(handler) as server:
            for path in ("/home", "/away"):
                quick_http().get(f"{server.url}{path}", {"Authorization": "Bearer s3cret"}, follow=True)
    assert server.sent == ["Bearer s3cret"] * 3
    assert other.sent == [""]


@pytest.mark.parametrize("where", ["http://example.com/", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_off_this_machine_must_be_https(where: str) -> None:
    with (
        served(lambda _: Response(302, headers={"Location": where})) as server,
        pytest.raises(BadAnswer, match="not https"),
    ):
        quick_http().get(f"{server.url}/", follow=True)


def test_a_malformed_redirect_is_refused() -> None:
    malformed = Response(302, headers={"Location": "http://[half/"})
    with served(lambda _: malformed) as server, pytest.raises(BadAnswer, match="a malformed address"):
        quick_http().get(f"{server.url}/", follow=True)


def test_a_circle_of_redirects_ends() -> None:
    with (
        served(lambda _: Response(302, headers={"Location": "/"})) as server,
        pytest.raises(BadAnswer, match="in circles"),
    ):
        quick_http().get(f"{server.url}/", follow=True)


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("https://a.example/", {}, ""),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example/", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("http://a.example/", {"HTTPS_PROXY": "http://p:3128"}, ""),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example, .example"}, ""),
        ("https://aexample/", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "example"}, "http://p:3128"),
        ("https://a.example/", {"ALL_PROXY": "http://p:3128", "no_proxy": "*"}, ""),
        ("http://127.0.0.1:1/", {"ALL_PROXY": "http://p:3128"}, ""),
    ],
)
def test_proxies_are_those_of_the_environment(url: str, env: dict[str, str], proxy: str) -> None:
    assert proxy_for(url, env) == proxy


def test_a_proxy_is_really_asked_and_its_password_is_not_told() -> None:
    def handler(request: Request) -> Response:
        return Response(body=request.headers.get("proxy-authorization", "").encode())

    with served(handler) as server:
        proxy = server.url.replace("http://", "http://user:s3cret@")
        # A name that can't be resolved is answered: the proxy was asked.
        answer = Http(env={"HTTP_PROXY": proxy}).get("http://nowhere.invalid/")
        assert answer.body == b"Basic dXNlcjpzM2NyZXQ="
    with pytest.raises(Unavailable) as caught:
        Http(policy=Policy(attempts=1), env={"HTTP_PROXY": proxy}).get("http://nowhere.invalid/")
    assert caught.value.message == "nowhere.invalid can't be reached through the proxy"


@contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """An https server for 127.0.0.1 whose certificate, FOLDER/cert.pem, nobody has signed."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    options = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(["openssl", "req", "-x509", *options, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with served(echo) as inner, socket.create_server(("127.0.0.1", 0)) as listening:
        plain = inner.url.removeprefix("http://").split(":")

        def forward() -> None:
            while True:
                try:
                    raw, _ = listening.accept()
                    with context.wrap_socket(raw, server_side=True) as secure:
                        asked = secure.recv(65536)
                        with socket.create_connection((plain[0], int(plain[1]))) as behind:
                            behind.sendall(asked)
                            secure.sendall(behind.recv(65536))
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=forward, daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_an_unknown_certificate_is_refused_at_once_and_a_named_one_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits()
    with tls_server(tmp_path) as url:
        with pytest.raises(Unavailable) as caught:
            quick_http(waits).get(f"{url}/a")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert quick_http().get(f"{url}/a").body == b"/a"
    assert "can't be trusted" in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.hint
    assert waits.slept == []


NOW = datetime(2026, 1, 15, 9, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("Thu, 15 Jan 2026 09:00:30 GMT", 30.0),
        ("Thu, 15 Jan 2026 08:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, lambda: NOW) == seconds


@given(st.text())
def test_retry_after_never_fails(header: str) -> None:
    found = retry_after(header, lambda: NOW)
    assert found is None or found >= 0


@given(
    st.integers(1, 8),
    st.floats(0, 60),
    st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=8, max_size=8),
)
def test_no_policy_waits_longer_than_it_says(attempts: int, total_s: float, wishes: list[float | None]) -> None:
    waits = Waits()
    left = iter(wishes)

    def fail() -> None:
        raise TryAgain(Unavailable("down"), next(left))

    with pytest.raises(Unavailable, match="down"):
        repeat(fail, Policy(attempts=attempts, total_s=total_s), waits.pace)
    assert sum(waits.slept) <= total_s
    assert len(waits.slept) < attempts
