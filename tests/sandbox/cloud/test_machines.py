from __future__ import annotations

from typing import Any

import pytest

from kubectl_imagecache.sandbox.cloud import Held, Machine
from tests.sandbox.cloud.factories import PROJECT, ZONE, CloudSandbox, vm

INSTANCES = f"zones/{ZONE}/instances"
GUEST = {"metadata": {"items": [{"key": "enable-guest-attributes", "value": "TRUE"}, {"key": "plan", "value": "p1"}]}}


def boot(sandbox: CloudSandbox, **fields: Any) -> Machine:
    """A running builder and the handle that its hook was given."""
    seen: list[Machine] = []
    sandbox.cloud.on_boot(seen.append)
    done = sandbox.finish(sandbox.compute("POST", INSTANCES, vm(**fields)))
    assert "error" not in done
    return seen[-1]


def serial(sandbox: CloudSandbox, start: int = 0) -> tuple[str, str, str]:
    answer = sandbox.compute("GET", f"{INSTANCES}/builder/serialPort?port=1&start={start}")[1]
    return answer["contents"], answer["start"], answer["next"]


def status(sandbox: CloudSandbox) -> str:
    return str(sandbox.compute("GET", f"{INSTANCES}/builder")[1].get("status", "gone"))


def test_builder_is_scripted_on_virtual_time(sandbox: CloudSandbox) -> None:
    def script(machine: Machine) -> None:
        machine.write_serial("booted\n")
        machine.after(30, lambda: machine.write_serial("pulled\n"))
        machine.after(60, machine.stop)

    sandbox.cloud.on_boot(script)
    begun = sandbox.compute("POST", INSTANCES, vm())[1]
    seen = [status(sandbox)]
    for seconds in (5, 10, 30, 28, 20):
        sandbox.advance(seconds)
        seen.append(status(sandbox))

    assert begun["operationType"] == "insert"
    assert seen == ["PROVISIONING", "STAGING", "RUNNING", "RUNNING", "STOPPING", "TERMINATED"]
    assert serial(sandbox) == ("booted\npulled\n", "0", "14")
    assert serial(sandbox, 7) == ("pulled\n", "7", "14")


def test_image_holds_what_the_builder_wrote(sandbox: CloudSandbox) -> None:
    machine = boot(sandbox)
    machine.write_disk("cache", Held(frozenset({"sha256:cc"})))
    with_builder_on = sandbox.compute(
        "POST", "global/images", {"name": "built", "sourceDisk": f"zones/{ZONE}/disks/builder-cache"}
    )
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/stop"))
    sandbox.finish(
        sandbox.compute("POST", "global/images", {"name": "built", "sourceDisk": f"zones/{ZONE}/disks/builder-cache"})
    )

    assert with_builder_on[0] == 400
    assert machine.devices() == ["persistent-disk-0", "cache"]
    assert sandbox.cloud.contents(f"projects/{PROJECT}/global/images/built") == {"sha256:cc"}


def test_serial_port_keeps_the_last_mebibyte(sandbox: CloudSandbox) -> None:
    machine = boot(sandbox)
    machine.write_serial("x" * 100 + "y" * 1_048_576)

    contents, start, following = serial(sandbox)
    assert (contents[:1], len(contents), start, following) == ("y", 1_048_576, "100", "1048676")


def test_guest_attributes_are_read_by_namespace_and_key(sandbox: CloudSandbox) -> None:
    machine = boot(sandbox, **GUEST)
    path = f"{INSTANCES}/builder/getGuestAttributes"
    missing = sandbox.compute("GET", f"{path}?queryPath=imagecache/")
    machine.set_guest_attribute("imagecache", "state", "pulling")
    machine.set_guest_attribute("imagecache", "done", "3")
    machine.set_guest_attribute("other", "state", "x")

    both = sandbox.compute("GET", f"{path}?queryPath=imagecache/")[1]["queryValue"]["items"]
    one = sandbox.compute("GET", f"{path}?queryPath=imagecache/done")[1]["queryValue"]["items"]
    assert (missing[0], machine.metadata("plan")) == (404, "p1")
    assert [(item["key"], item["value"]) for item in both] == [("done", "3"), ("state", "pulling")]
    assert one == [{"namespace": "imagecache", "key": "done", "value": "3"}]
    with pytest.raises(ValueError, match="32768"):
        machine.set_guest_attribute("imagecache", "big", "x" * 40_000)


