from __future__ import annotations

import signal

from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import Fault, Faults
from tests.cli.conftest import Program
from tests.cli.records import stored_record
from tests.cli.test_rebuild import NAMED, Killer, builds, cloud, left, run_killed
from tests.schemas import whole


def leave_a_vm(program: Program, sandbox: Sandbox) -> str:
    """A build that its client was killed out of; its name."""
    assert run_killed(program, sandbox, Killer(number=1), "rebuild", "--yes", *NAMED) == -signal.SIGKILL
    (build,) = builds(sandbox)
    return build


def test_what_a_build_has_left_is_listed_and_swept_only_when_asked(program: Program) -> None:
    with cloud() as sandbox:
        build = leave_a_vm(program, sandbox)
        listed = program.imagecache("disks", "list", "-o", "json", **sandbox.env())
        items = whole(listed.stdout)["items"]
        mine = [(item["kind"], item["name"], item["orphan"]) for item in items if item["build"] == build]
        assert mine == [("disk", build, False), ("disk", f"{build}-cache", False), ("vm", build, False)]

        shown = program.imagecache("disks", "sweep", "--older-than", "0s", **sandbox.env())
        assert shown.stderr == "note: nothing was removed; add --yes\n"
        assert len(left(sandbox)) == 3
        young = program.imagecache("disks", "sweep", "--yes", **sandbox.env())
        assert (young.returncode, len(left(sandbox))) == (0, 3)

        swept = program.imagecache("disks", "sweep", "--older-than", "0s", "--yes", **sandbox.env())
        assert swept.stderr == f"removed VM {build}\n"
        assert left(sandbox) == []


def test_finished_disk_images_and_names_that_are_not_ours_are_never_swept(program: Program) -> None:
    with cloud() as sandbox:
        with sandbox.world.lock:
            sandbox.cloud.add_image({"name": "finished", "labels": {"imagecache-build": "imagecache-0123456789ab"}})
            pending = {"name": "theirs", "status": "PENDING", "labels": {"imagecache-build": "backup"}}
            sandbox.cloud.add_image(pending)
        swept = program.imagecache("disks", "sweep", "--older-than", "0s", "--yes", **sandbox.env())
        assert swept.returncode == 0, swept.stderr
        assert swept.stderr == "warning: backup stays: not a name that builds have\n"
        names = program.imagecache("disks", "list", "-o", "name", **sandbox.env()).stdout.split()
        assert names == ["disk-image/theirs", "disk-image/finished"]


def test_the_record_of_an_unfinished_disk_image_is_listed_and_swept_with_it(program: Program) -> None:
    with cloud() as sandbox:
        build = "imagecache-0123456789ab"
        with sandbox.world.lock:
            half = {"name": "half", "status": "FAILED", "description": stored_record(sandbox, "half")}
            sandbox.cloud.add_image(half | {"labels": {"imagecache-build": build}})
        ((bucket, name),) = sandbox.cloud.state.objects
        listed = program.imagecache("disks", "sweep", "--older-than", "0s", "-o", "name", **sandbox.env())
        assert listed.stdout == f"disk-image/half\nrecord/gs://{bucket}/{name}\n"
        assert len(sandbox.cloud.state.objects) == 1
        swept = program.imagecache("disks", "sweep", "--older-than", "0s", "--yes", **sandbox.env())
        assert swept.stderr == f"removed record gs://{bucket}/{name}\nremoved disk image half\n"
        assert (left(sandbox), sandbox.cloud.state.objects) == ([], {})


def test_a_record_that_may_not_be_removed_keeps_no_sweep_from_its_end(program: Program) -> None:
    with cloud() as sandbox:
        with sandbox.world.lock:
            half = {"name": "half", "status": "FAILED", "description": stored_record(sandbox, "half")}
            sandbox.cloud.add_image(half | {"labels": {"imagecache-build": "imagecache-0123456789ab"}})
        ((bucket, name),) = sandbox.cloud.state.objects
        sandbox.cloud.deny("storage.objects.delete")
        swept = program.imagecache("disks", "sweep", "--older-than", "0s", "--yes", **sandbox.env())
        url = f"gs://{bucket}/{name}"
        assert (swept.returncode, swept.stderr) == (
            0,
            f"warning: record {url} stays: not permitted: storage.objects.delete on {url}\nremoved disk image half\n",
        )
        assert left(sandbox) == []


def test_a_sandbox_of_their_own_shows_what_builds_made_and_that_nothing_is_left(program: Program) -> None:
    listed = program.imagecache("disks", "list", "--sandbox", "-o", "name")
    assert (listed.returncode, listed.stderr) == (0, "")
    images = ["batch-spark", "inference-2025-12", "inference-2026-01", "web-2025-11", "web-2026-01"]
    assert sorted(listed.stdout.split()) == [f"disk-image/{name}" for name in images]

    swept = program.imagecache("disks", "sweep", "--sandbox=unknown", "--older-than", "0s", "--yes")
    assert (swept.returncode, swept.stderr) == (0, "")
    assert swept.stdout == "No build has left anything here.\n"


def test_a_refusal_names_the_permission(program: Program) -> None:
    with cloud() as sandbox:
        sandbox.world.faults.rules.append(Fault(status=403, service="compute", path="aggregated/disks", times=-1))
        found = program.imagecache("disks", "list", **sandbox.env())
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr.startswith("error: not permitted: compute.disks.list on projects/sandbox-project")


def test_the_same_plan_in_another_zone_joins_the_build_that_is_under_way(program: Program) -> None:
    with cloud() as sandbox:
        build = leave_a_vm(program, sandbox)
        sandbox.world.faults = Faults()
        joined = program.imagecache("rebuild", "--yes", *NAMED[:-1], "europe-west4-c", **sandbox.env())
        assert joined.returncode == 0, joined.stderr
        assert f"note: {build} builds it already in europe-west4-b: that build is gone on with\n" in joined.stderr
        assert builds(sandbox) == {build}
        (image,) = left(sandbox)
        assert image.startswith("images/imagecache-")
