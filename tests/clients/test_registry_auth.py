from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.docker_config import DockerConfig, Login
from kubectl_imagecache.clients.facts_cache import FactsCache
from kubectl_imagecache.clients.google_auth import AccessToken, GoogleAuth
from kubectl_imagecache.clients.http import Answer
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.registry_auth import GOOGLE_HOST, Place, RegistryAuth, may_see, parse_challenges
from kubectl_imagecache.core.errors import BadAnswer, Unauthenticated, UserError
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.catalog import Catalog, ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.http import Request, Response, World
from kubectl_imagecache.sandbox.registry import Access
from kubectl_imagecache.sandbox.registry import Registry as SandboxRegistry
from tests.clients.factories import Served, home_env, json_response, program, quick_http, served, strings_in

AMD = "linux/amd64"
DIGEST = "sha256:" + "ab" * 32
GOOGLE = GoogleAuth(lambda: AccessToken("g00gle-token"))


def docker_env(tmp_path: Path, config: Any) -> dict[str, str]:
    (tmp_path / ".docker").mkdir(exist_ok=True)
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return home_env(tmp_path)


def password(host: str, user: str, secret: str) -> dict[str, Any]:
    return {"auths": {host: {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}}}


def auth(env: dict[str, str], google: GoogleAuth | None = None, now: Callable[[], float] = lambda: 0.0) -> RegistryAuth:
    return RegistryAuth(quick_http(), DockerConfig(env), google, now)


def registry(
    server: Served, env: dict[str, str], google: GoogleAuth | None = None, cache: FactsCache | None = None
) -> Registry:
    return Registry(quick_http(), auth(env, google), {"*": server.url}, cache)


def shelf(name: str, access: Access) -> Callable[[Request], Response]:
    catalog = Catalog()
    catalog.publish(ImageSpec(name, "v1", (LayerSpec("a", 1, 2),)))
    return SandboxRegistry(World(), catalog, access).handle


def token_requests(server: Served) -> list[Request]:
    return [request for request in server.requests if request.path.endswith("/token")]


def test_an_open_registry_gets_no_credentials_at_all(tmp_path: Path) -> None:
    env = docker_env(tmp_path, password("quay.io", "me", "s3cret"))
    with served(shelf("quay.io/a/app", Access())) as server:
        registry(server, env, GOOGLE).facts(parse("quay.io/a/app:v1"), AMD)
    assert set(server.sent) == {""}


def test_an_anonymous_token_is_got_once_for_a_repository(tmp_path: Path) -> None:
    access = Access(anonymous_token=frozenset({"docker.io"}))
    with served(shelf("docker.io/library/nginx", access)) as server:
        registry(server, home_env(tmp_path)).facts(parse("nginx:v1"), AMD)
    (asked,) = token_requests(server)
    assert asked.query == {"service": "docker.io", "scope": "repository:library/nginx:pull"}
    assert "authorization" not in asked.headers


def test_a_password_goes_to_the_token_server_only(tmp_path: Path) -> None:
    access = Access(passwords={"quay.io/a": ("me", "s3cret")})
    env = docker_env(tmp_path, password("quay.io", "me", "s3cret"))
    with served(shelf("quay.io/a/app", access)) as server:
        registry(server, env).facts(parse("quay.io/a/app:v1"), AMD)
    basic = "Basic " + base64.b64encode(b"me:s3cret").decode()
    assert [request.headers.get("authorization") for request in token_requests(server)] == [basic]
    others = [request for request in server.requests if not request.path.endswith("/token")]
    assert all(not request.headers.get("authorization", "").startswith("Basic") for request in others)


def test_another_registrys_password_is_not_sent(tmp_path: Path) -> None:
    access = Access(passwords={"quay.io/a": ("me", "s3cret")})
    env = docker_env(tmp_path, password("ghcr.io", "me", "s3cret"))
    with served(shelf("quay.io/a/app", access)) as server, pytest.raises(Unauthenticated) as caught:
        registry(server, env, GOOGLE).facts(parse("quay.io/a/app:v1"), AMD)
    assert set(server.sent) == {""}
    assert caught.value.message == "quay.io refuses anonymous pulls for a/app"
    assert caught.value.hint == "run `docker login quay.io`, or check the repository's name"


