from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients.docker_config import DockerConfig
from kubectl_imagecache.clients.facts_cache import FactsCache
from kubectl_imagecache.clients.registry import Registry, chain_ids, mirrors_of
from kubectl_imagecache.clients.registry_auth import RegistryAuth
from kubectl_imagecache.core.contents import ImageFacts
from kubectl_imagecache.core.errors import BadAnswer, BadUsage, NotFound, NotPermitted, UserError
from kubectl_imagecache.core.references import ImageRef, parse
from kubectl_imagecache.sandbox import registry as sandbox_registry
from kubectl_imagecache.sandbox.catalog import Catalog, ImageSpec, LayerSpec
from kubectl_imagecache.sandbox.http import Request, Response, World
from tests.clients.factories import Served, home_env, json_response, quick_http, served

AMD, ARM = "linux/amd64", "linux/arm64"
LAYERS = (LayerSpec("base", 100, 250), LayerSpec("app", 7, 9))


def client(tmp_path: Path, mirrors: Mapping[str, str], cache: FactsCache | None = None) -> Registry:
    http = quick_http()
    auth = RegistryAuth(http, DockerConfig(home_env(tmp_path)), None)
    return Registry(http, auth, mirrors, cache)


def catalog(*specs: ImageSpec) -> Callable[[Request], Response]:
    shelf = Catalog()
    for spec in specs:
        shelf.publish(spec)
    return sandbox_registry.Registry(World(), shelf).handle


def everywhere(server: Served) -> dict[str, str]:
    return {"*": server.url}


MULTI = ImageSpec("quay.io/team/app", "v1", LAYERS, ("amd64", "arm64"))
SINGLE = ImageSpec("docker.io/library/nginx", "1.27", LAYERS, dialect="docker")


@pytest.mark.parametrize("spec", [MULTI, SINGLE])
def test_facts_are_those_that_the_image_was_made_with(tmp_path: Path, spec: ImageSpec) -> None:
    shelf = Catalog()
    digest = shelf.publish(spec)
    expected = shelf.facts(f"{spec.name}:{spec.tag}", "amd64")
    with served(sandbox_registry.Registry(World(), shelf).handle) as server:
        registry = client(tmp_path, everywhere(server))
        facts = registry.facts(parse(f"{spec.name}:{spec.tag}"), AMD)
        by_digest = registry.facts(parse(f"{spec.name}@{digest}"), AMD)
    assert facts == by_digest
    assert (facts.digests, facts.platform) == (expected.digests, AMD)
    assert [(a.chain_id, a.compressed) for a in facts.layers] == [(b.chain_id, b.compressed) for b in expected.layers]
    assert len(facts.digests) == (3 if spec is MULTI else 2)


def test_docker_hubs_host_is_reached_under_its_own_name(tmp_path: Path) -> None:
    with served(catalog(SINGLE)) as server:
        client(tmp_path, everywhere(server)).facts(parse("nginx:1.27"), AMD)
        assert server.paths[0] == "/docker.io/v2/library/nginx/manifests/1.27"
    registry = client(tmp_path, {})
    assert registry._place("docker.io").base == "https://registry-1.docker.io"
    assert registry._place("localhost:5000").base == "http://localhost:5000"
    assert registry._place("127.0.0.1:5000").base == "http://127.0.0.1:5000"
    assert registry._place("[::1]:5000").base == "http://[::1]:5000"
    assert registry._place("localhost.evil.example").base == "https://localhost.evil.example"


def test_a_registry_on_this_machine_needs_no_mirror(tmp_path: Path) -> None:
    shelf = Catalog()
    shelf.publish(ImageSpec("h.example/app", "v1", LAYERS))
    inner = sandbox_registry.Registry(World(), shelf)

    def handle(request: Request) -> Response:
        return inner.handle(Request("GET" if request.method == "GET" else "HEAD", f"/h.example{request.path}",
            request.query, request.headers, request.body, request.host))  # fmt: skip

    with served(handle) as server:
        ref = parse(f"{server.url.removeprefix('http://')}/app:v1")
        assert len(client(tmp_path, {}).facts(ref, AMD).layers) == 2


def test_an_image_for_another_platform_is_told_apart_from_none(tmp_path: Path) -> None:
    with served(catalog(MULTI, SINGLE)) as server:
        registry = client(tmp_path, everywhere(server))
        assert registry.facts(parse("quay.io/team/app:v1"), ARM).platform == ARM
        with pytest.raises(NotFound, match=r"app:v1 is not made for linux/s390x, only for linux/amd64, linux/arm64"):
            registry.facts(parse("quay.io/team/app:v1"), "linux/s390x")
        # A single manifest names no platform; its config does.
        with pytest.raises(NotFound, match="is not made for linux/arm64, only for linux/amd64"):
            registry.facts(parse("nginx:1.27"), ARM)
        with pytest.raises(NotFound, match="app:v9 is not in the registry"):
            registry.facts(parse("quay.io/team/app:v9"), AMD)


