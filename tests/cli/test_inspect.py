from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kubectl_imagecache.core import record
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.sandbox.cloud import EMPTY
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault, Faults
from kubectl_imagecache.sandbox.scenarios.unknown import VLLM
from tests.cli.conftest import Program
from tests.cli.test_rebuild import Killer, cloud, left, run_killed
from tests.schemas import whole

GOOGLES = "projects/sandbox-project/global/images/google-built"


def image_of(sandbox: Sandbox, path: str = GOOGLES) -> dict[str, Any]:
    found = sandbox.cloud.state.find(path)
    assert found is not None
    return found


def state_of(program: Program, sandbox: Sandbox, pool: str = "inference") -> tuple[str, list[str]]:
    """The pool's state, and the used images that its disk is known to hold."""
    shown = program.imagecache("status", pool, "-o", "json", **sandbox.env())
    (found,) = json.loads(shown.stdout)["pools"]
    return found["state"], [use["image"] for use in found["uses"] if use["match"] == "cached"]


def changes(sandbox: Sandbox) -> list[str]:
    """What was asked of the sandbox that is more than a look."""
    found = [call.target for call in sandbox.world.calls if call.method != "GET"]
    return [target for target in found if not target.endswith(":testIamPermissions")]


def test_the_way_that_status_names_makes_an_unknown_pool_known(program: Program) -> None:
    with cloud("unknown") as sandbox:
        shown = program.imagecache("status", "inference", "-o", "json", **sandbox.env())
        argv = json.loads(shown.stdout)["pools"][0]["suggestion"]["command"][2:]
        assert argv == ["inspect", GOOGLES, "--adopt"]
        assert state_of(program, sandbox) == ("UNKNOWN", [])

        done = program.imagecache(*argv, "--yes", **sandbox.env())
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == f"The record was written to {GOOGLES}."
        assert state_of(program, sandbox) == ("FRESH", [VLLM])
        assert left(sandbox) == []

        again = program.imagecache(*argv, "--yes", **sandbox.env())
        assert (again.returncode, again.stderr) == (0, f"{GOOGLES} says so already.\n")


def test_the_owners_words_labels_and_family_stay(program: Program) -> None:
    with cloud("unknown") as sandbox:
        with sandbox.world.lock:
            image = image_of(sandbox)
            sandbox.cloud.add_image(
                {**image, "description": "Built by hand.\nAsk Ada.", "labels": {"team": "ml"}},
                sandbox.cloud.state.holds(GOOGLES),
            )
        done = program.imagecache("inspect", "google-built", "--adopt", "--yes", "-q", "-o", "name", **sandbox.env())
        assert (done.returncode, done.stdout) == (0, f"image/{VLLM}\n")
        image = image_of(sandbox)
        assert image["description"].startswith("Built by hand.\nAsk Ada.\nimagecache:1:")
        assert isinstance(record.unpack(image["description"]), Contents)
        assert image["labels"] == {"team": "ml", "imagecache-arch": "amd64", "imagecache-schema": "1"}
        assert image["family"] == "secondary-disk-image"


def test_the_table_the_documents_and_the_names_say_the_same(program: Program) -> None:
    shown = {
        form: program.imagecache("inspect", "google-built", "--sandbox=unknown", "-q", "-o", form).stdout
        for form in ("json", "yaml", "name", "csv")
    }
    document = whole(shown["json"])
    assert yaml.safe_load(shown["yaml"]) == document
    (image,) = document["images"]
    assert (image["image"], image["platform"], image["layersOnDisk"]) == (VLLM, "linux/amd64", 9)
    assert {layer["chainId"] for layer in image["layers"]} == {x["chainId"] for x in document["disk"]["layers"]}
    assert (document["record"], document["source"], document["findings"]) == ("none", "disk", [])
    assert shown["name"] == f"image/{VLLM}\n"
    assert shown["csv"].splitlines()[1].startswith(f"{VLLM},{image['digest']},linux/amd64,9,9,")


