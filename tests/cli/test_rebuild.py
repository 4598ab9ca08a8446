from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.core.plan_json import from_json
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from tests.cli.conftest import Program
from tests.cli.killing import KillAt, struck
from tests.schemas import follow, lines

ENVOY = "docker.io/envoyproxy/envoy:v1.31.2"
REDIS = "docker.io/library/redis:7.4.1-alpine"
NAMED = ("--image", ENVOY, "--image", REDIS, "--zone", "europe-west4-b")
IN_FAMILY = (*NAMED, "--family", "cache")
PROJECT = "projects/sandbox-project"


@contextmanager
def cloud(scenario: str = "empty") -> Iterator[Sandbox]:
    """A sandbox outside of the program's process, where a real second is two virtual minutes."""
    with Sandbox(Settings(scenario=scenario, speed=120.0)) as sandbox:
        yield sandbox


def left(sandbox: Sandbox) -> list[str]:
    """What builds have made and left, as KIND/NAME."""
    with sandbox.world.lock:
        return sorted(
            f"{path.rpartition('/')[2]}/{name}"
            for path, items in sandbox.cloud.state.collections.items()
            for name, item in items.items()
            if str(item.get("labels", {}).get("imagecache-build", "")).startswith("imagecache-")
        )


def builds(sandbox: Sandbox) -> set[str]:
    """The builds whose label anything carries."""
    with sandbox.world.lock:
        found = {
            str(item.get("labels", {}).get("imagecache-build", ""))
            for items in sandbox.cloud.state.collections.values()
            for item in items.values()
        }
    return {name for name in found if name.startswith("imagecache-")}


def dry_run(program: Program, *args: str) -> dict[str, Any]:
    found = program.imagecache("rebuild", *args, "--dry-run", "-o", "json")
    assert found.returncode == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def test_a_dry_run_shows_what_would_become_of_each_image(program: Program) -> None:
    found = program.imagecache("rebuild", "inference", "--sandbox", "--dry-run", "-o", "csv")
    rows = [line.split(",")[:2] for line in found.stdout.splitlines()[1:]]
    assert [(change, image.rpartition("/")[2]) for change, image in rows] == [
        ("kept", "llama-3.1-8b-instruct:2025-09"),
        ("moved", "vllm-server:prod"),
        ("new", "embedder:1.4.0"),
        ("new", "reranker:2.1.0"),
        ("kept", "opentelemetry-collector-contrib:0.112.0"),
        ("dropped", "embedder:1.3.0"),
        ("dropped", "tritonserver:24.10-py3"),
    ]


def test_a_dry_run_says_size_time_resources_and_cost(program: Program) -> None:
    found = program.imagecache("rebuild", "web", "--sandbox", "--dry-run", "--price", "vm-hour=2", "--spot")
    assert found.returncode == 0, found.stderr
    for part in (
        "10 GiB",
        "Saves ",
        "(e2-standard-4, spot) in europe-west4-a",
        "Costs about $",
        "at stated prices: $2.00 an hour",
        "Plan ",
    ):
        assert part in found.stdout


def test_keep_and_drop_and_a_limit_change_the_plan(program: Program) -> None:
    document = dry_run(
        program, "inference", "--sandbox", "--keep", "*tritonserver*", "--drop", "*llama*", "--max-disk-size", "40Gi"
    )
    on_disk = {image["image"].rpartition("/")[2]: image["change"] for image in document["images"]}
    absent = {image["image"].rpartition("/")[2]: image["change"] for image in document["absent"]}
    assert document["diskSizeGb"] <= 40
    assert absent["llama-3.1-8b-instruct:2025-09"] == "dropped"
    assert "tritonserver:24.10-py3" in on_disk or absent["tritonserver:24.10-py3"] == "left out"


@pytest.mark.parametrize("scenario", ["stale", "unknown", "mixed"])
def test_plans_of_sandbox_pools_follow_the_schema(program: Program, scenario: str) -> None:
    pools = program.imagecache("status", f"--sandbox={scenario}", "-o", "jsonpath={.pools[*].name}").stdout.split()
    follow("build-plan-v1", dry_run(program, pools[1], f"--sandbox={scenario}"))


