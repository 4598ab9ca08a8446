from __future__ import annotations

import pytest

from kubectl_imagecache.sandbox.cloud import Held
from kubectl_imagecache.sandbox.faults import Fault
from tests.sandbox.cloud.factories import PROJECT, ZONE, CloudSandbox, running, vm

DISKS = f"zones/{ZONE}/disks"


def test_wait_lets_the_time_pass_that_the_operation_needs_and_no_more(sandbox: CloudSandbox) -> None:
    before = sandbox.world.clock.now()

    done = sandbox.finish(sandbox.compute("POST", DISKS, {"name": "d"}))

    passed = (sandbox.world.clock.now() - before).total_seconds()
    assert (done["status"], done["progress"], passed) == ("DONE", 100, sandbox.cloud.state.timing.compute_s)


def test_wait_answers_after_two_minutes_though_nothing_is_done(sandbox: CloudSandbox) -> None:
    begun = sandbox.compute("POST", "zones/us-central1-a/instances", vm())[1]
    begun_at = sandbox.world.clock.now()
    # An operation that nobody ends.
    path = f"{PROJECT}/zones/{ZONE}/operations/{begun['name']}"
    stuck = dict(begun, name="operation-stuck", selfLink=begun["selfLink"].replace(begun["name"], "operation-stuck"))
    sandbox.cloud.state.collection(f"projects/{path.rpartition('/')[0]}")["operation-stuck"] = stuck

    answer = sandbox.finish((200, stuck))

    assert answer["status"] == "RUNNING"
    assert (sandbox.world.clock.now() - begun_at).total_seconds() == 120


def test_wait_follows_the_clock_when_time_runs_by_itself() -> None:
    with running(speed=100) as sandbox:
        assert sandbox.finish(sandbox.compute("POST", DISKS, {"name": "d"}))["status"] == "DONE"


def test_operation_failure_is_told_with_its_code(sandbox: CloudSandbox) -> None:
    message = f"The zone 'projects/{PROJECT}/zones/{ZONE}' does not have enough resources available."
    sandbox.cloud.fail_operation("insert", "/builder", reason="ZONE_RESOURCE_POOL_EXHAUSTED", message=message)

    done = sandbox.finish(sandbox.compute("POST", f"zones/{ZONE}/instances", vm()))

    assert done["error"] == {"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": message}]}
    assert done["httpErrorStatusCode"] == 503
    assert sandbox.compute("GET", f"zones/{ZONE}/instances/builder")[0] == 404
    assert "error" not in sandbox.finish(sandbox.compute("POST", f"zones/{ZONE}/instances", vm()))


def test_same_request_id_begins_one_operation(sandbox: CloudSandbox) -> None:
    first = sandbox.compute("POST", f"{DISKS}?requestId=6f1", {"name": "d"})
    again = sandbox.compute("POST", f"{DISKS}?requestId=6f1", {"name": "d"})

    assert (again[0], again[1]["name"]) == (200, first[1]["name"])


def test_operations_are_listed_and_forgotten(sandbox: CloudSandbox) -> None:
    done = sandbox.finish(sandbox.compute("POST", DISKS, {"name": "d"}))
    base = f"zones/{ZONE}/operations"

    assert [item["name"] for item in sandbox.compute("GET", base)[1]["items"]] == [done["name"]]
    assert sandbox.compute("DELETE", f"{base}/{done['name']}") == (200, {})
    assert sandbox.compute("GET", f"{base}/{done['name']}")[0] == 404


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=503), (503, "UNAVAILABLE", "backendError")),
        (Fault(status=429, retry_after_s=7), (429, "RESOURCE_EXHAUSTED", "rateLimitExceeded")),
        (Fault(status=400, reason="FAILED_PRECONDITION"), (400, "FAILED_PRECONDITION", "failedPrecondition")),
        (Fault(status=403, reason="accessNotConfigured"), (403, "PERMISSION_DENIED", "accessNotConfigured")),
        (Fault(status=412), (412, "FAILED_PRECONDITION", "conditionNotMet")),
    ],
)
def test_ordered_faults_are_worded_as_google_does(
    sandbox: CloudSandbox, fault: Fault, expected: tuple[int, str, str]
) -> None:
    sandbox.world.faults.rules.append(fault)

    status, answer = sandbox.compute("GET", "global/images/cache-1")

    error = answer["error"]
    assert (status, error["status"], error["errors"][0]["reason"]) == expected
    assert sandbox.compute("GET", "global/images/cache-1")[0] == 200


def test_denied_permission_is_refused_before_existence_is_told(sandbox: CloudSandbox) -> None:
    asked = {"permissions": ["compute.images.get", "compute.images.list"]}
    sandbox.cloud.deny("compute.images.get", "container.clusters.list")

    images = [sandbox.compute("GET", f"global/images/{name}") for name in ("cache-1", "nope")]
    clusters = sandbox.gke("GET", "locations/-/clusters")

    assert [(status, answer["error"]["message"]) for status, answer in images] == [
        (403, f"Required 'compute.images.get' permission for 'projects/{PROJECT}/global/images/{name}'")
        for name in ("cache-1", "nope")
    ]
    assert (clusters[0], clusters[1]["error"]["message"]) == (
        403,
        f'Required "container.clusters.list" permission(s) for "projects/{PROJECT}/locations/-/clusters".',
    )
    assert sandbox.compute("POST", "global/images/cache-1/testIamPermissions", asked) == (
        200,
        {"permissions": ["compute.images.list"]},
    )
    sandbox.cloud.allow("compute.images.get")
    assert sandbox.compute("GET", "global/images/cache-1")[0] == 200


def test_body_that_is_no_json_object_is_refused(sandbox: CloudSandbox) -> None:
    status, answer = sandbox.compute("POST", DISKS, ["d"])

    assert (status, answer["error"]["message"]) == (400, "Invalid JSON payload received. Unexpected token.")


def test_mistake_of_a_boot_hook_is_told(sandbox: CloudSandbox) -> None:
    sandbox.cloud.on_boot(lambda machine: machine.write_disk("nope", Held()))

    answer = sandbox.finish(sandbox.compute("POST", f"zones/{ZONE}/instances", vm()))

    assert answer["error"]["message"] == "Internal error encountered: KeyError('nope')"