def test_guest_attributes_are_lost_where_metadata_does_not_enable_them(sandbox: CloudSandbox) -> None:
    boot(sandbox).set_guest_attribute("imagecache", "state", "pulling")

    status, answer = sandbox.compute("GET", f"{INSTANCES}/builder/getGuestAttributes?queryPath=imagecache/")
    assert (status, answer["error"]["message"]) == (412, "Guest attributes endpoint access is disabled.")


@pytest.mark.parametrize(("action", "after"), [("DELETE", "gone"), ("STOP", "TERMINATED")])
def test_longest_run_ends_the_builder(sandbox: CloudSandbox, action: str, after: str) -> None:
    machine = boot(sandbox, scheduling={"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": action})
    sandbox.advance(3500)
    before = status(sandbox)
    sandbox.advance(200)

    disks = sandbox.compute("GET", f"zones/{ZONE}/disks")[1].get("items", [])
    assert (before, status(sandbox), machine.alive) == ("RUNNING", after, False)
    assert [disk["name"] for disk in disks] == ([] if action == "DELETE" else ["builder", "builder-cache"])


def test_what_was_planned_for_one_boot_does_not_happen_in_the_next(sandbox: CloudSandbox) -> None:
    machine = boot(sandbox)
    machine.after(200, lambda: machine.write_serial("late\n"))
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/stop"))
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/start"))
    sandbox.advance(300)

    assert (status(sandbox), serial(sandbox)[0], machine.alive) == ("RUNNING", "", False)


def test_crashed_builder_leaves_its_last_words(sandbox: CloudSandbox) -> None:
    boot(sandbox).crash("Kernel panic - not syncing\n")

    assert (status(sandbox), serial(sandbox)[0]) == ("TERMINATED", "Kernel panic - not syncing\n")


def test_disk_is_detached_attached_read_only_and_kept(sandbox: CloudSandbox) -> None:
    boot(sandbox)
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/detachDisk?deviceName=cache"))
    disk = f"zones/{ZONE}/disks/builder-cache"
    free = "users" not in sandbox.compute("GET", disk)[1]
    body = {"source": disk, "deviceName": "look", "mode": "READ_ONLY"}
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/attachDisk", body))
    attached = sandbox.compute("GET", f"{INSTANCES}/builder")[1]["disks"][1]
    sandbox.finish(sandbox.compute("DELETE", f"{INSTANCES}/builder"))

    assert (free, attached["deviceName"], attached["mode"]) == (True, "look", "READ_ONLY")
    kept = sandbox.compute("GET", f"zones/{ZONE}/disks")[1]["items"]
    assert [(item["name"], item.get("users")) for item in kept] == [("builder-cache", None)]


def test_metadata_is_changed_under_its_fingerprint_and_seen_from_within(sandbox: CloudSandbox) -> None:
    machine = boot(sandbox)
    old = sandbox.compute("GET", f"{INSTANCES}/builder")[1]["metadata"]["fingerprint"]
    body = {"fingerprint": old, "items": [{"key": "go", "value": "on"}]}
    sandbox.finish(sandbox.compute("POST", f"{INSTANCES}/builder/setMetadata", body))

    assert machine.metadata("go") == "on"
    assert sandbox.compute("POST", f"{INSTANCES}/builder/setMetadata", body)[0] == 412


def test_metadata_has_its_limits(sandbox: CloudSandbox) -> None:
    status, answer = sandbox.compute(
        "POST", INSTANCES, vm(metadata={"items": [{"key": "startup-script", "value": "x" * 262_145}]})
    )
    assert (status, answer["error"]["errors"][0]["reason"]) == (413, "fieldSizeTooLarge")


def test_exceeded_quota_is_refused(sandbox: CloudSandbox) -> None:
    sandbox.cloud.limit("CPUS", 6.0)
    sandbox.finish(sandbox.compute("POST", INSTANCES, vm()))

    status, answer = sandbox.compute("POST", INSTANCES, vm("second"))
    assert (status, answer["error"]["message"]) == (403, "Quota 'CPUS' exceeded.  Limit: 6.0 in region us-central1.")
    quotas = sandbox.compute("GET", "regions/us-central1")[1]["quotas"]
    assert next(quota for quota in quotas if quota["metric"] == "CPUS") == {
        "metric": "CPUS",
        "limit": 6.0,
        "usage": 4.0,
    }
