"""The sandbox's registry, as a plain HTTP client sees it."""

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import pytest

from kubectl_imagecache.sandbox.catalog import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Catalog, ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Service, World
from kubectl_imagecache.sandbox.registry import TOKEN_LIFETIME_S, Access, Registry

OPEN, HUB, PRIVATE, DENIED = "open.example/web", "docker.io/library/nginx", "pkg.example/p/app", "pkg.example/q/secret"
LAYERS = (LayerSpec("big", 4_000_000_000, 9_000_000_000), LayerSpec("small", real=1000))
ACCESS = Access(frozenset({"docker.io"}), {"pkg.example": ("reader", "pass")}, frozenset({DENIED}))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error_code(self) -> str:
        (error,) = json.loads(self.body)["errors"]
        assert set(error) == {"code", "message"}
        return str(error["code"])


@dataclass(frozen=True)
class Rig:
    url: str
    world: World
    catalog: Catalog

    def get(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        connection.request(method, path, body or None, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer


@pytest.fixture
def rig() -> Iterator[Rig]:
    world, catalog = World(), Catalog()
    for name in (OPEN, HUB, PRIVATE, DENIED):
        catalog.publish(ImageSpec(name, "1", LAYERS, ("amd64", "arm64")))
    registry = Registry(world, catalog, ACCESS)
    service = Service("registry", world, registry.handle, registry.error)
    service.start()
    yield Rig(service.url, world, catalog)
    service.stop()


def _path(name: str, rest: str) -> str:
    host, _, repository = name.partition("/")
    return f"/{host}/v2/{repository}/{rest}"


def _bearer(rig: Rig, refused: Answer, **headers: str) -> Answer:
    """Ask for the token that a 401 tells of."""
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["www-authenticate"]))
    realm = urlsplit(challenge.pop("realm"))
    assert f"http://{realm.netloc}" == rig.url
    return rig.get(f"{realm.path}?{urlencode(challenge)}", **headers)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_open_image_is_read_down_to_its_layer_without_any_token(rig: Rig) -> None:
    assert rig.get("/open.example/v2/").status == 200
    index = rig.get(_path(OPEN, "manifests/1"), Accept=f"{OCI_INDEX}, {OCI_MANIFEST}")
    assert (index.status, index.headers["content-type"]) == (200, OCI_INDEX)
    assert index.headers["docker-content-digest"] == f"sha256:{hashlib.sha256(index.body).hexdigest()}"
    entry = json.loads(index.body)["manifests"][0]
    manifest = rig.get(_path(OPEN, f"manifests/{entry['digest']}"), Accept=OCI_MANIFEST)
    assert f"sha256:{hashlib.sha256(manifest.body).hexdigest()}" == entry["digest"]
    layer = json.loads(manifest.body)["layers"][1]
    blob = rig.get(_path(OPEN, f"blobs/{layer['digest']}"))
    assert f"sha256:{hashlib.sha256(blob.body).hexdigest()}" == layer["digest"]


def test_head_tells_digest_and_size_and_sends_no_body(rig: Rig) -> None:
    got, head = (rig.get(_path(OPEN, "manifests/1"), method=method) for method in ("GET", "HEAD"))
    assert head.body == b""
    for key in ("docker-content-digest", "content-length", "content-type"):
        assert head.headers[key] == got.headers[key]


def test_index_is_not_given_to_a_client_that_cannot_read_it(rig: Rig) -> None:
    answer = rig.get(_path(OPEN, "manifests/1"), Accept=f"{OCI_MANIFEST}, {DOCKER_LIST}")
    assert (answer.status, answer.error_code) == (404, "MANIFEST_UNKNOWN")
    assert b"accept header" in answer.body


def test_blob_is_read_by_ranges_and_put_together(rig: Rig) -> None:
    manifest = rig.catalog.manifest(OPEN, "1")
    assert manifest is not None
    platform = rig.get(_path(OPEN, f"manifests/{json.loads(manifest.body)['manifests'][0]['digest']}"))
    path = _path(OPEN, f"blobs/{json.loads(platform.body)['layers'][1]['digest']}")
    whole = rig.get(path).body
    first, rest = rig.get(path, Range="bytes=0-99"), rig.get(path, Range="bytes=100-")
    assert (first.status, first.headers["content-range"]) == (206, f"bytes 0-99/{len(whole)}")
    assert first.body + rest.body == whole
    assert rig.get(path, Range=f"bytes={len(whole)}-").status == 416


