"""The registry client: what it retries and resumes, to whom it shows credentials, and what it says when it gives up."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kubectl_imagecache.builder import credentials
from kubectl_imagecache.builder.failures import BuildFailed
from kubectl_imagecache.builder.images import resolve_image
from kubectl_imagecache.builder.job import JobImage, RegistryAccess
from kubectl_imagecache.builder.registry import Registry
from kubectl_imagecache.core.references import parse
from tests.builder.factories import archive, digest, gzipped, member
from tests.builder.scripted import Answer, Asked, Scripted, error, scripted, times

BLOB = os.urandom(900_000)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as registry:
        registry.bodies[f"/v2/r/blobs/{digest(BLOB)}"] = BLOB
        yield registry


def client(server: Scripted, waits: list[float] | None = None, **access: str) -> Registry:
    fields = {"host": server.host, "endpoint": f"http://{server.host}", **access}
    return Registry(RegistryAccess(**fields), sleep=(waits if waits is not None else []).append)


def fetch(registry: Registry, size: int = len(BLOB)) -> bytes:
    return b"".join(registry.blob("r", digest(BLOB), size))


def test_a_blob_goes_on_where_its_connection_broke(server: Scripted) -> None:
    server.rules.append(times(2, "/blobs/", lambda asked: _cut(asked, 400_000)))
    assert fetch(client(server)) == BLOB
    offsets = [int(asked.headers.get("range", "bytes=0-")[6:-1]) for asked in server.asked]
    assert offsets[0] == 0 < offsets[1] < offsets[2]


def _cut(asked: Asked, count: int) -> Answer:
    start = int(asked.headers.get("range", "bytes=0-")[6:-1])
    return Answer(206 if start else 200, BLOB[start:], cut=count)


def test_a_server_without_ranges_is_read_again_from_the_start(server: Scripted) -> None:
    server.rules.append(times(1, "/blobs/", lambda asked: Answer(200, BLOB, cut=500_000)))
    server.rules.append(lambda asked: Answer(200, BLOB))
    assert fetch(client(server)) == BLOB


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_passing_failure_is_retried_after_what_the_server_asks(server: Scripted, status: int) -> None:
    server.rules.append(times(1, "/blobs/", lambda asked: error(status, "X", "passing", Retry_After="7")))
    waits: list[float] = []
    assert fetch(client(server, waits)) == BLOB
    assert len(waits) == 1
    assert 5.6 <= waits[0] <= 8.4


def test_a_retry_after_may_be_a_date_and_nonsense_is_passed_over(server: Scripted) -> None:
    answers = iter([formatdate(time.time() + 20, usegmt=True), formatdate(0, usegmt=True), "in a while"])
    server.rules.append(times(3, "/blobs/", lambda asked: error(503, "X", "passing", Retry_After=next(answers))))
    waits: list[float] = []
    assert fetch(client(server, waits)) == BLOB
    later, past, nonsense = waits
    assert 14 <= later <= 24
    assert past == 0
    assert 0 < nonsense < 5


@pytest.mark.parametrize(
    "target", ["http://[", "https://127.0.0.1:99999999/x", "https://127.0.0.1:x/", "", "https://[::1", "//\x7f/"]
)
def test_a_redirect_to_no_address_is_a_failure_of_the_registry(server: Scripted, target: str) -> None:
    server.rules.append(lambda asked: Answer(302, b"", {"Location": target}))
    with pytest.raises(BuildFailed) as caught:
        fetch(client(server))
    assert caught.value.kind == "registry"


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "\u00fc", "", 7, {}])
def test_a_token_that_no_header_can_carry_is_refused(server: Scripted, token: object) -> None:
    bearer_rule(server, "", "")
    server.rules.insert(0, lambda a: Answer(200, json.dumps({"token": token}).encode()) if "/token" in a.path else None)
    with pytest.raises(BuildFailed) as caught:
        fetch(client(server))
    assert caught.value.kind == "registry"


def test_a_token_that_runs_out_within_a_blob_is_fetched_anew_and_the_blob_goes_on(server: Scripted) -> None:
    given = bearer_rule(server, "", "")

    def cut(asked: Asked) -> Answer:
        given.append("run out: no request may carry an old one now")
        return Answer(200, BLOB, cut=400_000)

    guard = server.rules.pop()
    once = times(1, "/blobs/", cut)
    server.rules.append(lambda asked: guard(asked) or once(asked))
    assert fetch(client(server)) == BLOB
    asked = [(a.headers.get("authorization"), "range" in a.headers) for a in server.asked if "/blobs/" in a.path]
    assert asked == [(None, False), ("Bearer token-0", False), ("Bearer token-0", True), ("Bearer token-2", True)]


def test_a_lasting_failure_is_told_in_the_registrys_words(server: Scripted) -> None:
    server.rules.append(lambda asked: error(500, "UNKNOWN", "the \x1b[31mdisk\x07 is on fire"))
    with pytest.raises(BuildFailed) as caught:
        fetch(client(server))
    assert caught.value.kind == "registry"
    assert caught.value.message == (
        f"blob {digest(BLOB)} of {server.host}/r: 500 Internal Server Error (UNKNOWN: the  [31mdisk  is on fire)"
    )
    assert len(server.asked) == 6


def test_a_refusal_is_not_repeated(server: Scripted) -> None:
    server.rules.append(lambda asked: error(403, "DENIED", "not yours"))
    with pytest.raises(BuildFailed, match="403 Forbidden \\(DENIED: not yours\\)"):
        fetch(client(server))
    assert len(server.asked) == 1


def test_a_manifest_with_another_digest_is_a_bad_digest(server: Scripted) -> None:
    wanted = digest(b"{}")
    server.rules.append(lambda asked: Answer(200, b"{ }"))
    with pytest.raises(BuildFailed) as caught:
        client(server).manifest("r", wanted)
    assert caught.value.kind == "bad-digest"


def bearer_rule(server: Scripted, user: str, password: str, lifetime: int = 300) -> list[str]:
    """Guard SERVER by tokens, which its own /token gives to USER; the tokens given so far."""
    given: list[str] = []

    def rule(asked: Asked) -> Answer | None:
        path = urlsplit(asked.path)
        if path.path == "/token":
            basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            if asked.headers.get("authorization") != (basic if user else None):
                return error(401, "UNAUTHORIZED", f"bad login {asked.headers.get('authorization')}")
            assert parse_qs(path.query) == {"service": ["tests"], "scope": ["repository:r:pull"]}
            given.append(f"token-{len(given)}")
            return Answer(200, json.dumps({"token": given[-1], "expires_in": lifetime}).encode())
        if given and asked.headers.get("authorization") == f"Bearer {given[-1]}":
            return None
        challenge = f'Bearer realm="http://{server.host}/token",service="tests",scope="repository:r:pull"'
        return Answer(401, b"{}", {"WWW-Authenticate": challenge})

    server.rules.append(rule)
    return given


def test_an_open_registry_may_ask_for_an_anonymous_token(server: Scripted) -> None:
    given = bearer_rule(server, "", "")
    assert fetch(client(server)) == BLOB
    assert given == ["token-0"]


def test_a_login_from_a_file_is_shown_to_the_token_server_alone(server: Scripted, tmp_path: Path) -> None:
    given = bearer_rule(server, "me", "s3cret:with:colons")
    (tmp_path / "login").write_text("me:s3cret:with:colons\n")
    assert fetch(client(server, auth="file", source=str(tmp_path / "login"))) == BLOB
    assert given == ["token-0"]
    assert [a.path[:6] for a in server.asked if a.headers.get("authorization", "").startswith("Basic")] == ["/token"]


def test_a_token_that_the_registry_no_longer_takes_is_fetched_anew(server: Scripted) -> None:
    given = bearer_rule(server, "", "")
    registry = client(server)
    assert fetch(registry) == BLOB
    given.append("revoked: only this one would do now")
    assert fetch(registry) == BLOB
    assert given[-1] == "token-2"


def test_no_secret_is_in_a_failure(server: Scripted, tmp_path: Path) -> None:
    bearer_rule(server, "me", "right")
    (tmp_path / "login").write_text("me:wr0ngsecret")
    with pytest.raises(BuildFailed) as caught:
        fetch(client(server, auth="file", source=str(tmp_path / "login")))
    encoded = base64.b64encode(b"me:wr0ngsecret").decode()
    assert "401" in caught.value.message
    assert "wr0ngsecret" not in caught.value.message + caught.value.hint
    assert encoded not in caught.value.message


def test_a_redirect_elsewhere_gets_no_credentials(server: Scripted, tmp_path: Path) -> None:
    with scripted() as storage:
        storage.bodies["/signed?x=y"] = BLOB
        (tmp_path / "login").write_text("me:secret")
        moved = Answer(307, b"", {"Location": f"http://{storage.host}/signed?x=y"})

        def rule(asked: Asked) -> Answer:
            return (
                moved if "authorization" in asked.headers else Answer(401, b"", {"WWW-Authenticate": "Basic realm=x"})
            )

        server.rules.append(rule)
        assert fetch(client(server, auth="file", source=str(tmp_path / "login"))) == BLOB
        assert [asked.headers.get("authorization") for asked in storage.asked] == [None]


def test_nothing_goes_over_plain_http_to_another_machine(server: Scripted) -> None:
    with pytest.raises(BuildFailed, match="plain http"):
        Registry(RegistryAccess("r.example", endpoint="http://r.example"))
    server.rules.append(lambda asked: Answer(302, b"", {"Location": "http://192.0.2.1/x"}))
    with pytest.raises(BuildFailed, match="redirects to plain http"):
        fetch(client(server))


@pytest.fixture
def metadata(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A metadata server and a Secret Manager, both on SERVER; the Google tokens given so far."""
    given: list[str] = []

    def rule(asked: Asked) -> Answer | None:
        if asked.path.startswith("/computeMetadata/"):
            assert asked.headers["metadata-flavor"] == "Google"
            given.append(f"ya29.{len(given)}")
            return Answer(
                200, json.dumps({"access_token": given[-1], "expires_in": 61 if len(given) == 1 else 3600}).encode()
            )
        if asked.path == "/v1/projects/p/secrets/hub/versions/latest:access":
            if asked.headers.get("authorization") != f"Bearer {given[-1]}":
                return Answer(403)
            return Answer(200, json.dumps({"payload": {"data": base64.b64encode(b"me:hidden").decode()}}).encode())
        return None

    server.rules.append(rule)
    monkeypatch.setenv("GCE_METADATA_HOST", server.host)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", f"http://{server.host}/")
    return given


