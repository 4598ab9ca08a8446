from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from kubectl_imagecache.clients.compute import Compute, cloud_view, disk_image_of
from kubectl_imagecache.clients.gke import Gke
from kubectl_imagecache.clients.google_auth import GoogleAuth
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import CachedImage, Contents, Layer, UnreadableRecord
from kubectl_imagecache.core.errors import BadAnswer, NotPermitted, Unauthenticated
from kubectl_imagecache.core.pools import DiskImage, DiskImageRef, DiskState
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.views import CloudView, Gap
from kubectl_imagecache.sandbox.http import Request, Response
from tests.clients.factories import json_response, quick_http, served

REF = DiskImageRef("p", "models-1")
CREATED = datetime(2026, 1, 14, 16, 30, 0, 250000, tzinfo=timezone.utc)
CONTENTS = Contents(
    (
        CachedImage(
            parse("docker.io/library/nginx:1.27"),
            "sha256:" + "ab" * 32,
            layers=(Layer("sha256:" + "cd" * 32, 10, 20),),
            platform="linux/amd64",
        ),
    ),
    datetime(2026, 1, 14, tzinfo=timezone.utc),
    "kubectl-imagecache 0.1.0",
    "f" * 40,
)


def image(name: str = "models-1", project: str = "p", **fields: Any) -> dict[str, Any]:
    link = f"https://www.googleapis.com/compute/v1/projects/{project}/global/images/{name}"
    return {
        "kind": "compute#image",
        "id": "7781",
        "name": name,
        "selfLink": link,
        "status": "READY",
        "creationTimestamp": "2026-01-14T08:30:00.250-08:00",
        "diskSizeGb": "20",
        "archiveSizeBytes": "1234567890",
        "architecture": "X86_64",
        **fields,
    }


def google(url: str, auth: GoogleAuth | None = None) -> GoogleHttp:
    places = {Api.CONTAINER: f"{url}/v1/", Api.COMPUTE: f"{url}/compute/v1/", Api.STORAGE: f"{url}/storage/v1/"}
    return GoogleHttp(quick_http(), auth or GoogleAuth(None), places)


def routes(**answers: Response) -> Callable[[Request], Response]:
    """Answers by the path's last element; `storage` is any object."""

    def handle(request: Request) -> Response:
        last = "storage" if request.path.startswith("/storage/") else request.path.rpartition("/")[2]
        return answers.get(last.replace("-", "_"), json_response({"error": {"message": "not found"}}, 404))

    return handle


def test_a_disk_image_is_read_whole() -> None:
    document = image(family="models", labels={"a": "b"}, description="made by hand")
    with served(routes(models_1=json_response(document))) as server:
        found = Compute(google(server.url)).disk_image(REF)
    assert server.paths == ["/compute/v1/projects/p/global/images/models-1"]
    assert found == DiskImage(
        ref=REF,
        state=DiskState.READY,
        id="7781",
        created=CREATED,
        size_gb=20,
        archive_bytes=1234567890,
        arch="amd64",
        family="models",
        labels={"a": "b"},
        description="made by hand",
        contents=None,
    )


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"status": "PENDING"}, DiskState.PENDING),
        ({"status": "FAILED"}, DiskState.FAILED),
        ({"status": "DELETING"}, DiskState.DELETED),
        ({"deprecated": {"state": "ACTIVE"}}, DiskState.READY),
        ({"deprecated": {"state": "DEPRECATED"}}, DiskState.DEPRECATED),
        ({"deprecated": {"state": "OBSOLETE"}}, DiskState.OBSOLETE),
        ({"deprecated": {"state": "DELETED"}}, DiskState.DELETED),
        ({"status": "FAILED", "deprecated": {"state": "DEPRECATED"}}, DiskState.FAILED),
        ({"deprecated": None, "labels": None, "family": None, "architecture": None}, DiskState.READY),
    ],
)
def test_the_state_folds_status_and_deprecation(fields: dict[str, Any], state: DiskState) -> None:
    assert disk_image_of(image(**fields)).state is state


