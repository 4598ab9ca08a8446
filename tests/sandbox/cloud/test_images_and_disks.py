from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.cloud.factories import CACHE_IMAGE, LAYERS, PROJECT, ZONE, CloudSandbox, vm

COMPUTE = "https://www.googleapis.com/compute/v1/"
DISKS = f"zones/{ZONE}/disks"


def names(answer: tuple[int, Any]) -> list[str]:
    assert answer[0] == 200, answer
    return [item["name"] for item in answer[1].get("items", [])]


def test_image_made_from_a_disk_inherits_what_is_on_it(sandbox: CloudSandbox) -> None:
    sandbox.finish(sandbox.compute("POST", DISKS, {"name": "d", "sourceImage": CACHE_IMAGE}))
    wanted = {"name": "copy", "sourceDisk": f"{DISKS}/d", "family": "cache", "labels": {"imagecache-plan": "1a"}}

    begun = sandbox.compute("POST", "global/images", wanted)
    during = sandbox.compute("GET", "global/images/copy")[1]["status"]
    sandbox.finish(begun)

    image = sandbox.compute("GET", "global/images/copy")[1]
    assert (during, image["status"], image["family"], image["labels"]) == (
        "PENDING",
        "READY",
        "cache",
        wanted["labels"],
    )
    assert (image["sourceDisk"], image["diskSizeGb"]) == (f"{COMPUTE}projects/{PROJECT}/{DISKS}/d", "10")
    assert sandbox.cloud.contents(f"projects/{PROJECT}/global/images/copy") == LAYERS


@pytest.mark.parametrize(
    "spelling",
    [
        "cache-1",
        "global/images/cache-1",
        "family/cache",
        "global/images/family/cache",
        CACHE_IMAGE,
        f"projects/{PROJECT}/zones/-/imageFamilyViews/cache",
        f"{COMPUTE}{CACHE_IMAGE}",
        f"http://127.0.0.1:9/compute/v1/{CACHE_IMAGE}",
    ],
)
def test_every_spelling_of_an_image_is_understood(sandbox: CloudSandbox, spelling: str) -> None:
    sandbox.finish(
        sandbox.compute("POST", DISKS, {"name": "d", "sourceImage": spelling, "type": f"{ZONE}/diskTypes/pd-ssd"})
    )

    disk = sandbox.compute("GET", f"{DISKS}/d")[1]
    assert (disk["sourceImage"], disk["type"].rpartition("/")[2]) == (f"{COMPUTE}{CACHE_IMAGE}", "pd-ssd")


def test_family_gives_its_newest_image_that_is_not_deprecated(sandbox: CloudSandbox) -> None:
    sandbox.advance(60)
    sandbox.cloud.add_image({"name": "cache-2", "family": "cache"})
    newest = sandbox.compute("GET", "global/images/family/cache")[1]["name"]
    sandbox.finish(
        sandbox.compute("POST", "global/images/cache-2/deprecate", {"state": "DEPRECATED", "replacement": CACHE_IMAGE})
    )

    assert (newest, sandbox.compute("GET", "global/images/family/cache")[1]["name"]) == ("cache-2", "cache-1")
    deprecated = sandbox.compute("GET", "global/images/cache-2")[1]["deprecated"]
    assert deprecated == {"state": "DEPRECATED", "replacement": CACHE_IMAGE}


def test_recreated_image_has_another_id(sandbox: CloudSandbox) -> None:
    before = sandbox.compute("GET", "global/images/cache-1")[1]["id"]
    sandbox.cloud.add_image({"name": "cache-1"})

    assert sandbox.compute("GET", "global/images/cache-1")[1]["id"] != before


def test_labels_need_the_fingerprint_of_now(sandbox: CloudSandbox) -> None:
    old = sandbox.compute("GET", "global/images/cache-1")[1]["labelFingerprint"]
    body = {"labels": {"a": "b"}, "labelFingerprint": old}
    sandbox.finish(sandbox.compute("POST", "global/images/cache-1/setLabels", body))

    status, answer = sandbox.compute("POST", "global/images/cache-1/setLabels", body)

    message = "Supplied fingerprint does not match current labels fingerprint."
    error = answer["error"]
    assert (status, error["message"], error["errors"][0]["reason"]) == (412, message, "conditionNotMet")
    assert sandbox.compute("GET", "global/images/cache-1")[1]["labels"] == {"a": "b"}


def test_patch_changes_description_and_family(sandbox: CloudSandbox) -> None:
    sandbox.finish(sandbox.compute("PATCH", "global/images/cache-1", {"description": "adopted", "family": "other"}))

    image = sandbox.compute("GET", "global/images/cache-1")[1]
    assert (image["description"], image["family"]) == ("adopted", "other")


def missing(path: str) -> str:
    return f"The resource 'projects/{PROJECT}/{path}' was not found"