def test_a_pool_is_rebuilt_on_the_sandbox_and_the_end_is_told(program: Program) -> None:
    found = program.imagecache("rebuild", "web", "--sandbox")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("The disk image web-")
    assert found.stdout.rstrip().endswith(found.stdout.split()[3])
    assert "note: the sandbox plays the VM" in found.stderr
    quiet = program.imagecache("rebuild", "web", "--sandbox", "-q", "-o", "name")
    assert quiet.stdout.startswith("diskimage/web-")
    assert "create the VM" not in quiet.stderr


def test_json_is_an_event_a_line(program: Program) -> None:
    found = program.imagecache("rebuild", "web", "--sandbox", "-o", "json")
    events = lines(found.stdout)
    assert [e["event"] for e in events[:1]] == ["step"]
    assert events[-1]["event"] == "ready"
    assert {"phase", "image", "layer", "progress", "done"} <= {e["event"] for e in events}


def test_a_saved_plan_is_built_once_and_found_again(program: Program, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    with cloud() as sandbox:
        env = sandbox.env()
        planned = program.imagecache("rebuild", "--yes", *NAMED, "--dry-run", "--save-plan", file, **env)
        assert planned.returncode == 0, planned.stderr
        assert left(sandbox) == []
        first = program.imagecache("rebuild", "--yes", "--plan", file, "-o", "name", **env)
        again = program.imagecache("rebuild", "--yes", "--plan", file, **env)
        other = program.imagecache("rebuild", "--yes", *NAMED, "-o", "name", **env)
        forced = program.imagecache("rebuild", "--yes", *NAMED, "-o", "name", "--force", **env)
        name = first.stdout.strip().removeprefix("diskimage/")
        assert again.stdout == f"The disk image {name} holds just this already (--force builds anew).\n"
        assert other.stdout == first.stdout
        assert forced.stdout == f"diskimage/{name}-2\n"
        assert left(sandbox) == [f"images/{name}", f"images/{name}-2"]


@dataclass
class Killer(KillAt):
    """Kills at the Nth request that changes something, or at any with READS."""

    reads: bool = False

    def counts(self, service: str, method: str, target: str) -> bool:
        return self.reads or (service == "compute" and method != "GET" and "testIamPermissions" not in target)


def run_killed(program: Program, sandbox: Sandbox, killer: Killer, *args: str) -> int:
    """Run ARGS for KILLER to strike at; the exit code."""
    command, env = [str(program.bin / "kubectl-imagecache"), *args], {**program.env, **sandbox.env()}
    quiet = subprocess.DEVNULL
    return struck(sandbox, killer, lambda: subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet))


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("then", ["run", "abort"])
def test_killed_with_signal_9_at_any_change_it_ends_clean(program: Program, at: int, then: str) -> None:
    with cloud() as sandbox:
        assert run_killed(program, sandbox, Killer(number=at), "rebuild", "--yes", *IN_FAMILY) == -signal.SIGKILL
        (build,) = builds(sandbox)
        if then == "run":
            ended = program.imagecache("rebuild", "--yes", *IN_FAMILY, **sandbox.env())
            assert ended.returncode == 0, ended.stderr
            assert [name.partition("-")[0] for name in left(sandbox)] == ["images/cache"]
            return
        ended = program.imagecache("rebuild", "--yes", "--abort", build, **sandbox.env())
        # The last change is the VM's deletion: the build may be at its end by itself when the abort looks.
        assert ended.returncode == 0 or at == 6, ended.stderr
        assert left(sandbox) == [] if ended.returncode == 0 else [name[:7] for name in left(sandbox)] == ["images/"]