@pytest.mark.parametrize("host", ["us-docker.pkg.dev", "gcr.io", "eu.gcr.io"])
def test_googles_token_goes_to_googles_registries(server: Scripted, metadata: list[str], host: str) -> None:
    def rule(asked: Asked) -> Answer | None:
        wanted = "Basic " + base64.b64encode(f"oauth2accesstoken:{metadata[-1]}".encode()).decode() if metadata else ""
        if asked.headers.get("authorization") == wanted:
            return None
        return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    server.rules.append(rule)
    assert fetch(client(server, host=host, auth="google")) == BLOB
    assert metadata == ["ya29.0"]


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("docker.io", ""),
        ("evilgcr.io", ""),
        ("gcr.io.evil.example", ""),
        ("pkg.dev.evil.example", ""),
        ("us-docker.pkg.dev", "https://mirror.example"),
    ],
)
def test_googles_token_goes_nowhere_else(host: str, endpoint: str) -> None:
    with pytest.raises(BuildFailed, match="Google token is not sent"):
        Registry(RegistryAccess(host, "google", endpoint=endpoint))


def test_a_google_registry_cannot_send_the_token_elsewhere(server: Scripted, metadata: list[str]) -> None:
    challenge = 'Bearer realm="https://evil.example/token",service="x"'
    server.rules.append(lambda asked: Answer(401, b"", {"WWW-Authenticate": challenge}))
    with pytest.raises(BuildFailed, match=r"sent to evil\.example"):
        fetch(client(server, host="gcr.io", auth="google"))