def test_declared_layer_has_a_size_but_no_bytes_and_says_why(rig: Rig) -> None:
    index = json.loads(rig.get(_path(OPEN, "manifests/1")).body)
    manifest = json.loads(rig.get(_path(OPEN, f"manifests/{index['manifests'][0]['digest']}")).body)
    path = _path(OPEN, f"blobs/{manifest['layers'][0]['digest']}")
    head, got = rig.get(path, method="HEAD"), rig.get(path)
    assert (head.status, head.headers["content-length"]) == (200, "4000000000")
    assert (got.status, got.error_code) == (404, "BLOB_UNKNOWN")
    assert b"the sandbox declares this layer" in got.body


def test_hub_gives_anybody_a_token_and_wants_it(rig: Rig) -> None:
    for host in ("docker.io", "registry-1.docker.io"):
        path = f"/{host}/v2/library/nginx/manifests/1"
        refused = rig.get(path)
        assert (refused.status, refused.error_code) == (401, "UNAUTHORIZED")
        token = json.loads(_bearer(rig, refused).body)["token"]
        assert rig.get(path, Authorization=f"Bearer {token}").status == 200
        assert rig.get("/docker.io/v2/library/other/manifests/1", Authorization=f"Bearer {token}").status == 401


def test_private_repository_opens_to_its_password_by_get_and_by_post(rig: Rig) -> None:
    refused = rig.get(_path(PRIVATE, "manifests/1"))
    assert _bearer(rig, refused).status == 401
    assert _bearer(rig, refused, Authorization=_basic("reader", "wrong")).status == 401
    assert _bearer(rig, refused, Authorization="Basic ~~~").status == 401
    by_get = json.loads(_bearer(rig, refused, Authorization=_basic("reader", "pass")).body)
    form = {"grant_type": "password", "scope": "repository:p/app:pull", "username": "reader", "password": "pass"}
    by_post = json.loads(rig.get("/pkg.example/token", method="POST", body=urlencode(form)).body)
    for answer in (by_get, by_post):
        answered = rig.get(_path(PRIVATE, "manifests/1"), Authorization=f"Bearer {answer['access_token']}")
        assert answered.status == 200


def test_denied_repository_opens_to_nobody(rig: Rig) -> None:
    refused = rig.get(_path(DENIED, "manifests/1"))
    answer = _bearer(rig, refused, Authorization=_basic("reader", "pass"))
    assert (answer.status, answer.error_code) == (403, "DENIED")


def test_token_runs_out(rig: Rig) -> None:
    path = _path(HUB, "manifests/1")
    token = json.loads(_bearer(rig, rig.get(path)).body)["token"]
    rig.world.clock.advance(TOKEN_LIFETIME_S)
    assert rig.get(path, Authorization=f"Bearer {token}").status == 401


def test_tags_are_listed_by_pages(rig: Rig) -> None:
    for tag in ("2", "3"):
        rig.catalog.publish(ImageSpec(OPEN, tag, LAYERS))
    path = _path(OPEN, "tags/list")
    assert json.loads(rig.get(path).body) == {"name": "web", "tags": ["1", "2", "3"]}
    page = rig.get(f"{path}?n=2")
    assert json.loads(page.body)["tags"] == ["1", "2"]
    link = re.fullmatch(r'<(.*)>; rel="next"', page.headers["link"])
    assert link is not None
    assert json.loads(rig.get(link[1]).body)["tags"] == ["3"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (_path("open.example/none", "manifests/1"), "NAME_UNKNOWN"),
        (_path("open.example/none", "tags/list"), "NAME_UNKNOWN"),
        (_path(OPEN, "manifests/9"), "MANIFEST_UNKNOWN"),
        (_path(OPEN, "blobs/sha256:" + "0" * 64), "BLOB_UNKNOWN"),
        ("/open.example/v1/web", "NAME_UNKNOWN"),
        ("/", "NAME_UNKNOWN"),
    ],
)
def test_unknown_things_are_404_with_their_code(rig: Rig, path: str, code: str) -> None:
    answer = rig.get(path)
    assert (answer.status, answer.error_code) == (404, code)


def test_pushing_is_refused(rig: Rig) -> None:
    assert rig.get(_path(OPEN, "manifests/1"), method="PUT", body="{}").status == 405


def test_ordered_fault_speaks_the_registrys_json(rig: Rig) -> None:
    rig.world.faults.rules.append(Fault(status=429, service="registry", retry_after_s=7))
    answer = rig.get(_path(OPEN, "manifests/1"))
    assert (answer.status, answer.error_code, answer.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "7")
    assert rig.get(_path(OPEN, "manifests/1")).status == 200