def test_a_digest_is_asked_once_a_tag_each_time(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "cache")
    with served(catalog(MULTI)) as server:
        ref = parse("quay.io/team/app:v1")
        first = client(tmp_path, everywhere(server), cache).facts(ref, AMD)
        methods = [call.method for call in server.world.calls]
        assert methods == ["HEAD", "GET", "GET", "GET"]
        second = client(tmp_path, everywhere(server), cache).facts(ref, AMD)
        assert [call.method for call in server.world.calls[4:]] == ["HEAD"]
    assert first == second


def test_a_moved_tag_is_seen_through_the_cache(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "cache")
    shelf = Catalog()
    shelf.publish(MULTI)
    with served(sandbox_registry.Registry(World(), shelf).handle) as server:
        registry = client(tmp_path, everywhere(server), cache)
        before = registry.facts(parse("quay.io/team/app:v1"), AMD)
        shelf.publish(ImageSpec(MULTI.name, "v1", (*LAYERS, LayerSpec("more", 1, 1)), MULTI.archs))
        after = registry.facts(parse("quay.io/team/app:v1"), AMD)
    assert (len(before.layers), len(after.layers)) == (2, 3)


def test_many_are_read_side_by_side_and_failures_are_returned(tmp_path: Path) -> None:
    with served(catalog(MULTI, SINGLE)) as server:
        good, bad = (parse("nginx:1.27"), AMD), (parse("quay.io/team/none:v1"), AMD)
        found = client(tmp_path, everywhere(server)).facts_many([good, bad, good])
    assert list(found) == [good, bad]
    assert isinstance(found[good], ImageFacts)
    assert isinstance(found[bad], NotFound)


def test_a_failing_registry_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    with served(catalog(MULTI, SINGLE)) as server:
        server.order(status=503, path="/quay.io/", times=-1)
        found = client(tmp_path, everywhere(server)).facts_many(
            [(parse("quay.io/team/app:v1"), AMD), (parse("nginx:1.27"), AMD)]
        )
    assert ["answers 503" in str(answer) for answer in found.values()] == [True, False]


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


CONFIG: dict[str, Any] = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [sha(b"a"), sha(b"b")]}}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(b"l"), "size": 5}


class Hand:
    """A registry made by hand, so that it can be wrong."""

    def __init__(self, manifest: Any = None, config: Any = None, **more: Any) -> None:
        self.config = json.dumps(CONFIG if config is None else config).encode()
        descriptor = {"digest": sha(self.config), "size": len(self.config)}
        document = {"schemaVersion": 2, "config": descriptor, "layers": [LAYER, LAYER], **more}
        self.manifest = json.dumps(document if manifest is None else manifest).encode()
        self.digest = sha(self.manifest)
        self.claimed = self.digest

    def __call__(self, request: Request) -> Response:
        last = request.path.rpartition("/")[2]
        if "/manifests/" in request.path and last in ("v1", self.digest, self.claimed):
            headers = {"Docker-Content-Digest": self.claimed} if self.claimed else {}
            return Response(body=self.manifest, headers=headers)
        return Response(body=self.config) if last == sha(self.config) else json_response({}, 404)

    def facts(self, tmp_path: Path, platform: str = AMD, ref: str = "h.example/app:v1") -> ImageFacts:
        with served(self) as server:
            return client(tmp_path, everywhere(server)).facts(parse(ref), platform)


def test_a_hand_made_image_is_read(tmp_path: Path) -> None:
    hand = Hand()
    facts = hand.facts(tmp_path)
    assert facts.digests == {hand.digest, sha(hand.config)}
    assert [layer.chain_id for layer in facts.layers] == [sha(b"a"), sha(f"{sha(b'a')} {sha(b'b')}".encode())]


def test_a_registry_without_the_digest_header_is_hashed(tmp_path: Path) -> None:
    hand = Hand()
    hand.claimed = ""
    assert hand.digest in hand.facts(tmp_path).digests


def test_a_body_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    hand = Hand()
    hand.claimed = sha(b"another")
    with pytest.raises(BadAnswer, match=rf"sends something else than {hand.claimed} of app"):
        hand.facts(tmp_path)


def test_a_sha512_digest_is_checked_as_one(tmp_path: Path) -> None:
    hand = Hand()
    hand.claimed = f"sha512:{hashlib.sha512(hand.manifest).hexdigest()}"
    assert hand.claimed in hand.facts(tmp_path, ref=f"h.example/app@{hand.claimed}").digests