@pytest.mark.parametrize("then", ["run", "abort"])
def test_killed_with_signal_9_at_any_request_of_all_it_ends_clean(program: Program, then: str) -> None:
    # All of them, reads too, take minutes: REBUILD_KILL_STRIDE=1.
    stride = int(os.environ.get("REBUILD_KILL_STRIDE", "17"))
    build = from_json(json.dumps(dry_run(program, "--sandbox=empty", *IN_FAMILY)), "plan").build
    for at in itertools.count(1 if then == "run" else stride // 2 + 1, stride):
        with cloud() as sandbox:
            code = run_killed(program, sandbox, Killer(number=at, reads=True), "rebuild", "--yes", *IN_FAMILY)
            if code == 0:
                break
            assert (at, code) == (at, -signal.SIGKILL)
            if then == "run":
                ended = program.imagecache("rebuild", "--yes", *IN_FAMILY, **sandbox.env())
                assert (at, ended.returncode, ended.stderr[-300:]) == (at, 0, ended.stderr[-300:])
                assert (at, [name[:12] for name in left(sandbox)]) == (at, ["images/cache"])
                continue
            ended = program.imagecache("rebuild", "--yes", "--abort", build, **sandbox.env())
            if ended.returncode == 0:
                assert (at, left(sandbox)) == (at, [])
                continue
            # Nothing had begun, or all had come to its end by itself.
            assert "there is nothing to abort" in ended.stderr, at
            assert (at, [name[:12] for name in left(sandbox)]) in ((at, []), (at, ["images/cache"]))
    assert at > 40


def test_a_build_is_gone_on_with_by_its_name_alone(program: Program) -> None:
    with cloud() as sandbox:
        run_killed(program, sandbox, Killer(number=1), "rebuild", "--yes", *NAMED)
        (build,) = builds(sandbox)
        found = program.imagecache("rebuild", "--resume", build, "-o", "name", **sandbox.env())
        assert found.returncode == 0, found.stderr
        assert left(sandbox) == [f"images/{found.stdout.strip().removeprefix('diskimage/')}"]


def test_ctrl_c_says_where_it_stands(program: Program) -> None:
    with cloud() as sandbox:
        process = subprocess.Popen(
            [str(program.bin / "kubectl-imagecache"), "rebuild", "--yes", *NAMED, "-o", "json"],
            env={**program.env, **sandbox.env()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and '"create the VM"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "error: left alone: imagecache-" in words
        assert "--resume imagecache-" in words and "--abort imagecache-" in words


def test_preflight_says_everything_that_stands_in_the_way_and_makes_nothing(program: Program) -> None:
    with cloud() as sandbox:
        with sandbox.world.lock:
            sandbox.cloud.deny("compute.images.create")
            sandbox.cloud.limit("CPUS", 2)
        found = program.imagecache("rebuild", "--yes", *NAMED, "--network", "nowhere", **sandbox.env())
        assert found.returncode != 0
        for part in (
            "not permitted: compute.images.create on projects/sandbox-project",
            "the least role that allows it: roles/compute.instanceAdmin.v1",
            "the quota CPUS in europe-west4 has 0 left, 4 are needed",
            "there is no network projects/sandbox-project/global/networks/nowhere",
        ):
            assert part in found.stderr
        assert left(sandbox) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing is named to build"),
        (("a", "b"), "one pool at a time"),
        (("--image", "A B", "--zone", "z"), "not an image reference"),
        (("--image", "nginx", "--image-name", "x" * 40, "--project", "a-project", "--zone", "z"), "has 40 characters"),
        (("a", "--plan", "p.json"), "--plan says what is built"),
        (("--plan", "missing.json"), "missing.json can't be read"),
        (("--resume", "x", "--abort", "y"), "exclude each other"),
        (("a", "-o", "yaml"), "-o yaml shows a plan only"),
        (("--image", "nginx", "--timeout", "5s"), "not between 30s and 24h"),
        (("--image", "nginx", "--project", "a-project", "--zone", "z", "--label", "A=b"), "not a label: A=b"),
        (("--image", "nginx", "--verify-only"), "--verify-only checks the disk image that --image-name names"),
    ],
)
def test_what_can_not_be_meant_is_refused(program: Program, args: tuple[str, ...], message: str) -> None:
    found = program.imagecache("rebuild", *args)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_a_project_number_or_display_name_is_recognised(program: Program) -> None:
    with cloud() as sandbox:
        number = program.imagecache("rebuild", "--yes", *NAMED, "--project", "123456789012", **sandbox.env())
        assert number.stderr == (
            "error: 123456789012 is a project number, not an id\nhint: its id is sandbox-project: --project"
            " sandbox-project\n"
        )
        name = program.imagecache("rebuild", "--yes", *NAMED, "--project", "Sandbox Project", **sandbox.env())
        assert "hint: perhaps sandbox-project;" in name.stderr


def test_the_seed_builders_flags_are_understood(program: Program, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(
        "kind: Deployment\nmetadata: {namespace: web}\nspec: {template: {spec: {containers: [{image: '"
        + REDIS
        + "'}]}}}\n"
        "---\nkind: Pod\nmetadata: {namespace: other}\nspec: {containers: [{image: nobody/nothing}]}\n"
    )
    with cloud() as sandbox:
        found = program.imagecache(
            "rebuild", "--dry-run", "-o", "json",
            "--project-name=sandbox-project", "--image-name=disk-1", "--zone=europe-west4-b", "--gcs-path=gs://b",
            "--disk-size-gb=20", f"--container-image={ENVOY}", "--timeout=20m", "--job-name=j",
            "--image-family-name=fam", "--image-labels=a=b", "--image-labels=c=d", "--machine-type=n2-standard-8",
            "--disk-type=pd-balanced", "--image-pull-auth=None", "--network=default", "--subnet=default",
            "--service-account=sa@p.iam.gserviceaccount.com", "--store-snapshot-checksum", "--storage-location=eu",
            f"--k8s-manifests-filepath={manifest}", "--k8s-namespace=web",
            **sandbox.env(),
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        document = json.loads(found.stdout)
        assert document["output"] == {
            "diskImage": f"{PROJECT}/global/images/disk-1",
            "family": "fam",
            "labels": {"a": "b", "c": "d"},
            "storageLocation": "eu",
            "contentsUrl": "",
        }
        assert (document["diskSizeGb"], document["vm"]["timeoutS"]) == (20, 1200)
        assert {image["image"] for image in document["images"]} == {ENVOY, REDIS}


def test_every_flag_that_the_migration_guide_names_exists(program: Program) -> None:
    from kubectl_imagecache.cli.rebuild import rebuild

    guide = (Path(__file__).parents[2] / "docs" / "from-gke-disk-image-builder.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| `--")]
    named = {flag for row in rows for flag in re.findall(r"`(--[a-z0-9-]+)", row)}
    known = {name for parameter in rebuild.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert len(rows) == 21
    assert named - known == set()


@pytest.mark.parametrize("checks", [(), ("--no-preflight",)])
def test_a_boot_image_without_python_is_refused_before_anything_is_made(
    program: Program, checks: tuple[str, ...]
) -> None:
    boot = "projects/cos-cloud/global/images/family/cos-stable"
    with cloud() as sandbox:
        found = program.imagecache("rebuild", "--yes", *NAMED, "--boot-image", boot, *checks, **sandbox.env())
        assert left(sandbox) == []
    assert found.returncode == 2
    assert f"error: the builder is a Python program, which the boot image {boot} can't run" in found.stderr
    assert "leave --boot-image out for the newest Debian 12" in found.stderr


def test_nothing_is_built_or_removed_unasked(program: Program) -> None:
    with cloud() as sandbox:
        refused = program.imagecache("rebuild", *NAMED, **sandbox.env())
        kept = program.imagecache("rebuild", "--abort", "imagecache-4b9514f0fba2", **sandbox.env())
        assert not left(sandbox)
    for answer in (refused, kept):
        assert (answer.returncode, answer.stderr.splitlines()[-2:]) == (
            2,
            ["error: nobody is there to be asked", "hint: add --yes"],
        )


def test_an_arm_pool_is_built_for_on_an_arm_machine(program: Program) -> None:
    found = program.imagecache("rebuild", "web-arm64", "--sandbox=mixed", "-q", "-o", "json")
    assert found.returncode == 0, found.stderr