@pytest.mark.parametrize("host", ["us-docker.pkg.dev", "europe-west4-docker.pkg.dev", "gcr.io", "eu.gcr.io"])
def test_google_tokens_open_googles_registries(tmp_path: Path, host: str) -> None:
    access = Access(passwords={host: ("oauth2accesstoken", "g00gle-token")})
    with served(shelf(f"{host}/p/app", access)) as server:
        assert registry(server, home_env(tmp_path), GOOGLE).facts(parse(f"{host}/p/app:v1"), AMD).layers


@pytest.mark.parametrize(
    "host",
    [
        "evilgcr.io",
        "pkg.dev.evil.com",
        "gcr.io.evil.com",
        "us-docker.pkg.dev.evil.com",
        "a.b.gcr.io",
        "evilpkg.dev",
        "us-docker.pkgxdev.com",
        "gcr.io:5000",
        "quay.io",
    ],
)
def test_google_tokens_never_go_to_look_alikes(tmp_path: Path, host: str) -> None:
    access = Access(passwords={host: ("oauth2accesstoken", "g00gle-token")})
    with served(shelf(f"{host}/p/app", access)) as server, pytest.raises(Unauthenticated):
        registry(server, home_env(tmp_path), GOOGLE).facts(parse(f"{host}/p/app:v1"), AMD)
    assert set(server.sent) == {""}


@given(st.from_regex(r"[a-z0-9.:-]{1,30}(pkg\.dev|gcr\.io)[a-z0-9.:-]{0,10}", fullmatch=True))
def test_googles_hosts_end_in_googles_domains(host: str) -> None:
    if GOOGLE_HOST.fullmatch(host):
        assert host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev")) or host == "pkg.dev"


def test_dockers_login_comes_before_googles_token(tmp_path: Path) -> None:
    access = Access(passwords={"gcr.io": ("_json_key", "key")})
    env = docker_env(tmp_path, password("gcr.io", "_json_key", "key"))
    with served(shelf("gcr.io/p/app", access)) as server:
        assert registry(server, env, GOOGLE).facts(parse("gcr.io/p/app:v1"), AMD).layers
    assert not any("g00gle" in base64.b64encode(sent.encode()).decode() for sent in server.sent)


def test_googles_public_images_need_no_google_credentials(tmp_path: Path) -> None:
    def none() -> AccessToken:
        raise Unauthenticated("no Google credentials found", "log in")

    with served(shelf("gcr.io/p/app", Access(anonymous_token=frozenset({"gcr.io"})))) as server:
        assert registry(server, home_env(tmp_path), GoogleAuth(none)).facts(parse("gcr.io/p/app:v1"), AMD).layers
    closed = shelf("gcr.io/p/app", Access(denied=frozenset({"gcr.io"})))
    with served(closed) as server, pytest.raises(Unauthenticated) as caught:
        registry(server, home_env(tmp_path), GoogleAuth(none)).facts(parse("gcr.io/p/app:v1"), AMD)
    assert caught.value.hint == "no Google credentials found"


def test_a_helper_that_is_not_installed_is_told_only_when_it_mattered(tmp_path: Path) -> None:
    env = docker_env(tmp_path, {"credsStore": "desktop"})
    with served(shelf("docker.io/a/app", Access(anonymous_token=frozenset({"docker.io"})))) as server:
        assert registry(server, env).facts(parse("a/app:v1"), AMD).layers
    closed = shelf("docker.io/a/app", Access(denied=frozenset({"docker.io"})))
    with served(closed) as server, pytest.raises(Unauthenticated) as caught:
        registry(server, env).facts(parse("a/app:v1"), AMD)
    assert caught.value.hint == "docker's configuration names docker-credential-desktop, which is not installed"