def test_a_disk_image_that_is_not_there_is_missing() -> None:
    with served(routes()) as server:
        assert Compute(google(server.url)).disk_image(REF) == DiskImage(REF, DiskState.MISSING)


@pytest.mark.parametrize("name", ["Upper", "-x", "a/../b", "family/x", "", "x" * 64, "a b"])
def test_a_name_that_no_disk_image_can_have_is_missing_without_asking(name: str) -> None:
    with served(routes()) as server:
        ref = DiskImageRef("p", name)
        assert Compute(google(server.url)).disk_image(ref) == DiskImage(ref, DiskState.MISSING)
    assert server.requests == []


def test_a_refusal_names_the_permission() -> None:
    refused = routes(models_1=json_response({"error": {"message": "x"}}, 403))
    with served(refused) as server, pytest.raises(NotPermitted) as caught:
        Compute(google(server.url)).disk_image(REF)
    assert (caught.value.permission, caught.value.on, caught.value.role) == (
        "compute.images.get",
        "projects/p/global/images/models-1",
        "roles/compute.viewer",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "NEW"},
        {"diskSizeGb": "many"},
        {"diskSizeGb": "-1"},
        {"creationTimestamp": "yesterday"},
        {"deprecated": {"state": "ODD"}},
        {"name": 5},
        {"labels": {"a": 1}},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with served(routes(models_1=json_response(image(**fields)))) as server, pytest.raises(BadAnswer):
        Compute(google(server.url)).disk_image(REF)


def test_the_record_in_the_description_is_read_with_the_plan_from_the_label() -> None:
    description = record.pack(CONTENTS, "Image cache").description
    found = disk_image_of(image(description=description, labels={"imagecache-plan": "f" * 40}))
    expected = record.unpack(description)
    assert isinstance(expected, Contents)
    assert found.contents == replace(expected, plan="f" * 40)


def linked(body: bytes, sha256: str = "") -> dict[str, Any]:
    sha256 = sha256 or hashlib.sha256(body).hexdigest()
    return image(description=record.link("Image cache", "gs://my-bucket/folder/r#1.json", sha256))


def test_a_record_in_cloud_storage_is_fetched_and_checked() -> None:
    body = record.to_json(CONTENTS).encode()
    handler = routes(models_1=json_response(linked(body)), storage=Response(body=body))
    with served(handler) as server:
        found = Compute(google(server.url)).disk_image(REF)
    assert found.contents == CONTENTS
    assert server.world.calls[1].target == "/storage/v1/b/my-bucket/o/folder%2Fr%231.json?alt=media"


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (Response(body=b"something else"), "its SHA-256 differs"),
        (json_response({}, 404), "does not exist"),
        (json_response({}, 403), "not permitted: storage.objects.get on gs://my-bucket/"),
    ],
)
def test_a_record_that_can_not_be_had_says_why(storage: Response, words: str) -> None:
    body = b"the record"
    with served(routes(models_1=json_response(linked(body)), storage=storage)) as server:
        contents = Compute(google(server.url)).disk_image(REF).contents
    assert isinstance(contents, UnreadableRecord)
    assert words in contents.why


def test_a_link_is_not_followed_offline() -> None:
    contents = disk_image_of(linked(b"x")).contents
    assert contents == UnreadableRecord("it is in gs://my-bucket/folder/r#1.json, which was not read")


def test_the_newest_of_a_family_is_asked_for() -> None:
    with served(routes(models=json_response(image("models-2", family="models")))) as server:
        compute = Compute(google(server.url))
        found, none = compute.newest("p", "models"), compute.newest("p", "nothing")
    assert server.paths[0] == "/compute/v1/projects/p/global/images/family/models"
    assert found is not None
    assert (found.ref, none) == (DiskImageRef("p", "models-2"), None)


TARGET = ClusterTarget("p", "l", "c", "t")


def cluster_with(*names: str) -> Response:
    pools = [
        {
            "name": f"pool-{name}",
            "config": {"secondaryBootDisks": [{"diskImage": f"global/images/{name}", "mode": "CONTAINER_IMAGE_CACHE"}]},
        }
        for name in names
    ]
    return json_response({"name": "c", "location": "l", "nodePools": pools})


