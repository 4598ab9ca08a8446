"""The catalog's images are what they say."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_imagecache.core.contents import CachedImage, Layer
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.sandbox.catalog import DOCKER_MANIFEST, OCI_INDEX, Catalog, ImageSpec, LayerSpec, chain_ids

BASE = LayerSpec("base", 30_000_000, 80_000_000)
APP = LayerSpec("app", 1_000_000, 3_000_000)
TINY = LayerSpec("tiny", real=70_000)
WEB = ImageSpec("example.com/team/web", "1", (BASE, APP, TINY), ("amd64", "arm64"))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _load(catalog: Catalog, name: str, reference: str) -> dict[str, Any]:
    manifest = catalog.manifest(name, reference)
    assert manifest is not None
    assert _digest(manifest.body) == manifest.digest
    content: dict[str, Any] = json.loads(manifest.body)
    assert content["mediaType"] == manifest.media_type
    return content


def test_every_digest_from_the_tag_down_to_the_real_layer_verifies() -> None:
    catalog = Catalog()
    index = catalog.publish(WEB)
    content = _load(catalog, WEB.name, "1")
    assert content["mediaType"] == OCI_INDEX
    assert [entry["platform"]["architecture"] for entry in content["manifests"]] == ["amd64", "arm64"]
    for entry in content["manifests"]:
        manifest = _load(catalog, WEB.name, entry["digest"])
        found = catalog.manifest(WEB.name, entry["digest"])
        assert found is not None
        assert len(found.body) == entry["size"]
        config_blob = catalog.blob(WEB.name, manifest["config"]["digest"])
        assert config_blob is not None
        assert config_blob.data is not None
        assert _digest(config_blob.data) == manifest["config"]["digest"]
        assert len(config_blob.data) == manifest["config"]["size"]
        config = json.loads(config_blob.data)
        assert config["architecture"] == entry["platform"]["architecture"]
        layer = catalog.blob(WEB.name, manifest["layers"][2]["digest"])
        assert layer is not None
        assert layer.data is not None
        assert _digest(layer.data) == layer.digest
        assert len(layer.data) == layer.size == manifest["layers"][2]["size"]
        tar = gzip.decompress(layer.data)
        assert _digest(tar) == config["rootfs"]["diff_ids"][2]
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            (member,) = archive.getmembers()
        assert (member.name, member.size, member.mode) == ("opt/tiny", 70_000, 0o644)
        facts = catalog.facts(f"{WEB.name}:1", config["architecture"])
        assert facts.digests == {index, entry["digest"], manifest["config"]["digest"]}
        assert [layer.chain_id for layer in facts.layers] == chain_ids(config["rootfs"]["diff_ids"])


def test_chain_ids_follow_the_formula_of_the_image_spec() -> None:
    first, second, third = (_digest(text) for text in (b"1", b"2", b"3"))
    two = _digest(f"{first} {second}".encode())
    assert chain_ids([first, second, third]) == [first, two, _digest(f"{two} {third}".encode())]


def test_images_on_one_base_share_its_layer_and_nothing_above() -> None:
    catalog = Catalog()
    catalog.publish(WEB)
    catalog.publish(ImageSpec("example.com/team/api", "1", (BASE, TINY), ("amd64",)))
    web = catalog.facts("example.com/team/web:1", "amd64").layers
    api = catalog.facts("example.com/team/api:1", "amd64").layers
    assert web[0] == api[0] == Layer(web[0].chain_id, 30_000_000, 80_000_000)
    assert {layer.chain_id for layer in web[1:]}.isdisjoint(layer.chain_id for layer in api[1:])
    assert web[0] != catalog.facts("example.com/team/web:1", "arm64").layers[0]


def test_moved_tag_leaves_the_old_image_under_its_digest() -> None:
    catalog = Catalog()
    old = catalog.publish(WEB)
    new = catalog.publish(ImageSpec(WEB.name, "1", (BASE, LayerSpec("app2", 5, 6)), ("amd64", "arm64")))
    assert old != new
    by_tag, by_digest = catalog.resolve(f"{WEB.name}:1", "amd64"), catalog.resolve(f"{WEB.name}@{old}", "amd64")
    assert by_tag is not None
    assert by_digest is not None
    assert (by_tag.digest, by_tag.names) == (new, (f"{WEB.name}@{new}", f"{WEB.name}:1"))
    assert (by_digest.digest, by_digest.names) == (old, (f"{WEB.name}@{old}",))
    assert len(by_digest.layers) == 3


def test_offered_images_are_there_for_every_question_and_in_the_order_of_the_offers() -> None:
    newer = ImageSpec(WEB.name, "1", (BASE, LayerSpec("app2", 5, 6)), WEB.archs)
    published = Catalog()
    published.publish(WEB)
    digest = published.publish(newer)
    questions: list[Callable[[Catalog], object]] = [
        lambda catalog: list(catalog.references()),
        lambda catalog: catalog.tags(WEB.name),
        lambda catalog: catalog.manifest(WEB.name, "1"),
        lambda catalog: catalog.blob(WEB.name, json.loads(_body(published))["config"]["digest"]),
        lambda catalog: catalog.resolve(f"{WEB.name}:1", "arm64"),
        lambda catalog: catalog.publish(ImageSpec(WEB.name, "2", (TINY,))) and catalog.tags(WEB.name),
    ]
    for question in questions:
        offered = Catalog()
        offered.offer(WEB)
        offered.offer(newer)
        assert question(offered) == question(published) is not None
    assert published.resolve(f"{WEB.name}:1", "amd64") is not None
    assert published.cached(f"{WEB.name}:1", "amd64").digest == digest


def _body(catalog: Catalog) -> bytes:
    index = _load(catalog, WEB.name, "1")
    manifest = catalog.manifest(WEB.name, index["manifests"][0]["digest"])
    assert manifest is not None
    return manifest.body


def test_a_node_gets_no_image_that_lacks_its_platform_but_any_plain_manifest() -> None:
    catalog = Catalog()
    catalog.publish(WEB)
    plain = catalog.publish(ImageSpec("example.com/plain", "1", (BASE,), dialect="docker"))
    assert catalog.resolve(f"{WEB.name}:1", "riscv64") is None
    assert catalog.resolve("example.com/nothing:1", "amd64") is None
    assert catalog.resolve(f"{WEB.name}:2", "amd64") is None
    assert catalog.resolve("Not A Reference", "amd64") is None
    resolved = catalog.resolve("example.com/plain:1", "arm64")
    assert resolved is not None
    assert resolved.digest == plain
    manifest = catalog.manifest("example.com/plain", "1")
    assert manifest is not None
    assert manifest.media_type == DOCKER_MANIFEST


def test_cached_image_is_what_a_contents_record_needs() -> None:
    catalog = Catalog()
    index = catalog.publish(WEB)
    facts = catalog.facts(f"{WEB.name}:1", "arm64")
    others = facts.digests - {index}
    assert len(others) == 2
    ref = parse(f"{WEB.name}:1")
    expected = CachedImage(ref, index, others, facts.compressed, facts.layers, "linux/arm64")
    assert catalog.cached(f"{WEB.name}:1", "arm64") == expected


def test_asking_for_the_facts_of_an_unknown_image_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"example\.com/no"):
        Catalog().facts("example.com/no:1", "amd64")


def test_a_seed_decides_every_digest() -> None:
    def digests(seed: int) -> list[tuple[str, str, str]]:
        catalog = Catalog(seed)
        catalog.publish(WEB)
        return list(catalog.references())

    assert digests(1) == digests(1)
    assert digests(1) != digests(2)