def test_a_helpers_identity_token_is_exchanged(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker-credential-id", """echo '{"Username": "<token>", "Secret": "refresh-s3cret"}'""")
    env = docker_env(tmp_path, {"credHelpers": {"quay.io": "id"}})

    def handle(request: Request) -> Response:
        if request.path.endswith("/token"):
            form = dict(parse_qsl(request.body.decode()))
            good = request.method == "POST" and form["refresh_token"] == "refresh-s3cret"
            return json_response({"access_token": "short"} if good else {}, 200 if good else 401)
        if request.headers.get("authorization") == "Bearer short":
            return Response(headers={"Docker-Content-Digest": DIGEST})
        challenge = f'Bearer realm="http://{request.host}/token",service="quay"'
        return Response(401, headers={"WWW-Authenticate": challenge})

    with served(handle) as server:
        assert registry(server, env).digest(parse("quay.io/a/app:v1")) == DIGEST
    (asked,) = token_requests(server)
    assert dict(parse_qsl(asked.body.decode())) == {
        "service": "quay",
        "scope": "repository:a/app:pull",
        "grant_type": "refresh_token",
        "refresh_token": "refresh-s3cret",
        "client_id": "kubectl-imagecache",
    }


def refused(challenge: str) -> Answer:
    return Answer(401, {"www-authenticate": challenge}, b"", "127.0.0.1:1")


HERE = Place("quay.io", "http://127.0.0.1:1/quay.io")
THERE = Place("quay.io", "https://quay.io")


def test_a_registry_token_is_used_as_it_is(tmp_path: Path) -> None:
    env = docker_env(tmp_path, {"auths": {"quay.io": {"registrytoken": "ready"}}})
    challenge = refused('Bearer realm="https://quay.io/token"')
    assert auth(env).answer(THERE, "a/app", challenge, "") == "Bearer ready"


def test_basic_sends_dockers_login(tmp_path: Path) -> None:
    env = docker_env(tmp_path, password("quay.io", "me", "päss"))
    expected = "Basic " + base64.b64encode("me:päss".encode()).decode()
    assert auth(env).answer(HERE, "a/app", refused('Basic realm="x"'), "") == expected
    with pytest.raises(Unauthenticated, match=r"ghcr\.io wants a user and a password"):
        auth(env).answer(Place("ghcr.io", "https://ghcr.io"), "a", refused("Basic"), "")


@pytest.mark.parametrize(
    ("place", "realm"),
    [
        (THERE, "http://quay.io/token"),
        (THERE, "http://127.0.0.1:8080/token"),
        (THERE, "http://localhost/token"),
        (HERE, "http://quay.io/token"),
        (HERE, "file:///etc/passwd"),
        (HERE, "https://"),
        (HERE, "https://[half"),
        (HERE, ""),
    ],
)
def test_a_token_server_that_is_not_https_gets_nothing(tmp_path: Path, place: Place, realm: str) -> None:
    env = docker_env(tmp_path, password("quay.io", "me", "s3cret"))
    with pytest.raises(BadAnswer, match="which is not https"):
        auth(env).answer(place, "a/app", refused(f'Bearer realm="{realm}",service="x"'), "")


@pytest.mark.parametrize("header", ["", "Negotiate", "Digest realm=x", "Bearer", 'Bearer scope="only"'])
def test_an_unknown_challenge_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(BadAnswer):
        auth(home_env(tmp_path)).answer(HERE, "a/app", refused(header), "")


@pytest.mark.parametrize(
    ("login", "host", "realm", "may"),
    [
        (Login("oauth2accesstoken", "t"), "gcr.io", "https://gcr.io/v2/token", True),
        (Login("oauth2accesstoken", "t"), "gcr.io", "https://evil.example/token", False),
        (Login("oauth2accesstoken", "t"), "gcr.io", "https://gcr.io.evil.example/token", False),
        (Login("oauth2accesstoken", "t"), "quay.io", "https://quay.io/token", False),
        (Login("_json_key", "k"), "us-docker.pkg.dev", "https://evil.example/token", False),
        (Login("_json_key", "k"), "us-docker.pkg.dev", "https://us-docker.pkg.dev/v2/token", True),
        (Login("me", "p"), "docker.io", "https://auth.docker.io/token", True),
    ],
)
def test_what_is_googles_is_seen_by_google_only(login: Login, host: str, realm: str, may: bool) -> None:
    assert may_see(login, Place(host, f"https://{host}"), realm) is may


def test_the_registry_can_not_ask_for_a_wider_token(tmp_path: Path) -> None:
    with served(lambda _: json_response({"token": "t"})) as server:
        challenge = refused(f'Bearer realm="{server.url}/token?a=b",service="x",scope="repository:other:push,pull"')
        auth(home_env(tmp_path)).answer(Place("quay.io", server.url), "a/app", challenge, "")
    (asked,) = server.requests
    assert asked.query == {"a": "b", "service": "x", "scope": "repository:a/app:pull"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"token": 5}',
        b'{"token": ""}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "t", "expires_in": "soon"}',
    ],
)
def test_a_token_that_can_not_be_one_is_refused(tmp_path: Path, body: bytes) -> None:
    with served(lambda _: Response(body=body)) as server, pytest.raises(BadAnswer):
        challenge = refused(f'Bearer realm="{server.url}/token"')
        auth(home_env(tmp_path)).answer(Place("quay.io", server.url), "a/app", challenge, "")


def test_a_token_is_renewed_before_it_runs_out(tmp_path: Path) -> None:
    now = 0.0
    made = iter(range(9))
    with served(lambda _: json_response({"token": f"t{next(made)}", "expires_in": 100})) as server:
        place = Place("quay.io", server.url)
        keeper = auth(home_env(tmp_path), now=lambda: now)
        keeper.answer(place, "a/app", refused(f'Bearer realm="{server.url}/token"'), "")
        assert keeper.header(place, "a/app") == "Bearer t0"
        assert keeper.header(place, "a/other") == ""
        now = 96.0
        assert keeper.header(place, "a/app") == ""


def test_many_threads_get_one_token(tmp_path: Path) -> None:
    with served(lambda _: json_response({"token": "t"})) as server:
        place, keeper = Place("quay.io", server.url), auth(home_env(tmp_path))
        challenge = refused(f'Bearer realm="{server.url}/token"')
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: keeper.answer(place, "a/app", challenge, ""), range(32)))
    assert found == ["Bearer t"] * 32
    assert len(server.requests) == 1


def test_a_mirror_elsewhere_does_not_get_the_hosts_login(tmp_path: Path) -> None:
    env = docker_env(tmp_path, password("quay.io", "me", "s3cret"))
    mirror = Place("quay.io", "https://mirror.example/quay")
    with pytest.raises(Unauthenticated, match="wants a user and a password"):
        auth(env).answer(mirror, "a/app", refused("Basic"), "")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push"',
            {"bearer": {"realm": "https://a/token", "service": "s", "scope": "repository:a/b:pull,push"}},
        ),
        ('BEARER Realm = "r" , service=s', {"bearer": {"realm": "r", "service": "s"}}),
        ('Basic realm="a \\"b\\"", Bearer realm=x', {"basic": {"realm": 'a "b"'}, "bearer": {"realm": "x"}}),
        ("Basic", {"basic": {}}),
        ("", {}),
    ],
)
def test_challenges_are_parsed(header: str, expected: dict[str, dict[str, str]]) -> None:
    assert parse_challenges(header) == expected


@given(st.text(max_size=200))
def test_no_challenge_breaks_the_parser(header: str) -> None:
    assert isinstance(parse_challenges(header), dict)


def test_secrets_are_never_told_or_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secrets = ("p4ssw0rd", "g00gle-token")
    env = docker_env(tmp_path, password("quay.io", "me", "p4ssw0rd"))
    cache = FactsCache(tmp_path / "cache")
    told = ""
    for name, access in (
        ("quay.io/a/app", Access(passwords={"quay.io": ("me", "p4ssw0rd")})),
        ("quay.io/a/app", Access(passwords={"quay.io": ("me", "changed")})),
        ("quay.io/a/app", Access(denied=frozenset({"quay.io"}))),
        ("gcr.io/a/app", Access(passwords={"gcr.io": ("oauth2accesstoken", "g00gle-token")})),
        ("gcr.io/a/app", Access(denied=frozenset({"gcr.io"}))),
    ):
        with served(shelf(name, access)) as server:
            server.order(kind="reset", path="/blobs/")
            client = registry(server, env, GOOGLE, cache)
            try:
                told += repr(client.facts(parse(f"{name}:v1"), AMD))
            except UserError as error:
                told += f"{error!r} {error.message} {error.hint}"
    told += "".join(capfd.readouterr())
    kept = strings_in(tmp_path / "cache")
    assert kept
    for secret in secrets:
        for spelling in (secret, base64.b64encode(f"me:{secret}".encode()).decode()):
            assert spelling not in told
            assert spelling.encode() not in kept