def test_with_a_record_no_vm_is_made_unless_it_is_asked_for(program: Program) -> None:
    with cloud("stale") as sandbox:
        shown = program.imagecache("inspect", "inference-2026-01", "-o", "json", **sandbox.env())
        assert (shown.returncode, shown.stderr) == (0, "")
        assert not any(call.method == "POST" and "/instances" in call.target for call in sandbox.world.calls)
        booted = program.imagecache("inspect", "inference-2026-01", "--boot", "-y", "-o", "json", **sandbox.env())
        assert booted.returncode == 0, booted.stderr
        documents = [whole(found.stdout) for found in (shown, booted)]
        assert [document["source"] for document in documents] == ["record", "disk"]
        names = [[image["image"] for image in document["images"]] for document in documents]
        assert names[0] == names[1]
        assert left(sandbox) == []


def test_verify_says_nothing_is_wrong_or_each_finding_in_a_line_by_its_exit_code(program: Program) -> None:
    with cloud("stale") as sandbox:
        good = program.imagecache("verify", "inference-2026-01", "--yes", **sandbox.env())
        assert good.returncode == 0, good.stderr
        assert good.stdout.startswith("Nothing is wrong with projects/sandbox-project/global/images/inference-2026-01.")
        path = "projects/sandbox-project/global/images/inference-2026-01"
        with sandbox.world.lock:
            held = sandbox.cloud.state.holds(path)
            gone = sorted(layer.chain_id for layer in held.listed[0].layers)[:1]
            # As if a builder had lost a layer, and the disk image's record another image.
            found = replace(held, chain_ids=held.chain_ids - set(gone), listed=held.listed[:-1], record=None)
            sandbox.cloud.state.held[path] = found
        bad = program.imagecache("verify", path, "--yes", "-o", "json", **sandbox.env())
        assert bad.returncode == 3, bad.stderr
        document = whole(bad.stdout)
        findings = [item["finding"] for item in document["findings"]]
        assert document["good"] is False
        assert f"{held.listed[0].ref}: 1 of its {len(held.listed[0].layers)} layers are not on the disk" in findings
        assert f"the record on the disk image names {held.listed[-1].ref}, the disk does not" in findings
        lines = program.imagecache("verify", path, "--yes", "--no-headers", **sandbox.env())
        assert lines.stdout.splitlines() == findings


def test_an_empty_disk_is_bad_and_nothing_is_recorded_of_it(program: Program) -> None:
    with cloud("unknown") as sandbox:
        with sandbox.world.lock:
            sandbox.cloud.state.held[GOOGLES] = EMPTY
        bad = program.imagecache("verify", "google-built", "--yes", "--no-headers", **sandbox.env())
        assert (bad.returncode, bad.stdout) == (
            3,
            "there is no ext4 file system, neither on the disk nor on its first partition\n",
        )
        refused = program.imagecache("inspect", "google-built", "--adopt", "--yes", **sandbox.env())
        assert refused.returncode == 1
        assert f"error: nothing was found on {GOOGLES} that could be recorded" in refused.stderr
        assert "description" not in image_of(sandbox)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(program: Program) -> None:
    with cloud("unknown") as sandbox:
        for command in (("inspect", "google-built", "--adopt"), ("verify", "google-built")):
            shown = program.imagecache(*command, "--dry-run", "--zone", "europe-west4-c", **sandbox.env())
            assert shown.returncode == 0, shown.stderr
            first, *more = shown.stdout.splitlines()
            assert first.startswith(f"Would read {GOOGLES} with the temporary VM imagecache-")
            assert "(e2-standard-2, europe-west4-c) and a copy of 19 GiB" in first
            adopts = [f"Would write its record to the description and labels of {GOOGLES}."]
            assert more == (adopts if "--adopt" in command else [])
        assert changes(sandbox) == []