BAD_NAME = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"
BAD_LABEL = "Must be a match of regex '[a-z0-9_-]{0,63}'"
TOO_SMALL = "Requested disk size cannot be smaller than the image size (10 GB)"
COPY = {"name": "y", "sourceImage": CACHE_IMAGE}
REFUSALS: list[tuple[str, str, Any, int, str, str]] = [
    ("GET", "global/images/x", None, 404, "notFound", missing("global/images/x")),
    ("GET", "global/images/family/x", None, 404, "notFound", missing("global/images/family/x")),
    ("DELETE", "global/images/x", None, 404, "notFound", missing("global/images/x")),
    ("POST", DISKS, {"name": "d", "type": "pd-fast"}, 404, "notFound", missing(f"zones/{ZONE}/diskTypes/pd-fast")),
    ("GET", "global/unheard", None, 404, "notFound", "Method not found."),
    *(
        ("POST", path, body, 400, "invalid", f"Invalid value for field {message}")
        for path, body, message in (
            ("global/images", COPY | {"name": "X"}, f"'resource.name': 'X'. {BAD_NAME}"),
            ("global/images", COPY | {"labels": {"a": "B"}}, f"'resource.labels.value': 'B'. {BAD_LABEL}"),
            ("zones/mars-a/disks", {"name": "d"}, "'zone': 'mars-a'. Unknown zone."),
            (DISKS, COPY | {"sizeGb": "5"}, f"'resource.sizeGb': '5'. {TOO_SMALL}"),
        )
    ),
    (
        *("POST", "global/images", COPY | {"name": "cache-1"}),
        *(409, "alreadyExists", f"The resource '{CACHE_IMAGE}' already exists"),
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "reason", "message"), REFUSALS)
def test_refusals_are_worded_as_compute_does(
    sandbox: CloudSandbox, method: str, path: str, body: Any, status: int, reason: str, message: str
) -> None:
    found, answer = sandbox.compute(method, path, body)

    assert (found, answer["error"]["code"], answer["error"]["message"]) == (status, status, message)
    assert answer["error"]["errors"] == [{"message": message, "domain": "global", "reason": reason}]


def test_disk_in_use_is_neither_deleted_nor_imaged(sandbox: CloudSandbox) -> None:
    sandbox.finish(sandbox.compute("POST", f"zones/{ZONE}/instances", vm()))
    disk = f"{DISKS}/builder-cache"
    message = (
        f"The disk resource 'projects/{PROJECT}/{disk}' is already being used by "
        f"'projects/{PROJECT}/zones/{ZONE}/instances/builder'"
    )

    deleted = sandbox.compute("DELETE", disk)
    imaged = sandbox.compute("POST", "global/images", {"name": "i", "sourceDisk": disk})
    forced = sandbox.compute("POST", "global/images?forceCreate=true", {"name": "i", "sourceDisk": disk})

    assert [(status, answer["error"]["message"]) for status, answer in (deleted, imaged)] == [(400, message)] * 2
    assert forced[0] == 200


def test_image_not_ready_makes_no_disk(sandbox: CloudSandbox) -> None:
    sandbox.cloud.add_image({"name": "young", "status": "PENDING"})

    status, answer = sandbox.compute("POST", DISKS, {"name": "d", "sourceImage": "global/images/young"})

    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "resourceNotReady")


def test_obsolete_image_makes_no_disk(sandbox: CloudSandbox) -> None:
    sandbox.finish(sandbox.compute("POST", "global/images/cache-1/deprecate", {"state": "OBSOLETE"}))

    status, answer = sandbox.compute("POST", DISKS, {"name": "d", "sourceImage": CACHE_IMAGE})

    assert (status, "obsolete" in answer["error"]["message"]) == (400, True)


def test_lists_are_filtered_ordered_and_paged(sandbox: CloudSandbox) -> None:
    for number in range(2, 6):
        sandbox.advance(60)
        sandbox.cloud.add_image(
            {"name": f"cache-{number}", "family": "cache" if number % 2 else "odd", "labels": {"n": str(number)}}
        )

    first = sandbox.compute("GET", "global/images?maxResults=2&orderBy=creationTimestamp%20desc")
    token = first[1]["nextPageToken"]
    rest = sandbox.compute("GET", f"global/images?maxResults=3&orderBy=creationTimestamp%20desc&pageToken={token}")

    assert (names(first), names(rest)) == (["cache-5", "cache-4"], ["cache-3", "cache-2", "cache-1"])
    assert "nextPageToken" not in rest[1]
    assert names(sandbox.compute("GET", "global/images?filter=family%20%3D%20odd")) == ["cache-2", "cache-4"]
    assert names(sandbox.compute("GET", "global/images?filter=labels.n%3A*%20AND%20NOT%20family%3Dodd")) == [
        "cache-3",
        "cache-5",
    ]


def test_disks_of_all_zones_are_listed_together(sandbox: CloudSandbox) -> None:
    for zone in (ZONE, "europe-west1-b"):
        sandbox.finish(sandbox.compute("POST", f"zones/{zone}/disks", {"name": "d", "sizeGb": "10"}))

    found = sandbox.compute("GET", "aggregated/disks")[1]["items"]

    assert {scope for scope, inside in found.items() if "disks" in inside} == {f"zones/{ZONE}", "zones/europe-west1-b"}
    assert found["zones/us-east1-b"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"