@pytest.mark.parametrize(
    ("hand", "words"),
    [
        (Hand(manifest={"schemaVersion": 1, "fsLayers": []}), "schema 1"),
        (Hand(manifest={"schemaVersion": 2}), "not a container image"),
        (Hand(manifest=[]), "makes no sense"),
        (Hand(layers=[LAYER]), "its manifest has 1 layers, its config 2"),
        (Hand(layers=[LAYER, {**LAYER, "size": -1}]), "a negative size"),
        (Hand(layers=[LAYER] * 501), "at most 500 layers"),
        (Hand(layers=[{"digest": 1}]), "makes no sense"),
        (Hand(config={"os": "linux", "architecture": "amd64"}), "its config 0"),
        (Hand(config={**CONFIG, "rootfs": {"diff_ids": ["x", "y"]}}), "is broken"),
        (Hand(config=[]), "makes no sense"),
        (Hand(manifests=[{"digest": "../../x", "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}]),
            "a digest that can't be one"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_plainly(tmp_path: Path, hand: Hand, words: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        hand.facts(tmp_path)
    assert words in caught.value.message


def test_a_manifest_is_bounded(tmp_path: Path) -> None:
    hand = Hand(annotations={"x": "y" * (4 << 20)})
    with pytest.raises(BadAnswer, match="more than the 4194304 bytes"):
        hand.facts(tmp_path)


def test_an_index_that_points_at_an_index_ends(tmp_path: Path) -> None:
    hand = Hand()
    inner = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    entry = {"digest": sha(inner), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    hand = Hand(manifest={"schemaVersion": 2, "manifests": [entry]})

    def handle(request: Request) -> Response:
        return Response(body=inner) if request.path.endswith(sha(inner)) else hand(request)

    with served(handle) as server, pytest.raises(BadAnswer, match="not a container image"):
        client(tmp_path, everywhere(server)).facts(parse("h.example/app:v1"), AMD)


@pytest.mark.parametrize(
    ("variant", "wanted", "fits"),
    [
        ("v7", "linux/arm/v7", True),
        ("v6", "linux/arm/v7", False),
        (None, "linux/arm/v7", True),
        ("v7", "linux/arm", True),
    ],
)
def test_a_variant_counts_only_when_both_name_one(tmp_path: Path, variant: str | None, wanted: str, fits: bool) -> None:
    hand = Hand(config={**CONFIG, "architecture": "arm", "variant": variant})
    if fits:
        assert hand.facts(tmp_path, wanted).platform == "linux/arm" + (f"/{variant}" if variant else "")
    else:
        with pytest.raises(NotFound, match="only for linux/arm/v6"):
            hand.facts(tmp_path, wanted)


def test_a_blob_may_lie_elsewhere(tmp_path: Path) -> None:
    hand = Hand()
    with served(lambda _: Response(body=hand.config)) as store:

        def handle(request: Request) -> Response:
            if "/blobs/" in request.path:
                return Response(307, headers={"Location": f"{store.url}/signed?X-Secret=1"})
            return hand(request)

        with served(handle) as server:
            assert len(client(tmp_path, everywhere(server)).facts(parse("h.example/app:v1"), AMD).layers) == 2
    assert len(store.requests) == 1


def test_a_challenge_by_the_store_is_not_answered(tmp_path: Path) -> None:
    hand = Hand()
    challenge = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/token"'}
    with served(lambda _: Response(401, headers=challenge)) as store:

        def handle(request: Request) -> Response:
            return Response(307, headers={"Location": store.url}) if "/blobs/" in request.path else hand(request)

        with served(handle) as server, pytest.raises(UserError, match=r"h\.example denies access to app"):
            client(tmp_path, everywhere(server)).facts(parse("h.example/app:v1"), AMD)
    assert len(store.requests) == 1


def test_googles_refusal_names_the_role(tmp_path: Path) -> None:
    ref = parse("us-docker.pkg.dev/p/r/app:v1")
    with served(lambda _: json_response({}, 403)) as server, pytest.raises(NotPermitted) as caught:
        client(tmp_path, everywhere(server)).facts(ref, AMD)
    assert caught.value.role == "roles/artifactregistry.reader"
    assert caught.value.on == "us-docker.pkg.dev/p/r/app"


def test_mirrors_are_read_from_the_environment() -> None:
    assert mirrors_of("") == {}
    assert mirrors_of("*=http://127.0.0.1:80/, QUAY.io=https://mirror.example/quay/,") == {
        "*": "http://127.0.0.1:80",
        "quay.io": "https://mirror.example/quay",
    }


@pytest.mark.parametrize("text", ["quay.io", "=https://x", "quay.io=http://mirror.example", "a=ftp://x", "a=b"])
def test_a_mirror_must_be_https_or_here(text: str) -> None:
    with pytest.raises(BadUsage, match="KUBECTL_IMAGECACHE_REGISTRY_MIRRORS is malformed"):
        mirrors_of(text)


def test_chain_ids_follow_the_specification() -> None:
    # The chain of an image of one layer is its diff ID; then SHA256(chain + " " + diff ID).
    a, b = sha(b"a"), sha(b"b")
    assert chain_ids([]) == ()
    assert chain_ids([a, b]) == (a, sha(f"{a} {b}".encode()))


def test_a_reference_with_its_digest_is_not_asked_for_it(tmp_path: Path) -> None:
    ref = ImageRef("h.example", "app", "v1", sha(b"x"))
    with served(lambda _: json_response({}, 500)) as server:
        assert client(tmp_path, everywhere(server)).digest(ref) == sha(b"x")
    assert server.requests == []