def test_nothing_is_made_or_written_unasked(program: Program) -> None:
    with cloud("unknown") as sandbox:
        for command in (("inspect", "google-built"), ("verify", "google-built")):
            refused = program.imagecache(*command, **sandbox.env())
            assert (refused.returncode, refused.stderr) == (
                2,
                "error: nobody is there to be asked\nhint: add --yes\n",
            )
        assert changes(sandbox) == []


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nothing-here",), 1, "there is no disk image projects/sandbox-project/global/images/nothing-here"),
        (("from-the-future", "--adopt"), 1, "has a record already, written by a newer version"),
        (("google-built", "--timeout", "5s"), 2, "not between 30s and 24h"),
        ((), 2, "Missing argument 'DISK_IMAGE'"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_made(
    program: Program, args: tuple[str, ...], code: int, message: str
) -> None:
    with cloud("unknown") as sandbox:
        found = program.imagecache("inspect", *args, "--yes", **sandbox.env())
        assert found.returncode == code
        assert message in found.stderr
        assert "Traceback" not in found.stderr
        assert [call for call in sandbox.world.calls if call.method != "GET"] == []


def test_a_permission_that_is_lacking_is_named_with_its_role(program: Program) -> None:
    with cloud("unknown") as sandbox:
        with sandbox.world.lock:
            sandbox.cloud.deny("compute.images.update")
        args = ("inspect", "google-built", "--adopt", "--yes", "-q")
        first = program.imagecache(*args, **sandbox.env())
        assert (first.returncode, first.stdout) == (1, "")
        assert first.stderr.startswith("error: not permitted: compute.images.update on projects/sandbox-project\n")
        found = program.imagecache(*args, "--no-preflight", **sandbox.env())
        assert found.returncode == 1
        assert f"error: not permitted: compute.images.update on {GOOGLES}" in found.stderr
        assert "hint: the least role that allows it: roles/compute.storageAdmin" in found.stderr
        # What it found has been shown all the same, and the reading has left nothing.
        assert VLLM in found.stdout
        assert left(sandbox) == []


@pytest.mark.parametrize("command", [("inspect", "--boot"), ("verify",)])
def test_everything_that_stands_in_a_readings_way_is_said_before_anything_is_made(
    program: Program, command: tuple[str, ...]
) -> None:
    args = (*command, "google-built", "--yes", "--network", "nowhere", "--zone", "europe-west4-b")
    with cloud("unknown") as sandbox:
        with sandbox.world.lock:
            sandbox.cloud.deny("compute.images.useReadOnly")
            sandbox.cloud.limit("CPUS", 1)
            sandbox.cloud.state.apis_off.add("compute.googleapis.com")
            sandbox.cloud.state.policies["gcp.resourceLocations"] = [{"denyAll": True}]
        problems = [
            "not permitted: compute.images.useReadOnly on projects/sandbox-project",
            "the quota CPUS in europe-west4 has 0 left, 2 are needed",
            "there is no network projects/sandbox-project/global/networks/nowhere",
            "compute.googleapis.com is not enabled in sandbox-project",
            "the organization's policy gcp.resourceLocations forbids resources in europe-west4-b",
        ]
        sandbox.world.calls.clear()
        found = program.imagecache(*args, **sandbox.env())
        told = [line.removeprefix("error: ") for line in found.stderr.splitlines() if line.startswith("error: ")]
        assert (found.returncode, sorted(told)) == (1, sorted(problems))
        dry = program.imagecache(*args, "--dry-run", **sandbox.env())
        assert dry.returncode == 0
        assert dry.stderr.splitlines() == [f"warning: it can't be read: {problem}" for problem in problems]
        assert changes(sandbox) == []
        assert left(sandbox) == []


def test_a_failed_readings_log_is_kept_and_named_and_a_good_ones_is_gone(program: Program) -> None:
    folder = program.home / ".local/state/kubectl-imagecache"
    with cloud("unknown") as sandbox:
        args = ("verify", "google-built", "--yes", "--zone", "europe-west4-b")
        assert program.imagecache(*args, **sandbox.env()).returncode == 0
        assert list(folder.iterdir()) == []
        with sandbox.world.lock:
            sandbox.cloud.on_boot(lambda machine: machine.after(16, machine.stop))
        found = program.imagecache(*args, **sandbox.env())
        (log,) = folder.iterdir()
        assert found.returncode == 1
        assert found.stderr.splitlines()[-1].endswith(f"the VM's log is {log}")
        assert "Linux version" in log.read_text()


def test_registries_that_can_not_be_asked_are_said_and_the_rest_is_recorded(program: Program) -> None:
    with cloud("unknown") as sandbox:
        sandbox.world.faults.rules.append(Fault(status=403, service="registry", times=-1))
        found = program.imagecache("inspect", "google-built", "--adopt", "--yes", "-q", **sandbox.env())
        assert found.returncode == 0, found.stderr
        assert "vllm-server:0.6.3: its layers are unknown: " in found.stdout
        assert state_of(program, sandbox)[1] == [VLLM]


ADOPT = ("inspect", GOOGLES, "--adopt", "--yes", "-q")


@contextmanager
def unknown() -> Iterator[Sandbox]:
    # Time stands still between the requests' own waits, so that each run sends the same ones.
    with Sandbox(Settings(scenario="unknown", speed=240.0)) as sandbox:
        yield sandbox


def requests_of_a_whole_adoption(program: Program) -> int:
    with unknown() as sandbox:
        before = len(sandbox.world.calls)
        done = program.imagecache(*ADOPT, **sandbox.env())
        assert done.returncode == 0, done.stderr
        return len(sandbox.world.calls) - before


def killed_at(program: Program, at: int) -> None:
    with unknown() as sandbox:
        # A run with quicker answers may be at its end before.
        assert run_killed(program, sandbox, Killer(number=at, reads=True), *ADOPT) in (-signal.SIGKILL, 0), at
        sandbox.world.faults = Faults()
        ended = program.imagecache(*ADOPT, **sandbox.env())
        assert ended.returncode == 0, (at, ended.stderr)
        assert left(sandbox) == [], at
        recorded = record.unpack(image_of(sandbox)["description"])
        assert isinstance(recorded, Contents), at
        assert [str(image.ref) for image in recorded.images] == [VLLM], at
        assert image_of(sandbox)["labels"]["imagecache-schema"] == "1", at


def test_killed_with_signal_9_at_any_request_a_second_run_ends_clean(program: Program) -> None:
    stride = int(os.environ.get("INSPECT_KILL_STRIDE", "7"))
    whole = requests_of_a_whole_adoption(program)
    assert whole > 10
    for at in range(1, whole + 1, stride):
        killed_at(program, at)


def test_ctrl_c_begins_to_clean_up_and_says_so(program: Program) -> None:
    with cloud("unknown") as sandbox:
        process = subprocess.Popen(
            [str(program.bin / "kubectl-imagecache"), "inspect", "google-built", "--yes"],
            env={**program.env, **sandbox.env()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        name = process.stderr.readline().partition(":")[0]
        while not left(sandbox):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
        assert process.returncode == 130
        assert f"error: stopped; the VM {name} is being deleted with its disks" in words
        with sandbox.world.lock:
            sandbox.world.clock.advance(60)
        assert left(sandbox) == []


def test_the_flag_of_googles_builder_verifies_too(program: Program) -> None:
    good = program.imagecache("rebuild", "--verify-only", "--image-name", "web-2025-11", "--sandbox", "-q")
    alone = program.imagecache("rebuild", "--verify-only", "--sandbox")
    assert (good.returncode, good.stdout.splitlines()[0]) == (
        0,
        "Nothing is wrong with projects/sandbox-project/global/images/web-2025-11.",
    )
    assert alone.returncode == 2
    assert "--image-name" in alone.stderr
