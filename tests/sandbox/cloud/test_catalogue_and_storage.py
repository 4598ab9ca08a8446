from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.sandbox.cloud.factories import PROJECT, ZONE, CloudSandbox


def storage(sandbox: CloudSandbox, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"{sandbox.compute_url}/{path}", data=body, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_object_is_read_as_it_was_put(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_object("records", "a/b.json", b"\x00record")

    assert storage(sandbox, "storage/v1/b/records/o/a%2Fb.json?alt=media") == (200, b"\x00record")
    assert b'"size": "7"' in storage(sandbox, "storage/v1/b/records/o/a%2Fb.json")[1]
    assert storage(sandbox, "storage/v1/b/records/o/none?alt=media")[0] == 404


def test_uploaded_object_is_there_and_is_not_overwritten_unasked(sandbox: CloudSandbox) -> None:
    path = "upload/storage/v1/b/records/o?uploadType=media&name=c.json"
    made = storage(sandbox, path, b"one")
    refused = storage(sandbox, f"{path}&ifGenerationMatch=0", b"two")

    assert (made[0], refused[0]) == (200, 412)
    assert storage(sandbox, "storage/v1/b/records/o/c.json?alt=media") == (200, b"one")


def test_denied_object_is_refused(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_object("records", "a", b"x")
    sandbox.cloud.deny("storage.objects.get", "storage.objects.create")

    assert storage(sandbox, "storage/v1/b/records/o/a?alt=media")[0] == 403
    assert storage(sandbox, "upload/storage/v1/b/records/o?uploadType=media&name=b", b"x")[0] == 403


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"zones/{ZONE}", ZONE),
        ("regions/us-central1", "us-central1"),
        (f"zones/{ZONE}/machineTypes/e2-standard-4", "e2-standard-4"),
        (f"zones/{ZONE}/diskTypes/pd-ssd", "pd-ssd"),
        ("global/networks/default", "default"),
        ("regions/us-central1/subnetworks/default", "default"),
        (f"zones/{ZONE}/imageFamilyViews/cache", None),
        (f"../{PROJECT}", PROJECT),
    ],
)
def test_everything_that_google_offers_is_found_by_name(sandbox: CloudSandbox, path: str, name: str | None) -> None:
    path = path.removeprefix(f"../{PROJECT}")
    status, answer = sandbox.compute("GET", path)

    assert (status, answer.get("name")) == (200, name)


@pytest.mark.parametrize(
    "path", ["zones", "regions", f"zones/{ZONE}/diskTypes", f"zones/{ZONE}/machineTypes", "global/networks"]
)
def test_everything_that_google_offers_is_listed(sandbox: CloudSandbox, path: str) -> None:
    assert len(sandbox.compute("GET", path)[1]["items"]) > 0


def test_project_is_found_by_its_number(sandbox: CloudSandbox) -> None:
    number = sandbox.cloud.state.project_number
    status, body = storage(sandbox, f"compute/v1/projects/{number}/global/images/cache-1")

    assert (status, b'"name": "cache-1"' in body) == (200, True)


def test_unknown_project_is_not_found(sandbox: CloudSandbox) -> None:
    status, body = storage(sandbox, "compute/v1/projects/nope")

    assert (status, b"The resource 'projects/nope' was not found" in body) == (404, True)
