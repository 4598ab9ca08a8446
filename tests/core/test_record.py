from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import CachedImage, Contents, UnreadableRecord, short_digest
from tests.core.factories import NOW, cached, contents, digest
from tests.schemas import follow

FIFTY = contents(
    *(
        cached(f"{host}/{team}-{app}:v{i}.{i * 7 % 13}.{i * 3 % 11}", size=i * 7_300_000_000 // 50 + 12_345_678)
        for i, (host, team, app) in enumerate(
            (host, team, app)
            for host in ("us-docker.pkg.dev/acme-prod/services", "europe-west4-docker.pkg.dev/acme-ml/models")
            for team in ("billing", "search", "fraud", "ranker", "speech")
            for app in ("api", "worker", "trainer", "gateway", "exporter")
        )
    )
)


def read(description: str) -> Contents:
    found = record.unpack(description)
    assert isinstance(found, Contents)
    return found


def packed(text: bytes, tail: bytes = b"") -> str:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=record._COMMON)
    body = deflate.compress(text) + deflate.flush()
    return "x\nimagecache:1:" + base64.b64encode(len(body).to_bytes(3, "big") + body + tail).decode()


def test_fifty_ordinary_images_fit_in_a_description() -> None:
    result = record.pack(FIFTY, "50 images, 171 GiB, built 2026-01-15 by kubectl-imagecache 0.1.0")
    assert len(result.description.encode()) <= 2000
    assert result.left_out == ()
    found = read(result.description)
    assert {image.ref for image in found.images} == {image.ref for image in FIFTY.images}
    assert all(image.digest == short_digest(digest(str(image.ref))) for image in found.images)
    assert found.built == NOW
    assert found.complete


def test_sizes_are_kept_where_there_is_room() -> None:
    found = read(record.pack(contents(cached("gcr.io/p/app:v1", size=2_000_000_000)), "one").description)
    assert found.images[0].compressed == pytest.approx(2_000_000_000, rel=0.001)


def test_what_does_not_fit_is_the_smallest_and_said() -> None:
    many = contents(*(cached(f"gcr.io/p/{digest(str(i))[7:40]}:v{i}", size=i + 1) for i in range(60)))
    result = record.pack(many, "many")
    assert len(result.description.encode()) <= 2000
    assert result.left_out == many.images[: len(result.left_out)]
    assert 0 < len(result.left_out) < 60
    found = read(result.description)
    assert not found.complete
    assert len(found.images) + len(result.left_out) == 60


def test_the_first_line_stays_readable() -> None:
    text = record.pack(FIFTY, "50 images\nbuilt today").description
    assert text.splitlines()[0] == "50 images built today"


REFS = st.from_regex(r"(gcr\.io|docker\.io)/[a-z]{1,9}/[a-z]{1,9}:[a-z0-9]{1,8}", fullmatch=True)


@given(st.lists(REFS, unique=True, max_size=20), st.sampled_from(["linux/amd64", "linux/arm64", ""]))
def test_the_full_record_comes_back_whole(refs: list[str], platform: str) -> None:
    whole = Contents(
        tuple(replace(cached(ref, size=5, layers="abc"), platform=platform) for ref in refs), NOW, "b 1", "f" * 64
    )
    assert record.from_json(record.to_json(whole).encode()) == whole


@given(st.lists(REFS, unique=True, max_size=20))
def test_the_compact_record_comes_back_with_short_digests(refs: list[str]) -> None:
    found = read(record.pack(contents(*(cached(ref) for ref in refs)), "x").description)
    assert found.images == tuple(
        CachedImage(i.ref, short_digest(i.digest), platform="linux/amd64")
        for i in sorted((cached(ref) for ref in refs), key=lambda image: str(image.ref))
    )


def test_a_description_without_a_record_is_not_an_error() -> None:
    assert record.unpack("") is None
    assert record.unpack("made by hand for the imagecache team") is None


def test_a_newer_record_is_refused_by_its_version() -> None:
    newer = UnreadableRecord("written by a newer version (record 2, this reads 1)", newer=True)
    assert record.unpack("x\nimagecache:2:AAAA\n") == newer
    assert record.from_json(b'{"schema": 2}') == newer


def test_a_link_is_read_back() -> None:
    text = record.link("90 images", "gs://bucket/a b".replace(" ", "-"), "c" * 64)
    assert record.unpack(text) == record.RecordLink("gs://bucket/a-b", "c" * 64)


@pytest.mark.parametrize(
    "description",
    [
        "x\nimagecache:1:!!!",
        "x\nimagecache:1:AAAA",
        "x\nimagecache:1:",
        packed(b"1\tb\tlinux/amd64\t1\nnginx", b"short"),
        packed(b"1\tb\tlinux/amd64\t1\nNOT A REF", b"0" * 16),
        packed(b"one field"),
        packed(b"9999999999999999\tb\t\t1"),
        packed(b"1\tb\t\t1\nnginx\t1e300", b"0" * 16),
        packed(b"1\tb\t\t1\nnginx\tnan", b"0" * 16),
        packed(b"A" * 5_000_000),
    ],
)
def test_a_damaged_or_hostile_compact_record_is_unreadable(description: str) -> None:
    assert isinstance(record.unpack(description), UnreadableRecord)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_unreadable(data: bytes) -> None:
    assert isinstance(record.from_json(data), Contents | UnreadableRecord)
    text = "x\nimagecache:1:" + base64.b64encode(data).decode() + "\n"
    assert isinstance(record.unpack(text), Contents | UnreadableRecord)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schema", "images", "reference", "digest", "layers", "built"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_record_or_unreadable(data: object) -> None:
    assert isinstance(record.from_json(json.dumps(data).encode()), Contents | UnreadableRecord)


def test_labels_fit_compute() -> None:
    plan = digest("plan").removeprefix("sha256:")
    found = record.labels(replace(FIFTY, plan=plan), build="b-1", arch="amd64")
    assert found == {
        "imagecache-schema": "1",
        "imagecache-build": "b-1",
        "imagecache-arch": "amd64",
        "imagecache-plan": plan[:40],
    }
    assert all(len(value) <= 63 for value in found.values())


def test_the_full_record_follows_its_schema() -> None:
    for whole in (FIFTY, contents(cached("gcr.io/p/a:v1", size=5, layers="ab"), cached("gcr.io/p/b:v1"))):
        follow("contents-v1", json.loads(record.to_json(whole)))