def test_a_view_asks_for_each_disk_image_and_each_family_once() -> None:
    handler = routes(
        c=cluster_with("a", "b"),
        a=json_response(image("a", family="models")),
        b=json_response(image("b", family="models")),
        x=json_response(image("x", "q")),
        models=json_response(image("b", family="models")),
    )

    def extra() -> Iterator[DiskImageRef]:
        yield DiskImageRef("p", "a")
        yield DiskImageRef("q", "x")
        yield DiskImageRef("q", "gone")

    with served(handler) as server:
        http = google(server.url)
        view = cloud_view(Gke(http), Compute(http), TARGET, extra())
    assert sorted(server.paths) == [
        "/compute/v1/projects/p/global/images/a",
        "/compute/v1/projects/p/global/images/b",
        "/compute/v1/projects/p/global/images/family/models",
        "/compute/v1/projects/q/global/images/gone",
        "/compute/v1/projects/q/global/images/x",
        "/v1/projects/p/locations/l/clusters/c",
    ]
    assert view.pools is not None
    assert [pool.name for pool in view.pools] == ["pool-a", "pool-b"]
    assert {str(ref): found.state for ref, found in view.disk_images.items()} == {
        "projects/p/global/images/a": DiskState.READY,
        "projects/p/global/images/b": DiskState.READY,
        "projects/q/global/images/x": DiskState.READY,
        "projects/q/global/images/gone": DiskState.MISSING,
    }
    assert {key: str(found.ref) for key, found in view.newest.items()} == {
        ("p", "models"): "projects/p/global/images/b"
    }
    assert view.gaps == ()


def test_what_fails_becomes_gaps_that_say_what_and_why() -> None:
    denied = json_response({"error": {"message": "no"}}, 403)
    handler = routes(
        c=cluster_with("a", "b", "d", "e"),
        a=denied,
        b=denied,
        d=json_response(image("d", family="f")),
        e=Response(body=b"junk"),
        f=denied,
    )
    with served(handler) as server:
        http = google(server.url)
        view = cloud_view(Gke(http), Compute(http), TARGET)
    role = "the least role that allows it: roles/compute.viewer"
    host = server.url.removeprefix("http://")
    assert list(view.disk_images) == [DiskImageRef("p", "d")]
    assert view.gaps[0] == Gap("2 disk images of project p", "not permitted: compute.images.get on projects/p", role)
    assert view.gaps[1].what == "projects/p/global/images/e"
    assert view.gaps[1].why.startswith(f"{host} gives something that is not a disk image")
    assert view.gaps[2] == Gap(
        "disk image family f of project p", "not permitted: compute.images.getFromFamily on projects/p", role
    )


def test_without_a_known_cluster_the_node_labels_disk_images_are_still_read() -> None:
    unknown = Gap("GKE node pools", "the cluster's project is not known")
    with served(routes(models_1=json_response(image()))) as server:
        http = google(server.url)
        view = cloud_view(Gke(http), Compute(http), unknown, [REF])
        only_images = cloud_view(None, Compute(http), unknown, [REF])
    assert (view.pools, list(view.disk_images), view.gaps) == (None, [REF], (unknown,))
    assert (only_images.pools, list(only_images.disk_images), only_images.gaps) == (None, [REF], ())


def test_without_credentials_everything_is_one_reason_a_project() -> None:
    def none() -> Any:
        raise Unauthenticated("no Google credentials found", "log in")

    with served(routes()) as server:
        http = google(server.url, GoogleAuth(none))
        refs = [DiskImageRef("p", "a"), DiskImageRef("p", "b"), DiskImageRef("q", "c")]
        view = cloud_view(Gke(http), Compute(http), TARGET, refs)
    assert server.requests == []
    assert view == CloudView(
        None,
        {},
        {},
        (
            Gap("GKE node pools", "no Google credentials found", "log in"),
            Gap("2 disk images of project p", "no Google credentials found", "log in"),
            Gap("projects/q/global/images/c", "no Google credentials found", "log in"),
        ),
    )
