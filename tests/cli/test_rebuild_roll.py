from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass

import pexpect
import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault, Faults
from tests.cli.conftest import Program
from tests.cli.test_rebuild import left
from tests.schemas import lines

POOLS = "projects/sandbox-project/locations/europe-west4/clusters/stale/nodePools"
ROLL = ("rebuild", "web", "--roll", "--repin", "--no-preflight")


def pools(sandbox: Sandbox) -> list[str]:
    return sorted(sandbox.cloud.state.collection(POOLS))


def images(sandbox: Sandbox) -> set[str]:
    return set(sandbox.cloud.state.collection("projects/sandbox-project/global/images"))


@dataclass
class AtPath(Faults):
    """Kills a process the moment it sends METHOD to a path that ends in END; the request itself is performed."""

    method: str = ""
    end: str = ""
    process: int = 0

    def strike(self, service: str, method: str, target: str) -> Fault | None:
        if self.process and method == self.method and target.partition("?")[0].endswith(self.end):
            os.kill(self.process, signal.SIGKILL)
            self.process = 0
        return None


def killed(program: Program, sandbox: Sandbox, method: str, end: str) -> None:
    """Run ROLL and kill it at that request."""
    faults = sandbox.world.faults
    killer = AtPath(method=method, end=end)
    sandbox.world.faults = killer
    with sandbox.world.lock:
        process = subprocess.Popen(
            [str(program.bin / "kubectl-imagecache"), *ROLL, "--yes"],
            env={**program.env, **sandbox.env()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        killer.process = process.pid
    assert process.wait(60) == -signal.SIGKILL
    sandbox.world.faults = faults


def test_a_pool_is_rebuilt_and_rolled_in_one_go(program: Program) -> None:
    found = program.imagecache(*ROLL, "--sandbox", "-o", "json")
    assert found.returncode == 0, found.stderr
    events = lines(found.stdout)
    ready = next(event for event in events if event.get("event") == "ready")
    checks = [event for event in events if event.get("kind") == "preflight"]
    assert [
        check["text"] for checklist in checks for check in checklist["checks"] if check["name"] == "disk-image"
    ] == [f"the disk image {ready['diskImage']} is READY"] * 2
    assert "web is replaced by web-r2" in json.dumps(events[-1])


def test_a_dry_run_shows_the_plan_and_then_the_rolls_checklist_and_makes_nothing(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        before = images(sandbox)
        found = program.imagecache(*ROLL, "--dry-run", **sandbox.env())
        assert found.returncode == 0, found.stderr
        plan, then, checklist = found.stdout.partition("\nThen, once web-")
        assert "10 GiB" in plan and then and "ok      disk-image:" in checklist
        assert (images(sandbox), left(sandbox), pools(sandbox)) == (
            before,
            [],
            ["batch", "default-pool", "inference", "web"],
        )


def test_nothing_is_built_where_the_roll_would_refuse(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        found = program.imagecache("rebuild", "web", "--roll", "--yes", **sandbox.env())
        assert found.returncode == 5
        assert found.stderr.splitlines()[-2:] == [
            "refused: selectors (overrule with --allow selectors)",
            "note: nothing was built, as the roll would refuse",
        ]
        assert left(sandbox) == []


@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("POST", "/instances"),
        ("POST", "/global/images"),
        ("POST", "/nodePools"),
        ("PATCH", "/deployments/billing"),
        ("DELETE", "/web"),
    ],
)
def test_killed_in_either_half_the_same_command_ends_it(program: Program, method: str, end: str) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        before = images(sandbox)
        killed(program, sandbox, method, end)
        again = program.imagecache(*ROLL, "--yes", **sandbox.env())
        assert again.returncode == 0, again.stderr
        assert pools(sandbox) == ["batch", "default-pool", "inference", "web-r2"]
        (built,) = images(sandbox) - before
        disks = sandbox.cloud.state.collection(POOLS)["web-r2"]["config"]["secondaryBootDisks"]
        assert disks[0]["diskImage"] == f"projects/sandbox-project/global/images/{built}"
        assert [name for name in left(sandbox) if not name.startswith("images/")] == []
        in_roll = end in ("/nodePools", "/deployments/billing", "/web")
        assert ("a roll of web is under way already: nothing is built, it goes on" in again.stderr) is in_roll


def test_a_disk_image_that_is_there_already_is_rolled_to_at_once(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        built = program.imagecache("rebuild", "web", "--yes", "-q", "-o", "name", **sandbox.env())
        assert built.returncode == 0, built.stderr
        name = built.stdout.strip().partition("/")[2]
        rolled = program.imagecache(*ROLL, "--yes", **sandbox.env())
        assert rolled.returncode == 0, rolled.stderr
        assert rolled.stdout.startswith(f"The disk image {name} holds just this already")
        assert "create the VM" not in rolled.stderr
        assert pools(sandbox) == ["batch", "default-pool", "inference", "web-r2"]


def test_a_deprecated_disk_image_of_the_same_plan_is_not_passed_off_as_built(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        built = program.imagecache("rebuild", "web", "--yes", "-q", "-o", "name", **sandbox.env())
        name = built.stdout.strip().partition("/")[2]
        with sandbox.world.lock:
            image = sandbox.cloud.state.find(f"projects/sandbox-project/global/images/{name}")
            assert image is not None
            image["deprecated"] = {"state": "DEPRECATED"}
        again = program.imagecache("rebuild", "web", "--yes", **sandbox.env())
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.splitlines()[-2:] == [
            f"error: the disk image {name} holds just this, but it is deprecated",
            f"hint: gcloud compute images deprecate {name} --state ACTIVE --project sandbox-project,"
            " or --force builds anew",
        ]


def test_one_question_tells_both(program: Program) -> None:
    with Sandbox(Settings(scenario="stale")) as sandbox:
        child = pexpect.spawn(
            str(program.bin / "kubectl-imagecache"), list(ROLL), env={**program.env, **sandbox.env()}, timeout=60
        )
        child.expect_exact("Build it now, and then move all pods away from web? [y/N]: ")
        child.sendline("n")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 130
        assert left(sandbox) == []


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("web", "--soak", "5m"), "--soak says how to roll"),
        (("--image", "nginx:1.27", "--roll"), "--roll needs a pool to move"),
        (("--resume", "imagecache-0123456789ab", "--roll"), "--roll goes with a pool or with --plan"),
        (("web", "--roll", "-o", "name"), "--roll has no -o name"),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(program: Program, args: tuple[str, ...], error: str) -> None:
    found = program.imagecache("rebuild", *args)
    assert (found.returncode, found.stderr.splitlines()[0]) == (2, f"error: {error}")