def test_a_google_token_is_fetched_anew_before_it_runs_out(server: Scripted, metadata: list[str]) -> None:
    now = [1000.0]
    found = credentials.Credentials(RegistryAccess("gcr.io", "google"), monotonic=lambda: now[0])
    first, again = found.login(), found.login()
    now[0] += 2.0
    later = found.login()
    assert first == again
    assert metadata == ["ya29.0", "ya29.1"]
    assert later != first
    assert "ya29" not in repr(later)


def test_a_login_can_come_from_secret_manager(server: Scripted, metadata: list[str]) -> None:
    access = RegistryAccess("r.example", "secret", "projects/p/secrets/hub/versions/latest")
    assert credentials.Credentials(access).login() == credentials.Login("me", "hidden")


@pytest.mark.parametrize("text", ["two words", "a\nb", "\u00fc", ""])
def test_a_login_that_is_none_is_refused_without_being_shown(server: Scripted, tmp_path: Path, text: str) -> None:
    bearer_rule(server, "", "")
    (tmp_path / "login").write_text(text)
    with pytest.raises(BuildFailed) as caught:
        fetch(client(server, auth="file", source=str(tmp_path / "login")))
    assert caught.value.message == f"the login for {server.host} is neither USER:PASSWORD nor a token"


def image(server: Scripted, digest: str, platform: str = "linux/amd64") -> JobImage:
    return JobImage(parse(f"{server.host}/r:v1"), digest, platform)


def test_the_config_tells_the_architecture_whatever_the_registry_gave(server: Scripted) -> None:
    found = server.add("r", [gzipped(archive((member("a"), b"a")))], architecture="arm64")
    assert resolve_image(image(server, found, "linux/arm64"), client(server)).platforms == ("linux/arm64",)
    with pytest.raises(BuildFailed) as caught:
        resolve_image(image(server, found), client(server))
    assert caught.value.kind == "wrong-architecture"
    assert caught.value.message == f"{server.host}/r:v1 is for linux/arm64, the disk is for linux/amd64"


def test_an_index_without_the_platform_names_those_it_has(server: Scripted) -> None:
    entries = [
        {"digest": digest(b"x"), "size": 1, "platform": {"os": "linux", "architecture": a}} for a in ("s390x", "arm64")
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    server.bodies[f"/v2/r/manifests/{digest(index)}"] = index
    with pytest.raises(BuildFailed) as caught:
        resolve_image(image(server, digest(index)), client(server))
    assert (caught.value.kind, caught.value.hint) == ("wrong-architecture", "it has linux/arm64, linux/s390x")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"manifests": 1}', b'{"layers": [1], "config": 2}', b"[" * 9999])
def test_a_nonsense_manifest_is_a_failure_of_the_registry(server: Scripted, body: bytes) -> None:
    server.bodies[f"/v2/r/manifests/{digest(body)}"] = body
    with pytest.raises(BuildFailed):
        resolve_image(image(server, digest(body)), client(server))
